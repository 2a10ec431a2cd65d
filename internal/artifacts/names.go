package artifacts

import (
	"fmt"
	"regexp"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// The files that every set has.
const (
	ManifestName = "manifest.json"
	ReportName   = "report.json"
	ChecksumName = "checksum.txt"
)

// KernelName is the published name of the kernel, which EKS Anywhere's boot script asks for.
func KernelName(a plan.Arch) string { return "vmlinuz-" + string(a) }

// InitramfsName is the published name of the initramfs. It stands on the kernel's command line too
// (initrd=), where the EFI stub looks for it.
func InitramfsName(a plan.Arch) string { return "initramfs-" + string(a) }

// DTBsName is the published name of the device trees, empty where the architecture has none.
func DTBsName(a plan.Arch) string {
	if a == plan.AArch64 {
		return "dtbs-aarch64.tar.gz"
	}
	return ""
}

// ISOName is the published name of the ISO, which is upstream's.
func ISOName(a plan.Arch) string { return "hook-" + string(a) + "-efi-initrd.iso" }

// TarballName is the published name of the archive with kernel and initramfs that Tinkerbell's Helm
// download job expects, empty where none is published.
func TarballName(a plan.Arch) string {
	if a == plan.X8664 {
		return "hook_x86_64.tar.gz"
	}
	return ""
}

// checkName refuses what is no plain file name, what would be hidden, and what the store writes itself.
func checkName(name string) error {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`).MatchString(name) {
		return fmt.Errorf("output file name %q: want letters, digits, '.', '_' and '-', beginning with a letter or digit", name)
	}
	switch name {
	case ManifestName, ReportName, ChecksumName, TarballName(plan.X8664):
		return fmt.Errorf("output file name %q is one that hookbuild writes itself", name)
	}
	return nil
}

// checkID refuses what is no plan id.
func checkID(id string) error {
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(id) {
		return fmt.Errorf("generation %q: want a plan id, 64 hexadecimal digits", id)
	}
	return nil
}
