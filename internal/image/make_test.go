package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/klauspost/compress/zstd"

	"github.com/hookbuild/hookbuild/internal/engine"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

const amd64 = "linux/amd64"

// entry is a member of a tar; it is a file, but for the type that it says.
type entry struct {
	name, content string
	kind          byte
	link          string
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content)), Typeflag: e.kind, Linkname: e.link}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		must(t, w.WriteHeader(h))
		_, err := io.WriteString(w, e.content)
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

func gzipped(t testing.TB, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(content)
	must(t, err, w.Close())
	return out.Bytes()
}

func zstandard(t testing.TB, content []byte, o ...zstd.EOption) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, o...)
	must(t, err)
	_, err = w.Write(content)
	must(t, err, w.Close())
	return out.Bytes()
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// files of a layout, or of an archive, by name.
type contents map[string]string

// blob adds content under its digest and returns a descriptor of it, to which more is added.
func (c contents) blob(mediaType string, content []byte, more ...string) string {
	digest := digestOf(content)
	c["blobs/sha256/"+strings.TrimPrefix(digest, "sha256:")] = string(content)
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d%s}`, mediaType, digest, len(content), strings.Join(more, ""))
}

func (c contents) index(descriptors ...string) contents {
	c["oci-layout"] = `{"imageLayoutVersion":"1.0.0"}`
	c["index.json"] = indexOf(descriptors...)
	return c
}

func indexOf(descriptors ...string) string {
	return `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[` + strings.Join(descriptors, ",") + `]}`
}

func manifestOf(config string, layers ...string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, manifestType, config, strings.Join(layers, ","))
}

// configOf is a configuration of layers without compression.
func configOf(arch string, layers ...[]byte) []byte {
	ids := []string{}
	for _, l := range layers {
		ids = append(ids, digestOf(l))
	}
	list, _ := json.Marshal(ids)
	return fmt.Appendf(nil, `{"os":"linux","architecture":%q,"config":{"Cmd":["/run"],"Env":["A=1"],"Labels":{"l":"v"}},"rootfs":{"type":"layers","diff_ids":%s}}`, arch, list)
}

const (
	platformAMD64 = `,"platform":{"os":"linux","architecture":"amd64"}`
	platformARM64 = `,"platform":{"os":"linux","architecture":"arm64"}`
	platformNone  = `,"platform":{"os":"unknown","architecture":"unknown"}`
)

// image adds the image of these layers, packed by pack, and returns the descriptor of its manifest.
func (c contents) image(arch string, pack func([]byte) (string, []byte), layers [][]byte, more ...string) string {
	var list []string
	for _, l := range layers {
		mediaType, packed := pack(l)
		list = append(list, c.blob(mediaType, packed))
	}
	return c.blob(manifestType, manifestOf(c.blob(configType, configOf(arch, layers...)), list...), more...)
}

func plain(l []byte) (string, []byte) { return layerType, l }

// dir writes the files below a new directory.
func (c contents) dir(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range c {
		file := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644))
	}
	return root
}

// tar writes the files into an archive: those named first, the rest in any order.
func (c contents) tar(t testing.TB, first ...string) []byte {
	t.Helper()
	var entries []entry
	done := map[string]bool{}
	for _, name := range first {
		entries, done[name] = append(entries, entry{name: name, content: c[name]}), true
	}
	for name, content := range c {
		if !done[name] {
			entries = append(entries, entry{name: name, content: content})
		}
	}
	return tarOf(t, entries...)
}

func file(t testing.TB, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.tar")
	must(t, os.WriteFile(name, content, 0o600))
	return name
}

// held is an image of the stand-in for an engine.
type held struct {
	id      string
	archive []byte
}

// shelf stands in for an engine: images as archives, by their names and ids.
type shelf struct {
	images map[string]held
	err    error // of all it is asked
	asked  atomic.Int32
	saved  atomic.Int32
}

func (s *shelf) Inspect(_ context.Context, ref string) (engine.Image, error) {
	s.asked.Add(1)
	img, ok := s.images[ref]
	switch {
	case s.err != nil:
		return engine.Image{}, s.err
	case !ok:
		return engine.Image{}, fmt.Errorf("%s: %w", ref, engine.ErrNoImage)
	}
	return engine.Image{ID: img.id}, nil
}

func (s *shelf) Save(_ context.Context, ref string) (io.ReadCloser, error) {
	s.saved.Add(1)
	return io.NopCloser(bytes.NewReader(s.images[ref].archive)), s.err
}

// server is a registry on the loopback that counts its connections.
type server struct {
	*httptest.Server
	conns atomic.Int32
	hook  func(w http.ResponseWriter, r *http.Request) (done bool)
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{}
	store := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.hook == nil || !s.hook(w, r) {
			store.ServeHTTP(w, r)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *server) ref(rest string) string { return s.Listener.Addr().String() + "/" + rest }

// put sends all blobs and manifests of a layout, and gives what its index has first the tag.
func (s *server) put(t testing.TB, c contents, repo, tag string) {
	t.Helper()
	send := func(method, path, kind, body string) {
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
		must(t, err)
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		if resp.Body.Close(); resp.StatusCode >= 300 {
			t.Fatalf("%s %s: %s", method, path, resp.Status)
		}
	}
	for name, body := range c {
		if digest, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
			send(http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest=sha256:"+digest, "application/octet-stream", body)
		}
	}
	var index struct {
		Manifests []struct{ MediaType, Digest string }
	}
	must(t, json.Unmarshal([]byte(c["index.json"]), &index))
	first := index.Manifests[0]
	send(http.MethodPut, "/v2/"+repo+"/manifests/"+tag, first.MediaType, c["blobs/sha256/"+strings.TrimPrefix(first.Digest, "sha256:")])
}

// finder looks nowhere but where it is told to.
func finder(t testing.TB) Finder {
	t.Helper()
	return Finder{Cache: filepath.Join(t.TempDir(), "cache"), Dir: t.TempDir(), Platform: amd64}
}

// has fails where an error's text lacks one of the parts.
func has(t testing.TB, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want %q in it", err, part)
		}
	}
}

// temporary lists what a failure may leave in a cache.
func temporary(t testing.TB, f Finder) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(f.Cache, "*", ".*"))
	must(t, err)
	return found
}
