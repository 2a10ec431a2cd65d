package serve

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
)

// serveHelper is what a child process does: it serves the directory of its argument until its standard input ends.
func serveHelper(dir string) error {
	store, err := artifacts.Open(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return Run(ctx, Options{
		Listen: "127.0.0.1:0", Store: store, Now: time.Now, Grace: time.Millisecond,
		Ready: func(addr net.Addr) { fmt.Println(addr) },
	})
}

// startChild serves a store in a process of its own, so that what it needs can be told from what its clients need.
func startChild(t testing.TB, store *artifacts.Store) (addr string, cmd *exec.Cmd) {
	t.Helper()
	cmd = exec.Command(os.Args[0], store.Dir())
	cmd.Env = append(os.Environ(), helperVar+"=serve")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("server: %v", err)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), cmd
}

// child is startChild, with the most memory that the process had, in MiB.
func child(t *testing.T, store *artifacts.Store) (addr string, peak func() int) {
	t.Helper()
	addr, cmd := startChild(t, store)
	return addr, func() int {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
		kib, err := strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		return kib >> 10
	}
}

// fetch downloads a URL to its end, again where it is told to come back, and returns the SHA-256.
func fetch(client *http.Client, url string) (sum string, length int64, err error) {
	for {
		resp, err := client.Get(url)
		if err != nil {
			return "", 0, err
		}
		h := sha256.New()
		n, err := io.Copy(h, resp.Body)
		resp.Body.Close()
		switch {
		case err != nil:
			return "", n, err
		case resp.StatusCode == http.StatusOK:
			return hex.EncodeToString(h.Sum(nil)), n, nil
		case resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "":
			return "", n, errors.New(resp.Status)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestLoadStalled serves few while many have begun a download and take nothing.
func TestLoadStalled(t *testing.T) {
	const size = 64 << 20 / scale * 4 // more than the kernel buffers for a connection
	stalled, healthy := 5000/scale, 50/scale
	store := newStore(t)
	mustPublish(t, store, "0", size)
	addr, peak := child(t, store)
	url := "http://" + addr + "/" + initramfs
	round := func() time.Duration {
		begin := time.Now()
		var wg sync.WaitGroup
		for range healthy {
			wg.Go(func() {
				client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
				if _, n, err := fetch(client, url); err != nil || n != size {
					t.Errorf("healthy: %d bytes, %v", n, err)
				}
			})
		}
		wg.Wait()
		return time.Since(begin)
	}
	unloaded := round()
	conns := make([]net.Conn, stalled)
	for i := range conns {
		conns[i] = stall(t, addr)
	}
	loaded := round()
	begin := time.Now()
	t.Logf("%d healthy clients: %v alone, %v beside %d that stand still; memory %d MiB", healthy, unloaded, loaded, stalled, peak())
	if mib := peak(); mib > 300 {
		t.Errorf("memory: got %d MiB, want 300 at most", mib)
	}
	if loaded > 10*unloaded+patience/2 { // ten per cent are what is wanted; here other programs run too
		t.Errorf("healthy clients took %v, alone %v", loaded, unloaded)
	}
	if scale > 1 {
		return // TestStandstill sees them go, with less patience
	}
	waitForReset(t, conns, begin.Add(90*time.Second))
}

// stall begins a download and takes nothing of it.
func stall(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /"+initramfs+" HTTP/1.1\r\nHost: hook\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// waitForReset holds that the server has ended every connection by then. A write to one that is reset fails.
func waitForReset(t *testing.T, conns []net.Conn, end time.Time) {
	t.Helper()
	time.Sleep(time.Until(end))
	left := 0
	for _, c := range conns {
		if _, err := io.WriteString(c, "x"); err == nil {
			left++
		}
	}
	if left > 0 {
		t.Errorf("%d of %d clients that stand still are still there", left, len(conns))
	}
}

// TestLoadBoots boots many machines at a time, each with a kernel and an initramfs.
func TestLoadBoots(t *testing.T) {
	const size = 200_000_000 / scale
	boots := 500 / scale
	store := newStore(t)
	mustPublish(t, store, "0", size)
	want := map[string]string{kernel: sum(content(kernel, "0", size)), initramfs: sum(content(initramfs, "0", size))}
	addr, peak := child(t, store)
	var wg sync.WaitGroup
	for range boots {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for _, name := range []string{kernel, initramfs} {
				if got, n, err := fetch(client, "http://"+addr+"/hook/"+name); err != nil || got != want[name] {
					t.Errorf("%s: %d bytes, SHA-256 %s, %v", name, n, got, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d boots of twice %d MB; memory %d MiB", boots, size/1_000_000, peak())
}

// TestLoadPromotion publishes while downloads run: each gets the whole of one generation.
func TestLoadPromotion(t *testing.T) {
	const size = 40_000_000 / scale
	clients := 200 / scale
	store := newStore(t)
	known := map[string]bool{}
	for i := range 4 {
		known[sum(content(initramfs, fmt.Sprint(i), size+i))] = true
	}
	mustPublish(t, store, "0", size)
	addr := start(t, Options{Store: store, Now: time.Now}).addr
	var fetched atomic.Int64
	var done atomic.Bool
	seen := sync.Map{}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for !done.Load() {
				got, n, err := fetch(client, "http://"+addr+"/"+initramfs)
				fetched.Add(1)
				if err != nil || !known[got] {
					t.Errorf("%d bytes, SHA-256 %s of no generation, %v", n, got, err)
					return
				}
				seen.Store(got, true)
			}
		})
	}
	for i := range 3 {
		for enough := fetched.Load() + int64(2*clients); fetched.Load() < enough && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		if _, err := publish(store, fmt.Sprint(i+1), size+i+1); err != nil {
			t.Error(err)
		}
	}
	done.Store(true)
	wg.Wait()
	generations := 0
	seen.Range(func(any, any) bool { generations++; return true })
	if generations < 2 {
		t.Errorf("%d generations were seen: nothing was published while downloads ran", generations)
	}
}
