package device

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Forms of lspci(8), as show_terse, show_machine and show_verbose of pciutils' lspci.c print them.
var (
	slot = regexp.MustCompile(`(?:^|[\s>|\])"'` + "`" + `])((?:[0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7])\s+`)
	// -nn: Ethernet controller [0200]: Intel Corporation Ethernet Controller X710 [8086:1572] (rev 01)
	named = regexp.MustCompile(`^(.*?)\s*\[([0-9A-Fa-f]{4})\]:\s+(.*)\[([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})\]`)
	// -n: 0200: 8086:1572 (rev 01); before pciutils 3: Class 0200: 8086:1572
	numeric = regexp.MustCompile(`^(?:Class )?([0-9A-Fa-f]{4}): ([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})(?:\s|$)`)
	// -nn of which the end is on the next line
	begun = regexp.MustCompile(`^[^"]*\[[0-9A-Fa-f]{4}\]:`)
	// without -n
	plain     = regexp.MustCompile(`^(?:"[^"]*" "|[A-Z][^:\[\]"]{2,60}: [A-Z0-9])`)
	noise     = regexp.MustCompile(`^(?:[\s>|*•+-]|\[[^\]]*\]|[0-9T:.,Z+-]+\s|` + hostName + `:\s)*$`)
	progIf    = regexp.MustCompile(`\(prog-if ([0-9A-Fa-f]{2})`)
	subsystem = regexp.MustCompile(`\bSubsystem:\s+(.*?)\s*(?:\[([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})\]|\b([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4}))\s*$`)
	inUse     = regexp.MustCompile(`\bKernel driver in use:\s+(\S+)`)
	could     = regexp.MustCompile(`\bKernel modules:\s+(\S.*)`)
	detail    = regexp.MustCompile(`^\W*(?:Subsystem|DeviceName|Kernel [a-z ]+|Flags|Control|Capabilities|Physical Slot):\s`)
	verbose   = regexp.MustCompile(`^\W*(?:Flags|Control): `)
	field     = regexp.MustCompile(`(?:^|[\s>|\]])(Slot|Class|Vendor|Device|SVendor|SDevice|ProgIf|Driver|Module):\s+(\S.*)$`)
	// Fields of a block that say nothing about ids or drivers: PhySlot, Rev, NUMANode, IOMMUGroup and later ones.
	otherField = regexp.MustCompile(`^[^A-Za-z0-9]*(?:` + hostName + `:\s+|\[[^\]]*\]\s+)?[A-Z][A-Za-z]+:\s+\S+$`)
	quoted     = regexp.MustCompile(`"([^"]*)"|(-[rp][0-9A-Fa-f]{2})`)
	bracketed  = regexp.MustCompile(`^(.*?)\s*\[([0-9A-Fa-f]{2,4})\]$`)
	number     = regexp.MustCompile(`^[0-9A-Fa-f]{2,4}$`)
	slotOnly   = regexp.MustCompile(`^(?:[0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]$`)
)

// ReadLspci reads what lspci has printed with the ids: -nn, -nnk, -nnv, -n, -mmn and -mmnn, -vmmn, -vmmnk and so on, one or
// many machines, with whatever is around it. The devices are in the input's order, each one once. name is for errors and
// Device.File. It is an error when there is no device, when a device has no ids, all of them named, and when the input is
// larger than MaxInput.
func ReadLspci(name string, r io.Reader) ([]Device, error) {
	lines, err := readLines(name, r)
	if err != nil {
		return nil, err
	}
	l := &lspci{name: name, last: -1}
	for i, line := range lines {
		next := ""
		if i+1 < len(lines) {
			next = lines[i+1]
		}
		l.line(i+1, line, next)
	}
	l.endBlock()
	if err := l.fault(); err != nil {
		return nil, err
	}
	for i := range l.all {
		l.all[i].setModalias()
	}
	return l.all, nil
}

// lspci is a reader's state.
type lspci struct {
	collection
	name    string
	last    int     // the device that indented lines are about, in all; -1 for none
	block   *Device // of -vmm, being read
	without []place // lines of lspci without ids
}

// place is where a device without ids is.
type place struct {
	machine, address string
	line             int
}

func (l *lspci) line(n int, line, next string) {
	if host := headerOf(line); host != "" {
		l.endBlock()
		l.machine, l.last = host, -1
		return
	}
	if strings.Trim(line, "> |\t") == "" { // the end of a block
		l.endBlock()
		return
	}
	if m := field.FindStringSubmatchIndex(line); m != nil && (l.block != nil || strings.HasPrefix(line[m[2]:], "Slot:") || startsBlock(line[m[2]:])) {
		l.field(n, line[:m[2]], line[m[2]:m[3]], line[m[4]:m[5]])
		return
	}
	if l.block != nil && otherField.MatchString(line) {
		return
	}
	l.endBlock()
	if m := slot.FindStringSubmatchIndex(line); m != nil {
		l.slot(n, line[:m[2]], line[m[2]:m[3]], line[m[1]:], next)
		return
	}
	if m := named.FindStringSubmatch(strings.TrimLeft(line, "> \t")); m != nil { // somebody has cut the addresses off
		l.last = l.found(n, Device{}, m[1], m[2], m[3], m[4], m[5])
		l.progIf(line)
		return
	}
	l.detail(line)
}

// startsBlock tells fields of -vmm from lines of -v and of prose: they are numbers, or end with one.
func startsBlock(text string) bool {
	key, value, _ := strings.Cut(text, ":")
	value = strings.TrimSpace(value)
	return (key == "Class" || key == "Device") && (number.MatchString(value) || bracketed.MatchString(value) || slotOnly.MatchString(value))
}

// slot reads what stands behind a device's address.
func (l *lspci) slot(n int, before, at, rest, next string) {
	l.last = -1
	d := Device{Address: at, Machine: prefixOf(before)}
	if begun.MatchString(rest) && !named.MatchString(rest) && !slot.MatchString(next) && !detail.MatchString(next) {
		rest += " " + strings.TrimLeft(next, "> \t") // a terminal or a mail program has broken the line
	}
	switch {
	case strings.HasPrefix(rest, `"`):
		if !l.machineReadable(n, d, rest) {
			l.without = append(l.without, place{l.machineOf(d), at, n})
		}
		return
	case numeric.MatchString(rest):
		m := numeric.FindStringSubmatch(rest)
		l.last = l.found(n, d, "", m[1], "", m[2], m[3])
	case named.MatchString(rest):
		m := named.FindStringSubmatch(rest)
		l.last = l.found(n, d, m[1], m[2], m[3], m[4], m[5])
	default: // without -n, or cut off by a screen's width
		if begun.MatchString(rest) || plain.MatchString(rest) && noise.MatchString(before) {
			l.without = append(l.without, place{l.machineOf(d), at, n})
		}
		return
	}
	l.progIf(rest)
}

func (l *lspci) machineOf(d Device) string {
	if d.Machine != "" {
		return d.Machine
	}
	return l.machine
}

// found adds a device of -n and -nn. Its names are one text there: the vendor's and the device's.
func (l *lspci) found(n int, d Device, className, class, name, vendor, id string) int {
	d.Bus, d.File, d.Line = "pci", l.name, n
	d.Known = KnownID | KnownClass
	d.Class, d.Vendor, d.Device = hex16(class), hex16(vendor), hex16(id)
	d.ClassName, d.DeviceName = strings.TrimSpace(className), strings.TrimSpace(name)
	return l.add(d)
}

func (l *lspci) progIf(line string) {
	if m := progIf.FindStringSubmatch(line); m != nil && l.last >= 0 {
		l.all[l.last].ProgIf = uint8(hex16(m[1]))
		l.all[l.last].Known |= KnownProgIf
	}
}

// detail reads the lines below a device's first one.
func (l *lspci) detail(line string) {
	if l.last < 0 {
		return
	}
	d := &l.all[l.last]
	if m := subsystem.FindStringSubmatch(line); m != nil {
		d.SubVendor, d.SubDevice = hex16(m[2]+m[4]), hex16(m[3]+m[5])
		d.SubsystemName = m[1]
		d.Known |= KnownSubsystem
	}
	if m := inUse.FindStringSubmatch(line); m != nil {
		d.Driver = m[1]
	}
	if m := could.FindStringSubmatch(line); m != nil {
		d.Modules = strings.FieldsFunc(m[1], func(r rune) bool { return r == ',' || r == ' ' })
	}
	if verbose.MatchString(line) && !d.Known.Has(KnownProgIf) { // -v leaves it out where it is 00 and has no name
		d.Known |= KnownProgIf
		d.ProgIf = 0
	}
}

// machineReadable reads -mm: "Class" "Vendor" "Device" -rRR -pPP "SVendor" "SDevice", with -n or -nn.
func (l *lspci) machineReadable(n int, d Device, rest string) bool {
	var words []string
	d.Bus, d.File, d.Line = "pci", l.name, n
	for _, m := range quoted.FindAllStringSubmatch(rest, 8) {
		if m[2] == "" {
			words = append(words, m[1])
		} else if m[2][1] == 'p' {
			d.ProgIf = uint8(hex16(m[2][2:]))
			d.Known |= KnownProgIf
		}
	}
	if len(words) < 3 {
		return false
	}
	for i, key := range []string{"Class", "Vendor", "Device", "SVendor", "SDevice"} {
		if i < len(words) {
			d.set(key, words[i])
		}
	}
	if d.complete(); !d.Known.Has(KnownID) {
		return false
	}
	l.add(d)
	return true
}

// field reads a line of -vmm, where a block of lines is a device.
func (l *lspci) field(n int, before, key, value string) {
	isSlot := slotOnly.MatchString(value)
	starts := key == "Slot" || key == "Device" && isSlot || key == "Class" && l.block != nil && l.block.ClassName != ""
	if starts {
		l.endBlock()
	}
	if l.block == nil {
		l.last = -1
		l.block = &Device{Bus: "pci", File: l.name, Line: n, Machine: prefixOf(before)}
	}
	switch {
	case isSlot:
		l.block.Address = value
	case key == "Driver":
		l.block.Driver = value
	case key == "Module":
		l.block.Modules = append(l.block.Modules, value)
	default:
		l.block.set(key, value)
	}
}

// partial flags of set: one half of a pair.
const (
	halfVendor Known = 1 << (4 + iota)
	halfDevice
	halfSubVendor
	halfSubDevice
)

// set takes a field of -mm or -vmm: a name, a number, or a name with a number in brackets.
func (d *Device) set(key, value string) {
	name, digits := value, ""
	if m := bracketed.FindStringSubmatch(value); m != nil {
		name, digits = m[1], m[2]
	} else if number.MatchString(value) {
		name, digits = "", value
	}
	n := hex16(digits)
	var known Known
	switch key {
	case "Class":
		d.ClassName, d.Class, known = name, n, KnownClass
	case "Vendor":
		d.VendorName, d.Vendor, known = name, n, halfVendor
	case "Device":
		d.DeviceName, d.Device, known = name, n, halfDevice
	case "SVendor":
		d.SubVendor, known = n, halfSubVendor
	case "SDevice":
		d.SubsystemName, d.SubDevice, known = name, n, halfSubDevice
	case "ProgIf":
		d.ProgIf, known = uint8(n), KnownProgIf
	}
	if digits != "" && (known == KnownProgIf || len(digits) == 4) {
		d.Known |= known
	}
}

// complete turns halves that are both there into what is known.
func (d *Device) complete() {
	if d.Known.Has(halfVendor | halfDevice) {
		d.Known |= KnownID
	}
	if d.Known.Has(halfSubVendor | halfSubDevice) {
		d.Known |= KnownSubsystem
	}
	d.Known &= KnownAll
}

// endBlock adds the device of a block.
func (l *lspci) endBlock() {
	d := l.block
	if d == nil {
		return
	}
	l.block = nil
	d.complete()
	switch {
	case d.Known.Has(KnownID):
		l.add(*d)
	case d.Address != "" || d.ClassName != "" && d.DeviceName != "":
		l.without = append(l.without, place{l.machineOf(*d), d.Address, d.Line})
	}
}

// fault says what is wrong with the whole: devices without ids, or none at all. One without ids is in order where the
// same one stands elsewhere with them.
func (l *lspci) fault() error {
	var faults []error
	more := 0
	for _, p := range l.without {
		if _, known := l.at[[2]string{p.machine, address(p.address)}]; known && p.address != "" {
			continue
		}
		if len(faults) == maxFaults {
			more++
			continue
		}
		faults = append(faults, fmt.Errorf("%s:%d: %s is without its ids, and its name does not say which driver it takes; run lspci with -nn",
			l.name, p.line, strings.TrimSpace("device "+p.address)))
	}
	if more > 0 {
		faults = append(faults, fmt.Errorf("%s: and %d more devices without ids", l.name, more))
	}
	if len(faults) == 0 && len(l.all) == 0 {
		return fmt.Errorf("%s: no PCI device; want lines such as 3b:00.0 Ethernet controller [0200]: … [8086:1572], as lspci -nn prints them", l.name)
	}
	return errors.Join(faults...)
}
