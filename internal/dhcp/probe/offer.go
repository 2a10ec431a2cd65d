package probe

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Where a next-server or a boot file stood in an OFFER.
const (
	InHeader   = "header"    // the fields siaddr and file
	InOption66 = "option 66" // TFTP server name
	InOption67 = "option 67" // boot file name
	InOption54 = "option 54" // server identifier, of which UEFI firmware makes a next-server where there is no other
)

// Offer is what one server offers, as a client reads it. An address that is not there is the zero Addr.
type Offer struct {
	Server     netip.Addr   `json:"server"`            // option 54, the server's identifier; else where the packet came from
	From       netip.Addr   `json:"from"`              // where the packet came from: the server, or a relay
	Address    netip.Addr   `json:"address"`           // for the client, yiaddr
	Netmask    netip.Addr   `json:"netmask,omitzero"`  // option 1
	Routers    []netip.Addr `json:"routers,omitempty"` // option 3
	NextServer netip.Addr   `json:"next_server,omitzero"`
	// NextServerIn says where NextServer stood.
	NextServerIn string `json:"next_server_in,omitempty"`
	// Option66 is the text of that option, whether or not it is an address.
	Option66   string `json:"option_66,omitempty"`
	BootFile   string `json:"boot_file,omitempty"`
	BootFileIn string `json:"boot_file_in,omitempty"`
	// VendorClass is option 60, which HTTP boot wants to be HTTPClient.
	VendorClass string `json:"vendor_class,omitempty"`
}

// Places in a packet (RFC 2131, section 2).
const (
	xidAt   = 4
	snameAt = 44
	fileAt  = 108
	endFile = 236
)

// errNotOurs says that a packet is no answer to a DISCOVER.
var errNotOurs = errors.New("not an OFFER")

// readOffer reads an OFFER as RFC 2131 and RFC 2132 say: options may go on in the header's fields file and sname
// (option 52), a long one may come in pieces, and of a field and an option with the same meaning the option counts.
func readOffer(packet []byte, from netip.Addr) (Offer, error) {
	p, err := dhcpv4.FromBytes(packet)
	if err != nil {
		return Offer{}, fmt.Errorf("DHCP packet from %s: %w", from, err)
	}
	file, sname := packet[fileAt:endFile], packet[snameAt:fileAt]
	overloaded := byte(0)
	if o := p.Options.Get(dhcpv4.OptionOptionOverload); len(o) == 1 {
		overloaded = o[0]
	}
	for _, field := range []struct {
		bit     byte
		content *[]byte
	}{{1, &file}, {2, &sname}} {
		if overloaded&field.bit == 0 {
			continue
		}
		if err := p.Options.FromBytes(*field.content); err != nil {
			return Offer{}, fmt.Errorf("DHCP packet from %s: options in its header: %w", from, err)
		}
		*field.content = nil // holds options, and so no name
	}
	if p.OpCode != dhcpv4.OpcodeBootReply || p.MessageType() != dhcpv4.MessageTypeOffer {
		return Offer{}, errNotOurs
	}
	o := Offer{
		From: from, Server: address(p.Options.Get(dhcpv4.OptionServerIdentifier)), Address: address(p.YourIPAddr),
		Netmask: address(p.Options.Get(dhcpv4.OptionSubnetMask)), Routers: addresses(p.Options.Get(dhcpv4.OptionRouter)),
		Option66: text(p.Options.Get(dhcpv4.OptionTFTPServerName)), VendorClass: text(p.Options.Get(dhcpv4.OptionClassIdentifier)),
	}
	o.setBoot(p, text(file))
	if !o.Server.IsValid() {
		o.Server = from
	}
	return o, nil
}

// setBoot finds the boot file and the server that has it. PXE's next-server is siaddr; some firmware looks into option
// 66 where that is empty, and EDK2 then takes the DHCP server itself.
func (o *Offer) setBoot(p *dhcpv4.DHCPv4, file string) {
	o.BootFile, o.BootFileIn = text(p.Options.Get(dhcpv4.OptionBootfileName)), InOption67
	if o.BootFile == "" {
		o.BootFile, o.BootFileIn = file, InHeader
	}
	if o.BootFile == "" {
		o.BootFileIn = ""
	}
	named, _ := netip.ParseAddr(o.Option66) // the zero Addr for a name
	for _, from := range []struct {
		addr netip.Addr
		in   string
	}{{address(p.ServerIPAddr), InHeader}, {named, InOption66}, {o.Server, InOption54}} {
		if from.addr.IsValid() && from.addr.Is4() && !from.addr.IsUnspecified() {
			o.NextServer, o.NextServerIn = from.addr, from.in
			return
		}
	}
}

// text is a string up to its NUL; some servers count that into an option's length.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

func address(b []byte) netip.Addr {
	if ip := net.IP(b).To4(); ip != nil && !ip.IsUnspecified() {
		return netip.AddrFrom4([4]byte(ip))
	}
	return netip.Addr{}
}

func addresses(b []byte) (list []netip.Addr) {
	for ; len(b) >= net.IPv4len; b = b[net.IPv4len:] {
		if a := address(b[:net.IPv4len]); a.IsValid() {
			list = append(list, a)
		}
	}
	return list
}
