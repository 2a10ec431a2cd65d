package build

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/modules"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// selection is what the initramfs takes of the job's kernel.
func (b *Builder) selection(j *Job, baseRef, kernelRef string) kernel.Selection {
	k := j.Flavor.Kernel
	s := kernel.Selection{
		Kernel: kernelRef, Arch: j.Flavor.Arch, HostArch: b.Engine.Arch(), Epoch: j.Plan.Epoch, Image: baseRef,
		Modules:  modules.Selection{Include: k.Modules.Include, Exclude: k.Modules.Exclude},
		Firmware: modules.Firmware{"none"},
	}
	if k.Firmware.Wanted() {
		s.Firmware = k.Firmware.Patterns()
	}
	set, _ := j.Entry.Find(resolve.FirmwareSet)
	for _, p := range set.Packages {
		s.Packages = append(s.Packages, p.SHA256)
	}
	return s
}

// selected makes the image with the chosen modules and firmware, and returns its name.
func (b *Builder) selected(ctx context.Context, j *Job, r *recorder, baseRef, kernelRef string) (ref string, rep artifacts.KernelReport, err error) {
	s := b.selection(j, baseRef, kernelRef)
	err = r.stage(ctx, stageModules, func(ctx context.Context, log func(engine.Event)) (string, error) {
		chosen, err := b.choose(ctx, s)
		if err != nil {
			return "", err
		}
		if err := s.Ensure(ctx, b.Engine, chosen, b.firmware(j), log); err != nil {
			return "", err
		}
		firmware, err := b.firmwareReport(ctx, s.Ref())
		if err != nil {
			return "", err
		}
		for _, w := range append(chosen.Warnings(), firmware.Warnings()...) {
			r.warn(w)
		}
		rep = kernelReport(chosen, firmware)
		return strings.Join(append(chosen.Lines(), firmware.Lines()...), "; "), nil
	})
	return s.Ref(), rep, err
}

// choose looks at the modules that the kernel has.
func (b *Builder) choose(ctx context.Context, s kernel.Selection) (modules.Result, error) {
	blob, err := b.imageBlob(ctx, s.Kernel, "kernel.tar")
	if err != nil {
		return modules.Result{}, err
	}
	tar, err := blob.Open()
	if err != nil {
		return modules.Result{}, err
	}
	defer tar.Close()
	index, err := modules.ReadTar(tar)
	if err != nil {
		return modules.Result{}, fmt.Errorf("kernel image %s: %w", s.Kernel, err)
	}
	return modules.Select(index, s.Modules)
}

// firmware brings the firmware packages into the cache.
func (b *Builder) firmware(j *Job) kernel.Inputs {
	return func(ctx context.Context) (map[string]engine.Local, error) {
		set, ok := j.Entry.Find(resolve.FirmwareSet)
		if !ok {
			return nil, nil
		}
		l, err := b.packages(ctx, stageModules, set.Packages)
		return map[string]engine.Local{kernel.FirmwareInput: l}, err
	}
}

func (b *Builder) firmwareReport(ctx context.Context, ref string) (modules.Report, error) {
	data, err := b.imageFile(ctx, ref, kernel.ReportName)
	if err != nil {
		return modules.Report{}, err
	}
	return modules.ReadReport(bytes.NewReader(data))
}

// kernelReport is the report's part about modules and firmware.
func kernelReport(m modules.Result, f modules.Report) artifacts.KernelReport {
	rep := artifacts.KernelReport{
		Release: m.Release, Modules: m.Kept.Files, ModuleBytes: m.Kept.Bytes, AllModules: m.Total.Files, AllModuleBytes: m.Total.Bytes,
		Firmware: []artifacts.Firmware{}, Missing: []artifacts.MissingFirmware{},
	}
	for _, file := range f.Files {
		rep.Firmware = append(rep.Firmware, artifacts.Firmware{Path: file.Place, Size: file.Stored, Package: file.Package, For: file.For})
	}
	for _, missing := range f.Missing {
		rep.Missing = append(rep.Missing, artifacts.MissingFirmware{Name: missing.Name, Module: missing.Module})
	}
	return rep
}
