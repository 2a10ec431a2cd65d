//go:build soak

package test

import "testing"

// TestSoak is what takes too long for CI.
func TestSoak(t *testing.T) {
	t.Run("generic kernel against a bare make", func(t *testing.T) {
		compareKernel(t, "generic", "../kernel/configs/generic-6.12.y-x86_64", 1)
	})
	for _, flavor := range []string{"hook-debian-amd64", "hook-default-amd64"} {
		t.Run(flavor+" netboots from UEFI", func(t *testing.T) {
			p := newProject(t)
			var b built
			p.runJSON(&b, "all", flavor)
			checkBoot(t, p, b.Kernel, "boot", flavor, "--netboot", "--firmware", "uefi")
		})
	}
}
