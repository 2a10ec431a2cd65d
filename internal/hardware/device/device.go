// Package device reads what people have of a machine's devices: what lspci prints, modaliases of sysfs, or a Redfish
// inventory. Out come devices with their ids, as far as they are known.
package device

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Known says which of a device's numbers are known. The zero value is none.
type Known uint8

// The numbers of a PCI device (PCI Local Bus Specification 3.0, 6.2.1 and 6.2.4).
const (
	KnownID        Known = 1 << iota // Vendor and Device
	KnownSubsystem                   // SubVendor and SubDevice
	KnownClass                       // Class
	KnownProgIf                      // ProgIf

	KnownAll = KnownID | KnownSubsystem | KnownClass | KnownProgIf
)

// Has tells whether all of want are known.
func (k Known) Has(want Known) bool { return k&want == want }

// String names the numbers, for a person: "subsystem, programming interface".
func (k Known) String() string {
	var names []string
	for i, name := range []string{"id", "subsystem", "class", "programming interface"} {
		if k&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// Device is one device of a machine. A number counts only where Known says so.
type Device struct {
	Machine string // as the input calls it, "machine 2" where it does not; "" where the input seems to be about one
	Bus     string // "pci", "usb", "virtio", "acpi" and so on: what its modalias begins with
	Address string // on the bus, as the input writes it: 0000:3b:00.0, 3b:00.0; "" where it is not given

	Known                Known
	Vendor, Device       uint16
	SubVendor, SubDevice uint16
	Class                uint16 // base class and subclass: 0x0200 is Ethernet
	ProgIf               uint8  // the programming interface: 0x02 of class 0x0108 is NVM Express

	// Names as the input has them; "" where it has none.
	VendorName, DeviceName, SubsystemName, ClassName string

	Driver  string   // the one in use where the input was made; "" for none or not said
	Modules []string // that could drive it there, as lspci -k names them

	Modalias string // as given, or made from the numbers where all are known; else ""

	File string // the input's name
	Line int    // where the device begins in File, from 1; 0 for one that is not from a file
}

var pciForm = regexp.MustCompile(`^([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})(?::([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4}))?$`)

// ParsePCI reads VVVV:DDDD or VVVV:DDDD:SVVV:SDDD, the ids of a PCI device and of its subsystem as lspci -nn and HookOS's
// console show them: four hexadecimal digits each.
func ParsePCI(text string) (Device, error) {
	m := pciForm.FindStringSubmatch(text)
	if m == nil {
		return Device{}, fmt.Errorf("%q: want VVVV:DDDD or VVVV:DDDD:SVVV:SDDD, four hexadecimal digits each, as lspci -nn shows them", text)
	}
	d := Device{Bus: "pci", Known: KnownID, Vendor: hex16(m[1]), Device: hex16(m[2])}
	if m[3] != "" {
		d.Known |= KnownSubsystem
		d.SubVendor, d.SubDevice = hex16(m[3]), hex16(m[4])
	}
	return d, nil
}

// hex16 is the number in text, which a pattern has found to be up to four hexadecimal digits.
func hex16(text string) uint16 {
	n, _ := strconv.ParseUint(text, 16, 16)
	return uint16(n)
}

// String is the form that ParsePCI reads, and the modalias of a device whose ids are not known.
func (d Device) String() string {
	switch {
	case d.Known.Has(KnownID | KnownSubsystem):
		return fmt.Sprintf("%04x:%04x:%04x:%04x", d.Vendor, d.Device, d.SubVendor, d.SubDevice)
	case d.Known.Has(KnownID):
		return fmt.Sprintf("%04x:%04x", d.Vendor, d.Device)
	}
	return d.Modalias
}

// setModalias makes the modalias of a PCI device of which everything is known.
func (d *Device) setModalias() {
	if d.Bus == "pci" && d.Modalias == "" && d.Known.Has(KnownAll) {
		d.Modalias = d.alias()
	}
}

// alias is the device's modalias, with a question mark for each digit that is not known. The form is that of
// pci_uevent in the kernel's drivers/pci/pci-driver.c.
func (d Device) alias() string {
	if d.Bus != "pci" || d.Known == 0 {
		return d.Modalias
	}
	number := func(known Known, width int, n uint64) string {
		if !d.Known.Has(known) {
			return strings.Repeat("?", width)
		}
		return fmt.Sprintf("%0*X", width, n)
	}
	return "pci:v" + number(KnownID, 8, uint64(d.Vendor)) + "d" + number(KnownID, 8, uint64(d.Device)) +
		"sv" + number(KnownSubsystem, 8, uint64(d.SubVendor)) + "sd" + number(KnownSubsystem, 8, uint64(d.SubDevice)) +
		"bc" + number(KnownClass, 2, uint64(d.Class>>8)) + "sc" + number(KnownClass, 2, uint64(d.Class&0xff)) +
		"i" + number(KnownProgIf, 2, uint64(d.ProgIf))
}

// Usual returns the device with the programming interface that nearly all devices of its class have, and what was filled
// in that way. lspci -nn does not show it, and ahci and nvme claim by it: without it no answer about most disks would be
// sure. The others of these classes, SATA that is vendor specific (00) and NVM without NVMe (00, 01), are hardly made.
func (d Device) Usual() (Device, Known) {
	if d.Bus != "pci" || !d.Known.Has(KnownClass) || d.Known.Has(KnownProgIf) {
		return d, 0
	}
	switch d.Class {
	case 0x0106: // SATA: AHCI
		d.ProgIf = 1
	case 0x0108: // non-volatile memory: NVM Express
		d.ProgIf = 2
	default:
		return d, 0
	}
	d.Known |= KnownProgIf
	d.setModalias()
	return d, KnownProgIf
}
