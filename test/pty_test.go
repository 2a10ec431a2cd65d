package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
)

// Keys as a terminal sends them; send sends the arrows as the command has asked for them.
const (
	keyUp    = "\x1b[A"
	keyDown  = "\x1b[B"
	keyRight = "\x1b[C"
	keyLeft  = "\x1b[D"
	keyEnter = "\r"
	keyEsc   = "\x1b"
	keyCtrlC = "\x03"
)

// screenTerm is the $TERM that screen understands.
const screenTerm = "xterm-256color"

// screen is a command that runs on a terminal of its own, and what a user sees there.
type screen struct {
	t    testing.TB
	cmd  *exec.Cmd
	pty  *os.File // the user's side
	term vt10x.Terminal

	ended chan struct{} // closed when the command has, and all that it printed is on the screen
	err   error         // of cmd.Wait; once ended is closed

	mu      sync.Mutex
	printed bytes.Buffer  // byte for byte, escape sequences and all
	changed chan struct{} // closed at the next output
}

// startOnScreen starts the command, which is killed at the end of the test where it still runs.
func startOnScreen(t testing.TB, cmd *exec.Cmd, columns, rows int) *screen {
	t.Helper()
	cmd.Env = append(cmd.Environ(), "TERM="+screenTerm)
	user, err := pty.StartWithSize(cmd, windowSize(columns, rows))
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{
		t: t, cmd: cmd, pty: user, ended: make(chan struct{}), changed: make(chan struct{}),
		term: vt10x.New(vt10x.WithSize(columns, rows), vt10x.WithWriter(user)), // a terminal answers questions
	}
	go func() {
		io.Copy(s, user) // ends with EIO when nobody has the terminal open any more
		s.err = cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(s.kill)
	return s
}

func windowSize(columns, rows int) *pty.Winsize {
	return &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)}
}

// Write shows what the command prints.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.printed.Write(p)
	n, err := s.term.Write(p)
	close(s.changed)
	s.changed = make(chan struct{})
	return n, err
}

// text is what stands on the screen, a line for each row, without the blanks at their ends.
func (s *screen) text() string {
	rows := strings.Split(s.term.String(), "\n")
	for i, row := range rows {
		rows[i] = strings.TrimRight(row, " ")
	}
	return strings.TrimRight(strings.Join(rows, "\n"), "\n")
}

// raw is all that the command has printed so far.
func (s *screen) raw() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.printed.String()
}

// mode is what the command has asked the terminal for.
func (s *screen) mode() vt10x.ModeFlag {
	s.term.Lock()
	defer s.term.Unlock()
	return s.term.Mode()
}

// expect waits until the text stands on the screen, in one row.
func (s *screen) expect(text string, timeout time.Duration) {
	s.t.Helper()
	s.until("to see "+text, timeout, func() bool { return strings.Contains(s.text(), text) })
}

// expectGone waits until the text does not stand on the screen any more.
func (s *screen) expectGone(text string, timeout time.Duration) {
	s.t.Helper()
	s.until("not to see "+text, timeout, func() bool { return !strings.Contains(s.text(), text) })
}

func (s *screen) until(what string, timeout time.Duration, seen func() bool) {
	s.t.Helper()
	late := time.After(timeout)
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if seen() {
			return
		}
		select {
		case <-changed:
		case <-s.ended:
			if !seen() {
				s.t.Fatalf("waiting %s: the command ended (%v) and the screen is\n%s", what, s.err, s.text())
			}
		case <-late:
			s.t.Fatalf("waiting %s: nothing in %s; the screen is\n%s", what, timeout, s.text())
		}
	}
}

// send types the keys, one after the other.
func (s *screen) send(keys ...string) {
	s.t.Helper()
	typed := strings.Join(keys, "")
	if s.mode()&vt10x.ModeAppCursor != 0 {
		typed = strings.NewReplacer(keyUp, "\x1bOA", keyDown, "\x1bOB", keyRight, "\x1bOC", keyLeft, "\x1bOD").Replace(typed)
	}
	if _, err := io.WriteString(s.pty, typed); err != nil {
		s.t.Fatalf("type %q: %v", keys, err)
	}
}

// resize gives the window another size, of which the command is told by SIGWINCH.
func (s *screen) resize(columns, rows int) {
	s.t.Helper()
	s.term.Resize(columns, rows)
	if err := pty.Setsize(s.pty, windowSize(columns, rows)); err != nil {
		s.t.Fatal(err)
	}
}

// wait waits for the command's end and returns its exit code, -1 where a signal ended it.
func (s *screen) wait(timeout time.Duration) int {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(timeout):
		s.t.Fatalf("the command has not ended in %s; the screen is\n%s", timeout, s.text())
	}
	var failed *exec.ExitError
	if s.err != nil && !errors.As(s.err, &failed) {
		s.t.Fatal(s.err)
	}
	return s.cmd.ProcessState.ExitCode()
}

// kill ends the command with SIGKILL and closes the window.
func (s *screen) kill() {
	s.cmd.Process.Kill() // fails where it has ended
	s.pty.Close()
	<-s.ended
}

// onScreen runs a shell script on a screen of 40 by 6.
func onScreen(t *testing.T, script string) *screen {
	t.Helper()
	return startOnScreen(t, exec.Command("sh", "-c", script), 40, 6)
}

// soon is for what takes a moment, on a host that is busy with other things too.
const soon = 2 * time.Minute

func TestScreenShowsWhatAUserSees(t *testing.T) {
	for _, tc := range []struct{ name, script, want string }{
		{"lines", `echo one; echo two`, "one\ntwo"},
		{"colours", `printf 'a \033[1;31mred\033[m b'`, "a red b"},
		{"the cursor moves", `printf 'xxxx\033[2;3Hthere\033[1;1Hhere'`, "here\n  there"},
		{"erased", `printf 'old\033[2J\033[Hnew'`, "new"},
		{"line drawing", `printf '\033(0lqk\033(B'`, "┌─┐"},
		{"the second screen", `printf 'first\033[?1049h\033[Hsecond\033[?1049l'`, "first"},
		{"the last lines", `seq 8`, "4\n5\n6\n7\n8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := onScreen(t, tc.script)
			if code := s.wait(soon); code != 0 {
				t.Errorf("got exit code %d", code)
			}
			if got := s.text(); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

func TestScreenIsATerminal(t *testing.T) {
	s := onScreen(t, `trap 'stty size' WINCH; trap 'echo interrupted; exit 3' INT
		stty size; read -r line; echo "got $line"; while :; do sleep 0.1; done`)
	s.expect("6 40", soon)
	s.send("some words", keyEnter)
	s.expect("got some words", soon)
	s.resize(50, 9)
	s.expect("9 50", soon)
	s.send(keyCtrlC)
	if code := s.wait(soon); code != 3 {
		t.Errorf("got exit code %d, want 3", code)
	}
	if got := s.raw(); !strings.Contains(got, "^C") || !strings.Contains(got, "interrupted\r\n") {
		t.Errorf("got %q", got)
	}
}

// A program of curses asks for the arrows in the form that its data base has.
func TestScreenSendsTheArrowsAsAskedFor(t *testing.T) {
	for _, tc := range []struct{ name, ask, want string }{
		{"a shell", "", "1b 5b 41 0d 1b 03"},
		{"curses", "tput -T " + screenTerm + " smkx; ", "1b 4f 41 0d 1b 03"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := onScreen(t, `stty raw -echo; `+tc.ask+`echo ready; dd bs=1 count=6 2>/dev/null | od -An -tx1`)
			s.expect("ready", soon)
			s.send(keyUp, keyEnter, keyEsc, keyCtrlC)
			s.expect(tc.want, soon)
		})
	}
	for name, key := range map[string]string{"kcuu1": keyUp, "kcud1": keyDown, "kcuf1": keyRight, "kcub1": keyLeft} {
		out, err := exec.Command("tput", "-T", screenTerm, name).Output()
		if want := "\x1bO" + key[2:]; err != nil || string(out) != want {
			t.Errorf("%s: tput says %q, %v; want %q", name, out, err, want)
		}
	}
}

func TestScreenKill(t *testing.T) {
	s := onScreen(t, `echo started; exec sleep 600`)
	s.expect("started", soon)
	s.kill()
	if code := s.wait(soon); code != -1 {
		t.Errorf("got exit code %d of a killed command", code)
	}
}

// A screen says what it waited for and what is there instead.
func TestScreenFailures(t *testing.T) {
	for _, tc := range []struct {
		name string
		fail func(*screen)
		want []string
	}{
		{"not in time", func(s *screen) { s.expect("never", 50*time.Millisecond) }, []string{"never", "50ms", "here I am"}},
		{"still there", func(s *screen) { s.expectGone("here", 50*time.Millisecond) }, []string{"not to see here", "here I am"}},
		{"no end", func(s *screen) { s.wait(50 * time.Millisecond) }, []string{"has not ended", "here I am"}},
		{"an end", func(s *screen) { s.kill(); s.expect("never", soon) }, []string{"never", "the command ended"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := onScreen(t, `echo here I am; exec sleep 600`)
			s.expect("here I am", soon)
			said := &fatal{TB: t}
			s.t = said
			said.catch(func() { tc.fail(s) })
			missing := slices.DeleteFunc(tc.want, func(w string) bool { return strings.Contains(said.text, w) })
			if len(missing) > 0 {
				t.Errorf("lacks %q: %s", missing, said.text)
			}
		})
	}
}

// fatal keeps what would end the test.
type fatal struct {
	testing.TB
	text string
}

func (f *fatal) Helper() {}

func (f *fatal) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// catch calls f on a goroutine, which Fatalf ends.
func (f *fatal) catch(call func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		call()
	}()
	<-done
}
