package build

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/iso"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// iso makes the ISO of the kernel and the initramfs that staging has. cmdline is what the LinuxKit YAML says.
func (b *Builder) iso(ctx context.Context, j *Job, r *recorder, cmdline string, staging *artifacts.Staging) error {
	if j.OwnYAML && cmdline != "" && strings.TrimSpace(cmdline) != iso.Magic() {
		r.warn(fmt.Sprintf("the ISO does not take the kernel command line of the LinuxKit YAML, %q: smee writes the whole of it", cmdline))
	}
	tools, err := b.debian(ctx, j, r, stageISOTools, resolve.ISOSet)
	if err != nil {
		return err
	}
	return r.stage(ctx, stageISO, func(ctx context.Context, log func(engine.Event)) (string, error) {
		loader, err := b.loader(ctx, j)
		if err != nil {
			return "", err
		}
		arch := j.Flavor.Arch
		out, err := staging.Create(artifacts.ISOName(arch))
		if err != nil {
			return "", err
		}
		err = iso.Image{
			Arch: arch, Epoch: j.Plan.Epoch, Tools: tools, Loader: loader, Log: log,
			Kernel: staging.Path(artifacts.KernelName(arch)), Initramfs: staging.Path(artifacts.InitramfsName(arch)),
		}.Write(ctx, b.Engine, out)
		return artifacts.ISOName(arch), errors.Join(err, out.Close())
	})
}

// loader brings the packages with the boot loader into the cache, and returns their files.
func (b *Builder) loader(ctx context.Context, j *Job) ([]string, error) {
	set, ok := j.Entry.Find(resolve.LoaderSet)
	if !ok {
		return nil, errors.New("the lock has no packages for the ISO's boot loader")
	}
	files, err := b.fetch(stageISO)(ctx, set.Packages)
	if err != nil {
		return nil, err
	}
	var debs []string
	for _, p := range set.Packages {
		debs = append(debs, files[p.SHA256])
	}
	return debs, nil
}
