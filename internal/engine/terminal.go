package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
)

// Size is how much a terminal shows, in characters. The zero value is not known.
type Size struct{ Columns, Rows uint }

// Terminal is what the program of RunTerminal is seen on and steered from.
type Terminal struct {
	// In are the keys, byte for byte: a terminal has to be in raw mode. RunTerminal closes it once the program has
	// ended, and waits for a Read under way, which would take a key from whoever reads the terminal next. So Close
	// must make Read return.
	In io.ReadCloser

	Out    io.Writer   // gets what the program shows, byte for byte; a Write under way is waited for
	Size   Size        // when the program starts
	Resize <-chan Size // later sizes; nil for none
	Term   string      // $TERM; the engine's "xterm" when empty
}

// ErrHungUp says that Terminal.In ended before the program did, as when a terminal's window is closed.
var ErrHungUp = errors.New("the terminal has hung up")

// hangUpGrace is how long the program may go on when there are no more keys: it may be working on the last.
const hangUpGrace = 2 * time.Second

// hold is the container's first program. It lives while the connection to its standard input does, which is no
// terminal: the engine would keep a terminal open after its client has been killed. With it end all programs of
// the container, and AutoRemove does the rest.
const hold = `while read -r line; do :; done`

// mark is what begin prints to be told from an error of the engine's in its place.
const mark = '\x06'

// begin runs before the program, on its terminal. It waits for a line, for the engine can set a terminal's size
// only when there is a process on it, and a program that has not yet asked to be told of changes would keep a
// wrong size. A terminal that the image does not know is treated as an xterm, which most are.
const begin = `printf '\006'; read -r line
if command -v tput >/dev/null && ! tput longname >/dev/null 2>&1; then TERM=xterm; fi
printf '\006'; exec "$@"`

// noDetachKeys replaces ctrl-p ctrl-q, at which the engine would leave the program: nobody types this.
const noDetachKeys = "ctrl-@,ctrl-@,ctrl-@,ctrl-@,ctrl-@,ctrl-@,ctrl-@,ctrl-@"

// RunTerminal runs c.Cmd, not the image's entrypoint, on the user's terminal, reads its outputs and removes the
// container, also when ctx is cancelled; when this process is killed the engine does it. The image must have
// /bin/sh. An exit code other than zero is no error; where the program has ended, its code is returned beside an
// error of the outputs too. ErrHungUp where t.In ends first.
func (e *Engine) RunTerminal(ctx context.Context, c Container, t Terminal) (exitCode int, err error) {
	id, err := e.create(ctx, c.Image, c.holdConfig(), c.holdHostConfig())
	if err != nil {
		return 0, err
	}
	lease, err := e.docker.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdin: true})
	if err != nil {
		return 0, errors.Join(fmt.Errorf("attach to the container: %w", err), e.remove(ctx, id))
	}
	defer func() {
		err = errors.Join(err, e.remove(ctx, id))
		lease.Close()
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, lease.Close)() // ends the programs, even where t.Out is stuck
	exitCode, err = e.leased(ctx, id, c, t, cancel)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return exitCode, err
}

func (c Container) holdConfig() *container.Config {
	cfg := c.config()
	cfg.Entrypoint, cfg.Cmd = []string{"/bin/sh", "-c", hold}, nil
	cfg.AttachStdin, cfg.OpenStdin, cfg.StdinOnce = true, true, true
	return cfg
}

func (c Container) holdHostConfig() *container.HostConfig {
	host := c.hostConfig()
	host.AutoRemove = true
	return host
}

// leased does the run in a container that ends by itself; hangUp ends ctx.
func (e *Engine) leased(ctx context.Context, id string, c Container, t Terminal, hangUp context.CancelCauseFunc) (int, error) {
	if err := e.docker.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return 0, fmt.Errorf("start the container: %w", err)
	}
	if err := e.copyIn(ctx, id, c.Files); err != nil {
		return 0, err
	}
	run, err := e.docker.ContainerExecCreate(ctx, id, c.exec(t))
	if err != nil {
		return 0, fmt.Errorf("create the program's terminal: %w", err)
	}
	code, err := e.converse(ctx, run.ID, t, hangUp)
	if err != nil {
		return 0, err
	}
	return code, e.collect(ctx, id, c.Outputs)
}

// exec is the program on its terminal.
func (c Container) exec(t Terminal) container.ExecOptions {
	o := container.ExecOptions{
		Tty: true, AttachStdin: true, AttachStdout: true, AttachStderr: true, DetachKeys: noDetachKeys,
		WorkingDir: c.WorkingDir, Cmd: append([]string{"/bin/sh", "-c", begin, "sh"}, c.Cmd...),
	}
	if t.Term != "" {
		o.Env = []string{"TERM=" + t.Term}
	}
	return o
}

// converse starts the program and is between it and the terminal until it has ended.
func (e *Engine) converse(ctx context.Context, exec string, t Terminal, hangUp context.CancelCauseFunc) (int, error) {
	conn, err := e.docker.ContainerExecAttach(ctx, exec, container.ExecAttachOptions{Tty: true})
	if err != nil {
		return 0, fmt.Errorf("start the program: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)() // the hijacked connection does not know of ctx
	if err := e.begin(ctx, exec, conn, t.Size); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { e.follow(ctx, exec, t.Resize, ended) })
	others.Go(func() {
		_, err := io.Copy(conn.Conn, t.In)
		select {
		case <-ended:
		case <-ctx.Done():
		case <-time.After(hangUpGrace):
			hangUp(errors.Join(ErrHungUp, err))
		}
	})
	_, err = io.Copy(t.Out, conn.Reader)
	close(ended)
	err = errors.Join(err, t.In.Close())
	others.Wait()
	if err != nil {
		return 0, fmt.Errorf("between the terminal and the program: %w", err)
	}
	return e.execCode(ctx, exec)
}

// begin gives the terminal its size and lets the program start.
func (e *Engine) begin(ctx context.Context, exec string, conn types.HijackedResponse, s Size) error {
	if err := untilMark(conn.Reader); err != nil {
		return fmt.Errorf("start the program: %w", err)
	}
	if s != (Size{}) {
		if err := e.resize(ctx, exec, s); err != nil {
			return fmt.Errorf("set the size of the program's terminal: %w", err)
		}
	}
	if _, err := io.WriteString(conn.Conn, "\n"); err != nil {
		return fmt.Errorf("start the program: %w", err)
	}
	if err := untilMark(conn.Reader); err != nil { // drops the echo of the line
		return fmt.Errorf("start the program: %w", err)
	}
	return nil
}

// maxComplaint bounds what an engine says in place of the mark.
const maxComplaint = 4 << 10

func untilMark(r io.ByteReader) error {
	var said []byte
	for len(said) < maxComplaint {
		b, err := r.ReadByte()
		if b == mark && err == nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", bytes.TrimSpace(said), err)
		}
		said = append(said, b)
	}
	return fmt.Errorf("%q is not what was expected", said)
}

func (e *Engine) resize(ctx context.Context, exec string, s Size) error {
	return e.docker.ContainerExecResize(ctx, exec, container.ResizeOptions{Height: s.Rows, Width: s.Columns})
}

// follow passes new sizes on until the program has ended, which is also when the engine takes none any more.
func (e *Engine) follow(ctx context.Context, exec string, sizes <-chan Size, ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case s, more := <-sizes:
			if !more || e.resize(ctx, exec, s) != nil {
				return
			}
		}
	}
}

// execCode asks for the exit code of a program whose output has ended.
func (e *Engine) execCode(ctx context.Context, exec string) (int, error) {
	got, err := e.docker.ContainerExecInspect(ctx, exec)
	switch {
	case err != nil:
		return 0, fmt.Errorf("ask how the program ended: %w", err)
	case got.Running:
		return 0, errors.New("the engine has cut the connection to the program")
	}
	return got.ExitCode, nil
}
