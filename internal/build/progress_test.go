package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// heard is a reporter that writes down what it is told.
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (h *heard) add(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, fmt.Sprintf(format, args...))
}

func (h *heard) Start(stage string)                  { h.add("start %s", stage) }
func (h *heard) Output(stage string, e engine.Event) { h.add("output %s %s", stage, e.Text) }
func (h *heard) Count(stage, what string, done, total int64) {
	h.add("count %s %s %d/%d", stage, what, done, total)
}
func (h *heard) Warn(text string) { h.add("warn %s", text) }
func (h *heard) End(stage, note string, took time.Duration, err error) {
	h.add("end %s %q %s %v", stage, note, took, err)
}

func (h *heard) has(line string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.lines, line)
}

// ticking is a clock that goes on by a second at every look.
func ticking() func() time.Time {
	var mu sync.Mutex
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.FixedZone("", 3600))
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		at = at.Add(time.Second)
		return at
	}
}

func readRecord(t *testing.T, out string) (rec Record) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(out, "build.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		t.Fatal(err)
	}
	return rec
}

func TestRecorder(t *testing.T) {
	h, out := &heard{}, filepath.Join(t.TempDir(), "out")
	r := newRecorder(h, out, ticking())
	r.rec.PlanID, r.rec.Flavor = "aa", "hook-default-amd64"
	fault := errors.New("exit code 2")
	err := r.stage(t.Context(), "base", func(_ context.Context, log func(engine.Event)) (string, error) {
		log(engine.Event{Step: "s"}) // no line of output
		log(engine.Event{Step: "s", Text: "one"})
		log(engine.Event{Step: "s", Text: "two"})
		return "done", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = r.stage(t.Context(), "kernel", func(_ context.Context, log func(engine.Event)) (string, error) {
		log(engine.Event{Text: "make: error"})
		return "", fault
	})
	log := filepath.Join(out, "logs", "kernel.log")
	var failed *StageError
	if !errors.As(err, &failed) || failed.Stage != "kernel" || failed.Log != log || !errors.Is(err, fault) || err.Error() != "kernel: exit code 2" {
		t.Errorf("got %v, %+v", err, failed)
	}
	if err := r.stage(t.Context(), "silent", func(context.Context, func(engine.Event)) (string, error) { return "", fault }); !errors.As(err, &failed) || failed.Log != "" {
		t.Errorf("a stage without output: got log %q", failed.Log)
	}
	r.warn("careful")
	r.warn("careful")
	if err := r.write(err); err != nil {
		t.Fatal(err)
	}
	want := Record{
		PlanID: "aa", Flavor: "hook-default-amd64", Started: time.Date(2026, 11, 21, 23, 0, 1, 0, time.UTC), Seconds: 7, Error: "kernel: exit code 2",
		Stages: []StageRecord{
			{Name: "base", Seconds: 1, Note: "done", Log: "logs/base.log"},
			{Name: "kernel", Seconds: 1, Error: "exit code 2", Log: "logs/kernel.log"},
			{Name: "silent", Seconds: 1, Error: "exit code 2"},
		},
		Warnings: []string{"careful"},
	}
	if diff := cmp.Diff(want, readRecord(t, out)); diff != "" {
		t.Error(diff)
	}
	for file, want := range map[string]string{"logs/base.log": "one\ntwo\n", "logs/kernel.log": "make: error\n"} {
		if got, err := os.ReadFile(filepath.Join(out, file)); string(got) != want || err != nil {
			t.Errorf("%s: got %q, %v", file, got, err)
		}
	}
	wantHeard := []string{
		"start base", "output base ", "output base one", "output base two", `end base "done" 1s <nil>`,
		"start kernel", "output kernel make: error", `end kernel "" 1s exit code 2`, "start silent", `end silent "" 1s exit code 2`, "warn careful",
	}
	if diff := cmp.Diff(wantHeard, h.lines); diff != "" {
		t.Error(diff)
	}
}

func TestRecorderStartsNothingWhenCancelled(t *testing.T) {
	h := &heard{}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("another stage failed")
	cancel(stop)
	err := newRecorder(h, t.TempDir(), ticking()).stage(ctx, "base", func(context.Context, func(engine.Event)) (string, error) {
		t.Error("the stage ran")
		return "", nil
	})
	if !errors.Is(err, stop) || len(h.lines) != 0 {
		t.Errorf("got %v, heard %q", err, h.lines)
	}
}

// Stages run side by side.
func TestRecorderIsSafe(t *testing.T) {
	h, out := &heard{}, t.TempDir()
	r := newRecorder(h, out, ticking())
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			r.stage(t.Context(), name, func(_ context.Context, log func(engine.Event)) (string, error) {
				for i := range 100 {
					log(engine.Event{Text: fmt.Sprint(name, i)})
					r.warn(fmt.Sprint("w", i%3))
				}
				return "", nil
			})
		})
	}
	wg.Wait()
	if err := r.write(nil); err != nil {
		t.Fatal(err)
	}
	rec := readRecord(t, out)
	if len(rec.Stages) != 4 || len(rec.Warnings) != 3 {
		t.Errorf("got %d stages, warnings %q", len(rec.Stages), rec.Warnings)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		data, err := os.ReadFile(filepath.Join(out, "logs", name+".log"))
		if lines := strings.Split(string(data), "\n"); err != nil || len(lines) != 101 || lines[99] != name+"99" {
			t.Errorf("%s: got %d lines, %v", name, len(lines), err)
		}
	}
}

// A full disk must not stop a build that needs no log.
func TestRecorderWithoutPlaceForLogs(t *testing.T) {
	out := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(out, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	h := &heard{}
	r := newRecorder(h, out, ticking())
	err := r.stage(t.Context(), "base", func(_ context.Context, log func(engine.Event)) (string, error) {
		log(engine.Event{Text: "one"})
		log(engine.Event{Text: "two"})
		return "", nil
	})
	if err != nil {
		t.Errorf("got %v", err)
	}
	warnings := slices.DeleteFunc(slices.Clone(h.lines), func(s string) bool { return !strings.HasPrefix(s, "warn no log of base") })
	if len(warnings) != 1 {
		t.Errorf("heard %q, want one warning", h.lines)
	}
	if err := r.write(nil); err == nil {
		t.Error("a record that cannot be written is no error")
	}
}
