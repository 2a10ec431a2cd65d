package kconfig

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Linux 6.12 has 18000 symbols in 6 MB, and the longest line, of a symbol that hundreds select, is 9 kB.
const (
	maxSymbols     = 1 << 18
	maxSymbolsLine = 1 << 20  // bytes
	maxSymbolsText = 64 << 20 // bytes
)

// Info is one symbol of a kernel tree and what Kconfig made of it. Terms are in Kconfig's own notation: "A [=y] && !B
// [=n]", values in brackets. A name without brackets is none of this kernel's symbols.
type Info struct {
	Name  string `json:"name"`
	Type  string `json:"type"`  // bool, tristate, int, hex or string, as declared
	Value string `json:"value"` // as .config writes it; n, 0 or "" where Written is false
	// Written says whether .config has a line for the symbol. It has none where the symbol's dependencies are not
	// met.
	Written bool   `json:"written"`
	Prompt  string `json:"prompt"`  // in the menu; empty for a symbol that nobody can set
	Visible string `json:"visible"` // the most that a person can set now: y, m or n
	File    string `json:"file"`    // where Prompt stands, below the kernel's directory
	Line    int    `json:"line"`
	Depends string `json:"depends"` // with what surrounding menus depend on; empty for nothing
	// Unmet are the parts of Depends that are less than y, the value of each at its end: "PCI_MSI [=n]", "(A [=n]
	// || !B [=y]) [=n]".
	Unmet []string `json:"unmet"`
	// PromptUnmet are what the prompt asks for besides, in the same form. Without it the symbol has its default.
	PromptUnmet []string `json:"prompt_unmet"`
	SelectedBy  []string `json:"selected_by"` // the selects that are not n; the first name of each is who selects
	Selectors   []string `json:"selectors"`   // all symbols that can select it
	ImpliedBy   []string `json:"implied_by"`
	Choice      string   `json:"choice"`        // the prompt of the choice that it is a member of
	Chosen      string   `json:"choice_chosen"` // the choice's member that is y
	Range       string   `json:"range"`         // the least and the greatest number: "0 512"
}

// String returns the symbol in a few lines, without a newline at the end.
func (i Info) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "CONFIG_%s=%s  %s", i.Name, i.Value, i.Type)
	if i.Prompt != "" {
		fmt.Fprintf(&b, ", %q", i.Prompt)
	}
	fmt.Fprintf(&b, "\n    %s:%d", i.File, i.Line)
	for _, row := range []struct{ what, text string }{
		{"depends on", i.Depends},
		{"prompt needs", strings.Join(i.PromptUnmet, " && ")},
		{"selected by", enumerate(i.selecting(""))},
		{"range", i.Range},
		{"choice", i.Choice},
		{"chosen there", i.Chosen},
	} {
		if row.text != "" {
			fmt.Fprintf(&b, "\n    %s %s", row.what, row.text)
		}
	}
	return b.String()
}

// selecting are the names of those that select the symbol at the moment; with a value, of those that are at it.
func (i Info) selecting(value string) []string {
	var names []string
	for _, term := range i.SelectedBy {
		name, rest, _ := strings.Cut(term, " ")
		if value == "" || strings.HasPrefix(rest, "[="+value+"]") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Symbols are all symbols of a kernel tree for one architecture and configuration.
type Symbols struct {
	sorted []Info // by name
}

// ReadSymbols reads what QuerySource's program writes: one JSON object a line, sorted by name.
func ReadSymbols(r io.Reader) (*Symbols, error) {
	s := &Symbols{}
	limited := &io.LimitedReader{R: r, N: maxSymbolsText}
	err := s.read(limited)
	switch {
	case limited.N <= 0:
		// The cut made the error, if there is one.
		return nil, fmt.Errorf("symbols: more than %d bytes", int64(maxSymbolsText))
	case err != nil:
		return nil, fmt.Errorf("symbols: line %d: %w", len(s.sorted)+1, err)
	}
	return s, nil
}

func (s *Symbols) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxSymbolsLine)
	for lines.Scan() {
		var i Info
		if err := json.Unmarshal(lines.Bytes(), &i); err != nil {
			return err
		}
		if err := s.add(i); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (s *Symbols) add(i Info) error {
	switch {
	case badName(i.Name) >= 0:
		return fmt.Errorf("%q is no symbol's name", i.Name)
	case !fits(i.Type, i.Value):
		return fmt.Errorf("%s: %q is no value of a %s symbol", i.Name, i.Value, i.Type)
	case i.Visible != "y" && i.Visible != "m" && i.Visible != "n":
		return fmt.Errorf("%s: visible is %q: want y, m or n", i.Name, i.Visible)
	case len(s.sorted) == maxSymbols:
		return fmt.Errorf("more than %d symbols", maxSymbols)
	}
	if n := len(s.sorted); n > 0 && s.sorted[n-1].Name >= i.Name {
		return fmt.Errorf("%s stands behind %s: want them sorted, each once", i.Name, s.sorted[n-1].Name)
	}
	s.sorted = append(s.sorted, i)
	return nil
}

// fits says whether Kconfig gives a value to a symbol of a type. Numbers may be empty: up to 6.1 that is a number
// without a default.
func fits(kind, value string) bool {
	switch kind {
	case "bool":
		return value == "y" || value == "n"
	case "tristate":
		return value == "y" || value == "m" || value == "n"
	case "int":
		return value == "" || isDecimal(value)
	case "hex":
		return value == "" || isHex(value) || isHex("0x"+value)
	case "string":
		return strings.HasPrefix(value, `"`) && badQuoted(value) == nil
	}
	return false
}

// Lookup returns one symbol by its name, without CONFIG_.
func (s *Symbols) Lookup(name string) (Info, bool) {
	i, ok := slices.BinarySearchFunc(s.sorted, name, func(i Info, name string) int { return cmp.Compare(i.Name, name) })
	if !ok {
		return Info{}, false
	}
	return s.sorted[i], true
}

// All returns every symbol, sorted by name.
func (s *Symbols) All() []Info { return slices.Clone(s.sorted) }

// Change is a symbol that differs between two configurations.
type Change struct {
	Name   string
	Before string // as .config writes it; empty where .config has no line for it
	After  string
	Prompt string
}

// String returns the change in one line.
func (c Change) String() string {
	text := fmt.Sprintf("%s: %s -> %s", c.Name, cmp.Or(c.Before, "-"), cmp.Or(c.After, "-"))
	if c.Prompt != "" {
		text += fmt.Sprintf(" (%s)", c.Prompt)
	}
	return text
}

// Diff returns what differs from a to b, by name. A symbol that is n and one that does not exist are the same. Without
// all, only symbols count that a person can set, that is, which have a prompt on either side.
func Diff(a, b *Symbols, all bool) []Change {
	var changes []Change
	pairs(a.sorted, b.sorted, func(before, after Info) {
		c := Change{
			Name:   cmp.Or(after.Name, before.Name),
			Before: before.line(),
			After:  after.line(),
			Prompt: cmp.Or(after.Prompt, before.Prompt),
		}
		if cmp.Or(c.Before, "n") != cmp.Or(c.After, "n") && (all || c.Prompt != "") {
			changes = append(changes, c)
		}
	})
	return changes
}

// line is the symbol's value if .config has a line for it.
func (i Info) line() string {
	if !i.Written {
		return ""
	}
	return i.Value
}

// pairs walks two sorted lists side by side. Where one lacks a name, its half is zero.
func pairs(a, b []Info, visit func(a, b Info)) {
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Name < b[0].Name:
			visit(a[0], Info{})
			a = a[1:]
		case len(a) == 0 || b[0].Name < a[0].Name:
			visit(Info{}, b[0])
			b = b[1:]
		default:
			visit(a[0], b[0])
			a, b = a[1:], b[1:]
		}
	}
}

// Search returns the symbols that have word in their name or prompt, in upper or lower case, best first: the name
// itself, names that begin with it, names that contain it, prompts that contain it; by name among equals. A CONFIG_
// before the word does not count.
func (s *Symbols) Search(word string) []Info {
	word = strings.TrimPrefix(strings.ToLower(word), "config_")
	if word == "" {
		return nil
	}
	var ranks [4][]Info
	for _, i := range s.sorted {
		if r := rank(i, word); r >= 0 {
			ranks[r] = append(ranks[r], i)
		}
	}
	return slices.Concat(ranks[:]...)
}

func rank(i Info, word string) int {
	switch name := strings.ToLower(i.Name); {
	case name == word:
		return 0
	case strings.HasPrefix(name, word):
		return 1
	case strings.Contains(name, word):
		return 2
	case strings.Contains(strings.ToLower(i.Prompt), word):
		return 3
	}
	return -1
}
