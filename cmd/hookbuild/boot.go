package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/boot"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// defaultTimeout is enough for a machine that is emulated on a busy host.
const defaultTimeout = 10 * time.Minute

func (p *program) bootCommand() *cli.Command {
	return &cli.Command{
		Name: "boot", Usage: "boot the flavor's newest build in QEMU, and wait for a line on the console",
		ArgsUsage: "[FLAVOR]",
		Description: "QEMU runs in a container that hookbuild makes. The exit code is 6 where the line does not come.\n\n" +
			"Example:\n" +
			"  hookbuild boot --arch x86_64\n" +
			"  hookbuild boot hook-debian-amd64 --netboot --firmware uefi --memory 4G",
		Flags: slices.Concat(flavorFlags(), machineFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "netboot", Usage: "boot what is published the way a machine does: firmware, iPXE, HTTP from hookbuild's server"},
			&cli.StringFlag{Name: "hookbuild-binary", Usage: "hookbuild `FILE` for Linux and the engine's architecture, for --netboot from another system"},
		}),
		Action: p.boot,
	}
}

// machineFlags describe the machine that boots, and when it has.
func machineFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "memory", Value: "2G", Usage: "`SIZE` of the machine's memory"},
		&cli.DurationFlag{Name: "timeout", Value: defaultTimeout, Usage: "how long to wait for the line"},
		&cli.StringFlag{Name: "expect", Value: boot.DefaultExpect, Usage: "`LINE`, or a part of it, to wait for"},
		&cli.StringFlag{Name: "append", Usage: "`CMDLINE` to add to the kernel command line"},
		&cli.StringFlag{Name: "firmware", Usage: "bios or uefi (default: bios on x86_64, uefi on aarch64)"},
	}
}

// booted is the JSON result of boot.
type booted struct {
	Ready   bool    `json:"ready"`
	Line    string  `json:"line,omitempty"`
	Seconds float64 `json:"seconds"`
	Accel   string  `json:"accel"`         // kvm or tcg
	Why     string  `json:"why,omitempty"` // why not kvm
	PlanID  string  `json:"plan_id"`
}

func (p *program) boot(c *cli.Context) (err error) {
	w, err := p.workshop(c.Context, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	gen, err := w.newest()
	if err != nil {
		return err
	}
	res, err := p.bootGeneration(c, w, gen)
	if err != nil {
		return err
	}
	w.report.Close()
	return p.showBooted(w, gen, res)
}

// bootGeneration boots a generation on the machine that the flags describe.
func (p *program) bootGeneration(c *cli.Context, w *workshop, gen artifacts.Generation) (boot.Result, error) {
	o, err := p.bootOptions(c, w, gen)
	if err != nil {
		return boot.Result{}, err
	}
	if text := boot.CommandLineWarning(o.CommandLine(), commandLineLimit(w.flavor)); text != "" {
		w.report.Warn(text)
	}
	j, err := w.job(c.Context)
	if err != nil {
		return boot.Result{}, err
	}
	if o.Image, err = w.builder.BootImage(c.Context, j); err != nil {
		return boot.Result{}, err
	}
	return w.runBoot(c.Context, o)
}

// newest is the flavor's newest generation.
func (w *workshop) newest() (artifacts.Generation, error) {
	gen, err := w.builder.Store.Newest(w.flavor.ID, w.flavor.Arch)
	if isNotFound(err) {
		return gen, &usageError{fmt.Sprintf("there is nothing of %s in %s to boot; run hookbuild all %s first", w.flavor.ID, w.out, w.flavor.ID)}
	}
	return gen, err
}

// commandLineLimit is the kernel's COMMAND_LINE_SIZE. Our own x86 kernels have it raised.
func commandLineLimit(f config.Flavor) int {
	if f.Arch == plan.X8664 && f.Kernel.Method == config.MethodSource {
		return 4096
	}
	return 2048
}

func (p *program) bootOptions(c *cli.Context, w *workshop, gen artifacts.Generation) (boot.Options, error) {
	arch := w.flavor.Arch
	memory, err := units.RAMInBytes(c.String("memory"))
	if err != nil {
		return boot.Options{}, &usageError{fmt.Sprintf("--memory %s: want a size like 512M or 2G", c.String("memory"))}
	}
	o := boot.Options{
		Image: "to be made", Arch: arch, EngineArch: w.engineArch, Firmware: c.String("firmware"),
		Kernel: gen.Path(artifacts.KernelName(arch)), Initramfs: gen.Path(artifacts.InitramfsName(arch)),
		Cmdline: gen.Manifest.Cmdline, Append: c.String("append"),
		MemoryBytes: memory, Expect: c.String("expect"), Timeout: c.Duration("timeout"), Now: p.Now,
	}
	if c.Bool("netboot") {
		o.Probe, o.Kernel, o.Initramfs = o.Kernel, "", ""
		if o.Netboot, err = w.netboot(gen, c.String("hookbuild-binary")); err != nil {
			return o, err
		}
	}
	if err := o.Validate(); err != nil {
		return o, &usageError{err.Error()}
	}
	return o, nil
}

// netboot serves the published set, which must be the generation that was asked for.
func (w *workshop) netboot(gen artifacts.Generation, binary string) (*boot.Netboot, error) {
	set, err := w.builder.Store.Current()
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	if set.Manifests[w.flavor.Arch].PlanID != gen.ID() {
		return nil, &usageError{fmt.Sprintf("--netboot: %s is not what is published; run hookbuild all %s first", w.flavor.ID, w.flavor.ID)}
	}
	if binary == "" {
		if runtime.GOOS != "linux" || runtime.GOARCH != w.builder.Engine.Arch() {
			return nil, &usageError{fmt.Sprintf("--netboot: this hookbuild is for %s/%s and cannot run in the engine; name one for linux/%s with --hookbuild-binary",
				runtime.GOOS, runtime.GOARCH, w.builder.Engine.Arch())}
		}
		if binary, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, &usageError{"--hookbuild-binary: " + err.Error()}
	}
	return &boot.Netboot{Binary: binary, Files: func(t *tar.Writer, dir string) error { return writeSet(t, dir, set) }}, nil
}

// writeSet writes an output directory that holds just the set.
func writeSet(w *tar.Writer, dir string, set artifacts.Set) error {
	name := path.Join("sets", strconv.Itoa(set.Number))
	for _, d := range []string{"sets", name} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: path.Join(dir, d) + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	for _, f := range set.Files {
		if err := engine.AddFile(w, path.Join(dir, name, f.Name), filepath.Join(set.Dir, f.Name), 0o644); err != nil {
			return err
		}
	}
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: path.Join(dir, "hook"), Linkname: name, Mode: 0o777})
}

// runBoot shows the console as the stage's output and keeps it in a log.
func (w *workshop) runBoot(ctx context.Context, o boot.Options) (res boot.Result, err error) {
	err = w.builder.Stage(ctx, "boot", func(ctx context.Context, log func(engine.Event)) (string, error) {
		o.Console = lines(func(text string) { log(engine.Event{Step: "console", Text: text}) })
		res, err = boot.Run(ctx, w.builder.Engine, o)
		return res.Line, err
	})
	return res, err
}

// lines is a writer that gets whole lines.
type lines func(text string)

func (l lines) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		l(string(bytes.TrimRight(line, "\n")))
	}
	return len(p), nil
}

func (p *program) showBooted(w *workshop, gen artifacts.Generation, res boot.Result) error {
	if w.json {
		return p.printJSON(booted{res.Ready, res.Line, res.Elapsed.Seconds(), res.Accel, res.Why, gen.ID()})
	}
	why := ""
	if res.Why != "" {
		why = "; " + res.Why
	}
	_, err := fmt.Fprintf(p.Stdout, "%s\n%s came up in %.0f s (%s%s)\n", res.Line, w.flavor.ID, res.Elapsed.Seconds(), res.Accel, why)
	return err
}
