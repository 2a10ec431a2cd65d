package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/hookbuild/hookbuild/internal/dhcp/probe"
)

func TestShowProbe(t *testing.T) {
	one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	offer := func(server netip.Addr, file string) probe.Offer {
		return probe.Offer{Server: server, Address: netip.MustParseAddr("10.0.0.77"), BootFile: file, NextServer: netip.MustParseAddr("10.0.0.9")}
	}
	report := probe.Report{
		Via: "interface eth0", MAC: "02:00:00:00:00:01", Servers: []netip.Addr{one, two}, Findings: []string{"2 DHCP servers answer"},
		Results: []probe.Result{
			{Client: "BIOS", Offers: []probe.Offer{offer(one, "ipxe.efi"), offer(two, "")},
				Faults: []probe.Fault{{Code: "efi-to-bios", Server: one, Says: "it hangs"}, {Code: "no-boot-file", Server: two, Says: "it goes on"}}},
			{Client: "UEFI", Right: true, Offers: []probe.Offer{offer(one, "http://10.0.0.9/\x1b[2Jx\ny")}, Notes: []string{"by address"}},
			{Client: "iPXE", Offers: []probe.Offer{offer(one, "ipxe.efi")}, Faults: []probe.Fault{{Code: "efi-to-bios", Server: one, Says: "it hangs"}}, Notes: []string{"by address"}},
			{Client: "OS", Faults: []probe.Fault{{Code: "no-answer", Says: "no answer: why"}}},
		},
	}
	const want = `asked by interface eth0 as 02:00:00:00:00:01

BIOS  WRONG  10.0.0.1 says 10.0.0.77, ipxe.efi from 10.0.0.9; 10.0.0.2 says 10.0.0.77, no boot file
    - 10.0.0.1: it hangs
    - 10.0.0.2: it goes on
UEFI  right  10.0.0.77, http://10.0.0.9/ [2Jx y
    note: by address
iPXE  WRONG  10.0.0.77, ipxe.efi from 10.0.0.9
    - 10.0.0.1: as above: efi-to-bios
OS    WRONG  no answer
    - no answer: why

2 DHCP servers answer

1 of 4 right
`
	var stdout, stderr bytes.Buffer
	if err := (&program{testSystem(&stdout, &stderr)}).showProbe(report); err != nil || stdout.String() != want {
		t.Errorf("%v\n got %s\nwant %s", err, stdout.String(), want)
	}
}

func TestWrongDHCPError(t *testing.T) {
	server := []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	right, wrong := probe.Result{Client: "UEFI", Right: true}, probe.Result{Client: "BIOS"}
	for _, tc := range []struct {
		name       string
		report     probe.Report
		want, hint string
	}{
		{"wrong", probe.Report{Servers: server, Results: []probe.Result{right, wrong}}, "machines will not boot as they should (BIOS)", "--format dnsmasq"},
		{"nobody", probe.Report{Via: "interface eth0", Results: []probe.Result{wrong}}, "by interface eth0 no DHCP server answers", "--giaddr"},
		{"two servers", probe.Report{Servers: append(server, server...), Results: []probe.Result{right}}, "contradict each other", "--format dnsmasq"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := fmt.Errorf("wrapped: %w", &wrongDHCPError{tc.report})
			if !strings.Contains(err.Error(), tc.want) || !strings.Contains(hint(err), tc.hint) || exitCode(t.Context(), err) != exitCheck {
				t.Errorf("got %v, hint %q, exit code %d", err, hint(err), exitCode(t.Context(), err))
			}
		})
	}
}

func TestMadeUpMAC(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		mac := madeUpMAC()
		if len(mac) != 6 || mac[0]&1 != 0 || mac[0]&2 == 0 || seen[mac.String()] {
			t.Errorf("got %s", mac)
		}
		seen[mac.String()] = true
	}
}
