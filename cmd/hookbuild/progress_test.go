package main

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// clock is set by hand.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

// newReporter makes a reporter without the goroutine that redraws; tests call tick.
func newReporter(mode string, out io.Writer, columns int) (*reporter, *clock) {
	c := &clock{noon}
	return &reporter{
		mode: mode, out: out, now: c.now, begin: noon, stop: make(chan struct{}),
		columns: func() int { return columns },
	}, c
}

func (r *reporter) tick() {
	r.erase()
	r.draw()
}

// tellBuild tells a reporter of a short build that fails.
func tellBuild(r *reporter, c *clock) {
	r.Start("base")
	c.advance(1500 * time.Millisecond)
	r.Count("base", "packages", 1<<20, 4<<20)
	c.advance(time.Second)
	r.Count("base", "packages", 2<<20, 4<<20)
	r.Count("base", "packages", 4<<20, 4<<20)
	r.End("base", "debian:base", 2500*time.Millisecond, nil)
	r.Start("kernel")
	r.Start("userland")
	c.advance(time.Second)
	r.Output("kernel", engine.Event{Step: "compile"})
	r.Output("kernel", engine.Event{Step: "compile", Text: "CC\ta.o\x1b[31m"})
	r.Warn("the disk\nis small")
	r.Output("kernel", engine.Event{Step: "compile", Done: true})
	c.advance(time.Second)
	r.End("userland", "", 2*time.Second, nil)
	r.End("kernel", "", 2*time.Second, errors.New("exit code 2"))
}

func TestPlainProgress(t *testing.T) {
	var out bytes.Buffer
	r, c := newReporter(progressPlain, &out, 0)
	tellBuild(r, c)
	r.Close()
	want := `[base] started
[base]   1.5  packages: 1.0 of 4.0 MiB
[base]   2.5  packages: 4.0 of 4.0 MiB
[base] done in 2.5 s: debian:base
[kernel] started
[userland] started
[kernel]   1.0  -> compile
[kernel]   1.0  CC a.o [31m
warning: the disk is small
[userland] done in 2.0 s
[kernel] failed after 2.0 s
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestJSONProgress(t *testing.T) {
	var out bytes.Buffer
	r, c := newReporter(progressJSON, &out, 80)
	tellBuild(r, c)
	r.Close()
	want := `{"seconds":0,"stage":"base","event":"start"}
{"seconds":1.5,"stage":"base","event":"count","text":"packages","done":1048576,"total":4194304}
{"seconds":2.5,"stage":"base","event":"count","text":"packages","done":4194304,"total":4194304}
{"seconds":2.5,"stage":"base","event":"end","text":"debian:base"}
{"seconds":2.5,"stage":"kernel","event":"start"}
{"seconds":2.5,"stage":"userland","event":"start"}
{"seconds":3.5,"stage":"kernel","event":"step","step":"compile"}
{"seconds":3.5,"stage":"kernel","event":"output","step":"compile","text":"CC\ta.o\u001b[31m"}
{"seconds":3.5,"event":"warning","text":"the disk\nis small"}
{"seconds":4.5,"stage":"userland","event":"end"}
{"seconds":4.5,"stage":"kernel","event":"end","error":"exit code 2"}
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// screen is what a terminal shows: the lines, and the one that the cursor is in.
type screen struct {
	lines []string
	row   int
}

// sequence are the control sequences that a screen knows: cursor up, and erase to the end of the screen.
var sequence = regexp.MustCompile(`\x1b\[([0-9]*)([AJ])|\n|[^\x1b\n]+`)

// Write does what the text says; an unknown control sequence is an error.
func (s *screen) Write(p []byte) (int, error) {
	rest := string(p)
	for rest != "" {
		m := sequence.FindStringSubmatch(rest)
		if m == nil || !strings.HasPrefix(rest, m[0]) {
			return 0, errors.New("unknown control sequence in " + strconv.Quote(rest))
		}
		rest = rest[len(m[0]):]
		s.apply(m[0], m[1], m[2])
	}
	return len(p), nil
}

func (s *screen) apply(text, number, letter string) {
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, "")
	}
	switch {
	case letter == "A":
		n, _ := strconv.Atoi(number) // digits, or none
		s.row -= n
	case letter == "J":
		s.lines = s.lines[:s.row]
	case text == "\n":
		s.row++
	default:
		s.lines[s.row] += text
	}
}

func (s *screen) text() string { return strings.Join(s.lines, "\n") }

func TestTerminalProgress(t *testing.T) {
	s := &screen{}
	r, c := newReporter(progressTTY, s, 30)
	expect := func(what, want string) {
		t.Helper()
		if diff := cmp.Diff(want, s.text()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	r.Start("kernel")
	r.Start("userland")
	c.advance(61 * time.Second)
	r.Output("kernel", engine.Event{Step: "compile", Text: "CC\x1b[2J drivers/net/ethernet/a.o"})
	r.tick()
	expect("two stages", "kernel       1m1s  CC [2J dri\nuserland     1m1s  ")
	r.Warn("the disk\x1b[H is small")
	expect("a warning stays above", "warning: the disk [H is small\nkernel       1m1s  CC [2J dri\nuserland     1m1s  ")
	c.advance(time.Second)
	r.Count("userland", "packages", 1<<20, 2<<20)
	r.tick()
	expect("time goes on", "warning: the disk [H is small\nkernel       1m2s  CC [2J dri\nuserland     1m2s  packages: ")
	r.End("userland", "2 images", 62*time.Second, nil)
	expect("one stage has ended", "warning: the disk [H is small\n[userland] done in 62.0 s: 2 images\nkernel       1m2s  CC [2J dri")
	r.End("kernel", "", 62*time.Second, errors.New("exit code 2"))
	r.tick()
	r.Close()
	expect("the end", "warning: the disk [H is small\n[userland] done in 62.0 s: 2 images\n[kernel] failed after 62.0 s")
}

// A stage that still runs is taken off the terminal.
func TestCloseErases(t *testing.T) {
	s := &screen{}
	r, _ := newReporter(progressTTY, s, 80)
	r.Warn("first")
	r.Start("kernel")
	r.tick()
	r.Close()
	r.Close()
	if got := s.text(); got != "warning: first" {
		t.Errorf("got %q on the screen, want the warning only", got)
	}
}

func TestReporterMode(t *testing.T) {
	for _, tc := range []struct {
		name, flag, term string
		columns          int
		want             string
	}{
		{"auto without a terminal", "auto", "xterm", 0, progressPlain},
		{"auto on a terminal", "auto", "xterm", 80, progressTTY},
		{"auto on one that cannot move its cursor", "auto", "dumb", 80, progressPlain},
		{"tty", "tty", "dumb", 0, progressTTY},
		{"plain", "plain", "xterm", 80, progressPlain},
		{"json", "json", "xterm", 80, progressJSON},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sys := testSystem(io.Discard, io.Discard)
			sys.Columns = func() int { return tc.columns }
			sys.Getenv = func(name string) string { return map[string]string{"TERM": tc.term}[name] }
			r, err := (&program{sys}).reporter(settings{progress: tc.flag})
			if err != nil {
				t.Fatal(err)
			}
			r.Close() // waits for the goroutine that redraws
			if r.mode != tc.want {
				t.Errorf("got %s, want %s", r.mode, tc.want)
			}
		})
	}
	if _, err := (&program{testSystem(io.Discard, io.Discard)}).reporter(settings{progress: "fancy"}); !isA[*usageError](err) {
		t.Errorf("fancy: got %v, want a usage error", err)
	}
}

func TestCut(t *testing.T) {
	for _, tc := range []struct {
		name, line string
		width      int
		want       string
	}{
		{"fits", "abc", 4, "abc"},
		{"leaves the last column free", "abcd", 4, "abc"},
		{"counts characters", "äöüß", 4, "äöü"},
		{"no terminal", "abcdef", 0, "abcdef"},
		{"control characters", "a\tb\r\x1b[0m\x7f\u009bc", 80, "a b  [0m  c"},
		{"not UTF-8", "a\xffb", 80, "a\ufffdb"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := cut(tc.line, tc.width); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
