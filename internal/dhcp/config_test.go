package dhcp

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/hardware"
)

var update = flag.Bool("update", false, "write the golden files anew")

func version(t *testing.T, s string) Generation {
	t.Helper()
	g, err := ParseVersion(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func mac(s string) net.HardwareAddr {
	hw, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return hw
}

// network is one of those that the daemons are tried with.
type network struct {
	name, subnet, gateway, server, bootstrap, tinkerbell string
}

func networks() []network {
	return []network{
		{"a 23", "10.10.50.0/23", "10.10.50.1", "", "10.10.50.100", "10.10.50.101"},
		{"a 24 behind a relay", "192.168.7.0/24", "192.168.7.254", "10.20.0.0/16", "10.20.3.4", "192.168.7.5"},
		{"a 26", "172.16.9.64/26", "172.16.9.65", "", "172.16.9.70", "172.16.9.71"},
	}
}

// site makes a site of a network, with two machines where only known ones are answered.
func (n network) site(t *testing.T, v string, phase Phase, known bool) Site {
	t.Helper()
	s := Site{Generation: version(t, v), Phase: phase, BootstrapIP: netip.MustParseAddr(n.bootstrap),
		TinkerbellIP: netip.MustParseAddr(n.tinkerbell), Subnet: netip.MustParsePrefix(n.subnet), Gateway: netip.MustParseAddr(n.gateway),
		DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.54")}, Interface: "eth0",
		URLByMAC: true, KnownOnly: known, HardwareFile: "hardware.csv"}
	if n.server != "" {
		s.ServerSubnet = netip.MustParsePrefix(n.server)
	}
	if !known {
		s.First, s.Last = s.DefaultRange()
		return s
	}
	ip := netip.MustParseAddr(n.tinkerbell)
	for i, name := range []string{"node1", "10m", "infinite", "7", "0a", "rack-2.node", "deny"} {
		ip = ip.Next()
		s.Machines = append(s.Machines, hardware.Machine{Line: i + 2, Hostname: name, IP: ip, Netmask: mask(s.Subnet),
			MAC: mac(fmt.Sprintf("52:54:00:00:00:%02x", i+1))})
	}
	return s
}

// check is a daemon's own look at its configuration. It reads a file, and writes and opens nothing.
func check(t *testing.T, f Format, config []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, config, 0o644); err != nil {
		t.Fatal(err)
	}
	commands := map[Format][]string{
		Dnsmasq: {"dnsmasq", "--test", "-C", file},
		Kea:     {"kea-dhcp4", "-t", file},
		ISC:     {"dhcpd", "-t", "-cf", file},
	}
	args := commands[f]
	program := args[0]
	for _, dir := range []string{"/usr/sbin", "/sbin"} { // not everybody's PATH has them
		if _, err := os.Stat(filepath.Join(dir, program)); err == nil {
			program = filepath.Join(dir, program)
			break
		}
	}
	cmd := exec.Command(program, args[1:]...)
	cmd.Env = append(os.Environ(), "KEA_LOCKFILE_DIR="+t.TempDir(), "KEA_PIDFILE_DIR="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s refuses it: %v\n%s\n%s", args[0], err, out, config)
	} else if f == ISC && strings.Contains(string(out), "WARNING") {
		t.Errorf("%s warns:\n%s\n%s", args[0], out, config)
	}
}

// wrapped makes a whole file of a part.
func wrapped(f Format, part []byte) []byte {
	if f != Kea {
		return part
	}
	return []byte("{ \"Dhcp4\": {\n" + string(part) + "} }\n")
}

// TestDaemonsAcceptIt has each daemon look at every version, phase and network, in all forms.
func TestDaemonsAcceptIt(t *testing.T) {
	for _, f := range []Format{Dnsmasq, Kea, ISC} {
		for _, v := range []string{"0.19", "0.20", "0.22", "0.26", Upstream} {
			for _, phase := range []Phase{Bootstrap, Cluster} {
				for i, n := range networks() {
					t.Run(fmt.Sprintf("%s/%s/%s/%s", f, v, phase, n.name), func(t *testing.T) {
						known := i%2 == 0
						for _, http := range []bool{false, true} {
							s := n.site(t, v, phase, known != http)
							s.HTTPBoot, s.URLByMAC = http, http
							config, err := Config(s, f, false)
							if err != nil {
								t.Fatal(err)
							}
							check(t, f, config)
						}
						part, err := Config(n.site(t, v, phase, known), f, true)
						if err != nil {
							t.Fatal(err)
						}
						check(t, f, wrapped(f, part))
					})
				}
			}
		}
	}
}

func TestGolden(t *testing.T) {
	for _, f := range Formats() {
		for _, n := range []struct {
			name    string
			site    Site
			snippet bool
		}{
			{"known", networks()[0].site(t, "0.26", Bootstrap, true), false},
			{"relay", networks()[1].site(t, "0.20", Cluster, false), false},
			{"snippet", Site{Generation: version(t, Upstream), Phase: Cluster, TinkerbellIP: netip.MustParseAddr("192.0.2.7")}, true},
		} {
			t.Run(string(f)+"-"+n.name, func(t *testing.T) {
				n.site.HTTPBoot = n.name != "relay"
				got, err := Config(n.site, f, n.snippet)
				if err != nil {
					t.Fatal(err)
				}
				if i := bytes.IndexFunc(got, func(r rune) bool { return r > unicode.MaxASCII }); i >= 0 {
					t.Errorf("byte %d is not ASCII, which PowerShell 5 would read as something else", i)
				}
				file := filepath.Join("testdata", string(f)+"-"+n.name)
				if *update {
					if err := os.WriteFile(file, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), string(got)); diff != "" {
					t.Errorf("%s is another one; go test ./internal/dhcp -update writes it (-file +now):\n%s", file, diff)
				}
			})
		}
	}
}
