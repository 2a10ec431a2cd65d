package strictyaml

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/agext/levenshtein"
	"github.com/google/go-cmp/cmp"
)

// sample has every type that a Reader decodes.
type sample struct {
	Text    string             `yaml:"text"`
	Yes     bool               `yaml:"yes"`
	Count   int                `yaml:"count"`
	Command Value[[]string]    `yaml:"command"`
	Items   []item             `yaml:"items"`
	Free    Map[Value[string]] `yaml:"free"`
	Sub     *item              `yaml:"sub"`
	Even    even               `yaml:"even"`
	Script  string             `yaml:"script,literal"`
	common
	_ struct{} `unsupported:"volumes networks"`
}

type common struct {
	Shared string   `yaml:"shared"`
	_      struct{} `unsupported:"resources"`
}

type item struct {
	Pos  Pos
	Name string `yaml:"name,required"`
	Size int    `yaml:"size"`
}

// even reads itself.
type even int

func (e *even) FromYAML(r Raw) error {
	n, err := r.AsInt()
	if err == nil && n%2 != 0 {
		err = fmt.Errorf("%d is odd", n)
	}
	*e = even(n)
	return err
}

func TestDecode(t *testing.T) {
	const text = `# all at once
text: "a: b"
yes: true
count: -12
command: [&sleep sleep, "10", 2026-01-02]
items:
  - name: *sleep
    size: 3
  - {name: x}
free: {b: one, a: two}
sub: {name: y}
even: 4
shared: s
`
	at := func(line, column int) Pos { return Pos{"f.yaml", line, column} }
	want := sample{
		Text: "a: b", Yes: true, Count: -12, Even: 4,
		Command: Value[[]string]{at(5, 10), []string{"sleep", "10", "2026-01-02"}},
		Items:   []item{{at(7, 5), "sleep", 3}, {at(9, 5), "x", 0}},
		Free: Map[Value[string]]{
			{Value[string]{at(10, 8), "b"}, Value[string]{at(10, 11), "one"}},
			{Value[string]{at(10, 16), "a"}, Value[string]{at(10, 19), "two"}},
		},
		Sub:    &item{at(11, 6), "y", 0},
		common: common{Shared: "s"},
	}
	var r Reader
	var got sample
	r.Decode("f.yaml", []byte(text), &got)
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(sample{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSet(t *testing.T) {
	var r Reader
	var got sample
	r.Decode("f.yaml", []byte("command: []\n"), &got)
	if r.Err() != nil || !got.Command.Set() {
		t.Errorf("an empty list: got %+v, error %v, want it to be set", got.Command, r.Err())
	}
	if (Value[string]{}).Set() {
		t.Error("the zero Value says that it was given")
	}
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"no bytes", "", "1:1: the document is empty"},
		{"comment", "# nothing\n", "1:1: the document is empty"},
		{"null", "---\n...\n", "1:1: the document is empty"},
		{"not a mapping", "- text\n", "1:1: want a mapping, got a list"},
		{"syntax", "text: [\n", "2:1: did not find expected node content"},
		{"syntax in the line", "text: a: b\n", "1:8: mapping values are not allowed in this context"},
		{"second document", "text: a\n---\ntext: b\n", "2:1: a second document begins here: only one is allowed"},
		{"syntax of the second document", "text: a\n---\ntext: [\n", "4:1: did not find expected node content"},
		{"unknown anchor", "text: *x\n", "1:7: unknown anchor 'x' referenced"},
		{"near key", "comand: []\n", `1:1: unknown key "comand": did you mean "command"?`},
		{"near key in other case", "Text: a\n", `1:1: unknown key "Text": did you mean "text"?`},
		{"near unsupported key", "volume: []\n", `1:1: unknown key "volume": did you mean "volumes"?`},
		{"far key", "zebra: 1\n", `1:1: unknown key "zebra"`},
		{"unsupported", "volumes: []\n", `1:1: "volumes" is not supported yet`},
		{"unsupported in an embedded struct", "text: a\nresources: {}\n", `2:1: "resources" is not supported yet`},
		{"merge key", "sub:\n  <<: {name: a}\n  name: b\n", `2:3: "<<" is not supported yet`},
		{"duplicate", "text: a\nyes: true\ntext: b\n", `3:1: duplicate key "text": line 1 has it already`},
		{"duplicate free key", "free: {a: b, a: c}\n", `1:14: duplicate key "a": line 1 has it already`},
		{"column counts characters", "free: {ä: ö, a: 1}\n", `1:17: "a": want a string, got a number: write "1" with quotes`},
		{"key is a list", "? [a]\n: b\n", "1:3: a key must be a plain word or a string"},
		{"missing", "items:\n  - size: 1\n", `2:5: "items[0]": key "name" is missing`},
		{"number for a string", "text: 6.10\n", `1:7: "text": want a string, got a number: write "6.10" with quotes`},
		{"boolean for a string", "command: [a, true]\n", `1:14: "command[1]": want a string, got a boolean: write "true" with quotes`},
		{"null for a string", "text:\n", `1:6: "text": want a string, got nothing`},
		{"list for a string", "text: []\n", `1:7: "text": want a string, got a list`},
		{"tag", "text: !x a\n", `1:7: "text": want a string, got a value with a tag`},
		{"tag on a list", "command: !x [a]\n", `1:10: "command": want a list, got a value with a tag`},
		{"string for a list", "command: a\n", `1:10: "command": want a list, got a string`},
		{"null for a list", "items:\n", `1:7: "items": want a list, got nothing`},
		{"list for a mapping", "free: []\n", `1:7: "free": want a mapping, got a list`},
		{"word for a boolean", "yes: yes\n", `1:6: "yes": want true or false, got a string`},
		{"string for a number", "count: \"1\"\n", `1:8: "count": want a whole number, got a string`},
		{"octal", "count: 010\n", `1:8: "count": want a whole number in plain decimal notation, got "010"`},
		{"fraction", "count: 1.5\n", `1:8: "count": want a whole number in plain decimal notation, got "1.5"`},
		{"huge", "count: 99999999999999999999\n", `1:8: "count": number 99999999999999999999 is too large`},
		{"its own type", "even: 3\n", `1:7: "even": 3 is odd`},
		{"behind an alias, once", "items:\n  - name: a\n    size: &s x\n  - name: b\n    size: *s\n",
			`3:11: "size": want a whole number, got a string`},
		{"several, sorted", "zebra: 1\nyes: 1\nsub: {name: 2, nam: 3}\n",
			"1:1: unknown key \"zebra\"\n2:6: \"yes\": want true or false, got a number\n" +
				"3:13: \"name\": want a string, got a number: write \"2\" with quotes\n3:16: unknown key \"nam\": did you mean \"name\"?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r Reader
			var out sample
			r.Decode("f.yaml", []byte(tc.text), &out)
			want := "f.yaml:" + strings.ReplaceAll(tc.want, "\n", "\nf.yaml:")
			if got := fmt.Sprint(r.Err()); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			var errs Errors
			if !errors.As(r.Err(), &errs) || len(errs) != strings.Count(tc.want, "\n")+1 {
				t.Errorf("error is %T with %d faults", r.Err(), len(errs))
			}
		})
	}
}

func TestExpand(t *testing.T) {
	r := Reader{Expand: func(s string) (string, error) {
		if strings.Contains(s, "$bad") {
			return "", errors.New("no such variable")
		}
		return strings.ReplaceAll(s, "$five", "5"), nil
	}}
	var got sample
	r.Decode("f.yaml", []byte("text: $five\ncount: $five\nfree: {$five: $five}\nscript: $five $bad\nsub:\n  name: $bad\n"), &got)
	if want := `f.yaml:6:9: "name": no such variable`; fmt.Sprint(r.Err()) != want {
		t.Errorf("got %v, want %s", r.Err(), want)
	}
	if got.Text != "5" || got.Count != 5 || got.Script != "$five $bad" {
		t.Errorf("got text %q, count %d, script %q", got.Text, got.Count, got.Script)
	}
	if len(got.Free) != 1 || got.Free[0].Key.V != "$five" || got.Free[0].Value.V != "5" {
		t.Errorf("got %+v, want only the value changed", got.Free)
	}
}

// TestAliasBomb has 300 bytes a line stand for 200 lists of words.
func TestAliasBomb(t *testing.T) {
	var out struct {
		Words []string             `yaml:"words"`
		Lists Map[[][]string]      `yaml:"lists"`
		More  Map[Map[[][]string]] `yaml:"more"`
	}
	text := "words: &w [x, x, x, x]\nlists: &l\n  a: &a [" + strings.Repeat("*w, ", 200) + "]\n  b: *a\n"
	const fault = "aliases stand for more than 10000 values"
	for _, tc := range []struct {
		name, more, want string
	}{
		{"a few", "more: {a: *l}\n", "<nil>"},
		{"many", "more: {a: *l, b: *l, c: *l, d: *l, e: *l, f: *l, g: *l}\n", fault},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var r Reader
			r.Decode("f.yaml", []byte(text+tc.more), &out)
			got := fmt.Sprint(r.Err())
			if (got == "<nil>") != (tc.want == "<nil>") || strings.Count(got, fault) != strings.Count(tc.want, fault) {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// TestAliasedText has 40 bytes a line stand for a megabyte of text each.
func TestAliasedText(t *testing.T) {
	var out struct {
		Text  string   `yaml:"text"`
		Texts []string `yaml:"texts"`
	}
	const fault = "aliases stand for more than 8388608 bytes of text"
	for n, want := range map[int]string{8: "<nil>", 9: "f.yaml:1:7: \"texts[8]\": " + fault, 5000: "f.yaml:1:7: \"texts[8]\": " + fault} {
		var r Reader
		r.Decode("f.yaml", []byte("text: &t "+strings.Repeat("x", 1<<20)+"\ntexts: ["+strings.Repeat("*t, ", n)+"]\n"), &out)
		if got := fmt.Sprint(r.Err()); got != want {
			t.Errorf("%d aliases: got %s, want %s", n, got, want)
		}
	}
}

func TestEither(t *testing.T) {
	type doc struct {
		A Value[Either[string, []string]] `yaml:"a"`
		B Either[even, item]              `yaml:"b"`
	}
	for _, tc := range []struct {
		text, want string
		a          Either[string, []string]
		b          Either[even, item]
	}{
		{"a: auto\nb: 4\n", "<nil>", Either[string, []string]{Kind: String, Word: "auto"}, Either[even, item]{Kind: Number, Word: 4}},
		{"a: [x, y]\nb: {name: n}\n", "<nil>", Either[string, []string]{Kind: List, Rest: []string{"x", "y"}},
			Either[even, item]{Kind: Mapping, Rest: item{Pos{"f.yaml", 2, 4}, "n", 0}}},
		{"a: {x: y}\n", `f.yaml:1:4: "a": want a list, got a mapping`, Either[string, []string]{Kind: Mapping}, Either[even, item]{}},
		{"a: 1\nb: 3\n", "f.yaml:1:4: \"a\": want a string, got a number: write \"1\" with quotes\nf.yaml:2:4: \"b\": 3 is odd",
			Either[string, []string]{Kind: Number}, Either[even, item]{Kind: Number, Word: 3}},
	} {
		t.Run(tc.text, func(t *testing.T) {
			var r Reader
			var got doc
			r.Decode("f.yaml", []byte(tc.text), &got)
			if e := fmt.Sprint(r.Err()); e != tc.want {
				t.Errorf("got %s, want %s", e, tc.want)
			}
			if diff := cmp.Diff(tc.a, got.A.V); diff != "" {
				t.Errorf("a: -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tc.b, got.B); diff != "" {
				t.Errorf("b: -want +got:\n%s", diff)
			}
		})
	}
}

// keep is a value that keeps what it was read from.
type keep Raw

func (k *keep) FromYAML(r Raw) error { *k = keep(r); return nil }

func TestQuoted(t *testing.T) {
	for text, want := range map[string]bool{"yes": false, `"yes"`: true, "'yes'": true, "|\n  yes": true, ">-\n  yes": true, "[yes]": false} {
		var r Reader
		var out struct {
			V keep `yaml:"v"`
		}
		r.Decode("f.yaml", []byte("v: "+text+"\n"), &out)
		if r.Err() != nil || out.V.Quoted != want {
			t.Errorf("%s: got %v, error %v, want %v", text, out.V.Quoted, r.Err(), want)
		}
	}
}

func TestMergeKeys(t *testing.T) {
	for _, tc := range []struct{ name, text, want, faults string }{
		{"own keys go before", "items:\n  - &a {name: a, size: 1}\n  - {<<: *a, size: 2}\n", "a1 a2", "<nil>"},
		{"wherever it stands", "items:\n  - &a {name: a, size: 1}\n  - {size: 2, <<: *a}\n", "a1 a2", "<nil>"},
		{"the first of a list counts", "items:\n  - &a {name: a, size: 1}\n  - &b {name: b}\n  - <<: [*b, *a]\n", "a1 b0 b1", "<nil>"},
		{"of a merged one", "items:\n  - &a {name: a, size: 1}\n  - &b {<<: *a, name: b}\n  - {<<: *b, size: 3}\n", "a1 b1 b3", "<nil>"},
		{"twice", "items:\n  - &a {name: a}\n  - &b {name: b, size: 4}\n  - {<<: *a, <<: *b}\n", "a0 b4 a4", "<nil>"},
		{"written in place", "items: [{<<: {name: x}, size: 1}]\n", "x1", "<nil>"},
		{"a word", "items: [{<<: x, name: y}]\n", "y0", `f.yaml:1:14: "<<": want a mapping or a list of mappings, got a string`},
		{"unknown key", "items: [{<<: {nam: x}, name: y}]\n", "y0", `f.yaml:1:15: unknown key "nam": did you mean "name"?`},
		{"duplicate in what is merged", "items: [{<<: {name: x, name: y}}]\n", "x0", `f.yaml:1:24: duplicate key "name": line 1 has it already`},
		{"itself", "items: [&a {name: x, <<: *a}]\n", "x0", `f.yaml:1:9: "items[0]": aliases stand for more than 10000 values`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := Reader{MergeKeys: true}
			var out sample
			r.Decode("f.yaml", []byte(tc.text), &out)
			if got := fmt.Sprint(r.Err()); got != tc.faults {
				t.Errorf("got %s, want %s", got, tc.faults)
			}
			var items []string
			for _, i := range out.Items {
				items = append(items, fmt.Sprint(i.Name, i.Size))
			}
			if got := strings.Join(items, " "); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// TestMergeBomb merges a thousand keys into a thousand mappings.
func TestMergeBomb(t *testing.T) {
	var keys strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&keys, "k%d: v, ", i)
	}
	text := "free: {a: &m {" + keys.String() + "}, b: [" + strings.Repeat("{<<: *m},", 1000) + "]}\n"
	var out struct {
		F Map[Either[string, []Map[string]]] `yaml:"free"`
	}
	r := Reader{MergeKeys: true, MaxFaults: 10}
	r.Decode("f.yaml", []byte(text), &out)
	if got := fmt.Sprint(r.Err()); !strings.Contains(got, "aliases stand for more than 10000 values") {
		t.Errorf("got %.200s", got)
	}
	if r.aliased > maxAliased+1000 {
		t.Errorf("%d values were reached", r.aliased)
	}
}

func TestMaxFaults(t *testing.T) {
	const text = "a: 1\nb: 2\nc: 3\nd: 4\n"
	fault := func(line int, key string) string { return fmt.Sprintf("f.yaml:%d:1: unknown key %q\n", line, key) }
	for _, tc := range []struct {
		limit int
		want  string
	}{
		{0, fault(1, "a") + fault(2, "b") + fault(3, "c") + fault(4, "d")},
		{5, fault(1, "a") + fault(2, "b") + fault(3, "c") + fault(4, "d")},
		{2, fault(1, "a") + fault(2, "b") + "f.yaml:2:1: there may be more faults, which are not listed\n"},
	} {
		r := Reader{MaxFaults: tc.limit}
		var out sample
		r.Decode("f.yaml", []byte(text), &out)
		if got := fmt.Sprint(r.Err()) + "\n"; got != tc.want {
			t.Errorf("limit %d: got\n%swant\n%s", tc.limit, got, tc.want)
		}
	}
}

func TestMaxItems(t *testing.T) {
	for text, want := range map[string]string{
		"command: [a, b, c]\n":    "<nil>",
		"command: [a, b, c, d]\n": `f.yaml:1:10: "command": want at most 3 items, got 4`,
	} {
		r := Reader{MaxItems: 3}
		var out sample
		r.Decode("f.yaml", []byte(text), &out)
		if got := fmt.Sprint(r.Err()); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"command", "capabilities", "binds", "binds.add", "net", "env"}
	for name, want := range map[string]string{
		"comand": "command", "comamnd": "command", "COMMAND": "command", "capabilites": "capabilities",
		"bind": "binds", strings.Repeat("command", 100): "", "bindsadd": "binds.add", "nte": "", "environment": "", "": "", "x": "",
	} {
		got := DidYouMean(name, known)
		if want != "" {
			want = fmt.Sprintf(": did you mean %q?", want)
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}} {
		if got := levenshtein.Distance(tc.a, tc.b, nil); got != tc.want {
			t.Errorf("%q to %q: got %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

// FuzzDecode looks for panics and for faults without a place.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"text: a\nyes: true\n", "items: [{name: a}]\nfree: {a: b}\n", "sub: &s {name: *s}\n", "command: &a [*a]\n",
		"? {a: b}\n: c\n", "text: |\n  x\n---\n", "<<: 1\n", "\xff\xfe", "!!map text: x",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r Reader
		var out sample
		r.Decode("f.yaml", data, &out)
		var errs Errors
		if err := r.Err(); err != nil && !errors.As(err, &errs) {
			t.Fatalf("%T: %v", err, err)
		}
		for _, e := range errs {
			if e.Pos.File != "f.yaml" || e.Pos.Line < 1 || e.Pos.Column < 1 || e.Message == "" {
				t.Errorf("fault without a place: %+v", e)
			}
		}
		if !slices.IsSortedFunc(errs, func(a, b Error) int { return a.Pos.Line - b.Pos.Line }) {
			t.Errorf("not sorted:\n%v", errs)
		}
	})
}
