package linuxkit

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// file is an entry of files.
type file struct {
	Pos       strictyaml.Pos
	Path      strictyaml.Value[string] `yaml:"path,required"`
	Directory strictyaml.Value[bool]   `yaml:"directory"`
	Symlink   strictyaml.Value[string] `yaml:"symlink"`
	Contents  strictyaml.Value[string] `yaml:"contents,literal"`
	Source    strictyaml.Value[string] `yaml:"source"`
	Optional  strictyaml.Value[bool]   `yaml:"optional"`
	Mode      strictyaml.Value[octal]  `yaml:"mode"`
	UID       strictyaml.Value[ident]  `yaml:"uid"`
	GID       strictyaml.Value[ident]  `yaml:"gid"`
	_         struct{}                 `unsupported:"metadata"`

	dir string // of the YAML
}

// checkFile finds what is wrong with an entry as a whole.
func checkFile(r *strictyaml.Reader, f file) {
	if f.Path.Set() {
		if p, err := filetree.Clean(f.Path.V); err != nil {
			r.Faultf(f.Path.Pos, "%v", err)
		} else if p == "." {
			r.Faultf(f.Path.Pos, "%q is the root directory", f.Path.V)
		}
	}
	kinds := 0
	for _, given := range []bool{f.Directory.V, f.Symlink.Set(), f.Contents.Set(), f.Source.Set()} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		r.Faultf(f.Pos, "want one of directory: true, symlink, contents and source, got %d", kinds)
	}
	if f.Symlink.Set() && f.Symlink.V == "" {
		r.Faultf(f.Symlink.Pos, "the symlink leads nowhere")
	}
	if f.Source.Set() && (f.Source.V == "" || strings.HasPrefix(f.Source.V, "~")) {
		r.Faultf(f.Source.Pos, "source %q: want a path, absolute or relative to this file; ~ is not supported yet", f.Source.V)
	}
}

func (f file) sourcePath() string {
	if filepath.IsAbs(f.Source.V) {
		return f.Source.V
	}
	return filepath.Join(f.dir, f.Source.V)
}

// inode makes what f describes; nil where its source does not exist and need not.
func (f file) inode(ids ids, readFile func(string) ([]byte, error)) (*filetree.Inode, error) {
	n, err := f.content(readFile)
	if n == nil || err != nil {
		return nil, err
	}
	if f.Mode.Set() && n.Kind != filetree.Symlink {
		n.Perm = uint32(f.Mode.V)
	}
	if n.UID, err = ids.number(f.UID.V); err != nil {
		return nil, err
	}
	n.GID, err = ids.number(f.GID.V)
	return n, err
}

func (f file) content(readFile func(string) ([]byte, error)) (*filetree.Inode, error) {
	switch {
	case f.Directory.V:
		return directory(0o700), nil
	case f.Symlink.Set():
		return symlink(f.Symlink.V), nil
	case f.Contents.Set():
		return regular([]byte(f.Contents.V), 0o600), nil
	}
	if readFile == nil {
		return nil, fmt.Errorf("%s: source: no file can be read: Options.ReadFile is nil", f.Source.Pos)
	}
	data, err := readFile(f.sourcePath())
	if f.Optional.V && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, strictyaml.Errors{{Pos: f.Source.Pos, Message: fmt.Sprintf("source: %v", err)}}
	}
	return regular(data, 0o600), nil
}

// searchable adds to a file's mode the search bit for each class that has any bit: the mode that LinuxKit
// gives to the file's parents.
func searchable(perm uint32) uint32 {
	for _, class := range []uint32{0o700, 0o070, 0o007} {
		if perm&class != 0 {
			perm |= class & 0o111
		}
	}
	return perm & 0o777
}

// addFiles lays `files:` into the tree. The first file below a directory that does not exist decides its
// mode and owner, as in LinuxKit; other than in LinuxKit a directory that exists stays as it is, unless an
// entry names it with a mode.
func (a *assembly) addFiles(files []file) error {
	mentioned := map[string]bool{}
	for _, f := range files {
		n, err := f.inode(a.ids, a.options.ReadFile)
		if err != nil {
			return err
		}
		if n == nil {
			continue
		}
		p, err := filetree.Clean(f.Path.V)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Pos, err)
		}
		if err := a.addParents(p, n, f, mentioned); err != nil {
			return fmt.Errorf("%s: %w", f.Pos, err)
		}
		if n.Kind == filetree.Dir && !f.Mode.Set() && a.keeps(p, n, f, mentioned) {
			continue
		}
		if err := a.tree.Add(p, n, f.Pos.String()); err != nil {
			return fmt.Errorf("%s: %w", f.Pos, err)
		}
		mentioned[p] = true
	}
	return nil
}

// addParents makes the missing parents of p.
func (a *assembly) addParents(p string, n *filetree.Inode, f file, mentioned map[string]bool) error {
	perm := searchable(n.Perm)
	if n.Kind == filetree.Symlink {
		perm = searchable(0o600)
		if f.Mode.Set() {
			perm = searchable(uint32(f.Mode.V))
		}
	}
	for i := range len(p) {
		if p[i] != '/' {
			continue
		}
		made := &filetree.Inode{Kind: filetree.Dir, Perm: perm, UID: n.UID, GID: n.GID}
		if a.keeps(p[:i], made, f, mentioned) {
			continue
		}
		if _, exists := a.tree.Lookup(p[:i]); exists { // a symlink, or a conflict that Add will report
			continue
		}
		if err := a.tree.Add(p[:i], made, f.Pos.String()); err != nil {
			return err
		}
	}
	return nil
}

// keeps says whether dir is a directory already, which then stays as it is. Where LinuxKit would turn it into
// n, it warns; it does so for the first entry that mentions the directory, as only that one counts there.
func (a *assembly) keeps(dir string, n *filetree.Inode, f file, mentioned map[string]bool) bool {
	first := !mentioned[dir]
	mentioned[dir] = true
	old, ok := a.tree.Lookup(dir)
	if !ok || old.Kind != filetree.Dir {
		return false
	}
	if first && (old.Perm != n.Perm || old.UID != n.UID || old.GID != n.GID) {
		a.warnf("%s: %s keeps mode %04o and owner %d:%d; LinuxKit would make them %04o and %d:%d",
			f.Pos, path.Join("/", dir), old.Perm, old.UID, old.GID, n.Perm, n.UID, n.GID)
	}
	return true
}
