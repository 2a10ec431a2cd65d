package modules

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// glob is a pattern over slash-separated paths. "*" and "?" stay inside one component, "**" stands for any
// number of whole ones, a "/" at the end means everything below.
type glob struct {
	expr string // what it means: anchored, in what POSIX extended and Go's expressions have in common
	re   *regexp.Regexp
}

// compileGlob reads a pattern. The expression has to work in awk as well, where firmware is chosen.
func compileGlob(text string) (glob, error) {
	body, below := strings.CutSuffix(text, "/")
	if body == "" {
		return glob{}, errors.New("an empty pattern")
	}
	var e strings.Builder
	parts := strings.Split(body, "/")
	for i, part := range parts {
		last := i == len(parts)-1
		switch {
		case part == "" || part == "." || part == "..":
			return glob{}, errors.New("want a relative path without components that are empty, '.' or '..'")
		case part == "**" && last:
			e.WriteString(".*")
		case part == "**":
			e.WriteString("(.*/)?")
		case strings.Contains(part, "**"):
			return glob{}, errors.New("** stands for whole directories; want it alone between slashes")
		default:
			if err := translate(&e, part); err != nil {
				return glob{}, err
			}
			if !last {
				e.WriteByte('/')
			}
		}
	}
	if below {
		e.WriteString("/.*")
	}
	expr := "^" + e.String() + "$"
	re, err := regexp.Compile(expr)
	return glob{expr, re}, err
}

const (
	// literal are the characters besides letters and digits that stand for themselves everywhere.
	literal = "_-,:@%=#~"
	// escaped are those that need brackets around them.
	escaped = ".+()"
)

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// translate writes the expression for one component.
func translate(e *strings.Builder, part string) error {
	for i := 0; i < len(part); i++ {
		c := part[i]
		switch {
		case c == '*':
			e.WriteString("[^/]*")
		case c == '?':
			e.WriteString("[^/]")
		case c == '[':
			n, err := translateClass(e, part[i:])
			if err != nil {
				return err
			}
			i += n - 1
		case alphanumeric(c) || strings.IndexByte(literal, c) >= 0:
			e.WriteByte(c)
		case strings.IndexByte(escaped, c) >= 0:
			e.WriteString("[" + string(c) + "]")
		default:
			return fmt.Errorf("%q has no place in a pattern", c)
		}
	}
	return nil
}

// translateClass writes the expression for "[a-c]" or "[!a-c]" at the beginning of s and returns its length.
func translateClass(e *strings.Builder, s string) (int, error) {
	end := strings.IndexByte(s, ']')
	if end < 0 {
		return 0, errors.New("[ without ]")
	}
	members, negated := strings.CutPrefix(s[1:end], "!")
	if members == "" {
		return 0, fmt.Errorf("%s: an empty set", s[:end+1])
	}
	for i := range len(members) {
		if c := members[i]; !alphanumeric(c) && strings.IndexByte("_-.+,", c) < 0 {
			return 0, fmt.Errorf("%s: %q has no place in a set", s[:end+1], c)
		}
	}
	// A minus that makes no range comes last: where it stands else, expressions disagree about it.
	if strings.HasPrefix(members, "-") {
		members = members[1:] + "-"
	}
	if negated {
		e.WriteString("[^/" + members + "]")
	} else {
		e.WriteString("[" + members + "]")
	}
	return end + 1, nil
}

// underscored is s with each "-" turned into "_", which are the same in modules' names; those that make
// ranges in a pattern stay.
func underscored(s string) string {
	b := []byte(s)
	in := false
	for i, c := range b {
		switch c {
		case '[':
			in = true
		case ']':
			in = false
		case '-':
			if !in || b[i-1] == '[' || b[i-1] == '!' || i+1 < len(b) && b[i+1] == ']' {
				b[i] = '_'
			}
		}
	}
	return string(b)
}
