package artifacts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// Staging is a generation in the making. Create may be called from several goroutines; Commit or Abort ends
// it.
type Staging struct {
	store *Store
	id    string
	dir   string // empty when it has ended

	mu    sync.Mutex
	files map[string]File // of the closed files
	open  map[string]bool // of those that are not closed, or failed
}

// Stage begins the generation with the given plan id. The store must be locked. The caller ends it with
// Commit, or with Abort, which may follow a Commit and then does nothing.
func (s *Store) Stage(id string) (*Staging, error) {
	if err := s.requireLock(); err != nil {
		return nil, err
	}
	if err := checkID(id); err != nil {
		return nil, err
	}
	parent := filepath.Join(s.dir, generationsDir)
	if err := makeDir(parent); err != nil {
		return nil, fmt.Errorf("generation %s: %w", id, err)
	}
	dir, err := makeTempDir(parent)
	if err != nil {
		return nil, fmt.Errorf("generation %s: %w", id, err)
	}
	return &Staging{store: s, id: id, dir: dir, files: map[string]File{}, open: map[string]bool{}}, nil
}

// Writer is a file of a generation; its sums are taken as the bytes pass.
type Writer struct {
	name    string
	f       *os.File // nil when closed
	sums    *digester
	err     error // the first failure
	staging *Staging
}

// Create begins the file with the given name (KernelName, InitramfsName, DTBsName, ISOName). The caller closes it; it
// is part of the generation only if no Write and not Close failed.
func (g *Staging) Create(name string) (*Writer, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return g.create(name)
}

func (g *Staging) create(name string) (*Writer, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dir == "" {
		return nil, fmt.Errorf("generation %s: %s is begun after its end", g.id, name)
	}
	f, err := createFile(filepath.Join(g.dir, name))
	if err != nil {
		return nil, fmt.Errorf("generation %s: %w", g.id, err)
	}
	g.open[name] = true
	return &Writer{name: name, f: f, sums: newDigester(), staging: g}, nil
}

// Write writes p. After a failure every later Write fails alike.
func (w *Writer) Write(p []byte) (int, error) {
	if w.f == nil {
		return 0, fmt.Errorf("%s: %w", w.name, fs.ErrClosed)
	}
	if w.err != nil {
		return 0, w.err
	}
	hashed := w.sums.start(p)
	n, err := w.f.Write(p)
	hashed() // also what was not written: after a failure the file is of no use
	w.err = err
	return n, err
}

// Close brings the file to the disk. It returns the first failure of the file's life; a second Close
// repeats it.
func (w *Writer) Close() error {
	if w.f == nil {
		return w.err
	}
	w.err = finish(w.f, w.err)
	w.f = nil
	if w.err != nil {
		return w.err
	}
	w.staging.mu.Lock()
	defer w.staging.mu.Unlock()
	delete(w.staging.open, w.name)
	w.staging.files[w.name] = w.sums.file(w.name)
	return nil
}

// Path is where the closed file with the given name is, until the staging ends. It is to be read only.
func (g *Staging) Path(name string) string { return filepath.Join(g.dir, name) }

// WriteReport writes report.json, which every generation has.
func (g *Staging) WriteReport(r *Report) error {
	data, err := encodeJSON(r)
	if err != nil {
		return fmt.Errorf("%s: %w", ReportName, err)
	}
	w, err := g.create(ReportName)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return errors.Join(err, w.Close())
}

// Commit adds the tarball and the manifest and gives the generation its name, in the place of one of the
// same id. Kernel, initramfs and report must have been written, and m.Plan must be the plan whose id was
// given to Stage. A failed Commit leaves the staging to Abort.
func (g *Staging) Commit(m Manifest) (Generation, error) {
	gen, err := g.commit(m)
	if err != nil {
		return Generation{}, fmt.Errorf("generation %s: %w", g.id, err)
	}
	return gen, nil
}

func (g *Staging) commit(m Manifest) (Generation, error) {
	if err := g.store.requireLock(); err != nil {
		return Generation{}, err
	}
	if err := g.complete(m); err != nil {
		return Generation{}, err
	}
	if err := g.writeTarball(&m.Plan); err != nil {
		return Generation{}, err
	}
	if err := g.writeAliases(m.Plan.Aliases); err != nil {
		return Generation{}, err
	}
	m.Schema, m.PlanID = ManifestSchema, g.id
	m.Files, m.Report = g.list()
	if err := m.check(); err != nil {
		return Generation{}, err
	}
	data, err := encodeJSON(m)
	if err != nil {
		return Generation{}, err
	}
	if err := writeFile(filepath.Join(g.dir, ManifestName), data); err != nil {
		return Generation{}, err
	}
	final := g.store.generationDir(g.id)
	if err := replaceDir(g.dir, final); err != nil {
		return Generation{}, err
	}
	g.end()
	return Generation{Dir: final, Manifest: m}, nil
}

// MissingFileError says that an alias is to stand for a file that was not made.
type MissingFileError struct {
	Alias, Of string
}

// Error names both.
func (e *MissingFileError) Error() string {
	return fmt.Sprintf("outputs.aliases: %s is to stand for %s, which this build does not make", e.Alias, e.Of)
}

// Hint says what would make it.
func (e *MissingFileError) Hint() string {
	if e.Of == ISOName(plan.X8664) || e.Of == ISOName(plan.AArch64) {
		return "--iso, or outputs.iso, makes it"
	}
	return "take the alias out, or choose a kernel that brings the file along"
}

// writeAliases gives files their second names, which are hard links.
func (g *Staging) writeAliases(all []plan.Alias) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range all {
		f, ok := g.files[a.Of]
		if !ok {
			return &MissingFileError{a.Name, a.Of}
		}
		if err := os.Link(filepath.Join(g.dir, a.Of), filepath.Join(g.dir, a.Name)); err != nil {
			return err
		}
		f.Name, f.AliasOf = a.Name, a.Of
		g.files[a.Name] = f
	}
	return nil
}

// complete says what hinders the commit.
func (g *Staging) complete(m Manifest) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dir == "" {
		return errors.New("is committed after its end")
	}
	if got := m.Plan.ID(); got != g.id {
		return fmt.Errorf("the manifest's plan has the id %s", got)
	}
	for name := range g.open {
		return fmt.Errorf("%s is not closed, or failed", name)
	}
	for _, name := range []string{KernelName(m.Plan.Arch), InitramfsName(m.Plan.Arch), ReportName} {
		if _, ok := g.files[name]; !ok {
			return fmt.Errorf("%s is missing", name)
		}
	}
	return nil
}

// list returns the files to publish, sorted, and the report.
func (g *Staging) list() (files []File, report File) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, f := range g.files {
		if name == ReportName {
			report = f
			continue
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files, report
}

func (g *Staging) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dir = ""
}

// Abort removes what has been staged. After a Commit it does nothing.
func (g *Staging) Abort() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dir == "" {
		return
	}
	os.RemoveAll(g.dir) // what stays is a leftover, which the next writer removes
	g.dir = ""
}

// replaceDir gives the complete directory temp its final name. An old one of that name is moved aside
// first: rename(2) replaces only an empty directory. Dying in between loses the old one, which is to be
// made again in any case; sets have their own links to its files.
func replaceDir(temp, final string) error {
	if err := syncDir(temp); err != nil {
		return err
	}
	parent := filepath.Dir(final)
	old, err := makeTempDir(parent)
	if err != nil {
		return err
	}
	defer os.RemoveAll(old) // what stays is a leftover, which the next writer removes
	err = os.Rename(final, filepath.Join(old, "old"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(temp, final); err != nil {
		return err
	}
	return syncDir(parent)
}
