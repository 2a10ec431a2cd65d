package modules

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var globs = []struct {
	pattern string
	yes, no []string
}{
	{"a/b", []string{"a/b"}, []string{"a", "a/b/c", "x/a/b", "a/bb"}},
	{"a/", []string{"a/b", "a/b/c"}, []string{"a", "b/a/c", "aa/b"}},
	{"a/*", []string{"a/b", "a/b.c"}, []string{"a/b/c", "a"}},
	{"a/*/c", []string{"a/b/c"}, []string{"a/c", "a/b/b/c"}},
	{"a/**/c*", []string{"a/c", "a/b/c1", "a/b/b/c"}, []string{"a/b/d", "c", "a/b/c/d"}},
	{"**/c", []string{"c", "a/c", "a/b/c"}, []string{"a/b/cc", "ac"}},
	{"a/**", []string{"a/b", "a/b/c"}, []string{"a", "b"}},
	{"a?c", []string{"abc", "a-c"}, []string{"ac", "a/c"}},
	{"a[b-d]e", []string{"abe", "ade"}, []string{"ae", "aae", "a-e"}},
	{"a[!b-d]e", []string{"aae", "a-e"}, []string{"abe", "a/e"}},
	{"a[-b]", []string{"a-", "ab"}, []string{"a", "ac"}},
	{"a[b-]", []string{"a-", "ab"}, []string{"ac"}},
	{"a.b+(c)", []string{"a.b+(c)"}, []string{"aXb+(c)", "a.bb(c)", "a.bc"}},
	{"qed/v-8.*.bin", []string{"qed/v-8.42.bin"}, []string{"qed/v-8X42.bin", "qed/v-8.42.bins"}},
	{"a,b:c@d%e=f#g~h_i-j", []string{"a,b:c@d%e=f#g~h_i-j"}, nil},
}

func TestGlob(t *testing.T) {
	for _, tc := range globs {
		t.Run(tc.pattern, func(t *testing.T) {
			g, err := compileGlob(tc.pattern)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range tc.yes {
				if !g.re.MatchString(p) {
					t.Errorf("does not match %s", p)
				}
			}
			for _, p := range tc.no {
				if g.re.MatchString(p) {
					t.Errorf("matches %s", p)
				}
			}
		})
	}
}

// Awk chooses firmware with the expressions that Go has made of the patterns: the two have to agree.
func TestGlobMeansTheSameToAwk(t *testing.T) {
	var all []string
	for _, tc := range globs {
		all = append(append(all, tc.yes...), tc.no...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	file := filepath.Join(t.TempDir(), "paths")
	if err := os.WriteFile(file, []byte(strings.Join(all, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range globs {
		g, err := compileGlob(tc.pattern)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, p := range all {
			if g.re.MatchString(p) {
				want = append(want, p)
			}
		}
		program := `FILENAME == "-" { e = $0; next } $0 ~ e`
		got := strings.Fields(tool(t, "sh", "-c", `printf '%s\n' "$1" | awk "$2" - "$3"`, "sh", g.expr, program, file))
		if !slices.Equal(got, want) {
			t.Errorf("%s: %s: awk matches %v, Go %v", tc.pattern, g.expr, got, want)
		}
	}
}

func TestGlobRefuses(t *testing.T) {
	for pattern, want := range map[string]string{
		"":          "empty pattern",
		"/":         "empty pattern",
		"/a":        "relative path",
		"a//b":      "relative path",
		"../a":      "relative path",
		"a/./b":     "relative path",
		"a**":       "alone between slashes",
		"a/b**/c":   "alone between slashes",
		"a[b":       "[ without ]",
		"a[]":       "an empty set",
		"a[!]":      "an empty set",
		"a[z-b]":    "invalid character class range",
		"a[[:x:]]":  `'[' has no place in a set`,
		"a[^b]":     `'^' has no place in a set`,
		"{a,b}":     `'{' has no place in a pattern`,
		"a b":       `' ' has no place in a pattern`,
		"a\\*":      `'\\' has no place in a pattern`,
		"a\n":       `'\n' has no place in a pattern`,
		"gr\u00fcn": "has no place in a pattern",
	} {
		if _, err := compileGlob(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", pattern, err, want)
		}
	}
}

func TestUnderscored(t *testing.T) {
	for in, want := range map[string]string{
		"snd-hda-*": "snd_hda_*", "a[a-c]-b": "a[a-c]_b", "a[-c]": "a[_c]", "a[!-c]": "a[!_c]", "a[c-]-": "a[c_]_",
		"pci:v*-d*": "pci:v*_d*", "": "", "-": "_", "a[-": "a[_",
	} {
		if got := underscored(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func FuzzGlob(f *testing.F) {
	for _, tc := range globs {
		f.Add(tc.pattern)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		g, err := compileGlob(pattern)
		if err != nil {
			return
		}
		if strings.ContainsAny(g.expr, "\n\t\\") {
			t.Errorf("%q became %q, which the script cannot read", pattern, g.expr)
		}
		if !strings.ContainsAny(pattern, "*?[") && !strings.HasSuffix(pattern, "/") && !g.re.MatchString(pattern) {
			t.Errorf("%q does not match itself", pattern)
		}
		_ = underscored(pattern)
	})
}
