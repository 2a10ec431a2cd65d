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

	"github.com/docker/go-units"

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
	Mirror    strictyaml.Value[baseURL]  `yaml:"mirror"`
	PlainHTTP bool                       `yaml:"plain_http"`
	CA        strictyaml.Value[filePath] `yaml:"ca"`
}

type cache struct {
	Dir     strictyaml.Value[filePath]  `yaml:"dir"`
	MaxSize strictyaml.Value[cacheSize] `yaml:"max_size"`
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
	Outputs   outputsEntry               `yaml:"outputs"`
	_         struct{}                   `unsupported:"base"`
}

type userlandEntry struct {
	LinuxKit       strictyaml.Value[[]filePath]     `yaml:"linuxkit"`
	Template       strictyaml.Value[template]       `yaml:"template"`
	EmbeddedImages strictyaml.Value[embeddedImages] `yaml:"embedded_images"`
	EKSABundle     strictyaml.Value[location]       `yaml:"eksa_bundle"`
	AgentImage     strictyaml.Value[imageRef]       `yaml:"agent_image"`
	CACertificates strictyaml.Value[[]filePath]     `yaml:"ca_certificates"`
	NTP            strictyaml.Value[[]hostName]     `yaml:"ntp"`
	SSH            sshEntry                         `yaml:"ssh"`
}

// embeddedImages is a file in the form of upstream's images.txt, or a list.
type embeddedImages = strictyaml.Either[filePath, []embeddedImage]

type embeddedImage struct {
	Source strictyaml.Value[imageRef]   `yaml:"source,required"`
	As     strictyaml.Value[[]imageRef] `yaml:"as"`
}

type sshEntry struct {
	AuthorizedKeys strictyaml.Value[filePath] `yaml:"authorized_keys"`
}

// from returns u with what it does not say taken from parent.
func (u userlandEntry) from(parent userlandEntry) userlandEntry {
	inherit(&u.LinuxKit, parent.LinuxKit)
	inherit(&u.Template, parent.Template)
	inherit(&u.EmbeddedImages, parent.EmbeddedImages)
	inherit(&u.EKSABundle, parent.EKSABundle)
	inherit(&u.AgentImage, parent.AgentImage)
	inherit(&u.CACertificates, parent.CACertificates)
	inherit(&u.NTP, parent.NTP)
	inherit(&u.SSH.AuthorizedKeys, parent.SSH.AuthorizedKeys)
	return u
}

type initramfsEntry struct {
	Compression strictyaml.Value[compression] `yaml:"compression"`
	Level       strictyaml.Value[level]       `yaml:"level"`
	MaxRAM      strictyaml.Value[size]        `yaml:"max_ram"`
}

// from does not take the level of another compression.
func (e initramfsEntry) from(parent initramfsEntry) initramfsEntry {
	if !e.Compression.Set() || e.Compression.V == parent.Compression.V {
		inherit(&e.Level, parent.Level)
	}
	inherit(&e.Compression, parent.Compression)
	inherit(&e.MaxRAM, parent.MaxRAM)
	return e
}

type outputsEntry struct {
	ISO     strictyaml.Value[yesNo]                `yaml:"iso"`
	Aliases strictyaml.Map[strictyaml.Value[word]] `yaml:"aliases"`
}

// from returns e with what it does not say taken from parent.
func (e outputsEntry) from(parent outputsEntry) outputsEntry {
	inherit(&e.ISO, parent.ISO)
	e.Aliases = merge(e.Aliases, parent.Aliases, func(key string) string { return key })
	return e
}

// yesNo is a boolean that, unlike a plain one, is known to be given or not.
type yesNo bool

func (b *yesNo) FromYAML(r strictyaml.Raw) error {
	v, err := r.AsBool()
	*b = yesNo(v)
	return err
}

// from returns f with what it does not say taken from parent. Maps merge; lists and scalars replace.
func (f flavorEntry[S, F]) from(parent flavorEntry[S, F]) flavorEntry[S, F] {
	inherit(&f.Arch, parent.Arch)
	f.Kernel = f.Kernel.from(parent.Kernel)
	f.Userland = f.Userland.from(parent.Userland)
	f.Initramfs = f.Initramfs.from(parent.Initramfs)
	f.Outputs = f.Outputs.from(parent.Outputs)
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

// imageRef is the name of a container image; what else it has to be is found out where it is looked for.
type imageRef string

func (i *imageRef) FromYAML(r strictyaml.Raw) error {
	text, err := r.AsString()
	if err == nil && (text == "" || strings.ContainsAny(text, " \t\n")) {
		return fmt.Errorf("%q is no name of an image", text)
	}
	*i = imageRef(text)
	return err
}

// hostName is a name or an address that stands in a file of lines.
type hostName string

var hostForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$`)

func (h *hostName) FromYAML(r strictyaml.Raw) error {
	return matching(h, r, hostForm, "a host: want a name or an address")
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

type template string

func (t *template) FromYAML(r strictyaml.Raw) error {
	return choice(t, r, []string{TemplateNone, TemplateHook}, nil)
}

type compression string

func (c *compression) FromYAML(r strictyaml.Raw) error { return choice(c, r, Compressions(), nil) }

type level int

func (l *level) FromYAML(r strictyaml.Raw) error {
	n, err := r.AsInt()
	*l = level(n)
	return err
}

// size is a number of bytes, such as 512MiB or 2G, where G and GiB are the same.
type size int64

func (s *size) FromYAML(r strictyaml.Raw) error {
	text, err := r.AsScalar()
	if err != nil {
		return err
	}
	n, err := units.RAMInBytes(text)
	if err != nil || n <= 0 {
		return fmt.Errorf("%q is no size: want one like 512MiB or 2GiB", text)
	}
	*s = size(n)
	return nil
}

// cacheSize is a size, or 0 for no limit.
type cacheSize int64

func (s *cacheSize) FromYAML(r strictyaml.Raw) error {
	text, err := r.AsScalar()
	if err != nil {
		return err
	}
	n, err := units.RAMInBytes(text)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no size: want one like 20GiB, or 0 for no limit", text)
	}
	*s = cacheSize(n)
	return nil
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
