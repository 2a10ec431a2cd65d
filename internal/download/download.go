// Package download brings one file from a URL (https://www.rfc-editor.org/rfc/rfc9110) into a cache: whole and
// verified by its SHA-256, or not at all.
package download

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// attempts is how often a file is asked for when the connection breaks or the server has a fault of its own.
const attempts = 2

// Client fetches. Its zero value works; its methods may be called from several goroutines.
type Client struct {
	HTTP    *http.Client  // nil is http.DefaultClient; a redirect from https to http is refused in any case
	Offline bool          // open no connection: what is not in the cache is an *OfflineError
	Stall   time.Duration // how long a server may send nothing before it is given up; 0 is a minute
}

// File is one file to bring into the cache.
type File struct {
	URL     string
	Name    string // what an *OfflineError calls it; empty: the URL
	Package bool   // whether Name is a package with its version, which a *FetchError then names too
	Dest    string // the path in the cache; its directory is made when missing
	SHA256  string // lower-case hex
	Size    int64  // bytes; -1 where it is not known
	Max     int64  // bytes that may come where Size is not known

	Total func(n int64) // told the size as soon as it is known, once for each attempt; nil is nobody
	Moved func(n int64) // told of bytes as they come, a negative number when they are dropped; nil is nobody
}

// FetchError says that a server did not deliver a file: no connection, a broken one, or a status other than 200.
type FetchError struct {
	Name   string // the package that the file belongs to, with its version; empty for any other file
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

// FileURL returns the address of a file below a base URL, which may end with a slash. The name is taken literally:
// what looks like an escape in it is none.
func FileURL(base, name string) (string, error) {
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

// Redacted returns a URL as it may stand in a message: without its password.
func Redacted(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "a malformed URL"
	}
	return u.Redacted()
}

// IsSHA256 reports whether s is a digest in lower-case hex, and so can safely name a file.
func IsSHA256(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, "0123456789abcdef") == ""
}

// File sees to it that f.Dest holds what it must: a file that is there already is hashed and kept, any other
// one is fetched. Errors: *FetchError, *VerifyError, *OfflineError, or of the file system.
func (c *Client) File(ctx context.Context, f File) error {
	if f.Total == nil {
		f.Total = func(int64) {}
	}
	if f.Moved == nil {
		f.Moved = func(int64) {}
	}
	n, ok, err := f.held()
	if err != nil {
		return err
	}
	if ok {
		f.Total(n)
		f.Moved(n)
		return nil
	}
	if c.Offline {
		return f.offline()
	}
	return retry(ctx, func() error { return c.fetch(ctx, f) })
}

// Bytes returns what is at a URL, which must not be longer than limit. Nothing is kept. Errors: *FetchError,
// *VerifyError for the length, *OfflineError.
func (c *Client) Bytes(ctx context.Context, rawURL string, limit int64) (data []byte, err error) {
	if c.Offline {
		return nil, File{URL: rawURL}.offline()
	}
	err = retry(ctx, func() error {
		data, err = c.bytes(ctx, rawURL, limit)
		return err
	})
	return data, err
}

func (c *Client) bytes(ctx context.Context, rawURL string, limit int64) ([]byte, error) {
	body, _, err := c.get(ctx, rawURL, "")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = &VerifyError{File: Redacted(rawURL), What: "size", Got: "more", Want: atMost(limit)}
	}
	return data, err
}

func (f File) offline() error {
	if f.Name == "" {
		return &OfflineError{Name: Redacted(f.URL)}
	}
	return &OfflineError{Name: f.Name}
}

// held reports whether the file is in the cache as it must be, and how long it is. One that is not right is
// no error: it is fetched again.
func (f File) held() (n int64, ok bool, err error) {
	file, err := os.Open(f.Dest)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer file.Close()
	n, err = io.Copy(io.Discard, newVerifier(file, f.Dest, f))
	var ve *VerifyError
	if errors.As(err, &ve) {
		return 0, false, nil
	}
	return n, err == nil, err
}

// fetch asks for a file once and puts it into place when it is right.
func (c *Client) fetch(ctx context.Context, f File) error {
	name := ""
	if f.Package {
		name = f.Name
	}
	body, length, err := c.get(ctx, f.URL, name)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := f.checkLength(length); err != nil {
		return err
	}
	if f.Size >= 0 {
		length = f.Size
	}
	if length >= 0 {
		f.Total(length)
	}
	counted := &counter{r: newVerifier(body, Redacted(f.URL), f), moved: f.Moved}
	if err := WriteFile(f.Dest, counted); err != nil {
		f.Moved(-counted.n)
		return err
	}
	return nil
}

// checkLength refuses a wrong file before it comes; length is -1 where the server does not say.
func (f File) checkLength(length int64) error {
	switch {
	case length < 0:
	case f.Size >= 0 && length != f.Size:
		return &VerifyError{File: Redacted(f.URL), What: "size", Got: bytesText(length), Want: bytesText(f.Size)}
	case f.Size < 0 && length > f.Max:
		return &VerifyError{File: Redacted(f.URL), What: "size", Got: bytesText(length), Want: atMost(f.Max)}
	}
	return nil
}

// retry tries again after broken connections and after the server's own faults, not after what would come
// out the same again.
func retry(ctx context.Context, try func() error) (err error) {
	for range attempts {
		var fe *FetchError
		if err = try(); !errors.As(err, &fe) || ctx.Err() != nil || errors.Is(err, errDowngrade) || errors.Is(err, errStalled) {
			return err
		}
		if fe.Status != 0 && fe.Status < http.StatusInternalServerError {
			return err
		}
	}
	return err
}

func bytesText(n int64) string { return strconv.FormatInt(n, 10) + " bytes" }

func atMost(n int64) string { return "at most " + bytesText(n) }

// WriteFile puts what r gives at path, whole or not at all: temporary file beside it, fsync, rename.
func WriteFile(path string, r io.Reader) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
