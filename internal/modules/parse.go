package modules

import (
	"bufio"
	"bytes"
	"fmt"
	"path"
	"strings"
)

// maxLine is how long a line of depmod's files may be, in bytes. The longest in a Debian kernel has 1.5 kB.
const maxLine = 1 << 20

// lines hands each line of a text to each, without comments and empty lines. Its error gets the line number.
func lines(text []byte, each func(line string) error) error {
	s := bufio.NewScanner(bytes.NewReader(text))
	s.Buffer(nil, maxLine)
	n := 0
	for s.Scan() {
		n++
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := each(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("line %d: %w", n+1, err)
	}
	return nil
}

// parseDep reads modules.dep: "PATH: PATH PATH…", what a module needs to be loaded. Paths are relative to the
// file's directory.
func parseDep(text []byte) (map[string][]string, error) {
	deps := map[string][]string{}
	err := lines(text, func(line string) error {
		name, needs, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return fmt.Errorf("%.80q: want PATH: PATH…", line)
		}
		if _, twice := deps[name]; twice {
			return fmt.Errorf("%s stands here twice", name)
		}
		deps[name] = strings.Fields(needs)
		return nil
	})
	return deps, err
}

// parseSoftdep reads modules.softdep ("softdep NAME pre: A B post: C") and modules.weakdep ("weakdep NAME A
// B"): what a module may ask for while it runs. Drivers have been seen that forget pre: and post:. kmod ignores
// their words, but they say what the driver will request, so they count here.
func parseSoftdep(text []byte) (map[string][]string, error) {
	deps := map[string][]string{}
	err := lines(text, func(line string) error {
		words := strings.Fields(line)
		if words[0] != "softdep" && words[0] != "weakdep" { // kmod may learn more and must not stop us
			return nil
		}
		if len(words) < 2 {
			return fmt.Errorf("%q: want %s NAME …", line, words[0])
		}
		name := normal(words[1])
		for _, word := range words[2:] {
			if word != "pre:" && word != "post:" {
				deps[name] = append(deps[name], word)
			}
		}
		return nil
	})
	return deps, err
}

// alias is a line of modules.alias: whatever matches the pattern is a name of the module.
type alias struct {
	pattern string // underscored
	module  string
}

// parseAlias reads modules.alias: "alias PATTERN NAME".
func parseAlias(text []byte) ([]alias, error) {
	var all []alias
	err := lines(text, func(line string) error {
		words := strings.Fields(line)
		if words[0] != "alias" || len(words) < 3 {
			return fmt.Errorf("%.80q: want alias PATTERN NAME", line)
		}
		last := len(words) - 1 // a few drivers have spaces in their patterns
		all = append(all, alias{underscored(strings.Join(words[1:last], " ")), normal(words[last])})
		return nil
	})
	return all, err
}

// parseBuiltin reads modules.builtin: one path for each module that is compiled into the kernel.
func parseBuiltin(text []byte) ([]string, error) {
	var all []string
	err := lines(text, func(line string) error {
		if _, ok := moduleName(line); !ok {
			return fmt.Errorf("%.80q is not the path of a module", line)
		}
		all = append(all, line)
		return nil
	})
	return all, err
}

// normal is a module's name as the kernel has it: "-" and "_" are the same.
func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleName is the name that the module in the file p is loaded by.
func moduleName(p string) (string, bool) {
	base, ok := withoutSuffix(path.Base(p))
	return normal(base), ok && base != ""
}

// withoutSuffix takes .ko, and the compression's suffix behind it, off a path.
func withoutSuffix(p string) (string, bool) {
	for _, compression := range []string{"", ".xz", ".zst", ".gz"} {
		if s, ok := strings.CutSuffix(p, ".ko"+compression); ok {
			return s, true
		}
	}
	return p, false
}
