package boot

import (
	"archive/tar"
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// probeLimit bounds the whole probe, the engine's part included; QEMU itself ends after probeWithin.
const probeLimit = 30 * time.Second

// chooseAccel returns the accelerator and, for TCG, why it is not KVM.
func chooseAccel(ctx context.Context, r runner, o Options) (accel, why string, err error) {
	switch {
	case o.Accel == TCG:
		return TCG, "tcg was asked for", nil
	case o.Accel == KVM:
		return KVM, "", nil
	case o.Arch != o.EngineArch:
		return TCG, fmt.Sprintf("the engine runs on %s", o.EngineArch), nil
	}
	ok, why, err := ProbeKVM(ctx, r, o.Image, o.Arch, cmp.Or(o.Probe, o.Kernel))
	if err != nil || ok {
		return KVM, "", err
	}
	return TCG, why, nil
}

// ProbeKVM runs a first short machine under KVM: that the kernel, a file of this host, prints its banner is the
// only proof, since there are hosts whose /dev/kvm opens and then executes nothing, or the firmware and no
// more. Without a kernel the firmware's banner has to do. It says why not where ok is false; the error is ctx's
// only.
func ProbeKVM(ctx context.Context, r runner, image string, a plan.Arch, kernel string) (ok bool, why string, err error) {
	c, banner := probe(image, a)
	var files func(*tar.Writer) error
	if kernel != "" {
		c, banner = probeKernel(image, a)
		files = func(w *tar.Writer) error { return engine.AddFile(w, directKernel, kernel, 0o644) }
	}
	w := newWatch(banner, nil, func() time.Time { return time.Time{} })
	code, err := w.run(ctx, r, c, files, probeLimit)
	const hangs = "/dev/kvm opens, but nothing executes within %s"
	switch {
	case w.seen:
		return true, "", nil
	case ctx.Err() != nil:
		return false, "", fmt.Errorf("look for KVM: %w", context.Cause(ctx))
	case w.reason != "":
		return false, fmt.Sprintf(hangs, probeLimit), nil
	case err != nil: // no such device, or the engine may not hand it out
		return false, fmt.Sprintf("no container with /dev/kvm: %v", err), nil
	case code == 124 || code == 137: // timeout(1): over, also after the KILL
		return false, fmt.Sprintf(hangs, probeWithin), nil
	case len(w.tail) > 0:
		return false, "no machine runs under KVM: " + w.tail[len(w.tail)-1], nil
	}
	return false, fmt.Sprintf("QEMU ended with exit code %d", code), nil
}

// probeMachine is a machine under KVM that is stopped soon.
func probeMachine(a plan.Arch) []string {
	m := machineFor(a)
	return []string{
		"timeout", "-k", "2", strconv.Itoa(int(probeWithin.Seconds())),
		m.qemu, "-accel", "kvm", "-cpu", "max", "-machine", m.machine, "-m", "512M",
		"-nodefaults", "-display", "none", "-no-reboot",
	}
}

// probeKernel returns the container and what a kernel prints first.
func probeKernel(image string, a plan.Arch) (engine.Container, string) {
	console := machineFor(a).console
	cmd := append(probeMachine(a), "-serial", "stdio", "-kernel", "/"+directKernel,
		"-append", "console="+console+",115200 earlyprintk=serial panic=-1")
	return engine.Container{Image: image, Cmd: cmd, Devices: []string{"/dev/kvm"}}, "Linux version"
}

// probe returns the container and what the firmware prints first.
func probe(image string, a plan.Arch) (engine.Container, string) {
	cmd := probeMachine(a)
	banner := "SeaBIOS"
	if a == plan.AArch64 {
		banner = "UEFI firmware"
		cmd = append(cmd, "-serial", "stdio", "-bios", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd")
	} else { // SeaBIOS's debug port speaks before anything else does
		cmd = append(cmd, "-chardev", "stdio,id=log", "-device", "isa-debugcon,iobase=0x402,chardev=log")
	}
	return engine.Container{Image: image, Cmd: cmd, Devices: []string{"/dev/kvm"}}, banner
}
