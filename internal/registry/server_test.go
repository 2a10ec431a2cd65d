package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const amd64 = "linux/amd64"

// server is a registry on the loopback that remembers what it was asked, and in which the test may have a
// word.
type server struct {
	*httptest.Server
	store http.Handler
	hook  func(w http.ResponseWriter, r *http.Request) (done bool)

	mu       sync.Mutex
	requests []string // METHOD path
	conns    int
}

// newServer starts a registry; close ends it.
func newServer(t *testing.T, encrypted bool) *server {
	t.Helper()
	s := &server{store: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
		}
	}
	if encrypted {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if s.hook != nil && s.hook(w, r) {
		return
	}
	s.store.ServeHTTP(w, r)
}

func (s *server) host() string { return s.Listener.Addr().String() }

func (s *server) ref(rest string) string { return s.host() + "/" + rest }

// ca is the certificate that a TLS server has signed itself.
func (s *server) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// count is how many requests there were whose method and path have all the parts.
func (s *server) count(parts ...string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(r, part) }) {
			n++
		}
	}
	return n
}

// asked is all that the server was asked.
func (s *server) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// arrived is how many connections there were.
func (s *server) arrived() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.conns = nil, 0
}

// put stores an image or an index with the library's own client, behind the server's back.
func (s *server) put(t *testing.T, rest string, img remote.Taggable) {
	t.Helper()
	back := httptest.NewServer(s.store)
	defer back.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(back.URL, "http://") + "/" + rest)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Push(ref, img); err != nil {
		t.Fatal(err)
	}
}

// serve answers every request below /v2/ from a table of paths; the value's first line is the content type.
func serve(files map[string]string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		text, ok := files[r.URL.Path]
		if !ok {
			return false
		}
		kind, body, _ := strings.Cut(text, "\n")
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		io.WriteString(w, body)
		return true
	}
}

// times lets a hook speak for the first n requests that have part in their path.
func times(n int, part string, hook func(http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		mine := n > 0 && strings.Contains(r.URL.Path, part)
		if mine {
			n--
		}
		mu.Unlock()
		if mine {
			hook(w, r)
		}
		return mine
	}
}

// newImage makes an image of fixed content for a platform, its layers 40 KB each.
func newImage(t *testing.T, seed int64, layers int, platform string) v1.Image {
	t.Helper()
	img, err := random.Image(40_000, int64(layers), random.WithSource(rand.NewSource(seed)))
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, _ = strings.Cut(platform, "/")
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

func digestOf(t *testing.T, img interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// layerOf returns the digest of one of an image's layers.
func layerOf(t *testing.T, img v1.Image, i int) string {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	return digestOf(t, layers[i])
}

// saved writes an image as `docker save` does, its layers uncompressed.
func saved(t *testing.T, img v1.Image, tag string) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(name string, content []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	entry := tarball.Descriptor{Config: "config.json", RepoTags: []string{tag}}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		entry.Layers = append(entry.Layers, fmt.Sprintf("%d/layer.tar", i))
		add(entry.Layers[i], content)
	}
	add("config.json", config)
	index, err := json.Marshal([]tarball.Descriptor{entry})
	if err != nil {
		t.Fatal(err)
	}
	add("manifest.json", index)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return write(t, "image.tar", out.Bytes())
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// quick is a client that does not wait long.
func quick() *Client { return &Client{pause: time.Millisecond} }

// dialer is a transport for which every host is at an address, and a count of its connections.
func dialer(address string) (*http.Transport, *int) {
	n, mu := new(int), new(sync.Mutex)
	return &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		mu.Lock()
		*n++
		mu.Unlock()
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}, n
}

// has fails where an error's text lacks one of the parts.
func has(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("got no error, want one with %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got error %q, want %q in it", err, part)
		}
	}
}
