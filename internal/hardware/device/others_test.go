package device

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestReadModalias(t *testing.T) {
	f, err := os.Open("testdata/modalias.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := ReadModalias("m", f)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/modalias.txt", all)
}

func TestReadRedfish(t *testing.T) {
	f, err := os.Open("testdata/redfish.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := ReadRedfish("r", f)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/redfish.json", all)
}

func TestOtherReadersErrors(t *testing.T) {
	for name, c := range map[string]struct {
		redfish    bool
		text, want string
	}{
		"no modalias":       {false, "it does not boot: see https://example.org\n", "m: no modalias; want lines such as pci:v"},
		"half a modalias":   {false, "usb:v1D6Bp0002d0612\npci:v00008086d00001572\n", `m:2: "pci:v00008086d00001572" is not a whole PCI modalias`},
		"long line":         {false, strings.Repeat("x", MaxLine+1), "m:1: a line of more than 64 KB"},
		"empty":             {true, "", "m: no PCIe function; want objects with VendorId and DeviceId"},
		"other JSON":        {true, `{"VendorId": "8086"}`, "m: no PCIe function"},
		"not JSON":          {true, "{\n  \"a\": nope}", "m:2:9: not JSON"},
		"cut off":           {true, `{"a": [1, 2`, "m:1:"},
		"links only":        {true, `{"@odata.type": "#PCIeDevice.v1_9_0.PCIeDevice", "PCIeFunctions": {"@odata.id": "/x"}}`, "but not their functions"},
		"lspci for Redfish": {true, "3b:00.0 Ethernet controller [0200]: x [8086:1572]\n", "m:1:"},
	} {
		read := ReadModalias
		if c.redfish {
			read = ReadRedfish
		}
		all, err := read("m", strings.NewReader(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || all != nil {
			t.Errorf("%s: got %d devices, %v; want %q", name, len(all), err, c.want)
		}
	}
}

func FuzzReadModalias(f *testing.F) {
	text, err := os.ReadFile("testdata/modalias.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := ReadModalias("f", bytes.NewReader(text))
		if (len(all) > 0) == (err != nil) {
			t.Fatalf("%d devices, %v", len(all), err)
		}
		for _, d := range all {
			if d.Bus == "" || d.Modalias == "" || d.Line < 1 {
				t.Fatalf("%+v", d)
			}
		}
	})
}
