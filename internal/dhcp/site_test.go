package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/hardware"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]string{
		"0.9": "0.19 and older", "0.19": "0.19 and older", "0.19.6": "0.19 and older", "0.20": "0.20 to 0.21", "0.21.4": "0.20 to 0.21",
		"0.22": "0.22 to 0.24", "v0.24.0": "0.22 to 0.24", "0.25": "0.25 to 0.26", "0.26.1": "0.25 to 0.26", "v0.26": "0.25 to 0.26", "tinkerbell": "tinkerbell",
	} {
		if g, err := ParseVersion(text); err != nil || g.Name != want {
			t.Errorf("%s: got %q, %v, want %q", text, g.Name, err, want)
		}
	}
	for _, text := range []string{"", "0", "0.", "0.27", "1.26", "0.26.x", "0.-1", "0.26.1.1", "latest", "vtinkerbell", "0.99999"} {
		_, err := ParseVersion(text)
		var unknown *VersionError
		if !errors.As(err, &unknown) || !strings.Contains(err.Error(), "0.19 and older, 0.20 to 0.21, 0.22 to 0.24, 0.25 to 0.26, tinkerbell") {
			t.Errorf("%q: got %v, want a *VersionError with the list", text, err)
		}
	}
}

// TestURLs holds the table of the versions.
func TestURLs(t *testing.T) {
	const boot, cluster = "http://192.0.2.1", "http://192.0.2.2"
	for _, c := range []struct {
		version                                           string
		bootScript, clusterScript, bootBinary, clusterBin string
		arm64                                             string
	}{
		{"0.19", boot + "/auto.ipxe", cluster + "/auto.ipxe", boot + "/ipxe/", cluster + "/ipxe/", "snp.efi"},
		{"0.20", boot + "/auto.ipxe", cluster + ":7171/auto.ipxe", boot + "/ipxe/", cluster + "/ipxe/", "snp.efi"},
		{"0.23", boot + ":7171/auto.ipxe", cluster + ":7171/auto.ipxe", boot + ":7171/ipxe/", cluster + ":7171/ipxe/", "snp.efi"},
		{"0.26", boot + ":7171/ipxe/script/auto.ipxe", cluster + ":7171/ipxe/script/auto.ipxe", boot + ":7171/ipxe/binary/", cluster + ":7171/ipxe/binary/", "snp-arm64.efi"},
		{Upstream, boot + ":7080/ipxe/script/auto.ipxe", cluster + ":7080/ipxe/script/auto.ipxe", boot + ":7080/ipxe/binary/", cluster + ":7080/ipxe/binary/", "snp-arm64.efi"},
	} {
		s := Site{Generation: version(t, c.version), BootstrapIP: netip.MustParseAddr("192.0.2.1"), TinkerbellIP: netip.MustParseAddr("192.0.2.2")}
		for phase, want := range map[Phase][2]string{Bootstrap: {c.bootScript, c.bootBinary}, Cluster: {c.clusterScript, c.clusterBin}} {
			s.Phase = phase
			if diff := cmp.Diff(want, [2]string{s.Script(), s.Binary("")}); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", c.version, phase, diff)
			}
			s.URLByMAC = true
			if want := strings.Replace(want[0], "auto.ipxe", "${netX/mac:hexhyp}/auto.ipxe", 1); s.Script() != want {
				t.Errorf("%s, %s: got %s, want %s", c.version, phase, s.Script(), want)
			}
			s.URLByMAC = false
		}
		if s.Generation.ARM64 != c.arm64 {
			t.Errorf("%s: got %s for arm64, want %s", c.version, s.Generation.ARM64, c.arm64)
		}
	}
}

func TestURLsGiven(t *testing.T) {
	s := networks()[0].site(t, "0.26", Cluster, true)
	s.ScriptURL, s.BinaryURL = "http://192.0.2.9/my.ipxe", "http://192.0.2.9/bin/"
	if got, want := s.Script()+" "+s.Binary("ipxe.efi"), "http://192.0.2.9/my.ipxe http://192.0.2.9/bin/ipxe.efi"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestVersionsOfScript(t *testing.T) {
	for script, want := range map[string][]string{
		"http://192.0.2.1/auto.ipxe":                                           {"0.19 and older", "0.20 to 0.21 in the bootstrap phase"},
		"http://192.0.2.1:80/auto.ipxe":                                        {"0.19 and older", "0.20 to 0.21 in the bootstrap phase"},
		"http://192.0.2.1:7171/auto.ipxe":                                      {"0.20 to 0.21 in the cluster phase", "0.22 to 0.24"},
		"http://192.0.2.1:7171/${netX/mac:hexhyp}/auto.ipxe":                   {"0.20 to 0.21 in the cluster phase", "0.22 to 0.24"},
		"http://192.0.2.1:7171/ipxe/script/auto.ipxe":                          {"0.25 to 0.26"},
		"http://192.0.2.1:7171/ipxe/script/${netX/mac:hexhyp}/auto.ipxe":       {"0.25 to 0.26"},
		"http://192.0.2.1:7171/ipxe/script/52-54-00-00-00-01/auto.ipxe":        {"0.25 to 0.26"},
		"http://192.0.2.1:7171/ipxe/script/52:54:00:00:00:01/auto.ipxe":        {"0.25 to 0.26"},
		"http://192.0.2.1:7080/ipxe/script/auto.ipxe":                          {"tinkerbell"},
		"http://192.0.2.1:8080/auto.ipxe":                                      nil,
		"https://192.0.2.1/auto.ipxe":                                          nil,
		"ipxe.efi":                                                             nil,
		"":                                                                     nil,
		"http://192.0.2.1:7171/ipxe/script/52-54-00-00-00-01/extra/auto.ipxe/": nil,
	} {
		if got := VersionsOfScript(script); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
}

// TestAnswers is the contract: what each kind of client gets.
func TestAnswers(t *testing.T) {
	const script = "http://192.0.2.1:7171/ipxe/script/${netX/mac:hexhyp}/auto.ipxe"
	s := Site{Generation: version(t, "0.26"), Phase: Bootstrap, BootstrapIP: netip.MustParseAddr("192.0.2.1"), URLByMAC: true, HTTPBoot: true}
	next := func(file string) string { return "192.0.2.1 " + file + " " }
	want := []string{
		next("ipxe.efi"), next("ipxe.efi"), next("undionly.kpxe"), next("snp-arm64.efi"),
		" http://192.0.2.1:7171/ipxe/binary/ipxe.efi HTTPClient", " http://192.0.2.1:7171/ipxe/binary/snp-arm64.efi HTTPClient",
		" " + script + " ", " " + script + " ",
		next("undionly.kpxe"), next("ipxe.efi"), next("snp-arm64.efi"),
		"  ",
	}
	clients := Clients()
	if len(clients) != len(want) {
		t.Fatalf("%d kinds of client, want %d", len(clients), len(want))
	}
	for i, c := range clients {
		a := s.Answer(c)
		got := fmt.Sprintf("%s %s %s", optional(a.NextServer), a.File, a.VendorClass)
		if got != want[i] || a.Silent || a.Why == "" {
			t.Errorf("%s: got %q and %+v, want %q", c.Name, got, a, want[i])
		}
	}
	s.HTTPBoot = false
	for _, c := range clients[4:6] {
		if a := s.Answer(c); a.File != "" || a.VendorClass != "" || a.Silent || !strings.Contains(a.Why, "--http-boot") {
			t.Errorf("%s without HTTP boot: got %+v, want an address only", c.Name, a)
		}
	}
	tinkerbell := clients[6]
	for _, arch := range []uint16{0, 11, 16, 99} { // its user class goes before the architecture
		tinkerbell.Arch = arch
		if a := s.Answer(tinkerbell); a.File != script {
			t.Errorf("Tinkerbell of architecture %d: got %+v, want the script", arch, a)
		}
	}
	if a := s.Answer(Client{Arch: 6, HasArch: true}); a.File != "" || a.Silent {
		t.Errorf("architecture 6: got %+v, want an address only", a)
	}
}

func TestKnownOnly(t *testing.T) {
	s := networks()[0].site(t, "0.26", Cluster, true)
	for _, c := range Clients() {
		c.MAC = mac("52:54:00:00:00:01")
		if s.Answer(c).Silent {
			t.Errorf("%s: silence for a known machine", c.Name)
		}
		c.MAC = mac("52:54:00:00:99:99")
		if a := s.Answer(c); !a.Silent || a.File != "" {
			t.Errorf("%s: got %+v for an unknown machine, want silence", c.Name, a)
		}
	}
	s.KnownOnly = false
	if s.Answer(Client{MAC: mac("52:54:00:00:99:99")}).Silent {
		t.Error("silence, where any machine is answered")
	}
}

func TestDefaultRange(t *testing.T) {
	for _, c := range []struct{ subnet, taken, want string }{
		{"10.10.50.0/23", "10.10.50.1", "10.10.51.0-10.10.51.254"},
		{"10.10.50.0/24", "10.10.50.200", "10.10.50.128-10.10.50.199"},
		{"10.10.50.0/24", "10.10.50.129", "10.10.50.130-10.10.50.254"},
		{"10.10.50.64/26", "10.10.50.65", "10.10.50.96-10.10.50.126"},
		{"10.10.50.0/30", "10.10.50.1", "10.10.50.2-10.10.50.2"},
		{"10.10.50.0/30", "10.10.50.2", "invalid IP-invalid IP"},
		{"10.0.0.0/8", "10.0.0.1", "10.128.0.0-10.255.255.254"},
	} {
		s := Site{Subnet: netip.MustParsePrefix(c.subnet), TinkerbellIP: netip.MustParseAddr(c.taken)}
		first, last := s.DefaultRange()
		if got := first.String() + "-" + last.String(); got != c.want {
			t.Errorf("%s with %s taken: got %s, want %s", c.subnet, c.taken, got, c.want)
		}
	}
}

func TestCompleted(t *testing.T) {
	machines := func(rows ...string) []hardware.Machine {
		var all []hardware.Machine
		for i, row := range rows {
			f := strings.Fields(row)
			all = append(all, hardware.Machine{Line: i + 2, Hostname: fmt.Sprintf("node%d", i), MAC: mac(fmt.Sprintf("52:54:00:00:00:%02x", i)), IP: netip.MustParseAddr(f[0]),
				Netmask: netip.MustParseAddr(f[1]), Gateway: netip.MustParseAddr(f[2]), Nameservers: strings.Split(f[3], "|")})
		}
		return all
	}
	for _, c := range []struct {
		name     string
		machines []hardware.Machine
		subnet   string
		faults   []string
	}{
		{"all the same", machines("10.10.50.9 255.255.254.0 10.10.50.1 192.0.2.53|192.0.2.54", "10.10.51.9 255.255.254.0 10.10.50.1 192.0.2.53|192.0.2.54"), "10.10.50.0/23", nil},
		{"two gateways and lists", machines("10.10.50.9 255.255.254.0 10.10.50.1 192.0.2.53", "10.10.51.9 255.255.254.0 10.10.50.2 192.0.2.54"), "10.10.50.0/23",
			[]string{"different gateways, 10.10.50.1 and 10.10.50.2; --gateway says", "different nameservers; --dns says"}},
		{"two networks", machines("10.10.50.9 255.255.255.0 10.10.50.1 192.0.2.53", "10.10.51.9 255.255.255.0 10.10.50.1 192.0.2.53"), "invalid Prefix",
			[]string{"--subnet is missing, and the machines of hardware.csv are not all in one network"}},
		{"a name for a name server", machines("10.10.50.9 255.255.255.0 10.10.50.1 dns.example"), "10.10.50.0/24", []string{"hardware.csv: a nameserver is no address; --dns says"}},
	} {
		s := Site{Generation: version(t, "0.26"), Phase: Cluster, TinkerbellIP: netip.MustParseAddr("10.10.50.100"), Machines: c.machines, KnownOnly: true, HardwareFile: "hardware.csv"}.Completed()
		if s.Subnet.String() != c.subnet {
			t.Errorf("%s: got %s, want %s", c.name, s.Subnet, c.subnet)
		}
		wantFaults(t, c.name, s.Validate(false), c.faults...)
	}
}

// wantFaults compares an error with the beginnings of its lines, or parts of them.
func wantFaults(t *testing.T, name string, err error, want ...string) {
	t.Helper()
	var got []string
	var site *SiteError
	if errors.As(err, &site) {
		got = site.Faults
	} else if err != nil {
		t.Errorf("%s: %T", name, err)
	}
	if len(got) != len(want) {
		t.Errorf("%s: got %q, want %q", name, got, want)
		return
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("%s: got %q, want %q", name, got[i], want[i])
		}
	}
}

func TestValidate(t *testing.T) {
	ip, net := netip.MustParseAddr, netip.MustParsePrefix
	long := "http://192.0.2.1/" + strings.Repeat("a", 128-len("http://192.0.2.1/"))
	for _, c := range []struct {
		name   string
		spoil  func(*Site)
		faults []string
	}{
		{"nothing", func(*Site) {}, nil},
		{"no address", func(s *Site) { s.TinkerbellIP = netip.Addr{} }, []string{"--tinkerbell-ip is missing"}},
		{"no address of the other phase", func(s *Site) { s.BootstrapIP = netip.Addr{} }, nil},
		{"IPv6", func(s *Site) { s.TinkerbellIP = ip("2001:db8::1") }, []string{"--tinkerbell-ip 2001:db8::1: want an IPv4 address"}},
		{"one host", func(s *Site) { s.BootstrapIP = s.TinkerbellIP }, []string{"are both"}},
		{"no subnet", func(s *Site) { s.Subnet = netip.Prefix{} }, []string{"--subnet is missing"}},
		{"a host's network", func(s *Site) { s.Subnet = net("10.10.50.7/23") }, []string{"the network's own address is 10.10.50.0/23"}},
		{"a point to point network", func(s *Site) { s.Subnet = net("10.10.50.0/31") }, []string{"between /8 and /30"}},
		{"a network of IPv6", func(s *Site) { s.Subnet, s.First, s.Last = net("2001:db8::/64"), ip("2001:db8::1"), ip("2001:db8::9") }, []string{"want an IPv4 network"}},
		{"all addresses", func(s *Site) { s.Subnet = net("0.0.0.0/0") }, []string{"between /8 and /30"}},
		{"server's network of IPv6", func(s *Site) { s.ServerSubnet = net("2001:db8::/64") }, []string{"want an IPv4 network by its own address"}},
		{"gateway elsewhere", func(s *Site) { s.Gateway = ip("10.10.52.1") }, []string{"--gateway 10.10.52.1: it is no host"}},
		{"gateway is broadcast", func(s *Site) { s.Gateway = ip("10.10.51.255") }, []string{"it is no host"}},
		{"name server of IPv6", func(s *Site) { s.DNS = []netip.Addr{ip("2001:db8::53")} }, []string{"name server 2001:db8::53"}},
		{"range elsewhere", func(s *Site) { s.Last = ip("10.10.52.1") }, []string{"want the first and the last of some hosts"}},
		{"range backwards", func(s *Site) { s.First, s.Last = s.Last, s.First }, []string{"want the first and the last"}},
		{"half a range", func(s *Site) { s.First = netip.Addr{} }, []string{"want the first and the last"}},
		{"no range", func(s *Site) { s.First, s.Last = netip.Addr{}, netip.Addr{} }, []string{"--range is missing"}},
		{"taken addresses in the range", func(s *Site) { s.First, s.DNS = ip("10.10.50.1"), []netip.Addr{ip("10.10.50.53")} },
			[]string{"--bootstrap-ip 10.10.50.100 is in it", "--tinkerbell-ip 10.10.50.101", "--gateway 10.10.50.1 ", "--dns 10.10.50.53"}},
		{"range and reservations", func(s *Site) { s.KnownOnly = true }, []string{"with --hardware only known ones"}},
		{"server in the subnet", func(s *Site) { s.ServerSubnet = net("10.10.0.0/16") }, []string{"it overlaps --subnet"}},
		{"server's network by a host", func(s *Site) { s.ServerSubnet = net("10.20.0.1/16") }, []string{"by its own address"}},
		{"interface", func(s *Site) { s.Interface = "eth0\nport=53" }, []string{`--interface "eth0\nport=53"`}},
		{"script with a quote", func(s *Site) { s.ScriptURL = `http://192.0.2.1/";` }, []string{"--script-url"}},
		{"script with a line", func(s *Site) { s.ScriptURL = "http://192.0.2.1/a\nb" }, []string{"--script-url"}},
		{"script without a host", func(s *Site) { s.ScriptURL = "auto.ipxe" }, []string{"want a URL such as"}},
		{"script that fits", func(s *Site) { s.ScriptURL = long[:127] }, nil},
		{"script too long", func(s *Site) { s.ScriptURL = long }, []string{"128 characters, and a DHCP answer has room for 127"}},
		{"binaries too long", func(s *Site) { s.BinaryURL, s.HTTPBoot = long[:127-len("/ipxe.efi")], true }, []string{"/snp-arm64.efi: 132 characters"}},
		{"binaries' URL", func(s *Site) { s.BinaryURL = "ipxe" }, []string{"--binary-url"}},
	} {
		s := networks()[0].site(t, "0.26", Cluster, false)
		c.spoil(&s)
		wantFaults(t, c.name, s.Validate(false), c.faults...)
	}
}

// TestMachinesOfIPv6 have a list of machines that EKS Anywhere takes, and DHCP for IPv4 has no use for.
func TestMachinesOfIPv6(t *testing.T) {
	s := networks()[0].site(t, "0.26", Cluster, true)
	s.Subnet = netip.Prefix{}
	for i := range s.Machines {
		s.Machines[i].IP = netip.MustParseAddr("2001:db8::1")
	}
	wantFaults(t, "no subnet", s.Completed().Validate(false), "--subnet is missing, and the machines of hardware.csv")
	s.Subnet = netip.MustParsePrefix("2001:db8::/64")
	wantFaults(t, "theirs", s.Completed().Validate(false), "want an IPv4 network")
	s.Machines = s.Machines[:1]
	s.Subnet = netip.MustParsePrefix("10.10.50.0/23")
	wantFaults(t, "another one", s.Completed().Validate(false), "ip_address 2001:db8::1 is no host")
}

func TestMachinesElsewhere(t *testing.T) {
	s := networks()[0].site(t, "0.26", Cluster, true)
	s.Machines[1].IP = netip.MustParseAddr("10.10.52.1")
	s.Machines[2].IP = netip.MustParseAddr("10.10.51.255")
	s.Machines[3].IP = s.TinkerbellIP
	s.Machines[4].Netmask = netip.MustParseAddr("255.255.255.0")
	s.Machines[5].Hostname = `a"b`
	wantFaults(t, "machines", s.Validate(false),
		"hardware.csv:3: machine 10m: ip_address 10.10.52.1 is no host of --subnet 10.10.50.0/23", "hardware.csv:4: machine infinite: ip_address 10.10.51.255",
		"hardware.csv:5: machine 7: ip_address 10.10.50.101 is that of --tinkerbell-ip", "hardware.csv:6: machine 0a: netmask 255.255.255.0", `hardware.csv:7: hostname "a\"b"`)
	if _, err := Config(s, Dnsmasq, false); err == nil {
		t.Error("a configuration was written of what is wrong")
	}
}
