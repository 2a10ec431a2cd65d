// Package kernelorgtest is a mirror in kernel.org's layout (https://cdn.kernel.org/pub/linux/kernel/), signed by keys
// that are made for it; for tests.
package kernelorgtest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/ulikunitz/xz"

	"github.com/hookbuild/hookbuild/internal/kernelorg"
)

// Born is when the keys are made and everything is signed.
func Born() time.Time { return time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC) }

// Mirror serves releases and keys until the test ends. What is changed in its fields counts for the releases that
// are added afterwards and for the requests that come afterwards; requests must not come meanwhile.
type Mirror struct {
	URL     string            // for kernelorg.Client.Mirror
	WKD     string            // for kernelorg.Client.WKD
	Keyring string            // a file with the public keys, for kernelorg.Client.Keyring
	Trusted kernelorg.Anchors // the fingerprints

	Autosigner *openpgp.Entity // signs the lists of checksums
	Developer  *openpgp.Entity // signs releases

	// List changes the text of a list before it is signed; nil leaves it as it is.
	List func(text string) string
	// Answer answers a request in the mirror's place and reports whether it did; nil never does.
	Answer func(w http.ResponseWriter, r *http.Request) bool

	t       testing.TB
	sources map[string]source // by name of the .tar.xz
	mu      sync.Mutex
	asked   []string
}

type source struct {
	path   string // of the .tar.xz
	sha256 string
	sign   []byte
}

// New starts a mirror that has no releases yet.
func New(t testing.TB) *Mirror {
	t.Helper()
	m := &Mirror{t: t, sources: map[string]source{}, Autosigner: NewKey(t, "autosigner@kernel.org", 0), Developer: NewKey(t, "gregkh@kernel.org", 0)}
	m.Trusted = kernelorg.Anchors{
		Autosigner: Signer(m.Autosigner),
		Developers: []kernelorg.Signer{Signer(m.Developer)},
	}
	m.Keyring = filepath.Join(t.TempDir(), "kernel.org.asc")
	if err := os.WriteFile(m.Keyring, Armored(t, openpgp.PublicKeyType, Public(t, m.Autosigner, m.Developer)), 0o644); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.URL, m.WKD = server.URL+"/pub/linux/kernel", server.URL+"/.well-known/openpgpkey"
	return m
}

// NewKey makes a key that lives for life after Born, or for ever where life is 0.
func NewKey(t testing.TB, mail string, life time.Duration) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity("Test", "", mail, &packet.Config{
		Algorithm:       packet.PubKeyAlgoEdDSA,
		Time:            Born,
		KeyLifetimeSecs: uint32(life.Seconds()),
	})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Signer is how trust in a key is said.
func Signer(key *openpgp.Entity) kernelorg.Signer {
	return kernelorg.Signer{Mail: key.PrimaryIdentity().UserId.Email, Fingerprint: fmt.Sprintf("%X", key.PrimaryKey.Fingerprint)}
}

// Public returns the public parts of keys.
func Public(t testing.TB, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&out); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// Armored puts ASCII armor around packets.
func Armored(t testing.TB, kind string, packets []byte) []byte {
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

// Sign returns an armored detached signature over tar, as a developer makes it.
func Sign(t testing.TB, key *openpgp.Entity, tar io.Reader) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&out, key, tar, &packet.Config{Time: Born}); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

// ClearSigned returns a signed text, as the autosigner makes it.
func ClearSigned(t testing.TB, key *openpgp.Entity, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := clearsign.Encode(&out, key.PrivateKey, &packet.Config{Time: Born})
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

// Add signs a release and puts it on the mirror.
func (m *Mirror) Add(version string, tarXZ []byte) {
	m.t.Helper()
	path := filepath.Join(m.t.TempDir(), "linux-"+version+".tar.xz")
	if err := os.WriteFile(path, tarXZ, 0o644); err != nil {
		m.t.Fatal(err)
	}
	m.AddFile(version, path)
}

// AddFile is Add for a release that is a file. The file must stay as it is.
func (m *Mirror) AddFile(version, path string) {
	m.t.Helper()
	file, err := os.Open(path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer file.Close()
	digest := sha256.New()
	tar, err := xz.NewReader(bufio.NewReader(io.TeeReader(file, digest)))
	if err != nil {
		m.t.Fatal(err)
	}
	sign := Sign(m.t, m.Developer, tar)
	if _, err := io.Copy(digest, file); err != nil {
		m.t.Fatal(err)
	}
	m.sources["linux-"+version+".tar.xz"] = source{path: path, sha256: hex.EncodeToString(digest.Sum(nil)), sign: sign}
}

// Replace puts other files in place of a release's that was added: what is nil stays. The list says what it said.
func (m *Mirror) Replace(version string, tarXZ, sign []byte) {
	m.t.Helper()
	name := "linux-" + version + ".tar.xz"
	s, ok := m.sources[name]
	if !ok {
		m.t.Fatalf("release %s was not added", version)
	}
	if tarXZ != nil {
		s.path = filepath.Join(m.t.TempDir(), name)
		if err := os.WriteFile(s.path, tarXZ, 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
	if sign != nil {
		s.sign = sign
	}
	m.sources[name] = s
}

// Asked returns the paths of the requests since the last call.
func (m *Mirror) Asked() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	asked := m.asked
	m.asked = nil
	return asked
}

// ServeHTTP answers.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.asked = append(m.asked, r.URL.Path)
	m.mu.Unlock()
	if m.Answer != nil && m.Answer(w, r) {
		return
	}
	dir, name := filepath.Split(strings.TrimPrefix(r.URL.Path, "/pub/linux/kernel"))
	s, ok := m.sources[strings.TrimSuffix(name, ".sign")+".xz"]
	switch {
	case dir == "/.well-known/openpgpkey/hu/":
		m.serveKey(w, r)
	case name == "sha256sums.asc" && m.list(dir) != "":
		_, _ = w.Write(m.signedList(dir))
	case ok && dir == directory(name):
		_, _ = w.Write(s.sign)
	case m.sources[name].path != "" && dir == directory(name):
		http.ServeFile(w, r, m.sources[name].path)
	default:
		http.NotFound(w, r)
	}
}

// directory is where a release is: /v6.x/ for linux-6.6.tar.xz.
func directory(name string) string {
	major, _, _ := strings.Cut(strings.TrimPrefix(name, "linux-"), ".")
	return "/v" + major + ".x/"
}

// serveKey goes by what the client says the local part is, and leaves the digest of it to the client's own tests.
func (m *Mirror) serveKey(w http.ResponseWriter, r *http.Request) {
	for _, key := range []*openpgp.Entity{m.Autosigner, m.Developer} {
		local, _, _ := strings.Cut(Signer(key).Mail, "@")
		if local == r.URL.Query().Get("l") {
			_, _ = w.Write(Public(m.t, key))
			return
		}
	}
	http.NotFound(w, r)
}

func (m *Mirror) signedList(dir string) []byte {
	text := m.list(dir)
	if m.List != nil {
		text = m.List(text)
	}
	return ClearSigned(m.t, m.Autosigner, text)
}

// list is the checksums of a directory, with the other files that kernel.org has beside each release.
func (m *Mirror) list(dir string) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.sources)) {
		if directory(name) != dir {
			continue
		}
		version := strings.TrimSuffix(strings.TrimPrefix(name, "linux-"), ".tar.xz")
		for _, other := range []string{"ChangeLog-" + version, "linux-" + version + ".tar.gz", "patch-" + version + ".xz"} {
			fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256([]byte(other)), other)
		}
		fmt.Fprintf(&text, "%s  %s\n", m.sources[name].sha256, name)
	}
	return text.String()
}
