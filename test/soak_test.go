//go:build soak

package test

import "testing"

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
