package debian

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// ArchiveFingerprints returns the fingerprints of the keys that sign Debian 12 and 13, as published at
// https://ftp-master.debian.org/keys.html and in the package debian-archive-keyring.
func ArchiveFingerprints() []string {
	return []string{
		"B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8", // Debian Archive Automatic Signing Key (12/bookworm)
		"05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0", // Debian Security Archive Automatic Signing Key (12/bookworm)
		"4D64FEC119C2029067D6E791F8D2585B8783D481", // Debian Stable Release Key (12/bookworm)
		"04B54C3CDCA79751B16BC6B5225629DF75B188BD", // Debian Archive Automatic Signing Key (13/trixie)
		"5E04A1E3223A19A20706E20F9904613D4CCE68C6", // Debian Security Archive Automatic Signing Key (13/trixie)
		"41587F7DB8C774BCCF131416762F67A0B2C39DE4", // Debian Stable Release Key (13/trixie)
	}
}

const (
	maxKeyring     = 4 << 20  // bytes of one keyring file
	maxKeyringDeb  = 64 << 20 // bytes of the package
	keyringPackage = "debian-archive-keyring"
)

// errUnknownSigner says that none of the keys at hand made any of the signatures.
var errUnknownSigner = errors.New("no signature is by a key that is trusted")

// trusted returns those keys whose primary fingerprint the client trusts. Everything else in a keyring
// counts for nothing, so that a keyring may come from anywhere.
func (c *Client) trusted(keys openpgp.EntityList) openpgp.EntityList {
	fingerprints := c.Trusted
	if fingerprints == nil {
		fingerprints = ArchiveFingerprints()
	}
	var kept openpgp.EntityList
	for _, k := range keys {
		got := fmt.Sprintf("%X", k.PrimaryKey.Fingerprint)
		if slices.ContainsFunc(fingerprints, func(f string) bool { return strings.EqualFold(f, got) }) {
			kept = append(kept, k)
		}
	}
	return kept
}

// keptKeys is where keys that a mirror's keyring package brought are kept for the next time.
func (c *Client) keptKeys() string { return filepath.Join(c.CacheDir, "keys", keyringPackage+".gpg") }

// localKeys returns the trusted keys of the host and of the cache. A file that is no keyring is passed over:
// the host's other repositories are not ours to judge.
func (c *Client) localKeys() (openpgp.EntityList, error) {
	var keys openpgp.EntityList
	for _, file := range append(slices.Clone(c.Keyrings), c.keptKeys()) {
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, c.trusted(parseKeyring(data))...)
	}
	return keys, nil
}

// parseKeyring reads a keyring in either form; what it cannot read is left out.
func parseKeyring(data []byte) openpgp.EntityList {
	read := openpgp.ReadKeyRing
	if bytes.HasPrefix(data, []byte("-----BEGIN PGP")) {
		read = openpgp.ReadArmoredKeyRing
	}
	keys, err := read(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	return keys
}

// mirrorKeys gets the trusted keys out of the mirror's own keyring package, which is found through an index
// that nothing vouches for yet: what makes a key good is its fingerprint alone. All of it happens in a
// directory of its own that is removed again; only keys that are trusted are kept.
func (c *Client) mirrorKeys(ctx context.Context, base string, rel *Release, req IndexRequest) (openpgp.EntityList, error) {
	if c.Offline {
		return nil, nil
	}
	if err := os.MkdirAll(c.CacheDir, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(c.CacheDir, ".keys-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	apart := *c
	apart.CacheDir, apart.Progress = dir, nil
	u := newUniverse()
	u.only = keyringPackage
	if err := apart.load(ctx, u, source{base: base, archive: FromArchive, release: rel}, req.Archs[0], req.Components[0]); err != nil {
		return nil, err
	}
	u.sort()
	found := u.byName[keyringPackage]
	if len(found) == 0 || found[0].Size > maxKeyringDeb {
		return nil, nil
	}
	debs, err := apart.Fetch(ctx, Mirror{Archive: base}, []Package{found[0].Package})
	if err != nil {
		return nil, err
	}
	keys, err := c.keysFromDeb(debs[found[0].SHA256])
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	return keys, c.keepKeys(keys)
}

// keysFromDeb returns the trusted keys of all keyrings in a package.
func (c *Client) keysFromDeb(file string) (keys openpgp.EntityList, err error) {
	deb, err := OpenDeb(file)
	if err != nil {
		return nil, err
	}
	data, err := deb.Data()
	if err != nil {
		return nil, err
	}
	defer data.Close()
	return keys, eachFile(data, func(name string, r io.Reader) error {
		ext := path.Ext(name)
		if path.Dir(name) != "usr/share/keyrings" || (ext != ".gpg" && ext != ".pgp") {
			return nil
		}
		ring, err := io.ReadAll(io.LimitReader(r, maxKeyring))
		if err != nil {
			return err
		}
		for _, k := range c.trusted(parseKeyring(ring)) {
			if len(keys.KeysById(k.PrimaryKey.KeyId)) == 0 {
				keys = append(keys, k)
			}
		}
		return nil
	})
}

func (c *Client) keepKeys(keys openpgp.EntityList) error {
	var out bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&out); err != nil {
			return err
		}
	}
	return writeFile(c.keptKeys(), &out)
}

// checkSignatures wants one good signature over signed by one of keys, valid at now. Each signature is
// looked at on its own, because a release carries several and an expired key's may stand first.
func checkSignatures(keys openpgp.EntityList, signed []byte, signatures io.Reader, now time.Time) error {
	result := errUnknownSigner
	packets := packet.NewOpaqueReader(signatures)
	for {
		p, err := packets.Next()
		if err == io.EOF {
			return result
		}
		if err != nil {
			return err
		}
		err = checkSignature(keys, signed, p, now)
		if err == nil {
			return nil
		}
		if errors.Is(result, errUnknownSigner) {
			result = err
		}
	}
}

// clockSkew is how far the clock of this machine may lag behind the archive's.
const clockSkew = 24 * time.Hour

func checkSignature(keys openpgp.EntityList, signed []byte, p *packet.OpaquePacket, now time.Time) error {
	var raw bytes.Buffer
	if err := p.Serialize(&raw); err != nil {
		return err
	}
	parsed, err := p.Parse()
	if err != nil {
		return err
	}
	sig, ok := parsed.(*packet.Signature)
	if !ok {
		return fmt.Errorf("%T among the signatures", parsed)
	}
	if !slices.Contains([]crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}, sig.Hash) {
		return fmt.Errorf("signature over a weak digest, %v", sig.Hash)
	}
	if ahead := sig.CreationTime.Sub(now); ahead > 0 && ahead < clockSkew {
		now = sig.CreationTime
	}
	if sig.IssuerKeyId == nil || len(keys.KeysById(*sig.IssuerKeyId)) == 0 {
		return errUnknownSigner
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	_, err = openpgp.CheckDetachedSignature(keys, bytes.NewReader(signed), &raw, config)
	return err
}
