package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/hardware/drivers"
)

// surveyed is the answer of drivers, and its JSON form.
type surveyed struct {
	OK      bool           `json:"ok"` // every device that matters is driven
	Flavor  string         `json:"flavor"`
	PlanID  string         `json:"plan_id"` // of the generation that was looked at; empty where nothing is built
	Kernel  string         `json:"kernel"`  // of Debian, in which devices were looked up
	Matter  int            `json:"matter"`  // how many devices matter
	Missing int            `json:"missing"` // … and are not known to be driven
	Set     []string       `json:"set"`     // what kernel-config --set would take: SYMBOL=VALUE
	Devices []surveyDevice `json:"devices"` // those that matter first
}

// surveyDevice is one device with its verdict.
type surveyDevice struct {
	ID      string `json:"id"`   // VVVV:DDDD or VVVV:DDDD:SSSS:TTTT as --pci takes it, or a modalias
	Name    string `json:"name"` // of the device; empty where it is not known
	Kind    string `json:"kind"` // network, storage, console …; empty where it is not known
	Matters bool   `json:"matters"`
	drivers.Verdict
	Outside string   `json:"outside,omitempty"` // a driver that is not part of Linux
	Newer   string   `json:"newer,omitempty"`   // a flavor whose kernel has the driver
	Set     []string `json:"set"`               // what switches it on
}

// kindsOfClass are the classes that matter to an installation, by base class or base class and subclass
// (https://pcisig.com/specifications, PCI Code and ID Assignment).
func kindOfClass(class int64) (kind string, matters bool) {
	switch {
	case class>>8 == 0x01:
		return "storage", true
	case class>>8 == 0x02, class == 0x0c06:
		return "network", true
	case class == 0x0c04:
		return "storage network", true
	case class == 0x0700, class == 0x0702, class == 0x0703:
		return "console", true
	case class == 0x0c07:
		return "management", true
	}
	kinds := map[int64]string{0x03: "display", 0x04: "multimedia", 0x05: "memory", 0x06: "bridge", 0x08: "system", 0x0c: "bus", 0x12: "accelerator"}
	return kinds[class>>8], false
}

// kindOfPath tells by where a driver's source is, for devices that have no class.
func kindOfPath(path string) (kind string, matters bool) {
	for _, k := range []struct{ dir, kind string }{
		{"kernel/drivers/net/", "network"}, {"kernel/drivers/infiniband/", "network"}, {"kernel/drivers/scsi/", "storage"}, {"kernel/drivers/ata/", "storage"},
		{"kernel/drivers/nvme/", "storage"}, {"kernel/drivers/block/", "storage"}, {"kernel/drivers/message/fusion/", "storage"},
		{"kernel/drivers/char/virtio_console", "console"}, {"kernel/drivers/tty/serial/", "console"},
	} {
		if strings.HasPrefix(path, k.dir) && !strings.HasPrefix(path, "kernel/drivers/net/wireless/") {
			return k.kind, true
		}
	}
	return "", false
}

// judge looks every device up.
func (s *survey) judge(ctx context.Context, list []wantedDevice) (surveyed, error) {
	ids, err := s.ids(ctx)
	if err != nil {
		return surveyed{}, err
	}
	pci, usb := readNames(ids["pci.ids"]), readNames(ids["usb.ids"])
	answer := surveyed{Flavor: s.flavor.ID, PlanID: s.planID, Kernel: s.target.Whole, Set: []string{}, Devices: []surveyDevice{}}
	for _, l := range list {
		d := s.device(l)
		if m := usbAlias.FindStringSubmatch(l.modalias); m != nil {
			d.Name = usb.of(strings.ToLower(m[1]), strings.ToLower(m[2]))
		} else {
			d.Name = pci.of(fmt.Sprintf("%04x", l.id.Vendor), fmt.Sprintf("%04x", l.id.Device))
		}
		answer.Devices = append(answer.Devices, d)
	}
	slices.SortStableFunc(answer.Devices, func(a, b surveyDevice) int {
		switch {
		case a.Matters == b.Matters:
			return 0
		case a.Matters:
			return -1
		}
		return 1
	})
	for _, d := range answer.Devices {
		if !d.Matters {
			continue
		}
		answer.Matter++
		if d.Status == drivers.Driven {
			continue
		}
		answer.Missing++
		for _, set := range d.Set {
			if !slices.Contains(answer.Set, set) {
				answer.Set = append(answer.Set, set)
			}
		}
	}
	answer.OK = answer.Missing == 0
	return answer, nil
}

// device judges one.
func (s *survey) device(l wantedDevice) surveyDevice {
	d := surveyDevice{ID: l.modalias, Verdict: s.target.Judge(s.claims(l)), Set: []string{}}
	if behind := drivers.Behind(l.id); behind != "" {
		d.Verdict = d.And(s.target.Judge(s.claims(wantedDevice{modalias: behind})))
	}
	if l.modalias == "" {
		d.ID = fmt.Sprintf("%04x:%04x", l.id.Vendor, l.id.Device)
		if l.id.SubVendor != drivers.Any && l.id.SubDevice != drivers.Any {
			d.ID += fmt.Sprintf(":%04x:%04x", l.id.SubVendor, l.id.SubDevice)
		}
	}
	switch {
	case l.modalias == "" && l.id.Class != drivers.Any:
		d.Kind, d.Matters = kindOfClass(l.id.Class)
	default:
		for _, driver := range d.Drivers {
			if kind, matters := kindOfPath(driver.Path); matters && !driver.Perhaps {
				d.Kind, d.Matters = kind, true
				break
			}
		}
		d.Matters = d.Matters || l.modalias == "" // somebody asked for this very device
	}
	switch d.Status {
	case drivers.Off:
		for _, driver := range d.Drivers {
			if driver.Status == drivers.Off && !driver.Perhaps && len(driver.Symbols) > 0 {
				d.Set = append(d.Set, driver.Symbols[0].Setting())
			}
		}
	case drivers.TooNew:
		d.Newer = s.newer
	case drivers.Unknown, drivers.NotKnown:
		if l.modalias == "" {
			d.Outside = drivers.Outside(l.id)
		}
	}
	return d
}

// claims are those of the image's modules and of the whole kernel's.
func (s *survey) claims(l wantedDevice) []drivers.Claim {
	var all []drivers.Claim
	add := func(x *drivers.Index, inImage bool) {
		if x == nil {
			return
		}
		hits := x.PCI(l.id)
		if l.modalias != "" {
			hits = x.Modalias(l.modalias)
		}
		for _, h := range hits {
			all = append(all, drivers.Claim{Module: h.Module, InImage: inImage, Perhaps: h.Perhaps})
		}
	}
	add(s.own, true)
	add(s.whole, false)
	return all
}

// usbAlias is the beginning of a USB interface's modalias: vendor and product. The source is modalias_show in the kernel's
// drivers/usb/core/sysfs.c.
var usbAlias = regexp.MustCompile(`^usb:v([0-9A-F]{4})p([0-9A-F]{4})`)

// names are those of pci.ids (https://man7.org/linux/man-pages/man5/pci.ids.5.html), or of usb.ids, which has the same form.
type names struct {
	vendors map[string]string // by VVVV
	devices map[string]string // by VVVV:DDDD
}

func readNames(text string) names {
	n := names{map[string]string{}, map[string]string{}}
	vendor := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case line == "" || line[0] == '#' || strings.HasPrefix(line, "\t\t"):
		case line[0] == 'C': // classes follow to the end
			return n
		case line[0] == '\t':
			if id, name, ok := strings.Cut(line[1:], "  "); ok {
				n.devices[vendor+":"+id] = name
			}
		default:
			if id, name, ok := strings.Cut(line, "  "); ok {
				vendor = id
				n.vendors[id] = name
			}
		}
	}
	return n
}

// of is vendor and device, which are four digits each; the vendor alone, or nothing, where that is all that is known.
func (n names) of(vendor, device string) string {
	return strings.TrimSpace(n.vendors[vendor] + " " + n.devices[vendor+":"+device])
}

// show prints the answer for people.
func (s *survey) show(a surveyed) error {
	w := &errWriter{w: s.p.Stdout}
	fmt.Fprintf(w, "%s\n", s.against)
	folded, foldedDriven := 0, 0
	for _, d := range a.Devices {
		if !d.Matters && !s.c.Bool("all") {
			folded++
			if d.Status == drivers.Driven {
				foldedDriven++
			}
			continue
		}
		s.showDevice(w, d)
	}
	if folded > 0 {
		fmt.Fprintf(w, "\n%d more, which no installation needs (--all lists them): %d are driven\n", folded, foldedDriven)
	}
	if len(a.Set) > 0 {
		fmt.Fprintf(w, "\nnext: %s\n      or --fix, which also switches on what they depend on\n", s.command(a.Set))
	}
	return w.err
}

// command is what switches symbols on.
func (s *survey) command(set []string) string {
	words := []string{"hookbuild", "kernel-config", s.flavor.ID}
	for _, symbol := range set {
		words = append(words, "--set", symbol)
	}
	return strings.Join(words, " ")
}

func (s *survey) showDevice(w *errWriter, d surveyDevice) {
	about := strings.TrimSpace(visible(d.ID) + "  " + visible(d.Name))
	if d.Kind != "" {
		about += " (" + d.Kind + ")"
	}
	fmt.Fprintf(w, "\n%s: %s\n", d.Status, about)
	if d.Why != "" {
		fmt.Fprintf(w, "    %s\n", d.Why)
	}
	var perhaps []string
	for _, driver := range d.Drivers {
		if driver.Perhaps {
			perhaps = append(perhaps, driver.Module)
			continue
		}
		showDriver(w, driver, d.Why)
	}
	if len(perhaps) > 0 && d.Status == drivers.NotKnown {
		fmt.Fprintf(w, "    perhaps: %s\n", strings.Join(perhaps, ", "))
	}
	switch {
	case d.Status == drivers.Unknown:
		fmt.Fprintf(w, "    no driver of Linux %s claims it\n", s.target.Whole)
	case d.Newer != "":
		fmt.Fprintf(w, "    the kernel of %s has it\n", d.Newer)
	}
	if d.Outside != "" {
		fmt.Fprintf(w, "    %s (external_modules in docs/kernel.md)\n", d.Outside)
	}
	if len(d.Set) > 0 {
		fmt.Fprintf(w, "    %s\n", s.command(d.Set))
	}
}

func showDriver(w *errWriter, d drivers.Driver, said string) {
	how := string(d.Status)
	switch {
	case d.Status == drivers.Driven && d.Builtin:
		how = "compiled into the kernel"
	case d.Status == drivers.Driven:
		how = "a module of the initramfs"
		if d.Firmware == nil { // nothing is built
			how = "will be a module"
		}
	}
	fmt.Fprintf(w, "    %s: %s\n", d.Module, how)
	if d.Why != "" && d.Why != said {
		fmt.Fprintf(w, "        %s\n", d.Why)
	}
	if text := firmwareText(d); text != "" {
		fmt.Fprintf(w, "        %s\n", text)
	}
	if d.Status == drivers.Driven {
		return
	}
	for _, symbol := range d.Symbols {
		fmt.Fprintf(w, "        CONFIG_%s", symbol.Name)
		if symbol.Value != "" {
			fmt.Fprintf(w, "=%s", symbol.Value)
		}
		if symbol.Prompt != "" {
			fmt.Fprintf(w, " %q", symbol.Prompt)
		}
		if len(symbol.Depends) > 0 {
			fmt.Fprintf(w, ", depends on %s", strings.Join(symbol.Depends, ", "))
		}
		fmt.Fprintln(w)
	}
}

// firmwareText counts the driver's files and names those that are missing.
func firmwareText(d drivers.Driver) string {
	const shown = 4
	if len(d.Firmware) == 0 || d.Status != drivers.Driven {
		return ""
	}
	var missing []string
	for _, f := range d.Firmware {
		if !f.Present {
			missing = append(missing, f.Name)
		}
	}
	text := fmt.Sprintf("firmware: %d of the %d files that it may load are in the initramfs", len(d.Firmware)-len(missing), len(d.Firmware))
	if len(missing) > shown {
		missing = append(missing[:shown], fmt.Sprintf("and %d more", len(missing)-shown))
	}
	if len(missing) > 0 {
		text += "; missing: " + strings.Join(missing, ", ")
	}
	return text
}
