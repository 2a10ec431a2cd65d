package linuxkit

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

var update = flag.Bool("update", false, "write the golden files")

// fakeImages is a set of images in memory that counts how often each was asked for.
type fakeImages struct {
	images map[string]Image
	asked  map[string]int
}

func (f *fakeImages) Image(_ context.Context, ref string) (Image, error) {
	f.asked[ref]++
	img, ok := f.images[ref]
	if !ok {
		return Image{}, fs.ErrNotExist
	}
	return img, nil
}

// tree makes a tree of lines: "d MODE PATH", "f MODE PATH CONTENT", "p MODE PATH" (fifo), "c MODE PATH MINOR",
// "b MODE PATH MINOR" (devices, major 1), "l PATH TARGET", "h PATH TARGET" (hard link). Owners are 0:0 but for
// paths that begin with "own", which are 5:6.
func tree(t testing.TB, lines ...string) *filetree.Tree {
	t.Helper()
	made := filetree.New()
	for _, line := range lines {
		f := strings.SplitN(line, " ", 4)
		var n *filetree.Inode
		name := f[1]
		var mode uint32
		switch f[0] {
		case "l":
			n = symlink(f[2])
		case "h":
			if err := made.Link(name, f[2], "test"); err != nil {
				t.Fatal(err)
			}
			continue
		default:
			if _, err := fmt.Sscanf(f[1], "%o", &mode); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			name = f[2]
			n = &filetree.Inode{Kind: map[string]filetree.Kind{"d": filetree.Dir, "p": filetree.FIFO, "c": filetree.Char, "b": filetree.Block}[f[0]], Perm: mode}
			switch f[0] {
			case "f":
				n = regular([]byte(f[3]), mode)
			case "c", "b":
				n.Major = 1
				if _, err := fmt.Sscanf(f[3], "%d", &n.Minor); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
			}
		}
		if strings.HasPrefix(name, "own") {
			n.UID, n.GID = 5, 6
		}
		if err := made.Add(name, n, "test"); err != nil {
			t.Fatal(err)
		}
	}
	return made
}

// modules is a tar as a kernel build makes it, in a directory of mode 0700.
func modules(t testing.TB) *filetree.Inode {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "./", Mode: 0o700},
		{Typeflag: tar.TypeDir, Name: "./lib/", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "./lib/modules/", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "./lib/modules/6.12/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "./lib/modules/6.12/a.ko", Mode: 0o644, Size: 3},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("mod")[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return regular(b.Bytes(), 0o644)
}

// kernelImage is what a kernel build makes.
func kernelImage(t testing.TB, extra ...string) Image {
	t.Helper()
	k := tree(t, append([]string{"f 0644 kernel bzImage", "f 0644 System.map x", "f 0644 config y"}, extra...)...)
	if err := k.Add("kernel.tar", modules(t), "test"); err != nil {
		t.Fatal(err)
	}
	return Image{Tree: k}
}

// partsImage has everything under names of its own.
func partsImage(t testing.TB) Image {
	t.Helper()
	k := tree(t, "f 0644 boot/Image image", "f 0644 intel-ucode.cpio 07070100", "f 0644 short.cpio 0707", "f 0644 odd.cpio 070701000",
		"f 0644 packed.cpio \x1f\x8b\x08abcde", "l linked.cpio intel-ucode.cpio")
	if err := k.Add("modules.tar", modules(t), "test"); err != nil {
		t.Fatal(err)
	}
	return Image{Tree: k}
}

func testImages(t testing.TB) *fakeImages {
	t.Helper()
	shell := ImageConfig{Entrypoint: []string{"/bin/sh", "-c"}, Cmd: []string{"true"}, Env: []string{"PATH=/bin"}, WorkingDir: "/w"}
	labelled := func(l string) ImageConfig {
		c := shell
		c.Labels = map[string]string{label: l, "other": "x"}
		return c
	}
	files := func(name string) *filetree.Tree { return tree(t, "f 0755 bin/"+name+" "+name) }
	apk := func(name string) Image {
		return Image{Tree: tree(t, "f 0755 usr/bin/"+name+" "+name, "f 0600 lib/apk/db/installed P:"+name)}
	}
	images := map[string]Image{
		"kernel":  kernelImage(t),
		"arm":     kernelImage(t, "f 0644 dtbs.tar.gz dtbs"),
		"merged":  {Tree: tree(t, "d 0755 usr/lib", "l lib usr/lib", "l sbin usr/sbin", "f 0755 usr/sbin/init busybox", "f 0644 etc/hostname nowhere", "d 1777 tmp", "d 0700 .")},
		"overlay": {Tree: tree(t, "f 04755 sbin/tool tool", "h sbin/twin sbin/tool", "f 0644 boot/vmlinuz big", "l etc/mtab elsewhere", "f 0600 own/secret s", "f 0644 etc/hosts placeholder")},
		"sh":      {Tree: files("sh"), Config: shell, Digest: "sha256:1"},
		"sh:copy": {Tree: files("sh"), Config: shell, Digest: "sha256:1"},
		"bare":    {Tree: tree(t, "f 0755 a a", "f 0644 .dockerenv x", "f 0644 Dockerfile x", "f 0600 dev/console x", "l etc/resolv.conf /gone", "d 0700 sys")},
		"label": {Tree: files("rngd"), Config: labelled(`{"capabilities": ["CAP_SYS_ADMIN"], "oomScoreAdj": -800, "readonly": true,
			"binds": ["/dev:/dev", "/etc/resolv.conf:/etc/resolv.conf:ro"], "net": "new", "command": ["/bin/rngd"], "env": []}`)},
		"label-add":       {Tree: files("x"), Config: labelled("capabilities.add: [CAP_CHOWN]\nbinds.add: ['/a:/b']\n")},
		"label-bad":       {Tree: files("x"), Config: labelled("name: x\nreadonly: 1\ncapabilites: []\nbinds: ['vol:/a']\n")},
		"label-long":      {Tree: files("x"), Config: labelled("# " + strings.Repeat(" ", 32<<10))},
		"label-volume":    {Tree: files("x"), Config: labelled(`{"binds": ["data:/data"], "mounts": [{"type": "bind", "source": "fixed", "destination": "/f", "options": ["ro"]}]}`)},
		"label-resources": {Tree: files("x"), Config: labelled(`{"resources": {"blockIO": {"weight": 200}, "memory": {"limit": 9000}, "hugepageLimits": [{"pageSize": "64KB", "limit": 3}]}}`)},
		"label-runtime": {Tree: files("x"), Config: labelled(`{"rootfsPropagation": "shared", "cgroupsPath": "/label", "hostname": "label",
			"runtime": {"mkdir": ["/label"], "cgroups": ["label"], "bindNS": {"net": "/run/label/net", "pid": "/run/label/pid"}, "namespace": "label"}}`)},
		"parts":        partsImage(t),
		"alpine-usr":   {Tree: tree(t, "l lib usr/lib", "f 0644 usr/lib/apk/db/installed P:usr")},
		"alpine-runc":  apk("runc"),
		"alpine-runc2": apk("runc2"),
		"nodes": {Tree: tree(t, "c 0600 dev/console 1", "c 0666 dev/null 3", "b 0660 own/ram0 0", "p 0622 run/initctl", "f 06755 bin/a a", "h bin/b bin/a", "h own/c bin/a",
			"p 0600 run/other", "h run/link run/initctl"), Config: shell},
		"multi":       {Tree: files("multi"), Config: shell},
		"label-empty": {Tree: files("x"), Config: labelled(" ")},
	}
	for _, ref := range []string{"plain:1", defaultRegistry + "/library/plain:1", "registry.example/plain:1", "linuxkit/init:1",
		"registry.example/a/b:2", "localhost/c", "build:local"} {
		images[ref] = Image{Tree: files("plain"), Config: shell}
	}
	return &fakeImages{asked: map[string]int{}, images: images}
}

// dump writes a tree as text: what each entry is, and the content of JSON files.
func dump(t *testing.T, tr *filetree.Tree) string {
	t.Helper()
	var b strings.Builder
	first := map[*filetree.Inode]string{}
	for _, e := range tr.Entries() {
		fmt.Fprintf(&b, "%s %04o %d:%d %s", [...]string{"-", "d", "l", "c", "b", "p"}[e.Kind], e.Perm, e.UID, e.GID, e.Path)
		link, linked := first[e.Inode]
		if !linked {
			first[e.Inode] = e.Path
		}
		switch {
		case linked:
			fmt.Fprintf(&b, " == %s", link)
		case e.Kind == filetree.Symlink:
			fmt.Fprintf(&b, " -> %s", e.Target)
		case e.Kind == filetree.Char || e.Kind == filetree.Block:
			fmt.Fprintf(&b, " %d,%d", e.Major, e.Minor)
		case e.Kind == filetree.Regular && (strings.HasSuffix(e.Path, ".json") || strings.HasSuffix(e.Path, ".yml")):
			fmt.Fprintf(&b, "\n\t%s", strings.ReplaceAll(strings.TrimSuffix(text(t, e.Data), "\n"), "\n", "\n\t"))
		case e.Kind == filetree.Regular:
			b.WriteString(" " + digest(e.Data))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func text(t *testing.T, blob filetree.Blob) string {
	t.Helper()
	data, err := blob.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func digest(blob filetree.Blob) string {
	sum := blob.SHA256()
	return fmt.Sprintf("%d sha256:%x", blob.Size(), sum[:6])
}

// dumpResult writes all that a result holds.
func dumpResult(t *testing.T, r *Result) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(dump(t, r.Tree), defaultRegistry, "HUB"))
	fmt.Fprintf(&b, "kernel: %s\ncmdline: %s\n", digest(r.Kernel), r.Cmdline)
	for name, blob := range map[string]*filetree.Blob{"device trees": r.DTBs, "microcode": r.Microcode} {
		if blob != nil {
			fmt.Fprintf(&b, "%s: %s\n", name, digest(*blob))
		}
	}
	for _, s := range r.Segments() {
		fmt.Fprintf(&b, "segment %s: %d entries from %s\n", s.Name, len(s.Entries), s.Entries[0].Path)
	}
	for _, w := range r.Warnings {
		b.WriteString("warning: " + w + "\n")
	}
	return b.String()
}

const goldenDir = "testdata/golden"

// readTestFile has a file beside the golden YAMLs, one in the working directory, one at home and one elsewhere.
func readTestFile(p string) ([]byte, error) {
	for _, known := range []string{goldenDir + "/note.txt", "work/elsewhere.txt", "/home/me/.ssh/id.pub", "/abs/note.txt"} {
		if p == known {
			return []byte(p), nil
		}
	}
	return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
}

// layout is what would make OCI layouts of images.
func layout(_ context.Context, l Layout) (*filetree.Tree, error) {
	if l.Ref == "gone" {
		return nil, fs.ErrNotExist
	}
	t := filetree.New()
	return t, errors.Join(t.Add("oci-layout", regular([]byte(`{"imageLayoutVersion": "1.0.0"}`), 0o644), "test"),
		t.Add("index.json", regular(fmt.Appendf(nil, "%s %q", l.Ref, l.Platforms), 0o644), "test"),
		t.Add("blobs/sha256", directory(0o755), "test"))
}

func goldenOptions(name string) ParseOptions {
	o := ParseOptions{WorkDir: "work", Home: "/home/me", Vars: map[string]string{
		"HUB": defaultRegistry, "SITE": "north", "IMAGE": "sh", "RO": "true", "UID": "7", "ADJ": "-3", "MODE": "0640", "SOMETHING": "never",
		"HOOK_VERSION": "1.2.3", "HOOK_KERNEL_ID": "mine-amd64", "HOOK_KERNEL_VERSION": "6.12",
		"HOOK_CONTAINER_LINUXKIT_INIT_IMAGE": "merged", "HOOK_CONTAINER_DOCKER_IMAGE": "sh",
	}}
	if strings.HasPrefix(name, "hook-") {
		o.Template = TemplateHook
	}
	return o
}

// goldenSpec reads NAME.yaml and, where there is one, NAME.2.yaml.
func goldenSpec(t *testing.T, name string) *Spec {
	t.Helper()
	var spec *Spec
	for _, file := range []string{name + ".yaml", name + ".2.yaml"} {
		data, err := os.ReadFile(filepath.Join(goldenDir, file))
		if errors.Is(err, fs.ErrNotExist) && spec != nil {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		next, err := ParseWith(filepath.Join(goldenDir, file), data, goldenOptions(name))
		if err != nil {
			t.Fatal(err)
		}
		if spec != nil {
			next = Merge(spec, next)
		}
		spec = next
	}
	return spec
}

// goldenNames lists the YAMLs of testdata/golden without ending.
func goldenNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(goldenDir + "/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".yaml"); !strings.HasSuffix(name, ".2") {
			names = append(names, name)
		}
	}
	if len(names) < 20 {
		t.Fatalf("found %d YAMLs, want 20 or more", len(names))
	}
	return names
}

func TestGolden(t *testing.T) {
	for _, name := range goldenNames(t) {
		t.Run(name, func(t *testing.T) {
			o := Options{Kernel: "kernel", ReadFile: readTestFile, Layout: layout}
			result, err := Assemble(t.Context(), goldenSpec(t, name), testImages(t), o)
			if err != nil {
				t.Fatal(err)
			}
			got := dumpResult(t, result)
			golden := filepath.Join(goldenDir, name+".tree")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			checkSegments(t, result)
		})
	}
}

func assemble(t *testing.T, text string) (*Result, error) {
	t.Helper()
	return Assemble(t.Context(), parse(t, text), testImages(t), Options{Kernel: "kernel", ReadFile: readTestFile})
}

func TestAssembleErrors(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"no such image", "init: [gone]\n", "image gone: file does not exist"},
		{"no kernel in the image", "kernel: {image: sh}\n", "image sh has no /kernel"},
		{"no command", "onboot: [{name: a, image: bare}]\n",
			"hook.yaml:1:27: container a has no command, and image bare has neither entrypoint nor command"},
		{"label", "onboot: [{name: a, image: label-bad}]\n", `image label-bad, label org.mobyproject.config:1:1: unknown key "name"
image label-bad, label org.mobyproject.config:2:11: "readonly": want true or false, got a number
image label-bad, label org.mobyproject.config:3:1: unknown key "capabilites": did you mean "capabilities"?
image label-bad, label org.mobyproject.config:4:9: no volume is named "vol"`},
		{"label too long", "onboot: [{name: a, image: label-long}]\n",
			"image label-long, label org.mobyproject.config:1:1: the label has 32770 bytes, want at most 32768"},
		{"label with a volume", "volumes: [{name: data}, {name: fixed}]\nonboot: [{name: a, image: label-volume}]\nservices: [{name: a, image: label-volum}]\n", "image label-volum: file does not exist"},
		{"label without its volume", "volumes: [{name: date, readonly: true}]\nonboot: [{name: a, image: label-volume}]\n", `image label-volume, label org.mobyproject.config:1:12: no volume is named "data": did you mean "date"?
image label-volume, label org.mobyproject.config:1:38: no volume is named "fixed"`},
		{"no such kernel file", "kernel: {image: parts}\n", "image parts has no /kernel"},
		{"no such modules", "kernel: {image: parts, binary: boot/Image}\n", "image parts has no /kernel.tar"},
		{"kernel is a directory", "kernel: {image: parts, binary: boot}\n", "image parts: /boot is a directory, want a file"},
		{"microcode is a symlink", "kernel: {image: parts, binary: boot/Image, ucode: linked.cpio}\n", "image parts: /linked.cpio is a symlink, want a file"},
		{"microcode is short", "kernel: {image: parts, binary: boot/Image, ucode: short.cpio}\n", "image parts: /short.cpio: not an uncompressed newc archive"},
		{"microcode is compressed", "kernel: {image: parts, binary: boot/Image, ucode: packed.cpio}\n", "image parts: /packed.cpio: not an uncompressed newc archive"},
		{"microcode of odd size", "kernel: {image: parts, binary: boot/Image, ucode: odd.cpio}\n", "image parts: /odd.cpio: got 9 bytes, want a multiple of 4"},
		{"no volume image", "volumes: [{name: a, image: gone}]\n", "volume a: image gone: file does not exist"},
		{"no layouts", "volumes: [{name: a, image: sh, format: oci}]\n",
			"volume a: format oci: there is nothing here to make an OCI image layout with"},
		{"volumes", "volumes: [{name: data, readonly: true}]\nonboot: [{name: a, image: sh, binds: ['date:/d', 'data:/e', 'data:/f:rw,ro', '/g:/g'], mounts: [{type: bind, source: data, destination: /h}]}]\nservices: [{name: b, image: sh, binds.add: ['data:/d:rw']}]\n",
			`hook.yaml:2:39: no volume is named "date": did you mean "data"?
hook.yaml:2:50: volume "data" is read-only: want the option ro
hook.yaml:2:61: volume "data" is read-only: want the option ro
hook.yaml:2:97: volume "data" is read-only: want the option ro
hook.yaml:3:45: volume "data" is read-only: want the option ro`},
		{"label without content", "onboot: [{name: a, image: label-empty}]\n", "image label-empty, label org.mobyproject.config:1:1: the document is empty"},
		{"all added to a label", "onboot: [{name: a, image: label, capabilities.add: [all]}]\n",
			`hook.yaml:1:52: "capabilities.add": with what it adds to, capabilities all and none stand alone in their list`},
		{"source", "files: [{path: a, source: gone.txt}]\n", "hook.yaml:1:27: source: open gone.txt: file does not exist"},
		{"unknown owner", "files: [{path: a, contents: b, uid: x}]\n", `hook.yaml:1:37: no container is named "x"`},
		{"file over a directory", "init: [merged]\nfiles: [{path: usr, contents: b}]\n",
			"hook.yaml:2:9: usr: directory of init image merged stands where hook.yaml:2:9 brings a file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			result, err := assemble(t, tc.text)
			if fmt.Sprint(err) != tc.want || result != nil {
				t.Errorf("got %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestErrorTypes(t *testing.T) {
	_, err := assemble(t, "onboot: [{name: a, image: label-bad}]\n")
	var errs strictyaml.Errors
	if !errors.As(err, &errs) || len(errs) != 4 {
		t.Errorf("a bad label: got %T", err)
	}
	_, err = assemble(t, "init: [merged]\nfiles: [{path: usr, contents: b}]\n")
	var conflict *filetree.ConflictError
	if !errors.As(err, &conflict) {
		t.Errorf("a conflict: got %T", err)
	}
	if _, err = assemble(t, "init: [gone]\n"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no image: got %v", err)
	}
	_, err = Assemble(t.Context(), parse(t, "init: []\n"), testImages(t), Options{})
	if want := "the LinuxKit YAML names no kernel image and no flavor gives one"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestSourceWithoutReader(t *testing.T) {
	_, err := Assemble(t.Context(), parse(t, "files: [{path: a, source: b}]\n"), testImages(t), Options{Kernel: "kernel"})
	if want := "hook.yaml:1:27: source: no file can be read: Options has neither File nor ReadFile"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestSourceFile: File goes before ReadFile, and its blob is taken as it is.
func TestSourceFile(t *testing.T) {
	large := filetree.FileRange("somewhere", 7, 1<<40, [32]byte{1})
	o := Options{Kernel: "kernel", ReadFile: readTestFile, File: func(p string) (filetree.Blob, error) {
		if p != "b" {
			return filetree.Blob{}, fs.ErrNotExist
		}
		return large, nil
	}}
	spec := parse(t, "files: [{path: a, source: b, mode: \"0640\"}, {path: c, source: d, optional: true}]\n")
	result, err := Assemble(t.Context(), spec, testImages(t), o)
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := result.Tree.Lookup("a"); !ok || e.Data.Size() != 1<<40 || e.Data.SHA256() != large.SHA256() || e.Perm != 0o640 {
		t.Errorf("got %+v", e)
	}
	if _, ok := result.Tree.Lookup("c"); ok {
		t.Error("a file that does not exist is there")
	}
}

// TestLayoutError: what Layout says is passed on.
func TestLayoutError(t *testing.T) {
	_, err := Assemble(t.Context(), parse(t, "volumes: [{name: a, image: gone, format: oci}]\n"), testImages(t), Options{Kernel: "kernel", Layout: layout})
	if want := "volume a: image gone: OCI layout: file does not exist"; fmt.Sprint(err) != want || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestAPKDatabaseBomb: lists that are too large to be joined stay what they are.
func TestAPKDatabaseBomb(t *testing.T) {
	imgs := testImages(t)
	for _, ref := range []string{"alpine-runc", "alpine-runc2"} {
		large := &filetree.Inode{Kind: filetree.Regular, Data: filetree.FileRange("gone", 0, 40<<20, [32]byte{2})}
		if err := imgs.images[ref].Tree.Add(apkDatabase, large, "test"); err != nil {
			t.Fatal(err)
		}
	}
	result, err := Assemble(t.Context(), parse(t, "init: [alpine-runc, alpine-runc2]\n"), imgs, Options{Kernel: "kernel"})
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := result.Tree.Lookup(apkDatabase); !ok || e.Data.Size() != 40<<20 || len(result.Warnings) != 1 {
		t.Errorf("got %+v, warnings %q", e, result.Warnings)
	}
}

func TestKernel(t *testing.T) {
	for _, tc := range []struct{ name, text, dtbs string }{
		{"the flavor's", "init: []\n", ""},
		{"the flavor's by name", "kernel: {image: \"${HOOK_KERNEL}\"}\n", ""},
		{"another", "kernel: {image: arm}\n", "dtbs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			result, err := assemble(t, tc.text)
			if err != nil {
				t.Fatal(err)
			}
			if data, err := result.Kernel.ReadAll(); err != nil || string(data) != "bzImage" {
				t.Errorf("kernel: got %q, error %v", data, err)
			}
			if (result.DTBs != nil) != (tc.dtbs != "") {
				t.Fatalf("device trees: got %v", result.DTBs)
			}
			if tc.dtbs == "" {
				return
			}
			if data, err := result.DTBs.ReadAll(); err != nil || string(data) != tc.dtbs {
				t.Errorf("device trees: got %q, error %v", data, err)
			}
		})
	}
}

func TestImagesAreAskedOnce(t *testing.T) {
	spec := parse(t, "init: [sh]\nonboot:\n  - {name: a, image: sh}\n  - {name: b, image: sh}\nservices: [{name: c, image: 'sh:copy'}]\n")
	imgs := testImages(t)
	result, err := Assemble(t.Context(), spec, imgs, Options{Kernel: "kernel"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"kernel": 1, "sh": 1, "sh:copy": 1}, imgs.asked); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	root, _ := result.Tree.Lookup("bin/sh")
	lower, ok := result.Tree.Lookup("containers/onboot/000-a/lower/bin/sh")
	if !ok || root.Inode == lower.Inode {
		t.Errorf("the root's and the container's file are links of each other")
	}
}

func TestSearchable(t *testing.T) {
	for mode, want := range map[uint32]uint32{0o600: 0o700, 0o644: 0o755, 0o444: 0o555, 0o777: 0o777, 0o640: 0o750, 0: 0, 0o4755: 0o755} {
		if got := searchable(mode); got != want {
			t.Errorf("%04o: got %04o, want %04o", mode, got, want)
		}
	}
}
