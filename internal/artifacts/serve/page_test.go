package serve

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// hookOS is a report of an initramfs that looks like one of HookOS.
func hookOS(t *testing.T) *artifacts.Report {
	t.Helper()
	zeros := make([]byte, 80<<20)
	tree := filetree.New()
	for path, mib := range map[string]int{
		"usr/lib/modules/6.12.57/kernel/drivers/net/x.ko": 42, "usr/lib/firmware/x": 31, "usr/lib/x86_64-linux-gnu/libc.so.6": 6, "usr/bin/busybox": 3,
		"usr/sbin/init": 2, "etc/passwd": 1, "var/lib/images/embedded.tar": 58,
		"containers/services/docker/lower/usr/bin/dockerd": 71, "containers/services/docker/lower/usr/sbin/iptables": 4,
		"containers/services/docker/lower/usr/lib/x86_64-linux-gnu/libc.so.6": 7, "containers/services/docker/config.json": 1,
		"containers/services/bootkit/lower/usr/bin/bootkit": 18, "containers/services/bootkit/lower/etc/ssl/certs": 1,
		"containers/onboot/000-udev/lower/usr/lib/udev/hwdb.bin": 12, "containers/onboot/000-udev/lower/usr/bin/udevadm": 2,
		"containers/services/ntpd/lower/usr/sbin/chronyd": 3, "containers/services/getty/lower/bin/login": 2, "containers/services/rngd/lower/bin/rngd": 1,
		"containers/onboot/sysctl/lower/bin/sysctl": 1, "containers/services/dhcpcd/lower/usr/sbin/dhcpcd": 9, "containers/services/sshd/lower/usr/sbin/sshd": 5,
	} {
		if err := tree.Add(path, &filetree.Inode{Data: filetree.Bytes(zeros[:mib<<20])}, "test"); err != nil {
			t.Fatal(err)
		}
	}
	return artifacts.NewReport(artifacts.Archive{
		Compression: "gzip", Compressed: 120 << 20, Segments: []artifacts.Segment{{Name: "all", Content: tree.Entries()}},
	})
}

// publishHookOS publishes a generation that looks like one of HookOS.
func publishHookOS(t *testing.T, store *artifacts.Store, p plan.Plan, m artifacts.Manifest, report *artifacts.Report, sizes map[string]int) artifacts.Set {
	t.Helper()
	p.Schema, p.Epoch = plan.Schema, epoch
	staging, err := store.Stage(p.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer staging.Abort()
	for name, size := range sizes {
		w, err := staging.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content(name, p.Flavor, size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := staging.WriteReport(report); err != nil {
		t.Fatal(err)
	}
	m.Plan = p
	gen, err := staging.Commit(m)
	if err != nil {
		t.Fatal(err)
	}
	set, err := store.Publish(gen)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// names are those of loopback addresses that stand for machines.
func names(addr netip.Addr) string {
	return map[string]string{"127.0.0.21": "rack3-node01", "127.0.0.22": "rack3-node02", "127.0.0.23": "<script>alert(1)</script>"}[addr.String()]
}

// machineAt is a client with an address of its own.
func machineAt(t *testing.T, addr string) *http.Client {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// take begins a download; the client reads only what the test does.
func take(t *testing.T, client *http.Client, url, ranges string) io.ReadCloser {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ranges != "" {
		req.Header.Set("Range", ranges)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		t.Fatalf("%s: %s", url, resp.Status)
	}
	return resp.Body
}

func readAll(t *testing.T, body io.ReadCloser) {
	t.Helper()
	if _, err := io.Copy(io.Discard, body); err != nil {
		t.Fatal(err)
	}
	body.Close()
}
