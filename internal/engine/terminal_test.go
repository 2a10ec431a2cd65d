package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"
)

// program is what stands behind the terminal of a fake engine once it has been let go.
type program func(tty net.Conn, keys *bufio.Reader)

// starting answers the start of an exec as begin does, then is the program.
func starting(p program) http.HandlerFunc {
	return hijack(func(conn net.Conn, rw *bufio.ReadWriter) {
		defer conn.Close()
		io.WriteString(conn, "\x06")
		if _, err := rw.ReadString('\n'); err != nil {
			return
		}
		io.WriteString(conn, "\r\n\x06")
		p(conn, rw.Reader)
	})
}

// complaining is an exec that the engine could not start.
func complaining(text string) http.HandlerFunc {
	return hijack(func(conn net.Conn, _ *bufio.ReadWriter) {
		io.WriteString(conn, text)
		conn.Close()
	})
}

// terminal1 is an engine in which a program on a terminal succeeds with code 3.
func terminal1(p program) map[string]http.HandlerFunc {
	reply := container1()
	maps.Copy(reply, map[string]http.HandlerFunc{
		"POST /containers/c1/attach": silent(),
		"POST /containers/c1/exec":   text(`{"Id":"x1"}`),
		"POST /exec/x1/start":        starting(p),
		"POST /exec/x1/resize":       code(http.StatusCreated),
		"GET /exec/x1/json":          text(`{"ID":"x1","Running":false,"ExitCode":3}`),
	})
	return reply
}

func goodbye(tty net.Conn, _ *bufio.Reader) { io.WriteString(tty, "\x1b[31mbye\r\n") }

// noKeys is a terminal at which nobody types: only Close ends a Read.
func noKeys() io.ReadCloser {
	r, _ := io.Pipe()
	return r
}

// decode keeps the body of a call and answers with the next handler.
func decode(t *testing.T, into any, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(into); err != nil {
			t.Error(err)
		}
		next(w, r)
	}
}

func TestRunTerminal(t *testing.T) {
	var made struct {
		container.Config
		HostConfig container.HostConfig
	}
	var run container.ExecOptions
	reply := terminal1(goodbye)
	reply["POST /containers/create"] = decode(t, &made, text(`{"Id":"c1"}`))
	reply["POST /containers/c1/exec"] = decode(t, &run, text(`{"Id":"x1"}`))
	e, f := newFake(t, reply)
	var out bytes.Buffer
	c := Container{Image: "a:b", Cmd: []string{"make", "menuconfig"}, Env: []string{"A=b"}, WorkingDir: "/w", Files: oneFile, Memory: 1 << 30}
	got, err := e.RunTerminal(t.Context(), c, Terminal{In: noKeys(), Out: &out, Size: Size{Columns: 80, Rows: 24}, Term: "linux"})
	if err != nil || got != 3 || out.String() != "\x1b[31mbye\r\n" {
		t.Errorf("got exit code %d, %v, output %q", got, err, out.String())
	}
	if made.Tty || !made.OpenStdin || !made.StdinOnce || !made.HostConfig.AutoRemove {
		t.Errorf("the container would not end with its client: %+v", made)
	}
	if made.Image != "a:b" || made.Labels[Label] == "" || len(made.Cmd) != 0 || len(made.Entrypoint) != 3 ||
		made.WorkingDir != "/w" || made.HostConfig.NetworkMode != "none" || made.HostConfig.Memory != 1<<30 {
		t.Errorf("got container %+v", made)
	}
	if diff := cmp.Diff([]string{"make", "menuconfig"}, run.Cmd[len(run.Cmd)-2:]); diff != "" || !run.Tty || run.WorkingDir != "/w" {
		t.Errorf("got program %+v", run)
	}
	if diff := cmp.Diff([]string{"TERM=linux"}, run.Env); diff != "" || run.DetachKeys == "" {
		t.Errorf("got environment %q, detach keys %q", run.Env, run.DetachKeys)
	}
	want := []string{
		"POST /containers/create", "POST /containers/c1/attach", "POST /containers/c1/start", "PUT /containers/c1/archive",
		"POST /containers/c1/exec", "POST /exec/x1/start", "POST /exec/x1/resize", "GET /exec/x1/json", "DELETE /containers/c1",
	}
	if diff := cmp.Diff(want, f.after("/version")); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// What is typed and how the window changes reaches the program in order, and the size before the program starts.
func TestRunTerminalKeysAndSizes(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, s)
	}
	sizes := make(chan Size)
	reply := terminal1(func(tty net.Conn, keys *bufio.Reader) {
		note("started")
		typed := make([]byte, 4)
		io.ReadFull(keys, typed)
		note(fmt.Sprintf("%q", typed))
		sizes <- Size{Columns: 132, Rows: 50}
		sizes <- Size{Columns: 20, Rows: 5}
		close(sizes) // the last one has been taken, and its call is over before the exit code is asked for
	})
	reply["POST /exec/x1/resize"] = func(w http.ResponseWriter, r *http.Request) {
		note(r.URL.Query().Get("w") + "x" + r.URL.Query().Get("h"))
		w.WriteHeader(http.StatusCreated)
	}
	e, _ := newFake(t, reply)
	in, keys := io.Pipe()
	go io.WriteString(keys, "a\x03\x10\x11")
	_, err := e.RunTerminal(t.Context(), Container{Image: "a:b", Cmd: []string{"x"}},
		Terminal{In: in, Out: io.Discard, Size: Size{Columns: 80, Rows: 24}, Resize: sizes})
	if err != nil {
		t.Error(err)
	}
	want := []string{"80x24", "started", `"a\x03\x10\x11"`, "132x50", "20x5"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A terminal without a size and without a name leaves both to the engine.
func TestRunTerminalOfNothingKnown(t *testing.T) {
	var run container.ExecOptions
	reply := terminal1(goodbye)
	reply["POST /containers/c1/exec"] = decode(t, &run, text(`{"Id":"x1"}`))
	reply["POST /exec/x1/resize"] = code(http.StatusInternalServerError)
	e, f := newFake(t, reply)
	got, err := e.RunTerminal(t.Context(), Container{Image: "a:b", Cmd: []string{"x"}}, Terminal{In: noKeys(), Out: io.Discard})
	if err != nil || got != 3 || f.called("POST /exec/x1/resize") || len(run.Env) != 0 {
		t.Errorf("got %d, %v, environment %q", got, err, run.Env)
	}
}

// A run that fails at any point leaves no container and says what failed.
func TestRunTerminalFailures(t *testing.T) {
	for _, c := range []struct {
		name   string
		call   string
		answer http.HandlerFunc
		want   string
	}{
		{"create", "POST /containers/create", code(http.StatusConflict), "create container from a:b"},
		{"attach", "POST /containers/c1/attach", code(http.StatusInternalServerError), "attach to the container"},
		{"start", "POST /containers/c1/start", code(http.StatusBadRequest), "start the container: "},
		{"copy", "PUT /containers/c1/archive", code(http.StatusInternalServerError), "copy files into the container"},
		{"terminal", "POST /containers/c1/exec", code(http.StatusConflict), "create the program's terminal"},
		{"program", "POST /exec/x1/start", code(http.StatusInternalServerError), "start the program: "},
		{"no shell", "POST /exec/x1/start", complaining("OCI runtime exec failed: /bin/sh\r\n"), "start the program: OCI runtime exec failed: /bin/sh: EOF"},
		{"an engine that talks", "POST /exec/x1/start", complaining(strings.Repeat("x", 2*maxComplaint)), "not what was expected"},
		{"size", "POST /exec/x1/resize", code(http.StatusInternalServerError), "set the size"},
		{"the connection breaks", "GET /exec/x1/json", text(`{"Running":true}`), "has cut the connection"},
		{"exit code", "GET /exec/x1/json", status404, "ask how the program ended"},
		{"remove", "DELETE /containers/c1", code(http.StatusInternalServerError), "remove the container"},
	} {
		t.Run(c.name, func(t *testing.T) {
			reply := terminal1(goodbye)
			reply[c.call] = c.answer
			e, f := newFake(t, reply)
			_, err := e.RunTerminal(t.Context(), Container{Image: "a:b", Cmd: []string{"x"}, Files: oneFile},
				Terminal{In: noKeys(), Out: io.Discard, Size: Size{Columns: 80, Rows: 24}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if got := f.called("DELETE /containers/c1"); got != (c.name != "create") {
				t.Errorf("removed: %v", got)
			}
		})
	}
}

func TestRunTerminalWhoseScreenIsGone(t *testing.T) {
	e, f := newFake(t, terminal1(goodbye))
	closed := errors.New("input/output error")
	_, err := e.RunTerminal(t.Context(), Container{Image: "a:b", Cmd: []string{"x"}}, Terminal{In: noKeys(), Out: broken{closed}})
	if !errors.Is(err, closed) || !f.called("DELETE /containers/c1") {
		t.Errorf("got %v", err)
	}
}

// broken is a writer that always fails.
type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

// waiting prints a word and waits for the connection's end.
func waiting(tty net.Conn, keys *bufio.Reader) {
	io.WriteString(tty, "started")
	io.Copy(io.Discard, keys)
}

func TestRunTerminalCancelled(t *testing.T) {
	stopped := errors.New("ctrl-c")
	ctx, cancel := context.WithCancelCause(t.Context())
	e, f := newFake(t, terminal1(waiting))
	_, err := e.RunTerminal(ctx, Container{Image: "a:b", Cmd: []string{"x"}}, Terminal{In: noKeys(), Out: writes(func() { cancel(stopped) })})
	if !errors.Is(err, stopped) || !f.called("DELETE /containers/c1") {
		t.Errorf("got %v, want the cause", err)
	}
}

// The user's terminal does not take what the program prints: the container ends all the same.
func TestRunTerminalCancelledWhileTheScreenIsStuck(t *testing.T) {
	released := make(chan struct{})
	reply := terminal1(waiting)
	reply["POST /containers/c1/attach"] = hijack(func(conn net.Conn, rw *bufio.ReadWriter) {
		io.Copy(io.Discard, rw)
		conn.Close()
		close(released)
	})
	e, _ := newFake(t, reply)
	ctx, cancel := context.WithCancel(t.Context())
	stuck := writes(func() {
		cancel()
		select {
		case <-released:
		case <-time.After(2 * time.Minute):
			t.Error("the container is still held")
		}
	})
	if _, err := e.RunTerminal(ctx, Container{Image: "a:b", Cmd: []string{"x"}}, Terminal{In: noKeys(), Out: stuck}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRunTerminalHungUp(t *testing.T) {
	e, f := newFake(t, terminal1(waiting))
	_, err := e.RunTerminal(t.Context(), Container{Image: "a:b", Cmd: []string{"x"}}, Terminal{In: io.NopCloser(strings.NewReader("keys")), Out: io.Discard})
	if !errors.Is(err, ErrHungUp) || !f.called("DELETE /containers/c1") {
		t.Errorf("got %v, want ErrHungUp", err)
	}
	lost := errors.New("input/output error")
	_, err = e.RunTerminal(t.Context(), Container{Image: "a:b", Cmd: []string{"x"}}, Terminal{In: io.NopCloser(failing{lost}), Out: io.Discard})
	if !errors.Is(err, ErrHungUp) || !errors.Is(err, lost) {
		t.Errorf("got %v, want ErrHungUp and the reason", err)
	}
}

// failing is a reader that always fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A program that makes use of the last keys may still end by itself.
func TestRunTerminalEndsAfterTheLastKey(t *testing.T) {
	e, _ := newFake(t, terminal1(func(_ net.Conn, keys *bufio.Reader) {
		io.ReadFull(keys, make([]byte, 4))
		time.Sleep(hangUpGrace / 40)
	}))
	got, err := e.RunTerminal(t.Context(), Container{Image: "a:b", Cmd: []string{"x"}}, Terminal{In: io.NopCloser(strings.NewReader("keys")), Out: io.Discard})
	if err != nil || got != 3 {
		t.Errorf("got %d, %v", got, err)
	}
}

// beginOn runs begin with a program on a terminal of this host, up to the moment where the program is let go.
func beginOn(t *testing.T, env []string, args ...string) (*bufio.Reader, *os.File, *exec.Cmd) {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", begin, "sh"}, args...)...)
	cmd.Env = env
	tty, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // fails where it has ended
		cmd.Wait()
		tty.Close()
	})
	r := bufio.NewReader(tty)
	if err := untilMark(r); err != nil {
		t.Fatal(err)
	}
	return r, tty, cmd
}

func TestBegin(t *testing.T) {
	path := "PATH=" + os.Getenv("PATH")
	for _, c := range []struct {
		name string
		env  []string
		want string // TERM of the program
	}{
		{"a terminal that is known", []string{path, "TERM=linux"}, "linux"},
		{"one that is not", []string{path, "TERM=no-such-terminal"}, "xterm"},
		{"dumb", []string{path, "TERM=dumb"}, "dumb"},
		{"an image without tput", []string{"PATH=/nonexistent", "TERM=no-such-terminal"}, "no-such-terminal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, tty, cmd := beginOn(t, c.env, "/bin/sh", "-c", `echo "$TERM $0 $1 $(/usr/bin/env stty size 2>/dev/null || /bin/stty size)"; exit 4`, "a b", "c")
			if err := pty.Setsize(tty, &pty.Winsize{Cols: 91, Rows: 19}); err != nil {
				t.Fatal(err)
			}
			io.WriteString(tty, "\n")
			if err := untilMark(r); err != nil {
				t.Fatal(err)
			}
			got, err := r.ReadString('\n')
			if want := c.want + " a b c 19 91\r\n"; got != want || err != nil {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
			var failed *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &failed) || failed.ExitCode() != 4 {
				t.Errorf("got %v, want the program's code 4", err)
			}
		})
	}
}

// hold ends when its input does, not before, and not because of what it reads.
func TestHold(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", hold)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	io.WriteString(in, "a line\n\n\\")
	select {
	case err := <-ended:
		t.Fatalf("ended with %v while its input is open", err)
	case <-time.After(200 * time.Millisecond):
	}
	in.Close()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("does not end")
	}
}

func TestRemoveContainer(t *testing.T) {
	for _, c := range []struct {
		name         string
		remove, wait http.HandlerFunc
		want         string
	}{
		{"removed", code(http.StatusNoContent), status404, ""},
		{"gone already", status404, status404, ""},
		{"just going", code(http.StatusConflict), text(`{"StatusCode":0}`), ""},
		{"gone meanwhile", code(http.StatusConflict), status404, ""},
		{"cannot be waited for", code(http.StatusConflict), code(http.StatusInternalServerError), "engine says 500"},
		{"refused", code(http.StatusInternalServerError), text(`{}`), "remove the container"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, _ := newFake(t, map[string]http.HandlerFunc{"DELETE /containers/c1": c.remove, "POST /containers/c1/wait": c.wait})
			err := e.remove(t.Context(), "c1")
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// after are the calls that came after the one whose path ends so.
func (f *fake) after(path string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.calls, func(c string) bool { return strings.HasSuffix(c, path) })
	return slices.Clone(f.calls[i+1:])
}
