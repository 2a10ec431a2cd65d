package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/hookbuild/hookbuild/internal/dhcp"
	"github.com/hookbuild/hookbuild/internal/hardware"
)

var (
	ourMAC   = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	otherMAC = net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0xff}
)

// An answer of a server in this process is there at once, or up to ten seconds later where the machine is busy.
const (
	short = 100 * time.Millisecond
	many  = 100
)

func siteOf(t testing.TB, version string, phase dhcp.Phase) dhcp.Site {
	t.Helper()
	g, err := dhcp.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	return dhcp.Site{
		Generation: g, Phase: phase, BootstrapIP: netip.MustParseAddr("10.10.50.99"), TinkerbellIP: stackIP,
		Subnet: netip.MustParsePrefix("10.10.50.0/23"), Gateway: netip.MustParseAddr("10.10.50.1"), HTTPBoot: true, URLByMAC: true,
	}
}

// fakeServer answers DISCOVERs on a port of the loopback interface. It fails the test for anything else that it gets,
// since a probe must never send a REQUEST.
type fakeServer struct {
	t    *testing.T
	conn net.PacketConn
	// answer returns what goes back: none, one or more packets.
	answer func(discover *dhcpv4.DHCPv4) [][]byte
	seen   []*dhcpv4.DHCPv4 // after stop
	stop   func()
}

// start returns the way to a server, which ends with the test.
func (s *fakeServer) start() *Conn {
	s.t.Helper()
	listen := func() *net.UDPConn {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			s.t.Fatal(err)
		}
		return conn
	}
	server, client := listen(), listen()
	s.conn = server
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			p, err := dhcpv4.FromBytes(buf[:n])
			if err != nil || p.MessageType() != dhcpv4.MessageTypeDiscover {
				s.t.Errorf("the server got %v, %v; a probe sends DISCOVERs only", p, err)
				return
			}
			s.seen = append(s.seen, p)
			for _, reply := range s.answer(p) {
				if _, err := server.WriteTo(reply, from); err != nil {
					return
				}
			}
		}
	}()
	s.stop = sync.OnceFunc(func() {
		server.Close()
		client.Close()
		<-ended
	})
	s.t.Cleanup(s.stop)
	return &Conn{PacketConn: client, to: server.LocalAddr(), via: "a test"}
}

// clientOf finds which kind has sent a DISCOVER.
func clientOf(t *testing.T, p *dhcpv4.DHCPv4) dhcp.Client {
	for _, c := range dhcp.Clients() {
		archs := p.ClientArch()
		sameArch := len(archs) == 0 && !c.HasArch || len(archs) == 1 && c.HasArch && uint16(archs[0]) == c.Arch
		if sameArch && p.ClassIdentifier() == c.VendorClass && bytes.Equal(p.Options.Get(dhcpv4.OptionUserClassInformation), c.UserClass) {
			c.MAC = p.ClientHWAddr
			return c
		}
	}
	t.Errorf("no kind of client sends %s", p.Summary())
	return dhcp.Client{}
}

// told is what a server says to one client, on its way into a packet.
type told struct {
	silent       bool
	server, addr netip.Addr
	mask         net.IPMask
	router       netip.Addr
	answer       dhcp.Answer
	mods         []dhcpv4.Modifier
}

// reply makes an OFFER of it.
func (w told) reply(t *testing.T, discover *dhcpv4.DHCPv4) []byte {
	ip := func(a netip.Addr) net.IP {
		if !a.IsValid() {
			return net.IPv4zero
		}
		return a.AsSlice()
	}
	mods := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), dhcpv4.WithYourIP(ip(w.addr)), dhcpv4.WithServerIP(ip(w.answer.NextServer)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip(w.server))), dhcpv4.WithNetmask(w.mask), dhcpv4.WithRouter(ip(w.router)),
		func(p *dhcpv4.DHCPv4) { p.BootFileName = w.answer.File },
	}
	if w.answer.VendorClass != "" {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptClassIdentifier(w.answer.VendorClass)))
	}
	p, err := dhcpv4.NewReplyFromRequest(discover, append(mods, w.mods...)...)
	if err != nil {
		t.Error(err)
		return nil
	}
	return p.ToBytes()
}

// right is what a server of a site says.
func right(s dhcp.Site, c dhcp.Client) told {
	w := told{server: serverIP, addr: offered, mask: net.CIDRMask(s.Subnet.Bits(), 32), router: s.Gateway, answer: s.Answer(c)}
	w.silent = w.answer.Silent
	if m := s.Machine(c.MAC); m != nil {
		w.addr = m.IP
	}
	return w
}

// probeWith asks a server that says what it should, after wrong has had its way with it.
func probeWith(t *testing.T, site dhcp.Site, o Options, wrong func(dhcp.Client, *told)) (Report, *fakeServer) {
	t.Helper()
	server := &fakeServer{t: t}
	server.answer = func(p *dhcpv4.DHCPv4) [][]byte {
		c := clientOf(t, p)
		w := right(site, c)
		wrong(c, &w)
		if w.silent {
			return nil
		}
		return [][]byte{w.reply(t, p)}
	}
	o.Site = site
	if o.MAC == nil {
		o.MAC = ourMAC
	}
	if o.Timeout == 0 {
		o.Timeout, o.Retries = short, many
	}
	report, err := Run(t.Context(), server.start(), o)
	server.stop()
	if err != nil {
		t.Fatal(err)
	}
	return report, server
}

func asItShould(dhcp.Client, *told) {}

func TestRight(t *testing.T) {
	for _, g := range dhcp.Generations() {
		for _, phase := range []dhcp.Phase{dhcp.Bootstrap, dhcp.Cluster} {
			t.Run(g.Name+" "+string(phase), func(t *testing.T) {
				t.Parallel()
				site := siteOf(t, "0.26", phase)
				site.Generation = g
				report, server := probeWith(t, site, Options{}, asItShould)
				if !report.OK || len(report.Results) != 12 || !slices.Equal(report.Servers, []netip.Addr{serverIP}) {
					t.Errorf("got %+v", report)
				}
				xids := map[dhcpv4.TransactionID]bool{}
				for _, p := range server.seen {
					if !bytes.Equal(p.ClientHWAddr, ourMAC) || !p.IsBroadcast() || xids[p.TransactionID] {
						t.Errorf("sent %s", p.Summary())
					}
					xids[p.TransactionID] = true
				}
			})
		}
	}
}

// TestWrong has one thing wrong in each case, and wants exactly that said of the clients that suffer.
func TestWrong(t *testing.T) {
	type wrong = func(c dhcp.Client, w *told)
	to := func(name string, do func(*told)) wrong {
		return func(c dhcp.Client, w *told) {
			if strings.Contains(c.Name, name) {
				do(w)
			}
		}
	}
	file := func(f string) func(*told) { return func(w *told) { w.answer.File = f } }
	option := func(code uint8, value string) dhcpv4.Modifier {
		return dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(code), []byte(value))
	}
	script := "http://10.10.50.100"
	for _, tc := range []struct {
		name    string
		version string // default 0.26
		wrong   wrong
		client  string // the beginning of the names of those that suffer
		code    string
		says    string
	}{
		{"no boot file for UEFI", "", to("UEFI x64", file("")), "UEFI x64", noBootFile, "PXE-E53"},
		{"no boot file for iPXE", "", to("another", file("")), "another", noBootFile, "Nothing to boot"},
		{"no script", "", to("Tinkerbell's", file("")), "Tinkerbell's", noBootFile, "gets no script"},
		{"the binary instead of the script", "", to("Tinkerbell's", file("ipxe.efi")), "Tinkerbell's", loops, "for ever"},
		{"only the raw user class is known", "", to("RFC 3004", file("ipxe.efi")), "Tinkerbell's iPXE, RFC", rfc3004Missed, "bare text only"},
		{"only the RFC's user class is known", "", to("raw user class", file("ipxe.efi")), "Tinkerbell's iPXE, raw", rawFormMissed, "how iPXE sends it"},
		{"the script of 0.19", "", to("Tinkerbell's", file(script+"/auto.ipxe")), "Tinkerbell's", otherVersion, "0.19 and older"},
		{"the script of 0.22", "", to("Tinkerbell's", file(script+":7171/auto.ipxe")), "Tinkerbell's", otherVersion, "0.22 to 0.24"},
		{"the script of 0.22 by MAC address", "", to("Tinkerbell's", file(script+":7171/${netX/mac:hexhyp}/auto.ipxe")), "Tinkerbell's", otherVersion, "0.22 to 0.24"},
		{"the script of upstream", "", to("Tinkerbell's", file(script+":7080/ipxe/script/auto.ipxe")), "Tinkerbell's", otherVersion, "version tinkerbell"},
		{"the script of 0.26", "0.22", to("Tinkerbell's", file(script+":7171/ipxe/script/auto.ipxe")), "Tinkerbell's", otherVersion, "0.25 to 0.26"},
		{"the script of the bootstrap phase", "", to("Tinkerbell's", file("http://10.10.50.99:7171/ipxe/script/auto.ipxe")), "Tinkerbell's", otherPhase, "the admin machine"},
		{"the script of another host", "", to("Tinkerbell's", file("http://10.10.50.5:7171/ipxe/script/auto.ipxe")), "Tinkerbell's", otherServer, "from 10.10.50.5"},
		{"some script", "", to("Tinkerbell's", file("http://10.10.50.5/menu.ipxe")), "Tinkerbell's", otherFile, "not where any version has its script"},
		{"a script for firmware", "", to("UEFI x64", file(script+":7171/ipxe/script/auto.ipxe")), "UEFI x64", scriptTooSoon, "loads programs only"},
		{"a script for any iPXE", "", to("another", file(script+":7171/ipxe/script/auto.ipxe")), "another", scriptTooSoon, "need not have"},
		{"a URL for PXE", "", to("UEFI x64", file(script+"/ipxe.efi")), "UEFI x64", urlForTFTP, "loads over TFTP"},
		{"an .efi for a BIOS", "", to("BIOS", file("ipxe.efi")), "BIOS", efiToBIOS, "hangs"},
		{"an .efi for a BIOS' iPXE", "", to("another iPXE, arch 0", file("ipxe.efi")), "another iPXE, arch 0", efiToBIOS, "Exec format error"},
		{"undionly for UEFI", "", to("UEFI x64", file("undionly.kpxe")), "UEFI x64", biosToEFI, "EFI programs only"},
		{"x64 for arm64", "", to("UEFI arm64", file("ipxe.efi")), "UEFI arm64", otherArch, "is for x64, and this machine is arm64"},
		{"arm64 for x64", "", to("UEFI x64", file("snp-arm64.efi")), "UEFI x64", otherArch, "is for arm64, and this machine is x64"},
		{"the old name for arm64", "", to("UEFI arm64", file("snp.efi")), "UEFI arm64", otherVersion, "0.22 to 0.24"},
		{"another file", "", to("UEFI x64", file("grubx64.efi")), "UEFI x64", otherFile, "no grubx64.efi"},
		{"no next-server", "", to("BIOS", func(w *told) { w.answer.NextServer = netip.Addr{} }), "BIOS", noNextServer, "there is no next-server"},
		{"the next-server in option 66 alone", "", to("BIOS", func(w *told) {
			w.answer.NextServer = netip.Addr{}
			w.mods = append(w.mods, option(66, "10.10.50.100"))
		}), "BIOS", noNextServer, "in option 66 only"},
		{"the DHCP server as next-server", "", to("BIOS", func(w *told) { w.answer.NextServer = serverIP }), "BIOS", otherServer, "the DHCP server itself"},
		{"the next-server of the bootstrap phase", "", to("BIOS", func(w *told) { w.answer.NextServer = netip.MustParseAddr("10.10.50.99") }), "BIOS", otherPhase, "the admin machine"},
		{"some next-server", "", to("BIOS", func(w *told) { w.answer.NextServer = netip.MustParseAddr("10.10.50.5") }), "BIOS", otherServer, "is 10.10.50.5"},
		{"HTTP without option 60", "", to("HTTP", func(w *told) { w.answer.VendorClass = "" }), "HTTP", noOption60, "does not look at such an answer"},
		{"HTTP with a file name", "", to("HTTP boot x64", file("ipxe.efi")), "HTTP boot x64", noURL, "is no URL"},
		{"HTTP without anything", "", to("HTTP", file("")), "HTTP", noBootFile, "there is no URL"},
		{"HTTP with the URL of 0.22", "", to("HTTP boot x64", file(script+":7171/ipxe/ipxe.efi")), "HTTP boot x64", otherFile, ":7171/ipxe/binary/ipxe.efi"},
		{"HTTP with the script", "", to("HTTP", file(script+":7171/ipxe/script/auto.ipxe")), "HTTP", scriptTooSoon, "EFI programs only"},
		{"an operating system gets a boot file", "", to("ordinary", file("ipxe.efi")), "an ordinary OS", bootFileToOS, "does not go by architecture"},
		{"silence", "", to("BIOS", func(w *told) { w.silent = true }), "BIOS", noAnswer, "gets no address"},
		{"an address of another subnet", "", to("BIOS", func(w *told) { w.addr = netip.MustParseAddr("10.10.52.1") }), "BIOS", outsideSubnet, "not in 10.10.50.0/23"},
		{"no address", "", to("BIOS", func(w *told) { w.addr = netip.Addr{} }), "BIOS", outsideSubnet, "none is offered"},
		{"the gateway's address", "", to("BIOS", func(w *told) { w.addr = netip.MustParseAddr("10.10.50.1") }), "BIOS", takenAddress, "belongs to the gateway"},
		{"another netmask", "", to("BIOS", func(w *told) { w.mask = net.CIDRMask(24, 32) }), "BIOS", otherNetmask, "255.255.255.0"},
		{"no netmask at all", "", to("BIOS", func(w *told) { w.mods = append(w.mods, dhcpv4.WithoutOption(dhcpv4.OptionSubnetMask)) }), "BIOS", otherNetmask, "netmask is none"},
		{"a netmask that is none", "", to("BIOS", func(w *told) { w.mask = net.IPMask{255, 0, 255, 0} }), "BIOS", otherNetmask, "255.0.255.0"},
		{"another gateway", "", to("BIOS", func(w *told) { w.router = netip.MustParseAddr("10.10.50.254") }), "BIOS", otherGateway, "10.10.50.254"},
		{"an answer that cannot be read", "", to("BIOS", func(w *told) {
			w.mods = append(w.mods, option(52, "\x01"), func(p *dhcpv4.DHCPv4) { p.BootFileName = strings.Repeat("C", 127) })
		}), "BIOS", unreadable, "options in its header"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			version := "0.26"
			if tc.version != "" {
				version = tc.version
			}
			o := Options{}
			if tc.code == noAnswer {
				o.Timeout, o.Retries = short, 20
			}
			report, _ := probeWith(t, siteOf(t, version, dhcp.Cluster), o, tc.wrong)
			if report.OK {
				t.Error("the report says that all is right")
			}
			suffered := 0
			for _, r := range report.Results {
				if !strings.HasPrefix(r.Client, tc.client) {
					if !r.Right || len(r.Faults) > 0 {
						t.Errorf("%s: got %+v, want nothing wrong", r.Client, r.Faults)
					}
					continue
				}
				suffered++
				i := slices.IndexFunc(r.Faults, func(f Fault) bool { return f.Code == tc.code })
				if r.Right || i < 0 || !strings.Contains(r.Faults[i].Says, tc.says) {
					t.Errorf("%s: got %+v, want %s with %q", r.Client, r.Faults, tc.code, tc.says)
				}
			}
			if suffered == 0 {
				t.Errorf("no client's name begins with %q", tc.client)
			}
		})
	}
}

// TestAlsoRight has answers that are not what hookbuild writes, and will do.
func TestAlsoRight(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*dhcp.Site) // what the probe is told, beside what the server does
		wrong  func(dhcp.Client, *told)
	}{
		{"the script's URL without the MAC address", nil, func(c dhcp.Client, w *told) {
			w.answer.File = strings.Replace(w.answer.File, "${netX/mac:hexhyp}/", "", 1)
		}},
		{"the script's URL with the MAC address", func(s *dhcp.Site) { s.URLByMAC = false }, asItShould},
		{"HTTP boot that nobody asked about", func(s *dhcp.Site) { s.HTTPBoot = false }, asItShould},
		{"a file name for HTTP firmware, which ignores it", func(s *dhcp.Site) { s.HTTPBoot = false }, func(c dhcp.Client, w *told) {
			if roleOf(c) == firmwareHTTP {
				w.answer = dhcp.Answer{File: "ipxe.efi", NextServer: stackIP}
			}
		}},
		{"a directory before the file, which smee does not look at", nil, func(c dhcp.Client, w *told) {
			if roleOf(c) == firmwarePXE {
				w.answer.File = "/tftp/" + w.answer.File
			}
		}},
		{"the other build for x64", nil, func(_ dhcp.Client, w *told) {
			if w.answer.File == "ipxe.efi" {
				w.answer.File = "snp-x86_64.efi"
			}
		}},
		{"a URL for iPXE", nil, func(c dhcp.Client, w *told) {
			if roleOf(c) == otherIPXE {
				w.answer.File = "http://10.10.50.100:7171/ipxe/binary/" + w.answer.File
			}
		}},
		{"boot files and next-server in options", nil, func(_ dhcp.Client, w *told) {
			if file := w.answer.File; file != "" {
				w.mods = append(w.mods, dhcpv4.WithOption(dhcpv4.OptBootFileName(file)), dhcpv4.WithOption(dhcpv4.OptTFTPServerName("10.10.50.100")))
				w.answer.File = ""
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			told, asked := siteOf(t, "0.26", dhcp.Cluster), siteOf(t, "0.26", dhcp.Cluster)
			if tc.change != nil {
				tc.change(&asked)
			}
			server := &fakeServer{t: t}
			server.answer = func(p *dhcpv4.DHCPv4) [][]byte {
				c := clientOf(t, p)
				w := right(told, c)
				tc.wrong(c, &w)
				return [][]byte{w.reply(t, p)}
			}
			report, err := Run(t.Context(), server.start(), Options{Site: asked, MAC: ourMAC, Timeout: short, Retries: many})
			if err != nil || !report.OK {
				t.Errorf("got %+v, %v", report, err)
			}
		})
	}
}

// TestCutOff has the header's field cut a URL that is too long for it.
func TestCutOff(t *testing.T) {
	site := siteOf(t, "0.26", dhcp.Cluster)
	site.ScriptURL = "http://10.10.50.100:7171/" + strings.Repeat("long/", 25) + "auto.ipxe"
	report, _ := probeWith(t, site, Options{}, asItShould) // a header's field is all that it has
	var codes []string
	for _, r := range report.Results {
		for _, f := range r.Faults {
			codes = append(codes, r.Client+": "+f.Code)
		}
	}
	want := []string{"Tinkerbell's iPXE, raw user class: cut-off", "Tinkerbell's iPXE, RFC 3004: cut-off"}
	if !slices.Equal(codes, want) {
		t.Errorf("got %q, want %q", codes, want)
	}
}

func reserved(t *testing.T) dhcp.Site {
	t.Helper()
	site := siteOf(t, "0.26", dhcp.Cluster)
	site.KnownOnly = true
	site.Machines = []hardware.Machine{
		{Hostname: "node1", MAC: ourMAC, IP: netip.MustParseAddr("10.10.50.11")},
		{Hostname: "node2", MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2}, IP: netip.MustParseAddr("10.10.50.12")},
	}
	return site
}

func TestReservations(t *testing.T) {
	for _, tc := range []struct {
		name        string
		wrong       func(dhcp.Client, *told)
		first, last string // codes of the first client and of the one without a reservation
	}{
		{"right", asItShould, "", ""},
		{"an address of the pool", func(_ dhcp.Client, w *told) { w.addr = offered }, notReservation, ""},
		{"anybody is answered", func(c dhcp.Client, w *told) {
			if bytes.Equal(c.MAC, otherMAC) {
				*w = told{server: serverIP, addr: netip.MustParseAddr("10.10.50.12"), mask: net.CIDRMask(23, 32)}
			}
		}, "", unwanted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			report, _ := probeWith(t, reserved(t), Options{Unknown: otherMAC, Timeout: short, Retries: 20}, tc.wrong)
			code := func(r Result) string {
				if len(r.Faults) == 0 {
					return ""
				}
				return r.Faults[0].Code
			}
			if len(report.Results) != 13 || code(report.Results[0]) != tc.first || code(report.Results[12]) != tc.last {
				t.Errorf("got %+v", report)
			}
			if want := tc.first+tc.last == ""; report.OK != want {
				t.Errorf("got %v, want %v", report.OK, want)
			}
		})
	}
}

// TestAddressOfAnother is about a server with a pool that overlaps the reservations.
func TestAddressOfAnother(t *testing.T) {
	site := reserved(t)
	site.KnownOnly = false
	report, _ := probeWith(t, site, Options{MAC: otherMAC}, func(_ dhcp.Client, w *told) { w.addr = netip.MustParseAddr("10.10.50.12") })
	if f := report.Results[0].Faults; len(f) != 1 || f[0].Code != takenAddress || !strings.Contains(f[0].Says, "node2") {
		t.Errorf("got %+v", f)
	}
}

func TestTwoServers(t *testing.T) {
	second := netip.MustParseAddr("10.10.50.3")
	for _, tc := range []struct {
		name string
		say  func(*told)
		ok   bool
		want string
	}{
		{"they agree", func(*told) {}, true, "2 DHCP servers answer: 10.10.50.2, 10.10.50.3; a machine takes the answer that comes first; they say the same"},
		{"other addresses", func(w *told) { w.addr = w.addr.Next() }, false, "do not say the same (UEFI x64, arch 7 for one)"},
		{"one says nothing about booting", func(w *told) { w.answer = dhcp.Answer{} }, false, "do not say the same"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			site := siteOf(t, "0.26", dhcp.Cluster)
			server := &fakeServer{t: t}
			server.answer = func(p *dhcpv4.DHCPv4) [][]byte {
				c := clientOf(t, p)
				one, other := right(site, c), right(site, c)
				other.server = second
				tc.say(&other)
				return [][]byte{one.reply(t, p), one.reply(t, p), other.reply(t, p)}
			}
			// Both answers are in the socket at once.
			report, err := Run(t.Context(), server.start(), Options{Site: site, MAC: ourMAC, Timeout: 5 * short, Retries: many})
			if err != nil {
				t.Fatal(err)
			}
			if report.OK != tc.ok || len(report.Findings) != 1 || !strings.Contains(report.Findings[0], tc.want) || len(report.Results[0].Offers) != 2 {
				t.Errorf("got %+v", report)
			}
		})
	}
}

// TestNobodyAnswers holds that a network without a server costs the retries once.
func TestNobodyAnswers(t *testing.T) {
	report, server := probeWith(t, siteOf(t, "0.26", dhcp.Cluster), Options{Timeout: 20 * time.Millisecond, Retries: 3}, func(_ dhcp.Client, w *told) { w.silent = true })
	if report.OK || len(report.Servers) != 0 {
		t.Errorf("got %+v", report)
	}
	for _, r := range report.Results {
		if len(r.Faults) != 1 || r.Faults[0].Code != noAnswer || !strings.Contains(r.Faults[0].Says, "on this very host") {
			t.Errorf("%s: got %+v", r.Client, r.Faults)
		}
	}
	if n := len(server.seen); n > 4+11 {
		t.Errorf("%d packets were sent, want at most 15", n)
	}
}

// TestRetry loses the first packet of the first client.
func TestRetry(t *testing.T) {
	site := siteOf(t, "0.26", dhcp.Cluster)
	lost := map[string]bool{}
	var steps []string
	o := Options{Timeout: time.Second, Retries: 10, Progress: func(n, of int, client string, try int) {
		steps = append(steps, fmt.Sprintf("%d/%d %s %d", n, of, client, try))
	}}
	report, server := probeWith(t, site, o, func(c dhcp.Client, w *told) {
		w.silent = c.Arch == 7 && len(c.UserClass) == 0 && !lost[c.Name]
		lost[c.Name] = true
	})
	if !report.OK {
		t.Errorf("got %+v", report)
	}
	if len(steps) < 13 || steps[1] != "1/12 UEFI x64, arch 7 2" || !strings.HasPrefix(steps[len(steps)-1], "12/12 an ordinary OS ") {
		t.Errorf("progress: %q", steps)
	}
	if server.seen[1].NumSeconds != 1 {
		t.Errorf("the second try says %d seconds, want 1", server.seen[1].NumSeconds)
	}
}

// TestStrangers sends what is for somebody else, or not from a server, before the answer.
func TestStrangers(t *testing.T) {
	site := siteOf(t, "0.26", dhcp.Cluster)
	server := &fakeServer{t: t}
	server.answer = func(p *dhcpv4.DHCPv4) [][]byte {
		w := right(site, clientOf(t, p))
		foreign, ack := *p, right(site, clientOf(t, p))
		foreign.TransactionID[0] ^= 1
		ack.mods = append(ack.mods, dhcpv4.WithMessageType(dhcpv4.MessageTypeAck))
		return [][]byte{{1}, make([]byte, 240), w.reply(t, &foreign), ack.reply(t, p), p.ToBytes(), w.reply(t, p)}
	}
	report, err := Run(t.Context(), server.start(), Options{Site: site, MAC: ourMAC, Timeout: short, Retries: many})
	if err != nil || !report.OK {
		t.Errorf("got %+v, %v", report, err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := &fakeServer{t: t, answer: func(*dhcpv4.DHCPv4) [][]byte { return nil }}
	asked := func(int, int, string, int) { time.AfterFunc(50*time.Millisecond, cancel) }
	_, err := Run(ctx, server.start(), Options{Site: siteOf(t, "0.26", dhcp.Cluster), MAC: ourMAC, Timeout: time.Hour, Progress: asked})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestClosedConn(t *testing.T) {
	conn := (&fakeServer{t: t, answer: func(*dhcpv4.DHCPv4) [][]byte { return nil }}).start()
	conn.Close()
	var access *AccessError
	_, err := Run(t.Context(), conn, Options{Site: siteOf(t, "0.26", dhcp.Cluster), MAC: ourMAC})
	if !errors.As(err, &access) || !strings.Contains(err.Error(), "asking by a test") {
		t.Errorf("got %v", err)
	}
}

func TestOnInterface(t *testing.T) {
	for _, tc := range []struct{ name, ifc, want, next string }{
		{"none", "nosuch0", "broadcasting on nosuch0: ", "ip link lists"},
		{"loopback", "lo", "it is no Ethernet interface", "--relay"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := OnInterface(tc.ifc)
			var access *AccessError
			if !errors.As(err, &access) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(access.Hint(), tc.next) {
				t.Errorf("got %v, %v", conn, err)
			}
		})
	}
}

func TestAsRelayAddressOfAnother(t *testing.T) {
	conn, err := AsRelay(serverIP, netip.MustParseAddr("192.0.2.1"))
	var access *AccessError
	if !errors.As(err, &access) || access.Hint() == "" {
		t.Errorf("got %v, %v", conn, err)
	}
}

// TestCodesAreDocumented compares the codes with the table in docs/dhcp.md.
func TestCodesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/dhcp.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []string{
		noAnswer, unwanted, unreadable, noBootFile, bootFileToOS, cutOff, otherVersion, otherPhase, otherServer, otherFile, loops, rawFormMissed, rfc3004Missed,
		scriptTooSoon, efiToBIOS, biosToEFI, otherArch, noURL, urlForTFTP, noOption60, noNextServer, outsideSubnet, notReservation, takenAddress, otherNetmask,
		otherGateway,
	} {
		if !bytes.Contains(doc, []byte("`"+code+"`")) {
			t.Errorf("docs/dhcp.md does not have %s", code)
		}
	}
}
