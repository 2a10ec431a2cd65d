package artifacts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// Publish makes the set of gen and the other architecture's published files and switches to it. All files
// change together; whoever reads the old set goes on reading it. If gen is published already nothing
// changes. The store must be locked. The set before the new one is kept, older ones are removed.
func (s *Store) Publish(gen Generation) (Set, error) {
	set, err := s.publish(gen)
	if err != nil {
		return Set{}, fmt.Errorf("publish %s: %w", gen.ID(), err)
	}
	return set, nil
}

func (s *Store) publish(gen Generation) (Set, error) {
	if err := s.requireLock(); err != nil {
		return Set{}, err
	}
	before, err := s.published()
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Set{}, err
	}
	arch := gen.Manifest.Plan.Arch
	parts, dropped, err := s.intactParts(before)
	if err != nil {
		return Set{}, err
	}
	if old, ok := parts[arch]; ok && len(dropped) == 0 && old.isOf(gen) {
		return s.Current()
	}
	current := parts[arch].manifest.PlanID
	if parts[arch], err = gen.part(); err != nil {
		return Set{}, err
	}
	set, err := s.writeSet(parts)
	if err != nil {
		return Set{}, err
	}
	set.Dropped = slices.DeleteFunc(dropped, func(a plan.Arch) bool { return a == arch })
	if err := s.record(arch, current, gen.ID()); err != nil {
		return Set{}, err
	}
	if err := s.point(set.Number); err != nil {
		return Set{}, err
	}
	return set, errors.Join(markNewest(gen.Dir, set.Dir), s.removeSets(before, set.Number))
}

// intactParts returns the architectures of set n whose files are there, and those whose are not. A set that
// cannot be understood at all holds none: it must not keep a new one from being published.
func (s *Store) intactParts(n int) (parts map[plan.Arch]part, damaged []plan.Arch, err error) {
	parts = map[plan.Arch]part{}
	if n == 0 {
		return parts, nil, nil
	}
	all, err := readParts(s.setDir(n))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, nil, err
	}
	for _, arch := range slices.Sorted(maps.Keys(all)) {
		err := all[arch].check()
		switch {
		case errors.Is(err, ErrNotFound):
			damaged = append(damaged, arch)
		case err != nil:
			return nil, nil, err
		default:
			parts[arch] = all[arch]
		}
	}
	return parts, damaged, nil
}

// isOf says whether p's files are gen's own, not only equal by name: a generation that was made again after
// damage has new files.
func (p part) isOf(gen Generation) bool {
	if !reflect.DeepEqual(p.manifest, gen.Manifest) {
		return false
	}
	for _, f := range gen.Manifest.Files {
		a, errA := os.Lstat(filepath.Join(p.dir, f.Name))
		b, errB := os.Lstat(gen.Path(f.Name))
		if errA != nil || errB != nil || !os.SameFile(a, b) {
			return false
		}
	}
	return true
}

// part is the generation as an architecture of a set.
func (g *Generation) part() (part, error) {
	data, err := os.ReadFile(g.Path(ReportName))
	if err != nil {
		return part{}, err
	}
	p := part{dir: g.Dir, manifest: g.Manifest, report: data}
	return p, p.check()
}

// writeSet makes a new set under its final name, not yet pointed to.
func (s *Store) writeSet(parts map[plan.Arch]part) (Set, error) {
	parent := filepath.Join(s.dir, setsDir)
	if err := makeDir(parent); err != nil {
		return Set{}, err
	}
	n, err := s.nextSet()
	if err != nil {
		return Set{}, err
	}
	temp, err := makeTempDir(parent)
	if err != nil {
		return Set{}, err
	}
	defer os.RemoveAll(temp) // after the rename there is nothing to remove
	if err := fillSet(temp, parts); err != nil {
		return Set{}, err
	}
	if err := syncDir(temp); err != nil {
		return Set{}, err
	}
	if err := os.Rename(temp, s.setDir(n)); err != nil {
		return Set{}, err
	}
	if err := syncDir(parent); err != nil {
		return Set{}, err
	}
	return assemble(n, s.setDir(n), parts)
}

// fillSet links the parts' files into dir and writes report, manifest and checksums.
func fillSet(dir string, parts map[plan.Arch]part) error {
	var files []File
	manifests := map[plan.Arch]Manifest{}
	reports := map[plan.Arch]json.RawMessage{}
	for arch, p := range parts {
		for _, f := range p.manifest.Files {
			if err := os.Link(filepath.Join(p.dir, f.Name), filepath.Join(dir, f.Name)); err != nil {
				return err
			}
		}
		files = append(files, p.manifest.Files...)
		manifests[arch], reports[arch] = p.manifest, p.report
	}
	report, err := encodeJSON(reports)
	if err != nil {
		return err
	}
	manifest, err := encodeJSON(manifests)
	if err != nil {
		return err
	}
	files = append(files, describe(ReportName, report), describe(ManifestName, manifest))
	return errors.Join(
		writeFile(filepath.Join(dir, ReportName), report),
		writeFile(filepath.Join(dir, ChecksumName), checksums(files)),
		writeFile(filepath.Join(dir, ManifestName), manifest),
	)
}

// checksums is what `sha512sum -c` reads: sum, two blanks, name.
func checksums(files []File) []byte {
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "%s  %s\n", f.SHA512, f.Name)
	}
	return []byte(b.String())
}

// point switches to set n.
func (s *Store) point(n int) error {
	temp := filepath.Join(s.dir, tempPrefix+hookName)
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(setsDir+"/"+strconv.Itoa(n), temp); err != nil {
		return err
	}
	if err := os.Rename(temp, s.HookPath()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(s.dir)
}

// markNewest gives the generation the age of the set that was just made of it, so that Newest finds it also
// when it is older than others. The time is the file system's: this package has no clock.
func markNewest(generation, set string) error {
	info, err := os.Stat(set)
	if err != nil {
		return err
	}
	return os.Chtimes(generation, info.ModTime(), info.ModTime())
}

// numbers lists the sets that exist.
func (s *Store) numbers() ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, setsDir))
	if err != nil {
		return nil, err
	}
	var all []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n > 0 {
			all = append(all, n)
		}
	}
	return all, nil
}

// nextSet is a number that no set has, also none that was made and never pointed to.
func (s *Store) nextSet() (int, error) {
	all, err := s.numbers()
	if err != nil {
		return 0, err
	}
	return slices.Max(append(all, 0)) + 1, nil
}

// removeSets removes every set but those to keep. What cannot be removed now is tried again next time.
func (s *Store) removeSets(keep ...int) error {
	all, err := s.numbers()
	if err != nil {
		return err
	}
	for _, n := range all {
		if !slices.Contains(keep, n) {
			err = errors.Join(err, os.RemoveAll(s.setDir(n)))
		}
	}
	return err
}
