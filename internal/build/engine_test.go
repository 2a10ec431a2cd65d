package build

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// fakeEngine is an Engine API on this host that holds an image for every name with a known beginning. Its BuildKit
// makes those that it is told how to make; see fakeBuildKit. The one program that it can run is a kernel's Kconfig.
type fakeEngine struct {
	mu       sync.Mutex
	images   map[string]fakeImage // by the beginning of the name
	exact    map[string]fakeImage // by name: what was built, loaded or tagged
	missing  []string             // images whose name begins so are not there, unless exact has them
	saved    []string
	buildKit *fakeBuildKit
	kconfig  fakeContainer
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
	if img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		Architecture: "amd64", OS: "linux", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{id}},
	}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tarball.Write(name.MustParseReference("hookbuild/test:x"), img, &out); err != nil {
		t.Fatal(err)
	}
	return fakeImage{diffIDs: []string{id.String()}, archive: out.Bytes()}
}

// loaded is what an engine makes of an archive.
func loaded(archive []byte) (img fakeImage, tags []string, err error) {
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }
	m, err := tarball.LoadManifest(open)
	if err != nil {
		return img, nil, err
	}
	got, err := tarball.Image(open, nil)
	if err != nil {
		return img, nil, err
	}
	config, err := got.ConfigFile()
	if err != nil {
		return img, nil, err
	}
	for _, id := range config.RootFS.DiffIDs {
		img.diffIDs = append(img.diffIDs, id.String())
	}
	img.archive = archive
	return img, m[0].RepoTags, nil
}

// kernelConfig is what a kernel needs to unpack an initramfs in gzip.
const kernelConfig = "CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_GZIP=y\n# CONFIG_RD_ZSTD is not set\n"

// metadata is what the kernel's image says of itself.
const metadata = `{"release":"6.12.1-hook","compiler":"gcc 14","config_sha256":"cc","spec":{"arch":"x86_64"}}`

// kernelImage has one module, of which default takes nothing.
func kernelImage(t *testing.T, more string) fakeImage { return kernelImageOf(t, more, metadata) }

func kernelImageOf(t *testing.T, more, metadata string) fakeImage {
	dir := "lib/modules/6.12.1-hook/"
	modules := makeTar(t, files{
		{"lib/", ""}, {"lib/modules/", ""}, {dir, ""}, {dir + "kernel/", ""}, {dir + "kernel/a.ko", "module"},
		{dir + "modules.dep", "kernel/a.ko:\n"}, {dir + "modules.alias", "# none\n"}, {dir + "modules.softdep", "# none\n"},
	})
	return makeImage(t, files{
		{"kernel", "bzImage" + more}, {"kernel.tar", string(modules)}, {"config", kernelConfig}, {"System.map", "map"}, {"metadata.json", metadata},
		{"dtbs.tar.gz", ""},
	})
}

// selectedImage is the same as an initramfs takes it.
func selectedImage(t *testing.T) fakeImage {
	dir := "lib/modules/6.12.1-hook/"
	modules := makeTar(t, files{{"lib/", ""}, {"lib/modules/", ""}, {dir, ""}, {dir + "modules.dep", "x"}})
	return makeImage(t, files{
		{"kernel", "bzImage"}, {"kernel.tar", string(modules)}, {"config", kernelConfig}, {"metadata.json", metadata},
		{"firmware", "file\ta.bin\ta.bin.xz\t4\t9\tfirmware-a\tice\nmissing\tgone.bin\tbnx2\nunmatched\tnone/\n"},
	})
}

// newEngine holds the Debian images, a kernel and what an initramfs takes of it, the image that it is configured
// in, and the components init and dhcp.
func newEngine(t *testing.T) (*engine.Engine, *fakeEngine) {
	t.Helper()
	f := &fakeEngine{exact: map[string]fakeImage{}, images: map[string]fakeImage{
		"hookbuild/debian:":         makeImage(t, nil),
		"hookbuild/kernel:":         kernelImage(t, ""),
		"hookbuild/kconfig:":        makeImage(t, nil),
		"hookbuild/modules:":        selectedImage(t),
		"hookbuild/component:init-": makeImage(t, files{{"init", "#!/bin/sh\n"}, {"bin/", ""}, {"bin/ping", "elf"}}),
		"hookbuild/component:dhcp-": makeImage(t, files{{"bin/", ""}, {"bin/dhcp", strings.Repeat("x", 5000)}}),
	}}
	f.buildKit = newBuildKit(f)
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
	if img, ok := f.exact[ref]; ok {
		return img, true
	}
	for start, img := range f.images {
		lost := slices.ContainsFunc(f.missing, func(start string) bool { return strings.HasPrefix(ref, start) })
		if strings.HasPrefix(ref, start) && !lost {
			return img, true
		}
	}
	return fakeImage{}, false
}

// lose takes all images whose name begins so away.
func (f *fakeEngine) lose(starts ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.missing = append(f.missing, starts...)
}

func (f *fakeEngine) put(ref string, img fakeImage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.exact[ref] = img
}

// names are the images that were built, loaded or tagged.
func (f *fakeEngine) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.exact))
}

func (f *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if strings.HasPrefix(path, "/v1.") {
		path = path[strings.Index(path[1:], "/")+1:]
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case path == "/_ping":
		w.Header().Set("API-Version", "1.41")
	case path == "/version":
		io.WriteString(w, `{"Version":"20.10.24","ApiVersion":"1.41","Arch":"amd64"}`)
	case path == "/grpc" || path == "/session":
		f.buildKit.serve(w, path)
	case strings.HasPrefix(path, "/containers/"):
		f.kconfig.serve(w, r, strings.TrimPrefix(path, "/containers/"))
	case strings.HasPrefix(path, "/images/"):
		f.serveImages(w, r, strings.TrimPrefix(path, "/images/"))
	default:
		notFound(w)
	}
}

func notFound(w http.ResponseWriter) {
	w.WriteHeader(http.StatusNotFound)
	io.WriteString(w, `{"message":"no such thing"}`)
}

func (f *fakeEngine) serveImages(w http.ResponseWriter, r *http.Request, path string) {
	ref, what := path, ""
	if i := strings.LastIndex(path, "/"); i >= 0 && (path[i:] == "/json" || path[i:] == "/tag") {
		ref, what = path[:i], path[i+1:]
	}
	img, ok := f.find(ref)
	switch {
	case path == "get":
		ref := r.URL.Query().Get("names")
		f.mu.Lock()
		f.saved = append(f.saved, ref)
		f.mu.Unlock()
		img, _ := f.find(ref)
		w.Write(img.archive)
	case path == "load":
		f.load(w, r)
	case !ok:
		notFound(w)
	case r.Method == http.MethodDelete:
		f.mu.Lock()
		delete(f.exact, ref)
		f.mu.Unlock()
		io.WriteString(w, "[]")
	case what == "tag":
		f.put(strings.TrimPrefix(r.URL.Query().Get("repo"), "docker.io/")+":"+r.URL.Query().Get("tag"), img)
		w.WriteHeader(http.StatusCreated)
	case what == "json":
		json.NewEncoder(w).Encode(map[string]any{"Id": "sha256:" + ref, "Architecture": "amd64", "RootFS": map[string]any{"Layers": img.diffIDs}})
	default:
		notFound(w)
	}
}

func (f *fakeEngine) load(w http.ResponseWriter, r *http.Request) {
	archive, err := io.ReadAll(r.Body)
	var img fakeImage
	var tags []string
	if err == nil {
		img, tags, err = loaded(archive)
	}
	if err != nil {
		json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
		return
	}
	for _, tag := range tags {
		f.put(tag, img)
	}
	io.WriteString(w, `{"stream":"Loaded image"}`)
}
