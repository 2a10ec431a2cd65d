package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// suite is the only Debian release that hookbuild knows.
const suite = "trixie"

// document is hookbuild.yaml as it is written. S and F are what kernel.source and kernel.firmware are read into,
// which readDocument has a reason to vary.
type document[S, F any] struct {
	globals
	Flavors strictyaml.Map[flavorEntry[S, F]] `yaml:"flavors"`
}

type globals struct {
	Debian           debian                        `yaml:"debian"`
	KernelOrg        kernelOrg                     `yaml:"kernel_org"`
	KernelRepository strictyaml.Value[repository]  `yaml:"kernel_repository"`
	Registries       strictyaml.Map[registryEntry] `yaml:"registries"`
	Cache            cache                         `yaml:"cache"`
	Vars             strictyaml.Map[varValue]      `yaml:"vars"`
}

type debian struct {
	Mirror         strictyaml.Value[baseURL]   `yaml:"mirror"`
	SecurityMirror strictyaml.Value[baseURL]   `yaml:"security_mirror"`
	Suite          strictyaml.Value[suiteName] `yaml:"suite"`
}

type kernelOrg struct {
	Mirror strictyaml.Value[baseURL] `yaml:"mirror"`
	Keys   strictyaml.Value[baseURL] `yaml:"keys"`
}

type registryEntry struct {
	PlainHTTP bool                       `yaml:"plain_http"`
	CA        strictyaml.Value[filePath] `yaml:"ca"`
	_         struct{}                   `unsupported:"mirror"`
}

type cache struct {
	Dir strictyaml.Value[filePath] `yaml:"dir"`
	_   struct{}                   `unsupported:"max_size"`
}

// flavorEntry is a flavor as it is written; what it does not say comes from what it extends.
type flavorEntry[S, F any] struct {
	flavorKeys
	Kernel kernelEntry[S, F] `yaml:"kernel"`
}

// entry is a flavorEntry as flavors are made of it.
type entry = flavorEntry[source, firmware]

type flavorKeys struct {
	Extends   strictyaml.Value[string]   `yaml:"extends"`
	Arch      strictyaml.Value[archName] `yaml:"arch"`
	Userland  userlandEntry              `yaml:"userland"`
	Initramfs initramfsEntry             `yaml:"initramfs"`
	_         struct{}                   `unsupported:"base outputs"`
}

type userlandEntry struct {
	LinuxKit strictyaml.Value[[]filePath] `yaml:"linuxkit"`
	_        struct{}                     `unsupported:"template embedded_images eksa_bundle agent_image ca_certificates ntp ssh"`
}

type initramfsEntry struct {
	Compression strictyaml.Value[compression] `yaml:"compression"`
	Level       strictyaml.Value[level]       `yaml:"level"`
	_           struct{}                      `unsupported:"max_ram"`
}

// from returns f with what it does not say taken from parent. Maps merge; lists and scalars replace.
func (f flavorEntry[S, F]) from(parent flavorEntry[S, F]) flavorEntry[S, F] {
	inherit(&f.Arch, parent.Arch)
	f.Kernel = f.Kernel.from(parent.Kernel)
	inherit(&f.Userland.LinuxKit, parent.Userland.LinuxKit)
	inherit(&f.Initramfs.Compression, parent.Initramfs.Compression)
	inherit(&f.Initramfs.Level, parent.Initramfs.Level)
	return f
}

func inherit[T any](v *strictyaml.Value[T], parent strictyaml.Value[T]) {
	if !v.Set() {
		*v = parent
	}
}

// varValue is a value of vars: any scalar, as it is written.
type varValue string

func (v *varValue) FromYAML(r strictyaml.Raw) error {
	text, err := r.AsScalar()
	*v = varValue(text)
	return err
}

var varName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// CheckVar says what is wrong with the name of a variable, in hookbuild.yaml or on the command line.
func CheckVar(name string) error {
	if name == "HOOK_KERNEL" {
		return errors.New("variable HOOK_KERNEL stands for the flavor's kernel: choose another name")
	}
	if !varName.MatchString(name) {
		return fmt.Errorf("%q is no name of a variable: want letters, digits and _, no digit first", name)
	}
	return nil
}

type baseURL string

func (m *baseURL) FromYAML(r strictyaml.Raw) error {
	text, err := r.AsString()
	if err != nil {
		return err
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is no base URL: want http://HOST/PATH or https://HOST/PATH", text)
	}
	*m = baseURL(text)
	return nil
}

// filePath is a path, relative to the file that it is written in.
type filePath string

func (p *filePath) FromYAML(r strictyaml.Raw) error {
	text, err := r.AsString()
	if err == nil && text == "" {
		return errors.New("the path is empty")
	}
	*p = filePath(text)
	return err
}

// in returns p seen from outside dir, the directory of the file.
func (p filePath) in(dir string) filePath {
	if p == "" || filepath.IsAbs(string(p)) {
		return p
	}
	return filePath(filepath.Join(dir, string(p)))
}

type archName plan.Arch

func (a *archName) FromYAML(r strictyaml.Raw) error {
	text, err := r.AsString()
	if err != nil {
		return err
	}
	arch, err := plan.ParseArch(text)
	*a = archName(arch)
	return err
}

// choice reads a string that must be one of known; one of later is known and not supported yet.
func choice[T ~string](to *T, r strictyaml.Raw, known, later []string) error {
	text, err := r.AsString()
	switch {
	case err != nil:
		return err
	case slices.Contains(known, text):
		*to = T(text)
		return nil
	case slices.Contains(later, text):
		return fmt.Errorf("%q is not supported yet", text)
	}
	hint := cmp.Or(strictyaml.DidYouMean(text, slices.Concat(known, later)), ":")
	return fmt.Errorf("unknown value %q%s want %s", text, hint, strings.Join(known, " or "))
}

type suiteName string

func (s *suiteName) FromYAML(r strictyaml.Raw) error { return choice(s, r, []string{suite}, nil) }

type compression string

func (c *compression) FromYAML(r strictyaml.Raw) error {
	return choice(c, r, []string{"gzip"}, []string{"zstd"})
}

type level int

func (l *level) FromYAML(r strictyaml.Raw) error {
	n, err := r.AsInt()
	if err == nil && (n < 1 || n > 9) {
		return fmt.Errorf("want 1 to 9, got %d", n)
	}
	*l = level(n)
	return err
}

// matching reads a string of a certain form.
func matching[T ~string](to *T, r strictyaml.Raw, form *regexp.Regexp, want string) error {
	text, err := r.AsString()
	if err == nil && !form.MatchString(text) {
		return fmt.Errorf("%q is not %s", text, want)
	}
	*to = T(text)
	return err
}

// fileForm keeps what becomes part of a file name from being more than that.
var fileForm = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)

// host is the name of a registry. What has neither a dot nor a port nor is localhost would be read as the first
// part of a repository's path.
const host = `(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9.-]+:[0-9]+|\[[0-9a-f:]+\](:[0-9]+)?)`

var registryForm = regexp.MustCompile(`^` + host + `$`)

// repository is the name of a repository of images.
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests has the grammar.
type repository string

var repositoryForm = regexp.MustCompile(`^` + host + `(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+$`)

func (p *repository) FromYAML(r strictyaml.Raw) error {
	return matching(p, r, repositoryForm, "a repository: want HOST[:PORT]/NAME, without tag and digest")
}
