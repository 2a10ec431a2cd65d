package serve

import (
	"cmp"
	"container/list"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
)

const (
	// remembered is how long after its last request a machine gets what belongs to its kernel.
	remembered = 15 * time.Minute

	// abandoned is how long a kernel may wait for its initramfs while the same address has others that do. iPXE
	// asks for the initramfs as soon as it has the kernel, so that the machine behind it has started anew.
	abandoned = 2 * time.Minute

	// Addresses are easily made up, IPv6 ones above all, so that both are bounded.
	maxMachines = 4096
	maxBoots    = 64 // of one address
)

// pairs sees to it that a machine that took a generation's kernel gets the same generation's initramfs, whatever is
// published meanwhile. A machine is known by its address only, and behind address translation several share one:
//
//   - an initramfs goes to the kernel that came over the same connection, else to the oldest kernel still without one,
//     kernels that have waited for longer than abandoned last, and of those the youngest;
//   - a kernel that was not sent whole does not count, and an initramfs that was not sent whole may be asked for again;
//   - where no kernel waits, the address gets the initramfs of its last boot.
//
// An ISO is read in thousands of parts, by smee for all machines: the address gets those of the generation that it began
// with, as long as it is remembered.
//
// A generation that somebody may still ask for is held, so that it is not removed.
type pairs struct {
	now  func() time.Time
	hold func(id string) (artifacts.Generation, func() error, error)
	log  *slog.Logger

	mu       sync.Mutex
	machines map[machineKey]*list.Element
	byUse    *list.List // of *machine, the one that asked last in front
	held     map[string]*held
}

type machineKey struct {
	addr netip.Addr
	arch plan.Arch
	iso  bool // who reads an ISO in parts, which is a group of its own
}

// machine is what stands behind one address, for one architecture. Who reads an ISO has one boot.
type machine struct {
	key     machineKey
	last    time.Time
	running int     // requests that are being answered
	boots   []*boot // in the order of their kernels
}

// boot is a kernel and what came of it.
type boot struct {
	gen    *held
	conn   string // the remote address and port that the kernel went to
	state  state
	waits  time.Time // since when, in waiting
	called int       // counts up with every use, to tell the last one
}

type state int

const (
	fetching state = iota // the kernel is under way
	waiting               // the kernel has arrived, no initramfs yet
	served                // an initramfs is under way, or has arrived
)

// held is a generation with the number of boots that need it.
type held struct {
	artifacts.Generation
	release func() error
	boots   int
}

func newPairs(hold func(string) (artifacts.Generation, func() error, error), now func() time.Time, log *slog.Logger) *pairs {
	return &pairs{now: now, hold: hold, log: log, machines: map[machineKey]*list.Element{}, byUse: list.New(), held: map[string]*held{}}
}

// kernel notes that a machine begins to take a generation's kernel. done is to be called when that has ended. An
// error says that the generation cannot be held; then nothing is noted and done may be called all the same.
func (p *pairs) kernel(key machineKey, conn, id string) (done func(whole bool), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gen, err := p.acquire(id)
	if err != nil {
		return func(bool) {}, err
	}
	m := p.touch(key)
	b := &boot{gen: gen, conn: conn}
	m.boots = append(m.boots, b)
	m.running++
	if len(m.boots) > maxBoots {
		p.drop(m, m.boots[0])
	}
	return func(whole bool) { p.ended(m, func() { p.fetched(m, b, whole) }) }, nil
}

// fetched is what becomes of a boot whose kernel was sent, or not.
func (p *pairs) fetched(m *machine, b *boot, whole bool) {
	switch {
	case b.state != fetching: // its initramfs has been asked for already
	case whole:
		b.state, b.waits = waiting, p.now()
	default:
		p.drop(m, b)
	}
}

// initramfs returns the generation whose initramfs a machine has to get, ok false where any will do. wanted is the
// SHA-256 that the client says it has a part of, or empty. take says that it is going to be sent, and not only asked
// for. done is to be called when that has ended.
func (p *pairs) initramfs(key machineKey, conn, wanted string, take bool) (gen artifacts.Generation, done func(whole bool), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	element, known := p.machines[key]
	if !known {
		return gen, func(bool) {}, false
	}
	m := element.Value.(*machine)
	b := p.pick(m, conn, wanted)
	if b == nil {
		return gen, func(bool) {}, false
	}
	p.touch(key)
	if !take {
		return b.gen.Generation, func(bool) {}, true
	}
	before := b.state
	b.state = served
	m.running++
	b.called = 1 + slices.MaxFunc(m.boots, func(x, y *boot) int { return cmp.Compare(x.called, y.called) }).called
	return b.gen.Generation, func(whole bool) {
		p.ended(m, func() { p.delivered(m, b, before, whole) })
	}, true
}

// isoPart returns the generation whose ISO an address gets a part of: the one that it has read before, or that with this
// id. take says that it is going to be sent, and not only asked for, upon which nothing begins: the zero Generation then
// stands for any. done is to be called when the part has been sent. An error is as of kernel.
func (p *pairs) isoPart(addr netip.Addr, arch plan.Arch, id string, take bool) (gen artifacts.Generation, done func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := machineKey{addr: addr, arch: arch, iso: true}
	var first *held
	if _, known := p.machines[key]; !known {
		if !take {
			return gen, func() {}, nil
		}
		if first, err = p.acquire(id); err != nil {
			return gen, func() {}, err
		}
	}
	m := p.touch(key)
	if first != nil {
		m.boots = append(m.boots, &boot{gen: first, state: served})
	}
	m.running++
	return m.boots[0].gen.Generation, func() { p.ended(m, func() {}) }, nil
}

// delivered is what becomes of a boot whose initramfs was sent, or not. Of the boots that are done only the last one
// is kept.
func (p *pairs) delivered(m *machine, b *boot, before state, whole bool) {
	if !whole && before != served {
		b.state, b.waits = waiting, p.now()
	}
	if !whole {
		return
	}
	for _, old := range slices.Clone(m.boots) {
		if old.state == served && old.called < b.called {
			p.drop(m, old)
		}
	}
}

// count is how many machines are remembered.
func (p *pairs) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byUse.Len()
}

// pick chooses among a machine's boots as the comment of pairs says.
func (p *pairs) pick(m *machine, conn, wanted string) *boot {
	late := p.now().Add(-abandoned)
	return slices.MinFunc(append([]*boot{nil}, m.boots...), func(a, b *boot) int {
		if a == nil || b == nil { // any boot is better than none
			return cmp.Compare(asInt(a == nil), asInt(b == nil))
		}
		return cmp.Or(
			cmp.Compare(asInt(wanted != "" && !a.has(wanted)), asInt(wanted != "" && !b.has(wanted))),
			cmp.Compare(a.rank(conn, late), b.rank(conn, late)),
			a.order(b, conn, late),
		)
	})
}

func asInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// has says whether the boot's initramfs has that SHA-256.
func (b *boot) has(sum string) bool {
	f, ok := entryOf(b.gen.Manifest, artifacts.InitramfsName(b.gen.Manifest.Plan.Arch))
	return ok && f.SHA256 == sum
}

// rank sorts boots into those that come first for an initramfs and those that come later.
func (b *boot) rank(conn string, late time.Time) int {
	switch {
	case b.state == waiting && b.conn == conn:
		return 0
	case b.state == waiting && b.waits.After(late):
		return 1
	case b.state == waiting:
		return 2
	case b.state == fetching: // its last byte may have arrived before this server noticed that it was sent
		return 3
	}
	return 4
}

// order compares two boots of the same rank: the one whose kernel came first goes before, which the stable order of
// boots gives, but of those that were abandoned or are done it is the last.
func (b *boot) order(other *boot, conn string, late time.Time) int {
	switch b.rank(conn, late) {
	case 2:
		return other.waits.Compare(b.waits)
	case 4:
		return cmp.Compare(other.called, b.called)
	}
	return 0
}

// ended notes the end of a request.
func (p *pairs) ended(m *machine, change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.running--
	if e, ok := p.machines[m.key]; !ok || e.Value != m {
		return // forgotten meanwhile
	}
	p.touch(m.key)
	change()
}

// touch notes that a machine is there, and forgets one where there are too many.
func (p *pairs) touch(key machineKey) *machine {
	e, ok := p.machines[key]
	if !ok {
		e = p.byUse.PushFront(&machine{key: key})
		p.machines[key] = e
	}
	p.byUse.MoveToFront(e)
	m := e.Value.(*machine)
	m.last = p.now()
	if p.byUse.Len() > maxMachines {
		p.forget(p.byUse.Back())
	}
	return m
}

// expire forgets the machines that have not asked for long.
func (p *pairs) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.now().Add(-remembered)
	for e := p.byUse.Back(); e != nil; {
		m, next := e.Value.(*machine), e.Prev()
		if m.last.After(before) {
			return
		}
		if m.running == 0 {
			p.forget(e)
		}
		e = next
	}
}

func (p *pairs) forget(e *list.Element) {
	m := p.byUse.Remove(e).(*machine)
	delete(p.machines, m.key)
	for len(m.boots) > 0 {
		p.drop(m, m.boots[0])
	}
}

// close gives everything back.
func (p *pairs) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.byUse.Len() > 0 {
		p.forget(p.byUse.Back())
	}
}

// drop takes a boot out; the generation is let go when nobody needs it any more.
func (p *pairs) drop(m *machine, b *boot) {
	i := slices.Index(m.boots, b)
	if i < 0 {
		return
	}
	m.boots = slices.Delete(m.boots, i, i+1)
	if b.gen.boots--; b.gen.boots > 0 {
		return
	}
	delete(p.held, b.gen.ID())
	if err := b.gen.release(); err != nil {
		p.log.Warn("a generation stays held until this program ends", "generation", b.gen.ID(), "error", err)
	}
}

func (p *pairs) acquire(id string) (*held, error) {
	g, ok := p.held[id]
	if !ok {
		gen, release, err := p.hold(id)
		if err != nil {
			return nil, err
		}
		g = &held{Generation: gen, release: release}
		p.held[id] = g
	}
	g.boots++
	return g, nil
}
