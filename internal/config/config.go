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
	Debian           Debian
	KernelOrg        KernelOrg
	KernelRepository string              // repository of kernel images, HOST[:PORT]/NAME; empty: not given
	Registries       map[string]Registry // by HOST[:PORT]; never nil
	Cache            Cache
	Vars             map[string]string // ${NAME} of the LinuxKit YAML; never nil

	flavors map[string]Flavor
}

// Debian says where packages come from.
type Debian struct {
	Mirror         string // base URL; empty: not given
	SecurityMirror string // base URL; empty: not given
	Suite          string // trixie
}

// KernelOrg says where releases of the kernel come from.
type KernelOrg struct {
	Mirror string // base URL of kernel.org's layout; empty: not given
	Keys   string // base URL of the Web Key Directory that has the keys of who signs releases; empty: not given
}

// Registry says how one registry of container images is talked to.
type Registry struct {
	Mirror    string // base URL of a registry that is asked first; empty: none
	PlainHTTP bool   // http, not https
	CA        string // path of certificates, PEM, that it is trusted by; empty: those of the host. Not with PlainHTTP
}

// Cache says where downloads are kept, and how many.
type Cache struct {
	Dir     string // empty: not given
	MaxSize *int64 // bytes that it may take after a build, 0 for no limit; nil: not given
}

// Flavor is one kind of HookOS for one architecture.
type Flavor struct {
	ID        string
	Arch      plan.Arch
	BuiltIn   bool
	Kernel    Kernel
	Userland  Userland
	Initramfs Initramfs
	Outputs   Outputs
}

// Kernel says where the kernel comes from and what of it goes into the initramfs. All paths are joined to the
// directory of hookbuild.yaml. What has no effect on Method is zero, even where it was inherited.
type Kernel struct {
	Method  string // MethodSource, MethodDebian, MethodDeb or MethodDir
	Series  string // such as 6.12; of Version where that is given; empty for MethodDeb and MethodDir
	Version string // such as 6.6.107, of SourceKernelOrg only; empty: the newest of Series
	Source  Source // zero for MethodDebian

	// The rest of what makes a kernel is of MethodSource only.
	Config    string           // the file is kernel/configs/<Config>-<Series>.y-<arch>
	Fragments []string         // paths, merged over Config in this order
	Set       []Setting        // merged over Fragments; sorted by name, each name once
	Patches   []string         // paths, applied in this order
	External  []ExternalModule // in the order of the file, each name once
	Keyring   string           // path of PGP keys, of SourceKernelOrg only; empty: they are fetched

	Modules  Modules
	Firmware Firmware
}

// Values of Kernel.Method.
const (
	MethodSource = "source" // compiled
	MethodDebian = "debian" // Debian's binary package
	MethodDeb    = "deb"    // Debian packages that the user has
	MethodDir    = "dir"    // a directory with a compiled kernel
)

// Source is the place that a kernel, compiled or not, is taken from.
type Source struct {
	Kind   string   // one of the Source constants
	URL    string   // of SourceURL: a tarball, an http or https URL or a path (see IsURL)
	SHA256 string   // of SourceURL: 64 lower-case hexadecimal digits
	Dir    string   // of SourceDir: the path of a source tree for MethodSource, of a compiled kernel for MethodDir
	Debs   []string // of SourceDebs: paths, at least one
}

// Values of Source.Kind. MethodSource goes with all but SourceDebs, MethodDeb with SourceDebs, MethodDir with
// SourceDir, MethodDebian with none.
const (
	SourceDebian    = "debian"     // Debian's source package linux-source-<series>
	SourceKernelOrg = "kernel.org" // a release of kernel.org
	SourceURL       = "url"        // a tarball
	SourceDir       = "dir"        // a directory
	SourceDebs      = "deb"        // Debian packages
)

// Setting is one symbol of the kernel's configuration with the value it shall have.
type Setting struct {
	Name  string // without CONFIG_
	Value string // y, m, n, a number as it was written, or a string without its quotes
	Pos   string // file:line:column of the symbol, for messages
}

// ExternalModule is a kernel module with sources of its own.
type ExternalModule struct {
	Name   string   // fit to be part of a file name
	URL    string   // an http or https URL of a tarball, or the path of a tarball or a directory (see IsURL)
	SHA256 string   // of the tarball, 64 lower-case hexadecimal digits; empty only where URL is a path
	Make   []string // arguments for make
}

// Modules says which modules go into the initramfs: those that a glob of Include matches and none of Exclude.
// The globs are not empty; what else they have to be is not checked.
type Modules struct{ Include, Exclude []string }

// Firmware says which firmware files go into the initramfs. The zero value is none.
type Firmware struct {
	Auto  bool     // what the modules ask for
	Globs []string // those that one of them matches; not empty, what else they have to be is not checked
}

// Wanted says whether any firmware files are asked for.
func (f Firmware) Wanted() bool { return f.Auto || len(f.Globs) > 0 }

// Patterns returns f as one list: "auto", or the globs, or nothing.
func (f Firmware) Patterns() []string {
	if f.Auto {
		return []string{firmwareAuto}
	}
	return slices.Clone(f.Globs)
}

// IsURL tells a location on a web server from a path.
func IsURL(location string) bool {
	return strings.HasPrefix(location, "http://") || strings.HasPrefix(location, "https://")
}

// Userland says what the initramfs is composed of.
type Userland struct {
	LinuxKit       []string        // paths, merged in this order; empty: the embedded userland/hook.yaml
	Template       string          // which variables of LinuxKit are replaced: TemplateNone or TemplateHook
	EmbeddedImages []EmbeddedImage // for the Docker in HookOS; not with ImagesFile
	ImagesFile     string          // path of such a list in upstream's format, images.txt; empty: none
	EKSABundle     string          // URL (see IsURL) or path of an EKS Anywhere release bundle manifest; empty: none
	AgentImage     string          // the agent that EKS Anywhere starts; empty: the one that the bundle names, if it does
	CACertificates []string        // paths of certificates, PEM, that HookOS trusts besides Debian's
	NTP            []string        // servers, besides those that DHCP and the kernel command line name
	AuthorizedKeys string          // path of the keys that an ssh server lets in; empty: there is no ssh server
}

// EmbeddedImage is a container image that HookOS brings along.
type EmbeddedImage struct {
	Source string   // as the LinuxKit YAML names images, without build:
	As     []string // names that it has in HookOS; empty: that of Source
}

// Values of Userland.Template.
const (
	TemplateNone = "none" // those that are declared
	TemplateHook = "hook" // those of upstream's hook.template.yaml
)

// Initramfs says how the archive is written.
type Initramfs struct {
	Compression string // CompressionAuto, CompressionGzip or CompressionZstd
	Level       int    // 1 to 9 for gzip, 1 to 4 for zstd; 0: the compression's usual one
	MaxRAM      int64  // bytes of memory that a machine may need to boot; 0: no matter
}

// Outputs says what is made besides kernel and initramfs.
type Outputs struct {
	ISO     bool         // an image that a BMC mounts as a CD
	Aliases []plan.Alias // second names, sorted; none for files of another architecture
}

// Values of Initramfs.Compression.
const (
	CompressionAuto = "auto" // zstd where the kernel can unpack it, else gzip
	CompressionGzip = "gzip"
	CompressionZstd = "zstd"
)

// Compressions are the values of Initramfs.Compression.
func Compressions() []string { return []string{CompressionAuto, CompressionGzip, CompressionZstd} }

//go:embed flavors.yaml
var builtIn []byte

// Load reads hookbuild.yaml. file is its path: faults carry it, and relative paths in it are returned joined to its
// directory. data is its content; nil means that there is no such file, only the built-in flavors. The error is a
// strictyaml.Errors with all faults.
func Load(file string, data []byte) (*Config, error) {
	var r strictyaml.Reader
	var own document[source, firmware]
	embedded := readDocument(&r, "built-in flavors.yaml", builtIn)
	if data != nil {
		own = readDocument(&r, file, data)
	}
	dir := filepath.Dir(file)
	c := &Config{
		Debian: Debian{
			Mirror:         string(own.Debian.Mirror.V),
			SecurityMirror: string(own.Debian.SecurityMirror.V),
			Suite:          cmp.Or(string(own.Debian.Suite.V), suite),
		},
		KernelOrg:        KernelOrg{Mirror: string(own.KernelOrg.Mirror.V), Keys: string(own.KernelOrg.Keys.V)},
		KernelRepository: string(own.KernelRepository.V),
		Registries:       readRegistries(&r, dir, own.Registries),
		Cache:            readCache(dir, own.Cache),
		Vars:             readVars(&r, own.Vars),
		flavors:          settle(&r, dir, embedded.Flavors, own.Flavors),
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

func readCache(dir string, in cache) Cache {
	c := Cache{Dir: string(in.Dir.V.in(dir))}
	if in.MaxSize.Set() {
		n := int64(in.MaxSize.V)
		c.MaxSize = &n
	}
	return c
}

func readRegistries(r *strictyaml.Reader, dir string, in strictyaml.Map[registryEntry]) map[string]Registry {
	registries := make(map[string]Registry, len(in))
	for _, p := range in {
		if !registryForm.MatchString(p.Key.V) {
			r.Faultf(p.Key.Pos, "%q is no registry: want HOST or HOST:PORT", p.Key.V)
		}
		if p.Value.PlainHTTP && p.Value.CA.Set() {
			r.Faultf(p.Value.CA.Pos, `"ca" has no effect: plain_http is true`)
		}
		registries[p.Key.V] = Registry{
			Mirror: string(p.Value.Mirror.V), PlainHTTP: p.Value.PlainHTTP, CA: string(p.Value.CA.V.in(dir)),
		}
	}
	return registries
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

// Flavors returns all flavors sorted by id.
func (c *Config) Flavors() []Flavor {
	var list []Flavor
	for _, id := range slices.Sorted(maps.Keys(c.flavors)) {
		list = append(list, c.flavors[id].clone())
	}
	return list
}

// Flavor returns the flavor with that id. Where there is none, the error is a *UsageError.
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
	f.Userland = f.Userland.clone()
	f.Kernel = f.Kernel.clone()
	return f
}

func (u Userland) clone() Userland {
	u.LinuxKit = slices.Clone(u.LinuxKit)
	u.EmbeddedImages = slices.Clone(u.EmbeddedImages)
	for i := range u.EmbeddedImages {
		u.EmbeddedImages[i].As = slices.Clone(u.EmbeddedImages[i].As)
	}
	u.CACertificates = slices.Clone(u.CACertificates)
	u.NTP = slices.Clone(u.NTP)
	return u
}

func (k Kernel) clone() Kernel {
	k.Source.Debs = slices.Clone(k.Source.Debs)
	k.Fragments = slices.Clone(k.Fragments)
	k.Set = slices.Clone(k.Set)
	k.Patches = slices.Clone(k.Patches)
	k.External = slices.Clone(k.External)
	for i := range k.External {
		k.External[i].Make = slices.Clone(k.External[i].Make)
	}
	k.Modules = Modules{Include: slices.Clone(k.Modules.Include), Exclude: slices.Clone(k.Modules.Exclude)}
	k.Firmware.Globs = slices.Clone(k.Firmware.Globs)
	return k
}

// Select returns the flavor that FLAVOR and --arch, either of which may be empty, ask for: --arch means
// hook-default-ARCH, and neither means that of engineArch. A flavor that is unknown or not for arch is a
// *UsageError.
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
	}
	return f, nil
}
