package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// The forms of progress that --progress chooses between; auto is tty on a terminal, else plain.
const (
	progressTTY   = "tty"
	progressPlain = "plain"
	progressJSON  = "json"
)

// redraw is how often a terminal's display is brought up to date, so that the elapsed time moves.
const redraw = 250 * time.Millisecond

// reporter shows how a build goes: a few lines that are redrawn on a terminal, else a line per event. It
// implements build.Reporter. Close it when done; a second Close does nothing.
type reporter struct {
	mode    string
	out     io.Writer
	now     func() time.Time
	columns func() int

	mu     sync.Mutex
	begin  time.Time
	stages []*stage // those that run, in the order of their start
	drawn  int      // lines of the display that stand on the terminal
	stop   chan struct{}
	done   sync.WaitGroup
}

// stage is one that runs.
type stage struct {
	name    string
	begin   time.Time
	last    string // its newest line
	counted time.Time
}

func (p *program) reporter(s settings) (*reporter, error) {
	mode := s.progress
	switch mode {
	case "auto":
		mode = progressPlain
		if p.Columns() > 0 && p.Getenv("TERM") != "dumb" {
			mode = progressTTY
		}
	case progressTTY, progressPlain, progressJSON:
	default:
		return nil, &usageError{fmt.Sprintf("--progress %s: want auto, tty, plain or json", mode)}
	}
	r := &reporter{mode: mode, out: p.Stderr, now: p.Now, columns: p.Columns, begin: p.Now(), stop: make(chan struct{})}
	if mode == progressTTY {
		r.done.Go(r.keepDrawing)
	}
	return r, nil
}

// Close takes the display off the terminal.
func (r *reporter) Close() {
	r.mu.Lock()
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	r.mu.Unlock()
	r.done.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.erase()
}

func (r *reporter) keepDrawing() {
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
			r.mu.Lock()
			r.erase()
			r.draw()
			r.mu.Unlock()
		}
	}
}

// event is a line of --progress json.
type event struct {
	Seconds float64 `json:"seconds"` // since the start
	Stage   string  `json:"stage,omitempty"`
	Event   string  `json:"event"` // start, step, output, count, warning, end
	Step    string  `json:"step,omitempty"`
	Text    string  `json:"text,omitempty"`
	Done    int64   `json:"done,omitempty"`  // bytes
	Total   int64   `json:"total,omitempty"` // bytes
	Error   string  `json:"error,omitempty"`
}

// say shows an event: as JSON, or as a line that stays. The lock is held.
func (r *reporter) say(e event, line string) {
	if r.mode == progressJSON {
		e.Seconds = r.now().Sub(r.begin).Seconds()
		data, err := json.Marshal(e)
		if err != nil { // strings and numbers only
			panic(err)
		}
		fmt.Fprintf(r.out, "%s\n", data)
		return
	}
	r.erase()
	fmt.Fprintln(r.out, printable(line))
	r.draw()
}

// Start implements build.Reporter.
func (r *reporter) Start(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stages = append(r.stages, &stage{name: name, begin: r.now()})
	if r.mode != progressTTY {
		r.say(event{Stage: name, Event: "start"}, fmt.Sprintf("[%s] started", name))
	}
}

// Output implements build.Reporter.
func (r *reporter) Output(name string, e engine.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.find(name)
	switch {
	case e.Text == "" && !e.Done:
		s.last = e.Step
		if r.mode != progressTTY {
			r.say(event{Stage: name, Event: "step", Step: e.Step}, r.prefix(s)+"-> "+e.Step)
		}
	case e.Text != "":
		s.last = e.Text
		if r.mode != progressTTY {
			r.say(event{Stage: name, Event: "output", Step: e.Step, Text: e.Text}, r.prefix(s)+e.Text)
		}
	}
}

// Count implements build.Reporter. Only a terminal shows every call; elsewhere a line every two seconds will do.
func (r *reporter) Count(name, what string, done, total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.find(name)
	s.last = fmt.Sprintf("%s: %.1f of %.1f MiB", what, float64(done)/(1<<20), float64(total)/(1<<20))
	if r.mode == progressTTY || (r.now().Sub(s.counted) < 2*time.Second && done != total) {
		return
	}
	s.counted = r.now()
	r.say(event{Stage: name, Event: "count", Text: what, Done: done, Total: total}, r.prefix(s)+s.last)
}

// Warn implements build.Reporter.
func (r *reporter) Warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.say(event{Event: "warning", Text: text}, "warning: "+text)
}

// End implements build.Reporter.
func (r *reporter) End(name, note string, took time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.find(name)
	r.stages = slices.DeleteFunc(r.stages, func(o *stage) bool { return o == s })
	e := event{Stage: name, Event: "end", Text: note}
	line := fmt.Sprintf("[%s] done in %.1f s", name, took.Seconds())
	if note != "" {
		line += ": " + note
	}
	if err != nil {
		e.Error = err.Error()
		line = fmt.Sprintf("[%s] failed after %.1f s", name, took.Seconds())
	}
	r.say(e, line)
}

// find returns the stage, which is made where something is heard of it before its start.
func (r *reporter) find(name string) *stage {
	for _, s := range r.stages {
		if s.name == name {
			return s
		}
	}
	return &stage{name: name, begin: r.begin}
}

func (r *reporter) prefix(s *stage) string {
	return fmt.Sprintf("[%s] %5.1f  ", s.name, r.now().Sub(s.begin).Seconds())
}

// erase takes the display's lines off the terminal.
func (r *reporter) erase() {
	if r.drawn > 0 {
		fmt.Fprintf(r.out, "\x1b[%dA\x1b[J", r.drawn)
		r.drawn = 0
	}
}

// draw puts a line per running stage below what stands there.
func (r *reporter) draw() {
	if r.mode != progressTTY {
		return
	}
	width := r.columns()
	for _, s := range r.stages {
		elapsed := r.now().Sub(s.begin).Truncate(time.Second)
		fmt.Fprintln(r.out, cut(fmt.Sprintf("%-10s %6s  %s", s.name, elapsed, s.last), width))
	}
	r.drawn = len(r.stages)
}

// cut makes a line printable and shortens it to the terminal's width.
func cut(line string, width int) string {
	clean := printable(line)
	if runes := []rune(clean); width > 0 && len(runes) >= width {
		return string(runes[:width-1])
	}
	return clean
}

// printable takes control characters out of a line: what a build step prints must not move the cursor.
func printable(line string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, line)
}
