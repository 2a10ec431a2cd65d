package configs

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// declared is what a line of testdata/symbols-*.txt says: a symbol's type (b, t, i, h or s), and the architecture if
// only one has it.
type declared struct {
	kind, arch string
}

// readFence reads the symbols of a kernel that was at hand when the configs were written; see testdata/README.md.
func readFence(t *testing.T, series string) map[string]declared {
	t.Helper()
	fence := map[string]declared{}
	for _, fields := range readFields(t, "testdata/symbols-"+series+".txt") {
		fields = append(fields, "")
		fence[fields[0]] = declared{kind: fields[1], arch: fields[2]}
	}
	if len(fence) < 10000 {
		t.Fatalf("the list of %s has %d symbols, want those of a whole kernel", series, len(fence))
	}
	return fence
}

// readFields returns the fields of every line that is no comment.
func readFields(t *testing.T, name string) [][]string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] != "#" {
			all = append(all, fields)
		}
	}
	return all
}

// refusal says why a kernel with these symbols would not take the value, and nothing if it may.
func refusal(fence map[string]declared, arch, symbol, value string) string {
	d, ok := fence[symbol]
	kinds := map[string]string{"y": "bt", "n": "bt", "m": "t"}[value]
	switch {
	case kinds != "":
	case strings.HasPrefix(value, `"`):
		kinds = "s"
	case strings.HasPrefix(value, "0x"):
		kinds = "h"
	default:
		kinds = "i"
	}
	switch {
	case !ok:
		return "there is no such symbol"
	case d.arch != "" && d.arch != arch:
		return "only " + d.arch + " has the symbol"
	case !strings.Contains(kinds, d.kind):
		return fmt.Sprintf("the symbol has type %s, which %s is not of", d.kind, value)
	}
	return ""
}

func TestRefusal(t *testing.T) {
	fence := map[string]declared{"SMP": {kind: "b"}, "ICE": {kind: "t"}, "NR_CPUS": {kind: "i"}, "BASE": {kind: "h"},
		"LSM": {kind: "s"}, "ENIC_X86": {kind: "t", arch: "x86_64"}}
	for _, tc := range []struct{ name, symbol, value, want string }{
		{"bool", "SMP", "y", ""},
		{"bool off", "SMP", "n", ""},
		{"bool as module", "SMP", "m", "the symbol has type b, which m is not of"},
		{"module", "ICE", "m", ""},
		{"number", "NR_CPUS", "512", ""},
		{"number for a bool", "SMP", "1", "the symbol has type b, which 1 is not of"},
		{"hex", "BASE", "0xfe", ""},
		{"string", "LSM", `"bpf"`, ""},
		{"unquoted string", "LSM", "bpf", "the symbol has type s, which bpf is not of"},
		{"unknown", "SPM", "n", "there is no such symbol"},
		{"the other architecture's", "ENIC_X86", "m", "only x86_64 has the symbol"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := refusal(fence, "aarch64", tc.symbol, tc.value); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// values are what a config says and what is promised of its kernel: everything that the kernel must have a symbol for.
func values(t *testing.T, series, arch string) map[string]string {
	t.Helper()
	all := parseConfig(readConfig(t, series, arch))
	for _, p := range readPromises(t) {
		if want := wanted(t, p, series, arch); want != anyValue {
			all[p.symbol] = want
		}
	}
	return all
}

// TestNewestFence: the configs of 6.12 were written with its source at hand, so nothing is excepted.
func TestNewestFence(t *testing.T) {
	fence := readFence(t, "6.12")
	for _, arch := range arches {
		for symbol, value := range values(t, "6.12", arch) {
			if why := refusal(fence, arch, symbol, value); why != "" {
				t.Errorf("%s: CONFIG_%s=%s: %s", arch, symbol, value, why)
			}
		}
	}
}

// TestFences holds 6.6, whose source was not at hand, between the kernels before and after it: what it says is in
// both, or testdata/only-6.6.txt gives the reason.
func TestFences(t *testing.T) {
	type exception struct{ symbol, fence string }
	excepted := map[exception]bool{} // true once it was needed
	for _, fields := range readFields(t, "testdata/only-6.6.txt") {
		if len(fields) < 4 {
			t.Errorf("only-6.6.txt: %v: want a symbol, a fence and a reason", fields)
			continue
		}
		excepted[exception{fields[0], fields[1]}] = false
	}
	for _, series := range []string{"6.1", "6.12"} {
		fence := readFence(t, series)
		for _, arch := range arches {
			for symbol, value := range values(t, "6.6", arch) {
				why := refusal(fence, arch, symbol, value)
				if _, ok := excepted[exception{symbol, series}]; ok {
					excepted[exception{symbol, series}] = excepted[exception{symbol, series}] || why != ""
				} else if why != "" {
					t.Errorf("%s: CONFIG_%s=%s in %s: %s", arch, symbol, value, series, why)
				}
			}
		}
	}
	for e, needed := range excepted {
		if !needed {
			t.Errorf("only-6.6.txt: %s is as good in %s, or nobody wants it any more", e.symbol, e.fence)
		}
	}
}

// TestFirstSeries: a promise that begins late does so because an older kernel has no such symbol.
func TestFirstSeries(t *testing.T) {
	old, young := readFence(t, "6.1"), readFence(t, "6.12")
	for _, p := range readPromises(t) {
		if p.since == (series{}) {
			continue
		}
		if _, ok := old[p.symbol]; ok {
			t.Errorf("%s is promised from %v on, but 6.1 has it", p.symbol, p.since)
		}
		if _, ok := young[p.symbol]; !ok || (series{6, 12}).before(p.since) {
			t.Errorf("%s is promised from %v on, and 6.12 does not have it", p.symbol, p.since)
		}
	}
}

// TestOlderSeriesSaysAsMuch: what 6.12's config says of the promises, 6.6's says too, so that a promise added for one
// cannot be forgotten in the other.
func TestOlderSeriesSaysAsMuch(t *testing.T) {
	for _, arch := range arches {
		young, old := parseConfig(readConfig(t, "6.12", arch)), parseConfig(readConfig(t, "6.6", arch))
		for _, p := range readPromises(t) {
			_, said := young[p.symbol]
			if _, ok := old[p.symbol]; said && !ok && wanted(t, p, "6.6", arch) != anyValue {
				t.Errorf("generic-6.6.y-%s does not say CONFIG_%s", arch, p.symbol)
			}
		}
	}
}

// fragments returns the arches that each fragment is for: its name says one, or it is for all.
func fragments(t *testing.T) map[string][]string {
	t.Helper()
	names, err := fs.Glob(Files, "optional/*")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, name := range names {
		stem, ok := strings.CutSuffix(name, ".config")
		if !ok {
			t.Errorf("%s: want the suffix .config", name)
		}
		all[name] = arches
		for _, arch := range arches {
			if strings.HasSuffix(stem, "."+arch) {
				all[name] = []string{arch}
			}
		}
	}
	return all
}

func TestFragments(t *testing.T) {
	fences := map[string]map[string]declared{"6.1": readFence(t, "6.1"), "6.12": readFence(t, "6.12")}
	for name, arches := range fragments(t) {
		t.Run(name, func(t *testing.T) {
			data, err := Files.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(data), "# ") {
				t.Error("the first line is no comment that says what the fragment is for")
			}
			checkLines(t, symbolLines(string(data)))
			for _, series := range slices.Sorted(maps.Keys(fences)) {
				for _, arch := range arches {
					for symbol, value := range parseConfig(data) {
						if why := refusal(fences[series], arch, symbol, value); why != "" {
							t.Errorf("%s: CONFIG_%s=%s in %s: %s", arch, symbol, value, series, why)
						}
					}
				}
			}
		})
	}
}

// symbolLines leaves out comments and blank lines.
func symbolLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		comment := strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# CONFIG_")
		if line != "" && !comment {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestFragmentsKeepPromises: a fragment adds to the generic configs. One that took a promised driver away, or made a
// module of what is built in, would not be the generic kernel any more; one that says what they say already is idle.
func TestFragmentsKeepPromises(t *testing.T) {
	for name, arches := range fragments(t) {
		data, err := Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for symbol, value := range parseConfig(data) {
			idle := value != "n"
			for _, series := range generics {
				for _, arch := range arches {
					if want, ok := promisedValue(t, symbol, series, arch); ok && want != value {
						t.Errorf("%s: CONFIG_%s=%s, but %s is promised for %s %s", name, symbol, value, want, series, arch)
					}
					said := parseConfig(readConfig(t, series, arch))[symbol]
					if said == "y" && value == "m" {
						t.Errorf("%s: CONFIG_%s=m, but it is built in for %s %s", name, symbol, series, arch)
					}
					idle = idle && said == value
				}
			}
			if idle {
				t.Errorf("%s: every generic config says CONFIG_%s=%s already", name, symbol, value)
			}
		}
	}
}

func promisedValue(t *testing.T, symbol, series, arch string) (string, bool) {
	t.Helper()
	for _, p := range readPromises(t) {
		if p.symbol == symbol {
			want := wanted(t, p, series, arch)
			return want, want != anyValue
		}
	}
	return "", false
}
