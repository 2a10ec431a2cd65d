package initramfs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// Unpacked is the root file system that a kernel has once it is through with an initramfs.
type Unpacked struct {
	Tree    *filetree.Tree // its entries' origins are "segment N"
	Parts   []Part
	Dropped []Dropped // entries of which the kernel makes nothing

	// Bodies says of which entry, counted from 0 over all segments, a regular file that is not empty has its
	// content.
	Bodies map[*filetree.Inode]int
}

// Dropped is an entry of which the kernel makes nothing, which it does not say.
type Dropped struct {
	Segment int
	Name    string
	Why     string
}

// Unpack reads im to its end and does what the kernel does with each entry (do_name of init/initramfs.c): no parents
// are made, symlinked ones are followed, a later entry is written over an earlier one, hard links go by numbers up
// to each trailer. Contents are written to spool behind each other, and the tree's files are runs of it; with a nil
// spool their sizes and digests are known and they cannot be opened. Seen, where not nil, is told of each entry
// before anything is made of it. Errors are those of Image.Next, and spool's.
func Unpack(im *Image, spool *os.File, seen func(Entry)) (*Unpacked, error) {
	u := &unpacking{im: im, spool: spool, root: newRoot(), bodies: map[*filetree.Inode]int{}, buf: make([]byte, 128<<10)}
	for i := 0; ; i++ {
		e, err := im.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if seen != nil {
			seen(e)
		}
		if err := u.entry(e, i); err != nil {
			return nil, err
		}
	}
	tree := filetree.New()
	if err := u.root.addTo(tree, "."); err != nil {
		return nil, err
	}
	return &Unpacked{Tree: tree, Parts: im.Parts(), Dropped: u.dropped, Bodies: u.bodies}, nil
}

// unpacking is the file system on the way.
type unpacking struct {
	im      *Image
	spool   *os.File
	offset  int64 // in spool
	root    *inTree
	bodies  map[*filetree.Inode]int
	dropped []Dropped
	links   map[linkKey]string // the first name of a file of this archive
	segment int
	steps   int64 // of path lookups
	names   int64 // bytes of paths
	buf     []byte
}

// linkKey is by what the kernel knows a hard link.
type linkKey struct{ ino, major, minor, kind uint32 }

// maxSteps bounds path lookups: symlinks make one entry cost as much as 40 paths.
const maxSteps = 100_000_000

// inTree is a file at its place.
type inTree struct {
	*filetree.Inode
	parent   *inTree // of the root: itself
	children map[string]*inTree
	length   int  // of its path
	segment  int  // that made or changed it last
	builtIn  bool // it comes from the kernel itself, and no entry has touched it
}

// newRoot is what the initramfs inside the kernel makes (usr/default_cpio_list), and no image need have.
func newRoot() *inTree {
	root := &inTree{Inode: &filetree.Inode{Kind: filetree.Dir, Perm: 0o755}}
	root.parent = root
	dev := root.attach("dev", &filetree.Inode{Kind: filetree.Dir, Perm: 0o755})
	console := dev.attach("console", &filetree.Inode{Kind: filetree.Char, Perm: 0o600, Major: 5, Minor: 1})
	home := root.attach("root", &filetree.Inode{Kind: filetree.Dir, Perm: 0o700})
	for _, f := range []*inTree{dev, console, home} {
		f.builtIn = true
	}
	return root
}

func (f *inTree) attach(name string, n *filetree.Inode) *inTree {
	child := &inTree{Inode: n, parent: f, length: f.length + 1 + len(name)}
	if f.children == nil {
		f.children = map[string]*inTree{}
	}
	f.children[name] = child
	return child
}

// addTo adds f, which is at p, and what is below it. What only the kernel made is left out.
func (f *inTree) addTo(t *filetree.Tree, p string) error {
	if !f.wanted() {
		return nil
	}
	if err := t.Add(p, f.Inode, fmt.Sprintf("segment %d", f.segment)); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(f.children)) {
		if err := f.children[name].addTo(t, path.Join(p, name)); err != nil {
			return err
		}
	}
	f.children = nil // the tree has it now; two of each would be too much
	return nil
}

// wanted is false for what only the kernel made.
func (f *inTree) wanted() bool {
	if !f.builtIn {
		return true
	}
	for _, child := range f.children {
		if child.wanted() {
			return true
		}
	}
	return false
}

// spot is where a path leads. Dir is nil where there is no such directory, file where nothing is in it.
type spot struct {
	dir  *inTree
	name string // "" where the file is the directory that "." or ".." leads to
	file *inTree
}

// errTooManySteps is for an image that is made to take forever.
var errTooManySteps = &LimitError{"the symlinks among its paths take too many steps to follow"}

// find follows p as the kernel does. A symlink that comes last is followed where p ends in a slash.
func (u *unpacking) find(p string) (spot, error) {
	follow := strings.HasSuffix(p, "/")
	at, links := u.root, 0
	for todo, more := strings.TrimRight(p, "/"), true; more; {
		var name string
		name, todo, more = strings.Cut(todo, "/")
		if u.steps++; u.steps > maxSteps {
			return spot{}, errTooManySteps
		}
		if at.Kind != filetree.Dir {
			return spot{}, nil
		}
		switch name {
		case "", ".":
			continue
		case "..":
			at = at.parent
			continue
		}
		child := at.children[name]
		switch {
		case child != nil && child.Kind == filetree.Symlink && (more || follow):
			if links++; links > 40 { // MAXSYMLINKS of include/linux/namei.h
				return spot{}, nil
			}
			u.steps += int64(len(child.Target)+len(todo)) / 16
			if path.IsAbs(child.Target) {
				at = u.root
			}
			target := strings.TrimRight(child.Target, "/")
			if more {
				target += "/" + todo
			}
			todo, more = target, true
		case !more:
			return spot{at, name, child}, nil
		case child == nil:
			return spot{}, nil
		default:
			at = child
		}
	}
	if at.Kind != filetree.Dir {
		return spot{}, nil
	}
	return spot{at.parent, "", at}, nil
}

// entry does with e, the entry number i, what the kernel does.
func (u *unpacking) entry(e Entry, i int) error {
	if u.links == nil || e.Segment != u.segment {
		u.links, u.segment = map[linkKey]string{}, e.Segment
	}
	var why string
	var err error
	switch e.Mode & typeMask {
	case typeRegular:
		why, err = u.regular(e, i)
	case typeDir:
		why, err = u.directory(e)
	case typeSymlink:
		why, err = u.symlink(e)
	case typeSocket:
		why = "a socket, which is left out here"
	default:
		why, err = u.special(e)
	}
	if why != "" {
		u.dropped = append(u.dropped, Dropped{e.Segment, e.Name, why})
	}
	var limit *LimitError
	if errors.As(err, &limit) {
		return u.fault(limit)
	}
	return err
}

func (u *unpacking) fault(err error) error {
	u.im.err = u.im.fault(err)
	return u.im.err
}

// Why an entry is dropped.
const (
	noParent = "its directory is not there"
	notEmpty = "a directory that is not empty is in its place"
	noTarget = "the file that it is a hard link to is not there"
	tooLong  = "its path without symlinks has more than 4095 bytes, or its name more than 255"
	noName   = "it ends in a slash, and is no directory"
)

// place finds e's place and takes away what is there of another type; of any type where vacate says so.
func (u *unpacking) place(e Entry, vacate bool) (s spot, why string, err error) {
	if s, err = u.find(e.Name); err != nil {
		return s, "", err
	}
	if s.dir == nil {
		return s, noParent, nil
	}
	if s.file == nil || (!vacate && s.file.Kind == kindOf(e.Mode)) {
		return s, "", nil
	}
	if s.name == "" || len(s.file.children) > 0 {
		return s, notEmpty, nil
	}
	delete(s.dir.children, s.name)
	s.file = nil
	return s, "", nil
}

// kindOf is the kind of an st_mode, which is not a socket's.
func kindOf(mode uint32) filetree.Kind {
	switch mode & typeMask {
	case typeDir:
		return filetree.Dir
	case typeSymlink:
		return filetree.Symlink
	case typeChar:
		return filetree.Char
	case typeBlock:
		return filetree.Block
	case typeFIFO:
		return filetree.FIFO
	}
	return filetree.Regular
}

// create puts a new file at s.
func (u *unpacking) create(s *spot, e Entry) (why string, err error) {
	if strings.HasSuffix(e.Name, "/") && e.Mode&typeMask != typeDir {
		return noName, nil
	}
	n := &filetree.Inode{Kind: kindOf(e.Mode), Target: e.Target}
	if n.Kind == filetree.Char || n.Kind == filetree.Block {
		n.Major, n.Minor = e.RMajor, e.RMinor
	}
	return u.attach(s, n)
}

// attach puts n at s.
func (u *unpacking) attach(s *spot, n *filetree.Inode) (why string, err error) {
	length := s.dir.length + 1 + len(s.name)
	if length > maxPath || len(s.name) > maxName {
		return tooLong, nil
	}
	if u.names += int64(length); u.names > u.im.limits.Names {
		return "", &LimitError{fmt.Sprintf("more than %d bytes of paths", u.im.limits.Names)}
	}
	s.file = s.dir.attach(s.name, n)
	return "", nil
}

// own gives the file e's mode and owner.
func (u *unpacking) own(f *inTree, e Entry) {
	f.builtIn, f.segment = false, e.Segment
	f.Perm = e.Mode & 0o7777
	if e.UID != noOwner {
		f.UID = e.UID
	}
	if e.GID != noOwner {
		f.GID = e.GID
	}
}

func (u *unpacking) directory(e Entry) (why string, err error) {
	s, why, err := u.place(e, false)
	if why == "" && err == nil && s.file == nil {
		why, err = u.create(&s, e)
	}
	if why == "" && err == nil {
		u.own(s.file, e)
	}
	return why, err
}

func (u *unpacking) symlink(e Entry) (why string, err error) {
	s, why, err := u.place(e, true)
	if why == "" && err == nil {
		why, err = u.create(&s, e)
	}
	if why == "" && err == nil {
		u.own(s.file, e)
		s.file.Perm = 0o777
	}
	return why, err
}

// special makes a device or a fifo; where one is, it keeps its number.
func (u *unpacking) special(e Entry) (why string, err error) {
	linked, s, why, err := u.link(e)
	if linked || why != "" || err != nil {
		return why, err
	}
	if s.file == nil {
		why, err = u.create(&s, e)
	}
	if why == "" && err == nil {
		u.own(s.file, e)
	}
	return why, err
}

func (u *unpacking) regular(e Entry, i int) (why string, err error) {
	linked, s, why, err := u.link(e)
	if why == "" && err == nil && s.file == nil {
		why, err = u.create(&s, e)
	}
	if why != "" || err != nil {
		return why, err
	}
	u.own(s.file, e)
	if linked && e.Size == 0 {
		return "", nil
	}
	n := s.file.Inode // written in place: its other names see it
	if n.Data, err = u.body(e.Size); err != nil {
		return "", err
	}
	delete(u.bodies, n)
	if e.Size > 0 {
		u.bodies[n] = i
	}
	return "", nil
}

// link makes e a hard link where its numbers have come before; else it is the place for a file.
func (u *unpacking) link(e Entry) (linked bool, s spot, why string, err error) {
	s, why, err = u.place(e, false)
	if err != nil || e.Links < 2 {
		return false, s, why, err
	}
	key := linkKey{e.Inode, e.Major, e.Minor, e.Mode & typeMask}
	first, ok := u.links[key]
	if !ok {
		u.links[key] = e.Name // even where it could not be made
		return false, s, why, nil
	}
	if s, why, err = u.place(e, true); why != "" || err != nil {
		return false, s, why, err
	}
	old, err := u.find(first)
	if err != nil {
		return false, s, "", err
	}
	if old.file == nil || old.file.Kind == filetree.Dir {
		return false, s, noTarget, nil
	}
	why, err = u.attach(&s, old.file.Inode)
	if s.file != nil {
		s.file.segment = e.Segment
	}
	return true, s, why, err
}

// notKept stands for the file of a content that is only hashed.
const notKept = "content that was not kept"

// body reads the current body.
func (u *unpacking) body(size int64) (filetree.Blob, error) {
	if size == 0 {
		return filetree.Blob{}, nil
	}
	h := sha256.New()
	to, name := io.Writer(h), notKept
	if u.spool != nil {
		to, name = io.MultiWriter(h, u.spool), u.spool.Name()
	}
	if _, err := io.CopyBuffer(to, struct{ io.Reader }{u.im}, u.buf); err != nil {
		return filetree.Blob{}, err
	}
	blob := filetree.FileRange(name, u.offset, size, [sha256.Size]byte(h.Sum(nil)))
	u.offset += size
	return blob, nil
}
