// Package kernelorg finds the source of a Linux release at kernel.org, verifies the two signatures that vouch for it
// (https://www.kernel.org/category/signatures.html) and brings it into a cache.
package kernelorg

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/hookbuild/hookbuild/internal/download"
)

// Where kernel.org has the sources, and the keys by the direct method of
// https://www.ietf.org/archive/id/draft-koch-openpgp-webkey-service-19.html#section-3.1.
const (
	DefaultMirror = "https://cdn.kernel.org/pub/linux/kernel"
	DefaultWKD    = "https://kernel.org/.well-known/openpgpkey"
)

// Client finds and fetches sources. Its methods may be called from several goroutines.
type Client struct {
	Download *download.Client // nil is its zero value
	Mirror   string           // base URL, the directory that holds v6.x/; empty is DefaultMirror
	WKD      string           // base URL, the directory that holds hu/; empty is DefaultWKD
	Keyring  string           // a file with the keys, armored or not, in place of the WKD; empty is none
	Trusted  Anchors          // who may sign; the zero value is BuiltIn()
	CacheDir string           // made when missing; may be shared with other processes and deleted at any time
	Now      func() time.Time // required: what keys and signatures must be valid at

	// Progress is told how many bytes of name have come, or have been verified, out of total, which is -1 where
	// the server does not say; nil is nobody. Calls do not overlap within one Resolve or Fetch.
	Progress func(name string, done, total int64)

	mu       sync.Mutex
	verified map[release]string // the developer who signed what this client has verified before
}

// release is a source by its content and by the name that its signature is found under.
type release struct{ version, sha256 string }

func (p Pin) release() release { return release{p.Version, p.SHA256} }

// Anchors are those who may sign: trust begins at the fingerprints of their primary keys, wherever the keys
// themselves come from.
type Anchors struct {
	Autosigner Signer   // signs the lists of checksums
	Developers []Signer // each may sign a release
}

// Signer is a key by its owner's mail address, where the WKD has it, and by the fingerprint of its primary key.
type Signer struct {
	Mail        string
	Fingerprint string // hex
}

// BuiltIn returns who signs at kernel.org, as https://www.kernel.org/category/signatures.html publishes it.
func BuiltIn() Anchors {
	return Anchors{
		Autosigner: Signer{"autosigner@kernel.org", "B8868C80BA62A1FFFAF5FDA9632D3A06589DA6B1"},
		Developers: []Signer{
			{"gregkh@kernel.org", "647F28654894E3BD457199BE38DBBDC86092693E"},
			{"sashal@kernel.org", "E27E5D8A3403A2EF66873BBCDEA66FF797772CDC"},
			{"torvalds@kernel.org", "ABAF11C65A2970B130ABE3C479BE3E4300411886"},
		},
	}
}

// Pin is one release, verified: enough to fetch it and to know that it is the one.
type Pin struct {
	Version  string   `json:"version"`   // 6.6.142
	SHA256   string   `json:"sha256"`    // of the .tar.xz
	SignedBy []string `json:"signed_by"` // fingerprints of primary keys: of the autosigner, of the developer
}

// Check compares a pin that was written down with what it was written for. The error says which value is not of
// its form, or which release it should be.
func (p Pin) Check(w Want) error {
	r, err := parseWant(w)
	if err != nil {
		return err
	}
	v, err := p.check()
	if err == nil && (!v.sameSeries(r.version) || r.exact && v != r.version) {
		err = fmt.Errorf("linux-%s: want %s", p.Version, cmp.Or(w.Version, "a release of "+w.Series))
	}
	return err
}

func (p Pin) check() (version, error) {
	v, err := parseVersion(p.Version)
	if err == nil && !download.IsSHA256(p.SHA256) {
		err = fmt.Errorf("sha256 %q of linux-%s: want 64 hexadecimal digits, in lower case", p.SHA256, p.Version)
	}
	return v, err
}

// Want says which release is wanted.
type Want struct {
	Series    string   // 6.6: the newest point release of it
	Version   string   // 6.6.142: exactly this one; Series may then be empty
	NotBefore []string // the lock's versions: an older release than any of them of the same series is refused
}

// Resolve settles which release is meant, fetches it and verifies both signatures, so that a pin is only ever
// made of something verified. It does so for what is in the cache, too, which takes about a minute, once for each
// release and client. Errors: *download.FetchError, *download.VerifyError (also where there is no such release),
// *download.OfflineError, or of the file system.
func (c *Client) Resolve(ctx context.Context, want Want) (Pin, error) {
	r, err := parseWant(want)
	if err != nil {
		return Pin{}, err
	}
	if c.offline() {
		return Pin{}, &download.OfflineError{Name: "the list of kernel.org's " + r.series() + " releases"}
	}
	s := c.search()
	list, err := s.list(ctx, r.major())
	if err != nil {
		return Pin{}, err
	}
	version, err := list.pick(r)
	if err != nil {
		return Pin{}, err
	}
	p := Pin{Version: version.String(), SHA256: list.sources[version], SignedBy: []string{list.signer}}
	developer, err := s.bring(ctx, p)
	if err != nil {
		return Pin{}, err
	}
	p.SignedBy = append(p.SignedBy, developer)
	return p, s.keep()
}

// Fetch brings a pinned release into the cache and returns its file, a .tar.xz. What is there already and has the
// pin's digest opens no connection; what has to be fetched must have both signatures again. Errors: as Resolve.
func (c *Client) Fetch(ctx context.Context, p Pin) (file string, err error) {
	version, err := p.check()
	if err != nil {
		return "", fmt.Errorf("the pin of Linux is malformed: %w", err)
	}
	s := c.search()
	held, err := s.held(ctx, p)
	if err != nil {
		return "", err
	}
	if held {
		return c.file(p), nil
	}
	if c.offline() {
		return "", &download.OfflineError{Name: "linux " + p.Version}
	}
	list, err := s.list(ctx, version.major())
	if err != nil {
		return "", err
	}
	if got := list.sources[version]; got != p.SHA256 {
		return "", &download.VerifyError{
			File: list.url, What: "sha256 of linux " + p.Version, Got: cmp.Or(got, "none"), Want: p.SHA256 + " as the lock has it",
		}
	}
	if _, err := s.bring(ctx, p); err != nil {
		return "", err
	}
	return c.file(p), s.keep()
}

// file is where a source is in the cache. It gets there only with both signatures verified.
func (c *Client) file(p Pin) string {
	return filepath.Join(c.CacheDir, "kernel.org", p.SHA256+".tar.xz")
}

func (c *Client) offline() bool { return c.Download != nil && c.Download.Offline }

// search is one Resolve or Fetch: where it looks, and the keys that it has found.
type search struct {
	*Client
	from    *download.Client
	trusted Anchors
	keys    map[Signer]*openpgp.Entity // that were looked at
	proven  []Signer                   // whose key made a good signature
}

func (c *Client) search() *search {
	s := &search{Client: c, from: c.Download, trusted: c.Trusted, keys: map[Signer]*openpgp.Entity{}}
	if s.from == nil {
		s.from = &download.Client{}
	}
	if s.trusted.Autosigner.Fingerprint == "" && len(s.trusted.Developers) == 0 {
		s.trusted = BuiltIn()
	}
	return s
}

// address is that of a file in the directory of one major version.
func (c *Client) address(major int, name string) (string, error) {
	return download.FileURL(cmp.Or(c.Mirror, DefaultMirror), fmt.Sprintf("v%d.x/%s", major, name))
}
