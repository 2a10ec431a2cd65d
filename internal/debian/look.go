package debian

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/pgp"
)

// Look fetches the InRelease of one suite of an archive and judges it as Index would, without keeping anything and
// without fetching keys: signed says whether a key at hand has made its signature. An older release than notBefore,
// which may be zero, is refused. Where an error is returned, rel has what could be read all the same, or is nil.
// Errors: *download.FetchError, *download.VerifyError, *download.OfflineError, or of the file system.
func (c *Client) Look(ctx context.Context, base, suite string, notBefore time.Time) (rel *Release, signed bool, err error) {
	file, raw, err := c.inRelease(ctx, base, suite)
	if err != nil {
		return nil, false, err
	}
	parts, err := splitSigned(file, raw)
	if err != nil {
		return nil, false, err
	}
	rel, err = parseRelease(parts.Text, raw)
	if err != nil {
		return nil, false, &download.VerifyError{File: file, What: "form", Got: err.Error(), Want: "the fields of a Debian release"}
	}
	keys, err := c.localKeys()
	if err != nil {
		return rel, false, err
	}
	_, err = pgp.Check(keys, func() io.Reader { return bytes.NewReader(parts.Signed) }, parts.Signatures, c.Now())
	if err != nil && !errors.Is(err, pgp.ErrUnknownSigner) { // whom the mirror's own keyring may make known
		return rel, false, &download.VerifyError{File: file, What: "signature", Got: err.Error(), Want: "a good one by a key of the Debian archive"}
	}
	return rel, err == nil, rel.check(file, suite, notBefore, c.Now())
}

// SecuritySuite is the name of a suite's security updates.
func SecuritySuite(suite string) string { return securitySuite(suite) }
