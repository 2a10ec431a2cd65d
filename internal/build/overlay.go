package build

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
)

// Overlay is a file system in which the files of Upper go before those of Lower: the project's kernel/configs
// and userland before the embedded ones.
type Overlay struct {
	Upper fs.FS
	Lower fs.FS
}

// Open opens Upper's file where there is one. A directory is listed by ReadDir.
func (o Overlay) Open(name string) (fs.File, error) {
	f, err := o.Upper.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return o.Lower.Open(name)
	}
	return f, err
}

// ReadDir lists the names of both, Upper's entry where a name stands in both.
func (o Overlay) ReadDir(name string) ([]fs.DirEntry, error) {
	upper, uerr := fs.ReadDir(o.Upper, name)
	lower, lerr := fs.ReadDir(o.Lower, name)
	if uerr != nil && lerr != nil {
		return nil, lerr
	}
	all := slices.Concat(upper, lower) // the sort is stable: of equal names the upper one comes first
	slices.SortStableFunc(all, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return slices.CompactFunc(all, func(a, b fs.DirEntry) bool { return a.Name() == b.Name() }), nil
}
