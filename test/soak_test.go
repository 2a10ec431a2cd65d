//go:build soak

package test

import (
	"fmt"
	"testing"

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
	t.Run("generic kernel for arm64", func(t *testing.T) {
		checkPromises(t, checkKernelImage(t, newProject(t).run("kernel", "hook-default-arm64")), "aarch64")
	})
	// The engine is of amd64 here, and so is what answers beside QEMU.
	t.Run("arm64 provisions", func(t *testing.T) {
		provisionEmbedded(t, siteProject(t, "arm64"), "site-arm64", peerBinary(t, "amd64"))
	})
	t.Run("arm64 boots from an ISO", bootArm64ISO)
	t.Run("DHCP servers", everyDHCPServer)
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

// everyDHCPServer is the whole product of servers, networks, versions and phases, with and without HTTP boot, known
// machines and MAC addresses in URLs.
func everyDHCPServer(t *testing.T) {
	for _, format := range []string{"dnsmasq", "kea", "isc"} {
		for _, version := range []string{"0.19", "0.21", "0.24", "0.26", "tinkerbell"} {
			for _, phase := range []string{"bootstrap", "cluster"} {
				if version == "tinkerbell" && phase == "bootstrap" {
					continue // which it has not
				}
				for _, s := range sites() {
					for _, known := range []int{0, 2} {
						s.known = known
						more := [][]string{{}, {"--http-boot", "--url-by-mac=false"}}[min(known, 1)]
						t.Run(fmt.Sprintf("%s/%s/%s/%s/%d known", format, version, phase, s.name, known), func(t *testing.T) {
							t.Parallel()
							checkDHCP(t, format, version, phase, s, more...)
						})
					}
				}
			}
		}
	}
}
