package dhcp

import (
	"fmt"
	"net/netip"
	"strings"
)

// iscQuote quotes a string as dhcp-eval(5) reads it.
func iscQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// isc writes what dhcpd.conf(5) describes.
func (p *page) isc(s Site, snippet bool) {
	p.say("ISC dhcpd is at its end of life: its makers have not mended it since 2022, and recommend Kea. hookbuild dhcp --format kea\n" +
		"writes the same for Kea.")
	p.gap()
	install := "Put this into /etc/dhcp/dhcpd.conf, try it with `dhcpd -t -cf /etc/dhcp/dhcpd.conf`, and restart dhcpd."
	if snippet {
		install = "Only the part about booting: put it into a file of its own, and name that in dhcpd.conf, outside of all braces:\n" +
			"  include \"/etc/dhcp/eks-anywhere.conf\";\nTry it with `dhcpd -t -cf /etc/dhcp/dhcpd.conf`, and restart dhcpd."
	}
	p.intro(s, install)
	p.say("The name by which the architecture is asked for below; leave this line out where your dhcpd.conf has it already.")
	p.line("option client-arch code 93 = unsigned integer 16;")
	p.gap()
	if !snippet {
		p.iscNetwork(s)
	}
	p.iscBoot(s)
}

func (p *page) iscBoot(s Site) {
	p.say("%s", aboutTinkerbell)
	p.line("if substring(option user-class, 0, %[1]d) = %[2]s or substring(option user-class, 1, %[1]d) = %[2]s {",
		len(tinkerbellClass), iscQuote(tinkerbellClass))
	p.indent = "  "
	p.say("%s", s.scriptText())
	p.line("filename %s;", iscQuote(s.Script()))
	p.indent = ""
	p.gap()
	p.say("%s", aboutFirmware)
	for _, b := range s.answered() {
		var tests []string
		for _, arch := range b.archs {
			tests = append(tests, fmt.Sprintf("option client-arch = %02x:%02x", arch>>8, arch&0xff))
		}
		p.line("} elsif %s {", strings.Join(tests, " or "))
		p.indent = "  "
		p.say("%s", b.name)
		if b.http {
			p.say("%s\nThe last line sends it also to firmware that does not ask for it.", aboutHTTP)
			p.line("filename %s;", iscQuote(s.Binary(b.file)))
			p.line("option vendor-class-identifier %s;", iscQuote(httpClient))
			p.line("option dhcp-parameter-request-list = concat(option dhcp-parameter-request-list, 3c);")
		} else {
			p.line("next-server %s;", s.StackIP())
			p.line("filename %s;", iscQuote(b.file))
		}
		p.indent = ""
	}
	p.line("}")
}

func (p *page) iscNetwork(s Site) {
	where := "Which interface dhcpd listens on stands elsewhere: INTERFACESv4 in /etc/default/isc-dhcp-server, on Debian."
	if s.Interface != "" {
		where += fmt.Sprintf("\n  INTERFACESv4=\"%s\"", s.Interface)
	}
	p.say("%s", where)
	p.gap()
	p.say("This is the network's only DHCP server: it may refuse addresses that are none of its own.")
	p.line("authoritative;")
	p.line("default-lease-time %d;", leaseSeconds)
	p.line("max-lease-time %d;", leaseSeconds)
	p.say("%s", aboutMAC)
	p.line("ignore-client-uids true;")
	p.gap()
	if s.ServerSubnet.IsValid() {
		p.say("The network that this server stands in. Machines are behind a relay; without this dhcpd does not listen.")
		p.line("subnet %s netmask %s {", s.ServerSubnet.Addr(), mask(s.ServerSubnet))
		p.line("}")
		p.gap()
	} else {
		p.say("Where this server is not in this network itself but behind a relay, its own network must be here too, with empty braces:\n" +
			"--server-subnet writes that.")
	}
	p.line("subnet %s netmask %s {", s.Subnet.Addr(), mask(s.Subnet))
	p.indent = "  "
	if s.Gateway.IsValid() {
		p.line("option routers %s;", s.Gateway)
	}
	if len(s.DNS) > 0 {
		p.line("option domain-name-servers %s;", joined(s.DNS, ", "))
	}
	if s.KnownOnly {
		p.say("Machines without a host declaration below get no answer.")
		p.line("deny unknown-clients;")
	} else {
		p.say("%s", aboutUnknown)
		p.line("range %s %s;", s.First, s.Last)
	}
	p.indent = ""
	p.line("}")
	p.gap()
	if !s.KnownOnly {
		return
	}
	p.say("%s", aboutKnown)
	for _, m := range s.Machines {
		p.line("host hw-%s {", strings.ReplaceAll(m.MAC.String(), ":", ""))
		p.line("  hardware ethernet %s;", m.MAC)
		p.line("  fixed-address %s;", m.IP)
		p.line("  option host-name %s;", iscQuote(m.Hostname))
		p.line("}")
	}
	p.gap()
}

func optional(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}
