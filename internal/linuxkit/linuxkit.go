// Package linuxkit turns LinuxKit YAML (https://github.com/linuxkit/linuxkit/blob/master/docs/yaml.md) and
// the container images that it names into the root file system of HookOS: a tree with the init images at
// its root and an OCI bundle for every container.
package linuxkit

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// FlavorKernel is the value of kernel.image that stands for the flavor's own kernel, as does no value.
const FlavorKernel = "${HOOK_KERNEL}"

// Spec is a parsed LinuxKit YAML, or several merged. It does not change after it was made.
type Spec struct {
	kernel     kernel
	init       []strictyaml.Value[ref]
	onboot     []container
	onshutdown []container
	services   []container
	volumes    []volume
	files      []file
	warnings   []string
}

// ParseOptions is what a YAML is read with. The zero value declares no variable.
type ParseOptions struct {
	Vars     map[string]string // what the variables stand for
	Template Template          // which of them are replaced; empty means TemplateNone
	// WorkDir is where a relative `source:` is looked for second; LinuxKit looks there only. Empty means that
	// it is not.
	WorkDir string
	Home    string // what ~ in a `source:` stands for; empty makes that a fault
}

// What one YAML may be, so that reading a hostile one takes bounded time and memory.
const (
	maxYAML       = 512 << 10 // bytes
	maxFaults     = 200
	maxItems      = 10_000  // of a list
	maxContainers = 1000    // of a kind: they are numbered with three digits, in whose order they run
	maxAbove      = 100_000 // directories above all files, each counted for each file below it
)

func newReader() *strictyaml.Reader {
	return &strictyaml.Reader{MergeKeys: true, MaxFaults: maxFaults, MaxItems: maxItems}
}

// Parse reads the LinuxKit YAML in data with variables and nothing else; see ParseWith.
func Parse(file string, data []byte, vars map[string]string) (*Spec, error) {
	return ParseWith(file, data, ParseOptions{Vars: vars})
}

// ParseWith reads the LinuxKit YAML in data, at most 512 KiB. file is its path: faults carry it, and `source:`
// of `files:` is relative to its directory. What a variable brought may serve as string, number or boolean.
//
// The error is a strictyaml.Errors with the faults of the file: all of them, where there are not hundreds.
func ParseWith(file string, data []byte, o ParseOptions) (*Spec, error) {
	r := newReader()
	if len(data) > maxYAML {
		r.Faultf(strictyaml.Pos{File: file, Line: 1, Column: 1}, "the file has %d bytes, want at most %d", len(data), maxYAML)
		return nil, r.Err()
	}
	r.Expand = newExpander(o.Template, o.Vars).expand
	var doc document
	r.Decode(file, data, &doc)
	s := newSpec(r, &doc, filepath.Dir(file), o)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// newSpec checks what a document in the directory dir says and takes it over.
func newSpec(r *strictyaml.Reader, doc *document, dir string, o ParseOptions) *Spec {
	s := &Spec{
		kernel: doc.Kernel, init: doc.Init, onboot: doc.Onboot, onshutdown: doc.Onshutdown, services: doc.Services,
		volumes: doc.Volumes, files: doc.Files,
	}
	checkKernel(r, &s.kernel, o.Template)
	for _, c := range s.containers() {
		checkOptions(r, c.options)
	}
	for _, v := range s.volumes {
		checkVolume(r, v)
	}
	above := 0
	for i := range s.files {
		f := &s.files[i]
		if above += strings.Count(f.Path.V, "/"); above > maxAbove {
			r.Faultf(f.Path.Pos, "together, the files have more than %d directories above them", maxAbove)
			break
		}
		f.locate(r, dir, o)
		f.expandContents(r, o.Template)
		checkFile(r, *f)
		s.warnings = append(s.warnings, f.ineffective()...)
	}
	if doc.Trust.Set() {
		s.warnings = append(s.warnings, doc.Trust.Pos.String()+`: "trust" has no effect, as in LinuxKit`)
	}
	s.check(r)
	return s
}

// containers lists all of them, in the order in which they are numbered.
func (s *Spec) containers() []*container {
	var all []*container
	for _, list := range [][]container{s.onboot, s.onshutdown, s.services} {
		for i := range list {
			all = append(all, &list[i])
		}
	}
	return all
}

// Merge returns a with b merged into it as LinuxKit merges: what b says about the kernel replaces, all lists
// are appended. Names that clash are found by Validate.
func Merge(a, b *Spec) *Spec {
	m := &Spec{
		kernel:     a.kernel,
		init:       slices.Concat(a.init, b.init),
		onboot:     slices.Concat(a.onboot, b.onboot),
		onshutdown: slices.Concat(a.onshutdown, b.onshutdown),
		services:   slices.Concat(a.services, b.services),
		volumes:    slices.Concat(a.volumes, b.volumes),
		files:      slices.Concat(a.files, b.files),
		warnings:   slices.Concat(a.warnings, b.warnings),
	}
	if b.kernel.Image.V != "" {
		m.kernel.Image = b.kernel.Image
	}
	if b.kernel.Cmdline.V != "" {
		m.kernel.Cmdline = b.kernel.Cmdline
	}
	if b.kernel.Binary.V != "" {
		m.kernel.Binary = b.kernel.Binary
	}
	if b.kernel.Tar.Set() {
		m.kernel.Tar = b.kernel.Tar
	}
	if b.kernel.UCode.Set() {
		m.kernel.UCode = b.kernel.UCode
	}
	return m
}

// Validate finds what only shows in the whole, after the last Merge: two services or volumes of one name, an
// owner that names no container, a volume that nobody declares. The error is a strictyaml.Errors.
func (s *Spec) Validate() error {
	r := newReader()
	s.check(r)
	s.checkOwners(r)
	known := s.volumesByName()
	for _, c := range s.containers() {
		known.useIn(r, c.options)
	}
	return r.Err()
}

// check looks for names of services and volumes that occur twice, and for too many containers.
func (s *Spec) check(r *strictyaml.Reader) {
	services, volumes := unique{what: "service"}, unique{what: "volume"}
	for i := range s.services {
		services.check(r, s.services[i].Name.Pos, string(s.services[i].Name.V))
	}
	for _, v := range s.volumes {
		volumes.check(r, v.Name.Pos, string(v.Name.V))
	}
	for _, list := range [][]container{s.onboot, s.onshutdown, s.services} {
		if len(list) > maxContainers {
			r.Faultf(list[maxContainers].Name.Pos, "this is one container of more than %d", maxContainers)
		}
	}
}

// unique finds names that occur twice.
type unique struct {
	what  string
	first map[string]strictyaml.Pos
}

func (u *unique) check(r *strictyaml.Reader, pos strictyaml.Pos, name string) {
	if u.first == nil {
		u.first = map[string]strictyaml.Pos{}
	}
	if earlier, ok := u.first[name]; ok && name != "" {
		r.Faultf(pos, "%s %q exists already at %s", u.what, name, earlier)
		return
	}
	u.first[name] = pos
}

// checkOwners looks for owners that are names of containers which do not exist.
func (s *Spec) checkOwners(r *strictyaml.Reader) {
	ids := s.ids()
	look := func(owner strictyaml.Value[ident]) {
		if r.Full() {
			return
		}
		if _, err := ids.number(owner.V); err != nil {
			r.Faultf(owner.Pos, "%v", err)
		}
	}
	for _, c := range s.containers() {
		look(c.UID)
		look(c.GID)
		for _, gid := range c.AdditionalGIDs.V {
			look(strictyaml.Value[ident]{Pos: c.AdditionalGIDs.Pos, V: gid})
		}
	}
	for _, f := range s.files {
		look(f.UID)
		look(f.GID)
	}
}

// ids numbers the containers: LinuxKit counts from 100; of two containers with one name the later counts.
func (s *Spec) ids() ids {
	numbers := ids{}
	for i, c := range s.containers() {
		numbers[string(c.Name.V)] = firstID + uint32(i)
	}
	return numbers
}

func (s *Spec) volumesByName() volumes {
	all := volumes{}
	for _, v := range s.volumes {
		all[string(v.Name.V)] = v
	}
	return all
}

// Images lists the image references in the order in which Assemble first asks for them, each once. The
// flavor's kernel is not among them, nor is what Layouts lists.
func (s *Spec) Images() []string {
	var refs []string
	known := map[string]bool{"": true, FlavorKernel: true}
	add := func(r string) {
		if !known[r] {
			known[r] = true
			refs = append(refs, r)
		}
	}
	add(s.kernel.Image.V)
	for _, image := range s.init {
		add(string(image.V))
	}
	for _, v := range s.volumes {
		if v.Format.V != ociFormat {
			add(string(v.Image.V))
		}
	}
	for _, c := range s.containers() {
		add(string(c.Image.V))
	}
	return refs
}

// Layouts lists the images that volumes want as an OCI image layout, in the order of the YAML.
func (s *Spec) Layouts() []Layout {
	var all []Layout
	for _, v := range s.volumes {
		if v.Format.V == ociFormat {
			all = append(all, v.layout())
		}
	}
	return all
}

// Sources lists the paths that `source:` of `files:` may be read from by Assemble, in the order of the YAML.
// Not all of them need exist: a source may be optional, and a relative one has a second place.
func (s *Spec) Sources() []string {
	var paths []string
	for _, f := range s.files {
		paths = append(paths, f.sources...)
	}
	return paths
}

// Cmdline is the kernel command line of the YAML, empty where there is none.
func (s *Spec) Cmdline() string { return s.kernel.Cmdline.V }
