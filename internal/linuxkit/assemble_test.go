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

// tree makes a tree of lines: "d MODE PATH", "f MODE PATH CONTENT", "l PATH TARGET", "h PATH TARGET" (hard
// link). Owners are 0:0 but for paths that begin with "own", which are 5:6.
func tree(t *testing.T, lines ...string) *filetree.Tree {
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
			n = directory(mode)
			if f[0] == "f" {
				n = regular([]byte(f[3]), mode)
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

// kernelImage is what a kernel build makes; its tar was made in a directory of mode 0700.
func kernelImage(t *testing.T, extra ...string) Image {
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
	k := tree(t, append([]string{"f 0644 kernel bzImage", "f 0644 System.map x", "f 0644 config y"}, extra...)...)
	if err := k.Add("kernel.tar", regular(b.Bytes(), 0o644), "test"); err != nil {
		t.Fatal(err)
	}
	return Image{Tree: k}
}

func testImages(t *testing.T) *fakeImages {
	t.Helper()
	shell := ImageConfig{Entrypoint: []string{"/bin/sh", "-c"}, Cmd: []string{"true"}, Env: []string{"PATH=/bin"}, WorkingDir: "/w"}
	labelled := func(l string) ImageConfig {
		c := shell
		c.Labels = map[string]string{label: l, "other": "x"}
		return c
	}
	files := func(name string) *filetree.Tree { return tree(t, "f 0755 bin/"+name+" "+name) }
	return &fakeImages{asked: map[string]int{}, images: map[string]Image{
		"kernel":  kernelImage(t),
		"arm":     kernelImage(t, "f 0644 dtbs.tar.gz dtbs"),
		"merged":  {Tree: tree(t, "d 0755 usr/lib", "l lib usr/lib", "l sbin usr/sbin", "f 0755 usr/sbin/init busybox", "f 0644 etc/hostname nowhere", "d 1777 tmp", "d 0700 .")},
		"overlay": {Tree: tree(t, "f 04755 sbin/tool tool", "h sbin/twin sbin/tool", "f 0644 boot/vmlinuz big", "l etc/mtab elsewhere", "f 0600 own/secret s", "f 0644 etc/hosts placeholder")},
		"sh":      {Tree: files("sh"), Config: shell, Digest: "sha256:1"},
		"sh:copy": {Tree: files("sh"), Config: shell, Digest: "sha256:1"},
		"bare":    {Tree: tree(t, "f 0755 a a", "f 0644 .dockerenv x", "f 0644 Dockerfile x", "f 0600 dev/console x", "l etc/resolv.conf /gone", "d 0700 sys")},
		"label": {Tree: files("rngd"), Config: labelled(`{"capabilities": ["CAP_SYS_ADMIN"], "oomScoreAdj": -800, "readonly": true,
			"binds": ["/dev:/dev", "/etc/resolv.conf:/etc/resolv.conf:ro"], "net": "new", "command": ["/bin/rngd"], "env": []}`)},
		"label-add":   {Tree: files("x"), Config: labelled("capabilities.add: [CAP_CHOWN]\nbinds.add: ['/a:/b']\n")},
		"label-bad":   {Tree: files("x"), Config: labelled("name: x\nreadonly: 1\ncapabilites: []\nresources: {}\n")},
		"label-empty": {Tree: files("x"), Config: labelled(" ")},
	}}
}

// dump writes a tree as text; JSON and short contents are shown.
func dump(t *testing.T, tr *filetree.Tree) string {
	t.Helper()
	var b strings.Builder
	first := map[*filetree.Inode]string{}
	for _, e := range tr.Entries() {
		fmt.Fprintf(&b, "%s %04o %d:%d %s", [...]string{"-", "d", "l", "c", "b", "p"}[e.Kind], e.Perm, e.UID, e.GID, e.Path)
		if link, ok := first[e.Inode]; ok {
			fmt.Fprintf(&b, " == %s", link)
		}
		first[e.Inode] = e.Path
		switch e.Kind {
		case filetree.Symlink:
			fmt.Fprintf(&b, " -> %s", e.Target)
		case filetree.Regular:
			data, err := e.Data.ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(e.Path, ".json") {
				fmt.Fprintf(&b, "\n\t%s", strings.ReplaceAll(string(data), "\n", "\n\t"))
			} else {
				fmt.Fprintf(&b, " %.40q", data)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func readTestFile(p string) ([]byte, error) {
	if p == "testdata/golden/note.txt" || p == "/abs/note.txt" {
		return []byte("note"), nil
	}
	return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
}

func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/golden/*.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("%d inputs, error %v", len(inputs), err)
	}
	for _, input := range inputs {
		t.Run(filepath.Base(input), func(t *testing.T) {
			data, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := Parse(input, data, nil)
			if err != nil {
				t.Fatal(err)
			}
			result, err := Assemble(t.Context(), spec, testImages(t), Options{Kernel: "kernel", ReadFile: readTestFile})
			if err != nil {
				t.Fatal(err)
			}
			got := dump(t, result.Tree) + "cmdline: " + result.Cmdline + "\n"
			for _, w := range result.Warnings {
				got += "warning: " + w + "\n"
			}
			golden := strings.TrimSuffix(input, ".yaml") + ".tree"
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
image label-bad, label org.mobyproject.config:4:1: "resources" is not supported yet`},
		{"label without content", "onboot: [{name: a, image: label-empty}]\n", "image label-empty, label org.mobyproject.config:1:1: the document is empty"},
		{"all added to a label", "onboot: [{name: a, image: label, capabilities.add: [all]}]\n",
			"hook.yaml:1:52: added to the image's label: capabilities all and none stand alone in their list"},
		{"source", "files: [{path: a, source: gone.txt}]\n", "hook.yaml:1:27: source: open gone.txt: file does not exist"},
		{"unknown owner", "files: [{path: a, contents: b, uid: x}]\n", `hook.yaml:1:37: no container is named "x"`},
		{"file over a directory", "init: [merged]\nfiles: [{path: usr, contents: b}]\n",
			"hook.yaml:2:9: usr: directory of test stands where hook.yaml:2:9 brings a file"},
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
	if want := "hook.yaml:1:27: source: no file can be read: Options.ReadFile is nil"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
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
