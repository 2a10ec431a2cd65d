package dhcp

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// SiteError is all that is wrong with a site, in the words of hookbuild dhcp's flags.
type SiteError struct{ Faults []string }

// Error has a line for each fault.
func (e *SiteError) Error() string { return strings.Join(e.Faults, "\n") }

// longestFile is how much of the header's field for the boot file a name can take: 128 bytes with the zero that ends
// it (RFC 2131, 2). Option 67 could be longer, but firmware and servers use the field.
const longestFile = 127

// A MAC address as iPXE writes it into a URL.
const longestMAC = "00-00-00-00-00-00"

// inURL is what a URL may consist of here: RFC 3986's characters and iPXE's ${…}, without those that some server's
// syntax has a use for.
var inURL = regexp.MustCompile(`^[A-Za-z0-9:/?#\[\]@!$&()*+;=._~%{}-]+$`)

var (
	interfaceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,14}$`) // of Linux: IFNAMSIZ
	hostName      = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
)

// Validate says everything that keeps a configuration from being written. Of a part to merge, the network may be left
// open. The error is a *SiteError.
func (s Site) Validate(snippet bool) error {
	var faults []string
	add := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	s.checkStack(add)
	s.checkURLs(add)
	if s.Interface != "" && !interfaceName.MatchString(s.Interface) {
		add("--interface %q: this is no name of a network interface", s.Interface)
	}
	switch {
	case s.Subnet.IsValid():
		if s.checkNetwork(add) {
			s.checkRange(add)
			s.checkMachines(add)
		}
		s.checkOpen(add)
	case len(s.Machines) > 0 && !snippet:
		add("--subnet is missing, and the machines of %s are not all in one network by their addresses and netmasks", s.HardwareFile)
	case !snippet:
		add("--subnet is missing: the machines' network, such as 10.10.50.0/23; with --snippet only the boot part is written, which needs none")
	}
	if len(faults) == 0 {
		return nil
	}
	return &SiteError{faults}
}

// checkStack looks at the addresses of the stack.
func (s Site) checkStack(add func(string, ...any)) {
	for _, a := range []struct {
		flag string
		ip   netip.Addr
		need bool
	}{
		{"--bootstrap-ip", s.BootstrapIP, s.Phase == Bootstrap},
		{"--tinkerbell-ip", s.TinkerbellIP, s.Phase == Cluster},
	} {
		switch {
		case a.need && !a.ip.IsValid():
			add("%s is missing: machines boot from there in the %s phase", a.flag, s.Phase)
		case a.ip.IsValid() && (!a.ip.Is4() || !a.ip.IsGlobalUnicast()):
			add("%s %s: want an IPv4 address that machines can reach", a.flag, a.ip)
		}
	}
	if s.BootstrapIP.IsValid() && s.BootstrapIP == s.TinkerbellIP && !s.Generation.IsUpstream() {
		add("--bootstrap-ip and --tinkerbell-ip are both %s: tinkerbellIP must be a free address, not the admin machine's", s.TinkerbellIP)
	}
}

// checkURLs looks at what goes into the field for the boot file.
func (s Site) checkURLs(add func(string, ...any)) {
	if !s.StackIP().Is4() {
		return // said already
	}
	type file struct{ flag, text string }
	files := []file{{"--script-url", s.Script()}}
	if s.HTTPBoot || s.BinaryURL != "" {
		files = append(files, file{"--binary-url", s.Binary(nameX64)}, file{"--binary-url", s.Binary(s.Generation.ARM64)})
	}
	said := map[string]bool{}
	for _, f := range files {
		if said[f.flag] {
			continue
		}
		said[f.flag] = true
		u, err := url.Parse(strings.ReplaceAll(f.text, macVariable, longestMAC))
		expanded := len(strings.ReplaceAll(f.text, macVariable, longestMAC))
		switch {
		case !inURL.MatchString(f.text):
			add("%s %q: want a URL without blanks, quotes, commas, backslashes and characters beyond ASCII", f.flag, f.text)
		case err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "tftp" || u.Hostname() == "":
			add("%s %q: want a URL such as http://192.0.2.7:7171/…", f.flag, f.text)
		case max(len(f.text), expanded) > longestFile:
			shorter := ""
			if n := strings.Count(f.text, macVariable) * (len(macVariable) + 1); n > 0 && s.ScriptURL == "" {
				shorter = fmt.Sprintf("; with --url-by-mac=false it is %d shorter", n)
			}
			add("%s %s: %d characters, and a DHCP answer has room for %d%s", f.flag, f.text, max(len(f.text), expanded), longestFile, shorter)
		default:
			said[f.flag] = false
		}
	}
}

// checkNetwork looks at the subnet and what is told about it. False says that nothing can be compared with the subnet.
func (s Site) checkNetwork(add func(string, ...any)) bool {
	if !s.Subnet.Addr().Is4() || s.Subnet.Bits() < 8 || s.Subnet.Bits() > 30 {
		add("--subnet %s: want an IPv4 network between /8 and /30", s.Subnet)
		return false
	}
	if s.Subnet != s.Subnet.Masked() {
		add("--subnet %s: the network's own address is %s", s.Subnet, s.Subnet.Masked())
		return false
	}
	if s.Gateway.IsValid() && !s.isHost(s.Gateway) {
		add("--gateway %s: it is no host of --subnet %s", s.Gateway, s.Subnet)
	}
	for _, ip := range s.DNS {
		if !ip.Is4() {
			add("name server %s: want an IPv4 address", ip)
		}
	}
	if s.ServerSubnet.IsValid() {
		switch {
		case !s.ServerSubnet.Addr().Is4() || s.ServerSubnet != s.ServerSubnet.Masked():
			add("--server-subnet %s: want an IPv4 network by its own address", s.ServerSubnet)
		case s.ServerSubnet.Overlaps(s.Subnet):
			add("--server-subnet %s: it overlaps --subnet %s; leave it out where the server is in the machines' network", s.ServerSubnet, s.Subnet)
		}
	}
	return true
}

func (s Site) checkRange(add func(string, ...any)) {
	switch {
	case !s.First.IsValid() && !s.Last.IsValid():
		if !s.KnownOnly {
			add("--range is missing: nothing of --subnet %s is left for machines beside the addresses that are given", s.Subnet)
		}
		return
	case s.KnownOnly:
		add("--range is for machines that are not known, and with --hardware only known ones are answered")
		return
	case !s.isHost(s.First) || !s.isHost(s.Last) || s.Last.Less(s.First):
		add("--range %s-%s: want the first and the last of some hosts of --subnet %s", s.First, s.Last, s.Subnet)
		return
	}
	for _, t := range s.taken() {
		if !t.ip.Less(s.First) && !s.Last.Less(t.ip) {
			add("--range %s-%s: %s %s is in it, and would be given to a machine", s.First, s.Last, t.flag, t.ip)
		}
	}
}

// checkMachines looks at the reservations.
func (s Site) checkMachines(add func(string, ...any)) {
	for _, m := range s.Machines {
		at := fmt.Sprintf("%s:%d: machine %s", s.HardwareFile, m.Line, m.Hostname)
		if !hostName.MatchString(m.Hostname) {
			add("%s:%d: hostname %q: want letters, digits, dashes and dots", s.HardwareFile, m.Line, m.Hostname)
		}
		if !s.isHost(m.IP) {
			add("%s: ip_address %s is no host of --subnet %s", at, m.IP, s.Subnet)
			continue
		}
		if m.Netmask.IsValid() && m.Netmask != mask(s.Subnet) {
			add("%s: netmask %s is not that of --subnet %s, %s", at, m.Netmask, s.Subnet, mask(s.Subnet))
		}
		for _, t := range s.taken() {
			if t.ip == m.IP && t.flag != "--dns" {
				add("%s: ip_address %s is that of %s", at, m.IP, t.flag)
			}
		}
	}
}

// taken is an address that no machine may get.
type taken struct {
	flag string
	ip   netip.Addr
}

func (s Site) taken() []taken {
	var all []taken
	for _, t := range append([]taken{{"--bootstrap-ip", s.BootstrapIP}, {"--tinkerbell-ip", s.TinkerbellIP}, {"--gateway", s.Gateway}}, dnsTaken(s.DNS)...) {
		if t.ip.IsValid() {
			all = append(all, t)
		}
	}
	return all
}

func dnsTaken(dns []netip.Addr) []taken {
	all := make([]taken, 0, len(dns))
	for _, ip := range dns {
		all = append(all, taken{"--dns", ip})
	}
	return all
}

// isHost is true of the subnet's addresses without the first, which is the network's, and the last, which is everybody's.
func (s Site) isHost(ip netip.Addr) bool {
	return s.Subnet.Contains(ip) && ip != s.Subnet.Addr() && ip != broadcast(s.Subnet)
}

// DefaultRange returns a range for machines that are not known: of the subnet's upper half the longest stretch without
// an address that the site names. Both are zero where there is none.
func (s Site) DefaultRange() (first, last netip.Addr) {
	if !s.Subnet.IsValid() || !s.Subnet.Addr().Is4() || s.Subnet.Bits() < 8 || s.Subnet.Bits() > 30 {
		return first, last
	}
	end := number(broadcast(s.Subnet))
	start := number(s.Subnet.Masked().Addr()) + (end-number(s.Subnet.Masked().Addr()))/2 + 1
	busy := map[uint32]bool{}
	for _, t := range s.taken() {
		if t.ip.Is4() {
			busy[number(t.ip)] = true
		}
	}
	var from, length uint32
	for ip, run := start, uint32(0); ip < end; ip++ {
		if busy[ip] {
			run = 0
			continue
		}
		if run++; run > length {
			from, length = ip-run+1, run
		}
	}
	if length == 0 {
		return first, last
	}
	return address(from), address(from + length - 1)
}

func number(ip netip.Addr) uint32 {
	b := ip.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func mask(p netip.Prefix) netip.Addr { return address(^uint32(0) << (32 - p.Bits())) }

func broadcast(p netip.Prefix) netip.Addr {
	return address(number(p.Masked().Addr()) | ^uint32(0)>>p.Bits())
}
