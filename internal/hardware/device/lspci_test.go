package device

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

var update = flag.Bool("update", false, "write the expected results anew")

// show is a device in a line.
func show(d Device) string {
	class := "?"
	if d.Known.Has(KnownClass) {
		class = fmt.Sprintf("%04x", d.Class)
	}
	if d.Known.Has(KnownProgIf) {
		class += fmt.Sprintf("/%02x", d.ProgIf)
	}
	line := fmt.Sprintf("%d: %q %s %s %s", d.Line, d.Machine, d.Address, d, class)
	if d.Driver != "" || d.Modules != nil {
		line += fmt.Sprintf(" driver %q of %q", d.Driver, d.Modules)
	}
	return line + fmt.Sprintf(" (%s | %s | %s | %s) %s", d.ClassName, d.VendorName, d.DeviceName, d.SubsystemName, d.Modalias)
}

// golden compares with a file beside the input.
func golden(t *testing.T, file string, all []Device) {
	t.Helper()
	var got strings.Builder
	for _, d := range all {
		fmt.Fprintln(&got, show(d))
	}
	want, err := os.ReadFile(file + ".want")
	if *update {
		err = os.WriteFile(file+".want", []byte(got.String()), 0o644)
		want = []byte(got.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s:\ngot\n%swant\n%s", file, got.String(), want)
	}
}

func TestReadLspci(t *testing.T) {
	files, err := filepath.Glob("testdata/lspci/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all, err := ReadLspci(filepath.Base(file), bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, file, all)
		})
	}
}

// What PowerShell's > writes.
func TestReadLspciUTF16(t *testing.T) {
	text := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune("3b:00.0 Ethernet controller [0200]: Intel [8086:1572]\r\n")) {
		text = append(text, byte(u), byte(u>>8))
	}
	all, err := ReadLspci("x", bytes.NewReader(text))
	if err != nil || len(all) != 1 || all[0].String() != "8086:1572" {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestReadLspciErrors(t *testing.T) {
	long := strings.Repeat("x", MaxLine+1)
	for name, c := range map[string]struct{ text, want string }{
		"nothing":     {"", "f: no PCI device; want lines such as"},
		"prose":       {"it does not boot\nsee above: [1234]\n", "lspci -nn prints them"},
		"plain":       {"$ lspci\n00:1f.6 Ethernet controller: Intel Corporation Ethernet Connection I219-LM (rev 21)\n", "f:2: device 00:1f.6 is without its ids, and its name does not say which driver it takes; run lspci with -nn"},
		"some plain":  {"3b:00.0 Ethernet controller [0200]: x [8086:1572]\n3c:00.0 RAID bus controller: LSI\n", "f:2: device 3c:00.0"},
		"plain -mm":   {`00:1f.6 "Ethernet controller" "Intel Corporation" "I219-LM" -r21 "Dell" "x"`, "f:1: device 00:1f.6"},
		"plain -vmm":  {"Slot:\t00:1f.6\nClass:\tEthernet controller\nVendor:\tIntel Corporation\nDevice:\tI219-LM\n", "f:1: device 00:1f.6"},
		"plain other": {"=== a ===\n3b:00.0 Ethernet controller [0200]: x [8086:1572]\n=== b ===\n3b:00.0 Ethernet controller: Intel\n", "f:4: device 3b:00.0"},
		"many plain":  {strings.Repeat("3c:00.0 RAID bus controller: LSI\n", 13), "f: and 3 more devices without ids"},
		"cut off":     {"3b:00.0 Ethernet controller [0200]: Intel Corporation Eth\n\tSubsystem: Dell Device [1028:0716]\n", "f:1: device 3b:00.0"},
		"long line":   {"a\n" + long, "f:2: a line of more than 64 KB"},
		"long":        {strings.Repeat("3b:00.0 x\n", MaxInput/10+1), "f: more than 16 MB"},
		"lsusb":       {"Bus 001 Device 002: ID 8087:0024 Intel Corp. Integrated Rate Matching Hub\n", "no PCI device"},
		"html":        {"<html><body>404</body></html>", "no PCI device"},
		"half an id":  {"3b:00.0 Ethernet controller [0200]: Intel [8086:15\n3c:00.0 SATA controller [0106]: Intel [8086:a1d2]\n", "f:1: device 3b:00.0"},
	} {
		all, err := ReadLspci("f", strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || all != nil {
			t.Errorf("%s: got %d devices, %v; want %q", name, len(all), err, c.want)
		}
	}
}

func FuzzReadLspci(f *testing.F) {
	files, err := filepath.Glob("testdata/lspci/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := ReadLspci("f", bytes.NewReader(text))
		if (len(all) > 0) == (err != nil) {
			t.Fatalf("%d devices, %v", len(all), err)
		}
		for _, d := range all {
			if d.Bus != "pci" || !d.Known.Has(KnownID) || d.Line < 1 || d.Known&^KnownAll != 0 {
				t.Fatalf("%+v", d)
			}
			again, err := ParsePCI(d.String())
			if err != nil || again.String() != d.String() {
				t.Fatalf("%s: %v", d, err)
			}
		}
	})
}
