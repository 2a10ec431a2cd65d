package boot

import (
	"archive/tar"
	"fmt"
	"strconv"
	"strings"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// machine is what differs between the architectures of guests.
type machine struct {
	qemu     string
	machine  string // -machine
	console  string // the first serial port, as the kernel calls it
	code     string // UEFI firmware without Secure Boot: nothing that we boot is signed
	vars     string
	ipxe     string // iPXE as an UEFI application, in Debian's package ipxe
	packages []string
}

// machineFor returns the zero machine for an unknown architecture. graphics=off makes SeaBIOS and its iPXE
// use the serial port.
func machineFor(a plan.Arch) machine {
	switch a {
	case plan.X8664:
		return machine{
			qemu:     "qemu-system-x86_64",
			machine:  "q35,graphics=off",
			console:  "ttyS0",
			code:     "/usr/share/OVMF/OVMF_CODE_4M.fd",
			vars:     "/usr/share/OVMF/OVMF_VARS_4M.fd",
			ipxe:     "/usr/lib/ipxe/ipxe.efi",
			packages: []string{"ipxe", "ipxe-qemu", "ovmf", "qemu-system-x86"},
		}
	case plan.AArch64:
		return machine{
			qemu:     "qemu-system-aarch64",
			machine:  "virt,gic-version=max",
			console:  "ttyAMA0",
			code:     "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd",
			vars:     "/usr/share/AAVMF/AAVMF_VARS.fd",
			ipxe:     "/usr/lib/ipxe/ipxe-arm64.efi",
			packages: []string{"ipxe", "ipxe-qemu", "qemu-efi-aarch64", "qemu-system-arm"},
		}
	}
	return machine{}
}

// Packages are the Debian packages (trixie), without recommended ones, that the image for guests of the
// given architecture needs, sorted; nil for an unknown architecture. They exist for every engine that
// hookbuild knows.
func Packages(a plan.Arch) []string { return machineFor(a).packages }

// Where the files lie in the container.
const (
	directKernel    = "boot/vmlinuz"
	directInitramfs = "boot/initramfs"
)

// command is the whole command line of the container.
func (o Options) command(accel string) []string {
	args := o.qemuArgs(accel)
	if o.Netboot != nil {
		return append([]string{"sh", "/" + startFile}, args...)
	}
	return args
}

func (o Options) qemuArgs(accel string) []string {
	m := machineFor(o.Arch)
	args := []string{
		m.qemu,
		"-accel", accel,
		"-cpu", "max",
		"-machine", m.machine,
		"-m", strconv.FormatInt(o.MemoryBytes/mib, 10) + "M",
		"-smp", strconv.Itoa(o.cpus(accel)),
		"-nodefaults", "-display", "none", "-no-reboot",
		"-serial", "stdio",
		"-device", "virtio-rng-pci",
	}
	if o.Firmware == UEFI {
		args = append(args,
			"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+m.code,
			"-drive", "if=pflash,unit=1,format=raw,snapshot=on,file="+m.vars)
	}
	if o.Netboot != nil {
		return append(args, o.netbootArgs()...)
	}
	// Without IPv6, which no EKS Anywhere machine boots by; without option ROM, which nobody asks.
	return append(args,
		"-netdev", "user,id=n0,ipv6=off",
		"-device", "virtio-net-pci,netdev=n0,romfile=",
		"-kernel", "/"+directKernel,
		"-initrd", "/"+directInitramfs,
		"-append", o.CommandLine())
}

// cpus is how many the guest gets. Two emulated ones race on a busy host: now and then the timer of the second
// never fires, and the boot hangs with "rcu_preempt kthread starved" (seen with QEMU 10.0.13). One cannot.
func (o Options) cpus(accel string) int {
	switch {
	case o.CPUs > 0:
		return o.CPUs
	case accel == TCG:
		return 1
	}
	return 2
}

// CommandLine is the kernel command line as the guest gets it.
func (o Options) CommandLine() string {
	o = o.withDefaults()
	line := strings.Trim(o.Cmdline+" "+strings.Trim(o.Append, " "), " ")
	if o.Netboot != nil { // as Tinkerbell's script does; the EFI stub looks the initramfs up by this name
		return "initrd=initramfs-" + string(o.Arch) + " " + line
	}
	return line
}

// CommandLineWarning says that cmdline does not fit into a kernel whose COMMAND_LINE_SIZE is limit: 2048 for
// Debian's kernels and on aarch64, 4096 for hookbuild's own on x86_64. It is empty where cmdline fits.
func CommandLineWarning(cmdline string, limit int) string {
	if len(cmdline) < limit { // the last byte is the kernel's NUL
		return ""
	}
	return fmt.Sprintf("the kernel command line has %d bytes, this kernel reads the first %d", len(cmdline), limit-1)
}

// files writes what the container needs.
func (o Options) files(w *tar.Writer) error {
	if o.Netboot != nil {
		return o.netbootFiles(w)
	}
	if err := engine.AddFile(w, directKernel, o.Kernel, 0o644); err != nil {
		return err
	}
	return engine.AddFile(w, directInitramfs, o.Initramfs, 0o644)
}
