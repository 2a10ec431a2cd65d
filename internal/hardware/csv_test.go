package hardware

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

const (
	header = "hostname,bmc_ip,bmc_username,bmc_password,mac,ip_address,netmask,gateway,nameservers,labels,disk,vlan_id\n"
	node1  = "node1,192.0.2.201,root,geheim,00:00:5e:00:53:01,192.0.2.1,255.255.255.0,192.0.2.254,192.0.2.53|192.0.2.54,type=cp,/dev/sda,\n"
)

var addr = netip.MustParseAddr

func mac(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// machine1 is node1.
func machine1(t *testing.T) Machine {
	return Machine{
		Line: 2, Hostname: "node1", MAC: mac(t, "00:00:5e:00:53:01"), IP: addr("192.0.2.1"), Netmask: addr("255.255.255.0"), Gateway: addr("192.0.2.254"),
		Nameservers: []string{"192.0.2.53", "192.0.2.54"}, Labels: map[string]string{"type": "cp"}, Disk: "/dev/sda", BMC: addr("192.0.2.201"),
	}
}

var equalAddresses = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestReadCSV(t *testing.T) {
	second := machine1(t)
	second.Line, second.Hostname, second.MAC, second.IP = 4, "node2.example", mac(t, "00:00:5e:00:53:02"), addr("192.0.2.2")
	second.BMC, second.VLAN, second.Labels, second.Nameservers = netip.Addr{}, 4094, map[string]string{"example.org/rack": "", "a": "b_c"}, []string{"ns"}
	six := machine1(t)
	six.IP, six.Netmask, six.Gateway, six.Labels, six.BMC, six.Disk = addr("2001:db8::1"), addr("ffff:ffff::"), addr("2001:db8::ff"), nil, netip.Addr{}, "/dev/disk/dev/by-id_0"
	for _, tt := range []struct {
		name, text string
		want       []Machine
	}{
		{"one", header + node1, []Machine{machine1(t)}},
		{"without a newline at the end", header + strings.TrimSuffix(node1, "\n"), []Machine{machine1(t)}},
		{"CRLF and byte order mark", "\ufeff" + strings.ReplaceAll(header+node1, "\n", "\r\n"), []Machine{machine1(t)}},
		{"quotes", header + `"node1",` + strings.TrimPrefix(node1, "node1,"), []Machine{machine1(t)}},
		{"two, a blank line, MAC in another form, blanks in labels", header + node1 + "\n" +
			"node2.example,,,,0000.5E00.5302,192.0.2.2,255.255.255.0,192.0.2.254,ns, example.org/rack= | a = b_c ,/dev/sda,4094\n", []Machine{machine1(t), second}},
		{"other columns, another order, without the optional ones", "id, mac ,rack,,vendor,disk,labels,nameservers,gateway,netmask,ip_address,hostname,\n" +
			"x,00-00-5e-00-53-01,x,,x,/dev/disk/dev/by-id_0,,192.0.2.53|192.0.2.54,2001:db8::ff,ffff:ffff::,2001:DB8::1,node1,\n", []Machine{six}},
		{"IPv4 as IPv6", header + strings.Replace(node1, ",192.0.2.1,", ",::ffff:192.0.2.1,", 1), []Machine{machine1(t)}},
		{"newline in an ignored cell", "x," + header + "\"a\nb\"," + node1, []Machine{machine1(t)}},
		{"BMC by address alone", header + strings.Replace(node1, "root,geheim", ",", 1), []Machine{machine1(t)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadCSV("hardware.csv", strings.NewReader(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, equalAddresses); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// faultsOf are the faults of a file, each as line:column: message.
func faultsOf(t *testing.T, text string) []string {
	t.Helper()
	machines, err := ReadCSV("f.csv", strings.NewReader(text))
	var faults strictyaml.Errors
	if !errors.As(err, &faults) || machines != nil {
		t.Fatalf("got %v, %v, want faults", machines, err)
	}
	var lines []string
	for _, f := range faults {
		if f.Pos.File != "f.csv" {
			t.Errorf("file %q", f.Pos.File)
		}
		lines = append(lines, fmt.Sprintf("%d:%d: %s", f.Pos.Line, f.Pos.Column, f.Message))
	}
	return lines
}

func TestFaultsOfTheFile(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"empty", "", []string{"1:1: the file is empty"}},
		{"blank", "\n\r\n\n", []string{"1:1: the file is empty"}},
		{"no machine", header, []string{"1:1: there is no machine in the file"}},
		{"no header", node1, []string{"1:1: the first row must name the columns, in UTF-8: hostname, mac, ip_address …"}},
		{"semicolons", strings.ReplaceAll(header+node1, ",", ";"), []string{"1:1: the columns must be separated by commas"}},
		{"tabs", strings.ReplaceAll(header+node1, ",", "\t"), []string{"1:1: the columns must be separated by commas"}},
		{"UTF-16", "\xff\xfeh\x00o\x00", []string{"1:1: the first row must name the columns, in UTF-8: hostname, mac, ip_address …"}},
		{"quote in the header", `host"name,mac` + "\n" + node1, []string{`1:5: bare " in non-quoted-field`}},
		{"too large", header + strings.Repeat(node1, maxFile/len(node1)+1), []string{"1:1: the file has more than 4 MiB"}},
		{"too many columns", "mac" + strings.Repeat(",ma", maxColumns), []string{"1:602: there are more than 200 columns"}},
		{"missing columns", "\nhostname,disk,bmc_ip\nnode1,sda,192.0.2.9\n", []string{
			"2:1: required columns are missing: mac, ip_address, netmask, gateway, nameservers, labels",
			"3:7: disk must be the path of a device, such as /dev/sda",
		}},
		{"near matches", strings.NewReplacer("mac", "Mac", "bmc_password", "bmc_pasword", "vlan_id", "vlanid").Replace(header) + node1, []string{
			"1:1: required columns are missing: mac",
			`1:30: unknown column: did you mean "bmc_password"?`,
			`1:42: unknown column: did you mean "mac"?`,
			`1:97: unknown column: did you mean "vlan_id"?`,
		}},
		{"twice", "disk ," + header + "/dev/sda," + node1, []string{"1:99: a second column disk"}},
		{"rows of another length", header + "a,b\n" + node1 + node1[:len(node1)-1] + ",\n", []string{
			"2:1: the row has 2 cells and the header 12", "4:1: the row has 13 cells and the header 12",
		}},
		{"an empty row", header + node1 + strings.Repeat(",", 11) + "\n", []string{"3:1: every cell of the row is empty: remove the row"}},
		{"quotes, and the lines behind are still read", header + `ä"b,` + "\n" + `"a"b,` + "\n" + strings.Replace(node1, "/dev/sda", "sda", 1), []string{
			`2:2: bare " in non-quoted-field`, `3:3: extraneous or missing " in quoted-field`, "4:115: disk must be the path of a device, such as /dev/sda",
		}},
		{"a quote without an end", header + `"a` + "\n" + node1, []string{`3:124: extraneous or missing " in quoted-field, in the row that begins in line 2`}},
		{"columns are characters", "ä," + header + "ÄÖ\U0001F600," + strings.Replace(node1, "node1", "Node1", 1),
			[]string{"2:5: hostname must be small letters, digits, dashes and dots, each part with a letter or a digit at both ends, 253 characters at most"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, faultsOf(t, tt.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFaultsOfCells puts one wrong cell into a row that is right, and looks for one fault at it.
func TestFaultsOfCells(t *testing.T) {
	names := strings.Split(strings.TrimSuffix(header, "\n"), ",")
	for column, cells := range map[string][]string{
		"hostname": {"", "Node1", "node_1", "-node", "node-", "a..b", ".a", "a.", " node1", "node1 ", "nöde", strings.Repeat("a", 254)},
		"mac": {"", "00:00:5e:00:53", "00:00:5e:00:53:0g", "00:00:5e:00:53:01:02:03", "00005e005301", " 00:00:5e:00:53:01",
			"00:00:00:00:fe:80:00:00:00:00:00:00:02:00:5e:10:00:00:00:01"},
		"ip_address":  {"", "192.0.2", "192.0.2.01", "192.0.2.1/24", "fe80::1%eth0", "node1", " 192.0.2.1"},
		"netmask":     {"", "24", "/24", "255.255.0.255", "0.0.0.0", "255.255.255.1"},
		"gateway":     {"", "gw", "192.0.2.256"},
		"nameservers": {"", "|", "192.0.2.53|", "192.0.2.53||192.0.2.54", "192.0.2.53| 192.0.2.54", "192.0.2.53\t", "192.0.2.53;\x00"},
		"labels": {"type", "=cp", "type=cp|", "type=cp|type=cp", "a=b=c", "ty pe=cp", "-a=b", "a=-b", "a=b c", "/a=b", "Example.org/a=b", "a/b/c=d", " ",
			strings.Repeat("a", 64) + "=b", "a=" + strings.Repeat("b", 64)},
		"disk":    {"", "sda", "/dev/", "/dev/sda ", "/sda", "/dev/disk/by-id/x", "/dev/sda1\n"},
		"vlan_id": {"0", "4095", "-1", "+5", "005", "1.0", "x", " 5", "99999999999999999999"},
		"bmc_ip":  {"", "bmc", "192.0.2", " 192.0.2.201"}, // the other two cells of the BMC are given
	} {
		for _, cell := range cells {
			t.Run(column+"/"+cell, func(t *testing.T) {
				row := strings.Split(strings.TrimSuffix(node1, "\n"), ",")
				at := 1
				for i, name := range names {
					if name == column {
						row[i] = `"` + cell + `"`
						break
					}
					at += len(row[i]) + 1
				}
				want, about := fmt.Sprintf("2:%d: %s", at, column), column
				if column == "bmc_ip" && cell == "" {
					want, about = "2:10: bmc_username is given and bmc_ip is not", ""
				}
				faults := faultsOf(t, header+strings.Join(row, ",")+"\n")
				if len(faults) != 1 || !strings.HasPrefix(faults[0], want) {
					t.Fatalf("got %q, want one beginning with %q", faults, want)
				}
				if blank := strings.HasSuffix(faults[0], "there is a blank before it or behind it"); blank != (strings.TrimSpace(cell) != cell) {
					t.Errorf("got %q", faults[0])
				}
				if secret := strings.Trim(cell, ` ".:|=/-`); about != "" && len(secret) > 8 && strings.Contains(faults[0], secret) {
					t.Errorf("the cell is quoted: %s", faults[0])
				}
			})
		}
	}
}

func TestTwice(t *testing.T) {
	again := "node1,192.0.2.201,root,geheim,00-00-5E-00-53-01,::ffff:192.0.2.1,255.255.255.0,192.0.2.254,192.0.2.53,,/dev/sda,\n"
	want := []string{
		"3:1: hostname node1 is that of line 2 already",
		"3:7: bmc_ip 192.0.2.201 is that of line 2 already",
		"3:31: mac 00:00:5e:00:53:01 is that of line 2 already",
		"3:49: ip_address 192.0.2.1 is that of line 2 already",
	}
	if diff := cmp.Diff(want, faultsOf(t, header+node1+again)); diff != "" {
		t.Error(diff)
	}
}

// TestManyFaults holds that their number is bounded.
func TestManyFaults(t *testing.T) {
	faults := faultsOf(t, header+strings.Repeat("a\n", maxFaults+10))
	if len(faults) != maxFaults+1 || faults[maxFaults] != fmt.Sprintf("%d:1: there may be more faults, which are not listed", maxFaults+1) {
		t.Errorf("got %d, the last is %q", len(faults), faults[len(faults)-1])
	}
}

func TestUnreadable(t *testing.T) {
	broken := errors.New("broken")
	if _, err := ReadCSV("f.csv", iotest.ErrReader(broken)); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "f.csv: ") {
		t.Errorf("got %v", err)
	}
}

// TestPasswordStaysSecret puts a password into every cell, and there behind something right too.
func TestPasswordStaysSecret(t *testing.T) {
	const password = "S3cr3t_Pässword"
	row := strings.Split(strings.TrimSuffix(node1, "\n"), ",")
	for i := range row {
		for _, cell := range []string{password, row[i] + password, row[i] + "|" + password, row[i] + "|x=" + password, `"` + password, `a"` + password} {
			bad := append([]string{}, row...)
			bad[i] = cell
			for _, text := range []string{header + strings.Join(bad, ",") + "\n", strings.Join(bad, ",") + "\n" + node1} {
				machines, err := ReadCSV("f.csv", strings.NewReader(text))
				if err != nil && strings.Contains(err.Error(), password) {
					t.Errorf("%q: %v", text, err)
				}
				if name := strings.Split(header, ",")[i]; strings.HasPrefix(name, "bmc_") && strings.Contains(fmt.Sprint(machines), password) {
					t.Errorf("%s is kept: %v", name, machines)
				}
			}
		}
	}
}

// FuzzReadCSV holds that a file is either read, and its machines keep the rules, or has faults, each in the file.
func FuzzReadCSV(f *testing.F) {
	for _, seed := range []string{
		"", header, header + node1, "\ufeff" + header + node1 + node1, strings.ReplaceAll(header+node1, "\n", "\r\n"), header + `"a` + "\n" + `b"c,"` + "\n",
		"mac,x\n\xff,\"\n\n\"\n", "hostname,macs,vlan\n,,\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		machines, err := ReadCSV("f.csv", strings.NewReader(string(data)))
		lines := strings.Split(string(data), "\n")
		var faults strictyaml.Errors
		switch {
		case errors.As(err, &faults):
			for _, fault := range faults {
				if p := fault.Pos; p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len(lines[p.Line-1])+1 {
					t.Errorf("%v: there is no such place", fault)
				}
			}
		case err != nil || len(machines) == 0:
			t.Errorf("got %v, %v", machines, err)
		}
		seen := map[string]bool{}
		for _, m := range machines {
			for _, key := range []string{m.Hostname, m.MAC.String(), m.IP.String()} {
				if seen[key] || key == "" || !m.IP.IsValid() || !m.Gateway.IsValid() || len(m.Nameservers) == 0 || m.Line < 2 || m.VLAN < 0 || m.VLAN > 4094 {
					t.Errorf("got %+v", m)
				}
				seen[key] = true
			}
		}
	})
}
