package kconfig

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestReadSymbols(t *testing.T) {
	s := toy(t, "asked")
	got, ok := s.Lookup("RAMDISK")
	want := Info{
		Name: "RAMDISK", Type: "tristate", Value: "m", Written: true, Prompt: `Memory as a disk, "brd"`, Visible: "m",
		File: "block/Kconfig", Line: 11, Depends: "BLOCK [=y] && LOOP [=m]", Unmet: []string{"LOOP [=m]"},
		PromptUnmet: []string{}, SelectedBy: []string{}, Selectors: []string{}, ImpliedBy: []string{},
	}
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, ok := s.Lookup("RAMDIS"); ok {
		t.Errorf("got %v for a part of a name", got)
	}
}

// TestRecording guards query.c's part of the contract, one question each.
func TestRecording(t *testing.T) {
	for _, tc := range []struct {
		what, name string
		got        func(Info) any
		want       string
	}{
		{"text in the form of .config", "LOCALVERSION", func(i Info) any { return i.Value }, `"-a \"b\" \\c"`},
		{"the visible one of two prompts", "VIRT_CONSOLE", func(i Info) any { return i.Prompt }, "Console of the virtual machine"},
		{"and where that one stands", "VIRT_CONSOLE", func(i Info) any { return fmt.Sprint(i.File, ":", i.Line) }, "drivers/virt/Kconfig:12"},
		{"without a prompt", "IRQ_WORK", func(i Info) any { return fmt.Sprintf("%q %s", i.Prompt, i.Visible) }, `"" n`},
		{"the menu's dependency inherited", "BE2NET", func(i Info) any { return i.Depends },
			"NETDEVICES [=y] && PCI_MSI [=n] && !TOY_MINIMAL [=y]"},
		{"the value of a term as a whole", "BE2NET", func(i Info) any { return i.Unmet }, "[PCI_MSI [=n] (!TOY_MINIMAL [=y]) [=n]]"},
		{"an or within an and", "E1000", func(i Info) any { return i.Depends }, "NETDEVICES [=y] && (PCI [=y] || ARCH_TOYBOARD)"},
		{"visible if", "MPTCP", func(i Info) any { return i.PromptUnmet }, "[EXPERT [=n]]"},
		{"selects that are on, and all that could be", "CRC", func(i Info) any { return fmt.Sprint(len(i.SelectedBy), i.Selectors) },
			"2 [EXT4 ISCSI_TCP SFC]"},
		{"imply", "LZO", func(i Info) any { return i.ImpliedBy }, "[ZSWAP [=y] && SWAP [=y]]"},
		{"a choice and its member", "GENERIC_CPU", func(i Info) any { return i.Choice + ": " + i.Chosen }, "Processor family: MCORE2"},
		{"what a choice depends on", "HZ_250", func(i Info) any { return i.Depends }, "TICKS [=n]"},
		{"a choice that is off", "HZ_250", func(i Info) any { return i.Chosen }, ""},
		{"the range in force", "NR_CPUS", func(i Info) any { return i.Range }, "2 8"},
		{"not written", "NO_MINIMAL", func(i Info) any { return i.Written }, "false"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			i, ok := toy(t, "asked").Lookup(tc.name)
			if got := fmt.Sprint(tc.got(i)); !ok || got != tc.want {
				t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
			}
		})
	}
}

func TestReadSymbolsRefuses(t *testing.T) {
	one := func(name, kind, value string) string {
		return fmt.Sprintf(`{"name":%q,"type":%q,"value":%q,"visible":"y"}`, name, kind, value) + "\n"
	}
	for _, tc := range []struct{ name, text, want string }{
		{"no JSON", "CONFIG_A=y\n", "symbols: line 1: invalid character"},
		{"cut off", one("A", "bool", "y") + `{"name":"B"`, "symbols: line 2: unexpected end"},
		{"an empty line", one("A", "bool", "y") + "\n", "symbols: line 2: unexpected end"},
		{"no name", one("", "bool", "y"), `line 1: "" is no symbol's name`},
		{"not sorted", one("B", "bool", "y") + one("A", "bool", "y"), "line 2: A stands behind B"},
		{"twice", one("A", "bool", "y") + one("A", "bool", "y"), "line 2: A stands behind A"},
		{"unknown type", one("A", "integer", "1"), `line 1: A: "1" is no value of a integer symbol`},
		{"m of a bool", one("A", "bool", "m"), `line 1: A: "m" is no value of a bool symbol`},
		{"text without quotes", one("A", "string", "a"), `line 1: A: "a" is no value of a string symbol`},
		{"no visibility", `{"name":"A","type":"bool","value":"y"}`, `line 1: A: visible is ""`},
		{"long line", one("A", "string", `"`+strings.Repeat("a", maxSymbolsLine)+`"`), "line 1: bufio.Scanner: token too long"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := ReadSymbols(strings.NewReader(tc.text))
			if s != nil || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v and error %v, want %q", s, err, tc.want)
			}
		})
	}
	if s, err := ReadSymbols(strings.NewReader(one("A", "int", "") + one("B", "hex", "ff"))); err != nil || len(s.All()) != 2 {
		t.Errorf("got error %v for numbers that Kconfig does write", err)
	}
}

// endless is one symbol after the other.
type endless struct {
	n    int
	left []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.left) == 0 {
		e.n++
		e.left = fmt.Appendf(nil, `{"name":"A%09d","type":"bool","value":"y","visible":"y"}`+"\n", e.n)
	}
	n := copy(p, e.left)
	e.left = e.left[n:]
	return n, nil
}

func TestReadSymbolsEndless(t *testing.T) {
	source := &endless{}
	_, err := ReadSymbols(source)
	if err == nil || !strings.Contains(err.Error(), "more than 262144 symbols") || source.n > 2*maxSymbols {
		t.Errorf("got error %v after %d symbols, want an end at %d", err, source.n, maxSymbols)
	}
}

func TestReadSymbolsTooLong(t *testing.T) {
	wide := `","type":"string","value":"\"` + strings.Repeat("a", maxSymbolsLine/2) + `\"","visible":"y"}` + "\n"
	var text bytes.Buffer
	for n := 0; text.Len() <= maxSymbolsText; n++ {
		fmt.Fprintf(&text, `{"name":"A%09d%s`, n, wide)
	}
	if _, err := ReadSymbols(&text); err == nil || err.Error() != "symbols: more than 67108864 bytes" {
		t.Errorf("got error %v, want an end after 64 MB", err)
	}
}

func TestDiff(t *testing.T) {
	a, b := toy(t, "asked"), toy(t, "other")
	var got []string
	for _, c := range Diff(a, b, false) {
		got = append(got, c.String())
	}
	for _, want := range []string{
		"BE2NET: - -> y (ServerEngines' 10 Gb/s cards)",
		"BLOCK: y -> n (Block devices)",
		"EXT4: y -> - (ext4)",
		`LOCALVERSION: "-a \"b\" \\c" -> "-x" (Text after the version)`,
		"NR_CPUS: 8 -> 64 (Most processors)",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, strings.Join(got, "\n"))
		}
	}
	if !slices.IsSorted(got) {
		t.Errorf("not by name: %s", got)
	}
	for _, c := range Diff(a, b, false) {
		if c.Prompt == "" || c.Name == "NO_MINIMAL" {
			t.Errorf("%s: want only what has a prompt and is not off on both sides", c)
		}
	}
	all := Diff(a, b, true)
	if !slices.Contains(all, Change{Name: "IRQ_WORK", Before: "y"}) || len(all) <= len(got) {
		t.Errorf("got %v, want those without a prompt as well", all)
	}
	if got := Diff(a, a, true); len(got) != 0 {
		t.Errorf("got %v between one configuration and itself", got)
	}
}

func TestDiffOfOtherKernels(t *testing.T) {
	read := func(text string) *Symbols {
		s, err := ReadSymbols(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	old := read(`{"name":"A","type":"bool","value":"y","visible":"y","written":true,"prompt":"first"}
{"name":"C","type":"bool","value":"n","visible":"y","written":true,"prompt":"third"}
`)
	now := read(`{"name":"B","type":"int","value":"0","visible":"y","written":true,"prompt":"second"}
`)
	got := fmt.Sprint(Diff(old, now, false))
	if want := "[A: y -> - (first) B: - -> 0 (second)]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	got = fmt.Sprint(Diff(now, old, false))
	if want := "[A: - -> y (first) B: 0 -> - (second)]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSearch(t *testing.T) {
	for _, tc := range []struct{ word, want string }{
		{"USB", "USB USB_BOARD USB_DEBUG USB_NET"},
		{"CONFIG_usb_n", "USB_NET"},
		{"net", "NETDEVICES BE2NET INET USB_NET VLAN"},
		{"Virtual", "VIRT VIRT_CONSOLE VLAN"},
		{"tcp", "ISCSI_TCP MPTCP INET"},
		{"no such thing", ""},
		{"", ""},
		{"CONFIG_", ""},
	} {
		t.Run(tc.word, func(t *testing.T) {
			var got []string
			for _, i := range toy(t, "asked").Search(tc.word) {
				got = append(got, i.Name)
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestInfoString(t *testing.T) {
	s := toy(t, "asked")
	for name, want := range map[string]string{
		"BE2NET": `CONFIG_BE2NET=n  tristate, "ServerEngines' 10 Gb/s cards"
    drivers/net/Kconfig:7
    depends on NETDEVICES [=y] && PCI_MSI [=n] && !TOY_MINIMAL [=y]`,
		"CRC": `CONFIG_CRC=y  tristate, "Checksums"
    lib/Kconfig:1
    selected by EXT4 and ISCSI_TCP`,
		"TOY_64BIT": `CONFIG_TOY_64BIT=y  bool
    arch/Kconfig:1`,
		"NR_CPUS": `CONFIG_NR_CPUS=8  int, "Most processors"
    kernel/Kconfig:20
    range 2 8`,
		"GENERIC_CPU": `CONFIG_GENERIC_CPU=n  bool, "Any"
    arch/Kconfig:20
    choice Processor family
    chosen there MCORE2`,
	} {
		if i, _ := s.Lookup(name); i.String() != want {
			t.Errorf("got\n%s\nwant\n%s", i, want)
		}
	}
}

func FuzzReadSymbols(f *testing.F) {
	recorded, err := os.ReadFile("testdata/toy/asked.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(recorded[:bytes.IndexByte(recorded, '\n')+1])
	f.Add([]byte(`{"name":"A","type":"hex","value":"0x","visible":"n","unmet":["[=","(",")"],"selected_by":[""]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ReadSymbols(bytes.NewReader(data))
		if err != nil {
			return
		}
		var asked []Line
		for _, i := range s.All() {
			if _, ok := s.Lookup(i.Name); !ok {
				t.Errorf("%s is not found", i.Name)
			}
			for _, value := range []string{i.Value, "y", "m", "n", "1", "0x1", `"a"`} {
				asked = append(asked, at(1, i.Name, value))
			}
			if len(asked) > 100 {
				break
			}
		}
		for _, l := range asked {
			for _, u := range s.Check([]Line{l}) {
				if u.Why == "" || u.String() == "" {
					t.Errorf("%s: no reason", u.Line)
				}
			}
		}
		if changes := Diff(s, s, true); len(changes) != 0 {
			t.Errorf("got %v between the same", changes)
		}
	})
}
