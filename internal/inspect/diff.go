package inspect

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// Difference is what two file systems do not share. Paths are in the order of a tree.
type Difference struct {
	Added   []File   `json:"added"`
	Removed []File   `json:"removed"`
	Changed []Change `json:"changed"`
}

// None is true where there is no difference.
func (d Difference) None() bool { return len(d.Added)+len(d.Removed)+len(d.Changed) == 0 }

// File is one path.
type File struct {
	Path  string `json:"path"`
	Kind  string `json:"kind"`
	Bytes int64  `json:"bytes"` // of a regular file
}

// Change is a path that both have.
type Change struct {
	Path     string   `json:"path"`
	OldBytes int64    `json:"old_bytes"`
	NewBytes int64    `json:"new_bytes"`
	What     []string `json:"what"` // "content", or old -> new of anything else
}

// Diff compares two trees. What counts is the kind, mode, owner, content, target and device number; times are not in
// a tree, and which paths are hard links of each other does not count.
func Diff(a, b *filetree.Tree) Difference {
	d := Difference{Added: []File{}, Removed: []File{}, Changed: []Change{}}
	old := map[string]filetree.Entry{}
	for _, e := range a.Entries() {
		old[e.Path] = e
	}
	now := map[string]bool{}
	for _, e := range b.Entries() {
		now[e.Path] = true
		was, ok := old[e.Path]
		if !ok {
			d.Added = append(d.Added, fileOf(e))
			continue
		}
		if what := changes(was.Inode, e.Inode); len(what) > 0 {
			d.Changed = append(d.Changed, Change{Path: e.Path, OldBytes: was.Data.Size(), NewBytes: e.Data.Size(), What: what})
		}
	}
	for _, e := range a.Entries() {
		if !now[e.Path] {
			d.Removed = append(d.Removed, fileOf(e))
		}
	}
	return d
}

func fileOf(e filetree.Entry) File {
	return File{Path: e.Path, Kind: e.Kind.String(), Bytes: e.Data.Size()}
}

func changes(a, b *filetree.Inode) (what []string) {
	note := func(name, a, b string) {
		if a != b {
			what = append(what, fmt.Sprintf("%s %s -> %s", name, a, b))
		}
	}
	note("kind", a.Kind.String(), b.Kind.String())
	if a.Kind != filetree.Symlink && b.Kind != filetree.Symlink { // Linux has no modes of symlinks
		note("mode", fmt.Sprintf("%04o", a.Perm), fmt.Sprintf("%04o", b.Perm))
	}
	note("owner", fmt.Sprintf("%d:%d", a.UID, a.GID), fmt.Sprintf("%d:%d", b.UID, b.GID))
	if a.Kind != b.Kind {
		return what
	}
	note("target", a.Target, b.Target)
	note("device", fmt.Sprintf("%d:%d", a.Major, a.Minor), fmt.Sprintf("%d:%d", b.Major, b.Minor))
	if a.Kind == filetree.Regular && a.Data.SHA256() != b.Data.SHA256() {
		what = append(what, "content")
	}
	return what
}

// DiffKernels compares what two kernels say of themselves, and their configurations line by line where both have
// one: a line that only one has is a File of the kind "option".
func DiffKernels(a, b *Kernel) Difference {
	d := Difference{Added: []File{}, Removed: []File{}, Changed: []Change{}}
	for _, f := range []struct{ name, a, b string }{
		{"format", a.Format, b.Format}, {"architecture", a.Arch, b.Arch}, {"version", a.Banner, b.Banner},
		{"compression", string(a.Compression), string(b.Compression)},
	} {
		if f.a != f.b {
			d.Changed = append(d.Changed, Change{Path: f.name, What: []string{f.a + " -> " + f.b}})
		}
	}
	if a.Config == nil || b.Config == nil {
		return d
	}
	d.Removed = append(d.Removed, onlyIn(a.Config, b.Config)...)
	d.Added = append(d.Added, onlyIn(b.Config, a.Config)...)
	return d
}

// onlyIn are the symbols' lines of a configuration that the other has not, sorted.
func onlyIn(a, b []byte) []File {
	have := map[string]bool{}
	for line := range bytes.Lines(b) {
		have[strings.TrimSpace(string(line))] = true
	}
	found := []File{}
	for line := range bytes.Lines(a) {
		text := strings.TrimSpace(string(line))
		if strings.Contains(text, "CONFIG_") && !have[text] {
			found = append(found, File{Path: text, Kind: "option"})
		}
	}
	slices.SortFunc(found, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return found
}
