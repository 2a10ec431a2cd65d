package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// Reporter hears how a build goes. Its methods may be called from several goroutines.
type Reporter interface {
	// Start says that a stage has begun.
	Start(stage string)
	// Output passes on what the engine's builder says.
	Output(stage string, e engine.Event)
	// Count says how many bytes of a stage's transfer are done.
	Count(stage, what string, done, total int64)
	// Warn passes on something that a person should know.
	Warn(text string)
	// End says that the stage is over. note says what came of it, in a few words.
	End(stage, note string, took time.Duration, err error)
}

// Record is out/build.json: how the last build went. It is not part of what is reproducible.
type Record struct {
	PlanID   string        `json:"plan_id"`
	Flavor   string        `json:"flavor"`
	Started  time.Time     `json:"started"`
	Seconds  float64       `json:"seconds"`
	Error    string        `json:"error,omitempty"`
	Stages   []StageRecord `json:"stages"` // in the order in which they ended
	Warnings []string      `json:"warnings,omitempty"`
}

// StageRecord is one stage of a build.
type StageRecord struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Note    string  `json:"note,omitempty"`
	Error   string  `json:"error,omitempty"`
	Log     string  `json:"log,omitempty"` // the whole output, relative to the output directory
}

// StageError is a stage that failed.
type StageError struct {
	Stage string
	Log   string // file with the stage's whole output; empty where it printed nothing
	Err   error
}

// Error names the stage.
func (e *StageError) Error() string { return e.Stage + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *StageError) Unwrap() error { return e.Err }

// recorder passes everything on to the user's reporter, keeps the whole output of every stage in a log file,
// and the durations for the record.
type recorder struct {
	to   Reporter
	out  string // the output directory
	now  func() time.Time
	mu   sync.Mutex
	rec  Record
	logs map[string]*os.File
}

func newRecorder(to Reporter, out string, now func() time.Time) *recorder {
	return &recorder{to: to, out: out, now: now, rec: Record{Started: now().UTC()}, logs: map[string]*os.File{}}
}

// work is what a stage does. Its note says what came of it.
type work func(ctx context.Context, log func(engine.Event)) (note string, err error)

// stage runs f as a stage of the build. Its error is a *StageError.
func (r *recorder) stage(ctx context.Context, name string, f work) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r.to.Start(name)
	begin := r.now()
	note, err := f(ctx, func(e engine.Event) { r.output(name, e) })
	took := r.now().Sub(begin)
	if err != nil {
		note = "" // nothing came of it
	}
	log := r.ended(name, note, took, err)
	r.to.End(name, note, took, err)
	if err != nil {
		return &StageError{Stage: name, Log: log, Err: err}
	}
	return nil
}

func logName(stage string) string { return filepath.Join("logs", stage+".log") }

func (r *recorder) output(stage string, e engine.Event) {
	r.to.Output(stage, e)
	if e.Text == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.log(stage); f != nil {
		fmt.Fprintln(f, e.Text) // a log that cannot be written does not stop a build
	}
}

// log opens the stage's log file at its first line; nil where that is not possible.
func (r *recorder) log(stage string) *os.File {
	if f, ok := r.logs[stage]; ok {
		return f
	}
	f, err := create(filepath.Join(r.out, logName(stage)))
	if err != nil {
		r.to.Warn(fmt.Sprintf("no log of %s: %v", stage, err))
	}
	r.logs[stage] = f
	return f
}

func create(file string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	return os.Create(file)
}

// ended notes the stage and returns its log file.
func (r *recorder) ended(name, note string, took time.Duration, err error) (log string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := StageRecord{Name: name, Seconds: took.Seconds(), Note: note}
	if err != nil {
		s.Error = err.Error()
	}
	if f := r.logs[name]; f != nil {
		s.Log, log = logName(name), f.Name()
		if err := f.Close(); err != nil {
			r.to.Warn(fmt.Sprintf("log of %s: %v", name, err))
		}
		delete(r.logs, name)
	}
	r.rec.Stages = append(r.rec.Stages, s)
	return log
}

// warn passes a warning on, each text once.
func (r *recorder) warn(text string) {
	r.mu.Lock()
	seen := slices.Contains(r.rec.Warnings, text)
	if !seen {
		r.rec.Warnings = append(r.rec.Warnings, text)
	}
	r.mu.Unlock()
	if !seen {
		r.to.Warn(text)
	}
}

// warnAll passes on what a stage's programs complained about: the first in full, the rest by number, since all
// of it stands in the log.
func (r *recorder) warnAll(stage string, warnings []string) {
	switch len(warnings) {
	case 0:
	case 1:
		r.warn(stage + ": " + warnings[0])
	default:
		r.warn(fmt.Sprintf("%s: %s, and %d warnings more in %s", stage, warnings[0], len(warnings)-1, logName(stage)))
	}
}

// write ends the record and puts it into the output directory.
func (r *recorder) write(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rec.Seconds = r.now().Sub(r.rec.Started).Seconds()
	if err != nil {
		r.rec.Error = err.Error()
	}
	data, err := json.MarshalIndent(r.rec, "", "  ")
	if err != nil {
		return err
	}
	f, err := create(filepath.Join(r.out, "build.json"))
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	return errors.Join(err, f.Close())
}
