package resolve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/ulikunitz/xz"

	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
)

// today is the time that the tests happen at.
var today = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// world is a signed mirror on this host, and a project directory.
type world struct {
	*testing.T
	key    *openpgp.Entity
	client *debian.Client
	where  debian.Mirror
	o      Options

	mu    sync.Mutex
	files map[string][]byte

	asked []debian.IndexRequest
	down  error // what the mirror answers instead

	images  map[string]Image  // by reference
	kernels *kernelorg.Client // nil for none
	wanted  []kernelorg.Want
}

// newWorld publishes "a 1" (which needs "lib 1"), "b 1" and the required "base-files 1", all of the same day.
func newWorld(t *testing.T) *world {
	t.Helper()
	config := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return today.AddDate(-1, 0, 0) }}
	key, err := openpgp.NewEntity("Archive", "", "archive@mirror.example", config)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, key: key, files: map[string][]byte{}}
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	var ring bytes.Buffer
	if err := key.Serialize(&ring); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w.write(filepath.Join(dir, "keys.gpg"), ring.String())
	w.where = debian.Mirror{Archive: srv.URL + "/debian", Security: srv.URL + "/security"}
	w.client = &debian.Client{
		CacheDir: filepath.Join(dir, "cache"), Keyrings: []string{filepath.Join(dir, "keys.gpg")},
		Trusted: []string{fmt.Sprintf("%X", key.PrimaryKey.Fingerprint)}, Now: func() time.Time { return today },
	}
	w.o = Options{LockFile: filepath.Join(t.TempDir(), LockName), Suite: "trixie"}
	w.publish(today.AddDate(0, 0, -3), "1")
	return w
}

func (w *world) write(file, content string) {
	w.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		w.Fatal(err)
	}
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	data, ok := w.files[r.URL.Path]
	w.mu.Unlock()
	if !ok {
		http.NotFound(rw, r)
		return
	}
	rw.Write(data)
}

// publish lays out both suites with their packages in that version. The security suite is a day newer.
func (w *world) publish(date time.Time, version string) {
	w.Helper()
	var list strings.Builder
	for _, p := range []struct{ name, more string }{
		{"a", "Depends: lib\n"}, {"b", ""}, {"lib", ""}, {"base-files", "Essential: yes\n"},
	} {
		fmt.Fprintf(&list, "Package: %s\nVersion: %s\nArchitecture: all\nFilename: pool/%s\nSize: 1\nSHA256: %x\n%s\n",
			p.name, version, p.name, sha256.Sum256([]byte(p.name+version)), p.more)
	}
	w.suite("/debian/", "trixie", date, list.String())
	w.suite("/security/", "trixie-security", date.AddDate(0, 0, 1), "")
}

func (w *world) suite(root, name string, date time.Time, main string) {
	w.Helper()
	dir := root + "dists/" + name + "/"
	text := fmt.Sprintf("Origin: Debian\nLabel: Debian%s\nCodename: %s\nDate: %s\nSHA256:\n",
		map[bool]string{true: "-Security"}[root == "/security/"], name, date.Format(time.RFC1123))
	w.mu.Lock()
	defer w.mu.Unlock()
	for component, content := range map[string]string{"main": main, "non-free-firmware": ""} {
		index := w.xz(content)
		sum := sha256.Sum256(index)
		for _, arch := range []string{"amd64", "arm64"} {
			file := component + "/binary-" + arch + "/Packages.xz"
			w.files[dir+file] = index
			text += fmt.Sprintf(" %s %d %s\n", hex.EncodeToString(sum[:]), len(index), file)
		}
	}
	var out bytes.Buffer
	sign, err := clearsign.Encode(&out, w.key.PrivateKey, &packet.Config{Time: func() time.Time { return date }})
	if err != nil {
		w.Fatal(err)
	}
	if _, err := io.WriteString(sign, text); err != nil {
		w.Fatal(err)
	}
	if err := sign.Close(); err != nil {
		w.Fatal(err)
	}
	w.files[dir+"InRelease"] = append(out.Bytes(), '\n')
}

func (w *world) xz(content string) []byte {
	var out bytes.Buffer
	z, err := xz.NewWriter(&out)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := io.WriteString(z, content); err != nil {
		w.Fatal(err)
	}
	if err := z.Close(); err != nil {
		w.Fatal(err)
	}
	return out.Bytes()
}

// Index is the mirror as Flavor asks it.
func (w *world) Index(ctx context.Context, r debian.IndexRequest) (*debian.Index, error) {
	w.asked = append(w.asked, r)
	if w.down != nil {
		return nil, w.down
	}
	return w.client.Index(ctx, w.where, r)
}

// KernelPin is kernel.org.
func (w *world) ImagePin(_ context.Context, ref, _ string) (Image, error) {
	i, ok := w.images[ref]
	if !ok {
		return i, fmt.Errorf("image %s: %w", ref, os.ErrNotExist)
	}
	return i, nil
}

func (w *world) KernelPin(ctx context.Context, want kernelorg.Want) (kernelorg.Pin, error) {
	w.wanted = append(w.wanted, want)
	if w.kernels == nil {
		return kernelorg.Pin{}, errors.New("kernel.org was asked")
	}
	return w.kernels.Resolve(ctx, want)
}

// flavor resolves one that asks nothing of kernel.org, which must work.
func (w *world) flavor(id string, requests []Request, o Options) Result {
	w.Helper()
	res, err := Flavor(w.Context(), fromDebian(id), requests, nil, o, w)
	if err != nil {
		w.Fatal(err)
	}
	return res
}

// lockText is the lock file as it is.
func (w *world) lockText() string {
	w.Helper()
	data, err := os.ReadFile(w.o.LockFile)
	if err != nil && !os.IsNotExist(err) {
		w.Fatal(err)
	}
	return string(data)
}
