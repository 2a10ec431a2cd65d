package kernel

import (
	"archive/tar"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"

	"github.com/moby/buildkit/client/llb"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/kconfig"
)

//go:embed edit.sh
var editScript string

// ConfigRepository is the name under which the images stand that kernels are configured in.
const ConfigRepository = "hookbuild/kconfig"

// ConfigRef is the name of the image that this kernel is configured in.
func (s Spec) ConfigRef() string {
	scripts := kconfigScript + kconfig.QuerySource() + kconfig.InstallScript() + kconfig.SubsetScript()
	key := mustJSON([]any{s.Arch, s.Image, s.sourceID(), scripts})
	return fmt.Sprintf("%s:%s-%s", ConfigRepository, s.Arch.Debian(), hexSum(key)[:16])
}

// EnsureConfigImage makes that image where the engine lacks it: the toolchain, with what Kconfig reads of the
// source.
func (s Spec) EnsureConfigImage(ctx context.Context, e builder, in Inputs, log func(engine.Event)) error {
	if has, err := e.Has(ctx, s.ConfigRef()); has || err != nil {
		return err
	}
	locals, err := in(ctx)
	if err != nil {
		return err
	}
	more := []llb.RunOption{
		llb.AddMount("/config", s.configFiles(nil).File(llb.Mkfile("/query.c", 0o644, []byte(kconfig.QuerySource()))), llb.Readonly),
		llb.AddMount("/build/src", llb.Scratch(), llb.AsPersistentCacheDir(s.sourceID(), llb.CacheMountShared)),
		llb.AddEnv("PREPARE", prepareScript),
		llb.AddEnv("SUBSET", kconfig.SubsetScript()),
		llb.AddEnv("INSTALL", kconfig.InstallScript()),
	}
	st := step{script: kconfigScript, name: "prepare the kernel source and its menus", more: more}
	def, err := s.exec(st, locals).Root().Marshal(ctx, llb.Platform(base.Platform(s.HostArch)))
	if err != nil {
		return err
	}
	w := watch{to: log}
	config := mustJSON(map[string]any{
		"architecture": s.HostArch, "os": "linux",
		"config": map[string]any{"Env": s.configEnv(), "WorkingDir": "/kconfig-obj"},
	})
	return w.failure(e.Build(ctx, engine.Build{
		Definition: def, Tag: s.ConfigRef(), Config: config, Log: w.event, Locals: locals,
	}))
}

func (s Spec) configEnv() []string {
	return []string{
		"PATH=" + base.Path, "HOME=/root", "LC_ALL=C", "PS1=kernel-config# ",
		"ARCH=" + s.Arch.Kbuild(), "CROSS_COMPILE=" + s.crossCompile(),
	}
}

// Answer is what Kconfig makes of a configuration.
type Answer struct {
	Config    []byte // complete, as `make olddefconfig` writes it
	Defconfig []byte // as `make savedefconfig` writes it
	Symbols   *kconfig.Symbols
}

// runner is the part of an engine that runs a container.
type runner interface {
	Run(ctx context.Context, c engine.Container, out io.Writer) (exitCode int, err error)
}

// ConfigError says that Kconfig itself failed, with what it printed.
type ConfigError struct {
	ExitCode int
	Output   string
}

// Error says so.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("the kernel's configuration could not be read, exit code %d: %s", e.ExitCode, e.Output)
}

// answerFiles are the endings of the three files that make an Answer.
var answerFiles = [...]string{".config", ".defconfig", ".symbols"}

// Configure asks Kconfig what it makes of config, a configuration in any form. The image must be there.
func (s Spec) Configure(ctx context.Context, e runner, config []byte) (Answer, error) {
	outputs := newCollector("/answers/after")
	c := engine.Container{
		Image: s.ConfigRef(), Files: inWork(config), Outputs: outputs.wanted(),
		Cmd: []string{"make", "-s", "-C", "/kconfig", "O=/kconfig-obj",
			"QUERY_ARGS=/answers/in /answers/after.config /answers/after.defconfig /answers/after.symbols", "hookbuild_queryconfig"},
	}
	var said bytes.Buffer
	code, err := e.Run(ctx, c, &said)
	if code != 0 {
		return Answer{}, &ConfigError{ExitCode: code, Output: said.String()}
	}
	if err != nil {
		return Answer{}, err
	}
	return outputs.answer("/answers/after")
}

// inWork puts the configuration where the container looks for it.
func inWork(config []byte) func(*tar.Writer) error {
	return func(w *tar.Writer) error {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "answers/", Mode: 0o755}); err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: "answers/in", Mode: 0o644, Size: int64(len(config))}); err != nil {
			return err
		}
		_, err := w.Write(config)
		return err
	}
}

// Edits says what Edit opens.
type Edits string

// What Edit opens.
const (
	Menuconfig Edits = "menuconfig"
	Nconfig    Edits = "nconfig"
	Shell      Edits = "shell"
)

// terminal is the part of an engine that runs a container on a terminal.
type terminal interface {
	RunTerminal(ctx context.Context, c engine.Container, t engine.Terminal) (exitCode int, err error)
}

// Edit opens a menu or a shell on config. after is nil where nothing was saved, or nothing is different.
func (s Spec) Edit(ctx context.Context, e terminal, config []byte, what Edits, t engine.Terminal) (before Answer, after *Answer, err error) {
	outputs := newCollector("/answers/before", "/answers/after")
	c := engine.Container{
		Image: s.ConfigRef(), Files: inWork(config), Outputs: outputs.wanted(),
		Env: []string{"EDITOR_COMMAND=" + string(what)}, Cmd: []string{"/bin/sh", "-c", editScript},
	}
	code, err := e.RunTerminal(ctx, c, t)
	if code != 0 {
		return before, nil, &ConfigError{ExitCode: code, Output: "the terminal shows why"}
	}
	if err != nil && !(errors.Is(err, engine.ErrNoOutput) && outputs.has("/answers/before")) {
		return before, nil, err
	}
	if before, err = outputs.answer("/answers/before"); err != nil || !outputs.has("/answers/after") {
		return before, nil, err
	}
	saved, err := outputs.answer("/answers/after")
	return before, &saved, err
}

// collector takes a container's files in.
type collector struct {
	names []string
	files map[string][]byte
	max   int64 // bytes that a file may have
}

func newCollector(stems ...string) *collector {
	c := &collector{files: map[string][]byte{}, max: maxAnswer}
	for _, stem := range stems {
		for _, end := range answerFiles {
			c.names = append(c.names, stem+end)
		}
	}
	return c
}

// maxAnswer bounds each file, in bytes: the symbols of a kernel are about 15 MB.
const maxAnswer = 256 << 20

func (c *collector) wanted() []engine.Output {
	outputs := make([]engine.Output, 0, len(c.names))
	for _, name := range c.names {
		outputs = append(outputs, engine.Output{Path: name, Read: func(r io.Reader) error {
			data, err := io.ReadAll(io.LimitReader(r, c.max+1))
			if err == nil && int64(len(data)) > c.max {
				err = fmt.Errorf("more than %d bytes", c.max)
			}
			if err == nil {
				c.files[name] = data
			}
			return err
		}})
	}
	return outputs
}

func (c *collector) has(stem string) bool {
	_, ok := c.files[stem+answerFiles[len(answerFiles)-1]]
	return ok
}

func (c *collector) answer(stem string) (Answer, error) {
	for _, end := range answerFiles {
		if _, ok := c.files[stem+end]; !ok {
			return Answer{}, &ConfigError{Output: "it left no " + stem + end}
		}
	}
	symbols, err := kconfig.ReadSymbols(bytes.NewReader(c.files[stem+".symbols"]))
	return Answer{Config: c.files[stem+".config"], Defconfig: c.files[stem+".defconfig"], Symbols: symbols}, err
}
