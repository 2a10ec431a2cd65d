package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
)

const fromBrowser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"

// TestWhoGetsThePage holds that it is browsers, and that everybody else gets the bytes that they have always had.
func TestWhoGetsThePage(t *testing.T) {
	store := newStore(t)
	mustPublish(t, store, "one", 1000)
	addr := start(t, Options{Store: store, Now: time.Now}).addr
	for _, tt := range []struct {
		name, accept string
		html         bool
	}{
		{"EKS Anywhere, iPXE", "", false}, {"curl", "Accept: */*\r\n", false}, {"empty", "Accept: \r\n", false}, {"any text", "Accept: text/*\r\n", false},
		{"JSON", "Accept: application/json\r\n", false}, {"refused", "Accept: text/html;q=0, */*\r\n", false}, {"nonsense", "Accept: text/html;;;q=x\r\n", false},
		{"browser", fromBrowser, true}, {"several lines", "Accept: image/png\r\nAccept: text/html\r\n", true}, {"weight", "Accept: TEXT/HTML; q=0.3\r\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{"/", "/hook", "//hook/"} {
				resp, body := get(t, addr, path, tt.accept)
				html := strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html")
				if resp.StatusCode != 200 || html != tt.html || !tt.html && string(body) != indexPage || resp.Header.Get("Vary") != "Accept" {
					t.Errorf("%s: got %s, %v, %d bytes", path, resp.Status, resp.Header, len(body))
				}
				if policy := resp.Header.Get("Content-Security-Policy"); strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") != html {
					t.Errorf("%s: policy %q", path, policy)
				}
				head, _ := send(t, addr, http.MethodHead, "HEAD "+path+" HTTP/1.1\r\nHost: hook\r\nConnection: close\r\n"+tt.accept+"\r\n")
				if head.StatusCode != 200 || head.Header.Get("Content-Type") != resp.Header.Get("Content-Type") || head.ContentLength <= 0 {
					t.Errorf("HEAD %s: got %s, %v", path, head.Status, head.Header)
				}
			}
		})
	}
	if resp, body := get(t, addr, "/hook/"+kernel, fromBrowser); resp.StatusCode != 200 || len(body) != 1000 || resp.Header.Get("Vary") != "" {
		t.Errorf("a file for a browser: got %s, %v", resp.Status, resp.Header)
	}
}

// wantIn and wantNotIn look for texts in a page.
func wantIn(t *testing.T, body []byte, all ...string) {
	t.Helper()
	for _, text := range all {
		if !strings.Contains(string(body), text) {
			t.Errorf("%q is not in the page:\n%s", text, body)
		}
	}
}

func wantNotIn(t *testing.T, body []byte, all ...string) {
	t.Helper()
	for _, text := range all {
		if strings.Contains(string(body), text) {
			t.Errorf("%q is in the page:\n%s", text, body)
		}
	}
}

// TestPage holds what is on the page without JavaScript, and that it changes with what is published.
func TestPage(t *testing.T) {
	store := newStore(t)
	addr := start(t, Options{Store: store, Now: time.Now}).addr
	page := func() []byte {
		resp, body := get(t, addr, "/", fromBrowser)
		if resp.StatusCode != 200 {
			t.Fatalf("got %s", resp.Status)
		}
		return body
	}
	wantIn(t, page(), "Nothing is published yet.", "No machine is fetching now.", "None since this server started.")

	p := plan.Plan{Flavor: "<script>alert(1)</script>", Arch: plan.X8664}
	m := artifacts.Manifest{Version: `"><img src=x>`, KernelRelease: "6.12.48"}
	old := artifacts.NewReport(artifacts.Archive{})
	old.Schema, old.Places = 2, nil
	publishHookOS(t, store, p, m, old, map[string]int{kernel: 1000, initramfs: 1000})
	body := page()
	wantIn(t, body, "6.12.48", sum(content(kernel, p.Flavor, 1000)), "hookImagesURLPath: &#34;http://hook/hook&#34;", "&lt;script&gt;alert(1)",
		"whose report does not say where the bytes are", "EKS Anywhere 0.21 and newer will not provision", "just now")
	wantNotIn(t, body, "<script>alert", "<img", "<svg", "Nothing is published")

	m.KernelRelease = "6.12.57"
	p.Flavor = "f"
	publishHookOS(t, store, p, m, hookOS(t), map[string]int{kernel: 1000, initramfs: 1000, artifacts.ISOName(plan.X8664): 5000})
	body = page()
	wantIn(t, body, "6.12.57", "kernel: 6.12.48 → 6.12.57", "hookIsoURL: &#34;http://hook/hook-x86_64-efi-initrd.iso&#34;", "<svg",
		`aria-label="services/docker, /usr/bin, 71.0 MiB, 25 %"`, "rollback goes here")
	for _, name := range []string{"page.css", "page.js", "icon.svg"} {
		resp, asset := get(t, addr, "/page/"+name, "")
		if resp.StatusCode != 200 || len(asset) == 0 || resp.Header.Get("X-Content-Type-Options") != "nosniff" || strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: got %s, %v", name, resp.Status, resp.Header)
		}
		wantIn(t, body, `"/page/`+name+`"`)
	}
	for _, path := range []string{"/page/page.html", "/page/", "/page/x", "/page/page.css/x"} {
		if resp, _ := get(t, addr, path, ""); resp.StatusCode != 404 {
			t.Errorf("%s: got %s", path, resp.Status)
		}
	}
}

// TestPageWithoutClock holds that there are no ages and no times then.
func TestPageWithoutClock(t *testing.T) {
	store := newStore(t)
	mustPublish(t, store, "one", 1000)
	addr := start(t, Options{Store: store}).addr
	get(t, addr, "/"+initramfs, "")
	_, body := get(t, addr, "/", fromBrowser)
	wantIn(t, body, `data-mark="good">done`)
	wantNotIn(t, body, "just now", "times in", "1970", "0001")
}

// listen opens a stream of events.
func listenTo(t *testing.T, addr string) (*http.Response, *bufio.Reader) {
	t.Helper()
	resp, _ := send(t, addr, http.MethodGet, "GET /events HTTP/1.1\r\nHost: hook\r\nAccept: text/event-stream\r\n\r\n")
	return resp, bufio.NewReader(resp.Body)
}

// event reads the next one of that name.
func event(t *testing.T, stream *bufio.Reader, name string) (data string) {
	t.Helper()
	for {
		line, err := stream.ReadString('\n')
		if err != nil {
			t.Fatalf("waited for %s: %v", name, err)
		}
		if line != "event: "+name+"\n" {
			continue
		}
		data, err := stream.ReadString('\n')
		end, errEnd := stream.ReadString('\n')
		if err != nil || errEnd != nil || end != "\n" || !strings.HasPrefix(data, "data: ") {
			t.Fatalf("%s: got %q %q, %v, %v", name, data, end, err, errEnd)
		}
		return strings.TrimSpace(strings.TrimPrefix(data, "data: "))
	}
}

func TestEvents(t *testing.T) {
	store := newStore(t)
	mustPublish(t, store, "0", bigFile)
	addr := start(t, Options{Store: store, Now: time.Now, Names: names}).addr
	resp, stream := listenTo(t, addr)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %s, %v", resp.Status, resp.Header)
	}
	if got, want := event(t, stream, "fetches"), `{"rows":[],"more":0,"summary":"No machine is fetching now."}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := event(t, stream, "boots"); got != "[]" {
		t.Errorf("got %s", got)
	}
	before := event(t, stream, "published")
	slow := take(t, machineAt(t, "127.0.0.23"), "http://"+addr+"/"+initramfs, "")
	if got := event(t, stream, "fetches"); !strings.Contains(got, `"address":"127.0.0.23","name":"\u003cscript\u003ealert(1)`) || !strings.Contains(got, `"what":"initramfs"`) {
		t.Errorf("got %s", got)
	}
	readAll(t, slow)
	if got := event(t, stream, "boots"); !strings.Contains(got, `"result":"done","mark":"good"`) {
		t.Errorf("got %s", got)
	}
	mustPublish(t, store, "1", 1000)
	if after := event(t, stream, "published"); after == before {
		t.Errorf("got %s again", after)
	}
	for method, want := range map[string]int{http.MethodHead: 405, http.MethodPost: 405} {
		resp, _ := send(t, addr, method, method+" /events HTTP/1.1\r\nHost: hook\r\n\r\n")
		if resp.StatusCode != want {
			t.Errorf("%s: got %s", method, resp.Status)
		}
	}
}

// TestEventsAreBounded holds that more pages than that are sent away, and that one that is closed makes room.
func TestEventsAreBounded(t *testing.T) {
	store := newStore(t)
	addr := start(t, Options{Store: store, Now: time.Now}).addr
	var open []net.Conn
	for range maxStreams {
		resp, conn := send(t, addr, http.MethodGet, "GET /events HTTP/1.1\r\nHost: hook\r\n\r\n")
		if resp.StatusCode != 200 {
			t.Fatalf("got %s", resp.Status)
		}
		open = append(open, conn)
	}
	resp, stream := listenTo(t, addr)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one more: got %s, %v", resp.Status, resp.Header)
	}
	if text, err := io.ReadAll(stream); err != nil || !strings.Contains(string(text), "too many pages") {
		t.Errorf("one more: got %q, %v", text, err)
	}
	open[0].Close()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if resp, _ := listenTo(t, addr); resp.StatusCode == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a place that became free is not used")
		}
	}
}

// TestStopEndsEvents holds that pages that are open do not keep a server from stopping: its time of grace is for
// downloads.
func TestStopEndsEvents(t *testing.T) {
	store := newStore(t)
	server := start(t, Options{Store: store, Now: time.Now, Grace: 10 * time.Minute})
	resp, stream := listenTo(t, server.addr)
	event(t, stream, "published")
	server.stop()
	if _, err := io.Copy(io.Discard, stream); err != nil {
		t.Errorf("the stream: %v, want its end", err)
	}
	resp.Body.Close()
	if err := server.wait(); err != nil {
		t.Error(err)
	}
	wantNoConnections(t)
}

// pipes is a listener whose connections have no buffer: a write waits for its reader.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// ask opens a connection and sends a request for events.
func (p *pipes) ask(t *testing.T) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	p.accepted <- theirs
	if _, err := io.WriteString(ours, "GET /events HTTP/1.1\r\nHost: hook\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return ours
}

// onPipes runs a server of pipes on a clock that does not wait, and ends it.
func onPipes(t *testing.T, test func(t *testing.T, store *artifacts.Store, h *handler, p *pipes)) {
	store := newStore(t)
	mustPublish(t, store, "0", 1000)
	synctest.Test(t, func(t *testing.T) {
		o := Options{Store: store, Now: time.Now, Log: orDiscard(nil)}
		h, err := newHandler(o)
		if err != nil {
			t.Fatal(err)
		}
		defer h.close()
		p := &pipes{accepted: make(chan net.Conn), closed: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- serveOn(ctx, newGate(p, o), h, nil, time.Second, o.Log) }()
		test(t, store, h, p)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestBlockedEvents holds that a page that reads nothing holds up no other one, and is cut off like any client that
// stands still.
func TestBlockedEvents(t *testing.T) {
	onPipes(t, func(t *testing.T, store *artifacts.Store, h *handler, p *pipes) {
		blocked := p.ask(t)
		stream := bufio.NewReader(p.ask(t))
		before := event(t, stream, "published")
		mustPublish(t, store, "1", 1000)
		if after := event(t, stream, "published"); after == before {
			t.Errorf("got %s again", after)
		}
		if n := len(h.browser.streams); n != 2 {
			t.Errorf("got %d streams, want the blocked one still there", n)
		}
		go io.Copy(io.Discard, stream)
		time.Sleep(2 * patience)
		synctest.Wait()
		if n := len(h.browser.streams); n != 1 {
			t.Errorf("got %d streams, want the blocked one cut off", n)
		}
		if n, err := blocked.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the blocked one: got %d bytes, %v", n, err)
		}
	})
}

// TestHeartbeat holds that a stream without news says that it is alive, so that nobody between takes it for dead.
func TestHeartbeat(t *testing.T) {
	onPipes(t, func(t *testing.T, _ *artifacts.Store, _ *handler, p *pipes) {
		stream := bufio.NewReader(p.ask(t))
		event(t, stream, "published")
		for range 3 {
			begin := time.Now()
			for line := ""; line != ": nothing new\n"; {
				var err error
				if line, err = stream.ReadString('\n'); err != nil || strings.HasPrefix(line, "event:") {
					t.Fatalf("got %q, %v", line, err)
				}
			}
			if waited := time.Since(begin).Round(everySoOft); waited < heartbeat*everySoOft || waited > (heartbeat+1)*everySoOft {
				t.Errorf("got a comment after %s", waited)
			}
		}
	})
}

// TestExtraIsShown holds that an OS image is seen while it is taken.
func TestExtraIsShown(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "os-1.31.gz"), make([]byte, bigFile))
	addr := start(t, Options{Store: newStore(t), Now: time.Now, Names: names, Extra: dir}).addr
	_, stream := listenTo(t, addr)
	event(t, stream, "published")
	slow := take(t, machineAt(t, "127.0.0.21"), "http://"+addr+"/extra/os-1.31.gz", "")
	if got := event(t, stream, "fetches"); !strings.Contains(got, `"name":"rack3-node01","what":"os-1.31.gz","generation":""`) {
		t.Errorf("got %s", got)
	}
	_, body := get(t, addr, "/", fromBrowser)
	wantIn(t, body, `data-f="what">os-1.31.gz<`, "1 machine is fetching now.")
	readAll(t, slow)
	for !strings.Contains(event(t, stream, "fetches"), `"rows":[]`) {
	}
	_, body = get(t, addr, "/", fromBrowser)
	wantIn(t, body, "None since this server started.")
}

// TestProgressOverTLS holds that what the kernel does not copy by itself is counted too, while it is sent.
func TestProgressOverTLS(t *testing.T) {
	certFile, keyFile := certificate(t, "one")
	store := newStore(t)
	mustPublish(t, store, "0", bigFile)
	url := "https://" + start(t, Options{Store: store, TLSCert: certFile, TLSKey: keyFile, Now: time.Now}).addr
	stream := bufio.NewReader(take(t, insecure(), url+"/events", ""))
	slow := take(t, insecure(), url+"/"+initramfs, "")
	if _, err := io.CopyN(io.Discard, slow, bigFile*3/4); err != nil {
		t.Fatal(err)
	}
	var now struct{ Rows []struct{ Percent int } }
	for len(now.Rows) == 0 || now.Rows[0].Percent < 75 {
		if err := json.Unmarshal([]byte(event(t, stream, "fetches")), &now); err != nil {
			t.Fatal(err)
		}
	}
	if got := now.Rows[0].Percent; got > 99 {
		t.Errorf("got %d %%, and it is not whole", got)
	}
	readAll(t, slow)
	for !strings.Contains(event(t, stream, "boots"), `"result":"done"`) {
	}
}
