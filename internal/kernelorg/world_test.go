package kernelorg_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ulikunitz/xz"

	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/kernelorg/kernelorgtest"
)

// world is a mirror with three series, and a client that trusts its keys.
type world struct {
	*testing.T
	*kernelorgtest.Mirror
	client *kernelorg.Client
	tars   map[string][]byte // by version
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, Mirror: kernelorgtest.New(t), tars: map[string][]byte{}}
	for _, version := range []string{"6.1", "6.6", "6.6.2", "6.6.10", "6.6.9", "6.12", "6.12.1"} {
		w.tars[version] = bytes.Repeat([]byte("the source of Linux "+version+"\n"), 200)
		w.Add(version, pack(t, w.tars[version]))
	}
	w.client = w.newClient(filepath.Join(t.TempDir(), "cache"))
	return w
}

// newClient is that of another run.
func (w *world) newClient(cacheDir string) *kernelorg.Client {
	return &kernelorg.Client{
		Download: &download.Client{},
		Mirror:   w.URL, WKD: w.WKD, Trusted: w.Trusted, CacheDir: cacheDir,
		Now: func() time.Time { return kernelorgtest.Born().AddDate(0, 1, 0) },
	}
}

func pack(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := xz.WriterConfig{DictCap: 64 << 10}.NewWriter(&out) // a larger one takes longer to make than to use
	if err == nil {
		_, err = z.Write(data)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// resolve must work.
func (w *world) resolve(want kernelorg.Want) kernelorg.Pin {
	w.Helper()
	pin, err := w.client.Resolve(w.Context(), want)
	if err != nil {
		w.Fatal(err)
	}
	return pin
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

// served is what the mirror has at a path below its URL.
func (w *world) served(name string) []byte {
	w.Helper()
	data, err := (&download.Client{}).Bytes(w.Context(), w.URL+"/"+name, 1<<20)
	if err != nil {
		w.Fatal(err)
	}
	w.Asked()
	return data
}

// instead has the mirror serve other bytes for the paths that end with suffix.
func (w *world) instead(suffix string, data []byte) {
	w.Answer = at(suffix, func(rw http.ResponseWriter, _ *http.Request) { rw.Write(data) })
}

// at answers for the paths that end with suffix.
func at(suffix string, answer http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	return func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, suffix) {
			return false
		}
		answer(rw, r)
		return true
	}
}
