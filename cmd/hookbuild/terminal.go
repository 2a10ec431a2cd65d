package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/muesli/cancelreader"
	"golang.org/x/term"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// The second screen, which a program of curses draws on, and the way back to where the user was. To go back
// without having gone there moves the cursor.
const (
	enterSecond = "\x1b[?1049h"
	leaveSecond = "\x1b[?1049l"
)

// resetModes undoes what else such a program has set and did not live to take back: the keypad's mode, the hidden
// cursor, colours, line drawing.
const resetModes = "\x1b[?1l\x1b>" + "\x1b[?25h" + "\x1b[m\x1b(B"

// hasTerminal says whether there is somebody to show something to and to take keys from.
func (p *program) hasTerminal() bool { return p.screen() != nil }

// screen is the terminal to draw on, nil where there is none: the one at standard output or, where results go
// into a file, the one at standard error. Keys come from standard input, which must be a terminal too.
func (p *program) screen() *os.File {
	if !isTerminal(p.Stdin) {
		return nil
	}
	for _, w := range []io.Writer{p.Stdout, p.Stderr} {
		if f, ok := w.(*os.File); ok && isTerminal(f) {
			return f
		}
	}
	return nil
}

func isTerminal(f *os.File) bool { return f != nil && term.IsTerminal(int(f.Fd())) }

// onTerminal calls run with the user's terminal, for one engine.RunTerminal. The terminal is in raw mode
// meanwhile, ctrl-c a key like others, and is put back however run ends, also by a panic. ctx of run ends with the
// terminal too. Only for a program that hasTerminal, and nothing else may write to it.
func (p *program) onTerminal(ctx context.Context, run func(ctx context.Context, t engine.Terminal) error) (err error) {
	screen := p.screen()
	if screen == nil {
		return errors.New("no terminal at standard input and output")
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	keys, err := cancelreader.NewReader(p.Stdin)
	if err != nil {
		return fmt.Errorf("read the terminal: %w", err)
	}
	defer func() { err = errors.Join(err, keys.Close()) }()
	sizes, done := watchSize(screen)
	defer done()
	before, err := term.MakeRaw(int(p.Stdin.Fd()))
	if err != nil {
		return fmt.Errorf("put the terminal into raw mode: %w", err)
	}
	good, out := false, &display{w: screen}
	defer func() {
		if !good {
			out.reset()
		}
		err = errors.Join(err, term.Restore(int(p.Stdin.Fd()), before))
	}()
	err = run(ctx, engine.Terminal{
		In: cancelKeys{keys}, Out: out, Size: sizeOf(screen), Resize: sizes, Term: p.Getenv("TERM"),
	})
	good = err == nil
	return err
}

// cancelKeys ends a Read at Close, and leaves the next key to whoever reads the terminal then.
type cancelKeys struct{ cancelreader.CancelReader }

func (k cancelKeys) Close() error {
	if !k.Cancel() {
		return errors.New("reading the terminal cannot be ended")
	}
	return nil
}

// display remembers which screen the program is on.
type display struct {
	w      io.Writer
	second bool
	end    []byte // what may be the beginning of a sequence that is written in two parts
}

func (d *display) Write(p []byte) (int, error) {
	d.end = append(d.end, p...)
	enter, leave := bytes.LastIndex(d.end, []byte(enterSecond)), bytes.LastIndex(d.end, []byte(leaveSecond))
	if enter != leave {
		d.second = enter > leave
	}
	d.end = bytes.Clone(d.end[max(0, len(d.end)-len(enterSecond)+1):])
	return d.w.Write(p)
}

// reset is for a program that did not end by itself.
func (d *display) reset() {
	io.WriteString(d.w, resetModes)
	if d.second {
		io.WriteString(d.w, leaveSecond)
	}
}

// watchSize gives every new size of the terminal, the newest only where they are not taken in time, until done is called.
func watchSize(screen *os.File) (sizes <-chan engine.Size, done func()) {
	changed, over := make(chan os.Signal, 1), make(chan struct{})
	newest := make(chan engine.Size, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-changed:
			}
			select {
			case <-newest:
			default:
			}
			newest <- sizeOf(screen)
		}
	})
	return newest, func() {
		signal.Stop(changed)
		close(over)
		watching.Wait()
	}
}

// sizeOf is zero where the terminal does not tell.
func sizeOf(screen *os.File) engine.Size {
	columns, rows, err := term.GetSize(int(screen.Fd()))
	if err != nil || columns < 0 || rows < 0 {
		return engine.Size{}
	}
	return engine.Size{Columns: uint(columns), Rows: uint(rows)}
}
