package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// short are limits for checks that do not come back.
func short(slow func([]string)) Limits {
	return Limits{Answer: 50 * time.Millisecond, Total: 200 * time.Millisecond, Quiet: time.Millisecond, Slow: slow}
}

func says(name string, s State) func(context.Context) []Finding {
	return func(context.Context) []Finding { return []Finding{{Check: name, State: s}} }
}

func TestRunGivesUpWhatHangs(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	var waiting []string
	found, err := Run(t.Context(), short(func(names []string) { waiting = names }), []Check{
		{Name: "stuck", Late: Error, Hint: "do this", Run: func(context.Context) []Finding { <-stuck; return nil }},
		{Name: "quick", Run: says("quick", OK)},
		{Name: "stuck too", Run: func(context.Context) []Finding { <-stuck; return nil }},
		{Name: "obeys", Run: func(ctx context.Context) []Finding { <-ctx.Done(); return says("obeys", Error)(ctx) }},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Finding{
		{"stuck", Error, "no answer within 200ms", "do this"}, {"quick", OK, "", ""},
		{"stuck too", Warning, "no answer within 200ms", ""}, {"obeys", Error, "", ""},
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !strings.Contains(strings.Join(waiting, " "), "stuck") {
		t.Errorf("told of %q while it waited", waiting)
	}
	if got := []int{Count(found, OK), Count(found, Warning), Count(found, Error)}; !cmp.Equal(got, []int{1, 1, 2}) {
		t.Errorf("counted %d", got)
	}
}

func TestRunSaysNothingWhereAllIsQuick(t *testing.T) {
	l := Limits{Answer: time.Hour, Total: time.Hour, Quiet: time.Hour, Slow: func(names []string) { t.Errorf("told of %q", names) }}
	found, err := Run(t.Context(), l, []Check{{Name: "b", Run: says("b", OK)}, {Name: "a", Run: says("a", OK)}})
	if err != nil || len(found) != 2 || found[0].Check != "b" {
		t.Errorf("got %v, %v; want both in their order", found, err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	stuck := make(chan struct{})
	defer close(stuck)
	l := Limits{Answer: time.Hour, Total: time.Hour, Quiet: time.Hour}
	_, err := Run(ctx, l, []Check{{Run: func(context.Context) []Finding { cancel(interrupted); <-stuck; return nil }}})
	if !errors.Is(err, interrupted) {
		t.Errorf("got %v", err)
	}
}

// lines are findings as "state check", with a star where there is a hint.
func lines(found []Finding) string {
	var all []string
	for _, f := range found {
		line := string(f.State) + " " + f.Check
		if f.Hint != "" {
			line += "*"
		}
		all = append(all, line)
	}
	return strings.Join(all, ", ")
}

func TestEngine(t *testing.T) {
	good := Engine{
		Version: "20.10.24+dfsg1", API: "1.41", Arch: "amd64", Host: "unix:///run/docker.sock", Driver: "overlay2", Root: "/var/lib/docker",
		Memory: 4e9, CPUs: 4, Disk: Disk{Free: 30e9, Size: 90e9},
	}
	const fine = "ok engine, ok buildkit, ok storage, ok engine-disk, ok memory, ok cpus"
	for _, tc := range []struct {
		name   string
		change func(*Engine)
		want   string
		detail string // in the first finding that differs from fine, or in any
	}{
		{"good", func(*Engine) {}, fine, "on this machine"},
		{"remote", func(e *Engine) { e.Remote, e.Disk = true, Disk{} }, fine, "cannot be seen from here"},
		{"containerd", func(e *Engine) { e.Containerd = true }, fine, "images kept by containerd"},
		{"a BuildKit that tells its version", func(e *Engine) { e.BuildKitIs = "v0.33.0" }, fine, "answers, v0.33.0"},
		{"an odd version", func(e *Engine) { e.Version = "master" }, fine, "Docker Engine master"},
		{"19.03", func(e *Engine) { e.Version = "19.03.15" }, strings.Replace(fine, "ok engine,", "error engine*,", 1), "19.03.15"},
		{"20.9", func(e *Engine) { e.Version = "20.9.1" }, strings.Replace(fine, "ok engine,", "error engine*,", 1), "20.9.1"},
		{"architecture", func(e *Engine) { e.Arch = "s390x" }, strings.Replace(fine, "ok engine,", "error engine*,", 1), "s390x"},
		{"no BuildKit", func(e *Engine) { e.BuildKit = errors.New("unimplemented") }, strings.Replace(fine, "ok buildkit", "error buildkit*", 1), "unimplemented"},
		{"vfs", func(e *Engine) { e.Driver = "vfs" }, strings.Replace(fine, "ok storage", "warning storage*", 1), "vfs"},
		{"little space", func(e *Engine) { e.Disk.Free = 19e9 }, strings.Replace(fine, "ok engine-disk", "warning engine-disk*", 1), "19GB free"},
		{"no space", func(e *Engine) { e.Disk.Free = 1e9 }, strings.Replace(fine, "ok engine-disk", "error engine-disk*", 1), "1GB free"},
		{"little memory", func(e *Engine) { e.Memory = 1e9 }, strings.Replace(fine, "ok memory", "warning memory*", 1), "1GB"},
		{"few CPUs", func(e *Engine) { e.CPUs = 2 }, strings.Replace(fine, "ok cpus", "warning cpus*", 1), "2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := good
			tc.change(&e)
			found := e.Findings()
			if got := lines(found); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if !contains(found, tc.detail) {
				t.Errorf("no finding says %q: %v", tc.detail, found)
			}
		})
	}
}

func contains(found []Finding, detail string) bool {
	for _, f := range found {
		if strings.Contains(f.Detail, detail) {
			return true
		}
	}
	return false
}

func TestTerminal(t *testing.T) {
	good := Terminal{There: true, Columns: 120, Rows: 40, Term: "xterm", Locale: "en_GB.UTF-8"}
	for _, tc := range []struct {
		name   string
		change func(*Terminal)
		want   string
	}{
		{"none", func(t *Terminal) { *t = Terminal{} }, "ok terminal"},
		{"good", func(*Terminal) {}, "ok terminal"},
		{"C.utf8", func(t *Terminal) { t.Locale = "C.utf8" }, "ok terminal"},
		{"no colour", func(t *Terminal) { t.NoColor = true }, "ok terminal"},
		{"just large enough", func(t *Terminal) { t.Columns, t.Rows = 80, 19 }, "ok terminal"},
		{"narrow", func(t *Terminal) { t.Columns = 79 }, "warning terminal*"},
		{"low", func(t *Terminal) { t.Rows = 18 }, "warning terminal*"},
		{"dumb", func(t *Terminal) { t.Term = "dumb" }, "warning terminal*"},
		{"no TERM", func(t *Terminal) { t.Term = "" }, "warning terminal*"},
		{"Latin-1", func(t *Terminal) { t.Locale = "de_DE.ISO-8859-1" }, "warning terminal*"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			terminal := good
			tc.change(&terminal)
			if got := lines([]Finding{terminal.Finding()}); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}
