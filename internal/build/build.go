// Package build is the pipeline of `hookbuild all`: a flavor and the project's files go in, a published
// generation comes out. Each stage takes what the earlier ones made; none calls back.
package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/registry"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// Builder is what every build of a run has in common.
type Builder struct {
	Engine   *engine.Engine
	Packages *Packages
	Cache    string // directory
	Store    *artifacts.Store
	Download *download.Client
	Registry *registry.Client // asked only where Kernels says so
	Kernels  KernelOptions
	Keep     int // generations of each architecture that stay after a build; 0 is artifacts.DefaultKeep
	// ModuleVersion is the version of a Go module in this program, "" where it is not known. Another version of a
	// compressor may give other bytes, so the manifest names it.
	ModuleVersion func(path string) string
	Report        Reporter
	Now           func() time.Time
}

// Result is what All has made.
type Result struct {
	Generation artifacts.Generation
	Set        artifacts.Set
	Report     *artifacts.Report
	ReportFile string   // the report for a person to read
	Reused     bool     // the generation was there already
	Pruned     []string // plan ids of older generations that were removed
	Warnings   []string
}

// Names of the stages, which are also those of the logs.
const (
	stageBase      = "base"
	stageToolchain = "toolchain"
	stageConfig    = "configuration"
	stagePull      = "pull"
	stageKernel    = "kernel"
	stagePush      = "push"
	stageModules   = "modules"
	stageUserland  = "userland"
	stageImages    = "images"
	stageInitramfs = "initramfs"
	stageISOTools  = "iso-tools"
	stageISO       = "iso"
	stagePublish   = "publish"
	stageQEMU      = "qemu"
)

// All builds the job and publishes it. A generation that is there already is verified and published as it
// is. Two runs on one output directory take turns.
func (b *Builder) All(ctx context.Context, j *Job) (res Result, err error) {
	unlock, err := b.Store.Lock(ctx, func(pid int) {
		b.Report.Warn(fmt.Sprintf("waiting for the hookbuild with process id %d, which writes to %s", pid, b.Store.Dir()))
	})
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	r := newRecorder(b.Report, b.Store.Dir(), b.Now)
	r.rec.PlanID, r.rec.Flavor = j.Plan.ID(), j.Flavor.ID
	defer func() { err = errors.Join(err, r.write(err)) }()

	res.Generation, err = b.Store.Generation(j.Plan.ID())
	res.Reused = err == nil
	if errors.Is(err, artifacts.ErrNotFound) {
		res.Generation, err = b.generation(ctx, j, r)
	} else if err == nil {
		err = b.reuse(ctx, j, r, res.Generation)
	}
	if err != nil {
		return res, err
	}
	if res.Report, err = res.Generation.Report(); err != nil {
		return res, err
	}
	err = r.stage(ctx, stagePublish, func(context.Context, func(engine.Event)) (_ string, err error) {
		res.Set, err = b.Store.Publish(res.Generation)
		return b.Store.HookPath(), err
	})
	if err == nil {
		res.ReportFile, err = writeReport(b.Store.Dir(), res.Report)
	}
	if err == nil {
		res.Pruned, err = b.prune()
	}
	for _, arch := range res.Set.Dropped {
		r.warn(fmt.Sprintf("the files of %s were damaged and are no longer published; build them again", arch))
	}
	res.Warnings = r.rec.Warnings
	return res, err
}

// prune removes older generations and returns their ids.
func (b *Builder) prune() (ids []string, err error) {
	removed, err := b.Store.Prune(cmp.Or(b.Keep, artifacts.DefaultKeep), false)
	for _, l := range removed {
		ids = append(ids, l.ID())
	}
	return ids, err
}

// writeReport writes the report of the last build beside its progress.
func writeReport(dir string, rep *artifacts.Report) (file string, err error) {
	file = filepath.Join(dir, "report.txt")
	f, err := os.Create(file)
	if err != nil {
		return "", err
	}
	return file, errors.Join(rep.WriteText(f), f.Close())
}

// reuse does what is left to do for a generation that is there.
func (b *Builder) reuse(ctx context.Context, j *Job, r *recorder, gen artifacts.Generation) error {
	report, err := gen.Report()
	if err != nil {
		return err
	}
	if err := j.accept(report); err != nil {
		return err
	}
	if b.Kernels.Push {
		_, err = b.kernelAlone(ctx, j, r)
	}
	return err
}

// generation makes the kernel and the userland side by side, then the files from both. Where a layer in the cache
// turns out damaged on the way, it is brought again, once.
func (b *Builder) generation(ctx context.Context, j *Job, r *recorder) (gen artifacts.Generation, err error) {
	img, err := b.images(ctx, j, r)
	if err != nil {
		return gen, err
	}
	gen, err = b.write(ctx, j, r, img)
	if err != nil && image.Forget(b.Cache, err) {
		r.warn(fmt.Sprintf("the cache was damaged: %v; its layer is taken from the image again", err))
		gen, err = b.write(ctx, j, r, img)
	}
	return gen, err
}

// write makes the files of the generation.
func (b *Builder) write(ctx context.Context, j *Job, r *recorder, img images) (gen artifacts.Generation, err error) {
	staging, err := b.Store.Stage(j.Plan.ID())
	if err != nil {
		return gen, err
	}
	defer staging.Abort()
	var m artifacts.Manifest
	err = r.stage(ctx, stageInitramfs, func(ctx context.Context, _ func(engine.Event)) (note string, err error) {
		m, note, err = b.assemble(ctx, j, r, img, staging)
		return note, err
	})
	if err == nil && j.Flavor.Outputs.ISO {
		err = b.iso(ctx, j, r, m.Cmdline, staging)
	}
	if err != nil {
		return gen, err
	}
	return staging.Commit(m)
}

// images are the names of the images that a generation is made from, all of them in the engine.
type images struct {
	kernel     string
	selected   string // the kernel's, with the modules and the firmware that the initramfs takes
	report     artifacts.KernelReport
	components map[string]string // by reference
}

// images makes the kernel's and the component images where the engine lacks them, and brings all others into the cache.
func (b *Builder) images(ctx context.Context, j *Job, r *recorder) (images, error) {
	img := images{components: map[string]string{}}
	baseRef, err := b.debian(ctx, j, r, stageBase, resolve.BaseSet)
	if err != nil {
		return img, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		if img.kernel, err = b.kernel(ctx, j, r, baseRef, j.unpacks); err != nil {
			return err
		}
		img.selected, img.report, err = b.selected(ctx, j, r, baseRef, img.kernel)
		return err
	})
	if len(j.Components) > 0 {
		group.Go(func() error { return b.components(ctx, j, r, baseRef, img.components) })
	}
	group.Go(func() error { return b.bring(ctx, j, r) })
	return img, group.Wait()
}

// debian is a stage that makes one of the Debian images.
func (b *Builder) debian(ctx context.Context, j *Job, r *recorder, stage, set string) (ref string, err error) {
	s, ok := j.Entry.Find(set)
	if !ok {
		return "", fmt.Errorf("the lock has no packages for %s", set)
	}
	err = r.stage(ctx, stage, func(ctx context.Context, log func(engine.Event)) (_ string, err error) {
		ref, err = base.Ensure(ctx, b.Engine, base.Set{Name: s.Name, Arch: s.Arch, Packages: s.Packages}, b.fetch(stage), log)
		return ref, err
	})
	return ref, err
}

// fetch gets packages on behalf of a stage.
func (b *Builder) fetch(stage string) base.Fetch {
	return func(ctx context.Context, pkgs []debian.Package) (map[string]string, error) {
		return b.Packages.Fetch(ctx, pkgs, func(name string, done, total int64) {
			b.Report.Count(stage, name, done, total)
		})
	}
}

// Kernel makes the job's kernel image only, and returns its name.
func (b *Builder) Kernel(ctx context.Context, j *Job) (ref string, err error) {
	r := newRecorder(b.Report, b.Store.Dir(), b.Now)
	r.rec.Flavor = j.Flavor.ID
	defer func() { err = errors.Join(err, r.write(err)) }()
	return b.kernelAlone(ctx, j, r)
}

func (b *Builder) kernelAlone(ctx context.Context, j *Job, r *recorder) (ref string, err error) {
	baseRef, err := b.debian(ctx, j, r, stageBase, resolve.BaseSet)
	if err != nil {
		return "", err
	}
	return b.kernel(ctx, j, r, baseRef, func([]byte) error { return nil })
}

// BootImage makes the Debian image that holds QEMU, and returns its name.
func (b *Builder) BootImage(ctx context.Context, j *Job) (ref string, err error) {
	return b.debian(ctx, j, newRecorder(b.Report, b.Store.Dir(), b.Now), stageQEMU, resolve.BootSet)
}

// Stage runs f as a stage of its own, with the same progress and log file as the stages of a build.
func (b *Builder) Stage(ctx context.Context, name string, f func(ctx context.Context, log func(engine.Event)) (note string, err error)) error {
	return newRecorder(b.Report, b.Store.Dir(), b.Now).stage(ctx, name, f)
}

// components is a stage that makes all component images; refs gets their names.
func (b *Builder) components(ctx context.Context, j *Job, r *recorder, baseRef string, refs map[string]string) error {
	return r.stage(ctx, stageUserland, func(ctx context.Context, log func(engine.Event)) (string, error) {
		for _, c := range j.Components {
			ref, err := b.component(ctx, j, c, baseRef, log)
			if err != nil {
				return "", err
			}
			refs[c.Ref] = ref
		}
		return fmt.Sprintf("%d component images", len(refs)), nil
	})
}

func (b *Builder) component(ctx context.Context, j *Job, c Component, baseRef string, log func(engine.Event)) (string, error) {
	set, _ := j.Entry.Find(resolve.UserlandSet(c.Name))
	var sums []string
	for _, p := range set.Packages {
		sums = append(sums, p.SHA256)
	}
	slices.Sort(sums)
	img := image.Component{Name: path.Base(c.Name), Arch: j.Flavor.Arch.Debian(), Files: c.Files, Base: baseRef, Packages: sums}
	return img.Ensure(ctx, b.Engine, b.Cache, func(ctx context.Context) (string, error) {
		_, err := b.fetch(stageUserland)(ctx, set.Packages)
		return b.Packages.Dir(), err
	}, log)
}
