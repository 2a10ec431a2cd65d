package configs

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// promised returns the lines of a final .config that keeps all promises for an architecture.
func promised(t *testing.T, arch string) []string {
	t.Helper()
	var lines []string
	for _, p := range readPromises(t) {
		want, err := p.want(arch)
		if err != nil {
			t.Fatal(err)
		}
		switch want {
		case anyValue:
		case "n":
			lines = append(lines, "# CONFIG_"+p.symbol+" is not set")
		default:
			lines = append(lines, "CONFIG_"+p.symbol+"="+want)
		}
	}
	return lines
}

func readPromises(t *testing.T) []promise {
	t.Helper()
	list, err := Files.ReadFile("symbols.txt")
	if err != nil {
		t.Fatal(err)
	}
	promises, err := parsePromises(list)
	if err != nil {
		t.Fatalf("symbols.txt: %v", err)
	}
	return promises
}

func TestMissing(t *testing.T) {
	for _, tc := range []struct {
		name, arch string
		from, to   string // a line of the config that keeps all promises, and what stands there instead
		want       []Mismatch
	}{
		{name: "all kept", arch: "x86_64"},
		{name: "all kept on arm64", arch: "aarch64"},
		{name: "module became built-in", arch: "x86_64", from: "CONFIG_ICE=m", to: "CONFIG_ICE=y",
			want: []Mismatch{{"ICE", "m", "y"}}},
		{name: "built-in became module", arch: "aarch64", from: "CONFIG_VIRTIO_NET=y", to: "CONFIG_VIRTIO_NET=m",
			want: []Mismatch{{"VIRTIO_NET", "y", "m"}}},
		{name: "not set", arch: "x86_64", from: "CONFIG_FCOE_FNIC=m", to: "# CONFIG_FCOE_FNIC is not set",
			want: []Mismatch{{"FCOE_FNIC", "m", "n"}}},
		{name: "absent", arch: "aarch64", from: "CONFIG_ENIC=m", to: "",
			want: []Mismatch{{"ENIC", "m", "n"}}},
		{name: "a longer symbol is another one", arch: "x86_64", from: "CONFIG_QED=m", to: "CONFIG_QED_LL2=m",
			want: []Mismatch{{"QED", "m", "n"}}},
		{name: "on but promised off", arch: "x86_64", from: "# CONFIG_SOUND is not set", to: "CONFIG_SOUND=m",
			want: []Mismatch{{"SOUND", "n", "m"}}},
		{name: "absent is off", arch: "x86_64", from: "# CONFIG_SOUND is not set", to: ""},
		{name: "last line counts", arch: "x86_64", from: "CONFIG_ICE=m", to: "CONFIG_ICE=y\nCONFIG_ICE=m"},
		{name: "not of this architecture", arch: "aarch64", from: "CONFIG_ICE=m", to: "CONFIG_ICE=m\nCONFIG_FCOE_FNIC=y"},
		{name: "in the order of the list", arch: "x86_64", from: "CONFIG_ICE=m", to: "CONFIG_TTY=n",
			want: []Mismatch{{"TTY", "y", "n"}, {"ICE", "m", "n"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lines := promised(t, tc.arch)
			if tc.from != "" {
				at := slices.Index(lines, tc.from)
				if at < 0 {
					t.Fatalf("no line %q in the promised config", tc.from)
				}
				lines[at] = tc.to
			}
			got, err := Missing([]byte(strings.Join(lines, "\n")+"\n"), tc.arch)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestMissingOfNothing(t *testing.T) {
	got, err := Missing(nil, "x86_64")
	if err != nil {
		t.Fatal(err)
	}
	var want []Mismatch
	for _, p := range readPromises(t) {
		if p.x8664 == "y" || p.x8664 == "m" {
			want = append(want, Mismatch{Symbol: p.symbol, Want: p.x8664, Got: "n"})
		}
	}
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("got %d mismatches, want the %d symbols that are promised on, in order", len(got), len(want))
	}
}

func TestMissingUnknownArch(t *testing.T) {
	if got, err := Missing(nil, "amd64"); err == nil {
		t.Errorf("got %d mismatches for amd64, want an error: the list is kept by the name of uname -m", len(got))
	}
}

func TestMismatchString(t *testing.T) {
	got := Mismatch{Symbol: "ICE", Want: "m", Got: "n"}.String()
	if want := "CONFIG_ICE: got n, want m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParsePromises(t *testing.T) {
	for _, tc := range []struct {
		name, list string
		want       []promise
		wantErr    string
	}{
		{name: "empty"},
		{name: "comments and blank lines", list: "# A group.\n\nICE  m  m\n\t# FCOE m -\nFCOE m -\n",
			want: []promise{{"ICE", "m", "m"}, {"FCOE", "m", "-"}}},
		{name: "no newline at the end", list: "SOUND n n", want: []promise{{"SOUND", "n", "n"}}},
		{name: "column missing", list: "\nICE m\n", wantErr: "line 2: got 2 fields, want 3"},
		{name: "column too many", list: "ICE m m m\n", wantErr: "line 1: got 4 fields, want 3"},
		{name: "unknown value", list: "NR_CPUS 512 512\n", wantErr: `line 1: NR_CPUS: got value "512"`},
		{name: "prefix", list: "CONFIG_ICE m m\n", wantErr: "line 1: CONFIG_ICE: want the symbol without CONFIG_"},
		{name: "twice", list: "ICE m m\nIGC m m\nICE y y\n", wantErr: "line 3: ICE is already on line 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parsePromises([]byte(tc.list))
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("got error %v, want %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// TestRequiredSymbolsAreListed guards the list itself: these are the symbols whose lack has stopped users of other
// HookOS builds.
func TestRequiredSymbolsAreListed(t *testing.T) {
	listed := map[string]promise{}
	for _, p := range readPromises(t) {
		listed[p.symbol] = p
	}
	for _, want := range []promise{
		{"ENIC", "m", "m"},
		{"SCSI_FC_ATTRS", "y", "y"},
		{"ICE", "m", "m"},
		{"FCOE_FNIC", "m", "-"},
		{"SCSI_MPI3MR", "m", "m"},
		{"BE2NET", "m", "m"},
		{"QEDE", "m", "m"},
		{"HP_ILO", "m", "m"},
		{"RD_ZSTD", "y", "y"},
	} {
		if got := listed[want.symbol]; got != want {
			t.Errorf("%s: got %v, want %v", want.symbol, got, want)
		}
	}
}

// TestConfigsKeepPromises compares what a savedefconfig says outright; what it leaves to the defaults shows in the
// final .config only.
func TestConfigsKeepPromises(t *testing.T) {
	for _, arch := range []string{"x86_64", "aarch64"} {
		t.Run(arch, func(t *testing.T) {
			values := parseConfig(readConfig(t, arch))
			said := 0
			for _, p := range readPromises(t) {
				want, err := p.want(arch)
				if err != nil {
					t.Fatal(err)
				}
				got, ok := values[p.symbol]
				if !ok || want == anyValue {
					continue
				}
				said++
				if got != want {
					t.Errorf("%v", Mismatch{Symbol: p.symbol, Want: want, Got: got})
				}
			}
			if said < 200 {
				t.Errorf("the config says %d of the promised symbols outright, want at least 200", said)
			}
		})
	}
}

// TestConfigsAreSavedefconfigs checks the form as far as it shows without Kconfig: one line per symbol, none twice,
// no headings, no hand-written "=n".
func TestConfigsAreSavedefconfigs(t *testing.T) {
	form := regexp.MustCompile(`^(?:CONFIG_(\w+)=(?:y|m|-?[0-9]+|0x[0-9a-f]+|".*")|# CONFIG_(\w+) is not set)$`)
	for _, arch := range []string{"x86_64", "aarch64"} {
		t.Run(arch, func(t *testing.T) {
			text, ok := strings.CutSuffix(string(readConfig(t, arch)), "\n")
			if !ok {
				t.Error("no newline at the end")
			}
			seen := map[string]bool{}
			for i, line := range strings.Split(text, "\n") {
				m := form.FindStringSubmatch(line)
				if m == nil {
					t.Errorf("line %d: %q is not of savedefconfig's form", i+1, line)
					continue
				}
				symbol := m[1] + m[2]
				if seen[symbol] {
					t.Errorf("line %d: CONFIG_%s is set twice", i+1, symbol)
				}
				seen[symbol] = true
			}
		})
	}
}

func TestFiles(t *testing.T) {
	got, err := fs.Glob(Files, "*")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"generic-6.12.y-aarch64", "generic-6.12.y-x86_64", "symbols.txt"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func readConfig(t *testing.T, arch string) []byte {
	t.Helper()
	config, err := Files.ReadFile(fmt.Sprintf("generic-6.12.y-%s", arch))
	if err != nil {
		t.Fatal(err)
	}
	return config
}
