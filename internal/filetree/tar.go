package filetree

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// TarOptions says how ApplyTar reads a tar. The zero value lays every entry into the tree, through the
// symlinks that are there.
type TarOptions struct {
	// Whiteouts makes the tar a layer of a container image: .wh.NAME takes NAME away and .wh..wh..opq all
	// that its directory held, both of what was there before this layer, wherever in the tar they stand.
	// As in overlayfs, only directories are merged: whatever else a path was before, a layer that has it
	// replaces it, and a layer with lib/x makes a directory of a symlink lib. A directory that the layer
	// needs and does not have itself keeps its mode and owner, as with containerd.
	Whiteouts bool

	// OnLostXattr, where not nil, is told of each extended attribute of an entry: newc, and so a Tree, has
	// no place for them. The one that matters is security.capability.
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
	name := e.Entry
	if len(name) > shownName {
		name = name[:shownName] + "…"
	}
	return fmt.Sprintf("%s: tar entry %q: %v", e.Origin, name, e.Err)
}

// shownName is how many bytes of a name an error has; a pax name may have a million.
const shownName = 200

// Unwrap returns what is wrong with the entry.
func (e *TarError) Unwrap() error { return e.Err }

// ApplyTar lays the uncompressed tar src into t. Contents are not kept in memory: each file of the tree is
// a run of src's file (of src's bytes, where it is in memory). Owner and mode are kept, times are not, since
// every time in a tree is the build's epoch.
//
// Src is read once, to its last byte, before t is touched: where its content is not what its digest says, the
// error is a *ChangedError. A fault in the tar is a *TarError, with a *LimitError in it where there is too
// much. One that shows only while entries are laid (a *ConflictError in it, a hard link to nothing) leaves t
// half changed where Whiteouts is not set.
func (t *Tree) ApplyTar(src Blob, origin string, o TarOptions) error {
	r, err := src.Open()
	if err != nil {
		return fmt.Errorf("%s: %w", origin, err)
	}
	defer r.Close()
	l, err := List(r, origin, o)
	if err != nil {
		return err
	}
	return t.ApplyListed(src, l, origin, o)
}

// ApplyListed is ApplyTar of a src that has been listed with the same options before. Src itself is not read: whether
// a file's content is what it was shows when that is.
func (t *Tree) ApplyListed(src Blob, l *Listing, origin string, o TarOptions) error {
	entries := l.bound(src)
	if o.Whiteouts {
		return t.overlay(entries, l.whiteouts, origin, o)
	}
	t.use = &usage{}
	t.use.add(t.root)
	defer func() { t.use = nil }()
	for _, e := range entries {
		if err := t.lay(e, origin, o); err != nil {
			return &TarError{Origin: origin, Entry: e.name, Err: err}
		}
	}
	return nil
}

// lay puts one entry into t.
func (t *Tree) lay(e tarEntry, origin string, o TarOptions) error {
	n := e.inode
	if e.link != "" {
		var err error
		if n, err = linked(e.link, t); err != nil {
			return err
		}
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

// linked returns what a hard link to the path p is, by the first tree that has something there.
func linked(p string, trees ...*Tree) (*Inode, error) {
	for _, t := range trees {
		if e, ok := t.Lookup(p); ok && e.Kind == Dir {
			return nil, fmt.Errorf("hard link to %.*s, which is a directory", shownName, p)
		} else if ok {
			return e.Inode, nil
		}
	}
	return nil, fmt.Errorf("hard link to %.*s, which does not exist", shownName, p)
}

// whiteout is a path of the layers below that the layer hides.
type whiteout struct {
	entry  string // the marker's name as the tar has it
	dir    string
	name   string // in dir
	opaque bool   // all that is in dir
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
		w.opaque = true
	case name == "" || name == "." || name == ".." || strings.HasPrefix(name, whiteoutPrefix):
		return w, false, errors.New("not a whiteout of the image layer format, whose names it takes")
	}
	w.dir, w.name = path.Dir(p), name
	return w, true, nil
}
