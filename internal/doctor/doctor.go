// Package doctor says whether a host is ready for hookbuild: facts about the engine, the cache, the network and this
// host go in, findings come out, each with what to do. It looks at the host itself only through what it is given.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// State is how bad a finding is.
type State string

// The states. A warning leaves hookbuild working, perhaps slower or not everywhere; an error does not.
const (
	OK      State = "ok"
	Warning State = "warning"
	Error   State = "error"
)

// Finding is one line of the report.
type Finding struct {
	Check  string `json:"check"` // what was looked at: engine, cache, mirror …
	State  State  `json:"state"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"` // what to do; empty where nothing is to be done
}

// Check is one look at something. Several run side by side.
type Check struct {
	Name string
	// Late is what it means that the check does not come back in time; empty is a Warning.
	Late State
	Hint string // for that case
	// Run should return when ctx ends, with what it has found until then. One that does not is given up.
	Run func(ctx context.Context) []Finding
}

// Limits say how long Run may take.
type Limits struct {
	Answer time.Duration // after it the context of the checks ends
	Total  time.Duration // after it what has not come back is given up; not less than Answer
	Quiet  time.Duration // after it Slow is called once with the names of the checks that still run
	Slow   func(names []string)
}

// Run does all checks side by side and returns their findings in the order of the checks, after l.Total at the
// latest. A check that does not come back has one finding that says so; its goroutine is left behind, since
// nothing can end a system call that hangs, such as on a network file system that is gone. The error is ctx's.
func Run(ctx context.Context, l Limits, checks []Check) ([]Finding, error) {
	type result struct {
		n        int
		findings []Finding
	}
	inner, cancel := context.WithTimeout(ctx, l.Answer)
	defer cancel()
	results := make(chan result, len(checks)) // so that a late one need not wait for a reader
	for n, c := range checks {
		go func() { results <- result{n, c.Run(inner)} }()
	}
	over, quiet := time.NewTimer(l.Total), time.NewTimer(l.Quiet)
	defer over.Stop()
	defer quiet.Stop()
	found, came := make([][]Finding, len(checks)), make([]bool, len(checks))
	for left := len(checks); left > 0; {
		select {
		case r := <-results:
			found[r.n], came[r.n] = r.findings, true
			left--
		case <-quiet.C:
			l.Slow(missing(checks, came))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-over.C:
			for n, c := range checks {
				if !came[n] {
					found[n] = []Finding{c.late(l.Total)}
				}
			}
			left = 0
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return slices.Concat(found...), nil
}

// missing are the names of the checks that have not come back.
func missing(checks []Check, came []bool) []string {
	var names []string
	for n, c := range checks {
		if !came[n] {
			names = append(names, c.Name)
		}
	}
	return names
}

func (c Check) late(limit time.Duration) Finding {
	f := Finding{c.Name, c.Late, fmt.Sprintf("no answer within %s", limit), c.Hint}
	if f.State == "" {
		f.State = Warning
	}
	return f
}

// Count is how many findings have the state.
func Count(findings []Finding, s State) int {
	n := 0
	for _, f := range findings {
		if f.State == s {
			n++
		}
	}
	return n
}
