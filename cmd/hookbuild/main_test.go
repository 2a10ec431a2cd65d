package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hookbuild/hookbuild/internal/kernelorg/kernelorgtest"
)

// The surroundings that a script gives to hookbuild. Only the test binary reads these variables: the real
// program has no other keys than Debian's.
const (
	testAptDir     = "TEST_APT_DIR"
	testKeyring    = "TEST_KEYRING"
	testTrusted    = "TEST_TRUSTED" // a fingerprint
	testColumns    = "TEST_COLUMNS"
	testKernelKeys = "TEST_KERNEL_KEYS" // fingerprints of the autosigner and of a developer, with a blank between them
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hookbuild": hookbuildOfScripts})
}

// hookbuildOfScripts is main with other surroundings.
func hookbuildOfScripts() {
	sys := host()
	sys.AptDir = os.Getenv(testAptDir)
	sys.Keyrings = []string{os.Getenv(testKeyring)}
	sys.Trusted = []string{os.Getenv(testTrusted)}
	sys.KernelKeys = kernelKeys()
	sys.Columns = func() int {
		n, err := strconv.Atoi(cmp.Or(os.Getenv(testColumns), "0"))
		if err != nil {
			panic(err)
		}
		return n
	}
	os.Exit(runUntilSignal(sys))
}

// TestScripts runs testdata/script. Scripts that build need a Docker Engine and fail without one.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), Setup: setup, RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "json": jsonValue, "whole": whole,
			"mirror": startMirror, "serves": serves, "asked": asked, "interrupt": interrupt,
			"releases": releases, "releases-serve": releasesServe, "releases-asked": releasesAsked,
			"publish": publish, "generation": generation, "spoil": spoil, "listen": listen, "silent": silent, "serve": startServe, "get": get, "stop-serve": stopServe,
		},
	})
}

// setup keeps scripts away from the user's cache and the host's Debian mirror, and shows them its engine.
func setup(env *testscript.Env) error {
	env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "cache"))
	env.Setenv(testAptDir, filepath.Join(env.WorkDir, "apt"))
	env.Setenv(testKeyring, filepath.Join(env.WorkDir, "keyring.gpg"))
	env.Setenv(testTrusted, "none")
	for _, v := range os.Environ() {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "DOCKER_") {
			env.Setenv(name, value)
		}
	}
	if os.Getenv("DOCKER_CONFIG") == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return err
		}
		env.Setenv("DOCKER_CONFIG", filepath.Join(home, ".docker"))
	}
	env.Values[scene{}] = &scene{env: env}
	return nil
}

// scene is what a script has set up around hookbuild.
type scene struct {
	env     *testscript.Env
	mirror  *mirror
	kernels *kernelorgtest.Mirror
	server  *server
}

func sceneOf(ts *testscript.TestScript) *scene { return ts.Value(scene{}).(*scene) }

// usage ends the script where a command of ours is not used as its comment says.
func usage(ts *testscript.TestScript, ok bool, text string) {
	if !ok {
		ts.Fatalf("usage: %s", text)
	}
}

// exits CODE PROGRAM ARGUMENT... runs the program, which must end with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 2, "exits CODE PROGRAM ARGUMENT...")
	err := ts.Exec(args[1], args[2:]...)
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		ts.Fatalf("%s: %v", args[1], err)
	}
	code := 0
	if ended != nil {
		code = ended.ExitCode()
	}
	right := strconv.Itoa(code) == args[0]
	if right && sceneOf(ts).mirror == nil {
		return
	}
	if strings.Contains(ts.ReadFile("stderr"), "no Docker Engine answers") { // who needs a mirror needs an engine
		ts.Fatalf("this test needs a Docker Engine")
	}
	if !right {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// json [PATH VALUE]: standard output is one JSON document, and what is at the path (names and indexes, with dots
// between them) is the value.
func jsonValue(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && (len(args) == 0 || len(args) == 2), "json [PATH VALUE]")
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	var doc any
	ts.Check(dec.Decode(&doc))
	if _, err := dec.Token(); err != io.EOF {
		ts.Fatalf("there is more on standard output than one JSON document")
	}
	if len(args) == 0 {
		return
	}
	for part := range strings.SplitSeq(args[0], ".") {
		switch v := doc.(type) {
		case map[string]any:
			doc = v[part]
		case []any:
			i, err := strconv.Atoi(part)
			ts.Check(err)
			doc = v[i]
		default:
			ts.Fatalf("%s: nothing is at %q", args[0], part)
		}
	}
	if got := fmt.Sprint(doc); got != args[1] {
		ts.Fatalf("%s: got %q, want %q", args[0], got, args[1])
	}
}

// whole DIR: what is kept in a cache is what its name says, and nothing is half written. Keys have the name of their
// fingerprint.
func whole(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "whole DIR")
	err := filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(filepath.Dir(path)) == "keys" {
			return err
		}
		data, err := os.ReadFile(path)
		sum, _, _ := strings.Cut(d.Name(), ".")
		if err == nil && d.Name() != "InRelease" && sum != sha256Hex(data) {
			return fmt.Errorf("%s was kept: its digest is %s", path, sha256Hex(data))
		}
		return err
	})
	if !errors.Is(err, os.ErrNotExist) {
		ts.Check(err)
	}
}

// outcome is what a run of hookbuild in this process has left.
type outcome struct {
	code           int
	stdout, stderr string
}

func runHere(t *testing.T, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), testSystem(&stdout, &stderr, args...))
	return outcome{code, stdout.String(), stderr.String()}
}

// testSystem has no environment, no terminal and a clock that stands.
func testSystem(stdout, stderr io.Writer, args ...string) system {
	return system{
		Args: append([]string{"hookbuild"}, args...), Stdout: stdout, Stderr: stderr,
		Getenv: func(string) string { return "" }, Now: func() time.Time { return noon }, Columns: func() int { return 0 },
	}
}

// noon is when unit tests happen.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
