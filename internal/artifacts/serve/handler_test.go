package serve

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	kernel    = "vmlinuz-x86_64"
	initramfs = "initramfs-x86_64"
	fileSize  = 100_000
)

// TestRequests sends each request as it stands, byte by byte, over a connection of its own.
func TestRequests(t *testing.T) {
	store := newStore(t)
	set := mustPublish(t, store, "one", fileSize)
	addr := start(t, Options{Store: store}).addr
	etag := `"` + sum(content(kernel, "one", fileSize)) + `"`
	long := strings.Repeat("a", 8000)
	tests := []struct {
		name    string
		request string // request line and headers without Host, joined by |
		status  int
		file    string // the body is this published file
		part    string // of the file, as from-to, both included
	}{
		{"kernel", "GET /vmlinuz-x86_64 HTTP/1.1", 200, kernel, ""},
		{"initramfs", "GET /initramfs-x86_64 HTTP/1.1", 200, initramfs, ""},
		{"kernel below hook", "GET /hook/vmlinuz-x86_64 HTTP/1.1", 200, kernel, ""},
		{"initramfs below hook", "GET /hook/initramfs-x86_64 HTTP/1.1", 200, initramfs, ""},
		{"tarball", "GET /hook/hook_x86_64.tar.gz HTTP/1.1", 200, "hook_x86_64.tar.gz", ""},
		{"checksums", "GET /checksum.txt HTTP/1.1", 200, "checksum.txt", ""},
		{"manifest", "GET /manifest.json HTTP/1.1", 200, "manifest.json", ""},
		{"report", "GET /hook/report.json HTTP/1.1", 200, "report.json", ""},
		{"directory URL with slash", "GET //vmlinuz-x86_64 HTTP/1.1", 200, kernel, ""},
		{"hook URL with slash", "GET /hook//vmlinuz-x86_64 HTTP/1.1", 200, kernel, ""},
		{"many slashes", "GET ///hook///vmlinuz-x86_64/// HTTP/1.1", 200, kernel, ""},
		{"trailing slash", "GET /vmlinuz-x86_64/ HTTP/1.1", 200, kernel, ""},
		{"query", "GET /vmlinuz-x86_64?mac=00:11 HTTP/1.1", 200, kernel, ""},
		{"escaped letter", "GET /%76mlinuz-x86_64 HTTP/1.1", 200, kernel, ""},
		{"absolute form", "GET http://other/hook/vmlinuz-x86_64 HTTP/1.1", 200, kernel, ""},
		{"HTTP/1.0", "GET /vmlinuz-x86_64 HTTP/1.0", 200, kernel, ""},
		{"HTTP/1.0 keep-alive", "GET /vmlinuz-x86_64 HTTP/1.0|Connection: keep-alive", 200, kernel, ""},
		{"wants gzip", "GET /vmlinuz-x86_64 HTTP/1.1|Accept-Encoding: gzip, zstd, br", 200, kernel, ""},
		{"iPXE", "GET /hook/vmlinuz-x86_64 HTTP/1.1|User-Agent: iPXE/1.21.1|Connection: keep-alive", 200, kernel, ""},
		{"HEAD", "HEAD /hook/vmlinuz-x86_64 HTTP/1.1", 200, kernel, ""},
		{"HEAD HTTP/1.0", "HEAD /initramfs-x86_64 HTTP/1.0", 200, initramfs, ""},
		{"range", "GET /vmlinuz-x86_64 HTTP/1.1|Range: bytes=100-199", 206, kernel, "100-199"},
		{"range to the end", "GET /vmlinuz-x86_64 HTTP/1.1|Range: bytes=99990-", 206, kernel, "99990-99999"},
		{"range beyond the end", "GET /vmlinuz-x86_64 HTTP/1.1|Range: bytes=99990-200000", 206, kernel, "99990-99999"},
		{"last bytes", "GET /vmlinuz-x86_64 HTTP/1.1|Range: bytes=-5", 206, kernel, "99995-99999"},
		{"range HTTP/1.0", "GET /vmlinuz-x86_64 HTTP/1.0|Range: bytes=0-0", 206, kernel, "0-0"},
		{"range of HEAD", "HEAD /vmlinuz-x86_64 HTTP/1.1|Range: bytes=0-9", 206, kernel, "0-9"},
		{"range not there", "GET /vmlinuz-x86_64 HTTP/1.1|Range: bytes=100000-", 416, "", ""},
		{"range nonsense", "GET /vmlinuz-x86_64 HTTP/1.1|Range: bytes=b-a", 416, "", ""},
		{"If-Range same", "GET /vmlinuz-x86_64 HTTP/1.1|Range: bytes=0-9|If-Range: " + etag, 206, kernel, "0-9"},
		{"If-Range other", `GET /vmlinuz-x86_64 HTTP/1.1|Range: bytes=0-9|If-Range: "x"`, 200, kernel, ""},
		{"If-Range date", "GET /vmlinuz-x86_64 HTTP/1.1|Range: bytes=0-9|If-Range: Tue, 14 Nov 2023 22:13:20 GMT", 200, kernel, ""},
		{"If-None-Match same", "GET /vmlinuz-x86_64 HTTP/1.1|If-None-Match: " + etag, 304, "", ""},
		{"If-None-Match other", `GET /vmlinuz-x86_64 HTTP/1.1|If-None-Match: "x"`, 200, kernel, ""},
		{"If-Match other", `GET /vmlinuz-x86_64 HTTP/1.1|If-Match: "x"`, 412, "", ""},
		{"If-Modified-Since", "GET /vmlinuz-x86_64 HTTP/1.1|If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT", 200, kernel, ""},
		{"root", "GET / HTTP/1.1", 200, "", ""},
		{"hook", "GET /hook HTTP/1.1", 200, "", ""},
		{"hook with slash", "GET /hook/ HTTP/1.1", 200, "", ""},
		{"hook with slashes", "GET //hook// HTTP/1.1", 200, "", ""},
		{"HEAD of hook", "HEAD /hook HTTP/1.1", 200, "", ""},
		{"absolute form without path", "GET http://other HTTP/1.1", 200, "", ""},
		{"unknown", "GET /vmlinuz-latest-lts-x86_64 HTTP/1.1", 404, "", ""},
		{"other architecture", "GET /hook/vmlinuz-aarch64 HTTP/1.1", 404, "", ""},
		{"hook twice", "GET /hook/hook/vmlinuz-x86_64 HTTP/1.1", 404, "", ""},
		{"below a file", "GET /vmlinuz-x86_64/x HTTP/1.1", 404, "", ""},
		{"other case", "GET /VMLINUZ-x86_64 HTTP/1.1", 404, "", ""},
		{"lock file", "GET /.lock HTTP/1.1", 404, "", ""},
		{"sets", "GET /sets/1/vmlinuz-x86_64 HTTP/1.1", 404, "", ""},
		{"up", "GET /../vmlinuz-x86_64 HTTP/1.1", 404, "", ""},
		{"up from hook", "GET /hook/../vmlinuz-x86_64 HTTP/1.1", 404, "", ""},
		{"dot", "GET /./vmlinuz-x86_64 HTTP/1.1", 404, "", ""},
		{"escaped up", "GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1", 404, "", ""},
		{"escaped slashes up", "GET /%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1", 404, "", ""},
		{"escaped slash", "GET /hook%2Fvmlinuz-x86_64 HTTP/1.1", 404, "", ""},
		{"backslash", `GET /hook\vmlinuz-x86_64 HTTP/1.1`, 404, "", ""},
		{"backslashes up", `GET /..\..\etc\passwd HTTP/1.1`, 404, "", ""},
		{"escaped backslash", "GET /hook%5cvmlinuz-x86_64 HTTP/1.1", 404, "", ""},
		{"NUL", "GET /vmlinuz-x86_64%00 HTTP/1.1", 404, "", ""},
		{"long", "GET /" + long + " HTTP/1.1", 404, "", ""},
		{"header too large", "GET / HTTP/1.1|X: " + long + long + long, 431, "", ""},
		{"bad escape", "GET /%zz HTTP/1.1", 400, "", ""},
		{"POST", "POST /vmlinuz-x86_64 HTTP/1.1|Content-Length: 0", 405, "", ""},
		{"PUT", "PUT /vmlinuz-x86_64 HTTP/1.1|Content-Length: 0", 405, "", ""},
		{"DELETE", "DELETE /hook HTTP/1.1", 405, "", ""},
		{"OPTIONS", "OPTIONS /vmlinuz-x86_64 HTTP/1.1", 405, "", ""},
		{"OPTIONS of the server", "OPTIONS * HTTP/1.1", 405, "", ""},
		{"TRACE", "TRACE / HTTP/1.1", 405, "", ""},
		{"PROPFIND", "PROPFIND / HTTP/1.1", 405, "", ""},
		{"CONNECT", "CONNECT other:443 HTTP/1.1", 405, "", ""},
		{"lower case get", "get / HTTP/1.1", 405, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			line, headers, _ := strings.Cut(tt.request, "|")
			raw := line + "\r\nHost: hook\r\n"
			if headers != "" {
				raw += strings.ReplaceAll(headers, "|", "\r\n") + "\r\n"
			}
			method, _, _ := strings.Cut(line, " ")
			resp, _ := send(t, addr, method, raw+"\r\n")
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status {
				t.Fatalf("got %s, want %d\n%s", resp.Status, tt.status, body)
			}
			checkHeaders(t, resp)
			if tt.file == "" {
				return
			}
			data, err := os.ReadFile(filepath.Join(set.Dir, tt.file))
			if err != nil {
				t.Fatal(err)
			}
			checkFile(t, resp, body, tt.file, data, tt.part)
		})
	}
}

// checkHeaders holds what is true of every answer.
func checkHeaders(t *testing.T, resp *http.Response) {
	t.Helper()
	for _, name := range []string{"Location", "Content-Encoding", "Transfer-Encoding"} {
		if v := resp.Header.Values(name); len(v) > 0 {
			t.Errorf("%s: got %q, want none", name, v)
		}
	}
	if resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge &&
		resp.StatusCode != http.StatusNotModified && resp.ContentLength < 0 {
		t.Error("no Content-Length")
	}
	if allow := resp.Header.Get("Allow"); (allow == "GET, HEAD") != (resp.StatusCode == http.StatusMethodNotAllowed) {
		t.Errorf("Allow: got %q with status %d", allow, resp.StatusCode)
	}
}

// checkFile holds that an answer gives the file, or the part of it.
func checkFile(t *testing.T, resp *http.Response, body []byte, name string, data []byte, part string) {
	t.Helper()
	want, contentRange := data, ""
	if part != "" {
		from, to, _ := strings.Cut(part, "-")
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		want, contentRange = data[a:b+1], "bytes "+part+"/"+strconv.Itoa(len(data))
	}
	if got := resp.Header.Get("Content-Range"); got != contentRange {
		t.Errorf("Content-Range: got %q, want %q", got, contentRange)
	}
	if resp.ContentLength != int64(len(want)) {
		t.Errorf("Content-Length: got %d, want %d", resp.ContentLength, len(want))
	}
	if resp.Request.Method == http.MethodHead {
		want = nil
	}
	if sum(body) != sum(want) {
		t.Errorf("body: got %d bytes, want others", len(body))
	}
	wantType := map[string]string{".json": "application/json", ".txt": "text/plain; charset=utf-8"}[filepath.Ext(name)]
	if wantType == "" {
		wantType = "application/octet-stream"
	}
	for header, want := range map[string]string{
		"Content-Type":  wantType,
		"ETag":          `"` + sum(data) + `"`,
		"Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT",
		"Accept-Ranges": "bytes",
	} {
		if got := resp.Header.Get(header); got != want {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
}

func TestSeveralRanges(t *testing.T) {
	store := newStore(t)
	mustPublish(t, store, "one", fileSize)
	addr := start(t, Options{Store: store}).addr
	resp, body := get(t, addr, "/"+kernel, "Range: bytes=0-9,50000-50009,-1\r\n")
	kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || resp.StatusCode != 206 || kind != "multipart/byteranges" || resp.ContentLength != int64(len(body)) {
		t.Fatalf("got %s, %s, %v", resp.Status, kind, err)
	}
	var got []string
	for r := multipart.NewReader(strings.NewReader(string(body)), params["boundary"]); ; {
		part, err := r.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, part.Header.Get("Content-Range")+" "+string(text))
	}
	data := string(content(kernel, "one", fileSize))
	want := []string{
		"bytes 0-9/100000 " + data[:10],
		"bytes 50000-50009/100000 " + data[50000:50010],
		"bytes 99999-99999/100000 " + data[99999:],
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLife follows one server through what can happen to its output directory.
func TestLife(t *testing.T) {
	store := newStore(t)
	log, text := textLog()
	server := start(t, Options{Store: store, Log: log})
	expect := func(what string, status int, body string) {
		t.Helper()
		if resp, _ := get(t, server.addr, "/hook/", ""); resp.StatusCode != 200 {
			t.Errorf("%s: /hook/: got %s, want 200 in any case", what, resp.Status)
		}
		resp, got := get(t, server.addr, "/hook/"+kernel, "")
		if resp.StatusCode != status || body != "" && string(got) != body {
			t.Errorf("%s: got %s and %d bytes", what, resp.Status, len(got))
		}
	}
	expect("nothing published", 404, "")
	mustPublish(t, store, "one", 1000)
	expect("first set", 200, string(content(kernel, "one", 1000)))
	set := mustPublish(t, store, "two", 1000)
	expect("second set", 200, string(content(kernel, "two", 1000)))
	if err := os.Truncate(filepath.Join(set.Dir, kernel), 10); err != nil {
		t.Fatal(err)
	}
	expect("cut off", 500, "")
	mustPublish(t, store, "two", 2000)
	expect("made again", 200, string(content(kernel, "two", 2000)))
	if err := os.Rename(store.HookPath(), store.HookPath()+".away"); err != nil {
		t.Fatal(err)
	}
	expect("gone", 404, "")
	if err := os.Mkdir(store.HookPath(), 0o755); err != nil {
		t.Fatal(err)
	}
	expect("a directory in its place", 500, "")
	server.stop()
	if err := server.wait(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"got 10 bytes, want 1000", "is a directory, want hookbuild's own symlink"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("log: no %q in\n%s", want, text)
		}
	}
}

// TestSetRemovedBetweenLookupAndOpen puts the handler where two switches after its look-up would: it knows a
// set that is no longer there.
func TestSetRemovedBetweenLookupAndOpen(t *testing.T) {
	store := newStore(t)
	old := mustPublish(t, store, "one", 1000)
	mustPublish(t, store, "two", 1000)
	mustPublish(t, store, "three", 1000)
	now, err := os.Stat(store.HookPath())
	if err != nil {
		t.Fatal(err)
	}
	h := &handler{store: store, log: orDiscard(nil), key: now, set: old}
	f, err := h.openPublished(kernel)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if want := quote(sum(content(kernel, "three", 1000))); f.etag != want {
		t.Errorf("got %s, want that of the current set", f.etag)
	}
}
