package modules

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// small is a kernel with a module of each kind.
func small(t *testing.T) *Index {
	return read(t, map[string]string{
		"kernel/drivers/net/ethernet/intel/ice/ice.ko.xz": "1234",
		"kernel/drivers/net/ethernet/broadcom/bnx2.ko.xz": "12",
		"kernel/drivers/net/mdio.ko.xz":                   "1",
		"kernel/drivers/net/wireless/wl-x.ko.xz":          "123",
		"kernel/net/mac80211/mac80211.ko.xz":              "12345",
		"kernel/net/wireless/cfg80211.ko.xz":              "1",
		"kernel/sound/snd.ko.xz":                          "1",
		"kernel/crypto/crc.ko.xz":                         "1",
		"kernel/crypto/aes.ko.xz":                         "1",
		"updates/dkms/extra-card.ko":                      "1",
		"modules.dep": `kernel/drivers/net/ethernet/intel/ice/ice.ko.xz: kernel/drivers/net/mdio.ko.xz
kernel/drivers/net/ethernet/broadcom/bnx2.ko.xz:
kernel/drivers/net/mdio.ko.xz:
kernel/drivers/net/wireless/wl-x.ko.xz: kernel/net/mac80211/mac80211.ko.xz kernel/net/wireless/cfg80211.ko.xz
kernel/net/mac80211/mac80211.ko.xz: kernel/net/wireless/cfg80211.ko.xz
kernel/net/wireless/cfg80211.ko.xz:
kernel/sound/snd.ko.xz:
kernel/crypto/crc.ko.xz:
kernel/crypto/aes.ko.xz:
updates/dkms/extra-card.ko: kernel/sound/snd.ko.xz
`,
		"modules.softdep": "softdep mac80211 pre: aes\n",
		"modules.weakdep": "weakdep mdio crc-alias\n",
		"modules.alias":   "alias crc-al* crc\n",
		"modules.builtin": "kernel/fs/ext4/ext4.ko\n",
	})
}

func names(paths []string) string {
	var out []string
	for _, p := range paths {
		out = append(out, nameOf(p))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestSelect(t *testing.T) {
	x := small(t)
	const added = " extra-card snd" // what is not part of the kernel is in, with what it needs
	for _, tc := range []struct {
		name             string
		include, exclude []string
		want             string
		unmatched        string
	}{
		{"default", nil, nil, "aes bnx2 crc extra-card ice mdio snd", ""},
		{"the word default", []string{"default"}, nil, "aes bnx2 crc extra-card ice mdio snd", ""},
		{"more than default", []string{"default", "wl_x"}, nil, "aes bnx2 cfg80211 crc extra-card ice mac80211 mdio snd wl-x", ""},
		{"all", []string{"all"}, nil, "aes bnx2 cfg80211 crc extra-card ice mac80211 mdio snd wl-x", ""},
		{"all but some", []string{"all"}, []string{"drivers/net/", "extra_card"}, "aes cfg80211 crc mac80211 snd", ""},
		{"a name", []string{"bnx2"}, nil, "bnx2" + added, ""},
		{"with its suffix", []string{"bnx2.ko.xz"}, nil, "bnx2" + added, ""},
		{"names", []string{"*80211"}, nil, "aes cfg80211 extra-card mac80211 snd", ""},
		{"a path", []string{"drivers/net/mdio"}, nil, "crc extra-card mdio snd", ""},
		{"a path with its suffix", []string{"drivers/net/mdio.ko"}, nil, "crc extra-card mdio snd", ""},
		{"a path with kernel/", []string{"kernel/drivers/net/mdio"}, nil, "crc extra-card mdio snd", ""},
		{"a directory", []string{"drivers/net/ethernet/"}, nil, "bnx2 crc extra-card ice mdio snd", ""},
		{"modules of a directory", []string{"drivers/net/*"}, nil, "crc extra-card mdio snd", ""},
		{"at any depth", []string{"drivers/**/[bi]*"}, nil, "bnx2 crc extra-card ice mdio snd", ""},
		{"closure, transitively", []string{"wl-x"}, nil, "aes cfg80211 extra-card mac80211 snd wl-x", ""},
		{"closure beats exclude", []string{"wl-x"}, []string{"cfg80211", "crypto/"}, "aes cfg80211 extra-card mac80211 snd wl-x", ""},
		{"weak dependency by alias", []string{"mdio"}, nil, "crc extra-card mdio snd", ""},
		{"out of tree, excluded", []string{"bnx2"}, []string{"updates/"}, "bnx2", ""},
		{"out of tree, by path", []string{"bnx2"}, []string{"dkms/extra-card"}, "bnx2", ""},
		{"out of tree, without dkms", []string{"bnx2"}, []string{"updates/**/extra*"}, "bnx2", ""},
		{"misspelled", []string{"bnx3", "drivers/net"}, []string{"snd-*", "bnx2"}, "extra-card snd", "bnx3 drivers/net snd-*"},
		{"built in", []string{"ext4", "fs/ext4/"}, nil, "extra-card snd", ""},
		{"part of a name", []string{"bnx"}, nil, "extra-card snd", "bnx"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, err := Select(x, Selection{Include: tc.include, Exclude: tc.exclude})
			if err != nil {
				t.Fatal(err)
			}
			if got := names(res.Keep); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if got := strings.Join(res.Unmatched, " "); got != tc.unmatched {
				t.Errorf("unmatched: got %s, want %s", got, tc.unmatched)
			}
			closed(t, x, res)
		})
	}
}

func TestSelectSaysWhy(t *testing.T) {
	res, err := Select(small(t), Selection{Include: []string{"wl-x", "net"}, Exclude: []string{"cfg80211", "updates/"}})
	if err != nil {
		t.Fatal(err)
	}
	want := Result{
		Release: release,
		Keep: []string{
			"kernel/crypto/aes.ko.xz", "kernel/drivers/net/wireless/wl-x.ko.xz",
			"kernel/net/mac80211/mac80211.ko.xz", "kernel/net/wireless/cfg80211.ko.xz",
		},
		Because: []Need{
			{"kernel/crypto/aes.ko.xz", "kernel/net/mac80211/mac80211.ko.xz", false},
			{"kernel/net/mac80211/mac80211.ko.xz", "kernel/drivers/net/wireless/wl-x.ko.xz", false},
			{"kernel/net/wireless/cfg80211.ko.xz", "kernel/drivers/net/wireless/wl-x.ko.xz", true},
		},
		Unmatched: []string{"net"},
		Total:     Count{10, 20},
		Kept:      Count{4, 10},
	}
	if diff := cmp.Diff(want, res, cmpopts.IgnoreUnexported(Result{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestShadowedModuleIsLeftOut(t *testing.T) {
	x := read(t, map[string]string{
		"kernel/drivers/net/ethernet/intel/ice/ice.ko": "old", "updates/ice.ko": "new", "modules.dep": "updates/ice.ko:\n",
	})
	for _, include := range []string{"all", "default", "ice", "drivers/net/ethernet/intel/ice/"} {
		res, err := Select(x, Selection{Include: []string{include}})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(res.Keep, []string{"updates/ice.ko"}) || len(res.Unmatched) != 0 || res.Total.Files != 2 {
			t.Errorf("%s: got %+v", include, res)
		}
	}
}

func TestValidate(t *testing.T) {
	err := Selection{
		Include: []string{"default", "a[", "all", "/abs/"}, Exclude: []string{"fine", "all", "default", "x y"},
	}.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	want := `include[1]: "a[": [ without ]
include[3]: "/abs/": want a relative path without components that are empty, '.' or '..'
exclude[1]: "all" is a set; only include takes it
exclude[2]: "default" is a set; only include takes it
exclude[3]: "x y": ' ' has no place in a pattern`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := Select(&Index{}, Selection{Include: []string{""}}); err == nil {
		t.Error("Select took what Validate refuses")
	}
	if err := (Selection{}).Validate(); err != nil {
		t.Error(err)
	}
}

// closed fails unless everything that a kept module depends on is kept, and nothing without a reason.
func closed(t *testing.T, x *Index, res Result) {
	t.Helper()
	kept, reason := map[string]bool{}, map[string]string{}
	for _, p := range res.Keep {
		kept[p] = true
	}
	for _, n := range res.Because {
		reason[n.Path] = n.By
	}
	needs := map[string][]string{}
	for _, m := range x.modules {
		for _, i := range slices.Concat(m.deps, x.soft[m.name]) {
			needs[m.path] = append(needs[m.path], x.modules[i].path)
			if kept[m.path] && !kept[x.modules[i].path] {
				t.Errorf("%s is kept without %s, which it needs", m.path, x.modules[i].path)
			}
		}
	}
	for p, by := range reason {
		if !kept[p] || !kept[by] || !slices.Contains(needs[by], p) {
			t.Errorf("%s is kept because of %s, which is no reason", p, by)
		}
	}
	if !slices.IsSorted(res.Keep) {
		t.Error("not sorted")
	}
}

func TestClosureIsClosed(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		const n = 30
		files := map[string]string{}
		var dep, soft strings.Builder
		for i := range n {
			p := fmt.Sprintf("kernel/%c/m%d.ko", 'a'+i%3, i)
			files[p] = "x"
			fmt.Fprintf(&dep, "%s:", p)
			for range r.IntN(3) {
				j := r.IntN(n) // cycles included
				fmt.Fprintf(&dep, " kernel/%c/m%d.ko", 'a'+j%3, j)
			}
			fmt.Fprintln(&dep)
			if r.IntN(4) == 0 {
				fmt.Fprintf(&soft, "softdep m%d pre: m%d post: m%d\n", i, r.IntN(n), r.IntN(2*n))
			}
		}
		files["modules.dep"], files["modules.softdep"] = dep.String(), soft.String()
		x := read(t, files)
		s := Selection{Include: []string{fmt.Sprintf("m%d", r.IntN(n)), "a/m?"}, Exclude: []string{fmt.Sprintf("m%d*", r.IntN(4))}}
		res, err := Select(x, s)
		if err != nil {
			t.Fatal(err)
		}
		closed(t, x, res)
		again, err := Select(read(t, files), s)
		if err != nil || cmp.Diff(res, again, cmpopts.IgnoreUnexported(Result{})) != "" {
			t.Fatalf("seed %d: another answer the second time: %v", seed, err)
		}
		if t.Failed() {
			t.Fatalf("seed %d: %s%s%+v", seed, &dep, &soft, s)
		}
	}
}

// The default set is a promise: these are in, those are out.
func TestDefaultSet(t *testing.T) {
	rules, err := defaultSet()
	if err != nil {
		t.Fatal(err)
	}
	in := `drivers/net/ethernet/intel/ice/ice drivers/net/ethernet/mellanox/mlx5/core/mlx5_core drivers/net/phy/realtek
drivers/net/bonding/bonding drivers/net/virtio_net drivers/net/veth drivers/net/tun drivers/net/vxlan/vxlan net/8021q/8021q
drivers/net/usb/cdc_ncm drivers/net/usb/r8152 drivers/net/hyperv/hv_netvsc drivers/net/vmxnet3/vmxnet3 drivers/net/xen-netfront
net/bridge/bridge net/bridge/br_netfilter net/netfilter/nf_tables net/netfilter/nf_conntrack net/netfilter/ipset/ip_set
net/ipv4/netfilter/iptable_nat net/ipv6/ipv6 drivers/infiniband/ulp/ipoib/ib_ipoib drivers/infiniband/hw/mlx5/mlx5_ib
drivers/nvme/host/nvme drivers/nvme/host/nvme-tcp drivers/scsi/megaraid/megaraid_sas drivers/scsi/mpi3mr/mpi3mr drivers/scsi/sd_mod
drivers/scsi/fnic/fnic drivers/scsi/vmw_pvscsi drivers/scsi/hv_storvsc drivers/scsi/virtio_scsi drivers/message/fusion/mptsas
drivers/ata/ahci drivers/md/raid1 drivers/md/dm-mod drivers/block/loop drivers/block/nbd drivers/block/virtio_blk
drivers/block/xen-blkfront drivers/mmc/host/sdhci-pci drivers/pci/controller/vmd drivers/cdrom/cdrom drivers/nvdimm/nd_pmem
fs/ext4/ext4 fs/xfs/xfs fs/btrfs/btrfs fs/fat/vfat fs/isofs/isofs fs/squashfs/squashfs fs/overlayfs/overlay fs/nls/nls_cp437
fs/efivarfs/efivarfs fs/quota/quota_v2 crypto/crc32c_generic arch/x86/crypto/aesni-intel arch/arm64/crypto/aes-ce-blk lib/crc16
drivers/char/ipmi/ipmi_si drivers/char/tpm/tpm_tis drivers/char/hw_random/virtio-rng drivers/watchdog/iTCO_wdt drivers/misc/hpilo
drivers/usb/host/xhci-pci drivers/usb/storage/uas drivers/usb/serial/ftdi_sio drivers/hid/usbhid/usbhid drivers/hid/hid-generic
drivers/gpu/drm/ast/ast drivers/gpu/drm/mgag200/mgag200 drivers/tty/serial/8250/8250_exar drivers/firmware/qemu_fw_cfg
drivers/clk/qcom/gcc-sm8250 drivers/regulator/fixed drivers/phy/rockchip/phy-rockchip-pcie drivers/i2c/busses/i2c-designware-platform`
	out := `drivers/gpu/drm/amd/amdgpu/amdgpu drivers/gpu/drm/i915/i915 drivers/gpu/drm/nouveau/nouveau drivers/media/dvb-core/dvb-core
sound/core/snd drivers/net/wireless/intel/iwlwifi/iwlwifi net/mac80211/mac80211 net/bluetooth/bluetooth drivers/bluetooth/btusb
drivers/staging/rtl8723bs/r8723bs net/can/can drivers/net/can/dev/can-dev drivers/net/hamradio/mkiss net/ax25/ax25 drivers/hwmon/coretemp
drivers/edac/skx_edac arch/x86/kvm/kvm drivers/vfio/vfio drivers/target/target_core_mod drivers/nvme/target/nvmet drivers/iio/industrialio
fs/ocfs2/ocfs2 fs/nfsd/nfsd fs/ceph/ceph drivers/block/drbd/drbd drivers/block/rbd drivers/scsi/scsi_debug lib/test_bpf
drivers/usb/gadget/libcomposite drivers/usb/atm/ueagle-atm drivers/usb/serial/keyspan drivers/net/usb/qmi_wwan drivers/net/wwan/wwan
drivers/hid/hid-logitech-dj drivers/input/joystick/xpad net/netfilter/ipvs/ip_vs net/ipv4/tcp_vegas drivers/leds/leds-gpio
drivers/platform/x86/thinkpad_acpi drivers/crypto/intel/qat/qat_common/intel_qat drivers/accel/habanalabs/habanalabs drivers/mtd/mtd`
	for want, list := range map[bool]string{true: in, false: out} {
		for _, p := range strings.Fields(list) {
			if rules.has(module{key: normal("kernel/" + p)}) != want {
				t.Errorf("%s: in the set is %v, want %v", p, !want, want)
			}
		}
	}
}

// A rule that decides nothing is a misspelling or a leftover.
func TestDefaultListIsInOrder(t *testing.T) {
	seen := map[string]bool{}
	for line := range strings.Lines(defaultList) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		text := strings.TrimPrefix(line, "-")
		if seen[text] {
			t.Errorf("%s stands there twice", text)
		}
		seen[text] = true
		if strings.HasPrefix(text, "kernel/") || bytes.ContainsAny([]byte(text), " \t") {
			t.Errorf("%q: want a path below kernel/", text)
		}
	}
	if len(seen) < 100 {
		t.Errorf("only %d rules", len(seen))
	}
}

func TestChooses(t *testing.T) {
	const ixgbe = "kernel/drivers/net/ethernet/intel/ixgbe/ixgbe.ko.xz"
	for _, tc := range []struct {
		name string
		s    Selection
		path string
		want bool
	}{
		{"default", Selection{}, ixgbe, true},
		{"not of the default", Selection{}, "kernel/sound/core/snd.ko", false},
		{"by name", Selection{Include: []string{"snd"}}, "kernel/sound/core/snd", true},
		{"not named", Selection{Include: []string{"snd"}}, ixgbe, false},
		{"excluded", Selection{Include: []string{"default"}, Exclude: []string{"ixgbe"}}, ixgbe, false},
		{"all", Selection{Include: []string{"all"}}, "kernel/sound/core/snd", true},
		{"not the kernel's own", Selection{Include: []string{"snd"}}, "updates/ice.ko", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := tc.s.Chooses(tc.path); got != tc.want || err != nil {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
		})
	}
	if _, err := (Selection{Include: []string{"["}}).Chooses(ixgbe); err == nil {
		t.Error("a faulty pattern was taken")
	}
}
