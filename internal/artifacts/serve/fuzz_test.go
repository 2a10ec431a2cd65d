package serve

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts/serve/page"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// FuzzRoute asks for made-up paths, in a tree with files beside and above what is served. Whatever is answered with 200 is
// a file that is served, or made for browsers.
func FuzzRoute(f *testing.F) {
	store := newStore(f)
	set := mustPublish(f, store, "0", 100)
	generation := "/generations/" + set.Manifests[plan.X8664].PlanID
	for _, path := range []string{
		"/", "/hook", "//hook//vmlinuz-x86_64/", "/../vmlinuz-x86_64", `/hook\..\..\secret`, "/%2e%2e/secret", "/extra/image", "/extra/../../secret",
		"/extra/%2e%2e%2fsecret", "/generations/" + strings.Repeat("a", 64) + "/vmlinuz-x86_64", "/generations/../extra/image", "/%zz", "/extra/.hidden",
		"/extra/link", "/extra/image%00", "/.lock", "/hook%2fextra", "/extra/./image", "/hook/initramfs-second-x86_64", "/manifest.json", "/events", "/page/page.css",
		generation + "/vmlinuz-x86_64", generation + "/report.json", generation + "/..", generation + "/../secret", generation + "/manifest.json",
	} {
		f.Add(path)
	}
	dir := filepath.Dir(store.HookPath())
	extra := filepath.Join(dir, "extra")
	if err := os.Mkdir(extra, 0o755); err != nil {
		f.Fatal(err)
	}
	for name, content := range map[string]string{"secret": "secret", "generations/secret": "secret", "extra/.hidden": "secret", "extra/image": "image"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink("../secret", filepath.Join(extra, "link")); err != nil {
		f.Fatal(err)
	}
	h, err := newHandler(Options{Store: store, Log: orDiscard(nil), Now: time.Now, Extra: extra})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := h.close(); err != nil {
			f.Error(err)
		}
	})
	all, err := store.Generations()
	if err != nil || len(all) != 1 {
		f.Fatalf("got %d generations, %v", len(all), err)
	}
	served := servedFiles(f, set.Dir, all[0].Path("report.json"), all[0].Path("manifest.json"))
	ended, cancel := context.WithCancel(context.Background()) // a stream of events ends at once
	cancel()
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return // net/http answers 400
		}
		w := httptest.NewRecorder()
		r := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}, Body: http.NoBody, RemoteAddr: "192.0.2.1:1"}
		h.ServeHTTP(w, r.WithContext(ended))
		body := w.Body.String()
		if w.Code != 200 && w.Code != 404 {
			t.Errorf("%q: got %d\n%s", path, w.Code, body)
		}
		if w.Header().Get("Location") != "" || strings.Contains(body, "secret") {
			t.Errorf("%q: got %v %s", path, w.Header(), body)
		}
		if w.Code == 200 && !served[body] && w.Header().Get("Content-Type") != "text/event-stream" {
			t.Errorf("%q: got %q", path, body)
		}
	})
}

// servedFiles are all contents that may be served: the line for the directory, an extra file, what is published, more, and
// what is for browsers.
func servedFiles(f *testing.F, set string, more ...string) map[string]bool {
	f.Helper()
	served := map[string]bool{indexPage: true, "image": true}
	names, err := filepath.Glob(filepath.Join(set, "*"))
	if err != nil || len(names) == 0 {
		f.Fatalf("%s: got %q, %v", set, names, err)
	}
	for _, name := range append(names, more...) {
		content, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		served[string(content)] = true
	}
	for _, name := range []string{"page.css", "page.js", "icon.svg"} {
		content, _, ok := page.Asset(name)
		if !ok {
			f.Fatalf("%s is missing", name)
		}
		served[string(content)] = true
	}
	return served
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
