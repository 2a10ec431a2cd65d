package debian

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// Request says which packages to resolve.
type Request struct {
	Seeds    []string // NAME, or NAME=VERSION for a version other than the newest
	Required bool     // add what is Essential or has priority "required"
	Exclude  []string // never taken; a dependency on one counts as met
}

// ResolveError says that a set of packages cannot be had from an index.
type ResolveError struct {
	Package string   // what was asked for: a seed, or the dependency that is not met
	Chain   []string // from a seed to the package that needs it; empty for a seed
	Reason  string
	Near    []string // names like a misspelled seed, the nearest first
}

// Error names the package, who needs it, and names like it.
func (e *ResolveError) Error() string {
	s := e.Package + ": " + e.Reason
	if len(e.Chain) > 0 {
		s += "; needed by " + strings.Join(e.Chain, " -> ")
	}
	if len(e.Near) > 0 {
		s += "; near names: " + strings.Join(e.Near, ", ")
	}
	return s
}

// Resolve returns the seeds with everything that they depend on, sorted by name; no recommendations. Where
// there is a choice, what is taken anyway comes first, then the order of the alternatives, then (for a
// virtual package) the provider of the higher priority, then the name. The result depends on nothing else.
// What cannot be met is a *ResolveError.
func (x *Index) Resolve(arch string, req Request) ([]Package, error) {
	u, ok := x.byArch[arch]
	if !ok {
		return nil, fmt.Errorf("the index has no architecture %q", arch)
	}
	r := &resolver{u: u, arch: arch, exclude: map[string]bool{}, chosen: map[string]*record{}, by: map[string]string{}}
	for _, name := range req.Exclude {
		r.exclude[name] = true
	}
	if err := r.start(req); err != nil {
		return nil, err
	}
	for len(r.plain)+len(r.choices) > 0 {
		if err := r.step(); err != nil {
			return nil, err
		}
	}
	if err := r.checkClashes(); err != nil {
		return nil, err
	}
	var out []Package
	for _, rec := range r.chosen {
		out = append(out, rec.Package)
	}
	slices.SortFunc(out, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// resolver is one run of Resolve. Dependencies with one possibility are followed before those with a choice,
// so that a choice sees what is taken anyway.
type resolver struct {
	u       *universe
	arch    string
	exclude map[string]bool
	chosen  map[string]*record
	by      map[string]string // who brought a chosen package in; no entry for a seed
	plain   []need
	choices []need
}

// need is a dependency that has not been looked at yet.
type need struct {
	by           *record
	alternatives []relation
}

// start chooses the seeds, all of them before any dependency is followed.
func (r *resolver) start(req Request) error {
	var first []*record
	for _, seed := range req.Seeds {
		rec, err := r.seed(seed)
		if err != nil {
			return err
		}
		first = append(first, rec)
	}
	if req.Required {
		first = append(first, r.required(first)...)
	}
	for _, rec := range first {
		if old := r.chosen[rec.Name]; old != nil && old != rec {
			return &ResolveError{Package: rec.Name, Reason: "asked for as " + old.Version + " and as " + rec.Version}
		}
		r.chosen[rec.Name] = rec
	}
	for _, rec := range first {
		if err := r.follow(rec); err != nil {
			return err
		}
	}
	return nil
}

// seed finds the package that a seed names.
func (r *resolver) seed(seed string) (*record, error) {
	name, version, pinned := strings.Cut(seed, "=")
	recs := r.u.byName[name]
	switch {
	case r.exclude[name]:
		return nil, &ResolveError{Package: seed, Reason: "both asked for and excluded"}
	case len(recs) == 0:
		return nil, &ResolveError{Package: seed, Reason: "no such package for " + r.arch, Near: r.u.near(name)}
	case !pinned:
		return recs[0], nil
	}
	var versions []string
	for _, rec := range recs {
		if rec.Version == version {
			return rec, nil
		}
		versions = append(versions, rec.Version)
	}
	return nil, &ResolveError{Package: seed, Reason: "no such version; there is " + strings.Join(versions, ", ")}
}

// required returns what a minimal system has, sorted by name, without what is among the seeds in some version.
func (r *resolver) required(seeds []*record) []*record {
	var out []*record
	for name, recs := range r.u.byName {
		seeded := func(s *record) bool { return s.Name == name }
		if (recs[0].essential || recs[0].priority == "required") && !r.exclude[name] && !slices.ContainsFunc(seeds, seeded) {
			out = append(out, recs[0])
		}
	}
	slices.SortFunc(out, func(a, b *record) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// follow queues the dependencies of a chosen package.
func (r *resolver) follow(rec *record) error {
	for _, field := range rec.needs {
		groups, err := parseRelations(field)
		if err != nil {
			return fmt.Errorf("package %s: %w", rec.Name, err)
		}
		for _, g := range groups {
			if len(g) == 1 && len(r.u.byName[g[0].name]) > 0 {
				r.plain = append(r.plain, need{by: rec, alternatives: g})
			} else {
				r.choices = append(r.choices, need{by: rec, alternatives: g})
			}
		}
	}
	return nil
}

// step meets the next dependency.
func (r *resolver) step() error {
	queue := &r.plain
	if len(*queue) == 0 {
		queue = &r.choices
	}
	n := (*queue)[0]
	*queue = (*queue)[1:]
	if slices.ContainsFunc(n.alternatives, r.metAlready) {
		return nil
	}
	for _, alt := range n.alternatives {
		if rec := r.candidate(alt); rec != nil {
			r.chosen[rec.Name] = rec
			r.by[rec.Name] = n.by.Name
			return r.follow(rec)
		}
	}
	return r.unmet(n)
}

// metAlready reports whether an alternative is excluded or met by what is chosen.
func (r *resolver) metAlready(alt relation) bool {
	if r.exclude[alt.name] {
		return true
	}
	if rec := r.chosen[alt.name]; rec != nil && alt.metBy(rec, r.arch) {
		return true
	}
	for _, rec := range r.u.providers[alt.name] {
		if (r.exclude[rec.Name] || r.chosen[rec.Name] == rec) && alt.metBy(rec, r.arch) {
			return true
		}
	}
	return false
}

// candidate returns the package to take for an alternative, nil where there is none: the newest version that
// meets it, else the best provider, in its newest version. What is chosen in another version cannot be had.
func (r *resolver) candidate(alt relation) *record {
	free := func(rec *record) bool {
		return !r.exclude[rec.Name] && r.chosen[rec.Name] == nil && alt.metBy(rec, r.arch)
	}
	for _, rec := range r.u.byName[alt.name] {
		if free(rec) {
			return rec
		}
	}
	for _, rec := range r.u.providers[alt.name] {
		if rec == r.u.byName[rec.Name][0] && free(rec) {
			return rec
		}
	}
	return nil
}

// unmet explains why a dependency cannot be met.
func (r *resolver) unmet(n need) error {
	var wanted, there []string
	for _, alt := range n.alternatives {
		wanted = append(wanted, alt.String())
		if rec := r.chosen[alt.name]; rec != nil {
			there = append(there, "chosen is "+alt.name+" "+rec.Version)
		} else if recs := r.u.byName[alt.name]; len(recs) > 0 {
			there = append(there, "newest is "+alt.name+" "+recs[0].Version)
		}
	}
	reason := "nothing meets it for " + r.arch
	if len(there) > 0 {
		reason += " (" + strings.Join(there, ", ") + ")"
	}
	return &ResolveError{Package: strings.Join(wanted, " | "), Chain: r.chain(n.by.Name), Reason: reason}
}

// chain returns how a package came in, from the seed on.
func (r *resolver) chain(name string) []string {
	var chain []string
	for ok := true; ok; name, ok = r.by[name] {
		chain = append(chain, name)
	}
	slices.Reverse(chain)
	return chain
}

// checkClashes refuses a set in which one package conflicts with or breaks another.
func (r *resolver) checkClashes() error {
	names := make([]string, 0, len(r.chosen))
	for name := range r.chosen {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		rec := r.chosen[name]
		for _, field := range rec.clashes {
			groups, err := parseRelations(field)
			if err != nil {
				return fmt.Errorf("package %s: %w", name, err)
			}
			for _, g := range groups {
				if other := r.clash(rec, g[0]); other != nil {
					return r.clashError(rec, other, g[0])
				}
			}
		}
	}
	return nil
}

// clash returns the chosen package that a Conflicts or Breaks of rec hits, nil where there is none. A
// package does not conflict with itself.
func (r *resolver) clash(rec *record, rel relation) *record {
	if other := r.chosen[rel.name]; other != nil && other != rec && rel.metBy(other, r.arch) {
		return other
	}
	for _, other := range r.u.providers[rel.name] {
		if other != rec && r.chosen[other.Name] == other && rel.metBy(other, r.arch) {
			return other
		}
	}
	return nil
}

func (r *resolver) clashError(a, b *record, rel relation) error {
	reason := fmt.Sprintf("%s conflicts with %s (it names %q); %s came in by %s", a.Version, b.Name+" "+b.Version,
		rel.String(), b.Name, strings.Join(r.chain(b.Name), " -> "))
	return &ResolveError{Package: a.Name, Chain: r.chain(a.Name), Reason: reason}
}

// How many names a ResolveError proposes, and how many edits away they may be.
const (
	maxNear  = 3
	maxEdits = 2
)

// near returns the names that are most like a misspelled one.
func (u *universe) near(name string) []string {
	type hit struct {
		name  string
		edits int
	}
	var hits []hit
	for other := range u.byName {
		if d := len(other) - len(name); d > maxEdits || -d > maxEdits {
			continue
		}
		if e := levenshtein.Distance(name, other, nil); e <= maxEdits {
			hits = append(hits, hit{other, e})
		}
	}
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.edits, b.edits), strings.Compare(a.name, b.name))
	})
	var names []string
	for _, h := range hits[:min(len(hits), maxNear)] {
		names = append(names, h.name)
	}
	return names
}
