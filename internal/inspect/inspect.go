// Package inspect looks into what a boot loader loads: it says what a kernel is, lists an initramfs, takes files
// out of it, and compares two. What a file of an initramfs is, is what the kernel would make of it
// (initramfs.Unpack).
package inspect

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/initramfs"
)

// FileError says that a file is not what it was taken for, or does not hold what was asked of it.
type FileError struct {
	File string
	Err  error // a *KernelError, an *initramfs.ImageError, or a text
}

// Error names the file.
func (e *FileError) Error() string { return fmt.Sprintf("%s: %v", e.File, e.Err) }

// Unwrap returns the fault.
func (e *FileError) Unwrap() error { return e.Err }

// Initramfs is a file with an initramfs, as a kernel would unpack it. Contents stay in the file, which must not
// change; each method reads it anew.
type Initramfs struct {
	*initramfs.Unpacked
	File  string
	Bytes int64 // of the file
}

// Load reads the initramfs file. Each, where not nil, is told of every entry in its order. A fault in the file is a
// *FileError; each has been told of what stands before it.
func Load(ctx context.Context, file string, each func(initramfs.Entry)) (*Initramfs, error) {
	var u *initramfs.Unpacked
	size, err := read(ctx, file, func(im *initramfs.Image) (err error) {
		u, err = initramfs.Unpack(im, nil, each)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Initramfs{Unpacked: u, File: file, Bytes: size}, nil
}

// LoadKernel reads the kernel file. A fault in it is a *FileError.
func LoadKernel(file string) (*Kernel, error) {
	f, info, err := open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	k, err := ReadKernel(f, info.Size())
	if bad, ok := errors.AsType[*KernelError](err); ok {
		err = &FileError{File: file, Err: bad}
	}
	return k, err
}

// IsKernelFile says whether the file is a kernel; else it may be an initramfs.
func IsKernelFile(file string) (bool, error) {
	f, _, err := open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return IsKernel(f)
}

// open opens a regular file. One that is not there, or is not regular, is a *FileError: a fifo would not open.
func open(file string) (*os.File, fs.FileInfo, error) {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, &FileError{File: file, Err: errors.New("there is no such file")}
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular():
		return nil, nil, &FileError{File: file, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(file)
	return f, info, err
}

// read opens the initramfs file for do.
func read(ctx context.Context, file string, do func(*initramfs.Image) error) (size int64, err error) {
	f, info, err := open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	err = do(initramfs.Open(&source{f, ctx.Err}, initramfs.Limits{Packed: info.Size()}))
	if bad, ok := errors.AsType[*initramfs.ImageError](err); ok {
		err = &FileError{File: file, Err: bad}
	}
	return info.Size(), err
}

// source lets nothing be read once it is stopped.
type source struct {
	r       io.Reader
	stopped func() error // ctx.Err
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.stopped(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// Content is how many bytes its files have, those with several names counted once.
func (i *Initramfs) Content() (n int64) {
	seen := map[*filetree.Inode]bool{}
	for _, e := range i.Tree.Entries() {
		if !seen[e.Inode] {
			seen[e.Inode] = true
			n += e.Data.Size()
		}
	}
	return n
}

// Cat writes the content of the regular file name, a path with or without a slash before it, to w. Symlinks are
// followed. Where there is no such file the error is a *FileError.
func (i *Initramfs) Cat(ctx context.Context, name string, w io.Writer) error {
	e, err := i.lookup(name)
	if err != nil {
		return &FileError{File: i.File, Err: err}
	}
	if e.Data.Size() == 0 {
		return nil
	}
	return i.bodies(ctx, map[int]filetree.Entry{i.Unpacked.Bodies[e.Inode]: e}, func(e filetree.Entry, r io.Reader) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// maxLinks is how many symlinks the kernel follows.
const maxLinks = 40

func (i *Initramfs) lookup(name string) (filetree.Entry, error) {
	at := path.Join("/", name)[1:]
	for range maxLinks {
		e, ok := i.Tree.Lookup(at)
		switch {
		case !ok:
			return e, fmt.Errorf("it has no file %s", name)
		case e.Kind == filetree.Regular:
			return e, nil
		case e.Kind != filetree.Symlink:
			return e, fmt.Errorf("%s is a %s", name, e.Kind)
		}
		if at = e.Target; !path.IsAbs(at) {
			at = path.Dir(e.Path) + "/" + at
		}
	}
	return filetree.Entry{}, fmt.Errorf("%s: too many levels of symbolic links", name)
}

// bodies reads the file again and gives do the contents of the entries with the wanted numbers, as they come.
func (i *Initramfs) bodies(ctx context.Context, wanted map[int]filetree.Entry, do func(filetree.Entry, io.Reader) error) error {
	_, err := read(ctx, i.File, func(im *initramfs.Image) error {
		left := len(wanted)
		for n := 0; left > 0; n++ {
			_, err := im.Next()
			if err == io.EOF {
				return errors.New("the file has changed while it was read")
			}
			if err != nil {
				return err
			}
			e, ok := wanted[n]
			if !ok {
				continue
			}
			left--
			body := &summing{r: im, hash: sha256.New()}
			if err := do(e, body); err != nil {
				return fmt.Errorf("%s: %w", e.Path, err)
			}
			if [sha256.Size]byte(body.hash.Sum(nil)) != e.Data.SHA256() {
				return fmt.Errorf("%s: the file has changed while it was read", e.Path)
			}
		}
		return nil
	})
	return err
}

// Each gives do the path and the content of every regular file whose path is wanted, in the order of the file's
// entries. A file with several names comes with one of them.
func (i *Initramfs) Each(ctx context.Context, wanted func(path string) bool, do func(path string, content io.Reader) error) error {
	entries := map[int]filetree.Entry{}
	for _, e := range i.Tree.Entries() {
		if at, ok := i.Unpacked.Bodies[e.Inode]; ok && e.Kind == filetree.Regular && e.Data.Size() > 0 && wanted(e.Path) {
			entries[at] = e
		}
	}
	return i.bodies(ctx, entries, func(e filetree.Entry, r io.Reader) error {
		if err := do(e.Path, r); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, r) // the digest is that of the whole file
		return err
	})
}
