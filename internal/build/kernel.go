package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/kconfig"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/registry"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// KernelOptions say how a kernel's image is to be had.
type KernelOptions struct {
	Repository string // for Pull and Push, without a tag
	Pull       bool   // take the image from there where the engine lacks it
	Push       bool   // put it there
	Clean      bool   // compile anew, in an empty tree and without ccache, although the image may be there
}

// UnmetError says which of the symbols that were asked for did not survive.
type UnmetError struct{ Unmet []kconfig.Unmet }

// Error lists them, a line each.
func (e *UnmetError) Error() string {
	text := "the kernel configuration does not come out as it was asked for:"
	for _, u := range e.Unmet {
		text += "\n  " + u.String()
	}
	return text
}

// kernelSpec is the job's kernel. The names of the Debian images are known before these are made.
func (b *Builder) kernelSpec(j *Job, baseRef string) (kernel.Spec, error) {
	k := j.Flavor.Kernel
	s := kernel.Spec{
		Arch: j.Flavor.Arch, HostArch: b.Engine.Arch(), Epoch: j.Plan.Epoch, Image: baseRef,
		Config: j.Kernel.Config, Patches: j.Kernel.patches, External: j.Kernel.external,
		Tree: k.Config, Command: j.Command, Source: kernel.Source{Version: j.Plan.Kernel.Version},
	}
	set, _ := j.Entry.Find(resolve.KernelSet)
	for _, p := range set.Packages {
		s.Source.SHA256 = append(s.Source.SHA256, p.SHA256)
	}
	for _, in := range j.Kernel.source {
		s.Source.SHA256 = append(s.Source.SHA256, in.sha256)
	}
	s.Source.Kind = map[string]kernel.Kind{
		config.SourceDebian: kernel.Package, config.SourceURL: kernel.Tarball, config.SourceDir: kernel.Directory,
		config.SourceKernelOrg: kernel.Tarball,
	}[k.Source.Kind]
	switch k.Method {
	case config.MethodDebian, config.MethodDeb:
		s.Source.Kind = kernel.BinaryPackages
	case config.MethodDir:
		s.Source.Kind = kernel.BinaryTree
	case config.MethodSource:
		tools, ok := j.Entry.Find(resolve.ToolchainSet)
		if !ok {
			return s, errors.New("the lock has no packages for " + resolve.ToolchainSet)
		}
		s.Image = base.Set{Name: tools.Name, Arch: tools.Arch, Packages: tools.Packages}.Ref()
	}
	if pin := j.Entry.Kernel; pin != nil && k.Source.Kind == config.SourceKernelOrg {
		s.Source.SHA256 = []string{pin.SHA256}
	}
	return s, nil
}

// kernel returns the name of the job's kernel image, which it makes, or gets, where the engine lacks it. accept
// sees the configuration before anything is compiled.
func (b *Builder) kernel(ctx context.Context, j *Job, r *recorder, baseRef string, accept func(config []byte) error) (string, error) {
	spec, err := b.kernelSpec(j, baseRef)
	if err != nil {
		return "", err
	}
	ref := spec.Ref()
	has, err := b.Engine.Has(ctx, ref)
	if err != nil {
		return "", err
	}
	switch {
	case has || !b.Kernels.Pull || b.Kernels.Clean:
	case b.Registry.Offline:
		r.warn(fmt.Sprintf("--offline: %s is not asked for the kernel", b.Kernels.Repository))
	default:
		if has, err = b.pullKernel(ctx, j, r, spec); err != nil {
			return "", err
		}
	}
	if !has || b.Kernels.Clean {
		if err := b.makeKernel(ctx, j, r, spec, accept); err != nil {
			return "", err
		}
	}
	if b.Kernels.Push {
		return ref, b.pushKernel(ctx, r, ref)
	}
	return ref, nil
}

func (b *Builder) makeKernel(ctx context.Context, j *Job, r *recorder, spec kernel.Spec, accept func(config []byte) error) (err error) {
	in := b.kernelInputs(j)
	defer func() { err = errors.Join(err, in.close()) }()
	if j.Flavor.Kernel.Method != config.MethodSource {
		return r.stage(ctx, stageKernel, func(ctx context.Context, log func(engine.Event)) (string, error) {
			warnings, err := spec.Unpack(ctx, b.Engine, in.bring, log)
			r.warnAll(stageKernel, warnings)
			return spec.Ref(), err
		})
	}
	if _, err := b.debian(ctx, j, r, stageToolchain, resolve.ToolchainSet); err != nil {
		return err
	}
	var answer kernel.Answer
	err = r.stage(ctx, stageConfig, func(ctx context.Context, log func(engine.Event)) (note string, err error) {
		if answer, err = b.configure(ctx, j, spec, in.bring, log); err == nil {
			err = accept(answer.Config)
		}
		return fmt.Sprintf("%d symbols as they were asked for", len(j.Kernel.Asked)), err
	})
	if err != nil {
		return err
	}
	return r.stage(ctx, stageKernel, func(ctx context.Context, log func(engine.Event)) (string, error) {
		clean := ""
		if b.Kernels.Clean {
			clean = strconv.FormatInt(b.Now().UnixNano(), 10)
		}
		warnings, err := spec.Compile(ctx, b.Engine, answer.Config, clean, in.bring, log)
		r.warnAll(stageKernel, warnings)
		return spec.Ref(), err
	})
}

// configure asks Kconfig for the complete configuration, and refuses one that lacks what was asked for.
func (b *Builder) configure(ctx context.Context, j *Job, spec kernel.Spec, in kernel.Inputs, log func(engine.Event)) (kernel.Answer, error) {
	if err := spec.EnsureConfigImage(ctx, b.Engine, in, log); err != nil {
		return kernel.Answer{}, err
	}
	answer, err := spec.Configure(ctx, b.Engine, spec.Config)
	if err != nil {
		return answer, err
	}
	if unmet := append(answer.Symbols.Check(j.Kernel.Asked), spec.Unloadable(answer.Symbols)...); len(unmet) > 0 {
		return answer, &UnmetError{Unmet: unmet}
	}
	return answer, nil
}

// kernelInputs is what a job's kernel is made from. Close it when the engine has got it.
type kernelInputs struct {
	*Builder
	job    *Job
	copied string // what the source's directory was copied to; empty where it was not
}

func (b *Builder) kernelInputs(j *Job) *kernelInputs { return &kernelInputs{Builder: b, job: j} }

func (k *kernelInputs) close() error {
	dir := k.copied
	if k.copied = ""; dir == "" {
		return nil
	}
	return os.RemoveAll(dir)
}

// bring gets it into the cache.
func (k *kernelInputs) bring(ctx context.Context) (map[string]engine.Local, error) {
	locals := map[string]engine.Local{}
	if set, ok := k.job.Entry.Find(resolve.KernelSet); ok {
		l, err := k.packages(ctx, stageKernel, set.Packages)
		if err != nil {
			return nil, err
		}
		locals[kernel.SourceInput] = l
	}
	if err := k.source(ctx, locals); err != nil {
		return nil, err
	}
	for _, in := range k.job.Kernel.files {
		if err := k.addFile(ctx, locals, kernel.FilesInput, in); err != nil {
			return nil, err
		}
	}
	return locals, nil
}

// source is the kernel that comes from elsewhere than a Debian mirror.
func (k *kernelInputs) source(ctx context.Context, locals map[string]engine.Local) error {
	b, j := k.Builder, k.job
	switch j.Flavor.Kernel.Source.Kind {
	case config.SourceKernelOrg:
		file, err := b.Packages.KernelOrg.Fetch(ctx, j.Entry.Kernel.Pin)
		if err != nil {
			return err
		}
		return b.addFile(ctx, locals, kernel.FilesInput, input{from: file, sha256: j.Entry.Kernel.SHA256})
	case config.SourceURL:
		return b.addFile(ctx, locals, kernel.FilesInput, j.Kernel.source[0])
	case config.SourceDir:
		if err := k.copyTree(ctx, j.Kernel.source[0]); err != nil {
			return err
		}
		locals[kernel.SourceInput] = engine.Local{Dir: k.copied}
	case config.SourceDebs:
		for _, in := range j.Kernel.source {
			if err := b.addFile(ctx, locals, kernel.SourceInput, in); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyTree copies the directory, once.
func (k *kernelInputs) copyTree(ctx context.Context, in input) error {
	if k.copied != "" {
		return nil
	}
	tmp := k.temporaryDir()
	err := os.MkdirAll(tmp, 0o755)
	if err == nil {
		k.copied, err = os.MkdirTemp(tmp, "tree-*")
	}
	if err == nil {
		err = in.snapshot(ctx, k.copied)
	}
	if err != nil {
		return errors.Join(err, k.close())
	}
	return nil
}

func (b *Builder) addFile(ctx context.Context, locals map[string]engine.Local, name string, in input) error {
	file, err := b.keep(ctx, in)
	if err != nil {
		return err
	}
	l := locals[name]
	l.Dir, l.Include = b.inputDir(), append(l.Include, file)
	locals[name] = l
	return nil
}

// packages is the build context with just these packages. Their file names are digests, so that the engine's
// comparison by size and time can never take one for another.
func (b *Builder) packages(ctx context.Context, stage string, pkgs []debian.Package) (engine.Local, error) {
	if _, err := b.fetch(stage)(ctx, pkgs); err != nil {
		return engine.Local{}, err
	}
	l := engine.Local{Dir: b.Packages.Dir()}
	for _, p := range pkgs {
		l.Include = append(l.Include, p.SHA256+".deb")
	}
	return l, nil
}

// remote is what a kernel image is called in the repository: it has the tag that it has here.
func (o KernelOptions) remote(ref string) string { return o.Repository + ref[len(kernel.Repository):] }

// pullKernel takes the image from the repository; false where that does not have it.
func (b *Builder) pullKernel(ctx context.Context, j *Job, r *recorder, spec kernel.Spec) (has bool, err error) {
	ref := spec.Ref()
	remote := b.Kernels.remote(ref)
	err = r.stage(ctx, stagePull, func(ctx context.Context, _ func(engine.Event)) (string, error) {
		file, err := b.temporary("pull-*.tar")
		if err != nil {
			return "", err
		}
		defer os.Remove(file.Name())
		defer file.Close()
		digest, err := b.client(stagePull, remote).Pull(ctx, remote, platform(j), file)
		if isA[*registry.NotFoundError](err) {
			return remote + " is not there", nil
		}
		if err != nil {
			return "", err
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
		has = true
		return digest, b.takeIn(ctx, file, remote, spec)
	})
	return has, err
}

// takeIn loads an archive, and gives the image the name that it has here, where it says of itself that it is
// what the name stands for.
func (b *Builder) takeIn(ctx context.Context, archive io.Reader, remote string, spec kernel.Spec) (err error) {
	if err := b.Engine.Load(ctx, archive); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Engine.Remove(ctx, remote)) }()
	data, err := b.imageFile(ctx, remote, kernel.MetadataName)
	if err != nil {
		return err
	}
	meta, err := kernel.ReadMetadata(bytes.NewReader(data))
	if err != nil {
		return err
	}
	if !spec.Made(meta) {
		return &download.VerifyError{File: remote, What: "specification", Got: fmt.Sprint(meta.Spec), Want: "that of " + spec.Ref()}
	}
	return b.Engine.Tag(ctx, remote, spec.Ref())
}

// pushKernel puts the image into the repository.
func (b *Builder) pushKernel(ctx context.Context, r *recorder, ref string) error {
	remote := b.Kernels.remote(ref)
	return r.stage(ctx, stagePush, func(ctx context.Context, _ func(engine.Event)) (string, error) {
		file, err := b.temporary("push-*.tar")
		if err != nil {
			return "", err
		}
		defer os.Remove(file.Name())
		if err := b.save(ctx, ref, file); err != nil {
			return "", err
		}
		digest, err := b.client(stagePush, remote).Push(ctx, file.Name(), remote)
		return remote + "@" + digest, err
	})
}

func (b *Builder) save(ctx context.Context, ref string, file *os.File) error {
	saved, err := b.Engine.Save(ctx, ref)
	if err == nil {
		_, err = io.Copy(file, saved)
		err = errors.Join(err, saved.Close())
	}
	return errors.Join(err, file.Close())
}

// client tells the stage how far it is.
func (b *Builder) client(stage, what string) *registry.Client {
	c := *b.Registry
	c.Progress = func(done, total int64) { b.Report.Count(stage, what, done, total) }
	return &c
}

func platform(j *Job) string { return "linux/" + j.Flavor.Arch.Debian() }

func isA[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

func (b *Builder) temporary(pattern string) (*os.File, error) {
	dir := b.temporaryDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.CreateTemp(dir, pattern)
}

func (b *Builder) temporaryDir() string { return filepath.Join(b.Cache, "tmp") }
