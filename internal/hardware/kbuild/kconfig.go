package kbuild

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// kconfigFile is what one Kconfig file says, apart from where it is sourced.
type kconfigFile struct {
	symbols []definition
	sources []sourced
}

type definition struct {
	name string
	Symbol
}

type sourced struct {
	file   string
	around []string // conditions
}

// readKconfig returns all symbols. Of several definitions the first with a prompt counts.
func readKconfig(files map[string]string) map[string]Symbol {
	parsed, parents := map[string]kconfigFile{}, map[string][]string{}
	names := slices.Sorted(maps.Keys(files))
	for _, name := range names {
		if !strings.HasPrefix(path.Base(name), "Kconfig") {
			continue
		}
		f := parseKconfig(name, files[name])
		parsed[name] = f
		for _, s := range f.sources {
			if _, known := parents[s.file]; !known {
				parents[s.file] = append([]string{name}, s.around...)
			}
		}
	}
	all := map[string]Symbol{}
	for _, name := range names {
		around := surroundings(name, parents)
		for _, d := range parsed[name].symbols {
			if old, ok := all[d.name]; ok && (old.Prompt != "" || d.Prompt == "") {
				continue
			}
			d.Depends = union(around, d.Depends)
			all[d.name] = d.Symbol
		}
	}
	return all
}

// surroundings are the conditions of the files that lead to this one, from the outside in.
func surroundings(file string, parents map[string][]string) []string {
	const deepest = 16
	var around []string
	for range deepest {
		up, ok := parents[file]
		if !ok {
			break
		}
		around = union(up[1:], around)
		file = up[0]
	}
	return around
}

// block is an if, menu or choice that is open.
type block struct {
	kind  string // if, menu, choice
	conds []string
}

// kconfigReader reads one file.
type kconfigReader struct {
	file   kconfigFile
	blocks []block
	at     *definition // whose attributes follow; nil for none
	head   bool        // attributes belong to the block that was opened last
	help   int         // indentation of a help text's lines; -1 outside, 0 until its first line
}

var (
	kconfigType   = regexp.MustCompile(`^(bool|tristate|int|hex|string|def_bool|def_tristate)\b\s*(.*)$`)
	kconfigPrompt = regexp.MustCompile(`^"((?:[^"\\]|\\.)*)"`)
)

func parseKconfig(name, text string) kconfigFile {
	k := kconfigReader{help: -1}
	joined, at, number := "", 0, 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, " \t\r\n")
		if joined == "" {
			at = number
			if k.inHelp(line) {
				continue
			}
		}
		if part, more := strings.CutSuffix(line, `\`); more {
			joined += part + " "
			continue
		}
		k.statement(name, at, strings.Join(strings.Fields(joined+line), " "))
		joined = ""
	}
	k.flush()
	return k.file
}

// inHelp says whether the line belongs to a help text, which ends with a line that is less indented than its first.
func (k *kconfigReader) inHelp(line string) bool {
	if k.help < 0 {
		return false
	}
	if strings.TrimSpace(line) == "" {
		return true
	}
	column := 0
	for _, c := range line {
		if c == '\t' {
			column += 8 - column%8
		} else if c == ' ' {
			column++
		} else {
			break
		}
	}
	if k.help == 0 && column > 0 {
		k.help = column
	}
	if column == 0 || column < k.help {
		k.help = -1
		return false
	}
	return true
}

func (k *kconfigReader) flush() {
	if k.at != nil {
		k.file.symbols = append(k.file.symbols, *k.at)
	}
	k.at, k.head = nil, false
}

// around are the conditions of the open blocks.
func (k *kconfigReader) around() []string {
	var all []string
	for _, b := range k.blocks {
		all = union(all, b.conds)
	}
	return all
}

func (k *kconfigReader) statement(file string, line int, text string) {
	if text == "" || text[0] == '#' {
		return
	}
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "config", "menuconfig":
		k.flush()
		k.at = &definition{rest, Symbol{File: file, Line: line, Depends: k.around()}}
	case "if", "menu", "choice":
		k.flush()
		b := block{kind: word}
		if word == "if" {
			b.conds = []string{uncommented(rest)}
		}
		k.blocks, k.head = append(k.blocks, b), word != "if"
	case "endif", "endmenu", "endchoice":
		k.flush()
		if n := len(k.blocks); n > 0 {
			k.blocks = k.blocks[:n-1]
		}
	case "source", "rsource", "osource", "orsource":
		k.flush()
		k.file.sources = append(k.file.sources, sourced{strings.Trim(uncommented(rest), `"`), k.around()})
	case "comment", "mainmenu":
		k.flush()
	case "help", "---help---":
		k.help = 0
	default:
		k.attribute(word, rest, text)
	}
}

// attribute is a line below a config or a block.
func (k *kconfigReader) attribute(word, rest, text string) {
	depends, isDepends := strings.CutPrefix(text, "depends on ")
	switch {
	case isDepends && k.at != nil:
		k.at.Depends = union(k.at.Depends, []string{uncommented(depends)})
	case isDepends && k.head:
		b := &k.blocks[len(k.blocks)-1]
		b.conds = append(b.conds, uncommented(depends))
	case k.at == nil:
	case word == "prompt":
		k.prompt(rest)
	default:
		if t := kconfigType.FindStringSubmatch(text); t != nil {
			if typ := strings.TrimPrefix(t[1], "def_"); typ == "bool" || typ == "tristate" {
				k.at.Type = typ
			}
			k.prompt(t[2])
		}
	}
}

func (k *kconfigReader) prompt(text string) {
	if p := kconfigPrompt.FindStringSubmatch(text); p != nil && k.at.Prompt == "" {
		k.at.Prompt = strings.ReplaceAll(p[1], `\"`, `"`)
	}
}

// uncommented is an expression without a comment behind it.
func uncommented(text string) string {
	text, _, _ = strings.Cut(text, " #")
	return strings.TrimSpace(text)
}
