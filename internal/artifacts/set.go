package artifacts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// Set is what is published together: one generation of each architecture that has one, and the checksums,
// manifest and report of all.
type Set struct {
	Number    int    // counts up; 0 is no set
	Dir       string // holds the files, also after the next set is published, until the one after that is
	Manifests map[plan.Arch]Manifest
	Files     []SetFile // sorted by name; everything that is published

	// Dropped are the architectures that the set before had and this one has not, because their files were
	// damaged. Only Publish fills it.
	Dropped []plan.Arch
}

// SetFile is one published file.
type SetFile struct {
	File
	Epoch int64 // the plan's, in seconds since 1970; of what belongs to both architectures, the later one
}

// File returns the published file with the given name.
func (s *Set) File(name string) (SetFile, bool) {
	for _, f := range s.Files {
		if f.Name == name {
			return f, true
		}
	}
	return SetFile{}, false
}

// Report reads what the set's report says of an architecture. A set of an older hookbuild has an older one: see
// Report.Schema. ErrNotFound where the set has no such architecture, a *DamagedError where the file is none.
func (s *Set) Report(arch plan.Arch) (*Report, error) {
	var reports map[plan.Arch]*Report
	if err := readJSON(filepath.Join(s.Dir, ReportName), &reports); err != nil {
		return nil, err
	}
	if reports[arch] == nil {
		return nil, fmt.Errorf("report of %s: %w", arch, ErrNotFound)
	}
	return reports[arch], nil
}

// part is one architecture of a set.
type part struct {
	dir      string // where its files are
	manifest Manifest
	report   json.RawMessage
}

// Current returns the published set. ErrNotFound where nothing is published, a *DamagedError (which is
// ErrNotFound too) where files are missing or have the wrong size, a *HookTakenError where something else
// stands at HookPath. Contents are not read, but for the small files.
func (s *Store) Current() (Set, error) {
	n, err := s.published()
	if err != nil {
		return Set{}, err
	}
	dir := s.setDir(n)
	parts, err := readParts(dir)
	if err != nil {
		return Set{}, fmt.Errorf("set %d: %w", n, err)
	}
	for _, arch := range slices.Sorted(maps.Keys(parts)) {
		if err := parts[arch].check(); err != nil {
			return Set{}, fmt.Errorf("set %d: %w", n, err)
		}
	}
	return assemble(n, dir, parts)
}

func (s *Store) setDir(n int) string {
	return filepath.Join(s.dir, setsDir, strconv.Itoa(n))
}

// readParts reads the manifest and the report of a set.
func readParts(dir string) (map[plan.Arch]part, error) {
	var manifests map[plan.Arch]Manifest
	if err := readJSON(filepath.Join(dir, ManifestName), &manifests); err != nil {
		return nil, err
	}
	var reports map[plan.Arch]json.RawMessage
	if err := readJSON(filepath.Join(dir, ReportName), &reports); err != nil {
		return nil, err
	}
	parts := map[plan.Arch]part{}
	for arch, m := range manifests {
		if err := m.check(); err != nil {
			return nil, &DamagedError{Path: filepath.Join(dir, ManifestName), Reason: err.Error()}
		}
		parts[arch] = part{dir: dir, manifest: m, report: reports[arch]}
	}
	return parts, nil
}

// readJSON reads a file that the store wrote.
func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &DamagedError{Path: path, Reason: "the file is missing"}
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return &DamagedError{Path: path, Reason: err.Error()}
	}
	return nil
}

// check says whether the part's files are there with their sizes.
func (p part) check() error {
	if len(p.report) == 0 {
		return &DamagedError{Path: filepath.Join(p.dir, ReportName), Reason: "it has nothing about " + string(p.manifest.Plan.Arch)}
	}
	for _, f := range p.manifest.Files {
		if err := checkSize(p.dir, f); err != nil {
			return err
		}
	}
	return nil
}

// assemble makes the value of a set whose files stand in dir.
func assemble(n int, dir string, parts map[plan.Arch]part) (Set, error) {
	set := Set{Number: n, Dir: dir, Manifests: map[plan.Arch]Manifest{}}
	var latest int64
	for arch, p := range parts {
		set.Manifests[arch] = p.manifest
		latest = max(latest, p.manifest.Plan.Epoch)
		for _, f := range p.manifest.Files {
			set.Files = append(set.Files, SetFile{File: f, Epoch: p.manifest.Plan.Epoch})
		}
	}
	for _, name := range []string{ChecksumName, ManifestName, ReportName} {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return Set{}, fmt.Errorf("set %d: %w", n, &DamagedError{Path: path, Reason: "the file is missing"})
		}
		if err != nil {
			return Set{}, fmt.Errorf("set %d: %w", n, err)
		}
		set.Files = append(set.Files, SetFile{File: describe(name, data), Epoch: latest})
	}
	slices.SortFunc(set.Files, func(a, b SetFile) int { return strings.Compare(a.Name, b.Name) })
	return set, nil
}
