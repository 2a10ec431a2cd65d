package engine

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// fake is an engine of canned answers; it speaks the part of the Engine API that this package uses.
type fake struct {
	mu    sync.Mutex
	calls []string                    // METHOD /path, without the version
	reply map[string]http.HandlerFunc // by call
}

// newFake starts a server on this host and connects to it.
func newFake(t *testing.T, reply map[string]http.HandlerFunc) (*Engine, *fake) {
	t.Helper()
	f := &fake{reply: reply}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	e, err := Connect(t.Context(), Options{Host: "tcp://" + srv.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e, f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if strings.HasPrefix(path, "/v1.") {
		path = path[strings.Index(path[1:], "/")+1:]
	}
	call := r.Method + " " + path
	f.mu.Lock()
	f.calls = append(f.calls, call)
	f.mu.Unlock()
	switch handle, ok := f.reply[call]; {
	case ok:
		handle(w, r)
	case path == "/_ping":
		w.Header().Set("API-Version", "1.41")
	case path == "/version":
		text(`{"Version":"20.10.24","ApiVersion":"1.41","Arch":"amd64"}`)(w, r)
	default:
		status404(w, r)
	}
}

// called says whether the engine has been asked that.
func (f *fake) called(call string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c == call {
			return true
		}
	}
	return false
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, body)
	}
}

func code(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(n)
		if n >= 400 {
			json.NewEncoder(w).Encode(map[string]string{"message": fmt.Sprintf("engine says %d", n)})
		}
	}
}

func status404(w http.ResponseWriter, r *http.Request) { code(http.StatusNotFound)(w, r) }

// hijack answers as /attach does and gives the bare connection to f, which ends it.
func hijack(f func(net.Conn, *bufio.ReadWriter)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // it would be what rw reads first
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		f(conn, rw)
	}
}
