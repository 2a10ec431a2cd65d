package dhcp

import (
	"regexp"
	"strings"
)

// dnsmasqWord is a host name that dnsmasq would take for a lease time, or for an order (dnsmasq(8), --dhcp-host).
var dnsmasqWord = regexp.MustCompile(`^([0-9]+[smhdw]?|infinite|ignore)$`)

// dnsmasqQuote quotes a value so that commas and # lose their meaning.
func dnsmasqQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// dnsmasq writes what dnsmasq(8) describes.
func (p *page) dnsmasq(s Site, snippet bool) {
	install := "Put this into a file such as /etc/dnsmasq.d/eks-anywhere.conf, try it with `dnsmasq --test`, and restart dnsmasq."
	if snippet {
		install = "Only the part about booting. " + install
	}
	p.intro(s, install)
	if !snippet {
		p.dnsmasqNetwork(s)
	}
	p.say("%s\ndnsmasq looks for the text anywhere in the option, so that both forms fit.", aboutTinkerbell)
	p.line("dhcp-userclass=set:tinkerbell,%s", tinkerbellClass)
	p.say("%s", s.scriptText())
	p.line("dhcp-boot=tag:tinkerbell,%s", dnsmasqQuote(s.Script()))
	p.gap()
	p.say("%s", aboutFirmware)
	for _, b := range s.answered() {
		p.gap()
		p.say("%s", b.name)
		for _, arch := range b.archs {
			p.line("dhcp-match=set:%s,option:client-arch,%d", b.tag, arch)
		}
		if !b.http {
			p.line("dhcp-boot=tag:%s,tag:!tinkerbell,%s,,%s", b.tag, b.file, s.StackIP())
			continue
		}
		p.say("%s", aboutHTTP)
		p.line("dhcp-boot=tag:%s,tag:!tinkerbell,%s", b.tag, dnsmasqQuote(s.Binary(b.file)))
		p.line("dhcp-option-force=tag:%s,tag:!tinkerbell,60,%s", b.tag, httpClient)
	}
}

func (p *page) dnsmasqNetwork(s Site) {
	p.say("DHCP only, no DNS.")
	p.line("port=0")
	if s.Interface != "" {
		p.say("On this interface only, so that another dnsmasq, libvirt's for instance, can have other ones of this host.")
		p.line("interface=%s", s.Interface)
		p.line("bind-dynamic")
	}
	p.say("This is the network's only DHCP server: it may refuse addresses that are none of its own.")
	p.line("dhcp-authoritative")
	p.say("%s", aboutMAC)
	p.line("dhcp-ignore-clid")
	p.gap()
	p.say("Gateway and DNS; without a value machines are told none, where dnsmasq would name itself.")
	p.line("%s", strings.TrimSuffix("dhcp-option=option:router,"+optional(s.Gateway), ","))
	p.line("%s", strings.TrimSuffix("dhcp-option=option:dns-server,"+joined(s.DNS, ","), ","))
	p.gap()
	if !s.KnownOnly {
		p.say("%s", aboutUnknown)
		p.line("dhcp-range=%s,%s,%s,%d", s.First, s.Last, mask(s.Subnet), leaseSeconds)
		p.gap()
		return
	}
	p.say("%s", aboutKnown)
	p.line("dhcp-range=%s,static,%s,%d", s.Subnet.Addr(), mask(s.Subnet), leaseSeconds)
	for _, m := range s.Machines {
		if dnsmasqWord.MatchString(m.Hostname) {
			p.say("without its name, %s, which dnsmasq would take for a lease time", m.Hostname)
			p.line("dhcp-host=%s,%s", m.MAC, m.IP)
			continue
		}
		p.line("dhcp-host=%s,%s,%s", m.MAC, m.IP, m.Hostname)
	}
	p.gap()
}
