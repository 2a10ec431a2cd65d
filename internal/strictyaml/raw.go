package strictyaml

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Kind is the type of a YAML value. The zero value is a value that hookbuild has no use for, such as one
// with a tag of its own.
type Kind uint8

// The kinds of values.
const (
	Other Kind = iota
	Null
	Bool
	Number
	String
	Expanded // a scalar that Expand changed: a string, a number or a boolean
	List
	Mapping
)

// String returns the kind with its article, as in "want a list, got a string".
func (k Kind) String() string {
	return [...]string{"a value with a tag", "nothing", "a boolean", "a number", "a string", "a string", "a list", "a mapping"}[k]
}

// Raw is a value of any kind.
type Raw struct {
	Pos  Pos
	Kind Kind
	Text string // of a scalar: as written, without quotes, after Expand

	// Quoted says that a scalar was written in quotes or as a block of text (| or >), and so is a string
	// whatever it reads like.
	Quoted bool
}

// quoted are the styles of a scalar that YAML never takes for anything but a string.
const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

var decimal = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

// AsString returns the text of a string. A number or boolean without quotes is refused, because YAML may
// read it as something else than was meant: 6.10 as 6.1, no as false.
func (r Raw) AsString() (string, error) {
	switch r.Kind {
	case String, Expanded:
		return r.Text, nil
	case Number, Bool:
		return "", fmt.Errorf("want a string, got %s: write %q with quotes", r.Kind, r.Text)
	}
	return "", fmt.Errorf("want a string, got %s", r.Kind)
}

// AsInt returns a whole number. Only plain decimal notation is taken: YAML 1.1 and 1.2 disagree about 010.
func (r Raw) AsInt() (int, error) {
	if r.Kind != Number && r.Kind != Expanded {
		return 0, fmt.Errorf("want a whole number, got %s", r.Kind)
	}
	if !decimal.MatchString(r.Text) {
		return 0, fmt.Errorf("want a whole number in plain decimal notation, got %q", r.Text)
	}
	n, err := strconv.Atoi(r.Text)
	if err != nil {
		return 0, fmt.Errorf("number %s is too large", r.Text)
	}
	return n, nil
}

// AsBool returns true or false.
func (r Raw) AsBool() (bool, error) {
	switch text := strings.ToLower(r.Text); {
	case r.Kind != Bool && r.Kind != Expanded:
		return false, fmt.Errorf("want true or false, got %s", r.Kind)
	case text == "true" || text == "false":
		return text == "true", nil
	}
	return false, errors.New("want true or false")
}

// AsScalar returns the text of a string, number or boolean as it was written.
func (r Raw) AsScalar() (string, error) {
	switch r.Kind {
	case String, Expanded, Number, Bool:
		return r.Text, nil
	}
	return "", fmt.Errorf("want a string, a number or a boolean, got %s", r.Kind)
}

// kindOf sorts a node that is no alias.
func kindOf(n *yaml.Node) Kind {
	switch tag := n.ShortTag(); {
	case n.Kind == yaml.SequenceNode && tag == "!!seq":
		return List
	case n.Kind == yaml.MappingNode && tag == "!!map":
		return Mapping
	case n.Kind != yaml.ScalarNode:
		return Other
	case tag == "!!str", tag == "!!timestamp": // a date is text to us
		return String
	case tag == "!!int", tag == "!!float":
		return Number
	case tag == "!!bool":
		return Bool
	case tag == "!!null":
		return Null
	}
	return Other
}
