package kconfig

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

const (
	// maxTold is how many symbols a sentence names.
	maxTold = 4
	// maxHints is for how many unknown names near ones are looked for: a configuration of another architecture has
	// thousands, and each is compared with 18000.
	maxHints = 20
)

// Unmet is something that was asked for and that Kconfig did not grant.
type Unmet struct {
	Line Line
	Got  string // the value that Kconfig gives; empty for a symbol that the kernel does not have
	Why  string // a sentence without its subject, which is the symbol: "depends on PCI_MSI, which is n"
	// Overridden says that a later line of those asked for has another value for the symbol, and that Why names it.
	Overridden bool
}

// String returns it in one line: a.config:3: CONFIG_BE2NET=m: got n: depends on PCI_MSI, which is n.
func (u Unmet) String() string {
	if u.Got == "" {
		return fmt.Sprintf("%s: %s", u.Line, u.Why)
	}
	return fmt.Sprintf("%s: got %s: %s", u.Line, u.Got, u.Why)
}

// Check compares what was asked for with what Kconfig made of it, and returns what differs in the order asked. To be
// off is what a symbol is that the kernel does not have. Lines need not be merged.
func (s *Symbols) Check(asked []Line) []Unmet {
	last := map[string]Line{}
	for _, l := range asked {
		last[l.Name] = l
	}
	var unmet []Unmet
	near := s.near()
	for _, l := range asked {
		i, known := s.Lookup(l.Name)
		u := Unmet{Line: l, Got: i.Value}
		switch {
		case known && i.is(l.Value), !known && l.Value == "n":
			continue
		case last[l.Name].Value != l.Value:
			u.Overridden = true
			u.Why = Override{Line: l, By: last[l.Name]}.later()
		case !known:
			u.Why = near(l.Name)
		default:
			u.Why = s.why(i, l.Value)
		}
		unmet = append(unmet, u)
	}
	return unmet
}

// Unknown returns the lines whose symbol the kernel does not have, whatever they ask for.
func (s *Symbols) Unknown(asked []Line) []Unmet {
	var unmet []Unmet
	near := s.near()
	for _, l := range asked {
		if _, ok := s.Lookup(l.Name); !ok {
			unmet = append(unmet, Unmet{Line: l, Why: near(l.Name)})
		}
	}
	return unmet
}

// near returns a function that says of an unknown name what it may have been meant to be.
func (s *Symbols) near() func(name string) string {
	const unknown = "is no symbol of this kernel"
	hints := 0
	return func(name string) string {
		if hints++; hints > maxHints {
			return unknown
		}
		var names []string
		for _, i := range s.sorted {
			// DidYouMean takes no name that is further off than this, and is spared most of them.
			if off := len(i.Name) - len(name); max(off, -off) <= len(name)/4+1 {
				names = append(names, i.Name)
			}
		}
		return unknown + strictyaml.DidYouMean(name, names)
	}
}

// is says whether the symbol has a value, however that is written. Numbers and text that .config has no line for are
// as off as can be.
func (i Info) is(want string) bool {
	switch i.Type {
	case "bool", "tristate":
		return i.Value == want
	case "string":
		return want == "n" && !i.Written || strings.HasPrefix(want, `"`) && unquote(want) == unquote(i.Value)
	}
	if want == "n" {
		return !i.Written
	}
	got, ok := number(i.Value, i.Type)
	wanted, valid := number(want, i.Type)
	return ok && valid && got.Cmp(wanted) == 0
}

// number reads a value as Kconfig does for the type int or hex.
func number(value, kind string) (*big.Int, bool) {
	if kind == "int" {
		if !isDecimal(value) {
			return nil, false
		}
		return new(big.Int).SetString(value, 10)
	}
	digits := strings.TrimPrefix(strings.ToLower(value), "0x")
	if !isHex("0x" + digits) {
		return nil, false
	}
	return new(big.Int).SetString(digits, 16)
}

// level orders the values of a tristate.
func level(value string) int { return strings.Index("nmy", value) }

// why says for what reason a symbol is not what was wanted.
func (s *Symbols) why(i Info, want string) string {
	modules, _ := s.Lookup("MODULES")
	kind := i.wrongKind(want)
	switch {
	case kind != "":
		return kind
	case want == "m" && modules.Value != "y":
		return "m needs MODULES, which is " + cmp.Or(modules.Value, "unknown to this kernel")
	case i.Type != "bool" && i.Type != "tristate":
		return s.whyOther(i, want)
	case level(i.Value) < level(want):
		return s.whyLess(i, want)
	}
	return s.whyMore(i, want)
}

// wrongKind says that no symbol of the type can have the value, or nothing.
func (i Info) wrongKind(want string) string {
	_, isNumber := number(want, i.Type)
	switch {
	case i.Type == "bool" && want == "m":
		return "is a yes/no symbol and cannot be m"
	case i.Type == "bool" && level(want) < 0:
		return "is a yes/no symbol and cannot be " + want
	case i.Type == "tristate" && level(want) < 0:
		return "is a yes/module/no symbol and cannot be " + want
	case i.Type == "int" && !isNumber:
		return "is a number and cannot be " + want
	case i.Type == "hex" && !isNumber:
		return "is a hexadecimal number and cannot be " + want
	case i.Type == "string" && want == "n":
		return `is text and cannot be n; the empty text is ""`
	case i.Type == "string" && want[0] != '"':
		return fmt.Sprintf("is text and cannot be %s; in quotes it can: %s", want, quote(want))
	}
	return ""
}

// whyLess is for a symbol that was to be y or m, and is less.
func (s *Symbols) whyLess(i Info, want string) string {
	var blocking []string
	for _, term := range i.Unmet {
		// To a yes/no symbol a dependency that is m is as good as y.
		if value := termValue(term); value == "n" || i.Type == "tristate" && level(value) < level(want) {
			blocking = append(blocking, term)
		}
	}
	switch {
	case i.Prompt == "":
		return i.whyUnprompted()
	case len(blocking) > 0:
		return "depends on " + s.terms(blocking) + i.possible()
	case i.Chosen != "" && i.Chosen != i.Name:
		return fmt.Sprintf("another member of the choice %q is chosen: %s", i.Choice, i.Chosen)
	case len(i.PromptUnmet) > 0:
		return "its prompt needs " + s.terms(i.PromptUnmet) + i.possible()
	}
	return i.rules()
}

// possible says that m is possible where y is not.
func (i Info) possible() string {
	if i.Type == "tristate" && i.Visible == "m" {
		return "; m is possible"
	}
	return ""
}

// whyUnprompted is for a symbol that nobody can set, and that is off or less than wanted.
func (i Info) whyUnprompted() string {
	selectors := slices.Clone(i.Selectors)
	slices.Sort(selectors)
	selectors = slices.Compact(selectors)
	switch {
	case len(selectors) == 0:
		return "has no prompt, and nothing selects it: only its default counts"
	case len(selectors) == 1:
		return fmt.Sprintf("has no prompt: only a select can switch it on (%s does)", selectors[0])
	}
	return fmt.Sprintf("has no prompt: only a select can switch it on (%s do)", enumerate(selectors))
}

// whyMore is for a symbol that was to be off or m, and is more.
func (s *Symbols) whyMore(i Info, want string) string {
	// The ones that are at the symbol's value force it. A condition may have lowered a select, so there may be none.
	by := i.selecting(i.Value)
	if len(by) == 0 {
		by = i.selecting("")
	}
	switch {
	case len(by) > 0:
		return fmt.Sprintf("is selected by %s, so that it cannot be %s", enumerate(by), want)
	case i.Chosen == i.Name:
		return fmt.Sprintf("is the chosen member of the choice %q; choose another one", i.Choice)
	case i.Prompt == "":
		return "has no prompt: its default counts"
	case len(i.PromptUnmet) > 0:
		return "its prompt needs " + s.terms(i.PromptUnmet) + "; its default counts until then"
	case len(i.Unmet) > 0:
		return "depends on " + s.terms(i.Unmet)
	}
	return i.rules()
}

// whyOther is for a number or a text.
func (s *Symbols) whyOther(i Info, want string) string {
	least, greatest, _ := strings.Cut(i.Range, " ")
	low, hasLow := number(least, i.Type)
	high, hasHigh := number(greatest, i.Type)
	wanted, isNumber := number(want, i.Type)
	switch {
	case isNumber && hasLow && hasHigh && (wanted.Cmp(low) < 0 || wanted.Cmp(high) > 0):
		return "out of the range " + i.Range
	case i.Prompt == "":
		return "has no prompt: its default counts"
	case i.Visible == "n" && len(i.Unmet) > 0:
		return "depends on " + s.terms(i.Unmet)
	case len(i.PromptUnmet) > 0:
		return "its prompt needs " + s.terms(i.PromptUnmet) + "; its default counts until then"
	}
	return i.rules()
}

// rules is the last resort.
func (i Info) rules() string { return fmt.Sprintf("the rules at %s:%d say so", i.File, i.Line) }

// termValue is the value at the end of a term of Info.Unmet.
func termValue(term string) string {
	at := strings.LastIndex(term, "[=")
	if at < 0 {
		return ""
	}
	return strings.TrimSuffix(term[at+len("[="):], "]")
}

// terms turns what is not met into words: "INET and NF_TABLES, which are n, and on A [=n] || B [=n]".
func (s *Symbols) terms(unmet []string) string {
	var off, modules, missing, compound []string
	for _, term := range unmet {
		value := termValue(term)
		name := strings.TrimSuffix(term, " [="+value+"]")
		_, known := s.Lookup(name)
		switch {
		case badName(name) >= 0:
			compound = append(compound, strings.TrimSuffix(strings.TrimPrefix(name, "("), ")"))
		case !known:
			missing = append(missing, name)
		case value == "m":
			modules = append(modules, name)
		default:
			off = append(off, name)
		}
	}
	var told []string
	for _, group := range []struct {
		names     []string
		one, many string
	}{
		{off, ", which is n", ", which are n"},
		{modules, ", which is m", ", which are m"},
		{missing, ", which this kernel does not have", ", which this kernel does not have"},
		{compound, "", ""},
	} {
		switch len(group.names) {
		case 0:
		case 1:
			told = append(told, group.names[0]+group.one)
		default:
			told = append(told, enumerate(group.names)+group.many)
		}
	}
	return strings.Join(told, ", and ")
}

// enumerate names a few and counts the rest.
func enumerate(names []string) string {
	if n := len(names) - maxTold; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxTold], ", "), n)
	}
	if n := len(names) - 1; n > 0 {
		return strings.Join(names[:n], ", ") + " and " + names[n]
	}
	return strings.Join(names, "")
}
