package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/artifacts/serve"
	"github.com/hookbuild/hookbuild/internal/boot"
	"github.com/hookbuild/hookbuild/internal/build"
)

func varFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "var", Usage: "`NAME=VALUE` of a variable in the LinuxKit YAML (repeatable)"}
}

// inputFlags name inputs that the lock pins.
func inputFlags() []cli.Flag {
	return []cli.Flag{
		varFlag(),
		&cli.StringFlag{Name: "eksa-bundle", Usage: "`FILE|URL` of an EKS Anywhere release bundle manifest, whose action images HookOS brings along (default: userland.eksa_bundle of the flavor)"},
		&cli.StringFlag{Name: "agent-image", Usage: "`REF` of the agent that HookOS brings along for EKS Anywhere (default: userland.agent_image of the flavor)"},
		&cli.BoolFlag{Name: "iso", Usage: "make an ISO too, for isoBoot and hookIsoURL (default: outputs.iso of the flavor)"},
	}
}

// initramfsFlags say how the initramfs is written, and what is accepted of it.
func initramfsFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "compression", Usage: "how the initramfs is compressed: auto, gzip or zstd (default: initramfs.compression of the flavor)"},
		&cli.BoolFlag{Name: "single-segment", Usage: "write one archive instead of one for each image: smaller, and made anew with every change"},
		&cli.StringFlag{Name: "max-ram", Usage: "fail where a machine needs more memory than `SIZE` to unpack the initramfs (default: initramfs.max_ram of the flavor)"},
		&cli.BoolFlag{Name: "allow-lost-capabilities", Usage: "accept programs that lose the file capabilities which their container may need"},
	}
}

// compositionFlags say what the initramfs consists of, in place of what the flavor says.
func compositionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "file", Aliases: []string{"f"}, Usage: "LinuxKit YAML `FILE` (repeatable)"},
		&cli.StringFlag{Name: "base", Usage: "initramfs `FILE` of a HookOS that everything is laid over"},
	}
}

func (p *program) allCommand() *cli.Command {
	return &cli.Command{
		Name: "all", Usage: "build kernel, userland and initramfs, and publish them in the output directory",
		ArgsUsage: "[FLAVOR]",
		Description: "What has not changed since the last time is not built again.\n\n" +
			"Example:\n" +
			"  hookbuild all --arch x86_64\n" +
			"  hookbuild all hook-debian-amd64",
		Flags:  slices.Concat(flavorFlags(), kernelImageFlags(), inputFlags(), initramfsFlags(), []cli.Flag{keepFlag()}),
		Action: p.build,
	}
}

func (p *program) linuxkitCommand() *cli.Command {
	return &cli.Command{
		Name: "linuxkit", Aliases: []string{"initramfs"},
		Usage:     "build the initramfs from LinuxKit YAML, and publish it with the flavor's kernel",
		ArgsUsage: "[FLAVOR]",
		Description: "The first --file replaces the flavor's YAML, further ones are merged as LinuxKit merges.\n" +
			"--base begins with a HookOS that is there: it gets this kernel's modules in the place of its own, then what the\n" +
			"files say.\n\n" +
			"Example:\n" +
			"  hookbuild linuxkit hook-debian-amd64 --file hook.yaml --var SITE=berlin\n" +
			"  hookbuild linuxkit hook-debian-amd64 --base initramfs-x86_64 --file site.yaml",
		Flags:  slices.Concat(flavorFlags(), kernelImageFlags(), inputFlags(), initramfsFlags(), compositionFlags(), []cli.Flag{keepFlag()}),
		Action: p.build,
	}
}

// built is the JSON result of all and linuxkit.
type built struct {
	PlanID   string           `json:"plan_id"`
	Flavor   string           `json:"flavor"`
	Kernel   string           `json:"kernel_release"`
	Reused   bool             `json:"reused"` // nothing had changed
	Dir      string           `json:"dir"`
	Files    []artifacts.File `json:"files"`
	Memory   artifacts.Memory `json:"memory"`           // that a machine needs to unpack the initramfs
	Pruned   []string         `json:"pruned,omitempty"` // plan ids of the generations that were removed
	Warnings []string         `json:"warnings,omitempty"`
}

// softMemory is where the collector works harder instead of letting the heap grow, in bytes: an archive of 2 GB then takes
// 148 MiB instead of 210, at the same CPU time. It is a wish and no bound (https://go.dev/doc/gc-guide#Memory_limit).
const softMemory = 128 << 20

func (p *program) build(c *cli.Context) (err error) {
	if p.Getenv("GOMEMLIMIT") == "" { // which the runtime has read
		debug.SetMemoryLimit(softMemory)
	}
	keep, err := keepOf(c)
	if err != nil {
		return err
	}
	w, err := p.workshop(c.Context, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	j, err := w.job(c.Context)
	if err != nil {
		return err
	}
	w.builder.Keep = keep
	res, err := w.builder.All(c.Context, j)
	if err != nil {
		return err
	}
	if text := serve.EmbeddedImagesWarning(res.Generation.Manifest); text != "" {
		w.report.Warn(text)
	}
	if text := boot.CommandLineWarning(res.Generation.Manifest.Cmdline, commandLineLimit(w.flavor)); text != "" {
		w.report.Warn(text)
	}
	w.report.Close()
	return p.showBuilt(w, res)
}

func (p *program) showBuilt(w *workshop, res build.Result) error {
	m := res.Generation.Manifest
	dir := w.builder.Store.HookPath()
	if w.json {
		return p.printJSON(built{
			PlanID: m.PlanID, Flavor: m.Plan.Flavor, Kernel: m.KernelRelease, Reused: res.Reused,
			Dir: dir, Files: m.Files, Memory: res.Report.Memory, Pruned: res.Pruned, Warnings: res.Warnings,
		})
	}
	var text strings.Builder
	if res.Reused {
		fmt.Fprintf(&text, "nothing has changed: %s with kernel %s\n", m.Plan.Flavor, m.KernelRelease)
	} else {
		fmt.Fprintf(&text, "built %s with kernel %s\n", m.Plan.Flavor, m.KernelRelease)
	}
	for _, f := range m.Files {
		fmt.Fprintf(&text, "  %-36s %7.1f MiB  sha256 %s\n", filepath.Join(dir, f.Name), float64(f.Size)/(1<<20), f.SHA256)
	}
	fmt.Fprintf(&text, "a machine needs %.0f MiB of memory to unpack it; %s says where the bytes go\n",
		float64(res.Report.Memory.Needed)/(1<<20), res.ReportFile)
	if n := len(res.Pruned); n > 0 {
		fmt.Fprintf(&text, "removed old generations: %d; --keep says how many stay\n", n)
	}
	fmt.Fprintf(&text, "plan %s\nnext: hookbuild boot %s, then hookbuild serve\n", m.PlanID, m.Plan.Flavor)
	_, err := io.WriteString(p.Stdout, text.String())
	return err
}

func (p *program) kernelCommand() *cli.Command {
	return &cli.Command{
		Name: "kernel", Usage: "build the kernel's container image in the engine, and print its name",
		ArgsUsage: "[FLAVOR]",
		Description: "What did not change is not compiled again; --clean compiles all of it, which gives the same bytes.\n" +
			"The image's tag is a digest of everything that enters, so that a registry can keep it for others.\n\n" +
			"Example:\n" +
			"  hookbuild kernel hook-default-amd64\n" +
			"  hookbuild kernel hook-default-amd64 --pull-kernel --push-kernel --kernel-repository registry.example/hook/kernel",
		Flags: slices.Concat(flavorFlags(), kernelImageFlags(), []cli.Flag{&cli.BoolFlag{
			Name: "clean", Usage: "compile everything, in an empty tree and without the compiler's cache",
		}}),
		Action: func(c *cli.Context) (err error) {
			w, err := p.workshop(c.Context, c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.Close()) }()
			return p.kernel(c.Context, w)
		},
	}
}

func (p *program) kernel(ctx context.Context, w *workshop) error {
	j, err := w.job(ctx)
	if err != nil {
		return err
	}
	ref, err := w.builder.Kernel(ctx, j)
	if err != nil {
		return err
	}
	w.report.Close()
	if w.json {
		return p.printJSON(map[string]string{"image": ref, "flavor": j.Flavor.ID})
	}
	_, err = fmt.Fprintln(p.Stdout, ref)
	return err
}
