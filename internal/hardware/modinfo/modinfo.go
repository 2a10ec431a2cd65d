// Package modinfo reads what kernel modules say of themselves: the devices that they drive, as patterns, and the
// firmware that they load. Files below lib/modules go in; it reads the .modinfo section of modules
// (https://man7.org/linux/man-pages/man8/modinfo.8.html), as depmod does, and modules.builtin.modinfo
// (https://docs.kernel.org/kbuild/kbuild.html) of what is compiled into the kernel.
package modinfo

import (
	"archive/tar"
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/decompress"
)

const (
	// maxModule is how large a module may be, decompressed, in bytes. The largest of Debian's has 17 MB.
	maxModule = 256 << 20
	// maxModules is how many a kernel may have. Debian's has 4,200.
	maxModules = 100_000
)

// Module is a driver, or another part of a kernel that can be a module.
type Module struct {
	Path     string   `json:"path"`               // below lib/modules/RELEASE, without suffix: kernel/drivers/nvme/host/nvme
	Builtin  bool     `json:"builtin,omitempty"`  // it is compiled into the kernel
	Aliases  []string `json:"aliases,omitempty"`  // patterns of the devices' modaliases, in the file's order
	Firmware []string `json:"firmware,omitempty"` // names below /lib/firmware, some with wildcards
}

// Name is what modprobe calls it, each "-" a "_".
func (m Module) Name() string { return strings.ReplaceAll(path.Base(m.Path), "-", "_") }

// Kernel are the modules of one kernel.
type Kernel struct {
	Release string   `json:"release"` // as uname -r; "" where there are no modules
	Modules []Module `json:"modules"` // by path
}

// Reader puts a Kernel together. Its zero value is ready.
type Reader struct {
	release string
	modules []Module
	builtin map[string]*Module // by name
}

// Wants says whether Add reads anything of the file with this path: lib/modules/RELEASE/…, with or without what leads
// there.
func Wants(file string) bool {
	_, below, ok := split(file)
	return ok && (below == "modules.builtin.modinfo" || below == "modules.builtin" || isModule(below))
}

// split finds the release and what is below its directory.
func split(file string) (release, below string, ok bool) {
	_, rest, ok := strings.Cut("/"+file, "/lib/modules/")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}

func isModule(file string) bool {
	_, ok := stem(file)
	return ok
}

// stem takes .ko, and the compression's suffix behind it, off.
func stem(file string) (string, bool) {
	for _, compression := range []string{"", ".xz", ".zst", ".gz"} {
		if s, ok := strings.CutSuffix(file, ".ko"+compression); ok {
			return s, true
		}
	}
	return file, false
}

// Add reads a file. Modules of several kernels are an error.
func (r *Reader) Add(file string, content io.Reader) error {
	release, below, ok := split(file)
	if !ok || !Wants(file) {
		return nil
	}
	if r.release != "" && r.release != release {
		return fmt.Errorf("want the modules of one kernel, got those of %s and %s", r.release, release)
	}
	r.release = release
	if r.builtin == nil {
		r.builtin = map[string]*Module{}
	}
	if len(r.modules)+len(r.builtin) > maxModules {
		return fmt.Errorf("more than %d modules", maxModules)
	}
	var err error
	switch below {
	case "modules.builtin":
		err = r.list(content)
	case "modules.builtin.modinfo":
		err = r.builtins(content)
	default:
		err = r.module(below, content)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func (r *Reader) module(below string, content io.Reader) error {
	at, _ := stem(below)
	plain, err := decompress.NewReader(content, strings.TrimPrefix(below, at+".ko"), below, maxModule)
	if err != nil {
		return err
	}
	defer plain.Close()
	image, err := io.ReadAll(plain)
	if err != nil {
		return err
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return err
	}
	m := Module{Path: at}
	if section := f.Section(".modinfo"); section != nil {
		info, err := section.Data()
		if err != nil {
			return err
		}
		for _, field := range strings.Split(string(info), "\x00") {
			m.take(field)
		}
	}
	r.modules = append(r.modules, m)
	return nil
}

// take reads KEY=VALUE.
func (m *Module) take(field string) {
	key, value, _ := strings.Cut(field, "=")
	switch key {
	case "alias":
		m.Aliases = append(m.Aliases, value)
	case "firmware":
		m.Firmware = append(m.Firmware, value)
	}
}

// maxBuiltin is how long a list of what is built in may be, in bytes. Debian's has 60 kB.
const maxBuiltin = 64 << 20

func readAll(content io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(content, maxBuiltin+1))
	if err == nil && len(text) > maxBuiltin {
		err = fmt.Errorf("more than %d bytes", maxBuiltin)
	}
	return string(text), err
}

// list reads modules.builtin: one path for each module that is compiled in.
func (r *Reader) list(content io.Reader) error {
	text, err := readAll(content)
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		if at, ok := stem(strings.TrimSpace(line)); ok {
			r.built(path.Base(at)).Path = at
		}
	}
	return nil
}

func (r *Reader) built(name string) *Module {
	name = strings.ReplaceAll(name, "-", "_")
	m := r.builtin[name]
	if m == nil {
		m = &Module{Builtin: true}
		r.builtin[name] = m
	}
	return m
}

// builtins reads modules.builtin.modinfo: NAME.KEY=VALUE, ended by zeros.
func (r *Reader) builtins(content io.Reader) error {
	text, err := readAll(content)
	if err != nil {
		return err
	}
	for _, field := range strings.Split(text, "\x00") {
		name, rest, ok := strings.Cut(field, ".")
		if !ok {
			continue
		}
		m := r.built(name)
		if at, ok := strings.CutPrefix(rest, "file="); ok && m.Path == "" {
			m.Path = "kernel/" + at
			continue
		}
		m.take(rest)
	}
	return nil
}

// Kernel returns what has been read.
func (r *Reader) Kernel() *Kernel {
	k := &Kernel{Release: r.release, Modules: slices.Clone(r.modules)}
	for _, m := range r.builtin {
		if m.Path != "" { // what can be no module has parameters there, and no file
			k.Modules = append(k.Modules, *m)
		}
	}
	slices.SortFunc(k.Modules, func(a, b Module) int { return cmp.Compare(a.Path, b.Path) })
	return k
}

// ReadTar reads an uncompressed tar with lib/modules in it, such as the data of a Debian package.
func ReadTar(in io.Reader) (*Kernel, error) {
	var r Reader
	t := tar.NewReader(in)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return r.Kernel(), nil
		}
		if err == nil && h.Typeflag == tar.TypeReg {
			err = r.Add(path.Clean("/"+h.Name), t)
		}
		if err != nil {
			return nil, fmt.Errorf("read the kernel's modules: %w", err)
		}
	}
}
