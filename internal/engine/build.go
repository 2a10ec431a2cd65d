package engine

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/builder"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/tonistiigi/fsutil"
)

// Build is one piece of work for the engine's BuildKit: either an LLB definition or a Dockerfile. The result
// is an image under Tag in the engine's own store.
type Build struct {
	Definition *llb.Definition // LLB; nil builds the Dockerfile in Locals["context"]
	Args       map[string]string
	Contexts   []string // names in Locals that the Dockerfile may use as `from=NAME`

	Locals map[string]Local // directories that are sent to the engine
	Tag    string
	Config []byte // OCI image config in JSON, for LLB; a Dockerfile makes its own

	Log func(Event) // what the builder says, in order; nil drops it
}

// Local is a directory that a build reads; Include, when not empty, names the files that are sent, and of these
// Exclude names those that are not.
type Local struct {
	Dir     string
	Include []string
	Exclude []string
}

// Event is one thing that the builder reports.
type Event struct {
	Step   string // readable name of the build step
	Text   string // one line of its output; empty at the start and the end of a step
	Done   bool   // the step has ended
	Cached bool   // … without having been run
}

// BuildError is a build step that failed.
type BuildError struct {
	Step     string
	ExitCode int      // of the step's program; 0 where it is not known
	Tail     []string // the last lines that the step printed
	Err      error
}

// Error names the step and its exit code.
func (e *BuildError) Error() string {
	if e.ExitCode != 0 {
		return fmt.Sprintf("build step %q failed with exit code %d", e.Step, e.ExitCode)
	}
	return fmt.Sprintf("build step %q failed: %v", e.Step, e.Err)
}

func (e *BuildError) Unwrap() error { return e.Err }

// Build does b and waits for it. Cancelling ctx kills the step that runs in the engine. A failing step is a
// *BuildError.
func (e *Engine) Build(ctx context.Context, b Build) error {
	c, err := e.buildKit(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	opt, err := solveOptions(b)
	if err != nil {
		return err
	}
	watch := newWatcher(b.Log)
	events := make(chan *bkclient.SolveStatus)
	var drained sync.WaitGroup
	drained.Go(func() { watch.drain(events) })
	frontend := dockerfile.Build
	if b.Definition != nil {
		frontend = b.solve
	}
	_, err = c.Build(ctx, opt, "hookbuild", frontend, events)
	drained.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx) // BuildKit's own error does not wrap context.Canceled
	case err != nil:
		return watch.failure(err)
	}
	return nil
}

func solveOptions(b Build) (bkclient.SolveOpt, error) {
	opt := bkclient.SolveOpt{
		Exports:     []bkclient.ExportEntry{{Type: "moby", Attrs: map[string]string{"name": b.Tag}}},
		LocalMounts: map[string]fsutil.FS{},
	}
	if b.Definition == nil {
		opt.FrontendAttrs = dockerfileAttrs(b)
	}
	for name, l := range b.Locals {
		mount, err := localMount(l)
		if err != nil {
			return opt, fmt.Errorf("build context %s: %w", name, err)
		}
		opt.LocalMounts[name] = mount
	}
	return opt, nil
}

// solve is the frontend of an LLB build. It runs in our process, since an engine's exporter takes the image
// config only from a frontend's result.
func (b Build) solve(ctx context.Context, c gwclient.Client) (*gwclient.Result, error) {
	res, err := c.Solve(ctx, gwclient.SolveRequest{Definition: b.Definition.ToPB(), Evaluate: true})
	if err != nil {
		return nil, err
	}
	if b.Config != nil {
		res.AddMeta(exptypes.ExporterImageConfigKey, b.Config)
	}
	return res, nil
}

// dockerfileAttrs are the Dockerfile frontend's options. The network is off in every RUN: what a build needs
// is resolved, fetched by digest and handed in.
func dockerfileAttrs(b Build) map[string]string {
	attrs := map[string]string{
		"force-network-mode": "none",
		"image-resolve-mode": "local",
		"filename":           "Dockerfile",
	}
	for k, v := range b.Args {
		attrs["build-arg:"+k] = v
	}
	for _, name := range b.Contexts {
		attrs["context:"+name] = "local:" + name
	}
	return attrs
}

func localMount(l Local) (fsutil.FS, error) {
	dir, err := fsutil.NewFS(l.Dir)
	if err != nil {
		return nil, err
	}
	if len(l.Include)+len(l.Exclude) == 0 {
		return dir, nil
	}
	return fsutil.NewFilterFS(dir, &fsutil.FilterOpt{IncludePatterns: l.Include, ExcludePatterns: l.Exclude})
}

// exitCodeText finds the exit code in the text of an engine too old to send a typed one (20.10).
var exitCodeText = regexp.MustCompile(`exit code: (\d+)`)

func exitCode(err error) int {
	var typed *gatewaypb.ExitError
	if errors.As(err, &typed) {
		return int(typed.ExitCode)
	}
	if m := exitCodeText.FindStringSubmatch(err.Error()); m != nil {
		n, _ := strconv.Atoi(m[1]) // the expression matches digits only; an overflow is as good as unknown
		return n
	}
	return 0
}
