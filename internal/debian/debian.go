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
	"net/url"
	"strings"
	"time"
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
	Offline  bool             // open no connection: what is not in the cache is an *OfflineError
	Keyrings []string         // OpenPGP keyring files of the host, armored or not; a missing one is passed over
	Trusted  []string         // fingerprints of the primary keys that may sign; nil is ArchiveFingerprints()
	Now      func() time.Time // required by Index: what keys and indexes must be valid at
	Stall    time.Duration    // how long a mirror may send nothing before it is given up; 0 is a minute

	// Progress is told how many bytes of name have come, out of total; nil is nobody. Calls do not overlap
	// within one Index or Fetch.
	Progress func(name string, done, total int64)
}

// FetchError says that a mirror did not deliver a file: no connection, a broken one, or a status other than 200.
type FetchError struct {
	Name   string // the package that the file belongs to, with its version; empty for an index
	URL    string // without a password
	Status int    // the HTTP status; 0 where it did not come to one
	Err    error
}

// Error names the package, where there is one, and the URL.
func (e *FetchError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("fetching %s: %v", e.URL, e.Err)
	}
	return fmt.Sprintf("fetching package %s from %s: %v", e.Name, e.URL, e.Err)
}

// Unwrap returns the cause.
func (e *FetchError) Unwrap() error { return e.Err }

// VerifyError says that a file came and was refused: a digest, a size, a signature or a date is not as it
// must be. Nothing of the file is kept.
type VerifyError struct {
	File      string // a URL, a path, or what the file is
	What      string // what was compared: "sha256", "size", "signature", "date" …
	Got, Want string
}

// Error names the file, what was compared, and both values.
func (e *VerifyError) Error() string {
	return fmt.Sprintf("%s: wrong %s: got %s, want %s", e.File, e.What, e.Got, e.Want)
}

// OfflineError says that something is not in the cache and may not be fetched.
type OfflineError struct {
	Name string
}

// Error names what is missing.
func (e *OfflineError) Error() string {
	return fmt.Sprintf("%s is not in the cache, and connections are not allowed (offline)", e.Name)
}

// securitySuite is the name of a suite's security updates.
func securitySuite(suite string) string { return suite + "-security" }

// fileURL returns the address of a file below a base URL. The name is taken literally, as pool names are.
func fileURL(base, name string) (string, error) {
	u, err := url.Parse(strings.TrimRight(base, "/"))
	if err != nil {
		return "", fmt.Errorf("malformed URL of a mirror: %w", errors.Unwrap(err)) // url.Error shows the password
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", fmt.Errorf("mirror %q: want an http or https base URL", u.Redacted())
	}
	u.Path, u.RawPath = u.Path+"/"+name, ""
	return u.String(), nil
}

// redacted returns a URL as it may stand in a message.
func redacted(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "a malformed URL"
	}
	return u.Redacted()
}

// errStalled is the cause of a cancelled request whose mirror fell silent.
var errStalled = errors.New("the mirror sends nothing")

// watch returns a context that is cancelled when touch is not called for the client's stall time. The
// caller calls stop when done.
func (c *Client) watch(ctx context.Context) (watched context.Context, touch func(), stop func()) {
	limit := c.Stall
	if limit == 0 {
		limit = time.Minute
	}
	watched, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(errStalled) })
	touch = func() { timer.Reset(limit) }
	stop = func() {
		timer.Stop()
		cancel(nil)
	}
	return watched, touch, stop
}
