package serve

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// watcher drives a ledger with a clock of its own.
type watcher struct {
	*ledger
	time time.Time
}

func newWatcher() *watcher {
	w := &watcher{time: epochTime}
	w.ledger = newLedger(func() time.Time { return w.time }, nil)
	return w
}

// ask begins to take a file of 1000 bytes. end is told how many were sent.
func (w *watcher) ask(addr, name string, part bool) (sent *atomic.Int64, end func(bytes int64, toTheEnd bool)) {
	sent = &atomic.Int64{}
	return sent, w.begin(netip.MustParseAddr(addr), &file{label: name, original: name, generation: "g", size: 1000}, part, sent)
}

func (w *watcher) all(addr, name string) {
	_, end := w.ask(addr, name, false)
	w.time = w.time.Add(time.Second)
	end(1000, true)
}

// boots has a line for each boot, the newest first.
func (w *watcher) boots() string {
	_, boots := w.show()
	var lines []string
	for _, b := range boots {
		lines = append(lines, fmt.Sprintf("%s %s: %s", b.Address, b.What, b.Result))
	}
	return strings.Join(lines, "\n")
}

func (w *watcher) fetches() string {
	now, _ := w.show()
	var lines []string
	for _, f := range now.Rows {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %d %% %s %s", f.Address, f.What, f.Percent, f.Rate, f.Last)))
	}
	return strings.Join(lines, "\n")
}

const (
	one = "192.0.2.1"
	two = "2001:db8::2"
)

var iso = artifacts.ISOName(plan.X8664)

func TestLedger(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(w *watcher)
		want string
	}{
		{"boot", func(w *watcher) { w.all(one, kernel); w.all(one, initramfs) }, "192.0.2.1 kernel, initramfs: done"},
		{"two machines", func(w *watcher) { w.all(one, kernel); w.all(two, kernel); w.all(two, initramfs); w.all(one, initramfs) },
			"2001:db8::2 kernel, initramfs: done\n192.0.2.1 kernel, initramfs: done"},
		{"twice", func(w *watcher) { w.all(one, initramfs); w.all(one, initramfs) }, "192.0.2.1 initramfs: done\n192.0.2.1 initramfs: done"},
		{"kernel again", func(w *watcher) {
			w.all(one, kernel)
			w.all(one, kernel)
			w.all(one, initramfs)
			w.time = w.time.Add(lingers)
		},
			"192.0.2.1 kernel, initramfs: done\n192.0.2.1 kernel: kernel only"},
		{"cut off", func(w *watcher) { w.all(one, kernel); _, end := w.ask(one, initramfs, false); end(437, false) },
			"192.0.2.1 kernel, initramfs: initramfs cut off at 43 %"},
		{"kernel cut off", func(w *watcher) { _, end := w.ask(one, kernel, false); end(10, false) }, "192.0.2.1 kernel: kernel cut off at 1 %"},
		{"retried", func(w *watcher) {
			_, end := w.ask(one, initramfs, false)
			end(999, false)
			w.all(one, initramfs)
		}, "192.0.2.1 initramfs: done"},
		{"resumed", func(w *watcher) {
			_, end := w.ask(one, initramfs, false)
			end(500, false)
			_, end = w.ask(one, initramfs, true)
			end(500, true)
		}, "192.0.2.1 initramfs: done"},
		{"last part only", func(w *watcher) { _, end := w.ask(one, initramfs, true); end(5, true) }, "192.0.2.1 initramfs: initramfs cut off at 0 %"},
		{"in parts, side by side", func(w *watcher) {
			_, a := w.ask(one, initramfs, true)
			_, b := w.ask(one, initramfs, true)
			b(500, true)
			a(500, false)
		}, "192.0.2.1 initramfs: done"},
		{"two behind one address", func(w *watcher) {
			_, a := w.ask(one, initramfs, false)
			_, b := w.ask(one, initramfs, false)
			a(1000, true)
			b(300, false)
		}, "192.0.2.1 initramfs: initramfs cut off at 30 %\n192.0.2.1 initramfs: done"},
		{"ISO in parts", func(w *watcher) {
			for range 7 {
				_, end := w.ask(one, iso, true)
				w.time = w.time.Add(time.Second)
				end(100, false)
			}
			w.time = w.time.Add(abandoned + time.Second)
			_, end := w.ask(one, iso, true)
			end(100, true)
			w.time = w.time.Add(lingers)
		}, "192.0.2.1 ISO: 100 B read\n192.0.2.1 ISO: 700 B read"},
		{"other files", func(w *watcher) { w.all(one, "hook_x86_64.tar.gz"); w.all(one, "manifest.json"); w.all(one, "") }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWatcher()
			tt.do(w)
			if got := w.boots(); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestLedgerProgress(t *testing.T) {
	w := newWatcher()
	w.all(one, initramfs)
	w.all(one, kernel)
	if got, want := w.fetches(), "192.0.2.1 kernel 100 % 1000 B/s done"; got != want {
		t.Errorf("between kernel and initramfs: got %q, want %q", got, want)
	}
	sent, end := w.ask(one, initramfs, false)
	for _, step := range []struct {
		sent int64
		want string
	}{
		{100, "192.0.2.1 initramfs 10 % 20 B/s done"}, {200, "192.0.2.1 initramfs 20 % 20 B/s done"}, {1200, "192.0.2.1 initramfs 99 % 80 B/s done"},
		{1200, "192.0.2.1 initramfs 99 % 100 B/s done"}, {1200, "192.0.2.1 initramfs 99 % 66 B/s done"}, {1200, "192.0.2.1 initramfs 99 % 0 B/s done"},
	} {
		w.time = w.time.Add(5 * time.Second)
		sent.Store(step.sent)
		if got := w.fetches(); got != step.want {
			t.Errorf("%d bytes: got %q, want %q", step.sent, got, step.want)
		}
	}
	end(1000, true)
	if got := w.fetches(); got != "" {
		t.Errorf("at the end: got %q", got)
	}
	if _, boots := w.show(); len(boots) != 2 || boots[0].Took != "31 s" || boots[0].Mark != "good" || boots[0].Rate != "64 B/s" {
		t.Errorf("at the end: got %+v", boots)
	}
}

// TestLedgerShowsExtra holds that an extra file is seen while it is taken, and is no boot.
func TestLedgerShowsExtra(t *testing.T) {
	w := newWatcher()
	w.all(one, initramfs)
	take := func(addr, name string, part bool) (*atomic.Int64, func(int64, bool)) {
		sent := &atomic.Int64{}
		return sent, w.begin(netip.MustParseAddr(addr), &file{label: "extra", extra: name, size: 1000}, part, sent)
	}
	sent, end := take(one, "os.gz", false)
	_, other := take(one, "os.gz", false)
	first, a := take(two, "os.img", true)
	second, b := take(two, "os.img", true)
	sent.Store(430)
	first.Store(200)
	second.Store(100)
	w.time = w.time.Add(time.Second)
	if got, want := w.fetches(), "2001:db8::2 os.img 30 % 300 B/s\n192.0.2.1 os.gz 0 % 0 B/s done\n192.0.2.1 os.gz 43 % 430 B/s done"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, ended := range []func(int64, bool){end, other, a, b} {
		ended(1000, true)
	}
	if got := w.fetches(); got != "" {
		t.Errorf("at the end: got %q", got)
	}
	if got, want := w.boots(), "192.0.2.1 initramfs: done"; got != want || len(w.ledger.all) != 1 || w.still != 1 {
		t.Errorf("boots: got %q, %d kept", got, len(w.ledger.all))
	}
}

// TestLedgerIsBounded holds that neither many boots nor many machines make it large.
func TestLedgerIsBounded(t *testing.T) {
	w := newWatcher()
	var ends []func(int64, bool)
	for i := range 300 {
		_, end := w.ask(fmt.Sprintf("192.0.2.%d", i%250), initramfs, false)
		ends = append(ends, end)
	}
	for i := range 1000 {
		w.all(fmt.Sprintf("198.51.100.%d", i%250), initramfs)
	}
	now, boots := w.show()
	if len(now.Rows) != shownFetches || now.More != 250 || now.Summary != "300 machines are fetching now." || len(boots) != keptBoots || len(w.ledger.all) != 500 {
		t.Errorf("got %d rows and %d more, %d boots; %d kept", len(now.Rows), now.More, len(boots), len(w.ledger.all))
	}
	for _, end := range ends {
		end(1000, true)
	}
	if now, boots := w.show(); len(now.Rows)+now.More != 0 || len(boots) != keptBoots || len(w.ledger.all) != keptBoots {
		t.Errorf("at the end: got %d rows, %d boots; %d kept", len(now.Rows), len(boots), len(w.ledger.all))
	}
}

func TestLedgerWithoutClock(t *testing.T) {
	w := newWatcher()
	w.now = nil
	w.all(one, kernel)
	sent, end := w.ask(one, initramfs, false)
	sent.Store(500)
	if got := w.fetches(); got != "192.0.2.1 initramfs 50 %" {
		t.Errorf("got %q", got)
	}
	end(1000, true)
	_, boots := w.show()
	if b := boots[0]; b.Result != "done" || b.Time+b.Took+b.Rate != "" {
		t.Errorf("got %+v", b)
	}
}
