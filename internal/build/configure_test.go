package build

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/kconfig"
)

// configurator is that of a project with this configuration file.
func configurator(t *testing.T, base string, change func(p *project)) (*Configurator, *fakeEngine) {
	t.Helper()
	p := newProject(t)
	p.req.Configs = kernelConfigs(base)
	if change != nil {
		change(p)
	}
	b, f := p.maker(&heard{})
	c, err := b.Configurator(t.Context(), p.job())
	if err != nil {
		t.Fatal(err)
	}
	return c, f
}

// set are lines as flags ask for them.
func set(t *testing.T, all ...string) []kconfig.Line {
	t.Helper()
	var lines []kconfig.Line
	for _, text := range all {
		l, err := kconfig.ParseSet("--set", text)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}

func texts(all []kconfig.Unmet) []string {
	var found []string
	for _, u := range all {
		found = append(found, u.String())
	}
	return found
}

func TestChange(t *testing.T) {
	fragment := func(text string) func(p *project) {
		return func(p *project) { p.file("kernel/configs/fragments/x.config", text) }
	}
	for _, c := range []struct {
		name   string
		base   string
		change func(p *project)
		set    []string
		asked  string // Kconfig, last; "" where that does not matter
		after  string // symbols of interest that are on afterwards

		unknown, unmet, lost []string
	}{
		{name: "a symbol", base: "CONFIG_CRC8=y\n", set: []string{"PCI=y"}, asked: "CONFIG_CRC8=y\nCONFIG_PCI=y\n", after: "CRC8=y PCI=y"},
		{name: "a symbol that is there", base: "CONFIG_CRC8=y\n", set: []string{"CRC8=m"}, asked: "CONFIG_CRC8=m\n", after: "CRC8=m"},
		{name: "a symbol off", base: "CONFIG_CRC8=y\n", set: []string{"CRC8=n"}, asked: "# CONFIG_CRC8 is not set\n", after: ""},
		{name: "several at once", base: "", set: []string{"PCI=y", "BE2NET=m"}, after: "BE2NET=m PCI=y"},
		{name: "a dependency that is not met", base: "", set: []string{"BE2NET=m"}, unmet: []string{"--set: CONFIG_BE2NET=m: got n: depends on PCI, which is n"}},
		{name: "no such symbol", base: "", set: []string{"BE2NTE=m"}, unknown: []string{"--set: CONFIG_BE2NTE=m: is no symbol of this kernel: did you mean \"BE2NET\"?"}},
		{name: "no such symbol off", base: "", set: []string{"NONE=n"}, unknown: []string{"--set: CONFIG_NONE=n: is no symbol of this kernel"}},
		{name: "a fragment says otherwise", base: "", change: fragment("CONFIG_CRC8=y\n"), set: []string{"CRC8=m"}, after: "CRC8=m",
			unmet: []string{"--set: CONFIG_CRC8=m: got y: kernel/configs/fragments/x.config:1, which the flavor merges over the file, says otherwise"}},
		{name: "a fragment says the same", base: "", change: fragment("CONFIG_CRC8=m\n"), set: []string{"CRC8=m"}, after: "CRC8=m"},
		{name: "what did not hold before", base: "CONFIG_BE2NET=m\n", set: []string{"CRC8=m"}, after: "CRC8=m",
			lost: []string{"kernel/configs/generic-6.12.y-x86_64:1: CONFIG_BE2NET=m: got n: depends on PCI, which is n"}},
		{name: "a complete .config has lost nothing", base: full + "CONFIG_BE2NET=m\n", set: []string{"CRC8=m"}, after: "CRC8=m"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf, f := configurator(t, c.base, c.change)
			got, err := conf.Change(t.Context(), set(t, c.set...))
			if err != nil {
				t.Fatal(err)
			}
			for what, pair := range map[string][2][]string{"unknown": {c.unknown, texts(got.Unknown)}, "unmet": {c.unmet, texts(got.Unmet)}, "lost": {c.lost, texts(got.Lost)}} {
				if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
					t.Errorf("%s: %s", what, diff)
				}
			}
			if asked, _ := f.kconfig.asked(); c.asked != "" && asked != c.asked {
				t.Errorf("Kconfig was asked %q, want %q", asked, c.asked)
			}
			if len(c.unknown) > 0 {
				if got.After.Symbols != nil {
					t.Error("a change with unknown symbols was carried out")
				}
				return
			}
			var on []string
			for _, name := range []string{"BE2NET", "CRC8", "PCI"} {
				if i, _ := got.After.Symbols.Lookup(name); i.Value != "n" {
					on = append(on, name+"="+i.Value)
				}
			}
			if c.unmet == nil && strings.Join(on, " ") != c.after {
				t.Errorf("got %q, want %q", on, c.after)
			}
			if got.Before.Symbols == nil || len(got.After.Defconfig) == 0 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestChangeFailures(t *testing.T) {
	conf, f := configurator(t, "CONFIG_CRC8=y\n", nil)
	f.kconfig.code, f.kconfig.says = 2, "Kconfig:1: syntax error\n"
	if _, err := conf.Change(t.Context(), set(t, "PCI=y")); err == nil || !strings.Contains(err.Error(), "Kconfig:1: syntax error") {
		t.Errorf("got %v", err)
	}
	conf.job.Kernel.Base.Data = []byte("nonsense\n")
	var syntax *kconfig.SyntaxError
	if _, err := conf.Change(t.Context(), nil); !errors.As(err, &syntax) {
		t.Errorf("got %v", err)
	}
}

// The images that configuring needs are made, with as much of the kernel as that takes.
func TestConfiguratorMakesItsImages(t *testing.T) {
	p, h := newProject(t), &heard{}
	b, f := p.maker(h, "hookbuild/kconfig:", "hookbuild/kernel:", "hookbuild/debian:base-")
	j := p.job()
	p.cached(j)
	c, err := b.Configurator(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"hookbuild/kconfig:amd64"}; !slices.Equal(f.buildKit.tags(), want) || !h.has("start toolchain") || !h.begins(`end configuration "hookbuild/kconfig:amd64-`) {
		t.Errorf("built %q, heard %q", f.buildKit.tags(), h.lines)
	}
	a, err := c.Ask(t.Context(), []byte("CONFIG_PCI=y\n"))
	if err != nil {
		t.Fatal(err)
	}
	if i, ok := a.Symbols.Lookup("PCI"); !ok || i.Value != "y" || f.kconfig.images[0] != f.buildKit.all()[0].tag {
		t.Errorf("got %+v from %q", i, f.kconfig.images)
	}
	f.lose("hookbuild/debian:toolchain-")
	var stage *StageError
	if _, err := b.Configurator(t.Context(), j); !errors.As(err, &stage) || stage.Stage != "toolchain" {
		t.Errorf("got %v", err)
	}
}

func TestKernelConfig(t *testing.T) {
	p := newProject(t)
	p.req.Flavor.Kernel.Fragments = []string{p.file("a.config", "CONFIG_CRC8=m\n")}
	b, f := p.maker(&heard{})
	if got, err := b.KernelConfig(t.Context(), p.job()); err != nil || string(got) != "CONFIG_64BIT=y\nCONFIG_CRC8=m\n" || len(f.saved) != 0 {
		t.Errorf("got %q, %v", got, err)
	}
	p.req.Flavor.Kernel = config.Kernel{Method: config.MethodDir, Source: config.Source{Kind: config.SourceDir, Dir: filepath.Dir(p.file("linux/vmlinuz", "x"))}}
	p.relock()
	f.images["hookbuild/kernel:"] = makeImage(t, files{{"kernel", "x"}})
	if _, err := b.KernelConfig(t.Context(), p.job()); err == nil || !strings.Contains(err.Error(), "/config") {
		t.Errorf("an image without one: got %v", err)
	}
	f.lose("hookbuild/kernel:", "hookbuild/debian:")
	if _, err := b.KernelConfig(t.Context(), p.job()); err == nil {
		t.Error("no kernel: no error")
	}
}
