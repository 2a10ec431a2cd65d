package debian

import (
	"fmt"
	"strings"
)

// relation is one alternative of a dependency: "libc6:any (>= 2.36)".
type relation struct {
	name    string
	qualify string // architecture qualifier: "", "any", "native", or an architecture
	op      string // "", "<<", "<=", "=", ">=", ">>"
	version string
}

// String is the relation as control files have it.
func (r relation) String() string {
	s := r.name
	if r.qualify != "" {
		s += ":" + r.qualify
	}
	if r.op != "" {
		s += " (" + r.op + " " + r.version + ")"
	}
	return s
}

// parseRelations reads a relationship field of a binary package: groups of alternatives, all of which are wanted.
func parseRelations(field string) ([][]relation, error) {
	var groups [][]relation
	for group := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(group) == "" {
			continue
		}
		var alternatives []relation
		for alt := range strings.SplitSeq(group, "|") {
			r, err := parseRelation(strings.TrimSpace(alt))
			if err != nil {
				return nil, err
			}
			alternatives = append(alternatives, r)
		}
		groups = append(groups, alternatives)
	}
	return groups, nil
}

func parseRelation(s string) (relation, error) {
	name, constraint, hasVersion := strings.Cut(s, "(")
	name, qualify, _ := strings.Cut(strings.TrimSpace(name), ":")
	r := relation{name: name, qualify: qualify}
	if name == "" || strings.ContainsAny(name, " \t\n[]<>()") {
		return relation{}, fmt.Errorf("%q is not a relation", s)
	}
	if !hasVersion {
		return r, nil
	}
	inner, ok := strings.CutSuffix(strings.TrimSpace(constraint), ")")
	inner = strings.TrimSpace(inner)
	version := strings.TrimLeft(inner, "<=>")
	r.op, r.version = inner[:len(inner)-len(version)], strings.TrimSpace(version)
	switch r.op {
	case "<", ">": // obsolete spellings of "or equal"
		r.op += "="
	case "<<", "<=", "=", ">=", ">>":
	default:
		ok = false
	}
	if !ok || r.version == "" {
		return relation{}, fmt.Errorf("%q is not a relation", s)
	}
	return r, nil
}

// accepts reports whether a version meets the relation's.
func (r relation) accepts(version string) bool {
	c := CompareVersions(version, r.version)
	switch r.op {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	case ">>":
		return c > 0
	}
	return true
}

// metBy reports whether rec is, or provides, what r asks for. A provided name has only the version that its
// package states for it (Debian policy 7.5).
func (r relation) metBy(rec *record, arch string) bool {
	if r.qualify != "" && r.qualify != "any" && r.qualify != "native" && r.qualify != arch {
		return false
	}
	if rec.Name == r.name && r.accepts(rec.Version) {
		return true
	}
	for _, p := range rec.provides {
		if p.name == r.name && (r.op == "" || p.op == "=" && r.accepts(p.version)) {
			return true
		}
	}
	return false
}
