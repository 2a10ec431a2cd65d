package test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// netns is a network namespace of this test's own: a thread lives in it, and it ends with that thread, also where
// the test is killed.
type netns struct {
	t    testing.TB
	path string
	do   chan func()
}

func newNetns(t testing.TB) *netns {
	t.Helper()
	ns := &netns{t: t, do: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		ns.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range ns.do {
			f()
		}
	}()
	t.Cleanup(func() { close(ns.do) })
	if err := <-ready; err != nil {
		t.Fatalf("a network namespace: %v; this test needs root", err)
	}
	ns.ip("link", "set", "lo", "up")
	return ns
}

// in runs a function in the namespace. Processes that it starts are in it too.
func (ns *netns) in(f func()) {
	done := make(chan struct{})
	ns.do <- func() {
		defer close(done)
		f()
	}
	<-done
}

// ip is ip(8).
func (ns *netns) ip(args ...string) {
	ns.t.Helper()
	ns.in(func() {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			ns.t.Errorf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	})
}

// start starts a process, which is killed when the test ends. Its output goes to the test's log where the test fails.
func (ns *netns) start(cmd *exec.Cmd) {
	ns.t.Helper()
	log, err := os.Create(filepath.Join(ns.t.TempDir(), "log"))
	if err != nil {
		ns.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	ns.in(func() { err = cmd.Start() })
	if err != nil {
		ns.t.Fatal(err)
	}
	ns.t.Cleanup(func() {
		_ = cmd.Process.Kill() // what has ended is not there
		_ = cmd.Wait()         // it was killed
		if ns.t.Failed() {
			text, err := os.ReadFile(log.Name())
			ns.t.Logf("%s: %v\n%s", cmd.Path, err, text)
		}
		log.Close()
	})
}

// wait waits until something is so in the namespace.
func (ns *netns) wait(what string, so func() (bool, error)) {
	ns.t.Helper()
	for range 600 {
		var yes bool
		var err error
		ns.in(func() { yes, err = so() })
		if err != nil {
			ns.t.Fatal(err)
		}
		if yes {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	ns.t.Fatalf("after a minute it is not so that %s", what)
}

// runs waits for an interface, whose other end must be up: Kea looks only once.
func (ns *netns) runs(name string) {
	ns.t.Helper()
	ns.wait(name+" is running", func() (bool, error) {
		ifc, err := net.InterfaceByName(name)
		return err == nil && ifc.Flags&net.FlagRunning != 0, err
	})
}

// listens waits for port 67.
func (ns *netns) listens() {
	ns.t.Helper()
	ns.wait("something has port 67", func() (bool, error) {
		table, err := os.ReadFile("/proc/thread-self/net/udp")
		return strings.Contains(string(table), fmt.Sprintf(":%04X 00000000:0000", 67)), err
	})
}

// site is a network of machines with the stack in it, and what hookbuild dhcp is told of it.
type site struct {
	name   string
	flags  []string
	server netip.Prefix // the DHCP server's own address
	client []string     // addresses of the side that probes; none where it is a machine of the network
	probe  []string     // how it asks
	known  int          // machines in hardware.csv
}

func sites() []site {
	broadcast := []string{"--interface", "eth0"}
	return []site{
		{name: "a 23", server: netip.MustParsePrefix("10.10.50.30/23"), probe: broadcast, known: 3,
			flags: []string{"--subnet", "10.10.50.0/23", "--gateway", "10.10.50.1", "--bootstrap-ip", "10.10.50.100", "--tinkerbell-ip", "10.10.50.101"}},
		{name: "a 24 behind a relay", server: netip.MustParsePrefix("10.20.0.2/16"), client: []string{"10.20.0.3/16", "192.168.7.254/24"},
			probe: []string{"--relay", "10.20.0.2", "--giaddr", "192.168.7.254"},
			flags: []string{"--subnet", "192.168.7.0/24", "--gateway", "192.168.7.254", "--bootstrap-ip", "10.20.3.4", "--tinkerbell-ip", "192.168.7.5",
				"--server-subnet", "10.20.0.0/16", "--range", "192.168.7.100-192.168.7.199"}},
		{name: "a 26", server: netip.MustParsePrefix("172.16.9.94/26"), probe: broadcast,
			flags: []string{"--subnet", "172.16.9.64/26", "--gateway", "172.16.9.65", "--bootstrap-ip", "172.16.9.70", "--tinkerbell-ip", "172.16.9.71",
				"--range", "172.16.9.96-172.16.9.120"}},
	}
}

// hardwareCSV has as many machines, from the network's twelfth address on.
func hardwareCSV(subnet netip.Prefix, gateway string, n int) string {
	var b strings.Builder
	b.WriteString("hostname,mac,ip_address,netmask,gateway,nameservers,labels,disk,bmc_ip,bmc_username,bmc_password\n")
	ip := subnet.Masked().Addr()
	for range 12 {
		ip = ip.Next()
	}
	for i := range n {
		fmt.Fprintf(&b, "node%d,52:54:00:00:00:%02x,%s,%s,%s,192.0.2.53|192.0.2.54,type=cp,/dev/sda,192.0.2.%d,root,secret\n",
			i+1, i+1, ip, net.IP(net.CIDRMask(subnet.Bits(), 32)), gateway, i+1)
		ip = ip.Next()
	}
	return b.String()
}

// value is what a flag is given.
func value(flags []string, name string) string {
	for i, f := range flags {
		if f == name {
			return flags[i+1]
		}
	}
	return ""
}

// describe is what all of hookbuild dhcp is told of a site.
func (s site) describe(p *project, version, phase string, more ...string) []string {
	flags := slices.Concat([]string{"--eksa-version", version}, s.flags, more)
	if version != "tinkerbell" {
		flags = append(flags, "--phase", phase)
	}
	if s.known > 0 {
		subnet := netip.MustParsePrefix(value(s.flags, "--subnet"))
		p.write("hardware.csv", hardwareCSV(subnet, value(s.flags, "--gateway"), s.known))
		flags = append(flags, "--hardware", "hardware.csv")
		if i := slices.Index(flags, "--range"); i >= 0 { // there is no pool
			flags = slices.Delete(flags, i, i+2)
		}
	}
	return flags
}

// wire joins two namespaces, and gives both ends their addresses.
func (s site) wire(t testing.TB) (server, client *netns) {
	t.Helper()
	server, client = newNetns(t), newNetns(t)
	server.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", client.path)
	server.ip("address", "add", s.server.String(), "dev", "eth0")
	for _, a := range s.client {
		client.ip("address", "add", a, "dev", "eth0")
	}
	client.ip("link", "set", "eth0", "up")
	server.ip("link", "set", "eth0", "up")
	server.runs("eth0")
	client.runs("eth0")
	if len(s.client) > 0 {
		server.ip("route", "add", value(s.flags, "--subnet"), "via", netip.MustParsePrefix(s.client[0]).Addr().String())
	}
	return server, client
}

// daemons are how each server is started, with a configuration that is its only one. They write to where Debian has
// their state, of which they see an empty one.
func daemons() map[string]string {
	return map[string]string{
		"dnsmasq": `exec "$1" --keep-in-foreground --conf-file="$2" --user=root --log-facility=- --log-dhcp`,
		"kea":     `mkdir -p /run/kea /run/lock/kea; exec "$1" -c "$2"`,
		"isc":     `touch /var/lib/dhcp/dhcpd.leases; exec "$1" -4 -f -d -cf "$2" -pf /run/dhcpd.pid eth0`,
	}
}

var programs = map[string]string{"dnsmasq": "dnsmasq", "kea": "kea-dhcp4", "isc": "dhcpd"}

// serveDHCP starts a server and waits until it listens.
func serveDHCP(ns *netns, format, config string) {
	t := ns.t
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	// A copy, since Debian's AppArmor profiles go by the path and allow only the usual places.
	daemon := filepath.Join(dir, programs[format])
	program, err := exec.LookPath(programs[format])
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/" + programs[format])
	}
	if err != nil {
		t.Fatalf("%v; make test-tools installs it", err)
	}
	data, err := os.ReadFile(program)
	if err := errors.Join(err, os.WriteFile(daemon, data, 0o755), os.WriteFile(file, []byte(config), 0o644)); err != nil {
		t.Fatal(err)
	}
	script := "set -e\nfor d in /run /var/lib/kea /var/lib/dhcp /var/lib/misc; do mkdir -p $d; mount -t tmpfs none $d; done\n" + daemons()[format]
	cmd := exec.Command("sh", "-c", script, "sh", daemon, file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	ns.start(cmd)
	ns.listens()
}

// probed is what dhcp probe --json prints.
type probed struct {
	OK       bool     `json:"ok"`
	Servers  []string `json:"servers"`
	Findings []string `json:"findings"`
	Results  []struct {
		Client string `json:"client"`
		Right  bool   `json:"right"`
		Faults []struct {
			Code string `json:"code"`
			Says string `json:"says"`
		} `json:"faults"`
	} `json:"results"`
}

// faults are the codes of one kind of client, with blanks between them; "right" for none.
func (r probed) faults(client string) string {
	for _, result := range r.Results {
		if result.Client != client {
			continue
		}
		var codes []string
		for _, f := range result.Faults {
			codes = append(codes, f.Code)
		}
		if len(codes) == 0 {
			return "right"
		}
		return strings.Join(codes, " ")
	}
	return "not asked"
}

// probeIn runs hookbuild dhcp probe in a namespace, and holds that its exit code goes with its report.
func probeIn(ns *netns, p *project, args ...string) (report probed) {
	t := ns.t
	t.Helper()
	// Longer than dnsmasq's ping of an address that it has not given before.
	cmd := p.command(t.Context(), append([]string{"dhcp", "probe", "--json", "--answer-timeout", "2s", "--retries", "4"}, args...)...)
	var out []byte
	var err error
	ns.in(func() {
		cmd.Stdout = nil
		out, err = cmd.Output()
	})
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &report); err != nil || len(report.Results) == 0 {
		t.Fatalf("hookbuild dhcp probe: %v in %q", err, out)
	}
	if want := map[bool]int{true: 0, false: 6}[report.OK]; cmd.ProcessState.ExitCode() != want {
		t.Errorf("hookbuild dhcp probe: exit code %d, want %d", cmd.ProcessState.ExitCode(), want)
	}
	return report
}

// checkDHCP has a server run with what hookbuild writes for it, and a probe from the machines' network.
func checkDHCP(t *testing.T, format, version, phase string, s site, more ...string) {
	p := newProject(t)
	flags := s.describe(p, version, phase, more...)
	config := p.run(append([]string{"dhcp", "--format", format, "--interface", "eth0"}, flags...)...)
	server, client := s.wire(t)
	serveDHCP(server, format, config)
	report := probeIn(client, p, slices.Concat(s.probe, flags)...)
	want := 12
	if s.known > 0 {
		want++
	}
	if len(report.Results) != want || !report.OK || len(report.Servers) != 1 || report.Servers[0] != s.server.Addr().String() {
		t.Errorf("%d kinds of clients, want %d: got %+v", len(report.Results), want, report)
	}
}

// TestDHCPServers holds that the three servers answer every kind of client right, with what hookbuild writes for them.
// Every server has both phases, every network, and a pool as well as reservations; the whole product is in make soak.
func TestDHCPServers(t *testing.T) {
	for i, format := range []string{"dnsmasq", "kea", "isc"} {
		for j, s := range sites() {
			phase := []string{"bootstrap", "cluster"}[(i+j)%2]
			t.Run(format+"/"+s.name+"/"+phase, func(t *testing.T) {
				t.Parallel()
				checkDHCP(t, format, "0.26", phase, s, "--http-boot")
			})
		}
	}
}

// wrongServers are configurations of a kind that is passed around: one program for all machines, the script of another
// version, the user class in one of its forms.
func wrongServers() map[string]string {
	return map[string]string{
		"dnsmasq": `port=0
interface=eth0
bind-dynamic
dhcp-range=10.10.50.200,10.10.50.250,255.255.254.0,1h
dhcp-option=option:router,10.10.50.1
dhcp-userclass=set:tinkerbell,Tinkerbell
dhcp-boot=tag:tinkerbell,http://10.10.50.101/auto.ipxe
dhcp-boot=tag:!tinkerbell,ipxe.efi,stack,10.10.50.101
`,
		"kea": `{ "Dhcp4": {
  "interfaces-config": { "interfaces": [ "eth0" ] },
  "lease-database": { "type": "memfile", "persist": false },
  "client-classes": [
    { "name": "tinkerbell", "test": "substring(option[77].hex,0,10) == 'Tinkerbell'",
      "boot-file-name": "http://10.10.50.101:7171/ipxe/script/auto.ipxe" },
    { "name": "others", "test": "not member('tinkerbell')", "next-server": "10.10.50.100", "boot-file-name": "undionly.kpxe" }
  ],
  "subnet4": [ { "subnet": "10.10.50.0/23", "pools": [ { "pool": "10.10.50.200-10.10.50.250" } ],
    "option-data": [ { "name": "routers", "data": "10.10.50.1" } ] } ]
} }
`,
		"isc": `authoritative;
option client-arch code 93 = unsigned integer 16;
subnet 10.10.50.0 netmask 255.255.254.0 {
  range 10.10.50.200 10.10.50.250;
  option routers 10.10.50.1;
  if option user-class = "Tinkerbell" {
    filename "http://10.10.50.101:7080/ipxe/script/auto.ipxe";
  } elsif option client-arch = 00:07 or option client-arch = 00:09 {
    filename "ipxe.efi";
  } elsif option client-arch = 00:10 {
    filename "http://10.10.50.101:7171/ipxe/binary/ipxe.efi";
    option vendor-class-identifier "PXEClient";
  }
}
`,
	}
}

// TestDHCPProbeFindsFaults has servers answer wrong, and wants every kind of client told what that does to it.
func TestDHCPProbeFindsFaults(t *testing.T) {
	kinds := []string{"UEFI x64, arch 7", "UEFI x64, arch 9", "BIOS, arch 0", "UEFI arm64, arch 11", "HTTP boot x64, arch 16", "HTTP boot arm64, arch 19",
		"Tinkerbell's iPXE, raw user class", "Tinkerbell's iPXE, RFC 3004", "another iPXE, arch 0", "another iPXE, arch 7", "another iPXE, arch 11", "an ordinary OS"}
	for format, want := range map[string][]string{
		"dnsmasq": {"right", "right", "efi-to-bios", "other-architecture", "no-option-60 no-url", "no-option-60 no-url",
			"other-version", "other-version", "efi-to-bios", "right", "other-architecture", "boot-file-to-os"},
		"kea": {"bios-to-efi other-phase", "bios-to-efi other-phase", "other-phase", "bios-to-efi other-phase", "no-option-60 no-url", "no-option-60 no-url",
			"right", "loop rfc3004-user-class-missed", "other-phase", "bios-to-efi other-phase", "bios-to-efi other-phase", "boot-file-to-os"},
		"isc": {"no-next-server", "no-next-server", "no-boot-file", "no-boot-file", "no-option-60", "no-option-60 no-boot-file",
			"other-version", "loop", "no-boot-file", "no-next-server", "no-boot-file", "right"},
	} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			s := sites()[0]
			s.known = 0
			p := newProject(t)
			server, client := s.wire(t)
			serveDHCP(server, format, wrongServers()[format])
			report := probeIn(client, p, slices.Concat(s.probe, s.describe(p, "0.26", "cluster", "--http-boot"))...)
			for i, kind := range kinds {
				if got := report.faults(kind); got != want[i] {
					t.Errorf("%s: got %s, want %s", kind, got, want[i])
				}
			}
			if t.Failed() {
				t.Logf("%+v", report)
			}
		})
	}
}

// TestDHCPProbeFindsTwoServers has a second server on the network, which says something else.
func TestDHCPProbeFindsTwoServers(t *testing.T) {
	s := sites()[0]
	s.known = 0
	p := newProject(t)
	flags := s.describe(p, "0.26", "cluster", "--http-boot")
	right := p.run(append([]string{"dhcp", "--format", "isc", "--interface", "eth0", "--range", "10.10.50.200-10.10.50.250"}, flags...)...)
	first, client := s.wire(t)
	second := newNetns(t)
	// The first server's end becomes a port of a bridge there, and the second server another one.
	first.ip("link", "set", "eth0", "down")
	first.ip("link", "set", "eth0", "name", "up0")
	first.ip("link", "add", "eth0", "type", "bridge")
	first.ip("address", "flush", "dev", "up0")
	first.ip("link", "set", "up0", "up", "master", "eth0")
	first.ip("link", "add", "up1", "type", "veth", "peer", "name", "eth0", "netns", second.path)
	first.ip("link", "set", "up1", "up", "master", "eth0")
	first.ip("address", "add", s.server.String(), "dev", "eth0")
	first.ip("link", "set", "eth0", "up")
	second.ip("address", "add", "10.10.50.31/23", "dev", "eth0")
	second.ip("link", "set", "eth0", "up")
	first.runs("eth0")
	second.runs("eth0")
	serveDHCP(first, "isc", right)
	serveDHCP(second, "dnsmasq", wrongServers()["dnsmasq"])
	report := probeIn(client, p, slices.Concat(s.probe, flags)...)
	if report.OK || len(report.Servers) != 2 || len(report.Findings) != 1 || !strings.Contains(report.Findings[0], "do not say the same") {
		t.Errorf("got %+v", report)
	}
	if got := report.faults("BIOS, arch 0"); got != "efi-to-bios" {
		t.Errorf("BIOS: got %s, want what is wrong with the second server's answer", got)
	}
}

// TestDHCPProbeIsInterrupted ends a probe that waits, as Ctrl-C does.
func TestDHCPProbeIsInterrupted(t *testing.T) {
	s := sites()[2]
	p := newProject(t)
	_, client := s.wire(t)
	args := slices.Concat([]string{"dhcp", "probe", "--answer-timeout", "1m"}, s.probe, s.describe(p, "0.26", "cluster"))
	cmd := p.command(t.Context(), args...)
	cmd.Stderr = nil
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	client.in(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "1 of 12") {
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(stderr)
	if err != nil || !strings.Contains(string(rest), "interrupted") {
		t.Errorf("got %q, %v", rest, err)
	}
	_ = cmd.Wait() // its code is what matters
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
}
