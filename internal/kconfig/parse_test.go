package kconfig

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// at is a line of the file "f".
func at(line int, name, value string) Line {
	return Line{Symbol: Symbol{Name: name, Value: value}, Origin: Origin{File: "f", Line: line}}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []Line
	}{
		{name: "nothing"},
		{name: "savedefconfig", text: "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=512\n",
			want: []Line{at(1, "A", "y"), at(2, "B", "m"), at(3, "C", "n"), at(4, "D", "512")}},
		{name: "a fragment's n", text: "CONFIG_A=n\n", want: []Line{at(1, "A", "n")}},
		{name: "comments and empty lines", text: "#\n# Automatically\n\n \t\n#CONFIG_A=y\n#CONFIG_B is not set\nCONFIG_C=y",
			want: []Line{at(7, "C", "y")}},
		{name: "comments that begin as a setting does", text: "# CONFIG_A\n# CONFIG_A is not set here\n# CONFIG_* is not set\n"},
		{name: "numbers", text: "CONFIG_A=-1\nCONFIG_B=0x1000\nCONFIG_C=0XfF\nCONFIG_D=0\n",
			want: []Line{at(1, "A", "-1"), at(2, "B", "0x1000"), at(3, "C", "0XfF"), at(4, "D", "0")}},
		{name: "text", text: `CONFIG_A=""` + "\n" + `CONFIG_B="a \"b\" \\"` + "\n" + `CONFIG_C="# = ` + "\u00e9\"\n",
			want: []Line{at(1, "A", `""`), at(2, "B", `"a \"b\" \\"`), at(3, "C", "\"# = \u00e9\"")}},
		{name: "CR LF and white space at the end", text: "CONFIG_A=y\r\n# CONFIG_B is not set\r\n\r\nCONFIG_C=m \t\n",
			want: []Line{at(1, "A", "y"), at(2, "B", "n"), at(4, "C", "m")}},
		{name: "names", text: "CONFIG_9P_FS=y\nCONFIG_DH895xCC=y\n",
			want: []Line{at(1, "9P_FS", "y"), at(2, "DH895xCC", "y")}},
		{name: "twice", text: "CONFIG_A=y\nCONFIG_A=m\n", want: []Line{at(1, "A", "y"), at(2, "A", "m")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Parse("f", []byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestParseFaults(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"garbage", "hello\n", `f:1:1: "hello" is not a setting: want CONFIG_SYMBOL=VALUE`},
		{"no prefix", "CONFIG_A=y\nB=y\n", `f:2:1: "B=y" is not a setting`},
		{"prefix in lower case", "config_a=y\n", `f:1:1: "config_a=y" is not a setting`},
		{"white space first", " CONFIG_A=y\n", "f:1:1: white space before the setting"},
		{"no name", "CONFIG_=y\n", "f:1:8: want a symbol's name"},
		{"bad name", "CONFIG_A-B=y\n", "f:1:9: want a symbol's name"},
		{"white space around the sign", "CONFIG_A = y\n", "f:1:9: want a symbol's name"},
		{"no sign", "CONFIG_A\n", "f:1:9: no value"},
		{"no value", "CONFIG_A=\n", `f:1:10: the value is ""`},
		{"upper case", "CONFIG_A=Y\n", `f:1:10: the value is "Y": want y, m, n, a number`},
		{"word", "CONFIG_A=yes\n", `f:1:10: the value is "yes"`},
		{"comment behind", "CONFIG_A=y # why\n", `f:1:10: the value is "y # why"`},
		{"bare hexadecimal digits", "CONFIG_A=ff\n", `f:1:10: the value is "ff"`},
		{"only a sign", "CONFIG_A=-\n", `f:1:10: the value is "-"`},
		{"no digits", "CONFIG_A=0x\n", `f:1:10: the value is "0x"`},
		{"open text", "CONFIG_A=\"b\n", "f:1:12: the text has no closing quote"},
		{"an escaped quote closes nothing", `CONFIG_A="b\"` + "\n", "f:1:14: the text has no closing quote"},
		{"behind the text", `CONFIG_A="b"c"` + "\n", `f:1:13: "c\"" stands behind the text's end`},
		{"control character", "CONFIG_A=\"b\x01\"\n", `f:1:12: the text has the control character '\x01'`},
		{"column in characters", "CONFIG_A=\"\u00e9\"b\n", "f:1:13: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lines, err := Parse("f", []byte(tc.text))
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || lines != nil {
				t.Fatalf("got %v and error %v, want a *SyntaxError", lines, err)
			}
			if len(syntax.Faults) != 1 || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("got %q, want %q", err, tc.want)
			}
		})
	}
}

func TestParseTellsAllFaults(t *testing.T) {
	_, err := Parse("f", []byte("CONFIG_A=y\nb\n# c\nCONFIG_D=\n"))
	var syntax *SyntaxError
	if !errors.As(err, &syntax) {
		t.Fatalf("got error %v, want a *SyntaxError", err)
	}
	if len(syntax.Faults) != 2 || syntax.Faults[0].Line != 2 || syntax.Faults[1].Line != 4 {
		t.Errorf("got %v, want faults in lines 2 and 4", syntax.Faults)
	}
	_, err = Parse("f", bytes.Repeat([]byte("b\n"), 1000))
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 21 || lines[20] != "f: 980 more lines are wrong" {
		t.Errorf("got %d lines, the last %q, want the first 20 faults and a count of the rest", len(lines), lines[len(lines)-1])
	}
}

func TestIsFull(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       bool
	}{
		{"Kconfig's own", "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.12.117 Kernel Configuration\n#\nCONFIG_A=y\n", true},
		{"with CR LF", "#\r\n# Automatically generated file; DO NOT EDIT.\r\n", true},
		{"savedefconfig", "CONFIG_A=y\n", false},
		{"nothing", "", false},
		{"the words further down", "CONFIG_A=y\n# Automatically generated file; DO NOT EDIT.\n", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := IsFull([]byte(tc.text)); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestParseSet(t *testing.T) {
	for _, tc := range []struct{ text, name, value, wantErr string }{
		{text: "BE2NET=m", name: "BE2NET", value: "m"},
		{text: "CONFIG_BE2NET=n", name: "BE2NET", value: "n"},
		{text: "NR_CPUS=512", name: "NR_CPUS", value: "512"},
		{text: "PHYSICAL_START=0x1000", name: "PHYSICAL_START", value: "0x1000"},
		{text: "LOCALVERSION=-rack", name: "LOCALVERSION", value: `"-rack"`},
		{text: `LOCALVERSION="5"`, name: "LOCALVERSION", value: `"5"`},
		{text: `CMDLINE=a="b\c"`, name: "CMDLINE", value: `"a=\"b\\c\""`},
		{text: `LOCALVERSION=""`, name: "LOCALVERSION", value: `""`},
		{text: "BE2NET", wantErr: "--set BE2NET: want SYMBOL=VALUE"},
		{text: "BE2NET=", wantErr: "--set BE2NET=: no value"},
		{text: "=m", wantErr: `--set =m: "" is no symbol's name`},
		{text: "BE2-NET=m", wantErr: `--set BE2-NET=m: "BE2-NET" is no symbol's name`},
		{text: `A="b`, wantErr: `--set A="b: the text has no closing quote`},
		{text: "A=b\nCONFIG_B=y", wantErr: "the text has the control character"},
	} {
		t.Run(tc.text, func(t *testing.T) {
			got, err := ParseSet("--set", tc.text)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("got %v and error %v, want %q", got, err, tc.wantErr)
				}
				return
			}
			want := Line{Symbol: Symbol{Name: tc.name, Value: tc.value}, Origin: Origin{File: "--set"}}
			if err != nil || got != want {
				t.Errorf("got %v and error %v, want %v", got, err, want)
			}
		})
	}
}

func TestQuote(t *testing.T) {
	for _, text := range []string{"", "a", `a"b`, `\`, `\"`, "\u00e9 #="} {
		quoted := quote(text)
		if fault := badValue(quoted); fault != nil {
			t.Errorf("quote(%q) is %s: %s", text, quoted, fault.message)
		}
		if got := unquote(quoted); got != text {
			t.Errorf("got %q back from %s, want %q", got, quoted, text)
		}
	}
}

func TestMerge(t *testing.T) {
	base := []Line{at(1, "A", "y"), at(2, "B", "m"), at(3, "A", "n")}
	set := []Line{{Symbol: Symbol{"C", "1"}, Origin: Origin{File: "--set"}}, {Symbol: Symbol{"B", "y"}, Origin: Origin{File: "--set"}}}
	got := fmt.Sprint(Merge(base, nil, set))
	if want := "[f:3: CONFIG_A=n --set: CONFIG_B=y --set: CONFIG_C=1]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := Merge(); got != nil {
		t.Errorf("got %v of nothing", got)
	}
}

func TestOverrides(t *testing.T) {
	base := []Line{at(1, "A", "y"), at(2, "B", "m"), at(3, "A", "m")}
	set := []Line{{Symbol: Symbol{"A", "m"}, Origin: Origin{File: "--set"}}}
	for _, tc := range []struct {
		name string
		want []string
	}{
		{name: "A", want: []string{"CONFIG_A=y is set by f:1, but --set, which comes later, says m"}},
		{name: "B"},
		{name: "Z"},
	} {
		var got []string
		for _, o := range Overrides(tc.name, base, set) {
			got = append(got, o.String())
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestFormat(t *testing.T) {
	lines := []Line{at(1, "A", "y"), at(9, "B", "n"), at(3, "C", `"a \"b\""`), at(4, "D", "-1")}
	text := Format(lines)
	want := "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"a \\\"b\\\"\"\nCONFIG_D=-1\n"
	if string(text) != want {
		t.Errorf("got %q, want %q", text, want)
	}
	if IsFull(text) {
		t.Error("a fragment is taken for a complete configuration")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("CONFIG_A=y\r\n# CONFIG_B is not set\nCONFIG_C=\"\\\"\"\n"))
	f.Add([]byte("CONFIG_A=0x\n\xff\nCONFIG_B\n CONFIG_C=y"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, err := Parse("f", data)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || len(syntax.Faults) == 0 || lines != nil {
				t.Fatalf("got %d lines and error %v", len(lines), err)
			}
			for _, fault := range syntax.Faults {
				if fault.Line < 1 || fault.Column < 1 {
					t.Errorf("a fault at %d:%d", fault.Line, fault.Column)
				}
			}
			return
		}
		again, err := Parse("f", Format(lines))
		if err != nil || len(again) != len(lines) {
			t.Fatalf("got %d lines and error %v of what was written of %d", len(again), err, len(lines))
		}
		for i := range lines {
			if again[i].Symbol != lines[i].Symbol {
				t.Errorf("got %v back, want %v", again[i], lines[i])
			}
		}
	})
}
