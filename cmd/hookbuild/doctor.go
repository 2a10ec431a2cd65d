package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/artifacts/serve"
	"github.com/hookbuild/hookbuild/internal/artifacts/serve/page"
	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/boot"
	"github.com/hookbuild/hookbuild/internal/cachedir"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/doctor"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// How long doctor takes at most. What it asks is given up early enough that the answer can say so itself, and the
// machine that tries KVM earlier still, since its container has to be removed.
const (
	doctorTotal  = 10 * time.Second
	doctorAnswer = 8 * time.Second
	doctorKVM    = 5 * time.Second
	doctorQuiet  = 2 * time.Second // before it says what it waits for
)

func (p *program) doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "say whether this host is ready: engine, cache, mirrors, registries, proxies, clock, ports, KVM, terminal",
		Description: "Each line is ok, a warning or an error, with what to do. The exit code is 3 where there is an error; warnings do not change it.\n" +
			"All checks run side by side and take 10 s at most: what does not answer by then is a line of its own.\n\n" +
			"Example:\n" +
			"  hookbuild doctor\n" +
			"  hookbuild doctor --json --project site --listen :8090",
		Flags: append(commonFlags(),
			&cli.StringFlag{Name: "debian-mirror", Usage: "base `URL` of a Debian mirror (default: debian.mirror of hookbuild.yaml, else what the host's apt uses)"},
			&cli.StringFlag{Name: "debian-security-mirror", Usage: "base `URL` of a mirror of Debian's security archive"},
			&cli.StringFlag{Name: "listen", Value: ":8080", Usage: "`ADDRESS` that hookbuild serve is to listen on"},
		),
		Action: p.doctor,
	}
}

// unreadyError says that there are errors; what they are has been shown.
type unreadyError struct{ checks []string }

func (e *unreadyError) Error() string {
	return "this host is not ready: " + strings.Join(e.checks, ", ")
}

// patient is what the checks of one run look at.
type patient struct {
	settings
	*program
	c      *cli.Context
	config *config.Config // the built-in one where hookbuild.yaml is wrong
	lock   *resolve.Lock  // empty where hookbuild.lock is wrong
	files  []doctor.Finding
}

func (p *program) doctor(c *cli.Context) error {
	if err := noMore(c, 0); err != nil {
		return err
	}
	s, err := p.settings(c)
	if err != nil {
		return err
	}
	x := &patient{settings: s, program: p, c: c}
	if err := x.read(); err != nil {
		return err
	}
	slow := func(names []string) {
		if s.progress != progressJSON {
			fmt.Fprintf(p.Stderr, "waiting for %s\n", strings.Join(names, ", "))
		}
	}
	found, err := doctor.Run(c.Context, doctor.Limits{Answer: doctorAnswer, Total: doctorTotal, Quiet: doctorQuiet, Slow: slow}, x.checks())
	if err != nil {
		return err
	}
	if err := p.showFindings(s, found); err != nil {
		return err
	}
	return unready(found)
}

func unready(found []doctor.Finding) error {
	var failed []string
	for _, f := range found {
		if f.State == doctor.Error && !slices.Contains(failed, f.Check) {
			failed = append(failed, f.Check)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return &unreadyError{failed}
}

// read reads hookbuild.yaml and the lock. What is wrong with them is a finding, and the rest is looked at all the same.
func (x *patient) read() (err error) {
	ok := func(name, detail string) {
		x.files = append(x.files, doctor.Finding{Check: name, State: doctor.OK, Detail: detail})
	}
	if x.config, err = x.settings.config(); err != nil {
		x.files = append(x.files, doctor.Finding{Check: "hookbuild.yaml", State: doctor.Error, Detail: err.Error(), Hint: "docs/config.md has its keys; the other checks go by the built-in settings"})
		if x.config, err = config.Load("", nil); err != nil {
			return err
		}
	} else if _, err := os.Stat(filepath.Join(x.project, "hookbuild.yaml")); err == nil {
		ok("hookbuild.yaml", "can be read")
	}
	file := filepath.Join(x.project, resolve.LockName)
	if x.lock, err = resolve.ReadLock(file); err != nil {
		x.files = append(x.files, doctor.Finding{Check: resolve.LockName, State: doctor.Error, Detail: err.Error(), Hint: cmp.Or(hint(err), "take the last good one from version control, or delete it and run hookbuild lock")})
		x.lock = &resolve.Lock{}
	} else if len(x.lock.Flavors) > 0 {
		ok(resolve.LockName, "pins "+strings.Join(slices.Sorted(maps.Keys(x.lock.Flavors)), ", "))
	} else {
		ok(resolve.LockName, "is not there yet; the first build writes it")
	}
	return nil
}

func (x *patient) checks() []doctor.Check {
	proc := os.DirFS("/proc")
	return []doctor.Check{
		{Name: "project", Run: func(context.Context) []doctor.Finding { return x.files }},
		{Name: "engine", Late: doctor.Error, Hint: engineHint, Run: x.engine},
		{Name: "cache", Late: doctor.Error, Hint: "the file system that it is on does not answer; name another directory with --cache-dir", Run: x.cacheDir},
		{Name: "mirror", Late: doctor.Error, Run: x.mirrors},
		{Name: "registries", Late: doctor.Error, Run: x.registries},
		{Name: "proxy", Run: x.proxies},
		{Name: "serve", Run: func(ctx context.Context) []doctor.Finding {
			return doctor.Listen(ctx, x.c.String("listen"), proc, func(text string) bool { return strings.Contains(text, page.Title) })
		}},
		{Name: "eks-anywhere", Run: func(context.Context) []doctor.Finding { return doctor.Ports(proc, eksaPorts()) }},
		{Name: "kvm", Run: x.kvm},
		{Name: "terminal", Run: func(context.Context) []doctor.Finding { return []doctor.Finding{x.terminal()} }},
	}
}

// eksaPorts are those of the server's own list, and one that it may have.
func eksaPorts() []doctor.Port {
	ports := []doctor.Port{{Network: "tcp", Number: 443, Reason: "a local registry for air-gapped clusters, or cluster services behind HTTPS"}}
	for _, p := range serve.Ports() {
		ports = append(ports, doctor.Port{Network: p.Network, Number: p.Number, Reason: p.Reason})
	}
	slices.SortStableFunc(ports, func(a, b doctor.Port) int {
		return cmp.Or(cmp.Compare(b.Network, a.Network), cmp.Compare(a.Number, b.Number))
	})
	return ports
}

func (x *patient) engine(ctx context.Context) (found []doctor.Finding) {
	fail := func(err error) []doctor.Finding {
		return []doctor.Finding{{Check: "engine", State: doctor.Error, Detail: err.Error(), Hint: cmp.Or(hint(err), engineHint)}}
	}
	e, err := x.connect(ctx)
	if err != nil {
		return fail(err)
	}
	defer e.Close() // nothing was written
	info, err := e.Info(ctx)
	if err != nil {
		return fail(err)
	}
	about := doctor.Engine{
		Version: info.Version, API: info.API, Arch: e.Arch(), Host: info.Host, Driver: info.Driver, Containerd: info.Containerd,
		Root: info.Root, Memory: info.Memory, CPUs: info.CPUs,
	}
	about.Remote = !info.Socket
	if host, err := os.Hostname(); info.Socket && err == nil {
		about.Remote = info.Name != host // a socket may be forwarded, or lead into a virtual machine
	}
	if !about.Remote {
		about.Disk, _ = doctor.DiskOf(info.Root) // where it cannot be seen it is not known
	}
	about.BuildKitIs, about.BuildKit = e.BuildKit(ctx)
	ours, _ := doctor.OurProxies(x.Getenv)
	theirs := doctor.Proxies{HTTP: info.HTTPProxy, HTTPS: info.HTTPSProxy, No: info.NoProxy}
	return slices.Concat(about.Findings(), ours.Against(theirs, x.hosts()))
}

// hosts are the registries that the configuration names, HOST[:PORT].
func (x *patient) hosts() []string {
	hosts := slices.Sorted(maps.Keys(x.config.Registries))
	if repository, _, ok := strings.Cut(x.config.KernelRepository, "/"); ok && !slices.Contains(hosts, repository) {
		hosts = append(hosts, repository)
	}
	return hosts
}

func (x *patient) cacheDir(ctx context.Context) []doctor.Finding {
	dir, err := x.program.cacheDir(x.settings, x.config)
	if err != nil {
		return []doctor.Finding{{Check: "cache", State: doctor.Error, Detail: err.Error(), Hint: "name a directory with --cache-dir"}}
	}
	limit, err := cacheLimit(x.c, x.config)
	if err != nil {
		return []doctor.Finding{{Check: "cache", State: doctor.Error, Detail: err.Error()}}
	}
	return doctor.Cache(ctx, dir, limit, dirSize)
}

// dirSize is how many bytes the cache takes.
func dirSize(ctx context.Context, dir string) (total int64, err error) {
	entries, err := cachedir.List(ctx, dir)
	for _, e := range entries {
		total += e.Bytes
	}
	return total, err
}

// registries asks all registries side by side.
func (x *patient) registries(ctx context.Context) []doctor.Finding {
	const name = "registries"
	hosts := x.hosts()
	switch {
	case len(hosts) == 0:
		return []doctor.Finding{{Check: name, State: doctor.OK, Detail: "hookbuild.yaml names none, and none is needed"}}
	case x.offline:
		return []doctor.Finding{{Check: name, State: doctor.OK, Detail: "not asked: --offline"}}
	}
	client, err := x.registryClient(x.settings, x.config)
	if err != nil {
		return []doctor.Finding{{Check: name, State: doctor.Error, Detail: err.Error()}}
	}
	answers := make([]chan []doctor.Finding, len(hosts))
	for n, host := range hosts {
		answers[n] = make(chan []doctor.Finding, 1)
		go func() {
			reached, err := client.Ping(ctx, host)
			var found []doctor.Finding
			if err != nil {
				found = append(found, doctor.Finding{Check: name, State: doctor.Error, Detail: err.Error()})
			}
			for _, r := range reached {
				f := doctor.Finding{Check: name, State: doctor.OK, Detail: r.Host + " answers"}
				if r.Err != nil {
					f.State, f.Detail = doctor.Error, r.Err.Error()
					f.Hint = "compare it with registries of hookbuild.yaml (plain_http, ca, mirror), and with the proxy settings"
				}
				found = append(found, f)
			}
			answers[n] <- found
		}()
	}
	var found []doctor.Finding
	for _, a := range answers {
		found = append(found, <-a...)
	}
	return found
}

func (x *patient) proxies(context.Context) []doctor.Finding {
	ours, found := doctor.OurProxies(x.Getenv)
	engineHost := ""
	if u, err := url.Parse(x.Getenv("DOCKER_HOST")); err == nil && (u.Scheme == "tcp" || u.Scheme == "https") {
		engineHost = u.Host
	}
	return append(found, ours.Findings(engineHost)...)
}

// kvm tries a machine in QEMU where the engine holds hookbuild's image with it, else looks for the device only.
func (x *patient) kvm(ctx context.Context) []doctor.Finding {
	const name, slow = "kvm", "hookbuild boot emulates the machine instead, which takes minutes; the verdict is as good"
	ctx, cancel := context.WithTimeout(ctx, doctorKVM)
	defer cancel()
	e, err := x.connect(ctx)
	if err == nil {
		defer e.Close() // nothing was written
		image, arch := x.bootImage(ctx, e)
		if image != "" {
			ok, why, err := boot.ProbeKVM(ctx, e, image, arch, "")
			switch {
			case err != nil:
				return []doctor.Finding{{Check: name, State: doctor.Warning, Detail: fmt.Sprintf("/dev/kvm opens, but nothing executed within %s", doctorKVM), Hint: slow}}
			case ok:
				return []doctor.Finding{{Check: name, State: doctor.OK, Detail: "a machine runs under it"}}
			}
			return []doctor.Finding{{Check: name, State: doctor.Warning, Detail: why, Hint: slow}}
		}
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return []doctor.Finding{{Check: name, State: doctor.Warning, Detail: err.Error(), Hint: slow}}
	}
	f.Close() // nothing was written
	return []doctor.Finding{{Check: name, State: doctor.OK, Detail: "/dev/kvm opens on this machine; the first hookbuild boot says whether machines run under it"}}
}

// bootImage is an image with QEMU for the engine's architecture that it holds, "" for none.
func (x *patient) bootImage(ctx context.Context, e *engine.Engine) (string, plan.Arch) {
	arch, err := plan.ParseArch(e.Arch())
	if err != nil {
		return "", ""
	}
	for _, id := range slices.Sorted(maps.Keys(x.lock.Flavors)) {
		set, ok := x.lock.Flavors[id].Find(resolve.BootSet)
		if flavor, err := x.config.Flavor(id); !ok || err != nil || flavor.Arch != arch {
			continue
		}
		ref := base.Set{Name: set.Name, Arch: set.Arch, Packages: set.Packages}.Ref()
		if has, err := e.Has(ctx, ref); err == nil && has {
			return ref, arch
		}
	}
	return "", ""
}

func (x *patient) terminal() doctor.Finding {
	t := doctor.Terminal{
		Term: x.Getenv("TERM"), NoColor: x.Getenv("NO_COLOR") != "",
		Locale: cmp.Or(x.Getenv("LC_ALL"), x.Getenv("LC_CTYPE"), x.Getenv("LANG"), "C"),
	}
	if screen := x.screen(); screen != nil {
		size := sizeOf(screen)
		t.There, t.Columns, t.Rows = true, size.Columns, size.Rows
	}
	return t.Finding()
}

// showFindings prints the report.
func (p *program) showFindings(s settings, found []doctor.Finding) error {
	if s.json {
		return p.printJSON(map[string]any{
			"checks": found, "errors": doctor.Count(found, doctor.Error), "warnings": doctor.Count(found, doctor.Warning),
			"ready": doctor.Count(found, doctor.Error) == 0,
		})
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, f := range found {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.State, f.Check, oneLine(f.Detail))
		if f.Hint != "" {
			fmt.Fprintf(w, "\t\t→ %s\n", oneLine(f.Hint))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(&text, "\n%s, %s\n", countOf(doctor.Count(found, doctor.Error), "error"), countOf(doctor.Count(found, doctor.Warning), "warning"))
	_, err := io.WriteString(p.Stdout, text.String())
	return err
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
