package serve

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// pairing is a table with a clock of its own, and generations that exist by name only.
type pairing struct {
	*pairs
	t    *testing.T
	time time.Time
	held map[string]int
}

func newPairing(t *testing.T) *pairing {
	p := &pairing{t: t, time: epochTime, held: map[string]int{}}
	hold := func(id string) (artifacts.Generation, func() error, error) {
		if id == "gone" {
			return artifacts.Generation{}, nil, artifacts.ErrNotFound
		}
		p.held[id]++
		files := []artifacts.File{{Name: initramfs, SHA256: "sum of " + id}}
		gen := artifacts.Generation{Manifest: artifacts.Manifest{PlanID: id, Files: files, Plan: plan.Plan{Arch: plan.X8664}}}
		return gen, func() error { p.held[id]--; return nil }, nil
	}
	p.pairs = newPairs(hold, func() time.Time { return p.time }, orDiscard(nil))
	return p
}

func key(addr string) machineKey {
	return machineKey{addr: netip.MustParseAddr(addr), arch: plan.X8664}
}

// took is a kernel that was sent whole.
func (p *pairing) took(addr, conn, id string) {
	p.t.Helper()
	done, err := p.kernel(key(addr), conn, id)
	if err != nil {
		p.t.Fatal(err)
	}
	done(true)
}

// gets asks for an initramfs and returns its generation, and "current" where any will do.
func (p *pairing) gets(addr, conn, wanted string, whole bool) string {
	gen, done, ok := p.initramfs(key(addr), conn, wanted, true)
	done(whole)
	if !ok {
		return "current"
	}
	return gen.ID()
}

func TestPairs(t *testing.T) {
	const a, b = "192.0.2.1", "192.0.2.2"
	tests := []struct {
		name string
		do   func(p *pairing) []string
		want string
	}{
		{"nobody", func(p *pairing) []string { return []string{p.gets(a, "1", "", true)} }, "current"},
		{"one machine, also when it asks again", func(p *pairing) []string {
			p.took(a, "1", "old")
			return []string{p.gets(a, "2", "", true), p.gets(a, "3", "", true), p.gets(b, "4", "", true)}
		}, "old old current"},
		{"until a quarter of an hour after its last request", func(p *pairing) []string {
			p.took(a, "1", "old")
			var got []string
			for range 3 {
				p.time = p.time.Add(remembered - time.Second)
				p.expire()
				got = append(got, p.gets(a, "2", "", true))
			}
			p.time = p.time.Add(remembered + time.Second)
			p.expire()
			return append(got, p.gets(a, "2", "", true))
		}, "old old old current"},
		{"two machines behind one address", func(p *pairing) []string {
			p.took(a, "1", "old")
			p.took(a, "2", "new")
			return []string{p.gets(a, "3", "", true), p.gets(a, "4", "", true), p.gets(a, "5", "", true)}
		}, "old new new"},
		{"the same connection says which machine it is", func(p *pairing) []string {
			p.took(a, "1", "old")
			p.took(a, "2", "new")
			return []string{p.gets(a, "2", "", true), p.gets(a, "1", "", true)}
		}, "new old"},
		{"an initramfs that did not arrive is asked for again", func(p *pairing) []string {
			p.took(a, "1", "old")
			p.took(a, "2", "new")
			return []string{p.gets(a, "3", "", false), p.gets(a, "4", "", true), p.gets(a, "5", "", true)}
		}, "old old new"},
		{"a part of an initramfs says which", func(p *pairing) []string {
			p.took(a, "1", "old")
			p.took(a, "2", "new")
			return []string{p.gets(a, "3", "sum of new", true), p.gets(a, "4", "sum of unknown", true)}
		}, "new old"},
		{"a kernel that did not arrive does not count", func(p *pairing) []string {
			done, _ := p.kernel(key(a), "1", "old")
			done(false)
			p.took(a, "2", "new")
			return []string{p.gets(a, "3", "", true)}
		}, "new"},
		{"the end of a kernel is noticed late", func(p *pairing) []string {
			done, _ := p.kernel(key(a), "1", "old")
			got := p.gets(a, "2", "", true)
			done(true)
			return []string{got, p.gets(a, "3", "", true)}
		}, "old old"},
		{"a machine that started anew", func(p *pairing) []string {
			p.took(a, "1", "old")
			p.time = p.time.Add(abandoned + time.Second)
			p.took(a, "2", "new")
			return []string{p.gets(a, "3", "", true)}
		}, "new"},
		{"a machine that booted once and starts anew", func(p *pairing) []string {
			p.took(a, "1", "old")
			first := p.gets(a, "2", "", true)
			p.took(a, "3", "new")
			return []string{first, p.gets(a, "4", "", true), p.gets(a, "5", "", true)}
		}, "old new new"},
		{"only asked for with HEAD", func(p *pairing) []string {
			p.took(a, "1", "old")
			p.took(a, "2", "new")
			gen, done, _ := p.initramfs(key(a), "3", "", false)
			done(true)
			return []string{gen.ID(), p.gets(a, "4", "", true), p.gets(a, "5", "", true)}
		}, "old old new"},
		{"the other architecture is another machine", func(p *pairing) []string {
			p.took(a, "1", "old")
			_, _, ok := p.initramfs(machineKey{addr: netip.MustParseAddr(a), arch: plan.AArch64}, "1", "", true)
			return []string{fmt.Sprint(ok)}
		}, "false"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPairing(t)
			if got := strings.Join(tt.do(p), " "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			p.close()
			for id, n := range p.held {
				if n != 0 {
					t.Errorf("%s is held %d times after the end", id, n)
				}
			}
		})
	}
}

func TestPairsHold(t *testing.T) {
	p := newPairing(t)
	if _, err := p.kernel(key("192.0.2.1"), "1", "gone"); !errors.Is(err, artifacts.ErrNotFound) {
		t.Errorf("a generation that is not there: got %v", err)
	}
	p.took("192.0.2.1", "1", "old")
	p.took("192.0.2.2", "2", "old")
	if p.held["old"] != 1 {
		t.Errorf("held %d times, want once for all machines", p.held["old"])
	}
	running, _ := p.kernel(key("192.0.2.3"), "3", "slow")
	p.time = p.time.Add(2 * remembered)
	p.expire()
	if p.held["old"] != 0 || p.held["slow"] != 1 {
		t.Errorf("held %v, want only what is under way", p.held)
	}
	running(true)
	if got := p.gets("192.0.2.3", "4", "", true); got != "slow" {
		t.Errorf("after a slow kernel: got %s", got)
	}
}

// TestISOParts is smee, which reads an ISO in parts while another one is published.
func TestISOParts(t *testing.T) {
	p := newPairing(t)
	part := func(addr, published string) string {
		gen, done, err := p.isoPart(netip.MustParseAddr(addr), plan.X8664, published, true)
		if err != nil {
			t.Fatal(err)
		}
		done()
		return gen.ID()
	}
	var got []string
	got = append(got, part("192.0.2.1", "old"))
	for range 3 {
		p.time = p.time.Add(remembered - time.Second)
		p.expire()
		got = append(got, part("192.0.2.1", "new"))
	}
	p.took("192.0.2.1", "1", "new")
	got = append(got, part("192.0.2.1", "new"), part("192.0.2.2", "new"), p.gets("192.0.2.1", "1", "", true))
	p.time = p.time.Add(remembered + time.Second)
	p.expire()
	if p.held["old"] != 0 {
		t.Error("nobody reads the old one, and it is held")
	}
	got = append(got, part("192.0.2.1", "new"))
	before := p.count()
	if gen, done, err := p.isoPart(netip.MustParseAddr("192.0.2.4"), plan.X8664, "new", false); gen.ID() != "" || err != nil || p.count() != before {
		t.Errorf("HEAD: got %q, %v, %d addresses, want that nothing begins", gen.ID(), err, p.count())
	} else {
		done()
	}
	if want := "old old old old old new new new"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, _, err := p.isoPart(netip.MustParseAddr("192.0.2.3"), plan.X8664, "gone", true); !errors.Is(err, artifacts.ErrNotFound) {
		t.Errorf("a generation that is not there: got %v", err)
	}
}

// TestISOOverHTTP reads parts of an ISO while others are published, the last without an ISO.
func TestISOOverHTTP(t *testing.T) {
	store := newStore(t)
	name := artifacts.ISOName(plan.X8664)
	publish := func(flavor string, size int, iso bool) {
		files := map[string]int{kernel: 1000, initramfs: 1000}
		if iso {
			files[name] = size
		}
		publishHookOS(t, store, plan.Plan{Flavor: flavor, Arch: plan.X8664}, artifacts.Manifest{}, artifacts.NewReport(artifacts.Archive{}), files)
	}
	publish("old", 5000, true)
	addr := start(t, Options{Store: store, Now: time.Now}).addr
	part := func(header string) string {
		resp, body := get(t, addr, "/hook/"+name, header)
		return fmt.Sprint(resp.StatusCode, " ", string(body))
	}
	head := func() string {
		resp, _ := send(t, addr, http.MethodHead, "HEAD /hook/"+name+" HTTP/1.1\r\nHost: hook\r\nConnection: close\r\n\r\n")
		return fmt.Sprint(resp.StatusCode, " ", resp.ContentLength, " ", resp.Header.Get("ETag"))
	}
	old, recent := content(name, "old", 5000), content(name, "new", 6000)
	if got, want := head(), fmt.Sprint(200, " ", 5000, " ", quote(sum(old))); got != want {
		t.Errorf("HEAD before: got %s, want %s", got, want)
	}
	if got, want := part("Range: bytes=0-99\r\n"), fmt.Sprint(206, " ", string(old[:100])); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	publish("new", 6000, true)
	if got, want := part("Range: bytes=100-199\r\n"), fmt.Sprint(206, " ", string(old[100:200])); got != want {
		t.Errorf("a further part: got %s, want %s", got, want)
	}
	if got, want := head(), fmt.Sprint(200, " ", 5000, " ", quote(sum(old))); got != want {
		t.Errorf("HEAD between two parts: got %s, want what the parts are of, %s", got, want)
	}
	if got, want := part("Range: bytes=0-9\r\nIf-Range: "+quote(sum(recent))+"\r\n"), fmt.Sprint(200, " ", string(old)); got != want {
		t.Errorf("If-Range of another: got %s, want all of the old one", got)
	}
	if got, want := part(""), fmt.Sprint(200, " ", string(recent)); got != want {
		t.Errorf("all of it: got %s, want the newest", got)
	}
	publish("none", 0, false)
	if got := part("Range: bytes=200-299\r\n"); got[:3] != "404" {
		t.Errorf("no ISO is published: got %s", got)
	}
}

// TestPairsAreBounded makes up addresses, and kernels of one address.
func TestPairsAreBounded(t *testing.T) {
	p := newPairing(t)
	p.took("192.0.2.1", "1", "victim")
	addr := netip.MustParseAddr("2001:db8::1")
	for range maxMachines + 10 {
		p.took(addr.String(), "1", "old")
		addr = addr.Next()
	}
	if got := p.count(); got > maxMachines {
		t.Errorf("got %d machines, want %d at most", got, maxMachines)
	}
	if p.held["victim"] != 0 {
		t.Error("the machine that asked first is still remembered")
	}
	for i := range 10 * maxBoots {
		p.took("192.0.2.1", fmt.Sprint(i), "old")
	}
	if got := len(p.machines[key("192.0.2.1")].Value.(*machine).boots); got > maxBoots {
		t.Errorf("got %d boots of one address, want %d at most", got, maxBoots)
	}
}

// TestPairOverHTTP is a boot during which something else is published, then one of a machine that comes later.
func TestPairOverHTTP(t *testing.T) {
	store := newStore(t)
	mustPublish(t, store, "old", 1000)
	addr := start(t, Options{Store: store, Now: time.Now}).addr
	get(t, addr, "/hook/"+kernel, "")
	mustPublish(t, store, "new", 2000)
	resp, body := get(t, addr, "/hook/"+initramfs, "")
	if string(body) != string(content(initramfs, "old", 1000)) {
		t.Errorf("got %s, %d bytes, want the initramfs of the old kernel", resp.Status, len(body))
	}
	if resp, _ := get(t, addr, "/hook/"+initramfs, "Range: bytes=0-9\r\nIf-Range: "+quote(sum(content(initramfs, "old", 1000)))+"\r\n"); resp.StatusCode != 206 {
		t.Errorf("If-Range of the old one: got %s, want a part of it", resp.Status)
	}
	if _, body := get(t, addr, "/hook/"+kernel, ""); string(body) != string(content(kernel, "new", 2000)) {
		t.Error("a kernel is always the newest")
	}
	if _, body := get(t, addr, "/hook/"+initramfs, ""); string(body) != string(content(initramfs, "new", 2000)) {
		t.Error("the new kernel did not get its initramfs")
	}
	get(t, addr, "/vmlinuz-second-x86_64", "")
	mustPublish(t, store, "newest", 3000)
	if _, body := get(t, addr, "/initramfs-second-x86_64", ""); string(body) != string(content(initramfs, "new", 2000)) {
		t.Error("a pair by its second names is none")
	}
	resp, body = get(t, addr, "/hook/hook_x86_64.tar.gz", "Range: bytes=0-9\r\nIf-Range: \"old\"\r\n")
	if resp.StatusCode != 200 || int64(len(body)) != resp.ContentLength {
		t.Errorf("If-Range after a switch: got %s, want the whole new file", resp.Status)
	}
}
