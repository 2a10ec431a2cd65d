package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
)

// The fake engine has no BuildKit: what is seen is that Build comes back, and with what.
func TestBuildWithoutBuildKit(t *testing.T) {
	e, f := newFake(t, nil)
	b := Build{Definition: &llb.Definition{}, Tag: "hookbuild/debian:x", Log: func(ev Event) { t.Errorf("got %+v", ev) }}
	var failed *BuildError
	if err := e.Build(t.Context(), b); !errors.As(err, &failed) || failed.Step != "solve" {
		t.Errorf("got %v, want a *BuildError of no step", err)
	}
	if !f.called("POST /grpc") {
		t.Error("the engine's BuildKit was not asked for")
	}
	b.Locals = map[string]Local{"debs": {Dir: filepath.Join(t.TempDir(), "none")}}
	if err := e.Build(t.Context(), b); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: got %v", err)
	}
}

func TestBuildCancelled(t *testing.T) {
	e, _ := newFake(t, nil)
	stopped := errors.New("ctrl-c")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	if err := e.Build(ctx, Build{Definition: &llb.Definition{}}); !errors.Is(err, stopped) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"typed", fmt.Errorf("process failed: %w", &gatewaypb.ExitError{ExitCode: 42}), 42},
		{"Docker 20.10", errors.New("executor failed running [/bin/sh -c exit 42]: exit code: 42"), 42},
		{"text of newer ones", errors.New(`process "/bin/sh" did not complete successfully: exit code: 137`), 137},
		{"the text goes on", errors.New("exit code: 2: unknown"), 2},
		{"no code", errors.New("failed to load LLB: unknown API capability"), 0},
		{"too many digits", errors.New("exit code: 99999999999999999999"), 1<<63 - 1},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func TestBuildErrorText(t *testing.T) {
	cause := errors.New("no such image")
	for want, err := range map[string]*BuildError{
		`build step "make" failed with exit code 2`: {Step: "make", ExitCode: 2, Err: cause},
		`build step "solve" failed: no such image`:  {Step: "solve", Err: cause},
	} {
		if err.Error() != want || !errors.Is(err, cause) {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

func TestDockerfileOptions(t *testing.T) {
	b := Build{
		Args: map[string]string{"BASE": "hookbuild/debian:x"}, Contexts: []string{"debs"}, Tag: "hookbuild/component:y",
		Locals: map[string]Local{"context": {Dir: t.TempDir()}, "debs": {Dir: t.TempDir()}},
	}
	opt, err := solveOptions(b)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"filename": "Dockerfile", "force-network-mode": "none", "image-resolve-mode": "local",
		"build-arg:BASE": "hookbuild/debian:x", "context:debs": "local:debs",
	}
	if diff := cmp.Diff(want, opt.FrontendAttrs); diff != "" {
		t.Error(diff)
	}
	if len(opt.Exports) != 1 || opt.Exports[0].Type != "moby" || opt.Exports[0].Attrs["name"] != b.Tag {
		t.Errorf("got exports %+v, want one into the engine's store", opt.Exports)
	}
	if len(opt.LocalMounts) != 2 {
		t.Errorf("got %d directories, want 2", len(opt.LocalMounts))
	}
}

func TestLLBHasNoDockerfileOptions(t *testing.T) {
	opt, err := solveOptions(Build{Definition: &llb.Definition{}, Args: map[string]string{"A": "b"}})
	if err != nil || opt.FrontendAttrs != nil {
		t.Errorf("got %v, %v", opt.FrontendAttrs, err)
	}
}

func TestSolveOptionsNameTheMissingDirectory(t *testing.T) {
	_, err := solveOptions(Build{Locals: map[string]Local{"debs": {Dir: filepath.Join(t.TempDir(), "none")}}})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "build context debs") {
		t.Errorf("got %v", err)
	}
}

func TestLocalMountSendsOnlyWhatIsIncluded(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"aa.deb", "bb.deb", "secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ include, want []string }{
		{nil, []string{"aa.deb", "bb.deb", "secret"}},
		{[]string{"bb.deb"}, []string{"bb.deb"}},
		{[]string{"cc.deb"}, nil},
	} {
		mount, err := localMount(Local{Dir: dir, Include: c.include})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		err = mount.Walk(t.Context(), "", func(path string, _ fs.DirEntry, err error) error {
			got = append(got, path)
			return err
		})
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("include %q: got %q, %v; want %q", c.include, got, err, c.want)
		}
	}
}

// gateway answers the one call of solve. The rest of the interface is absent.
type gateway struct {
	gwclient.Client
	asked gwclient.SolveRequest
	err   error
}

func (g *gateway) Solve(_ context.Context, r gwclient.SolveRequest) (*gwclient.Result, error) {
	g.asked = r
	return gwclient.NewResult(), g.err
}

func TestSolveHandsOverTheImageConfig(t *testing.T) {
	def, err := llb.Image("hookbuild/debian:x").Marshal(t.Context(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{}
	res, err := Build{Definition: def, Config: []byte(`{"os":"linux"}`)}.solve(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(res.Metadata[exptypes.ExporterImageConfigKey]); got != `{"os":"linux"}` {
		t.Errorf("got config %q", got)
	}
	if !g.asked.Evaluate {
		t.Error("the solve is lazy: a failing step would not show")
	}
	if diff := cmp.Diff(def.ToPB().GetDef(), g.asked.Definition.GetDef()); diff != "" {
		t.Error(diff)
	}
	var ops pb.Op
	if err := ops.UnmarshalVT(def.Def[0]); err != nil || ops.GetSource() == nil {
		t.Errorf("the definition's first vertex is no source: %v", err)
	}
}

func TestSolveWithoutConfigAndWithFailure(t *testing.T) {
	g := &gateway{}
	res, err := Build{Definition: &llb.Definition{}}.solve(t.Context(), g)
	if err != nil || len(res.Metadata) != 0 {
		t.Errorf("got %v, %v; want no metadata", res.Metadata, err)
	}
	g.err = errors.New("exit code: 1")
	if _, err = (Build{Definition: &llb.Definition{}}).solve(t.Context(), g); !errors.Is(err, g.err) {
		t.Errorf("got %v", err)
	}
}
