package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func TestCache(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	for _, tc := range []struct {
		name  string
		dir   string
		size  error
		want  string
		says  string
		limit int64
	}{
		{"there", dir, nil, "ok cache", "holds 42MB and has no limit", 0},
		{"with a limit", dir, nil, "ok cache", "holds 42MB of 1GiB", 1 << 30},
		{"not yet there", filepath.Join(dir, "a", "b"), nil, "ok cache", "is not there yet", 0},
		{"a file", file, nil, "error cache*", "not a directory", 0},
		{"below a file", filepath.Join(file, "a"), nil, "error cache*", "not a directory", 0},
		{"not to be written to", "/proc/1", nil, "error cache*", "cannot be used", 0}, // also for root
		{"not to be read", dir, broken, "error cache*", "broken", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			found := Cache(t.Context(), tc.dir, tc.limit, func(context.Context, string) (int64, error) { return 42e6, tc.size })
			if got := lines(found[:1]); got != tc.want || !strings.Contains(found[0].Detail, tc.says) {
				t.Errorf("got %v, want %s and %q", found, tc.want, tc.says)
			}
			if strings.HasPrefix(tc.want, "ok") && (len(found) != 2 || found[1].Check != "cache-disk" || !strings.Contains(found[1].Detail, "free of")) {
				t.Errorf("got %v, want the free space too", found)
			}
		})
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("looking has left %v, %v", entries, err)
	}
}

func TestCacheThatCannotBeCounted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	found := Cache(ctx, t.TempDir(), 0, func(context.Context, string) (int64, error) { cancel(); return 0, ctx.Err() })
	if found[0].State != OK || !strings.Contains(found[0].Detail, "took too long") {
		t.Errorf("got %v", found)
	}
}

// proc is a host on which a DHCP server and a registry run, a machine is asked on port 7171, and one of our own ports is
// free since what stands there is a connection.
func proc() fstest.MapFS {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	row := func(local, state, inode string) string {
		return fmt.Sprintf("   0: %s 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %s 1 0000\n", local, state, inode)
	}
	return fstest.MapFS{
		"net/tcp":   {Data: []byte(head + row("0100007F:01BB", "0A", "11") + row("0100007F:1C03", "01", "12"))},
		"net/tcp6":  {Data: []byte(head + row("00000000000000000000000000000000:0050", "0A", "13"))},
		"net/udp":   {Data: []byte(head + row("00000000:0043", "07", "14") + row("00000000:0045", "01", "15"))},
		"7/comm":    {Data: []byte("dnsmasq\n")},
		"7/fd/3":    {Data: []byte("socket:[14]"), Mode: fs.ModeSymlink},
		"8/fd/4":    {Data: []byte("socket:[13]"), Mode: fs.ModeSymlink},
		"self/fd/9": {Data: []byte("socket:[11]"), Mode: fs.ModeSymlink},
	}
}

func TestPorts(t *testing.T) {
	ports := []Port{{"udp", 67, "DHCP"}, {"udp", 69, "TFTP"}, {"tcp", 80, "iPXE"}, {"tcp", 443, "registry"}, {"tcp", 7171, "ISO"}}
	found := Ports(proc(), ports)
	var got []string
	for _, f := range found {
		got = append(got, string(f.State)+": "+f.Detail)
	}
	want := "warning: udp port 67 is in use here (dnsmasq, process 7): DHCP\n" +
		"warning: tcp port 80 is in use here (process 8): iPXE\n" +
		"warning: tcp port 443 is in use here: registry"
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	if found := Ports(proc(), ports[4:]); lines(found) != "ok eks-anywhere" || !contains(found, "tcp 7171") {
		t.Errorf("a free port: got %v", found)
	}
	if found := Ports(fstest.MapFS{}, ports); lines(found) != "warning eks-anywhere*" {
		t.Errorf("no table: got %v", found)
	}
	odd := fstest.MapFS{"net/tcp": {Data: []byte("0: x:zzzz y 0A a b c d e f\n")}, "net/udp": {}}
	if found := Ports(odd, ports); lines(found) != "warning eks-anywhere*" || !contains(found, "zzzz") {
		t.Errorf("an odd table: got %v", found)
	}
}

func TestListen(t *testing.T) {
	ours := func(page string) bool { return strings.Contains(page, "this is ours") }
	listen := func(address string) []Finding { return Listen(t.Context(), address, os.DirFS("/proc"), ours) }
	page := "this is ours"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page) }))
	address := server.Listener.Addr().String()
	if found := listen(address); lines(found) != "ok serve" || !contains(found, "hookbuild serve runs at "+address) {
		t.Errorf("our own server: got %v", found)
	}
	page = "something else"
	found := listen(address)
	if lines(found) != "warning serve*" || !contains(found, address+" is taken by another program") {
		t.Errorf("another server: got %v", found)
	}
	if runtime.GOOS == "linux" && !contains(found, fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("got %v, want the process", found)
	}
	server.Close()
	if found := listen("127.0.0.1:0"); lines(found) != "ok serve" {
		t.Errorf("a free port: got %v", found)
	}
	if found := listen("192.0.2.1:8080"); lines(found) != "error serve*" {
		t.Errorf("no address of ours: got %v", found)
	}
	if found := listen("8080"); lines(found) != "error serve*" {
		t.Errorf("no address at all: got %v", found)
	}
}

// TestListenDoesNotHang asks a port that takes connections and says nothing.
func TestListenDoesNotHang(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if found := Listen(ctx, l.Addr().String(), os.DirFS("/proc"), func(string) bool { return true }); lines(found) != "warning serve*" {
		t.Errorf("got %v", found)
	}
}

func TestReachable(t *testing.T) {
	for in, want := range map[string]string{
		":8080": "localhost:8080", "0.0.0.0:80": "localhost:80", "[::]:80": "localhost:80", "192.0.2.7:80": "192.0.2.7:80", "odd": "odd",
	} {
		if got := reachable(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
