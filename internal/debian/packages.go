package debian

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/hookbuild/hookbuild/internal/download"
)

// maxDeb is how long a package file may be, in bytes. The longest in trixie has 1.5 GB.
const maxDeb = 4 << 30

// parallel is how many packages are fetched at a time.
const parallel = 4

// Package is one binary package, pinned: enough to fetch it and to know that it is the one.
type Package struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Arch     string `json:"arch"` // Debian's name, or all
	Filename string `json:"file"` // below the archive's base URL
	SHA256   string `json:"sha256"`
	Size     int64  `json:"size"`    // of the .deb, in bytes
	Archive  string `json:"archive"` // FromArchive or FromSecurity
}

// validate refuses what an index or a lock should not hold and what would be dangerous as a path.
func (p Package) validate() error {
	climbs := strings.Contains("/"+p.Filename+"/", "/../")
	switch {
	case p.Name == "" || p.Version == "":
		return fmt.Errorf("package %q %q: name or version is missing", p.Name, p.Version)
	case !download.IsSHA256(p.SHA256):
		return fmt.Errorf("package %s: %q is not a sha256", p.Name, p.SHA256)
	case p.Size <= 0 || p.Size > maxDeb:
		return fmt.Errorf("package %s: a size of %d bytes: want 1 to %d", p.Name, p.Size, int64(maxDeb))
	case p.Filename == "" || strings.HasPrefix(p.Filename, "/") || climbs:
		return fmt.Errorf("package %s: %q is not a file below the archive", p.Name, p.Filename)
	case p.Archive != FromArchive && p.Archive != FromSecurity:
		return fmt.Errorf("package %s: archive %q: want %s or %s", p.Name, p.Archive, FromArchive, FromSecurity)
	}
	return nil
}

// Fetch brings packages into the cache and returns their files by SHA-256. It needs no index, so a lock is
// enough. What is in the cache is hashed again, and fetched again when it is not right. Errors:
// *download.FetchError with the package's name, *download.VerifyError, *download.OfflineError, or of the file system; files that
// were right stay in the cache.
func (c *Client) Fetch(ctx context.Context, m Mirror, packages []Package) (map[string]string, error) {
	files := map[string]string{}
	var downloads []wanted
	var total int64
	for _, p := range packages {
		if _, ok := files[p.SHA256]; ok {
			continue
		}
		d, err := c.packageDownload(m, p)
		if err != nil {
			return nil, err
		}
		files[p.SHA256] = d.dest
		downloads = append(downloads, d)
		total += p.Size
	}
	meter := newMeter(c.Progress, "packages", total)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, d := range downloads {
		d.moved = meter.add
		group.Go(func() error { return c.ensure(ctx, d) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return files, nil
}

func (c *Client) packageDownload(m Mirror, p Package) (wanted, error) {
	if err := p.validate(); err != nil {
		return wanted{}, err
	}
	d := wanted{
		base: m.Archive,
		file: p.Filename,
		name: p.Name + " " + p.Version,
		pkg:  true,
		want: content{size: p.Size, sha256: p.SHA256},
		dest: filepath.Join(c.CacheDir, "debs", p.SHA256+".deb"),
	}
	if p.Archive == FromSecurity {
		d.base = m.Security
	}
	return d, nil
}

// meter adds up bytes and reports them, one call at a time.
type meter struct {
	mu     sync.Mutex
	report func(name string, done, total int64)
	name   string
	done   int64
	total  int64
}

func newMeter(report func(string, int64, int64), name string, total int64) *meter {
	return &meter{report: report, name: name, total: total}
}

func (m *meter) add(n int64) {
	if m.report == nil || n == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	m.report(m.name, m.done, m.total)
}
