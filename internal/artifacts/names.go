package artifacts

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

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

// aliasable are the files of a generation that may have an alias.
func aliasable(a plan.Arch) []string {
	all := []string{KernelName(a), InitramfsName(a), DTBsName(a), ISOName(a), TarballName(a)}
	return slices.DeleteFunc(all, func(name string) bool { return name == "" })
}

// CheckAlias says what is wrong with name as a second name of the published file of. The architecture in it keeps what
// both architectures publish apart; a server tells kernels and initramfs files from others by how their names begin
// and end.
func CheckAlias(a plan.Arch, name, of string) error {
	if !slices.Contains(aliasable(a), of) {
		return fmt.Errorf("%q is no file that is published for %s: want %s", of, a, strings.Join(aliasable(a), " or "))
	}
	if err := checkName(name); err != nil {
		return err
	}
	for _, arch := range []plan.Arch{plan.X8664, plan.AArch64} {
		if slices.Contains(aliasable(arch), name) {
			return fmt.Errorf("%q is a name that hookbuild gives itself", name)
		}
		if strings.Contains(name, string(arch)) != (arch == a) {
			return fmt.Errorf("%q: want a name with %s in it, and no other architecture", name, a)
		}
	}
	for _, begin := range []string{"vmlinuz-", "initramfs-"} {
		boots := strings.HasPrefix(name, begin) && strings.HasSuffix(name, "-"+string(a))
		if boots != (of == begin+string(a)) {
			return fmt.Errorf("%q: second names of %s%s are like %s…-%s, and no others are", name, begin, a, begin, a)
		}
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
