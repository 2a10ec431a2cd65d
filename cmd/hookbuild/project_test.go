package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/boot"
	"github.com/hookbuild/hookbuild/internal/build"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/plan"
)

func TestCommandFor(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"all", []string{"all", "--arch", "x86_64"}, "hookbuild all mine"},
		{"linuxkit without a file", []string{"linuxkit"}, "hookbuild all mine"},
		{"directories do not count", []string{"linuxkit", "-f", "/home/me/a.yaml", "-f", "b.yaml"}, "hookbuild linuxkit mine -f a.yaml -f b.yaml"},
		{"variables", []string{"all", "--var", "A=1", "--var", "B="}, "hookbuild linuxkit mine --var A=1 --var B="},
		{"what a shell would take apart", []string{"all", "--var", "A=it's $HOME"}, `hookbuild linuxkit mine --var 'A=it'\''s $HOME'`},
		{"what decides about the initramfs", []string{"linuxkit", "--base", "/srv/base.img", "--compression", "zstd", "--single-segment"},
			"hookbuild linuxkit mine --base base.img --compression zstd --single-segment"},
		{"of all, too", []string{"all", "--compression", "zstd"}, "hookbuild all mine --compression zstd"},
		{"what is only accepted does not count", []string{"all", "--max-ram", "2G", "--allow-lost-capabilities"}, "hookbuild all mine"},
		{"places and looks do not count", []string{"all", "--out", "o", "--json", "--offline", "--progress", "json"}, "hookbuild all mine"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := withEnv("").commandFor(parse(t, tc.args...), config.Flavor{ID: "mine"}); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
	want := "SOURCE_DATE_EPOCH=1700000000 hookbuild all mine"
	if got := withEnv("1700000000").commandFor(parse(t, "all"), config.Flavor{ID: "mine"}); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// withEnv is a program whose environment has nothing but SOURCE_DATE_EPOCH, or nothing.
func withEnv(epoch string) *program {
	return &program{system: system{Getenv: func(name string) string {
		if name == "SOURCE_DATE_EPOCH" {
			return epoch
		}
		return ""
	}}}
}

func TestInitramfsOf(t *testing.T) {
	own := config.Initramfs{Compression: "gzip", Level: 9, MaxRAM: 1 << 30}
	for _, tc := range []struct {
		args []string
		want config.Initramfs
		err  string
	}{
		{nil, own, ""},
		{[]string{"--compression", "gzip"}, own, ""},
		{[]string{"--compression", "zstd"}, config.Initramfs{Compression: "zstd", MaxRAM: 1 << 30}, ""},
		{[]string{"--max-ram", "512MiB"}, config.Initramfs{Compression: "gzip", Level: 9, MaxRAM: 512 << 20}, ""},
		{[]string{"--compression", "xz"}, own, "--compression xz: want auto, gzip, zstd"},
		{[]string{"--max-ram", "0"}, own, "--max-ram 0: want a size like 512M or 2G"},
		{[]string{"--max-ram", "much"}, own, "--max-ram much: want a size"},
	} {
		got, err := initramfsOf(parse(t, append([]string{"all"}, tc.args...)...), own)
		if tc.err != "" && (!isA[*usageError](err) || !strings.Contains(err.Error(), tc.err)) || tc.err == "" && (err != nil || got != tc.want) {
			t.Errorf("%q: got %+v, %v", tc.args, got, err)
		}
	}
}

// A shell reads every word as it was.
func TestQuoted(t *testing.T) {
	for _, word := range []string{"plain", "A=1,2", "two words", "it's", "$HOME `id`", "a\nb", "*", `\`, "", "-n", "ä"} {
		out, err := exec.Command("sh", "-c", "printf %s "+quoted(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q: got %q, %v", word, out, err)
		}
	}
}

func TestVarsOf(t *testing.T) {
	cfg := &config.Config{Vars: map[string]string{"SITE": "here", "NTP": "a"}}
	for _, tc := range []struct {
		name    string
		vars    []string
		want    map[string]string
		wantErr string
	}{
		{"none", nil, map[string]string{"SITE": "here", "NTP": "a"}, ""},
		{"goes before", []string{"SITE=there"}, map[string]string{"SITE": "there", "NTP": "a"}, ""},
		{"the last counts", []string{"X=1", "X=2"}, map[string]string{"SITE": "here", "NTP": "a", "X": "2"}, ""},
		{"empty value", []string{"X="}, map[string]string{"SITE": "here", "NTP": "a", "X": ""}, ""},
		{"value with = and ,", []string{"X=a=b,c"}, map[string]string{"SITE": "here", "NTP": "a", "X": "a=b,c"}, ""},
		{"no value", []string{"X"}, nil, "--var X: want NAME=VALUE"},
		{"no name", []string{"=x"}, nil, "--var =x: "},
		{"bad name", []string{"A-B=x"}, nil, "--var A-B=x: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := []string{"all"}
			for _, v := range tc.vars {
				args = append(args, "--var", v)
			}
			got, err := varsOf(parse(t, args...), cfg)
			if (err == nil) != (tc.wantErr == "") || err != nil && !strings.HasPrefix(err.Error(), tc.wantErr) {
				t.Fatalf("error %v, want %q", err, tc.wantErr)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if err != nil && !isA[*usageError](err) {
				t.Errorf("%T is no usage error", err)
			}
		})
	}
	if cfg.Vars["SITE"] != "here" {
		t.Error("the configuration was changed")
	}
}

func TestMirrorOf(t *testing.T) {
	cfg := &config.Config{Debian: config.Debian{Mirror: "http://yaml.example/debian", SecurityMirror: "http://yaml.example/security"}}
	for _, tc := range []struct {
		name string
		args []string
		want debian.Mirror
		ok   bool
	}{
		{"hookbuild.yaml", nil, debian.Mirror{Archive: "http://yaml.example/debian", Security: "http://yaml.example/security"}, true},
		{"flag", []string{"--debian-mirror", "https://flag.example/d"}, debian.Mirror{Archive: "https://flag.example/d", Security: "http://yaml.example/security"}, true},
		{"no scheme", []string{"--debian-mirror", "flag.example/d"}, debian.Mirror{Security: "http://yaml.example/security"}, false},
		{"another scheme", []string{"--debian-security-mirror", "ftp://flag.example/d"}, debian.Mirror{Archive: "http://yaml.example/debian"}, false},
		{"malformed, with a password", []string{"--debian-mirror", "http://me:secret@flag.example:x/"}, debian.Mirror{Security: "http://yaml.example/security"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := mirrorOf(parse(t, append([]string{"all"}, tc.args...)...), cfg)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if (err == nil) != tc.ok || err != nil && (!isA[*usageError](err) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestCacheDir(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/xdg")
	p := &program{testSystem(io.Discard, io.Discard)}
	for _, tc := range []struct {
		name, flag, yaml, want string
	}{
		{"the user's", "", "", "/xdg/hookbuild"},
		{"hookbuild.yaml", "", "/yaml", "/yaml"},
		{"flag", "/flag", "/yaml", "/flag"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := p.cacheDir(settings{cache: tc.flag}, &config.Config{Cache: config.Cache{Dir: tc.yaml}})
			if err != nil || got != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	if _, err := p.cacheDir(settings{}, &config.Config{}); !isA[*usageError](err) {
		t.Errorf("without a home: got %v, want a usage error", err)
	}
}

func TestCommandLineLimit(t *testing.T) {
	for _, tc := range []struct {
		method string
		arch   plan.Arch
		want   int
	}{
		{config.MethodSource, plan.X8664, 4096},
		{config.MethodSource, plan.AArch64, 2048},
		{config.MethodDebian, plan.X8664, 2048},
	} {
		f := config.Flavor{Arch: tc.arch, Kernel: config.Kernel{Method: tc.method}}
		if got := commandLineLimit(f); got != tc.want {
			t.Errorf("%s %s: got %d, want %d", tc.method, tc.arch, got, tc.want)
		}
	}
}

// results is a program whose standard output can be looked at, and a workshop with a published set.
func results(t *testing.T, asJSON bool) (*program, *workshop, artifacts.Generation, *bytes.Buffer) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	if err := publishSet(t.Context(), out, "mine"); err != nil {
		t.Fatal(err)
	}
	store, err := artifacts.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	gen, err := store.Newest("mine", plan.X8664)
	if err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	p := &program{testSystem(&stdout, io.Discard)}
	w := &workshop{settings: settings{json: asJSON}, flavor: config.Flavor{ID: "mine"}, builder: &build.Builder{Store: store}}
	return p, w, gen, &stdout
}

func weighed() *artifacts.Report {
	return &artifacts.Report{Memory: artifacts.Memory{Needed: 512 << 20}}
}

func TestShowBuilt(t *testing.T) {
	for _, tc := range []struct {
		name   string
		reused bool
		want   string
	}{
		{"new", false, "built mine with kernel 6.12.0-test\n"},
		{"reused", true, "nothing has changed: mine with kernel 6.12.0-test\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, w, gen, stdout := results(t, false)
			if err := p.showBuilt(w, build.Result{Generation: gen, Report: weighed(), ReportFile: "out/report.txt", Reused: tc.reused}); err != nil {
				t.Fatal(err)
			}
			got := stdout.String()
			for _, want := range []string{tc.want, filepath.Join(w.builder.Store.HookPath(), "vmlinuz-x86_64"), "plan " + gen.ID(), "hookbuild boot mine", "needs 512 MiB of memory to unpack it; out/report.txt"} {
				if !strings.Contains(got, want) {
					t.Errorf("%q is not in:\n%s", want, got)
				}
			}
		})
	}
}

func TestShowBuiltAsJSON(t *testing.T) {
	p, w, gen, stdout := results(t, true)
	if err := p.showBuilt(w, build.Result{Generation: gen, Report: weighed(), Reused: true, Warnings: []string{"beware"}}); err != nil {
		t.Fatal(err)
	}
	var got built
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := built{
		PlanID: gen.ID(), Flavor: "mine", Kernel: "6.12.0-test", Reused: true,
		Dir: w.builder.Store.HookPath(), Files: gen.Manifest.Files, Memory: weighed().Memory, Warnings: []string{"beware"},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got.Files) == 0 {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestShowBooted(t *testing.T) {
	res := boot.Result{Ready: true, Line: "HookOS ready", Elapsed: 41500 * time.Millisecond, Accel: boot.TCG, Why: "no /dev/kvm"}
	p, w, gen, stdout := results(t, false)
	if err := p.showBooted(w, gen, res); err != nil {
		t.Fatal(err)
	}
	if want := "HookOS ready\nmine came up in 42 s (tcg; no /dev/kvm)\n"; stdout.String() != want {
		t.Errorf("got %q, want %q", stdout.String(), want)
	}
	p, w, gen, stdout = results(t, true)
	if err := p.showBooted(w, gen, res); err != nil {
		t.Fatal(err)
	}
	var got booted
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := booted{Ready: true, Line: "HookOS ready", Seconds: 41.5, Accel: boot.TCG, Why: "no /dev/kvm", PlanID: gen.ID()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A verb that fails before it builds leaves no goroutine that redraws.
func TestWorkshopEndsItsReporter(t *testing.T) {
	var stdout, stderr bytes.Buffer
	sys := testSystem(&stdout, &stderr, "lock", "--progress", "tty", "--project", t.TempDir())
	sys.Getenv = func(name string) string { return map[string]string{"DOCKER_HOST": "unix:///nonexistent"}[name] }
	if code := run(t.Context(), sys); code != exitEnvironment {
		t.Fatalf("exit code %d, want %d: %s", code, exitEnvironment, stderr.String())
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if bytes.Contains(stacks, []byte("keepDrawing")) {
		t.Errorf("a goroutine goes on:\n%s", stacks)
	}
}
