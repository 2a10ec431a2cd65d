package serve

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hookbuild/hookbuild/internal/artifacts"
)

// FuzzRoute asks for made-up paths, in a tree with files beside and above what is served.
func FuzzRoute(f *testing.F) {
	for _, path := range []string{
		"/", "/hook", "//hook//vmlinuz-x86_64/", "/../vmlinuz-x86_64", `/hook\..\..\secret`, "/%2e%2e/secret", "/extra/image", "/extra/../../secret",
		"/extra/%2e%2e%2fsecret", "/generations/" + strings.Repeat("a", 64) + "/vmlinuz-x86_64", "/generations/../extra/image", "/%zz", "/extra/.hidden",
		"/extra/link", "/extra/image%00", "/.lock", "/hook%2fextra", "/extra/./image",
	} {
		f.Add(path)
	}
	dir := f.TempDir()
	extra := filepath.Join(dir, "extra")
	if err := os.Mkdir(extra, 0o755); err != nil {
		f.Fatal(err)
	}
	for name, content := range map[string]string{"secret": "secret", ".lock": "secret", "extra/.hidden": "secret", "extra/image": "image"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink("../secret", filepath.Join(extra, "link")); err != nil {
		f.Fatal(err)
	}
	root, err := os.OpenRoot(extra)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { root.Close() })
	store, err := artifacts.Open(dir)
	if err != nil {
		f.Fatal(err)
	}
	h := &handler{store: store, log: orDiscard(nil), extra: root, stats: newStats()}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return // net/http answers 400
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}, Body: http.NoBody, RemoteAddr: "192.0.2.1:1"})
		body, err := io.ReadAll(w.Result().Body)
		if err != nil {
			t.Fatal(err)
		}
		if w.Code != 200 && w.Code != 404 {
			t.Errorf("%q: got %d\n%s", path, w.Code, body)
		}
		if w.Header().Get("Location") != "" || strings.Contains(string(body), "secret") {
			t.Errorf("%q: got %v %s", path, w.Header(), body)
		}
		if got := string(body); w.Code == 200 && got != indexPage && got != "image" {
			t.Errorf("%q: got %q", path, got)
		}
	})
}

// FuzzRange holds that any Range field is answered with bytes of the file, as many as it says and where it says.
func FuzzRange(f *testing.F) {
	for _, field := range []string{
		"bytes=0-0", "bytes=-1", "bytes=5-", "bytes=0-9,20-29", "bytes=0-0,2-2,4-4,6-6,8-8", "bytes=-0", "bytes=9-1", "bytes=,,0-1", "lines=0-1",
		"bytes=18446744073709551615-", "bytes=-9223372036854775808", "bytes=0-9223372036854775807,1-9223372036854775807", "bytes= 0 - 1 ", "bytes=+1-2",
	} {
		f.Add(field, uint16(100))
	}
	f.Fuzz(func(t *testing.T, field string, size uint16) {
		data := strings.Repeat("0123456789", int(size)/10+1)[:size]
		asked := rangeHeader([]string{field}, int64(size))
		if asked == "" {
			return
		}
		spans, ok := parseSpans(strings.TrimPrefix(asked, "bytes="), int64(size))
		if !ok || len(spans) > maxParts {
			t.Fatalf("%q: got %q", field, asked)
		}
		r := &http.Request{Method: http.MethodGet, Header: http.Header{"Range": {field}}}
		w := httptest.NewRecorder()
		http.ServeContent(w, conditions(r, int64(size)), "f.bin", epochTime, strings.NewReader(data))
		length, err := strconv.Atoi(w.Header().Get("Content-Length"))
		switch {
		case len(spans) == 0 && w.Code == http.StatusRequestedRangeNotSatisfiable:
		case err != nil || length != w.Body.Len() || w.Code != http.StatusPartialContent:
			t.Errorf("%q of %d: got %d, %v, %d bytes", field, size, w.Code, w.Header(), w.Body.Len())
		case len(spans) == 1 && w.Body.String() != data[spans[0].first:spans[0].last+1]:
			t.Errorf("%q of %d: got %q", field, size, w.Body)
		}
	})
}
