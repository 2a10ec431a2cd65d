package dhcp

import (
	"fmt"
	"net/netip"
	"strings"
)

// Format is a server's kind.
type Format string

// The formats.
const (
	Dnsmasq   Format = "dnsmasq"
	Kea       Format = "kea"
	ISC       Format = "isc"
	Microsoft Format = "microsoft"
)

// Formats returns all of them.
func Formats() []Format { return []Format{Dnsmasq, Kea, ISC, Microsoft} }

// leaseSeconds is how long an address is given for: long enough for an installation, short enough that a machine that
// is gone does not keep it.
const leaseSeconds = 3600

// Config writes the configuration that makes a server answer as Answer says: a complete one, or with snippet only what
// is about booting, to merge into another one. The error is a *SiteError.
func Config(s Site, f Format, snippet bool) ([]byte, error) {
	if err := s.Validate(snippet); err != nil {
		return nil, err
	}
	p := &page{}
	switch f {
	case Dnsmasq:
		p.mark = "#"
		p.dnsmasq(s, snippet)
	case Kea:
		p.mark = "//"
		p.kea(s, snippet)
	case ISC:
		p.mark = "#"
		p.isc(s, snippet)
	case Microsoft:
		p.mark = "#"
		p.microsoft(s, snippet)
	default:
		return nil, fmt.Errorf("DHCP server %q is not known", f)
	}
	return []byte(p.text.String()), nil
}

// page is a file on the way.
type page struct {
	mark   string // begins a comment
	indent string
	text   strings.Builder
}

// line writes a line.
func (p *page) line(format string, args ...any) {
	p.text.WriteString(p.indent)
	fmt.Fprintf(&p.text, format, args...)
	p.text.WriteByte('\n')
}

// say writes a comment of one or more lines.
func (p *page) say(format string, args ...any) {
	for l := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		p.text.WriteString(strings.TrimRight(p.indent+p.mark+" "+l, " ") + "\n")
	}
}

// gap writes an empty line.
func (p *page) gap() { p.text.WriteByte('\n') }

// intro is what every configuration begins with. install says what to do with the file.
func (p *page) intro(s Site, install string) {
	what := "EKS Anywhere " + s.Generation.Name + ", " + string(s.Phase) + " phase"
	if s.Generation.IsUpstream() {
		what = "Tinkerbell without EKS Anywhere"
	}
	p.say("DHCP for machines that boot into HookOS: %s.\nWritten by hookbuild dhcp.", what)
	p.gap()
	p.say("%s", install)
	p.gap()
	p.say("%s", s.phaseText())
	p.gap()
	p.say("%s", s.portsText())
	p.gap()
}

// phaseText says what changes when the stack moves.
func (s Site) phaseText() string {
	switch {
	case s.Generation.IsUpstream():
		return fmt.Sprintf("The stack is at %s, and stays there: without EKS Anywhere there is no bootstrap phase.", s.StackIP())
	case s.Phase == Cluster:
		return fmt.Sprintf("The stack is at %s, tinkerbellIP, since the management cluster was created. It stays there: upgrades and workload\n"+
			"clusters do not move it.", s.StackIP())
	case !s.TinkerbellIP.IsValid():
		return fmt.Sprintf("The stack is at %s, the admin machine, as long as `eksctl anywhere create cluster` makes the management\n"+
			"cluster. When it has ended, write this file once more, with --phase cluster and --tinkerbell-ip.", s.StackIP())
	}
	after := s
	after.Phase = Cluster
	var changes []string
	add := func(what, from, to string) {
		if from != to {
			changes = append(changes, fmt.Sprintf("  %s\n    now     %s\n    then    %s", what, from, to))
		}
	}
	add("next-server", s.StackIP().String(), after.StackIP().String())
	add("script URL", s.Script(), after.Script())
	if s.HTTPBoot {
		add("binaries' URL", s.Binary(""), after.Binary(""))
	}
	return fmt.Sprintf("The stack is at %s, the admin machine, as long as `eksctl anywhere create cluster` makes the management\n"+
		"cluster. When it has ended, the stack is at tinkerbellIP, and stays there. Change then, once, in the part about booting,\n"+
		"or write this file once more with --phase cluster:\n%s", s.StackIP(), strings.Join(changes, "\n"))
}

// portsText says what a firewall must let through.
func (s Site) portsText() string {
	tcp := []string{}
	for _, paths := range []string{s.Generation.In(s.Phase).Script, s.Generation.In(s.Phase).Binary} {
		port := "80"
		if rest, ok := strings.CutPrefix(paths, ":"); ok {
			port, _, _ = strings.Cut(rest, "/")
		}
		if len(tcp) == 0 || tcp[0] != port {
			tcp = append(tcp, port)
		}
	}
	return fmt.Sprintf("Ports that must be open for machines:\n"+
		"  udp 67                 to this server, or to the relay\n"+
		"  udp 69 and 514         to %[1]s: iPXE by TFTP, and the machines' logs\n"+
		"  tcp %-19[2]sto %[1]s: iPXE's script, and its binaries over HTTP\n"+
		"  tcp 7172 and 42113     to %[1]s: metadata, and the workflow (gRPC)\n"+
		"  tcp 8080               to the server of HookOS's files, hookImagesURLPath, as hookbuild serve has it",
		s.StackIP(), strings.Join(tcp, " and "))
}

// scriptText explains the URL.
func (s Site) scriptText() string {
	if strings.Contains(s.Script(), macVariable) {
		return "iPXE puts the booting card's MAC address in the place of ${netX/mac:hexhyp}; smee finds the machine by it."
	}
	return "smee finds the machine by its source address: it must be that of hardware.csv, without address translation."
}

// Texts that all formats share.
const (
	aboutTinkerbell = "Step 2: Tinkerbell's iPXE says so in its user class (option 77), as raw bytes or with their length before them (RFC 3004).\n" +
		"It goes before the architecture, or the machine would load iPXE for ever."
	aboutFirmware = "Step 1: everything else that boots from the network says an architecture (option 93) and gets Tinkerbell's iPXE for it.\n" +
		"This is for another iPXE too, in a card's ROM for instance: it can start only what is made for its own kind.\n" +
		"An operating system says no architecture, and gets an address only."
	aboutHTTP = "UEFI HTTP boot: the boot file is a URL, and firmware wants to see HTTPClient in option 60 of the answer."
	aboutMAC  = "A machine is one and the same by its MAC address. Firmware, iPXE and HookOS send different client ids (option 61),\n" +
		"and would get, or be refused, different addresses."
	aboutKnown   = "Machines of hardware.csv, with the addresses that EKS Anywhere will give them. Others get no answer."
	aboutUnknown = "Addresses for any machine. Better are reservations, with --hardware: EKS Anywhere gives machines the addresses of hardware.csv."
)

// boot returns the boots that the site answers.
func (s Site) answered() []boot {
	var all []boot
	for _, b := range s.boots() {
		if !b.http || s.HTTPBoot {
			all = append(all, b)
		}
	}
	return all
}

func joined(ips []netip.Addr, sep string) string {
	texts := make([]string, 0, len(ips))
	for _, ip := range ips {
		texts = append(texts, ip.String())
	}
	return strings.Join(texts, sep)
}
