package debian

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
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
)

// today is the time that the tests happen at.
var today = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// newKey makes a signing key that was made a year before today and lives for life, or for ever.
func newKey(t *testing.T, name string, life time.Duration) *openpgp.Entity {
	t.Helper()
	config := &packet.Config{
		Algorithm:       packet.PubKeyAlgoEdDSA,
		Time:            func() time.Time { return today.AddDate(-1, 0, 0) },
		KeyLifetimeSecs: uint32(life.Seconds()),
	}
	key, err := openpgp.NewEntity(name, "", "archive@mirror.example", config)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func fingerprint(key *openpgp.Entity) string { return fmt.Sprintf("%X", key.PrimaryKey.Fingerprint) }

// keyring returns the public parts of keys.
func keyring(t *testing.T, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&out); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// armored returns the public part of a key in ASCII armor.
func armored(t *testing.T, key *openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(keyring(t, key)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// clearSign signs a text with several keys, all at the given time.
func clearSign(t *testing.T, text string, at time.Time, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var private []*packet.PrivateKey
	for _, k := range keys {
		private = append(private, k.PrivateKey)
	}
	var out bytes.Buffer
	w, err := clearsign.EncodeMulti(&out, private, &packet.Config{Time: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

// pack compresses as the suffix says; the tests need only these two.
func pack(t *testing.T, suffix string, data []byte) []byte {
	t.Helper()
	if suffix == "" {
		return data
	}
	var out bytes.Buffer
	w, err := xz.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// member is one file of an ar or a tar.
type member struct {
	name string
	data []byte
}

func makeAr(members ...member) []byte {
	out := []byte("!<arch>\n")
	for _, m := range members {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		out = append(out, m.data...)
		if len(m.data)%2 == 1 {
			out = append(out, '\n')
		}
	}
	return out
}

func makeTar(t *testing.T, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		h := &tar.Header{Name: "./" + m.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(m.data))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func makeDeb(t *testing.T, control string, files ...member) []byte {
	t.Helper()
	return makeAr(
		member{"debian-binary", []byte("2.0\n")},
		member{"control.tar.xz", pack(t, ".xz", makeTar(t, member{"control", []byte(control)}))},
		member{"data.tar.xz", pack(t, ".xz", makeTar(t, files...))},
	)
}

// testSuite is what a mirror says of one suite.
type testSuite struct {
	codename   string
	label      string
	date       time.Time
	validUntil time.Time
	signedAt   time.Time // zero is date
	plainPaths bool      // no Acquire-By-Hash
	pool       string
	debs       []member // name is that of the package; version 1.0
	signers    []*openpgp.Entity
}

// world is a mirror and a client that trusts its key.
type world struct {
	*testing.T
	key     *openpgp.Entity
	archive testSuite
	secure  testSuite
	edit    func(path string, data []byte) []byte // changes what is served; nil is nothing
	serve   func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex
	files map[string][]byte
	hits  []string

	mirror Mirror
	client *Client
	req    IndexRequest
}

// newWorld sets up a mirror with the package "hello" in the archive and "fix" in the security archive.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, key: newKey(t, "Archive", 0), files: map[string][]byte{}}
	w.archive = testSuite{
		codename: "trixie", label: "Debian", date: today.AddDate(0, -2, 0), pool: "pool/main/",
		debs:    []member{{"hello", makeDeb(t, "Package: hello\nVersion: 1.0\nArchitecture: amd64\n", member{"usr/bin/hello", []byte("hi")})}},
		signers: []*openpgp.Entity{w.key},
	}
	w.secure = testSuite{
		codename: "trixie-security", label: "Debian-Security", date: today.AddDate(0, 0, -1), validUntil: today.AddDate(0, 0, 6),
		pool:    "pool/updates/main/",
		debs:    []member{{"fix", makeDeb(t, "Package: fix\nVersion: 1.0\nArchitecture: amd64\n", member{"usr/bin/fix", []byte("fixed")})}},
		signers: []*openpgp.Entity{w.key},
	}
	srv := httptest.NewServer(http.HandlerFunc(w.ServeHTTP))
	t.Cleanup(srv.Close)
	ring := filepath.Join(t.TempDir(), "archive.gpg")
	w.write(ring, keyring(t, w.key))
	w.mirror = Mirror{Archive: srv.URL + "/debian/", Security: srv.URL + "/debian-security"}
	w.client = &Client{
		HTTP: srv.Client(), CacheDir: filepath.Join(t.TempDir(), "cache"), Keyrings: []string{ring},
		Trusted: []string{fingerprint(w.key)}, Now: func() time.Time { return today },
	}
	w.req = IndexRequest{Suite: "trixie", Archs: []string{"amd64"}, Components: []string{"main"}}
	return w
}

func (w *world) write(path string, data []byte) {
	w.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		w.Fatal(err)
	}
}

// ServeHTTP answers from the published files and counts.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.hits = append(w.hits, r.URL.Path)
	data, ok := w.files[r.URL.Path]
	w.mu.Unlock()
	if w.serve != nil && w.serve(rw, r) {
		return
	}
	if !ok {
		http.NotFound(rw, r)
		return
	}
	rw.Write(data)
}

// publish lays out both suites. The edit hook sees each file last, so that it can spoil what is signed.
func (w *world) publish() {
	w.Helper()
	w.publishSuite("/debian/", w.archive)
	w.publishSuite("/debian-security/", w.secure)
}

func (w *world) publishSuite(root string, s testSuite) {
	w.Helper()
	var list strings.Builder
	for _, d := range s.debs {
		file := s.pool + d.name + "_1.0_amd64.deb"
		w.put(root+file, d.data)
		fmt.Fprintf(&list, "Package: %s\nVersion: 1.0\nArchitecture: amd64\nFilename: %s\nSize: %d\nSHA256: %s\nDescription: a\n test\n\n",
			d.name, file, len(d.data), sha(d.data))
	}
	index := pack(w.T, ".xz", []byte(list.String()))
	dir := root + "dists/" + s.codename + "/"
	byHash := "yes"
	if s.plainPaths {
		byHash = "no"
		w.put(dir+"main/binary-amd64/Packages.xz", index)
	} else {
		w.put(dir+"main/binary-amd64/by-hash/SHA256/"+sha(index), index)
	}
	text := fmt.Sprintf("Origin: Debian\nLabel: %s\nCodename: %s\nDate: %s\nAcquire-By-Hash: %s\n", s.label, s.codename,
		s.date.Format(time.RFC1123), byHash)
	if !s.validUntil.IsZero() {
		text += "Valid-Until: " + s.validUntil.Format(time.RFC1123) + "\n"
	}
	text += fmt.Sprintf("SHA256:\n %s %8d main/binary-amd64/Packages.xz\n", sha(index), len(index))
	if s.signedAt.IsZero() {
		s.signedAt = s.date
	}
	w.put(dir+"InRelease", clearSign(w.T, text, s.signedAt, s.signers...))
}

func (w *world) put(path string, data []byte) {
	if w.edit != nil {
		data = w.edit(path, slices.Clone(data))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[path] = data
	if data == nil {
		delete(w.files, path)
	}
}

// asked returns the paths that were requested since the last call.
func (w *world) asked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	hits := w.hits
	w.hits = nil
	return hits
}

// cached lists the regular files in the client's cache.
func (w *world) cached() []string {
	w.Helper()
	var files []string
	err := filepath.WalkDir(w.client.CacheDir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(w.client.CacheDir, path)
			files = append(files, rel)
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return files
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// index publishes and reads the index, which must work.
func (w *world) index() *Index {
	w.Helper()
	w.publish()
	x, err := w.client.Index(w.Context(), w.mirror, w.req)
	if err != nil {
		w.Fatal(err)
	}
	return x
}

// resolve resolves seeds, which must work.
func (w *world) resolve(x *Index, seeds ...string) []Package {
	w.Helper()
	packages, err := x.Resolve("amd64", Request{Seeds: seeds})
	if err != nil {
		w.Fatal(err)
	}
	return packages
}
