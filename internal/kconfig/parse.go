package kconfig

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// fullHeader is what Kconfig writes at the top of a complete .config, and of nothing else that is read here.
const fullHeader = "# Automatically generated file; DO NOT EDIT."

// maxFaultsShown is how many faults Error tells: a file that is no configuration at all has one on every line.
const maxFaultsShown = 20

// wantValue says what may stand behind the equals sign.
const wantValue = `y, m, n, a number, 0x and hexadecimal digits, or "text"`

// Fault is one thing that is wrong in a file.
type Fault struct {
	Line    int // from 1
	Column  int // from 1, in characters
	Message string
}

// SyntaxError is everything that is wrong with one file, by position. It means that a file of the user's is wrong.
type SyntaxError struct {
	File   string
	Faults []Fault
}

// Error returns one line a fault, of the first 20.
func (e *SyntaxError) Error() string {
	var lines []string
	for i, f := range e.Faults {
		if i == maxFaultsShown {
			lines = append(lines, fmt.Sprintf("%s: %d more lines are wrong", e.File, len(e.Faults)-i))
			break
		}
		lines = append(lines, fmt.Sprintf("%s:%d:%d: %s", e.File, f.Line, f.Column, f.Message))
	}
	return strings.Join(lines, "\n")
}

// Parse reads a .config, what savedefconfig writes, or a fragment. The name of the file goes into the lines and the
// errors. Stricter than Kconfig, which passes over what it does not understand, it refuses all but settings, comments
// and empty lines, with a *SyntaxError. Lines may end with CR LF and in white space.
func Parse(file string, data []byte) ([]Line, error) {
	var lines []Line
	wrong := &SyntaxError{File: file}
	n := 0
	for raw := range bytes.Lines(data) {
		n++
		text := strings.TrimRight(string(raw), " \t\r\n")
		symbol, fault := parseLine(text)
		switch {
		case fault != nil:
			column := utf8.RuneCountInString(text[:fault.at]) + 1
			wrong.Faults = append(wrong.Faults, Fault{Line: n, Column: column, Message: fault.message})
		case symbol.Name != "":
			lines = append(lines, Line{Symbol: symbol, Origin: Origin{File: file, Line: n}})
		}
	}
	if len(wrong.Faults) > 0 {
		return nil, wrong
	}
	return lines, nil
}

// badText is what is wrong with one text.
type badText struct {
	at      int // bytes from its start
	message string
}

// parseLine reads one line without its end. A comment or an empty one is no symbol and no fault.
func parseLine(text string) (Symbol, *badText) {
	if name, ok := strings.CutPrefix(text, "# CONFIG_"); ok {
		name, ok = strings.CutSuffix(name, " is not set")
		if ok && badName(name) < 0 {
			return Symbol{Name: name, Value: "n"}, nil
		}
		return Symbol{}, nil
	}
	switch {
	case text == "" || text[0] == '#':
		return Symbol{}, nil
	case text[0] == ' ' || text[0] == '\t':
		return Symbol{}, &badText{0, "white space before the setting"}
	}
	setting, ok := strings.CutPrefix(text, "CONFIG_")
	if !ok {
		return Symbol{}, &badText{0, fmt.Sprintf("%.60q is not a setting: want CONFIG_SYMBOL=VALUE", text)}
	}
	name, value, ok := strings.Cut(setting, "=")
	at := len(text) - len(setting)
	if i := badName(name); i >= 0 {
		return Symbol{}, &badText{at + i, "want a symbol's name of letters, digits and underscores"}
	}
	at += len(name)
	if !ok {
		return Symbol{}, &badText{at, "no value: want =" + wantValue}
	}
	if fault := badValue(value); fault != nil {
		fault.at += at + 1
		return Symbol{}, fault
	}
	return Symbol{Name: name, Value: value}, nil
}

// badName returns where a symbol's name goes wrong, or -1.
func badName(name string) int {
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return i
		}
	}
	if name == "" {
		return 0
	}
	return -1
}

// badValue returns what is wrong with a value as .config writes it, or nil.
func badValue(value string) *badText {
	if strings.HasPrefix(value, `"`) {
		return badQuoted(value)
	}
	if value == "y" || value == "m" || value == "n" || isDecimal(value) || isHex(value) {
		return nil
	}
	return &badText{0, fmt.Sprintf("the value is %.60q: want %s", value, wantValue)}
}

func badQuoted(value string) *badText {
	control := func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }
	if i := strings.IndexFunc(value, control); i >= 0 {
		return &badText{i, fmt.Sprintf("the text has the control character %q", value[i])}
	}
	for i := 1; i < len(value); i++ {
		switch {
		case value[i] == '\\':
			i++ // Whatever follows stands for itself.
		case value[i] == '"' && i+1 < len(value):
			return &badText{i + 1, fmt.Sprintf(`%.60q stands behind the text's end; a quote in it is \"`, value[i+1:])}
		case value[i] == '"':
			return nil
		}
	}
	return &badText{len(value), "the text has no closing quote"}
}

func isDecimal(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func isHex(s string) bool {
	digits, ok := strings.CutPrefix(strings.ToLower(s), "0x")
	return ok && digits != "" && strings.Trim(digits, "0123456789abcdef") == ""
}

// IsFull says whether data is a complete .config: one that Kconfig wrote, with its header, so that a symbol that it
// does not name is off and not at its default.
func IsFull(data []byte) bool {
	for line := range bytes.Lines(data) {
		line = bytes.TrimRight(line, " \t\r\n")
		if string(line) == fullHeader {
			return true
		}
		if len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return false
}

// ParseSet reads what a flag has set: BE2NET=m, with CONFIG_ before it or not. Text may stand without its quotes
// where it is none of the other values. The flag is the line's origin and begins the error.
func ParseSet(flag, text string) (Line, error) {
	name, value, ok := strings.Cut(strings.TrimPrefix(text, "CONFIG_"), "=")
	switch {
	case !ok:
		return Line{}, fmt.Errorf("%s %s: want SYMBOL=VALUE", flag, text)
	case badName(name) >= 0:
		return Line{}, fmt.Errorf("%s %s: %q is no symbol's name: want letters, digits and underscores", flag, text, name)
	case value == "":
		return Line{}, fmt.Errorf(`%s %s: no value: want %s (the empty text is "")`, flag, text, wantValue)
	case badValue(value) != nil && value[0] != '"':
		value = quote(value)
	}
	if fault := badValue(value); fault != nil {
		return Line{}, fmt.Errorf("%s %s: %s", flag, text, fault.message)
	}
	return Line{Symbol: Symbol{Name: name, Value: value}, Origin: Origin{File: flag}}, nil
}

// quote writes text as .config does.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// unquote reads what quote writes, and other escapes as Kconfig does.
func unquote(value string) string {
	value = strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' && i+1 < len(value) {
			i++
		}
		b.WriteByte(value[i])
	}
	return b.String()
}
