package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/build"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/hardware/drivers"
	"github.com/hookbuild/hookbuild/internal/hardware/kbuild"
	"github.com/hookbuild/hookbuild/internal/hardware/library"
	"github.com/hookbuild/hookbuild/internal/hardware/modinfo"
	"github.com/hookbuild/hookbuild/internal/kconfig"
	"github.com/hookbuild/hookbuild/internal/modules"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

func (p *program) driversCommand() *cli.Command {
	return &cli.Command{
		Name: "drivers", Usage: "say whether a flavor's image drives the devices of a machine, and what it takes",
		ArgsUsage: "[FLAVOR]",
		Description: "Each device is looked up in the flavor's newest build, or in its configuration where nothing is built, and in\n" +
			"Debian's kernel, which has nearly every driver. The exit code is 6 where a network card, a storage controller or a\n" +
			"console has no driver.\n\n" +
			"Example:\n" +
			"  lspci -nn | hookbuild drivers --arch x86_64 --lspci -\n" +
			"  hookbuild drivers --arch x86_64 --pci 19a2:0710\n" +
			"  hookbuild drivers --arch x86_64 --pci 19a2:0710 --fix",
		Flags: slices.Concat(flavorFlags(), machineListFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "list the devices too that do not matter to an installation"},
			&cli.BoolFlag{Name: "fix", Usage: "switch the missing drivers on in the flavor's kernel configuration, as kernel-config --set does"},
		}),
		Action: p.drivers,
	}
}

// survey is a run of drivers.
type survey struct {
	*workshop
	p       *program
	c       *cli.Context
	cache   string
	from    *build.Packages
	library library.Library
	target  drivers.Target
	whole   *drivers.Index // of Debian's kernel
	own     *drivers.Index // of what is built; nil where nothing is
	entry   resolve.Entry  // of Debian's kernel
	against string         // what is judged, for people
	newer   string         // a flavor that has the whole kernel; "" where it is this one
	planID  string         // of the generation; "" where nothing is built
}

func (p *program) drivers(c *cli.Context) error {
	list, err := p.machineList(c)
	if err != nil {
		return err
	}
	s, err := p.survey(c)
	if err != nil {
		return err
	}
	defer s.report.Close()
	if c.Bool("fix") {
		if err := canConfigure(nil)(s.flavor); err != nil {
			return err
		}
	}
	if err := s.prepare(c.Context); err != nil {
		return err
	}
	answer, err := s.judge(c.Context, list)
	if err != nil {
		return err
	}
	s.report.Close()
	if c.Bool("fix") && len(answer.Set) > 0 {
		return s.fix(c.Context, answer)
	}
	if s.json {
		err = p.printJSON(answer)
	} else {
		err = s.show(answer)
	}
	if err != nil || answer.OK {
		return err
	}
	return &driverlessError{missing: answer.Missing, matter: answer.Matter, json: s.json}
}

// driverlessError says that devices that matter are not driven; which has been shown.
type driverlessError struct {
	missing, matter int
	json            bool
}

func (e *driverlessError) Error() string {
	if e.matter == 1 {
		return "the device is not known to be driven"
	}
	return fmt.Sprintf("%d of %d devices that matter are not known to be driven", e.missing, e.matter)
}

// survey reads the command line. The engine is asked only for its architecture, where none is named.
func (p *program) survey(c *cli.Context) (*survey, error) {
	if err := noMore(c, 1); err != nil {
		return nil, err
	}
	set, err := p.settings(c)
	if err != nil {
		return nil, err
	}
	cfg, err := set.config()
	if err != nil {
		return nil, err
	}
	arch, err := archFlag(c)
	if err != nil {
		return nil, err
	}
	w := &workshop{settings: set, config: cfg}
	known := arch
	if arch == "" && c.Args().First() == "" {
		if known, err = p.engineArch(c.Context); err != nil {
			return nil, err
		}
	}
	accept := func(config.Flavor) error { return nil }
	if err := w.choose(c.Args().First(), arch, known, accept); err != nil {
		return nil, err
	}
	s := &survey{workshop: w, p: p, c: c}
	if s.cache, err = p.cacheDir(set, cfg); err != nil {
		return nil, err
	}
	if w.report, err = p.reporter(set); err != nil {
		return nil, err
	}
	if s.from, _, err = p.packages(c, w, s.cache); err != nil {
		w.report.Close()
		return nil, err
	}
	s.library = library.Library{Dir: filepath.Join(s.cache, "drivers"), Making: func(what string) {
		w.report.Warn("reading " + what + ", once")
	}}
	return s, nil
}

func (p *program) engineArch(ctx context.Context) (plan.Arch, error) {
	e, err := p.connect(ctx)
	if err != nil {
		return "", err
	}
	arch, bad := plan.ParseArch(e.Arch())
	if bad != nil {
		err = &usageError{"the engine: " + bad.Error()}
	}
	return arch, errors.Join(err, e.Close())
}

// prepare gets everything that a verdict rests on.
func (s *survey) prepare(ctx context.Context) error {
	whole, err := s.debianKernel(ctx)
	if err != nil {
		return err
	}
	s.whole, s.target.Whole = drivers.NewIndex(whole), whole.Release
	switch s.flavor.Kernel.Method {
	case config.MethodSource:
		if s.target.Tree, err = s.tree(ctx); err != nil {
			return err
		}
		s.newer = "hook-debian-" + s.flavor.Arch.Debian()
	case config.MethodDebian:
		s.target.Finished = whole
	}
	built, err := s.built(ctx)
	if err != nil || built {
		return err
	}
	return s.unbuilt(ctx)
}

// debianKernel are the modules of Debian's kernel.
func (s *survey) debianKernel(ctx context.Context) (*modinfo.Kernel, error) {
	series, err := hardwareSeries(s.config, s.flavor.Arch)
	if err != nil {
		return nil, err
	}
	lockFile := filepath.Join(s.project, resolve.LockName)
	o := resolve.Options{LockFile: lockFile, Suite: s.config.Debian.Suite}
	res, err := resolve.Hardware(ctx, s.flavor.Arch, series, o, s.from)
	if err != nil {
		return nil, err
	}
	if s.entry = res.Entry; res.Written {
		s.report.Warn("wrote " + lockFile + ": the kernel of Debian that devices are looked up in is pinned there")
	}
	set, _ := s.entry.Find(resolve.WholeKernelSet)
	var kernel debian.Package
	for _, p := range set.Packages { // beside the one that only depends on the newest, whose name is shorter
		if strings.HasPrefix(p.Name, "linux-image-") && len(p.Name) > len(kernel.Name) {
			kernel = p
		}
	}
	return s.library.Kernel(ctx, kernel, s.fetch(ctx, kernel))
}

// hardwareSeries is that of the kernel which devices are looked up in.
func hardwareSeries(cfg *config.Config, arch plan.Arch) (string, error) {
	reference, err := cfg.Select("hook-debian-"+arch.Debian(), arch, arch)
	return reference.Kernel.Series, err
}

// fetch brings a package into the cache when it is asked for.
func (s *survey) fetch(ctx context.Context, p debian.Package) func() (string, error) {
	return func() (string, error) {
		files, err := s.from.Fetch(ctx, []debian.Package{p}, s.from.Client.Progress)
		return files[p.SHA256], err
	}
}

// tree is the source of the flavor's kernel; nil where it is not Debian's or kernel.org's, or not settled yet.
func (s *survey) tree(ctx context.Context) (*kbuild.Tree, error) {
	lock, err := resolve.ReadLock(filepath.Join(s.project, resolve.LockName))
	if err != nil {
		return nil, err
	}
	locked := lock.Flavors[s.flavor.ID]
	switch s.flavor.Kernel.Source.Kind {
	case config.SourceDebian:
		set, ok := locked.Find(resolve.KernelSet)
		if !ok {
			set, _ = s.entry.Find(resolve.SourceSet)
		}
		for _, p := range set.Packages {
			if strings.HasPrefix(p.Name, "linux-source-") {
				return s.library.Package(ctx, p, s.fetch(ctx, p))
			}
		}
	case config.SourceKernelOrg:
		if pin := locked.Kernel; pin != nil {
			return s.library.Tarball(ctx, "Linux "+pin.Version, pin.SHA256, func() (string, error) {
				return s.from.KernelOrg.Fetch(ctx, pin.Pin)
			})
		}
		s.report.Warn("which release of Linux " + s.flavor.Kernel.Series + " " + s.flavor.ID + " has is not settled; run hookbuild lock " + s.flavor.ID)
	default:
		s.report.Warn("the source of " + s.flavor.ID + " is yours and is not read: symbols are not known")
	}
	return nil, nil
}

// built looks for the flavor's newest generation; false where there is none.
func (s *survey) built(ctx context.Context) (bool, error) {
	store, err := artifacts.Open(s.out)
	if err != nil {
		return false, err
	}
	gen, err := store.Newest(s.flavor.ID, s.flavor.Arch)
	if isNotFound(err) && !isA[*artifacts.DamagedError](err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	kernel, initramfs := artifacts.KernelName(s.flavor.Arch), artifacts.InitramfsName(s.flavor.Arch)
	digest := sha256.New()
	for _, f := range gen.Manifest.Files {
		if f.Name == kernel || f.Name == initramfs {
			fmt.Fprintln(digest, f.Name, f.SHA256)
		}
	}
	image, err := s.library.Image(ctx, hex.EncodeToString(digest.Sum(nil)), gen.Path(kernel), gen.Path(initramfs))
	if err != nil {
		return false, err
	}
	s.target.Image, s.own, s.planID = image, drivers.NewIndex(image.Modules), gen.ID()
	s.against = fmt.Sprintf("%s as it was built last, Linux %s", s.flavor.ID, cmp.Or(gen.Manifest.KernelRelease, image.Modules.Release))
	if image.Config == nil && s.flavor.Kernel.Method == config.MethodSource {
		return true, s.configOf(ctx, gen.Manifest)
	}
	return true, nil
}

// configOf finds the configuration of a kernel that does not have it in itself: it is the flavor's, if that is still the same.
func (s *survey) configOf(ctx context.Context, m artifacts.Manifest) error {
	return s.configured(ctx, func(ctx context.Context, w *configSession) error {
		answer, err := w.conf.Ask(ctx, w.job.Kernel.Config)
		if err != nil {
			return err
		}
		if sum := sha256.Sum256(answer.Config); hex.EncodeToString(sum[:]) == m.Kernel.ConfigSHA256 {
			s.target.Config = valuesOf(answer.Symbols)
			return nil
		}
		w.report.Warn("the kernel was built with another configuration than " + s.flavor.ID + " has now, and does not have it in itself " +
			"(IKCONFIG=y); build it again to know which drivers are switched off")
		return nil
	})
}

// valuesOf are the symbols that are not n.
func valuesOf(symbols *kconfig.Symbols) map[string]string {
	values := map[string]string{}
	for _, i := range symbols.All() {
		if i.Value == "y" || i.Value == "m" {
			values[i.Name] = i.Value
		}
	}
	return values
}

// unbuilt takes the configuration in place of a build.
func (s *survey) unbuilt(ctx context.Context) error {
	s.against = s.flavor.ID + ", of which nothing is built, as it is configured"
	k := s.flavor.Kernel
	choice := modules.Selection{Include: k.Modules.Include, Exclude: k.Modules.Exclude}
	if err := checkPatterns(s.flavor); err != nil {
		return err
	}
	s.target.Chosen = func(path string) bool {
		chosen, err := choice.Chooses(path)
		return chosen && err == nil // checked above
	}
	if k.Method != config.MethodSource {
		return nil
	}
	return s.configured(ctx, func(ctx context.Context, w *configSession) error {
		answer, err := w.conf.Ask(ctx, w.job.Kernel.Config)
		if err != nil {
			return err
		}
		s.target.Config = valuesOf(answer.Symbols)
		return nil
	})
}

// configured opens the flavor's Kconfig in the engine for do.
func (s *survey) configured(ctx context.Context, do configWork) (err error) {
	s.report.Close() // the workshop has its own
	w, err := s.p.workshopOf(ctx, s.c, []string{s.flavor.ID}, canConfigure(nil))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	session := &configSession{workshop: w, p: s.p, c: s.c}
	if session.job, err = w.job(ctx); err != nil {
		return err
	}
	if session.conf, err = w.builder.Configurator(ctx, session.job); err != nil {
		return err
	}
	return do(ctx, session)
}

// ids are the lists of devices' names; this host's, where there is one, where they may not be fetched.
func (s *survey) ids(ctx context.Context) (map[string]string, error) {
	set, _ := s.entry.Find(resolve.IDsSet)
	all := map[string]string{}
	for _, p := range set.Packages {
		files, err := s.library.IDs(ctx, p, s.fetch(ctx, p))
		if isA[*download.OfflineError](err) {
			for _, name := range []string{"pci.ids", "usb.ids"} {
				text, _ := os.ReadFile("/usr/share/misc/" + name) // without it, devices have no names
				all[name] = string(text)
			}
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		maps.Copy(all, files)
	}
	return all, nil
}

// fix switches on what is missing.
func (s *survey) fix(ctx context.Context, answer surveyed) error {
	var asked []kconfig.Line
	for _, text := range answer.Set {
		line, err := kconfig.ParseSet("--fix", text)
		if err != nil {
			return err
		}
		asked = append(asked, line)
	}
	return s.configured(ctx, func(ctx context.Context, w *configSession) error {
		asked, err := w.withNeeds(ctx, asked)
		if err != nil {
			return err
		}
		return changeConfig(asked)(ctx, w)
	})
}

// withNeeds adds what the symbols depend on and can be switched on by itself: the switch of a vendor's menu, for example.
func (s *configSession) withNeeds(ctx context.Context, asked []kconfig.Line) ([]kconfig.Line, error) {
	const rounds = 4
	for range rounds {
		res, err := s.conf.Change(ctx, asked)
		if err != nil || len(res.Unknown) > 0 || len(res.Unmet) == 0 {
			return asked, err
		}
		more := needs(res.After.Symbols, res.Unmet, asked)
		if len(more) == 0 {
			break
		}
		asked = kconfig.Merge(asked, more)
	}
	return asked, nil
}

// needs are symbols that the unmet ones lack, as far as they are single ones that a person can set.
func needs(symbols *kconfig.Symbols, unmet []kconfig.Unmet, asked []kconfig.Line) []kconfig.Line {
	var more []kconfig.Line
	for _, u := range unmet {
		info, _ := symbols.Lookup(u.Line.Name)
		for _, term := range slices.Concat(info.Unmet, info.PromptUnmet) {
			name, value, _ := strings.Cut(term, " ")
			need, ok := symbols.Lookup(name)
			known := slices.ContainsFunc(asked, func(l kconfig.Line) bool { return l.Name == name })
			if !ok || known || need.Prompt == "" || !strings.HasPrefix(value, "[=n]") {
				continue
			}
			setting := "y"
			if need.Type == "tristate" {
				setting = "m"
			}
			more = append(more, kconfig.Line{Symbol: kconfig.Symbol{Name: name, Value: setting}, Origin: kconfig.Origin{File: "--fix, for " + u.Line.Name}})
		}
	}
	return kconfig.Merge(more)
}
