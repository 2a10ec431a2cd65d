// Package hardware reads the list of a site's machines, hardware.csv of EKS Anywhere on bare metal
// (https://anywhere.eks.amazonaws.com/docs/getting-started/baremetal/bare-preparation/), by the rules of its own
// reader and validator (pkg/providers/tinkerbell/hardware), and finds everything at once that is wrong with it.
package hardware

import (
	"net"
	"net/netip"
)

// Machine is a row of the file. The password and the user name of its BMC are not kept.
type Machine struct {
	Line        int              // where the row begins, from 1
	Hostname    string           // an RFC 1123 subdomain in lower case; no two machines have the same
	MAC         net.HardwareAddr // six bytes; no two machines have the same
	IP          netip.Addr       // no two machines have the same
	Netmask     netip.Addr       // ones and then zeros, and of the family of IP or not: EKS Anywhere does not look
	Gateway     netip.Addr
	Nameservers []string          // at least one; printable text without blanks, and not necessarily addresses
	Labels      map[string]string // of Kubernetes; nil for none
	Disk        string            // the device to install to
	VLAN        int               // 1 to 4094; 0 for none
	BMC         netip.Addr        // the zero value for none; no two machines have the same
}
