package serve

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/artifacts/serve/page"
	"github.com/hookbuild/hookbuild/internal/plan"
)

const (
	keptBoots    = 200
	shownFetches = 50

	// lingers is how long a machine counts as fetching while it asks for nothing, but has a kernel and no initramfs, or
	// reads an ISO.
	lingers = 10 * time.Second

	// rateSpan is what a rate is measured over, at least; up to twice as much. Bytes are counted in stretches, so that a
	// shorter one would show a slow machine standing still in between.
	rateSpan = 10 * time.Second
)

// ledger knows who fetches what, and what came of it. It only looks on: which bytes a machine gets is no matter of its.
//
// A boot is what one address takes of one generation to start once: a kernel and then an initramfs, one of them alone, or
// an ISO. A file that is asked for
//
//   - belongs to the newest boot of the address, architecture and generation in which it is not yet whole, and where
//     nobody takes it at the time or only a part of it is asked for; a kernel only as long as no initramfs was asked for,
//   - an ISO, which is read in thousands of parts and never whole, to the boot whose last part was sent less than two
//     minutes (abandoned) ago,
//   - else it begins a boot.
//
// So a download that broke off and is taken up again is one boot. What a proxy or smee reads for others is that of its
// own address. An extra file that is being sent is shown too; it is no boot, and is forgotten when nobody takes it any
// more. The last 200 boots that nobody takes anything of are kept, and those that are running, of which there are
// at most as many as connections.
type ledger struct {
	now   func() time.Time // nil for none: there are no rates and no times then
	names func(netip.Addr) string

	mu    sync.Mutex
	last  int      // number of the newest entry
	all   []*entry // in the order in which they began
	still int      // of all, those that nobody takes anything of
}

// entry is a boot.
type entry struct {
	id         int
	key        machineKey
	name       string // of the machine
	generation string // plan id; of an extra file empty
	extra      string // the extra file's name; empty for a boot
	pieces     [kinds]piece
	began      time.Time
	touched    time.Time // when something of it was last begun or ended
	running    int       // requests
}

type fileKind int

const (
	kernelFile fileKind = iota
	initramfsFile
	isoFile
	extraFile
	kinds
)

func (k fileKind) String() string { return [...]string{"kernel", "initramfs", "ISO", "extra file"}[k] }

// piece is one file of a boot. The zero value is one that was not asked for.
type piece struct {
	asked   bool
	whole   bool            // sent to its end
	size    int64           // bytes
	sent    int64           // bytes of requests that have ended
	end     bool            // the last byte was among them
	running []*atomic.Int64 // bytes of each request that is being answered
	before  mark            // what the rate is measured from
	between mark            // what it will be measured from when that is old
}

// mark is how far a piece was.
type mark struct {
	at   time.Time
	sent int64
}

func newLedger(now func() time.Time, names func(netip.Addr) string) *ledger {
	if names == nil {
		names = func(netip.Addr) string { return "" }
	}
	return &ledger{now: now, names: names}
}

func (l *ledger) clock() time.Time {
	if l.now == nil {
		return time.Time{}
	}
	return l.now()
}

// kindOf says what a machine does with a file; ok false where that is not shown. arch is empty for an extra file.
func kindOf(f *file) (kind fileKind, arch plan.Arch, ok bool) {
	if f.extra != "" {
		return extraFile, "", true
	}
	for _, arch := range []plan.Arch{plan.X8664, plan.AArch64} {
		if f.original == artifacts.ISOName(arch) {
			return isoFile, arch, true
		}
	}
	arch, kernel, initramfs := archOf(f.original)
	switch {
	case kernel:
		return kernelFile, arch, true
	case initramfs:
		return initramfsFile, arch, true
	}
	return 0, "", false
}

// begin notes that a file, or a part of it, begins to be sent; sent counts its bytes. ended is to be called with the
// bytes that were sent in the end, and whether the file's last byte was the last of them.
func (l *ledger) begin(addr netip.Addr, f *file, part bool, sent *atomic.Int64) (ended func(bytes int64, toTheEnd bool)) {
	kind, arch, ok := kindOf(f)
	if !ok {
		return func(int64, bool) {}
	}
	name := l.names(addr)
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.find(machineKey{addr: addr, arch: arch}, f, kind, part, now)
	if e == nil {
		l.last++
		e = &entry{id: l.last, key: machineKey{addr: addr, arch: arch}, name: name, generation: f.generation, extra: f.extra, began: now}
		l.all = append(l.all, e)
		l.still++
	}
	p := &e.pieces[kind]
	if !part {
		*p = piece{}
	}
	p.asked, p.size = true, f.size
	p.running = append(p.running, sent)
	if len(p.running) == 1 {
		p.before, p.between = mark{now, p.sent}, mark{now, p.sent}
	}
	if e.running == 0 {
		l.still--
	}
	e.running++
	e.touched = now
	l.trim()
	return func(bytes int64, toTheEnd bool) { l.ended(e, kind, part, sent, bytes, toTheEnd) }
}

// find returns the boot that a request belongs to, nil for a new one.
func (l *ledger) find(key machineKey, f *file, kind fileKind, part bool, now time.Time) *entry {
	for _, e := range slices.Backward(l.all) {
		if e.key != key || e.generation != f.generation || e.extra != f.extra || e.pieces[isoFile].asked != (kind == isoFile) {
			continue
		}
		p := &e.pieces[kind]
		switch {
		case p.whole, len(p.running) > 0 && !part, kind == kernelFile && e.pieces[initramfsFile].asked:
		case kind == isoFile && e.running == 0 && now.Sub(e.touched) > abandoned:
		default:
			return e
		}
		return nil
	}
	return nil
}

// ended notes the end of an answer.
func (l *ledger) ended(e *entry, kind fileKind, part bool, sent *atomic.Int64, bytes int64, toTheEnd bool) {
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &e.pieces[kind]
	p.running = slices.DeleteFunc(p.running, func(n *atomic.Int64) bool { return n == sent })
	p.sent += bytes
	p.end = p.end || toTheEnd
	p.whole = kind != isoFile && p.end && p.sent >= p.size
	e.touched = now
	switch e.running--; {
	case e.running > 0:
	case e.extra != "":
		l.all = slices.DeleteFunc(l.all, func(other *entry) bool { return other == e })
	default:
		l.still++
	}
	l.trim()
}

// trim forgets the oldest boots.
func (l *ledger) trim() {
	for i := 0; l.still > keptBoots; {
		if l.all[i].running > 0 {
			i++
			continue
		}
		l.all = slices.Delete(l.all, i, i+1)
		l.still--
	}
}

// show returns what is to be seen now.
func (l *ledger) show() (page.Fetches, []page.Boot) {
	now := l.clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	var rows []page.Fetch
	boots := []page.Boot{}
	more := 0
	last := map[netip.Addr]string{} // the newest result of each
	for _, e := range slices.Backward(l.all) {
		switch {
		case !e.fetching(now):
			b := e.boot()
			boots = append(boots, b)
			if _, known := last[e.key.addr]; !known {
				last[e.key.addr] = b.Result
			}
		case len(rows) < shownFetches:
			rows = append(rows, e.fetch(now))
		default:
			more++
		}
	}
	for i, e := range rows {
		if addr, err := netip.ParseAddr(e.Address); err == nil {
			rows[i].Last = last[addr]
		}
	}
	return page.NewFetches(rows, more), boots
}

// fetching says whether the machine is still at it.
func (e *entry) fetching(now time.Time) bool {
	if e.running > 0 {
		return true
	}
	waits := e.pieces[isoFile].asked || e.pieces[kernelFile].whole && !e.pieces[initramfsFile].asked
	return waits && now.Sub(e.touched) < lingers && !now.IsZero()
}

// current is the file that the machine takes, or took last.
func (e *entry) current() (fileKind, *piece) {
	for kind := kinds - 1; kind > 0; kind-- {
		if p := &e.pieces[kind]; p.asked {
			return kind, p
		}
	}
	return kernelFile, &e.pieces[kernelFile]
}

// bytes is how much of it was sent so far.
func (p *piece) bytes() int64 {
	n := p.sent
	for _, r := range p.running {
		n += r.Load()
	}
	return n
}

// percent is below 100 as long as the file is not whole; what counts while it is sent has headers in it.
func (p *piece) percent() int {
	if p.whole || p.size == 0 {
		return 100
	}
	return int(min(100*p.bytes()/p.size, 99))
}

// rate is that of the last seconds, for people.
func (p *piece) rate(now time.Time) string {
	n := p.bytes()
	if now.Sub(p.between.at) >= rateSpan {
		p.before, p.between = p.between, mark{now, n}
	}
	return rateText(n-p.before.sent, now.Sub(p.before.at))
}

// rateText is empty where the time is too short to tell.
func rateText(bytes int64, d time.Duration) string {
	if d < time.Second/10 {
		return ""
	}
	return page.Bytes(int64(float64(max(bytes, 0))/d.Seconds())) + "/s"
}

func (e *entry) fetch(now time.Time) page.Fetch {
	kind, p := e.current()
	f := page.Fetch{
		ID: strconv.Itoa(e.id), Address: e.key.addr.String(), Name: e.name, What: kind.String(), Generation: short(e.generation),
		Percent: p.percent(), Rate: p.rate(now),
	}
	f.Progress = fmt.Sprintf("%d %% of %s", f.Percent, page.Bytes(p.size))
	if kind == extraFile {
		f.What = e.extra
	}
	if kind == isoFile {
		f.Progress = page.Bytes(p.bytes()) + " read of " + page.Bytes(p.size)
	}
	return f
}

func (e *entry) boot() page.Boot {
	b := page.Boot{
		ID: strconv.Itoa(e.id), Address: e.key.addr.String(), Name: e.name, Generation: short(e.generation),
	}
	for kind := range kinds {
		if !e.pieces[kind].asked {
			continue
		}
		if b.What != "" {
			b.What += ", "
		}
		b.What += kind.String()
	}
	if !e.began.IsZero() {
		took := e.touched.Sub(e.began)
		b.Time, b.Took = e.began.Format("Jan _2 15:04:05"), page.Duration(took)
		b.Rate = rateText(e.pieces[kernelFile].sent+e.pieces[initramfsFile].sent+e.pieces[isoFile].sent, took)
	}
	b.Result, b.Mark = e.result()
	return b
}

// result says what came of a boot, and whether that is good or bad.
func (e *entry) result() (text, mark string) {
	switch kind, p := e.current(); {
	case kind == isoFile:
		return page.Bytes(p.sent) + " read", ""
	case !p.whole:
		return fmt.Sprintf("%s cut off at %d %%", kind, p.percent()), "bad"
	case kind == kernelFile:
		return "kernel only", ""
	}
	return "done", "good"
}

// short is as much of a plan id as people need.
func short(id string) string { return id[:min(len(id), 12)] }
