package engine

import (
	"bytes"
	"strings"

	bkclient "github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// tailLines is how much of a step's output a failure shows.
const tailLines = 40

// maxLine bounds the unfinished line that a step may hold in memory.
const maxLine = 64 << 10

// watcher follows one solve: it turns the builder's status stream into Events and keeps each step's last
// lines for the case of a failure.
type watcher struct {
	log   func(Event)
	steps map[digest.Digest]*step
	bad   *step
}

type step struct {
	name    string
	failure string // what the builder said of a step that did not succeed
	started bool
	ended   bool
	rest    []byte // a line not yet ended
	tail    []string
}

func newWatcher(log func(Event)) *watcher {
	if log == nil {
		log = func(Event) {}
	}
	return &watcher{log: log, steps: map[digest.Digest]*step{}}
}

// drain reads until the solve closes the channel; it must not stop earlier, or the solve would block.
func (w *watcher) drain(events <-chan *bkclient.SolveStatus) {
	for s := range events {
		for _, v := range s.Vertexes {
			w.begin(v)
		}
		for _, l := range s.Logs {
			w.output(l)
		}
		for _, v := range s.Vertexes {
			w.end(v)
		}
	}
}

func (w *watcher) step(d digest.Digest) *step {
	s, ok := w.steps[d]
	if !ok {
		s = &step{}
		w.steps[d] = s
	}
	return s
}

func (w *watcher) begin(v *bkclient.Vertex) {
	s := w.step(v.Digest)
	s.name = v.Name
	if v.Started != nil && !s.started {
		s.started = true
		w.log(Event{Step: s.name})
	}
}

// end is called after the output that came with v, so that a step's last words precede its end.
func (w *watcher) end(v *bkclient.Vertex) {
	s := w.step(v.Digest)
	if v.Completed == nil || s.ended {
		return
	}
	s.ended = true
	w.flush(s)
	s.failure = v.Error
	if v.Error != "" && (w.bad == nil || canceled(w.bad.failure) && !canceled(v.Error)) {
		w.bad = s
	}
	w.log(Event{Step: s.name, Done: true, Cached: v.Cached})
}

// canceled tells a step that was stopped because another one failed from the one that failed.
func canceled(text string) bool { return strings.HasSuffix(text, "context canceled") }

func (w *watcher) output(l *bkclient.VertexLog) {
	s := w.step(l.Vertex)
	s.rest = append(s.rest, l.Data...)
	for {
		line, rest, ok := bytes.Cut(s.rest, []byte("\n"))
		if !ok && len(s.rest) < maxLine {
			break
		}
		w.line(s, string(line))
		s.rest = rest
	}
	if s.ended {
		w.flush(s)
	}
}

func (w *watcher) flush(s *step) {
	if len(s.rest) > 0 {
		w.line(s, string(s.rest))
		s.rest = nil
	}
}

func (w *watcher) line(s *step, text string) {
	text = strings.TrimRight(text, "\r")
	s.tail = append(s.tail, text)
	if len(s.tail) > tailLines {
		s.tail = s.tail[1:]
	}
	w.log(Event{Step: s.name, Text: text})
}

// failure names the step that broke the solve and adds what it said last.
func (w *watcher) failure(err error) error {
	if w.bad == nil {
		return &BuildError{Step: "solve", Err: err}
	}
	w.flush(w.bad)
	return &BuildError{Step: w.bad.name, ExitCode: exitCode(err), Tail: w.bad.tail, Err: err}
}
