package filetree

import (
	"fmt"
	"path"
	"strings"
)

const (
	// maxLinks is how many symlinks the kernel follows in one path (MAXSYMLINKS, include/linux/namei.h).
	maxLinks = 40
	// maxPath is the longest path the kernel takes, in bytes: PATH_MAX without its NUL.
	maxPath = 4095
	// maxName is the longest name in a directory, in bytes, and of an extended attribute (NAME_MAX, XATTR_NAME_MAX
	// of include/uapi/linux/limits.h).
	maxName = 255
)

// Clean turns a name as tars and YAML have it (leading "/" or "./", trailing "/") into an Entry path. A
// name that climbs out of the root, is empty, holds a NUL byte or is longer than 4095 bytes is an error.
func Clean(name string) (string, error) {
	if name == "" || strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("file name %.200q is empty or has a NUL byte", name)
	}
	p := path.Clean(strings.TrimLeft(name, "/"))
	if p == ".." || strings.HasPrefix(p, "../") {
		return "", fmt.Errorf("file name %.200q leads out of the root", name)
	}
	if len(p) > maxPath {
		return "", fmt.Errorf("file name %.40q… has %d bytes, want at most %d", p, len(p), maxPath)
	}
	return p, nil
}

// Resolve returns p with symlinks among its parents followed inside the tree, as the kernel would with the
// tree as its root. The last component is not followed. Components that do not exist are kept as they are.
func (t *Tree) Resolve(p string) (string, error) {
	at, err := t.walk(p)
	if err != nil {
		return "", err
	}
	return at.path(), nil
}

// place is where a path leads: the last node that exists and the components below it that do not.
type place struct {
	node    *node
	missing []string
}

func (w place) found() bool { return len(w.missing) == 0 }

func (w place) path() string {
	if w.found() {
		return w.node.Path
	}
	below := strings.Join(w.missing, "/")
	if w.node.Path == "." {
		return below
	}
	return w.node.Path + "/" + below
}

// up is "..": out of what does not exist first, and never above the root.
func (w place) up() place {
	if w.found() {
		return place{node: w.node.parent}
	}
	return place{w.node, w.missing[:len(w.missing)-1]}
}

func (w place) down(name string) place {
	if child, ok := w.node.children[name]; ok && w.found() {
		return place{node: child}
	}
	return place{w.node, append(w.missing, name)}
}

// walk follows p from the root as Resolve says. Targets of symlinks are walked component by component, not
// cleaned first: "a/.." is where a leads to, one up, and a may itself be a symlink.
func (t *Tree) walk(p string) (place, error) {
	at := place{node: t.root}
	links := 0
	for todo, more := p, true; more; {
		var name string
		name, todo, more = strings.Cut(todo, "/")
		if err := t.use.step(1); err != nil {
			return place{}, err
		}
		switch name {
		case "", ".":
			continue
		case "..":
			at = at.up()
			continue
		}
		next := at.down(name)
		if !next.found() || next.node.Kind != Symlink || !more {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return place{}, fmt.Errorf("%s: too many levels of symbolic links at %s", p, next.node.Path)
		}
		if path.IsAbs(next.node.Target) {
			at = place{node: t.root}
		}
		todo = next.node.Target + "/" + todo
		if err := t.use.step(len(todo) / copiedPerStep); err != nil {
			return place{}, err
		}
	}
	return at, nil
}
