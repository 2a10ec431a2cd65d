package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/ulikunitz/xz"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/kernelorg/kernelorgtest"
	"github.com/hookbuild/hookbuild/internal/registry"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// relock writes the lock anew for a flavor that was changed.
func (p *project) relock() {
	p.Helper()
	p.lock(resolve.Component{Name: "dhcp", Seeds: []string{"udhcpc"}}, resolve.Component{Name: "init", Seeds: []string{"busybox-static"}})
}

// cached puts all packages of a job into the cache.
func (p *project) cached(j *Job) {
	p.Helper()
	for _, s := range j.Entry.Sets {
		for _, pkg := range s.Packages {
			p.file("cache/debs/"+pkg.SHA256+".deb", pkg.Name)
		}
	}
}

// maker is a builder that has all packages, for an engine that lacks some images and can make them.
func (p *project) maker(h *heard, lost ...string) (*Builder, *fakeEngine) {
	p.Helper()
	e, f := newEngine(p.T)
	f.lose(lost...)
	f.buildKit.makes("hookbuild/kernel:", fakeStep{image: kernelImage(p.T, " made"), says: []string{"a.c:1:2: warning: one", "warning: two", "kernel 6.12.1"}})
	f.buildKit.makes("hookbuild/kconfig:", fakeStep{image: makeImage(p.T, nil)})
	f.buildKit.makes("hookbuild/modules:", fakeStep{image: selectedImage(p.T)})
	b := p.builder(e, filepath.Join(p.dir, "out"), h, ticking())
	b.Download, b.Registry = &download.Client{}, &registry.Client{}
	return b, f
}

func TestKernelSpec(t *testing.T) {
	p := newProject(t)
	patch, module := p.file("a.patch", "patch"), p.file("ice.tar", "ice")
	dir := filepath.Dir(p.file("linux/Kbuild", "x"))
	one, two := p.file("1.deb", "1"), p.file("2.deb", "2")
	treeDigest := sumOf(t, dir)
	pkg := func(name string) string { return packageOf(name, name).SHA256 }
	common := config.Kernel{
		Method: config.MethodSource, Series: "6.12", Config: "generic", Patches: []string{patch}, External: []config.ExternalModule{{Name: "ice", URL: module}},
	}
	with := func(method string, s config.Source) config.Kernel {
		k := common
		k.Method, k.Source = method, s
		return k
	}
	for _, c := range []struct {
		name   string
		k      config.Kernel
		source kernel.Source
	}{
		{"Debian's source", with(config.MethodSource, config.Source{Kind: config.SourceDebian}), kernel.Source{Kind: kernel.Package, Version: "", SHA256: []string{pkg("kernel")}}},
		{"a tarball", with(config.MethodSource, config.Source{Kind: config.SourceURL, URL: one}), kernel.Source{Kind: kernel.Tarball, SHA256: []string{hexSum([]byte("1"))}}},
		{"a source tree", with(config.MethodSource, config.Source{Kind: config.SourceDir, Dir: dir}), kernel.Source{Kind: kernel.Directory, SHA256: []string{treeDigest}}},
		{"Debian's kernel", with(config.MethodDebian, config.Source{}), kernel.Source{Kind: kernel.BinaryPackages, SHA256: []string{pkg("kernel")}}},
		{"packages", with(config.MethodDeb, config.Source{Kind: config.SourceDebs, Debs: []string{two, one}}),
			kernel.Source{Kind: kernel.BinaryPackages, SHA256: []string{hexSum([]byte("2")), hexSum([]byte("1"))}}},
		{"a directory", with(config.MethodDir, config.Source{Kind: config.SourceDir, Dir: dir}), kernel.Source{Kind: kernel.BinaryTree, SHA256: []string{treeDigest}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.req.Flavor.Kernel = c.k
			p.relock()
			j := p.job()
			b, _ := p.maker(&heard{})
			got, err := b.kernelSpec(j, "the base")
			if err != nil {
				t.Fatal(err)
			}
			want := kernel.Spec{Arch: "x86_64", HostArch: "amd64", Epoch: j.Plan.Epoch, Image: "the base", Source: c.source, Tree: c.k.Config, Command: j.Command}
			if c.k.Method == config.MethodSource {
				tools, _ := j.Entry.Find(resolve.ToolchainSet)
				want.Image = base.Set{Name: "toolchain", Arch: "amd64", Packages: tools.Packages}.Ref()
				want.Config = []byte("CONFIG_64BIT=y\n")
				want.Patches = []kernel.Patch{{Name: "a.patch", SHA256: hexSum([]byte("patch"))}}
				want.External = []kernel.External{{Name: "ice", SHA256: hexSum([]byte("ice"))}}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	p = newProject(t)
	j := p.job()
	j.Entry.Sets = nil
	b, _ := p.maker(&heard{})
	if _, err := b.kernelSpec(j, ""); err == nil || !strings.Contains(err.Error(), "no packages for toolchain") {
		t.Errorf("a lock without a toolchain: got %v", err)
	}
}

func TestKernelInputs(t *testing.T) {
	p := newProject(t)
	patch := p.file("a.patch", "patch")
	dir := filepath.Dir(p.file("linux/Kbuild", "x"))
	one, two := p.file("1.deb", "1"), p.file("2.deb", "2")
	sum := func(s string) string { return hexSum([]byte(s)) }
	cache := filepath.Join(p.dir, "cache")
	debs := engine.Local{Dir: filepath.Join(cache, "debs"), Include: []string{packageOf("kernel", "kernel").SHA256 + ".deb"}}
	files := func(names ...string) engine.Local {
		return engine.Local{Dir: filepath.Join(cache, "files"), Include: names}
	}
	for _, c := range []struct {
		name string
		k    config.Kernel
		want map[string]engine.Local
	}{
		{"Debian's source", config.Kernel{Method: config.MethodSource, Source: config.Source{Kind: config.SourceDebian}, Patches: []string{patch}},
			map[string]engine.Local{"source": debs, "files": files(sum("patch"))}},
		{"without patches", config.Kernel{Method: config.MethodSource, Source: config.Source{Kind: config.SourceDebian}}, map[string]engine.Local{"source": debs}},
		{"a tarball", config.Kernel{Method: config.MethodSource, Source: config.Source{Kind: config.SourceURL, URL: one}, Patches: []string{patch}},
			map[string]engine.Local{"files": files(sum("1"), sum("patch"))}},
		{"a source tree", config.Kernel{Method: config.MethodSource, Source: config.Source{Kind: config.SourceDir, Dir: dir}},
			map[string]engine.Local{"source": {Dir: "a copy"}}},
		{"Debian's kernel", config.Kernel{Method: config.MethodDebian}, map[string]engine.Local{"source": debs}},
		{"packages", config.Kernel{Method: config.MethodDeb, Source: config.Source{Kind: config.SourceDebs, Debs: []string{two, one}}},
			map[string]engine.Local{"source": files(sum("2")+".deb", sum("1")+".deb")}},
		{"a directory", config.Kernel{Method: config.MethodDir, Source: config.Source{Kind: config.SourceDir, Dir: dir}},
			map[string]engine.Local{"source": {Dir: "a copy"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.k.Series, c.k.Config = "6.12", "generic"
			p.req.Flavor.Kernel = c.k
			p.relock()
			j := p.job()
			p.cached(j)
			b, _ := p.maker(&heard{})
			in := b.kernelInputs(j)
			got, err := in.bring(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if again, err := in.bring(t.Context()); err != nil || !cmp.Equal(got, again) {
				t.Errorf("brought twice: got %v and %v, %v", got, again, err)
			}
			if l := got["source"]; len(l.Include) == 0 && l.Dir != "" {
				if sumOf(t, l.Dir) != sumOf(t, dir) {
					t.Errorf("%s is no copy of %s", l.Dir, dir)
				}
				got["source"] = engine.Local{Dir: "a copy"}
			}
			if err := in.close(); err != nil {
				t.Error(err)
			}
			if c.k.Source.Kind == config.SourceDir {
				leftNothing(t, b)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			for _, l := range got {
				for _, name := range l.Include {
					if _, err := os.Stat(filepath.Join(l.Dir, name)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

func TestKernelInputFailures(t *testing.T) {
	p := newProject(t)
	p.req.Flavor.Kernel.Patches = []string{p.file("a.patch", "patch")}
	j := p.job()
	b, _ := p.maker(&heard{})
	var offline *download.OfflineError
	if _, err := b.kernelInputs(j).bring(t.Context()); !errors.As(err, &offline) {
		t.Errorf("no packages: got %v", err)
	}
	p.cached(j)
	p.file("a.patch", "changed meanwhile")
	var ve *download.VerifyError
	if _, err := b.kernelInputs(j).bring(t.Context()); !errors.As(err, &ve) {
		t.Errorf("a patch that is another one now: got %v", err)
	}
	p.req.Flavor.Kernel = config.Kernel{Method: config.MethodDeb, Source: config.Source{Kind: config.SourceDebs, Debs: []string{p.file("a.deb", "x")}}}
	p.relock()
	j = p.job()
	p.file("a.deb", "changed meanwhile")
	if _, err := b.kernelInputs(j).bring(t.Context()); !errors.As(err, &ve) {
		t.Errorf("a package that is another one now: got %v", err)
	}
}

// What is sent is what the plan has the digest of, whatever happens to the directory meanwhile.
func TestKernelTreeThatChanges(t *testing.T) {
	for _, method := range []string{config.MethodSource, config.MethodDir} {
		for _, c := range []struct {
			name   string
			change func(p *project)
			same   bool // in content
		}{
			{"other content", func(p *project) { p.file("linux/Kbuild", "other") }, false},
			{"a file more", func(p *project) { p.file("linux/Makefile", "x") }, false},
			{"gone", func(p *project) { os.RemoveAll(filepath.Join(p.dir, "linux")) }, false},
			{"another time", func(p *project) { os.Chtimes(filepath.Join(p.dir, "linux/Kbuild"), time.Unix(1, 0), time.Unix(1, 0)) }, true},
			{"version control", func(p *project) { p.file("linux/.git/HEAD", "x") }, true},
		} {
			t.Run(method+", "+c.name, func(t *testing.T) {
				p := newProject(t)
				p.req.Flavor.Kernel.Method = method
				p.req.Flavor.Kernel.Source = config.Source{Kind: config.SourceDir, Dir: filepath.Dir(p.file("linux/Kbuild", "x"))}
				p.relock()
				j := p.job()
				b, _ := p.maker(&heard{})
				c.change(p)
				in := b.kernelInputs(j)
				locals, err := in.bring(t.Context())
				var input *InputError
				if c.same && err != nil || !c.same && (!errors.As(err, &input) || !strings.Contains(err.Error(), "changed while it was read")) {
					t.Fatalf("got %v", err)
				}
				if c.same {
					p.file("linux/Kbuild", "changed after it was copied")
					if data, err := os.ReadFile(filepath.Join(locals["source"].Dir, "Kbuild")); err != nil || string(data) != "x" {
						t.Errorf("got %q, %v", data, err)
					}
				}
				if err := in.close(); err != nil {
					t.Error(err)
				}
				leftNothing(t, b)
			})
		}
	}
}

func TestKernelIsCompiled(t *testing.T) {
	p, h := newProject(t), &heard{}
	b, f := p.maker(h, "hookbuild/kernel:", "hookbuild/kconfig:", "hookbuild/modules:")
	j := p.job()
	p.cached(j)
	res, err := b.All(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(p.dir, "out/hook/vmlinuz-x86_64")); string(got) != "bzImage" || err != nil { // of the selection
		t.Errorf("got %q, %v", got, err)
	}
	if want := []string{"hookbuild/kconfig:amd64", "hookbuild/kernel:amd64", "hookbuild/modules:amd64"}; !slices.Equal(f.buildKit.tags(), want) {
		t.Errorf("got builds %q", f.buildKit.tags())
	}
	if in, times := f.kconfig.asked(); in != "CONFIG_64BIT=y\n" || times != 1 {
		t.Errorf("Kconfig was asked %q, %d times", in, times)
	}
	rec := readRecord(t, filepath.Join(p.dir, "out"))
	notes := map[string]string{}
	for _, s := range rec.Stages {
		notes[s.Name] = s.Note
	}
	compile := f.buildKit.all()[1]
	if notes["configuration"] != "1 symbols as they were asked for" || notes["kernel"] != compile.tag || compile.env["CLEAN"] != "" || compile.env["KARCH"] != "x86_64" {
		t.Errorf("got notes %q, environment %q", notes, compile.env)
	}
	if !slices.Contains(res.Warnings, "kernel: a.c:1:2: warning: one, and 1 warnings more in logs/kernel.log") {
		t.Errorf("got warnings %q", res.Warnings)
	}
	if log, err := os.ReadFile(filepath.Join(p.dir, "out/logs/kernel.log")); err != nil || !strings.Contains(string(log), "warning: two\nkernel 6.12.1\n") {
		t.Errorf("got log %q, %v", log, err)
	}
	ref, err := b.Kernel(t.Context(), j)
	if err != nil || ref != compile.tag || len(f.buildKit.all()) != 3 {
		t.Errorf("again: got %s, %v, %d builds", ref, err, len(f.buildKit.all()))
	}
}

// A kernel that takes none of its own modules is noticed before it is compiled.
func TestUnloadableModulesStopTheBuild(t *testing.T) {
	p := newProject(t)
	p.req.Flavor.Kernel.Set = []config.Setting{{Name: "MODULE_SIG", Value: "y", Pos: "hookbuild.yaml:5:5"}, {Name: "MODULE_SIG_FORCE", Value: "y", Pos: "hookbuild.yaml:6:5"}}
	b, f := p.maker(&heard{}, "hookbuild/kernel:")
	j := p.job()
	p.cached(j)
	_, err := b.Kernel(t.Context(), j)
	var unmet *UnmetError
	if !errors.As(err, &unmet) || len(unmet.Unmet) != 1 || unmet.Unmet[0].Line.Name != "CRYPTO_SHA256" || len(f.buildKit.all()) != 0 {
		t.Errorf("got %v, built %q", err, f.buildKit.tags())
	}
	c, err := b.Configurator(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Check(t.Context()); err != nil || len(got) != 1 || !strings.HasPrefix(got[0].String(), "MODULE_SIG: CONFIG_CRYPTO_SHA256=y") {
		t.Errorf("checked: got %v, %v", got, err)
	}
}

func TestUnmetSymbolsStopTheBuild(t *testing.T) {
	p := newProject(t)
	p.req.Flavor.Kernel.Fragments = []string{p.file("nic.config", "# a card\nCONFIG_BE2NET=m\nCONFIG_CRC8=m\n")}
	b, f := p.maker(&heard{}, "hookbuild/kernel:")
	j := p.job()
	p.cached(j)
	_, err := b.All(t.Context(), j)
	var stage *StageError
	var unmet *UnmetError
	if !errors.As(err, &stage) || stage.Stage != "configuration" || !errors.As(err, &unmet) || len(unmet.Unmet) != 1 {
		t.Fatalf("got %v", err)
	}
	if want := p.dir + "/nic.config:2: CONFIG_BE2NET=m: got n: depends on PCI, which is n"; unmet.Unmet[0].String() != want {
		t.Errorf("got %s", unmet.Unmet[0])
	}
	if len(f.buildKit.all()) != 0 {
		t.Errorf("built %q", f.buildKit.tags())
	}
	if rec := readRecord(t, filepath.Join(p.dir, "out")); !strings.Contains(rec.Error, "BE2NET=m: got n") {
		t.Errorf("got record %q", rec.Error)
	}
	p.req.Flavor.Kernel.Set = []config.Setting{{Name: "PCI", Value: "y", Pos: "hookbuild.yaml:3:1"}}
	if _, err := b.Kernel(t.Context(), p.job()); err != nil {
		t.Errorf("with what it depends on: got %v", err)
	}
}

func TestKernelBuildFailures(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(f *fakeEngine)
		stage   string
		want    string
		log     string // part of the stage's log
	}{
		{"a compiler's error", func(f *fakeEngine) {
			f.buildKit.makes("hookbuild/kernel:", fakeStep{code: 2, says: []string{"  CC a.o", "a.c:3:1: error: no", "make: *** [a.o] Error 1"}})
		}, "kernel", "kernel: a.c:3:1: error: no", "  CC a.o\na.c:3:1: error: no\n"},
		{"an error without a word", func(f *fakeEngine) {
			f.buildKit.makes("hookbuild/kernel:", fakeStep{code: 137, says: []string{"  CC a.o"}})
		}, "kernel", `kernel: build step "the step" failed with exit code 137`, "  CC a.o\n"},
		{"a patch", func(f *fakeEngine) {
			f.lose("hookbuild/kconfig:")
			f.buildKit.makes("hookbuild/kconfig:", fakeStep{code: 1, says: []string{"error: mine.patch: the patch does not apply to this source:", "1 out of 1 hunk FAILED"}})
		}, "configuration", "configuration: error: mine.patch: the patch does not apply", "1 out of 1 hunk FAILED\n"},
		{"Kconfig", func(f *fakeEngine) { f.kconfig.code, f.kconfig.says = 2, "Kconfig:1: syntax error\n" },
			"configuration", "exit code 2: Kconfig:1: syntax error", ""},
		{"modules", func(f *fakeEngine) {
			f.lose("hookbuild/modules:")
			f.buildKit.makes("hookbuild/modules:", fakeStep{code: 1, says: []string{"lib/modules: error: want one"}})
		}, "modules", "modules: lib/modules: error: want one", "want one\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			b, f := p.maker(&heard{}, "hookbuild/kernel:")
			c.prepare(f)
			j := p.job()
			p.cached(j)
			_, err := b.All(t.Context(), j)
			var stage *StageError
			if !errors.As(err, &stage) || stage.Stage != c.stage || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q in %s", err, c.want, c.stage)
			}
			if c.log == "" {
				return
			}
			if log, err := os.ReadFile(stage.Log); err != nil || !strings.Contains(string(log), c.log) {
				t.Errorf("got log %q, %v", log, err)
			}
		})
	}
}

func TestCleanCompilesAgain(t *testing.T) {
	p := newProject(t)
	b, f := p.maker(&heard{}, "hookbuild/kernel:") // after the first time it is there
	j := p.job()
	p.cached(j)
	b.Kernels = KernelOptions{Clean: true, Pull: true, Repository: "127.0.0.1:1/kernels"} // where nobody answers
	for range 2 {
		if _, err := b.Kernel(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	ran := f.buildKit.all()
	if len(ran) != 2 || ran[0].env["CLEAN"] == "" || ran[0].env["CLEAN"] == ran[1].env["CLEAN"] || ran[0].tag != ran[1].tag {
		t.Errorf("got %+v", ran)
	}
}

func TestFinishedKernels(t *testing.T) {
	dir := func(p *project) string { return filepath.Dir(p.file("linux/vmlinuz", "x")) }
	for name, k := range map[string]func(p *project) config.Kernel{
		"Debian's": func(*project) config.Kernel { return config.Kernel{Method: config.MethodDebian, Series: "6.12"} },
		"packages": func(p *project) config.Kernel {
			return config.Kernel{Method: config.MethodDeb, Source: config.Source{Kind: config.SourceDebs, Debs: []string{p.file("a.deb", "x")}}}
		},
		"a directory": func(p *project) config.Kernel {
			return config.Kernel{Method: config.MethodDir, Source: config.Source{Kind: config.SourceDir, Dir: dir(p)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, h := newProject(t), &heard{}
			p.req.Flavor.Kernel = k(p)
			p.relock()
			b, f := p.maker(h, "hookbuild/kernel:", "hookbuild/debian:toolchain-", "hookbuild/kconfig:")
			j := p.job()
			p.cached(j)
			ref, err := b.Kernel(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.buildKit.all(); len(got) != 1 || got[0].tag != ref || h.has("start toolchain") || h.has("start configuration") {
				t.Errorf("got %+v, heard %q", got, h.lines)
			}
			text, err := b.KernelConfig(t.Context(), j)
			if err != nil || string(text) != kernelConfig {
				t.Errorf("its configuration: got %q, %v", text, err)
			}
			if _, err := b.Configurator(t.Context(), j); !isA[*InputError](err) || !strings.Contains(err.Error(), "there is nothing to configure") {
				t.Errorf("configuring it: got %v", err)
			}
		})
	}
}

// theRegistry is one on the loopback.
func theRegistry(t *testing.T) (repository string, srv *httptest.Server) {
	t.Helper()
	srv = httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String() + "/team/kernels", srv
}

func TestPushAndPull(t *testing.T) {
	repository, _ := theRegistry(t)
	p, h := newProject(t), &heard{}
	b, f := p.maker(h)
	j := p.job()
	b.Kernels = KernelOptions{Repository: repository, Push: true}
	f.images["hookbuild/kernel:"] = honestKernel(t, b, j)
	ref, err := b.Kernel(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	remote := repository + strings.TrimPrefix(ref, "hookbuild/kernel")
	if !h.begins("end push \"" + remote + "@sha256:") {
		t.Errorf("heard %q", h.lines)
	}
	if len(f.buildKit.all()) != 0 {
		t.Errorf("built %q", f.buildKit.tags())
	}
	leftNothing(t, b)

	// Another machine, which has no packages to compile with either.
	q, heardThere := newProject(t), &heard{}
	there, g := q.maker(heardThere, "hookbuild/kernel:", "hookbuild/debian:toolchain-", "hookbuild/kconfig:")
	there.Kernels = KernelOptions{Repository: repository, Pull: true}
	if got, err := there.Kernel(t.Context(), q.job()); err != nil || got != ref {
		t.Fatalf("got %s, %v", got, err)
	}
	if !heardThere.begins("end pull \"sha256:") || len(g.buildKit.all()) != 0 || heardThere.has("start toolchain") {
		t.Errorf("heard %q, built %q", heardThere.lines, g.buildKit.tags())
	}
	if got := g.names(); !slices.Equal(got, []string{ref}) { // not by the repository's name
		t.Errorf("the engine got %q", got)
	}
	img, ok := g.find(ref)
	if want, _ := f.find(ref); !ok || !slices.Equal(img.diffIDs, want.diffIDs) {
		t.Errorf("got layers %q", img.diffIDs)
	}
	leftNothing(t, there)
	if _, err := there.Kernel(t.Context(), q.job()); err != nil || strings.Count(strings.Join(heardThere.lines, "\n"), "start pull") != 1 {
		t.Errorf("what is there is pulled again: %v", err)
	}
}

// honestKernel is an image that says of itself what the job's kernel is made from.
func honestKernel(t *testing.T, b *Builder, j *Job) fakeImage {
	t.Helper()
	set, _ := j.Entry.Find(resolve.BaseSet)
	spec, err := b.kernelSpec(j, base.Set{Name: set.Name, Arch: set.Arch, Packages: set.Packages}.Ref())
	if err != nil {
		t.Fatal(err)
	}
	return kernelImageOf(t, "", fmt.Sprintf(`{"release":"6.12.1-hook","compiler":"gcc 14","config_sha256":"cc","spec":%s}`, spec.Identity()))
}

// TestPullOfAnotherKernel gives a kernel the tag of another.
func TestPullOfAnotherKernel(t *testing.T) {
	repository, _ := theRegistry(t)
	p := newProject(t)
	b, _ := p.maker(&heard{})
	b.Kernels = KernelOptions{Repository: repository, Push: true}
	if _, err := b.Kernel(t.Context(), p.job()); err != nil {
		t.Fatal(err)
	}
	q := newProject(t)
	there, g := q.maker(&heard{}, "hookbuild/kernel:")
	there.Kernels = KernelOptions{Repository: repository, Pull: true}
	_, err := there.Kernel(t.Context(), q.job())
	var refused *download.VerifyError
	if !errors.As(err, &refused) || refused.What != "specification" {
		t.Errorf("got %v, want the image refused", err)
	}
	if got := g.names(); len(got) != 0 {
		t.Errorf("the engine keeps %q", got)
	}
}

// leftNothing says that no archive stays behind.
func leftNothing(t *testing.T, b *Builder) {
	t.Helper()
	if left, err := os.ReadDir(filepath.Join(b.Cache, "tmp")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func (h *heard) begins(start string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.lines, func(line string) bool { return strings.HasPrefix(line, start) })
}

func TestPullOfWhatIsNotThere(t *testing.T) {
	repository, _ := theRegistry(t)
	p, h := newProject(t), &heard{}
	b, f := p.maker(h, "hookbuild/kernel:")
	j := p.job()
	p.cached(j)
	b.Kernels = KernelOptions{Repository: repository, Pull: true, Push: true}
	ref, err := b.Kernel(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	remote := repository + strings.TrimPrefix(ref, "hookbuild/kernel")
	if !h.begins(`end pull "` + remote + ` is not there"`) {
		t.Errorf("heard %q", h.lines)
	}
	if !slices.Equal(f.buildKit.tags(), []string{"hookbuild/kernel:amd64"}) || !h.begins(`end push "`+remote+"@sha256:") {
		t.Errorf("built %q, heard %q", f.buildKit.tags(), h.lines)
	}
	leftNothing(t, b)
}

// Offline the repository is not asked, and the kernel made from the cache.
func TestPullOffline(t *testing.T) {
	p, h := newProject(t), &heard{}
	b, f := p.maker(h, "hookbuild/kernel:")
	j := p.job()
	p.cached(j)
	b.Registry.Offline, b.Kernels = true, KernelOptions{Repository: "registry.example/k", Pull: true}
	if _, err := b.Kernel(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.buildKit.tags(), []string{"hookbuild/kernel:amd64"}) || h.has("start pull") {
		t.Errorf("built %q, heard %q", f.buildKit.tags(), h.lines)
	}
	if !h.begins("warn --offline: registry.example/k is not asked for the kernel") {
		t.Errorf("heard %q", h.lines)
	}
	heardAgain := &heard{}
	b, _ = p.maker(heardAgain)
	b.Registry.Offline, b.Kernels = true, KernelOptions{Repository: "registry.example/k", Pull: true}
	if _, err := b.Kernel(t.Context(), j); err != nil || heardAgain.begins("warn") {
		t.Errorf("with the kernel there: got %v, heard %q", err, heardAgain.lines)
	}
}

func TestRegistryFailures(t *testing.T) {
	_, srv := theRegistry(t)
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(refuses.Close)
	for _, c := range []struct {
		name    string
		o       KernelOptions
		offline bool
		stage   string
		as      any
	}{
		{"pull, refused", KernelOptions{Repository: refuses.Listener.Addr().String() + "/k", Pull: true}, false, "pull", new(*registry.AuthError)},
		{"push, refused", KernelOptions{Repository: refuses.Listener.Addr().String() + "/k", Push: true}, false, "push", new(*registry.AuthError)},
		{"push, offline", KernelOptions{Repository: srv.Listener.Addr().String() + "/k", Push: true}, true, "push", new(*registry.OfflineError)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			b, f := p.maker(&heard{})
			if c.o.Pull {
				f.lose("hookbuild/kernel:")
			}
			b.Registry.Offline, b.Kernels = c.offline, c.o
			_, err := b.Kernel(t.Context(), p.job())
			var stage *StageError
			if !errors.As(err, &stage) || stage.Stage != c.stage || !errors.As(err, c.as) {
				t.Errorf("got %v", err)
			}
			if len(f.buildKit.all()) != 0 {
				t.Error("it was compiled all the same")
			}
			leftNothing(t, b)
		})
	}
}

// A source from kernel.org goes from the mirror to the engine's inputs, by the lock's pin.
func TestKernelFromKernelOrg(t *testing.T) {
	p, m := newProject(t), kernelorgtest.New(t)
	var source bytes.Buffer
	z, err := xz.NewWriter(&source)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(z, "the source")
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	m.Add("6.12.9", source.Bytes())
	client := &kernelorg.Client{
		Download: &download.Client{}, Mirror: m.URL, WKD: m.WKD, Trusted: m.Trusted,
		CacheDir: filepath.Join(p.dir, "cache"), Now: func() time.Time { return kernelorgtest.Born().AddDate(0, 1, 0) },
	}
	pin, err := client.Resolve(t.Context(), kernelorg.Want{Series: "6.12"})
	if err != nil {
		t.Fatal(err)
	}
	p.pkg.KernelOrg = client
	if got, err := p.pkg.KernelPin(t.Context(), kernelorg.Want{Series: "6.12"}); err != nil || !cmp.Equal(got, pin) {
		t.Errorf("got %+v, %v", got, err)
	}
	p.req.Flavor.Kernel.Source = config.Source{Kind: config.SourceKernelOrg}
	p.relock()
	lock, err := resolve.ReadLock(p.req.LockFile)
	if err != nil {
		t.Fatal(err)
	}
	e := lock.Flavors[p.req.Flavor.ID]
	e.Kernel = &resolve.Kernel{Series: "6.12", Pin: pin}
	lock.Flavors[p.req.Flavor.ID] = e
	if err := lock.Write(p.req.LockFile); err != nil {
		t.Fatal(err)
	}
	j := p.job()
	b, _ := p.maker(&heard{})
	spec, err := b.kernelSpec(j, "")
	want := kernel.Source{Kind: kernel.Tarball, Version: "6.12.9", SHA256: []string{pin.SHA256}}
	if diff := cmp.Diff(want, spec.Source); diff != "" || err != nil {
		t.Error(diff, err)
	}
	resigned := *j // by another developer, over the same bytes
	other := *j.Entry.Kernel
	other.SignedBy = []string{"F1", "F2"}
	resigned.Entry.Kernel = &other
	if again, err := b.kernelSpec(&resigned, ""); err != nil || again.Ref() != spec.Ref() {
		t.Errorf("another signature makes another kernel: %v", err)
	}
	for _, name := range []string{"kernel.org", "files"} { // from the server, and from what kernelorg keeps
		if err := os.RemoveAll(filepath.Join(p.dir, "cache", name)); err != nil {
			t.Fatal(err)
		}
		got, err := b.kernelInputs(j).bring(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]engine.Local{"files": {Dir: b.inputDir(), Include: []string{pin.SHA256}}}, got); diff != "" {
			t.Error(diff)
		}
		if data, err := os.ReadFile(filepath.Join(b.inputDir(), pin.SHA256)); err != nil || !bytes.Equal(data, source.Bytes()) {
			t.Errorf("got %d bytes, %v", len(data), err)
		}
	}
	client.Download.Offline = true
	if err := os.RemoveAll(filepath.Join(p.dir, "cache", "kernel.org")); err != nil {
		t.Fatal(err)
	}
	var offline *download.OfflineError
	if _, err := b.kernelInputs(j).bring(t.Context()); !errors.As(err, &offline) {
		t.Errorf("offline: got %v", err)
	}
}
