package kbuild

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// object is a word of an obj- list.
type object struct {
	word    string   // name.o or dir/
	symbols []string // that its list names; none for obj-y and obj-m
	around  []string // those of the conditions that it stands in
}

// makefiles fills Modules.
func (t *Tree) makefiles(files map[string]string) {
	lists := map[string][]object{} // by directory
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if base := path.Base(name); base == "Makefile" || base == "Kbuild" {
			dir := path.Dir(name)
			lists[dir] = append(lists[dir], parseMakefile(files[name])...)
		}
	}
	inherited := map[string][]string{} // directory to the symbols that lead into it
	for _, dir := range slices.Sorted(maps.Keys(lists)) {
		for _, o := range lists[dir] {
			if below, ok := strings.CutSuffix(o.word, "/"); ok {
				to := path.Join(dir, below)
				inherited[to] = union(inherited[to], o.named())
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(lists)) {
		for _, o := range lists[dir] {
			if !strings.HasSuffix(o.word, ".o") {
				continue
			}
			symbols := o.named()
			for at := dir; len(symbols) == 0 && at != "."; at = path.Dir(at) {
				symbols = inherited[at]
			}
			if len(symbols) > 0 {
				key := Key(path.Join(dir, o.word))
				t.Modules[key] = union(t.Modules[key], symbols)
			}
		}
	}
}

func (o object) named() []string {
	if len(o.symbols) > 0 {
		return o.symbols
	}
	return o.around
}

// union is a with what b has besides, in a slice of its own.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

var (
	assignment = regexp.MustCompile(`^((?:[^\s:=+?$]|\$\([^()]*(?:\$\([^()]*\)[^()]*)*\)|\$\{[^{}]*\})+)\s*(\+=|:=|\?=|::=|=)\s*(.*)$`)
	optional   = regexp.MustCompile(`^(.*-)\$[({]CONFIG_([A-Za-z0-9_]+)[)}]$`)
	chosenList = regexp.MustCompile(`^\$[({]([A-Za-z0-9_.-]*-)[ym][)}]$`)
	symbolName = regexp.MustCompile(`\$[({]CONFIG_([A-Za-z0-9_]+)[)}]`)
	reference  = regexp.MustCompile(`\$[({]([A-Za-z0-9_.-]+)[)}]`)
	condition  = regexp.MustCompile(`^(ifeq|ifneq|ifdef|ifndef|else|endif)\b\s*(.*)$`)
)

// makefile is one that is being read.
type makefile struct {
	vars    map[string]string   // as last assigned, for names that stand in place of obj-y
	lists   map[string][]object // of names like NAME-$(CONFIG_X), by NAME-
	around  [][]string          // symbols of each open condition; nil for one that says nothing
	objects []object
}

// parseMakefile returns what is in the obj- lists.
func parseMakefile(text string) []object {
	m := makefile{vars: map[string]string{}, lists: map[string][]object{}}
	for line := range logicalLines(text) {
		switch {
		case strings.HasPrefix(line, "\t"): // a recipe's, or an indented statement's; the latter has no objects in practice
			line = strings.TrimSpace(line)
			if !assignment.MatchString(line) || !strings.HasPrefix(line, "obj-") {
				continue
			}
		}
		line = strings.TrimSpace(line)
		if c := condition.FindStringSubmatch(line); c != nil {
			m.conditional(c[1], c[2])
			continue
		}
		if a := assignment.FindStringSubmatch(line); a != nil {
			m.assign(a[1], a[2], a[3])
		}
	}
	return m.objects
}

// logicalLines are the lines of a Makefile, those that end with a backslash put together, without comments.
func logicalLines(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		joined := ""
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\r\n")
			if i := strings.IndexByte(line, '#'); i >= 0 {
				line = line[:i]
			}
			if part, more := strings.CutSuffix(strings.TrimRight(line, " \t"), `\`); more {
				joined += part + " "
				continue
			}
			if !yield(joined + line) {
				return
			}
			joined = ""
		}
		if joined != "" {
			yield(joined)
		}
	}
}

// conditional opens, turns or closes a condition. Only one that holds when a symbol is set says something.
func (m *makefile) conditional(word, rest string) {
	names := symbolsIn(rest)
	if word == "ifdef" {
		if name, ok := strings.CutPrefix(strings.TrimSpace(rest), "CONFIG_"); ok {
			names = append(names, name)
		}
	}
	set := word == "ifdef"
	switch word {
	case "ifeq": // ($(CONFIG_X),y), and m
		set = strings.HasSuffix(strings.TrimRight(rest, ") "), ",y") || strings.HasSuffix(strings.TrimRight(rest, ") "), ",m") ||
			strings.HasSuffix(strings.TrimRight(rest, ") "), ", y") || strings.HasSuffix(strings.TrimRight(rest, ") "), ", m")
	case "ifneq": // ($(CONFIG_X),) or …,n)
		set = strings.HasSuffix(strings.TrimRight(rest, ") "), ",") || strings.HasSuffix(strings.TrimRight(rest, ") "), ",n")
	case "else":
		if len(m.around) > 0 {
			m.around[len(m.around)-1] = nil
		}
		return
	case "endif":
		if len(m.around) > 0 {
			m.around = m.around[:len(m.around)-1]
		}
		return
	}
	if !set {
		names = nil
	}
	m.around = append(m.around, names)
}

func (m *makefile) assign(name, op, value string) {
	if op == "+=" {
		value = m.vars[name] + " " + value
	}
	m.vars[name] = value
	kind, ok := strings.CutPrefix(name, "obj-")
	if !ok {
		if o := optional.FindStringSubmatch(name); o != nil {
			for _, word := range strings.Fields(value) {
				m.lists[o[1]] = append(m.lists[o[1]], object{word: word, symbols: []string{o[2]}})
			}
		}
		return
	}
	m.vars[name] = "" // what follows appends to what is taken here
	var symbols []string
	if kind != "y" && kind != "m" {
		symbols = symbolsIn(m.expanded(kind, 0))
		if len(symbols) == 0 {
			return // a list of a name of its own, such as obj-core
		}
		symbols = symbols[len(symbols)-1:] // $(subst y,$(CONFIG_A),$(CONFIG_B)): B, which cannot be more than A
	}
	m.take(value, symbols)
}

// take adds the words of a value to the objects.
func (m *makefile) take(value string, symbols []string) {
	var around []string
	for _, names := range m.around {
		around = union(around, names)
	}
	add := func(o object) {
		if strings.HasSuffix(o.word, ".o") || strings.HasSuffix(o.word, "/") {
			m.objects = append(m.objects, o)
		}
	}
	for _, ref := range strings.Fields(value) {
		if list := chosenList.FindStringSubmatch(ref); list != nil && m.lists[list[1]] != nil {
			for _, o := range m.lists[list[1]] {
				add(o)
			}
			continue
		}
		for _, word := range strings.Fields(m.expanded(ref, 0)) {
			add(object{word, symbols, around})
		}
	}
}

// expanded puts the values of the Makefile's own variables in.
func (m *makefile) expanded(text string, depth int) string {
	const deepest, longest = 4, 1 << 16
	if depth > deepest || len(text) > longest {
		return text
	}
	return reference.ReplaceAllStringFunc(text, func(ref string) string {
		value, ok := m.vars[ref[2:len(ref)-1]]
		if !ok {
			return ref
		}
		return m.expanded(value, depth+1)
	})
}

func symbolsIn(text string) []string {
	var names []string
	for _, found := range symbolName.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(names, found[1]) {
			names = append(names, found[1])
		}
	}
	return names
}
