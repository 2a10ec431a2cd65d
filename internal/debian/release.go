package debian

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/pgp"
)

// maxInRelease is how long an InRelease file may be, in bytes; trixie's is 170 kB.
const maxInRelease = 4 << 20

// Release is a verified InRelease file.
type Release struct {
	Suite      string    // its codename: trixie, trixie-security
	Date       time.Time // when it was made, UTC
	ValidUntil time.Time // zero where it does not say
	SHA256     string    // of the InRelease file

	raw    []byte
	files  map[string]content // by path below the suite's directory
	byHash bool
}

// splitSigned takes an InRelease file apart.
func splitSigned(file string, raw []byte) (pgp.ClearSigned, error) {
	parts, err := pgp.Split(raw)
	if err != nil {
		return parts, &download.VerifyError{File: file, What: "signature", Got: err.Error(), Want: "one clear-signed text and nothing else"}
	}
	return parts, nil
}

// parseRelease reads the fields of a release; whether they are right is for others to say.
func parseRelease(text, raw []byte) (*Release, error) {
	p, err := oneParagraph(text)
	if err != nil {
		return nil, err
	}
	r := &Release{
		Suite:  p["codename"],
		raw:    raw,
		SHA256: hex.EncodeToString(sum256(raw)),
		byHash: p["acquire-by-hash"] == "yes",
	}
	if r.Date, err = releaseTime(p["date"]); err != nil {
		return nil, fmt.Errorf("date: %w", err)
	}
	if until := p["valid-until"]; until != "" {
		if r.ValidUntil, err = releaseTime(until); err != nil {
			return nil, fmt.Errorf("valid-until: %w", err)
		}
	}
	r.files, err = parseFiles(p["sha256"])
	return r, err
}

// releaseTime reads the RFC 822 dates that releases have: "Sat, 12 Sep 2026 07:55:41 UTC".
func releaseTime(s string) (time.Time, error) {
	for _, zone := range []string{"UTC", "GMT", "-0700"} {
		if t, err := time.Parse("Mon, _2 Jan 2006 15:04:05 "+zone, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a date", s)
}

func sum256(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}

// parseFiles reads the lines "digest size path" of a release.
func parseFiles(field string) (map[string]content, error) {
	files := map[string]content{}
	for line := range strings.Lines(field) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("sha256: %q is not digest, size and path", line)
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || size < 0 || !download.IsSHA256(f[0]) {
			return nil, fmt.Errorf("sha256: %q is not digest, size and path", line)
		}
		files[f[2]] = content{size: size, sha256: f[0]}
	}
	return files, nil
}

// check compares a release with what was asked for and with the clock.
func (r *Release) check(file, suite string, notBefore, now time.Time) error {
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	switch {
	case r.Suite != suite:
		return &download.VerifyError{File: file, What: "codename", Got: strconv.Quote(r.Suite), Want: suite}
	case r.Date.After(now.Add(pgp.ClockSkew)):
		return &download.VerifyError{File: file, What: "date", Got: stamp(r.Date), Want: "at most a day after now, " + stamp(now)}
	case !r.ValidUntil.IsZero() && r.ValidUntil.Before(now):
		return &download.VerifyError{File: file, What: "valid-until", Got: stamp(r.ValidUntil), Want: "a time after now, " + stamp(now)}
	case r.Date.Before(notBefore):
		return &download.VerifyError{File: file, What: "date", Got: stamp(r.Date), Want: stamp(notBefore) + " or later"}
	}
	return nil
}

// keptRelease is where the last verified InRelease of a suite is kept, for the offline case.
func (c *Client) keptRelease(suite string) string {
	return filepath.Join(c.CacheDir, "dists", suite, "InRelease")
}

// inRelease returns a suite's InRelease file, not verified.
func (c *Client) inRelease(ctx context.Context, base, suite string) (file string, raw []byte, err error) {
	if c.Offline {
		file = c.keptRelease(suite)
		raw, err = os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			err = &download.OfflineError{Name: "the index of " + suite}
		}
		return file, raw, err
	}
	address, err := download.FileURL(base, "dists/"+suite+"/InRelease")
	if err != nil {
		return "", nil, err
	}
	file = download.Redacted(address)
	raw, err = c.downloads().Bytes(ctx, address, maxInRelease)
	return file, raw, err
}

// signers is the keys that one Index works with. A mirror is asked for its keyring at most once, and only
// when no key at hand made any of the signatures.
type signers struct {
	keys       openpgp.EntityList
	asked      bool
	fromMirror func(unverified *Release) (openpgp.EntityList, error)
}

// verify wants a good signature over parts, which came from file. rel is what parts say, and may be used to
// find more keys only.
func (s *signers) verify(file string, parts pgp.ClearSigned, rel *Release, now time.Time) error {
	signed := func() io.Reader { return bytes.NewReader(parts.Signed) }
	_, err := pgp.Check(s.keys, signed, parts.Signatures, now)
	if errors.Is(err, pgp.ErrUnknownSigner) && !s.asked {
		s.asked = true
		more, ferr := s.fromMirror(rel)
		if ferr != nil {
			return fmt.Errorf("getting the archive's keys from the mirror: %w", ferr)
		}
		s.keys = append(s.keys, more...)
		_, err = pgp.Check(s.keys, signed, parts.Signatures, now)
	}
	if err != nil {
		return &download.VerifyError{File: file, What: "signature", Got: err.Error(), Want: "a good one by a key of the Debian archive"}
	}
	return nil
}

// release fetches and verifies the InRelease of one suite.
func (c *Client) release(ctx context.Context, s *signers, base, suite string, notBefore time.Time) (*Release, error) {
	file, raw, err := c.inRelease(ctx, base, suite)
	if err != nil {
		return nil, err
	}
	parts, err := splitSigned(file, raw)
	if err != nil {
		return nil, err
	}
	rel, err := parseRelease(parts.Text, raw)
	if err != nil {
		return nil, &download.VerifyError{File: file, What: "form", Got: err.Error(), Want: "the fields of a Debian release"}
	}
	if err := s.verify(file, parts, rel, c.Now()); err != nil {
		return nil, err
	}
	return rel, rel.check(file, suite, notBefore, c.Now())
}
