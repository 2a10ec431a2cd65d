package kernel

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/kconfig"
	"github.com/hookbuild/hookbuild/internal/plan"
)

func TestConfigImageDefinition(t *testing.T) {
	for _, c := range []struct {
		name  string
		arch  plan.Arch
		kbuil string
		cross string
	}{
		{"native", plan.X8664, "x86_64", ""},
		{"cross", plan.AArch64, "arm64", "aarch64-linux-gnu-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, f := compiled(), &fakeBuilder{}
			s.Arch = c.arch
			in := map[string]engine.Local{SourceInput: debs, FilesInput: files}
			if err := s.EnsureConfigImage(t.Context(), f, locals(in), nil); err != nil {
				t.Fatal(err)
			}
			b, g := f.only(t)
			env := with(common("package"), "KARCH", c.kbuil, "CROSS_COMPILE", c.cross, "PREPARE", prepareScript,
				"SUBSET", kconfig.SubsetScript(), "INSTALL", kconfig.InstallScript())
			g.checkStep(t, kconfigScript, "amd64", env, map[string]string{
				"/": bind, "/config": readOnly, "/source": readOnly, "/files": readOnly, "/build/src": "cache SHARED " + s.sourceID(),
			})
			if g.files["/query.c"] != kconfig.QuerySource() || g.files["/patches"] == "" {
				t.Error("/config lacks the query program or the patches")
			}
			if _, ok := g.files["/config"]; ok {
				t.Error("the image depends on the configuration")
			}
			// The programs in it are the engine's.
			want := fmt.Sprintf(`{"architecture":"amd64","config":{"Env":["PATH=%s","HOME=/root","LC_ALL=C","PS1=kernel-config# ","ARCH=%s","CROSS_COMPILE=%s"],"WorkingDir":"/kconfig-obj"},"os":"linux"}`,
				base.Path, c.kbuil, c.cross)
			if diff := cmp.Diff(want, string(b.Config)); diff != "" {
				t.Error(diff)
			}
			if b.Tag != s.ConfigRef() {
				t.Errorf("got tag %s, want %s", b.Tag, s.ConfigRef())
			}
		})
	}
	f := &fakeBuilder{has: true}
	if err := compiled().EnsureConfigImage(t.Context(), f, nil, nil); err != nil || len(f.built) != 0 {
		t.Errorf("it is there: got %v, %d builds", err, len(f.built))
	}
	gone := errors.New("the engine is gone")
	if err := compiled().EnsureConfigImage(t.Context(), &fakeBuilder{hasErr: gone}, nil, nil); err != gone {
		t.Errorf("got %v", err)
	}
}

// symbols is a line as the query program writes it.
const symbols = `{"name":"BE2NET","type":"tristate","value":"m","written":true,"prompt":"Emulex","visible":"y"}` + "\n"

// answered is what a container leaves.
func answered(stem, text string) map[string]string {
	return map[string]string{stem + ".config": text, stem + ".defconfig": "short " + text, stem + ".symbols": symbols}
}

func join(all ...map[string]string) map[string]string {
	sum := map[string]string{}
	for _, m := range all {
		for name, text := range m {
			sum[name] = text
		}
	}
	return sum
}

// fakeRunner is an engine's way to run a container: it notes what it is to run, and leaves files.
type fakeRunner struct {
	leaves map[string]string
	says   string
	code   int
	err    error

	ran  engine.Container
	got  map[string]string // what was copied in
	seen engine.Terminal
	t    *testing.T
}

// Run is the engine's: outputs are read whatever the exit code, up to the first that is not there.
func (f *fakeRunner) Run(_ context.Context, c engine.Container, out io.Writer) (int, error) {
	f.ran, f.got = c, inContainer(f.t, c.Files)
	io.WriteString(out, f.says)
	if f.err != nil {
		return f.code, f.err
	}
	for _, o := range c.Outputs {
		text, ok := f.leaves[o.Path]
		if !ok {
			return f.code, fmt.Errorf("read %s from the container: %w", o.Path, engine.ErrNoOutput)
		}
		if err := o.Read(strings.NewReader(text)); err != nil {
			return f.code, err
		}
	}
	return f.code, nil
}

func (f *fakeRunner) RunTerminal(ctx context.Context, c engine.Container, t engine.Terminal) (int, error) {
	f.seen = t
	return f.Run(ctx, c, io.Discard)
}

func paths(outputs []engine.Output) []string {
	var all []string
	for _, o := range outputs {
		all = append(all, o.Path)
	}
	return all
}

func TestConfigure(t *testing.T) {
	s, f := compiled(), &fakeRunner{t: t, leaves: answered("/answers/after", "full")}
	got, err := s.Configure(t.Context(), f, []byte("CONFIG_BE2NET=m\n"))
	if err != nil {
		t.Fatal(err)
	}
	if i, ok := got.Symbols.Lookup("BE2NET"); string(got.Config) != "full" || string(got.Defconfig) != "short full" || !ok || i.Value != "m" {
		t.Errorf("got %q, %q, %+v", got.Config, got.Defconfig, i)
	}
	want := []string{"make", "-s", "-C", "/kconfig", "O=/kconfig-obj", "QUERY_ARGS=/answers/in /answers/after.config /answers/after.defconfig /answers/after.symbols", "hookbuild_queryconfig"}
	if diff := cmp.Diff(want, f.ran.Cmd); diff != "" || f.ran.Image != s.ConfigRef() || f.ran.Network != "" {
		t.Errorf("%s: image %s, network %q", diff, f.ran.Image, f.ran.Network)
	}
	if diff := cmp.Diff(map[string]string{"answers/": "", "answers/in": "CONFIG_BE2NET=m\n"}, f.got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/answers/after.config", "/answers/after.defconfig", "/answers/after.symbols"}, paths(f.ran.Outputs)); diff != "" {
		t.Error(diff)
	}
}

func TestConfigureFailures(t *testing.T) {
	gone := errors.New("the engine is gone")
	without := func(name string) map[string]string {
		m := answered("/answers/after", "full")
		delete(m, name)
		return m
	}
	for _, c := range []struct {
		name string
		run  fakeRunner
		want string
		is   error
	}{
		{"Kconfig fails", fakeRunner{code: 2, says: "init/Kconfig:3: syntax error\n"}, "exit code 2: init/Kconfig:3: syntax error", nil},
		{"it fails with everything there", fakeRunner{code: 1, leaves: answered("/answers/after", "x")}, "exit code 1", nil},
		{"it is cancelled", fakeRunner{err: context.Canceled}, "", context.Canceled},
		{"the engine is gone", fakeRunner{err: gone}, "", gone},
		{"no configuration", fakeRunner{leaves: without("/answers/after.config")}, "/answers/after.config", engine.ErrNoOutput},
		{"no symbols", fakeRunner{leaves: without("/answers/after.symbols")}, "/answers/after.symbols", engine.ErrNoOutput},
		{"symbols that are none", fakeRunner{leaves: join(answered("/answers/after", "x"), map[string]string{"/answers/after.symbols": "{"})}, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.run.t = t
			_, err := compiled().Configure(t.Context(), &c.run, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got %v, want %q, %v", err, c.want, c.is)
			}
			var bad *ConfigError
			if errors.As(err, &bad) != (c.run.code != 0) {
				t.Errorf("got %T", err)
			}
		})
	}
}

// An engine that reads nothing and has no objections.
type silentRunner struct{}

func (silentRunner) Run(context.Context, engine.Container, io.Writer) (int, error) { return 0, nil }

func TestConfigureWithoutOutputs(t *testing.T) {
	var bad *ConfigError
	if _, err := compiled().Configure(t.Context(), silentRunner{}, nil); !errors.As(err, &bad) || !strings.Contains(err.Error(), "it left no /answers/after.config") {
		t.Errorf("got %v", err)
	}
}

// Half a configuration would be another one.
func TestAnAnswerIsNotCut(t *testing.T) {
	for text, whole := range map[string]bool{"CONFIG_A=y": true, "CONFIG_A=y\n": false} {
		c := newCollector("/answers/after")
		c.max = int64(len("CONFIG_A=y"))
		err := c.wanted()[0].Read(strings.NewReader(text))
		got, kept := c.files["/answers/after.config"]
		if whole && (err != nil || string(got) != text) || !whole && (err == nil || kept || !strings.Contains(err.Error(), "more than 10 bytes")) {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}

func TestEdit(t *testing.T) {
	before, after := answered("/answers/before", "old"), answered("/answers/after", "new")
	gone := errors.New("the terminal has hung up")
	for _, c := range []struct {
		name  string
		run   fakeRunner
		saved string // the new configuration; "" for none
		want  string // in the error
	}{
		{"saved", fakeRunner{leaves: join(before, after)}, "new", ""},
		{"nothing saved", fakeRunner{leaves: before}, "", ""},
		{"saved in part", fakeRunner{leaves: join(before, map[string]string{"/answers/after.config": "new"})}, "", ""},
		{"not even read", fakeRunner{}, "", "/answers/before.config"},
		{"read in part", fakeRunner{leaves: map[string]string{"/answers/before.config": "old"}}, "", "/answers/before.defconfig"},
		{"a failure", fakeRunner{code: 2, leaves: join(before, after)}, "", "exit code 2: the terminal shows why"},
		{"killed", fakeRunner{code: 137, leaves: before}, "", "exit code 137"},
		{"hung up", fakeRunner{err: gone}, "", "hung up"},
		{"symbols that are none", fakeRunner{leaves: join(before, after, map[string]string{"/answers/after.symbols": "{"})}, "new", "line 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.run.t = t
			old, saved, err := compiled().Edit(t.Context(), &c.run, []byte("in"), Menuconfig, engine.Terminal{Term: "vt220"})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			switch {
			case err != nil:
				if strings.Contains(c.want, "/answers/before") != errors.Is(err, engine.ErrNoOutput) {
					t.Errorf("got %T %v", err, err)
				}
			case string(old.Config) != "old" || string(old.Defconfig) != "short old" || old.Symbols == nil:
				t.Errorf("before: got %+v", old)
			case (saved != nil) != (c.saved != "") || saved != nil && string(saved.Config) != c.saved:
				t.Errorf("after: got %+v", saved)
			}
		})
	}
}

func TestEditContainer(t *testing.T) {
	for _, what := range []Edits{Menuconfig, Nconfig, Shell} {
		f := &fakeRunner{t: t, leaves: answered("/answers/before", "old")}
		if _, _, err := compiled().Edit(t.Context(), f, []byte("in"), what, engine.Terminal{Term: "vt220", Size: engine.Size{Columns: 80, Rows: 24}}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(f.ran.Cmd, []string{"/bin/sh", "-c", editScript}) || !slices.Equal(f.ran.Env, []string{"EDITOR_COMMAND=" + string(what)}) {
			t.Errorf("%s: got %+v", what, f.ran)
		}
		if f.ran.Image != compiled().ConfigRef() || f.ran.Network != "" || f.seen.Term != "vt220" || f.seen.Size.Rows != 24 || f.got["answers/in"] != "in" {
			t.Errorf("%s: got %+v on %+v", what, f.ran, f.seen)
		}
		want := []string{"/answers/before.config", "/answers/before.defconfig", "/answers/before.symbols", "/answers/after.config", "/answers/after.defconfig", "/answers/after.symbols"}
		if diff := cmp.Diff(want, paths(f.ran.Outputs)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestInWorkReportsAFullPipe(t *testing.T) {
	full := errors.New("no space")
	if err := inWork([]byte("x"))(tar.NewWriter(failingWriter{full})); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }
