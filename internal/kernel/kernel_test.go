package kernel

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/pb"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/kconfig"
	"github.com/hookbuild/hookbuild/internal/modules"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// compiled is a kernel from Debian's source, with everything that a kernel can have.
func compiled() Spec {
	return Spec{
		Arch: plan.X8664, HostArch: "amd64", Epoch: 1790000000, Image: "hookbuild/debian:toolchain-amd64-0",
		Source: Source{Kind: Package, Version: "6.12.9-1", SHA256: []string{"aa"}}, Config: []byte("CONFIG_64BIT=y\n"),
		Patches:  []Patch{{Name: "first.patch", SHA256: "p1"}, {Name: "a second.patch", SHA256: "p2"}},
		External: []External{{Name: "ice", SHA256: "x1"}, {Name: "other", SHA256: "x2", Make: []string{"all", "V=1 2"}}},
		Tree:     "generic", Command: "hookbuild kernel hook-default-amd64",
	}
}

// finished is one of Debian's kernels.
func finished() Spec {
	s := compiled()
	s.Config, s.Patches, s.External = nil, nil, nil
	s.Source = Source{Kind: BinaryPackages, Version: "6.12.9-1", SHA256: []string{"bb", "cc"}}
	return s
}

// names are a spec's names for what the engine keeps.
type names struct{ Ref, Source, Tree, Config bool }

func changed(a, b Spec) names {
	return names{a.Ref() != b.Ref(), a.sourceID() != b.sourceID(), a.treeID() != b.treeID(), a.ConfigRef() != b.ConfigRef()}
}

func TestNames(t *testing.T) {
	all := names{true, true, true, true}
	tools := names{Ref: true, Tree: true, Config: true}
	result := names{Ref: true}
	for _, c := range []struct {
		name   string
		change func(s *Spec)
		want   names
	}{
		{"nothing", func(*Spec) {}, names{}},
		{"a kernel symbol", func(s *Spec) { s.Config = []byte("CONFIG_64BIT=n\n") }, result},
		{"no configuration", func(s *Spec) { s.Config = nil }, result},
		{"the name of the build tree", func(s *Spec) { s.Tree = "mine" }, names{Tree: true}},
		{"the command", func(s *Spec) { s.Command = "another" }, names{}},
		{"the engine's architecture, which the image's name has", func(s *Spec) { s.HostArch = "arm64" }, names{}},
		{"the epoch", func(s *Spec) { s.Epoch++ }, result},
		{"the architecture", func(s *Spec) { s.Arch = plan.AArch64 }, tools},
		{"the compiler", func(s *Spec) { s.Image += "1" }, tools},
		{"the kind of source", func(s *Spec) { s.Source.Kind = Tarball }, all},
		{"the source's version", func(s *Spec) { s.Source.Version = "6.12.9-2" }, all},
		{"the source", func(s *Spec) { s.Source.SHA256 = []string{"ab"} }, all},
		{"one file of the source more", func(s *Spec) { s.Source.SHA256 = []string{"aa", "aa"} }, all},
		{"no patches", func(s *Spec) { s.Patches = nil }, all},
		{"a patch", func(s *Spec) { s.Patches[1].SHA256 = "p3" }, all},
		{"the order of patches", func(s *Spec) { slices.Reverse(s.Patches) }, all},
		{"no external modules", func(s *Spec) { s.External = nil }, result},
		{"an external module", func(s *Spec) { s.External[0].SHA256 = "x3" }, result},
		{"its name", func(s *Spec) { s.External[0].Name = "ice2" }, result},
		{"its arguments", func(s *Spec) { s.External[1].Make = []string{"all", "V=1", "2"} }, result},
		{"the order of external modules", func(s *Spec) { slices.Reverse(s.External) }, result},
	} {
		s := compiled()
		c.change(&s)
		if diff := cmp.Diff(c.want, changed(s, compiled())); diff != "" {
			t.Errorf("%s: what it changes (-want +got):\n%s", c.name, diff)
		}
	}
	for _, c := range []struct {
		name   string
		change func(s *Spec)
		ref    bool
	}{
		{"a configuration, which nobody looks at", func(s *Spec) { s.Config = []byte("CONFIG_64BIT=y\n") }, false},
		{"the order of packages", func(s *Spec) { slices.Reverse(s.Source.SHA256) }, true},
		{"a directory of that digest", func(s *Spec) { s.Source.Kind = BinaryTree }, true},
		{"the image that it is taken apart in", func(s *Spec) { s.Image += "1" }, true},
	} {
		s := finished()
		c.change(&s)
		if got := s.Ref() != finished().Ref(); got != c.ref {
			t.Errorf("a finished kernel: %s: changes the name: %v, want %v", c.name, got, c.ref)
		}
	}
}

func TestNamesHaveTheirForm(t *testing.T) {
	arm := compiled()
	arm.Arch = plan.AArch64
	for got, start := range map[string]string{
		compiled().Ref():       "hookbuild/kernel:amd64-",
		arm.Ref():              "hookbuild/kernel:arm64-",
		compiled().ConfigRef(): "hookbuild/kconfig:amd64-",
		compiled().treeID():    "hookbuild-kernel-",
		compiled().sourceID():  "hookbuild-source-",
		selection().Ref():      "hookbuild/modules:amd64-",
	} {
		if digest, ok := strings.CutPrefix(got, start); !ok || len(digest) != 16 || strings.Trim(digest, "0123456789abcdef") != "" {
			t.Errorf("got %s, want %s and 16 hexadecimal digits", got, start)
		}
	}
}

func TestRecipe(t *testing.T) {
	parts := map[string]string{
		"package.sh": packageScript, "prepare.sh": prepareScript, "compile.sh": compileScript, "kconfig.sh": kconfigScript,
		"query.c": kconfig.QuerySource(), "install.sh": kconfig.InstallScript(), "subset.sh": kconfig.SubsetScript(), "modules": modules.Recipe(),
	}
	for name, part := range parts {
		if part == "" || !strings.Contains(Recipe(), part) {
			t.Errorf("the recipe lacks %s", name)
		}
	}
	if strings.Contains(Recipe(), editScript) {
		t.Error("the menu decides about the outputs")
	}
	if strings.Contains(recipe(), modules.Recipe()) {
		t.Error("what is left out of the initramfs decides about the kernel")
	}
}

// fakeBuilder notes what it is to build, and says what it is told to.
type fakeBuilder struct {
	has         bool
	hasErr, err error
	says        []string
	built       []engine.Build
}

func (f *fakeBuilder) Has(context.Context, string) (bool, error) { return f.has, f.hasErr }

func (f *fakeBuilder) Build(_ context.Context, b engine.Build) error {
	f.built = append(f.built, b)
	for _, line := range f.says {
		b.Log(engine.Event{Step: "step", Text: line})
	}
	return f.err
}

// locals are the directories that a kernel's inputs lie in.
func locals(m map[string]engine.Local) Inputs {
	return func(context.Context) (map[string]engine.Local, error) { return m, nil }
}

var (
	debs  = engine.Local{Dir: "/cache/debs", Include: []string{"aa.deb"}}
	files = engine.Local{Dir: "/cache/files", Include: []string{"p1", "p2", "x1", "x2"}}
	inDir = engine.Local{Dir: "/home/me/linux", Exclude: []string{".git"}}
)

// only is the one build that f was asked for, and what its definition says.
func (f *fakeBuilder) only(t *testing.T) (engine.Build, graph) {
	t.Helper()
	if len(f.built) != 1 {
		t.Fatalf("got %d builds, want 1", len(f.built))
	}
	b := f.built[0]
	g := graph{files: map[string]string{}, sources: map[string]map[string]string{}, archs: map[string]string{}}
	for _, raw := range b.Definition.Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			t.Fatal(err)
		}
		g.add(t, &op)
	}
	if g.exec == nil {
		t.Fatal("the definition has no step")
	}
	return b, g
}

// graph is what a definition consists of.
type graph struct {
	exec    *pb.ExecOp
	on      string                       // architecture of the step
	files   map[string]string            // that are made, by path
	sources map[string]map[string]string // attributes by identifier
	archs   map[string]string            // of sources, where they have one
}

func (g *graph) add(t *testing.T, op *pb.Op) {
	t.Helper()
	switch {
	case op.GetExec() != nil && g.exec != nil:
		t.Fatal("the definition has two steps")
	case op.GetExec() != nil:
		g.exec, g.on = op.GetExec(), op.Platform.GetArchitecture()
	case op.GetSource() != nil:
		s := op.GetSource()
		g.sources[s.Identifier] = s.Attrs
		g.archs[s.Identifier] = op.Platform.GetArchitecture()
	case op.GetFile() != nil:
		for _, a := range op.GetFile().Actions {
			if f := a.GetMkfile(); f != nil {
				g.files[f.Path] = string(f.Data)
			}
		}
	}
}

func (g graph) env() map[string]string {
	env := map[string]string{}
	for _, e := range g.exec.Meta.Env {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	return env
}

// mounts are where the step finds its files, and how.
func (g graph) mounts() map[string]string {
	found := map[string]string{}
	for _, m := range g.exec.Mounts {
		kind := strings.ToLower(m.MountType.String())
		if m.Readonly {
			kind += " read-only"
		}
		if m.CacheOpt != nil {
			kind += fmt.Sprintf(" %s %s", m.CacheOpt.Sharing, m.CacheOpt.ID)
		}
		found[m.Dest] = kind
	}
	return found
}

// checkStep compares the step with what it has to be; the network is off in all of them.
func (g graph) checkStep(t *testing.T, script, host string, env, mounts map[string]string) {
	t.Helper()
	if g.exec.Network != pb.NetMode_NONE || g.exec.Security != pb.SecurityMode_SANDBOX {
		t.Errorf("got network %s, security %s", g.exec.Network, g.exec.Security)
	}
	if diff := cmp.Diff([]string{"/bin/sh", "-c", script}, g.exec.Meta.Args); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(env, g.env()); diff != "" {
		t.Error("environment:", diff)
	}
	if diff := cmp.Diff(mounts, g.mounts()); diff != "" {
		t.Error("mounts:", diff)
	}
	if g.on != host {
		t.Errorf("the step is for %s, want the engine's %s", g.on, host)
	}
}

const (
	bind     = "bind"
	readOnly = "bind read-only"
)

// with returns a map with more in it.
func with(m map[string]string, more ...string) map[string]string {
	m = maps.Clone(m)
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

// common is the environment of every step on a kernel.
func common(form string) map[string]string {
	return map[string]string{
		"PATH": base.Path, "HOME": "/root", "LC_ALL": "C", "EPOCH": "1790000000", "KARCH": "x86_64", "CROSS_COMPILE": "", "SOURCE": form,
	}
}

func TestCompileDefinition(t *testing.T) {
	cross := func(s *Spec) { s.Arch = plan.AArch64 }
	back := func(s *Spec) { s.HostArch = "arm64" }
	source := func(kind Kind, sum string) func(s *Spec) {
		return func(s *Spec) { s.Source = Source{Kind: kind, SHA256: []string{sum}} }
	}
	both := map[string]engine.Local{SourceInput: debs, FilesInput: files}
	for _, c := range []struct {
		name   string
		change func(s *Spec)
		in     map[string]engine.Local
		clean  string
		env    map[string]string
		host   string
	}{
		{"Debian's source", func(*Spec) {}, both, "", common("package"), "amd64"},
		{"anew", func(*Spec) {}, both, "17", with(common("package"), "CLEAN", "17"), "amd64"},
		{"for another architecture", cross, both, "", with(common("package"), "KARCH", "arm64", "CROSS_COMPILE", "aarch64-linux-gnu-"), "amd64"},
		{"on another architecture", back, both, "", with(common("package"), "CROSS_COMPILE", "x86_64-linux-gnu-"), "arm64"},
		{"a tarball", source(Tarball, "tt"), map[string]engine.Local{FilesInput: files}, "", with(common("tarball"), "TARBALL", "tt"), "amd64"},
		{"a directory", source(Directory, "dd"), map[string]engine.Local{SourceInput: inDir, FilesInput: files}, "", common("tree"), "amd64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, f := compiled(), &fakeBuilder{}
			c.change(&s)
			if _, err := s.Compile(t.Context(), f, []byte("final"), c.clean, locals(c.in), nil); err != nil {
				t.Fatal(err)
			}
			_, g := f.only(t)
			mounts := map[string]string{
				"/": bind, "/out": bind, "/config": readOnly, "/build/src": "cache SHARED " + s.sourceID(),
				"/build/obj": "cache LOCKED " + s.treeID(), "/ccache": "cache SHARED hookbuild-ccache",
			}
			for name := range c.in {
				mounts["/"+name] = readOnly
			}
			env := with(c.env, "PREPARE", prepareScript, "TOOLCHAIN", s.Image, "CLEAN", c.clean)
			g.checkStep(t, compileScript, c.host, env, mounts)
		})
	}
}

func TestUnpackDefinition(t *testing.T) {
	for _, c := range []struct {
		name string
		kind Kind
		in   engine.Local
		form string
	}{
		{"packages", BinaryPackages, debs, "packages"},
		{"a directory", BinaryTree, inDir, "tree"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, f := finished(), &fakeBuilder{}
			s.Source.Kind = c.kind
			if _, err := s.Unpack(t.Context(), f, locals(map[string]engine.Local{SourceInput: c.in}), nil); err != nil {
				t.Fatal(err)
			}
			b, g := f.only(t)
			g.checkStep(t, packageScript, "amd64", common(c.form), map[string]string{"/": bind, "/out": bind, "/source": readOnly, "/config": readOnly})
			if diff := cmp.Diff(map[string]string{"/spec.json": string(s.Identity())}, g.files); diff != "" {
				t.Error(diff)
			}
			if b.Tag != s.Ref() {
				t.Errorf("got tag %s", b.Tag)
			}
		})
	}
}

func TestConfigFiles(t *testing.T) {
	s, f := compiled(), &fakeBuilder{}
	if _, err := s.Compile(t.Context(), f, []byte("CONFIG_64BIT=y\nCONFIG_MODULES=y\n"), "", locals(nil), nil); err != nil {
		t.Fatal(err)
	}
	_, g := f.only(t)
	want := map[string]string{
		"/spec.json": string(s.Identity()), "/config": "CONFIG_64BIT=y\nCONFIG_MODULES=y\n", "/patches": "p1 first.patch\np2 a second.patch\n",
		"/external/000/name": "ice", "/external/000/file": "x1", "/external/000/make": "",
		"/external/001/name": "other", "/external/001/file": "x2", "/external/001/make": "all\nV=1 2\n",
	}
	if diff := cmp.Diff(want, g.files); diff != "" {
		t.Error(diff)
	}
	var id identity
	if err := json.Unmarshal(s.Identity(), &id); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(identity{
		Arch: plan.X8664, Epoch: 1790000000, Toolchain: s.Image, Source: s.Source, Config: hexSum(s.Config), Patches: s.Patches,
		External: s.External, Recipe: hexSum([]byte(recipe())),
	}, id); diff != "" {
		t.Error(diff)
	}
}

// What the engine has been sent before it compares by size and time; only the key, or the names, tell contents
// apart.
func TestSources(t *testing.T) {
	s := compiled()
	s.Source = Source{Kind: Directory, SHA256: []string{"dd"}}
	f := &fakeBuilder{}
	if _, err := s.Compile(t.Context(), f, nil, "", locals(map[string]engine.Local{SourceInput: inDir, FilesInput: files}), nil); err != nil {
		t.Fatal(err)
	}
	b, g := f.only(t)
	want := map[string]map[string]string{
		"docker-image://docker.io/hookbuild/debian:toolchain-amd64-0": nil,
		"local://source": {pb.AttrSharedKeyHint: "dd"},
		"local://files":  {pb.AttrIncludePatterns: `["p1","p2","x1","x2"]`},
	}
	for _, attrs := range g.sources {
		delete(attrs, pb.AttrLocalUniqueID)
	}
	if diff := cmp.Diff(want, g.sources); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]engine.Local{"source": inDir, "files": files}, b.Locals); diff != "" {
		t.Error(diff)
	}
}

// The engine finds what it has done before by the step's bytes. (Directories that are sent have another id each time.)
func TestStepIsTheSameEachTime(t *testing.T) {
	var first []byte
	for range 20 {
		f := &fakeBuilder{}
		if _, err := compiled().Compile(t.Context(), f, nil, "", locals(map[string]engine.Local{SourceInput: debs, FilesInput: files}), nil); err != nil {
			t.Fatal(err)
		}
		_, g := f.only(t)
		step, err := g.exec.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = step
		}
		if !bytes.Equal(first, step) {
			t.Fatal("the step differs")
		}
	}
}

func TestCompileResult(t *testing.T) {
	f := &fakeBuilder{says: []string{"  CC      a.o", "a.c:1:2: warning: strange", "warning: look here"}}
	s := compiled()
	s.Arch = plan.AArch64
	var heard []string
	warnings, err := s.Compile(t.Context(), f, nil, "", locals(nil), func(e engine.Event) { heard = append(heard, e.Text) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a.c:1:2: warning: strange", "look here"}, warnings); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(f.says, heard); diff != "" {
		t.Error(diff)
	}
	b, _ := f.only(t)
	var cfg struct {
		Architecture, OS string
		Config           struct{ Labels map[string]string }
	}
	if err := json.Unmarshal(b.Config, &cfg); err != nil || cfg.Architecture != "arm64" || cfg.OS != "linux" || cfg.Config.Labels[CommandLabel] != s.Command {
		t.Errorf("got image config %s, %v", b.Config, err)
	}
}

func TestMakeFailures(t *testing.T) {
	fault := &engine.BuildError{Step: "compile the kernel", ExitCode: 2, Err: errors.New("exit code: 2")}
	gone := errors.New("the mirror is gone")
	noInputs := func(context.Context) (map[string]engine.Local, error) { return nil, gone }
	for name, do := range map[string]func(b builder, in Inputs) error{
		"compile": func(b builder, in Inputs) error {
			_, err := compiled().Compile(t.Context(), b, nil, "", in, nil)
			return err
		},
		"unpack": func(b builder, in Inputs) error {
			_, err := finished().Unpack(t.Context(), b, in, nil)
			return err
		},
		"configuration image": func(b builder, in Inputs) error {
			return compiled().EnsureConfigImage(t.Context(), b, in, nil)
		},
		"selection": func(b builder, in Inputs) error {
			return selection().Ensure(t.Context(), b, modules.Result{}, in, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeBuilder{}
			if err := do(f, noInputs); !errors.Is(err, gone) || len(f.built) != 0 {
				t.Errorf("no inputs: got %v after %d builds", err, len(f.built))
			}
			f = &fakeBuilder{err: fault, says: []string{"a.c:3:1: error: no", "make: *** [a.o] Error 1"}}
			err := do(f, locals(nil))
			var first *Error
			var failed *engine.BuildError
			if !errors.As(err, &first) || !errors.As(err, &failed) || err.Error() != "a.c:3:1: error: no" || len(first.First) != 2 {
				t.Errorf("a failing step: got %v, %+v", err, first)
			}
			f = &fakeBuilder{err: gone, says: []string{"a.c:3:1: error: no"}}
			if err := do(f, locals(nil)); err != gone {
				t.Errorf("another failure: got %v", err)
			}
		})
	}
}

func TestToolchain(t *testing.T) {
	for _, c := range []struct {
		arch        plan.Arch
		host, cross string
		prefix      string
	}{
		{plan.X8664, "amd64", "", ""},
		{plan.AArch64, "arm64", "", ""},
		{plan.AArch64, "amd64", "gcc-aarch64-linux-gnu", "aarch64-linux-gnu-"},
		{plan.X8664, "arm64", "gcc-x86-64-linux-gnu", "x86_64-linux-gnu-"},
	} {
		got := Toolchain(c.arch, c.host)
		for _, need := range []string{"gcc", "make", "ccache", "patch", "libncurses-dev", "flex", "bison", "kmod"} {
			if !slices.Contains(got, need) {
				t.Errorf("%s on %s: got %q without %s", c.arch, c.host, got, need)
			}
		}
		if last := got[len(got)-1]; c.cross != "" && last != c.cross || c.cross == "" && strings.HasPrefix(last, "gcc-") {
			t.Errorf("%s on %s: got %q, want %q", c.arch, c.host, got, c.cross)
		}
		if got := (Spec{Arch: c.arch, HostArch: c.host}).crossCompile(); got != c.prefix {
			t.Errorf("%s on %s: got prefix %q, want %q", c.arch, c.host, got, c.prefix)
		}
	}
}

func TestReadMetadata(t *testing.T) {
	const text = `{"release": "6.12.9", "compiler": "gcc (Debian \"x\") 14", "config_sha256": "cc", "spec": {"arch":"x86_64"}}`
	got, err := ReadMetadata(strings.NewReader(text))
	want := Metadata{Release: "6.12.9", Compiler: `gcc (Debian "x") 14`, ConfigSHA256: "cc", Spec: map[string]any{"arch": "x86_64"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	endless := io.MultiReader(strings.NewReader(`{"release":"`), zeros{})
	for name, r := range map[string]io.Reader{"cut": strings.NewReader(text[:40]), "nothing": strings.NewReader(""), "endless": endless} {
		if _, err := ReadMetadata(r); err == nil || !strings.Contains(err.Error(), "metadata.json of the kernel image") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := ReadMetadata(io.MultiReader(strings.NewReader("{"), broken{})); !errors.Is(err, errBroken) {
		t.Errorf("a broken stream: got %v", err)
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }

// inContainer are the files that a container gets.
func inContainer(t *testing.T, put func(*tar.Writer) error) map[string]string {
	t.Helper()
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		w.CloseWithError(errors.Join(put(tw), tw.Close()))
	}()
	found := map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = string(data)
	}
}

func TestIsCacheMount(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       bool
	}{
		{"with its id", `cached mount /ccache from exec /bin/sh -c x with id "hookbuild-ccache"`, true},
		{"with a prefix before its id", `cached mount /build/obj from exec /bin/sh -c x with id "/hookbuild-kernel-1234"`, true},
		{"somebody else's id", `cached mount /ccache from exec /bin/sh -c hookbuild eval "$PREPARE" with id "/ccache-of-hookbuild-"`, false},
		{"compilation", "cached mount /build/obj from exec /bin/sh -c " + compileScript, true},
		{"configuration", "cached mount /build/src from exec /bin/sh -c " + kconfigScript, true},
		{"somebody else's script", "cached mount /ccache from exec /bin/sh -c make hookbuild", false},
		{"somebody else's directory", "cached mount /root/.cache/go-build from exec /bin/sh -c " + compileScript, false},
		{"no exec", "cached mount /ccache from hookbuild", false},
		{"nothing", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := IsCacheMount(tc.text); got != tc.want {
				t.Errorf("got %t", got)
			}
		})
	}
}
