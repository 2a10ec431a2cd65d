package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/build"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// goBuild builds hookbuild once for all tests, as `make build` does.
var goBuild = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hookbuild-test-*")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "hookbuild")
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, "../cmd/hookbuild")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return bin, nil
})

// binary is the hookbuild under test.
func binary(t testing.TB) string {
	t.Helper()
	bin, err := goBuild()
	if err != nil {
		t.Fatalf("go build: %v", err)
	}
	return bin
}

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := goBuild(); err == nil {
		os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// project is a directory of a user of hookbuild, with an output directory of its own. Downloads and images
// are kept in the user's cache and in the engine, so that a second run is fast.
type project struct {
	t   testing.TB
	dir string
	env []string
}

func newProject(t testing.TB) *project { return &project{t: t, dir: t.TempDir()} }

// write puts a file into the project.
func (p *project) write(name, content string) {
	p.t.Helper()
	file := filepath.Join(p.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
		p.t.Fatal(err)
	}
}

// copyFile copies a file of another project.
func (p *project) copyFile(from *project, name string) {
	p.t.Helper()
	p.write(name, string(from.read(name)))
}

func (p *project) path(name string) string { return filepath.Join(p.dir, name) }

func (p *project) read(name string) []byte {
	p.t.Helper()
	data, err := os.ReadFile(p.path(name))
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

// lock is the flavor's part of the project's lock.
func (p *project) lock(flavor string) resolve.Entry {
	p.t.Helper()
	lock, err := resolve.ReadLock(p.path(resolve.LockName))
	if err != nil {
		p.t.Fatal(err)
	}
	return lock.Flavors[flavor]
}

// cached is a package in the user's cache. It is fetched where it is missing: an engine that has the images which were
// made of it spares hookbuild the download.
func cached(t testing.TB, pkg debian.Package) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	packages := build.Packages{
		Client: &debian.Client{HTTP: &http.Client{}, CacheDir: filepath.Join(dir, "hookbuild")},
		Apt:    os.DirFS("/etc/apt"),
	}
	files, err := packages.Fetch(t.Context(), []debian.Package{pkg}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return files[pkg.SHA256]
}

// command is hookbuild in the project, its progress shown in the test's log.
func (p *project) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary(p.t), args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stderr = &logWriter{t: p.t}
	return cmd
}

// run runs hookbuild, which must succeed, and returns what it printed.
func (p *project) run(args ...string) string {
	p.t.Helper()
	begin := time.Now()
	out, err := p.command(p.t.Context(), args...).Output()
	p.t.Logf("hookbuild %s: %.1f s", strings.Join(args, " "), time.Since(begin).Seconds())
	if err != nil {
		p.t.Fatalf("hookbuild %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// runJSON runs hookbuild with --json and decodes its result.
func (p *project) runJSON(result any, args ...string) {
	p.t.Helper()
	out := p.run(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), result); err != nil {
		p.t.Fatalf("hookbuild %s: %v in %q", strings.Join(args, " "), err, out)
	}
}

// logWriter sends lines to the test's log, with the lines of long steps thinned out.
type logWriter struct {
	t    testing.TB
	rest []byte
	n    int
}

func (w *logWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.rest = rest
		if w.n++; !noisy(line) || w.n%100 == 0 {
			w.t.Logf("%s", line)
		}
	}
}

// noisy tells a compiler's line from one worth reading.
func noisy(line []byte) bool {
	for _, word := range []string{"  CC ", "  AR ", "  LD ", "  AS ", "  CC [M]", "  LD [M]", "  MODPOST", "Setting up", "[boot]"} {
		if bytes.Contains(line, []byte(word)) {
			return true
		}
	}
	return false
}

// built is the result of `hookbuild all --json`.
type built struct {
	PlanID string `json:"plan_id"`
	Kernel string `json:"kernel_release"`
	Reused bool   `json:"reused"`
	Files  []struct {
		Name   string `json:"name"`
		SHA256 string `json:"sha256"`
	} `json:"files"`
}

// sums are the files' digests by name.
func (b built) sums() map[string]string {
	m := map[string]string{}
	for _, f := range b.Files {
		m[f.Name] = f.SHA256
	}
	return m
}
