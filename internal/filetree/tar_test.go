package filetree

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// entry is one entry of a tar under test: a header and the content of a regular file.
type entry struct {
	tar.Header
	body string
}

// word makes an entry as addWord understands it; the names stay as they are.
func word(w string) entry {
	e := entry{Header: tar.Header{Name: w, Mode: 0o644, Typeflag: tar.TypeReg}, body: w}
	if name, target, ok := strings.Cut(w, " = "); ok {
		e = entry{Header: tar.Header{Name: name, Linkname: target, Mode: 0o644, Typeflag: tar.TypeLink}}
	} else if name, target, ok := strings.Cut(w, " -> "); ok {
		e = entry{Header: tar.Header{Name: name, Linkname: target, Mode: 0o777, Typeflag: tar.TypeSymlink}}
	} else if strings.HasSuffix(w, "/") {
		e = entry{Header: tar.Header{Name: w, Mode: 0o755, Typeflag: tar.TypeDir}}
	}
	e.Size = int64(len(e.body))
	return e
}

func words(ws ...string) []entry {
	var entries []entry
	for _, w := range ws {
		entries = append(entries, word(w))
	}
	return entries
}

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.body))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// spool writes b to a file and returns it as a layer in the cache is: a range with a digest.
func spool(t *testing.T, b []byte) Blob {
	t.Helper()
	file := filepath.Join(t.TempDir(), "layer")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return FileRange(file, 0, int64(len(b)), sha256.Sum256(b))
}

func TestApplyTar(t *testing.T) {
	entries := []entry{
		{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o1777, Uid: 5}, ""},
		word("deep/down/file"), // no parents
		{tar.Header{Name: "/abs", Typeflag: tar.TypeReg, Mode: 0o104755, Uid: math.MaxUint32, Gid: math.MaxUint32}, "setuid"},
		{tar.Header{Name: "char", Typeflag: tar.TypeChar, Mode: 0o600, Devmajor: 5, Devminor: 1}, ""},
		{tar.Header{Name: "block", Typeflag: tar.TypeBlock, Mode: 0o660, Gid: 6, Devmajor: 259, Devminor: 1048575}, ""},
		{tar.Header{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o644}, ""},
		word("sym -> ../out/../of"), word("empty -> ."), word("hard = ./abs"), word("hard2 = /abs"),
		word("lib -> usr/lib"), word("lib/through"), word("usr/lib/hard = lib/through"),
		{tar.Header{Name: "zero", Typeflag: tar.TypeReg, Mode: 0o644}, ""},
		{tar.Header{Name: strings.Repeat("long/", 40) + "name", Typeflag: tar.TypeReg, Mode: 0o644}, strings.Repeat("x", 1025)},
	}
	want := []string{
		`abs file "setuid" 4755 4294967295:4294967295`, "block block device 259:1048575 0660 0:6",
		"char character device 5:1 0600", "deep directory", "deep/down directory", `deep/down/file file "deep/down/file"`,
		"empty symlink -> .", "fifo fifo", `hard file "setuid" 4755 4294967295:4294967295 = abs`,
		`hard2 file "setuid" 4755 4294967295:4294967295 = abs`, "lib symlink -> usr/lib", "sym symlink -> ../out/../of",
		"usr directory", "usr/lib directory", `usr/lib/hard file "lib/through"`,
		`usr/lib/through file "lib/through" = usr/lib/hard`, `zero file ""`,
	}
	for _, src := range []Blob{Bytes(pack(t, entries...)), spool(t, pack(t, entries...))} {
		tree := New()
		must(t, tree.ApplyTar(src, "test", TarOptions{}))
		got := slices.DeleteFunc(dump(t, tree), func(line string) bool { return strings.HasPrefix(line, "long") })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		root, _ := tree.Lookup(".")
		long, _ := tree.Lookup(strings.Repeat("long/", 40) + "name")
		if root.Perm != 0o1777 || root.UID != 5 || long.Inode == nil || long.Data.Size() != 1025 || long.Origin != "test" {
			t.Errorf("got root %+v, long name %+v", root, long)
		}
	}
}

// A kernel.tar is a file inside a layer: what it holds is a run of the layer's file.
func TestApplyTarInsideATar(t *testing.T) {
	inner := pack(t, words("./", "./lib/modules/6.12/a.ko", "./lib/modules/6.12/b.ko = ./lib/modules/6.12/a.ko")...)
	image := New()
	e := entry{tar.Header{Name: "kernel.tar", Typeflag: tar.TypeReg, Mode: 0o644}, string(inner)}
	if err := image.ApplyTar(spool(t, pack(t, word("first"), e)), "image", TarOptions{}); err != nil {
		t.Fatal(err)
	}
	found, _ := image.Lookup("kernel.tar")
	tree := New()
	if err := tree.ApplyTar(found.Data, "kernel.tar", TarOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"lib directory", "lib/modules directory", "lib/modules/6.12 directory",
		`lib/modules/6.12/a.ko file "./lib/modules/6.12/a.ko"`,
		`lib/modules/6.12/b.ko file "./lib/modules/6.12/a.ko" = lib/modules/6.12/a.ko`}
	if diff := cmp.Diff(want, dump(t, tree)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhiteouts(t *testing.T) {
	cases := map[string]struct {
		lower, layer, want []string
	}{
		"a file": {lower: []string{"a", "b"}, layer: []string{".wh.a"}, want: []string{"b"}},
		"a directory": {lower: []string{"a/b/c", "a/d"}, layer: []string{"./a/", "a/.wh.b"},
			want: []string{"a/", "a/d"}},
		"nothing": {lower: []string{"a"}, layer: []string{".wh.no", "x/.wh.no", "y/.wh..wh..opq"},
			want: []string{"a", "x/", "y/"}},
		"a symlink":    {lower: []string{"t/x", "a -> t"}, layer: []string{".wh.a"}, want: []string{"t/", "t/x"}},
		"one of links": {lower: []string{"a", "b = a"}, layer: []string{".wh.a"}, want: []string{"b:a"}},
		"before what comes instead": {lower: []string{"a/old"}, layer: []string{".wh.a", "a/new"},
			want: []string{"a/", "a/new"}},
		"after what comes instead": {lower: []string{"a/old"}, layer: []string{"a/new", ".wh.a"},
			want: []string{"a/", "a/new"}},
		"opaque first": {lower: []string{"a/old/x", "b"}, layer: []string{"a/", "a/.wh..wh..opq", "a/new"},
			want: []string{"a/", "a/new", "b"}},
		"opaque last": {lower: []string{"a/old/x", "a/new"}, layer: []string{"a/", "a/new", "a/old/y", "a/.wh..wh..opq"},
			want: []string{"a/", "a/new", "a/old/", "a/old/y"}},
		"opaque root": {lower: []string{"a/b", "c"}, layer: []string{"d", ".wh..wh..opq"}, want: []string{"d"}},
		"opaque without its directory": {lower: []string{"a/b"}, layer: []string{"a/.wh..wh..opq"},
			want: []string{"a/"}},
		"directory by file":            {lower: []string{"a/b/c"}, layer: []string{"a"}, want: []string{"a"}},
		"directory by symlink":         {lower: []string{"a/b", "t/x"}, layer: []string{"a -> t"}, want: []string{"a->t", "t/", "t/x"}},
		"directory by hard link":       {lower: []string{"a/b", "f"}, layer: []string{"a = f"}, want: []string{"a:f", "f"}},
		"hard link to a file below":    {lower: []string{"a/b"}, layer: []string{"a = a/b"}, want: []string{"a:a/b"}},
		"file by directory":            {lower: []string{"a"}, layer: []string{"a/", "a/b"}, want: []string{"a/", "a/b"}},
		"file by directory, told late": {lower: []string{"a"}, layer: []string{"a/b", "a/"}, want: []string{"a/", "a/b"}},
		"symlink to directory by directory": {lower: []string{"usr/lib/x", "lib -> usr/lib"}, layer: []string{"lib/", "lib/y"},
			want: []string{"lib/", "lib/y", "usr/", "usr/lib/", "usr/lib/x"}},
		"that one, opaque": {lower: []string{"usr/lib/x", "lib -> usr/lib"}, layer: []string{"lib/", "lib/.wh..wh..opq", "lib/y"},
			want: []string{"lib/", "lib/y", "usr/", "usr/lib/", "usr/lib/x"}},
		"that one, whiteouts below": {lower: []string{"usr/lib/s/x", "lib -> usr/lib"}, layer: []string{"lib/s/.wh.x", "lib/s/", "lib/"},
			want: []string{"lib/", "lib/s/", "usr/", "usr/lib/", "usr/lib/s/", "usr/lib/s/x"}},
		"symlink gone, whiteout below it": {lower: []string{"usr/lib/x", "lib -> usr/lib"}, layer: []string{"lib/.wh.x", ".wh.lib"},
			want: []string{"lib/", "usr/", "usr/lib/", "usr/lib/x"}},
		// Only directories are merged, and the layer needs one here.
		"below a symlink of another layer": {lower: []string{"usr/lib/x", "lib -> usr/lib"}, layer: []string{"lib/.wh.x", "lib/y"},
			want: []string{"lib/", "lib/y", "usr/", "usr/lib/", "usr/lib/x"}},
		"below a file of another layer": {lower: []string{"a"}, layer: []string{"a/b"}, want: []string{"a/", "a/b"}},
		"through a symlink of its own": {lower: []string{"usr/lib/x"}, layer: []string{"lib -> usr/lib", "lib/.wh.x", "lib/y"},
			want: []string{"lib->usr/lib", "usr/", "usr/lib/", "usr/lib/y:lib/y"}},
		"opaque below a symlink": {lower: []string{"usr/lib/x", "lib -> usr/lib"}, layer: []string{"lib/.wh..wh..opq"},
			want: []string{"lib/", "usr/", "usr/lib/", "usr/lib/x"}},
		"symlink after what is below it": {lower: []string{"lib/x"}, layer: []string{"lib/y", "lib -> usr"}, want: []string{"lib->usr"}},
		"hard link to a lower file":      {lower: []string{"usr/f", "lib -> usr"}, layer: []string{"g = lib/f"}, want: []string{"g:usr/f", "lib->usr", "usr/", "usr/f"}},
		"directory keeps its children": {lower: []string{"a/b"}, layer: []string{"a/", "a/c"},
			want: []string{"a/", "a/b", "a/c"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tree := build(t, c.lower...)
			if err := tree.ApplyTar(Bytes(pack(t, words(c.layer...)...)), "layer", TarOptions{Whiteouts: true}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, short(tree)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			checkParents(t, tree)
		})
	}
}

// short tells a tree in words; a file whose content is not its own name has it after a colon.
func short(tree *Tree) []string {
	var lines []string
	for _, e := range tree.Entries()[1:] {
		data, _ := e.Data.ReadAll()
		switch {
		case e.Kind == Dir:
			lines = append(lines, e.Path+"/")
		case e.Kind == Symlink:
			lines = append(lines, e.Path+"->"+e.Target)
		case string(data) != e.Path:
			lines = append(lines, e.Path+":"+string(data))
		default:
			lines = append(lines, e.Path)
		}
	}
	return lines
}

func TestWithoutWhiteouts(t *testing.T) {
	tree := build(t, "usr/lib/x", "lib -> usr/lib", "d/")
	if err := tree.ApplyTar(Bytes(pack(t, words("lib/", "lib/y", ".wh.usr")...)), "kernel.tar", TarOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []string{".wh.usr", "d/", "lib->usr/lib", "usr/", "usr/lib/", "usr/lib/x", "usr/lib/y:lib/y"}
	if diff := cmp.Diff(want, short(tree)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	err := tree.ApplyTar(Bytes(pack(t, word("d"))), "kernel.tar", TarOptions{})
	conflict, ok := errors.AsType[*ConflictError](err)
	if !ok || conflict.OldFrom != "test" || conflict.NewFrom != "kernel.tar" {
		t.Errorf("got %v, want a conflict that names both origins", err)
	}
}

func TestLostXattrs(t *testing.T) {
	ping := word("bin/ping")
	ping.PAXRecords = map[string]string{"SCHILY.xattr.user.x": "1", "SCHILY.xattr.security.capability": "\x01\x00", "comment": "none"}
	src := Bytes(pack(t, ping))
	var got []string
	o := TarOptions{OnLostXattr: func(path, name string) { got = append(got, path+" "+name) }}
	tree := New()
	if err := tree.ApplyTar(src, "layer", o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"bin/ping security.capability", "bin/ping user.x"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	e, _ := tree.Lookup("bin/ping")
	if diff := cmp.Diff([]string{"security.capability", "user.x"}, e.Xattrs); diff != "" {
		t.Errorf("kept by name: -want +got:\n%s", diff)
	}
	// A later layer's file has none: nothing is lost then.
	if err := tree.ApplyTar(Bytes(pack(t, word("bin/ping"))), "layer 2", o); err != nil {
		t.Fatal(err)
	}
	if e, _ := tree.Lookup("bin/ping"); e.Xattrs != nil {
		t.Errorf("of another file: got %q", e.Xattrs)
	}
	if err := New().ApplyTar(src, "layer", TarOptions{}); err != nil {
		t.Errorf("with nobody to tell: %v", err)
	}
}

func TestTarErrors(t *testing.T) {
	valid := pack(t, words("a", "b")...)
	cases := map[string]struct {
		tar   []byte
		entry string // at fault
		o     TarOptions
	}{
		"leads out":                 {tar: pack(t, words("ok", "../x")...), entry: "../x"},
		"leads out in the middle":   {tar: pack(t, word("a/../../x")), entry: "a/../../x"},
		"absolute and out":          {tar: pack(t, word("/../x")), entry: "/../x"},
		"hard link leads out":       {tar: pack(t, word("x = ../etc/shadow")), entry: "x"},
		"hard link to nothing":      {tar: pack(t, word("x = y")), entry: "x"},
		"hard link to itself":       {tar: pack(t, word("x = x")), entry: "x"},
		"hard link to what follows": {tar: pack(t, words("x = y", "y")...), entry: "x"},
		"hard link to a directory":  {tar: pack(t, words("d/", "x = d")...), entry: "x"},
		"below a file":              {tar: pack(t, words("a", "a/b")...), entry: "a/b"},
		"below a symlink loop":      {tar: pack(t, words("a -> a", "a/b")...), entry: "a/b"},
		"symlink to nowhere":        {tar: edit(t, word("s -> t"), 157, "\x00"), entry: "s"},
		"contiguous file":           {tar: pack(t, entry{tar.Header{Name: "c", Typeflag: tar.TypeCont}, ""}), entry: "c"},
		"unknown type":              {tar: edit(t, word("abc"), 156, "Z"), entry: "abc"},
		"negative owner":            {tar: edit(t, word("abc"), 108, "\xff\xff\xff\xff\xff\xff\xff\xff"), entry: "abc"},
		"owner of 33 bits":          {tar: pack(t, entry{tar.Header{Name: "u", Typeflag: tar.TypeReg, Gid: math.MaxUint32 + 1}, ""}), entry: "u"},
		"device of 33 bits": {tar: pack(t, entry{tar.Header{Name: "c", Typeflag: tar.TypeChar, Devminor: math.MaxUint32 + 1, Format: tar.FormatGNU}, ""}),
			entry: "c"},
		"hard link with a size":     {tar: edit(t, word("h = a"), 124, "00000000010\x00"), entry: "h"},
		"cut in a header":           {tar: valid[:1024+100]},
		"cut in a body":             {tar: pack(t, word("abc"))[:512+1], entry: "abc"},
		"larger than it is":         {tar: edit(t, word("abc"), 124, "00000077777\x00"), entry: "abc"},
		"negative size":             {tar: edit(t, word("abc"), 124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")},
		"checksum":                  {tar: append([]byte("x"), valid[1:]...)},
		"no tar":                    {tar: bytes.Repeat([]byte("x"), 1024)},
		"whiteout of .":             {tar: pack(t, word("a/.wh..")), entry: "a/.wh..", o: TarOptions{Whiteouts: true}},
		"whiteout of ..":            {tar: pack(t, word("a/.wh...")), entry: "a/.wh...", o: TarOptions{Whiteouts: true}},
		"whiteout of nothing":       {tar: pack(t, word(".wh.")), entry: ".wh.", o: TarOptions{Whiteouts: true}},
		"record of aufs":            {tar: pack(t, word(".wh..wh.aufs")), entry: ".wh..wh.aufs", o: TarOptions{Whiteouts: true}},
		"below a whiteout":          {tar: pack(t, word("a/.wh.b/c")), entry: "a/.wh.b/c", o: TarOptions{Whiteouts: true}},
		"layer with a file as root": {tar: pack(t, word(". -> x")), entry: ".", o: TarOptions{Whiteouts: true}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := New().ApplyTar(Bytes(c.tar), "some image", c.o)
			e, ok := errors.AsType[*TarError](err)
			if !ok || e.Entry != c.entry || e.Origin != "some image" || !strings.HasPrefix(err.Error(), "some image: tar") {
				t.Errorf("got %v (%#v), want a TarError at %q", err, e, c.entry)
			}
		})
	}
}

// edit packs e, overwrites a field of its header and mends the header's checksum.
func edit(t *testing.T, e entry, offset int, field string) []byte {
	t.Helper()
	b := pack(t, e)
	copy(b[offset:], field)
	sum := 8 * int(' ')
	for i, c := range b[:512] {
		if i < 148 || i >= 156 {
			sum += int(c)
		}
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

func TestChangedLayer(t *testing.T) {
	whole := append(pack(t, words("a", "b")...), make([]byte, 8192)...)
	changes := map[string]func([]byte) []byte{
		"a content":      func(b []byte) []byte { b[512] = 'x'; return b },
		"a header":       func(b []byte) []byte { b[0] = 'x'; return b },
		"the last byte":  func(b []byte) []byte { b[len(b)-1] = 1; return b },
		"cut at the end": func(b []byte) []byte { return b[:len(b)-512] },
		"cut in a file":  func(b []byte) []byte { return b[:513] },
		"emptied":        func([]byte) []byte { return nil },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			src := spool(t, whole)
			if err := os.WriteFile(src.file, change(bytes.Clone(whole)), 0o600); err != nil {
				t.Fatal(err)
			}
			tree := build(t, "a/old")
			_, ok := errors.AsType[*ChangedError](tree.ApplyTar(src, "layer", TarOptions{Whiteouts: true}))
			if !ok {
				t.Error("want a ChangedError")
			}
			if diff := cmp.Diff([]string{"a/", "a/old"}, short(tree)); diff != "" {
				t.Errorf("the tree was touched:\n%s", diff)
			}
		})
	}
	if err := New().ApplyTar(spool(t, whole), "layer", TarOptions{}); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

func TestInsecurePathSetting(t *testing.T) {
	t.Setenv("GODEBUG", "tarinsecurepath=0")
	tree := New()
	if err := tree.ApplyTar(Bytes(pack(t, words("/abs", "./x", "a//b")...)), "layer", TarOptions{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a/", "a/b:a//b", "abs:/abs", "x:./x"}, short(tree)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := tree.ApplyTar(Bytes(pack(t, word("../x"))), "layer", TarOptions{}); err == nil {
		t.Error("a name that leads out gives no error")
	}
}

// run runs a foreign tool in dir.
func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// GNU tar packs a directory; the tree must be what lstat says of it.
func TestAgainstGNUTar(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("n", 200)
	must(t, os.MkdirAll(filepath.Join(dir, "d", long), 0o700), os.Mkdir(filepath.Join(dir, "d/sticky"), 0o700),
		os.Chmod(filepath.Join(dir, "d/sticky"), 0o777|os.ModeSticky))
	for name, size := range map[string]int{"d/empty": 0, "d/odd": 513, "d/" + long + "/" + long: 70000} {
		must(t, os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("x"), size), 0o640))
	}
	must(t, os.Chmod(filepath.Join(dir, "d/odd"), 0o755|os.ModeSetuid|os.ModeSetgid),
		os.Link(filepath.Join(dir, "d/odd"), filepath.Join(dir, "d/again")),
		os.Symlink(strings.Repeat("t", 150), filepath.Join(dir, "d/link")),
		syscall.Mkfifo(filepath.Join(dir, "d/fifo"), 0o600))
	for _, format := range []string{"gnu", "pax", "ustar"} {
		members := []string{"d"}
		if format == "ustar" {
			members = []string{"d/empty", "d/odd", "d/again", "d/fifo", "d/sticky"}
		}
		run(t, dir, "tar", append([]string{"cf", format, "--format=" + format}, members...)...)
		packed, err := os.ReadFile(filepath.Join(dir, format))
		must(t, err)
		tree := New()
		must(t, tree.ApplyTar(spool(t, packed), format, TarOptions{}))
		if n := len(tree.Entries()); n < 7 {
			t.Errorf("%s: got %d entries, want at least 7", format, n)
		}
		for _, e := range tree.Entries()[1:] {
			if e.Path != "d" || format != "ustar" {
				compareToDisk(t, dir, e)
			}
		}
		a, _ := tree.Lookup("d/again")
		b, _ := tree.Lookup("d/odd")
		if a.Inode != b.Inode {
			t.Errorf("%s: the hard link is lost", format)
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func compareToDisk(t *testing.T, dir string, e Entry) {
	t.Helper()
	name := filepath.Join(dir, e.Path)
	var st syscall.Stat_t
	must(t, syscall.Lstat(name, &st))
	types := map[Kind]uint32{Regular: syscall.S_IFREG, Dir: syscall.S_IFDIR, Symlink: syscall.S_IFLNK, FIFO: syscall.S_IFIFO}
	if got := types[e.Kind] | e.Perm; got != st.Mode || e.UID != st.Uid || e.GID != st.Gid {
		t.Errorf("%s: got mode %o, owner %d:%d, want %o, %d:%d", e.Path, got, e.UID, e.GID, st.Mode, st.Uid, st.Gid)
	}
	switch e.Kind {
	case Regular:
		got, err := e.Data.ReadAll()
		must(t, err)
		want, err := os.ReadFile(name)
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: the content differs", e.Path)
		}
	case Symlink:
		if want, err := os.Readlink(name); err != nil || e.Target != want {
			t.Errorf("%s: got target %q, want %q", e.Path, e.Target, want)
		}
	}
}

func TestSparseFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "holes"), []byte("x"), 0o600), os.Truncate(filepath.Join(dir, "holes"), 1<<30))
	for _, args := range [][]string{
		{"--format=gnu"}, {"--format=pax"}, {"--format=pax", "--sparse-version=0.0"}, {"--format=pax", "--sparse-version=0.1"},
	} {
		run(t, dir, "tar", append([]string{"cSf", "tar"}, append(args, "holes")...)...)
		b, err := os.ReadFile(filepath.Join(dir, "tar"))
		must(t, err)
		e, ok := errors.AsType[*TarError](New().ApplyTar(Bytes(b), "layer", TarOptions{}))
		if !ok || e.Entry != "holes" || !strings.Contains(e.Error(), "sparse") {
			t.Errorf("%v: got %v, want that holes is a sparse file", args, e)
		}
	}
}

// FuzzApplyTar asserts that a tar is refused by a TarError, or makes a tree that keeps its promises: parents are
// there, no path leads out, contents have their digests, and a tar of it makes the same tree again.
func FuzzApplyTar(f *testing.F) {
	f.Add(pack(f, words("a/b", "l -> a", "l/x", "h = a/b", ".wh.a", "a/.wh..wh..opq")...), true)
	f.Add(pack(f, words("a/", "a -> b", "b/", "b/../c")...), false)
	for _, c := range hostileLayers(f) {
		if len(c.tar) < 8<<10 {
			f.Add([]byte(c.tar), true)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, whiteouts bool) {
		tree := build(t, "a/b/c", "l -> a", "d")
		if err := tree.ApplyTar(Bytes(b), "fuzz", TarOptions{Whiteouts: whiteouts}); err != nil {
			if e, ok := errors.AsType[*TarError](err); !ok || e.Origin != "fuzz" {
				t.Errorf("got %v, want a TarError", err)
			}
			return
		}
		want := dump(t, tree)
		checkPaths(t, tree)
		if diff := cmp.Diff(want, dump(t, listed(t, b, whiteouts))); diff != "" {
			t.Errorf("-at once +by a listing that was kept:\n%s", diff)
		}
		again := New()
		if packed := repack(t, tree); packed != nil {
			must(t, again.ApplyTar(Bytes(packed), "again", TarOptions{}))
			if diff := cmp.Diff(want, dump(t, again)); diff != "" {
				t.Errorf("-first +again:\n%s", diff)
			}
		}
	})
}

// listed is the tree of FuzzApplyTar, by a listing that was written and read.
func listed(t *testing.T, b []byte, whiteouts bool) *Tree {
	t.Helper()
	o := TarOptions{Whiteouts: whiteouts}
	list, err := List(bytes.NewReader(b), "fuzz", o)
	must(t, err)
	data, err := list.MarshalBinary()
	must(t, err)
	var kept Listing
	tree := build(t, "a/b/c", "l -> a", "d")
	must(t, kept.UnmarshalBinary(data), tree.ApplyListed(Bytes(b), &kept, "fuzz", o))
	return tree
}

// checkPaths asserts that every path is one of Linux below the root, and every content what its digest says.
func checkPaths(t *testing.T, tree *Tree) {
	t.Helper()
	for _, e := range tree.Entries()[1:] {
		for part := range strings.SplitSeq(e.Path, "/") {
			if part == "" || part == "." || part == ".." || len(part) > 255 || strings.Contains(part, "\x00") {
				t.Errorf("got path %q", e.Path)
			}
		}
		b, err := e.Data.ReadAll()
		if err != nil || sha256.Sum256(b) != e.Data.SHA256() || int64(len(b)) != e.Data.Size() {
			t.Errorf("%s: got %d bytes, error %v, want %d", e.Path, len(b), err, e.Data.Size())
		}
	}
}

// repack writes a tar of the tree, nil where there is none because a path or a number is too long for it.
func repack(t *testing.T, tree *Tree) []byte {
	t.Helper()
	flags := map[Kind]byte{Regular: tar.TypeReg, Dir: tar.TypeDir, Symlink: tar.TypeSymlink, Char: tar.TypeChar, Block: tar.TypeBlock, FIFO: tar.TypeFifo}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	first := map[*Inode]string{}
	for _, e := range tree.Entries()[1:] {
		h := &tar.Header{Name: e.Path, Typeflag: flags[e.Kind], Mode: int64(e.Perm), Uid: int(e.UID), Gid: int(e.GID),
			Devmajor: int64(e.Major), Devminor: int64(e.Minor), Linkname: e.Target, Size: e.Data.Size()}
		if of, known := first[e.Inode]; known && e.Kind != Dir {
			h = &tar.Header{Name: e.Path, Typeflag: tar.TypeLink, Linkname: of}
		} else {
			first[e.Inode] = e.Path
		}
		if len(e.Path) > maxPath || w.WriteHeader(h) != nil {
			return nil
		}
		if h.Typeflag == tar.TypeReg {
			content, err := e.Data.ReadAll()
			must(t, err)
			_, err = w.Write(content)
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}

// BenchmarkWhiteouts applies a layer of 100,000 whiteouts to a tree of 100,000 files.
func BenchmarkWhiteouts(b *testing.B) {
	var lower, upper bytes.Buffer
	for i, out := range []*bytes.Buffer{&lower, &upper} {
		w := tar.NewWriter(out)
		for n := range 100_000 {
			name := fmt.Sprintf("d%d/%sf%d", n%1000, [...]string{"", ".wh."}[i], n)
			if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}); err != nil {
				b.Fatal(err)
			}
		}
	}
	for b.Loop() {
		tree := New()
		for _, layer := range []*bytes.Buffer{&lower, &upper} {
			if err := tree.ApplyTar(Bytes(layer.Bytes()), "layer", TarOptions{Whiteouts: true}); err != nil {
				b.Fatal(err)
			}
		}
		if n := len(tree.Entries()); n != 1001 {
			b.Fatalf("got %d entries, want 1001", n)
		}
	}
}
