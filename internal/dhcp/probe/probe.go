// Package probe asks a running DHCP server what it would tell machines that boot: one DISCOVER of each kind of client
// goes out (RFC 2131), the OFFERs are read as firmware and iPXE read them, and judged by what a dhcp.Site must answer.
// No REQUEST is ever sent, so no lease is taken: a server keeps what it has offered aside for a while and forgets it.
package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/hookbuild/hookbuild/internal/dhcp"
)

// What Options come to where they are zero.
const (
	// DefaultTimeout is longer than servers take that first see whether an address is in use: dnsmasq sends pings for
	// three seconds, ISC dhcpd for one.
	DefaultTimeout = 5 * time.Second
	DefaultRetries = 1
)

// maxOffers bounds what is kept of the answers to one DISCOVER.
const maxOffers = 16

// unknownName is the kind that is added where machines without a reservation are to get nothing.
const unknownName = "a machine without a reservation"

// Options say what to ask, and what to expect.
type Options struct {
	Site    dhcp.Site
	MAC     net.HardwareAddr // that every kind of client is asked with
	Unknown net.HardwareAddr // a MAC without a reservation, asked with last; nil: not asked
	Timeout time.Duration    // for each try; zero: DefaultTimeout
	Retries int              // after a try without an answer; negative: none
	// Progress is told what is asked, out of how many; nil: nobody is.
	Progress func(n, of int, client string, try int)
}

// Report is what came of a probe.
type Report struct {
	Via     string       `json:"via"`
	MAC     string       `json:"mac"`
	OK      bool         `json:"ok"` // every answer is right, and servers do not contradict each other
	Servers []netip.Addr `json:"servers"`
	// Findings are about the network as a whole.
	Findings []string `json:"findings"`
	Results  []Result `json:"results"`
}

// Result is what came of one kind of client.
type Result struct {
	Client string      `json:"client"`
	Right  bool        `json:"right"`
	Want   dhcp.Answer `json:"want"`
	Offers []Offer     `json:"offers"` // the first one of each server
	Faults []Fault     `json:"faults"`
	Notes  []string    `json:"notes,omitempty"` // what is not wrong and good to know

	asked  dhcp.Client
	broken []string // answers that cannot be read
}

// run is one probe.
type run struct {
	*Conn
	Options

	sent    map[dhcpv4.TransactionID]int // which result a transaction belongs to
	results []Result
}

// Run asks, one client after the other, and returns when all have been answered or given up. The error is ctx's, or an
// *AccessError where nothing can be sent.
func Run(ctx context.Context, conn *Conn, o Options) (Report, error) {
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	r := &run{Conn: conn, Options: o, sent: map[dhcpv4.TransactionID]int{}}
	clients := dhcp.Clients()
	for i := range clients {
		clients[i].MAC = o.MAC
	}
	if o.Unknown != nil {
		c := clients[0]
		c.Name, c.MAC = unknownName, o.Unknown
		clients = append(clients, c)
	}
	for _, c := range clients {
		r.results = append(r.results, Result{Client: c.Name, Want: o.Site.Answer(c), Offers: []Offer{}, asked: c})
	}
	for i := range r.results {
		if err := r.ask(ctx, i); err != nil {
			return Report{}, err
		}
	}
	return r.report(), nil
}

// ask sends the DISCOVER of one client until there is an answer or no try is left. Where not even the first client was
// answered, nor anyone since, the others have one try each: a network without a server should not take minutes.
func (r *run) ask(ctx context.Context, i int) error {
	tries := 1 + max(r.Retries, 0)
	answered := slices.ContainsFunc(r.results[:i], func(before Result) bool { return len(before.Offers) > 0 })
	if i > 0 && !answered {
		tries = 1
	}
	for try := range tries {
		if r.Progress != nil {
			r.Progress(i+1, len(r.results), r.results[i].Client, try+1)
		}
		p, err := r.discover(r.results[i].asked, time.Duration(try)*r.Timeout)
		if err != nil {
			return err
		}
		r.sent[p.TransactionID] = i
		if _, err := r.WriteTo(p.ToBytes(), r.to); err != nil {
			return &AccessError{What: "asking by " + r.via, Err: err}
		}
		if err := r.collect(ctx, i); err != nil {
			return err
		}
		if len(r.results[i].Offers) > 0 || len(r.results[i].broken) > 0 {
			break
		}
	}
	return nil
}

// collect reads answers until the time for one has passed, and after the first for a fifth of it, since other servers
// may be slower.
func (r *run) collect(ctx context.Context, i int) error {
	if err := r.receive(ctx, r.Timeout, func() bool { return len(r.results[i].Offers) > 0 }); err != nil {
		return err
	}
	if len(r.results[i].Offers) == 0 {
		return nil
	}
	return r.receive(ctx, r.Timeout/5, func() bool { return false })
}

// receive reads answers until it is enough or the time has passed.
func (r *run) receive(ctx context.Context, wait time.Duration, enough func() bool) error {
	waiting, done := context.WithTimeout(ctx, wait)
	defer done()
	deadline, _ := waiting.Deadline()
	if err := r.SetReadDeadline(deadline); err != nil {
		return &AccessError{What: "waiting by " + r.via, Err: err}
	}
	wake := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) }) // a closed socket wakes the reader too
	defer wake()
	buf := make([]byte, 1<<16)
	for !enough() {
		n, from, err := r.ReadFrom(buf)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return &AccessError{What: "waiting by " + r.via, Err: err}
		}
		r.keep(buf[:n], from)
	}
	return nil
}

// keep adds an answer to the client that it is for, which need not be the last one asked.
func (r *run) keep(packet []byte, from net.Addr) {
	if len(packet) < endFile {
		return
	}
	i, ours := r.sent[dhcpv4.TransactionID(packet[xidAt:xidAt+4])]
	udp, ok := from.(*net.UDPAddr)
	if !ours || !ok || len(r.results[i].Offers)+len(r.results[i].broken) >= maxOffers {
		return
	}
	offer, err := readOffer(packet, udp.AddrPort().Addr().Unmap())
	known := func(o Offer) bool { return o.Server == offer.Server && o.From == offer.From }
	switch {
	case errors.Is(err, errNotOurs):
	case err != nil:
		r.results[i].broken = append(r.results[i].broken, err.Error())
	case !slices.ContainsFunc(r.results[i].Offers, known):
		r.results[i].Offers = append(r.results[i].Offers, offer)
	}
}

// report judges what has come.
func (r *run) report() Report {
	report := Report{Via: r.via, MAC: r.MAC.String(), OK: true, Servers: []netip.Addr{}, Findings: []string{}}
	for _, result := range r.results {
		for _, o := range result.Offers {
			if !slices.Contains(report.Servers, o.Server) {
				report.Servers = append(report.Servers, o.Server)
			}
		}
	}
	judge(r.Site, r.results, r.giaddr)
	for _, result := range r.results {
		report.OK = report.OK && result.Right
	}
	report.Results = r.results
	if len(report.Servers) > 1 {
		text, agree := severalServers(report)
		report.Findings = append(report.Findings, text)
		report.OK = report.OK && agree
	}
	return report
}

// severalServers says what two servers on one network come to.
func severalServers(report Report) (text string, agree bool) {
	text = fmt.Sprintf("%d DHCP servers answer: %s; a machine takes the answer that comes first", len(report.Servers), join(report.Servers))
	for _, result := range report.Results {
		for _, o := range result.Offers {
			if first := result.Offers[0]; o.Address != first.Address || o.BootFile != first.BootFile || o.loads() && o.NextServer != first.NextServer {
				return text + ", and they do not say the same (" + result.Client + " for one), so that some boots go one way and some the other." +
					" EKS Anywhere's own server cannot be switched off: keep UDP port 67 of the admin machine and the cluster out of this network", false
			}
		}
	}
	return text + "; they say the same, as servers do that share one configuration", true
}
