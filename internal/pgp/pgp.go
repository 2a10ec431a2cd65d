// Package pgp checks OpenPGP signatures (https://www.rfc-editor.org/rfc/rfc9580) by keys that are trusted for
// their fingerprints.
package pgp

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// ErrUnknownSigner says that none of the keys at hand made any of the signatures.
var ErrUnknownSigner = errors.New("no signature is by a key that is trusted")

// Fingerprint is that of a key's primary key, in upper-case hex.
func Fingerprint(key *openpgp.Entity) string { return fmt.Sprintf("%X", key.PrimaryKey.Fingerprint) }

// armorHead begins an armored keyring.
const armorHead = "-----BEGIN PGP PUBLIC KEY BLOCK-----"

// Keys reads a keyring, armored or not; what it cannot read is left out. Several armored ones may stand in one
// file, as they do when exported keys are put together.
func Keys(keyring []byte) openpgp.EntityList {
	if !bytes.Contains(keyring, []byte(armorHead)) {
		keys, err := openpgp.ReadKeyRing(bytes.NewReader(keyring))
		if err != nil {
			return nil
		}
		return keys
	}
	var all openpgp.EntityList
	for _, block := range bytes.Split(keyring, []byte(armorHead))[1:] {
		keys, err := openpgp.ReadArmoredKeyRing(io.MultiReader(strings.NewReader(armorHead), bytes.NewReader(block)))
		if err == nil {
			all = append(all, keys...)
		}
	}
	return all
}

// Trusted returns those keys whose primary key has one of the fingerprints, in hex. Everything else in a
// keyring counts for nothing, so that a keyring may come from anywhere.
func Trusted(keys openpgp.EntityList, fingerprints ...string) openpgp.EntityList {
	var kept openpgp.EntityList
	for _, k := range keys {
		got := Fingerprint(k)
		if slices.ContainsFunc(fingerprints, func(f string) bool { return strings.EqualFold(f, got) }) {
			kept = append(kept, k)
		}
	}
	return kept
}

// ClearSigned is a clear-signed text taken apart; nothing of it is verified.
type ClearSigned struct {
	Text       []byte // what to read
	Signed     []byte // what the signatures are over
	Signatures []byte // packets
}

// Split takes a clear-signed file apart (https://www.rfc-editor.org/rfc/rfc9580#section-7). Text outside
// the signed block is refused: it could be taken for part of what is signed.
func Split(file []byte) (ClearSigned, error) {
	block, rest := clearsign.Decode(file)
	if block == nil {
		return ClearSigned{}, errors.New("no clear-signed text")
	}
	if !bytes.HasPrefix(file, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return ClearSigned{}, errors.New("text before the signed block")
	}
	if len(rest) > 0 {
		return ClearSigned{}, errors.New("text after the signed block")
	}
	signatures, err := io.ReadAll(block.ArmoredSignature.Body)
	if err != nil {
		return ClearSigned{}, err
	}
	return ClearSigned{Text: block.Plaintext, Signed: block.Bytes, Signatures: signatures}, nil
}

// Detached returns the packets of an armored detached signature.
func Detached(file []byte) ([]byte, error) {
	block, err := armor.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("no armored signature: %w", err)
	}
	if block.Type != openpgp.SignatureType {
		return nil, fmt.Errorf("%s: want a signature", block.Type)
	}
	return io.ReadAll(block.Body)
}

// Issuers returns the ids of the keys that signatures say they are by, without repetition.
func Issuers(signatures []byte) []uint64 {
	var ids []uint64
	packets := packet.NewOpaqueReader(bytes.NewReader(signatures))
	for {
		p, err := packets.Next()
		if err != nil {
			return ids
		}
		sig, err := parse(p)
		if err == nil && sig.IssuerKeyId != nil && !slices.Contains(ids, *sig.IssuerKeyId) {
			ids = append(ids, *sig.IssuerKeyId)
		}
	}
}

// ClockSkew is how far the clock of this machine may lag behind a signer's.
const ClockSkew = 24 * time.Hour

// Check wants one good signature over what open gives by one of keys, valid at now, and returns that key. Each
// signature is looked at on its own, because there may be several and an expired key's may stand first; open
// is called for each that is by one of keys.
func Check(keys openpgp.EntityList, open func() io.Reader, signatures []byte, now time.Time) (*openpgp.Entity, error) {
	result := ErrUnknownSigner
	packets := packet.NewOpaqueReader(bytes.NewReader(signatures))
	for {
		p, err := packets.Next()
		if err == io.EOF {
			return nil, result
		}
		if err != nil {
			return nil, err
		}
		signer, err := check(keys, open, p, now)
		if err == nil {
			return signer, nil
		}
		if errors.Is(result, ErrUnknownSigner) {
			result = err
		}
	}
}

func check(keys openpgp.EntityList, open func() io.Reader, p *packet.OpaquePacket, now time.Time) (*openpgp.Entity, error) {
	var raw bytes.Buffer
	if err := p.Serialize(&raw); err != nil {
		return nil, err
	}
	sig, err := parse(p)
	if err != nil {
		return nil, err
	}
	if !slices.Contains([]crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}, sig.Hash) {
		return nil, fmt.Errorf("signature over a weak digest, %v", sig.Hash)
	}
	if ahead := sig.CreationTime.Sub(now); ahead > 0 && ahead < ClockSkew {
		now = sig.CreationTime
	}
	if sig.IssuerKeyId == nil || len(keys.KeysById(*sig.IssuerKeyId)) == 0 {
		return nil, ErrUnknownSigner
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	return openpgp.CheckDetachedSignature(keys, open(), &raw, config)
}

func parse(p *packet.OpaquePacket) (*packet.Signature, error) {
	parsed, err := p.Parse()
	if err != nil {
		return nil, err
	}
	sig, ok := parsed.(*packet.Signature)
	if !ok {
		return nil, fmt.Errorf("%T among the signatures", parsed)
	}
	return sig, nil
}
