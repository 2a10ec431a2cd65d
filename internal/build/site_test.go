package build

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/filetree"
)

func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func publicKey(t *testing.T) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(ssh.MarshalAuthorizedKey(key))
}

func TestSite(t *testing.T) {
	p := newProject(t)
	one, two, key := certificate(t), certificate(t), "# me\n\n"+publicKey(t)
	s, err := readSite(config.Userland{
		CACertificates: []string{p.file("one.pem", "Subject: somebody\n"+one), p.file("two.pem", two)},
		NTP:            []string{"10.0.0.1", "time.example"}, AuthorizedKeys: p.file("keys", key),
	})
	if err != nil {
		t.Fatal(err)
	}
	tree := filetree.New()
	if err := s.addTo(tree); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"etc/hookos/ca-certificates.crt": one + two, "etc/hookos/ntp": "10.0.0.1\ntime.example\n", "root/.ssh/authorized_keys": key,
	} {
		e, _ := tree.Lookup(name)
		if e.Inode == nil {
			t.Errorf("%s: there is none", name)
			continue
		}
		if data, err := e.Data.ReadAll(); err != nil || string(data) != want {
			t.Errorf("%s: got %q, %v; want %q", name, data, err, want)
		}
	}
	if e, _ := tree.Lookup("root/.ssh"); e.Perm != 0o700 {
		t.Errorf("root/.ssh: got mode %o", e.Perm)
	}
	if e, _ := tree.Lookup("root/.ssh/authorized_keys"); e.Perm != 0o600 {
		t.Errorf("authorized_keys: got mode %o", e.Perm)
	}
	planned := s.planned()
	if planned.CACertificates != hexSum([]byte(one+two)) || planned.AuthorizedKeys != hexSum([]byte(key)) || len(planned.NTP) != 2 {
		t.Errorf("got %+v in the plan", planned)
	}
}

func TestSiteFaults(t *testing.T) {
	p := newProject(t)
	private := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("x")}))
	for want, u := range map[string]config.Userland{
		"no such file":                  {CACertificates: []string{p.dir + "/none"}},
		"no certificate in PEM form":    {CACertificates: []string{p.file("der", "\x30\x82")}},
		"holds a ec private key":        {CACertificates: []string{p.file("key.pem", certificate(t)+private)}},
		"x509":                          {CACertificates: []string{p.file("bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")}},
		"keys:2: this is no public key": {AuthorizedKeys: p.file("keys", publicKey(t)+private)},
		"it holds no key":               {AuthorizedKeys: p.file("empty", "# nobody\n")},
	} {
		if _, err := readSite(u); !isA[*InputError](err) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an InputError with %q", err, want)
		}
	}
}
