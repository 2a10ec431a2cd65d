// Package config reads hookbuild.yaml (docs/config.md) and the built-in flavors, which are written in the same
// format, into a Config: where inputs come from and what each flavor is made of.
package config

import (
	"cmp"
	_ "embed" // flavors.yaml
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// Config is hookbuild.yaml with the built-in flavors. Make one with Load.
type Config struct {
	Debian Debian
	Cache  Cache
	Vars   map[string]string // ${NAME} of the LinuxKit YAML; never nil

	flavors map[string]Flavor
}

// Debian says where packages come from.
type Debian struct {
	Mirror         string // base URL; empty: not given
	SecurityMirror string // base URL; empty: not given
	Suite          string // trixie
}

// Cache says where downloads are kept.
type Cache struct {
	Dir string // empty: not given
}

// Flavor is one kind of HookOS for one architecture.
type Flavor struct {
	ID        string
	Arch      plan.Arch
	BuiltIn   bool
	Kernel    Kernel
	Userland  Userland
	Initramfs Initramfs

	// Unavailable says why the flavor cannot be built yet; empty where it can. Select refuses such a flavor.
	Unavailable string
}

// Kernel says where the kernel comes from.
type Kernel struct {
	Method string // MethodSource or MethodDebian
	Series string // such as 6.12
	Source string // of MethodSource: SourceDebian or SourceKernelOrg
	Config string // of MethodSource: the file is kernel/configs/<Config>-<Series>.y-<arch>
}

// Values of Kernel.Method and Kernel.Source.
const (
	MethodSource    = "source" // compiled
	MethodDebian    = "debian" // Debian's binary package
	SourceDebian    = "debian"
	SourceKernelOrg = "kernel.org"
)

// Userland says what the initramfs is composed of.
type Userland struct {
	LinuxKit []string // paths, merged in this order; empty: the embedded userland/hook.yaml
}

// Initramfs says how the archive is written.
type Initramfs struct {
	Compression string // gzip
	Level       int    // 1 to 9
}

//go:embed flavors.yaml
var builtIn []byte

// Load reads hookbuild.yaml. file is its path: faults carry it, and relative paths in it (cache.dir,
// userland.linuxkit) are returned joined to its directory. data is its content; nil means that there is no
// such file, only the built-in flavors. The error is a strictyaml.Errors with all faults.
func Load(file string, data []byte) (*Config, error) {
	var r strictyaml.Reader
	var own, embedded document
	r.Decode("built-in flavors.yaml", builtIn, &embedded)
	if data != nil {
		r.Decode(file, data, &own)
	}
	dir := filepath.Dir(file)
	c := &Config{
		Debian: Debian{
			Mirror:         string(own.Debian.Mirror.V),
			SecurityMirror: string(own.Debian.SecurityMirror.V),
			Suite:          cmp.Or(string(own.Debian.Suite.V), suite),
		},
		Cache:   Cache{Dir: string(own.Cache.Dir.V.in(dir))},
		Vars:    readVars(&r, own.Vars),
		flavors: settle(&r, dir, embedded.Flavors, own.Flavors),
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

func readVars(r *strictyaml.Reader, in strictyaml.Map[varValue]) map[string]string {
	vars := make(map[string]string, len(in))
	for _, p := range in {
		if err := CheckVar(p.Key.V); err != nil {
			r.Faultf(p.Key.Pos, "%v", err)
		}
		vars[p.Key.V] = string(p.Value)
	}
	return vars
}

// UsageError says that what was asked for on the command line does not exist or does not fit together.
type UsageError struct{ Message string }

// Error returns the message.
func (e *UsageError) Error() string { return e.Message }

// Flavors returns all flavors sorted by id, those that cannot be built yet included.
func (c *Config) Flavors() []Flavor {
	var list []Flavor
	for _, id := range slices.Sorted(maps.Keys(c.flavors)) {
		list = append(list, c.flavors[id].clone())
	}
	return list
}

// Flavor returns the flavor with that id, even one that cannot be built yet. Where there is none, the error is
// a *UsageError.
func (c *Config) Flavor(id string) (Flavor, error) {
	f, ok := c.flavors[id]
	if !ok {
		ids := slices.Sorted(maps.Keys(c.flavors))
		hint := cmp.Or(strictyaml.DidYouMean(id, ids), ":")
		return Flavor{}, &UsageError{fmt.Sprintf("unknown flavor %q%s there are %s", id, hint, strings.Join(ids, ", "))}
	}
	return f.clone(), nil
}

func (f Flavor) clone() Flavor {
	f.Userland.LinuxKit = slices.Clone(f.Userland.LinuxKit)
	return f
}

// Select returns the flavor that FLAVOR and --arch, either of which may be empty, ask for: --arch means
// hook-default-ARCH, and neither means that of engineArch. A flavor that is unknown, cannot be built yet or
// is not for arch is a *UsageError.
func (c *Config) Select(flavor string, arch, engineArch plan.Arch) (Flavor, error) {
	want := cmp.Or(arch, engineArch)
	if flavor == "" && want == "" {
		return Flavor{}, &UsageError{"which architecture? give a flavor or --arch"}
	}
	f, err := c.Flavor(cmp.Or(flavor, "hook-default-"+want.Debian()))
	switch {
	case err != nil:
		return Flavor{}, err
	case arch != "" && f.Arch != arch:
		return Flavor{}, &UsageError{fmt.Sprintf("flavor %s is for %s, --arch says %s", f.ID, f.Arch, arch)}
	case f.Unavailable != "":
		return Flavor{}, &UsageError{fmt.Sprintf("flavor %s cannot be built yet: %s", f.ID, f.Unavailable)}
	}
	return f, nil
}
