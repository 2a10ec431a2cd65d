package linuxkit

import (
	"context"
	"errors"
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
	// ReadFile reads what `source:` names, as os.ReadFile does. It may be nil if Spec.Sources is empty.
	ReadFile func(path string) ([]byte, error)
}

// Result is what a LinuxKit YAML makes.
type Result struct {
	Tree     *filetree.Tree // the root file system, root directory 0755
	Kernel   filetree.Blob  // /kernel of the kernel image
	Cmdline  string         // kernel.cmdline as it is
	DTBs     *filetree.Blob // /dtbs.tar.gz of the kernel image; nil where it has none
	Warnings []string       // what LinuxKit would do otherwise, or what has no effect
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
		tree: filetree.New(), images: imgs, options: o, ids: spec.ids(),
		have: map[string]Image{}, lowers: map[string]string{},
		result: Result{Cmdline: spec.Cmdline(), Warnings: append([]string(nil), spec.warnings...)},
	}
	if err := a.run(ctx, spec); err != nil {
		return nil, err
	}
	a.result.Tree = a.tree
	return &a.result, nil
}

// assembly is the state of one Assemble.
type assembly struct {
	tree    *filetree.Tree
	images  images
	options Options
	ids     ids
	have    map[string]Image  // by reference
	lowers  map[string]string // where the files of an image are, by its digest or reference
	result  Result
}

func (a *assembly) run(ctx context.Context, spec *Spec) error {
	ref := a.kernelRef(spec)
	modules, err := a.kernel(ctx, ref)
	if err != nil {
		return err
	}
	for _, image := range spec.init {
		if err := a.addInit(ctx, string(image.V)); err != nil {
			return err
		}
	}
	// After the init images, so that modules go through a symlink such as lib -> usr/lib; LinuxKit unpacks
	// the modules first and then loses the symlink.
	if err := a.tree.ApplyTar(modules, ref+" kernel.tar", filetree.TarOptions{}); err != nil {
		return err
	}
	for i, c := range spec.onboot {
		if err := a.addContainer(ctx, c, fmt.Sprintf("containers/onboot/%03d-%s", i, c.Name.V)); err != nil {
			return err
		}
	}
	for _, c := range spec.services {
		if err := a.addContainer(ctx, c, fmt.Sprintf("containers/services/%s", c.Name.V)); err != nil {
			return err
		}
	}
	if err := a.addFiles(spec.files); err != nil {
		return err
	}
	a.clearBoot()
	// Images and kernel.tar bring the mode of whatever directory they were made in.
	return a.tree.Add(".", directory(0o755), "root")
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

func (a *assembly) kernelRef(spec *Spec) string {
	if ref := spec.kernel.Image.V; ref != "" && ref != FlavorKernel {
		return ref
	}
	return a.options.Kernel
}

// kernel takes the kernel image apart and returns the tar of its modules.
func (a *assembly) kernel(ctx context.Context, ref string) (filetree.Blob, error) {
	if ref == "" {
		return filetree.Blob{}, errors.New("the LinuxKit YAML names no kernel image and no flavor gives one")
	}
	img, err := a.image(ctx, ref)
	if err != nil {
		return filetree.Blob{}, err
	}
	if a.result.Kernel, err = regularFile(img, ref, "kernel"); err != nil {
		return filetree.Blob{}, err
	}
	if _, ok := img.Tree.Lookup("dtbs.tar.gz"); ok {
		dtbs, err := regularFile(img, ref, "dtbs.tar.gz")
		if err != nil {
			return filetree.Blob{}, err
		}
		a.result.DTBs = &dtbs
	}
	return regularFile(img, ref, "kernel.tar")
}

// addInit lays an init image over the root.
func (a *assembly) addInit(ctx context.Context, ref string) error {
	img, err := a.image(ctx, ref)
	if err != nil {
		return err
	}
	t, err := unpack(img, ref, symlink(initResolvConf))
	if err != nil {
		return err
	}
	return a.tree.Graft(".", t)
}

// addContainer writes the bundle of c to dir.
func (a *assembly) addContainer(ctx context.Context, c container, dir string) error {
	ref := string(c.Image.V)
	img, err := a.image(ctx, ref)
	if err != nil {
		return err
	}
	l, err := parseLabel(ref, img.Config)
	if err != nil {
		return err
	}
	o, warnings, err := settle(c, l, img.Config)
	if err != nil {
		return err
	}
	a.result.Warnings = append(a.result.Warnings, warnings...)
	if len(o.Command.V) == 0 {
		return strictyaml.Errors{{Pos: c.Image.Pos, Message: fmt.Sprintf(
			"container %s has no command, and image %s has neither entrypoint nor command", c.Name.V, ref)}}
	}
	lower, err := a.addLower(img, ref, dir, o.Readonly.V)
	if err != nil {
		return err
	}
	return a.addBundle(o, dir, lower)
}

// addLower returns where the image's files are in the booted system; for the first container of an image it
// puts them below dir. A read-only container runs on them directly.
func (a *assembly) addLower(img Image, ref, dir string, readonly bool) (string, error) {
	key := img.Digest
	if key == "" {
		key = ref
	}
	if lower, ok := a.lowers[key]; ok {
		return lower, nil
	}
	t, err := unpack(img, ref, regular([]byte(resolvConf), 0o644))
	if err != nil {
		return "", err
	}
	lower := path.Join(dir, "lower")
	if readonly {
		lower = path.Join(dir, "rootfs")
	}
	if err := a.tree.Graft(lower, t); err != nil {
		return "", err
	}
	a.lowers[key] = path.Join("/", lower)
	return a.lowers[key], nil
}

// addBundle writes config.json, runtime.json and the mount points that must exist, since the root is
// read-only when containers start.
func (a *assembly) addBundle(o options, dir, lower string) error {
	origin := "bundle " + strings.TrimPrefix(dir, "containers/")
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
		"runtime.json": o.runtime(path.Join("/", dir), lower),
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
