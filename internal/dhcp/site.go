// Package dhcp knows what a DHCP server must answer so that machines boot into EKS Anywhere or Tinkerbell: a Site goes
// in, the answer to each kind of client comes out, and the configuration that makes dnsmasq, Kea, ISC dhcpd or
// Microsoft's server answer so. The protocol is RFC 2131 and 2132, PXE's options are RFC 4578, user classes RFC 3004,
// HTTP boot is in the UEFI specification, 24.7.
package dhcp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/hardware"
)

// Site is one network with machines that boot, and the Tinkerbell stack that they boot from.
type Site struct {
	Generation   Generation
	Phase        Phase
	BootstrapIP  netip.Addr // of the admin machine; needed in the bootstrap phase
	TinkerbellIP netip.Addr // tinkerbellIP of the cluster's specification; needed in the cluster phase

	Subnet       netip.Prefix // of the machines
	Gateway      netip.Addr   // zero: none is told to machines
	DNS          []netip.Addr
	First, Last  netip.Addr   // of the range for unknown machines; zero: none
	ServerSubnet netip.Prefix // where the server itself is, if a relay passes on what machines send; zero: Subnet
	Interface    string       // "" leaves the choice to the server

	Machines     []hardware.Machine // with reserved addresses
	HardwareFile string             // that they were read from, for messages
	KnownOnly    bool               // only Machines are answered

	HTTPBoot  bool
	URLByMAC  bool   // the MAC address stands in the script's URL, so that smee need not go by source address
	ScriptURL string // instead of the table's, taken as it is; "" for the table's
	BinaryURL string // of the directory, likewise
}

// Answer is what a client should be told, beside its address.
type Answer struct {
	Silent      bool       `json:"silent"`                 // no answer at all
	NextServer  netip.Addr `json:"next_server,omitzero"`   // where File is fetched by TFTP; zero: it does not matter
	File        string     `json:"file,omitempty"`         // boot file name or URL, in the header or as option 67; "": none may be sent
	VendorClass string     `json:"vendor_class,omitempty"` // option 60; "": none is needed
	Why         string     `json:"why"`                    // one sentence
}

// StackIP is where the stack is in this phase.
func (s Site) StackIP() netip.Addr {
	if s.Phase == Bootstrap {
		return s.BootstrapIP
	}
	return s.TinkerbellIP
}

// Script is the URL of iPXE's script, as it goes over the wire.
func (s Site) Script() string {
	if s.ScriptURL != "" {
		return s.ScriptURL
	}
	script := at(s.StackIP(), s.Generation.In(s.Phase).Script)
	if s.URLByMAC {
		return withMAC(script)
	}
	return script
}

// Binary is the URL of one of iPXE's binaries.
func (s Site) Binary(name string) string {
	dir := s.BinaryURL
	if dir == "" {
		dir = at(s.StackIP(), s.Generation.In(s.Phase).Binary)
	}
	return strings.TrimSuffix(dir, "/") + "/" + name
}

// Machine returns the machine with a MAC address, nil where there is none.
func (s Site) Machine(mac net.HardwareAddr) *hardware.Machine {
	i := slices.IndexFunc(s.Machines, func(m hardware.Machine) bool { return bytes.Equal(m.MAC, mac) })
	if i < 0 {
		return nil
	}
	return &s.Machines[i]
}

// Answer says what a client should get.
func (s Site) Answer(c Client) Answer {
	if s.KnownOnly && c.MAC != nil && s.Machine(c.MAC) == nil {
		return Answer{Silent: true, Why: "only machines with a reservation are answered"}
	}
	if c.isTinkerbell() {
		why := "the next step: iPXE's script"
		switch {
		case s.ScriptURL != "":
		case s.URLByMAC:
			why += "; smee finds the machine by the MAC address in the URL"
		default:
			why += "; smee finds the machine by its source address, which must be hardware.csv's"
		}
		return Answer{File: s.Script(), Why: why}
	}
	for _, b := range s.boots() {
		if c.HasArch && slices.Contains(b.archs, c.Arch) {
			return s.answerBoot(c, b)
		}
	}
	if c.HasArch {
		return Answer{Why: fmt.Sprintf("Tinkerbell has no iPXE for architecture %d", c.Arch)}
	}
	return Answer{Why: "it says no architecture (option 93), so it does not boot from the network"}
}

// boot is what clients of some architectures get.
type boot struct {
	tag    string // a word for configurations
	name   string // for people
	archs  []uint16
	vendor string // beginning of option 60
	file   string // iPXE's binary
	http   bool
}

// boots has every architecture once.
func (s Site) boots() []boot {
	return []boot{
		{"uefi-x64", "UEFI, x64", []uint16{archX64, archX64Old}, "PXEClient", nameX64, false},
		{"bios", "BIOS", []uint16{archBIOS}, "PXEClient", nameBIOS, false},
		{"uefi-arm64", "UEFI, arm64", []uint16{archARM64}, "PXEClient", s.Generation.ARM64, false},
		{"http-x64", "UEFI HTTP boot, x64", []uint16{archX64HTTP}, httpClient, nameX64, true},
		{"http-arm64", "UEFI HTTP boot, arm64", []uint16{archARM64HTTP}, httpClient, s.Generation.ARM64, true},
	}
}

// httpClient is what UEFI wants to see in option 60 of the answer before it takes the boot file for a URL.
const httpClient = "HTTPClient"

func (s Site) answerBoot(c Client, b boot) Answer {
	switch {
	case b.http && !s.HTTPBoot:
		return Answer{Why: "not without --http-boot; the firmware goes on to its next way to boot"}
	case b.http:
		return Answer{File: s.Binary(b.file), VendorClass: httpClient,
			Why: "Tinkerbell's iPXE for " + b.name + "; firmware wants to see " + httpClient + " in option 60 of the answer"}
	case c.isIPXE():
		return Answer{NextServer: s.StackIP(), File: b.file,
			Why: "not Tinkerbell's iPXE: it chains into that one for " + b.name + ", since it can start no other"}
	}
	return Answer{NextServer: s.StackIP(), File: b.file, Why: "Tinkerbell's iPXE for " + b.name + ", over TFTP"}
}
