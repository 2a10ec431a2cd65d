package linuxkit

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// images finds the image behind a reference, build:DIR included.
type images interface {
	Image(ctx context.Context, ref string) (Image, error)
}

// Options is what Assemble needs beside the YAML.
type Options struct {
	// Kernel is the reference of the flavor's kernel image, used where the YAML has no kernel.image or
	// FlavorKernel there. It may be empty if the YAML names an image.
	Kernel string
	// Base is laid below everything else, but for its kernel modules; nil is an empty root.
	Base *filetree.Tree
	// ReadFile reads what `source:` names, as os.ReadFile does. It may be nil if Spec.Sources is empty.
	ReadFile func(path string) ([]byte, error)
	// File is used in ReadFile's place where it is not nil, for files that are too large for memory. Of what
	// does not exist the error is fs.ErrNotExist, as ReadFile's.
	File func(path string) (filetree.Blob, error)
	// Layout returns an image as a directory in the OCI image layout, with oci-layout and index.json at its
	// root. It may be nil if Spec.Layouts is empty.
	Layout func(ctx context.Context, l Layout) (*filetree.Tree, error)
}

// Result is what a LinuxKit YAML makes.
type Result struct {
	Tree     *filetree.Tree // the root file system, root directory 0755
	Kernel   filetree.Blob  // /kernel of the kernel image, or what kernel.binary names
	Cmdline  string         // kernel.cmdline as it is
	Config   *filetree.Blob // /config of the kernel image, its configuration; nil where it has none
	DTBs     *filetree.Blob // /dtbs.tar.gz of the kernel image; nil where it has none
	Warnings []string       // what LinuxKit would do otherwise, or what has no effect

	// Microcode is an uncompressed newc archive that has to stand before everything else in the initramfs, a
	// multiple of four bytes long; nil where kernel.ucode names none.
	Microcode *filetree.Blob

	parts parts
}

// Assemble makes the root file system: the init images at the root, the kernel image's modules through
// whatever symlinks these have, a bundle for each container below /containers, the files. Faults of the
// YAML and of an image's label are strictyaml.Errors; two origins that want a path to be different things
// are a *filetree.ConflictError; an error of imgs is wrapped.
func Assemble(ctx context.Context, spec *Spec, imgs images, o Options) (*Result, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	a := &assembly{
		tree: filetree.New(), spec: spec, images: imgs, options: o, ids: spec.ids(), volumes: spec.volumesByName(),
		have: map[string]Image{}, lowers: map[string]lower{},
		result: Result{Cmdline: spec.Cmdline(), Warnings: append([]string(nil), spec.warnings...)},
	}
	if err := a.run(ctx); err != nil {
		return nil, err
	}
	a.result.Tree = a.tree
	return &a.result, nil
}

// assembly is the state of one Assemble.
type assembly struct {
	tree    *filetree.Tree
	spec    *Spec
	images  images
	options Options
	ids     ids
	volumes volumes
	have    map[string]Image // by reference
	lowers  map[string]lower // by the image's digest or reference
	apk     []filetree.Blob
	result  Result
}

// lower is where the files of an image that containers run on are.
type lower struct {
	path string // in the booted system
	part *Part
}

// modulesDir is where the kernel and its tools look for modules.
const modulesDir = "lib/modules"

// addBase lays out the base. Its modules are of another kernel.
func (a *assembly) addBase() error {
	base := a.options.Base
	if base == nil {
		return nil
	}
	modules, err := base.Resolve(modulesDir)
	if err != nil {
		return fmt.Errorf("base: %w", err)
	}
	origin := a.result.parts.add(Part{Kind: PartBase})
	a.tree, err = copyTree(base, origin, func(p string) bool { return strings.HasPrefix(p, modules+"/") })
	if err != nil {
		return fmt.Errorf("base: %w", err)
	}
	return nil
}

func (a *assembly) run(ctx context.Context) error {
	if err := a.addBase(); err != nil {
		return err
	}
	modules, err := a.kernel(ctx)
	if err != nil {
		return err
	}
	for _, image := range a.spec.init {
		if err := a.addInit(ctx, string(image.V)); err != nil {
			return err
		}
	}
	if err := a.addAPKDatabase(); err != nil {
		return err
	}
	// After the init images, so that modules go through a symlink such as lib -> usr/lib; LinuxKit unpacks
	// the modules first and then loses the symlink.
	if modules != nil {
		origin := a.result.parts.add(Part{Kind: PartKernel, Image: a.kernelRef()})
		if err := a.tree.ApplyTar(*modules, origin, filetree.TarOptions{}); err != nil {
			return err
		}
	}
	for _, v := range a.spec.volumes {
		if err := a.addVolume(ctx, v); err != nil {
			return err
		}
	}
	if err := a.addContainers(ctx); err != nil {
		return err
	}
	if err := a.addFiles(a.spec.files); err != nil {
		return err
	}
	a.clearBoot()
	// Images and kernel.tar bring the mode of whatever directory they were made in.
	return a.tree.Add(".", directory(0o755), "root")
}

// addContainers writes the bundles. The directories of those that run one after the other are numbered, since
// they run in the order of the directories' names.
func (a *assembly) addContainers(ctx context.Context) error {
	for _, section := range []struct {
		name string
		list []container
	}{{"onboot", a.spec.onboot}, {"onshutdown", a.spec.onshutdown}} {
		for i, c := range section.list {
			if err := a.addContainer(ctx, c, fmt.Sprintf("%s/%03d-%s", section.name, i, c.Name.V)); err != nil {
				return err
			}
		}
	}
	for _, c := range a.spec.services {
		if err := a.addContainer(ctx, c, fmt.Sprintf("services/%s", c.Name.V)); err != nil {
			return err
		}
	}
	return nil
}

func (a *assembly) warnf(format string, args ...any) {
	a.result.Warnings = append(a.result.Warnings, fmt.Sprintf(format, args...))
}

// image asks for each reference once.
func (a *assembly) image(ctx context.Context, ref string) (Image, error) {
	if img, ok := a.have[ref]; ok {
		return img, nil
	}
	img, err := a.images.Image(ctx, ref)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", ref, err)
	}
	a.have[ref] = img
	return img, nil
}

// addInit lays an init image over the root.
func (a *assembly) addInit(ctx context.Context, ref string) error {
	img, err := a.image(ctx, ref)
	if err != nil {
		return err
	}
	t, err := unpack(img, a.result.parts.add(Part{Kind: PartInit, Image: ref}), symlink(initResolvConf))
	if err != nil {
		return err
	}
	a.keepAPKDatabase(t)
	return a.tree.Graft(".", t)
}

// containersDir is where LinuxKit's first process looks for bundles.
const containersDir = "containers"

// addContainer writes the bundle of c; name is its directory below containersDir.
func (a *assembly) addContainer(ctx context.Context, c container, name string) error {
	ref := string(c.Image.V)
	img, err := a.image(ctx, ref)
	if err != nil {
		return err
	}
	label, err := a.label(ref, img.Config)
	if err != nil {
		return err
	}
	r := newReader()
	c.options = a.volumes.useIn(r, c.options)
	if err := r.Err(); err != nil {
		return err
	}
	o, warnings, err := settle(c, label, img.Config)
	if err != nil {
		return err
	}
	a.result.Warnings = append(a.result.Warnings, warnings...)
	if len(o.Command.V) == 0 {
		return strictyaml.Errors{{Pos: c.Image.Pos, Message: fmt.Sprintf(
			"container %s has no command, and image %s has neither entrypoint nor command", c.Name.V, ref)}}
	}
	user, err := o.user(a.ids)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	l, err := a.lower(img, ref, name, o.Readonly.V)
	if err != nil {
		return err
	}
	l.part.Users = append(l.part.Users, name)
	if user.UID != 0 && !o.NoNewPrivileges.V {
		l.part.Unprivileged = append(l.part.Unprivileged, name)
	}
	return a.addBundle(o, name, l.path)
}

// label reads what the image says about itself.
func (a *assembly) label(ref string, c ImageConfig) (options, error) {
	r := newReader()
	o := a.volumes.useIn(r, parseLabel(r, ref, c))
	return o, r.Err()
}

// lower says where the image's files are in the booted system; for the first container of an image it puts
// them into its directory. A read-only container runs on them directly.
func (a *assembly) lower(img Image, ref, name string, readonly bool) (lower, error) {
	key := cmp.Or(img.Digest, expandRef(ref))
	if known, ok := a.lowers[key]; ok {
		return known, nil
	}
	part := &Part{Kind: PartImage, Name: name, Image: ref}
	t, err := unpack(img, a.result.parts.addAs(part.String(), part), regular([]byte(resolvConf), 0o644))
	if err != nil {
		return lower{}, err
	}
	dir := path.Join(containersDir, name, "lower")
	if readonly {
		dir = path.Join(containersDir, name, "rootfs")
	}
	if err := a.tree.Graft(dir, t); err != nil {
		return lower{}, err
	}
	a.lowers[key] = lower{path.Join("/", dir), part}
	return a.lowers[key], nil
}

// addBundle writes config.json, runtime.json and the mount points that must exist, since the root is
// read-only when containers start.
func (a *assembly) addBundle(o options, name, files string) error {
	origin := a.result.parts.add(Part{Kind: PartBundle, Name: name})
	dir := path.Join(containersDir, name)
	config, err := o.config(a.ids)
	if err != nil {
		return fmt.Errorf("%s: %w", origin, err)
	}
	mountPoints := []string{"rootfs", "tmp"}
	if o.Readonly.V {
		mountPoints = mountPoints[:1]
	}
	for _, m := range mountPoints {
		if err := ensureDir(a.tree, path.Join(dir, m), origin); err != nil {
			return err
		}
	}
	for file, content := range map[string]any{
		"config.json":  config,
		"runtime.json": o.runtime(path.Join("/", dir), files),
	} {
		data, err := marshal(content)
		if err != nil {
			return fmt.Errorf("%s: %w", origin, err)
		}
		if err := a.tree.Add(path.Join(dir, file), regular(data, 0o644), origin); err != nil {
			return err
		}
	}
	return nil
}

// clearBoot empties /boot, which LinuxKit keeps out of the initramfs too: the kernel travels beside it.
func (a *assembly) clearBoot() {
	n := 0
	for _, e := range a.tree.Entries() {
		if strings.HasPrefix(e.Path, "boot/") {
			n++
		}
	}
	if n > 0 {
		a.warnf("/boot: left out, with %d entries below it, as LinuxKit does", n)
		a.tree.RemoveChildren("boot")
	}
}
