package artifacts

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// DefaultKeep is how many generations of an architecture are kept where nobody says how many.
const DefaultKeep = 5

// Listed is a generation with what is known of its place.
type Listed struct {
	Generation
	Made     time.Time // when it was made, or published last
	Bytes    int64     // of its files; some may be shared with the published set
	Current  bool      // published
	Previous bool      // what Rollback would publish
	Held     bool      // by a process, a server that serves it for instance
	Damaged  error     // a *DamagedError where its manifest cannot be read: then Manifest and Bytes are not known
}

// ID is the plan id, which is the directory's name.
func (l *Listed) ID() string {
	if l.Damaged != nil {
		return filepath.Base(l.Dir)
	}
	return l.Generation.ID()
}

// Generations lists the generations, the one that was made or published last first. Only the manifests are read.
func (s *Store) Generations() ([]Listed, error) {
	all, err := s.generations()
	if err != nil {
		return nil, fmt.Errorf("generations: %w", err)
	}
	return all, nil
}

func (s *Store) generations() ([]Listed, error) {
	ids, err := s.byAge()
	if err != nil {
		return nil, err
	}
	current, err := s.currentIDs()
	if err != nil {
		return nil, err
	}
	past, err := s.history()
	if err != nil {
		return nil, err
	}
	published := slices.Collect(maps.Values(current))
	previous := map[string]bool{}
	for arch, id := range current {
		previous[past.before(arch, id, s.intact)] = true
	}
	var all []Listed
	for _, id := range ids {
		l, err := s.listed(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		l.Current = slices.Contains(published, id) // of a damaged one nobody knows the architecture
		l.Previous = previous[id]
		all = append(all, l)
	}
	return all, nil
}

func (s *Store) listed(id string) (Listed, error) {
	dir := s.generationDir(id)
	info, err := os.Stat(dir)
	if err != nil {
		return Listed{}, err
	}
	l := Listed{Generation: Generation{Dir: dir}, Made: info.ModTime()}
	if l.Held, err = held(dir); err != nil {
		return l, err
	}
	gen, err := s.readGeneration(id)
	var damaged *DamagedError
	switch {
	case errors.As(err, &damaged):
		l.Damaged = err
		return l, nil
	case err != nil:
		return l, err
	}
	l.Generation = gen
	for _, f := range gen.Manifest.Files {
		if f.AliasOf == "" { // another one takes no room
			l.Bytes += f.Size
		}
	}
	return l, nil
}

// intact says whether there is a generation with a manifest; its files are not read.
func (s *Store) intact(id string) bool {
	_, err := s.readGeneration(id)
	return err == nil
}

// currentIDs are the plan ids of what is published, also where files of it are missing.
func (s *Store) currentIDs() (map[plan.Arch]string, error) {
	ids := map[plan.Arch]string{}
	n, err := s.published()
	if errors.Is(err, ErrNotFound) {
		return ids, nil
	}
	if err != nil {
		return nil, err
	}
	parts, err := readParts(s.setDir(n))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	for arch, p := range parts {
		ids[arch] = p.manifest.PlanID
	}
	return ids, nil
}

// NoPreviousError says that there is nothing to roll back to.
type NoPreviousError struct {
	Arch    plan.Arch
	Current string // the plan id of what is published; "" where nothing is
}

// Error says why not.
func (e *NoPreviousError) Error() string {
	if e.Current == "" {
		return fmt.Sprintf("nothing of %s is published, so there is nothing to roll back from", e.Arch)
	}
	return fmt.Sprintf("no generation of %s that was published before %.12s is left", e.Arch, e.Current)
}

// Previous returns the generation of the architecture that was published before the current one and is still there,
// verified as Generation does. A *NoPreviousError where there is none. Publishing it makes the one before it the
// previous one, so that a second rollback goes further back.
func (s *Store) Previous(arch plan.Arch) (Generation, error) {
	current, err := s.currentIDs()
	if err != nil {
		return Generation{}, err
	}
	past, err := s.history()
	if err != nil {
		return Generation{}, err
	}
	id := ""
	if current[arch] != "" {
		id = past.before(arch, current[arch], s.intact)
	}
	if id == "" {
		return Generation{}, &NoPreviousError{Arch: arch, Current: current[arch]}
	}
	return s.Generation(id)
}

// Prune removes generations: of each architecture all but the last keep that were made or published, and damaged
// ones whose manifest nobody can read. The current ones stay, and those that somebody holds. With dry it only says
// which. It returns those that were removed, also beside an error. The store must be locked.
func (s *Store) Prune(keep int, dry bool) (removed []Listed, err error) {
	if err := s.requireLock(); err != nil {
		return nil, err
	}
	all, err := s.Generations()
	if err != nil {
		return nil, err
	}
	kept := map[plan.Arch]int{}
	for _, l := range all {
		arch := plan.Arch("")
		if l.Damaged == nil {
			arch = l.Manifest.Plan.Arch
			kept[arch]++
		}
		if l.Held || l.Current || l.Damaged == nil && kept[arch] <= keep {
			continue
		}
		gone := true
		if !dry {
			if gone, err = s.removeDir(l.ID()); err != nil {
				return removed, fmt.Errorf("generation %s: %w", l.ID(), err)
			}
		}
		if gone {
			removed = append(removed, l)
		}
	}
	return removed, nil
}

// Published lists the architectures of the current set, sorted; none where nothing is published.
func (s *Store) Published() ([]plan.Arch, error) {
	ids, err := s.currentIDs()
	return slices.Sorted(maps.Keys(ids)), err
}
