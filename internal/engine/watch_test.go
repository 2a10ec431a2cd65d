package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bkclient "github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// told is a watcher whose events are kept.
func told() (*watcher, *[]Event) {
	var events []Event
	return newWatcher(func(e Event) { events = append(events, e) }), &events
}

// feed gives the watcher a whole status stream.
func feed(w *watcher, stream ...*bkclient.SolveStatus) {
	ch := make(chan *bkclient.SolveStatus, len(stream))
	for _, s := range stream {
		ch <- s
	}
	close(ch)
	w.drain(ch)
}

func started(name string) *bkclient.Vertex {
	at := time.Unix(1, 0)
	return &bkclient.Vertex{Digest: digest.FromString(name), Name: name, Started: &at}
}

func completed(name, failure string) *bkclient.Vertex {
	v := started(name)
	v.Completed, v.Error = v.Started, failure
	return v
}

func status(vs ...*bkclient.Vertex) *bkclient.SolveStatus {
	return &bkclient.SolveStatus{Vertexes: vs}
}

func says(name, text string) *bkclient.SolveStatus {
	return &bkclient.SolveStatus{Logs: []*bkclient.VertexLog{{Vertex: digest.FromString(name), Data: []byte(text)}}}
}

func TestWatcherEvents(t *testing.T) {
	cached := completed("b", "")
	cached.Cached = true
	for _, c := range []struct {
		name   string
		stream []*bkclient.SolveStatus
		want   []Event
	}{
		{
			"a step with two lines, one of them in pieces",
			[]*bkclient.SolveStatus{status(started("a")), says("a", "one\ntw"), says("a", "o\n"), status(completed("a", ""))},
			[]Event{{Step: "a"}, {Step: "a", Text: "one"}, {Step: "a", Text: "two"}, {Step: "a", Done: true}},
		},
		{
			"an empty line and carriage returns",
			[]*bkclient.SolveStatus{status(started("a")), says("a", "\r\nx\r\n")},
			[]Event{{Step: "a"}, {Step: "a"}, {Step: "a", Text: "x"}},
		},
		{
			"a step from the cache",
			[]*bkclient.SolveStatus{status(cached)},
			[]Event{{Step: "b"}, {Step: "b", Done: true, Cached: true}},
		},
		{
			"the builder repeats what it has said",
			[]*bkclient.SolveStatus{status(started("a")), status(started("a")), status(completed("a", "")), status(completed("a", ""))},
			[]Event{{Step: "a"}, {Step: "a", Done: true}},
		},
		{
			"a last line without an end",
			[]*bkclient.SolveStatus{status(started("a")), says("a", "rest"), status(completed("a", ""))},
			[]Event{{Step: "a"}, {Step: "a", Text: "rest"}, {Step: "a", Done: true}},
		},
		{
			"output in the message that ends the step",
			[]*bkclient.SolveStatus{status(started("a")), {Vertexes: status(completed("a", "")).Vertexes, Logs: says("a", "last").Logs}},
			[]Event{{Step: "a"}, {Step: "a", Text: "last"}, {Step: "a", Done: true}},
		},
		{
			"output after the end",
			[]*bkclient.SolveStatus{status(completed("a", "")), says("a", "late")},
			[]Event{{Step: "a"}, {Step: "a", Done: true}, {Step: "a", Text: "late"}},
		},
		{
			"two steps at a time",
			[]*bkclient.SolveStatus{status(started("a"), started("b")), says("a", "of a, "), says("b", "of b\n"), says("a", "more\n")},
			[]Event{{Step: "a"}, {Step: "b"}, {Step: "b", Text: "of b"}, {Step: "a", Text: "of a, more"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, events := told()
			feed(w, c.stream...)
			if diff := cmp.Diff(c.want, *events); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWatcherBoundsALineWithoutEnd(t *testing.T) {
	w, events := told()
	piece := strings.Repeat("x", 10_000)
	for range 20 {
		feed(w, says("a", piece))
		if held := len(w.steps[digest.FromString("a")].rest); held >= maxLine+len(piece) {
			t.Fatalf("holds %d bytes of one line", held)
		}
	}
	feed(w, status(completed("a", "")))
	total := 0
	for _, e := range *events {
		total += len(e.Text)
	}
	if total != 20*len(piece) {
		t.Errorf("got %d bytes of output, want %d", total, 20*len(piece))
	}
}

func TestWatcherTailIsBounded(t *testing.T) {
	w := newWatcher(nil)
	feed(w, status(started("a")))
	for i := range 3 * tailLines {
		feed(w, says("a", fmt.Sprintf("line %d\n", i)))
	}
	feed(w, says("a", "unfinished"), status(completed("a", "exit code: 1")))
	var failed *BuildError
	if !errors.As(w.failure(errors.New("exit code: 1")), &failed) {
		t.Fatal("no *BuildError")
	}
	if len(failed.Tail) != tailLines {
		t.Fatalf("got %d lines, want %d", len(failed.Tail), tailLines)
	}
	if first := failed.Tail[0]; first != fmt.Sprintf("line %d", 2*tailLines+1) {
		t.Errorf("the tail begins with %q", first)
	}
	if last := failed.Tail[tailLines-1]; last != "unfinished" {
		t.Errorf("the tail ends with %q", last)
	}
}

func TestWatcherNamesTheStepThatFailed(t *testing.T) {
	const cancelled = "executor failed running [/bin/sh]: context canceled"
	for _, c := range []struct {
		name   string
		stream []*bkclient.SolveStatus
		want   string
	}{
		{"one", []*bkclient.SolveStatus{status(completed("bad", "exit code: 1"))}, "bad"},
		{"then others are cancelled", []*bkclient.SolveStatus{status(completed("bad", "exit code: 1"), completed("b", cancelled))}, "bad"},
		{"others are cancelled first", []*bkclient.SolveStatus{status(completed("b", cancelled)), status(completed("bad", "exit code: 1"))}, "bad"},
		{"the first of two", []*bkclient.SolveStatus{status(completed("bad", "exit code: 1")), status(completed("b", "exit code: 2"))}, "bad"},
		{"only a cancelled one", []*bkclient.SolveStatus{status(completed("b", cancelled))}, "b"},
		{"none", []*bkclient.SolveStatus{status(completed("good", ""))}, "solve"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWatcher(nil)
			feed(w, c.stream...)
			cause := errors.New("the cause")
			err := w.failure(cause)
			var failed *BuildError
			if !errors.As(err, &failed) || failed.Step != c.want {
				t.Errorf("got %v, want step %s", err, c.want)
			}
			if !errors.Is(err, cause) {
				t.Errorf("%v does not wrap its cause", err)
			}
		})
	}
}
