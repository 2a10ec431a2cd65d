package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// compiled is a kernel from source, binary one of Debian's.
func compiled() Spec {
	return Spec{
		Arch: plan.X8664, HostArch: "amd64", Epoch: 1790000000, Image: "hookbuild/debian:toolchain-amd64-0",
		Packages: []debian.Package{{Name: "linux-source-6.12", SHA256: "aa"}}, Defconfig: []byte("CONFIG_64BIT=y\n"),
	}
}

func binary() Spec {
	s := compiled()
	s.Defconfig = nil
	s.Packages = []debian.Package{{Name: "linux-image-6.12-amd64", SHA256: "bb"}, {Name: "linux-image-amd64", SHA256: "cc"}}
	return s
}

func TestRefAndTree(t *testing.T) {
	for _, c := range []struct {
		name      string
		change    func(s *Spec)
		ref, tree bool // whether it changes
	}{
		{"nothing", func(*Spec) {}, false, false},
		{"a kernel symbol", func(s *Spec) { s.Defconfig = []byte("CONFIG_64BIT=n\n") }, true, false},
		{"the name of the build tree", func(s *Spec) { s.Tree = "mine" }, false, true},
		{"the epoch", func(s *Spec) { s.Epoch++ }, true, false},
		{"the architecture", func(s *Spec) { s.Arch = plan.AArch64 }, true, true},
		{"the compiler", func(s *Spec) { s.Image += "1" }, true, true},
		{"the source", func(s *Spec) { s.Packages = []debian.Package{{Name: "linux-source-6.12", SHA256: "ab"}} }, true, true},
		{"one package more", func(s *Spec) { s.Packages = append(s.Packages, debian.Package{SHA256: "bb"}) }, true, true},
		{"where a package lies", func(s *Spec) { s.Packages[0].Filename, s.Packages[0].Archive = "pool/x", "security" }, false, false},
	} {
		s := compiled()
		c.change(&s)
		if got := s.Ref() != compiled().Ref(); got != c.ref {
			t.Errorf("%s: changes the image's name: %v, want %v", c.name, got, c.ref)
		}
		if got := s.treeID() != compiled().treeID(); got != c.tree {
			t.Errorf("%s: changes the build tree: %v, want %v", c.name, got, c.tree)
		}
	}
	if got := compiled().Ref(); !strings.HasPrefix(got, "hookbuild/kernel:amd64-") || len(got) != len("hookbuild/kernel:amd64-")+16 {
		t.Errorf("got %s", got)
	}
}

func TestRecipeHasEveryScript(t *testing.T) {
	for _, script := range []string{packageScript, unpackScript, compileScript} {
		if script == "" || !strings.Contains(Recipe(), script) {
			t.Errorf("the recipe lacks %.40q", script)
		}
	}
}

// ops are the vertices of a spec's definition.
func ops(t *testing.T, s Spec, debs ...string) []*pb.Op {
	t.Helper()
	def, err := s.definition(debs).Marshal(t.Context(), llb.Platform(base.Platform(s.HostArch)))
	if err != nil {
		t.Fatal(err)
	}
	var all []*pb.Op
	for _, raw := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			t.Fatal(err)
		}
		all = append(all, &op)
	}
	return all
}

// theStep returns the one exec among the vertices.
func theStep(t *testing.T, all []*pb.Op) *pb.ExecOp {
	t.Helper()
	var found []*pb.ExecOp
	for _, op := range all {
		if e := op.GetExec(); e != nil {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		t.Fatalf("got %d steps, want 1", len(found))
	}
	return found[0]
}

func mounts(e *pb.ExecOp) map[string]string {
	found := map[string]string{}
	for _, m := range e.Mounts {
		kind := strings.ToLower(m.MountType.String())
		if m.Readonly {
			kind += " read-only"
		}
		if m.CacheOpt != nil {
			kind += " " + m.CacheOpt.Sharing.String()
		}
		found[m.Dest] = kind
	}
	return found
}

func TestDefinition(t *testing.T) {
	arm := compiled()
	arm.Arch = plan.AArch64
	common := []string{"PATH=" + base.Path, "LC_ALL=C", "EPOCH=1790000000"}
	sourceMounts := map[string]string{"/": "bind", "/debs": "bind read-only", "/config": "bind read-only", "/build": "cache LOCKED", "/out": "bind"}
	for _, c := range []struct {
		name   string
		spec   Spec
		script string
		env    []string
		mounts map[string]string
	}{
		{"Debian's", binary(), packageScript, common, map[string]string{"/": "bind", "/debs": "bind read-only", "/out": "bind"}},
		{"compiled", compiled(), compileScript, append(slices.Clone(common), "KARCH=x86_64", "CROSS_COMPILE=", "UNPACK="+unpackScript), sourceMounts},
		{"cross", arm, compileScript, append(slices.Clone(common), "KARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-", "UNPACK="+unpackScript), sourceMounts},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := theStep(t, ops(t, c.spec, "aa.deb"))
			if e.Network != pb.NetMode_NONE {
				t.Errorf("got network %s", e.Network)
			}
			if diff := cmp.Diff([]string{"/bin/sh", "-c", c.script}, e.Meta.Args); diff != "" {
				t.Error(diff)
			}
			slices.Sort(e.Meta.Env)
			slices.Sort(c.env)
			if diff := cmp.Diff(c.env, e.Meta.Env); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.mounts, mounts(e)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDefinitionSources(t *testing.T) {
	var images []string
	var include string
	var config []byte
	for _, op := range ops(t, compiled(), "aa.deb", "bb.deb") {
		if op.Platform != nil && op.Platform.Architecture != "amd64" {
			t.Errorf("a step for %s, want the engine's architecture", op.Platform.Architecture)
		}
		if s := op.GetSource(); s != nil {
			images = append(images, s.Identifier)
			include += s.Attrs[pb.AttrIncludePatterns]
		}
		if f := op.GetFile(); f != nil {
			config = f.Actions[0].GetMkfile().Data
		}
	}
	slices.Sort(images)
	want := []string{"docker-image://docker.io/hookbuild/debian:toolchain-amd64-0", "local://debs"}
	if diff := cmp.Diff(want, images); diff != "" {
		t.Error(diff)
	}
	if include != `["aa.deb","bb.deb"]` {
		t.Errorf("got packages %s", include)
	}
	if string(config) != "CONFIG_64BIT=y\n" {
		t.Errorf("got configuration %q", config)
	}
}

func TestDebsOf(t *testing.T) {
	files := map[string]string{}
	var want []string
	for _, sum := range strings.Split("abcdefghij", "") {
		files[sum] = "/cache/debs/" + sum + ".deb"
		want = append(want, sum+".deb")
	}
	for range 20 { // the order decides about BuildKit's cache
		got, err := debsOf(files)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(engine.Local{Dir: "/cache/debs/", Include: want}, got); diff != "" {
			t.Fatal(diff)
		}
	}
	files["k"] = "/elsewhere/k.deb"
	if _, err := debsOf(files); err == nil || !strings.Contains(err.Error(), "/elsewhere/") {
		t.Errorf("two directories: got %v", err)
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
		if !slices.Contains(got, "gcc") || !slices.Contains(got, "make") {
			t.Errorf("%s on %s: got %q without a compiler for the host", c.arch, c.host, got)
		}
		if last := got[len(got)-1]; c.cross != "" && last != c.cross || c.cross == "" && strings.HasPrefix(last, "gcc-") {
			t.Errorf("%s on %s: got %q, want %q", c.arch, c.host, got, c.cross)
		}
		if got := (Spec{Arch: c.arch, HostArch: c.host}).crossCompile(); got != c.prefix {
			t.Errorf("%s on %s: got prefix %q, want %q", c.arch, c.host, got, c.prefix)
		}
	}
}

// fakeBuilder notes what it is to build.
type fakeBuilder struct {
	has         bool
	hasErr, err error
	built       []engine.Build
}

func (f *fakeBuilder) Has(context.Context, string) (bool, error) { return f.has, f.hasErr }

func (f *fakeBuilder) Build(_ context.Context, b engine.Build) error {
	f.built = append(f.built, b)
	return f.err
}

func fetched(files map[string]string, err error) base.Fetch {
	return func(context.Context, []debian.Package) (map[string]string, error) { return files, err }
}

func TestEnsure(t *testing.T) {
	f := &fakeBuilder{}
	s := compiled()
	s.Arch = plan.AArch64
	ref, err := Ensure(t.Context(), f, s, fetched(map[string]string{"aa": "/cache/debs/aa.deb"}, nil), nil)
	if err != nil || ref != s.Ref() || len(f.built) != 1 {
		t.Fatalf("got %s, %v, %d builds", ref, err, len(f.built))
	}
	b := f.built[0]
	if b.Tag != ref || b.Definition == nil {
		t.Errorf("got %+v", b)
	}
	if diff := cmp.Diff(map[string]engine.Local{"debs": {Dir: "/cache/debs/", Include: []string{"aa.deb"}}}, b.Locals); diff != "" {
		t.Error(diff)
	}
	var cfg struct{ Architecture, OS string }
	if err := json.Unmarshal(b.Config, &cfg); err != nil || cfg.Architecture != "arm64" || cfg.OS != "linux" {
		t.Errorf("got image config %s, %v", b.Config, err)
	}
}

func TestEnsureUsesWhatIsThere(t *testing.T) {
	f := &fakeBuilder{has: true}
	fetch := func(context.Context, []debian.Package) (map[string]string, error) {
		t.Error("packages are fetched")
		return nil, nil
	}
	if ref, err := Ensure(t.Context(), f, binary(), fetch, nil); err != nil || ref != binary().Ref() || len(f.built) != 0 {
		t.Errorf("got %s, %v, %d builds", ref, err, len(f.built))
	}
}

func TestEnsureFailures(t *testing.T) {
	fault := &engine.BuildError{Step: "compile the kernel", ExitCode: 2, Err: errors.New("exit code: 2")}
	files := map[string]string{"bb": "/d/bb.deb", "cc": "/d/cc.deb"}
	for _, c := range []struct {
		name    string
		builder fakeBuilder
		fetch   base.Fetch
		built   int
	}{
		{"the engine is gone", fakeBuilder{hasErr: fault}, fetched(files, nil), 0},
		{"packages", fakeBuilder{}, fetched(nil, fault), 0},
		{"the build", fakeBuilder{err: fault}, fetched(files, nil), 1},
	} {
		_, err := Ensure(t.Context(), &c.builder, binary(), c.fetch, nil)
		var failed *engine.BuildError
		if !errors.As(err, &failed) || len(c.builder.built) != c.built {
			t.Errorf("%s: got %v after %d builds", c.name, err, len(c.builder.built))
		}
	}
	scattered := map[string]string{"bb": "/d/bb.deb", "cc": "/e/cc.deb"}
	if _, err := Ensure(t.Context(), &fakeBuilder{}, binary(), fetched(scattered, nil), nil); err == nil {
		t.Error("packages in two directories: no error")
	}
}

func TestScripts(t *testing.T) {
	// SC2153: KARCH is set by the definition. SC2015: what stands between && and || only looks.
	for _, script := range []string{"package.sh", "unpack.sh", "compile.sh"} {
		for _, args := range [][]string{{"sh", "-n", script}, {"shellcheck", "-s", "sh", "-e", "SC2015,SC2153", script}} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%q: %v\n%s", args, err, out)
			}
		}
	}
}
