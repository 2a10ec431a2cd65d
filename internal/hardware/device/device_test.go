package device

import (
	"strings"
	"testing"
)

func TestParsePCI(t *testing.T) {
	for text, want := range map[string]string{
		"8086:1572": "8086:1572", "14E4:16D7:1028:0716": "14e4:16d7:1028:0716",
		"8086:15f2:0000:0000": "8086:15f2:0000:0000", // as HookOS's console has a device without a subsystem
	} {
		d, err := ParsePCI(text)
		if err != nil || d.String() != want || d.Bus != "pci" {
			t.Errorf("%s: got %s, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "8086", "8086:15", "8086:1572:1028", "0x8086:0x1572", "8086:1572:1028:07166", "808g:1572", " 8086:1572"} {
		if d, err := ParsePCI(text); err == nil || !strings.Contains(err.Error(), "VVVV:DDDD") {
			t.Errorf("%q: got %v, %v", text, d, err)
		}
	}
}
