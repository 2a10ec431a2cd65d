package kernel

import (
	"errors"
	"regexp"
	"strings"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// Error is a kernel build that failed, with what went wrong first: make goes on with other files for a while,
// so that the last lines are about something else.
type Error struct {
	First []string // the first error's line, and a few that followed; never empty
	Err   error    // *engine.BuildError
}

// Error is the first error.
func (e *Error) Error() string { return e.First[0] }

// Unwrap is the failed step.
func (e *Error) Unwrap() error { return e.Err }

const (
	contextLines = 6   // what is shown after the first error
	maxWarnings  = 200 // what is kept
)

// firstErrors are the lines that say what went wrong: of the compiler, the assembler and our scripts, the linker,
// modpost, Kconfig, the compiler of device trees, the shell, and make.
var firstErrors = regexp.MustCompile(`^((.*: )?((fatal|internal compiler) )?[Ee]rror: .*` +
	`|.*: (undefined reference to|multiple definition of|relocation truncated) .*` +
	`|\S*ld: .*(cannot|error|failed|overlaps|discarded).*` +
	`|ERROR: modpost: .*` +
	`|\S*Kconfig[^\s:]*:\d+:( |error: ).*` +
	`|\S+: ERROR \(\w+\): .*` +
	`|(/bin/)?(ba)?sh: (line )?\d+: .*: (command )?not found` +
	`|.*(No space left on device|Out of memory|Killed).*` +
	`|(\S+:\d+: |make(\[\d+\])?: )?\*\*\* .*)$`)

var warningLine = regexp.MustCompile(`^((\S+: ?)?warning: |WARNING: |\S+: Warning \(\w+\): )`)

// watch reads a build's output on its way to the log.
type watch struct {
	to       func(engine.Event)
	first    []string
	warnings []string
}

func (w *watch) event(e engine.Event) {
	if w.to != nil {
		w.to(e)
	}
	switch {
	case e.Text == "":
	case len(w.first) > 0 && len(w.first) <= contextLines:
		w.first = append(w.first, e.Text)
	// What warns is no error, whatever it is about.
	case warningLine.MatchString(e.Text):
		if len(w.warnings) < maxWarnings {
			w.warnings = append(w.warnings, strings.TrimPrefix(e.Text, "warning: "))
		}
	case len(w.first) == 0 && firstErrors.MatchString(e.Text):
		w.first = append(w.first, e.Text)
	}
}

// failure puts the first error in front of a failed step.
func (w *watch) failure(err error) error {
	var failed *engine.BuildError
	if !errors.As(err, &failed) {
		return err
	}
	if len(w.first) == 0 {
		return err
	}
	return &Error{First: w.first, Err: err}
}
