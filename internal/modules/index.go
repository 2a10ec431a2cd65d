// Package modules says which kernel modules and which firmware go into an initramfs: the modules that a kernel
// has and patterns of the user's go in, a list of files comes out in which every module finds what it depends on.
// It reads the files that depmod writes (https://man7.org/linux/man-pages/man5/modules.dep.5.html,
// https://man7.org/linux/man-pages/man5/modprobe.d.5.html).
package modules

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

const (
	// maxText is how long one of depmod's files may be, in bytes. Debian's longest has 1.4 MB.
	maxText = 64 << 20
	// maxModules is how many modules a kernel may have. Debian's has about 4,300.
	maxModules = 100_000
)

// Index is what a kernel's directory below lib/modules says about its modules. The zero value is a kernel
// that has none.
type Index struct {
	Release string // of the kernel; "" where there is no directory

	modules []module         // those that modprobe can load, sorted by path
	byName  map[string]int   // normal name to modules
	soft    map[string][]int // normal name to the modules that its softdeps mean
	others  []string         // keys of what is built in, or replaced by another module of its name
	total   Count            // of all files, loadable or not
}

// module is one file below lib/modules/RELEASE.
type module struct {
	path string // relative to it
	key  string // path as patterns see it: without suffix, each "-" a "_"
	name string // normal
	size int64
	deps []int
}

// Count is a number of files and their bytes.
type Count struct {
	Files int
	Bytes int64
}

func (c *Count) add(bytes int64) { c.Files++; c.Bytes += bytes }

// ReadTar reads the modules of one kernel from an uncompressed tar with lib/modules/RELEASE in it, as a
// kernel image has it at /kernel.tar. A tar without that directory is a kernel without modules. Modules that
// depmod has not seen, or several releases, are errors.
func ReadTar(r io.Reader) (*Index, error) {
	c := contents{sizes: map[string]int64{}, texts: map[string][]byte{}}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the kernel's modules: %w", err)
		}
		if err := c.add(h, tr); err != nil {
			return nil, fmt.Errorf("read the kernel's modules: %s: %w", h.Name, err)
		}
	}
	x, err := c.index()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's modules: %w", err)
	}
	return x, nil
}

// contents is what a tar holds below lib/modules/RELEASE.
type contents struct {
	release string
	sizes   map[string]int64  // of modules
	texts   map[string][]byte // depmod's files
}

func (c *contents) add(h *tar.Header, r io.Reader) error {
	below, ok := strings.CutPrefix(path.Clean("/"+h.Name), "/lib/modules/")
	if !ok {
		return nil
	}
	release, file, _ := strings.Cut(below, "/")
	if h.Typeflag != tar.TypeDir && file == "" {
		return nil
	}
	if c.release != "" && c.release != release {
		return fmt.Errorf("want the modules of one kernel, got those of %s and %s", c.release, release)
	}
	c.release = release
	top, _, _ := strings.Cut(file, "/")
	if top == "build" || top == "source" { // depmod leaves them out as well
		return nil
	}
	if _, ok := moduleName(file); ok {
		if h.Typeflag != tar.TypeReg {
			return errors.New("want a module to be a file of its own, not a link or a directory")
		}
		if c.sizes[file] = h.Size; len(c.sizes) > maxModules {
			return fmt.Errorf("more than %d modules", maxModules)
		}
	}
	switch file {
	case "modules.dep", "modules.softdep", "modules.weakdep", "modules.alias", "modules.builtin":
		if h.Size > maxText {
			return fmt.Errorf("%d bytes, want at most %d", h.Size, maxText)
		}
		text, err := io.ReadAll(r)
		c.texts[file] = text
		return err
	}
	return nil
}

// index puts together what depmod's files say.
func (c *contents) index() (*Index, error) {
	x := &Index{Release: c.release}
	if err := c.modules(x); err != nil {
		return nil, err
	}
	builtin, err := parseBuiltin(c.texts["modules.builtin"])
	if err != nil {
		return nil, fmt.Errorf("modules.builtin: %w", err)
	}
	for _, p := range builtin {
		x.others = append(x.others, keyOf(p))
	}
	return x, c.softdeps(x)
}

// modules fills in the modules and their hard dependencies.
func (c *contents) modules(x *Index) error {
	deps, err := parseDep(c.texts["modules.dep"])
	if err != nil {
		return fmt.Errorf("modules.dep: %w", err)
	}
	x.byName = map[string]int{}
	for _, p := range slices.Sorted(maps.Keys(deps)) {
		size, ok := c.sizes[p]
		if !ok {
			return fmt.Errorf("modules.dep names %s, which is not there; run depmod", p)
		}
		name, _ := moduleName(p) // each key of sizes has one
		if other, twice := x.byName[name]; twice {
			return fmt.Errorf("modules.dep has %s and %s, which are one module; run depmod", x.modules[other].path, p)
		}
		x.byName[name] = len(x.modules)
		x.modules = append(x.modules, module{path: p, key: keyOf(p), name: name, size: size})
	}
	for i, m := range x.modules {
		for _, need := range deps[m.path] {
			name, _ := moduleName(need)
			j, ok := x.byName[name]
			if !ok || x.modules[j].path != need {
				return fmt.Errorf("modules.dep: %s needs %s, which has no line; run depmod", m.path, need)
			}
			x.modules[i].deps = append(x.modules[i].deps, j)
		}
	}
	return c.unlisted(x)
}

// unlisted looks at the modules that modules.dep does not have. Of two with one name depmod takes the one
// that goes before, such as that in updates; the other can never be loaded.
func (c *contents) unlisted(x *Index) error {
	for _, p := range slices.Sorted(maps.Keys(c.sizes)) {
		x.total.add(c.sizes[p])
		name, _ := moduleName(p)
		i, ok := x.byName[name]
		if !ok {
			return fmt.Errorf("%s is not in modules.dep; run depmod", p)
		}
		if x.modules[i].path != p {
			x.others = append(x.others, keyOf(p))
		}
	}
	return nil
}

// softdeps finds the modules that the words of modules.softdep and modules.weakdep mean.
func (c *contents) softdeps(x *Index) error {
	aliases, err := parseAlias(c.texts["modules.alias"])
	if err != nil {
		return fmt.Errorf("modules.alias: %w", err)
	}
	x.soft = map[string][]int{}
	for _, file := range []string{"modules.softdep", "modules.weakdep"} {
		words, err := parseSoftdep(c.texts[file])
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for name, list := range words {
			for _, word := range list {
				x.soft[name] = append(x.soft[name], x.lookup(word, aliases)...)
			}
		}
	}
	return nil
}

// lookup finds modules as modprobe does: by name and, where none has it, by alias. What is built in, or what
// this kernel lacks, gives none.
func (x *Index) lookup(word string, aliases []alias) []int {
	word = normal(word)
	if i, ok := x.byName[word]; ok {
		return []int{i}
	}
	var found []int
	for _, a := range aliases {
		i, ok := x.byName[a.module]
		if ok && matchAlias(a.pattern, word) && !slices.Contains(found, i) {
			found = append(found, i)
		}
	}
	slices.Sort(found)
	return found
}

// matchAlias is fnmatch(3) without flags, for which "/" is like any other character. A pattern that is none
// matches nothing.
func matchAlias(pattern, word string) bool {
	fixed, _, wild := strings.Cut(pattern, "*")
	if !wild && !strings.ContainsAny(pattern, "?[") {
		return pattern == word
	}
	if !strings.ContainsAny(fixed, "?[") && !strings.HasPrefix(word, fixed) {
		return false
	}
	const slash = "\x00" // path.Match stops at slashes
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", slash), strings.ReplaceAll(word, "/", slash))
	return ok && err == nil
}

// keyOf is a module's path as patterns see it.
func keyOf(p string) string {
	p, _ = withoutSuffix(p)
	return normal(p)
}
