package serve

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/servecheck"
)

// nginxConf serves a directory as hookbuild does, with as many parts of a file as it gives.
const nginxConf = `daemon off;
%[5]s
pid %[1]s/pid;
events { worker_connections 512; }
http {
    access_log off;
    sendfile on;
    default_type application/octet-stream;
    client_body_temp_path %[1]s/body;
    proxy_temp_path %[1]s/proxy;
    fastcgi_temp_path %[1]s/fastcgi;
    uwsgi_temp_path %[1]s/uwsgi;
    scgi_temp_path %[1]s/scgi;
    server {
        listen %[2]s;
        max_ranges %[3]d;
        location / { root %[4]s; }
    }
}
`

// What nginx consists of. As root its workers would be somebody else, who may not read a test's directory.
const (
	oneProcess = "master_process off; worker_processes 1;"
	allWorkers = "user root; worker_processes auto;" // one for each processor
)

// startNginx serves dir at a socket: no other program can take that away, as it can a port.
func startNginx(t *testing.T, dir string) (socket string) {
	t.Helper()
	short, err := os.MkdirTemp("", "n") // the path of a socket has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	socket = filepath.Join(short, "s")
	runNginx(t, oneProcess, "unix:"+socket, "unix", socket, dir)
	return socket
}

// runNginx serves dir; listen is the address in nginx's own form.
func runNginx(t testing.TB, processes, listen, network, address, dir string) *exec.Cmd {
	t.Helper()
	work := t.TempDir()
	conf := filepath.Join(work, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, work, listen, maxParts, dir, processes), 0o644); err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx" // which is not in everybody's PATH
	}
	var log bytes.Buffer
	cmd := exec.Command(path, "-e", "stderr", "-p", work, "-c", conf)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("nginx, which make test-tools installs: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM) // a master that is killed leaves its workers behind
		cmd.Wait()
	})
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial(network, address)
		if err == nil {
			conn.Close()
			return cmd
		}
		if time.Now().After(deadline) {
			cmd.Process.Signal(syscall.SIGTERM)
			cmd.Wait()
			t.Fatalf("nginx does not answer: %v\n%s", err, log.String())
		}
	}
}

// reply is what has to be the same of two servers' answers.
type reply struct {
	Status       int
	Length       int64    // Content-Length; -1 for none
	ContentRange string   //
	Accepts      string   // Accept-Ranges, of whole files
	Body         string   // its SHA-256
	Parts        []string // Content-Range and SHA-256 of each part
	Stays        bool     // the connection
}

// ask sends the bytes of a request and reads the answer.
func ask(t *testing.T, network, addr, method, raw string) (reply, http.Header) {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	got := reply{Status: resp.StatusCode, ContentRange: resp.Header.Get("Content-Range"), Stays: !resp.Close}
	if resp.StatusCode/100 == 2 { // of others the text is each server's own
		got.Length, got.Body = resp.ContentLength, sum(body)
	}
	if resp.StatusCode == http.StatusOK { // nginx leaves it out of what shows it anyway
		got.Accepts = resp.Header.Get("Accept-Ranges")
	}
	if kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err == nil && kind == "multipart/byteranges" {
		got.Parts = partsOf(t, method, body, params["boundary"])
		got.Body, got.Length = "", 0 // the boundary is in it
		if resp.ContentLength <= 0 {
			t.Errorf("%q: no Content-Length", raw)
		}
	}
	return got, resp.Header
}

func partsOf(t *testing.T, method string, body []byte, boundary string) []string {
	t.Helper()
	parts := []string{}
	if method == http.MethodHead {
		return parts
	}
	for r := multipart.NewReader(bytes.NewReader(body), boundary); ; {
		part, err := r.NextPart()
		if err == io.EOF {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part.Header.Get("Content-Range")+" "+sum(text))
	}
}

// comparison is one request to both. {etag}, {date} stand for what the server itself says of the file.
type comparison struct {
	request string // method, version and header fields, joined by |
	ours    int    // our status where it differs, 0 where the answers have to be the same
	reason  string // why it differs
}

var (
	noDates  = "Last-Modified is the plan's date, which two builds may share: only the ETag says what a file is"
	listRule = "RFC 9110, section 5.6.1.2: a recipient accepts empty elements of a list"
)

func comparisons() []comparison {
	same := []string{
		"GET 1.1", "HEAD 1.1", "GET 1.0", "HEAD 1.0",
		"GET 1.1|Connection: close", "GET 1.1|Connection: keep-alive", "GET 1.0|Connection: keep-alive", "GET 1.0|Connection: close",
		"HEAD 1.1|Connection: close", "HEAD 1.0|Connection: keep-alive", "GET 1.1|Connection: Close", "GET 1.0|Connection: Keep-Alive",
		"GET 1.1|Range: bytes=0-0", "GET 1.1|Range: bytes=0-99999", "GET 1.1|Range: bytes=0-99998", "GET 1.1|Range: bytes=1-99999",
		"GET 1.1|Range: bytes=0-", "GET 1.1|Range: bytes=1-", "GET 1.1|Range: bytes=99999-", "GET 1.1|Range: bytes=100000-",
		"GET 1.1|Range: bytes=99999-99999", "GET 1.1|Range: bytes=99999-100000", "GET 1.1|Range: bytes=100000-100000",
		"GET 1.1|Range: bytes=50000-9999999", "GET 1.1|Range: bytes=-1", "GET 1.1|Range: bytes=-99999", "GET 1.1|Range: bytes=-100000",
		"GET 1.1|Range: bytes=-100001", "GET 1.1|Range: bytes=-0", "GET 1.1|Range: bytes=-", "GET 1.1|Range: bytes=--1",
		"GET 1.1|Range: bytes=5-2", "GET 1.1|Range: bytes=a-b", "GET 1.1|Range: bytes=1-b", "GET 1.1|Range: bytes=1", "GET 1.1|Range: bytes=0x1-2",
		"GET 1.1|Range: bytes=", "GET 1.1|Range: bytes", "GET 1.1|Range: 0-9", "GET 1.1|Range: lines=0-9", "GET 1.1|Range: Bytes=0-9", "GET 1.1|Range: BYTES=0-9",
		"GET 1.1|Range: bytes=+1-5", "GET 1.1|Range: bytes=1-+5", "GET 1.1|Range: bytes=99999999999999999999-", "GET 1.1|Range: bytes=0-99999999999999999999",
		"GET 1.1|Range: bytes=-99999999999999999999",
		"GET 1.1|Range: bytes=0-9,20-29", "GET 1.1|Range: bytes=0-9, 20-29", "GET 1.1|Range: bytes=0-9 ,20-29", "GET 1.1|Range: bytes=20-29,0-9",
		"GET 1.1|Range: bytes=0-9,5-14", "GET 1.1|Range: bytes=0-9,0-9", "GET 1.1|Range: bytes=0-9,-1", "GET 1.1|Range: bytes=0-0,2-2,4-4,6-6",
		"GET 1.1|Range: bytes=0-0,2-2,4-4,6-6,8-8", "GET 1.1|Range: bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12", "GET 1.1|Range: bytes=0-9,200000-",
		"GET 1.1|Range: bytes=200000-,0-9", "GET 1.1|Range: bytes=200000-,300000-", "GET 1.1|Range: bytes=0-,0-", "GET 1.1|Range: bytes=0-60000,50000-99999",
		"GET 1.1|Range: bytes=0-9,b-a", "HEAD 1.1|Range: bytes=0-9,20-29", "HEAD 1.1|Range: bytes=0-9", "HEAD 1.1|Range: bytes=100000-", "GET 1.0|Range: bytes=0-9",
		"GET 1.0|Range: bytes=0-9,20-29", "GET 1.1|Range: bytes=0-9|Connection: close", "GET 1.1|Range: bytes=100000-|Connection: close",
		"GET 1.1|Range: bytes=0-9|If-Range: {etag}", `GET 1.1|Range: bytes=0-9|If-Range: "x"`, "GET 1.1|Range: bytes=0-9|If-Range: W/{etag}",
		"GET 1.1|Range: bytes=0-9|If-Range: Tue, 14 Nov 2000 22:13:20 GMT", "GET 1.1|Range: bytes=0-9,20-29|If-Range: {etag}", `GET 1.1|Range: bytes=100000-|If-Range: "x"`,
		"GET 1.1|If-Range: {etag}", "GET 1.1|If-None-Match: {etag}", `GET 1.1|If-None-Match: "x"`, `GET 1.1|If-None-Match: "x", {etag}`, "GET 1.1|If-None-Match: W/{etag}", "GET 1.1|If-None-Match: *",
		"GET 1.1|If-Match: {etag}", `GET 1.1|If-Match: "x"`, "GET 1.1|If-Match: *", "GET 1.1|Range: bytes=0-9|If-None-Match: {etag}",
		`GET 1.1|Range: bytes=0-9|If-Match: "x"`, "HEAD 1.1|If-None-Match: {etag}", "GET 1.1|If-Modified-Since: Tue, 14 Nov 2000 22:13:20 GMT",
		"GET 1.1|Accept-Encoding: gzip, br|Range: bytes=0-9", "GET 1.1|Accept-Encoding: gzip",
	}
	all := []comparison{
		{"GET 1.1|Range: bytes=,0-9", 206, listRule},
		{"GET 1.1|Range: bytes=0-9,,20-29", 206, listRule},
		{"GET 1.1|Range: bytes=0-9,", 206, listRule},
		{"GET 1.1|Range: bytes=0-9|If-Range: {date}", 200, noDates},
		{"GET 1.1|If-Modified-Since: {date}", 200, noDates},
		{"GET 1.1|If-Unmodified-Since: Tue, 14 Nov 2000 22:13:20 GMT", 200, noDates},
	}
	for _, request := range same {
		all = append(all, comparison{request, 0, ""})
	}
	return all
}

// TestAnswersAsNginx compares our answers with those of nginx, whose Range and Connection behaviour every client knows.
func TestAnswersAsNginx(t *testing.T) {
	store := newStore(t)
	set := mustPublish(t, store, "one", fileSize)
	ours := start(t, Options{Store: store}).addr
	socket := startNginx(t, set.Dir)
	plain := "HEAD /" + kernel + " HTTP/1.1\r\nHost: hook\r\n\r\n"
	_, ourHeader := ask(t, "tcp", ours, http.MethodHead, plain)
	_, theirHeader := ask(t, "unix", socket, http.MethodHead, plain)
	if len(comparisons()) < 60 {
		t.Errorf("got %d cases, want 60", len(comparisons()))
	}
	for _, c := range comparisons() {
		t.Run(c.request, func(t *testing.T) {
			fields := strings.Split(c.request, "|")
			method, version, _ := strings.Cut(fields[0], " ")
			fields[0] = method + " /" + kernel + " HTTP/" + version + "\r\nHost: hook"
			raw := strings.Join(fields, "\r\n") + "\r\n\r\n"
			fill := func(h http.Header) string {
				return strings.NewReplacer("{etag}", h.Get("ETag"), "{date}", h.Get("Last-Modified")).Replace(raw)
			}
			got, _ := ask(t, "tcp", ours, method, fill(ourHeader))
			want, _ := ask(t, "unix", socket, method, fill(theirHeader))
			if c.ours != 0 {
				if got.Status != c.ours || want.Status == c.ours {
					t.Errorf("got %d, nginx %d, want only ours to be %d: %s", got.Status, want.Status, c.ours, c.reason)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-nginx +ours):\n%s", diff)
			}
		})
	}
}

// TestCheck asks nginx, and us, whether they will do.
func TestCheck(t *testing.T) {
	store := newStore(t)
	set := mustPublish(t, store, "one", fileSize)
	root := t.TempDir()
	if err := os.Symlink(set.Dir, filepath.Join(root, "hook")); err != nil {
		t.Fatal(err)
	}
	socket := startNginx(t, root)
	ours := start(t, Options{Store: store, Now: time.Now}).addr
	for name, url := range map[string]string{
		"nginx": "http://192.0.2.1/hook", "ours": "http://" + ours + "/hook", "ours with a slash": "http://" + ours + "/hook/", "ours without hook": "http://" + ours,
	} {
		transport := &http.Transport{}
		if name == "nginx" {
			transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			}
		}
		client := servecheck.NewClient(transport)
		got, err := servecheck.Run(t.Context(), client, url)
		client.CloseIdleConnections()
		if err != nil || !got.OK() || !got.EKSA || !got.ISO {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		for _, c := range got.Checks {
			if name != "nginx" && c.Result != servecheck.Yes {
				t.Errorf("%s: got %+v", name, c)
			}
		}
	}
}
