// Package debian reads a Debian mirror: from the signed InRelease files of a suite and of its security suite
// (https://wiki.debian.org/DebianRepository/Format) it makes an index, resolves sets of packages from it
// (https://www.debian.org/doc/debian-policy/ch-relationships.html), fetches them into a cache by SHA-256 and
// opens them (deb(5)).
package debian

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hookbuild/hookbuild/internal/download"
)

// The two archives that a Package may come from.
const (
	FromArchive  = "archive"
	FromSecurity = "security"
)

// Mirror says where the two archives are. A trailing slash is tolerated.
type Mirror struct {
	Archive  string // base URL: the directory that holds dists/ and pool/
	Security string // the same for the security archive; empty where there is none
}

// Client fetches from mirrors into a cache. Its methods may be called from several goroutines.
type Client struct {
	HTTP     *http.Client     // nil is http.DefaultClient; a redirect from https to http is refused in any case
	CacheDir string           // made when missing; may be shared with other processes and deleted at any time
	Offline  bool             // open no connection: what is not in the cache is a *download.OfflineError
	Keyrings []string         // OpenPGP keyring files of the host, armored or not; a missing one is passed over
	Trusted  []string         // fingerprints of the primary keys that may sign; nil is ArchiveFingerprints()
	Now      func() time.Time // required by Index: what keys and indexes must be valid at
	Stall    time.Duration    // how long a mirror may send nothing before it is given up; 0 is a minute

	// Progress is told how many bytes of name have come, out of total; nil is nobody. Calls do not overlap
	// within one Index or Fetch.
	Progress func(name string, done, total int64)
}

// securitySuite is the name of a suite's security updates.
func securitySuite(suite string) string { return suite + "-security" }

// downloads is what fetches for c.
func (c *Client) downloads() *download.Client {
	return &download.Client{HTTP: c.HTTP, Offline: c.Offline, Stall: c.Stall}
}

// content is what a file must be.
type content struct {
	size   int64
	sha256 string // lower-case hex
}

// wanted is one file to bring into the cache.
type wanted struct {
	base  string // of the mirror; not looked at for what is in the cache
	file  string // below it
	name  string // for messages
	pkg   bool   // whether name is a package
	want  content
	dest  string
	moved func(n int64)
}

// ensure sees to it that w.dest holds what it must.
func (c *Client) ensure(ctx context.Context, w wanted) error {
	address, badURL := download.FileURL(w.base, w.file)
	from := c.downloads()
	from.Offline = from.Offline || badURL != nil
	err := from.File(ctx, download.File{
		URL: address, Name: w.name, Package: w.pkg, Dest: w.dest, SHA256: w.want.sha256, Size: w.want.size, Moved: w.moved,
	})
	var missing *download.OfflineError
	if errors.As(err, &missing) && !c.Offline {
		return fmt.Errorf("%s: %w", w.name, badURL)
	}
	return err
}

func bytesText(n int64) string { return strconv.FormatInt(n, 10) + " bytes" }
