package dhcp

import (
	"encoding/json"
	"fmt"
	"strings"
)

// keaQuote quotes a string as JSON does (RFC 8259), without the escapes that are for HTML.
func keaQuote(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("a string that JSON cannot have: " + err.Error())
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// kea writes what the manual of Kea (https://kea.readthedocs.io) describes: JSON with comments.
func (p *page) kea(s Site, snippet bool) {
	install := "Put this into /etc/kea/kea-dhcp4.conf, try it with `kea-dhcp4 -t /etc/kea/kea-dhcp4.conf`, and restart kea-dhcp4-server."
	if snippet {
		install = "Only the part about booting: a member of \"Dhcp4\". Where there are client-classes already, put these behind them: of several\n" +
			"classes that fit and set a boot file the first one counts. \"match-client-id\": false belongs into the subnet.\n" +
			"Try it with `kea-dhcp4 -t /etc/kea/kea-dhcp4.conf`."
	}
	p.intro(s, install)
	if snippet {
		p.keaClasses(s, "")
		return
	}
	p.line("{")
	p.line("\"Dhcp4\": {")
	p.indent = "  "
	p.keaServer(s)
	p.keaClasses(s, ",")
	p.gap()
	p.keaSubnet(s)
	p.indent = ""
	p.line("}")
	p.line("}")
}

func (p *page) keaServer(s Site) {
	on := "*"
	if s.Interface != "" {
		on = s.Interface
	}
	p.say("An interface whose link is not up yet is tried again for a minute; without that Kea would not listen there.")
	p.line("\"interfaces-config\": {")
	p.line("  \"interfaces\": [ %s ],", keaQuote(on))
	p.line("  \"service-sockets-max-retries\": 60, \"service-sockets-retry-wait-time\": 1000")
	p.line("},")
	p.line("\"lease-database\": { \"type\": \"memfile\" },")
	p.line("\"valid-lifetime\": %d,", leaseSeconds)
	p.say("This is the network's only DHCP server: it may refuse addresses that are none of its own.")
	p.line("\"authoritative\": true,")
	p.say("%s", aboutMAC)
	p.line("\"match-client-id\": false,")
	p.line("\"host-reservation-identifiers\": [ \"hw-address\" ],")
	p.gap()
}

// keaClasses must be disjoint: the first class that fits and sets a boot file counts.
func (p *page) keaClasses(s Site, end string) {
	p.line("\"client-classes\": [")
	base := p.indent
	p.indent += "  "
	p.say("%s", aboutTinkerbell)
	p.say("%s", s.scriptText())
	p.keaClass("tinkerbell", fmt.Sprintf("substring(option[77].hex,0,%[1]d) == '%[2]s' or substring(option[77].hex,1,%[1]d) == '%[2]s'",
		len(tinkerbellClass), tinkerbellClass), []string{`"boot-file-name": ` + keaQuote(s.Script())}, ",")
	p.gap()
	p.say("%s", aboutFirmware)
	boots := s.answered()
	for i, b := range boots {
		var tests []string
		for _, arch := range b.archs {
			tests = append(tests, fmt.Sprintf("option[93].hex == 0x%04x", arch))
		}
		test := "not member('tinkerbell') and (" + strings.Join(tests, " or ") + ")"
		then := []string{`"next-server": ` + keaQuote(s.StackIP().String()), `"boot-file-name": ` + keaQuote(b.file)}
		p.say("%s", b.name)
		if b.http {
			p.say("%s", aboutHTTP)
			then = []string{`"boot-file-name": ` + keaQuote(s.Binary(b.file)),
				`"option-data": [ { "name": "vendor-class-identifier", "data": ` + keaQuote(httpClient) + `, "always-send": true } ]`}
		}
		comma := ","
		if i == len(boots)-1 {
			comma = ""
		}
		p.keaClass(b.tag, test, then, comma)
	}
	p.indent = base
	p.line("]%s", end)
}

func (p *page) keaClass(name, test string, then []string, end string) {
	p.line("{")
	p.line("  \"name\": %s,", keaQuote(name))
	p.line("  \"test\": %s,", keaQuote(test))
	p.line("  %s", strings.Join(then, ",\n"+p.indent+"  "))
	p.line("}%s", end)
}

func (p *page) keaSubnet(s Site) {
	p.line("\"subnet4\": [ {")
	p.indent += "  "
	p.line("\"id\": 1,")
	if s.ServerSubnet.IsValid() {
		p.say("Machines are behind a relay, whose address in this network tells Kea that they are here.")
	}
	p.line("\"subnet\": %s,", keaQuote(s.Subnet.String()))
	var options []string
	if s.Gateway.IsValid() {
		options = append(options, `{ "name": "routers", "data": `+keaQuote(s.Gateway.String())+` }`)
	}
	if len(s.DNS) > 0 {
		options = append(options, `{ "name": "domain-name-servers", "data": `+keaQuote(joined(s.DNS, ", "))+` }`)
	}
	if len(options) > 0 {
		p.line("\"option-data\": [ %s ],", strings.Join(options, ", "))
	}
	if !s.KnownOnly {
		p.say("%s", aboutUnknown)
		p.line("\"pools\": [ { \"pool\": %s } ]", keaQuote(s.First.String()+" - "+s.Last.String()))
	} else {
		p.say("%s\nThere is no pool, so that only reservations are answered.", aboutKnown)
		p.line("\"reservations\": [")
		for i, m := range s.Machines {
			comma := ","
			if i == len(s.Machines)-1 {
				comma = ""
			}
			p.line("  { \"hw-address\": %s, \"ip-address\": %s, \"hostname\": %s }%s",
				keaQuote(m.MAC.String()), keaQuote(m.IP.String()), keaQuote(m.Hostname), comma)
		}
		p.line("]")
	}
	p.indent = p.indent[2:]
	p.line("} ]")
}
