package filetree

// overlay lays a layer over t as overlayfs stacks directories: the layer becomes a tree of its own, in which its
// own symlinks are followed and no other's, and that is merged with what is below.
func (t *Tree) overlay(entries []tarEntry, whiteouts []whiteout, origin string, o TarOptions) error {
	upper := New()
	upper.root.implied = true
	upper.use = &usage{}
	t.use = upper.use // of lookups for hard links
	defer func() { t.use = nil }()
	for _, e := range entries {
		if err := upper.replace(e, t, origin, o); err != nil {
			return &TarError{Origin: origin, Entry: e.name, Err: err}
		}
	}
	hidden := map[*node]*hides{}
	for _, w := range whiteouts {
		dir, err := upper.impliedDir(w.dir, origin)
		if err != nil {
			return &TarError{Origin: origin, Entry: w.entry, Err: err}
		}
		hidden[dir] = hidden[dir].and(w)
	}
	merge(t.root, upper.root, hidden)
	var whole usage
	if whole.add(t.root); whole.check() != nil {
		return &TarError{Origin: origin, Err: whole.check()}
	}
	return nil
}

// hides is what of the layers below is not seen in one directory.
type hides struct {
	all   bool
	names []string
}

func (h *hides) and(w whiteout) *hides {
	if h == nil {
		h = &hides{}
	}
	if w.opaque {
		h.all = true
	} else {
		h.names = append(h.names, w.name)
	}
	return h
}

// replace lays an entry into the layer's own tree. The last of those with one path counts; directories are one.
func (t *Tree) replace(e tarEntry, below *Tree, origin string, o TarOptions) error {
	if e.link != "" {
		if err := t.resolve(&e, below); err != nil {
			return err
		}
	}
	at, err := t.walk(e.path)
	if err != nil {
		return err
	}
	if at.found() && (at.node.Kind == Dir) != (e.inode.Kind == Dir) && at.node != t.root {
		at.node.detach()
	}
	return t.lay(e, origin, o)
}

// resolve makes the hard link e an entry of the file that it is to. Its mode and owner become the file's, as
// with Docker and containerd, which set them for every name.
func (t *Tree) resolve(e *tarEntry, below *Tree) error {
	n, err := linked(e.link, t)
	if err != nil {
		if n, err = linked(e.link, t, below); err != nil {
			return err
		}
	} else {
		n.Perm, n.UID, n.GID = e.inode.Perm, e.inode.UID, e.inode.GID
	}
	e.inode, e.link = n, ""
	return nil
}

// impliedDir returns the directory p, made where it is missing.
func (t *Tree) impliedDir(p, origin string) (*node, error) {
	at, err := t.walk(p + "/.") // where a symlink leads
	if err != nil {
		return nil, err
	}
	if !at.found() {
		if err := t.create(at, &Inode{Kind: Dir, Perm: 0o755}, origin); err != nil {
			return nil, err
		}
		if at, err = t.walk(p + "/."); err != nil {
			return nil, err
		}
		at.node.implied = true
	}
	if at.node.Kind != Dir {
		return nil, &ConflictError{Path: at.node.Path, Old: at.node.Kind, New: Dir, OldFrom: at.node.Origin, NewFrom: origin}
	}
	return at.node, nil
}

// merge lays the directory upper over the directory lower.
func merge(lower, upper *node, hidden map[*node]*hides) {
	if h := hidden[upper]; h != nil {
		if h.all {
			lower.children = nil
		}
		for _, name := range h.names {
			delete(lower.children, name)
		}
	}
	if !upper.implied {
		lower.Inode, lower.Origin, lower.implied = upper.Inode, upper.Origin, false
	}
	for name, child := range upper.children {
		if old := lower.children[name]; old != nil && old.Kind == Dir && child.Kind == Dir {
			merge(old, child, hidden)
			continue
		}
		child.parent = lower
		if lower.children == nil {
			lower.children = map[string]*node{}
		}
		lower.children[name] = child
	}
}
