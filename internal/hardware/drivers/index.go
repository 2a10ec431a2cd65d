package drivers

import (
	_ "embed" // extra.list and outside.list
	"fmt"
	"strconv"
	"strings"

	"github.com/hookbuild/hookbuild/internal/hardware/modinfo"
)

// extraList are what drivers claim that Debian compiles in, which therefore say nothing about it.
//
//go:embed extra.list
var extraList string

// Pattern is an alias of a module.
type Pattern struct {
	Alias  string // as modules.alias has it
	Module int    // index in the Kernel's Modules
}

// Patterns are all aliases of a kernel's modules. Of those that are compiled in, and cannot say it, extra.list does.
func Patterns(k *modinfo.Kernel) []Pattern {
	var all []Pattern
	at := map[string]int{}
	for i, m := range k.Modules {
		at[m.Name()] = i
		for _, alias := range m.Aliases {
			all = append(all, Pattern{alias, i})
		}
	}
	for line := range strings.Lines(extraList) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0][0] == '#' {
			continue
		}
		if i, ok := at[words[1]]; ok && k.Modules[i].Builtin {
			all = append(all, Pattern{words[0], i})
		}
	}
	return all
}

// ID are the numbers of a PCI device, Any where one is not known. The zero value is a device whose numbers are all 0.
type ID struct {
	Vendor, Device, SubVendor, SubDevice int64
	Class                                int64 // base class and subclass: 0x0200 is Ethernet
	Interface                            int64 // the class code's last byte
}

// Any stands for a number that is not known.
const Any = -1

// Hit is a module that claims a device.
type Hit struct {
	Module  modinfo.Module
	Perhaps bool // whether it does depends on a number that is not known
}

// Index finds the modules that claim a device, as the kernel and modprobe do. Make one with NewIndex.
type Index struct {
	kernel *modinfo.Kernel
	pci    map[[2]int64][]pciPattern // by vendor and device, Any for "*"
	other  map[string][]Pattern      // by what stands before the first colon
}

// pciPattern is pci:vVdDsvSsdSbcBscSiI with its numbers read.
type pciPattern struct {
	numbers [7]int64 // Any for "*"
	module  int
}

// NewIndex indexes the aliases of a kernel.
func NewIndex(k *modinfo.Kernel) *Index {
	x := &Index{kernel: k, pci: map[[2]int64][]pciPattern{}, other: map[string][]Pattern{}}
	for _, p := range Patterns(k) {
		if numbers, ok := readPCI(p.Alias); ok {
			key := [2]int64{numbers[0], numbers[1]}
			x.pci[key] = append(x.pci[key], pciPattern{numbers, p.Module})
			continue
		}
		bus := busOf(p.Alias)
		x.other[bus] = append(x.other[bus], p)
	}
	return x
}

// readPCI reads pci:v000014E4d000016D7sv*sd*bc02sc00i*, as file2alias.c of the kernel writes it.
func readPCI(alias string) (numbers [7]int64, ok bool) {
	rest, ok := strings.CutPrefix(alias, "pci:")
	if !ok {
		return numbers, false
	}
	for i, field := range [...]struct {
		name   string
		digits int
	}{{"v", 8}, {"d", 8}, {"sv", 8}, {"sd", 8}, {"bc", 2}, {"sc", 2}, {"i", 2}} {
		if rest, ok = strings.CutPrefix(rest, field.name); !ok {
			return numbers, false
		}
		if after, any := strings.CutPrefix(rest, "*"); any {
			numbers[i], rest = Any, after
			continue
		}
		if len(rest) < field.digits {
			return numbers, false
		}
		n, err := strconv.ParseInt(rest[:field.digits], 16, 64)
		if err != nil {
			return numbers, false
		}
		numbers[i], rest = n, rest[field.digits:]
	}
	return numbers, rest == "" || rest == "*" // modpost puts one behind every pattern
}

// busOf is what a modalias begins with: usb, acpi, virtio.
func busOf(alias string) string {
	if i := strings.IndexAny(alias, ":*?["); i >= 0 {
		return alias[:i]
	}
	return alias
}

// PCI returns the modules that claim a device, in the order of the aliases.
func (x *Index) PCI(id ID) []Hit {
	numbers := [7]int64{id.Vendor, id.Device, id.SubVendor, id.SubDevice, Any, Any, id.Interface}
	if id.Class != Any {
		numbers[4], numbers[5] = id.Class>>8&0xff, id.Class&0xff
	}
	var hits hits
	for _, key := range [][2]int64{{id.Vendor, id.Device}, {id.Vendor, Any}, {Any, id.Device}, {Any, Any}} {
		for _, p := range x.pci[key] {
			claims, perhaps := true, false
			for i, want := range p.numbers {
				claims = claims && (want == Any || numbers[i] == Any || want == numbers[i])
				perhaps = perhaps || want != Any && numbers[i] == Any
			}
			if claims {
				hits.add(x.kernel, p.module, perhaps)
			}
		}
	}
	return hits.all
}

// ParseModalias reads the modalias of a PCI device, in which every number stands.
func ParseModalias(modalias string) (ID, bool) {
	n, ok := readPCI(modalias)
	ok = ok && !strings.Contains(modalias, "*")
	return ID{n[0], n[1], n[2], n[3], n[4]<<8 | n[5], n[6]}, ok
}

// Modalias returns the modules that claim a device with this modalias.
func (x *Index) Modalias(modalias string) []Hit {
	if id, ok := ParseModalias(modalias); ok {
		return x.PCI(id)
	}
	var hits hits
	for _, p := range x.other[busOf(modalias)] {
		fixed, _, _ := strings.Cut(p.Alias, "*")
		if strings.ContainsAny(fixed, "?[") || strings.HasPrefix(modalias, fixed) {
			if matches(p.Alias, modalias) {
				hits.add(x.kernel, p.Module, false)
			}
		}
	}
	return hits.all
}

// firstVirtio is the modern PCI device id of the virtio device type 0; the types below it have older ids too
// (https://docs.oasis-open.org/virtio/virtio/v1.3/virtio-v1.3.html, 4.1.2.1).
const firstVirtio = 0x1040

// Behind is the modalias of the device behind a virtio PCI device, which takes a driver of its own; "" for any other
// device.
func Behind(id ID) string {
	const redHat = 0x1af4
	old := map[int64]int64{0x1000: 1, 0x1001: 2, 0x1002: 5, 0x1003: 3, 0x1004: 8, 0x1005: 4, 0x1009: 9}
	kind := old[id.Device]
	if id.Device > firstVirtio && id.Device < firstVirtio+0x40 {
		kind = id.Device - firstVirtio
	}
	if id.Vendor != redHat || kind == 0 {
		return ""
	}
	return fmt.Sprintf("virtio:d%08Xv%08X", kind, redHat)
}

// hits are modules, each of them once.
type hits struct {
	all []Hit
	at  map[int]int
}

func (h *hits) add(k *modinfo.Kernel, module int, perhaps bool) {
	if i, known := h.at[module]; known {
		h.all[i].Perhaps = h.all[i].Perhaps && perhaps
		return
	}
	if h.at == nil {
		h.at = map[int]int{}
	}
	h.at[module] = len(h.all)
	h.all = append(h.all, Hit{k.Modules[module], perhaps})
}

// outsideList names drivers that are not part of Linux.
//
//go:embed outside.list
var outsideList string

// Outside says which driver from outside of Linux drives a device, or may; "" where none is known.
func Outside(id ID) string {
	for line := range strings.Lines(outsideList) {
		pattern, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if pattern == "" || pattern[0] == '#' {
			continue
		}
		x := NewIndex(&modinfo.Kernel{Modules: []modinfo.Module{{Path: "x", Aliases: []string{pattern}}}})
		if hits := x.PCI(id); len(hits) > 0 && !hits[0].Perhaps {
			return text
		}
	}
	return ""
}
