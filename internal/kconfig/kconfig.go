// Package kconfig is kernel configuration text (https://docs.kernel.org/kbuild/kconfig.html): fragments and .config
// files go in as lines that know where they were written, and what Kconfig made of them comes out: every symbol of a
// kernel tree with its value, and for what was asked for and not granted the reason in words.
//
// Kconfig itself is not imitated. QuerySource is a program that is linked against the kernel tree's own parser and
// tells what that one thinks.
package kconfig

import (
	"bytes"
	_ "embed"
	"fmt"
)

//go:embed tree/query.c
var querySource string

//go:embed tree/install.sh
var installScript string

//go:embed tree/subset.sh
var subsetScript string

// QuerySource is the C source of the program that asks a kernel tree's Kconfig. Its OUT_SYMBOLS is what ReadSymbols
// reads.
func QuerySource() string { return querySource }

// InstallScript is a shell script that puts QuerySource, the file that is its argument, into the kernel tree that is
// its working directory. There, make hookbuild_queryconfig with O=, ARCH=, CROSS_COMPILE= as for menuconfig and
// QUERY_ARGS="IN OUT_CONFIG OUT_DEFCONFIG OUT_SYMBOLS" then runs it. It needs what menuconfig needs except ncurses:
// a compiler, make, flex and bison.
func InstallScript() string { return installScript }

// SubsetScript is a shell script that copies from a kernel source tree, its first argument, into a new directory, its
// second, what configuring for x86 and arm64 reads: 1929 files, 8 MB of Linux 6.12. It needs GNU find, cp and xargs.
func SubsetScript() string { return subsetScript }

// Symbol is one setting.
type Symbol struct {
	Name  string // without CONFIG_
	Value string // as .config writes it: y, m, n, 512, -1, 0x1000, or "text" with its quotes
}

// String returns CONFIG_NAME=value, for n as well.
func (s Symbol) String() string { return "CONFIG_" + s.Name + "=" + s.Value }

// Origin is where somebody asked for a setting.
type Origin struct {
	File string // a file, or what else it is known by: --set
	Line int    // from 1; 0 where there are no lines
}

// String returns file:line, or the file alone.
func (o Origin) String() string {
	if o.Line == 0 {
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Line is a setting that somebody asked for.
type Line struct {
	Symbol
	Origin Origin
}

// String returns file:line: CONFIG_NAME=value.
func (l Line) String() string { return l.Origin.String() + ": " + l.Symbol.String() }

// Merge puts parts together as Kconfig reads one after the other: of a symbol the last line counts. Symbols stay in
// the order in which they appear first.
func Merge(parts ...[]Line) []Line {
	var merged []Line
	at := map[string]int{}
	for _, part := range parts {
		for _, l := range part {
			if i, ok := at[l.Name]; ok {
				merged[i] = l
				continue
			}
			at[l.Name] = len(merged)
			merged = append(merged, l)
		}
	}
	return merged
}

// Override is a line that does not count, since a later one says otherwise.
type Override struct {
	Line Line
	By   Line // the last one of the symbol
}

// String returns the sentence.
func (o Override) String() string {
	return fmt.Sprintf("%s is set by %s, but %s", o.Line.Symbol, o.Line.Origin, o.later())
}

func (o Override) later() string {
	return fmt.Sprintf("%s, which comes later, says %s", o.By.Origin, o.By.Value)
}

// Overrides returns the lines of one symbol that Merge drops and that ask for another value than the one that stays,
// in their order.
func Overrides(name string, parts ...[]Line) []Override {
	var lines []Line
	for _, part := range parts {
		for _, l := range part {
			if l.Name == name {
				lines = append(lines, l)
			}
		}
	}
	var found []Override
	for _, l := range lines {
		if last := lines[len(lines)-1]; l.Value != last.Value {
			found = append(found, Override{Line: l, By: last})
		}
	}
	return found
}

// Format writes lines as a fragment that Parse and Kconfig read.
func Format(lines []Line) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		if l.Value == "n" {
			fmt.Fprintf(&b, "# CONFIG_%s is not set\n", l.Name)
		} else {
			fmt.Fprintf(&b, "CONFIG_%s=%s\n", l.Name, l.Value)
		}
	}
	return b.Bytes()
}
