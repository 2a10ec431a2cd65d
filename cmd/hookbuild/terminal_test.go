package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
	"golang.org/x/term"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// window is a terminal of 80 by 24, the user's end of which the test has.
type window struct {
	t         *testing.T
	user, tty *os.File
	cooked    *term.State
}

func newWindow(t *testing.T) *window {
	t.Helper()
	user, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		user.Close()
		tty.Close()
	})
	w := &window{t: t, user: user, tty: tty}
	w.resize(80, 24)
	w.cooked = w.state()
	return w
}

func (w *window) resize(columns, rows uint16) {
	w.t.Helper()
	if err := pty.Setsize(w.user, &pty.Winsize{Cols: columns, Rows: rows}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *window) state() *term.State {
	w.t.Helper()
	s, err := term.GetState(int(w.tty.Fd()))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *window) isCooked() bool { return reflect.DeepEqual(w.cooked, w.state()) }

// shows reads what is written to the terminal next, which must be the text.
func (w *window) shows(text string) {
	w.t.Helper()
	if err := w.user.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		w.t.Fatal(err)
	}
	got := make([]byte, len(text))
	if n, err := io.ReadFull(w.user, got); err != nil || string(got) != text {
		w.t.Fatalf("got %q, %v; want %q", got[:n], err, text)
	}
}

// program is hookbuild on this terminal, with its result going to stdout.
func (w *window) program(stdout, stderr io.Writer) *program {
	sys := testSystem(stdout, stderr)
	sys.Stdin = w.tty
	sys.Getenv = func(name string) string { return map[string]string{"TERM": "screen"}[name] }
	return &program{sys}
}

func TestHasTerminal(t *testing.T) {
	w, other := newWindow(t), newWindow(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, c := range []struct {
		name           string
		stdin          *os.File
		stdout, stderr io.Writer
		want           *os.File // the screen
	}{
		{"all three", w.tty, w.tty, w.tty, w.tty},
		{"results into a file", w.tty, file, w.tty, w.tty},
		{"results into a pipe", w.tty, &bytes.Buffer{}, w.tty, w.tty},
		{"messages into a file", w.tty, w.tty, file, w.tty},
		{"standard output is another one", w.tty, other.tty, w.tty, other.tty},
		{"no output on it", w.tty, file, file, nil},
		{"keys from a file", file, w.tty, w.tty, nil},
		{"no keys", nil, w.tty, w.tty, nil},
		{"none", nil, &bytes.Buffer{}, &bytes.Buffer{}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			sys := testSystem(c.stdout, c.stderr)
			sys.Stdin = c.stdin
			p := &program{sys}
			if got := p.screen(); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if got := p.hasTerminal(); got != (c.want != nil) {
				t.Errorf("has one: %v", got)
			}
		})
	}
}

func TestOnTerminalWithoutOne(t *testing.T) {
	p := &program{testSystem(io.Discard, io.Discard)}
	err := p.onTerminal(t.Context(), func(context.Context, engine.Terminal) error {
		t.Error("has been run")
		return nil
	})
	if err == nil {
		t.Error("no error")
	}
}

// Inside, every byte goes through as it is; afterwards the terminal is as it was and nothing has been added to
// what the program has shown.
func TestOnTerminal(t *testing.T) {
	w := newWindow(t)
	err := w.program(w.tty, io.Discard).onTerminal(t.Context(), func(_ context.Context, got engine.Terminal) error {
		if w.isCooked() {
			t.Error("the terminal is not in raw mode")
		}
		if got.Size != (engine.Size{Columns: 80, Rows: 24}) || got.Term != "screen" {
			t.Errorf("got size %+v, TERM %q", got.Size, got.Term)
		}
		io.WriteString(got.Out, "\x1b[31ma\n")
		w.shows("\x1b[31ma\n")
		io.WriteString(w.user, "k\r\x03\x1a")
		keys := make([]byte, 4)
		if _, err := io.ReadFull(got.In, keys); err != nil || string(keys) != "k\r\x03\x1a" {
			t.Errorf("got keys %q, %v", keys, err)
		}
		return got.In.Close()
	})
	if err != nil || !w.isCooked() {
		t.Errorf("got %v; restored: %v", err, w.isCooked())
	}
	io.WriteString(w.tty, "next")
	w.shows("next")
}

// Nothing takes a key once Close has been called, also where a Read was waiting for one.
func TestOnTerminalLeavesTheNextKey(t *testing.T) {
	w := newWindow(t)
	err := w.program(w.tty, io.Discard).onTerminal(t.Context(), func(_ context.Context, got engine.Terminal) error {
		read := make(chan error, 1)
		go func() {
			n, err := got.In.Read(make([]byte, 1))
			if n > 0 {
				err = errors.New("took a key")
			}
			read <- err
		}()
		time.Sleep(50 * time.Millisecond) // for the Read to wait
		if err := got.In.Close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-read:
			if err == nil || err.Error() == "took a key" {
				t.Errorf("got %v, want that the Read was ended", err)
			}
		case <-time.After(2 * time.Minute):
			t.Error("the Read does not come back")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w.user, "q\n")
	line := make([]byte, 10)
	if n, err := w.tty.Read(line); err != nil || string(line[:n]) != "q\n" {
		t.Errorf("got %q, %v; want the key", line[:n], err)
	}
}

func TestOnTerminalFollowsTheWindow(t *testing.T) {
	w := newWindow(t)
	err := w.program(w.tty, io.Discard).onTerminal(t.Context(), func(_ context.Context, got engine.Terminal) error {
		for _, size := range []engine.Size{{Columns: 132, Rows: 50}, {Columns: 20, Rows: 5}} {
			w.resize(uint16(size.Columns), uint16(size.Rows))
			if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
				return err
			}
			select {
			case now := <-got.Resize:
				if now != size {
					t.Errorf("got %+v, want %+v", now, size)
				}
			case <-time.After(2 * time.Minute):
				t.Errorf("%+v does not arrive", size)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// However the run ends, the terminal is as it was, and not as a program that was killed has left it.
func TestOnTerminalRestores(t *testing.T) {
	fault := errors.New("disk on fire")
	for _, c := range []struct {
		name string
		run  func(context.Context, engine.Terminal) error
		want error
	}{
		{"an error", func(context.Context, engine.Terminal) error { return fault }, fault},
		{"the window is closed", func(ctx context.Context, _ engine.Terminal) error {
			if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}, context.Canceled},
		{"SIGTERM", func(ctx context.Context, _ engine.Terminal) error {
			if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}, context.Canceled},
		{"a panic", func(context.Context, engine.Terminal) error { panic(fault) }, fault},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWindow(t)
			if got := w.runUntilSignal(c.run); !errors.Is(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if !w.isCooked() {
				t.Error("the terminal is still in raw mode")
			}
			w.shows(resetModes)
		})
	}
}

func TestReset(t *testing.T) {
	const prompt, menu = "one\r\ntwo", enterSecond + "\x1b[?25l\x1b[?1h\x1b=\x1b[H\x1b[2J\x1b(0\x1b[34mqqq\x1b[9;9H"
	for _, c := range []struct{ name, left string }{
		{"nothing", ""},
		{"a hidden cursor, colours, the keypad, line drawing", "\x1b[?25l\x1b[1;31;44m\x1b[?1h\x1b=\x1b(0"},
		{"a full screen", menu},
		{"a full screen for the second time", menu + leaveSecond + menu},
		{"a full screen that was left again", menu + leaveSecond + "\x1b[31m"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 3, 1000} { // a sequence may come in parts
				want, got := vt10x.New(), vt10x.New()
				io.WriteString(want, prompt+"$")
				io.WriteString(got, prompt)
				d := &display{w: got}
				for part := range slices.Chunk([]byte(c.left), size) {
					d.Write(part)
				}
				d.reset()
				io.WriteString(got, "$")
				if got.String() != want.String() {
					t.Errorf("got screen\n%s", got.String())
				}
				if got.Mode() != want.Mode() || got.Cursor() != want.Cursor() || got.Cell(3, 1) != want.Cell(3, 1) {
					t.Errorf("got mode %b, cursor %+v, cell %+v; want mode %b, cursor %+v, cell %+v",
						got.Mode(), got.Cursor(), got.Cell(3, 1), want.Mode(), want.Cursor(), want.Cell(3, 1))
				}
			}
		})
	}
}

// runUntilSignal calls onTerminal as main does; a panic is an error too.
func (w *window) runUntilSignal(run func(context.Context, engine.Terminal) error) (err error) {
	defer func() {
		if fault, ok := recover().(error); ok {
			err = fault
		}
	}()
	ctx, stop := signal.NotifyContext(w.t.Context(), syscall.SIGTERM)
	defer stop()
	return w.program(w.tty, io.Discard).onTerminal(ctx, run)
}
