package serve

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// admin asks the second listener.
func admin(t *testing.T, addr net.Addr, path string) (int, string) {
	t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + addr.String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAdmin(t *testing.T) {
	store := newStore(t)
	var addr net.Addr
	server := start(t, Options{Store: store, Now: time.Now, AdminListen: "127.0.0.1:0", AdminReady: func(a net.Addr) { addr = a }})
	if status, body := admin(t, addr, "/readyz"); status != 503 || !strings.Contains(body, "not published") {
		t.Errorf("nothing published: readyz: got %d, %s", status, body)
	}
	if status, _ := admin(t, addr, "/healthz"); status != 200 {
		t.Errorf("healthz: got %d", status)
	}
	id := mustPublish(t, store, "one", bigFile).Manifests[plan.X8664].PlanID
	if status, _ := admin(t, addr, "/readyz"); status != 200 {
		t.Errorf("published: readyz: got %d", status)
	}
	get(t, server.addr, "/"+kernel, "")
	get(t, server.addr, "/"+initramfs, "Range: bytes=0-9\r\n")
	get(t, server.addr, "/"+initramfs, "Range: bytes=10-\r\n")
	get(t, server.addr, "/made-up", "")
	slowDownload(t, server.addr)
	_, text := admin(t, addr, "/metrics")
	for _, want := range []string{
		`hookbuild_requests_total{file="vmlinuz-x86_64",status="200"} 1`,
		`hookbuild_requests_total{file="initramfs-x86_64",status="206"} 2`,
		`hookbuild_requests_total{file="",status="404"} 1`,
		`hookbuild_response_bytes_total{file="initramfs-x86_64",generation="` + id + `"} 3.3554432e+07`,
		`hookbuild_boots_finished_total{arch="x86_64",generation="` + id + `"} 1`,
		`hookbuild_files_in_flight{file="initramfs-x86_64",generation="` + id + `"} 1`,
		"hookbuild_requests_in_flight 1", "hookbuild_machines 1",
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, "made-up") {
		t.Error("what a client has made up is a label")
	}
	for _, path := range []string{"/", "/" + kernel, "/debug/pprof/"} {
		if status, _ := admin(t, addr, path); status != 404 {
			t.Errorf("%s: got %d, want nothing there", path, status)
		}
	}
	if resp, _ := get(t, server.addr, "/metrics", ""); resp.StatusCode != 404 {
		t.Errorf("metrics for machines: got %s", resp.Status)
	}
}

func TestAdminPortTaken(t *testing.T) {
	store := newStore(t)
	addr := start(t, Options{Store: store}).addr
	err := Run(t.Context(), Options{Listen: "127.0.0.1:0", Store: store, AdminListen: addr})
	var taken *PortTakenError
	if !errors.As(err, &taken) || taken.Listen != addr {
		t.Errorf("got %v, want a PortTakenError of %s", err, addr)
	}
}
