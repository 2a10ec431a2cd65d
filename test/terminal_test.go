package test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// inTerminal is a run of a shell script on a terminal whose user is the test.
type inTerminal struct {
	t      *testing.T
	image  string
	keys   *io.PipeWriter
	resize chan engine.Size
	shown  *shown
	result chan error
	code   int // once result has been received
}

// shown is what the program has printed.
type shown struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func (s *shown) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	close(s.changed)
	s.changed = make(chan struct{})
	return len(p), nil
}

func (s *shown) now() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.changed
}

// script is a container that runs a shell script; the applets of busybox are on its PATH.
func script(ref, text string) engine.Container {
	return engine.Container{
		Image: ref, Cmd: []string{"/bin/busybox", "sh", "-c", "/bin/busybox --install -s /bin; " + text},
	}
}

func runInTerminal(ctx context.Context, t *testing.T, c engine.Container) *inTerminal {
	t.Helper()
	e := connect(t)
	in, keys := io.Pipe()
	r := &inTerminal{
		t: t, image: c.Image, keys: keys, resize: make(chan engine.Size), result: make(chan error, 1),
		shown: &shown{changed: make(chan struct{})},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		r.code, err = e.RunTerminal(ctx, c, engine.Terminal{
			In: in, Out: r.shown, Size: engine.Size{Columns: 101, Rows: 33}, Resize: r.resize, Term: "tmux",
		})
		r.result <- err
	}()
	t.Cleanup(func() { <-done }) // t.Context() has ended
	return r
}

// expect waits for the text.
func (r *inTerminal) expect(text string) {
	r.t.Helper()
	late := time.After(soon)
	for {
		got, changed := r.shown.now()
		if strings.Contains(got, text) {
			return
		}
		select {
		case <-changed:
		case err := <-r.result:
			r.t.Fatalf("the run ended with code %d, %v; got %q, want %q", r.code, err, got, text)
		case <-late:
			r.t.Fatalf("got %q in %s, want %q", got, soon, text)
		}
	}
}

func (r *inTerminal) send(keys string) {
	r.t.Helper()
	if _, err := io.WriteString(r.keys, keys); err != nil {
		r.t.Fatal(err)
	}
}

// containersOf are the ids of hookbuild's containers that were made from the image, a line each.
func containersOf(t *testing.T, ref string) string {
	t.Helper()
	return docker(t, "ps", "-aq", "--filter", "label="+engine.Label, "--filter", "ancestor="+ref)
}

// ends waits for the end of the run, which must come in time and leave no container.
func (r *inTerminal) ends() error {
	r.t.Helper()
	select {
	case err := <-r.result:
		if ids := containersOf(r.t, r.image); ids != "" {
			r.t.Errorf("containers left in the engine: %s", ids)
		}
		return err
	case <-time.After(soon):
		r.t.Fatal("RunTerminal does not come back")
	}
	return nil
}

// The user never types: the read of the keys is still under way when the program has ended.
func TestTerminalShowsTheProgramAndReturnsItsExitCode(t *testing.T) {
	ref := busyboxImage(t, connect(t))
	c := script(ref, `printf '\033[31mred\033[m '; test -t 0 && test -t 1 && test -t 2 && echo all; stty size; echo $TERM $A $PWD; cat in/file; exit 7`)
	c.Env, c.WorkingDir = []string{"A=b"}, "/srv/dir"
	c.Files = func(w *tar.Writer) error {
		h := &tar.Header{Name: "srv/dir/in/file", Mode: 0o644, Size: 6, Typeflag: tar.TypeReg}
		return errors.Join(w.WriteHeader(h), write(w, []byte("hello\n")))
	}
	r := runInTerminal(t.Context(), t, c)
	if err := r.ends(); err != nil || r.code != 7 {
		t.Errorf("got code %d, %v; want 7", r.code, err)
	}
	got, _ := r.shown.now()
	if want := "\x1b[31mred\x1b[m all\r\n33 101\r\ntmux b /srv/dir\r\nhello\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTerminalKeysAndSizesReachTheProgram(t *testing.T) {
	ref := busyboxImage(t, connect(t))
	r := runInTerminal(t.Context(), t, script(ref, `trap 'stty size' WINCH; trap 'echo interrupted; exit 3' INT
		stty -echo; echo ready; while :; do read -r line && echo "got $line"; done`)) // a signal ends the read too
	r.expect("ready")
	r.send("umläut\n")
	r.expect("got umläut\r\n")
	r.resize <- engine.Size{Columns: 77, Rows: 22}
	r.expect("22 77\r\n")
	r.send("\x03")
	if err := r.ends(); err != nil || r.code != 3 {
		t.Errorf("got code %d, %v; want 3 from the trap", r.code, err)
	}
}

// Docker's own way out of a terminal, ctrl-p ctrl-q, is for the program too.
func TestTerminalPassesEveryKey(t *testing.T) {
	ref := busyboxImage(t, connect(t))
	r := runInTerminal(t.Context(), t, script(ref, `stty raw -echo; echo ready; dd bs=1 count=9 2>/dev/null | od -An -tx1`))
	r.expect("ready")
	r.send("\x10\x11\x03\x04\x1a\x1c\x00\x1d\x1b")
	if err := r.ends(); err != nil || r.code != 0 {
		t.Errorf("got code %d, %v", r.code, err)
	}
	if got, _ := r.shown.now(); !strings.Contains(got, "10 11 03 04 1a 1c 00 1d 1b") {
		t.Errorf("got %q", got)
	}
}

// A program that cannot be started is told from one that fails.
func TestTerminalProgramIsMissing(t *testing.T) {
	ref := busyboxImage(t, connect(t))
	r := runInTerminal(t.Context(), t, engine.Container{Image: ref, Cmd: []string{"/no/such"}})
	if err := r.ends(); err != nil || r.code != 127 {
		t.Errorf("got code %d, %v; want the shell's 127", r.code, err)
	}
	r = runInTerminal(t.Context(), t, engine.Container{Image: ref, Cmd: []string{"/bin/sh"}, WorkingDir: "/bin/busybox"})
	if err := r.ends(); err == nil {
		t.Error("a working directory that is a file is no error")
	}
}

func TestTerminalCancelled(t *testing.T) {
	ref := busyboxImage(t, connect(t))
	for _, tc := range []struct{ name, script string }{
		{"a program that reads", "echo started; while read -r x; do :; done"},
		{"a program that does not", "trap '' HUP TERM INT; echo started; sleep 1000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stopped := errors.New("ctrl-c")
			ctx, cancel := context.WithCancelCause(t.Context())
			r := runInTerminal(ctx, t, script(ref, tc.script))
			r.expect("started")
			begin := time.Now()
			cancel(stopped)
			if err := r.ends(); !errors.Is(err, stopped) {
				t.Errorf("got %v, want the cause", err)
			}
			if d := time.Since(begin); d > soon {
				t.Errorf("took %s", d)
			}
		})
	}
}

// The window is closed: the container does not stay, yet what was typed before counts.
func TestTerminalHangsUp(t *testing.T) {
	ref := busyboxImage(t, connect(t))
	r := runInTerminal(t.Context(), t, script(ref, "echo started; sleep 1000"))
	r.expect("started")
	r.keys.Close()
	if err := r.ends(); !errors.Is(err, engine.ErrHungUp) {
		t.Errorf("got %v, want ErrHungUp", err)
	}
	r = runInTerminal(t.Context(), t, script(ref, "echo started; read -r word; sleep 0.1; exit 4"))
	r.expect("started")
	r.send("go\n")
	r.keys.Close()
	if err := r.ends(); err != nil || r.code != 4 {
		t.Errorf("got code %d, %v; want 4", r.code, err)
	}
}

// wanted is an output that keeps what it reads in a map.
func wanted(path string, got map[string]string) engine.Output {
	return engine.Output{Path: path, Read: func(r io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(r, 1<<20))
		got[path] = string(data)
		return err
	}}
}

func TestOutputs(t *testing.T) {
	e := connect(t)
	ref := busyboxImage(t, e)
	const big = 300_000
	leave := fmt.Sprintf(`mkdir -p /out/dir; echo small > /out/dir/a; head -c %d /dev/zero | tr '\0' x > /out/b; : > /out/empty; ln -s b /out/link; exit 5`, big)
	ways := map[string]func(engine.Container) (int, error){
		"Run": func(c engine.Container) (int, error) { return e.Run(t.Context(), c, io.Discard) },
		"RunTerminal": func(c engine.Container) (int, error) {
			r := runInTerminal(t.Context(), t, c)
			err := r.ends()
			return r.code, err
		},
	}
	for name, run := range ways {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			c := script(ref, leave)
			c.Outputs = []engine.Output{wanted("/out/b", got), wanted("/out/dir/a", got), wanted("/out/empty", got)}
			if code, err := run(c); err != nil || code != 5 {
				t.Errorf("got code %d, %v; want 5", code, err)
			}
			if len(got) != 3 || got["/out/dir/a"] != "small\n" || got["/out/b"] != strings.Repeat("x", big) || got["/out/empty"] != "" {
				t.Errorf("got %d outputs: %.200q", len(got), got)
			}
			refused := errors.New("more than I take")
			for path, want := range map[string]string{
				"/out/none": engine.ErrNoOutput.Error(), "/none/at/all": engine.ErrNoOutput.Error(),
				"/out/dir": "want a regular file", "/out/link": "want a regular file", "/out/b": refused.Error(),
			} {
				c.Outputs = []engine.Output{{Path: path, Read: func(io.Reader) error { return refused }}}
				code, err := run(c)
				if code != 5 || err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: got code %d, %v; want 5, %s", path, code, err, want)
				}
				if missing := want == engine.ErrNoOutput.Error(); errors.Is(err, engine.ErrNoOutput) != missing {
					t.Errorf("%s: got %v", path, err)
				}
			}
			if ids := containersOf(t, ref); ids != "" {
				t.Errorf("containers left in the engine: %s", ids)
			}
		})
	}
}

func TestLoadAndTag(t *testing.T) {
	e := connect(t)
	ref := busyboxImage(t, e)
	before, err := e.Inspect(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	more := ref + "-more"
	if err := e.Tag(t.Context(), ref, more); err != nil {
		t.Fatal(err)
	}
	archive, err := e.Save(t.Context(), more)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	data, err := io.ReadAll(archive)
	if err != nil {
		t.Fatal(err)
	}
	docker(t, "rmi", ref, more)
	if err := e.Load(t.Context(), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	defer docker(t, "rmi", more)
	if after, err := e.Inspect(t.Context(), more); err != nil || after.ID != before.ID {
		t.Errorf("got %s, %v; want %s", after.ID, err, before.ID)
	}
	if err := e.Load(t.Context(), bytes.NewReader(data[:len(data)/2])); err == nil {
		t.Error("half of an archive is no error")
	}
	if err := e.Tag(t.Context(), "hookbuild-test/none:x", more); !errors.Is(err, engine.ErrNoImage) {
		t.Errorf("got %v, want ErrNoImage", err)
	}
}

// The variables that make this test binary a program which runs a container on its terminal.
const (
	clientImage  = "HOOKBUILD_TEST_TERMINAL_IMAGE"
	clientScript = "HOOKBUILD_TEST_TERMINAL_SCRIPT"
)

// init is where the binary can become that program before it would run tests.
func init() {
	if ref := os.Getenv(clientImage); ref != "" {
		os.Exit(terminalClient(ref, os.Getenv(clientScript)))
	}
}

func terminalClient(ref, text string) int {
	e, err := engine.Connect(context.Background(), engine.Options{Host: os.Getenv("DOCKER_HOST")})
	if err == nil {
		defer e.Close()
		_, err = e.RunTerminal(context.Background(), script(ref, text), engine.Terminal{In: os.Stdin, Out: os.Stdout})
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// Nothing in this process can clean up after kill -9: the engine must.
func TestTerminalClientIsKilled(t *testing.T) {
	ref := busyboxImage(t, connect(t))
	for _, tc := range []struct{ name, script string }{
		{"a menu, which reads keys", `stty raw -echo; echo started; while dd bs=1 count=1 2>/dev/null; do :; done`},
		{"a shell", `echo started; sh -i`},
		{"a shell's job that ignores signals", `trap '' HUP TERM INT PIPE; echo started; sleep 1000; sleep 1001`},
		{"a program that prints for ever", `echo started; yes`},
		{"a program in the background", `(trap '' HUP; sleep 1000) & echo started; wait`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), clientImage+"="+ref, clientScript+"="+tc.script)
			s := startOnScreen(t, cmd, 80, 24)
			s.until("to be started", soon, func() bool { return strings.Contains(s.raw(), "started") })
			if containersOf(t, ref) == "" {
				t.Fatal("no container runs")
			}
			s.cmd.Process.Kill()
			begin := time.Now()
			for ids := containersOf(t, ref); ids != ""; ids = containersOf(t, ref) {
				if time.Since(begin) > soon {
					docker(t, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
					t.Fatal("the container was still there")
				}
				time.Sleep(50 * time.Millisecond)
			}
			t.Logf("gone after %s", time.Since(begin).Round(10*time.Millisecond))
		})
	}
}
