package inspect

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// summing hashes what is read through it.
type summing struct {
	r    io.Reader
	hash hash.Hash
}

func (s *summing) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.hash.Write(p[:n])
	return n, err
}

// ExtractOptions says how files are made.
type ExtractOptions struct {
	// Owners gives files their owners and makes devices, which needs root. Without it everything belongs to the
	// user, no file is setuid or setgid, and devices are left out.
	Owners bool
}

// Extract makes the file system in dir, which must be empty or not be there. Nothing is ever written outside it:
// every name is looked up below it (os.Root), and none goes through a symlink. It returns the paths of devices that
// were left out. A dir that is not empty is a *FileError.
func (i *Initramfs) Extract(ctx context.Context, dir string, o ExtractOptions) (left []string, err error) {
	root, err := emptyRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // what was written has been closed
	x := &extraction{root: root, options: o, entries: i.Tree.Entries(), first: map[*filetree.Inode]string{}}
	wanted := map[int]filetree.Entry{}
	for _, e := range x.entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := x.create(e); err != nil {
			return nil, err
		}
		if n, ok := i.Unpacked.Bodies[e.Inode]; ok && x.first[e.Inode] == e.Path {
			wanted[n] = e
		}
	}
	if err := i.bodies(ctx, wanted, x.fill); err != nil {
		return nil, err
	}
	return x.left, x.finish()
}

// emptyRoot opens dir, made where it is missing.
func emptyRoot(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	f, err := root.Open(".")
	if err == nil {
		_, err = f.Readdirnames(1)
		f.Close()
	}
	switch {
	case err == io.EOF:
		return root, nil
	case err == nil:
		err = &FileError{File: dir, Err: errors.New("the directory is not empty")}
	}
	return nil, errors.Join(err, root.Close())
}

// extraction is the state of one.
type extraction struct {
	root    *os.Root
	options ExtractOptions
	entries []filetree.Entry // parents first
	first   map[*filetree.Inode]string
	left    []string
}

// create makes e without content, with a mode that lets the content in.
func (x *extraction) create(e filetree.Entry) error {
	if e.Path == "." {
		return nil
	}
	if first, ok := x.first[e.Inode]; ok && e.Kind != filetree.Symlink {
		return x.root.Link(first, e.Path)
	}
	switch e.Kind {
	case filetree.Dir:
		return x.root.Mkdir(e.Path, 0o700)
	case filetree.Symlink:
		return x.root.Symlink(e.Target, e.Path)
	case filetree.Regular:
		f, err := x.root.OpenFile(e.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		x.first[e.Inode] = e.Path
		return f.Close()
	}
	return x.special(e)
}

// special makes a fifo or a device. os.Root cannot; the path has no symlink below the directory, as this has made
// all of it.
func (x *extraction) special(e filetree.Entry) error {
	if e.Kind != filetree.FIFO && !x.options.Owners {
		x.left = append(x.left, e.Path)
		return nil
	}
	kind := map[filetree.Kind]uint32{
		filetree.FIFO: syscall.S_IFIFO, filetree.Char: syscall.S_IFCHR, filetree.Block: syscall.S_IFBLK,
	}[e.Kind]
	name := filepath.Join(x.root.Name(), e.Path)
	if err := syscall.Mknod(name, kind|0o600, deviceNumber(e.Major, e.Minor)); err != nil {
		return &fs.PathError{Op: "mknod", Path: name, Err: err}
	}
	x.first[e.Inode] = e.Path
	return nil
}

// deviceNumber is what mknod(2) takes (include/linux/kdev_t.h, new_encode_dev).
func deviceNumber(major, minor uint32) int {
	return int(minor&0xff | major<<8 | minor&^0xff<<12)
}

func (x *extraction) fill(e filetree.Entry, body io.Reader) error {
	f, err := x.root.OpenFile(e.Path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, body)
	if err == nil && n != e.Data.Size() {
		err = fmt.Errorf("got %d bytes, want %d", n, e.Data.Size())
	}
	return errors.Join(err, f.Close())
}

// finish sets owners and modes; of directories last and from below, since a mode may close one.
func (x *extraction) finish() error {
	for _, e := range slices.Backward(x.entries) {
		if slices.Contains(x.left, e.Path) {
			continue
		}
		if x.options.Owners {
			if err := x.root.Lchown(e.Path, int(e.UID), int(e.GID)); err != nil {
				return err
			}
		}
		if e.Kind == filetree.Symlink {
			continue
		}
		if err := x.root.Chmod(e.Path, x.mode(e)); err != nil {
			return err
		}
	}
	return nil
}

func (x *extraction) mode(e filetree.Entry) fs.FileMode {
	m := fs.FileMode(e.Perm & 0o777)
	if e.Perm&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	if x.options.Owners && e.Perm&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if x.options.Owners && e.Perm&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	return m
}
