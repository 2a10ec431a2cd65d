package test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/image"
)

// oddImage is an image that is legal and not as tools usually make them.
type oddImage struct {
	layers []oddLayer
	// differs are the paths of which some engines make something else than the image format says, and why. They are
	// not compared.
	differs map[string]string
}

// oddLayer is a tar, of words: "dir/", "link -> target", "hard = target", "char c5:1", "block b8:0", "fifo p" or a
// file with its name as content; then "|" with a mode, an owner and attributes where they are not the usual ones.
type oddLayer struct {
	words []string
	raw   []byte // instead
}

func layer(words ...string) oddLayer { return oddLayer{words: words} }

// oddHeader makes an entry of a word.
func oddHeader(t *testing.T, word string) (*tar.Header, string) {
	t.Helper()
	name, settings, _ := strings.Cut(word, "|")
	h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}
	body := ""
	switch first, rest, _ := strings.Cut(name, " "); {
	case strings.Contains(name, " -> "):
		h.Name, h.Linkname, _ = strings.Cut(name, " -> ")
		h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
	case strings.Contains(name, " = "):
		h.Name, h.Linkname, _ = strings.Cut(name, " = ")
		h.Typeflag = tar.TypeLink
	case strings.HasSuffix(name, "/") || name == ".":
		h.Typeflag, h.Mode = tar.TypeDir, 0o755
	case rest == "p":
		h.Name, h.Typeflag = first, tar.TypeFifo
	case len(rest) > 2 && strings.Contains("cb", rest[:1]) && strings.Contains(rest, ":"):
		h.Name, h.Typeflag = first, map[byte]byte{'c': tar.TypeChar, 'b': tar.TypeBlock}[rest[0]]
		if _, err := fmt.Sscanf(rest[1:], "%d:%d", &h.Devmajor, &h.Devminor); err != nil {
			t.Fatalf("%s: %v", word, err)
		}
	default:
		body = name
		h.Size = int64(len(body))
	}
	for setting := range strings.FieldsSeq(settings) {
		if key, value, ok := strings.Cut(setting, "="); ok {
			h.PAXRecords = map[string]string{"SCHILY.xattr." + key: value}
		} else if uid, gid, ok := strings.Cut(setting, ":"); ok {
			h.Uid, _ = strconv.Atoi(uid)
			h.Gid, _ = strconv.Atoi(gid)
		} else {
			h.Mode, _ = strconv.ParseInt(setting, 8, 64)
		}
	}
	return h, body
}

func (l oddLayer) tar(t *testing.T) []byte {
	t.Helper()
	if l.raw != nil {
		return l.raw
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, word := range l.words {
		h, body := oddHeader(t, word)
		if err := errors.Join(w.WriteHeader(h), write(w, []byte(body))); err != nil {
			t.Fatalf("%s: %v", word, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func words(n int, format string) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(format, i))
	}
	return all
}

// v7 takes what ustar added out of a tar: magic, owner's names, the types that V7 had not.
func v7(packed []byte) []byte {
	packed = slices.Clone(packed)
	for at := 0; at+512 <= len(packed) && packed[at] != 0; at += 512 {
		var size int
		fmt.Sscanf(string(packed[at+124:at+135]), "%o", &size)
		clear(packed[at+257 : at+512])
		if packed[at+156] == '0' || packed[at+156] == '5' {
			packed[at+156] = 0
		}
		mendChecksum(packed[at : at+512])
		at += (size + 511) &^ 511
	}
	return packed
}

func mendChecksum(header []byte) {
	copy(header[148:], "        ")
	sum := 0
	for _, c := range header {
		sum += int(c)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
}

// withSize says of the first entry of a tar, a directory, that it has a size.
func withSize(packed []byte) []byte {
	copy(packed[124:], "00000001000\x00")
	mendChecksum(packed[:512])
	return packed
}

// withGlobalHeader puts what git archive writes in front of a tar.
func withGlobalHeader(t *testing.T, packed []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	h := &tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "0123456789"}}
	w := tar.NewWriter(&out)
	if err := errors.Join(w.WriteHeader(h), w.Flush()); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), packed...)
}

// Why this engine's answer is not asked.
const (
	impliedDir = "the layer has no entry for it: containerd keeps what the layer below says, Docker's own storage makes it anew"
	sameLayer  = "a whiteout hides only what is below its layer, and fuse-overlayfs has it hide what is beside it, too"
	zeroDevice = "to overlayfs, device 0:0 is a whiteout"
	deepLinks  = "fuse-overlayfs forgets hard links between directories two levels down"
)

func oddImages(t *testing.T) map[string]oddImage {
	t.Helper()
	one := func(words ...string) oddImage { return oddImage{layers: []oddLayer{layer(words...)}} }
	raw := func(packed []byte) oddImage { return oddImage{layers: []oddLayer{{raw: packed}}} }
	stack := func(layers ...oddLayer) oddImage { return oddImage{layers: layers} }
	merged := layer("usr/", "usr/bin/", "usr/lib/", "usr/sbin/|2755 0:5", "bin -> usr/bin", "lib -> usr/lib", "sbin -> usr/sbin", "usr/bin/sh", "usr/lib/x")
	plain := layer("d/", "d/f", "d/s/", "d/s/g", "f", "l -> d")
	part := strings.Repeat("p", 99)
	return map[string]oddImage{
		"nothing":                                  one(),
		"only the root":                            one("./"),
		"the root has a mode":                      one("./|1700 5:6", "f"),
		"names begin with ./":                      one("./d/", "./d/f", "./l -> d/f", "./h = ./d/f"),
		"names are absolute":                       one("/d/", "/d/f", "/h = /d/f"),
		"no parents":                               one("a/b/c/d", "a/x/", "e/l -> ../a"),
		"parents come last":                        one("a/b/f", "a/b/|700 1:2", "a/|711"),
		"merged /usr":                              stack(merged),
		"merged /usr, added to":                    stack(merged, layer("usr/lib/y", "usr/bin/", "usr/bin/z|4755")),
		"merged /usr, split again":                 stack(merged, layer("lib/", "lib/y")),
		"merged /usr, a file below":                stack(merged, layer("lib/y")),
		"merged /usr, two below":                   stack(merged, layer("bin/a", "lib/m/n/o", "sbin/c -> ../lib")),
		"merged /usr, made later":                  stack(layer("bin/", "bin/a", "lib/b"), layer("usr/bin/", "bin -> usr/bin", "usr/bin/a", "lib -> usr/lib", "usr/lib/b")),
		"a whiteout below a symlink":               stack(merged, layer("lib/.wh.x")),
		"an opaque symlink":                        stack(merged, layer("lib/.wh..wh..opq", "lib/y")),
		"a file through its own layer's symlink":   one("usr/lib/", "lib -> usr/lib", "lib/y"),
		"through two symlinks":                     one("a/b/", "l -> a", "a/m -> ../l/b", "l/m/f", "a/m/g"),
		"deep .. symlinks":                         one("a/b/c/", "a/b/c/up -> ../../../x", "a/b/c/over -> ../../../../../../x", "x"),
		"symlinks out of the root":                 one("s -> ../../../etc/shadow", "abs -> /../../x", "d/t -> ../../.."),
		"symlinks to nothing":                      one("s -> no/where", "abs -> /no", "dot -> .", "dots -> ..", "slash -> d/", "d/"),
		"symlinks in circles":                      one("self -> self", "a -> b", "b -> a", "d/up -> ../d/up/x"),
		"a long target":                            one("s -> " + strings.Repeat("0123456789/", 372)),
		"odd targets":                              one("a -> //x//y/", "b ->  x ", "c -> \xff", "d -> a\nb", "e -> a\\b"),
		"an owner of symlinks":                     one("s -> x|777 7:8"),
		"hard links":                               one("a", "b = a", "d/c = a", "d/e = b"),
		"a farm of hard links":                     one(append([]string{"f|4755 3:4"}, words(500, "farm/h%03d = f|4755 3:4")...)...),
		"hard links to all kinds":                  one("s -> x", "c c1:3", "p p", "hs = s", "hc = c", "hp = p"),
		"hard links without parents":               {layers: []oddLayer{layer("a/b/f", "c/d/h = a/b/f")}, differs: map[string]string{"a/b/f": deepLinks, "c/d/h": deepLinks}},
		"one hard link is removed":                 stack(layer("a", "b = a", "c = a"), layer(".wh.a")),
		"a hard link to a file of the same layer":  stack(layer("a"), layer("b", "c = b")),
		"hard links replaced by files":             stack(layer("a", "b = a"), layer("a|600", "b|640")),
		"setuid, setgid and sticky":                one("u|4755", "g|2755", "s|1644", "all|7777", "d/|2775", "t/|1777"),
		"no permissions":                           one("f|0", "d/|0", "d/f|0"),
		"file capabilities":                        one("ping|755 security.capability=\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "f"),
		"large owners":                             one("a|644 65534:65534", "b|644 100000:200000", "c/|755 4294967294:4294967294"),
		"names that are not UTF-8":                 one("\xff", "\xc3\x28", "d\x80/", "d\x80/\xfe"),
		"one name in two forms of Unicode":         one("caf\u00e9", "cafe\u0301"),
		"names that differ in case":                one("a", "A", "d/", "D/"),
		"names with odd bytes":                     one("a b", "new\nline", "tab\t", "back\\slash", "*?[", "-rf", "c:d", "\x1b[31m", "\x7f", "..x", "...", "a..b/"),
		"names like whiteouts":                     one(".wh", "wh.", "x.wh.y", ".whx", ".Wh.x"),
		"the end of a newc archive":                one("TRAILER!!!", "d/TRAILER!!!"),
		"long names":                               one(strings.Repeat("n", 255), strings.Repeat("d", 255)+"/", strings.Repeat("d", 255)+"/"+strings.Repeat("m", 255)),
		"a long path":                              one(strings.Repeat(part+"/", 20) + "f"),
		"a deep path":                              one(strings.Repeat("d/", 400) + "f"),
		"devices and fifos":                        one("null c1:3", "sda b8:0|660 0:6", "big c259:1048575", "p p|600 1:1"),
		"device 0:0":                               {layers: []oddLayer{layer("zero c0:0", "f")}, differs: map[string]string{"zero": zeroDevice}},
		"empty files and directories":              {layers: []oddLayer{{raw: rawFile("e", "", 0)}, layer("d/")}},
		"a file of 1 MiB":                          {layers: []oddLayer{{raw: rawFile("big", strings.Repeat("content ", 1<<17), 0)}}},
		"a thousand files":                         one(words(1000, "d/f%d")...),
		"the same layer twice":                     stack(plain, plain),
		"twenty layers":                            stack(slices.Repeat([]oddLayer{plain, layer("d/.wh.f", "n"), layer("d/", "d/f|600", ".wh.n"), layer("d/s/.wh..wh..opq")}, 5)...),
		"a file removed":                           stack(plain, layer("d/", "d/.wh.f")),
		"a directory removed":                      stack(plain, layer(".wh.d")),
		"a symlink removed":                        stack(plain, layer(".wh.l")),
		"nothing removed":                          stack(plain, layer(".wh.none", "d/.wh.none")),
		"nothing removed, where nothing is":        stack(plain, layer("n/.wh.none", "m/.wh..wh..opq")),
		"removed and back":                         stack(plain, layer(".wh.d"), layer("d/|700 1:1", "d/new")),
		"removed twice":                            stack(plain, layer(".wh.f"), layer(".wh.f")),
		"removed and back in one layer":            {layers: []oddLayer{plain, layer("d/.wh.f", "d/f|600")}, differs: map[string]string{"d/f": sameLayer}},
		"an opaque directory":                      stack(plain, layer("d/|700", "d/.wh..wh..opq", "d/new")),
		"an opaque directory, told last":           stack(plain, layer("d/", "d/s/", "d/s/new", "d/.wh..wh..opq")),
		"an opaque directory without more":         stack(plain, layer("d/s/.wh..wh..opq")),
		"an opaque root":                           stack(plain, layer(".wh..wh..opq", "new")),
		"two opaque layers":                        stack(plain, layer("d/.wh..wh..opq", "d/x"), layer("d/.wh..wh..opq", "d/y")),
		"file, directory, file":                    stack(layer("x"), layer("x/", "x/y"), layer("x|600")),
		"directory, symlink, directory":            stack(plain, layer("d -> f"), layer("d/", "d/new")),
		"directory, symlink without more":          stack(plain, layer("d -> l")),
		"symlink, file, device":                    stack(plain, layer("l"), layer("l c1:3")),
		"directory, fifo":                          stack(plain, layer("d p")),
		"file, directory that is implied":          stack(plain, layer("f/below")),
		"a directory's mode and owner change":      stack(plain, layer("d/|1777 5:6"), layer("d/", "d/s/|2700 7:8"), layer("d/|700 1:1")),
		"a layer without a directory of mode 1777": {layers: []oddLayer{layer("tmp/|1777 5:6", "tmp/a"), layer("tmp/b")}, differs: map[string]string{"tmp": impliedDir}},
		"V7":                      raw(v7(layer("d/", "d/f", "s -> d", "h = d/f").tar(t))),
		"no end":                  raw(bytes.TrimRight(layer("d/", "d/f").tar(t), "\x00")),
		"much after the end":      raw(append(layer("d/", "d/f").tar(t), bytes.Repeat([]byte("garbage "), 1000)...)),
		"a global header":         raw(withGlobalHeader(t, layer("d/", "d/f").tar(t))),
		"a directory with a size": raw(withSize(layer("d/", "d/f").tar(t))),
		"a time before 1970":      raw(rawFile("old", "x", -86400)),
		"a time after 2242":       raw(rawFile("new", "x", 1<<33)),
	}
}

// rawFile is a tar of one file.
func rawFile(name, content string, seconds int64) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatPAX}
	h.ModTime = h.ModTime.AddDate(1969, 0, 0).AddDate(0, 0, int(seconds/86400))
	if err := errors.Join(w.WriteHeader(h), write(w, []byte(content)), w.Close()); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// archives is an engine whose images are saved as they were loaded: Docker cannot save a layer with whiteouts that
// fuse-overlayfs has unpacked, nor a directory with a size.
type archives struct {
	*engine.Engine
	save func(ref string) []byte
}

func (a archives) Save(_ context.Context, ref string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(a.save(ref))), nil
}

// saved writes a `docker save` archive of the image only, or of all where that is "". Refs are their names in it.
func saved(t *testing.T, images map[string]oddImage, refs map[string]string, only string) []byte {
	t.Helper()
	type item struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var manifest []item
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	written := map[string]bool{}
	add := func(name string, data []byte) {
		if written[name] {
			return
		}
		written[name] = true
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))}
		if err := errors.Join(w.WriteHeader(h), write(w, data)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(images)) {
		if only != "" && only != refs[name] {
			continue
		}
		m := item{RepoTags: []string{refs[name]}}
		var ids []string
		for _, l := range images[name].layers {
			packed := l.tar(t)
			sum := fmt.Sprintf("%x", sha256.Sum256(packed))
			ids = append(ids, "sha256:"+sum)
			m.Layers = append(m.Layers, sum+"/layer.tar")
			add(sum+"/layer.tar", packed)
		}
		config, err := json.Marshal(map[string]any{
			"architecture": "amd64", "os": "linux", "config": map[string]any{"Cmd": []string{"/none"}, "Labels": map[string]string{"odd": name}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": ids},
		})
		if err != nil {
			t.Fatal(err)
		}
		m.Config = fmt.Sprintf("%x.json", sha256.Sum256(config))
		add(m.Config, config)
		manifest = append(manifest, m)
	}
	list, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	add("manifest.json", list)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// oddFile is what counts of one path, comparable.
type oddFile struct {
	Kind  filetree.Kind
	Perm  uint32
	Owner string
	Of    string // target, device number, or size and digest
	Cap   bool   // it has file capabilities
	Links string // the first of its names, where it has several
}

// linksOf says which paths are one file, by the first of them.
func linksOf[K comparable](of map[string]K) map[string]string {
	names := map[K][]string{}
	for _, p := range slices.Sorted(maps.Keys(of)) {
		names[of[p]] = append(names[of[p]], p)
	}
	first := map[string]string{}
	for p, k := range of {
		if len(names[k]) > 1 {
			first[p] = names[k][0]
		}
	}
	return first
}

// filesOf tells a tree.
func filesOf(t *testing.T, tree *filetree.Tree) map[string]oddFile {
	t.Helper()
	files, inodes := map[string]oddFile{}, map[string]*filetree.Inode{}
	for _, e := range tree.Entries()[1:] {
		f := oddFile{Kind: e.Kind, Perm: e.Perm, Owner: fmt.Sprintf("%d:%d", e.UID, e.GID), Cap: slices.Contains(e.Xattrs, "security.capability")}
		switch e.Kind {
		case filetree.Symlink:
			f.Perm, f.Of = 0o777, e.Target
		case filetree.Char, filetree.Block:
			f.Of = fmt.Sprintf("%d:%d", e.Major, e.Minor)
		case filetree.Regular:
			data, err := e.Data.ReadAll()
			if err != nil {
				t.Fatalf("%s: %v", e.Path, err)
			}
			f.Of = fmt.Sprintf("%d %x", len(data), sha256.Sum256(data))
		}
		files[e.Path], inodes[e.Path] = f, e.Inode
	}
	for p, first := range linksOf(inodes) {
		f := files[p]
		f.Links = first
		files[p] = f
	}
	return files
}

// exported tells the tar that docker export writes.
func exported(t *testing.T, in io.Reader) map[string]oddFile {
	t.Helper()
	kinds := map[byte]filetree.Kind{tar.TypeReg: filetree.Regular, tar.TypeDir: filetree.Dir, tar.TypeSymlink: filetree.Symlink,
		tar.TypeChar: filetree.Char, tar.TypeBlock: filetree.Block, tar.TypeFifo: filetree.FIFO}
	files, inodes := map[string]oddFile{}, map[string]string{}
	r := tar.NewReader(in)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		p := path.Clean(h.Name)
		if h.Typeflag == tar.TypeLink {
			files[p], inodes[p] = files[path.Clean(h.Linkname)], path.Clean(h.Linkname)
			continue
		}
		f := oddFile{Kind: kinds[h.Typeflag], Perm: uint32(h.Mode & 0o7777), Owner: fmt.Sprintf("%d:%d", h.Uid, h.Gid)}
		_, f.Cap = h.PAXRecords["SCHILY.xattr.security.capability"]
		switch f.Kind {
		case filetree.Symlink:
			f.Perm, f.Of = 0o777, h.Linkname
		case filetree.Char, filetree.Block:
			f.Of = fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)
		case filetree.Regular:
			sum := sha256.New()
			n, err := io.Copy(sum, r)
			if err != nil {
				t.Fatal(err)
			}
			f.Of = fmt.Sprintf("%d %x", n, sum.Sum(nil))
		}
		files[p], inodes[p] = f, p
	}
	for p, first := range linksOf(inodes) {
		f := files[p]
		f.Links = first
		files[p] = f
	}
	return files
}

// madeByDocker are the paths that docker create adds to what an image has.
var madeByDocker = []string{".dockerenv", "dev", "dev/console", "dev/pts", "dev/shm", "etc", "etc/hosts", "etc/hostname", "etc/mtab",
	"etc/resolv.conf", "proc", "sys"}

// An odd image is the tree that the engine makes of it: what docker export says of a container that has not run.
// Of the root, which that leaves out, and of times, which a tree has not, nothing is compared.
func TestOddImages(t *testing.T) {
	images := oddImages(t)
	if len(images) < 50 {
		t.Fatalf("got %d images, want 50", len(images))
	}
	e := connect(t)
	refs := map[string]string{}
	for i, name := range slices.Sorted(maps.Keys(images)) {
		refs[name] = fmt.Sprintf("hookbuild-test/odd:%d", i)
	}
	t.Cleanup(func() { docker(t, append([]string{"rmi", "-f"}, slices.Sorted(maps.Values(refs))...)...) })
	load := exec.Command("docker", "load")
	load.Stdin = bytes.NewReader(saved(t, images, refs, ""))
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("docker load: %v\n%s", err, out)
	}
	store := archives{e, func(ref string) []byte { return saved(t, images, refs, ref) }}
	containers := []string{"rm"}
	for _, name := range slices.Sorted(maps.Keys(images)) {
		containers = append(containers, strings.TrimSpace(docker(t, "create", "--network", "none", refs[name])))
	}
	t.Cleanup(func() { docker(t, containers...) })
	for i, name := range slices.Sorted(maps.Keys(images)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reader := image.Reader{Engine: store, Cache: t.TempDir()}
			img, err := reader.Read(t.Context(), refs[name])
			if err != nil {
				t.Fatal(err)
			}
			got, want := filesOf(t, img.Tree), exportOf(t, containers[i+1])
			for _, p := range madeByDocker {
				if _, ours := got[p]; !ours {
					delete(want, p)
				}
			}
			for p, why := range images[name].differs {
				t.Logf("%s: docker export has %+v, read %+v: %s", p, want[p], got[p], why)
				delete(want, p)
				delete(got, p)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-docker export +read:\n%s", diff)
			}
		})
	}
}

// exportOf returns what a container has.
func exportOf(t *testing.T, id string) map[string]oddFile {
	t.Helper()
	cmd := exec.Command("docker", "export", id)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	files := exported(t, out)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("docker export: %v", err)
	}
	return files
}
