package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/dhcp"
	"github.com/hookbuild/hookbuild/internal/dhcp/probe"
	"github.com/hookbuild/hookbuild/internal/engine"
)

// stageProbe is the name of the probe in progress.
const stageProbe = "probe"

// wrongDHCPError says that a DHCP server will not do; what is wrong has been shown.
type wrongDHCPError struct{ report probe.Report }

func (e *wrongDHCPError) Error() string {
	var wrong []string
	for _, r := range e.report.Results {
		if !r.Right {
			wrong = append(wrong, r.Client)
		}
	}
	switch {
	case len(wrong) == 0:
		return "DHCP servers contradict each other"
	case len(e.report.Servers) == 0:
		return fmt.Sprintf("by %s no DHCP server answers", e.report.Via)
	}
	return fmt.Sprintf("machines will not boot as they should (%s)", strings.Join(wrong, "; "))
}

// Hint says what makes it right.
func (e *wrongDHCPError) Hint() string {
	if len(e.report.Servers) == 0 {
		return "machines ask by broadcast: probe from a host in their network, or through the relay's address with --relay SERVER --giaddr ADDR"
	}
	return "hookbuild dhcp --format dnsmasq, kea, isc or microsoft, with the same flags, writes a configuration that answers right"
}

// probeFlags are those of hookbuild dhcp probe beside what describes the network.
func probeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "relay", Usage: "with probe: ask the server at `ADDR` as a relay does, instead of broadcasting from --interface"},
		&cli.StringFlag{Name: "giaddr", Usage: "with probe: `ADDR` of this host that the relay is known by, and the server chooses the subnet by (default: the one towards the server)"},
		&cli.StringFlag{Name: "mac", Usage: "with probe: `MAC` address to ask with (default: that of the first machine in --hardware, else one made up for this run)"},
		&cli.DurationFlag{Name: "answer-timeout", Value: probe.DefaultTimeout, Usage: "with probe: `DURATION` that each try waits for an answer"},
		&cli.IntFlag{Name: "retries", Value: probe.DefaultRetries, Usage: "with probe: `NUMBER` of tries after one without an answer"},
	}
}

// onlyForProbe refuses flags that only a probe has a use for.
func onlyForProbe(c *cli.Context) error {
	for _, f := range probeFlags() {
		if name := f.Names()[0]; c.IsSet(name) {
			return &usageError{fmt.Sprintf("--%s is for hookbuild dhcp probe", name)}
		}
	}
	return nil
}

// dhcpProbe asks the server that is there.
func (p *program) dhcpProbe(c *cli.Context, s settings, site dhcp.Site) error {
	if s.offline {
		return &usageError{"dhcp probe asks a server, and --offline forbids that"}
	}
	if err := site.Validate(true); err != nil {
		return err
	}
	o, err := probeOptions(c, site)
	if err != nil {
		return err
	}
	conn, err := probeConn(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	report, err := p.runProbe(c, s, conn, o)
	if err != nil {
		return err
	}
	if s.json {
		err = p.printJSON(report)
	} else {
		err = p.showProbe(report)
	}
	if err != nil || report.OK {
		return err
	}
	return &wrongDHCPError{report}
}

// runProbe shows how it goes on.
func (p *program) runProbe(c *cli.Context, s settings, conn *probe.Conn, o probe.Options) (probe.Report, error) {
	show, err := p.reporter(s)
	if err != nil {
		return probe.Report{}, err
	}
	defer show.Close()
	show.Start(stageProbe)
	o.Progress = func(n, of int, client string, try int) {
		text := fmt.Sprintf("%d of %d: %s", n, of, client)
		if try > 1 {
			text += fmt.Sprintf(" (try %d)", try)
		}
		show.Output(stageProbe, engine.Event{Step: text})
	}
	begin := p.Now()
	report, err := probe.Run(c.Context, conn, o)
	show.End(stageProbe, "", p.Now().Sub(begin), err)
	return report, err
}

// probeConn opens the way that the flags name.
func probeConn(c *cli.Context) (*probe.Conn, error) {
	ifc, relay := c.String("interface"), c.String("relay")
	switch {
	case ifc == "" && relay == "":
		return nil, &usageError{"dhcp probe: say with --interface IF where to ask, or with --relay ADDR whom"}
	case ifc != "" && relay != "":
		return nil, &usageError{"dhcp probe: --interface asks by broadcast and --relay asks one server; give one of them"}
	case relay == "" && c.String("giaddr") != "":
		return nil, &usageError{"dhcp probe: --giaddr is for --relay"}
	case ifc != "":
		return probe.OnInterface(ifc)
	}
	server, err := ipv4Flag(c, "relay")
	if err != nil {
		return nil, err
	}
	giaddr, err := ipv4Flag(c, "giaddr")
	if err != nil {
		return nil, err
	}
	return probe.AsRelay(server, giaddr)
}

// ipv4Flag is the zero Addr where the flag is not given.
func ipv4Flag(c *cli.Context, name string) (netip.Addr, error) {
	text := c.String(name)
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() || a.IsUnspecified() || a.IsMulticast() {
		return netip.Addr{}, &usageError{fmt.Sprintf("--%s %s: want an IPv4 address", name, text)}
	}
	return a, nil
}

// probeOptions are what to ask, and with which MAC addresses.
func probeOptions(c *cli.Context, site dhcp.Site) (probe.Options, error) {
	o := probe.Options{Site: site, Timeout: c.Duration("answer-timeout"), Retries: c.Int("retries")}
	if o.Timeout < 100*time.Millisecond || o.Timeout > time.Minute {
		return o, &usageError{fmt.Sprintf("--answer-timeout %s: want between 100ms and 1m", o.Timeout)}
	}
	if o.Retries < 0 || o.Retries > 10 {
		return o, &usageError{fmt.Sprintf("--retries %d: want between 0 and 10", o.Retries)}
	}
	switch text := c.String("mac"); {
	case text != "":
		mac, err := net.ParseMAC(text)
		if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
			return o, &usageError{fmt.Sprintf("--mac %s: want the MAC address of a network card, such as 52:54:00:12:34:56", text)}
		}
		o.MAC = mac
	case len(site.Machines) > 0:
		o.MAC = site.Machines[0].MAC
	default:
		o.MAC = madeUpMAC()
	}
	if site.KnownOnly {
		o.Unknown = madeUpMAC()
	}
	return o, nil
}

// madeUpMAC is a locally administered one (IEEE 802), which no card has.
func madeUpMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	_, _ = rand.Read(mac) // which never fails
	mac[0] = mac[0]&^1 | 2
	return mac
}

// showProbe prints a line for each kind of client, and what is wrong beneath.
func (p *program) showProbe(r probe.Report) error {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for _, result := range r.Results {
		fmt.Fprintf(w, "%s\t%s\t%s\n", result.Client, map[bool]string{true: "right", false: "WRONG"}[result.Right], printable(answerText(result)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	lines := strings.SplitAfter(table.String(), "\n")
	var text strings.Builder
	fmt.Fprintf(&text, "asked by %s as %s\n\n", r.Via, r.MAC)
	said := map[string]bool{} // what is wrong for all is said in full once
	for i, result := range r.Results {
		text.WriteString(lines[i])
		for _, f := range result.Faults {
			from := ""
			if len(r.Servers) > 1 && f.Server.IsValid() {
				from = f.Server.String() + ": "
			}
			what := printable(f.Says)
			if said[what] {
				what = "as above: " + f.Code
			}
			said[printable(f.Says)] = true
			fmt.Fprintf(&text, "    - %s%s\n", from, what)
		}
		for _, n := range result.Notes {
			if !said[n] {
				fmt.Fprintf(&text, "    note: %s\n", printable(n))
			}
			said[n] = true
		}
	}
	text.WriteByte('\n')
	for _, f := range r.Findings {
		fmt.Fprintf(&text, "%s\n\n", f)
	}
	right := 0
	for _, result := range r.Results {
		if result.Right {
			right++
		}
	}
	fmt.Fprintf(&text, "%d of %d right\n", right, len(r.Results))
	_, err := fmt.Fprint(p.Stdout, text.String())
	return err
}

// answerText is what was answered, in short; of several servers all.
func answerText(r probe.Result) string {
	if len(r.Offers) == 0 {
		return "no answer"
	}
	var all []string
	for _, o := range r.Offers {
		text := o.Address.String()
		if o.BootFile != "" {
			text += ", " + o.BootFile
			if !strings.Contains(o.BootFile, "://") && o.NextServer.IsValid() {
				text += " from " + o.NextServer.String()
			}
		} else {
			text += ", no boot file"
		}
		if len(r.Offers) > 1 {
			text = o.Server.String() + " says " + text
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}
