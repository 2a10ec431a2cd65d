package linuxkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

const (
	defaultBinary  = "kernel"
	defaultModules = "kernel.tar"
	noModules      = "none"
	deviceTrees    = "dtbs.tar.gz"
	kernelConfig   = "config"
)

// kernelRef is the image that the kernel comes from.
func (a *assembly) kernelRef() string {
	if ref := a.spec.kernel.Image.V; ref != "" && ref != FlavorKernel {
		return ref
	}
	return a.options.Kernel
}

// kernel takes the kernel image apart and returns the tar of its modules; nil where none is wanted.
func (a *assembly) kernel(ctx context.Context) (*filetree.Blob, error) {
	ref := a.kernelRef()
	if ref == "" {
		return nil, errors.New("the LinuxKit YAML names no kernel image and no flavor gives one")
	}
	img, err := a.image(ctx, ref)
	if err != nil {
		return nil, err
	}
	k := a.spec.kernel
	if a.result.Kernel, err = regularFile(img, ref, string(cmp.Or(k.Binary.V, defaultBinary))); err != nil {
		return nil, err
	}
	if a.result.Config, err = optionalFile(img, ref, kernelConfig); err != nil {
		return nil, err
	}
	if a.result.DTBs, err = optionalFile(img, ref, deviceTrees); err != nil {
		return nil, err
	}
	if err := a.microcode(img, ref); err != nil {
		return nil, err
	}
	name := k.Tar.V
	if !k.Tar.Set() {
		name = defaultModules
	}
	if name == "" || name == noModules {
		return nil, nil
	}
	modules, err := regularFile(img, ref, string(name))
	return &modules, err
}

// microcode takes the archive with the processor's microcode, which the kernel looks for before everything
// else, and only uncompressed (Documentation/arch/x86/microcode.rst). As in LinuxKit it may be missing.
func (a *assembly) microcode(img Image, ref string) error {
	name := string(a.spec.kernel.UCode.V)
	if name == "" {
		return nil
	}
	if _, ok := img.Tree.Lookup(name); !ok {
		a.warnf("%s: image %s has no %s: there is no microcode in the initramfs", a.spec.kernel.UCode.Pos, ref, path.Join("/", name))
		return nil
	}
	blob, err := regularFile(img, ref, name)
	if err != nil {
		return err
	}
	if err := checkMicrocode(blob); err != nil {
		return fmt.Errorf("image %s: %s: %w", ref, path.Join("/", name), err)
	}
	a.result.Microcode = &blob
	return nil
}

// checkMicrocode finds what the kernel would not: it passes over an archive that it does not like, and then
// over all that follows it.
func checkMicrocode(blob filetree.Blob) error {
	const magic = "070701"
	in, err := blob.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	begin := make([]byte, len(magic))
	if _, err := io.ReadFull(in, begin); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if string(begin) != magic {
		return errors.New("not an uncompressed newc archive")
	}
	if blob.Size()%4 != 0 {
		return fmt.Errorf("got %d bytes, want a multiple of 4", blob.Size())
	}
	return nil
}

// optionalFile is regularFile, and nil where there is nothing at p.
func optionalFile(img Image, ref, p string) (*filetree.Blob, error) {
	if _, ok := img.Tree.Lookup(p); !ok {
		return nil, nil
	}
	blob, err := regularFile(img, ref, p)
	return &blob, err
}

// regularFile returns the regular file at p of an image.
func regularFile(img Image, ref, p string) (filetree.Blob, error) {
	e, ok := img.Tree.Lookup(p)
	if !ok {
		return filetree.Blob{}, fmt.Errorf("image %s has no %s", ref, path.Join("/", p))
	}
	if e.Kind != filetree.Regular {
		return filetree.Blob{}, fmt.Errorf("image %s: %s is a %s, want a file", ref, path.Join("/", p), e.Kind)
	}
	return e.Data, nil
}
