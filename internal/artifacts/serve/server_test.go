package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// bigFile is more than the kernel buffers for a connection, so that a server cannot send it to a client that
// does not read.
const bigFile = 32 << 20

// slowDownload begins a download and reads its first bytes.
func slowDownload(t *testing.T, addr string) (rest io.Reader, begun []byte) {
	t.Helper()
	resp, _ := send(t, addr, http.MethodGet, "GET /hook/"+initramfs+" HTTP/1.1\r\nHost: hook\r\n\r\n")
	begun = make([]byte, 1000)
	if _, err := io.ReadFull(resp.Body, begun); err != nil || resp.ContentLength != bigFile {
		t.Fatalf("got %s, length %d, %v", resp.Status, resp.ContentLength, err)
	}
	return resp.Body, begun
}

func TestSwitchDuringDownload(t *testing.T) {
	store := newStore(t)
	mustPublish(t, store, "0", bigFile)
	addr := start(t, Options{Store: store}).addr
	rest, begun := slowDownload(t, addr)
	for i := range 3 { // the first set is removed meanwhile
		mustPublish(t, store, fmt.Sprint(i+1), 1000)
	}
	if _, body := get(t, addr, "/"+initramfs, ""); !bytes.Equal(body, content(initramfs, "3", 1000)) {
		t.Error("a new download does not get the new file")
	}
	tail, err := io.ReadAll(rest)
	if err != nil {
		t.Fatal(err)
	}
	if sum(append(begun, tail...)) != sum(content(initramfs, "0", bigFile)) {
		t.Error("the running download does not end with the bytes it began with")
	}
}

// TestSwitchUnderLoad holds that whoever asks while sets come and go gets a whole file of some set.
func TestSwitchUnderLoad(t *testing.T) {
	store := newStore(t)
	mustPublish(t, store, "0", 20_000)
	addr := start(t, Options{Store: store}).addr
	published := make(chan struct{})
	client := &http.Client{}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for running := true; running; {
				select {
				case <-published:
					running = false
				default:
				}
				if err := download(client, "http://"+addr+"/hook/"+kernel); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 40 {
		if _, err := publish(store, fmt.Sprint(i), 20_000); err != nil {
			t.Error(err)
		}
	}
	close(published)
	wg.Wait()
}

// download fetches a URL whose body must have the SHA-256 of its ETag.
func download(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != 200 || `"`+sum(body)+`"` != resp.Header.Get("ETag") {
		return fmt.Errorf("got %s, %d bytes, ETag %s", resp.Status, len(body), resp.Header.Get("ETag"))
	}
	return nil
}

func TestGracefulStop(t *testing.T) {
	store := newStore(t)
	mustPublish(t, store, "0", bigFile)
	server := start(t, Options{Store: store, Grace: 10 * time.Minute})
	rest, begun := slowDownload(t, server.addr)
	server.stop()
	for { // until the server takes no more connections
		conn, err := net.Dial("tcp", server.addr)
		if err != nil {
			break
		}
		conn.Close()
	}
	tail, err := io.ReadAll(rest)
	if err != nil || len(begun)+len(tail) != bigFile {
		t.Errorf("running download: got %d bytes, %v, want all", len(begun)+len(tail), err)
	}
	if err := server.wait(); err != nil {
		t.Errorf("Run: %v", err)
	}
	wantNoConnections(t)
}

func TestStopCutsOff(t *testing.T) {
	store := newStore(t)
	mustPublish(t, store, "0", bigFile)
	server := start(t, Options{Store: store, Grace: time.Millisecond})
	rest, begun := slowDownload(t, server.addr)
	server.stop()
	if err := server.wait(); err != nil {
		t.Errorf("Run: %v", err)
	}
	wantNoConnections(t)
	tail, err := io.ReadAll(rest)
	if err == nil || len(begun)+len(tail) == bigFile {
		t.Errorf("got %d bytes, %v, want the download cut off", len(begun)+len(tail), err)
	}
}

// wantNoConnections fails if goroutines of the server live on. net/http says that a connection is closed a
// few instructions before its goroutine ends.
func wantNoConnections(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for deadline := time.Now().Add(2 * time.Minute); ; runtime.Gosched() {
		text := string(stacks[:runtime.Stack(stacks, true)])
		if !strings.Contains(text, "net/http.(*conn)") && !strings.Contains(text, "net/http.(*Server)") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("goroutines outlive Run:\n%s", text)
		}
	}
}

func TestStopBeforeStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, Options{Listen: "127.0.0.1:0", Store: newStore(t)}); err != nil {
		t.Errorf("got %v", err)
	}
	wantNoConnections(t)
}

func TestPortTaken(t *testing.T) {
	store := newStore(t)
	addr := start(t, Options{Store: store}).addr
	err := Run(t.Context(), Options{Listen: addr, Store: store})
	var taken *PortTakenError
	if !errors.As(err, &taken) || taken.Listen != addr {
		t.Fatalf("got %v, want a PortTakenError of %s", err, addr)
	}
	_, port, _ := net.SplitHostPort(addr)
	if want := "sport = :" + port; !strings.Contains(taken.Hint(), want) {
		t.Errorf("hint: got %q, want %q in it", taken.Hint(), want)
	}
	if err := Run(t.Context(), Options{Listen: "127.0.0.1:x", Store: store}); err == nil || errors.As(err, &taken) {
		t.Errorf("no port: got %v, want another error", err)
	}
}

func TestAccessLog(t *testing.T) {
	store := newStore(t)
	set := mustPublish(t, store, "0", 5000)
	log, text := textLog()
	server := start(t, Options{Store: store, Log: log, Now: time.Now})
	get(t, server.addr, "/hook/"+kernel+"?token=secret", "Authorization: Basic secret\r\n")
	get(t, server.addr, "/"+kernel, "Range: bytes=0-99\r\n")
	get(t, server.addr, "/no%20such", "")
	server.stop()
	if err := server.wait(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(text.String()) {
		_, fields, _ := strings.Cut(line, "remote=127.0.0.1:")
		_, fields, _ = strings.Cut(fields, " ")
		fields, tail, _ := strings.Cut(strings.TrimSpace(fields), " duration=")
		text, generation, _ := strings.Cut(tail, " generation=")
		if d, err := time.ParseDuration(text); err != nil || d <= 0 || d > time.Minute {
			t.Errorf("duration: got %q, %v", text, err)
		}
		got = append(got, strings.TrimSpace(fields+" "+generation))
	}
	id := set.Manifests[plan.X8664].PlanID
	want := []string{
		"method=GET path=/hook/vmlinuz-x86_64 status=200 bytes=5000 " + id,
		"method=GET path=/vmlinuz-x86_64 status=206 bytes=100 " + id,
		"method=GET path=/no%20such status=404 bytes=13",
	}
	slices.Sort(got) // a line is written when the client has its answer already
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(text.String(), "secret") {
		t.Error("the log holds a secret")
	}
}
