package test

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// tinkerbellIPXE makes Debian's iPXE say that it is Tinkerbell's, which is built to do so. iPXE asks TFTP for it by itself
// as autoexec.ipxe; as undionly.kpxe it is taken for what it is, since iPXE looks at the content.
const tinkerbellIPXE = `#!ipxe
echo test: iPXE runs on ${platform} ${buildarch}
set user-class Tinkerbell
set attempt:int32 1
:attempt
dhcp && chain ${filename} ||
echo test: attempt ${attempt} failed
iseq ${attempt} 10 && poweroff ||
inc attempt
sleep 2
goto attempt
`

// stack is what a machine finds at the address of the Tinkerbell stack: TFTP, and iPXE's script as smee has it.
type stack struct {
	ip netip.Addr

	mu    sync.Mutex
	asked []string // path of each request for a script, and who it came from
}

// startStack gives the stack's address to a namespace, and serves there.
func startStack(t *testing.T, ns *netns, ip netip.Addr, subnet netip.Prefix, tftp string) *stack {
	t.Helper()
	ns.ip("address", "add", netip.PrefixFrom(ip, subnet.Bits()).String(), "dev", "eth0")
	s := &stack{ip: ip}
	var l net.Listener
	var err error
	ns.in(func() { l, err = net.Listen("tcp", netip.AddrPortFrom(ip, 7171).String()) })
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s}
	go func() { _ = server.Serve(l) }() // ends when it is closed
	t.Cleanup(func() { server.Close() })
	ns.start(exec.Command("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--log-facility=-", "--port=0",
		"--enable-tftp", "--tftp-root="+tftp, "--listen-address="+ip.String(), "--bind-interfaces", "--pid-file="))
	return s
}

// ServeHTTP answers as smee of EKS Anywhere 0.26 does: a script that takes both files from hookImagesURLPath.
func (s *stack) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !strings.HasPrefix(r.URL.Path, "/ipxe/script/") || !strings.HasSuffix(r.URL.Path, "/auto.ipxe") {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.Path+" from "+host)
	s.mu.Unlock()
	images := fmt.Sprintf("http://%s:8080/hook", s.ip)
	fmt.Fprintf(w, "#!ipxe\nkernel %s/vmlinuz-x86_64 initrd=initramfs-x86_64 console=ttyS0,115200\ninitrd %s/initramfs-x86_64\nboot\n", images, images)
}

func (s *stack) scripts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// nicBoot makes a machine that has nothing to boot from but its network card. Its firmware is SeaBIOS with the card's ROM,
// or OVMF. It starts when it is plugged in.
func nicBoot(t *testing.T, p *project, uefi bool, mac string) *machine {
	t.Helper()
	set, ok := p.lock("hook-debian-amd64").Find(resolve.BootSet)
	if !ok {
		t.Fatal("the lock has no packages for QEMU")
	}
	g := guestOf("hook-debian-amd64")
	args := []string{
		g.qemu, "-accel", "tcg", "-cpu", "max", "-machine", g.machine, "-m", "2G", "-nodefaults", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-device", "virtio-rng-pci",
		"-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0,bootindex=0,mac=" + mac,
	}
	if uefi {
		args = append(args, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+g.code, "-drive", "if=pflash,unit=1,format=raw,snapshot=on,file="+g.vars)
	}
	const script = "until [ -e /sys/class/net/tap0 ]; do sleep 0.1; done\nexec \"$@\"\n"
	image := base.Set{Name: set.Name, Arch: set.Arch, Packages: set.Packages}.Ref()
	id := strings.TrimSpace(docker(t, slices.Concat([]string{"create", "-i", "--network", "none", "--cap-add", "NET_ADMIN", "--device", "/dev/net/tun",
		image, "sh", "-c", script, "sh"}, args)...))
	t.Cleanup(func() { docker(t, "rm", "-f", id) })
	return &machine{t: t, container: id, ended: make(chan struct{})}
}

// plugIn joins a running machine's container with a namespace by a bridge that the machine's card is on; only then the
// machine starts.
func (m *machine) plugIn(ns *netns) {
	m.t.Helper()
	pid := "0"
	ns.wait("the machine's container runs", func() (bool, error) {
		pid = strings.TrimSpace(docker(m.t, "inspect", "-f", "{{.State.Pid}}", m.container))
		return pid != "0", nil
	})
	inside := "/proc/" + pid + "/ns/net"
	ns.ip("link", "add", "eth0", "type", "veth", "peer", "name", "site", "netns", inside)
	for _, args := range []string{
		"link add br0 type bridge forward_delay 0", "link set site master br0", "link set site up", "link set br0 up",
		"tuntap add tap0 mode tap", "link set tap0 master br0", "link set tap0 up",
	} {
		if out, err := exec.Command("nsenter", append([]string{"--net=" + inside, "ip"}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
			m.t.Fatalf("ip %s: %v\n%s", args, err, out)
		}
	}
	ns.ip("link", "set", "eth0", "up")
	ns.runs("eth0")
}

// bootOverDHCP is a machine's whole way: its firmware asks the DHCP server, loads iPXE by TFTP, which asks again and gets
// the URL of Tinkerbell's script, which has it take kernel and initramfs from hookbuild's server.
func bootOverDHCP(t *testing.T, from *project, format string, uefi bool, more ...string) {
	s := sites()[0]
	p := newProject(t)
	flags := s.describe(p, "0.26", "bootstrap", more...)
	config := p.run(append([]string{"dhcp", "--format", format, "--interface", "eth0"}, flags...)...)
	ip := netip.MustParseAddr(value(s.flags, "--bootstrap-ip"))

	m := nicBoot(t, from, uefi, "52:54:00:00:00:01")
	tftp := t.TempDir()
	docker(t, "cp", "-L", m.container+":/usr/lib/ipxe/ipxe.efi", filepath.Join(tftp, "ipxe.efi"))
	for _, name := range []string{"autoexec.ipxe", "undionly.kpxe"} {
		if err := os.WriteFile(filepath.Join(tftp, name), []byte(tinkerbellIPXE), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ns := newNetns(t)
	m.start()
	m.plugIn(ns)
	ns.ip("address", "add", s.server.String(), "dev", "eth0")
	tink := startStack(t, ns, ip, s.server, tftp)
	capture := filepath.Join(t.ArtifactDir(), format+".pcap")
	ns.start(exec.Command("tcpdump", "-Z", "root", "-U", "-i", "eth0", "-w", capture, "udp port 67 or udp port 68"))
	ns.start(from.command(t.Context(), "serve", "--listen", netip.AddrPortFrom(ip, 8080).String()))
	serveDHCP(ns, format, config)

	m.expect(`^HookOS ready: .*$`)
	want := "/ipxe/script/52-54-00-00-00-01/auto.ipxe from 10.10.50.12"
	if slices.Contains(more, "--url-by-mac=false") {
		want = "/ipxe/script/auto.ipxe from 10.10.50.12"
	}
	if got := tink.scripts(); !slices.Contains(got, want) {
		t.Errorf("scripts were asked for as %q, want %q", got, want)
	}
	if out, err := exec.Command("tcpdump", "-n", "-r", capture).Output(); err != nil || strings.Count(string(out), "BOOTP/DHCP, Reply") < 4 {
		t.Errorf("the DHCP conversation: %v\n%s", err, out)
	}
}

// dhcpBootProject has a HookOS to serve, and QEMU's image in the engine.
func dhcpBootProject(t *testing.T) *project {
	p := newProject(t)
	p.run("all", "hook-debian-amd64")
	p.run("boot", "hook-debian-amd64", "--expect", "Linux version")
	return p
}

// The names of the tests are in paths that dnsmasq takes for lists at each comma.
//
// TestDHCPBoots has machines boot over each of the three servers, in turn by BIOS and by UEFI; the other three are in make
// soak.
func TestDHCPBoots(t *testing.T) {
	p := dhcpBootProject(t)
	t.Run("dnsmasq to BIOS", func(t *testing.T) { bootOverDHCP(t, p, "dnsmasq", false) })
	t.Run("kea to UEFI", func(t *testing.T) { bootOverDHCP(t, p, "kea", true) })
	t.Run("isc to BIOS by source address", func(t *testing.T) { bootOverDHCP(t, p, "isc", false, "--url-by-mac=false") })
}
