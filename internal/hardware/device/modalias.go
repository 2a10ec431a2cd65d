package device

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

var (
	// A modalias is a bus, a colon and no blank (Documentation/driver-api/driver-model/binding.rst of the kernel names
	// the file; scripts/mod/file2alias.c the forms).
	modalias = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}:\S+$`)
	// pci:v00008086d00001572sv00001028sd00001F99bc02sc00i00
	pciModalias = regexp.MustCompile(`(?i)^pci:v0000([0-9A-F]{4})d0000([0-9A-F]{4})sv0000([0-9A-F]{4})sd0000([0-9A-F]{4})bc([0-9A-F]{2})sc([0-9A-F]{2})i([0-9A-F]{2})$`)
	usbModalias = regexp.MustCompile(`(?i)^usb:v([0-9A-F]{4})p([0-9A-F]{4})d`)
	// /sys/bus/pci/devices/0000:3b:00.0/modalias:pci:…, as grep prints it, with a name of uevent's or without
	sysPath = regexp.MustCompile(`^\S*?/?([^/\s]+)/(?:modalias|uevent):\s*(\S.*)$`)
	// host1: in front of a modalias; the blank tells it from a bus
	hostPrefix = regexp.MustCompile(`^(?:\[(` + hostName + `)\]|(` + hostName + `):)\s+(\S.*)$`)
)

// wellKnown are buses of which a modalias is expected; another word of the same form must stand alone on its line.
const wellKnown = " pci usb virtio acpi of platform hid input i2c spi scsi mdio dmi cpu serio pnp hdaudio sdio vmbus xen pcmcia mei wmi auxiliary rpmsg vme cxl nd isa eisa parport mmc typec ssb bcma firewire ieee1394 amba fsl-mc css ccw ap zorro gameport dfl nvme rio mcb ipack tee hv visorbus hsi slim sdw soundwire ishtp thunderbolt tbsvc x86cpu "

// ReadModalias reads what cat /sys/bus/*/devices/*/modalias prints, or grep -H . with the paths, and dmesg's and uevent's
// MODALIAS=, of one machine or many, with whatever is around it. Devices of the same modalias are all given. Of PCI and
// USB devices the numbers are read too; others have their modalias and nothing else. A PCI modalias that is not whole is an
// error, all of them named up to a limit. Other errors are as those of ReadLspci.
func ReadModalias(name string, r io.Reader) ([]Device, error) {
	lines, err := readLines(name, r)
	if err != nil {
		return nil, err
	}
	var all []Device
	var faults []error
	machine := ""
	for i, line := range lines {
		if host := headerOf(line); host != "" {
			machine = host
			continue
		}
		d, ok := modaliasOf(strings.Trim(line, "> |\t`"))
		if !ok {
			if d.Bus == "pci" && len(faults) < maxFaults { // leaving it out would call a machine driven that is not
				faults = append(faults, fmt.Errorf("%s:%d: %q is not a whole PCI modalias, or a pattern; want pci:v…d…sv…sd…bc…sc…i… with all its digits", name, i+1, d.Modalias))
			}
			continue
		}
		d.File, d.Line = name, i+1
		if d.Machine == "" {
			d.Machine = machine
		}
		all = append(all, d)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: no modalias; want lines such as pci:v00008086d00001572sv00001028sd00001F99bc02sc00i00, as cat /sys/bus/*/devices/*/modalias prints them", name)
	}
	return all, nil
}

// modaliasOf finds the modalias in a line, with what stands before it.
func modaliasOf(line string) (d Device, ok bool) {
	if m := sysPath.FindStringSubmatch(line); m != nil {
		if m[1] != "devices" {
			d.Address = m[1]
		}
		if host, _, prefixed := strings.Cut(line, ":"); prefixed && !strings.Contains(host, "/") && !notHost(host) && host != "" {
			d.Machine = strings.Trim(host, "[] ")
		}
		line = m[2]
	} else if m := hostPrefix.FindStringSubmatch(line); m != nil && !notHost(m[1]+m[2]) {
		d.Machine, line = m[1]+m[2], m[3]
	}
	if _, value, found := strings.Cut(line, "MODALIAS="); found {
		line = value
	}
	words := strings.Fields(line)
	for _, word := range words {
		word = strings.Trim(word, "\"'`,")
		if len(word) > 4096 || !modalias.MatchString(word) { // a page of sysfs is no larger
			continue
		}
		bus, rest, _ := strings.Cut(word, ":")
		if len(words) > 1 && !strings.Contains(wellKnown, " "+bus+" ") || strings.HasPrefix(rest, "/") {
			continue
		}
		d.Bus, d.Modalias = bus, word
		return d.fromModalias(bus)
	}
	return d, false
}

// fromModalias reads the numbers of a PCI or USB device. A PCI modalias that is not whole is none.
func (d Device) fromModalias(bus string) (Device, bool) {
	switch bus {
	case "pci":
		m := pciModalias.FindStringSubmatch(d.Modalias)
		if m == nil {
			return d, false
		}
		d.Known = KnownAll
		d.Vendor, d.Device, d.SubVendor, d.SubDevice = hex16(m[1]), hex16(m[2]), hex16(m[3]), hex16(m[4])
		d.Class, d.ProgIf = hex16(m[5]+m[6]), uint8(hex16(m[7]))
		d.Modalias = d.alias() // in upper case, whatever a mail program made of it
	case "usb":
		if m := usbModalias.FindStringSubmatch(d.Modalias); m != nil {
			d.Known = KnownID
			d.Vendor, d.Device = hex16(m[1]), hex16(m[2])
		}
	}
	return d, true
}
