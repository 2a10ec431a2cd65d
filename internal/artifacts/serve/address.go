package serve

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// RoutedAddress returns the address that this host has towards the outside, IPv4 before IPv6, because
// Tinkerbell's iPXE asks for IPv4 first. No packet is sent: connecting a UDP socket only makes the kernel
// look up the route, here to addresses that are reserved for documentation (RFC 5737, RFC 3849). Where
// neither has a route it is an error.
func RoutedAddress() (netip.Addr, error) {
	v4, err4 := localAddress("udp4", "192.0.2.1:9")
	if err4 == nil {
		return v4, nil
	}
	v6, err6 := localAddress("udp6", "[2001:db8::1]:9")
	if err6 == nil {
		return v6, nil
	}
	return netip.Addr{}, fmt.Errorf("this host's address: no route to the outside: %w", errors.Join(err4, err6))
}

func localAddress(network, remote string) (netip.Addr, error) {
	c, err := net.Dial(network, remote)
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	local, err := netip.ParseAddrPort(c.LocalAddr().String())
	return local.Addr().Unmap(), err
}

// BaseURL returns the URL of a server that listens on addr, as other machines reach it: where it listens on
// every address, the routed one stands for them. It ends without a slash.
func BaseURL(addr net.Addr) (string, error) {
	bound, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return "", fmt.Errorf("listen address: %w", err)
	}
	host := bound.Addr().Unmap()
	if host.IsUnspecified() {
		if host, err = RoutedAddress(); err != nil {
			return "", err
		}
	}
	return "http://" + netip.AddrPortFrom(host, bound.Port()).String(), nil
}
