package test

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/hardware/drivers"
	"github.com/hookbuild/hookbuild/internal/hardware/kbuild"
	"github.com/hookbuild/hookbuild/internal/hardware/library"
	"github.com/hookbuild/hookbuild/internal/hardware/modinfo"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// realDevices are devices of servers, those that people have missed in HookOS among them: id, class, module, symbol.
const realDevices = `
1000:00a5 0104 mpi3mr SCSI_MPI3MR              Dell PERC H965i
1000:10e2 0104 megaraid_sas MEGARAID_SAS       PERC H755
1000:005d 0104 megaraid_sas MEGARAID_SAS       MegaRAID SAS-3 3108
1000:0097 0107 mpt3sas SCSI_MPT3SAS            SAS3008
9005:028f 0107 smartpqi SCSI_SMARTPQI          Microchip SmartRAID
103c:3239:103c:21bd 0104 hpsa SCSI_HPSA        HPE Smart Array
103c:3307 0880 hpilo HP_ILO                    iLO
8086:10fb 0200 ixgbe IXGBE                     Intel X520
8086:1528 0200 ixgbe IXGBE                     X540
8086:1563 0200 ixgbe IXGBE                     X550
8086:1521 0200 igb IGB                         I350
8086:1533 0200 igb IGB                         I210
8086:15f3 0200 igc IGC                         I225-V
8086:15f2 0200 igc IGC                         I225-LM
8086:125c 0200 igc IGC                         I226-V
8086:1592 0200 ice ICE                         E810-C
8086:159b 0200 ice ICE                         E810-XXV
8086:1572 0200 i40e I40E                       X710
8086:158b 0200 i40e I40E                       XXV710
8086:37d0 0200 i40e I40E                       X722
8086:1889 0200 iavf IAVF                       a virtual function
8086:153a 0200 e1000e E1000E                   I217
14e4:16d7 0200 bnxt_en BNXT                    BCM57414
14e4:1750 0200 bnxt_en BNXT                    BCM57508
14e4:165f 0200 tg3 TIGON3                      BCM5720
14e4:168e 0200 bnx2x BNX2X                     BCM57810
14e4:1639 0200 bnx2 BNX2                       BCM5709
15b3:1013 0200 mlx5_core MLX5_CORE             ConnectX-4
15b3:1015 0200 mlx5_core MLX5_CORE             ConnectX-4 Lx
15b3:1017 0200 mlx5_core MLX5_CORE             ConnectX-5
15b3:101b 0207 mlx5_core MLX5_CORE             ConnectX-6
15b3:101d 0200 mlx5_core MLX5_CORE             ConnectX-6 Dx
15b3:1021 0207 mlx5_core MLX5_CORE             ConnectX-7
15b3:1007 0200 mlx4_core MLX4_CORE             ConnectX-3 Pro
19a2:0710 0200 be2net BE2NET                   Emulex BE3
10df:0720 0200 be2net BE2NET                   Skyhawk
1077:8070 0200 qede QEDE                       FastLinQ QL41000
1077:2261 0c04 qla2xxx SCSI_QLA_FC             QLE2740
10df:e300 0c04 lpfc SCSI_LPFC                  LPe31000
1137:0043 0200 enic ENIC                       Cisco VIC
1137:0045 0c04 fnic FCOE_FNIC                  Cisco VIC FCoE
1dd8:1002 0200 ionic IONIC                     Pensando DSC
1d0f:ec20 0200 ena ENA_ETHERNET                Amazon ENA
1d0f:8061 0108 nvme BLK_DEV_NVME               Amazon EBS
144d:a824 0108 nvme BLK_DEV_NVME               Samsung PM173X
8086:a1d2 0106 ahci SATA_AHCI                  C620
1af4:1041 0200 virtio_pci VIRTIO_PCI           virtio network
10ec:8168 0200 r8169 R8169                     RTL8111
1d6a:07b1 0200 atlantic AQTION                 AQC107
1425:5401 0200 cxgb4 CHELSIO_T4                Chelsio T520
1924:0a03 0200 sfc SFC                         Solarflare SFC9220
15ad:07b0 0200 vmxnet3 VMXNET3                 VMware
15ad:07c0 0100 vmw_pvscsi VMWARE_PVSCSI        VMware
19e5:1822 0200 hinic HINIC                     Huawei
`

// TestDriversFix has a driver switched on that a kernel was built without, and builds again.
func TestDriversFix(t *testing.T) {
	defer rememberCacheMounts(t, "/build/obj")()
	p := tinyProject(t, ownVersion()+"CONFIG_NET=y\nCONFIG_PCI=y\nCONFIG_NETDEVICES=y\n# CONFIG_BE2NET is not set\n")
	p.write("root.yaml", "kernel: {image: \"${HOOK_KERNEL}\"}\nfiles: [{path: etc/motd, contents: small}]\n")
	p.write("hookbuild.yaml", string(p.read("hookbuild.yaml"))+"    userland: {linuxkit: [root.yaml]}\n")
	var before, after struct {
		OK      bool
		Set     []string
		Devices []struct{ Status drivers.Status }
	}
	p.run("all", "tiny-amd64")
	out, err := p.command(t.Context(), "drivers", "tiny-amd64", "--pci", "19a2:0710", "--json").Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 6 {
		t.Fatalf("got %v, want exit code 6\n%s", err, out)
	}
	if err := json.Unmarshal(out, &before); err != nil {
		t.Fatal(err)
	}
	if before.OK || !slices.Equal(before.Set, []string{"BE2NET=m"}) || before.Devices[0].Status != drivers.Off {
		t.Errorf("got %s", out)
	}
	p.run("drivers", "tiny-amd64", "--pci", "19a2:0710", "--fix")
	p.run("all", "tiny-amd64")
	if p.runJSON(&after, "drivers", "tiny-amd64", "--pci", "19a2:0710"); !after.OK || after.Devices[0].Status != drivers.Driven {
		t.Errorf("got %+v", after)
	}
}

// symbolless are modules of Debian's that no symbol builds alone: their Makefile says obj-y, in a directory that no symbol leads to.
var symbolless = []string{"kernel/arch/x86/video/video-common"}

// TestDriversOfRealDevices compares with Debian's kernel and with its source.
func TestDriversOfRealDevices(t *testing.T) {
	p := newProject(t)
	p.run("drivers", "hook-debian-amd64", "--pci", "19a2:0710")
	kernel, tree := debianKernel(t, p)
	index := drivers.NewIndex(kernel)
	for line := range strings.Lines(strings.TrimSpace(realDevices)) {
		words := strings.Fields(line)
		id := pciID(t, words[0], words[1])
		hits := index.PCI(id)
		at := slices.IndexFunc(hits, func(h drivers.Hit) bool { return h.Module.Name() == words[2] && !h.Perhaps })
		if at < 0 {
			t.Errorf("%s: %s does not claim it", words[0], words[2])
			continue
		}
		if got := tree.Of(kbuild.Key(hits[at].Module.Path)); !slices.Contains(got, words[3]) {
			t.Errorf("%s: %s is built by %q, want %s", words[0], words[2], got, words[3])
		}
	}
	for _, m := range kernel.Modules {
		if len(tree.Of(kbuild.Key(m.Path))) == 0 && !slices.Contains(symbolless, m.Path) {
			t.Errorf("%s: no symbol builds it", m.Path)
		}
	}
	for _, pattern := range drivers.Patterns(kernel) {
		if !strings.HasPrefix(pattern.Alias, "pci:") {
			continue
		}
		hits := index.Modalias(device(pattern.Alias))
		if !slices.ContainsFunc(hits, func(h drivers.Hit) bool { return h.Module.Path == kernel.Modules[pattern.Module].Path }) {
			t.Errorf("%s: does not lead to %s", pattern.Alias, kernel.Modules[pattern.Module].Path)
		}
	}
}

// debianKernel are the modules of Debian's kernel and its source, as the project's lock has them.
func debianKernel(t *testing.T, p *project) (*modinfo.Kernel, *kbuild.Tree) {
	t.Helper()
	entry := p.lock("drivers/amd64")
	find := func(set, prefix string) debian.Package {
		s, _ := entry.Find(set)
		var found debian.Package
		for _, pkg := range s.Packages {
			if strings.HasPrefix(pkg.Name, prefix) && len(pkg.Name) > len(found.Name) {
				found = pkg
			}
		}
		return found
	}
	image, source := find(resolve.WholeKernelSet, "linux-image-"), find(resolve.SourceSet, "linux-source-")
	l := library.Library{Dir: filepath.Join(t.TempDir(), "drivers")}
	kernel, err := l.Kernel(t.Context(), image, func() (string, error) { return cached(t, image), nil })
	if err != nil {
		t.Fatal(err)
	}
	tree, err := l.Package(t.Context(), source, func() (string, error) { return cached(t, source), nil })
	if err != nil {
		t.Fatal(err)
	}
	return kernel, tree
}

// device is a modalias that the pattern matches, with zeros where any number may be.
func device(pattern string) string {
	out := strings.TrimSuffix(pattern, "*")
	for _, field := range []string{"v", "d", "sv", "sd"} {
		out = strings.Replace(out, field+"*", field+"00000000", 1)
	}
	for _, field := range []string{"bc", "sc", "i"} {
		out = strings.Replace(out, field+"*", field+"00", 1)
	}
	if strings.HasSuffix(out, "i") {
		out += "00"
	}
	return out
}

// pciID reads VVVV:DDDD or VVVV:DDDD:SSSS:TTTT and a class.
func pciID(t *testing.T, ids, class string) drivers.ID {
	t.Helper()
	sub := "0000000000000000"
	if parts := strings.Split(ids, ":"); len(parts) == 4 {
		sub = "0000" + parts[2] + "0000" + parts[3]
	}
	progIf := map[string]string{"0106": "01", "0108": "02"}[class]
	if progIf == "" {
		progIf = "00"
	}
	upper := strings.ToUpper
	id, ok := drivers.ParseModalias("pci:v0000" + upper(ids[:4]) + "d0000" + upper(ids[5:9]) + "sv" + upper(sub[:8]) + "sd" + upper(sub[8:]) +
		"bc" + class[:2] + "sc" + class[2:] + "i" + progIf)
	if !ok {
		t.Fatalf("%s %s is no device", ids, class)
	}
	return id
}
