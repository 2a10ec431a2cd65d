package debian

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/pgp"
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

// trusted returns those keys whose primary fingerprint the client trusts.
func (c *Client) trusted(keys openpgp.EntityList) openpgp.EntityList {
	fingerprints := c.Trusted
	if fingerprints == nil {
		fingerprints = ArchiveFingerprints()
	}
	return pgp.Trusted(keys, fingerprints...)
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
		keys = append(keys, c.trusted(pgp.Keys(data))...)
	}
	return keys, nil
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
		for _, k := range c.trusted(pgp.Keys(ring)) {
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
	return download.WriteFile(c.keptKeys(), &out)
}
