package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/boot"
	"github.com/hookbuild/hookbuild/internal/build"
	"github.com/hookbuild/hookbuild/internal/cachedir"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/modules"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/registry"
	"github.com/hookbuild/hookbuild/internal/resolve"
	"github.com/hookbuild/hookbuild/kernel/configs"
	"github.com/hookbuild/hookbuild/userland"
)

// commonFlags are the flags of every verb.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "project", Value: ".", Usage: "`DIR` with hookbuild.yaml, hookbuild.lock and your own kernel/configs and userland"},
		&cli.StringFlag{Name: "out", Value: "out", Usage: "`DIR` for the outputs"},
		&cli.StringFlag{Name: "cache-dir", Usage: "`DIR` for downloads (default: cache.dir of hookbuild.yaml, else hookbuild in the user's cache directory)"},
		&cli.StringFlag{Name: "cache-max-size", Usage: "`SIZE` that the cache may have after a build, 0 for no limit (default: cache.max_size of hookbuild.yaml, else 20GiB)"},
		&cli.StringFlag{Name: "log-level", Value: "info", Usage: "`LEVEL` of what is logged: debug, info, warn or error"},
		&cli.StringFlag{Name: "progress", Value: "auto", Usage: "how progress is shown: auto, tty, plain or json"},
		&cli.BoolFlag{Name: "json", Usage: "print the result as one JSON document"},
		&cli.BoolFlag{Name: "offline", Usage: "never open a network connection, except to the engine"},
	}
}

// flavorFlags choose what to build.
func flavorFlags() []cli.Flag {
	return append(commonFlags(),
		&cli.StringFlag{Name: "arch", Usage: "`ARCH` of the machines: x86_64 or aarch64 (default: the engine's)"},
		&cli.StringFlag{Name: "debian-mirror", Usage: "base `URL` of a Debian mirror (default: debian.mirror of hookbuild.yaml, else what the host's apt uses)"},
		&cli.StringFlag{Name: "debian-security-mirror", Usage: "base `URL` of a mirror of Debian's security archive"},
		&cli.StringFlag{Name: "kernel-mirror", Usage: "base `URL` of a mirror of kernel.org's /pub/linux/kernel (default: kernel_org.mirror of hookbuild.yaml, else kernel.org)"},
		&cli.StringFlag{Name: "keyring", Usage: "`FILE` with the PGP keys of those who sign at kernel.org; without it they are fetched (default: kernel.keyring of the flavor)"},
	)
}

// kernelImageFlags say where a kernel's image may come from, and go to.
func kernelImageFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "kernel-repository", Usage: "`REPOSITORY` of kernel images in a registry (default: kernel_repository of hookbuild.yaml)"},
		&cli.BoolFlag{Name: "pull-kernel", Usage: "take the kernel's image from the repository where it is there, instead of making it"},
		&cli.BoolFlag{Name: "push-kernel", Usage: "put the kernel's image into the repository"},
	}
}

// settings is what the common flags say.
type settings struct {
	project  string
	out      string
	cache    string
	progress string
	json     bool
	offline  bool
	log      *slog.Logger
}

func (p *program) settings(c *cli.Context) (settings, error) {
	s := settings{
		project: c.String("project"), out: c.String("out"), cache: c.String("cache-dir"),
		progress: c.String("progress"), json: c.Bool("json"), offline: c.Bool("offline"),
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return s, &usageError{fmt.Sprintf("--log-level %s: want debug, info, warn or error", c.String("log-level"))}
	}
	log, err := p.logHandler(c.String("log-format"), level)
	if err != nil {
		return s, err
	}
	s.log = slog.New(log)
	if info, err := os.Stat(s.project); err != nil || !info.IsDir() {
		return s, &usageError{fmt.Sprintf("--project %s: there is no such directory", s.project)}
	}
	return s, nil
}

// logHandler writes a log in the form that --log-format says; verbs without that flag write text.
func (p *program) logHandler(format string, level slog.Level) (slog.Handler, error) {
	o := &slog.HandlerOptions{Level: level}
	switch format {
	case "", "text":
		return slog.NewTextHandler(p.Stderr, o), nil
	case "json":
		return slog.NewJSONHandler(p.Stderr, o), nil
	}
	return nil, &usageError{fmt.Sprintf("--log-format %s: want text or json", format)}
}

// config reads hookbuild.yaml where there is one.
func (s settings) config() (*config.Config, error) {
	file := filepath.Join(s.project, "hookbuild.yaml")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return config.Load(file, nil)
	}
	if err != nil {
		return nil, err
	}
	return config.Load(file, data)
}

// cacheDir is where downloads are kept.
func (p *program) cacheDir(s settings, cfg *config.Config) (string, error) {
	switch {
	case s.cache != "":
		return s.cache, nil
	case cfg.Cache.Dir != "":
		return cfg.Cache.Dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", &usageError{fmt.Sprintf("no place for downloads: %v; name one with --cache-dir", err)}
	}
	return filepath.Join(dir, "hookbuild"), nil
}

// dockerConfig is where the Docker CLI keeps its configuration.
func (p *program) dockerConfig() string {
	if dir := p.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".docker")
}

// connect reaches the engine that the Docker CLI would use.
func (p *program) connect(ctx context.Context) (*engine.Engine, error) {
	dir := p.dockerConfig()
	current := p.Getenv("DOCKER_CONTEXT")
	if current == "" {
		var err error
		if current, err = engine.CurrentContext(dir); err != nil {
			return nil, &usageError{err.Error()}
		}
	}
	return engine.Connect(ctx, engine.Options{
		Now:  p.Now,
		Host: p.Getenv("DOCKER_HOST"), APIVersion: p.Getenv("DOCKER_API_VERSION"),
		CertPath: p.Getenv("DOCKER_CERT_PATH"), TLSVerify: p.Getenv("DOCKER_TLS_VERIFY") != "",
		Context: current, ConfigDir: dir,
	})
}

// workshop is what a verb that builds works with. Close it when done.
type workshop struct {
	settings
	config     *config.Config
	flavor     config.Flavor
	engineArch plan.Arch
	kernels    build.KernelOptions
	builder    *build.Builder
	request    build.Request
	report     *reporter
	limit      int64        // bytes in the cache; 0 is none
	release    func() error // of the cache
}

// Close ends the progress display and the connection to the engine, lets go of the cache and brings it within its limit.
func (w *workshop) Close() error {
	w.report.Close()
	err := errors.Join(w.builder.Engine.Close(), w.release())
	w.trim()
	return err
}

// trimTimeout bounds how long a build may take to remove files that it does not need.
const trimTimeout = 30 * time.Second

// trim removes what was not used for the longest time where the cache is larger than it may be. That it fails is no
// fault of the build's.
func (w *workshop) trim() {
	ctx, cancel := context.WithTimeout(context.Background(), trimTimeout)
	defer cancel()
	removed, err := cachedir.Trim(ctx, w.builder.Cache, w.limit, func() (map[string]bool, error) { return w.pins(w.builder.Cache) })
	if err != nil {
		w.report.Warn(fmt.Sprintf("the cache could not be brought within its limit: %v", err))
	}
	total := int64(0)
	for _, e := range removed {
		total += e.Bytes
	}
	if len(removed) > 0 {
		w.report.Warn(fmt.Sprintf("the cache was larger than %s: removed %s, %s, that were not used for the longest time",
			units.BytesSize(float64(w.limit)), countOf(len(removed), "file"), units.HumanSize(float64(total))))
	}
}

// pins are the digests in the cache that the project names.
func (s settings) pins(cache string) (map[string]bool, error) {
	var texts [][]byte
	for _, name := range []string{resolve.LockName, "hookbuild.yaml"} {
		text, err := os.ReadFile(filepath.Join(s.project, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		texts = append(texts, text)
	}
	return cachedir.Pinned(cache, texts...)
}

// cacheLimit is how many bytes the cache may have, 0 for no limit.
func cacheLimit(c *cli.Context, cfg *config.Config) (int64, error) {
	if text := c.String("cache-max-size"); text != "" {
		n, err := units.RAMInBytes(text)
		if err != nil || n < 0 {
			return 0, &usageError{fmt.Sprintf("--cache-max-size %s: want a size like 20GiB, or 0 for no limit", text)}
		}
		return n, nil
	}
	if cfg.Cache.MaxSize != nil {
		return *cfg.Cache.MaxSize, nil
	}
	return cachedir.DefaultLimit, nil
}

// stageLock is the stage before those of a build: inputs are read, and resolved where the lock lacks them.
const stageLock = "lock"

// job settles the inputs.
func (w *workshop) job(ctx context.Context) (*build.Job, error) {
	w.report.Start(stageLock)
	begin := w.builder.Now()
	j, err := build.Prepare(ctx, w.request, w.builder.Packages)
	w.report.End(stageLock, "", w.builder.Now().Sub(begin), err)
	if err == nil && j.Lock.Written {
		w.report.Warn("wrote " + w.request.LockFile + "; commit it, so that everyone builds the same")
		if len(j.Entry.Debian) == 1 {
			w.report.Warn("no mirror of Debian's security archive was at hand, so its updates are missing; name one with --debian-security-mirror, then run hookbuild lock --update")
		}
	}
	return j, err
}

// workshop puts flags, hookbuild.yaml and the engine together.
func (p *program) workshop(ctx context.Context, c *cli.Context) (*workshop, error) {
	return p.workshopOf(ctx, c, c.Args().Slice(), func(config.Flavor) error { return nil })
}

// workshopOf is workshop where not all of the arguments, but args, name the flavor, and accept may refuse it. What
// is wrong with the command line is said before the engine is asked.
func (p *program) workshopOf(ctx context.Context, c *cli.Context, args []string, accept func(config.Flavor) error) (_ *workshop, err error) {
	if len(args) > 1 {
		return nil, &usageError{fmt.Sprintf("%s: unexpected argument %q", c.Command.Name, args[1])}
	}
	flavor := strings.Join(args, "")
	s, err := p.settings(c)
	if err != nil {
		return nil, err
	}
	cfg, err := s.config()
	if err != nil {
		return nil, err
	}
	arch, err := archFlag(c)
	if err != nil {
		return nil, err
	}
	w := &workshop{settings: s, config: cfg}
	if w.limit, err = cacheLimit(c, cfg); err != nil {
		return nil, err
	}
	if w.kernels, err = kernelOptions(c, cfg); err != nil {
		return nil, err
	}
	if w.report, err = p.reporter(s); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.report.Close()
		}
	}()
	if flavor != "" || arch != "" {
		if err := w.choose(flavor, arch, arch, accept); err != nil {
			return nil, err
		}
	}
	e, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	engineArch, err := plan.ParseArch(e.Arch())
	if err != nil {
		return nil, &usageError{"the engine: " + err.Error()}
	}
	w.engineArch = engineArch
	if err := w.choose(flavor, arch, engineArch, accept); err != nil {
		return nil, err
	}
	if w.request, err = p.request(c, s, cfg, w.flavor, e.Arch()); err != nil {
		return nil, err
	}
	if w.builder, err = p.builder(c, w, e); err != nil {
		return nil, err
	}
	w.release, err = cachedir.Hold(ctx, w.builder.Cache)
	return w, err
}

// choose settles the flavor.
func (w *workshop) choose(flavor string, arch, engineArch plan.Arch, accept func(config.Flavor) error) (err error) {
	if w.flavor, err = w.config.Select(flavor, arch, engineArch); err != nil {
		return err
	}
	return accept(w.flavor)
}

func archFlag(c *cli.Context) (plan.Arch, error) {
	if c.String("arch") == "" {
		return "", nil
	}
	arch, err := plan.ParseArch(c.String("arch"))
	if err != nil {
		return "", &usageError{"--arch: " + err.Error()}
	}
	return arch, nil
}

func (p *program) builder(c *cli.Context, w *workshop, e *engine.Engine) (*build.Builder, error) {
	s, cfg := w.settings, w.config
	cache, err := p.cacheDir(s, cfg)
	if err != nil {
		return nil, err
	}
	store, err := artifacts.Open(s.out)
	if err != nil {
		return nil, err
	}
	packages, fetch, err := p.packages(c, w, cache)
	if err != nil {
		return nil, err
	}
	images, err := p.registryClient(s, cfg)
	if err != nil {
		return nil, err
	}
	packages.Images = image.Finder{Engine: e, Registry: images, Cache: cache, Dir: s.project}
	return &build.Builder{
		Engine: e, Cache: cache, Store: store, ModuleVersion: moduleVersion, Report: w.report, Now: p.Now, Kernels: w.kernels,
		Packages: packages, Download: fetch, Registry: images,
	}, nil
}

// packages gets what comes from mirrors; where container images are, it does not know.
func (p *program) packages(c *cli.Context, w *workshop, cache string) (*build.Packages, *download.Client, error) {
	mirror, err := mirrorOf(c, w.config)
	if err != nil {
		return nil, nil, err
	}
	client := &debian.Client{
		HTTP: &http.Client{}, CacheDir: cache, Offline: w.offline,
		Keyrings: p.Keyrings, Trusted: p.Trusted, Now: p.Now,
		Progress: func(name string, done, total int64) { w.report.Count(stageLock, name, done, total) },
	}
	fetch := &download.Client{HTTP: client.HTTP, Offline: w.offline}
	kernelOrg, err := p.kernelOrg(c, w.config, w.flavor, fetch, cache)
	if err != nil {
		return nil, nil, err
	}
	kernelOrg.Progress = client.Progress
	return &build.Packages{Client: client, Mirror: mirror, Apt: os.DirFS(p.AptDir), KernelOrg: kernelOrg}, fetch, nil
}

// kernelOrg asks kernel.org, or the mirror that is named.
func (p *program) kernelOrg(c *cli.Context, cfg *config.Config, f config.Flavor, fetch *download.Client, cache string) (*kernelorg.Client, error) {
	mirror, err := mirrorURL(c, "kernel-mirror", cfg.KernelOrg.Mirror)
	if err != nil {
		return nil, err
	}
	keyring := cmp.Or(c.String("keyring"), f.Kernel.Keyring)
	if keyring != "" {
		if _, err := os.Stat(keyring); err != nil { // where it is read, its errors are those of a download
			return nil, &usageError{fmt.Sprintf("keyring: %v", err)}
		}
	}
	return &kernelorg.Client{
		Download: fetch, CacheDir: cache, Mirror: mirror, WKD: cfg.KernelOrg.Keys, Now: p.Now, Trusted: p.KernelKeys,
		Keyring: keyring,
	}, nil
}

// registryClient asks registries as hookbuild.yaml says.
func (p *program) registryClient(s settings, cfg *config.Config) (*registry.Client, error) {
	hosts, err := p.registryHosts(cfg)
	if err != nil {
		return nil, err
	}
	return &registry.Client{
		Keychain: registry.DockerKeychain(p.dockerConfig()), Hosts: hosts, Offline: s.offline, UserAgent: "hookbuild/" + release,
	}, nil
}

// registryHosts are the registries of hookbuild.yaml, with their certificates read.
func (p *program) registryHosts(cfg *config.Config) (map[string]registry.Host, error) {
	hosts := map[string]registry.Host{}
	for name, r := range cfg.Registries {
		h := registry.Host{PlainHTTP: r.PlainHTTP, Mirror: r.Mirror}
		if r.CA != "" {
			var err error
			if h.CA, err = os.ReadFile(r.CA); err != nil {
				return nil, &usageError{fmt.Sprintf("registries: %s: ca: %v", name, err)}
			}
		}
		hosts[name] = h
	}
	return hosts, nil
}

// kernelOptions are those of kernelImageFlags; a verb that has not got them has none.
func kernelOptions(c *cli.Context, cfg *config.Config) (build.KernelOptions, error) {
	o := build.KernelOptions{
		Repository: cmp.Or(c.String("kernel-repository"), cfg.KernelRepository),
		Pull:       c.Bool("pull-kernel"), Push: c.Bool("push-kernel"), Clean: c.Bool("clean"),
	}
	switch {
	case (o.Pull || o.Push) && o.Repository == "":
		return o, &usageError{"--pull-kernel and --push-kernel need a repository: --kernel-repository, or kernel_repository of hookbuild.yaml"}
	case c.String("kernel-repository") != "" && !isRepository(o.Repository):
		return o, &usageError{fmt.Sprintf("--kernel-repository %s: want HOST[:PORT]/NAME, without tag and digest", o.Repository)}
	case o.Pull && o.Clean:
		return o, &usageError{"--clean compiles the kernel, --pull-kernel does not: want one of them"}
	}
	return o, nil
}

// isRepository says whether a tag can be put behind it.
func isRepository(text string) bool {
	_, err := name.NewRepository(text, name.StrictValidation)
	return err == nil
}

// mirrorOf is the mirror that flags and hookbuild.yaml name, flags first.
func mirrorOf(c *cli.Context, cfg *config.Config) (debian.Mirror, error) {
	archive, aerr := mirrorURL(c, "debian-mirror", cfg.Debian.Mirror)
	security, serr := mirrorURL(c, "debian-security-mirror", cfg.Debian.SecurityMirror)
	return debian.Mirror{Archive: archive, Security: security}, errors.Join(aerr, serr)
}

// mirrorURL is the flag's value, else that of hookbuild.yaml, which has been checked. A message does not repeat
// it: there may be a password in it.
func mirrorURL(c *cli.Context, flag, other string) (string, error) {
	v := c.String(flag)
	if v == "" {
		return other, nil
	}
	u, err := url.Parse(v)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", &usageError{fmt.Sprintf("--%s: want a base URL, http://HOST/PATH or https://HOST/PATH", flag)}
	}
	return v, nil
}

func (p *program) request(c *cli.Context, s settings, cfg *config.Config, f config.Flavor, hostArch string) (build.Request, error) {
	if err := checkPatterns(f); err != nil {
		return build.Request{}, err
	}
	epoch, err := p.sourceDateEpoch()
	if err != nil {
		return build.Request{}, err
	}
	vars, err := varsOf(c, cfg)
	if err != nil {
		return build.Request{}, err
	}
	if f.Initramfs, err = initramfsOf(c, f.Initramfs); err != nil {
		return build.Request{}, err
	}
	if f.Userland, err = userlandOf(c, f.Userland); err != nil {
		return build.Request{}, err
	}
	if c.IsSet("iso") {
		f.Outputs.ISO = c.Bool("iso")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // nobody need use ~
	}
	project := os.DirFS(s.project)
	return build.Request{
		Flavor: f, HostArch: hostArch, Suite: cfg.Debian.Suite, Epoch: epoch, Vars: vars, Home: home,
		Base: c.String("base"), Single: c.Bool("single-segment"), AllowLostCapabilities: c.Bool("allow-lost-capabilities"),
		LockFile: filepath.Join(s.project, resolve.LockName),
		LinuxKit: c.StringSlice("file"), Command: p.commandFor(c, f), Version: release, Project: project,
		Configs:   build.Overlay{Upper: sub(project, "kernel/configs"), Lower: configs.Files},
		Userland:  build.Overlay{Upper: sub(project, "userland"), Lower: userland.Files},
		BootSeeds: boot.Packages(f.Arch), Packages: userland.Packages,
	}, nil
}

// initramfsOf is what flags and flavor say, flags first. A level is one of its compression's.
func initramfsOf(c *cli.Context, i config.Initramfs) (config.Initramfs, error) {
	if v := c.String("compression"); v != "" {
		if !slices.Contains(config.Compressions(), v) {
			return i, &usageError{fmt.Sprintf("--compression %s: want %s", v, strings.Join(config.Compressions(), ", "))}
		}
		if v != i.Compression {
			i.Compression, i.Level = v, 0
		}
	}
	if v := c.String("max-ram"); v != "" {
		n, err := units.RAMInBytes(v)
		if err != nil || n <= 0 {
			return i, &usageError{fmt.Sprintf("--max-ram %s: want a size like 512M or 2G", v)}
		}
		i.MaxRAM = n
	}
	return i, nil
}

// checkPatterns refuses what would be found wrong only after the kernel has been compiled.
func checkPatterns(f config.Flavor) error {
	choice := modules.Selection{Include: f.Kernel.Modules.Include, Exclude: f.Kernel.Modules.Exclude}
	if err := errors.Join(choice.Validate(), modules.Firmware(f.Kernel.Firmware.Patterns()).Validate()); err != nil {
		return &usageError{fmt.Sprintf("flavor %s: %v", f.ID, err)}
	}
	return nil
}

// sub is a directory of the project, which need not be there.
func sub(project fs.FS, dir string) fs.FS {
	s, err := fs.Sub(project, dir)
	if err != nil { // an invalid path only
		panic(err)
	}
	return s
}

// sourceDateEpoch reads https://reproducible-builds.org/specs/source-date-epoch/; 0 is not set.
func (p *program) sourceDateEpoch() (int64, error) {
	v := p.Getenv("SOURCE_DATE_EPOCH")
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n <= 0 || n > 1<<32-1 {
		return 0, &usageError{fmt.Sprintf("SOURCE_DATE_EPOCH=%s: want seconds since 1970, 1 to %d", v, uint32(1<<32-1))}
	}
	return n, nil
}

// userlandOf is what flags say in place of hookbuild.yaml. Paths of flags are relative to the working directory.
func userlandOf(c *cli.Context, u config.Userland) (config.Userland, error) {
	u.EKSABundle = cmp.Or(c.String("eksa-bundle"), u.EKSABundle)
	u.AgentImage = cmp.Or(c.String("agent-image"), u.AgentImage)
	if scheme, _, ok := strings.Cut(u.EKSABundle, "://"); ok && !config.IsURL(u.EKSABundle) {
		return u, &usageError{fmt.Sprintf("--eksa-bundle: cannot fetch from %s://: want http://, https:// or a path", scheme)}
	}
	return u, nil
}

// varsOf merges the variables of hookbuild.yaml and of --var, which goes before.
func varsOf(c *cli.Context, cfg *config.Config) (map[string]string, error) {
	vars := map[string]string{}
	for name, value := range cfg.Vars {
		vars[name] = value
	}
	for _, v := range c.StringSlice("var") {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return nil, &usageError{fmt.Sprintf("--var %s: want NAME=VALUE", v)}
		}
		if err := config.CheckVar(name); err != nil {
			return nil, &usageError{fmt.Sprintf("--var %s: %v", v, err)}
		}
		vars[name] = value
	}
	return vars, nil
}

// commandFor is the command that builds the same again, given the same project, as a line for a POSIX shell.
func (p *program) commandFor(c *cli.Context, f config.Flavor) string {
	words := []string{"hookbuild", "linuxkit", f.ID}
	if base := c.String("base"); base != "" {
		words = append(words, "--base", filepath.Base(base))
	}
	for _, file := range c.StringSlice("file") {
		words = append(words, "-f", filepath.Base(file))
	}
	for _, v := range c.StringSlice("var") {
		words = append(words, "--var", v)
	}
	if len(words) == 3 {
		words[1] = "all"
	}
	if v := c.String("compression"); v != "" {
		words = append(words, "--compression", v)
	}
	if v := c.String("eksa-bundle"); v != "" {
		if !config.IsURL(v) {
			v = filepath.Base(v)
		}
		words = append(words, "--eksa-bundle", download.Redacted(v))
	}
	if v := c.String("agent-image"); v != "" {
		words = append(words, "--agent-image", v)
	}
	if c.Bool("iso") {
		words = append(words, "--iso")
	} else if c.IsSet("iso") {
		words = append(words, "--iso=false")
	}
	if c.Bool("single-segment") {
		words = append(words, "--single-segment")
	}
	for i, w := range words {
		words[i] = quoted(w)
	}
	if epoch := p.Getenv("SOURCE_DATE_EPOCH"); epoch != "" { // which comes before the lock's
		words = slices.Insert(words, 0, "SOURCE_DATE_EPOCH="+quoted(epoch))
	}
	return strings.Join(words, " ")
}

// plainWord is what a POSIX shell takes literally.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quoted is a word as a POSIX shell reads it.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// moduleVersion is the version of a Go module in this program.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return ""
}
