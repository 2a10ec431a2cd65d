package kconfig

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// toy reads the symbols of testdata/toy for one of its configurations; how they were recorded is said in its Kconfig.
func toy(t *testing.T, name string) *Symbols {
	t.Helper()
	f, err := os.Open("testdata/toy/" + name + ".jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := ReadSymbols(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func toyConfig(t *testing.T, name string) []Line {
	t.Helper()
	text, err := os.ReadFile("testdata/toy/" + name)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := Parse(name, text)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestCheckRecorded checks what Kconfig was given when the symbols were recorded.
func TestCheckRecorded(t *testing.T) {
	for _, tc := range []struct {
		name string
		want []string
	}{
		{"asked", []string{
			"asked.config:2: CONFIG_PRINTK=n: got y: its prompt needs EXPERT, which is n; its default counts until then",
			"asked.config:4: CONFIG_LOG_BUF_SHIFT=30: got 25: out of the range 12 25",
			"asked.config:6: CONFIG_HZ_1000=y: got n: depends on TICKS, which is n",
			"asked.config:7: CONFIG_NR_CPUS=64: got 8: out of the range 2 8",
			"asked.config:10: CONFIG_RAMDISK=y: got m: depends on LOOP, which is m; m is possible",
			"asked.config:13: CONFIG_MPTCP=n: got y: its prompt needs EXPERT, which is n; its default counts until then",
			"asked.config:16: CONFIG_BE2NET=m: got n: depends on PCI_MSI, which is n, and !TOY_MINIMAL [=y]",
			"asked.config:18: CONFIG_USB_NET=y: got m: depends on USB, which is m; m is possible",
			"asked.config:24: CONFIG_CRC=n: got y: is selected by EXT4, so that it cannot be n",
			"asked.config:26: CONFIG_IRQ_WORK=n: got y: is selected by BLOCK, so that it cannot be n",
		}},
		{"other", []string{
			"other.config:11: CONFIG_BE2NET=m: got y: m needs MODULES, which is n",
			"other.config:12: CONFIG_NO_MINIMAL=y: got n: depends on !EXPERT [=y]",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, u := range toy(t, tc.name).Check(toyConfig(t, tc.name+".config")) {
				got = append(got, u.String())
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

func TestWhy(t *testing.T) {
	for _, tc := range []struct {
		config, name, value string
		want                string // got: why; empty where it is met
	}{
		// What is granted, in whatever way it is written.
		{config: "asked", name: "PCI", value: "y"},
		{config: "asked", name: "BE2NET", value: "n"},
		{config: "asked", name: "NO_SUCH", value: "n"},
		{config: "asked", name: "LOAD_ALIGN", value: "0X00200000"},
		{config: "asked", name: "LOG_TIMEOUT", value: "-1"},
		{config: "asked", name: "LOCALVERSION", value: `"\-a \"b\" \\c"`},
		{config: "other", name: "NLS_DEFAULT", value: "n"},

		{config: "asked", name: "NO_SUCH_THING", value: "y", want: "is no symbol of this kernel"},
		{config: "asked", name: "BE2NETS", value: "m", want: `is no symbol of this kernel: did you mean "BE2NET"?`},

		{config: "asked", name: "PCI", value: "m", want: "y: is a yes/no symbol and cannot be m"},
		{config: "asked", name: "PCI", value: "5", want: "y: is a yes/no symbol and cannot be 5"},
		{config: "asked", name: "USB", value: `"yes"`, want: `m: is a yes/module/no symbol and cannot be "yes"`},
		{config: "asked", name: "NR_CPUS", value: "0x10", want: "8: is a number and cannot be 0x10"},
		{config: "asked", name: "NR_CPUS", value: "n", want: "8: is a number and cannot be n"},
		{config: "asked", name: "LOAD_ALIGN", value: `"a"`, want: `0x200000: is a hexadecimal number and cannot be "a"`},
		{config: "asked", name: "DEFAULT_HOSTNAME", value: "n", want: `"(none)": is text and cannot be n; the empty text is ""`},
		{config: "asked", name: "DEFAULT_HOSTNAME", value: "5", want: `"(none)": is text and cannot be 5; in quotes it can: "5"`},

		{config: "asked", name: "USB_BOARD", value: "m", want: "n: depends on ARCH_TOYBOARD, which this kernel does not have"},
		{config: "asked", name: "NO_MINIMAL", value: "y", want: "n: depends on NR_CPUS [=8]>=16"},
		{config: "asked", name: "SFC", value: "y", want: "n: depends on USB_NET, which is m; m is possible"},
		{config: "other", name: "ISCSI_TCP", value: "m", want: "n: m needs MODULES, which is n"},
		{config: "other", name: "RAMDISK", value: "y", want: "n: depends on BLOCK and LOOP, which are n"},

		{config: "asked", name: "LIBISCSI", value: "y", want: "m: has no prompt: only a select can switch it on (ISCSI_TCP does)"},
		{config: "asked", name: "HAVE_TOY_DMA", value: "y", want: "n: has no prompt, and nothing selects it: only its default counts"},
		{config: "asked", name: "TOY_64BIT", value: "n", want: "y: has no prompt: its default counts"},
		{config: "asked", name: "ZPOOL", value: "m", want: "y: is selected by ZSWAP, so that it cannot be m"},

		{config: "asked", name: "GENERIC_CPU", value: "y", want: `n: another member of the choice "Processor family" is chosen: MCORE2`},
		{config: "asked", name: "MCORE2", value: "n", want: `y: is the chosen member of the choice "Processor family"; choose another one`},
		{config: "asked", name: "MATOM", value: "y", want: "n: depends on EXPERT, which is n"},

		{config: "asked", name: "PHYSICAL_START", value: "0x2000", want: "0x1000000: its prompt needs EXPERT, which is n; its default counts until then"},
		{config: "asked", name: "LOAD_ALIGN", value: "0x1000", want: "0x200000: out of the range 0x2000 0x1000000"},
		{config: "other", name: "NLS_DEFAULT", value: `"ascii"`, want: `"": depends on NLS, which is n`},

		// None of these was asked for when the symbols were recorded, so that nothing speaks against them.
		{config: "asked", name: "E1000", value: "y", want: "n: the rules at drivers/net/Kconfig:13 say so"},
		{config: "asked", name: "EXT4", value: "n", want: "y: the rules at fs/Kconfig:1 say so"},
		{config: "asked", name: "DEFAULT_HOSTNAME", value: `"a"`, want: `"(none)": the rules at init/Kconfig:12 say so`},
	} {
		t.Run(fmt.Sprintf("%s %s=%s", tc.config, tc.name, tc.value), func(t *testing.T) {
			got := toy(t, tc.config).Check([]Line{at(1, tc.name, tc.value)})
			if tc.want == "" {
				if len(got) != 0 {
					t.Errorf("got %v, want it met", got)
				}
				return
			}
			want := tc.want
			if !strings.HasPrefix(want, "is no symbol") {
				want = "got " + want
			}
			if len(got) != 1 || got[0].String() != fmt.Sprintf("f:1: CONFIG_%s=%s: %s", tc.name, tc.value, want) {
				t.Errorf("got %v, want %s", got, want)
			}
		})
	}
}

func TestCheckOverridden(t *testing.T) {
	asked := []Line{
		at(1, "PCI", "n"), at(2, "USB", "y"), at(3, "CRC", "y"), at(4, "NO_SUCH", "m"),
		at(5, "PCI", "y"), at(6, "USB", "y"), at(7, "CRC", "n"), at(8, "NO_SUCH", "n"),
	}
	var got []string
	var overridden []bool
	for _, u := range toy(t, "asked").Check(asked) {
		got = append(got, u.String())
		overridden = append(overridden, u.Overridden)
	}
	want := []string{
		"f:1: CONFIG_PCI=n: got y: f:5, which comes later, says y",
		"f:2: CONFIG_USB=y: got m: the rules at drivers/usb/Kconfig:1 say so",
		"f:4: CONFIG_NO_SUCH=m: f:8, which comes later, says n",
		"f:6: CONFIG_USB=y: got m: the rules at drivers/usb/Kconfig:1 say so",
		"f:7: CONFIG_CRC=n: got y: is selected by EXT4, so that it cannot be n",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if want := []bool{true, false, true, false, false}; !slices.Equal(overridden, want) {
		t.Errorf("overridden: got %v, want %v", overridden, want)
	}
}

func TestUnknown(t *testing.T) {
	asked := []Line{at(1, "PCI", "y"), at(2, "BE2NT", "n"), at(3, "be2net", "m"), at(4, "QWERTYUIOP", "y")}
	var got []string
	for _, u := range toy(t, "asked").Unknown(asked) {
		got = append(got, u.String())
	}
	want := []string{
		`f:2: CONFIG_BE2NT=n: is no symbol of this kernel: did you mean "BE2NET"?`,
		`f:3: CONFIG_be2net=m: is no symbol of this kernel: did you mean "BE2NET"?`,
		"f:4: CONFIG_QWERTYUIOP=y: is no symbol of this kernel",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestUnknownHintsAreLimited(t *testing.T) {
	asked := make([]Line, 3*maxHints)
	for n := range asked {
		asked[n] = at(n+1, "BE2NETS", "y")
	}
	hints := 0
	for _, u := range toy(t, "asked").Unknown(asked) {
		hints += strings.Count(u.Why, "did you mean")
	}
	if hints != maxHints {
		t.Errorf("got %d hints, want %d", hints, maxHints)
	}
}

func TestEnumerate(t *testing.T) {
	for _, tc := range []struct{ names, want string }{
		{"", ""},
		{"A", "A"},
		{"A B", "A and B"},
		{"A B C D", "A, B, C and D"},
		{"A B C D E F", "A, B, C, D and 2 more"},
	} {
		if got := enumerate(strings.Fields(tc.names)); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.names, got, tc.want)
		}
	}
}
