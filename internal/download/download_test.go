package download

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

const (
	good  = "the content of the file"
	stall = 2 * time.Second
)

func sha(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// server answers and counts.
func server(t *testing.T, answer http.HandlerFunc) (url string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		answer(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, asked
}

// says answers with a text whose length is announced.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

// streams answers with a text whose length is not announced.
func streams(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		io.WriteString(w, text)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// breaksOff promises more than it sends.
func breaksOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "23")
	io.WriteString(w, "half")
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// hangs sends a byte and then nothing until the client goes away.
func hangs(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "-")
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

// first answers the first request in one way and all others in another.
func first(one, then http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			one(w, r)
			return
		}
		then(w, r)
	}
}

// known and unknown ask for the good file, with and without its size.
func known(url, dir string) File {
	return File{URL: url + "/f", Dest: filepath.Join(dir, "made", "f"), SHA256: sha(good), Size: int64(len(good))}
}

func unknown(url, dir string) File {
	f := known(url, dir)
	f.Size, f.Max = -1, 30
	return f
}

func TestFile(t *testing.T) {
	tests := map[string]struct {
		file    func(url, dir string) File
		answer  http.HandlerFunc
		there   string // what is at the destination before; empty is nothing
		offline bool
		asked   int32
	}{
		"fetched":                         {file: known, answer: says(good), asked: 1},
		"fetched, length not said":        {file: known, answer: streams(good), asked: 1},
		"size not known":                  {file: unknown, answer: says(good), asked: 1},
		"size not known, length not said": {file: unknown, answer: streams(good), asked: 1},
		"there already":                   {file: known, there: good},
		"there already, size not known":   {file: unknown, there: good},
		"there already, offline":          {file: known, there: good, offline: true},
		"another one there":               {file: known, answer: says(good), there: "x", asked: 1},
		"another one of the same size":    {file: known, answer: says(good), there: strings.ToUpper(good), asked: 1},
		"a longer one there":              {file: unknown, answer: says(good), there: good + good, asked: 1},
		"connection broken once":          {file: known, answer: first(breaksOff, says(good)), asked: 2},
		"the server's fault once":         {file: known, answer: first(status(503), says(good)), asked: 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			url, asked := server(t, test.answer)
			f := test.file(url, t.TempDir())
			if test.there != "" {
				if err := WriteFile(f.Dest, strings.NewReader(test.there)); err != nil {
					t.Fatal(err)
				}
			}
			var total, moved int64 = -1, 0
			f.Total, f.Moved = func(n int64) { total = n }, func(n int64) { moved += n }
			if err := (&Client{Offline: test.offline}).File(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(f.Dest); err != nil || string(got) != good {
				t.Errorf("got %q, %v", got, err)
			}
			if asked.Load() != test.asked {
				t.Errorf("%d requests, want %d", asked.Load(), test.asked)
			}
			size := int64(len(good))
			unsaid := strings.HasPrefix(name, "size not known, length")
			if moved != size || (total != size) != unsaid {
				t.Errorf("told of %d bytes of %d, want %d", moved, total, size)
			}
		})
	}
}

func TestFileRefuses(t *testing.T) {
	long := strings.Repeat("x", 31)
	tests := map[string]struct {
		file   func(url, dir string) File
		answer http.HandlerFunc
		want   string
	}{
		"altered":                               {known, says(strings.ToUpper(good)), "/f: wrong sha256: got "},
		"truncated":                             {known, says(good[:9]), "/f: wrong size: got 9 bytes, want 23 bytes"},
		"truncated, length not said":            {known, streams(good[:9]), "/f: wrong size: got 9 bytes, want 23 bytes"},
		"too long":                              {known, says(good + "x"), "/f: wrong size: got 24 bytes, want 23 bytes"},
		"too long, length not said":             {known, streams(good + "x"), "/f: wrong size: got more, want 23 bytes"},
		"size not known, altered":               {unknown, says("x"), "/f: wrong sha256: got "},
		"size not known, too long":              {unknown, says(long), "/f: wrong size: got 31 bytes, want at most 30 bytes"},
		"size not known, too long and not said": {unknown, streams(long), "/f: wrong size: got more, want at most 30 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			url, asked := server(t, test.answer)
			dir := t.TempDir()
			f := test.file(url, dir)
			var moved int64
			f.Moved = func(n int64) { moved += n }
			err := (&Client{}).File(t.Context(), f)
			var ve *VerifyError
			if !errors.As(err, &ve) || !strings.HasPrefix(err.Error(), url+test.want) {
				t.Errorf("got %v, want a VerifyError %q", err, test.want)
			}
			if asked.Load() != 1 || moved != 0 {
				t.Errorf("%d requests, want one; told of %d bytes in all, want them taken back", asked.Load(), moved)
			}
			empty(t, filepath.Dir(f.Dest))
		})
	}
}

// empty wants no files in a directory, which need not be there.
func empty(t *testing.T, dir string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if len(files) > 0 {
		t.Errorf("left behind: %v", files)
	}
}

func TestFetchErrors(t *testing.T) {
	tests := map[string]struct {
		answer http.HandlerFunc
		status int
		text   string
		asked  int32
	}{
		"not there":          {status(404), 404, "404 Not Found", 1},
		"fault":              {status(503), 503, "503 Service Unavailable", 2},
		"broken off":         {breaksOff, 0, "unexpected EOF", 2},
		"dropped":            {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, "EOF", 2},
		"falls still":        {hangs, 0, "the mirror sends nothing", 1},
		"answers nothing":    {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 0, "the mirror sends nothing", 1},
		"redirects for ever": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/f", http.StatusFound) }, 0, "more than 10 redirects", 20},
		"has moved to nowhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/f", http.StatusFound)
		}, 0, "refused", 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			url, asked := server(t, test.answer)
			c := &Client{}
			if test.text == "the mirror sends nothing" {
				c.Stall = stall
			}
			f := known(url, t.TempDir())
			f.Name, f.Package = "hello 1.0", true
			err := c.File(t.Context(), f)
			var fe *FetchError
			if !errors.As(err, &fe) || fe.Status != test.status || !strings.HasPrefix(err.Error(), "fetching package hello 1.0 from "+f.URL+": ") {
				t.Fatalf("got %v, want a FetchError with status %d", err, test.status)
			}
			if !strings.Contains(err.Error(), test.text) || asked.Load() != test.asked {
				t.Errorf("got %v after %d requests, want %q after %d", err, asked.Load(), test.text, test.asked)
			}
			empty(t, filepath.Dir(f.Dest))

			f.Package = false
			if err := c.File(t.Context(), f); err == nil || !strings.HasPrefix(err.Error(), "fetching "+f.URL+": ") {
				t.Errorf("no package: got %v", err)
			}
			if _, err := c.Bytes(t.Context(), f.URL, 100); !errors.As(err, &fe) || fe.Status != test.status {
				t.Errorf("Bytes: got %v, want a FetchError with status %d", err, test.status)
			}
		})
	}
}

func TestBytes(t *testing.T) {
	tests := map[string]struct {
		answer http.HandlerFunc
		limit  int64
		want   string // in a VerifyError; empty where it works
	}{
		"shorter":      {says(good), 100, ""},
		"of the limit": {says(good), int64(len(good)), ""},
		"too long":     {says(good), 22, "/f: wrong size: got more, want at most 22 bytes"},
		"endless":      {streams(strings.Repeat("x", 1<<20)), 22, "/f: wrong size: got more, want at most 22 bytes"},
		"broken once":  {first(breaksOff, says(good)), 100, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			url, _ := server(t, test.answer)
			got, err := (&Client{}).Bytes(t.Context(), url+"/f", test.limit)
			var ve *VerifyError
			switch {
			case test.want == "" && (err != nil || string(got) != good):
				t.Errorf("got %q, %v", got, err)
			case test.want != "" && (!errors.As(err, &ve) || err.Error() != url+test.want):
				t.Errorf("got %v, want a VerifyError %q", err, test.want)
			}
		})
	}
}

func TestOffline(t *testing.T) {
	url, asked := server(t, says(good))
	c := &Client{Offline: true}
	f := known(strings.Replace(url, "://", "://user:hunter2@", 1), t.TempDir())
	shown := strings.Replace(url, "://", "://user:xxxxx@", 1) + "/f"
	_, err := c.Bytes(t.Context(), f.URL, 100)
	var oe *OfflineError
	for _, err := range []error{c.File(t.Context(), f), err} {
		if want := shown + " is not in the cache, and connections are not allowed (offline)"; !errors.As(err, &oe) || err.Error() != want {
			t.Errorf("got %v, want an OfflineError %q", err, want)
		}
	}
	f.Name = "hello 1.0"
	if err := c.File(t.Context(), f); !errors.As(err, &oe) || oe.Name != "hello 1.0" {
		t.Errorf("got %v, want an OfflineError with the name", err)
	}
	if asked.Load() != 0 {
		t.Errorf("%d requests", asked.Load())
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url, asked := server(t, func(w http.ResponseWriter, r *http.Request) { cancel(); hangs(w, r) })
	f := known(url, t.TempDir())
	if err := (&Client{}).File(ctx, f); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if asked.Load() != 1 {
		t.Errorf("%d requests, want one", asked.Load())
	}
	empty(t, filepath.Dir(f.Dest))
}

func TestRedirects(t *testing.T) {
	plain, asked := server(t, says(good))
	elsewhere := httptest.NewTLSServer(says(good))
	defer elsewhere.Close()
	target := plain
	forward := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target+r.URL.Path, http.StatusFound) })
	secret := httptest.NewTLSServer(forward)
	defer secret.Close()
	c := &Client{HTTP: secret.Client()}

	_, err := c.Bytes(t.Context(), secret.URL+"/f", 100)
	var fe *FetchError
	if !errors.As(err, &fe) || !strings.Contains(err.Error(), "redirect from https to http refused") || asked.Load() != 0 {
		t.Errorf("https to http: got %v, and %d requests behind the redirect", err, asked.Load())
	}
	target = elsewhere.URL
	if got, err := c.Bytes(t.Context(), secret.URL+"/f", 100); err != nil || string(got) != good {
		t.Errorf("https to another https: got %q, %v", got, err)
	}
	entry, _ := server(t, forward)
	if got, err := c.Bytes(t.Context(), entry+"/f", 100); err != nil || string(got) != good {
		t.Errorf("http to https: got %q, %v", got, err)
	}
	own := errors.New("not there")
	c.HTTP.CheckRedirect = func(*http.Request, []*http.Request) error { return own }
	if _, err := c.Bytes(t.Context(), secret.URL+"/f", 100); !errors.Is(err, own) {
		t.Errorf("the client's own rule: got %v, want %v", err, own)
	}
}

func TestPasswordsStayOutOfMessages(t *testing.T) {
	url, _ := server(t, status(404))
	for _, base := range []string{strings.TrimPrefix(url, "http://"), "127.0.0.1:1", "mirror .example"} {
		_, err := (&Client{}).Bytes(t.Context(), "http://user:hunter2@"+base+"/f", 100)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", base, err)
		}
	}
	if got := Redacted("http://user:hunter2@mirror .example"); strings.Contains(got, "hunter2") {
		t.Errorf("Redacted: got %s", got)
	}
}

func TestFileURL(t *testing.T) {
	tests := map[string]struct {
		base, name, path string // path is what a server sees; empty where the base is refused
	}{
		"plain":          {"http://mirror.example/debian", "pool/h", "/debian/pool/h"},
		"with a slash":   {"https://mirror.example/debian/", "pool/h", "/debian/pool/h"},
		"at the root":    {"http://mirror.example", "pool/h", "/pool/h"},
		"like an escape": {"http://mirror.example", "pool/g++_1%3a2~rc+b1.deb", "/pool/g++_1%3a2~rc+b1.deb"},
		"with a space":   {"http://mirror.example", "pool/a b.deb", "/pool/a b.deb"},
		"ftp":            {"ftp://mirror.example", "pool/h", ""},
		"no scheme":      {"mirror.example", "pool/h", ""},
		"no host":        {"http://", "pool/h", ""},
		"malformed":      {"http://mirror .example", "pool/h", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := FileURL(test.base, test.name)
			if test.path == "" {
				if err == nil {
					t.Errorf("got %s, want an error", got)
				}
				return
			}
			req, err := http.NewRequest(http.MethodGet, got, nil)
			if err != nil || req.URL.Path != test.path {
				t.Errorf("got %s, %v, want the path %s", got, err, test.path)
			}
		})
	}
}

func TestIsSHA256(t *testing.T) {
	for s, want := range map[string]bool{
		sha("x"): true, "": false, sha("x")[1:]: false, sha("x") + "0": false,
		strings.Repeat("A", 64): false, strings.Repeat("g", 64): false, "../" + sha("x")[3:]: false,
	} {
		if got := IsSHA256(s); got != want {
			t.Errorf("%q: got %v", s, got)
		}
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "f")
	if err := WriteFile(path, strings.NewReader("one")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := WriteFile(path, io.MultiReader(strings.NewReader("two"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "one" {
		t.Errorf("got %q, %v, want what was there before", got, err)
	}
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 1 {
		t.Errorf("got %v, %v, want one file", files, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("got mode %v, %v, want 0644 as others read it", info.Mode(), err)
	}
	if err := WriteFile(filepath.Join(path, "below a file"), strings.NewReader("x")); err == nil {
		t.Error("a file below a file was written")
	}
}
