// Package strictyaml reads one YAML document (https://yaml.org/spec/1.2.2/) into Go structs and reports
// everything that is wrong with it at once, each fault with file, line and column.
package strictyaml

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Pos is a place in a file. The zero value is no place: a key that was not given has it. A field of this
// type in a struct receives the position of the struct's mapping.
type Pos struct {
	File   string
	Line   int // from 1
	Column int // from 1, in characters
}

// String returns file:line:column.
func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Error is one fault.
type Error struct {
	Pos     Pos
	Message string
}

// Error returns file:line:column: message.
func (e Error) Error() string { return e.Pos.String() + ": " + e.Message }

// Errors is everything that is wrong with the documents read, sorted by position. It means that a file of
// the user's is wrong.
type Errors []Error

// Error returns one line a fault.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Value is a value that knows where it was written.
type Value[T any] struct {
	Pos Pos
	V   T
}

// Set says whether the key was given, which for a list or a boolean is not the same as being non-zero.
func (v Value[T]) Set() bool { return v.Pos.Line > 0 }

// Map is a mapping with free keys, in the order of the file.
type Map[T any] []Pair[T]

// Pair is one key of a Map with its value.
type Pair[T any] struct {
	Key   Value[string]
	Value T
}

// Either is a value that may be written in two ways: as one word (a string, a number, a boolean or nothing),
// which is read into Word, or as a mapping or a list, which is read into Rest.
type Either[W, C any] struct {
	Kind Kind // of what was written
	Word W
	Rest C
}

// Reader reads documents and collects their faults. The zero value is ready for use.
//
// It decodes into structs whose fields are tagged `yaml:"name"`, with the options "required" (the key must
// be given) and "literal" (Expand does not apply to the value). Fields may be string, bool, int, slices,
// structs, pointers, Value, Map, Either, or implement Unmarshaler; embedded structs are read as if their
// fields stood in the outer one. Keys that are known but not implemented are listed, separated by blanks,
// in the tag of a blank field: _ struct{} `unsupported:"a b"`.
type Reader struct {
	// Expand, if set, is applied to every scalar value (not to keys) before it is looked at. What it
	// changed may be read as a string, a number or a boolean, whichever the field asks for.
	Expand func(string) (string, error)

	// MergeKeys makes "<<" bring in the keys of other mappings, which YAML 1.2 left out. Keys that stand
	// beside it go before. Without it, "<<" is a fault.
	MergeKeys bool

	// MaxFaults is how many faults are collected before reading stops; 0 is no limit. It bounds the time that
	// a hostile document takes, since near matches are looked for in each fault.
	MaxFaults int

	// MaxItems is how many items one list may have; 0 is no limit. It bounds the memory that a list of large
	// structs takes.
	MaxItems int

	faults      []Error
	aliased     int  // values reached through aliases so far
	aliasedText int  // bytes of their text
	bomb        bool // one of the two is over its limit, and a fault says so
}

// Unmarshaler is implemented by types that read themselves from a value. The error becomes a fault at the
// value's position.
type Unmarshaler interface {
	FromYAML(Raw) error
}

// Full says that there are MaxFaults faults, so that looking for more is of no use.
func (r *Reader) Full() bool { return r.MaxFaults > 0 && len(r.faults) >= r.MaxFaults }

// Faultf adds a fault at p, unless there are MaxFaults of them.
func (r *Reader) Faultf(p Pos, format string, args ...any) {
	if r.Full() {
		return
	}
	r.faults = append(r.faults, Error{Pos: p, Message: fmt.Sprintf(format, args...)})
}

// Err returns all faults as Errors, or nil where there is none. The last of MaxFaults faults says that there
// may be more.
func (r *Reader) Err() error {
	if len(r.faults) == 0 {
		return nil
	}
	all := slices.Clone(r.faults)
	slices.SortStableFunc(all, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Column, b.Pos.Column), cmp.Compare(a.Message, b.Message))
	})
	all = slices.Compact(all) // a fault below an anchor is found once per alias
	if last := all[len(all)-1]; r.Full() {
		all = append(all, Error{Pos: last.Pos, Message: "there may be more faults, which are not listed"})
	}
	return Errors(all)
}

// Decode reads the single document of data into out, a pointer to a struct. file is the name that faults
// carry. What could be read is set even where there are faults.
func (r *Reader) Decode(file string, data []byte, out any) {
	root := r.document(file, data)
	if root == nil {
		return
	}
	d := decoder{r: r, file: file}
	d.value(root, reflect.ValueOf(out).Elem(), scope{})
}

// document returns the root of the only document, or nil after a fault.
func (r *Reader) document(file string, data []byte) *yaml.Node {
	start := Pos{File: file, Line: 1, Column: 1}
	loader, err := yaml.NewLoader(strings.NewReader(string(data)))
	if err != nil {
		r.Faultf(start, "%v", err)
		return nil
	}
	var doc, more yaml.Node
	err = loader.Load(&doc)
	if errors.Is(err, io.EOF) || err == nil && isEmpty(&doc) {
		r.Faultf(start, "the document is empty")
		return nil
	}
	if err != nil {
		r.syntax(start, err)
		return nil
	}
	switch err := loader.Load(&more); {
	case err == nil:
		r.Faultf(Pos{file, more.Line, more.Column}, "a second document begins here: only one is allowed")
	case !errors.Is(err, io.EOF):
		r.syntax(start, err)
	}
	return doc.Content[0]
}

func isEmpty(doc *yaml.Node) bool {
	return len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null"
}

// syntax adds the fault that the YAML parser found.
func (r *Reader) syntax(p Pos, err error) {
	var bad *yaml.LoadError
	if !errors.As(err, &bad) {
		r.Faultf(p, "%v", err)
		return
	}
	if bad.Mark.Line > 0 {
		p.Line, p.Column = bad.Mark.Line, max(bad.Mark.Column, 1)
	}
	r.Faultf(p, "%s", bad.Message)
}
