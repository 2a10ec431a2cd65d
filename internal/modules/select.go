package modules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Selection says which modules go into the initramfs, in patterns.
//
// A pattern without "/" is the name of a module: "ice", "snd-*". One with "/" is a path below the directories
// kernel, updates, extra …, or with that directory in front: "drivers/net/ethernet/" is everything below,
// "drivers/net/**/bnx*" a module at any depth, "updates/" everything that somebody added to the kernel. "-" and
// "_" are the same, and .ko, .ko.xz and the like may be left out. "*", "?" and "[a-c]" do not cross a "/".
//
// Two words stand for sets in Include: "default" is HookOS's own (default.list), "all" is everything. Modules
// outside of kernel/ are in without being named. The zero value means the default set.
type Selection struct {
	Include []string // empty means default
	Exclude []string // taken away from what Include names, not from what that depends on
}

// The words that stand for sets.
const (
	wordDefault = "default"
	wordAll     = "all"
)

// Validate reports all faults of the patterns at once.
func (s Selection) Validate() error {
	_, err := s.compile()
	return err
}

// Chooses says whether s names the module with this path below lib/modules/RELEASE. Select may take more, which others
// depend on. The error is that of Validate.
func (s Selection) Chooses(path string) (bool, error) {
	c, err := s.compile()
	if err != nil {
		return false, err
	}
	m := module{path: path, key: keyOf(path)}
	named := c.all || slices.ContainsFunc(c.include, m.is)
	if c.standard && !named {
		defaults, err := defaultSet()
		if err != nil {
			return false, err
		}
		named = defaults.has(m)
	}
	return (named || !strings.HasPrefix(path, "kernel/")) && !slices.ContainsFunc(c.exclude, m.is), nil
}

// Result is what Select chose.
type Result struct {
	Release   string   // of the kernel; "" where it has no modules
	Keep      []string // paths below lib/modules/RELEASE, sorted
	Because   []Need   // those of Keep that are there only because another module needs them, by path
	Unmatched []string // patterns that match no module, as they were given; they are probably misspelled
	Total     Count    // of the kernel's modules
	Kept      Count    // … of Keep

	near map[string]string // what an unmatched pattern may have meant
}

// Need says why a module is kept that was not chosen itself.
type Need struct {
	Path     string
	By       string // path of a kept module that depends on it
	Excluded bool   // whether Exclude names it
}

// Select chooses modules: those that s names and, transitively, what they depend on. Dependencies that a
// driver may ask for while it runs (softdeps, weakdeps) count as well. The error is that of Validate.
func Select(x *Index, s Selection) (Result, error) {
	c, err := s.compile()
	if err != nil {
		return Result{}, err
	}
	var defaults ruleset
	if c.standard {
		if defaults, err = defaultSet(); err != nil {
			return Result{}, err
		}
	}
	res := Result{Release: x.Release, Total: x.total}
	chosen, excluded := make([]bool, len(x.modules)), make([]bool, len(x.modules))
	for i, m := range x.modules {
		excluded[i] = slices.ContainsFunc(c.exclude, m.is)
		named := c.all || defaults.has(m) || slices.ContainsFunc(c.include, m.is)
		chosen[i] = (named || !strings.HasPrefix(m.path, "kernel/")) && !excluded[i]
	}
	by := x.closure(chosen)
	for i, m := range x.modules {
		if !chosen[i] && by[i] < 0 {
			continue
		}
		res.Keep = append(res.Keep, m.path)
		res.Kept.add(m.size)
		if !chosen[i] {
			res.Because = append(res.Because, Need{m.path, x.modules[by[i]].path, excluded[i]})
		}
	}
	x.unmatched(&res, slices.Concat(c.include, c.exclude))
	return res, nil
}

// closure returns for each module the one that it is needed by, or -1. Breadth first and in order, so that the
// answer is always the same, and the shortest.
func (x *Index) closure(chosen []bool) []int {
	by := make([]int, len(x.modules))
	var queue []int
	for i := range by {
		if by[i] = -1; chosen[i] {
			queue = append(queue, i)
		}
	}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		for _, need := range slices.Concat(x.modules[i].deps, x.soft[x.modules[i].name]) {
			if !chosen[need] && by[need] < 0 {
				by[need] = i
				queue = append(queue, need)
			}
		}
	}
	return by
}

// unmatched finds patterns that mean neither a module nor something built in.
func (x *Index) unmatched(res *Result, patterns []pattern) {
	res.near = map[string]string{}
	for _, p := range patterns {
		if x.any(p) {
			continue
		}
		res.Unmatched = append(res.Unmatched, p.text)
		if below, err := newPattern(p.text + "/"); err == nil && x.any(below) {
			res.near[p.text] = below.text
		}
	}
}

func (x *Index) any(p pattern) bool {
	return slices.ContainsFunc(x.modules, func(m module) bool { return p.matches(m.key) }) ||
		slices.ContainsFunc(x.others, p.matches)
}

func (m module) is(p pattern) bool { return p.matches(m.key) }

// pattern is a glob for modules.
type pattern struct {
	glob
	text string // as the user wrote it
	name bool   // it is for the name only
}

func newPattern(text string) (pattern, error) {
	body, _ := withoutSuffix(text)
	g, err := compileGlob(underscored(body))
	if err != nil {
		return pattern{}, fmt.Errorf("%q: %w", text, err)
	}
	return pattern{g, text, !strings.Contains(text, "/")}, nil
}

// matches says whether p means the module with this key.
func (p pattern) matches(key string) bool {
	if p.name {
		return p.re.MatchString(key[strings.LastIndexByte(key, '/')+1:])
	}
	_, below, _ := strings.Cut(key, "/")
	return p.re.MatchString(below) || p.re.MatchString(key)
}

// compiled is a Selection whose patterns have been read.
type compiled struct {
	all, standard    bool
	include, exclude []pattern
}

func (s Selection) compile() (compiled, error) {
	c := compiled{standard: len(s.Include) == 0}
	var faults []error
	for i, text := range s.Include {
		switch text {
		case wordAll:
			c.all = true
		case wordDefault:
			c.standard = true
		default:
			p, err := newPattern(text)
			if err != nil {
				faults = append(faults, fmt.Errorf("include[%d]: %w", i, err))
			}
			c.include = append(c.include, p)
		}
	}
	for i, text := range s.Exclude {
		p, err := newPattern(text)
		if text == wordAll || text == wordDefault {
			err = fmt.Errorf("%q is a set; only include takes it", text)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("exclude[%d]: %w", i, err))
		}
		c.exclude = append(c.exclude, p)
	}
	return c, errors.Join(faults...)
}
