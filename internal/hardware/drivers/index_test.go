package drivers

import (
	"slices"
	"testing"

	"github.com/hookbuild/hookbuild/internal/hardware/modinfo"
)

func index() *Index {
	return NewIndex(&modinfo.Kernel{Release: "6.12", Modules: []modinfo.Module{
		{Path: "kernel/a/bnxt_en", Aliases: []string{"pci:v000014E4d000016D7sv*sd*bc*sc*i*", "pci:v000014E4d000016D7sv*sd*bc02sc*i*"}},
		{Path: "kernel/a/ahci", Aliases: []string{"pci:v*d*sv*sd*bc01sc06i01*"}},
		{Path: "kernel/a/hpsa", Aliases: []string{"pci:v0000103Cd00003239sv0000103Csd000021BDbc*sc*i*", "pci:v0000103Cd*sv*sd*bc01sc04i*", "pci:v*d00008139sv000010ECsd00008139bc*sc*i*"}},
		{Path: "kernel/a/virtio_pci", Builtin: true},
		{Path: "kernel/a/8250_pci", Aliases: []string{"pci:v00001D0Fd00008250sv*sd*bc*sc*i*"}},
		{Path: "kernel/a/r8152", Aliases: []string{"usb:v0BDAp8153d*dc*dsc*dp*icFFisc[0-9]*ip*in*", "of:N*T*Cvendor/x", "acpi*:PNP0501:*"}},
	}})
}

func TestIndex(t *testing.T) {
	none := ID{0x14e4, 0x16d7, Any, Any, Any, Any}
	for _, tc := range []struct {
		name string
		hits []Hit
		want []string // with ? behind those that depend
	}{
		{"by vendor and device", index().PCI(none), []string{"bnxt_en", "ahci?"}},
		{"with its class", index().PCI(ID{0x14e4, 0x16d7, 0, 0, 0x0200, 0x00}), []string{"bnxt_en"}},
		{"by class", index().PCI(ID{0x8086, 0xa282, 1, 2, 0x0106, 0x01}), []string{"ahci"}},
		{"by subsystem", index().PCI(ID{0x103c, 0x3239, 0x103c, 0x21bd, 0x0107, 0x00}), []string{"hpsa"}},
		{"subsystem not known", index().PCI(ID{0x103c, 0x3239, Any, Any, 0x0107, 0x00}), []string{"hpsa?"}},
		{"another subsystem", index().PCI(ID{0x103c, 0x3239, 0x103c, 1, 0x0107, 0x00}), nil},
		{"by vendor and class", index().PCI(ID{0x103c, 1, 0, 0, 0x0104, 0x00}), []string{"hpsa"}},
		{"by device and subsystem", index().PCI(ID{0x1111, 0x8139, 0x10ec, 0x8139, 0x0200, 0}), []string{"hpsa"}},
		{"compiled in", index().PCI(ID{0x1af4, 0x1000, 0, 0, 0x0200, 0x00}), []string{"virtio_pci"}},
		{"not compiled in, says it itself", index().PCI(ID{0x1111, 0x1, 0, 0, 0x0700, 0x02}), nil},
		{"modalias", index().Modalias("pci:v000014E4d000016D7sv00001590sd00000211bc02sc00i00"), []string{"bnxt_en"}},
		{"usb", index().Modalias("usb:v0BDAp8153d3100dc00dsc00dp00icFFisc0ip00in00"), []string{"r8152"}},
		{"usb, another set", index().Modalias("usb:v0BDAp8153d3100dc00dsc00dp00icFFiscFip00in00"), nil},
		{"slashes", index().Modalias("of:NaTbCvendor/x"), []string{"r8152"}},
		{"wildcard before the colon", index().Modalias("acpi:PNP0501:"), []string{"r8152"}},
		{"nothing", index().Modalias("pci:bogus"), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, h := range tc.hits {
				name := h.Module.Name()
				if h.Perhaps {
					name += "?"
				}
				got = append(got, name)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestBehind(t *testing.T) {
	for _, tc := range []struct {
		vendor, device int64
		want           string
	}{
		{0x1af4, 0x1000, "virtio:d00000001v00001AF4"}, {0x1af4, 0x1041, "virtio:d00000001v00001AF4"}, {0x1af4, 0x1048, "virtio:d00000008v00001AF4"},
		{0x1af4, 0x1110, ""}, {0x8086, 0x1000, ""},
	} {
		if got := Behind(ID{Vendor: tc.vendor, Device: tc.device}); got != tc.want {
			t.Errorf("%04x:%04x: got %q, want %q", tc.vendor, tc.device, got, tc.want)
		}
	}
}

func TestOutside(t *testing.T) {
	for _, tc := range []struct {
		id   ID
		want bool
	}{
		{ID{0x10ec, 0x8127, Any, Any, Any, Any}, true}, {ID{0x8086, 0xffff, Any, Any, 0x0200, Any}, true},
		{ID{0x8086, 0xffff, Any, Any, Any, Any}, false}, {ID{0x14e4, 0x16d7, 0, 0, 0x0200, 0}, false},
	} {
		if got := Outside(tc.id); (got != "") != tc.want {
			t.Errorf("%04x:%04x: got %q, want one: %v", tc.id.Vendor, tc.id.Device, got, tc.want)
		}
	}
}

func TestAndBehind(t *testing.T) {
	driven, off := Verdict{Status: Driven, Drivers: []Driver{{Module: "virtio_pci"}}}, Verdict{Status: Off, Why: "x", Drivers: []Driver{{Module: "virtio_net"}}}
	for _, tc := range []struct {
		name string
		got  Verdict
		want Status
	}{{"worse behind", driven.And(off), Off}, {"worse before", off.And(driven), Off}, {"both", driven.And(driven), Driven}} {
		if tc.got.Status != tc.want || len(tc.got.Drivers) != 2 {
			t.Errorf("%s: got %s with %d drivers, want %s with 2", tc.name, tc.got.Status, len(tc.got.Drivers), tc.want)
		}
	}
}
