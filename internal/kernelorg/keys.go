package kernelorg

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha1"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/pgp"
)

// maxKey is how long a key may be, in bytes; with many signatures by others on it, it can have some 100 kB.
const maxKey = 4 << 20

// check wants a good signature over what open gives by one of signers and returns the fingerprint of the
// signer's key. file is for messages.
func (s *search) check(ctx context.Context, file string, signers []Signer, signatures []byte, open func() io.Reader) (string, error) {
	keys, err := s.keysFor(ctx, signers, pgp.Issuers(signatures))
	if err != nil {
		return "", err
	}
	key, err := pgp.Check(keys, open, signatures, s.Now())
	if err != nil {
		return "", &download.VerifyError{File: file, What: "signature", Got: err.Error(), Want: "a good one by " + names(signers)}
	}
	for _, signer := range signers {
		if s.keys[signer] == key {
			s.proven = append(s.proven, signer)
		}
	}
	return pgp.Fingerprint(key), nil
}

func names(signers []Signer) string {
	var all []string
	for _, s := range signers {
		all = append(all, s.Mail)
	}
	return strings.Join(all, " or ")
}

// keysFor returns the keys of those signers that made a signature. Others are asked for only until that one is
// found; that one of them cannot be had is an error only where none is found.
func (s *search) keysFor(ctx context.Context, signers []Signer, issuers []uint64) (openpgp.EntityList, error) {
	var missing error
	for _, signer := range likelyFirst(signers, issuers) {
		key, err := s.key(ctx, signer)
		if err != nil {
			if missing == nil {
				missing = err
			}
			continue
		}
		keys := openpgp.EntityList{key}
		if slices.ContainsFunc(issuers, func(id uint64) bool { return len(keys.KeysById(id)) > 0 }) {
			return keys, nil
		}
	}
	return nil, missing
}

// likelyFirst moves those signers to the front whose primary key made a signature: the id of a key is the end of
// its fingerprint. A subkey's says nothing of whose it is.
func likelyFirst(signers []Signer, issuers []uint64) []Signer {
	rank := func(signer Signer) int {
		made := func(id uint64) bool {
			return strings.HasSuffix(strings.ToUpper(signer.Fingerprint), fmt.Sprintf("%016X", id))
		}
		if slices.ContainsFunc(issuers, made) {
			return 0
		}
		return 1
	}
	sorted := slices.Clone(signers)
	slices.SortStableFunc(sorted, func(a, b Signer) int { return cmp.Compare(rank(a), rank(b)) })
	return sorted
}

// key returns a signer's key from the keyring, or else from the WKD. The one that was kept the last time is for
// when the WKD does not answer, since a key may have been revoked meanwhile.
func (s *search) key(ctx context.Context, signer Signer) (*openpgp.Entity, error) {
	if key := s.keys[signer]; key != nil {
		return key, nil
	}
	from, data, err := s.keyData(ctx, signer)
	if err != nil {
		return nil, err
	}
	all := pgp.Keys(data)
	keys := pgp.Trusted(all, signer.Fingerprint)
	if len(keys) == 0 {
		return nil, &download.VerifyError{
			File: from, What: "key", Got: fingerprints(all), Want: signer.Fingerprint + " of " + signer.Mail,
		}
	}
	s.keys[signer] = keys[0]
	return keys[0], nil
}

// fingerprints says what keys there are, for a message; a whole keyring is too long for one.
func fingerprints(keys openpgp.EntityList) string {
	const enough = 4
	var all []string
	for _, k := range keys {
		all = append(all, pgp.Fingerprint(k))
	}
	switch {
	case len(all) == 0:
		return "none"
	case len(all) > enough:
		return fmt.Sprintf("%d others", len(all))
	}
	return strings.Join(all, " and ")
}

func (s *search) keyData(ctx context.Context, signer Signer) (from string, data []byte, err error) {
	if s.Keyring != "" {
		data, err := os.ReadFile(s.Keyring)
		if err != nil {
			err = fmt.Errorf("keyring for kernel.org: %w", err)
		}
		return s.Keyring, data, err
	}
	address, err := s.wkdAddress(signer.Mail)
	if err != nil {
		return "", nil, err
	}
	data, err = s.from.Bytes(ctx, address, maxKey)
	var gone *download.FetchError
	if errors.As(err, &gone) && ctx.Err() == nil {
		if kept, kerr := os.ReadFile(s.keptKey(signer)); kerr == nil {
			return s.keptKey(signer), kept, nil
		}
	}
	return download.Redacted(address), data, err
}

// wkdAddress is where the direct method has the key of a mail address.
func (c *Client) wkdAddress(mail string) (string, error) {
	local, _, _ := strings.Cut(mail, "@")
	digest := sha1.Sum([]byte(strings.ToLower(local)))
	// z-base-32, https://www.rfc-editor.org/rfc/rfc6189#section-5.1.6; 160 bits come out without padding.
	name := base32.NewEncoding("ybndrfg8ejkmcpqxot1uwisza345h769").EncodeToString(digest[:])
	address, err := download.FileURL(cmp.Or(c.WKD, DefaultWKD), "hu/"+name)
	if err != nil {
		return "", err
	}
	return address + "?l=" + url.QueryEscape(local), nil
}

func (c *Client) keptKey(signer Signer) string {
	return filepath.Join(c.CacheDir, "keys", strings.ToUpper(signer.Fingerprint)+".gpg")
}

// keep writes the keys that made good signatures into the cache. The keyring stays what counts where there is one.
func (s *search) keep() error {
	if s.Keyring != "" {
		return nil
	}
	for _, signer := range s.proven {
		var out bytes.Buffer
		if err := s.keys[signer].Serialize(&out); err != nil {
			return err
		}
		if err := download.WriteFile(s.keptKey(signer), &out); err != nil {
			return err
		}
	}
	return nil
}
