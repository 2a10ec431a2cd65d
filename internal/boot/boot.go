// Package boot starts a kernel and an initramfs in QEMU and says whether an expected line comes on the serial
// console. QEMU (https://www.qemu.org/docs/master/system/invocation.html) runs in a container of the engine,
// so this host needs neither QEMU nor KVM; with Netboot the guest's firmware fetches both files through iPXE
// (https://ipxe.org/scripting) from hookbuild's own server.
package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// runner is the part of *engine.Engine that is needed here.
type runner interface {
	Run(ctx context.Context, c engine.Container, out io.Writer) (exitCode int, err error)
}

// DefaultExpect is the beginning of the line that HookOS prints once it is up.
const DefaultExpect = "HookOS ready"

// The firmwares of Options.Firmware.
const (
	BIOS = "bios"
	UEFI = "uefi"
)

// The accelerators of Options.Accel and Result.Accel.
const (
	KVM = "kvm"
	TCG = "tcg"
)

// Options say what to boot and how. Image, Arch, Now and either Kernel with Initramfs or Netboot are needed;
// the zero value of anything else is a useful default.
type Options struct {
	Image      string    // with Packages(Arch) installed
	Arch       plan.Arch // of the guest
	EngineArch plan.Arch // of the engine's host; KVM is tried where it equals Arch
	Accel      string    // KVM or TCG; empty tries KVM and falls back to TCG
	Probe      string    // file of this host: a kernel that has to start under KVM before it is used; empty is Kernel

	Kernel    string // file of this host, for the direct boot
	Initramfs string // file of this host, for the direct boot
	Netboot   *Netboot
	Firmware  string // BIOS or UEFI; empty is BIOS on x86_64 and UEFI on aarch64, which has no BIOS

	Cmdline     string // kernel command line; empty is the serial console alone
	Append      string // comes after Cmdline
	MemoryBytes int64  // of the guest, used in whole MiB; 0 is 2 GiB
	CPUs        int    // of the guest; 0 is 2 with KVM and 1 with TCG

	Expect  string           // part of a console line; empty is DefaultExpect
	Timeout time.Duration    // from the moment all files are in the container; 0 is 10 minutes
	Console io.Writer        // gets each line as it comes, cleaned, after the seconds since the start; may be nil
	Now     func() time.Time // the clock
}

// Result is how a boot went.
type Result struct {
	Ready       bool
	Line        string        // the whole console line that held Expect
	Elapsed     time.Duration // from the moment all files were in the container
	Accel       string        // KVM or TCG
	Why         string        // why not KVM; empty with KVM
	ConsoleTail []string      // the last lines, cleaned, at most 40
}

// NotSeenError says that the guest was started and the expected line did not come.
type NotSeenError struct {
	Expect string
	Reason string
	Tail   []string // the last lines of the console, cleaned, at most 40
}

// Error gives the line and the reason, not the tail.
func (e *NotSeenError) Error() string {
	return fmt.Sprintf("%q did not come on the console: %s", e.Expect, e.Reason)
}

const (
	mib         = 1 << 20
	minMemory   = 128 * mib
	defMemory   = 2 << 30
	defTimeout  = 10 * time.Minute
	panicGrace  = 2 * time.Second // lets the rest of a panic's trace come
	probeWithin = 10 * time.Second
)

func (o Options) withDefaults() Options {
	if o.Firmware == "" {
		o.Firmware = BIOS
		if o.Arch == plan.AArch64 {
			o.Firmware = UEFI
		}
	}
	if o.Cmdline == "" {
		o.Cmdline = "console=" + machineFor(o.Arch).console + ",115200"
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = defMemory
	}
	if o.Expect == "" {
		o.Expect = DefaultExpect
	}
	if o.Timeout == 0 {
		o.Timeout = defTimeout
	}
	return o
}

// Validate reports all faults of o at once. Run calls it.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(machineFor(o.Arch).qemu != "", "architecture %q cannot be booted", o.Arch)
	check(o.Image != "", "no image with QEMU")
	check(o.Now != nil, "no clock")
	check(o.Firmware == BIOS || o.Firmware == UEFI, "firmware %q: want %s or %s", o.Firmware, BIOS, UEFI)
	check(o.Firmware != BIOS || o.Arch != plan.AArch64, "firmware bios: aarch64 has only %s", UEFI)
	check(o.Accel == "" || o.Accel == KVM || o.Accel == TCG, "accelerator %q: want %s or %s", o.Accel, KVM, TCG)
	check(o.MemoryBytes >= minMemory, "guest memory of %d bytes: want at least %d", o.MemoryBytes, minMemory)
	check(o.CPUs >= 0, "%d guest CPUs: want at least 1, or 0 for the default", o.CPUs)
	check(o.Timeout > 0, "timeout %s: want more than 0", o.Timeout)
	check(!strings.ContainsAny(o.Expect, "\r\n"), "expected text %q has a line break", o.Expect)
	check(!strings.ContainsAny(o.CommandLine(), "\r\n\x00"), "kernel command line %q has a line break or NUL", o.CommandLine())
	if o.Netboot == nil {
		check(o.Kernel != "" && o.Initramfs != "", "no kernel or no initramfs to boot")
	} else {
		errs = append(errs, o.Netboot.validate(), checkIPXE(o.CommandLine()))
	}
	return errors.Join(errs...)
}

// Run boots and returns as soon as a console line holds Expect; the machine is stopped then. Where the line
// does not come (time over, kernel panic, nothing to boot, QEMU at its end) the error is a *NotSeenError and
// the Result holds what there is. That the container could not be run, or ctx was cancelled, is an error of
// its own.
func Run(ctx context.Context, r runner, o Options) (Result, error) {
	if err := o.Validate(); err != nil {
		return Result{}, err
	}
	o = o.withDefaults()
	accel, why, err := chooseAccel(ctx, r, o)
	if err != nil {
		return Result{}, err
	}
	w := newWatch(o.Expect, o.Console, o.Now)
	w.doomed = dooms()
	c := engine.Container{Image: o.Image, Cmd: o.command(accel), Env: []string{"HOME=/root"}}
	if accel == KVM {
		c.Devices = []string{"/dev/kvm"}
	}
	code, err := w.run(ctx, r, c, o.files, o.Timeout)
	res := Result{
		Ready: w.seen, Line: w.line, Elapsed: w.elapsed(), Accel: accel, Why: why, ConsoleTail: w.tail,
	}
	switch {
	case w.seen:
		return res, nil
	case ctx.Err() != nil:
		return res, fmt.Errorf("boot %s in QEMU: %w", o.Arch, context.Cause(ctx))
	case w.reason != "":
		return res, &NotSeenError{Expect: o.Expect, Reason: w.reason, Tail: w.tail}
	case err != nil:
		return res, fmt.Errorf("run QEMU in %s: %w", o.Image, err)
	}
	return res, &NotSeenError{Expect: o.Expect, Reason: exitReason(code), Tail: w.tail}
}

// exitReason puts into words that QEMU has ended by itself.
func exitReason(code int) string {
	if code == 0 {
		return "the machine switched off or wanted to reboot"
	}
	return fmt.Sprintf("QEMU ended with exit code %d", code)
}

// dooms are console lines after which the expected one cannot come any more.
func dooms() []doom {
	const nothing = "the firmware found nothing to boot"
	return []doom{
		{"Kernel panic", "the guest's kernel panicked"},
		{ipxeGaveUp, "iPXE could not fetch and start the kernel"},
		{"No bootable device.", nothing},
		{"BdsDxe: No bootable option or device was found", nothing},
	}
}
