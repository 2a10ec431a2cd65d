package filetree

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// TarOptions says how ApplyTar reads a tar. The zero value lays every entry into the tree.
type TarOptions struct {
	// Whiteouts makes the tar a layer of a container image: .wh.NAME takes NAME away and .wh..wh..opq all
	// that its directory held, both of what was there before this layer, wherever in the tar they stand.
	// What changes its type is replaced as containerd and Docker replace it: a directory with all below it
	// by a file or symlink, and a file or a symlink (wherever it leads) by a directory.
	Whiteouts bool

	// Select, where not nil, says which entries to take, by their path as Entry has it before symlinks are
	// followed. Whiteouts act whatever it says. A hard link to an entry not taken becomes a file of its own.
	Select func(name string) bool

	// OnLostXattr, where not nil, is told of each extended attribute of an entry taken: newc, and so a
	// Tree, has no place for them. The one that matters is security.capability.
	OnLostXattr func(path, name string)
}

// TarError says that an entry of a tar cannot be in a tree.
type TarError struct {
	Origin string // of the tar, as ApplyTar was told
	Entry  string // the name as the tar has it; "" where the fault is not in one entry
	Err    error
}

// Error names the tar and the entry.
func (e *TarError) Error() string {
	if e.Entry == "" {
		return fmt.Sprintf("%s: tar: %v", e.Origin, e.Err)
	}
	return fmt.Sprintf("%s: tar entry %q: %v", e.Origin, e.Entry, e.Err)
}

// Unwrap returns what is wrong with the entry.
func (e *TarError) Unwrap() error { return e.Err }

// ApplyTar lays the uncompressed tar src into t. Contents are not kept in memory: each file of the tree is
// a run of src's file (of src's bytes, where it is in memory). Owner and mode are kept, times are not, since
// every time in a tree is the build's epoch.
//
// Src is read once, to its last byte, before t is touched: where its content is not what its digest says, the
// error is a *ChangedError. A fault in the tar is a *TarError. One that shows only while entries are laid
// (a *ConflictError in it, a hard link to nothing) leaves t half changed.
func (t *Tree) ApplyTar(src Blob, origin string, o TarOptions) error {
	l, err := readLayer(src, origin, o)
	if err != nil {
		return err
	}
	if o.Whiteouts {
		t.clearFor(l)
	}
	aside := map[string]*Inode{}
	for _, e := range l.entries {
		if err := t.lay(e, origin, o, aside); err != nil {
			return &TarError{Origin: origin, Entry: e.name, Err: err}
		}
	}
	return nil
}

// clearFor takes away what the layer hides. The order counts: a directory of the layer that replaces a
// symlink must do so first, since a whiteout below it would otherwise act where the symlink leads. Sorted,
// parents come first, for the same reason.
func (t *Tree) clearFor(l layer) {
	slices.Sort(l.dirs)
	for _, p := range slices.Compact(l.dirs) {
		if e, ok := t.Lookup(p); ok && e.Kind != Dir {
			t.Remove(p)
		}
	}
	slices.SortFunc(l.whiteouts, func(a, b whiteout) int { return cmp.Compare(a.path, b.path) })
	for _, w := range l.whiteouts {
		if w.opaque {
			t.RemoveChildren(w.path)
		} else {
			t.Remove(w.path)
		}
	}
}

// lay puts one entry into t. Aside holds what was not selected, for hard links to it.
func (t *Tree) lay(e tarEntry, origin string, o TarOptions, aside map[string]*Inode) error {
	n, err := t.inodeOf(e, aside)
	if !e.selected {
		aside[e.path] = n
		if o.Whiteouts && e.kind() != Dir && e.path != "." {
			t.Remove(e.path)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if o.Whiteouts {
		t.clearOtherType(e.path, n.Kind)
	}
	if err := t.Add(e.path, n, origin); err != nil {
		return err
	}
	for _, name := range e.xattrs {
		if o.OnLostXattr != nil {
			o.OnLostXattr(e.path, name)
		}
	}
	return nil
}

// clearOtherType makes way at p for an entry of kind k, so that Add finds no conflict. The root stays.
func (t *Tree) clearOtherType(p string, k Kind) {
	if old, ok := t.Lookup(p); ok && (old.Kind == Dir) != (k == Dir) && old.Path != "." {
		t.Remove(p)
	}
}

// inodeOf returns the entry's own inode or, of a hard link, its target's.
func (t *Tree) inodeOf(e tarEntry, aside map[string]*Inode) (*Inode, error) {
	if e.inode != nil {
		return e.inode, nil
	}
	n := aside[e.link]
	if target, ok := t.Lookup(e.link); n == nil && ok {
		n = target.Inode
	}
	switch {
	case n == nil:
		return nil, fmt.Errorf("hard link to %s, which does not exist", e.link)
	case n.Kind == Dir:
		return nil, fmt.Errorf("hard link to %s, which is a directory", e.link)
	}
	return n, nil
}

// whiteout is a path of the layers below that the layer hides.
type whiteout struct {
	path   string
	opaque bool // only what is below the path
}

const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
)

// parseWhiteout says whether p marks something to be taken away, and what. The prefix is reserved: a name
// that has it and means nothing in the image layer format (such as aufs' own records) is an error.
func parseWhiteout(p string) (w whiteout, ok bool, err error) {
	dir, base := path.Split("/" + p)
	if strings.Contains(dir, "/"+whiteoutPrefix) {
		return w, false, errors.New("below a whiteout")
	}
	name, ok := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !ok:
		return w, false, nil
	case base == opaqueMarker:
		w = whiteout{path: path.Dir(p), opaque: true}
	case name == "" || name == "." || name == ".." || strings.HasPrefix(name, whiteoutPrefix):
		return w, false, errors.New("not a whiteout of the image layer format, whose names it takes")
	default:
		w = whiteout{path: path.Join(path.Dir(p), name)}
	}
	return w, true, nil
}
