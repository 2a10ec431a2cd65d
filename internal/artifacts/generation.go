package artifacts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// Generation is one flavor of one architecture, complete.
type Generation struct {
	Dir      string
	Manifest Manifest
}

// ID is the plan id, which is also the directory's name.
func (g *Generation) ID() string { return g.Manifest.PlanID }

// Path returns where the file with the given name is, for one of Manifest.Files.
func (g *Generation) Path(name string) string { return filepath.Join(g.Dir, name) }

// Report reads the generation's report.
func (g *Generation) Report() (*Report, error) {
	var r Report
	if err := readJSON(g.Path(ReportName), &r); err != nil {
		return nil, err
	}
	return &r, nil
}

func (s *Store) generationDir(id string) string {
	return filepath.Join(s.dir, generationsDir, id)
}

// Generation returns the generation with the given plan id, every file of it read and compared with the
// manifest (about a second for 500 MB). ErrNotFound where there is none; a *DamagedError, which is
// ErrNotFound too, where something differs.
func (s *Store) Generation(id string) (Generation, error) {
	gen, err := s.readGeneration(id)
	if err != nil {
		return Generation{}, err
	}
	for _, f := range append(slices.Clone(gen.Manifest.Files), gen.Manifest.Report) {
		if err := checkContent(gen.Dir, f); err != nil {
			return Generation{}, fmt.Errorf("generation %s: %w", id, err)
		}
	}
	return gen, nil
}

// readGeneration reads the manifest only.
func (s *Store) readGeneration(id string) (Generation, error) {
	if err := checkID(id); err != nil {
		return Generation{}, err
	}
	dir := s.generationDir(id)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return Generation{}, fmt.Errorf("generation %s: %w", id, ErrNotFound)
	}
	path := filepath.Join(dir, ManifestName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Generation{}, fmt.Errorf("generation %s: %w", id, &DamagedError{Path: path, Reason: "the file is missing"})
	}
	if err != nil {
		return Generation{}, fmt.Errorf("generation %s: %w", id, err)
	}
	m, err := parseManifest(data)
	if err == nil && m.PlanID != id {
		err = fmt.Errorf("got plan id %s, want %s", m.PlanID, id)
	}
	if err != nil {
		return Generation{}, fmt.Errorf("generation %s: %w", id, &DamagedError{Path: path, Reason: err.Error()})
	}
	return Generation{Dir: dir, Manifest: m}, nil
}

// Newest returns the flavor's generation for the architecture that was committed, or made the published
// one, last; it is verified as Generation does. ErrNotFound where there is none. If the newest one is
// damaged, the answer is its *DamagedError and not an older one, which nobody asked for.
func (s *Store) Newest(flavor string, arch plan.Arch) (Generation, error) {
	ids, err := s.byAge()
	if err != nil {
		return Generation{}, fmt.Errorf("generations: %w", err)
	}
	for _, id := range ids {
		gen, err := s.readGeneration(id)
		if errors.Is(err, ErrNotFound) {
			continue // without its manifest nobody knows whose it was
		}
		if err != nil {
			return Generation{}, err
		}
		if p := gen.Manifest.Plan; p.Flavor == flavor && p.Arch == arch {
			return s.Generation(id)
		}
	}
	return Generation{}, fmt.Errorf("generation of %s for %s: %w", flavor, arch, ErrNotFound)
}

// byAge lists the ids of the generations, the newest first. The age is the directory's modification time:
// Commit makes the last entry in it, Publish sets it anew.
func (s *Store) byAge() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, generationsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	made := map[string]time.Time{}
	var ids []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || checkID(e.Name()) != nil {
			continue // gone since, or not one of ours
		}
		made[e.Name()] = info.ModTime()
		ids = append(ids, e.Name())
	}
	slices.SortFunc(ids, func(a, b string) int {
		if c := made[b].Compare(made[a]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	return ids, nil
}
