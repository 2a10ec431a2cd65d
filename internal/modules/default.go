package modules

import (
	_ "embed"
	"fmt"
	"strings"
)

// defaultList is the default set, explained in docs/modules.md.
//
//go:embed default.list
var defaultList string

// rule puts what its pattern matches into a set, or takes it out.
type rule struct {
	pattern
	out bool
}

// ruleset is a set of modules. Of the rules that match a module the last one counts.
type ruleset []rule

func (r ruleset) has(m module) bool {
	for i := len(r) - 1; i >= 0; i-- {
		if r[i].matches(m.key) {
			return !r[i].out
		}
	}
	return false
}

// defaultSet reads default.list: a pattern on each line, with "-" in front where it takes away.
func defaultSet() (ruleset, error) {
	var r ruleset
	err := lines([]byte(defaultList), func(line string) error {
		text, out := strings.CutPrefix(line, "-")
		p, err := newPattern(text)
		r = append(r, rule{p, out})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("default.list: %w", err)
	}
	return r, nil
}
