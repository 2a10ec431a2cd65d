package debian

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// makeIndex reads short Packages stanzas ("Package: a\nDepends: b"); version 1, amd64, optional where nothing is said.
func makeIndex(t *testing.T, stanzas []string) *Index {
	t.Helper()
	u := newUniverse()
	err := readParagraphs(strings.NewReader(strings.Join(stanzas, "\n\n")), packagesFields(), func(p paragraph) error {
		for field, value := range map[string]string{
			"version": "1", "architecture": "amd64", "priority": "optional", "size": "1", "filename": "pool/x", "sha256": strings.Repeat("0", 64),
		} {
			if p[field] == "" {
				p[field] = value
			}
		}
		rec, err := newRecord(p, FromArchive, "amd64")
		if err == nil {
			u.add(rec)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	u.sort()
	return &Index{byArch: map[string]*universe{"amd64": u}}
}

// pkg is a stanza: pkg("a", "Depends: b").
func pkg(name string, fields ...string) string {
	return strings.Join(append([]string{"Package: " + name}, fields...), "\n")
}

// nameAndVersion is a result as the tables below have it.
func nameAndVersion(packages []Package) []string {
	var out []string
	for _, p := range packages {
		s := p.Name
		if p.Version != "1" {
			s += "=" + p.Version
		}
		out = append(out, s)
	}
	return out
}

func TestResolve(t *testing.T) {
	tests := map[string]struct {
		universe []string
		req      Request
		want     string
	}{
		"Depends and Pre-Depends, not Recommends": {
			[]string{pkg("a", "Depends: c", "Pre-Depends: b", "Recommends: d", "Suggests: d"), pkg("b"), pkg("c", "Depends: e"), pkg("d"), pkg("e")},
			Request{Seeds: []string{"a"}}, "a b c e"},
		"a cycle":                    {[]string{pkg("a", "Depends: b"), pkg("b", "Depends: a")}, Request{Seeds: []string{"b"}}, "a b"},
		"continuation lines":         {[]string{pkg("a", "Depends: b,\n c"), pkg("b"), pkg("c")}, Request{Seeds: []string{"a"}}, "a b c"},
		"architecture all":           {[]string{pkg("a", "Depends: b"), pkg("b", "Architecture: all")}, Request{Seeds: []string{"a"}}, "a b"},
		"first alternative":          {[]string{pkg("a", "Depends: c | b"), pkg("b"), pkg("c")}, Request{Seeds: []string{"a"}}, "a c"},
		"first that there is":        {[]string{pkg("a", "Depends: x | b | c"), pkg("b"), pkg("c")}, Request{Seeds: []string{"a"}}, "a b"},
		"first with the version":     {[]string{pkg("a", "Depends: b (>= 2) | c"), pkg("b"), pkg("c")}, Request{Seeds: []string{"a"}}, "a c"},
		"alternative that is a seed": {[]string{pkg("a", "Depends: b | c"), pkg("b"), pkg("c")}, Request{Seeds: []string{"a", "c"}}, "a c"},
		"alternative that comes in anyway, later": {
			[]string{pkg("a", "Depends: b | c, d"), pkg("b"), pkg("c"), pkg("d", "Depends: c")}, Request{Seeds: []string{"a"}}, "a c d"},
		"virtual package": {[]string{pkg("a", "Depends: mta"), pkg("y", "Provides: mta"), pkg("x", "Provides: other, mta")},
			Request{Seeds: []string{"a"}}, "a x"},
		"virtual package, priority before name": {
			[]string{pkg("a", "Depends: mta"), pkg("x", "Provides: mta"), pkg("y", "Provides: mta", "Priority: standard")},
			Request{Seeds: []string{"a"}}, "a y"},
		"virtual package, provider chosen": {[]string{pkg("a", "Depends: mta, y"), pkg("x", "Provides: mta"), pkg("y", "Provides: mta")},
			Request{Seeds: []string{"a"}}, "a y"},
		"real package before a provider": {[]string{pkg("a", "Depends: mta"), pkg("mta"), pkg("b", "Provides: mta", "Priority: required")},
			Request{Seeds: []string{"a"}}, "a mta"},
		"versioned Provides": {
			[]string{pkg("a", "Depends: api (>= 2)"), pkg("b", "Provides: api"), pkg("c", "Provides: api (= 1)"), pkg("d", "Provides: api (= 2)")},
			Request{Seeds: []string{"a"}}, "a d"},
		"provider only in its newest version": {
			[]string{pkg("a", "Depends: api"), pkg("b", "Version: 2"), pkg("b", "Provides: api"), pkg("c", "Provides: api")},
			Request{Seeds: []string{"a"}}, "a c"},
		":any and :native":     {[]string{pkg("a", "Depends: b:any (>= 1), c:native"), pkg("b"), pkg("c")}, Request{Seeds: []string{"a"}}, "a b c"},
		"this architecture":    {[]string{pkg("a", "Depends: b:amd64"), pkg("b")}, Request{Seeds: []string{"a"}}, "a b"},
		"another architecture": {[]string{pkg("a", "Depends: b:i386 | c"), pkg("b"), pkg("c")}, Request{Seeds: []string{"a"}}, "a c"},
		"newest version":       {[]string{pkg("a", "Version: 1.9"), pkg("a", "Version: 1.10"), pkg("a", "Version: 1.10~rc1")}, Request{Seeds: []string{"a"}}, "a=1.10"},
		"version in a seed":    {[]string{pkg("a", "Version: 1.9"), pkg("a", "Version: 1.10")}, Request{Seeds: []string{"a=1.9"}}, "a=1.9"},
		"version in a dependency": {[]string{pkg("a", "Depends: b (<< 3)"), pkg("b", "Version: 3"), pkg("b", "Version: 2")},
			Request{Seeds: []string{"a"}}, "a b=2"},
		"required": {[]string{pkg("a", "Priority: required", "Depends: d"), pkg("b", "Essential: yes"), pkg("c", "Priority: important"), pkg("d"), pkg("e")},
			Request{Required: true, Seeds: []string{"e"}}, "a b d e"},
		"required in the version of a seed": {[]string{pkg("a", "Essential: yes", "Version: 2"), pkg("a", "Essential: yes")},
			Request{Required: true, Seeds: []string{"a=1"}}, "a"},
		"excluded": {[]string{pkg("a", "Depends: b, c | b"), pkg("b", "Depends: d"), pkg("c"), pkg("d")},
			Request{Seeds: []string{"a"}, Exclude: []string{"b"}}, "a"},
		"excluded, though required": {[]string{pkg("a", "Essential: yes"), pkg("b", "Essential: yes")},
			Request{Required: true, Exclude: []string{"b"}}, "a"},
		"excluded, through what it provides": {[]string{pkg("a", "Depends: api"), pkg("b", "Provides: api"), pkg("c", "Provides: api")},
			Request{Seeds: []string{"a"}, Exclude: []string{"b"}}, "a"},
		"conflict with others than these": {
			[]string{pkg("a", "Conflicts: c, b (<< 1)", "Breaks: mta", "Provides: mta", "Depends: b"), pkg("b"), pkg("c")},
			Request{Seeds: []string{"a"}}, "a b"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			packages, err := makeIndex(t, test.universe).Resolve("amd64", test.req)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Fields(test.want), nameAndVersion(packages)); diff != "" {
				t.Errorf("packages (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolveRefuses(t *testing.T) {
	tests := map[string]struct {
		universe []string
		req      Request
		want     string // the whole message
	}{
		"misspelled seed": {[]string{pkg("busybox"), pkg("busybody"), pkg("b"), pkg("bussy"), pkg("busybox2"), pkg("buzybox")}, Request{Seeds: []string{"bussybox"}},
			"bussybox: no such package for amd64; near names: busybox, busybox2, buzybox"},
		"a name like nothing": {[]string{pkg("a")}, Request{Seeds: []string{"zsh"}}, "zsh: no such package for amd64"},
		"no such version": {[]string{pkg("a", "Version: 2"), pkg("a")}, Request{Seeds: []string{"a=3"}},
			"a=3: no such version; there is 2, 1"},
		"two versions": {[]string{pkg("a", "Version: 2"), pkg("a")}, Request{Seeds: []string{"a", "a=1"}},
			"a: asked for as 2 and as 1"},
		"seed that is excluded": {[]string{pkg("a")}, Request{Seeds: []string{"a"}, Exclude: []string{"a"}},
			"a: both asked for and excluded"},
		"unmet, with the chain": {[]string{pkg("a", "Depends: b"), pkg("b", "Depends: c"), pkg("c", "Depends: x | y (>= 2)"), pkg("y")}, Request{Seeds: []string{"a"}},
			"x | y (>= 2): nothing meets it for amd64 (newest is y 1); needed by a -> b -> c"},
		"unmet, another version chosen": {[]string{pkg("a", "Depends: b (>= 2)"), pkg("b", "Version: 2"), pkg("b")}, Request{Seeds: []string{"a", "b=1"}},
			"b (>= 2): nothing meets it for amd64 (chosen is b 1); needed by a"},
		"unversioned Provides": {[]string{pkg("a", "Depends: api (>= 1)"), pkg("b", "Provides: api")}, Request{Seeds: []string{"a"}},
			"api (>= 1): nothing meets it for amd64; needed by a"},
		"Conflicts": {[]string{pkg("a", "Depends: c"), pkg("b"), pkg("c", "Conflicts: b")}, Request{Seeds: []string{"a", "b"}},
			`c: 1 conflicts with b 1 (it names "b"); b came in by b; needed by a -> c`},
		"Breaks, by version": {[]string{pkg("a", "Breaks: b (<< 2)"), pkg("b")}, Request{Seeds: []string{"a", "b"}},
			`a: 1 conflicts with b 1 (it names "b (<< 2)"); b came in by b; needed by a`},
		"Conflicts with a virtual package": {[]string{pkg("a", "Conflicts: mta", "Provides: mta"), pkg("b", "Provides: mta")}, Request{Seeds: []string{"a", "b"}},
			`a: 1 conflicts with b 1 (it names "mta"); b came in by b; needed by a`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			packages, err := makeIndex(t, test.universe).Resolve("amd64", test.req)
			var re *ResolveError
			if !errors.As(err, &re) || err.Error() != test.want {
				t.Errorf("got %v, %v, want a ResolveError %q", packages, err, test.want)
			}
		})
	}
}

func TestResolveOtherArchitecture(t *testing.T) {
	if _, err := makeIndex(t, []string{pkg("a")}).Resolve("arm64", Request{}); err == nil || !strings.Contains(err.Error(), `"arm64"`) {
		t.Errorf("got %v", err)
	}
}

func TestResolveIsDeterministic(t *testing.T) {
	var universe []string
	for i := range 60 {
		universe = append(universe, pkg(fmt.Sprint("p", i), fmt.Sprintf("Depends: v%d | p%d, w%d", i*7%13, (i+1)%60, i%5), fmt.Sprintf("Provides: v%d, w%d", i%13, i*3%5)))
	}
	req := Request{Seeds: []string{"p0", "p17"}}
	want, err := makeIndex(t, universe).Resolve("amd64", req)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		random.Shuffle(len(universe), func(i, j int) { universe[i], universe[j] = universe[j], universe[i] })
		got, err := makeIndex(t, universe).Resolve("amd64", req)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("in another order of the index (-want +got):\n%s", diff)
		}
	}
}

func TestParseRelations(t *testing.T) {
	got, err := parseRelations("libc6 (>= 2.36), a:any(<2)|b [ ] ")
	if err == nil {
		t.Errorf("an architecture list has no place here: got %v", got)
	}
	got, err = parseRelations(" libc6 (>= 2.36),a:any(<2)|b ( = 1:2~3-4 ),\nc (>> 1) ,")
	if err != nil {
		t.Fatal(err)
	}
	if want := "[[libc6 (>= 2.36)] [a:any (<= 2) b (= 1:2~3-4)] [c (>> 1)]]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	for _, bad := range []string{"a (>= )", "a (2)", "a (>= 1", "| a", "a b", "(>= 1)", "a (=> 1)", "a (>= 1) x"} {
		if got, err := parseRelations(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}

func TestBadPackagesStanzas(t *testing.T) {
	good := paragraph{"package": "a", "version": "1", "architecture": "amd64", "size": "1", "filename": "pool/a", "sha256": strings.Repeat("0", 64)}
	if _, err := newRecord(good, FromArchive, "amd64"); err != nil {
		t.Fatal(err)
	}
	for field, value := range map[string]string{
		"size": "-1", "sha256": "x", "filename": "../a", "architecture": "arm64", "provides": "a (", "version": "",
	} {
		p := paragraph{}
		for k, v := range good {
			p[k] = v
		}
		p[field] = value
		if rec, err := newRecord(p, FromArchive, "amd64"); err == nil {
			t.Errorf("%s %q: got %v, want an error", field, value, rec)
		}
	}
}

func TestVersionOperators(t *testing.T) {
	versions := []string{"1", "2", "3"} // against 2
	for op, want := range map[string]string{"<<": "1", "<=": "1 2", "<": "1 2", "=": "2", ">=": "2 3", ">": "2 3", ">>": "3"} {
		r, err := parseRelation("a (" + op + " 2)")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range versions {
			if r.accepts(v) {
				got = append(got, v)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s 2: got %v, want %s", op, got, want)
		}
	}
}
