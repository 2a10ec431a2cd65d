package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/cachedir"
	"github.com/hookbuild/hookbuild/internal/debian"
)

// prunable is a project with a cache, and an engine of canned answers.
type prunable struct {
	*testing.T
	cache, project string
	host           string // of the engine

	mu      sync.Mutex
	removed []string // what the engine was told to remove
}

// sum is a digest that begins with c.
func sum(c string) string { return c + strings.Repeat("0", 64-len(c)) }

// baseRef is the Debian image of the package that the lock pins.
func baseRef() string {
	return base.Set{Name: "base", Arch: "amd64", Packages: []debian.Package{{SHA256: sum("a")}}}.Ref()
}

func newPrunable(t *testing.T) *prunable {
	t.Helper()
	p := &prunable{T: t, cache: filepath.Join(t.TempDir(), "cache"), project: t.TempDir()}
	old, young := noon.AddDate(0, 0, -31), noon.AddDate(0, 0, -1)
	for name, used := range map[string]time.Time{
		"debs/" + sum("a") + ".deb": old, "debs/" + sum("b") + ".deb": old, "debs/" + sum("c") + ".deb": young,
		"keys/K.gpg": old, "files/" + sum("d"): old, "tmp/tree-1/a/b": young, "mine.txt": old,
	} {
		file := filepath.Join(p.cache, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, used, used); err != nil {
			t.Fatal(err)
		}
	}
	p.write("hookbuild.lock", fmt.Sprintf(`{"schema": 1, "flavors": {"x": {"debian": [], "sets": [
		{"name": "base", "arch": "amd64", "seeds": [], "packages": [{"name": "p", "sha256": %q}]}]}}}`, sum("a")))
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.host = "tcp://" + server.Listener.Addr().String()
	return p
}

func (p *prunable) write(name, text string) {
	p.Helper()
	if err := os.WriteFile(filepath.Join(p.project, name), []byte(text), 0o644); err != nil {
		p.Fatal(err)
	}
}

// ServeHTTP is the engine. Old images of ours: one that the lock needs, one that it does not, one that a container is
// made of meanwhile, one that was used lately; and things of others.
func (p *prunable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, young := noon.AddDate(0, 0, -31).Unix(), noon.AddDate(0, 0, -1).Unix()
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !strings.HasPrefix(r.URL.Path, "/v1.") {
		path = strings.TrimPrefix(r.URL.Path, "/")
	}
	w.Header().Set("API-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	img := func(name string, created int64) string {
		return fmt.Sprintf(`{"Id": %[1]q, "RepoTags": [%[1]q], "Size": 1000, "Created": %[2]d}`, name, created)
	}
	switch {
	case r.Method == http.MethodDelete && strings.Contains(path, "busy"):
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, `{"message": "is being used"}`)
	case r.Method == http.MethodDelete:
		p.removed = append(p.removed, path)
		io.WriteString(w, "[]")
	case path == "build/prune":
		p.removed = append(p.removed, "cache "+r.URL.Query().Get("filters"))
		io.WriteString(w, "{}")
	case path == "version":
		io.WriteString(w, `{"Version": "20.10.24", "ApiVersion": "1.41", "Arch": "amd64"}`)
	case path == "system/df":
		fmt.Fprintf(w, `{"Images": [%s], "BuildCache": [%s]}`, strings.Join([]string{
			img(baseRef(), old), img("hookbuild/kernel:amd64-0123456789abcdef", old), img("hookbuild/modules:busy-0123456789abcdef", old),
			img("hookbuild/component:x-amd64-0123456789abcdef", young), img("debian:trixie", old), img("hookbuild/kernel:mine", old), img("hookbuild/mine:1", old),
			img("registry.example/hookbuild/kernel:amd64-0123456789abcdef", old),
			img("hookbuild/debian:base-amd64-0123456789abcdef-unpacked", young),
		}, ","), `{"ID": "m1", "Type": "exec.cachemount", "Description": "cached mount /ccache from exec x with id \"hookbuild-ccache\"", "Size": 5, "LastUsedAt": "2026-01-01T00:00:00Z"},
			{"ID": "m2", "Type": "exec.cachemount", "Description": "cached mount /root/.cache from exec go build", "Size": 5, "LastUsedAt": "2026-01-01T00:00:00Z"}`)
	case path == "containers/json":
		const ours = `"Labels": {"io.hookbuild.container": "run"}`
		fmt.Fprintf(w, `[{"Id": "c0ffee", "Image": "x", "ImageID": "x", "State": "exited", "Created": %d, %[4]s}, {"Id": "c0ffff", "Image": "x", "State": "created", "Created": %[2]d, %[4]s},
			{"Id": "c0fff0", "Image": "x", "State": "running", "Created": %[3]d, %[4]s}, {"Id": "f0f0f0", "Image": "x", "State": "exited", "Created": %[3]d}]`,
			young, noon.Add(-time.Minute).Unix(), old, ours)
	default: // ping, inspection
		io.WriteString(w, "{}")
	}
}

// run runs prune on all of that.
func (p *prunable) run(args ...string) outcome {
	p.Helper()
	var stdout, stderr bytes.Buffer
	sys := testSystem(&stdout, &stderr, append([]string{"prune", "--cache-dir", p.cache, "--project", p.project}, args...)...)
	env := map[string]string{"DOCKER_HOST": p.host, "DOCKER_CONFIG": p.project}
	sys.Getenv = func(name string) string { return env[name] }
	return outcome{run(p.Context(), sys), stdout.String(), stderr.String()}
}

// left are the files of the cache.
func (p *prunable) left() []string {
	p.Helper()
	var names []string
	err := filepath.WalkDir(p.cache, func(file string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(p.cache, file)
			names = append(names, strings.ReplaceAll(name, strings.Repeat("0", 63), ""))
		}
		return err
	})
	if err != nil {
		p.Fatal(err)
	}
	return names
}

var everything = []string{"debs/a.deb", "debs/b.deb", "debs/c.deb", "files/d", "keys/K.gpg", "mine.txt", "tmp/tree-1/a/b"}

func TestPrune(t *testing.T) {
	mount := `cache {"id":{"m1":true},"type":{"exec.cachemount":true}}`
	lately := []string{"containers/c0ffee", "images/hookbuild/debian:base-amd64-0123456789abcdef-unpacked", "images/hookbuild/kernel:amd64-0123456789abcdef"}
	all := slices.Concat([]string{"containers/c0ffee", "containers/c0ffff", "images/hookbuild/component:x-amd64-0123456789abcdef"},
		lately[1:2], []string{"images/" + baseRef()}, lately[2:])
	for _, tc := range []struct {
		name    string
		args    []string
		left    []string
		removed []string
	}{
		{"as it is", nil, []string{"debs/a.deb", "debs/c.deb", "keys/K.gpg", "mine.txt"}, append(slices.Clone(lately), mount)},
		{"dry", []string{"--dry-run"}, everything, nil},
		{"all, dry", []string{"--dry-run", "--all"}, everything, nil},
		{"all", []string{"--all"}, []string{"mine.txt"}, append(slices.Clone(all), mount)},
		{"soon", []string{"--older-than", "1h"}, []string{"debs/a.deb", "keys/K.gpg", "mine.txt"},
			append(slices.Insert(slices.Clone(lately), 1, all[2]), mount)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPrunable(t)
			got := p.run(tc.args...)
			if got.code != 0 {
				t.Fatalf("exit code %d: %s", got.code, got.stderr)
			}
			if diff := cmp.Diff(tc.left, p.left()); diff != "" {
				t.Errorf("the cache, -want +got:\n%s", diff)
			}
			slices.Sort(p.removed)
			slices.Sort(tc.removed)
			if diff := cmp.Diff(tc.removed, p.removed); diff != "" {
				t.Errorf("the engine, -want +got:\n%s", diff)
			}
		})
	}
}

func TestPruneSaysTheSameDry(t *testing.T) {
	p := newPrunable(t)
	dry, wet := p.run("--dry-run"), p.run()
	same := func(text string) string {
		text = strings.ReplaceAll(text, "would remove", "removed")
		var lines []string
		for line := range strings.Lines(text) { // what is in use only the removal tells, and it changes the width
			if !strings.Contains(line, "busy") && strings.Contains(line, " last used ") {
				lines = append(lines, oneLine(line))
			}
		}
		return strings.Join(lines, "\n")
	}
	if diff := cmp.Diff(same(dry.stdout), same(wet.stdout)); diff != "" || same(dry.stdout) == "" {
		t.Errorf("-dry +wet:\n%s", diff)
	}
	for _, want := range []string{"kept, it is in use image hookbuild/modules:busy", "kept, the project needs it image " + baseRef(), "kept, it is running container c0fff0"} {
		if !strings.Contains(oneLine(wet.stdout), want) {
			t.Errorf("lacks %q:\n%s", want, wet.stdout)
		}
	}
	for _, foreign := range []string{"debian:trixie", "hookbuild/mine", "kernel:mine", "registry.example", "f0f0f0", ".cache", "mine.txt"} {
		if strings.Contains(wet.stdout, foreign) {
			t.Errorf("names %s:\n%s", foreign, wet.stdout)
		}
	}
}

func TestPruneJSON(t *testing.T) {
	p := newPrunable(t)
	got := p.run("--json", "--dry-run")
	var doc struct {
		DryRun        bool `json:"dry_run"`
		Bytes         int64
		Removed, Kept []piece
	}
	if err := json.Unmarshal([]byte(got.stdout), &doc); err != nil {
		t.Fatalf("%v: %s", err, got.stdout)
	}
	var total int64
	for _, r := range doc.Removed {
		total += r.Bytes
	}
	if !doc.DryRun || doc.Bytes != total || total == 0 || len(doc.Kept) == 0 || doc.Kept[0].Why == "" {
		t.Errorf("got %+v", doc)
	}
}

func TestPruneKeepsOff(t *testing.T) {
	p := newPrunable(t)
	release, err := cachedir.Hold(t.Context(), p.cache)
	if err != nil {
		t.Fatal(err)
	}
	got := p.run("--all")
	if got.code != exitEnvironment || !strings.Contains(got.stderr, "is in use by another hookbuild") {
		t.Errorf("exit code %d: %s", got.code, got.stderr)
	}
	if got := p.run("--all", "--dry-run"); got.code != 0 {
		t.Errorf("dry: exit code %d: %s", got.code, got.stderr)
	}
	if diff := cmp.Diff(everything, p.left()); diff != "" || len(p.removed) > 0 {
		t.Errorf("removed %v, and of the cache -want +got:\n%s", p.removed, diff)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if got := p.run(); got.code != 0 {
		t.Errorf("afterwards: exit code %d: %s", got.code, got.stderr)
	}
}

func TestPruneRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, lock string
		args       []string
		want       string
	}{
		{"a broken lock", "{", nil, "hookbuild.lock: line 1"},
		{"a broken lock, and all", "{", []string{"--all"}, "hookbuild.lock: line 1"},
		{"a negative age", "{\"schema\": 1}", []string{"--older-than", "-1h"}, "--older-than -1h0m0s"},
		{"an argument", "{\"schema\": 1}", []string{"x"}, `unexpected argument "x"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPrunable(t)
			p.write("hookbuild.lock", tc.lock)
			got := p.run(tc.args...)
			if got.code != exitUsage || !strings.Contains(got.stderr, tc.want) {
				t.Errorf("exit code %d: %s", got.code, got.stderr)
			}
			if diff := cmp.Diff(everything, p.left()); diff != "" || len(p.removed) > 0 {
				t.Errorf("removed %v, and of the cache -want +got:\n%s", p.removed, diff)
			}
		})
	}
}

// TestPruneWithoutEngine: the cache is cleaned up all the same, and the exit code says that the engine was not.
func TestPruneWithoutEngine(t *testing.T) {
	p := newPrunable(t)
	p.host = "unix:///nonexistent"
	got := p.run()
	if got.code != exitEnvironment || !strings.Contains(got.stderr, "no Docker Engine answers") || !strings.Contains(got.stdout, "debs (1)") {
		t.Errorf("exit code %d: %s%s", got.code, got.stdout, got.stderr)
	}
	if slices.Contains(p.left(), "debs/b.deb") {
		t.Error("the cache is as it was")
	}
	p.cache = filepath.Join(p.cache, "missing")
	if got := p.run("--json"); got.code != exitEnvironment || !json.Valid([]byte(got.stdout)) {
		t.Errorf("nothing to do: exit code %d: %s", got.code, got.stdout)
	}
}

func TestOwnImage(t *testing.T) {
	for name, want := range map[string]bool{
		"hookbuild/debian:base-amd64-0123456789abcdef": true, "hookbuild/component:hook-docker-arm64-0123456789abcdef": true,
		"docker.io/" + "hookbuild/kernel:amd64-0123456789abcdef": true, "hookbuild/debian:base-amd64-0123456789abcdef-unpacked": true,
		"hookbuild/debian:latest": false, "hookbuild/debian": false, "hookbuild/else:amd64-0123456789abcdef": false,
		"hookbuild/kernel:amd64-0123456789ABCDEF": false, "x/hookbuild/kernel:amd64-0123456789abcdef": false, "": false,
	} {
		if got := ownImage()(name); got != want {
			t.Errorf("%q: got %t", name, got)
		}
	}
}
