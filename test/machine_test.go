package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// machine is a virtual machine whose console the test reads and types on. It runs in a container without a network;
// what listens on that container's loopback is 10.0.2.2 for the machine.
type machine struct {
	t         *testing.T
	container string
	in        io.Writer
	shells    int // commands that sh has run

	mu      sync.Mutex
	console bytes.Buffer
	ended   chan struct{}
}

// guest is what differs between the architectures of machines.
type guest struct{ qemu, machine, console, suffix, code, vars string }

func guestOf(flavor string) guest {
	if strings.HasSuffix(flavor, "-arm64") {
		return guest{"qemu-system-aarch64", "virt,gic-version=max", "ttyAMA0", "-aarch64", "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"}
	}
	return guest{"qemu-system-x86_64", "q35", "ttyS0", "-x86_64", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"}
}

// machineOptions say what is special about a machine; the zero value has one network card and 2 GiB.
type machineOptions struct {
	Append string
	Memory string            // of QEMU's -m; empty is 2G
	Net    []string          // QEMU's arguments about networks; nil is one virtio card in QEMU's own network
	QEMU   []string          // further arguments
	Files  map[string]string // put into /peer of the container: name to file of this host
	Before string            // shell commands that start something beside QEMU
	Share  string            // the container whose network is shared
	ISO    string            // file of this host that UEFI firmware boots; empty is kernel and initramfs without firmware
	Medium string            // what the ISO is shown as: CD or disk
}

// boots starts a machine with what the project has built for a flavor.
func (p *project) boots(flavor string, o machineOptions) *machine {
	p.t.Helper()
	var t *testing.T
	t, _ = p.t.(*testing.T)
	set, ok := p.lock(flavor).Find(resolve.BootSet)
	if !ok {
		t.Fatal("the lock has no packages for QEMU")
	}
	image := base.Set{Name: set.Name, Arch: set.Arch, Packages: set.Packages}.Ref()
	network := "none"
	if o.Share != "" {
		network = "container:" + o.Share
	}
	if o.Memory == "" {
		o.Memory = "2G"
	}
	if o.Net == nil {
		o.Net = []string{"-netdev", "user,id=n0,ipv6=off", "-device", "virtio-net-pci,netdev=n0,romfile="}
	}
	g := guestOf(flavor)
	args := slices.Concat([]string{
		"-accel", "tcg", "-cpu", "max", "-machine", g.machine, "-m", o.Memory, "-nodefaults", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-monitor", "unix:/monitor,server=on,wait=off", "-device", "virtio-rng-pci",
	}, g.starts(o), o.Net, o.QEMU)
	script := o.Before + "\nexec " + g.qemu + " \"$@\"\n"
	id := strings.TrimSpace(docker(t, slices.Concat([]string{"create", "-i", "--network", network, image, "sh", "-c", script, "sh"}, args)...))
	m := &machine{t: t, container: id, ended: make(chan struct{})}
	t.Cleanup(func() { docker(t, "rm", "-f", id) })
	if o.ISO != "" {
		docker(t, "cp", "-L", o.ISO, id+":/hook.iso")
	} else {
		docker(t, "cp", "-L", p.path("out/hook/vmlinuz"+g.suffix), id+":/vmlinuz")
		docker(t, "cp", "-L", p.path("out/hook/initramfs"+g.suffix), id+":/initramfs")
	}
	for name, file := range o.Files {
		dir := t.TempDir()
		copyTo(t, filepath.Join(dir, "peer", name), file)
		docker(t, "cp", filepath.Join(dir, "peer"), id+":/")
	}
	m.start()
	return m
}

// starts are QEMU's arguments about what is booted.
func (g guest) starts(o machineOptions) []string {
	if o.ISO == "" {
		return []string{"-kernel", "/vmlinuz", "-initrd", "/initramfs", "-append", "console=" + g.console + ",115200 " + o.Append}
	}
	args := []string{
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file=" + g.code, "-drive", "if=pflash,unit=1,format=raw,snapshot=on,file=" + g.vars,
	}
	if o.Medium == "disk" {
		return append(args, "-drive", "if=none,id=iso,format=raw,readonly=on,file=/hook.iso",
			"-device", "qemu-xhci", "-device", "usb-storage,drive=iso,removable=on,bootindex=0")
	}
	return append(args, "-drive", "if=none,id=iso,media=cdrom,format=raw,readonly=on,file=/hook.iso",
		"-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=iso,bootindex=0")
}

func copyTo(t *testing.T, to, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	info, serr := os.Stat(from)
	if err := errors.Join(err, serr, os.MkdirAll(filepath.Dir(to), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, info.Mode().Perm()); err != nil {
		t.Fatal(err)
	}
}

// start runs the container until the machine ends.
func (m *machine) start() {
	cmd := exec.Command("docker", "start", "-ai", m.container)
	in, err := cmd.StdinPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	m.in = in
	cmd.Stdout, cmd.Stderr = m, m
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // its console says why
		close(m.ended)
	}()
}

// Write takes what the machine writes on its console.
func (m *machine) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.console.Write(p)
}

// powerButton presses it.
func (m *machine) powerButton() {
	m.t.Helper()
	docker(m.t, "exec", m.container, "perl", "-MIO::Socket::UNIX", "-e",
		`my $s = IO::Socket::UNIX->new("/monitor") or die $!; print $s "system_powerdown\n"; $s->flush; sleep 1`)
}

// escapes are what a terminal would act on.
var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]|\r")

func (m *machine) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return escapes.ReplaceAllString(m.console.String(), "")
}

// bootTimeout is for what a busy host that emulates the machine takes at most.
const bootTimeout = 6 * time.Minute

// expect waits for text that matches a regular expression, and returns the match and its groups.
func (m *machine) expect(form string) []string {
	m.t.Helper()
	re := regexp.MustCompile("(?m)" + form)
	deadline := time.After(bootTimeout)
	for {
		if found := re.FindStringSubmatch(m.text()); found != nil {
			return found
		}
		select {
		case <-m.ended:
			if found := re.FindStringSubmatch(m.text()); found != nil {
				return found
			}
			m.t.Fatalf("the machine has ended, and the console has no %q:\n%s", form, m.text())
		case <-deadline:
			m.t.Fatalf("the console has no %q:\n%s", form, m.text())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// ready waits for HookOS and for a shell.
func (m *machine) ready() string {
	m.t.Helper()
	line := m.expect(`^HookOS ready: .*$`)[0]
	m.send("stty -echo; PS1=; PS2=; dmesg -n 1")
	m.sh("true")
	return line
}

// idle waits for what a machine without an agent says last, so that it does not come between what a command writes.
func (m *machine) idle() {
	m.t.Helper()
	m.expect(`HookOS bootkit: no agent to start`)
}

func (m *machine) send(line string) {
	m.t.Helper()
	if _, err := io.WriteString(m.in, line+"\n"); err != nil {
		m.t.Fatal(err)
	}
}

// sh runs a command in the machine's shell and returns what it writes; it must succeed.
func (m *machine) sh(command string) string {
	m.t.Helper()
	out, code := m.try(command)
	if code != 0 {
		m.t.Errorf("%s: exit code %d\n%s", command, code, out)
	}
	return out
}

// said is what HookOS says on its consoles, whatever else is being written there.
var said = regexp.MustCompile(`(?m)^\n?HookOS( \w+)*:.*\n`)

// try runs a command in the machine's shell.
func (m *machine) try(command string) (out string, code int) {
	m.t.Helper()
	m.shells++
	// The marks are put together by the shell, so that an echo of the line is none.
	m.send(fmt.Sprintf("echo begin''-%d; { %s\n} 2>&1; echo end''-%d-$?-", m.shells, command, m.shells))
	end := m.expect(fmt.Sprintf(`end-%d-(\d+)-`, m.shells))
	_, rest, _ := strings.Cut(m.text(), fmt.Sprintf("begin-%d\n", m.shells))
	out, _, _ = strings.Cut(rest, end[0])
	code, err := strconv.Atoi(end[1])
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.TrimRight(said.ReplaceAllString(out, ""), "\n"), code
}

// until runs a command until it succeeds, for at most so long.
func (m *machine) until(command string, limit time.Duration) string {
	m.t.Helper()
	begin := time.Now()
	for {
		out, code := m.try(command)
		if code == 0 {
			return out
		}
		if time.Since(begin) > limit {
			m.t.Fatalf("%s: still exit code %d after %s\n%s", command, code, limit, out)
		}
		time.Sleep(time.Second)
	}
}

// has checks that the console has a line that matches.
func (m *machine) has(form string) {
	m.t.Helper()
	if !regexp.MustCompile("(?m)" + form).MatchString(m.text()) {
		m.t.Errorf("the console has no %q:\n%s", form, m.text())
	}
}
