package linuxkit

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// file is an entry of files.
type file struct {
	Pos       strictyaml.Pos
	Path      strictyaml.Value[string]       `yaml:"path,required"`
	Directory strictyaml.Value[bool]         `yaml:"directory"`
	Symlink   strictyaml.Value[string]       `yaml:"symlink"`
	Contents  strictyaml.Value[string]       `yaml:"contents,literal"` // expandContents decides
	Source    strictyaml.Value[string]       `yaml:"source"`
	Metadata  strictyaml.Value[metadataForm] `yaml:"metadata"`
	Optional  strictyaml.Value[bool]         `yaml:"optional"`
	Mode      strictyaml.Value[octal]        `yaml:"mode"`
	UID       strictyaml.Value[ident]        `yaml:"uid"`
	GID       strictyaml.Value[ident]        `yaml:"gid"`

	sources []string // where source may be, in the order to try
}

// maxLevels is how deep a file may lie, since what it takes to make the directories above it grows faster.
const maxLevels = 100

// checkFile finds what is wrong with an entry as a whole.
func checkFile(r *strictyaml.Reader, f file) {
	if f.Path.Set() {
		switch p, err := filetree.Clean(f.Path.V); {
		case err != nil:
			r.Faultf(f.Path.Pos, "%v", err)
		case p == ".":
			r.Faultf(f.Path.Pos, "%q is the root directory", f.Path.V)
		case strings.Count(p, "/") >= maxLevels:
			r.Faultf(f.Path.Pos, "%.40q… has more than %d levels", p, maxLevels)
		}
	}
	content := f.given(contentsKey, sourceKey, metadataKey)
	switch others := f.given(sourceKey, metadataKey); {
	case f.Symlink.Set() && f.Symlink.V == "":
		r.Faultf(f.Symlink.Pos, "the symlink leads nowhere")
	case f.Directory.V && len(content) > 0:
		r.Faultf(f.Pos, "a directory has no %s", strings.Join(content, ", no "))
	case f.Directory.V:
	case f.Symlink.Set() && len(others) > 0:
		r.Faultf(f.Pos, "a symlink has no %s", strings.Join(others, ", no "))
	case f.Symlink.Set():
	case len(content) != 1:
		r.Faultf(f.Pos, "want one of directory: true, symlink, contents, source and metadata, got %s",
			cmp.Or(strings.Join(content, " and "), "none"))
	}
}

const (
	contentsKey = "contents"
	sourceKey   = "source"
	metadataKey = "metadata"
)

// given lists those of the keys that f has.
func (f file) given(keys ...string) []string {
	has := map[string]bool{contentsKey: f.Contents.Set(), sourceKey: f.Source.Set(), metadataKey: f.Metadata.Set()}
	return slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !has[k] })
}

// ineffective says which keys of f LinuxKit takes and does nothing with.
func (f file) ineffective() []string {
	var said []string
	say := func(pos strictyaml.Pos, key, why string) {
		said = append(said, fmt.Sprintf("%s: %q has no effect: %s", pos, key, why))
	}
	switch {
	case f.Directory.V && f.Symlink.Set():
		say(f.Symlink.Pos, "symlink", "the entry is a directory")
	case f.Symlink.Set() && f.Contents.Set():
		say(f.Contents.Pos, contentsKey, "the entry is a symlink")
	}
	if f.Optional.V && !f.Source.Set() {
		say(f.Optional.Pos, "optional", `it goes with "source"`)
	}
	return said
}

// locate says where source may be: beside the YAML, and then where LinuxKit looks.
func (f *file) locate(r *strictyaml.Reader, dir string, o ParseOptions) {
	if !f.Source.Set() {
		return
	}
	source := f.Source.V
	below, atHome := strings.CutPrefix(source, "~/")
	switch {
	case atHome && o.Home != "":
		f.sources = []string{filepath.Join(o.Home, below)}
	case atHome:
		r.Faultf(f.Source.Pos, "source %q: it is not known here which directory ~ is", source)
	case source == "" || strings.HasPrefix(source, "~"):
		r.Faultf(f.Source.Pos, "source %q: want a path, absolute, relative to this file or below ~/", source)
	case filepath.IsAbs(source):
		f.sources = []string{source}
	default:
		f.sources = []string{filepath.Join(dir, source)}
		if second := filepath.Join(o.WorkDir, source); o.WorkDir != "" && second != f.sources[0] {
			f.sources = append(f.sources, second)
		}
	}
}

// expandContents puts variables into contents where the template wants that.
func (f *file) expandContents(r *strictyaml.Reader, t Template) {
	if t != TemplateHook || !f.Contents.Set() {
		return
	}
	text, err := r.Expand(f.Contents.V)
	if err != nil {
		r.Faultf(f.Contents.Pos, "%q: %v", contentsKey, err)
	}
	f.Contents.V = text
}

// inode makes what f describes; nil where its source does not exist and need not.
func (a *assembly) inode(f file) (*filetree.Inode, error) {
	n, err := a.content(f)
	if n == nil || err != nil {
		return nil, err
	}
	if f.Mode.Set() && n.Kind != filetree.Symlink {
		n.Perm = uint32(f.Mode.V)
	}
	if n.UID, err = a.ids.number(f.UID.V); err != nil {
		return nil, err
	}
	n.GID, err = a.ids.number(f.GID.V)
	return n, err
}

func (a *assembly) content(f file) (*filetree.Inode, error) {
	switch {
	case f.Directory.V:
		return directory(0o700), nil
	case f.Symlink.Set():
		return symlink(f.Symlink.V), nil
	case f.Contents.Set():
		return regular([]byte(f.Contents.V), 0o600), nil
	case f.Metadata.Set():
		data, err := a.spec.metadata(f.Metadata.V, a.kernelRef())
		return regular(data, 0o600), err
	}
	data, err := a.source(f)
	if f.Optional.V && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, strictyaml.Errors{{Pos: f.Source.Pos, Message: fmt.Sprintf("source: %v", err)}}
	}
	return &filetree.Inode{Kind: filetree.Regular, Perm: 0o600, Data: data}, nil
}

// source reads what f.Source names, from the first place where it is.
func (a *assembly) source(f file) (filetree.Blob, error) {
	var first error
	for i, name := range f.sources {
		data, err := a.read(name)
		if err == nil && i > 0 {
			a.warnf("%s: source: %s does not exist beside this file; taken from the working directory, as LinuxKit does",
				f.Source.Pos, f.sources[0])
		}
		if first == nil {
			first = err
		}
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
	}
	return filetree.Blob{}, first
}

func (a *assembly) read(name string) (filetree.Blob, error) {
	switch {
	case a.options.File != nil:
		return a.options.File(name)
	case a.options.ReadFile != nil:
		data, err := a.options.ReadFile(name)
		return filetree.Bytes(data), err
	}
	return filetree.Blob{}, errors.New("no file can be read: Options has neither File nor ReadFile")
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
		n, err := a.inode(f)
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
		if old, ok := a.tree.Lookup(p); ok && n.Kind == filetree.Dir && !f.Mode.Set() && a.keeps(p, old, n, f, mentioned) {
			continue
		}
		if err := a.tree.Add(p, n, a.origin(f)); err != nil {
			return fmt.Errorf("%s: %w", f.Pos, err)
		}
		mentioned[p] = true
	}
	return nil
}

// origin names the entry in messages; every entry is of the one part files.
func (a *assembly) origin(f file) string {
	return a.result.parts.addAs(f.Pos.String(), &Part{Kind: PartFiles})
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
	exists := true // below what does not exist nothing does
	for i := range len(p) {
		if p[i] != '/' {
			continue
		}
		made := &filetree.Inode{Kind: filetree.Dir, Perm: perm, UID: n.UID, GID: n.GID}
		if exists {
			var old filetree.Entry
			if old, exists = a.tree.Lookup(p[:i]); exists {
				a.keeps(p[:i], old, made, f, mentioned) // a symlink or a conflict shows where the file is added
				continue
			}
		}
		mentioned[p[:i]] = true
		if err := a.tree.Add(p[:i], made, a.origin(f)); err != nil {
			return err
		}
	}
	return nil
}

// keeps says whether old at dir is a directory, which then stays as it is. Where LinuxKit would turn it into
// n, it warns; it does so for the first entry that mentions the directory, as only that one counts there.
func (a *assembly) keeps(dir string, old filetree.Entry, n *filetree.Inode, f file, mentioned map[string]bool) bool {
	first := !mentioned[dir]
	mentioned[dir] = true
	if old.Kind != filetree.Dir {
		return false
	}
	if first && (old.Perm != n.Perm || old.UID != n.UID || old.GID != n.GID) {
		a.warnf("%s: %s keeps mode %04o and owner %d:%d; LinuxKit would make them %04o and %d:%d",
			f.Pos, path.Join("/", dir), old.Perm, old.UID, old.GID, n.Perm, n.UID, n.GID)
	}
	return true
}
