package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/artifacts/serve"
	"github.com/hookbuild/hookbuild/internal/boot"
	"github.com/hookbuild/hookbuild/internal/build"
	"github.com/hookbuild/hookbuild/internal/cachedir"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/initramfs"
	"github.com/hookbuild/hookbuild/internal/iso"
	"github.com/hookbuild/hookbuild/internal/kconfig"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/registry"
	"github.com/hookbuild/hookbuild/internal/resolve"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// failures are errors of every kind, with the exit code and a part of the hint; "" is no hint.
var failures = []struct {
	name string
	err  error
	code int
	hint string
}{
	{"unknown", errors.New("a surprise"), exitInternal, ""},

	{"command line", &usageError{"no such flag"}, exitUsage, "hookbuild --help"},
	{"YAML", strictyaml.Errors{{Message: "unknown key"}}, exitUsage, ""},
	{"flavor", &config.UsageError{Message: "unknown flavor"}, exitUsage, ""},
	{"input", &build.InputError{What: "no such image"}, exitUsage, ""},
	{"fragment", &kconfig.SyntaxError{File: "a.config", Faults: []kconfig.Fault{{Line: 1}}}, exitUsage, ""},
	{"no such symbol", &symbolError{unmet: unmet("CRC77"), unknown: true}, exitUsage, "--search WORD"},
	{"lock of other packages", &resolve.LockError{Hint: "hookbuild lock x"}, exitUsage, "run hookbuild lock x"},
	{"unreadable lock", &resolve.LockError{What: "line 1"}, exitUsage, ""},
	{"unknown package", &debian.ResolveError{Package: "x"}, exitUsage, ""},
	{"out/hook is taken", &artifacts.HookTakenError{Path: "out/hook"}, exitUsage, "move out/hook away"},
	{"no certificate", &serve.OptionError{Option: "TLSCert", Err: errors.New("no PEM")}, exitUsage, ""},
	{"port of EKS Anywhere", &serve.PortRefusedError{Port: 80}, exitUsage, "--force-port"},
	{"conflict of paths", &filetree.ConflictError{}, exitUsage, ""},
	{"malformed layer", &filetree.TarError{Err: io.ErrUnexpectedEOF}, exitUsage, ""},
	{"not for an initramfs", &initramfs.UnsupportedError{}, exitUsage, ""},
	{"a file for a directory", &fs.PathError{Op: "open", Path: "out", Err: syscall.ENOTDIR}, exitUsage, ""},
	{"a directory for a file", &fs.PathError{Op: "read", Path: "hookbuild.yaml", Err: syscall.EISDIR}, exitUsage, ""},

	{"no engine", &engine.UnavailableError{Err: errors.New("refused")}, exitEnvironment, "start Docker"},
	{"disk", &fs.PathError{Err: syscall.ENOSPC}, exitEnvironment, "free some space"},
	{"quota", &fs.PathError{Err: syscall.EDQUOT}, exitEnvironment, "free some space"},
	{"the engine's disk", &engine.BuildError{Err: errors.New("write /x: no space left on device")}, exitEnvironment, "free some space"},
	{"the compiler's disk", &kernel.Error{First: []string{"fatal error: error writing to a.o: No space left on device"}, Err: &engine.BuildError{}},
		exitEnvironment, "free some space"},
	{"no permission", &fs.PathError{Err: syscall.EACCES}, exitEnvironment, ""},
	{"read-only", &fs.PathError{Err: syscall.EROFS}, exitEnvironment, ""},
	{"port taken", &serve.PortTakenError{Listen: ":8080"}, exitEnvironment, ":8080"},
	{"no such address here", &net.OpError{Op: "listen", Err: syscall.EADDRNOTAVAIL}, exitEnvironment, ""},
	{"another hookbuild", &artifacts.LockedError{Dir: "out"}, exitEnvironment, "wait for it"},
	{"the cache is in use", &cachedir.InUseError{Dir: "cache"}, exitEnvironment, "wait until it has ended"},
	{"doctor found errors", &unreadyError{[]string{"engine"}}, exitEnvironment, ""},
	{"no mirror", fmt.Errorf("looked everywhere: %w", debian.ErrNoMirror), exitEnvironment, "--debian-mirror"},

	{"package gone", &download.FetchError{Name: "x 1", Status: 404, Err: errors.New("404")}, exitDownload, "hookbuild lock --update"},
	{"index gone", &download.FetchError{Status: 404, Err: errors.New("404")}, exitDownload, ""},
	{"mirror down", &download.FetchError{Name: "x 1", Err: syscall.ECONNREFUSED}, exitDownload, ""},
	{"altered", &download.VerifyError{}, exitDownload, ""},
	{"offline", &download.OfflineError{Name: "x"}, exitDownload, "without --offline"},
	{"kernel.org down", &download.FetchError{URL: kernelorg.DefaultMirror + "/v6.x/sha256sums.asc", Err: errors.New("no such host")},
		exitDownload, "--kernel-mirror"},
	{"keys of kernel.org", &download.FetchError{URL: kernelorg.DefaultWKD + "/hu/x", Status: 404, Err: errors.New("404")}, exitDownload, "--keyring"},
	{"a mirror of kernel.org down", &download.FetchError{URL: "https://mirror.example/pub", Err: errors.New("no such host")}, exitDownload, ""},
	{"registry down", &registry.Error{Op: "push", Err: errors.New("refused")}, exitDownload, ""},
	{"registry refuses", &registry.AuthError{Ref: "registry.example/kernel:x"}, exitDownload, "docker login registry.example"},
	{"no such image", &registry.NotFoundError{}, exitDownload, ""},
	{"registry, offline", &registry.OfflineError{}, exitDownload, "without --offline"},

	{"build step", &engine.BuildError{Step: "make", Err: errors.New("exit code 2")}, exitBuild, ""},
	{"ISO", &iso.FaultError{What: "no magic"}, exitBuild, ""},
	{"compiler", &kernel.Error{First: []string{"a.c:1: error: no"}, Err: &engine.BuildError{}}, exitBuild, ""},
	{"symbol in a build", &build.UnmetError{Unmet: unmet("BE2NET")}, exitBuild, "--search WORD"},
	{"Kconfig itself", &kernel.ConfigError{ExitCode: 1}, exitBuild, ""},
	{"boot", &boot.NotSeenError{Expect: "ready"}, exitCheck, ""},
	{"symbol", &symbolError{unmet: unmet("BE2NET"), file: "kernel/configs/x"}, exitCheck, "--search WORD"},
	{"nothing found", &notFoundError{"no symbol"}, exitCheck, ""},
}

// unmet is a symbol that was asked for as m and is n.
func unmet(name string) []kconfig.Unmet {
	line := kconfig.Line{Symbol: kconfig.Symbol{Name: name, Value: "m"}, Origin: kconfig.Origin{File: "a.config", Line: 3}}
	return []kconfig.Unmet{{Line: line, Got: "n", Why: "depends on PCI, which is n"}}
}

func TestExitCodeAndHint(t *testing.T) {
	for _, tc := range failures {
		wrapped := &build.StageError{Stage: "base", Err: fmt.Errorf("doing it: %w", tc.err)}
		for form, err := range map[string]error{
			"plain": tc.err, "wrapped": wrapped, "joined": errors.Join(errors.New("closing the connection"), wrapped),
		} {
			t.Run(tc.name+"/"+form, func(t *testing.T) {
				if got := exitCode(t.Context(), err); got != tc.code {
					t.Errorf("exit code %d, want %d", got, tc.code)
				}
				if got := hint(err); !strings.Contains(got, tc.hint) || (tc.hint == "") != (got == "") {
					t.Errorf("hint %q, want %q in it", got, tc.hint)
				}
			})
		}
	}
}

func TestExitCodeOfSuccess(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name string
		ctx  context.Context
		err  error
		want int
	}{
		{"success", t.Context(), nil, 0},
		{"a server that was told to stop", cancelled, nil, 0},
		{"whatever the interruption broke", cancelled, &engine.BuildError{Err: context.Canceled}, exitInterrupted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := exitCode(tc.ctx, tc.err); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	_, err = full.WriteString("x")
	if !fullDisk(err) || fullDisk(syscall.EFBIG) {
		t.Errorf("%v: %t, %v: %t; want true and false", err, fullDisk(err), syscall.EFBIG, fullDisk(syscall.EFBIG))
	}
}

func TestFinish(t *testing.T) {
	step := &build.StageError{Stage: "kernel", Log: "out/logs/kernel.log", Err: &engine.BuildError{
		Step: "compile", ExitCode: 2, Tail: []string{"a.c:1: error", "make: *** [a.o] Error 1"}, Err: errors.New("exit code: 2"),
	}}
	compiler := &build.StageError{Stage: "kernel", Log: "out/logs/kernel.log", Err: &kernel.Error{
		First: []string{"a.c:1:2: error: no", "  1 | x"}, Err: step.Err,
	}}
	symbol := &symbolError{unmet: unmet("BE2NET"), file: "kernel/configs/generic"}
	unseen := &boot.NotSeenError{Expect: "ready", Reason: "the guest's kernel panicked", Tail: []string{"Kernel panic"}}
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"no log", errors.New("a surprise"), "hookbuild: a surprise\n"},
		{"tail and log", step, "hookbuild: " + step.Error() + "\nthe last lines of \"compile\":\n  a.c:1: error\n" +
			"  make: *** [a.o] Error 1\nthe whole log: out/logs/kernel.log\n"},
		{"first error and log", compiler, "hookbuild: kernel: a.c:1:2: error: no\n    1 | x\n" +
			"the whole log: out/logs/kernel.log\n"},
		{"symbol", symbol, "hookbuild: a.config:3: CONFIG_BE2NET=m: got n: depends on PCI, which is n\n" +
			"kernel/configs/generic stays as it was\nhint: " + hint(symbol) + "\n"},
		{"symbol that was only looked at", &symbolError{unmet: symbol.unmet},
			"hookbuild: a.config:3: CONFIG_BE2NET=m: got n: depends on PCI, which is n\nhint: " + hint(symbol) + "\n"},
		{"console", unseen, "hookbuild: " + unseen.Error() + "\nthe last lines of the console:\n  Kernel panic\n"},
		{"hint", &download.OfflineError{Name: "x"},
			"hookbuild: " + (&download.OfflineError{Name: "x"}).Error() + "\nhint: run once without --offline\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			p := &program{testSystem(&stdout, &stderr)}
			p.finish(t.Context(), tc.err)
			if diff := cmp.Diff(tc.want, stderr.String()); diff != "" || stdout.Len() > 0 {
				t.Errorf("standard error (-want +got):\n%s\nstandard output: %q", diff, stdout.String())
			}
		})
	}
}

// Scripts need not take a message apart to learn which symbol it was.
func TestFailureNamesSymbols(t *testing.T) {
	for name, err := range map[string]error{
		"kernel-config": &symbolError{unmet: unmet("BE2NET")},
		"build":         &build.StageError{Stage: "configuration", Err: &build.UnmetError{Unmet: unmet("BE2NET")}},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout bytes.Buffer
			p := &program{testSystem(&stdout, io.Discard, "all", "--json")}
			p.finish(t.Context(), err)
			var got struct{ Error struct{ Symbols []refused } }
			if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			want := []refused{{Name: "BE2NET", Want: "m", Got: "n", Why: "depends on PCI, which is n", Where: "a.config:3"}}
			if diff := cmp.Diff(want, got.Error.Symbols); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestWantsJSON(t *testing.T) {
	for _, tc := range []struct {
		name, args, variable string
		want                 bool
	}{
		{"nothing", "all x", "", false},
		{"flag", "all x --json", "", true},
		{"one dash", "all -json", "", true},
		{"true", "all --json=true", "", true},
		{"false", "all --json=false", "1", false},
		{"nonsense", "all --json=x", "", false},
		{"behind --", "all -- --json", "", false},
		{"variable", "all", "true", true},
		{"variable is false", "all", "0", false},
		{"variable is nonsense", "all", "perhaps", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sys := testSystem(io.Discard, io.Discard, strings.Fields(tc.args)...)
			sys.Getenv = func(name string) string { return map[string]string{"HOOKBUILD_JSON": tc.variable}[name] }
			if got := (&program{sys}).wantsJSON(); got != tc.want {
				t.Errorf("got %t, want %t", got, tc.want)
			}
		})
	}
}
