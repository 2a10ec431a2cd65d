package plan

import "fmt"

// Arch is the architecture of the machines that boot the result, in the spelling of `uname -m`, which is
// also the one in output file names. The zero value is no architecture.
type Arch string

// The architectures that hookbuild knows.
const (
	X8664   Arch = "x86_64"
	AArch64 Arch = "aarch64"
)

// ParseArch accepts the kernel's, Go's and Debian's spellings: x86_64, amd64, aarch64, arm64.
func ParseArch(s string) (Arch, error) {
	switch s {
	case "x86_64", "amd64":
		return X8664, nil
	case "aarch64", "arm64":
		return AArch64, nil
	}
	return "", fmt.Errorf("unknown architecture %q: want x86_64, amd64, aarch64 or arm64", s)
}

// Debian returns Debian's (and Go's, and OCI's) name: amd64 or arm64.
func (a Arch) Debian() string {
	if a == AArch64 {
		return "arm64"
	}
	return "amd64"
}

// Kbuild returns the kernel's ARCH= value: x86_64 or arm64.
func (a Arch) Kbuild() string {
	if a == AArch64 {
		return "arm64"
	}
	return "x86_64"
}
