package strictyaml

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// What may be reached through aliases, in values and in bytes of their text. A file for hookbuild has a few;
// nested aliases can make billions out of ten lines, and a long text can be meant ten thousand times.
const (
	maxAliased     = 10_000
	maxAliasedText = 8 << 20
)

// decoder reads the nodes of one file. How deep it goes is bounded by the Go types, which are not recursive.
type decoder struct {
	r    *Reader
	file string
}

// scope is what a value inherits from the keys above it.
type scope struct {
	name    string // of the key, for messages; empty at the root
	literal bool   // Expand does not apply
	aliased bool   // reached through an alias
}

// self is implemented by the generic types of this package.
type self interface {
	decode(*decoder, *yaml.Node, scope)
}

func (v *Value[T]) decode(d *decoder, n *yaml.Node, s scope) {
	v.Pos = d.pos(n)
	d.value(n, reflect.ValueOf(&v.V).Elem(), s)
}

func (m *Map[T]) decode(d *decoder, n *yaml.Node, s scope) {
	*m = Map[T]{}
	d.mapping(n, s, func(key, val *yaml.Node, s scope) {
		p := Pair[T]{Key: Value[string]{Pos: d.pos(key), V: key.Value}}
		d.value(val, reflect.ValueOf(&p.Value).Elem(), s.below(key.Value))
		*m = append(*m, p)
	})
}

func (e *Either[W, C]) decode(d *decoder, n *yaml.Node, s scope) {
	e.Kind = kindOf(n)
	if n.Kind == yaml.ScalarNode {
		d.value(n, reflect.ValueOf(&e.Word).Elem(), s)
		return
	}
	d.value(n, reflect.ValueOf(&e.Rest).Elem(), s)
}

func (s scope) below(key string) scope {
	s.name = key
	return s
}

func (d *decoder) pos(n *yaml.Node) Pos { return Pos{d.file, n.Line, n.Column} }

// faultf adds a fault at n that begins with the key's name.
func (d *decoder) faultf(n *yaml.Node, s scope, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if s.name != "" {
		message = fmt.Sprintf("%q: %s", s.name, message)
	}
	d.r.Faultf(d.pos(n), "%s", message)
}

// value decodes n into v, which is addressable.
func (d *decoder) value(n *yaml.Node, v reflect.Value, s scope) {
	n, s, ok := d.follow(n, s)
	if !ok {
		return
	}
	switch t := v.Addr().Interface().(type) {
	case self:
		t.decode(d, n, s)
	case Unmarshaler:
		scalar(d, n, s, func(r Raw) (struct{}, error) { return struct{}{}, t.FromYAML(r) })
	case *string:
		*t = scalar(d, n, s, Raw.AsString)
	case *bool:
		*t = scalar(d, n, s, Raw.AsBool)
	case *int:
		*t = scalar(d, n, s, Raw.AsInt)
	default:
		d.composite(n, v, s)
	}
}

func (d *decoder) composite(n *yaml.Node, v reflect.Value, s scope) {
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, s)
	case reflect.Slice:
		d.list(n, v, s)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), s)
	default: // a mistake in our own types, which every test of them meets
		panic("strictyaml: cannot decode into " + v.Type().String())
	}
}

// follow replaces an alias by what it stands for and counts what is reached that way.
func (d *decoder) follow(n *yaml.Node, s scope) (*yaml.Node, scope, bool) {
	for n.Kind == yaml.AliasNode {
		n, s.aliased = n.Alias, true
	}
	return n, s, d.spend(n, s)
}

// spend counts n where it was reached through an alias, and says whether it may still be read.
func (d *decoder) spend(n *yaml.Node, s scope) bool {
	if !s.aliased {
		return true
	}
	d.r.aliased++
	d.r.aliasedText += len(n.Value)
	if d.r.aliased <= maxAliased && d.r.aliasedText <= maxAliasedText {
		return true
	}
	if !d.r.bomb {
		d.r.bomb = true
		if d.r.aliased > maxAliased {
			d.faultf(n, s, "aliases stand for more than %d values", maxAliased)
		} else {
			d.faultf(n, s, "aliases stand for more than %d bytes of text", maxAliasedText)
		}
	}
	return false
}

// scalar applies convert to n and reports its error.
func scalar[T any](d *decoder, n *yaml.Node, s scope, convert func(Raw) (T, error)) T {
	var zero T
	raw := Raw{Pos: d.pos(n), Kind: kindOf(n), Text: n.Value, Quoted: n.Style&quoted != 0}
	if d.r.Expand != nil && !s.literal && n.Kind == yaml.ScalarNode {
		text, err := d.r.Expand(raw.Text)
		if err != nil {
			d.faultf(n, s, "%v", err)
			return zero
		}
		if text != raw.Text && raw.Kind == String {
			raw.Kind, raw.Text = Expanded, text
		}
	}
	v, err := convert(raw)
	if err != nil {
		d.faultf(n, s, "%v", err)
		return zero
	}
	return v
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, s scope) {
	if kind := kindOf(n); kind != List {
		d.faultf(n, s, "want a list, got %s", kind)
		return
	}
	if limit := d.r.MaxItems; limit > 0 && len(n.Content) > limit {
		d.faultf(n, s, "want at most %d items, got %d", limit, len(n.Content))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		if d.r.Full() {
			return
		}
		d.value(item, v.Index(i), s.below(fmt.Sprintf("%s[%d]", s.name, i)))
	}
}

// mapping calls each for the keys of n, every one once, and then for those that "<<" brings.
func (d *decoder) mapping(n *yaml.Node, s scope, each func(key, val *yaml.Node, s scope)) {
	if kind := kindOf(n); kind != Mapping {
		d.faultf(n, s, "want a mapping, got %s", kind)
		return
	}
	d.pairs(n, s, map[string]bool{}, each)
}

// pairs calls each for the keys of the mapping n that are not taken.
func (d *decoder) pairs(n *yaml.Node, s scope, taken map[string]bool, each func(key, val *yaml.Node, s scope)) {
	first := map[string]*yaml.Node{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content) && !d.r.Full(); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		earlier := first[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.r.Faultf(d.pos(key), "a key must be a plain word or a string")
		case key.ShortTag() == "!!merge" && !d.r.MergeKeys:
			d.r.Faultf(d.pos(key), "%q is not supported yet", key.Value)
		case key.ShortTag() == "!!merge":
			merged = append(merged, val)
		case earlier != nil:
			d.r.Faultf(d.pos(key), "duplicate key %q: line %d has it already", key.Value, earlier.Line)
		case taken[key.Value]:
			if !d.spend(key, s) { // the values of the others are counted where they are read
				return
			}
		default:
			first[key.Value], taken[key.Value] = key, true
			each(key, val, s)
		}
	}
	for _, m := range merged {
		d.merge(m, s, taken, each)
	}
}

// merge brings in what "<<" names: a mapping, or a list of them, the first of which counts most
// (https://yaml.org/type/merge.html). A mapping that merges itself ends where follow's count does.
func (d *decoder) merge(n *yaml.Node, s scope, taken map[string]bool, each func(key, val *yaml.Node, s scope)) {
	n, s, ok := d.follow(n, s)
	if !ok {
		return
	}
	switch kind := kindOf(n); kind {
	case Mapping:
		d.pairs(n, s, taken, each)
	case List:
		for _, item := range n.Content {
			d.merge(item, s, taken, each)
		}
	default:
		d.r.Faultf(d.pos(n), `"<<": want a mapping or a list of mappings, got %s`, kind)
	}
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, s scope) {
	f := fieldsOf(v)
	if f.pos.IsValid() {
		f.pos.Set(reflect.ValueOf(d.pos(n)))
	}
	d.mapping(n, s, func(key, val *yaml.Node, s scope) {
		name := key.Value
		i := slices.IndexFunc(f.known, func(k field) bool { return k.name == name })
		switch {
		case i >= 0:
			sub := s.below(name)
			sub.literal = sub.literal || f.known[i].literal
			f.known[i].given = true
			d.value(val, f.known[i].value, sub)
		case slices.Contains(f.unsupported, name):
			d.r.Faultf(d.pos(key), "%q is not supported yet", name)
		default:
			d.r.Faultf(d.pos(key), "unknown key %q%s", name, DidYouMean(name, f.names()))
		}
	})
	for _, k := range f.known {
		if k.required && !k.given && kindOf(n) == Mapping {
			d.faultf(n, s, "key %q is missing", k.name)
		}
	}
}

// fields is what a struct can take.
type fields struct {
	known       []field
	unsupported []string
	pos         reflect.Value // the field of type Pos, if there is one
}

type field struct {
	name     string
	value    reflect.Value
	required bool
	literal  bool
	given    bool
}

func fieldsOf(v reflect.Value) fields {
	var f fields
	for i := range v.NumField() {
		t := v.Type().Field(i)
		tag, tagged := t.Tag.Lookup("yaml")
		switch {
		case t.Tag.Get("unsupported") != "":
			f.unsupported = append(f.unsupported, strings.Fields(t.Tag.Get("unsupported"))...)
		case t.Type == reflect.TypeFor[Pos]():
			f.pos = v.Field(i)
		case t.Anonymous && !tagged:
			inner := fieldsOf(v.Field(i))
			f.known = append(f.known, inner.known...)
			f.unsupported = append(f.unsupported, inner.unsupported...)
		case tagged:
			parts := strings.Split(tag, ",")
			f.known = append(f.known, field{
				name: parts[0], value: v.Field(i),
				required: slices.Contains(parts[1:], "required"),
				literal:  slices.Contains(parts[1:], "literal"),
			})
		}
	}
	return f
}

func (f fields) names() []string {
	names := slices.Clone(f.unsupported)
	for _, k := range f.known {
		names = append(names, k.name)
	}
	return names
}
