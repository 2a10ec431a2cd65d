package engine

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/google/go-cmp/cmp"
)

// printing is an attach that writes two lines, one on each stream, and ends.
func printing() http.HandlerFunc {
	return hijack(func(conn net.Conn, _ *bufio.ReadWriter) {
		stdcopy.NewStdWriter(conn, stdcopy.Stdout).Write([]byte("out\n"))
		stdcopy.NewStdWriter(conn, stdcopy.Stderr).Write([]byte("err\n"))
		conn.Close()
	})
}

// silent is an attach that says nothing and ends when the other side does.
func silent() http.HandlerFunc {
	return hijack(func(conn net.Conn, rw *bufio.ReadWriter) {
		io.Copy(io.Discard, rw)
		conn.Close()
	})
}

// container1 is an engine in which a run succeeds with code 3.
func container1() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"POST /containers/create":     text(`{"Id":"c1"}`),
		"PUT /containers/c1/archive":  code(http.StatusOK),
		"POST /containers/c1/attach":  printing(),
		"POST /containers/c1/wait":    text(`{"StatusCode":3}`),
		"POST /containers/c1/start":   code(http.StatusNoContent),
		"DELETE /containers/c1":       code(http.StatusNoContent),
		"POST /containers/c1/no-such": status404,
	}
}

func oneFile(w *tar.Writer) error {
	if err := w.WriteHeader(&tar.Header{Name: "boot/kernel", Mode: 0o644, Size: 2}); err != nil {
		return err
	}
	_, err := w.Write([]byte("hi"))
	return err
}

func TestRun(t *testing.T) {
	var asked struct {
		container.Config
		HostConfig container.HostConfig
	}
	var sent []string
	reply := container1()
	reply["POST /containers/create"] = func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			t.Error(err)
		}
		text(`{"Id":"c1"}`)(w, r)
	}
	reply["PUT /containers/c1/archive"] = func(w http.ResponseWriter, r *http.Request) {
		in := tar.NewReader(r.Body)
		for h, err := in.Next(); err == nil; h, err = in.Next() {
			data, _ := io.ReadAll(in)
			sent = append(sent, r.URL.Query().Get("path")+" "+h.Name+" "+string(data))
		}
	}
	e, f := newFake(t, reply)
	var out bytes.Buffer
	got, err := e.Run(t.Context(), Container{
		Image: "a:b", Cmd: []string{"qemu"}, Env: []string{"A=b"}, Files: oneFile, Devices: []string{"/dev/kvm"},
		Tmpfs: map[string]string{"/tmp": "size=1g"}, Memory: 1 << 30,
	}, &out)
	if err != nil || got != 3 {
		t.Errorf("got exit code %d, %v; want 3", got, err)
	}
	if out.String() != "out\nerr\n" {
		t.Errorf("got output %q", out.String())
	}
	if diff := cmp.Diff([]string{"/ boot/kernel hi"}, sent); diff != "" {
		t.Error(diff)
	}
	h := asked.HostConfig
	if asked.Image != "a:b" || asked.Labels[Label] == "" || h.NetworkMode != "none" || h.Memory != 1<<30 || len(h.Mounts)+len(h.Binds) != 0 {
		t.Errorf("got container %+v", asked)
	}
	if len(h.Devices) != 1 || h.Devices[0].PathInContainer != "/dev/kvm" {
		t.Errorf("got devices %+v", h.Devices)
	}
	if !f.called("DELETE /containers/c1") {
		t.Error("the container is left behind")
	}
}

// A run that fails at any point leaves no container and says what failed.
func TestRunFailures(t *testing.T) {
	fault := errors.New("disk on fire")
	for _, c := range []struct {
		name   string
		call   string
		answer http.HandlerFunc
		files  func(*tar.Writer) error
		want   string
		made   bool
	}{
		{"create", "POST /containers/create", code(http.StatusConflict), oneFile, "create container from a:b", false},
		{"copy", "PUT /containers/c1/archive", code(http.StatusInternalServerError), oneFile, "copy files into the container", true},
		{"the files themselves", "", nil, func(*tar.Writer) error { return fault }, fault.Error(), true},
		{"attach", "POST /containers/c1/attach", code(http.StatusInternalServerError), nil, "attach", true},
		{"start", "POST /containers/c1/start", code(http.StatusBadRequest), nil, "engine says 400", true},
		{"wait", "POST /containers/c1/wait", code(http.StatusInternalServerError), nil, "wait for the container", true},
		{"remove", "DELETE /containers/c1", code(http.StatusInternalServerError), nil, "engine says 500", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			reply := container1()
			if c.call != "" {
				reply[c.call] = c.answer
			}
			if c.name == "start" {
				reply["POST /containers/c1/attach"] = silent()
			}
			e, f := newFake(t, reply)
			_, err := e.Run(t.Context(), Container{Image: "a:b", Files: c.files}, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if got := f.called("DELETE /containers/c1"); got != c.made {
				t.Errorf("removed: %v, want %v", got, c.made)
			}
		})
	}
}

func TestRunCancelled(t *testing.T) {
	stopped := errors.New("ctrl-c")
	ctx, cancel := context.WithCancelCause(t.Context())
	reply := container1()
	reply["POST /containers/c1/attach"] = silent()
	reply["POST /containers/c1/wait"] = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	reply["POST /containers/c1/start"] = func(w http.ResponseWriter, r *http.Request) {
		code(http.StatusNoContent)(w, r)
		cancel(stopped)
	}
	e, f := newFake(t, reply)
	_, err := e.Run(ctx, Container{Image: "a:b"}, io.Discard)
	if !errors.Is(err, stopped) && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if !f.called("DELETE /containers/c1") {
		t.Error("the container is left behind")
	}
}

// The container has ended, yet the connection with its output has not: only ctx can end the wait.
func TestRunCancelledWhileTheOutputDoesNotEnd(t *testing.T) {
	stopped := errors.New("ctrl-c")
	ctx, cancel := context.WithCancelCause(t.Context())
	reply := container1()
	started := make(chan struct{})
	reply["POST /containers/c1/attach"] = hijack(func(conn net.Conn, rw *bufio.ReadWriter) {
		<-started
		stdcopy.NewStdWriter(conn, stdcopy.Stdout).Write([]byte("last words\n"))
		io.Copy(io.Discard, rw)
		conn.Close()
	})
	reply["POST /containers/c1/start"] = func(w http.ResponseWriter, r *http.Request) {
		code(http.StatusNoContent)(w, r)
		close(started)
	}
	e, f := newFake(t, reply)
	done := make(chan error, 1)
	go func() {
		_, err := e.Run(ctx, Container{Image: "a:b"}, writes(func() { cancel(stopped) }))
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, stopped) && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("Run does not come back")
	}
	if !f.called("DELETE /containers/c1") {
		t.Error("the container is left behind")
	}
}

// writes calls itself at every Write.
type writes func()

func (f writes) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}
