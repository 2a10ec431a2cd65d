package build

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/kconfig"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// Configurator asks a flavor's Kconfig, and lets a person edit. Make one with Builder.Configurator.
type Configurator struct {
	b    *Builder
	job  *Job
	spec kernel.Spec
}

// Configurator makes the images that configuring needs. The flavor's kernel must be compiled.
func (b *Builder) Configurator(ctx context.Context, j *Job) (_ *Configurator, err error) {
	if j.Flavor.Kernel.Method != config.MethodSource {
		return nil, &InputError{What: fmt.Sprintf("flavor %s takes a kernel that is compiled already: there is nothing to configure", j.Flavor.ID)}
	}
	spec, err := b.kernelSpec(j, "")
	if err != nil {
		return nil, err
	}
	in := b.kernelInputs(j)
	defer func() { err = errors.Join(err, in.close()) }()
	r := newRecorder(b.Report, b.Store.Dir(), b.Now)
	if _, err := b.debian(ctx, j, r, stageToolchain, resolve.ToolchainSet); err != nil {
		return nil, err
	}
	err = r.stage(ctx, stageConfig, func(ctx context.Context, log func(engine.Event)) (string, error) {
		return spec.ConfigRef(), spec.EnsureConfigImage(ctx, b.Engine, in.bring, log)
	})
	return &Configurator{b: b, job: j, spec: spec}, err
}

// Ask returns what Kconfig makes of a configuration, in whatever form it is.
func (c *Configurator) Ask(ctx context.Context, text []byte) (kernel.Answer, error) {
	return c.spec.Configure(ctx, c.b.Engine, text)
}

// Check asks whether everything that the flavor asks for comes out that way, and returns what does not.
func (c *Configurator) Check(ctx context.Context) ([]kconfig.Unmet, error) {
	answer, err := c.Ask(ctx, c.job.Kernel.Config)
	if err != nil {
		return nil, err
	}
	return append(answer.Symbols.Check(c.job.Kernel.Asked), c.spec.Unloadable(answer.Symbols)...), nil
}

// Edit opens the flavor's configuration file on a terminal, without what is merged over it. after is nil where
// nothing was saved, or nothing is different.
func (c *Configurator) Edit(ctx context.Context, what kernel.Edits, t engine.Terminal) (before kernel.Answer, after *kernel.Answer, err error) {
	return c.spec.Edit(ctx, c.b.Engine, c.job.Kernel.Base.Data, what, t)
}

// Changed is a configuration file with symbols changed.
type Changed struct {
	Before, After kernel.Answer
	// Unknown are symbols that were asked for and that the kernel does not have.
	Unknown []kconfig.Unmet
	// Unmet are symbols that do not come out as they were asked for, or not in a build of this flavor.
	Unmet []kconfig.Unmet
	// Lost are lines of the configuration file that did not hold before the change.
	Lost []kconfig.Unmet
}

// Change asks what becomes of the flavor's configuration file with asked merged over it.
func (c *Configurator) Change(ctx context.Context, asked []kconfig.Line) (Changed, error) {
	var res Changed
	base := c.job.Kernel.Base
	lines, err := kconfig.Parse("kernel/configs/"+base.Name, base.Data)
	if err != nil {
		return res, err
	}
	if res.Before, err = c.Ask(ctx, base.Data); err != nil {
		return res, err
	}
	if res.Unknown = res.Before.Symbols.Unknown(asked); len(res.Unknown) > 0 {
		return res, nil
	}
	if res.After, err = c.Ask(ctx, kconfig.Format(kconfig.Merge(lines, asked))); err != nil {
		return res, err
	}
	if !kconfig.IsFull(base.Data) {
		res.Lost = res.Before.Symbols.Check(lines)
	}
	if res.Unmet = res.After.Symbols.Check(asked); len(res.Unmet) > 0 || len(base.Over) == 0 {
		return res, nil
	}
	merged, err := c.Ask(ctx, kconfig.Format(kconfig.Merge(lines, asked, base.Over)))
	if err != nil {
		return res, err
	}
	res.Unmet = overridden(asked, base.Over)
	for _, u := range merged.Symbols.Check(asked) {
		if !slices.ContainsFunc(res.Unmet, func(o kconfig.Unmet) bool { return o.Line == u.Line }) {
			u.Why += " (once the flavor's fragments are merged over the file)"
			res.Unmet = append(res.Unmet, u)
		}
	}
	return res, nil
}

// overridden are the lines that what is merged over the file contradicts.
func overridden(asked, over []kconfig.Line) (all []kconfig.Unmet) {
	for _, line := range asked {
		for _, o := range kconfig.Overrides(line.Name, []kconfig.Line{line}, over) {
			why := fmt.Sprintf("%s, which the flavor merges over the file, says otherwise", o.By.Origin)
			all = append(all, kconfig.Unmet{Line: line, Got: o.By.Value, Why: why})
		}
	}
	return all
}

// KernelConfig is the configuration of the job's kernel: what its files ask for, or what a finished kernel was
// made with.
func (b *Builder) KernelConfig(ctx context.Context, j *Job) ([]byte, error) {
	if j.Flavor.Kernel.Method == config.MethodSource {
		return j.Kernel.Config, nil
	}
	ref, err := b.Kernel(ctx, j)
	if err != nil {
		return nil, err
	}
	return b.imageFile(ctx, ref, "config")
}
