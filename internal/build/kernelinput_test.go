package build

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/kconfig"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// full is the head of a complete .config.
const full = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.12.9 Kernel Configuration\n#\n"

// kernelConfigs are built-in ones.
func kernelConfigs(base string) fstest.MapFS {
	return fstest.MapFS{
		"generic-6.12.y-x86_64":    text(base),
		"optional/debug.config":    text("CONFIG_DEBUG=y\n"),
		"optional/hardened.config": text("CONFIG_HARD=built-in\n"),
	}
}

// asked are lines with their origins, paths of the project shortened.
func (p *project) asked(lines []kconfig.Line) []string {
	var all []string
	for _, l := range lines {
		all = append(all, strings.TrimPrefix(l.String(), p.dir+"/"))
	}
	return all
}

func TestFragmentsInOrder(t *testing.T) {
	p := newProject(t)
	p.req.Configs = kernelConfigs("CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\nCONFIG_D=y\nCONFIG_E=y\n")
	p.file("kernel/configs/fragments/20-b.config", "CONFIG_B=m\nCONFIG_C=20\nCONFIG_D=20\nCONFIG_E=20\n")
	p.file("kernel/configs/fragments/10-a.config", "# CONFIG_A is not set\nCONFIG_B=10\n")
	p.file("kernel/configs/fragments/30-x.x86_64.config", "CONFIG_X=y\n")
	p.file("kernel/configs/fragments/30-y.amd64.config", "CONFIG_Y=y\n")
	p.file("kernel/configs/fragments/30-z.aarch64.config", "CONFIG_Z=y\n")
	p.file("kernel/configs/fragments/30-z.arm64.config", "CONFIG_Z=y\n")
	p.file("kernel/configs/fragments/40-linux-6.12.config", "CONFIG_V=y\n")
	p.file("kernel/configs/fragments/README", "not a fragment")
	p.file("kernel/configs/fragments/sub/other.config", "CONFIG_SUB=y\n")
	p.req.Flavor.Kernel.Fragments = []string{p.file("mine/second.config", "CONFIG_C=2\nCONFIG_D=2\nCONFIG_E=2\n"), p.file("mine/first.config", "CONFIG_D=1\nCONFIG_E=1\n")}
	p.req.Flavor.Kernel.Set = []config.Setting{
		{Name: "CMDLINE", Value: "a b", Pos: "hookbuild.yaml:7:5"}, {Name: "E", Value: "0", Pos: "hookbuild.yaml:8:5"}, {Name: "F", Value: "n", Pos: "hookbuild.yaml:9:5"},
	}
	j := p.job()
	const want = "# CONFIG_A is not set\nCONFIG_B=m\nCONFIG_C=2\nCONFIG_D=1\nCONFIG_E=0\nCONFIG_X=y\nCONFIG_Y=y\nCONFIG_V=y\nCONFIG_CMDLINE=\"a b\"\n# CONFIG_F is not set\n"
	if diff := cmp.Diff(want, string(j.Kernel.Config)); diff != "" {
		t.Error(diff)
	}
	origins := []string{
		"kernel/configs/fragments/10-a.config:1: CONFIG_A=n", "kernel/configs/fragments/20-b.config:1: CONFIG_B=m", "mine/second.config:1: CONFIG_C=2",
		"mine/first.config:1: CONFIG_D=1", "hookbuild.yaml:8:5: CONFIG_E=0", "kernel/configs/fragments/30-x.x86_64.config:1: CONFIG_X=y",
		"kernel/configs/fragments/30-y.amd64.config:1: CONFIG_Y=y", "kernel/configs/fragments/40-linux-6.12.config:1: CONFIG_V=y",
		`hookbuild.yaml:7:5: CONFIG_CMDLINE="a b"`, "hookbuild.yaml:9:5: CONFIG_F=n",
	}
	if diff := cmp.Diff(origins, p.asked(j.Kernel.Asked)); diff != "" {
		t.Error(diff)
	}
	if j.Plan.Kernel.Config != hexSum([]byte(want)) {
		t.Errorf("got %s in the plan", j.Plan.Kernel.Config)
	}

	p.req.Flavor.Arch = plan.AArch64
	p.req.Configs.(fstest.MapFS)["generic-6.12.y-aarch64"] = text("CONFIG_A=y\n")
	k, err := readKernel(p.req)
	if err != nil || !strings.Contains(string(k.Config), "CONFIG_Z=y\n") || strings.Contains(string(k.Config), "CONFIG_X") || strings.Contains(string(k.Config), "CONFIG_Y") {
		t.Errorf("for arm: got %s, %v", k.Config, err)
	}
}

// Of a configuration that somebody wrote all lines are wishes, of one that Kconfig wrote none.
func TestAsked(t *testing.T) {
	for _, c := range []struct{ name, base, want string }{
		{"what savedefconfig writes", "CONFIG_A=y\n# CONFIG_B is not set\n", "kernel/configs/generic-6.12.y-x86_64:1: CONFIG_A=y,kernel/configs/generic-6.12.y-x86_64:2: CONFIG_B=n,mine.config:1: CONFIG_C=m"},
		{"a complete .config", full + "CONFIG_A=y\n# CONFIG_B is not set\n", "mine.config:1: CONFIG_C=m"},
		{"an empty one", "", "mine.config:1: CONFIG_C=m"},
	} {
		p := newProject(t)
		p.req.Configs = kernelConfigs(c.base)
		p.req.Flavor.Kernel.Fragments = []string{p.file("mine.config", "CONFIG_C=m\n")}
		k := p.job().Kernel
		if diff := cmp.Diff(c.want, strings.Join(p.asked(k.Asked), ",")); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if string(k.Base.Data) != c.base || k.Base.Name != "generic-6.12.y-x86_64" || len(k.Base.Over) != 1 {
			t.Errorf("%s: got %+v", c.name, k.Base)
		}
	}
}

func TestFragmentsByName(t *testing.T) {
	p := newProject(t)
	p.file("kernel/configs/fragments/site.x86_64.config", "CONFIG_SITE=y\n")
	p.req.Configs = Overlay{Upper: os.DirFS(filepath.Join(p.dir, "kernel/configs")), Lower: kernelConfigs("CONFIG_A=y\n")}
	for name, want := range map[string]string{
		"debug.config": "CONFIG_DEBUG=y\n", "debug": "CONFIG_DEBUG=y\n", "site.x86_64": "CONFIG_SITE=y\n", "site.x86_64.config": "CONFIG_SITE=y\n",
	} {
		p.req.Flavor.Kernel.Fragments = []string{filepath.Join(p.dir, name)}
		if k := p.job().Kernel; !strings.Contains(string(k.Config), want) {
			t.Errorf("%s: got %q", name, k.Config)
		}
	}
	p.req.Flavor.Kernel.Fragments = []string{p.file("debug.config", "CONFIG_MINE=y\n")}
	if k := p.job().Kernel; strings.Contains(string(k.Config), "CONFIG_DEBUG") || !strings.Contains(string(k.Config), "CONFIG_MINE=y\n") {
		t.Errorf("the user's goes before it: got %q", k.Config)
	}
}

func TestKernelInputFaults(t *testing.T) {
	k := func(change func(p *project, k *config.Kernel)) func(p *project) {
		return func(p *project) { change(p, &p.req.Flavor.Kernel) }
	}
	var input *InputError
	var syntax *kconfig.SyntaxError
	for _, c := range []struct {
		name   string
		change func(p *project)
		as     any
		want   string
	}{
		{"a fragment that is nowhere", k(func(p *project, k *config.Kernel) { k.Fragments = []string{filepath.Join(p.dir, "none.config")} }), &input, "none.config"},
		{"a path that ends like a built-in one", k(func(p *project, k *config.Kernel) {
			p.req.Configs, k.Fragments = kernelConfigs(""), []string{filepath.Join(p.dir, "kernl", "debug.config")}
		}), &input, "kernl/debug.config: no such file"},
		{"a path elsewhere that ends like a built-in one", k(func(p *project, k *config.Kernel) {
			p.req.Configs, k.Fragments = kernelConfigs(""), []string{"/none/debug.config"}
		}), &input, "/none/debug.config: no such file"},
		{"a fragment for another architecture", k(func(p *project, k *config.Kernel) {
			k.Fragments = []string{p.file("nic.aarch64.config", "CONFIG_A=y\n")}
		}), &input, "nic.aarch64.config is for aarch64, as its name says, and flavor hook-default-amd64 is for x86_64"},
		{"one of the project's for another architecture", k(func(p *project, k *config.Kernel) {
			p.file("kernel/configs/fragments/nic.arm64.config", "CONFIG_A=y\n")
			p.req.Configs = Overlay{Upper: os.DirFS(filepath.Join(p.dir, "kernel/configs")), Lower: kernelConfigs("")}
			k.Fragments = []string{filepath.Join(p.dir, "nic.arm64")}
		}), &input, "kernel/configs/fragments/nic.arm64.config is for aarch64"},
		{"an empty value", k(func(_ *project, k *config.Kernel) {
			k.Set = []config.Setting{{Name: "X", Value: "", Pos: "hookbuild.yaml:7:5"}}
		}), &input, `hookbuild.yaml:7:5: set: X has no value; the empty text is '""'`},
		{"a value that is none", k(func(_ *project, k *config.Kernel) {
			k.Set = []config.Setting{{Name: "X", Value: `"open`, Pos: "hookbuild.yaml:7:5"}}
		}), &input, `hookbuild.yaml:7:5: set X="open: `},
		{"a fragment that is a directory", k(func(p *project, k *config.Kernel) { k.Fragments = []string{p.dir} }), &input, "is a directory"},
		{"a fragment with a fault", k(func(p *project, k *config.Kernel) {
			k.Fragments = []string{p.file("bad.config", "CONFIG_A=y\nCONFIG B\n")}
		}), &syntax, "bad.config:2:"},
		{"a fragment of the project's with a fault", func(p *project) { p.file("kernel/configs/fragments/x.config", "BAD\n") }, &syntax, "kernel/configs/fragments/x.config:1:1"},
		{"a fragment of the project's that is a directory", func(p *project) { p.file("kernel/configs/fragments/x.config/y", "") }, &input, "fragment: "},
		{"a configuration with a fault", func(p *project) { p.req.Configs = kernelConfigs("nonsense\n") }, &syntax, "kernel/configs/generic-6.12.y-x86_64:1:1"},
		{"a built-in fragment with a fault", k(func(p *project, k *config.Kernel) {
			p.req.Configs, k.Fragments = kernelConfigs(""), []string{"hardened.config"}
		}), &syntax, "hardened.config:1:"},
		{"no patch", k(func(p *project, k *config.Kernel) { k.Patches = []string{filepath.Join(p.dir, "none.patch")} }), &input, "patch: stat "},
		{"a patch that is a directory", k(func(p *project, k *config.Kernel) { k.Patches = []string{p.dir} }), &input, "is a directory, want a file"},
		{"no external module", k(func(p *project, k *config.Kernel) {
			k.External = []config.ExternalModule{{Name: "ice", URL: filepath.Join(p.dir, "none")}}
		}), &input, "external module ice: stat "},
		{"no source tree", k(func(p *project, k *config.Kernel) {
			k.Source = config.Source{Kind: config.SourceDir, Dir: filepath.Join(p.dir, "none")}
		}), &input, "kernel: stat "},
		{"a source tree that is a file", k(func(p *project, k *config.Kernel) {
			k.Source = config.Source{Kind: config.SourceDir, Dir: p.file("linux", "x")}
		}), &input, "is a file, want a directory"},
		{"a tarball that is a directory", k(func(p *project, k *config.Kernel) {
			k.Source = config.Source{Kind: config.SourceURL, URL: p.dir}
		}), &input, "is a directory, want a file"},
		{"no package", k(func(p *project, k *config.Kernel) {
			*k = config.Kernel{Method: config.MethodDeb, Source: config.Source{Kind: config.SourceDebs, Debs: []string{p.file("a.deb", "x"), "none.deb"}}}
		}), &input, "none.deb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			c.change(p)
			if _, err := Prepare(t.Context(), p.req, p.pkg); !errors.As(err, c.as) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %T %v, want %T with %q", err, err, c.as, c.want)
			}
		})
	}
}

func TestUnreadableConfigsAreNotMissing(t *testing.T) {
	p := newProject(t)
	p.req.Configs = broken{fs.ErrPermission}
	if _, err := Prepare(t.Context(), p.req, p.pkg); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

func TestPatchesAndExternalModules(t *testing.T) {
	p := newProject(t)
	dir := p.file("hello/hello.c", "x")
	p.req.Flavor.Kernel.Patches = []string{p.file("b/two.patch", "2"), p.file("a/one.patch", "1")}
	p.req.Flavor.Kernel.External = []config.ExternalModule{
		{Name: "ice", URL: p.file("ice.tar.gz", "ice"), Make: []string{"all"}},
		{Name: "hello", URL: filepath.Dir(dir)},
		{Name: "far", URL: "https://mirror.example/far.tar", SHA256: strings.Repeat("f", 64)},
	}
	j := p.job()
	sum := func(s string) string { return hexSum([]byte(s)) }
	tree, err := treeSum(filepath.Dir(dir), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]kernel.Patch{{Name: "two.patch", SHA256: sum("2")}, {Name: "one.patch", SHA256: sum("1")}}, j.Kernel.patches); diff != "" {
		t.Error(diff)
	}
	want := []kernel.External{{Name: "ice", SHA256: sum("ice"), Make: []string{"all"}}, {Name: "hello", SHA256: tree}, {Name: "far", SHA256: strings.Repeat("f", 64)}}
	if diff := cmp.Diff(want, j.Kernel.external); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]plan.Source{{Name: "two.patch", SHA256: sum("2")}, {Name: "one.patch", SHA256: sum("1")}}, j.Plan.Kernel.Patches); diff != "" {
		t.Error(diff)
	}
	if got := j.Plan.Kernel.External; len(got) != 3 || got[0].Name != "ice" || !slices.Equal(got[0].Make, []string{"all"}) || got[1].SHA256 != tree {
		t.Errorf("got %+v", got)
	}
	// Where files lie does not matter.
	q := newProject(t)
	q.req.Flavor.Kernel.Patches = []string{q.file("c/two.patch", "2"), q.file("d/one.patch", "1")}
	q.req.Flavor.Kernel.External = []config.ExternalModule{
		{Name: "ice", URL: q.file("elsewhere/ice-1.2.tgz", "ice"), Make: []string{"all"}}, {Name: "hello", URL: filepath.Dir(q.file("other/hello.c", "x"))},
		{Name: "far", URL: "https://other.example/far-1.tar", SHA256: strings.Repeat("f", 64)},
	}
	if q.job().Plan.ID() != j.Plan.ID() {
		t.Error("another directory makes another plan")
	}
}

// Everything of the kernel changes the plan, each in another way.
func TestPlanIDSeesTheKernel(t *testing.T) {
	with := func(change func(p *project, k *config.Kernel)) func(p *project) {
		return func(p *project) {
			p.req.Configs = kernelConfigs("CONFIG_A=y\n")
			change(p, &p.req.Flavor.Kernel)
			p.lock(resolve.Component{Name: "dhcp", Seeds: []string{"udhcpc"}}, resolve.Component{Name: "init", Seeds: []string{"busybox-static"}})
		}
	}
	patches := func(names ...string) func(p *project) {
		return with(func(p *project, k *config.Kernel) {
			for _, n := range names {
				k.Patches = append(k.Patches, p.file(n, "the patch "+n))
			}
		})
	}
	external := func(name, content string, args ...string) func(p *project) {
		return with(func(p *project, k *config.Kernel) {
			k.External = []config.ExternalModule{{Name: name, URL: p.file("x.tar", content), Make: args}}
		})
	}
	source := func(method string, s func(p *project) config.Source) func(p *project) {
		return with(func(p *project, k *config.Kernel) { k.Method, k.Source = method, s(p) })
	}
	tree := func(content string) func(p *project) config.Source {
		return func(p *project) config.Source {
			return config.Source{Kind: config.SourceDir, Dir: filepath.Dir(p.file("linux/Kbuild", content))}
		}
	}
	debs := func(names ...string) func(p *project) config.Source {
		return func(p *project) config.Source {
			s := config.Source{Kind: config.SourceDebs}
			for _, n := range names {
				s.Debs = append(s.Debs, p.file(n, n))
			}
			return s
		}
	}
	tarball := func(sum string) func(p *project) config.Source {
		return func(*project) config.Source {
			return config.Source{Kind: config.SourceURL, URL: "https://mirror.example/linux.tar", SHA256: strings.Repeat(sum, 64)}
		}
	}
	seen := map[string]string{}
	for _, c := range []struct {
		name   string
		change func(p *project)
	}{
		{"nothing", with(func(*project, *config.Kernel) {})},
		{"the configuration", func(p *project) { p.req.Configs = kernelConfigs("CONFIG_A=m\n") }},
		{"a fragment of the project's", with(func(p *project, _ *config.Kernel) { p.file("kernel/configs/fragments/x.config", "CONFIG_B=y\n") })},
		{"a built-in fragment", with(func(_ *project, k *config.Kernel) { k.Fragments = []string{"debug.config"} })},
		{"a setting", with(func(_ *project, k *config.Kernel) { k.Set = []config.Setting{{Name: "C", Value: "y"}} })},
		{"a patch", patches("a.patch")}, {"two patches", patches("a.patch", "b.patch")}, {"in another order", patches("b.patch", "a.patch")},
		{"an external module", external("x", "1")}, {"with other content", external("x", "2")}, {"with another name", external("y", "1")},
		{"with arguments", external("x", "1", "a b")}, {"with more arguments", external("x", "1", "a", "b")},
		{"a tarball", source(config.MethodSource, tarball("a"))}, {"another tarball", source(config.MethodSource, tarball("b"))},
		{"a source tree", source(config.MethodSource, tree("a"))}, {"another source tree", source(config.MethodSource, tree("b"))},
		{"a finished kernel", source(config.MethodDir, tree("a"))},
		{"a package", source(config.MethodDeb, debs("a.deb"))}, {"two packages", source(config.MethodDeb, debs("a.deb", "b.deb"))},
		{"Debian's", source(config.MethodDebian, func(*project) config.Source { return config.Source{} })},
		{"modules", with(func(_ *project, k *config.Kernel) { k.Modules.Include = []string{"default", "ice"} })},
		{"no modules", with(func(_ *project, k *config.Kernel) { k.Modules.Exclude = []string{"ice"} })},
		{"firmware", with(func(_ *project, k *config.Kernel) { k.Firmware.Auto = true })},
		{"some firmware", with(func(_ *project, k *config.Kernel) { k.Firmware.Globs = []string{"bnx2/"} })},
	} {
		p := newProject(t)
		c.change(p)
		id := p.job().Plan.ID()
		if as, ok := seen[id]; ok {
			t.Errorf("%s: the plan of %s", c.name, as)
		}
		seen[id] = c.name
	}
	for name, change := range map[string]func(p *project){
		"a comment in a fragment": with(func(p *project, _ *config.Kernel) {
			p.file("kernel/configs/fragments/x.config", "# nothing\nCONFIG_A=y\n")
		}),
		"a comment in the configuration":     func(p *project) { p.req.Configs = kernelConfigs("# a\n\nCONFIG_A=y\n") },
		"a fragment of another architecture": with(func(p *project, _ *config.Kernel) { p.file("kernel/configs/fragments/x.arm64.config", "CONFIG_B=y\n") }),
		"a fragment that nobody names":       with(func(p *project, _ *config.Kernel) { p.file("x.config", "CONFIG_B=y\n") }),
		"a setting that is so anyway":        with(func(_ *project, k *config.Kernel) { k.Set = []config.Setting{{Name: "A", Value: "y", Pos: "f:1:1"}} }),
		"where the keys of kernel.org lie":   with(func(_ *project, k *config.Kernel) { k.Keyring = "keys.gpg" }),
		"a configuration by another name": with(func(p *project, k *config.Kernel) {
			k.Config = "mine"
			p.req.Configs.(fstest.MapFS)["mine-6.12.y-x86_64"] = text("CONFIG_A=y\n")
		}),
		"a comment in a built-in fragment": with(func(p *project, _ *config.Kernel) {
			p.req.Configs.(fstest.MapFS)["optional/debug.config"] = text("#\n")
		}),
		"a directory beside the fragments": with(func(p *project, _ *config.Kernel) { p.file("kernel/configs/fragments/sub/x.config", "CONFIG_B=y\n") }),
	} {
		p := newProject(t)
		change(p)
		if as := seen[p.job().Plan.ID()]; as != "nothing" {
			t.Errorf("%s: changes the plan (%q)", name, as)
		}
	}
}

func TestUnmetError(t *testing.T) {
	line := kconfig.Line{Symbol: kconfig.Symbol{Name: "BE2NET", Value: "m"}, Origin: kconfig.Origin{File: "nic.config", Line: 2}}
	other := kconfig.Line{Symbol: kconfig.Symbol{Name: "NONE", Value: "y"}, Origin: kconfig.Origin{File: "--set"}}
	err := &UnmetError{Unmet: []kconfig.Unmet{{Line: line, Got: "n", Why: "depends on PCI, which is n"}, {Line: other, Why: "is no symbol of this kernel"}}}
	const want = `the kernel configuration does not come out as it was asked for:
  nic.config:2: CONFIG_BE2NET=m: got n: depends on PCI, which is n
  --set: CONFIG_NONE=y: is no symbol of this kernel`
	if err.Error() != want {
		t.Errorf("got %s", err)
	}
}
