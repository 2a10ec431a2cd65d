package artifacts

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/plan"
)

func TestGeneration(t *testing.T) {
	s := locked(t)
	want := mustGenerate(t, s, plan.AArch64, "f", "a1")
	got, err := s.Generation(want.ID())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read is not what was committed (-committed +read):\n%s", diff)
	}
	entries, err := os.ReadDir(filepath.Join(s.Dir(), "generations"))
	if err != nil || len(entries) != 1 || entries[0].Name() != want.ID() {
		t.Errorf("generations: got %v, %v", entries, err)
	}
}

func TestManifestForm(t *testing.T) {
	s := locked(t)
	gen := mustGenerate(t, s, plan.X8664, "f", "x1")
	data, err := os.ReadFile(gen.Path(ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got["schema"] != 1.0 || got["plan_id"] != gen.ID() || got["command"] != "hookbuild all f" {
		t.Errorf("got %v", got)
	}
	if got["plan"].(map[string]any)["flavor"] != "f" || len(got["files"].([]any)) != 3 {
		t.Errorf("got %v", got)
	}
	if strings.Contains(string(data), s.Dir()) {
		t.Error("the manifest names a directory")
	}
}

func TestDamagedGeneration(t *testing.T) {
	kernel := KernelName(plan.X8664)
	edit := func(name, old, new string) func(dir string) error {
		return func(dir string) error {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, name), []byte(strings.Replace(string(data), old, new, 1)), 0o644)
		}
	}
	tests := []struct {
		name   string
		damage func(dir string) error
		want   string
	}{
		{"flipped byte", edit(kernel, "of", "oF"), "sha256"},
		{"longer", edit(kernel, "of", "of "), "got 1009 bytes, want 1008"},
		{"missing", func(d string) error { return os.Remove(filepath.Join(d, kernel)) }, "missing"},
		{"a symlink", func(d string) error {
			return errors.Join(os.Rename(filepath.Join(d, kernel), d+".moved"), os.Symlink(d+".moved", filepath.Join(d, kernel)))
		}, "not a regular file"},
		{"report", edit(ReportName, "schema", "schemA"), "sha256"},
		{"no manifest", func(d string) error { return os.Remove(filepath.Join(d, ManifestName)) }, "missing"},
		{"manifest cut", func(d string) error { return os.Truncate(filepath.Join(d, ManifestName), 40) }, "unexpected end"},
		{"manifest of the future", edit(ManifestName, `"schema": 1`, `"schema": 2`), "schema 2, want 1"},
		{"another plan", edit(ManifestName, `"epoch": 17`, `"epoch": 18`), "got a plan with id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := locked(t)
			gen := mustGenerate(t, s, plan.X8664, "f", "x1")
			if err := tt.damage(gen.Dir); err != nil {
				t.Fatal(err)
			}
			_, err := s.Generation(gen.ID())
			var damaged *DamagedError
			if !errors.Is(err, ErrNotFound) || !errors.As(err, &damaged) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want a DamagedError with %q", err, tt.want)
			}
			again := mustGenerate(t, s, plan.X8664, "f", "x1")
			if _, err := s.Generation(again.ID()); err != nil {
				t.Errorf("made again: %v", err)
			}
		})
	}
}

func TestGenerationNotFound(t *testing.T) {
	s := locked(t)
	_, err := s.Generation(strings.Repeat("0", 64))
	var damaged *DamagedError
	if !errors.Is(err, ErrNotFound) || errors.As(err, &damaged) {
		t.Errorf("absent: got %v, want ErrNotFound", err)
	}
	for _, id := range []string{"", "..", "../../etc", strings.Repeat("A", 64)} {
		if _, err := s.Generation(id); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%q: got %v, want a refusal", id, err)
		}
		if _, err := s.Stage(id); err == nil {
			t.Errorf("Stage(%q): no error", id)
		}
	}
}

func TestNewest(t *testing.T) {
	s := locked(t)
	age := func(gen Generation, hours int) Generation {
		at := time.Unix(1_600_000_000, 0).Add(-time.Duration(hours) * time.Hour)
		if err := os.Chtimes(gen.Dir, at, at); err != nil {
			t.Fatal(err)
		}
		return gen
	}
	oldest := age(mustGenerate(t, s, plan.X8664, "f", "1"), 3)
	newer := age(mustGenerate(t, s, plan.X8664, "f", "2"), 2)
	age(mustGenerate(t, s, plan.X8664, "g", "3"), 1)
	age(mustGenerate(t, s, plan.AArch64, "f", "4"), 0)
	want := func(what, id string) {
		t.Helper()
		got, err := s.Newest("f", plan.X8664)
		if err != nil || got.ID() != id {
			t.Errorf("%s: got %s, %v, want %s", what, got.ID(), err, id)
		}
	}
	want("committed last", newer.ID())
	mustPublish(t, s, oldest)
	want("published last", oldest.ID())
	if err := os.Truncate(oldest.Path(KernelName(plan.X8664)), 1); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := s.Newest("f", plan.X8664); !errors.As(err, &damaged) {
		t.Errorf("damaged: got %v, want a DamagedError and no older one", err)
	}
	if err := os.Remove(oldest.Path(ManifestName)); err != nil {
		t.Fatal(err)
	}
	want("nobody's", newer.ID())
	if _, err := s.Newest("h", plan.X8664); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown flavor: got %v, want ErrNotFound", err)
	}
}

func TestStagingRefuses(t *testing.T) {
	p := testPlan(plan.X8664, "f", "x1")
	other := testPlan(plan.X8664, "f", "x2")
	tests := []struct {
		name  string
		files []string // written before the report
		leave string   // begun and not closed
		m     Manifest
		want  string
	}{
		{"no kernel", []string{"initramfs-x86_64"}, "", Manifest{Plan: p}, "vmlinuz-x86_64 is missing"},
		{"no initramfs", []string{"vmlinuz-x86_64"}, "", Manifest{Plan: p}, "initramfs-x86_64 is missing"},
		{"other architecture", []string{"vmlinuz-aarch64", "initramfs-aarch64"}, "", Manifest{Plan: p}, "missing"},
		{"not closed", []string{"vmlinuz-x86_64"}, "initramfs-x86_64", Manifest{Plan: p}, "initramfs-x86_64 is not closed"},
		{"other plan", []string{"vmlinuz-x86_64", "initramfs-x86_64"}, "", Manifest{Plan: other}, other.ID()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := locked(t)
			g, err := s.Stage(p.ID())
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range tt.files {
				w, err := g.Create(name)
				if err != nil || w.Close() != nil {
					t.Fatal(name, err)
				}
			}
			if tt.leave != "" {
				if _, err := g.Create(tt.leave); err != nil {
					t.Fatal(err)
				}
			}
			if err := g.WriteReport(&Report{}); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Commit(tt.m); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			g.Abort()
			entries, err := os.ReadDir(filepath.Join(s.Dir(), "generations"))
			if err != nil || len(entries) > 0 {
				t.Errorf("after Abort: got %v, %v", entries, err)
			}
		})
	}
}

func TestStagingEnds(t *testing.T) {
	s := locked(t)
	p := testPlan(plan.X8664, "f", "x1")
	g, err := s.Stage(p.ID())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".hidden", "a/b", "..", "a b", "manifest.json", "report.json", "checksum.txt", "hook_x86_64.tar.gz"} {
		if _, err := g.Create(name); err == nil {
			t.Errorf("Create(%q): no error", name)
		}
	}
	w, err := g.Create("vmlinuz-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Create("vmlinuz-x86_64"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("twice: got %v, want fs.ErrExist", err)
	}
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("write after close: got %v", err)
	}
	g.Abort()
	g.Abort()
	if _, err := g.Create("initramfs-x86_64"); err == nil {
		t.Error("Create after Abort: no error")
	}
	if _, err := g.Commit(Manifest{Plan: p}); err == nil {
		t.Error("Commit after Abort: no error")
	}
}

// TestFailedWrite holds that a file of which a Write failed never becomes part of a generation, also when
// the caller does not look at Write's error.
func TestFailedWrite(t *testing.T) {
	s := locked(t)
	p := testPlan(plan.X8664, "f", "x1")
	g, err := s.Stage(p.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer g.Abort()
	w, err := g.Create("vmlinuz-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	path := w.f.Name()
	if err := w.f.Close(); err != nil {
		t.Fatal(err)
	}
	if w.f, err = os.Open(path); err != nil { // for reading only
		t.Fatal(err)
	}
	_, first := w.Write([]byte("x"))
	if _, again := w.Write([]byte("y")); first == nil || !errors.Is(again, first) {
		t.Errorf("got %v, then %v, want the same failure", first, again)
	}
	if err := w.Close(); !errors.Is(err, first) {
		t.Errorf("Close: got %v, want %v", err, first)
	}
	if _, err := g.Commit(Manifest{Plan: p}); err == nil || !strings.Contains(err.Error(), "vmlinuz-x86_64 is not closed, or failed") {
		t.Errorf("Commit: got %v", err)
	}
}
