package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/initramfs"
	"github.com/hookbuild/hookbuild/internal/initramfs/initramfstest"
)

func regular(perm uint32, content string) *filetree.Inode {
	return &filetree.Inode{Perm: perm, Data: filetree.Bytes([]byte(content))}
}

func symlink(target string) *filetree.Inode {
	return &filetree.Inode{Kind: filetree.Symlink, Target: target}
}

// sample is a tree with one of everything.
func sample(t testing.TB) *filetree.Tree {
	t.Helper()
	tree := filetree.New()
	me, mine := uint32(os.Getuid()), uint32(os.Getgid())
	owned := regular(0o640, "owned")
	owned.UID, owned.GID = me, mine
	must(t,
		tree.Add("usr/lib/os-release", regular(0o644, "NAME=HookOS\n"), "a"),
		tree.Add("etc/os-release", symlink("../usr/lib/os-release"), "b"),
		tree.Add("etc/absolute", symlink("/etc/os-release"), "b"),
		tree.Add("etc/dangling", symlink("nowhere"), "b"),
		tree.Add("etc/loop", symlink("loop"), "b"),
		tree.Add("etc/owned", owned, "b"),
		tree.Add("etc/empty", regular(0o600, ""), "b"),
		tree.Add("lib", symlink("usr/lib"), "c"),
		tree.Add("bin/su", regular(0o4755, "setuid"), "c"),
		tree.Add("bin/wall", regular(0o2755, "setgid"), "c"),
		tree.Add("closed", &filetree.Inode{Kind: filetree.Dir, Perm: 0o500}, "c"),
		tree.Add("closed/file", regular(0o400, strings.Repeat("large ", 100_000)), "c"),
		tree.Link("closed/again", "closed/file", "c"),
		tree.Add("tmp", &filetree.Inode{Kind: filetree.Dir, Perm: 0o1777}, "c"),
		tree.Add("run/fifo", &filetree.Inode{Kind: filetree.FIFO, Perm: 0o620}, "c"),
		tree.Add("dev/null", &filetree.Inode{Kind: filetree.Char, Perm: 0o666, Major: 1, Minor: 3}, "c"),
		tree.Add("dev/sda17", &filetree.Inode{Kind: filetree.Block, Perm: 0o660, Major: 259, Minor: 1000}, "c"),
	)
	return tree
}

// write makes a file of the tree, in segments.
func write(t testing.TB, tree *filetree.Tree) string {
	t.Helper()
	var b bytes.Buffer
	segments := initramfs.Split(tree, func(e filetree.Entry) string { return e.Origin })
	_, err := initramfs.WriteSegments(context.Background(), &b, segments, initramfs.Options{Compression: initramfs.Zstd}, "")
	must(t, err)
	return file(t, b.Bytes())
}

func file(t testing.TB, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "initramfs")
	must(t, os.WriteFile(name, content, 0o600))
	return name
}

func load(t testing.TB, name string) *Initramfs {
	t.Helper()
	i, err := Load(context.Background(), name, nil)
	must(t, err)
	return i
}

func TestLoad(t *testing.T) {
	tree := sample(t)
	name := write(t, tree)
	var entries []string
	i, err := Load(t.Context(), name, func(e initramfs.Entry) { entries = append(entries, fmt.Sprintf("%d:%s", e.Segment, e.Name)) })
	must(t, err)
	info, err := os.Stat(name)
	must(t, err)
	if len(i.Parts) != 3 || i.Bytes != info.Size() || len(entries) != len(tree.Entries()) || entries[0] != "0:." || !slices.Contains(entries, "2:lib") {
		t.Errorf("got %d segments, %d bytes, %q", len(i.Parts), i.Bytes, entries)
	}
	if d := Diff(tree, i.Tree); !d.None() {
		t.Errorf("got %+v", d)
	}
	if want := int64(12 + 5 + 6 + 6 + 600_000); i.Content() != want {
		t.Errorf("got %d bytes of content, want %d", i.Content(), want)
	}
}

func TestCat(t *testing.T) {
	i := load(t, write(t, sample(t)))
	large := strings.Repeat("large ", 100_000)
	for name, want := range map[string]string{
		"usr/lib/os-release": "NAME=HookOS\n", "/usr/lib/os-release": "NAME=HookOS\n", "lib/os-release": "NAME=HookOS\n",
		"etc/os-release": "NAME=HookOS\n", "etc/absolute": "NAME=HookOS\n", "etc/../lib//os-release": "NAME=HookOS\n",
		"etc/empty": "", "closed/again": large, "../closed/file": large,
	} {
		var b bytes.Buffer
		if err := i.Cat(t.Context(), name, &b); err != nil || b.String() != want {
			t.Errorf("%s: got %.40q, %v, want %.40q", name, b.String(), err, want)
		}
	}
	for name, want := range map[string]string{
		"none": "no file none", "etc": "is a directory", ".": "is a directory", "": "is a directory", "run/fifo": "is a fifo",
		"etc/dangling": "no file", "etc/loop": "too many levels", "dev/null": "is a character device", "etc/owned/x": "no file",
	} {
		err := i.Cat(t.Context(), name, &bytes.Buffer{})
		if e, ok := errors.AsType[*FileError](err); !ok || e.File != i.File || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}

func TestFileThatChanged(t *testing.T) {
	tree := sample(t)
	i := load(t, write(t, tree))
	must(t, tree.Add("usr/lib/os-release", regular(0o644, "NAME=hookos\n"), "a"))
	i.File = write(t, tree)
	if err := i.Cat(t.Context(), "etc/os-release", &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("another content: got %v", err)
	}
	i.File = write(t, filetree.New())
	if _, err := i.Extract(t.Context(), t.TempDir(), ExtractOptions{}); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("fewer entries: got %v", err)
	}
}

// onDisk is what stands below dir, in the form of described.
func onDisk(t *testing.T, dir string) (lines []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		must(t, err)
		rel, err := filepath.Rel(dir, name)
		must(t, err)
		var st syscall.Stat_t
		must(t, syscall.Lstat(name, &st))
		line := fmt.Sprintf("%s %o", rel, st.Mode&^0o7777)
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFLNK:
			target, err := os.Readlink(name)
			must(t, err)
			line += " -> " + target
		case syscall.S_IFREG:
			content, err := os.ReadFile(name)
			must(t, err)
			line += fmt.Sprintf(" %04o %d %d", st.Mode&0o7777, len(content), st.Nlink)
		case syscall.S_IFCHR, syscall.S_IFBLK:
			line += fmt.Sprintf(" %04o %#x", st.Mode&0o7777, st.Rdev)
		default:
			line += fmt.Sprintf(" %04o", st.Mode&0o7777)
		}
		lines = append(lines, line)
		return nil
	}))
	slices.Sort(lines)
	return lines
}

// described is the tree as it should come out.
func described(tree *filetree.Tree, root bool) (lines []string) {
	links := map[*filetree.Inode]int{}
	for _, e := range tree.Entries() {
		links[e.Inode]++
	}
	kinds := map[filetree.Kind]uint32{
		filetree.Regular: syscall.S_IFREG, filetree.Dir: syscall.S_IFDIR, filetree.Symlink: syscall.S_IFLNK,
		filetree.FIFO: syscall.S_IFIFO, filetree.Char: syscall.S_IFCHR, filetree.Block: syscall.S_IFBLK,
	}
	for _, e := range tree.Entries() {
		perm := e.Perm
		if !root {
			perm &= 0o1777
		}
		line := fmt.Sprintf("%s %o", e.Path, kinds[e.Kind])
		switch e.Kind {
		case filetree.Symlink:
			line += " -> " + e.Target
		case filetree.Regular:
			line += fmt.Sprintf(" %04o %d %d", perm, e.Data.Size(), links[e.Inode])
		case filetree.Char, filetree.Block:
			if !root {
				continue
			}
			// As glibc's makedev has it.
			line += fmt.Sprintf(" %04o %#x", perm, uint64(e.Major)&0xfff<<8|uint64(e.Minor)&0xff|uint64(e.Minor)&^0xff<<12)
		default:
			line += fmt.Sprintf(" %04o", perm)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

func TestExtract(t *testing.T) {
	tree := sample(t)
	i := load(t, write(t, tree))
	for _, owners := range []bool{false, os.Geteuid() == 0} {
		for _, umask := range []int{0o022, 0o077} {
			dir := filepath.Join(t.TempDir(), "new", "root")
			old := syscall.Umask(umask)
			left, err := i.Extract(t.Context(), dir, ExtractOptions{Owners: owners})
			syscall.Umask(old)
			must(t, err)
			var want []string
			if !owners {
				want = []string{"dev/null", "dev/sda17"}
			}
			if diff := cmp.Diff(want, left); diff != "" {
				t.Errorf("left out: -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(described(tree, owners), onDisk(t, dir)); diff != "" {
				t.Errorf("owners %v, umask %o: -want +got:\n%s", owners, umask, diff)
			}
			must(t, os.Chmod(filepath.Join(dir, "closed"), 0o700)) // for the test's own cleaning
		}
	}
}

// What the kernel makes of odd archives comes out, and nothing outside the directory.
func TestExtractRules(t *testing.T) {
	for _, r := range initramfstest.Rules() {
		t.Run(r.Name, func(t *testing.T) {
			i := load(t, file(t, bytes.Join(r.Archives(""), nil)))
			outside := t.TempDir()
			dir := filepath.Join(outside, "in")
			left, err := i.Extract(t.Context(), dir, ExtractOptions{})
			must(t, err)
			if diff := cmp.Diff(described(i.Tree, false), onDisk(t, dir)); diff != "" {
				t.Errorf("left out %q, -want +got:\n%s", left, diff)
			}
			entries, err := os.ReadDir(outside)
			must(t, err)
			if len(entries) != 1 {
				t.Errorf("got %v outside", entries)
			}
		})
	}
}

// An archive that aims at a file of this machine.
func TestExtractNeverLeads(t *testing.T) {
	target := filepath.Join(t.TempDir(), "precious")
	must(t, os.WriteFile(target, []byte("precious"), 0o600))
	up := strings.Repeat("../", 30)
	for name, entries := range map[string]string{
		"dots":                   "file " + up + target[1:] + " evil",
		"absolute":               "file " + target + " evil",
		"symlink to the file":    "sym l " + target + "\nfile l evil",
		"symlink to the dir":     "sym l " + filepath.Dir(target) + "\nfile l/precious evil",
		"relative symlink":       "sym l " + up + filepath.Dir(target)[1:] + "\nfile l/precious evil",
		"symlink in a dir":       "dir d 755\nsym d/l ..\nfile d/l/../" + up + target[1:] + " evil",
		"hard link through it":   "sym l " + filepath.Dir(target) + "\nlink l/precious 7\nlink f 7 evil",
		"symlink made late":      "dir d 755\nfile d/precious x\nsym d " + filepath.Dir(target) + "\nfile d/precious evil",
		"symlink over empty dir": "dir d 755\nsym d " + filepath.Dir(target) + "\nfile d/precious evil",
		"directory in its place": "sym d " + filepath.Dir(target) + "\ndir d/ 777",
	} {
		i := load(t, file(t, bytes.Join(initramfstest.Rule{Entries: entries}.Archives(""), nil)))
		_, err := i.Extract(t.Context(), t.TempDir(), ExtractOptions{Owners: os.Geteuid() == 0})
		must(t, err)
		if got, err := os.ReadFile(target); err != nil || string(got) != "precious" {
			t.Errorf("%s: the file is %q, %v", name, got, err)
		}
		if info, err := os.Stat(filepath.Dir(target)); err != nil || info.Mode().Perm() == 0o777 {
			t.Errorf("%s: the directory has mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestExtractRefuses(t *testing.T) {
	i := load(t, write(t, sample(t)))
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a file"), nil, 0o600))
	_, err := i.Extract(t.Context(), dir, ExtractOptions{})
	if e, ok := errors.AsType[*FileError](err); !ok || e.File != dir {
		t.Errorf("not empty: got %v", err)
	}
	if _, err := i.Extract(t.Context(), filepath.Join(dir, "a file"), ExtractOptions{}); err == nil {
		t.Error("a file: got no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.Extract(ctx, t.TempDir(), ExtractOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestFileErrors(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	for name, want := range map[string]string{
		file(t, []byte("text")):               "neither an archive",
		file(t, nil):                          "no archive",
		t.TempDir():                           "not a regular file",
		fifo:                                  "not a regular file", // and it does not wait for a writer
		filepath.Join(t.TempDir(), "nowhere"): "no such file",
	} {
		_, err := Load(t.Context(), name, nil)
		if e, ok := errors.AsType[*FileError](err); !ok || e.File != name || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if _, err := LoadKernel(name); err == nil {
			t.Errorf("%s: is a kernel", name)
		} else if e, ok := errors.AsType[*FileError](err); !ok || e.File != name {
			t.Errorf("as a kernel: got %v, want a FileError", err)
		}
	}
	if _, err := Load(t.Context(), "/dev/null/x", nil); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("got %v", err)
	}
	if is, err := IsKernelFile(write(t, sample(t))); err != nil || is {
		t.Errorf("an initramfs is a kernel: %v, %v", is, err)
	}
}

func TestDiff(t *testing.T) {
	cases := map[string]struct {
		change func(*filetree.Tree) error
		want   Difference
	}{
		"nothing": {func(*filetree.Tree) error { return nil }, Difference{}},
		"added": {func(tr *filetree.Tree) error { return tr.Add("a/new", regular(0, "12"), "x") },
			Difference{Added: []File{{"a", "directory", 0}, {"a/new", "file", 2}}}},
		"removed": {func(tr *filetree.Tree) error { tr.Remove("bin"); return nil },
			Difference{Removed: []File{{"bin", "directory", 0}, {"bin/su", "file", 6}, {"bin/wall", "file", 6}}}},
		"content": {func(tr *filetree.Tree) error { return tr.Add("bin/su", regular(0o4755, "setuid?"), "x") },
			Difference{Changed: []Change{{"bin/su", 6, 7, []string{"content"}}}}},
		"mode and owner": {func(tr *filetree.Tree) error {
			n := regular(0o755, "setuid")
			n.UID, n.GID = 1, 2
			return tr.Add("bin/su", n, "x")
		}, Difference{Changed: []Change{{"bin/su", 6, 6, []string{"mode 4755 -> 0755", "owner 0:0 -> 1:2"}}}}},
		"target": {func(tr *filetree.Tree) error { return tr.Add("lib", symlink("elsewhere"), "x") },
			Difference{Changed: []Change{{"lib", 0, 0, []string{"target usr/lib -> elsewhere"}}}}},
		"device": {func(tr *filetree.Tree) error {
			return tr.Add("dev/null", &filetree.Inode{Kind: filetree.Char, Perm: 0o666, Major: 1, Minor: 5}, "x")
		}, Difference{Changed: []Change{{"dev/null", 0, 0, []string{"device 1:3 -> 1:5"}}}}},
		"kind": {func(tr *filetree.Tree) error { return tr.Add("lib", regular(0, "x"), "x") },
			Difference{Changed: []Change{{"lib", 0, 1, []string{"kind symlink -> file"}}}}},
		"hard links do not count": {func(tr *filetree.Tree) error {
			return tr.Add("closed/again", regular(0o400, strings.Repeat("large ", 100_000)), "x")
		}, Difference{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tree := sample(t)
			must(t, c.change(tree))
			got := Diff(sample(t), load(t, write(t, tree)).Tree)
			for _, list := range []*[]File{&c.want.Added, &c.want.Removed} {
				*list = append([]File{}, *list...)
			}
			c.want.Changed = append([]Change{}, c.want.Changed...)
			if diff := cmp.Diff(c.want, got); diff != "" || got.None() != (len(c.want.Added)+len(c.want.Removed)+len(c.want.Changed) == 0) {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
