package modules

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInputs(t *testing.T) {
	res := Result{Keep: []string{"kernel/a.ko", "kernel/b.ko.xz"}}
	for name, tc := range map[string]struct {
		firmware Firmware
		want     string
		none     bool
	}{
		"zero value":    {nil, "auto\n", false},
		"auto":          {Firmware{"auto"}, "auto\n", false},
		"none":          {Firmware{"none"}, "", true},
		"patterns":      {Firmware{"bnx2/", "ql2?00_fw.bin"}, "bnx2/\t^bnx2/.*$\nql2?00_fw.bin\t^ql2[^/]00_fw[.]bin$\n", false},
		"auto and more": {Firmware{"a", "auto"}, "a\t^a$\nauto\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Inputs(res, tc.firmware)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string][]byte{"modules": []byte("kernel/a.ko\nkernel/b.ko.xz\n"), "firmware": []byte(tc.want)}
			if diff := cmp.Diff(want, got, cmp.Transformer("text", func(b []byte) string { return string(b) })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if tc.firmware.None() != tc.none {
				t.Errorf("None: got %v", !tc.none)
			}
		})
	}
}

// A key made of it has to change with the script and with the default set.
func TestRecipe(t *testing.T) {
	if r := Recipe(); !strings.Contains(r, Script()) || !strings.Contains(r, defaultList) {
		t.Error("the recipe lacks a part")
	}
}

func TestFirmwareValidate(t *testing.T) {
	f := Firmware{"none", "bnx2/", "/lib/firmware/x", "a**"}
	want := `firmware[0]: "none" has to stand alone
firmware[2]: "/lib/firmware/x": want a relative path without components that are empty, '.' or '..'
firmware[3]: "a**": ** stands for whole directories; want it alone between slashes`
	if err := f.Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := Inputs(Result{}, f); err == nil {
		t.Error("Inputs took what Validate refuses")
	}
	for _, f := range []Firmware{nil, {"auto"}, {"none"}, {"x", "auto"}} {
		if err := f.Validate(); err != nil {
			t.Errorf("%v: %v", f, err)
		}
	}
}

func TestReadReportFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		text io.Reader
		want string
	}{
		"unknown line": {strings.NewReader("missing\ta\tb\nfound\tx\n"), `line 2: "found\tx" has no meaning`},
		"short line":   {strings.NewReader("file\ta\tb\n"), "line 1: "},
		"no size":      {strings.NewReader("file\ta\tb\t1\tx\tp\tf\n"), `parsing "x"`},
		"endless":      {io.LimitReader(zeros{}, maxReport+5), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadReport(tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzReadReport(f *testing.F) {
	f.Add("file\ta\ta.xz\t1\t2\tp\tm\nlink\ta\tb\nmissing\tn\tm\nunmatched\tx\n")
	f.Fuzz(func(t *testing.T, text string) {
		rep, err := ReadReport(strings.NewReader(text))
		if n := len(rep.Files) + len(rep.Missing) + len(rep.Unmatched); err == nil && n > strings.Count(text, "\n")+1 {
			t.Errorf("%d results of %q", n, text)
		}
	})
}

func TestFirmwarePackages(t *testing.T) {
	all := FirmwarePackages()
	if !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("want each once, sorted: %v", all)
	}
	for _, name := range all {
		if !strings.HasPrefix(name, "firmware-") {
			t.Errorf("%s is no firmware package; microcode is not firmware", name)
		}
	}
}

func TestResultLines(t *testing.T) {
	x := small(t)
	for name, tc := range map[string]struct {
		x        *Index
		s        Selection
		lines    string
		warnings string
	}{
		"default": {x, Selection{}, "modules: 7 of 10, 0.0 MiB of 0.0 MiB", ""},
		"kept although excluded": {x, Selection{Include: []string{"wl-x"}, Exclude: []string{"crypto/", "mac80211"}},
			`modules: 6 of 10, 0.0 MiB of 0.0 MiB
modules: excluded and kept all the same: aes (mac80211 needs it), mac80211 (wl-x needs it)`, ""},
		"misspelled": {x, Selection{Include: []string{"bnx3", "drivers/net/ethernet"}}, "modules: 2 of 10, 0.0 MiB of 0.0 MiB",
			`modules: "bnx3" matches no module of kernel 6.12.1-toy
modules: "drivers/net/ethernet" matches no module of kernel 6.12.1-toy; the directory would be "drivers/net/ethernet/"`},
		"no modules": {&Index{}, Selection{}, "modules: the kernel has none", ""},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := Select(tc.x, tc.s)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.lines, strings.Join(res.Lines(), "\n")); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.warnings, strings.Join(res.Warnings(), "\n")); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
	sizes := Result{Total: Count{4230, 94046744}, Kept: Count{1270, 30725696}}
	if got, want := sizes.Lines()[0], "modules: 1270 of 4230, 29.3 MiB of 89.7 MiB"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReportLines(t *testing.T) {
	missing := make([]Missing, shown+2)
	for i := range missing {
		missing[i] = Missing{string(rune('a'+i)) + ".bin", "card"}
	}
	files := []File{{Path: "a", Size: 3 << 20, Stored: 1 << 20}, {Path: "b", Size: 1 << 20, Stored: 1 << 20}}
	for name, tc := range map[string]struct {
		rep  Report
		want string
	}{
		"nothing":    {Report{}, "firmware: 0 files, 0.0 MiB"},
		"plain":      {Report{Files: files[1:]}, "firmware: 1 files, 1.0 MiB"},
		"compressed": {Report{Files: files}, "firmware: 2 files, 4.0 MiB (2.0 MiB compressed)"},
		"missing": {Report{Files: files, Missing: missing[:2]},
			"firmware: 2 files, 4.0 MiB (2.0 MiB compressed); 2 named by drivers are in no package: a.bin (card), b.bin (card)"},
		"one more than shown": {Report{Missing: missing[:shown+1]}, "firmware: 0 files, 0.0 MiB; 9 named by drivers are in no package: " +
			"a.bin (card), b.bin (card), c.bin (card), d.bin (card), e.bin (card), f.bin (card), g.bin (card), h.bin (card), i.bin (card)"},
		"many": {Report{Missing: missing}, "firmware: 0 files, 0.0 MiB; 10 named by drivers are in no package: " +
			"a.bin (card), b.bin (card), c.bin (card), d.bin (card), e.bin (card), f.bin (card), g.bin (card), h.bin (card) and 2 more"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, strings.Join(tc.rep.Lines(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	warned := Report{Unmatched: []string{"no/such"}}.Warnings()
	if !slices.Equal(warned, []string{`firmware: "no/such" matches no file of the packages`}) {
		t.Errorf("got %v", warned)
	}
}
