//go:build soak

package test

import (
	"testing"

	"github.com/hookbuild/hookbuild/kernel/configs"
)

// TestSoak is what takes too long for CI.
func TestSoak(t *testing.T) {
	t.Run("generic kernel against a bare make", func(t *testing.T) {
		compareKernel(t, "generic", "../kernel/configs/generic-6.12.y-x86_64", 1)
	})
	t.Run("one driver of the generic kernel", func(t *testing.T) {
		changeKernel(t, "generic", "../kernel/configs/generic-6.12.y-x86_64", "BNXT")
	})
	t.Run("generic kernel for arm64", func(t *testing.T) {
		p := newProject(t)
		config := checkKernelImage(t, p.run("kernel", "hook-default-arm64"))
		missing, err := configs.Missing(config, "6.12", "aarch64")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range missing {
			t.Error(m)
		}
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
