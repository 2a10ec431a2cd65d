package probe

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	serverIP = netip.MustParseAddr("10.10.50.2")
	stackIP  = netip.MustParseAddr("10.10.50.100")
	offered  = netip.MustParseAddr("10.10.50.77")
)

// offerPacket is an OFFER without boot information.
func offerPacket(t testing.TB, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	mods = append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), dhcpv4.WithYourIP(offered.AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(serverIP.AsSlice())), dhcpv4.WithNetmask(net.CIDRMask(23, 32)),
		func(p *dhcpv4.DHCPv4) { p.OpCode = dhcpv4.OpcodeBootReply },
	}, mods...)
	p, err := dhcpv4.New(mods...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestReadOffer(t *testing.T) {
	siaddr := dhcpv4.WithServerIP(stackIP.AsSlice())
	field := func(file string) dhcpv4.Modifier { return func(p *dhcpv4.DHCPv4) { p.BootFileName = file } }
	option := func(code uint8, value string) dhcpv4.Modifier {
		return dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(code), []byte(value))
	}
	const dhcpItself = InOption54
	for _, tc := range []struct {
		name string
		mods []dhcpv4.Modifier
		want Offer
	}{
		{"nothing", nil, Offer{NextServer: serverIP, NextServerIn: dhcpItself}},
		{"header", []dhcpv4.Modifier{siaddr, field("ipxe.efi")},
			Offer{NextServer: stackIP, NextServerIn: InHeader, BootFile: "ipxe.efi", BootFileIn: InHeader}},
		{"option 67 goes before the header", []dhcpv4.Modifier{siaddr, field("old"), option(67, "ipxe.efi")},
			Offer{NextServer: stackIP, NextServerIn: InHeader, BootFile: "ipxe.efi", BootFileIn: InOption67}},
		{"option 67 with its NUL", []dhcpv4.Modifier{siaddr, option(67, "ipxe.efi\x00")},
			Offer{NextServer: stackIP, NextServerIn: InHeader, BootFile: "ipxe.efi", BootFileIn: InOption67}},
		{"an empty option 67", []dhcpv4.Modifier{siaddr, field("ipxe.efi"), option(67, "\x00")},
			Offer{NextServer: stackIP, NextServerIn: InHeader, BootFile: "ipxe.efi", BootFileIn: InHeader}},
		{"an address in option 66", []dhcpv4.Modifier{option(66, "10.10.50.100"), option(67, "ipxe.efi")},
			Offer{NextServer: stackIP, NextServerIn: InOption66, Option66: "10.10.50.100", BootFile: "ipxe.efi", BootFileIn: InOption67}},
		{"a name in option 66", []dhcpv4.Modifier{option(66, "tinkerbell"), option(67, "ipxe.efi")},
			Offer{NextServer: serverIP, NextServerIn: dhcpItself, Option66: "tinkerbell", BootFile: "ipxe.efi", BootFileIn: InOption67}},
		{"siaddr goes before option 66", []dhcpv4.Modifier{siaddr, option(66, "10.0.0.1")},
			Offer{NextServer: stackIP, NextServerIn: InHeader, Option66: "10.0.0.1"}},
		{"HTTP boot", []dhcpv4.Modifier{siaddr, option(60, "HTTPClient"), option(67, "http://10.10.50.100/ipxe.efi")},
			Offer{NextServer: stackIP, NextServerIn: InHeader, VendorClass: "HTTPClient", BootFile: "http://10.10.50.100/ipxe.efi", BootFileIn: InOption67}},
		{"a URL longer than an option", []dhcpv4.Modifier{siaddr, option(67, strings.Repeat("x", 300))},
			Offer{NextServer: stackIP, NextServerIn: InHeader, BootFile: strings.Repeat("x", 300), BootFileIn: InOption67}},
		{"options in the header's file", []dhcpv4.Modifier{siaddr, option(52, "\x01"), field("\x43\x08ipxe.efi\xff")},
			Offer{NextServer: stackIP, NextServerIn: InHeader, BootFile: "ipxe.efi", BootFileIn: InOption67}},
		{"options in both fields", []dhcpv4.Modifier{option(52, "\x03"), field("\x43\x04ipxe\xff"),
			func(p *dhcpv4.DHCPv4) { p.ServerHostName = "\x43\x04.efi\x42\x0c10.10.50.100\xff" }},
			Offer{NextServer: stackIP, NextServerIn: InOption66, Option66: "10.10.50.100", BootFile: "ipxe.efi", BootFileIn: InOption67}},
		{"a header's file that is full", []dhcpv4.Modifier{siaddr, field(strings.Repeat("x", 127))},
			Offer{NextServer: stackIP, NextServerIn: InHeader, BootFile: strings.Repeat("x", 127), BootFileIn: InHeader}},
		{"routers", []dhcpv4.Modifier{siaddr, dhcpv4.WithRouter(net.IPv4(10, 10, 50, 1), net.IPv4(10, 10, 50, 3))},
			Offer{NextServer: stackIP, NextServerIn: InHeader, Routers: []netip.Addr{netip.MustParseAddr("10.10.50.1"), netip.MustParseAddr("10.10.50.3")}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.Server, tc.want.From, tc.want.Address, tc.want.Netmask = serverIP, serverIP, offered, netip.MustParseAddr("255.255.254.0")
			got, err := readOffer(offerPacket(t, tc.mods...).ToBytes(), serverIP)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadOfferRefuses(t *testing.T) {
	whole := offerPacket(t).ToBytes()
	withoutEnd := offerPacket(t)
	for _, tc := range []struct {
		name   string
		packet []byte
		want   string
	}{
		{"cut in the header", whole[:200], "DHCP packet from 10.10.50.2"},
		{"no cookie", append(whole[:236:236], 0, 0, 0, 0), "magic cookie"},
		{"an option cut off", append(whole[:240:240], 67, 9, 'i'), "DHCP packet from"},
		{"an overloaded header cut off", offerPacket(t, dhcpv4.WithGeneric(dhcpv4.OptionOptionOverload, []byte{1}),
			func(p *dhcpv4.DHCPv4) { p.BootFileName = strings.Repeat("C", 128) }).ToBytes(), "options in its header"},
		{"an ACK", offerPacket(t, dhcpv4.WithMessageType(dhcpv4.MessageTypeAck)).ToBytes(), errNotOurs.Error()},
		{"somebody's DISCOVER", func() []byte { withoutEnd.OpCode = dhcpv4.OpcodeBootRequest; return withoutEnd.ToBytes() }(), errNotOurs.Error()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := readOffer(tc.packet, serverIP); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// FuzzReadOffer holds that no packet takes the reader down, and that what is read can be judged and shown.
func FuzzReadOffer(f *testing.F) {
	f.Add(offerPacket(f).ToBytes())
	f.Add(offerPacket(f, dhcpv4.WithGeneric(dhcpv4.OptionOptionOverload, []byte{3}), dhcpv4.WithOption(dhcpv4.OptBootFileName("ipxe.efi"))).ToBytes())
	f.Fuzz(func(t *testing.T, packet []byte) {
		if len(packet) > 600 {
			return
		}
		o, err := readOffer(packet, serverIP)
		if err != nil {
			return
		}
		if !o.Server.IsValid() || (o.BootFile == "") != (o.BootFileIn == "") || o.NextServer.IsValid() != (o.NextServerIn != "") {
			t.Errorf("got %+v", o)
		}
		if strings.ContainsRune(o.BootFile, 0) {
			t.Errorf("a NUL in %q", o.BootFile)
		}
	})
}
