package kernelorg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/pgp"
)

// maxList is how long a list of checksums may be, in bytes; that of v5.x has about 1 MB.
const maxList = 16 << 20

// list is the verified checksums of a major version's directory.
type list struct {
	url     string
	signer  string             // fingerprint
	sources map[version]string // sha256 of the .tar.xz
}

// list fetches and verifies sha256sums.asc.
func (s *search) list(ctx context.Context, major int) (*list, error) {
	address, err := s.address(major, "sha256sums.asc")
	if err != nil {
		return nil, err
	}
	raw, err := s.from.Bytes(ctx, address, maxList)
	if err != nil {
		return nil, err
	}
	l := &list{url: download.Redacted(address)}
	parts, err := splitList(raw)
	if err != nil {
		return nil, &download.VerifyError{File: l.url, What: "signature", Got: err.Error(), Want: "one clear-signed text and nothing else"}
	}
	open := func() io.Reader { return bytes.NewReader(parts.Signed) }
	if l.signer, err = s.check(ctx, l.url, []Signer{s.trusted.Autosigner}, parts.Signatures, open); err != nil {
		return nil, err
	}
	if l.sources, err = parseList(string(parts.Text)); err != nil {
		return nil, &download.VerifyError{File: l.url, What: "form", Got: err.Error(), Want: "a sha256 and a name in each line"}
	}
	return l, nil
}

// splitList takes the list apart. Line ends are not among what the signature is over, so other ones than
// kernel.org's would go unnoticed.
func splitList(raw []byte) (pgp.ClearSigned, error) {
	if bytes.ContainsRune(raw, '\r') {
		return pgp.ClearSigned{}, errors.New("a carriage return")
	}
	return pgp.Split(raw)
}

var (
	listLine   = regexp.MustCompile(`^([0-9a-f]{64})  (\S.*)$`)
	sourceName = regexp.MustCompile(`^linux-([0-9.]+)\.tar\.xz$`)
)

// parseList reads the output of sha256sum. A source that stands twice is refused: which of the two lines counts
// would be anyone's guess.
func parseList(text string) (map[version]string, error) {
	sources := map[version]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		m := listLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("the line %.100q", line)
		}
		source := sourceName.FindStringSubmatch(m[2])
		if source == nil {
			continue
		}
		v, err := parseVersion(source[1])
		if err != nil {
			continue // nothing that can be asked for
		}
		if sources[v] != "" {
			return nil, fmt.Errorf("%s twice", m[2])
		}
		sources[v] = m[1]
	}
	return sources, nil
}

// pick finds the release that is wanted.
func (l *list) pick(r request) (version, error) {
	newest, ok := l.newest(func(v version) bool { return v.sameSeries(r.version) })
	if !ok {
		got := "no release at all"
		if other, ok := l.newest(func(version) bool { return true }); ok {
			got = "none of it; the newest release there is " + other.String()
		}
		return version{}, &download.VerifyError{File: l.url, What: "series", Got: got, Want: r.series()}
	}
	if r.exact {
		if _, ok := l.sources[r.version]; !ok {
			return version{}, &download.VerifyError{
				File: l.url, What: "version", Got: newest.String() + " as the newest of " + r.series(), Want: r.version.String(),
			}
		}
		newest = r.version
	}
	if newest.compare(r.notBefore) < 0 {
		return version{}, &download.VerifyError{
			File: l.url, What: "version", Got: newest.String(), Want: r.notBefore.String() + " as the lock has it, or later",
		}
	}
	return newest, nil
}

func (l *list) newest(of func(version) bool) (best version, ok bool) {
	for v := range l.sources {
		if of(v) && (!ok || v.compare(best) > 0) {
			best, ok = v, true
		}
	}
	return best, ok
}
