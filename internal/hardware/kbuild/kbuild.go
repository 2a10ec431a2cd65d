// Package kbuild finds in a kernel's source which configuration symbol builds which module: the tree's Makefiles
// (https://docs.kernel.org/kbuild/makefiles.html) and Kconfig files
// (https://docs.kernel.org/kbuild/kconfig-language.html) go in, a table comes out.
//
// It reads what stands there and computes nothing: what a symbol comes to in a configuration is a question for Kconfig
// itself (package kconfig). A construction that it does not know gives no answer rather than a guessed one.
package kbuild

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Tree is what a kernel's source says of its modules.
type Tree struct {
	Version string              `json:"version"` // as in the top Makefile: 6.12.57; "" where that does not say
	Modules map[string][]string `json:"modules"` // Key to the symbols that build it, in the Makefile's order
	Symbols map[string]Symbol   `json:"symbols"` // those that Modules names, by name without CONFIG_
}

// Symbol is what Kconfig files say of a symbol.
type Symbol struct {
	Type    string   `json:"type,omitempty"`    // bool or tristate; "" for another or none
	Prompt  string   `json:"prompt,omitempty"`  // "" for one that nobody can set
	Depends []string `json:"depends,omitempty"` // as written, with what surrounds it; all of them must be met
	File    string   `json:"file"`              // below the tree's top
	Line    int      `json:"line"`
}

// Key is what Tree.Modules calls a module: its path below the tree's top, or below lib/modules/RELEASE/kernel, without
// suffix, each "-" of the name a "_".
func Key(file string) string {
	file = strings.TrimPrefix(path.Clean(file), "kernel/")
	for _, suffix := range []string{".xz", ".zst", ".gz", ".ko", ".o"} {
		file = strings.TrimSuffix(file, suffix)
	}
	dir, name := path.Split(file)
	return dir + strings.ReplaceAll(name, "-", "_")
}

// Of returns the symbols that build a module; nil where the tree does not have it.
func (t *Tree) Of(key string) []string { return t.Modules[key] }

const (
	// maxFile is how long a file that is read may be, in bytes. The longest of Linux 6.12 has 0.15 MB.
	maxFile = 4 << 20
	// maxFiles is how many are read. Linux 6.12 has 5,000.
	maxFiles = 50_000
)

// Read reads a tar with a kernel's source, which has one directory at its top.
func Read(r io.Reader) (*Tree, error) {
	t := tar.NewReader(r)
	files := map[string]string{}
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the kernel's source: %w", err)
		}
		_, name, _ := strings.Cut(strings.TrimPrefix(path.Clean("/"+h.Name), "/"), "/")
		if h.Typeflag != tar.TypeReg || !wanted(name) {
			continue
		}
		if h.Size > maxFile || len(files) >= maxFiles {
			return nil, fmt.Errorf("read the kernel's source: %s: more than %d bytes, or than %d files", h.Name, maxFile, maxFiles)
		}
		text, err := io.ReadAll(t)
		if err != nil {
			return nil, fmt.Errorf("read the kernel's source: %s: %w", h.Name, err)
		}
		files[name] = string(text)
	}
	return Parse(files), nil
}

// notRead are directories of a kernel's source that build no modules for a machine's devices.
var notRead = [...]string{"Documentation/", "tools/", "scripts/", "samples/", "usr/"}

// wanted says whether a file takes part. Of the architectures these are the ones that hookbuild has.
func wanted(name string) bool {
	for _, dir := range notRead {
		if strings.HasPrefix(name, dir) {
			return false
		}
	}
	if below, ok := strings.CutPrefix(name, "arch/"); ok {
		arch, _, _ := strings.Cut(below, "/")
		if arch != "x86" && arch != "arm64" {
			return false
		}
	}
	base := path.Base(name)
	return base == "Makefile" || base == "Kbuild" || strings.HasPrefix(base, "Kconfig")
}

// Parse reads files by their path below the tree's top.
func Parse(files map[string]string) *Tree {
	t := &Tree{Version: version(files["Makefile"]), Modules: map[string][]string{}, Symbols: map[string]Symbol{}}
	t.makefiles(files)
	all := readKconfig(files)
	for _, names := range t.Modules {
		for _, name := range names {
			if s, ok := all[name]; ok {
				t.Symbols[name] = s
			}
		}
	}
	return t
}

// version reads VERSION, PATCHLEVEL and SUBLEVEL.
func version(makefile string) string {
	var parts [3]string
	for line := range strings.Lines(makefile) {
		name, value, ok := strings.Cut(line, "=")
		i := slices.Index([]string{"VERSION", "PATCHLEVEL", "SUBLEVEL"}, strings.TrimSpace(name))
		if ok && i >= 0 && parts[i] == "" {
			parts[i] = strings.TrimSpace(value)
		}
	}
	if parts[0] == "" || parts[1] == "" {
		return ""
	}
	return strings.TrimSuffix(strings.Join(parts[:], "."), ".")
}
