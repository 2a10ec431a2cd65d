package boot

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hookbuild/hookbuild/internal/engine"
)

const (
	tailLines = 40
	// lineGrace is how long a matching line may stay open: a prompt has no line end.
	lineGrace = time.Second
)

// What ends a container from our side.
var (
	errDecided = errors.New("the console has said enough")
	errTimeout = errors.New("time is over")
)

// doom is a piece of a console line after which the expected one cannot come, and what it means.
type doom struct{ text, meaning string }

// watch reads a machine's console while its container runs, and stops the container once the verdict is
// clear. Its fields may be read after run has returned.
type watch struct {
	expect string
	doomed []doom
	live   io.Writer
	now    func() time.Time

	seen   bool
	line   string   // the one that held expect
	reason string   // why it will not come; empty while unknown
	tail   []string // at most tailLines

	lines  console
	start  time.Time
	end    time.Time
	stop   context.CancelCauseFunc
	timers []*time.Timer
}

func newWatch(expect string, live io.Writer, now func() time.Time) *watch {
	w := &watch{expect: expect, live: live, now: now}
	w.lines.emit = w.take
	return w
}

// run runs c until the verdict is clear. The time limit begins once files has been written, so that a slow
// way to the engine does not count; without files it begins at once.
func (w *watch) run(
	ctx context.Context, r runner, c engine.Container, files func(*tar.Writer) error, limit time.Duration,
) (int, error) {
	ctx, w.stop = context.WithCancelCause(ctx)
	defer w.stop(nil)
	defer func() {
		for _, t := range w.timers {
			t.Stop()
		}
	}()
	w.start = w.now()
	if files == nil {
		w.after(limit, errTimeout)
	} else {
		c.Files = func(tw *tar.Writer) error {
			err := files(tw)
			w.start = w.now()
			w.after(limit, errTimeout)
			return err
		}
	}
	code, err := r.Run(ctx, c, w)
	w.lines.flush()
	if w.end.IsZero() {
		w.end = w.now()
	}
	if w.reason == "" && !w.seen && context.Cause(ctx) == errTimeout {
		w.reason = "not within " + limit.String()
	}
	return code, err
}

// after stops the container with the given cause after d.
func (w *watch) after(d time.Duration, cause error) {
	stop := w.stop
	w.timers = append(w.timers, time.AfterFunc(d, func() { stop(cause) }))
}

// Write takes what the container puts out. It never fails, so that the engine reads on to the end.
func (w *watch) Write(p []byte) (int, error) {
	for _, b := range p {
		w.lines.put(b)
	}
	if open := w.lines.open(); !w.seen && strings.Contains(open, w.expect) {
		w.found(open)
		w.after(lineGrace, errDecided)
	}
	return len(p), nil
}

func (w *watch) found(line string) {
	w.seen, w.line, w.end = true, line, w.now()
}

// take judges one whole line.
func (w *watch) take(line string) {
	if strings.TrimSpace(line) == "" {
		return
	}
	w.tail = append(w.tail, line)
	if len(w.tail) > tailLines {
		w.tail = w.tail[1:]
	}
	w.show(line)
	switch {
	case w.seen && strings.HasPrefix(line, w.line):
		w.line = line // the end of a line that matched while it was open
		w.stop(errDecided)
	case w.seen:
		w.stop(errDecided)
	case strings.Contains(line, w.expect):
		w.found(line)
		w.stop(errDecided)
	case w.reason == "":
		w.judge(line)
	}
}

// judge looks for the end of all hope, and then waits a little: the lines after it say why.
func (w *watch) judge(line string) {
	for _, d := range w.doomed {
		if strings.Contains(line, d.text) {
			w.reason = d.meaning
			w.after(panicGrace, errDecided)
			return
		}
	}
}

// show hands the line on with the time. Errors are dropped: a closed terminal must not end the boot.
func (w *watch) show(line string) {
	if w.live != nil {
		_, _ = fmt.Fprintf(w.live, "%7.1f %s\n", w.now().Sub(w.start).Seconds(), line)
	}
}

func (w *watch) elapsed() time.Duration { return w.end.Sub(w.start) }
