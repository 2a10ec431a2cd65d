package base

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"

	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/engine"
)

// fakeEngine holds images by name and follows a script of failures.
type fakeEngine struct {
	has       map[string]bool
	hasErr    error
	importErr error
	stopAt    int64 // bytes of the rootfs that are read; 0 is all
	buildErr  error
	removeErr error

	rootfs []byte
	built  []engine.Build
	calls  []string
}

func (f *fakeEngine) Has(_ context.Context, ref string) (bool, error) { return f.has[ref], f.hasErr }

func (f *fakeEngine) Import(_ context.Context, r io.Reader, ref string) error {
	f.calls = append(f.calls, "import "+ref)
	if f.stopAt > 0 {
		r = io.LimitReader(r, f.stopAt)
	}
	var err error
	if f.rootfs, err = io.ReadAll(r); err != nil {
		return errors.New("engine: unexpected end of the tar")
	}
	return f.importErr
}

func (f *fakeEngine) Build(_ context.Context, b engine.Build) error {
	f.calls = append(f.calls, "build "+b.Tag)
	f.built = append(f.built, b)
	return f.buildErr
}

func (f *fakeEngine) Remove(ctx context.Context, ref string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.calls = append(f.calls, "remove "+ref)
	return f.removeErr
}

// fetch gives what is in the pool.
func (p *pool) fetch(context.Context, []debian.Package) (map[string]string, error) {
	return p.files, nil
}

func (p *pool) set() Set { return Set{Name: "base", Arch: "amd64", Packages: p.pkgs} }

func TestRef(t *testing.T) {
	p := func(sums ...string) (all []debian.Package) {
		for _, s := range sums {
			all = append(all, debian.Package{Name: "n" + s, SHA256: s})
		}
		return all
	}
	base := Set{Name: "base", Arch: "amd64", Packages: p("aa", "bb")}
	if got := base.Ref(); !strings.HasPrefix(got, "hookbuild/debian:base-amd64-") || len(got) != len("hookbuild/debian:base-amd64-")+16 {
		t.Errorf("got %s", got)
	}
	if got := (Set{Name: "base", Arch: "amd64", Packages: p("bb", "aa")}).Ref(); got != base.Ref() {
		t.Error("the order of the packages changes the name")
	}
	seen := map[string]bool{base.Ref(): true}
	for name, s := range map[string]Set{
		"another package": {Name: "base", Arch: "amd64", Packages: p("aa", "cc")},
		"one less":        {Name: "base", Arch: "amd64", Packages: p("aa")},
		"none":            {Name: "base", Arch: "amd64"},
		"architecture":    {Name: "base", Arch: "arm64", Packages: p("aa", "bb")},
		"name":            {Name: "toolchain", Arch: "amd64", Packages: p("aa", "bb")},
	} {
		if seen[s.Ref()] {
			t.Errorf("%s: the same name", name)
		}
		seen[s.Ref()] = true
	}
	if !strings.Contains(Recipe(), configure) || !strings.HasPrefix(Recipe(), layout) {
		t.Error("the recipe lacks the script or the layout's version")
	}
}

func TestEnsureFetchesNothingWhenTheImageIsThere(t *testing.T) {
	p := small(t)
	f := &fakeEngine{has: map[string]bool{p.set().Ref(): true}}
	ref, err := Ensure(t.Context(), f, p.set(), func(context.Context, []debian.Package) (map[string]string, error) {
		t.Error("packages are fetched")
		return nil, nil
	}, nil)
	if err != nil || ref != p.set().Ref() || len(f.calls) != 0 {
		t.Errorf("got %s, %v; calls %q", ref, err, f.calls)
	}
}

func TestEnsure(t *testing.T) {
	p := small(t)
	f := &fakeEngine{}
	ref, err := Ensure(t.Context(), f, p.set(), p.fetch, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"import " + ref + "-unpacked", "build " + ref, "remove " + ref + "-unpacked"}; !slices.Equal(f.calls, want) {
		t.Errorf("got calls %q, want %q", f.calls, want)
	}
	if !bytes.Equal(f.rootfs, p.rootfs()) {
		t.Error("the engine did not get the rootfs")
	}
	var cfg struct {
		Architecture, OS string
		Config           struct{ Env, Cmd []string }
	}
	if err := json.Unmarshal(f.built[0].Config, &cfg); err != nil {
		t.Fatal(err)
	}
	if cfg.Architecture != "amd64" || cfg.OS != "linux" || !slices.Equal(cfg.Config.Env, []string{"PATH=" + Path}) {
		t.Errorf("got config %+v", cfg)
	}
	checkConfigureStep(t, f.built[0].Definition, ref+"-unpacked")
}

// checkConfigureStep wants one exec in the unpacked image, without network.
func checkConfigureStep(t *testing.T, def *llb.Definition, from string) {
	t.Helper()
	var execs int
	var sources []string
	for _, raw := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			t.Fatal(err)
		}
		if s := op.GetSource(); s != nil {
			sources = append(sources, s.Identifier)
		}
		if e := op.GetExec(); e != nil {
			execs++
			if e.Network != pb.NetMode_NONE || e.Meta.Args[2] != configure {
				t.Errorf("got network %s, command %q", e.Network, e.Meta.Args)
			}
		}
	}
	if execs != 1 || len(sources) != 1 || !strings.HasSuffix(sources[0], from) {
		t.Errorf("got %d steps from %q, want one from %s", execs, sources, from)
	}
}

func TestEnsureFailures(t *testing.T) {
	fault := errors.New("the cause")
	for _, c := range []struct {
		name    string
		engine  fakeEngine
		spoil   func(p *pool)
		want    string
		removed bool
	}{
		{"the engine is gone", fakeEngine{hasErr: fault}, nil, "the cause", false},
		{"import", fakeEngine{importErr: fault}, nil, "bootstrap Debian image base: the cause", true},
		{"import that stops reading", fakeEngine{importErr: fault, stopAt: 700}, nil, "the cause", true},
		{"import that stops reading and says nothing", fakeEngine{stopAt: 700}, nil, "closed pipe", true},
		{"a package script", fakeEngine{buildErr: &engine.BuildError{Step: "configure", ExitCode: 1, Err: fault}}, nil, "configure Debian image base", true},
		{"clearing up", fakeEngine{removeErr: fault}, nil, "the cause", true},
		{"a broken package", fakeEngine{}, func(p *pool) {
			os.WriteFile(p.files[p.pkgs[2].SHA256], []byte("<html>"), 0o644)
		}, "unpack libc6 1.0", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := small(t)
			if c.spoil != nil {
				c.spoil(p)
			}
			_, err := Ensure(t.Context(), &c.engine, p.set(), p.fetch, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if got := slices.Contains(c.engine.calls, "remove "+p.set().Ref()+"-unpacked"); got != c.removed {
				t.Errorf("the unpacked image was removed: %v, want %v", got, c.removed)
			}
			if strings.Contains(c.name, "broken") && strings.Contains(err.Error(), "pipe") {
				t.Errorf("the cause is hidden: %v", err)
			}
		})
	}
}

func TestEnsurePassesTheBuildErrorOn(t *testing.T) {
	p := small(t)
	f := &fakeEngine{buildErr: &engine.BuildError{Step: "configure", ExitCode: 7}}
	var failed *engine.BuildError
	if _, err := Ensure(t.Context(), f, p.set(), p.fetch, nil); !errors.As(err, &failed) || failed.ExitCode != 7 {
		t.Errorf("got %v", err)
	}
}

func TestEnsureCancelledStillClearsUp(t *testing.T) {
	p := small(t)
	ctx, cancel := context.WithCancel(t.Context())
	f := &fakeEngine{}
	_, err := Ensure(ctx, f, p.set(), func(ctx context.Context, pkgs []debian.Package) (map[string]string, error) {
		cancel()
		return p.fetch(ctx, pkgs)
	}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if !slices.Contains(f.calls, "remove "+p.set().Ref()+"-unpacked") {
		t.Errorf("got calls %q", f.calls)
	}
}

func TestEnsureWithoutPackages(t *testing.T) {
	fault := errors.New("mirror does not answer")
	f := &fakeEngine{}
	_, err := Ensure(t.Context(), f, Set{Name: "base"}, func(context.Context, []debian.Package) (map[string]string, error) { return nil, fault }, nil)
	if !errors.Is(err, fault) || len(f.calls) != 0 {
		t.Errorf("got %v, calls %q", err, f.calls)
	}
}

func TestRootfsOfARealSizeIsATar(t *testing.T) {
	p := newPool(t)
	p.add("big", "all", "", nil, []item{{name: "./usr/share/" + strings.Repeat("long/", 60) + "name", content: strings.Repeat("x", 1<<20)}})
	in := tar.NewReader(bytes.NewReader(p.rootfs()))
	h, err := in.Next()
	if err != nil || h.Size != 1<<20 || len(h.Name) < 300 {
		t.Errorf("got %+v, %v", h, err)
	}
}

func TestConfigureScript(t *testing.T) {
	for _, args := range [][]string{
		{"sh", "-n", "configure.sh"},
		{"shellcheck", "-s", "sh", "-e", "SC1007", "configure.sh"}, // DPKG_ROOT= sets it empty, as is meant
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}
