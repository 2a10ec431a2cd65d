package page

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
)

func TestText(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{Bytes(0), "0 B"}, {Bytes(1023), "1023 B"}, {Bytes(1536), "1.5 KiB"}, {Bytes(205 << 20), "205 MiB"}, {Bytes(3 << 30), "3.0 GiB"}, {Bytes(5 << 40), "5120 GiB"},
		{Duration(400 * time.Millisecond), "0.4 s"}, {Duration(42 * time.Second), "42 s"}, {Duration(185 * time.Second), "3 min 5 s"}, {Duration(62 * time.Minute), "1 h 2 min"},
		{change(3<<20, 5<<20), "+2.0 MiB"}, {change(5<<20, 3<<20), "−2.0 MiB"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	now := time.Unix(1_700_000_000, 0)
	for ago, want := range map[time.Duration]string{
		time.Second: "just now", -time.Hour: "just now", 5 * time.Minute: "5 min ago", 47 * time.Hour: "47 h ago", 72 * time.Hour: "3 days ago",
	} {
		if got := age(now, now.Add(-ago)); got != want {
			t.Errorf("%v: got %q, want %q", ago, got, want)
		}
	}
	if age(time.Time{}, now) != "" || age(now, time.Time{}) != "" {
		t.Error("an age without a clock")
	}
}

func TestChanges(t *testing.T) {
	pkg := func(name, version string) plan.Package {
		return plan.Package{Name: name, Version: version, SHA256: name + version}
	}
	was := artifacts.Manifest{
		Version: "0.1.0", KernelRelease: "6.12.48", Kernel: artifacts.Kernel{ConfigSHA256: "1"}, Files: []artifacts.File{{Name: "vmlinuz", Size: 3 << 20}, {Name: "old", Size: 1}},
		Plan: plan.Plan{
			Flavor: "f", Recipe: "r", Userland: []plan.Source{{Name: "docker", SHA256: "1"}, {Name: "ntp", SHA256: "1"}},
			Packages: []plan.Set{
				{Name: "base", Packages: []plan.Package{pkg("libc6", "2.41-1"), pkg("tzdata", "2025a")}},
				{Name: "kernel", Packages: []plan.Package{pkg("libc6", "2.41-1")}},
			},
			Vars: []plan.Var{{Name: "TZ", Value: "UTC"}},
		},
	}
	is := was
	is.Version, is.KernelRelease, is.Kernel.ConfigSHA256 = "0.2.0", "6.12.57", "2"
	is.Files = []artifacts.File{{Name: "new", Size: 512}, {Name: "vmlinuz", Size: 2 << 20}}
	is.Plan.Packages = []plan.Set{
		{Name: "base", Packages: []plan.Package{pkg("libc6", "2.41-2"), pkg("ipmitool", "1.8")}},
		{Name: "kernel", Packages: []plan.Package{pkg("libc6", "2.41-2")}},
	}
	is.Plan.Userland = []plan.Source{{Name: "docker", SHA256: "2"}, {Name: "ntp", SHA256: "1"}}
	is.Plan.Site.CACertificates = "9"
	is.Plan.Vars = nil
	want := []string{
		"kernel: 6.12.48 → 6.12.57", "kernel configuration: changed", "packages: libc6 2.41-1 → 2.41-2, ipmitool 1.8 added, tzdata removed",
		"components: docker changed", "CA certificates: added", "hookbuild: 0.1.0 → 0.2.0", "variables: TZ removed",
		"files: new 512 B (new), vmlinuz 2.0 MiB (−1.0 MiB), old no more",
	}
	if got := Changes(was, is); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if got := Changes(was, was); len(got) != 0 {
		t.Errorf("nothing has changed: got %q", got)
	}
	many := was
	many.Plan.Packages = []plan.Set{{Name: "base"}}
	for i := range 30 {
		many.Plan.Packages[0].Packages = append(many.Plan.Packages[0].Packages, pkg("p"+strconv.Itoa(i), "1"))
	}
	if got := Changes(was, many); len(got) != 1 || !strings.HasSuffix(got[0], " and 24 more") {
		t.Errorf("many: got %q", got)
	}
}

func TestAssets(t *testing.T) {
	for name, want := range map[string]bool{"page.css": true, "page.js": true, "icon.svg": true, "page.html": false, "page.go": false, "": false, ".": false, "../page.css": false} {
		if _, _, ok := Asset(name); ok != want {
			t.Errorf("%q: got %v, want %v", name, ok, want)
		}
	}
	for _, name := range []string{"page.css", "page.js"} {
		content, _, _ := Asset(name)
		if hosts := regexp.MustCompile(`https?://|//[a-z]+\.|@import|url\(|innerHTML|eval\(`).FindAllString(string(content), -1); hosts != nil {
			t.Errorf("%s: %q", name, hosts)
		}
	}
}

// color is red, green, blue and opacity, each from 0 to 1.
type color [4]float64

var (
	hexColor  = regexp.MustCompile(`^#([0-9a-f]{3}|[0-9a-f]{6})$`)
	veilColor = regexp.MustCompile(`^rgb\((\d+) (\d+) (\d+) / (\d+)%\)$`)
	variable  = regexp.MustCompile(`--([a-z0-9-]+): ([^;]+);`)
)

func parseColor(t *testing.T, text string) (c color) {
	t.Helper()
	c[3] = 1
	if m := veilColor.FindStringSubmatch(text); m != nil {
		for i := range c {
			n, _ := strconv.Atoi(m[i+1])
			c[i] = float64(n) / []float64{255, 255, 255, 100}[i]
		}
		return c
	}
	m := hexColor.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("%q is no color", text)
	}
	digits := m[1]
	if len(digits) == 3 {
		digits = strings.Repeat(digits[:1], 2) + strings.Repeat(digits[1:2], 2) + strings.Repeat(digits[2:], 2)
	}
	for i := range 3 {
		n, _ := strconv.ParseUint(digits[2*i:2*i+2], 16, 8)
		c[i] = float64(n) / 255
	}
	return c
}

func (c color) over(ground color) (sum color) {
	for i := range 3 {
		sum[i] = c[i]*c[3] + ground[i]*(1-c[3])
	}
	sum[3] = 1
	return sum
}

// luminance is relative luminance as https://www.w3.org/TR/WCAG22/#dfn-relative-luminance has it.
func (c color) luminance() (sum float64) {
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		v := c[i] / 12.92
		if c[i] > 0.04045 {
			v = math.Pow((c[i]+0.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}

func contrast(a, b color) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// TestContrast holds that text can be read, light and dark (https://www.w3.org/TR/WCAG22/#contrast-minimum).
func TestContrast(t *testing.T) {
	css, _, _ := Asset("page.css")
	light, rest, _ := strings.Cut(string(css), "@media (prefers-color-scheme: dark)")
	dark, _, _ := strings.Cut(rest, "* {")
	for scheme, text := range map[string]string{"light": light, "dark": dark} {
		colors := map[string]color{}
		for _, m := range variable.FindAllStringSubmatch(text, -1) {
			colors[m[1]] = parseColor(t, m[2])
		}
		grounds := map[string]color{}
		for _, name := range []string{"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"} {
			grounds[name] = colors[name]
			grounds["veil over "+name] = colors["veil"].over(colors[name])
		}
		check := func(letters, name string, ground color) {
			t.Helper()
			if ratio := contrast(colors[letters], ground); ratio < 4.5 {
				t.Errorf("%s: %s on %s: %.2f", scheme, letters, name, ratio)
			}
		}
		for name, ground := range grounds {
			check("text", name, ground)
		}
		for _, letters := range []string{"text", "quiet", "accent", "good", "bad"} {
			check(letters, "card", colors["card"])
			check(letters, "ground", colors["ground"])
		}
		check("text", "note", colors["note"])
		if len(colors) < 20 {
			t.Errorf("%s: found %d colors only", scheme, len(colors))
		}
	}
}
