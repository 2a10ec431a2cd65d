package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestEncrypted(t *testing.T) {
	s := newServer(t, true)
	s.put(t, "x:1", newImage(t, 1, 1, amd64))
	c := quick()
	_, err := c.Resolve(t.Context(), s.ref("x:1"), amd64)
	has(t, err, "certificate signed by unknown authority", "registries: "+s.host()+": ca: FILE")

	c.Hosts = map[string]Host{s.host(): {CA: s.ca()}}
	if _, err := c.Pull(t.Context(), s.ref("x:1"), amd64, io.Discard); err != nil {
		t.Error(err)
	}
	if _, err := c.Push(t.Context(), saved(t, newImage(t, 1, 1, amd64), "y:1"), s.ref("y:1")); err != nil {
		t.Error(err)
	}
	c.Hosts = map[string]Host{"registry.example": {CA: s.ca()}}
	_, err = c.Resolve(t.Context(), s.ref("x:1"), amd64)
	has(t, err, "unknown authority") // a host's authority is trusted for that host

	_, port, _ := strings.Cut(s.host(), ":")
	c.Hosts = map[string]Host{"localhost:" + port: {CA: s.ca()}}
	_, err = c.Resolve(t.Context(), "localhost:"+port+"/x:1", amd64)
	has(t, err, "not localhost") // the certificate is for another name

	c.Hosts = map[string]Host{s.host(): {CA: []byte("no PEM")}}
	_, err = c.Resolve(t.Context(), s.ref("x:1"), amd64)
	has(t, err, "registries: "+s.host()+": ca: no certificate in it")
}

func TestPlainHTTP(t *testing.T) {
	s := newServer(t, false)
	s.put(t, "x:1", newImage(t, 1, 1, amd64))
	for _, tc := range []struct {
		name, host string
		plain      bool
		want       string // of the error; empty where it succeeds
	}{
		{"allowed", "registry.example", true, ""},
		{"allowed with a port", "registry.example:5000", true, ""},
		{"not allowed", "registry.example", false, "registries: registry.example: plain_http: true is for a registry without https"},
		{"private address", "10.1.2.3:5000", false, "registries: 10.1.2.3:5000: plain_http: true is for"},
		{"private address, allowed", "10.1.2.3:5000", true, ""},
		{"localhost", "localhost:5000", false, ""},
		{"loopback", "127.0.0.9", false, ""},
		{"loopback, IPv6", "[::1]:5000", false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.forget()
			c := quick()
			transport, dials := dialer(s.host())
			c.Transport = transport
			c.Hosts = map[string]Host{tc.host: {PlainHTTP: tc.plain}}
			_, err := c.Resolve(t.Context(), tc.host+"/x:1", amd64)
			transport.CloseIdleConnections()
			if tc.want != "" {
				has(t, err, tc.want)
				if len(s.asked()) != 0 {
					t.Errorf("asked without encryption: %v", s.asked())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tc.plain && *dials != 1 {
				t.Errorf("%d connections, want one: https is not tried", *dials)
			}
		})
	}
}

func TestEncryptedLoopbackIsNotAskedByHTTP(t *testing.T) {
	s := newServer(t, true)
	s.put(t, "x:1", newImage(t, 1, 1, amd64))
	seen := ""
	s.hook = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.TLS == nil {
			seen = r.URL.Path
		}
		return false
	}
	c := quick()
	c.Hosts = map[string]Host{s.host(): {CA: s.ca()}}
	if _, err := c.Pull(t.Context(), s.ref("x:1"), amd64, io.Discard); err != nil || seen != "" {
		t.Errorf("%v, %q asked without encryption", err, seen)
	}
}

func TestRedirect(t *testing.T) {
	img := newImage(t, 1, 2, amd64)
	blob := layerOf(t, img, 1)
	to := func(base string) func(http.ResponseWriter, *http.Request) bool {
		return times(1000, "/blobs/"+blob, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, base+r.URL.Path+"?signature=SECRET", http.StatusTemporaryRedirect)
		})
	}
	storage := newServer(t, false)
	storage.put(t, "x:1", img)
	var authorization string
	storage.hook = func(_ http.ResponseWriter, r *http.Request) bool {
		authorization += r.Header.Get("Authorization")
		return false
	}
	login := DockerKeychain(t.TempDir())

	t.Run("to a storage", func(t *testing.T) {
		s := newServer(t, false)
		s.put(t, "x:1", img)
		s.hook = to(storage.URL)
		c := quick()
		c.Keychain = loggedIn(t, s.host(), "user", "pass")
		var out bytes.Buffer
		if _, err := c.Pull(t.Context(), s.ref("x:1"), amd64, &out); err != nil {
			t.Fatal(err)
		}
		_, back := pulled(t, out.Bytes())
		same(t, back, img)
		if storage.count("/blobs/"+blob) != 1 || authorization != "" {
			t.Errorf("the storage was asked %v, with %q", storage.asked(), authorization)
		}
	})
	t.Run("from https to http", func(t *testing.T) {
		storage.forget()
		s := newServer(t, true)
		s.put(t, "x:1", img)
		s.hook = to(storage.URL)
		c := quick()
		c.Keychain, c.Hosts = login, map[string]Host{s.host(): {CA: s.ca()}, storage.host(): {PlainHTTP: true}}
		_, err := c.Pull(t.Context(), s.ref("x:1"), amd64, io.Discard)
		if !errors.Is(err, errDowngrade) || len(storage.asked()) != 0 {
			t.Errorf("got %v, and the storage was asked %v", err, storage.asked())
		}
		has(t, err, storage.host()+": redirect from https to http refused")
		if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v shows the signature", err)
		}
	})
	t.Run("refused by the storage", func(t *testing.T) {
		refusing := newServer(t, false)
		refusing.hook = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true }
		s := newServer(t, false)
		s.put(t, "x:1", img)
		s.hook = to(refusing.URL)
		_, err := quick().Pull(t.Context(), s.ref("x:1"), amd64, io.Discard)
		notMissing(t, err, 403) // our credentials have nothing to do with it
		has(t, err, refusing.host()+" answered 403 Forbidden")
		if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v shows the signature", err)
		}
	})
	t.Run("from a name to an address of this host", func(t *testing.T) { // the library's own rule
		storage.forget()
		s := newServer(t, false)
		s.put(t, "x:1", img)
		s.hook = to(storage.URL)
		c := quick()
		c.Transport, _ = dialer(s.host())
		c.Hosts = map[string]Host{"registry.example": {PlainHTTP: true}}
		_, err := c.Pull(t.Context(), "registry.example/x:1", amd64, io.Discard)
		has(t, err, `redirect from "registry.example" to private/link-local host "127.0.0.1" denied`)
		if strings.Contains(err.Error(), "SECRET") || len(storage.asked()) != 0 {
			t.Errorf("%v shows the signature, or the storage was asked %v", err, storage.asked())
		}
	})
	t.Run("in a circle", func(t *testing.T) {
		s := newServer(t, false)
		s.put(t, "x:1", img)
		s.hook = func(w http.ResponseWriter, r *http.Request) bool { return to("")(w, r) }
		_, err := quick().Pull(t.Context(), s.ref("x:1"), amd64, io.Discard)
		has(t, err, "more than 10 redirects")
		if n := s.count("/blobs/" + blob); n > maxRedirects+1 {
			t.Errorf("%d requests", n)
		}
	})
}

// The place that a registry names for an upload is no redirect, but just as little to be trusted.
func TestUploadLeadsAway(t *testing.T) {
	s := newServer(t, true)
	s.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		w.Header().Set("Location", "http://storage.example/upload")
		w.WriteHeader(http.StatusAccepted)
		return true
	}
	c := quick()
	c.Hosts = map[string]Host{s.host(): {CA: s.ca()}}
	_, err := c.Push(t.Context(), saved(t, newImage(t, 1, 1, amd64), "x:1"), s.ref("x:1"))
	has(t, err, "storage.example: unencrypted connection refused; registries: storage.example: plain_http: true allows it")
}

func TestLoopbackTellsOfItsLastTry(t *testing.T) {
	s := newServer(t, false)
	s.hook = func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }
	_, err := quick().Resolve(t.Context(), s.ref("x:1"), amd64)
	has(t, err, s.host()+": ", "EOF") // and not that it does not speak https, which it need not
}

func TestRepeated(t *testing.T) {
	img := newImage(t, 1, 1, amd64)
	status := func(code int, after, text string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			w.WriteHeader(code)
			io.WriteString(w, text)
		}
	}
	const limit = `{"errors":[{"code":"TOOMANYREQUESTS","message":"rate limit exceeded"}]}`
	drop := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	cut := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "900")
		io.WriteString(w, `{"schemaVersion":2,`)
	}
	for _, tc := range []struct {
		name     string
		times    int
		hook     func(http.ResponseWriter, *http.Request)
		requests int
		want     string // of the error; empty where it succeeds
	}{
		{"503 once", 1, status(503, "", ""), 2, ""},
		{"503 twice", 2, status(503, "0", ""), 3, ""},
		{"503 for ever", 99, status(503, "", "<html>"), attempts, "answered 503 Service Unavailable"},
		{"503 for an hour", 99, status(503, "3600", ""), 1, "answered 503 Service Unavailable"},
		{"500 with a long page", 99, status(500, "", strings.Repeat("x", 1<<20)), attempts, "answered 500 Internal Server Error"},
		{"429 for a moment", 1, status(429, "0", limit), 2, ""},
		{"429 for who knows how long", 99, status(429, "", limit), 1, "answered 429 Too Many Requests (TOOMANYREQUESTS: rate limit exceeded)"},
		{"429 until a date", 99, status(429, "Sun, 22 Nov 2026 12:00:00 GMT", limit), 1, "TOOMANYREQUESTS"},
		{"429 for an hour", 99, status(429, "3600", limit), 1, "TOOMANYREQUESTS"},
		{"400", 99, status(400, "0", ""), 1, "answered 400 Bad Request"},
		{"connection lost", 1, drop, 2, ""},
		{"connection lost for ever", 99, drop, attempts, "EOF"},
		{"manifest cut short", 2, cut, 3, ""},
		{"manifest cut short for ever", 99, cut, attempts, "unexpected EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, false)
			s.put(t, "x:1", img)
			s.hook = times(tc.times, "/manifests/", tc.hook)
			_, err := quick().Resolve(t.Context(), s.ref("x:1"), amd64)
			if tc.want != "" {
				has(t, err, s.ref("x:1"), s.host(), tc.want)
			} else if err != nil {
				t.Error(err)
			}
			n := s.count("/manifests/")
			if strings.HasPrefix(tc.name, "connection lost") && n > tc.requests {
				n-- // net/http repeats by itself what was lost on a connection that had been used before
			}
			if n != tc.requests {
				t.Errorf("%d requests, want %d", n, tc.requests)
			}
		})
	}
}

func TestResume(t *testing.T) {
	img := newImage(t, 1, 2, amd64)
	blob := layerOf(t, img, 0)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	// part sends the layer from there to there, and a length that promises the rest as well.
	part := func(w http.ResponseWriter, from, to int) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)-from))
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(content[from:to])
	}
	for _, tc := range []struct {
		name   string
		hook   func(w http.ResponseWriter, r *http.Request, n int) (done bool)
		ranges string
		want   string // of the error; empty where it succeeds
	}{
		{"cut once", func(w http.ResponseWriter, _ *http.Request, n int) bool {
			if n == 1 {
				part(w, 0, 30_000)
			}
			return n == 1
		}, " bytes=30000-42011", ""},
		{"cut twice", func(w http.ResponseWriter, _ *http.Request, n int) bool {
			if n < 3 {
				part(w, (n-1)*10_000, n*10_000)
			}
			return n < 3
		}, " bytes=10000-42011 bytes=20000-42011", ""},
		{"ranges not known to the server", func(w http.ResponseWriter, r *http.Request, n int) bool {
			part(w, 0, map[bool]int{true: 30_000, false: len(content)}[n == 1])
			return true
		}, " bytes=30000-42011", ""},
		{"another range than asked for", func(w http.ResponseWriter, _ *http.Request, n int) bool {
			part(w, (n-1)*10_000, n*20_000)
			return true
		}, " bytes=20000-42011 bytes=20000-42011", "after 20000 bytes: unexpected EOF"},
		{"gone", func(w http.ResponseWriter, r *http.Request, n int) bool {
			if n == 1 {
				part(w, 0, 30_000)
			} else {
				http.NotFound(w, r)
			}
			return true
		}, " bytes=30000-42011 bytes=30000-42011", "after 30000 bytes: unexpected EOF"},
		{"cut for ever", func(w http.ResponseWriter, _ *http.Request, n int) bool {
			part(w, 0, 30_000)
			return true
		}, " bytes=30000-42011 bytes=30000-42011", "after 30000 bytes: unexpected EOF"},
		{"other bytes behind the cut", func(w http.ResponseWriter, _ *http.Request, n int) bool {
			if n == 1 {
				part(w, 0, 30_000)
			} else {
				content := bytes.Repeat([]byte("x"), len(content))
				w.Write(content)
			}
			return true
		}, " bytes=30000-42011", "error verifying sha256 checksum"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, false)
			s.put(t, "x:1", img)
			var mu sync.Mutex
			n, ranges := 0, ""
			s.hook = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, blob) {
					return false
				}
				mu.Lock()
				if n++; n > 1 {
					ranges += " " + r.Header.Get("Range")
				}
				nth := n
				mu.Unlock()
				return tc.hook(w, r, nth)
			}
			var out bytes.Buffer
			_, err := quick().Pull(t.Context(), s.ref("x:1"), amd64, &out)
			mu.Lock()
			defer mu.Unlock()
			if ranges != tc.ranges {
				t.Errorf("asked for%s, want%s", ranges, tc.ranges)
			}
			if tc.want != "" {
				has(t, err, tc.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, back := pulled(t, out.Bytes())
			same(t, back, img)
		})
	}
}

// hang keeps requests for a part of a path until the client goes away.
func hang(part string, first string) (hook func(http.ResponseWriter, *http.Request) bool, reached chan struct{}) {
	reached = make(chan struct{}, 100)
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		io.Copy(io.Discard, r.Body) // so that the server sees the client go
		if first != "" {
			w.Header().Set("Content-Length", "42012")
			io.WriteString(w, first)
			w.(http.Flusher).Flush()
		}
		reached <- struct{}{}
		<-r.Context().Done()
		return true
	}, reached
}

func TestCancel(t *testing.T) {
	img := newImage(t, 1, 1, amd64)
	pull := func(ctx context.Context, c *Client, s *server) error {
		_, err := c.Pull(ctx, s.ref("x:1"), amd64, io.Discard)
		return err
	}
	push := func(ctx context.Context, c *Client, s *server) error {
		_, err := c.Push(ctx, saved(t, newImage(t, 2, 1, amd64), "y:1"), s.ref("y:1"))
		return err
	}
	for _, tc := range []struct {
		name, part, first string
		call              func(context.Context, *Client, *server) error
	}{
		{"at the door", "/v2/", "", pull},
		{"manifest", "/manifests/", "", pull},
		{"layer", "/blobs/" + layerOf(t, img, 0), "", pull},
		{"within a layer", "/blobs/" + layerOf(t, img, 0), "some bytes", pull},
		{"upload", "/uploads/", "", push},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, false)
			s.put(t, "x:1", img)
			hook, reached := hang(tc.part, tc.first)
			s.hook = hook
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-reached; cancel() }()
			start := time.Now()
			err := tc.call(ctx, &Client{pause: time.Hour}, s)
			if !errors.Is(err, context.Canceled) || time.Since(start) > time.Minute {
				t.Errorf("got %v after %v", err, time.Since(start))
			}
		})
	}
	t.Run("between two tries", func(t *testing.T) {
		s := newServer(t, false)
		ctx, cancel := context.WithCancel(t.Context())
		s.hook = times(9, "/manifests/", func(w http.ResponseWriter, _ *http.Request) {
			time.AfterFunc(50*time.Millisecond, cancel)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		err := pull(ctx, &Client{pause: time.Hour}, s)
		if !errors.Is(err, context.Canceled) || s.count("/manifests/") != 1 {
			t.Errorf("got %v after %v", err, s.asked())
		}
	})
}

func TestSilence(t *testing.T) {
	img := newImage(t, 1, 1, amd64)
	for _, tc := range []struct{ name, part, first, want string }{
		{"no answer", "/manifests/", "", "nothing comes or goes any more"},
		{"within a layer", "/blobs/" + layerOf(t, img, 0), "some bytes", "after 10 bytes: nothing comes or goes any more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, false)
			s.put(t, "x:1", img)
			hook, reached := hang(tc.part, tc.first)
			s.hook = hook
			c := &Client{stall: 3 * time.Second}
			_, err := c.Pull(t.Context(), s.ref("x:1"), amd64, io.Discard)
			has(t, err, tc.want)
			if len(reached) != 1 {
				t.Errorf("asked %d times, want once", len(reached))
			}
		})
	}
}

func TestSlowIsNotSilent(t *testing.T) {
	img := newImage(t, 1, 1, amd64)
	s := newServer(t, false)
	s.put(t, "x:1", img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	s.hook = times(1, "/blobs/"+layerOf(t, img, 0), func(w http.ResponseWriter, _ *http.Request) {
		r, _ := layers[0].Compressed()
		for { // sixty parts, together longer than the limit
			if _, err := io.CopyN(w, r, 700); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	})
	c := &Client{stall: 5 * time.Second}
	if _, err := c.Pull(t.Context(), s.ref("x:1"), amd64, io.Discard); err != nil {
		t.Error(err)
	}
}

func TestNobodyThere(t *testing.T) {
	s := newServer(t, false)
	ref := s.ref("x:1")
	s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a host that is not there is not worth waiting for
	defer cancel()
	_, err := (&Client{pause: time.Hour}).Resolve(ctx, ref, amd64)
	has(t, err, "resolve "+ref+": "+s.host()+": ", "connection refused")
}

func TestUserAgent(t *testing.T) {
	s := newServer(t, false)
	s.put(t, "x:1", newImage(t, 1, 1, amd64))
	seen := ""
	s.hook = func(_ http.ResponseWriter, r *http.Request) bool { seen = r.UserAgent(); return false }
	c := &Client{UserAgent: "hookbuild/1"}
	if _, err := c.Resolve(t.Context(), s.ref("x:1"), amd64); err != nil || !strings.HasPrefix(seen, "hookbuild/1 ") {
		t.Errorf("%v, user agent %q", err, seen)
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1": true, "127.1.2.3:5000": true, "[::1]:5000": true,
		"[::ffff:127.0.0.1]": true, "localhost.example": false, "x.localhost": false, "10.0.0.1": false,
		"127.0.0.1.example": false, "registry.example": false, "[::2]:1": false, "": false,
	} {
		if got := loopback(host); got != want {
			t.Errorf("%q: got %v, want %v", host, got, want)
		}
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", " two\nlines": "two", "": "",
		"bell\a and \x1b[31mcolour": "bell and [31mcolour", "bad \xff utf8": "bad  utf8",
		strings.Repeat("é", 300): strings.Repeat("é", 200) + "…",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// net/http may read a body after the request has failed, and after the caller has its answer.
func TestNothingIsToldTooLate(t *testing.T) {
	told := 0
	m := &meter{report: func(int64, int64) { told++ }}
	u := &upload{body: io.NopCloser(strings.NewReader("some bytes")), watch: watch(t.Context(), time.Minute), meter: m}
	defer u.watch.stop()
	read := func() {
		if _, err := u.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	read()
	if m.done != 1 || told != 1 {
		t.Fatalf("%d bytes, told %d times", m.done, told)
	}
	u.forget()
	read()
	if m.done != 1 {
		t.Error("a body that did not arrive still counts")
	}
	m.close()
	m.add(1)
	if told != 1 {
		t.Error("told after the end")
	}
}
