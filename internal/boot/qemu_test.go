package boot

import (
	"archive/tar"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/plan"
)

var update = flag.Bool("update", false, "write the golden files anew")

func noFiles(*tar.Writer, string) error { return nil }

func TestCommandGolden(t *testing.T) {
	net := &Netboot{Binary: "hookbuild", Files: noFiles}
	cases := map[string]struct {
		o     Options
		accel string
	}{
		"x86_64-direct-tcg":   {Options{Arch: plan.X8664}, TCG},
		"x86_64-direct-kvm":   {Options{Arch: plan.X8664, MemoryBytes: 4<<30 + 1, CPUs: 8}, KVM},
		"x86_64-direct-uefi":  {Options{Arch: plan.X8664, Firmware: UEFI, Cmdline: "quiet", Append: "a=\"b c\""}, TCG},
		"x86_64-netboot-bios": {Options{Arch: plan.X8664, Netboot: net}, TCG},
		"x86_64-netboot-uefi": {Options{Arch: plan.X8664, Netboot: net, Firmware: UEFI}, TCG},
		"aarch64-direct":      {Options{Arch: plan.AArch64}, TCG},
		"aarch64-netboot":     {Options{Arch: plan.AArch64, Netboot: net}, KVM},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(c.o.withDefaults().command(c.accel), "\n") + "\n"
			golden := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPackages(t *testing.T) {
	want := map[plan.Arch][]string{
		plan.X8664:   {"ipxe", "ipxe-qemu", "ovmf", "qemu-system-x86"},
		plan.AArch64: {"ipxe", "ipxe-qemu", "qemu-efi-aarch64", "qemu-system-arm"},
		"":           nil,
	}
	for a, packages := range want {
		if diff := cmp.Diff(packages, Packages(a)); diff != "" {
			t.Errorf("packages for %q (-want +got):\n%s", a, diff)
		}
	}
}

func TestDirectFiles(t *testing.T) {
	got, err := untar(directOptions(t).files)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"boot/vmlinuz": "0644 KERNEL", "boot/initramfs": "0644 INITRAMFS"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestAddFileRefusesADirectory(t *testing.T) {
	err := engine.AddFile(tar.NewWriter(io.Discard), "a", t.TempDir(), 0o644)
	if err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v, want it to say that this is not a regular file", err)
	}
}

func TestCommandLine(t *testing.T) {
	net := &Netboot{}
	cases := map[string]struct {
		o    Options
		want string
	}{
		"default":         {Options{Arch: plan.X8664}, "console=ttyS0,115200"},
		"default of ARM":  {Options{Arch: plan.AArch64}, "console=ttyAMA0,115200"},
		"appended":        {Options{Arch: plan.X8664, Append: " a=\"b  c\" "}, "console=ttyS0,115200 a=\"b  c\""},
		"own and more":    {Options{Arch: plan.X8664, Cmdline: "quiet", Append: "a"}, "quiet a"},
		"network boot":    {Options{Arch: plan.X8664, Netboot: net, Cmdline: "quiet"}, "initrd=initramfs-x86_64 quiet"},
		"network boot II": {Options{Arch: plan.AArch64, Netboot: net, Cmdline: "q"}, "initrd=initramfs-aarch64 q"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := c.o.CommandLine(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestCommandLineWarning(t *testing.T) {
	cases := map[string]struct {
		size, limit int
		want        string
	}{
		"empty":     {0, 2048, ""},
		"just fits": {2047, 2048, ""},
		"one more":  {2048, 2048, "the kernel command line has 2048 bytes, this kernel reads the first 2047"},
		"our own":   {2048, 4096, ""},
		"much more": {5000, 4096, "the kernel command line has 5000 bytes, this kernel reads the first 4095"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := CommandLineWarning(strings.Repeat("x", c.size), c.limit); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// The zero value of everything optional must lead to a machine.
func TestDefaults(t *testing.T) {
	got := Options{Arch: plan.X8664}.withDefaults()
	want := Options{
		Arch: plan.X8664, Firmware: BIOS, Cmdline: "console=ttyS0,115200", MemoryBytes: 2 << 30,
		Expect: "HookOS ready", Timeout: 10 * time.Minute,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestCPUs(t *testing.T) {
	for name, c := range map[string]struct {
		asked int
		accel string
		want  string
	}{
		"TCG":        {0, TCG, "1"},
		"KVM":        {0, KVM, "2"},
		"asked, TCG": {4, TCG, "4"},
		"asked, KVM": {4, KVM, "4"},
	} {
		t.Run(name, func(t *testing.T) {
			args := Options{Arch: plan.X8664, CPUs: c.asked}.withDefaults().command(c.accel)
			if i := slices.Index(args, "-smp"); i < 0 || args[i+1] != c.want {
				t.Errorf("got %q, want -smp %s", args, c.want)
			}
		})
	}
}
