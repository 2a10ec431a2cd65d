package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// spyListener hands out connections that note what they are asked to copy.
type spyListener struct {
	net.Listener
	mu     sync.Mutex
	copies []string
}

func (l *spyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &spyConn{c.(*net.TCPConn), l}, nil
}

type spyConn struct {
	*net.TCPConn
	l *spyListener
}

// ReadFrom notes whether r is what net gives to sendfile(2): a part of a file.
func (c *spyConn) ReadFrom(r io.Reader) (int64, error) {
	what := fmt.Sprintf("%T", r)
	if limited, ok := r.(*io.LimitedReader); ok {
		what = fmt.Sprintf("%T of %T", r, limited.R)
	}
	n, err := c.TCPConn.ReadFrom(r)
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.copies = append(c.l.copies, fmt.Sprintf("%s: %d", what, n))
	return n, err
}

// TestSendfile holds that a file reaches the TCP connection as a file, in stretches, and not as bytes that went through
// this program.
func TestSendfile(t *testing.T) {
	store := newStore(t)
	mustPublish(t, store, "0", 3*stretch)
	o := Options{Store: store, Now: time.Now, Log: orDiscard(nil)}
	h, err := newHandler(o)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	spy := &spyListener{Listener: l}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serveOn(ctx, newGate(spy, o), h, nil, time.Second, o.Log) }()
	_, body := get(t, l.Addr().String(), "/"+initramfs, "")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	const part = "*io.LimitedReader of *os.File: "
	want := fmt.Sprintf("%[1]s%[2]d %[1]s%[2]d %[1]s%[3]d", part, stretch, stretch-512) // net/http sends 512 bytes with the header
	if got := strings.Join(spy.copies, " "); got != want || len(body) != 3*stretch {
		t.Errorf("got %q, want %q; %d bytes", got, want, len(body))
	}
}

// TestStandstill holds that who takes nothing is cut off, and who takes little, slowly, is not.
func TestStandstill(t *testing.T) {
	certFile, keyFile := certificate(t, "one")
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls %v", tls), func(t *testing.T) {
			store := newStore(t)
			mustPublish(t, store, "0", bigFile)
			log := make(lines, 100)
			o := Options{Store: store, Now: time.Now, Log: slog.New(slog.NewTextHandler(log, nil)), patience: 5 * time.Second}
			if tls {
				o.TLSCert, o.TLSKey = certFile, keyFile
			}
			server := start(t, o)
			body := open(t, server.addr, tls)
			log.expect(t, "path=/"+initramfs)
			n, err := io.Copy(io.Discard, body)
			if err == nil || n == bigFile {
				t.Errorf("stood still: got %d bytes, %v, want to be cut off", n, err)
			}
			body = open(t, server.addr, tls)
			var total int64
			for begin := time.Now(); time.Since(begin) < 8*time.Second; { // about 2.5 MiB/s
				n, err := io.CopyN(io.Discard, body, 1<<18)
				if total += n; err != nil {
					t.Fatalf("slow: after %d bytes: %v", total, err)
				}
				time.Sleep(100 * time.Millisecond)
			}
			n, err = io.Copy(io.Discard, body)
			if total += n; err != nil || total != bigFile {
				t.Errorf("slow: got %d bytes, %v, want all", total, err)
			}
		})
	}
}

// lines is a log, line by line.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// expect waits for a line with the text.
func (l lines) expect(t *testing.T, text string) {
	t.Helper()
	late := time.After(2 * time.Minute)
	for {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return
			}
		case <-late:
			t.Fatalf("the log has no %q", text)
		}
	}
}

// open begins a download.
func open(t *testing.T, addr string, secure bool) io.Reader {
	t.Helper()
	client, scheme := &http.Client{Transport: &http.Transport{}}, "http"
	if secure {
		client, scheme = insecure(), "https"
	}
	t.Cleanup(client.CloseIdleConnections)
	resp, err := client.Get(scheme + "://" + addr + "/" + initramfs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp.Body
}

func TestTooManyConnections(t *testing.T) {
	store := newStore(t)
	mustPublish(t, store, "0", 1000)
	addr := start(t, Options{Store: store, Connections: 2}).addr
	idle := make([]net.Conn, 2)
	for i := range idle {
		resp, conn := send(t, addr, http.MethodGet, "GET /"+kernel+" HTTP/1.1\r\nHost: hook\r\n\r\n")
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
			t.Fatalf("within the limit: got %s, %v", resp.Status, err)
		}
		idle[i] = conn
	}
	resp, conn := send(t, addr, http.MethodGet, "GET /"+kernel+" HTTP/1.1\r\nHost: hook\r\n\r\n")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "5" || !resp.Close {
		t.Errorf("over the limit: got %s, %v", resp.Status, resp.Header)
	}
	conn.Close()
	idle[0].Close()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if resp, _ := get(t, addr, "/"+kernel, ""); resp.StatusCode == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a place that became free is not used")
		}
	}
}

// TestBodyThatNeverComes holds that nobody waits for the body of a request.
func TestBodyThatNeverComes(t *testing.T) {
	store := newStore(t)
	mustPublish(t, store, "0", 1000)
	addr := start(t, Options{Store: store}).addr
	resp, conn := send(t, addr, http.MethodGet, "GET /"+kernel+" HTTP/1.1\r\nHost: hook\r\nContent-Length: 100000\r\n\r\n")
	body, err := io.ReadAll(resp.Body)
	if err != nil || len(body) != 1000 {
		t.Errorf("got %d bytes, %v", len(body), err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("afterwards: got %v, want the connection to be closed", err)
	}
}
