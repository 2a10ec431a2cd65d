package build

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/resolve"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// hookYAML is the composition of most tests.
const hookYAML = `kernel:
  image: "${HOOK_KERNEL}"
  cmdline: "console=ttyS0 ${MORE}"
init:
  - build:init
services:
  - name: dhcp
    image: build:dhcp
    command: ["/bin/dhcp"]
`

// project is a project directory with a lock that fits the flavor.
type project struct {
	*testing.T
	dir string
	req Request
	pkg *Packages
}

// newProject has a compiled flavor, two components and no mirror.
func newProject(t *testing.T) *project {
	t.Helper()
	dir := t.TempDir()
	userland := fstest.MapFS{
		"hook.yaml":       text(hookYAML),
		"init/Dockerfile": text("FROM scratch\n"), "init/packages": text("busybox-static"),
		"dhcp/Dockerfile": text("FROM scratch\n"), "dhcp/packages": text("udhcpc"),
		"unused/Dockerfile": text("FROM scratch\n"), "bare/script": text(""),
	}
	p := &project{T: t, dir: dir, pkg: &Packages{Client: &debian.Client{CacheDir: filepath.Join(dir, "cache"), Offline: true}}}
	p.req = Request{
		Flavor: config.Flavor{
			ID: "hook-default-amd64", Arch: plan.X8664, Kernel: config.Kernel{Method: config.MethodSource, Series: "6.12", Source: config.Source{Kind: config.SourceDebian}, Config: "generic"},
			Initramfs: config.Initramfs{Compression: "gzip", Level: 1},
		},
		HostArch: "amd64", Suite: "trixie", LockFile: filepath.Join(dir, resolve.LockName), Vars: map[string]string{"MORE": "quiet", "A": "b"},
		Command: "hookbuild all hook-default-amd64", Version: "0.1.0", BootSeeds: []string{"qemu-system-x86"},
		Project: os.DirFS(dir), Configs: fstest.MapFS{"generic-6.12.y-x86_64": text("CONFIG_64BIT=y\n")}, Userland: userland,
		Packages: func(fsys fs.FS, component string) (seeds, exclude []string, err error) {
			data, err := fs.ReadFile(fsys, component+"/packages")
			return strings.Fields(string(data)), nil, err
		},
	}
	p.relock()
	return p
}

// lock writes a lock that fits the flavor with these components. Every set has one package of its name.
func (p *project) lock(components ...resolve.Component) {
	p.Helper()
	e := resolve.Entry{Debian: []plan.Index{{Suite: "trixie", Date: "2026-09-06T10:00:00Z", SHA256: "aa"}}}
	for _, r := range resolve.Requests(p.req.Flavor, p.req.HostArch, components, p.req.BootSeeds) {
		name := strings.ReplaceAll(r.Name, "/", "-")
		e.Sets = append(e.Sets, resolve.Set{Request: r, Packages: []debian.Package{packageOf(name, name)}})
	}
	lock := resolve.Lock{Schema: 1, Flavors: map[string]resolve.Entry{p.req.Flavor.ID: e}}
	if err := lock.Write(p.req.LockFile); err != nil {
		p.Fatal(err)
	}
}

// file writes a file of the project's and returns its path.
func (p *project) file(name, content string) string {
	p.Helper()
	file := filepath.Join(p.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
		p.Fatal(err)
	}
	return file
}

// job prepares, which must work.
func (p *project) job() *Job {
	p.Helper()
	j, err := Prepare(p.Context(), p.req, p.pkg)
	if err != nil {
		p.Fatal(err)
	}
	return j
}

func TestPrepare(t *testing.T) {
	p := newProject(t)
	j := p.job()
	if string(j.Kernel.Config) != "CONFIG_64BIT=y\n" || j.Plan.Kernel.Config != hexSum(j.Kernel.Config) {
		t.Errorf("got config %q, %s", j.Kernel.Config, j.Plan.Kernel.Config)
	}
	if j.Spec.Cmdline() != "console=ttyS0 quiet" || j.Lock.Written || j.Version != "0.1.0" || j.Command != p.req.Command {
		t.Errorf("got %+v", j)
	}
	if diff := cmp.Diff([]plan.Source{{Name: "hook.yaml", SHA256: hexSum([]byte(hookYAML))}}, j.Plan.LinuxKit); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]plan.Var{{Name: "A", Value: "b"}, {Name: "MORE", Value: "quiet"}}, j.Plan.Vars); diff != "" {
		t.Error(diff)
	}
	var names []string
	for i, c := range j.Components {
		names = append(names, c.Name+" "+strings.Join(c.Seeds, ","))
		if u := j.Plan.Userland[i]; u.Name != c.Name || u.SHA256 != c.SHA256 || len(u.SHA256) != 64 {
			t.Errorf("%s: got %+v in the plan", c.Name, u)
		}
	}
	if want := []string{"dhcp udhcpc", "init busybox-static"}; !slices.Equal(names, want) {
		t.Errorf("got components %q, want %q", names, want)
	}
	var sets []string
	for _, s := range j.Plan.Packages {
		sets = append(sets, s.Name)
	}
	if want := []string{"base", "kernel", "toolchain", "userland/dhcp", "userland/init"}; !slices.Equal(sets, want) {
		t.Errorf("got sets %q, want %q", sets, want)
	}
}

func TestPlanIDSeesEveryInput(t *testing.T) {
	own := func(p *project) { // a YAML of the user's with a file beside it
		p.file("motd", "hello\n")
		p.req.LinuxKit = []string{p.file("my.yaml", hookYAML+"files:\n  - path: etc/motd\n    source: motd\n")}
	}
	seen := map[string]string{}
	for _, c := range []struct {
		name   string
		change func(p *project)
	}{
		{"nothing", func(*project) {}},
		{"kernel config", func(p *project) { p.req.Configs = fstest.MapFS{"generic-6.12.y-x86_64": text("CONFIG_64BIT=n\n")} }},
		{"a file of a component", func(p *project) { p.req.Userland.(fstest.MapFS)["dhcp/script"] = text("x") }},
		{"the YAML", func(p *project) { p.req.Userland.(fstest.MapFS)["hook.yaml"] = text(hookYAML + "\n# more\n") }},
		{"a variable", func(p *project) { p.req.Vars["MORE"] = "debug" }},
		{"the version", func(p *project) { p.req.Version = "0.1.1" }},
		{"the epoch", func(p *project) { p.req.Epoch = 1 }},
		{"the compression", func(p *project) { p.req.Flavor.Initramfs.Level = 9 }},
		{"a YAML of the user's", own},
		{"the file that it names", func(p *project) { own(p); p.file("motd", "hallo\n") }},
		{"without that file", func(p *project) { own(p); os.Remove(filepath.Join(p.dir, "motd")) }},
	} {
		p := newProject(t)
		c.change(p)
		id := p.job().Plan.ID()
		if as, ok := seen[id]; ok {
			t.Errorf("%s: the plan of %s", c.name, as)
		}
		seen[id] = c.name
	}
	p := newProject(t)
	p.req.Userland.(fstest.MapFS)["unused/Dockerfile"] = text("FROM other\n")
	p.req.BootSeeds, p.req.Command = []string{"qemu-system-x86"}, "hookbuild linuxkit"
	if as := seen[p.job().Plan.ID()]; as != "nothing" {
		t.Errorf("what does not enter changes the plan (%q), as does another directory", as)
	}
}

func TestSeveralYAMLs(t *testing.T) {
	p := newProject(t)
	a := p.file("x/a.yaml", hookYAML)
	b := p.file("y/b.yaml", "kernel:\n  cmdline: \"from b\"\nonboot:\n  - name: again\n    image: build:init\n    command: [\"/x\"]\n")
	p.req.LinuxKit = []string{a, b}
	j := p.job()
	if j.Spec.Cmdline() != "from b" {
		t.Errorf("got cmdline %q", j.Spec.Cmdline())
	}
	var names []string
	for _, s := range j.Plan.LinuxKit {
		names = append(names, s.Name)
	}
	if !slices.Equal(names, []string{"a.yaml", "b.yaml"}) {
		t.Errorf("got sources %q", names)
	}
	p.req.LinuxKit = []string{b, a}
	back := p.job()
	if back.Spec.Cmdline() != "console=ttyS0 quiet" || back.Plan.ID() == j.Plan.ID() {
		t.Errorf("the other order: got cmdline %q", back.Spec.Cmdline())
	}
	p.req.LinuxKit, p.req.Flavor.Userland.LinuxKit = nil, []string{a, b}
	if p.job().Plan.ID() != j.Plan.ID() {
		t.Error("the flavor's own list makes another plan than -f")
	}
}

func TestBinaryKernelHasNoConfig(t *testing.T) {
	p := newProject(t)
	p.req.Flavor.Kernel = config.Kernel{Method: config.MethodDebian, Series: "6.12"}
	p.req.Configs = fstest.MapFS{}
	p.lock(resolve.Component{Name: "dhcp", Seeds: []string{"udhcpc"}}, resolve.Component{Name: "init", Seeds: []string{"busybox-static"}})
	if j := p.job(); j.Kernel.Config != nil || j.Kernel.Asked != nil || j.Plan.Kernel.Config != "" || j.Plan.Kernel.Method != "debian" {
		t.Errorf("got %+v, %+v", j.Kernel, j.Plan.Kernel)
	}
}

func TestPrepareRefuses(t *testing.T) {
	image := func(ref string) func(p *project) {
		return func(p *project) {
			p.req.LinuxKit = []string{p.file("my.yaml", fmt.Sprintf("init:\n  - %q\n", ref))}
		}
	}
	for _, c := range []struct {
		name   string
		change func(p *project)
		want   string
	}{
		{"no kernel config", func(p *project) { p.req.Configs = fstest.MapFS{} }, "there is no kernel/configs/generic-6.12.y-x86_64"},
		{"no YAML", func(p *project) { p.req.LinuxKit = []string{filepath.Join(p.dir, "none.yaml")} }, "none.yaml"},
		{"a component that is not there", image("build:nonsense"), "there is no userland/nonsense/Dockerfile"},
		{"a component without a Dockerfile", image("build:bare"), "there is no userland/bare/Dockerfile"},
		{"a way out", image("build:../init"), `"../init" is no name`},
		{"an absolute path", image("build:/init"), `"/init" is no name`},
		{"a way round", image("build:dhcp/../init"), "is no name"},
		{"a layout of what is built here", func(p *project) {
			p.req.LinuxKit = []string{p.file("my.yaml", "volumes: [{name: v, image: \"build:init\", format: oci}]\n")}
		}, "a volume of format oci cannot hold build:init"},
		{"this directory", image("build:."), `"." is no name`},
		{"no name", image("build:"), `"" is no name`},
		{"what a tag cannot hold", image("build:a@b"), "is no name"},
		{"a list of packages with a fault", func(p *project) {
			p.req.Packages = func(fs.FS, string) ([]string, []string, error) { return nil, nil, errors.New("dhcp/packages:1: no") }
		}, "dhcp/packages:1: no"},
		{"a source that is a directory", func(p *project) {
			p.req.LinuxKit = []string{p.file("my.yaml", "files:\n  - path: a\n    source: .\n")}
		}, "is a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			c.change(p)
			_, err := Prepare(t.Context(), p.req, p.pkg)
			var bad *InputError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an *InputError with %q", err, c.want)
			}
		})
	}
}

func TestPrepareShowsYAMLFaultsWithTheirPlace(t *testing.T) {
	p := newProject(t)
	for want, content := range map[string]string{
		"my.yaml:2:3":    "kernel:\n  imag: x\n",
		"my.yaml:1:":     "init: [\"build:${NOT_THERE}\"]\n",
		"NOT_THERE":      "init: [\"build:${NOT_THERE}\"]\n",
		"exists already": "services:\n  - {name: a, image: x}\n  - {name: a, image: x}\n",
	} {
		p.req.LinuxKit = []string{p.file("my.yaml", content)}
		_, err := Prepare(t.Context(), p.req, p.pkg)
		var faults strictyaml.Errors
		if !errors.As(err, &faults) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want faults with %q", err, want)
		}
	}
	p.req.LinuxKit = nil
	p.req.Userland = fstest.MapFS{"hook.yaml": text("- x")}
	if _, err := Prepare(t.Context(), p.req, p.pkg); err == nil || !strings.Contains(err.Error(), "userland/hook.yaml:1") {
		t.Errorf("the embedded one: got %v", err)
	}
	p.req.Userland = fstest.MapFS{}
	if _, err := Prepare(t.Context(), p.req, p.pkg); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: got %v", err)
	}
}

func TestPrepareChecksTheLock(t *testing.T) {
	p := newProject(t)
	p.req.Userland.(fstest.MapFS)["dhcp/packages"] = text("udhcpc tzdata")
	_, err := Prepare(t.Context(), p.req, p.pkg)
	var bad *resolve.LockError
	if !errors.As(err, &bad) || bad.Hint != "hookbuild lock hook-default-amd64" {
		t.Errorf("got %v", err)
	}
	p.req.Refresh = true
	p.pkg.Client.Now = time.Now
	var offline *download.OfflineError
	if _, err := Prepare(t.Context(), p.req, p.pkg); !errors.As(err, &offline) {
		t.Errorf("refresh: got %v, want the mirror to be asked", err)
	}
}

func TestSortedVars(t *testing.T) {
	vars := map[string]string{}
	for _, name := range strings.Split("qwertyuiopasdfghjkl", "") {
		vars[name] = name
	}
	var got []string
	for _, v := range sortedVars(vars) {
		got = append(got, v.Name)
	}
	if !slices.Equal(got, slices.Sorted(maps.Keys(vars))) {
		t.Errorf("got %q", got)
	}
}

func TestComponentsElsewhere(t *testing.T) {
	p := newProject(t)
	p.lock(resolve.Component{Name: "tools/ntp", Seeds: []string{"chrony"}})
	p.file("tools/ntp/Dockerfile", "FROM scratch\n")
	p.file("tools/ntp/packages", "chrony")
	p.file("tools/bare/Dockerfile", "FROM scratch\n")
	p.req.LinuxKit = []string{p.file("my.yaml", "init: [\"build:tools/ntp\", \"build:./tools/bare/\"]\n")}
	j := p.job()
	if len(j.Components) != 2 || j.Components[0].Name != "tools/bare" || j.Components[0].Ref != "build:./tools/bare/" || len(j.Components[0].Seeds) != 0 ||
		j.Components[1].Name != "tools/ntp" || len(j.Components[1].Seeds) != 1 {
		t.Fatalf("got %+v", j.Components)
	}
	before := j.Plan.ID()
	p.file("tools/bare/Dockerfile", "FROM scratch\nCOPY x /\n")
	if p.job().Plan.ID() == before {
		t.Error("another content has the same plan")
	}
}
