package debian

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/hookbuild/hookbuild/internal/decompress"
	"github.com/hookbuild/hookbuild/internal/download"
)

// How long a Packages file may be, in bytes, compressed and not; trixie's main has 10 MB and 57 MB.
const (
	maxIndex    = 256 << 20
	maxPackages = 512 << 20
)

// IndexRequest says what to read from a mirror.
type IndexRequest struct {
	Suite      string               // codename: "trixie"; its security suite is read too where the mirror has one
	Archs      []string             // Debian's names: amd64, arm64
	Components []string             // main, non-free-firmware
	NotBefore  map[string]time.Time // by suite: the lock's date; an older release is refused
}

// Index is what a mirror holds of a suite, verified. It does not change and may be used concurrently.
type Index struct {
	Releases []Release // the suite, then its security suite where there is one

	byArch map[string]*universe
}

// source is one suite of one archive.
type source struct {
	base    string
	archive string
	release *Release
}

// wordPattern is what suites, architectures and components look like; they become parts of paths.
var wordPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.+-]*$`)

// validate reports all faults of a request at once.
func (req IndexRequest) validate() error {
	var errs []error
	if len(req.Archs) == 0 || len(req.Components) == 0 {
		errs = append(errs, errors.New("no architecture or no component asked for"))
	}
	for _, w := range slices.Concat([]string{req.Suite}, req.Archs, req.Components) {
		if !wordPattern.MatchString(w) {
			errs = append(errs, fmt.Errorf("%q is not the name of a suite, an architecture or a component", w))
		}
	}
	return errors.Join(errs...)
}

// Index fetches and verifies the indexes of a suite and of its security suite. Offline it reads, and verifies,
// what the last Index left in the cache; the mirror may then be empty. Errors: *download.FetchError,
// *download.VerifyError, *download.OfflineError, or of the file system.
func (c *Client) Index(ctx context.Context, m Mirror, req IndexRequest) (*Index, error) {
	if err := req.validate(); err != nil {
		return nil, err
	}
	sources, err := c.releases(ctx, m, req)
	if err != nil {
		return nil, err
	}
	x := &Index{byArch: map[string]*universe{}}
	for _, s := range sources {
		x.Releases = append(x.Releases, *s.release)
	}
	for _, arch := range req.Archs {
		u := newUniverse()
		for _, s := range sources {
			for _, component := range req.Components {
				if err := c.load(ctx, u, s, arch, component); err != nil {
					return nil, err
				}
			}
		}
		u.sort()
		x.byArch[arch] = u
	}
	for _, s := range sources {
		if err := download.WriteFile(c.keptRelease(s.release.Suite), bytes.NewReader(s.release.raw)); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// releases verifies the InRelease files before anything that they vouch for is fetched.
func (c *Client) releases(ctx context.Context, m Mirror, req IndexRequest) ([]source, error) {
	keys, err := c.localKeys()
	if err != nil {
		return nil, err
	}
	s := &signers{keys: keys}
	s.fromMirror = func(rel *Release) (openpgp.EntityList, error) { return c.mirrorKeys(ctx, m.Archive, rel, req) }
	rel, err := c.release(ctx, s, m.Archive, req.Suite, req.NotBefore[req.Suite])
	if err != nil {
		return nil, err
	}
	archive := source{base: m.Archive, archive: FromArchive, release: rel}
	suite := securitySuite(req.Suite)
	if !c.hasSecurity(m, suite) {
		return []source{archive}, nil
	}
	// For a keyring that knows only the archive's key: the keyring package is in the archive.
	s.fromMirror = func(*Release) (openpgp.EntityList, error) { return c.mirrorKeys(ctx, m.Archive, archive.release, req) }
	rel, err = c.release(ctx, s, m.Security, suite, req.NotBefore[suite])
	if err != nil {
		return nil, err
	}
	return []source{archive, {base: m.Security, archive: FromSecurity, release: rel}}, nil
}

// hasSecurity reports whether there is a security suite to read: offline it is what the last Index had.
func (c *Client) hasSecurity(m Mirror, suite string) bool {
	if !c.Offline {
		return m.Security != ""
	}
	_, err := os.Stat(c.keptRelease(suite))
	return err == nil
}

// load adds the packages of one component and architecture to u.
func (c *Client) load(ctx context.Context, u *universe, s source, arch, component string) error {
	dir := component + "/binary-" + arch
	want, ok := s.release.files[dir+"/Packages.xz"]
	index := "dists/" + s.release.Suite + "/" + dir + "/Packages.xz"
	if !ok {
		return &download.VerifyError{File: index, What: "entry in InRelease", Got: "none", Want: "size and sha256"}
	}
	if want.size > maxIndex {
		return &download.VerifyError{File: index, What: "size", Got: bytesText(want.size), Want: "at most " + bytesText(maxIndex)}
	}
	name := index
	if s.release.byHash {
		name = "dists/" + s.release.Suite + "/" + dir + "/by-hash/SHA256/" + want.sha256
	}
	title := "index of " + s.release.Suite + " " + component + " " + arch
	d := wanted{base: s.base, file: name, name: title, want: want, dest: filepath.Join(c.CacheDir, "indexes", want.sha256+".xz")}
	d.moved = newMeter(c.Progress, title, want.size).add
	if err := c.ensure(ctx, d); err != nil {
		return err
	}
	if err := loadFile(d.dest, u, s.archive, arch); err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	return nil
}

// loadFile reads a Packages.xz that has been verified.
func loadFile(file string, u *universe, archive, arch string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := decompress.NewReader(f, ".xz", file, maxPackages)
	if err != nil {
		return err
	}
	defer r.Close()
	return readParagraphs(r, packagesFields(), func(p paragraph) error {
		if u.only != "" && p["package"] != u.only {
			return nil
		}
		rec, err := newRecord(p, archive, arch)
		if err == nil {
			u.add(rec)
		}
		return err
	})
}

// packagesFields is what is kept of a Packages file; the rest is most of it.
func packagesFields() map[string]bool {
	fields := map[string]bool{}
	for _, f := range []string{"package", "version", "architecture", "filename", "sha256", "size", "essential",
		"priority", "depends", "pre-depends", "provides", "conflicts", "breaks"} {
		fields[f] = true
	}
	return fields
}

// record is a package with what only the resolver needs. The relations are parsed when they are looked at:
// of 68,000 packages a few hundred are.
type record struct {
	Package
	essential bool
	priority  string
	needs     []string // Pre-Depends and Depends
	clashes   []string // Conflicts and Breaks
	provides  []relation
}

func newRecord(p paragraph, archive, arch string) (*record, error) {
	size, err := strconv.ParseInt(p["size"], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("package %s: size: %w", p["package"], err)
	}
	rec := &record{
		Package: Package{
			Name: p["package"], Version: p["version"], Arch: p["architecture"],
			Filename: p["filename"], SHA256: p["sha256"], Size: size, Archive: archive,
		},
		essential: p["essential"] == "yes",
		priority:  p["priority"],
		needs:     []string{p["pre-depends"], p["depends"]},
		clashes:   []string{p["conflicts"], p["breaks"]},
	}
	if err := rec.validate(); err != nil {
		return nil, err
	}
	if rec.Arch != arch && rec.Arch != "all" {
		return nil, fmt.Errorf("package %s: architecture %q in an index for %s", rec.Name, rec.Arch, arch)
	}
	groups, err := parseRelations(p["provides"])
	if err != nil {
		return nil, fmt.Errorf("package %s: provides: %w", rec.Name, err)
	}
	for _, g := range groups {
		rec.provides = append(rec.provides, g...)
	}
	return rec, nil
}

// universe is every package of one architecture.
type universe struct {
	only      string               // the one package to take in; "" is all
	byName    map[string][]*record // newest first once sorted
	providers map[string][]*record // by virtual name; the best first once sorted
}

func newUniverse() *universe {
	return &universe{byName: map[string][]*record{}, providers: map[string][]*record{}}
}

// add takes a package in. The same version from a second archive is left out: the first one's file stays
// on the mirror longer.
func (u *universe) add(rec *record) {
	same := func(r *record) bool { return CompareVersions(r.Version, rec.Version) == 0 }
	if slices.ContainsFunc(u.byName[rec.Name], same) {
		return
	}
	u.byName[rec.Name] = append(u.byName[rec.Name], rec)
	for _, p := range rec.provides {
		u.providers[p.name] = append(u.providers[p.name], rec)
	}
}

// sort puts the newest version of a package first, and of several providers the one that more systems have:
// by priority, then by name.
func (u *universe) sort() {
	for _, recs := range u.byName {
		slices.SortStableFunc(recs, func(a, b *record) int { return CompareVersions(b.Version, a.Version) })
	}
	for _, recs := range u.providers {
		slices.SortStableFunc(recs, func(a, b *record) int {
			return cmp.Or(cmp.Compare(rank(a.priority), rank(b.priority)), cmp.Compare(a.Name, b.Name),
				CompareVersions(b.Version, a.Version))
		})
	}
}

// rank orders the priorities of https://www.debian.org/doc/debian-policy/ch-archive.html#priorities.
func rank(priority string) int {
	order := []string{"required", "important", "standard", "optional"}
	if i := slices.Index(order, priority); i >= 0 {
		return i
	}
	return len(order)
}

// Lookup returns the newest version of a package.
func (x *Index) Lookup(arch, name string) (Package, bool) {
	u, ok := x.byArch[arch]
	if !ok || len(u.byName[name]) == 0 {
		return Package{}, false
	}
	return u.byName[name][0].Package, true
}
