package dhcp

import "net"

// The architectures of option 93 that are told apart (RFC 4578, and IANA's "Processor Architecture Types").
const (
	archBIOS      uint16 = 0
	archX64       uint16 = 7 // by the registry
	archX64Old    uint16 = 9 // EBC there; what many UEFI firmwares for x64 send, after the RFC's first wording
	archARM64     uint16 = 11
	archX64HTTP   uint16 = 16
	archARM64HTTP uint16 = 19
)

// tinkerbellClass is the user class that tells Tinkerbell's iPXE from others.
const tinkerbellClass = "Tinkerbell"

// Client is what a DHCP client says of itself in its DISCOVER.
type Client struct {
	Name        string // for people
	Arch        uint16 // option 93, where HasArch
	HasArch     bool
	VendorClass string           // option 60; "" for none
	UserClass   []byte           // option 77, exactly as on the wire; nil for none
	MAC         net.HardwareAddr // nil stands for a machine that the server knows
}

// Clients returns one of each kind that a server must tell apart.
func Clients() []Client {
	firmware := func(name, vendorClass string, arch uint16) Client {
		return Client{Name: name, Arch: arch, HasArch: true, VendorClass: vendorClass}
	}
	ipxe := func(name, vendorClass string, arch uint16, userClass string) Client {
		c := firmware(name, vendorClass, arch)
		c.UserClass = []byte(userClass)
		return c
	}
	return []Client{
		firmware("UEFI x64, arch 7", "PXEClient:Arch:00007:UNDI:003016", archX64),
		firmware("UEFI x64, arch 9", "PXEClient:Arch:00009:UNDI:003016", archX64Old),
		firmware("BIOS, arch 0", "PXEClient:Arch:00000:UNDI:002001", archBIOS),
		firmware("UEFI arm64, arch 11", "PXEClient:Arch:00011:UNDI:003016", archARM64),
		firmware("HTTP boot x64, arch 16", "HTTPClient:Arch:00016:UNDI:003001", archX64HTTP),
		firmware("HTTP boot arm64, arch 19", "HTTPClient:Arch:00019:UNDI:003001", archARM64HTTP),
		ipxe("Tinkerbell's iPXE, raw user class", "PXEClient:Arch:00007:UNDI:003010", archX64, tinkerbellClass),
		ipxe("Tinkerbell's iPXE, RFC 3004", "PXEClient:Arch:00007:UNDI:003010", archX64, "\x0a"+tinkerbellClass),
		ipxe("another iPXE, arch 0", "PXEClient:Arch:00000:UNDI:002001", archBIOS, "iPXE"),
		ipxe("another iPXE, arch 7", "PXEClient:Arch:00007:UNDI:003010", archX64, "iPXE"),
		ipxe("another iPXE, arch 11", "PXEClient:Arch:00011:UNDI:003010", archARM64, "iPXE"),
		{Name: "an ordinary OS", VendorClass: "dhcpcd-10.1.0:Linux-6.12.0:x86_64:GenuineIntel"},
	}
}

// isTinkerbell says whether option 77 begins with Tinkerbell's class, raw as its iPXE sends it or with the length
// before it as RFC 3004 has it.
func (c Client) isTinkerbell() bool {
	begins := func(b []byte) bool {
		return len(b) >= len(tinkerbellClass) && string(b[:len(tinkerbellClass)]) == tinkerbellClass
	}
	return begins(c.UserClass) || len(c.UserClass) > 0 && begins(c.UserClass[1:])
}

// isIPXE says the same of the class that iPXE sends where nobody has set another one.
func (c Client) isIPXE() bool {
	class := string(c.UserClass)
	return class == "iPXE" || class == "\x04iPXE"
}
