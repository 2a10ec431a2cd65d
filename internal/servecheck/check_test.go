package servecheck

import (
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// site is a directory to serve.
func site(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"hook/vmlinuz-x86_64", "hook/initramfs-x86_64", "hook/hook.iso"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for i := range 30_000 {
			text.WriteString(name + strconv.Itoa(i) + "\n")
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// noRanges serves files whole, as python3 -m http.server does.
func noRanges(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		next.ServeHTTP(w, r)
	})
}

// when changes the answer to requests whose path ends so.
func when(suffix string, do http.HandlerFunc, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, suffix) {
			do(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func TestRun(t *testing.T) {
	dir := site(t)
	files := http.FileServer(http.Dir(dir))
	kernel, err := os.ReadFile(filepath.Join(dir, "hook/vmlinuz-x86_64"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name      string
		handler   http.Handler
		path      string
		eksa, iso bool
		no        string // the checks that say no, as for/name
		note      string // some that say note
	}{
		{"Go's own", files, "/hook", true, true, "", "iso/if-range eksa/directory"},
		{"with a slash", files, "/hook/", true, true, "", ""},
		{"ISO", files, "/hook/hook.iso", false, true, "", "iso/if-range"},
		{"no ranges", noRanges(files), "/hook", true, false, "iso/range", ""},
		{"ISO, no ranges", noRanges(files), "/hook/hook.iso", false, false, "iso/range", ""},
		{"no ISO", files, "/hook/other.iso", false, false, "iso/file", ""},
		{"query", files, "/hook?token=1", false, true, "eksa/url", ""},
		{"no initramfs", when("initramfs-x86_64", status(404), files), "/hook", false, true, "eksa/initramfs", ""},
		{"no kernel", when("vmlinuz-x86_64", status(404), files), "/hook", false, false, "eksa/kernel iso/range", ""},
		{"empty kernel", when("vmlinuz-x86_64", status(200), files), "/hook", false, false, "eksa/kernel iso/range", ""},
		{"directory forbidden", when("/hook", status(403), files), "/hook", true, true, "", "eksa/directory"},
		{"moved", when("/hook/vmlinuz-x86_64", http.RedirectHandler("/k", 302).ServeHTTP, when("/k", func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Unix(1, 0), strings.NewReader(string(kernel)))
		}, files)), "/hook", true, true, "", "eksa/kernel iso/file"},
		{"moved for ever", when("vmlinuz-x86_64", http.RedirectHandler("/hook/vmlinuz-x86_64", 302).ServeHTTP, files), "/hook", false, false, "eksa/kernel iso/range", ""},
		{"always gzip", when("initramfs-x86_64", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			gzip.NewWriter(w).Close()
		}, files), "/hook", false, true, "eksa/initramfs", ""},
		{"cut off", when("initramfs-x86_64", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("short"))
		}, files), "/hook", false, true, "eksa/initramfs", ""},
		{"wrong bytes", when(".iso", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == "bytes=1-1" {
				w.Header().Set("Content-Range", "bytes 1-1/"+strconv.Itoa(len(kernel)))
				w.WriteHeader(206)
				w.Write([]byte("?"))
				return
			}
			http.ServeContent(w, r, "", time.Unix(1, 0), strings.NewReader(string(kernel)))
		}, files), "/hook/hook.iso", false, false, "iso/range", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.handler)
			defer server.Close()
			r := run(t, server.URL+tt.path)
			if r.EKSA != tt.eksa || r.ISO != tt.iso || r.OK() != (tt.no == "") {
				t.Errorf("got eksa %v, iso %v, ok %v\n%+v", r.EKSA, r.ISO, r.OK(), r.Checks)
			}
			if got := strings.Join(names(r, No), " "); got != tt.no {
				t.Errorf("no: got %q, want %q\n%+v", got, tt.no, r.Checks)
			}
			for want := range strings.SplitSeq(tt.note, " ") {
				if want != "" && !slices.Contains(names(r, Note), want) {
					t.Errorf("note: got %v, want %q in it", names(r, Note), want)
				}
			}
		})
	}
}

func run(t *testing.T, address string) Report {
	t.Helper()
	client := NewClient(&http.Transport{})
	t.Cleanup(client.CloseIdleConnections)
	r, err := Run(t.Context(), client, address)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func names(r Report, result Result) []string {
	var all []string
	for _, c := range r.Checks {
		if c.Result == result {
			all = append(all, string(c.For)+"/"+c.Name)
		}
	}
	return all
}

func TestNobodyThere(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	if r := run(t, server.URL+"/hook"); r.EKSA || r.ISO || r.OK() {
		t.Errorf("got %+v", r)
	}
}

func TestURLs(t *testing.T) {
	for _, address := range []string{"", "hook", "ftp://192.0.2.1/hook", "http:///hook", "http://192.0.2.1:x/", "://"} {
		_, err := Run(t.Context(), NewClient(&http.Transport{}), address)
		var bad *URLError
		if !errors.As(err, &bad) {
			t.Errorf("%q: got %v", address, err)
		}
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { cancel() }))
	defer server.Close()
	if _, err := Run(ctx, NewClient(&http.Transport{}), server.URL+"/hook"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
