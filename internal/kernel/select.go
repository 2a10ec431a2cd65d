package kernel

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/moby/buildkit/client/llb"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/modules"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// SelectionRepository is the name under which kernel images stand that hold what an initramfs takes.
const SelectionRepository = "hookbuild/modules"

// Selection is a kernel's image with the modules and the firmware that an initramfs takes of it. It has the
// form of a kernel image; its kernel.tar holds lib/firmware too, and /firmware says what that is
// (modules.ReadReport).
type Selection struct {
	Kernel   string // name of the kernel's image
	Arch     plan.Arch
	HostArch string // the engine's architecture, Debian's name
	Epoch    int64  // seconds since 1970; every time in the result
	Image    string // the Debian image that the work runs in
	Modules  modules.Selection
	Firmware modules.Firmware
	Packages []string // SHA-256 of the firmware packages; FirmwareInput has them as <SHA-256>.deb
}

// FirmwareInput is the name of the directory with firmware packages among a Selection's Inputs.
const FirmwareInput = "debs"

// ReportName is the file of the image that says which firmware was taken.
const ReportName = "firmware"

// Ref is the name of the image; its tag is a digest of everything that enters.
func (s Selection) Ref() string {
	key := mustJSON([]any{s.Kernel, s.Arch, s.Epoch, s.Image, s.Modules, s.Firmware, s.Packages, modules.Recipe()})
	return fmt.Sprintf("%s:%s-%s", SelectionRepository, s.Arch.Debian(), hexSum(key)[:16])
}

// Ensure makes the image where the engine lacks it. chosen is what modules.Select has chosen of the kernel's.
func (s Selection) Ensure(ctx context.Context, e builder, chosen modules.Result, in Inputs, log func(engine.Event)) error {
	if has, err := e.Has(ctx, s.Ref()); has || err != nil {
		return err
	}
	keep, err := modules.Inputs(chosen, s.Firmware)
	if err != nil {
		return err
	}
	locals, err := in(ctx)
	if err != nil {
		return err
	}
	def, err := s.definition(keep, locals).Marshal(ctx, llb.Platform(base.Platform(s.HostArch)))
	if err != nil {
		return err
	}
	w := watch{to: log}
	config := mustJSON(map[string]any{"architecture": s.Arch.Debian(), "os": "linux", "config": map[string]any{}})
	return w.failure(e.Build(ctx, engine.Build{Definition: def, Tag: s.Ref(), Config: config, Log: w.event, Locals: locals}))
}

func (s Selection) definition(keep map[string][]byte, locals map[string]engine.Local) llb.State {
	kernel := llb.Image(s.Kernel, llb.Platform(base.Platform(s.Arch.Debian())))
	lists := llb.Scratch()
	for _, name := range slices.Sorted(maps.Keys(keep)) {
		lists = lists.File(llb.Mkfile("/"+name, 0o644, keep[name]), llb.WithCustomName("hand in the list of "+name))
	}
	opts := []llb.RunOption{
		llb.Args([]string{"/bin/sh", "-c", modules.Script()}),
		llb.AddMount("/in", kernel, llb.Readonly),
		llb.AddMount("/keep", lists, llb.Readonly),
		llb.AddEnv("PATH", base.Path),
		llb.AddEnv("EPOCH", strconv.FormatInt(s.Epoch, 10)),
		llb.Network(llb.NetModeNone),
		llb.WithCustomName("choose modules and firmware"),
	}
	if l, ok := locals[FirmwareInput]; ok {
		debs := llb.Local(FirmwareInput, llb.IncludePatterns(l.Include), llb.WithCustomName("hand in the firmware packages"))
		opts = append(opts, llb.AddMount("/debs", debs, llb.Readonly))
	}
	out := llb.Image(s.Image).Run(opts...).AddMount("/out", llb.Scratch())
	return kernel.File(llb.Copy(out, "/", "/", &llb.CopyInfo{CopyDirContentsOnly: true}), llb.WithCustomName("put the kernel's image together"))
}
