package build

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"slices"
)

// Overlay is a file system in which the files of Upper go before those of Lower: the project's kernel/configs
// and userland before the embedded ones. Directories of one name are merged.
type Overlay struct {
	Upper fs.FS
	Lower fs.FS
}

// Open opens Upper's file where there is one.
func (o Overlay) Open(name string) (fs.File, error) {
	f, err := o.Upper.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return o.Lower.Open(name)
	}
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.IsDir() {
		return f, err
	}
	entries, err := o.ReadDir(name)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &overlayDir{File: f, rest: entries}, nil
}

// ReadDir lists the names of both, Upper's entry where a name stands in both.
func (o Overlay) ReadDir(name string) ([]fs.DirEntry, error) {
	upper, err := fs.ReadDir(o.Upper, name)
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ReadDir(o.Lower, name)
	}
	if err != nil {
		return nil, err
	}
	if info, err := fs.Stat(o.Lower, name); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return upper, nil
	}
	lower, err := fs.ReadDir(o.Lower, name)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(upper, lower) // the sort is stable: of equal names the upper one comes first
	slices.SortStableFunc(all, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return slices.CompactFunc(all, func(a, b fs.DirEntry) bool { return a.Name() == b.Name() }), nil
}

// ReadLink says where Upper's symlink leads, where there is one.
func (o Overlay) ReadLink(name string) (string, error) {
	target, err := fs.ReadLink(o.Upper, name)
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ReadLink(o.Lower, name)
	}
	return target, err
}

// Lstat does not follow Upper's symlink, where there is one.
func (o Overlay) Lstat(name string) (fs.FileInfo, error) {
	info, err := fs.Lstat(o.Upper, name)
	if errors.Is(err, fs.ErrNotExist) {
		return fs.Lstat(o.Lower, name)
	}
	return info, err
}

// overlayDir is an open directory of Upper that also lists what Lower has.
type overlayDir struct {
	fs.File
	rest []fs.DirEntry
}

// ReadDir is that of fs.ReadDirFile.
func (d *overlayDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.rest)
	} else if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	got := d.rest[:n:n]
	d.rest = d.rest[n:]
	return got, nil
}
