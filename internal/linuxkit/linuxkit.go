// Package linuxkit turns LinuxKit YAML (https://github.com/linuxkit/linuxkit/blob/master/docs/yaml.md) and
// the container images that it names into the root file system of HookOS: a tree with the init images at
// its root and an OCI bundle for every container.
package linuxkit

import (
	"path/filepath"
	"slices"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// FlavorKernel is the value of kernel.image that stands for the flavor's own kernel, as does no value.
const FlavorKernel = "${HOOK_KERNEL}"

// Spec is a parsed LinuxKit YAML, or several merged. It does not change after it was made.
type Spec struct {
	kernel   kernel
	init     []strictyaml.Value[ref]
	onboot   []container
	services []container
	files    []file
	warnings []string
}

// Parse reads the LinuxKit YAML in data. file is its path: faults carry it, and `source:` of `files:` is
// relative to its directory.
//
// ${NAME} in a scalar value is replaced by vars[NAME]; a NAME ([A-Za-z_][A-Za-z0-9_]*) that is not in vars
// is a fault. Every other $ is an ordinary character, and there is no way to quote. Two values are left as
// they are: files[].contents, which holds shell scripts with variables of their own, and a kernel.image
// that is exactly FlavorKernel. What a variable brought may serve as string, number or boolean.
//
// The error is a strictyaml.Errors with all faults of the file.
func Parse(file string, data []byte, vars map[string]string) (*Spec, error) {
	r := &strictyaml.Reader{Expand: expander(vars)}
	var doc document
	r.Decode(file, data, &doc)
	checkKernel(r, &doc.Kernel)
	for _, c := range slices.Concat(doc.Onboot, doc.Services) {
		checkOptions(r, c.options)
	}
	for i := range doc.Files {
		doc.Files[i].dir = filepath.Dir(file)
		checkFile(r, doc.Files[i])
	}
	s := &Spec{kernel: doc.Kernel, init: doc.Init, onboot: doc.Onboot, services: doc.Services, files: doc.Files}
	if doc.Trust.Set() {
		s.warnings = append(s.warnings, doc.Trust.Pos.String()+`: "trust" has no effect, as in LinuxKit`)
	}
	s.check(r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// Merge returns a with b merged into it as LinuxKit merges: what b says about the kernel replaces, all lists
// are appended. Names that clash are found by Validate.
func Merge(a, b *Spec) *Spec {
	m := &Spec{
		kernel:   a.kernel,
		init:     slices.Concat(a.init, b.init),
		onboot:   slices.Concat(a.onboot, b.onboot),
		services: slices.Concat(a.services, b.services),
		files:    slices.Concat(a.files, b.files),
		warnings: slices.Concat(a.warnings, b.warnings),
	}
	if b.kernel.Image.V != "" {
		m.kernel.Image = b.kernel.Image
	}
	if b.kernel.Cmdline.V != "" {
		m.kernel.Cmdline = b.kernel.Cmdline
	}
	return m
}

// Validate finds what only shows in the whole, after the last Merge: two services of one name, an owner
// that names no container. The error is a strictyaml.Errors.
func (s *Spec) Validate() error {
	r := &strictyaml.Reader{}
	s.check(r)
	s.checkOwners(r)
	return r.Err()
}

// check looks for service names that occur twice.
func (s *Spec) check(r *strictyaml.Reader) {
	first := map[name]strictyaml.Pos{}
	for _, c := range s.services {
		if pos, ok := first[c.Name.V]; ok && c.Name.V != "" {
			r.Faultf(c.Name.Pos, "service %q exists already at %s", c.Name.V, pos)
			continue
		}
		first[c.Name.V] = c.Name.Pos
	}
}

// checkOwners looks for owners that are names of containers which do not exist.
func (s *Spec) checkOwners(r *strictyaml.Reader) {
	ids := s.ids()
	look := func(owner strictyaml.Value[ident]) {
		if _, err := ids.number(owner.V); err != nil {
			r.Faultf(owner.Pos, "%v", err)
		}
	}
	for _, c := range slices.Concat(s.onboot, s.services) {
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

// ids numbers the containers: LinuxKit counts from 100, onboot before services; of two containers with one
// name the later counts.
func (s *Spec) ids() ids {
	numbers := ids{}
	for i, c := range slices.Concat(s.onboot, s.services) {
		numbers[string(c.Name.V)] = firstID + uint32(i)
	}
	return numbers
}

// Images lists the image references in the order in which Assemble first asks for them, each once. The
// flavor's kernel is not among them.
func (s *Spec) Images() []string {
	var refs []string
	add := func(r string) {
		if r != "" && r != FlavorKernel && !slices.Contains(refs, r) {
			refs = append(refs, r)
		}
	}
	add(s.kernel.Image.V)
	for _, image := range s.init {
		add(string(image.V))
	}
	for _, c := range slices.Concat(s.onboot, s.services) {
		add(string(c.Image.V))
	}
	return refs
}

// Sources lists the paths that `source:` of `files:` names, as Assemble will read them, in the order of the
// YAML. A path that is optional may not exist.
func (s *Spec) Sources() []string {
	var paths []string
	for _, f := range s.files {
		if f.Source.Set() {
			paths = append(paths, f.sourcePath())
		}
	}
	return paths
}

// Cmdline is the kernel command line of the YAML, empty where there is none.
func (s *Spec) Cmdline() string { return s.kernel.Cmdline.V }
