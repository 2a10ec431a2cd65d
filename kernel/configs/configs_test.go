package configs

import (
	"cmp"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// generics are the kernels that have a generic config for both architectures.
var generics = []string{"6.6", "6.12"}

var arches = []string{"x86_64", "aarch64"}

// eachGeneric runs a test for every generic config.
func eachGeneric(t *testing.T, test func(t *testing.T, series, arch string)) {
	t.Helper()
	for _, series := range generics {
		for _, arch := range arches {
			t.Run(series+" "+arch, func(t *testing.T) { test(t, series, arch) })
		}
	}
}

func wanted(t *testing.T, p promise, series, arch string) string {
	t.Helper()
	of, err := parseSeries(series)
	if err != nil {
		t.Fatal(err)
	}
	want, err := p.want(of, arch)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// promised returns the lines of a final .config that keeps all promises for a series and an architecture.
func promised(t *testing.T, series, arch string) []string {
	t.Helper()
	var lines []string
	for _, p := range readPromises(t) {
		switch want := wanted(t, p, series, arch); want {
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
		series     string // 6.12 where it is empty
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
		{name: "in its first series", arch: "x86_64", series: "6.7", from: "CONFIG_IDPF=m", to: "",
			want: []Mismatch{{"IDPF", "m", "n"}}},
		{name: "in a later series", arch: "x86_64", series: "7.0", from: "CONFIG_IDPF=m", to: "",
			want: []Mismatch{{"IDPF", "m", "n"}}},
		{name: "all kept in an older series", arch: "aarch64", series: "6.6"},
		{name: "not promised in an older series", arch: "x86_64", series: "6.6", from: "CONFIG_ICE=m", to: "CONFIG_ICE=m\nCONFIG_IDPF=y"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			series := cmp.Or(tc.series, "6.12")
			lines := promised(t, series, tc.arch)
			if tc.from != "" {
				at := slices.Index(lines, tc.from)
				if at < 0 {
					t.Fatalf("no line %q in the promised config", tc.from)
				}
				lines[at] = tc.to
			}
			got, err := Missing([]byte(strings.Join(lines, "\n")+"\n"), series, tc.arch)
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
	got, err := Missing(nil, "6.12", "x86_64")
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

func TestMissingRefuses(t *testing.T) {
	for _, tc := range []struct{ name, series, arch, wantErr string }{
		{"Go's name of an architecture", "6.12", "amd64", `architecture "amd64": want x86_64 or aarch64`},
		{"point release", "6.12.7", "x86_64", `kernel series "6.12.7", want the form 6.12`},
		{"major alone", "6", "x86_64", `kernel series "6", want the form 6.12`},
		{"config's name", "6.12.y", "x86_64", `kernel series "6.12.y", want the form 6.12`},
		{"negative", "6.-1", "x86_64", `kernel series "6.-1", want the form 6.12`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Missing(nil, tc.series, tc.arch)
			if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("got %d mismatches and error %v, want %q", len(got), err, tc.wantErr)
			}
		})
	}
}

// TestSeriesBefore holds that series are compared as numbers: as text, 6.12 would come before 6.6.
func TestSeriesBefore(t *testing.T) {
	ascending := []series{{}, {5, 10}, {6, 1}, {6, 6}, {6, 7}, {6, 12}, {7, 0}}
	for i, a := range ascending {
		for j, b := range ascending {
			if got, want := a.before(b), i < j; got != want {
				t.Errorf("%v before %v: got %v, want %v", a, b, got, want)
			}
		}
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
			want: []promise{{symbol: "ICE", x8664: "m", aarch64: "m"}, {symbol: "FCOE", x8664: "m", aarch64: "-"}}},
		{name: "no newline at the end", list: "SOUND n n", want: []promise{{symbol: "SOUND", x8664: "n", aarch64: "n"}}},
		{name: "first series", list: "IDPF m m 6.7\n", want: []promise{{"IDPF", "m", "m", series{6, 7}}}},
		{name: "column missing", list: "\nICE m\n", wantErr: "line 2: got 2 fields, want 3 or 4"},
		{name: "column too many", list: "ICE m m 6.7 m\n", wantErr: "line 1: got 5 fields, want 3 or 4"},
		{name: "no series", list: "ICE m m m\n", wantErr: `line 1: ICE: got kernel series "m"`},
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
		{"ENIC", "m", "m", series{}},
		{"SCSI_FC_ATTRS", "y", "y", series{}},
		{"ICE", "m", "m", series{}},
		{"FCOE_FNIC", "m", "-", series{}},
		{"SCSI_MPI3MR", "m", "m", series{}},
		{"BE2NET", "m", "m", series{}},
		{"QEDE", "m", "m", series{}},
		{"HP_ILO", "m", "m", series{}},
		{"RD_ZSTD", "y", "y", series{}},
	} {
		if got := listed[want.symbol]; got != want {
			t.Errorf("%s: got %v, want %v", want.symbol, got, want)
		}
	}
}

// TestConfigsKeepPromises compares what a savedefconfig says outright; what it leaves to the defaults shows in the
// final .config only.
func TestConfigsKeepPromises(t *testing.T) {
	atLeast := map[string]int{"6.6": 260, "6.12": 200}
	eachGeneric(t, func(t *testing.T, series, arch string) {
		values := parseConfig(readConfig(t, series, arch))
		said := 0
		for _, p := range readPromises(t) {
			got, ok := values[p.symbol]
			want := wanted(t, p, series, arch)
			if !ok || want == anyValue {
				continue
			}
			said++
			if got != want {
				t.Errorf("%v", Mismatch{Symbol: p.symbol, Want: want, Got: got})
			}
		}
		if said < atLeast[series] {
			t.Errorf("the config says %d of the promised symbols outright, want at least %d", said, atLeast[series])
		}
	})
}

// TestConfigsAreSavedefconfigs checks the form as far as it shows without Kconfig: one line per symbol, none twice,
// no headings, no hand-written "=n".
func TestConfigsAreSavedefconfigs(t *testing.T) {
	eachGeneric(t, func(t *testing.T, series, arch string) {
		text, ok := strings.CutSuffix(string(readConfig(t, series, arch)), "\n")
		if !ok {
			t.Error("no newline at the end")
		}
		checkLines(t, strings.Split(text, "\n"))
	})
}

// configLine is a line that Kconfig writes for a symbol.
var configLine = regexp.MustCompile(`^(?:CONFIG_(\w+)=(?:y|m|-?[0-9]+|0x[0-9a-f]+|".*")|# CONFIG_(\w+) is not set)$`)

func checkLines(t *testing.T, lines []string) {
	t.Helper()
	seen := map[string]bool{}
	for i, line := range lines {
		m := configLine.FindStringSubmatch(line)
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
}

func TestFiles(t *testing.T) {
	var got []string
	err := fs.WalkDir(Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"generic-6.12.y-aarch64", "generic-6.12.y-x86_64",
		"generic-6.6.y-aarch64", "generic-6.6.y-x86_64", "optional/debug.config", "optional/more-drivers.config", "symbols.txt"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func readConfig(t *testing.T, series, arch string) []byte {
	t.Helper()
	config, err := Files.ReadFile(fmt.Sprintf("generic-%s.y-%s", series, arch))
	if err != nil {
		t.Fatal(err)
	}
	return config
}
