package dhcp

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/hookbuild/hookbuild/internal/hardware"
)

// Completed fills in what was not said and follows from the rest: the network of machines that are all in one, their
// gateway and name servers where these are the same for all, and a range where any machine is answered.
func (s Site) Completed() Site {
	if !s.Subnet.IsValid() && len(s.Machines) > 0 {
		s.Subnet = subnetOf(s.Machines)
	}
	if gateways := s.gateways(); !s.Gateway.IsValid() && len(gateways) == 1 {
		s.Gateway = gateways[0]
	}
	if lists := s.nameservers(); len(s.DNS) == 0 && len(lists) == 1 {
		s.DNS, _ = addresses(lists[0]) // Validate says which is none
	}
	if !s.KnownOnly && !s.First.IsValid() && !s.Last.IsValid() {
		s.First, s.Last = s.DefaultRange()
	}
	return s
}

// subnetOf is the network that all machines are in by address and netmask, zero where there is not one.
func subnetOf(machines []hardware.Machine) netip.Prefix {
	var found netip.Prefix
	for i, m := range machines {
		if !m.IP.Is4() || !m.Netmask.Is4() {
			return netip.Prefix{}
		}
		bits := 0
		for n := number(m.Netmask); n != 0; n <<= 1 {
			bits++
		}
		p := netip.PrefixFrom(m.IP, bits).Masked()
		if i > 0 && p != found {
			return netip.Prefix{}
		}
		found = p
	}
	return found
}

// gateways are those of the machines, each once.
func (s Site) gateways() []netip.Addr {
	var all []netip.Addr
	for _, m := range s.Machines {
		if m.Gateway.IsValid() && !slices.Contains(all, m.Gateway) {
			all = append(all, m.Gateway)
		}
	}
	return all
}

// nameservers are the lists of the machines, each once.
func (s Site) nameservers() [][]string {
	var all [][]string
	for _, m := range s.Machines {
		if len(m.Nameservers) > 0 && !slices.ContainsFunc(all, func(l []string) bool { return slices.Equal(l, m.Nameservers) }) {
			all = append(all, m.Nameservers)
		}
	}
	return all
}

// addresses reads name servers; an answer of DHCP has room for addresses only.
func addresses(texts []string) ([]netip.Addr, error) {
	all := make([]netip.Addr, 0, len(texts))
	for _, text := range texts {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return nil, errors.New("a nameserver is no address") // cells are not quoted
		}
		all = append(all, ip)
	}
	return all, nil
}

// checkOpen says what the machines leave open, since they differ.
func (s Site) checkOpen(add func(string, ...any)) {
	if gateways := s.gateways(); !s.Gateway.IsValid() && len(gateways) > 1 {
		add("%s: machines have different gateways, %s; --gateway says which one all are told", s.HardwareFile, joined(gateways, " and "))
	}
	lists := s.nameservers()
	if len(s.DNS) > 0 || len(lists) == 0 {
		return
	}
	if len(lists) > 1 {
		add("%s: machines have different nameservers; --dns says which ones all are told", s.HardwareFile)
	} else if _, err := addresses(lists[0]); err != nil {
		add("%s: %v; --dns says which ones machines are told", s.HardwareFile, err)
	}
}
