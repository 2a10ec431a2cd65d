package drivers

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/hardware/kbuild"
	"github.com/hookbuild/hookbuild/internal/hardware/modinfo"
)

var (
	be2net  = modinfo.Module{Path: "kernel/drivers/net/ethernet/emulex/benet/be2net", Firmware: []string{"be.fw", "x/*.fw"}}
	nvme    = modinfo.Module{Path: "kernel/drivers/nvme/host/nvme"}
	newer   = modinfo.Module{Path: "kernel/drivers/net/new-card"}
	generic = modinfo.Module{Path: "kernel/drivers/ata/ata_generic"}
)

func tree() *kbuild.Tree {
	return &kbuild.Tree{
		Version: "6.12.57",
		Modules: map[string][]string{
			"drivers/net/ethernet/emulex/benet/be2net": {"BE2NET"}, "drivers/nvme/host/nvme": {"BLK_DEV_NVME"}, "drivers/ata/ata_generic": {"HIDDEN", "ATA_GENERIC"},
		},
		Symbols: map[string]kbuild.Symbol{
			"BE2NET": {Type: "tristate", Prompt: "BladeEngine", Depends: []string{"PCI"}}, "BLK_DEV_NVME": {Type: "tristate", Prompt: "NVMe"},
			"HIDDEN": {Type: "tristate"}, "ATA_GENERIC": {Type: "bool", Prompt: "Generic ATA"},
		},
	}
}

func image(release string, config map[string]string, modules ...modinfo.Module) *Image {
	return &Image{Modules: &modinfo.Kernel{Release: release, Modules: modules}, Config: config, Firmware: []string{"be.fw", "x/a/b.fw"}}
}

func builtin(m modinfo.Module) modinfo.Module {
	m.Builtin = true
	return m
}

func TestJudge(t *testing.T) {
	const whole = "6.12.90+deb13-amd64"
	off := map[string]string{"PCI": "y"}
	for _, tc := range []struct {
		name   string
		target Target
		claims []Claim
		want   Status
		why    string // part of it
		module string // the first driver
	}{
		{"no claim", Target{Image: image("6.12.57", off), Tree: tree()}, nil, Unknown, "", ""},
		{"in the image", Target{Image: image("6.12.57", off, be2net), Tree: tree()}, []Claim{{Module: be2net, InImage: true}}, Driven, "", "be2net"},
		{"compiled in", Target{Image: image("6.12.57", off, builtin(nvme)), Tree: tree()}, []Claim{{Module: nvme}}, Driven, "", "nvme"},
		{"compiled in, another series", Target{Image: image("6.6.107", off, builtin(nvme)), Tree: tree()}, []Claim{{Module: nvme}}, NotKnown, "does not say which", "nvme"},
		{"compiled in by a symbol that knows no m", Target{Image: image("6.12.57", map[string]string{"ATA_GENERIC": "y"}), Tree: tree()}, []Claim{{Module: generic}}, Driven, "", "ata_generic"},
		{"an older driver", Target{Image: image("6.6.107", off, be2net), Tree: tree()}, []Claim{{Module: be2net}}, TooNew, "the image has be2net, which does not know", "be2net"},
		{"left out", Target{Image: image("6.12.57", map[string]string{"BE2NET": "m"}), Tree: tree()}, []Claim{{Module: be2net}}, LeftOut, "the initramfs has not", "be2net"},
		{"switched off", Target{Image: image("6.12.57", off), Tree: tree()}, []Claim{{Module: be2net}}, Off, "", "be2net"},
		{"no configuration in the kernel", Target{Image: image("6.12.57", nil), Tree: tree()}, []Claim{{Module: be2net}}, NotKnown, "configuration is not known", "be2net"},
		{"no source", Target{Image: image("6.12.57", off)}, []Claim{{Module: be2net}}, NotKnown, "source", "be2net"},
		{"not in the source", Target{Image: image("6.12.57", off), Tree: tree()}, []Claim{{Module: newer}}, TooNew, "6.12.57 does not have new_card", "new_card"},
		{"finished kernel", Target{Image: image("6.12.90", nil), Finished: &modinfo.Kernel{Modules: []modinfo.Module{be2net}}}, []Claim{{Module: be2net}}, LeftOut, "initramfs has not", "be2net"},
		{"not of the finished kernel", Target{Image: image("6.12.90", nil), Finished: &modinfo.Kernel{}}, []Claim{{Module: be2net}}, TooNew, "not compiled here", "be2net"},
		{"nothing built, as a module", Target{Config: map[string]string{"BE2NET": "m"}, Tree: tree()}, []Claim{{Module: be2net}}, Driven, "when it is built", "be2net"},
		{"nothing built, not chosen", Target{Config: map[string]string{"BE2NET": "m"}, Tree: tree(), Chosen: func(string) bool { return false }}, []Claim{{Module: be2net}}, LeftOut, "kernel.modules", "be2net"},
		{"nothing built, compiled in", Target{Config: map[string]string{"BE2NET": "y"}, Tree: tree()}, []Claim{{Module: be2net}}, Driven, "", "be2net"},
		{"nothing built, off", Target{Config: off, Tree: tree()}, []Claim{{Module: be2net}}, Off, "", "be2net"},
		{"nothing built, finished", Target{Finished: &modinfo.Kernel{Modules: []modinfo.Module{be2net}}}, []Claim{{Module: be2net}}, Driven, "as a module", "be2net"},
		{"perhaps", Target{Image: image("6.12.57", off, be2net), Tree: tree()}, []Claim{{Module: be2net, InImage: true, Perhaps: true}}, NotKnown, "subsystem", "be2net"},
		{"perhaps and surely", Target{Image: image("6.12.57", off, be2net), Tree: tree()},
			[]Claim{{Module: be2net, InImage: true, Perhaps: true}, {Module: generic}}, Off, "", "ata_generic"},
		{"claimed by image and by whole", Target{Image: image("6.12.57", off, be2net), Tree: tree()},
			[]Claim{{Module: be2net}, {Module: be2net, InImage: true}}, Driven, "", "be2net"},
		{"the best of several", Target{Image: image("6.12.57", off, nvme), Tree: tree()}, []Claim{{Module: be2net}, {Module: nvme, InImage: true}}, Driven, "", "nvme"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.target.Whole = whole
			got := tc.target.Judge(tc.claims)
			if got.Status != tc.want || !strings.Contains(got.Why, tc.why) || tc.why == "" && got.Why != "" {
				t.Errorf("got %s, %q, want %s, %q", got.Status, got.Why, tc.want, tc.why)
			}
			if len(got.Drivers) > 0 && got.Drivers[0].Module != tc.module {
				t.Errorf("got %s first, want %s", got.Drivers[0].Module, tc.module)
			}
		})
	}
}

func TestOffBySeries(t *testing.T) {
	target := Target{Image: image("6.6.107", map[string]string{}), Tree: tree(), Whole: "6.12.90"}
	target.Tree.Version = "6.6.107"
	got := target.Judge([]Claim{{Module: be2net}})
	if got.Status != Off || !strings.Contains(got.Why, "6.6.107 knows this device is not known") {
		t.Errorf("got %s, %q", got.Status, got.Why)
	}
}

func TestFirmwareAndSymbols(t *testing.T) {
	m := be2net
	m.Firmware = []string{"be.fw", "gone.fw", "x/*.fw", "y/*.fw"}
	got := Target{Image: image("6.12.57", map[string]string{}, m), Tree: tree()}.Judge([]Claim{{Module: m, InImage: true}}).Drivers[0]
	want := []Firmware{{"be.fw", true}, {"gone.fw", false}, {"x/*.fw", true}, {"y/*.fw", false}}
	if diff := cmp.Diff(want, got.Firmware); diff != "" {
		t.Error(diff)
	}
	symbols := Target{Config: map[string]string{"HIDDEN": "n"}, Tree: tree()}.symbols(generic.Path)
	if len(symbols) != 2 || symbols[0].Setting() != "ATA_GENERIC=y" || symbols[1].Setting() != "HIDDEN=m" {
		t.Errorf("got %+v, want the one with a prompt first", symbols)
	}
}

func TestSeries(t *testing.T) {
	for in, want := range map[string]string{"6.12.57+deb13-amd64": "6.12", "6.12": "6.12", "6.12+deb": "6.12", "7": "7"} {
		if got := series(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
