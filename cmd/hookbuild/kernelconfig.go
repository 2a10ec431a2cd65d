package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/build"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/kconfig"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/kernel/configs"
)

func (p *program) kernelConfigCommand() *cli.Command {
	return &cli.Command{
		Name: "kernel-config", Usage: "change a flavor's kernel configuration, in a menu or symbol by symbol",
		ArgsUsage: "[FLAVOR [OTHER]]",
		Description: "Without one of the flags below, the kernel's own menu opens on the terminal. What is saved there goes to\n" +
			"kernel/configs/<config>-<series>.y-<arch> in the project, and what has changed is listed. --set, --unset and\n" +
			"--fragment do the same without a terminal, together in one run.\n\n" +
			"A symbol that Kconfig does not grant is an error that says why, and the file stays as it was. The exit code is\n" +
			"6; where the kernel has no such symbol it is 2.\n\n" +
			"Example:\n" +
			"  hookbuild kernel-config hook-default-amd64\n" +
			"  hookbuild kernel-config --arch x86_64 --search be2net\n" +
			"  hookbuild kernel-config --arch x86_64 --set BE2NET=m --set ENIC=m --unset SOUND\n" +
			"  hookbuild kernel-config hook-default-amd64 --diff hook-debian-amd64",
		Flags: append(flavorFlags(), configFlags()...), Action: p.kernelConfig,
	}
}

func configFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "ui", Value: string(kernel.Menuconfig), Usage: "`MENU` to open: menuconfig or nconfig"},
		&cli.StringSliceFlag{Name: "fragment", Usage: "merge the symbols of `FILE` into the configuration (repeatable)"},
		&cli.StringSliceFlag{Name: "set", Usage: "`SYMBOL=VALUE`: set a symbol to y, m, n, a number or a string (repeatable)"},
		&cli.StringSliceFlag{Name: "unset", Usage: "switch `SYMBOL` off (repeatable)"},
		&cli.BoolFlag{Name: "diff", Usage: "list what OTHER, a flavor or a file, has otherwise than the flavor; without OTHER, what the flavor has otherwise than hookbuild's own file"},
		&cli.BoolFlag{Name: "check", Usage: "see whether everything that the flavor asks for comes out that way"},
		&cli.StringFlag{Name: "search", Usage: "list the symbols with `WORD` in their name or prompt, their values and what they depend on"},
		&cli.BoolFlag{Name: "shell", Usage: "open a shell beside the configuration instead of a menu"},
	}
}

// configWork is one of the things that kernel-config does.
type configWork func(ctx context.Context, s *configSession) error

// configSession is what they have in common.
type configSession struct {
	*workshop
	p    *program
	c    *cli.Context
	job  *build.Job
	conf *build.Configurator
}

func (p *program) kernelConfig(c *cli.Context) (err error) {
	work, err := p.configWork(c)
	if err != nil {
		return err
	}
	w, err := p.workshopOf(c.Context, c, p.configFlavor(c), canConfigure(c.StringSlice("fragment")))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	s := &configSession{workshop: w, p: p, c: c}
	if s.job, err = w.job(c.Context); err != nil {
		return err
	}
	if s.conf, err = w.builder.Configurator(c.Context, s.job); err != nil {
		return err
	}
	return work(c.Context, s)
}

// canConfigure refuses a flavor that has nothing to configure, and fragments for another architecture.
func canConfigure(fragments []string) func(config.Flavor) error {
	return func(f config.Flavor) error {
		if f.Kernel.Method != config.MethodSource {
			return &usageError{fmt.Sprintf("flavor %s takes a kernel that is compiled already: there is nothing to configure", f.ID)}
		}
		for _, file := range fragments {
			if err := build.CheckFragment(file, f); err != nil {
				return fmt.Errorf("--fragment: %w", err)
			}
		}
		return nil
	}
}

// configFlavor are the arguments that name the flavor: with --arch and --diff a single one is OTHER.
func (p *program) configFlavor(c *cli.Context) []string {
	args := c.Args().Slice()
	if c.Bool("diff") && (len(args) > 1 || len(args) == 1 && c.String("arch") != "") {
		return args[:len(args)-1]
	}
	return args
}

// configWork reads which of the things is wanted: one, or several symbols at once.
func (p *program) configWork(c *cli.Context) (configWork, error) {
	asked, err := askedSymbols(c)
	if err != nil {
		return nil, err
	}
	var chosen []string
	work := p.configMenu(kernel.Edits(c.String("ui")))
	choose := func(flag string, given bool, w configWork) {
		if given {
			chosen, work = append(chosen, flag), w
		}
	}
	choose("--set, --unset or --fragment", len(asked) > 0, changeConfig(asked))
	choose("--diff", c.Bool("diff"), diffConfig(strings.Join(c.Args().Slice()[len(p.configFlavor(c)):], "")))
	choose("--check", c.Bool("check"), checkConfig)
	choose("--search", c.String("search") != "", searchConfig(c.String("search")))
	choose("--shell", c.Bool("shell"), p.configMenu(kernel.Shell))
	interactive := len(chosen) == 0 || chosen[0] == "--shell"
	switch {
	case len(chosen) > 1:
		return nil, &usageError{"kernel-config does one thing at a time: " + strings.Join(chosen, ", ")}
	case c.String("ui") != string(kernel.Menuconfig) && c.String("ui") != string(kernel.Nconfig):
		return nil, &usageError{fmt.Sprintf("--ui %s: want menuconfig or nconfig", c.String("ui"))}
	case interactive && c.Bool("json"):
		return nil, &usageError{"--json goes with --set, --unset, --fragment, --diff, --check and --search"}
	case interactive && !p.hasTerminal():
		return nil, &usageError{"a menu needs a terminal; without one, use --set SYMBOL=VALUE, --unset SYMBOL or --fragment FILE"}
	}
	return work, nil
}

// askedSymbols are those of --fragment, --set and --unset.
func askedSymbols(c *cli.Context) ([]kconfig.Line, error) {
	var all []kconfig.Line
	for _, file := range c.StringSlice("fragment") {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, &usageError{fmt.Sprintf("--fragment: %v", err)}
		}
		lines, err := kconfig.Parse(file, data)
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	single := map[string]string{}
	add := func(flag, text string) error {
		line, err := kconfig.ParseSet(flag, text)
		if err != nil {
			return &usageError{err.Error()}
		}
		if before, ok := single[line.Name]; ok && before != line.Value {
			return &usageError{fmt.Sprintf("%s is asked for twice: %s and %s", line.Name, before, line.Value)}
		}
		single[line.Name] = line.Value
		all = append(all, line)
		return nil
	}
	for _, text := range c.StringSlice("set") {
		if err := add("--set", text); err != nil {
			return nil, err
		}
	}
	for _, name := range c.StringSlice("unset") {
		if strings.Contains(name, "=") {
			return nil, &usageError{fmt.Sprintf("--unset %s: want SYMBOL", name)}
		}
		if err := add("--unset", name+"=n"); err != nil {
			return nil, err
		}
	}
	return kconfig.Merge(all), nil
}

// symbolError says that a flavor, or kernel-config itself, asks for something that Kconfig does not accept.
type symbolError struct {
	unmet   []kconfig.Unmet
	unknown bool   // the kernel has no such symbols, so that they are misspelled
	file    string // the configuration that was not changed; empty where none was to be
}

// Error lists the symbols, a line each.
func (e *symbolError) Error() string {
	var lines []string
	for _, u := range e.unmet {
		lines = append(lines, u.String())
	}
	if e.file != "" {
		lines = append(lines, e.file+" stays as it was")
	}
	return strings.Join(lines, "\n")
}

// configFile is where the flavor's configuration is written.
func (s *configSession) configFile() string {
	return filepath.Join(s.project, "kernel", "configs", s.job.Kernel.Base.Name)
}

func changeConfig(asked []kconfig.Line) configWork {
	return func(ctx context.Context, s *configSession) error {
		res, err := s.conf.Change(ctx, asked)
		switch {
		case err != nil:
			return err
		case len(res.Unknown) > 0:
			return &symbolError{unmet: res.Unknown, unknown: true, file: s.configFile()}
		case len(res.Unmet) > 0:
			return &symbolError{unmet: res.Unmet, file: s.configFile()}
		}
		for _, lost := range res.Lost {
			s.report.Warn(lost.String())
		}
		return s.save(res.Before, res.After)
	}
}

// save writes the new configuration, where it is one, and says what is different.
func (s *configSession) save(before, after kernel.Answer) error {
	changes := kconfig.Diff(before.Symbols, after.Symbols, false)
	written := len(changes) > 0
	if written {
		if err := download.WriteFile(s.configFile(), bytes.NewReader(after.Defconfig)); err != nil {
			return err
		}
	}
	s.report.Close()
	next := "hookbuild all " + s.flavor.ID
	if s.json {
		return s.p.printJSON(map[string]any{"file": s.configFile(), "written": written, "changes": listChanges(changes), "next": next})
	}
	if !written {
		fmt.Fprintf(s.p.Stdout, "nothing has changed: %s has it that way already\n", s.flavor.ID)
		return nil
	}
	s.printChanges(changes)
	fmt.Fprintf(s.p.Stdout, "wrote %s\nnext: %s\n", s.configFile(), next)
	return nil
}

func (s *configSession) printChanges(changes []kconfig.Change) {
	for _, ch := range changes {
		fmt.Fprintln(s.p.Stdout, ch)
	}
}

// changed is a symbol's change in JSON.
type changed struct {
	Name   string `json:"name"`
	Before string `json:"before"` // as .config writes it; empty where it has no line for the symbol
	After  string `json:"after"`
	Prompt string `json:"prompt"`
}

// listChanges makes an empty list [], not null, in JSON.
func listChanges(changes []kconfig.Change) []changed {
	list := make([]changed, 0, len(changes))
	for _, ch := range changes {
		list = append(list, changed(ch))
	}
	return list
}

// refused is a symbol in the JSON of a failure.
type refused struct {
	Name  string `json:"name"`
	Want  string `json:"want"`
	Got   string `json:"got"` // empty for a symbol that the kernel does not have
	Why   string `json:"why"`
	Where string `json:"where"` // who asks for it: a flag, or file:line
}

// refusedSymbols are those that the error is about.
func refusedSymbols(err error) []refused {
	var own *symbolError
	var inBuild *build.UnmetError
	var unmet []kconfig.Unmet
	switch {
	case errors.As(err, &own):
		unmet = own.unmet
	case errors.As(err, &inBuild):
		unmet = inBuild.Unmet
	}
	var list []refused
	for _, u := range unmet {
		list = append(list, refused{Name: u.Line.Name, Want: u.Line.Value, Got: u.Got, Why: u.Why, Where: u.Line.Origin.String()})
	}
	return list
}

// configMenu is a menu or a shell on the terminal.
func (p *program) configMenu(what kernel.Edits) configWork {
	return func(ctx context.Context, s *configSession) error {
		if over := s.job.Kernel.Base.Over; len(over) > 0 {
			s.report.Warn(fmt.Sprintf("the menu shows kernel/configs/%s alone; the flavor merges %d symbols of fragments and hookbuild.yaml over it",
				s.job.Kernel.Base.Name, len(over)))
		}
		s.report.Close()
		var before kernel.Answer
		var after *kernel.Answer
		err := p.onTerminal(ctx, func(ctx context.Context, t engine.Terminal) (err error) {
			before, after, err = s.conf.Edit(ctx, what, t)
			return err
		})
		if err != nil {
			return err
		}
		if after == nil {
			fmt.Fprintln(p.Stdout, "nothing was saved")
			return nil
		}
		return s.save(before, *after)
	}
}

func checkConfig(ctx context.Context, s *configSession) error {
	unmet, err := s.conf.Check(ctx)
	if err != nil {
		return err
	}
	s.report.Close()
	switch {
	case len(unmet) > 0:
		return &symbolError{unmet: unmet}
	case s.json:
		return s.p.printJSON(map[string]any{"flavor": s.flavor.ID, "asked": len(s.job.Kernel.Asked)})
	}
	fmt.Fprintf(s.p.Stdout, "%s: all of the %d symbols come out as they are asked for\n", s.flavor.ID, len(s.job.Kernel.Asked))
	return nil
}

func searchConfig(word string) configWork {
	return func(ctx context.Context, s *configSession) error {
		answer, err := s.conf.Ask(ctx, s.job.Kernel.Config)
		if err != nil {
			return err
		}
		found := answer.Symbols.Search(word)
		s.report.Close()
		if len(found) == 0 {
			return &notFoundError{fmt.Sprintf("no symbol of %s has %q in its name or prompt", s.flavor.ID, word)}
		}
		if s.json {
			return s.p.printJSON(found)
		}
		for _, f := range found {
			fmt.Fprintln(s.p.Stdout, f)
		}
		return nil
	}
}

// notFoundError is a search that found nothing.
type notFoundError struct{ what string }

func (e *notFoundError) Error() string { return e.what }

func diffConfig(other string) configWork {
	return func(ctx context.Context, s *configSession) error {
		mine, err := s.conf.Ask(ctx, s.job.Kernel.Config)
		if err != nil {
			return err
		}
		text, name, err := s.otherConfig(ctx, other)
		if err != nil {
			return err
		}
		theirs, err := s.conf.Ask(ctx, text)
		if err != nil {
			return err
		}
		a, b, from, to := mine, theirs, s.flavor.ID, name
		if other == "" {
			a, b, from, to = theirs, mine, name, s.flavor.ID
		}
		changes := kconfig.Diff(a.Symbols, b.Symbols, false)
		s.report.Close()
		if s.json {
			return s.p.printJSON(map[string]any{"from": from, "to": to, "changes": listChanges(changes)})
		}
		s.printChanges(changes)
		fmt.Fprintf(s.p.Stdout, "%d symbols differ from %s to %s\n", len(changes), from, to)
		return nil
	}
}

// otherConfig is the configuration that --diff compares with: a flavor's, a file, or hookbuild's own.
func (s *configSession) otherConfig(ctx context.Context, other string) (text []byte, name string, err error) {
	if other == "" {
		name := s.job.Kernel.Base.Name
		text, err := fs.ReadFile(configs.Files, name)
		if err != nil {
			return nil, "", &usageError{fmt.Sprintf("hookbuild has no kernel/configs/%s of its own to compare with: name a flavor or a file after --diff", name)}
		}
		return text, "hookbuild's own " + name, nil
	}
	if data, err := os.ReadFile(other); err == nil {
		_, err := kconfig.Parse(other, data)
		return data, other, err
	}
	text, err = s.flavorConfig(ctx, other)
	return text, other, err
}

// flavorConfig is the configuration of another flavor; that of a finished kernel comes out of its image.
func (s *configSession) flavorConfig(ctx context.Context, id string) ([]byte, error) {
	f, err := s.config.Select(id, s.flavor.Arch, s.flavor.Arch)
	if err != nil {
		return nil, err
	}
	req, err := s.p.request(s.c, s.settings, s.config, f, s.builder.Engine.Arch())
	if err != nil {
		return nil, err
	}
	j, err := build.Prepare(ctx, req, s.builder.Packages)
	if err != nil {
		return nil, err
	}
	return s.builder.KernelConfig(ctx, j)
}
