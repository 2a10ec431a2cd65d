package probe

import (
	"fmt"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/hookbuild/hookbuild/internal/dhcp"
)

// maxMessage is option 57 of PXE clients: an Ethernet frame's worth (PXE 2.1, table 2-2, and EDK2 send 1472 bytes).
const maxMessage = 1472

// discover builds a DISCOVER with a transaction id of its own. The broadcast flag is set, since nobody answers ARP for
// the address that is offered, and no client identifier is sent, so that all kinds of one MAC are one client to the
// server and cost it one address.
func (c *Conn) discover(client dhcp.Client, waited time.Duration) (*dhcpv4.DHCPv4, error) {
	mods := []dhcpv4.Modifier{dhcpv4.WithRequestedOptions(dhcpv4.OptionHostName)}
	if c.giaddr.IsValid() {
		mods = append(mods, dhcpv4.WithRelay(c.giaddr.AsSlice()))
	}
	mods = append(mods, dhcpv4.WithBroadcast(true))
	if client.HasArch {
		mods = append(mods,
			dhcpv4.WithRequestedOptions(dhcpv4.OptionVendorSpecificInformation, dhcpv4.OptionServerIdentifier, dhcpv4.OptionClassIdentifier,
				dhcpv4.OptionTFTPServerName, dhcpv4.OptionBootfileName),
			dhcpv4.WithOption(dhcpv4.OptClientArch(iana.Arch(client.Arch))),
			// RFC 4578: UNDI 3.16, and a machine's UUID, here one that is made of its MAC.
			dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 3, 16})),
			dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, append(make([]byte, 11), client.MAC...))),
			dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(maxMessage)),
		)
	}
	if client.VendorClass != "" {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptClassIdentifier(client.VendorClass)))
	}
	if len(client.UserClass) > 0 {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionUserClassInformation, client.UserClass)))
	}
	p, err := dhcpv4.NewDiscovery(client.MAC, mods...)
	if err != nil {
		return nil, fmt.Errorf("building a DISCOVER: %w", err)
	}
	p.NumSeconds = uint16(min(waited/time.Second, 1<<16-1)) //nolint:gosec // bounded beside it
	return p, nil
}
