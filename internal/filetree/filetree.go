// Package filetree holds a root file system in memory the way the kernel will see it: one entry per path,
// every parent present, symlinked parents resolved. File contents stay where they are (a spooled tar or a
// byte slice) and are read only when the tree is written. It reads tars (POSIX.1-2001 pax, GNU) and the
// layers of container images (https://github.com/opencontainers/image-spec/blob/main/layer.md).
package filetree

import (
	"fmt"
	"maps"
	"path"
	"slices"
)

// Kind is the type of an inode. The zero value is a regular file.
type Kind uint8

// The kinds of inode that a tree can hold.
const (
	Regular Kind = iota
	Dir
	Symlink
	Char
	Block
	FIFO
)

// String returns the kind as a person would call it.
func (k Kind) String() string {
	names := [...]string{"file", "directory", "symlink", "character device", "block device", "fifo"}
	if int(k) >= len(names) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return names[k]
}

// Inode is what a path names. Two entries that share one *Inode are hard links of each other. It holds no
// times: every time in a tree is the build's epoch.
type Inode struct {
	Kind  Kind
	Perm  uint32 // the low 12 bits of st_mode: permissions, setuid, setgid, sticky
	UID   uint32
	GID   uint32
	Major uint32 // device number of Char and Block, else 0
	Minor uint32

	Target string // of a Symlink, verbatim
	Data   Blob   // of a Regular file

	// Xattrs are the names, sorted, of the extended attributes that it came with. Their values are lost: newc
	// has no place for them.
	Xattrs []string
}

// Entry is one path of a tree.
type Entry struct {
	Path string // slash-separated, clean, relative to the root; the root itself is "."
	*Inode
	Origin string // where it came from, for messages: an image, a package, "files[3]"
}

// Tree is a file system. Make one with New; a Tree is not safe for concurrent change.
type Tree struct {
	root *node
	use  *usage // while a tar from outside is laid into it; nil otherwise
}

// node is one entry at its place. Only directories have children, so that no entry is ever below anything
// else, and taking a subtree away is one step however large it is.
type node struct {
	Entry
	parent   *node // of the root: itself, as in the kernel
	children map[string]*node
	implied  bool // a directory that is there only because something below it came
}

// New returns a tree that holds only its root directory, mode 0755, owner 0:0.
func New() *Tree {
	root := &node{Entry: Entry{Path: ".", Inode: &Inode{Kind: Dir, Perm: 0o755}, Origin: "root"}}
	root.parent = root
	return &Tree{root: root}
}

// ConflictError says that two origins want one path to be different things.
type ConflictError struct {
	Path             string
	Old, New         Kind
	OldFrom, NewFrom string
}

// Error names the path and both origins.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s: %s of %s stands where %s brings a %s", e.Path, e.Old, e.OldFrom, e.NewFrom, e.New)
}

// Lookup returns the entry at p, a path as Entry has it; symlinks among the parents are followed.
func (t *Tree) Lookup(p string) (Entry, bool) {
	at, err := t.walk(p)
	if err != nil || !at.found() {
		return Entry{}, false
	}
	return at.node.Entry, true
}

// Add puts n at name. Parents that do not exist are made (0755, 0:0). A directory over a directory takes
// over mode and owner; a non-directory replaces a non-directory; anything else is a *ConflictError, except
// that a directory over a symlink that leads to a directory leaves both as they are, so that a package or
// layer with a real lib/ goes through lib -> usr/lib.
func (t *Tree) Add(name string, n *Inode, origin string) error {
	p, err := Clean(name)
	if err != nil {
		return err
	}
	at, err := t.walk(p)
	if err != nil {
		return err
	}
	if !at.found() {
		return t.create(at, n, origin)
	}
	old := at.node
	if (old.Kind == Dir) != (n.Kind == Dir) {
		if n.Kind == Dir && old.Kind == Symlink && t.leadsToDir(old.Path) {
			return nil
		}
		return &ConflictError{Path: old.Path, Old: old.Kind, New: n.Kind, OldFrom: old.Origin, NewFrom: origin}
	}
	old.Inode, old.Origin, old.implied = n, origin, false
	return nil
}

// leadsToDir says whether the symlink at p, followed to its end, is a directory of the tree.
func (t *Tree) leadsToDir(p string) bool {
	at, err := t.walk(p + "/.")
	return err == nil && at.found() && at.node.Kind == Dir
}

// create makes the entry at, and the directories that lead to it.
func (t *Tree) create(at place, n *Inode, origin string) error {
	dir, full := at.node, at.path()
	if dir.Kind != Dir {
		return &ConflictError{Path: dir.Path, Old: dir.Kind, New: Dir, OldFrom: dir.Origin, NewFrom: origin}
	}
	// Every path is a piece of the last one's bytes: a deep tree must not cost the square of its depth.
	last, end := len(at.missing)-1, 0
	if dir != t.root {
		end = len(dir.Path) + 1
	}
	for _, name := range at.missing[:last] {
		end += len(name)
		if err := t.use.entry(end); err != nil {
			return err
		}
		parent := &Inode{Kind: Dir, Perm: 0o755}
		dir = dir.attach(name, Entry{Path: full[:end], Inode: parent, Origin: origin})
		dir.implied = true
		end++
	}
	if err := t.use.entry(len(full)); err != nil {
		return err
	}
	dir.attach(at.missing[last], Entry{Path: full, Inode: n, Origin: origin})
	return nil
}

func (n *node) attach(name string, e Entry) *node {
	child := &node{Entry: e, parent: n}
	if n.children == nil {
		n.children = map[string]*node{}
	}
	n.children[name] = child
	return child
}

// Link makes name a hard link to the existing non-directory target.
func (t *Tree) Link(name, target, origin string) error {
	p, err := Clean(target)
	if err != nil {
		return err
	}
	e, ok := t.Lookup(p)
	if !ok {
		return fmt.Errorf("%s: hard link to %s, which does not exist", name, target)
	}
	if e.Kind == Dir {
		return fmt.Errorf("%s: hard link to %s, which is a directory", name, target)
	}
	return t.Add(name, e.Inode, origin)
}

// Remove takes away the entry at p, a path as Entry has it, and everything below it. What is not there is
// no error. The root's content can be removed, the root not.
func (t *Tree) Remove(p string) {
	at, err := t.walk(p)
	if err != nil || !at.found() {
		return
	}
	if at.node == t.root {
		t.root.children = nil
		return
	}
	at.node.detach()
}

// detach takes n, which is not the root, out of its directory.
func (n *node) detach() { delete(n.parent.children, path.Base(n.Path)) }

// RemoveChildren empties the directory p, a path as Entry has it.
func (t *Tree) RemoveChildren(p string) {
	if at, err := t.walk(p); err == nil && at.found() {
		at.node.children = nil
	}
}

// Graft adds every entry of sub below dir of t. Hard links inside sub stay hard links.
func (t *Tree) Graft(dir string, sub *Tree) error {
	for _, e := range sub.Entries() {
		if err := t.Add(path.Join(dir, e.Path), e.Inode, e.Origin); err != nil {
			return err
		}
	}
	return nil
}

// Entries returns all entries sorted by path, component by component ("a/b" comes before "a-b"), so that a
// parent comes right before what it holds. The first is the root.
func (t *Tree) Entries() []Entry {
	return t.root.appendTo(nil)
}

func (n *node) appendTo(all []Entry) []Entry {
	all = append(all, n.Entry)
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		all = n.children[name].appendTo(all)
	}
	return all
}
