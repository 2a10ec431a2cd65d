package build

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// fakeEngine is an Engine API on this host that holds an image for every name with a known beginning. It has
// no BuildKit: whatever has to be built fails.
type fakeEngine struct {
	mu      sync.Mutex
	images  map[string]fakeImage // by the beginning of the name
	missing string               // images whose name begins so are not there
	saved   []string
}

type fakeImage struct {
	diffIDs []string
	archive []byte
}

// files are a layer's files; a name that ends in "/" is a directory.
type files [][2]string

func makeTar(t *testing.T, list files) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range list {
		h := &tar.Header{Name: f[0], Mode: 0o755, Size: int64(len(f[1])), Typeflag: tar.TypeReg}
		if strings.HasSuffix(f[0], "/") {
			h.Typeflag = tar.TypeDir
		}
		if strings.HasSuffix(f[0], "ping") {
			h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "x"}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func makeImage(t *testing.T, list files) fakeImage {
	t.Helper()
	data := makeTar(t, list)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	id, err := layer.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tarball.Write(name.MustParseReference("hookbuild/test:x"), img, &out); err != nil {
		t.Fatal(err)
	}
	return fakeImage{diffIDs: []string{id.String()}, archive: out.Bytes()}
}

// newEngine holds the Debian images, a kernel and the components init and dhcp.
func newEngine(t *testing.T) (*engine.Engine, *fakeEngine) {
	t.Helper()
	modules := makeTar(t, files{{"lib/", ""}, {"lib/modules/", ""}, {"lib/modules/6.12.1-hook/", ""}, {"lib/modules/6.12.1-hook/modules.dep", "x"}})
	f := &fakeEngine{images: map[string]fakeImage{
		"hookbuild/debian:":         makeImage(t, nil),
		"hookbuild/kernel:":         makeImage(t, files{{"kernel", "bzImage"}, {"kernel.tar", string(modules)}, {"config", "x"}}),
		"hookbuild/component:init-": makeImage(t, files{{"init", "#!/bin/sh\n"}, {"bin/", ""}, {"bin/ping", "elf"}}),
		"hookbuild/component:dhcp-": makeImage(t, files{{"bin/", ""}, {"bin/dhcp", strings.Repeat("x", 5000)}}),
	}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	e, err := engine.Connect(t.Context(), engine.Options{Host: "tcp://" + srv.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e, f
}

func (f *fakeEngine) find(ref string) (fakeImage, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for start, img := range f.images {
		if strings.HasPrefix(ref, start) && (f.missing == "" || !strings.HasPrefix(ref, f.missing)) {
			return img, true
		}
	}
	return fakeImage{}, false
}

func (f *fakeEngine) lose(start string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.missing = start
}

func (f *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, path, _ := strings.Cut(r.URL.Path[1:], "/")
	ref, inspect := strings.CutSuffix(strings.TrimPrefix(path, "images/"), "/json")
	img, ok := f.find(ref)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/_ping":
		w.Header().Set("API-Version", "1.41")
	case path == "version":
		io.WriteString(w, `{"Version":"20.10.24","ApiVersion":"1.41","Arch":"amd64"}`)
	case path == "images/get":
		ref := r.URL.Query().Get("names")
		f.mu.Lock()
		f.saved = append(f.saved, ref)
		f.mu.Unlock()
		img, _ := f.find(ref)
		w.Write(img.archive)
	case inspect && ok:
		json.NewEncoder(w).Encode(map[string]any{"Id": "sha256:" + ref, "Architecture": "amd64", "RootFS": map[string]any{"Layers": img.diffIDs}})
	default:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"message":"no such thing"}`)
	}
}
