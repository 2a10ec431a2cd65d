package pgp

import (
	"bytes"
	"crypto"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// today is the time that the tests happen at.
func today() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// newKey makes a key that was made a year before today and lives for life, or for ever.
func newKey(t *testing.T, life time.Duration) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity("Test", "", "test@mirror.example", &packet.Config{
		Algorithm:       packet.PubKeyAlgoEdDSA,
		Time:            func() time.Time { return today().AddDate(-1, 0, 0) },
		KeyLifetimeSecs: uint32(life.Seconds()),
	})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func public(t *testing.T, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&out); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func armored(t *testing.T, kind string, packets []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, kind, nil)
	if err == nil {
		_, err = w.Write(packets)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

// sign returns the packets of one signature for each key, made at a time.
func sign(t *testing.T, text string, at time.Time, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, k := range keys {
		config := &packet.Config{Time: func() time.Time { return at }}
		sig := &packet.Signature{
			Version: k.PrimaryKey.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: k.PrimaryKey.PubKeyAlgo, Hash: crypto.SHA512,
			CreationTime: at, IssuerKeyId: &k.PrimaryKey.KeyId, IssuerFingerprint: k.PrimaryKey.Fingerprint,
		}
		h := crypto.SHA512.New()
		io.WriteString(h, text)
		err := sig.Sign(h, k.PrivateKey, config)
		if err == nil {
			err = sig.Serialize(&out)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func clearSigned(t *testing.T, text string, key *openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := clearsign.Encode(&out, key.PrivateKey, &packet.Config{Time: today})
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

func TestKeys(t *testing.T) {
	a, b := newKey(t, 0), newKey(t, 0)
	head := func(key *openpgp.Entity) []byte { return armored(t, openpgp.PublicKeyType, public(t, key)) }
	tests := map[string]struct {
		keyring []byte
		want    []*openpgp.Entity
	}{
		"binary":                   {public(t, a, b), []*openpgp.Entity{a, b}},
		"armored":                  {armored(t, openpgp.PublicKeyType, public(t, a, b)), []*openpgp.Entity{a, b}},
		"armored, put together":    {slices.Concat(head(a), head(b)), []*openpgp.Entity{a, b}},
		"text before the armor":    {slices.Concat([]byte("pub rsa4096\n\n"), head(a)), []*openpgp.Entity{a}},
		"one of two is unreadable": {slices.Concat(head(a)[:100], []byte("\n"), head(b)), []*openpgp.Entity{b}},
		"nothing":                  {nil, nil},
		"no keyring":               {[]byte("<html>"), nil},
		"cut off":                  {public(t, a)[:20], nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got, want []string
			for _, k := range Keys(test.keyring) {
				got = append(got, Fingerprint(k))
			}
			for _, k := range test.want {
				want = append(want, Fingerprint(k))
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestTrusted(t *testing.T) {
	a, b := newKey(t, 0), newKey(t, 0)
	keys := openpgp.EntityList{a, b}
	for name, test := range map[string]struct {
		fingerprints []string
		want         int
	}{
		"one":                           {[]string{Fingerprint(b)}, 1},
		"in small letters":              {[]string{strings.ToLower(Fingerprint(b))}, 1},
		"both":                          {[]string{Fingerprint(b), Fingerprint(a)}, 2},
		"none":                          {nil, 0},
		"the end of one":                {[]string{Fingerprint(b)[24:]}, 0},
		"a subkey's counts for nothing": {[]string{strings.ToUpper(fingerprintOf(b.Subkeys[0]))}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Trusted(keys, test.fingerprints...); len(got) != test.want {
				t.Errorf("got %d keys, want %d", len(got), test.want)
			}
		})
	}
}

func fingerprintOf(sub openpgp.Subkey) string {
	return Fingerprint(&openpgp.Entity{PrimaryKey: sub.PublicKey})
}

func TestSplit(t *testing.T) {
	key := newKey(t, 0)
	const text = "one\n- two\n"
	file := clearSigned(t, text, key)
	parts, err := Split(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(parts.Text) != text {
		t.Errorf("got %q, want %q", parts.Text, text)
	}
	open := func() io.Reader { return bytes.NewReader(parts.Signed) }
	if signer, err := Check(openpgp.EntityList{key}, open, parts.Signatures, today()); err != nil || signer != key {
		t.Errorf("signature: got %v, %v", signer, err)
	}
	for name, test := range map[string]struct {
		file []byte
		want string
	}{
		"nothing":         {nil, "no clear-signed text"},
		"text only":       {[]byte(text), "no clear-signed text"},
		"text before":     {append([]byte("x\n"), file...), "text before the signed block"},
		"text after":      {append(bytes.Clone(file), 'x'), "text after the signed block"},
		"twice":           {append(bytes.Clone(file), file...), "text after the signed block"},
		"without its end": {file[:len(file)-30], ""},
		"no signature":    {file[:bytes.Index(file, []byte("-----BEGIN PGP SIGNATURE"))], "no clear-signed text"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Split(test.file); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestDetached(t *testing.T) {
	packets := sign(t, "text", today(), newKey(t, 0))
	if got, err := Detached(armored(t, openpgp.SignatureType, packets)); err != nil || !bytes.Equal(got, packets) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(packets))
	}
	for name, file := range map[string][]byte{
		"nothing": nil,
		"binary":  packets,
		"a key":   armored(t, openpgp.PublicKeyType, packets),
		"cut off": armored(t, openpgp.SignatureType, packets)[:80],
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Detached(file); err == nil {
				t.Errorf("got %d bytes and no error", len(got))
			}
		})
	}
}

func TestIssuers(t *testing.T) {
	a, b := newKey(t, 0), newKey(t, 0)
	packets := sign(t, "text", today(), a, b, a)
	want := []uint64{a.PrimaryKey.KeyId, b.PrimaryKey.KeyId}
	if got := Issuers(packets); !slices.Equal(got, want) {
		t.Errorf("got %X, want %X", got, want)
	}
	if got := Issuers(packets[:len(packets)-1]); !slices.Equal(got, want) {
		t.Errorf("cut off: got %X, want %X", got, want)
	}
	if got := Issuers([]byte("x")); got != nil {
		t.Errorf("no packets: got %X", got)
	}
}

func TestCheck(t *testing.T) {
	const text = "what is signed"
	a, b, old, revoked := newKey(t, 0), newKey(t, 0), newKey(t, time.Hour), newKey(t, 0)
	if err := revoked.RevokeKey(packet.KeyRetired, "test", &packet.Config{Time: today}); err != nil {
		t.Fatal(err)
	}
	keys := openpgp.EntityList{a, old, revoked}
	tests := map[string]struct {
		signatures []byte
		text       string
		want       string // in the error; empty where a has signed
	}{
		"good":                     {sign(t, text, today(), a), text, ""},
		"unknown one first":        {sign(t, text, today(), b, a), text, ""},
		"expired one first":        {sign(t, text, today(), old, a), text, ""},
		"made some hours from now": {sign(t, text, today().Add(20*time.Hour), a), text, ""},
		"made days from now":       {sign(t, text, today().Add(25*time.Hour), a), text, "expired"},
		"unknown":                  {sign(t, text, today(), b), text, ErrUnknownSigner.Error()},
		"expired":                  {sign(t, text, today(), old), text, "expired"},
		"expired, and unknown":     {sign(t, text, today(), b, old), text, "expired"},
		"revoked":                  {sign(t, text, today(), revoked), text, "revoked"},
		"another text":             {sign(t, text, today(), a), "another text", "invalid"},
		"no signatures":            {nil, text, ErrUnknownSigner.Error()},
		"a key":                    {public(t, a), text, "among the signatures"},
		"no packets":               {[]byte("xxxx"), text, "tag byte"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			signer, err := Check(keys, func() io.Reader { return strings.NewReader(test.text) }, test.signatures, today())
			switch {
			case test.want == "" && (err != nil || signer != a):
				t.Errorf("got %v, %v, want the first key", signer, err)
			case test.want != "" && (err == nil || signer != nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, %v, want %q", signer, err, test.want)
			}
		})
	}
}

func TestCheckRefusesWeakDigests(t *testing.T) {
	key := newKey(t, 0)
	sig := &packet.Signature{
		Version: key.PrimaryKey.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: key.PrimaryKey.PubKeyAlgo, Hash: crypto.SHA224,
		CreationTime: today(), IssuerKeyId: &key.PrimaryKey.KeyId,
	}
	var out bytes.Buffer
	h := crypto.SHA224.New()
	io.WriteString(h, "text")
	if err := sig.Sign(h, key.PrivateKey, &packet.Config{Time: today}); err != nil {
		t.Fatal(err)
	}
	if err := sig.Serialize(&out); err != nil {
		t.Fatal(err)
	}
	_, err := Check(openpgp.EntityList{key}, func() io.Reader { return strings.NewReader("text") }, out.Bytes(), today())
	if err == nil || !strings.Contains(err.Error(), "weak digest") {
		t.Errorf("got %v, want an error of the digest", err)
	}
}

// TestCheckFailingSource has what is signed break off: its error must arrive.
func TestCheckFailingSource(t *testing.T) {
	key, broken := newKey(t, 0), errors.New("broken")
	open := func() io.Reader {
		r, w := io.Pipe()
		w.CloseWithError(broken)
		return r
	}
	if _, err := Check(openpgp.EntityList{key}, open, sign(t, "text", today(), key), today()); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}
