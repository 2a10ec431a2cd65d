//go:build soak

package test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hookbuild/hookbuild/internal/hardware/drivers"
	"github.com/hookbuild/hookbuild/internal/hardware/kbuild"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/kernel/configs"
)

// TestSoak is what takes too long for CI.
func TestSoak(t *testing.T) {
	t.Run("generic kernel against a bare make, and one driver of it", func(t *testing.T) {
		measureKernel(t, "generic", "../kernel/configs/generic-6.12.y-x86_64", "BNXT", 1)
	})
	t.Run("generic kernel", func(t *testing.T) { // the README's first command
		checkPromises(t, checkCompiled(t, newProject(t), "hook-default-amd64"), "x86_64")
	})
	t.Run("drivers that are switched on are built", buildDrivers)
	t.Run("generic kernel for arm64", func(t *testing.T) {
		checkPromises(t, checkKernelImage(t, newProject(t).run("kernel", "hook-default-arm64")), "aarch64")
	})
	// The engine is of amd64 here, and so is what answers beside QEMU.
	t.Run("arm64 provisions", func(t *testing.T) {
		provisionEmbedded(t, siteProject(t, "arm64"), "site-arm64", peerBinary(t, "amd64"))
	})
	t.Run("arm64 boots from an ISO", bootArm64ISO)
	t.Run("DHCP servers", everyDHCPServer)
	t.Run("machines boot over each DHCP server", everyDHCPBoot)
	t.Run("the server as a service of systemd", testService)
	t.Run("memory", func(t *testing.T) { testMemory(t, "hook-debian-amd64") })
	for _, flavor := range []string{"hook-debian-amd64", "hook-default-amd64"} {
		t.Run(flavor+" netboots from UEFI", func(t *testing.T) {
			p := newProject(t)
			var b built
			p.runJSON(&b, "all", flavor)
			checkBoot(t, p, b.Kernel, "boot", flavor, "--netboot", "--firmware", "uefi")
		})
	}
}

// checkCompiled builds a flavor whose kernel is compiled, boots it in two ways and builds it again. It returns the
// kernel's final configuration.
func checkCompiled(t *testing.T, p *project, flavor string) (config []byte) {
	t.Helper()
	var first built
	p.runJSON(&first, "all", flavor)
	checkOutputs(t, p)
	t.Run("boots", func(t *testing.T) { checkBoot(t, p, first.Kernel, "boot", flavor) })
	t.Run("netboots", func(t *testing.T) { checkBoot(t, p, first.Kernel, "boot", flavor, "--netboot") })
	t.Run("configuration", func(t *testing.T) { config = checkKernelImage(t, p.run("kernel", flavor)) })
	t.Run("unchanged", func(t *testing.T) { checkUnchanged(t, p, first, flavor) })
	return config
}

// checkPromises holds a final configuration to what the generic ones are there for.
func checkPromises(t *testing.T, config []byte, arch string) {
	t.Helper()
	missing, err := configs.Missing(config, "6.12", arch)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range missing {
		t.Error(m)
	}
}

// everyDHCPBoot is what TestDHCPBoots leaves out.
func everyDHCPBoot(t *testing.T) {
	p := dhcpBootProject(t)
	t.Run("dnsmasq to UEFI", func(t *testing.T) { bootOverDHCP(t, p, "dnsmasq", true) })
	t.Run("kea to BIOS", func(t *testing.T) { bootOverDHCP(t, p, "kea", false) })
	t.Run("isc to UEFI", func(t *testing.T) { bootOverDHCP(t, p, "isc", true) })
}

// everyDHCPServer is the whole product of servers, versions, phases and networks, with and without HTTP boot, known machines
// and MAC addresses in URLs.
func everyDHCPServer(t *testing.T) {
	for _, format := range []string{"dnsmasq", "kea", "isc"} {
		for _, version := range []string{"0.19", "0.21", "0.24", "0.26", "tinkerbell"} {
			for _, phase := range []string{"bootstrap", "cluster"} {
				if version == "tinkerbell" && phase == "bootstrap" {
					continue // which it has not
				}
				for _, s := range sites() {
					everyDHCPAnswer(t, format, version, phase, s)
				}
			}
		}
	}
}

func everyDHCPAnswer(t *testing.T, format, version, phase string, s site) {
	for _, known := range []int{0, 2} {
		for _, http := range [][]string{nil, {"--http-boot"}} {
			for _, byMAC := range []string{"--url-by-mac=true", "--url-by-mac=false"} {
				s.known = known
				more := append(slices.Clone(http), byMAC)
				t.Run(fmt.Sprintf("%s/%s/%s/%s/%d known %s", format, version, phase, s.name, known, strings.Join(more, " ")), func(t *testing.T) {
					t.Parallel()
					checkDHCP(t, format, version, phase, s, more...)
				})
			}
		}
	}
}

// needed are the drivers that an installation may need. Others, those of TV cards for example, are behind menus that --fix
// does not find its way through, which it says.
var needed = regexp.MustCompile(`^kernel/drivers/(ata|block|infiniband|message|mmc|net|nvme|scsi|tty)/`)

// buildDrivers has thirty drivers switched on that the generic configuration leaves out, and looks for their modules in the
// kernel.
func buildDrivers(t *testing.T) {
	const flavor, sample = "hook-default-amd64", 30
	p := newProject(t)
	p.run("drivers", flavor, "--pci", "19a2:0710") // which writes the lock
	kernel, _ := debianKernel(t, p)
	var aliases []string
	for _, pattern := range drivers.Patterns(kernel) {
		if strings.HasPrefix(pattern.Alias, "pci:") && needed.MatchString(kernel.Modules[pattern.Module].Path) {
			aliases = append(aliases, device(pattern.Alias))
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(aliases), func(i, j int) { aliases[i], aliases[j] = aliases[j], aliases[i] })
	p.write("all.txt", strings.Join(aliases, "\n"))
	var answer struct {
		Devices []struct {
			ID      string
			Status  drivers.Status
			Drivers []drivers.Driver
			Set     []string
		}
	}
	out, _ := p.command(t.Context(), "drivers", flavor, "--modalias", "all.txt", "--all", "--json").Output() // with exit code 6
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatal(err)
	}
	var ids, paths []string
	for _, d := range answer.Devices {
		if len(paths) < sample && d.Status == drivers.Off && len(d.Set) > 0 && !slices.Contains(paths, d.Drivers[0].Path) {
			ids, paths = append(ids, "--pci", d.ID), append(paths, d.Drivers[0].Path)
		}
	}
	t.Logf("switched off in the generic configuration: %q", paths)
	if len(paths) < sample {
		t.Errorf("only %d drivers are switched off, want %d", len(paths), sample)
	}
	p.run(slices.Concat([]string{"drivers", flavor, "--fix"}, ids)...)
	has := modulesOf(t, p.run("kernel", flavor))
	for _, path := range paths {
		if !has[kbuild.Key(path)] {
			t.Errorf("%s was switched on and is not in the kernel", path)
		}
	}
}

// modulesOf are the keys of a kernel image's modules.
func modulesOf(t *testing.T, ref string) map[string]bool {
	t.Helper()
	r := image.Reader{Engine: connect(t), Cache: t.TempDir()}
	img, err := r.Read(t.Context(), strings.TrimSpace(ref))
	if err != nil {
		t.Fatal(err)
	}
	e, ok := img.Tree.Lookup("kernel.tar")
	if !ok {
		t.Fatal("the image has no kernel.tar")
	}
	data, err := e.Data.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, file, ok := strings.Cut(h.Name, "/kernel/"); ok && strings.Contains(file, ".ko") {
			all[kbuild.Key(file)] = true
		}
	}
}
