package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// The ports of DHCP (RFC 2131, section 4.1). A relay sends from the server's, and is answered there.
const (
	serverPort = 67
	clientPort = 68
)

// Conn is a way to the servers, open until it is closed.
type Conn struct {
	net.PacketConn

	to     net.Addr
	giaddr netip.Addr // what a relay is known by; the zero Addr for a client on the wire
	via    string
}

// String is the way in words.
func (c *Conn) String() string { return c.via }

// AccessError says that the kernel does not let this process ask in the way it was told to.
type AccessError struct {
	What string // that was tried
	Err  error
	Next string // the person's next step
}

func (e *AccessError) Error() string { return fmt.Sprintf("%s: %v", e.What, e.Err) }

func (e *AccessError) Unwrap() error { return e.Err }

// Hint is the next step.
func (e *AccessError) Hint() string { return e.Next }

// OnInterface opens the way that a machine on that network has: broadcasts from an interface, which needs no address.
// It is a packet socket (packet(7)), so that a DHCP client of this host keeps its port. The error is an *AccessError
// where CAP_NET_RAW is missing, or the interface.
func OnInterface(name string) (*Conn, error) {
	what := "broadcasting on " + name
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		return nil, &AccessError{what, err, "ip link lists the interfaces of this host"}
	}
	if ifc.Flags&net.FlagUp == 0 {
		return nil, &AccessError{what, errors.New("the interface is down"), "ip link set " + name + " up"}
	}
	if len(ifc.HardwareAddr) != 6 {
		return nil, &AccessError{what, errors.New("it is no Ethernet interface"), "name one that the machines can be reached by, or ask with --relay ADDR"}
	}
	conn, err := nclient4.NewRawUDPConn(name, clientPort)
	if err != nil {
		next := ""
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
			next = "this needs CAP_NET_RAW: run it with sudo, or in a container with --network host --cap-add NET_RAW"
		}
		return nil, &AccessError{what, err, next}
	}
	return &Conn{PacketConn: conn, to: &net.UDPAddr{IP: net.IPv4bcast, Port: serverPort}, via: "interface " + name}, nil
}

// AsRelay opens the way that a relay agent has: packets to one server, which answers to giaddr (RFC 2131, section
// 4.1) and chooses the subnet by it. The zero giaddr is this host's address towards the server; any other must be one
// of this host's. The error is an *AccessError where port 67 is not to be had.
func AsRelay(server, giaddr netip.Addr) (*Conn, error) {
	if !giaddr.IsValid() {
		var err error
		if giaddr, err = towards(server); err != nil {
			return nil, &AccessError{fmt.Sprintf("asking %s as a relay", server), err, "name an address of this host in the machines' subnet with --giaddr"}
		}
	}
	what := fmt.Sprintf("asking %s as a relay with giaddr %s", server, giaddr)
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(giaddr, serverPort)))
	if err != nil {
		return nil, &AccessError{what, err, nextForPort67(err)}
	}
	return &Conn{
		PacketConn: conn, to: net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, serverPort)),
		giaddr: giaddr, via: fmt.Sprintf("relay %s to %s", giaddr, server),
	}, nil
}

func nextForPort67(err error) string {
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "answers come to port 67, which needs CAP_NET_BIND_SERVICE: run it with sudo"
	case errors.Is(err, syscall.EADDRINUSE):
		return "answers come to port 67, and a DHCP server or relay on this host has it (ss -lunp 'sport = :67'): ask from another host"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "the server answers to giaddr, which must be an address of this host: ip -4 address lists them"
	}
	return ""
}

// towards is this host's address on the way to another; no packet is sent.
func towards(server netip.Addr) (netip.Addr, error) {
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, serverPort)))
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	own, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, fmt.Errorf("got %v as this host's address", conn.LocalAddr())
	}
	return own.AddrPort().Addr().Unmap(), nil
}
