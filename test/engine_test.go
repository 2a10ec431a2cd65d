// Package test holds the tests that need a Docker Engine or QEMU. They never skip: where no engine answers
// they fail and say so.
package test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// connect reaches the engine as hookbuild does.
func connect(t *testing.T) *engine.Engine {
	t.Helper()
	e, err := engine.Connect(t.Context(), engine.Options{Host: os.Getenv("DOCKER_HOST")})
	if err != nil {
		t.Fatalf("this test needs a Docker Engine (make engine starts one): %v", err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// busyboxImage imports an image that holds only a static busybox, under a name of the test's own.
func busyboxImage(t *testing.T, e *engine.Engine) string {
	t.Helper()
	file, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("this test needs busybox-static (make test-tools installs it): %v", err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rootfs bytes.Buffer
	w := tar.NewWriter(&rootfs)
	for _, name := range []string{"bin/sh", "bin/busybox"} {
		h := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg}
		if err := errors.Join(w.WriteHeader(h), write(w, data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	ref := "hookbuild-test/busybox:" + strings.ToLower(t.Name())
	if err := e.Import(t.Context(), &rootfs, ref); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Remove(context.Background(), ref); err != nil {
			t.Error(err)
		}
	})
	return ref
}

func write(w io.Writer, data []byte) error {
	_, err := w.Write(data)
	return err
}

func TestRunCopiesFilesInAndReturnsTheExitCode(t *testing.T) {
	e := connect(t)
	ref := busyboxImage(t, e)
	var out bytes.Buffer
	code, err := e.Run(t.Context(), engine.Container{
		Image: ref,
		Cmd:   []string{"/bin/busybox", "sh", "-c", "/bin/busybox cat /in/file; echo err >&2; exit 7"},
		Files: func(w *tar.Writer) error {
			h := &tar.Header{Name: "in/file", Mode: 0o644, Size: 6, Typeflag: tar.TypeReg}
			return errors.Join(w.WriteHeader(h), write(w, []byte("hello\n")))
		},
	}, &out)
	if err != nil || code != 7 {
		t.Fatalf("got code %d, error %v; want 7, nil", code, err)
	}
	if got := out.String(); !strings.Contains(got, "hello\n") || !strings.Contains(got, "err\n") {
		t.Errorf("got output %q, want both streams", got)
	}
	noContainers(t)
}

// noContainers asserts that no container of hookbuild's is left.
func noContainers(t *testing.T) {
	t.Helper()
	if left := containers(t); left != "" {
		t.Errorf("containers left in the engine: %s", left)
	}
}

// containers are the ids of those that hookbuild has started.
func containers(t *testing.T) string {
	t.Helper()
	return docker(t, "ps", "-aq", "--filter", "label="+engine.Label)
}

func TestRunCancelledLeavesNothing(t *testing.T) {
	e := connect(t)
	ref := busyboxImage(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	started := &notify{want: "started", seen: cancel}
	begin := time.Now()
	_, err := e.Run(ctx, engine.Container{
		Image: ref, Cmd: []string{"/bin/busybox", "sh", "-c", "echo started; exec /bin/busybox sleep 600"},
	}, started)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if d := time.Since(begin); d > 2*time.Minute {
		t.Errorf("cancelling took %s", d)
	}
	noContainers(t)
}

// notify calls seen when want has been written, and not again.
type notify struct {
	want string
	seen func()
	buf  bytes.Buffer
	once sync.Once
}

func (n *notify) Write(p []byte) (int, error) {
	n.buf.Write(p)
	if strings.Contains(n.buf.String(), n.want) {
		n.once.Do(n.seen)
	}
	return len(p), nil
}

// shellBuild is an LLB build that runs one shell command in the image.
func shellBuild(t *testing.T, e *engine.Engine, ref, script string) engine.Build {
	t.Helper()
	run := llb.Image(ref).Run(llb.Args([]string{"/bin/busybox", "sh", "-c", script}),
		llb.Network(llb.NetModeNone), llb.WithCustomName("the step"), llb.IgnoreCache)
	def, err := run.AddMount("/out", llb.Scratch()).Marshal(t.Context(), llb.Platform(ocispecs.Platform{OS: "linux", Architecture: e.Arch()}))
	if err != nil {
		t.Fatal(err)
	}
	return engine.Build{Definition: def, Tag: "hookbuild-test/built:" + strings.ToLower(t.Name())}
}

func TestBuildKeepsTheImageConfig(t *testing.T) {
	e := connect(t)
	b := shellBuild(t, e, busyboxImage(t, e), "echo content > /out/file")
	b.Config = []byte(`{"architecture":"` + e.Arch() + `","os":"linux","config":{"Labels":{"a":"b"},"Cmd":["/file"]}}`)
	if err := e.Build(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Remove(context.Background(), b.Tag) })
	img, err := e.Inspect(t.Context(), b.Tag)
	if err != nil {
		t.Fatal(err)
	}
	if img.Labels["a"] != "b" || len(img.Cmd) != 1 || img.Cmd[0] != "/file" {
		t.Errorf("got config %+v", img)
	}
}

func TestBuildFailureNamesStepCodeAndTail(t *testing.T) {
	e := connect(t)
	b := shellBuild(t, e, busyboxImage(t, e), "echo first; echo last words; exit 42")
	err := e.Build(t.Context(), b)
	var failed *engine.BuildError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v, want a *engine.BuildError", err)
	}
	if failed.Step != "the step" || failed.ExitCode != 42 {
		t.Errorf("got step %q, code %d", failed.Step, failed.ExitCode)
	}
	if n := len(failed.Tail); n == 0 || failed.Tail[n-1] != "last words" {
		t.Errorf("got tail %q", failed.Tail)
	}
}

func TestBuildCancelledStopsTheStep(t *testing.T) {
	e := connect(t)
	b := shellBuild(t, e, busyboxImage(t, e), "echo started; exec /bin/busybox sleep 54321")
	ctx, cancel := context.WithCancel(t.Context())
	b.Log = func(ev engine.Event) {
		if ev.Text == "started" {
			cancel()
		}
	}
	if err := e.Build(ctx, b); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	noProcess(t, "sleep 54321")
}

// noProcess waits until no process on this host has the words on its command line; the engine is local here.
func noProcess(t *testing.T, words string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		found, err := exec.Command("pgrep", "-af", words).Output()
		if err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a process with %q still runs:\n%s", words, found)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestConnectSaysThatNoEngineAnswers(t *testing.T) {
	_, err := engine.Connect(t.Context(), engine.Options{Host: "unix:///nonexistent/docker.sock"})
	var un *engine.UnavailableError
	if !errors.As(err, &un) || !strings.Contains(err.Error(), "/nonexistent/docker.sock") {
		t.Errorf("got %v, want an *engine.UnavailableError that names the socket", err)
	}
}
