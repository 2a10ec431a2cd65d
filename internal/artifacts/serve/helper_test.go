package serve

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// helperVar makes the test binary a helper process: one that asks for its routed address, or one that serves.
const helperVar = "HOOKBUILD_SERVE_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperVar) {
	case "":
		os.Exit(m.Run())
	case "serve":
		if err := serveHelper(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		fmt.Println(RoutedAddress())
	}
}

const epoch = 1_700_000_000

var epochTime = time.Unix(epoch, 0)

// newStore returns a store that the test may write to.
func newStore(t testing.TB) *artifacts.Store {
	t.Helper()
	store, err := artifacts.Open(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := store.TryLock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unlock(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// content is what a file of the generation with that recipe holds.
func content(name, recipe string, size int) []byte {
	line := fmt.Sprintf("%s of %s\n", name, recipe)
	return bytes.Repeat([]byte(line), size/len(line)+1)[:size]
}

// publish makes a generation of x86_64 whose files have size bytes each, and publishes it.
func publish(store *artifacts.Store, recipe string, size int) (artifacts.Set, error) {
	p := plan.Plan{Schema: plan.Schema, Flavor: "f", Arch: plan.X8664, Epoch: epoch, Recipe: recipe, Aliases: []plan.Alias{
		{Name: "initramfs-second-x86_64", Of: "initramfs-x86_64"}, {Name: "vmlinuz-second-x86_64", Of: "vmlinuz-x86_64"},
	}}
	staging, err := store.Stage(p.ID())
	if err != nil {
		return artifacts.Set{}, err
	}
	defer staging.Abort()
	for _, name := range []string{"vmlinuz-x86_64", "initramfs-x86_64"} {
		w, err := staging.Create(name)
		if err != nil {
			return artifacts.Set{}, err
		}
		if _, err := w.Write(content(name, recipe, size)); err != nil {
			return artifacts.Set{}, err
		}
		if err := w.Close(); err != nil {
			return artifacts.Set{}, err
		}
	}
	report := artifacts.NewReport(artifacts.Archive{Compressed: int64(size)})
	if err := staging.WriteReport(report); err != nil {
		return artifacts.Set{}, err
	}
	gen, err := staging.Commit(artifacts.Manifest{Plan: p})
	if err != nil {
		return artifacts.Set{}, err
	}
	return store.Publish(gen)
}

func mustPublish(t testing.TB, store *artifacts.Store, recipe string, size int) artifacts.Set {
	t.Helper()
	set, err := publish(store, recipe, size)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// running is a server under test.
type running struct {
	addr string
	stop context.CancelFunc
	done chan error // has Run's answer
}

// start runs the server on a free port and stops it when the test ends.
func start(t *testing.T, o Options) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{stop: cancel, done: make(chan error, 1)}
	ready := make(chan net.Addr, 1)
	o.Listen, o.Ready = "127.0.0.1:0", func(addr net.Addr) { ready <- addr }
	go func() { r.done <- Run(ctx, o) }()
	select {
	case addr := <-ready:
		r.addr = addr.String()
	case err := <-r.done:
		t.Fatalf("server ended: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		if err := r.wait(); err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return r
}

// wait returns Run's answer, any number of times.
func (r *running) wait() error {
	err := <-r.done
	r.done <- err
	return err
}

// send writes raw bytes to the server and reads one answer, whose body stays to be read from the connection.
func send(t *testing.T, addr, method, raw string) (*http.Response, net.Conn) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return resp, conn
}

// get asks for a target in HTTP/1.1 and returns answer and body, once the server has closed the connection: it has
// entered the request in its books by then. Header lines end in CR LF.
func get(t *testing.T, addr, target, header string) (*http.Response, []byte) {
	t.Helper()
	raw := "GET " + target + " HTTP/1.1\r\nHost: hook\r\nConnection: close\r\n" + header + "\r\n"
	resp, conn := send(t, addr, http.MethodGet, raw)
	defer conn.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: body: %v", target, err)
	}
	io.Copy(io.Discard, conn) // a reset is an end, too
	return resp, body
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// textLog returns a logger and what it has written so far, to be read when nothing writes any more.
func textLog() (*slog.Logger, *strings.Builder) {
	var b strings.Builder
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}
