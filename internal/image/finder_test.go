package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/registry"
)

// sample is two layers, of which the second is there twice.
func sample(t testing.TB) [][]byte {
	t.Helper()
	lower := tarOf(t, entry{name: "etc/", kind: tar.TypeDir}, entry{name: "etc/a", content: "1"}, entry{name: "etc/b", content: "2"})
	upper := tarOf(t, entry{name: "etc/.wh.b"}, entry{name: "run", content: strings.Repeat("program", 3000)})
	return [][]byte{lower, upper, upper}
}

var sampleTree = []string{"etc/", "etc/a=1", "run=" + strings.Repeat("program", 3000)}

// ociImage is the sample as a layout, with a name.
func ociImage(t testing.TB, pack func([]byte) (string, []byte)) contents {
	t.Helper()
	c := contents{}
	return c.index(c.image("amd64", pack, sample(t), `,"annotations":{"org.opencontainers.image.ref.name":"test:x"}`))
}

// sampleID is the digest of the sample's configuration.
func sampleID(t testing.TB) string { return digestOf(configOf("amd64", sample(t)...)) }

// dockerSave is the sample as Docker 20.10 saves it: a second time, a layer is a symlink.
func dockerSave(t testing.TB, tags string) []byte {
	t.Helper()
	layers := sample(t)
	id := strings.TrimPrefix(sampleID(t), "sha256:")
	return tarOf(t,
		entry{name: "1/", kind: tar.TypeDir}, entry{name: "1/layer.tar", content: string(layers[0])}, entry{name: "1/VERSION", content: "1.0"},
		entry{name: "3/layer.tar", kind: tar.TypeSymlink, link: "../2/layer.tar"}, entry{name: "2/layer.tar", content: string(layers[1])},
		entry{name: id + ".json", content: string(configOf("amd64", layers...))},
		entry{name: "manifest.json", content: `[{"Config":"` + id + `.json","RepoTags":` + tags + `,"Layers":["1/layer.tar","2/layer.tar","3/layer.tar"]}]`},
		entry{name: "repositories", content: `{}`},
	)
}

// newDockerSave is the sample as Docker 25 saves it: a layout, with manifest.json beside its index.
func newDockerSave(t testing.TB) []byte {
	t.Helper()
	c := ociImage(t, plain)
	var layers []string
	for _, l := range sample(t) {
		layers = append(layers, `"blobs/sha256/`+strings.TrimPrefix(digestOf(l), "sha256:")+`"`)
	}
	id := strings.TrimPrefix(sampleID(t), "sha256:")
	c["manifest.json"] = `[{"Config":"blobs/sha256/` + id + `","RepoTags":["hookbuild/test:x"],"Layers":[` + strings.Join(layers, ",") + `]}]`
	return c.tar(t)
}

// containerdSave is the sample as an engine with the containerd image store saves it: an index for each name, an
// attestation in it, no blobs of the platforms that were not pulled. The id is that of the inner index.
func containerdSave(t testing.TB) (id string, archive []byte) {
	t.Helper()
	c := contents{}
	img := c.image("amd64", func(l []byte) (string, []byte) { return layerType + "+gzip", gzipped(t, l) }, sample(t), platformAMD64)
	absent := contents{}.image("arm64", plain, sample(t), platformARM64)
	attest := c.blob(manifestType, manifestOf(c.blob(configType, []byte("{}"))), platformNone, `,"annotations":{"vnd.docker.reference.type":"attestation-manifest"}`)
	inner := indexOf(absent, attest, img)
	c.index(c.blob(indexType, []byte(inner), `,"annotations":{"io.containerd.image.name":"docker.io/hookbuild/test:x","org.opencontainers.image.ref.name":"x"}`))
	return digestOf([]byte(inner)), c.tar(t)
}

// All forms of one image are one image: the same identity, the same tree.
func TestEveryFormIsTheSameImage(t *testing.T) {
	gz := func(l []byte) (string, []byte) { return layerType + "+gzip", gzipped(t, l) }
	zst := func(l []byte) (string, []byte) { return layerType + "+zstd", zstandard(t, l) }
	pieces := func(l []byte) (string, []byte) { // as in eStargz
		return layerType + "+gzip", append(gzipped(t, l[:700]), gzipped(t, l[700:])...)
	}
	lies := func(l []byte) (string, []byte) { return layerType + "+gzip", zstandard(t, l) }
	s := newServer(t)
	s.put(t, ociImage(t, gz), "team/x", "1")
	cid, carchive := containerdSave(t)
	oci := ociImage(t, gz)
	link := ociImage(t, gz).dir(t)
	target := filepath.Join(link, "moved")
	must(t, os.Rename(filepath.Join(link, "blobs"), target), os.Symlink("moved", filepath.Join(link, "blobs")))
	names := func(id string, archive []byte) *shelf {
		return &shelf{images: map[string]held{"hookbuild/test:x": {id, archive}, id: {id, archive}}}
	}
	for _, c := range []struct {
		name, ref string
		engine    *shelf
	}{
		{"registry", s.ref("team/x:1"), nil},
		{"layout, gzip", "oci:" + oci.dir(t), nil},
		{"layout, zstd", "oci:" + ociImage(t, zst).dir(t), nil},
		{"layout, not compressed", "oci:" + ociImage(t, plain).dir(t), nil},
		{"layout, gzip in pieces", "oci:" + ociImage(t, pieces).dir(t), nil},
		{"layout, another compression than it says", "oci:" + ociImage(t, lies).dir(t), nil},
		{"layout, a symlink within", "oci:" + link, nil},
		{"OCI archive, index first", "archive:" + file(t, oci.tar(t, "oci-layout", "index.json")), nil},
		{"OCI archive, blobs in any order", "archive:" + file(t, oci.tar(t)), nil},
		{"OCI archive in gzip", "archive:" + file(t, gzipped(t, oci.tar(t))), nil},
		{"OCI archive in zstd", "archive:" + file(t, zstandard(t, oci.tar(t))), nil},
		{"docker save", "archive:" + file(t, dockerSave(t, `["hookbuild/test:x"]`)), nil},
		{"docker save of today", "archive:" + file(t, newDockerSave(t)), nil},
		{"containerd's save", "archive:" + file(t, carchive), nil},
		{"engine", "hookbuild/test:x", names(sampleID(t), dockerSave(t, `["hookbuild/test:x"]`))},
		{"engine, saved by id", "hookbuild/test:x", names(sampleID(t), dockerSave(t, `null`))},
		{"engine of today", "hookbuild/test:x", names(sampleID(t), newDockerSave(t))},
		{"engine with the containerd image store", "hookbuild/test:x", names(cid, carchive)},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := finder(t)
			f.Registry = &registry.Client{}
			if c.engine != nil {
				f.Engine = c.engine
			}
			pin, err := f.Resolve(t.Context(), c.ref)
			must(t, err)
			if pin.Ref != c.ref || pin.Config != sampleID(t) || (pin.Manifest != "") != (c.name == "registry") {
				t.Errorf("got %+v, want %s", pin, sampleID(t))
			}
			img, err := f.Read(t.Context(), pin)
			must(t, err)
			if diff := cmp.Diff(sampleTree, listing(t, img)); diff != "" {
				t.Error(diff)
			}
			want := engine.Image{
				ID: sampleID(t), Arch: "amd64", Layers: img.Layers, Cmd: []string{"/run"}, Env: []string{"A=1"}, Labels: map[string]string{"l": "v"},
			}
			if diff := cmp.Diff(want, img.Image); diff != "" || img.Ref != c.ref || len(img.Layers) != 3 {
				t.Errorf("%s %s", img.Ref, diff)
			}
			if left := temporary(t, f); len(left) > 0 {
				t.Errorf("%q are left", left)
			}
			if again, err := f.Resolve(t.Context(), c.ref); err != nil || again != pin {
				t.Errorf("again: got %+v, %v", again, err)
			}
			if c.engine != nil && c.engine.saved.Load() != 1 {
				t.Errorf("saved %d times, want once", c.engine.saved.Load())
			}
		})
	}
}

func TestReferences(t *testing.T) {
	other := tarOf(t, entry{name: "other"})
	c := contents{}
	named := func(n string) string { return `,"annotations":{"org.opencontainers.image.ref.name":"` + n + `"}` }
	two := c.image("amd64", plain, [][]byte{other}, named("registry.example/b:2"))
	one := c.image("amd64", plain, sample(t), named("1"))
	arm := c.image("arm64", plain, sample(t))
	nested := c.blob(indexType, []byte(indexOf(arm+"", one)), named("nested"))
	c.index(one, one, two, nested)
	platforms := contents{}
	platforms.index(platforms.image("arm64", plain, sample(t), platformARM64), platforms.image("amd64", plain, sample(t), platformAMD64))
	dir := t.TempDir()
	for name, c := range map[string]contents{"l": c, "l:1": platforms, "deep/er": c} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.Rename(c.dir(t), filepath.Join(dir, name)))
	}
	for name, data := range map[string][]byte{"s.tar": dockerSave(t, `["hookbuild/test:x","b:y"]`), "a:b.tar": c.tar(t)} {
		must(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	_, carchive := containerdSave(t)
	must(t, os.WriteFile(filepath.Join(dir, "c.tar"), carchive, 0o600))
	id, otherID := sampleID(t), digestOf(configOf("amd64", other))
	digest := func(descriptor string) string { _, d, _ := strings.Cut(descriptor, `"digest":"`); return d[:71] }
	zeros := "sha256:" + strings.Repeat("0", 64)
	for _, tc := range []struct{ ref, want, err string }{
		{"oci:l:2", otherID, ""},
		{"oci:l:registry.example/b:2", otherID, ""},
		{"oci:" + dir + "/deep/er:2", otherID, ""},
		{"oci:./l:2", otherID, ""},
		{"oci:l@" + digest(two), otherID, ""},
		{"oci:l:1", id, ""},                       // the path with the colon, which has one image for the platform
		{"oci:l:1:1", "", "no image 1; it has ["}, // so this is a tag in it
		{"oci:deep/er:1", id, ""},
		{"oci:l", "", "it means 3 images"},
		{"oci:l:3", "", "no image 3; it has [1, 1, registry.example/b:2, nested]"},
		{"oci:l:xample/b:2", "", "no image"},
		{"oci:l@" + zeros, "", "no image " + zeros},
		{"oci:l@" + digest(arm), "", "no image for linux/amd64; it is for linux/arm64"},
		{"oci:l@sha256:12", "", "want 64 hexadecimal digits"},
		{"oci:l:", "", "want a tag behind"},
		{"oci:", "", "want a path"},
		{"oci::x", "", "want a path"},
		{"archive:", "", "want a path"},
		{"archive:s\x00.tar", "", "want a path"},
		{"oci:none", "", filepath.Join(dir, "none") + ": no such file or directory"},
		{"oci:none:tag", "", filepath.Join(dir, "none") + ": no such file or directory"},
		{"oci:no:ne/x", "", filepath.Join(dir, "no:ne/x") + ": no such file or directory"},
		{"oci:s.tar", "", "not a directory; archive:FILE"},
		{"archive:l", "", "want a regular file"},
		{"archive:s.tar", id, ""},
		{"archive:s.tar:x", id, ""},
		{"archive:s.tar:hookbuild/test:x", id, ""},
		{"archive:s.tar@" + id, id, ""},
		{"archive:c.tar:x", id, ""},
		{"archive:c.tar:hookbuild/test:x", id, ""},
		{"archive:c.tar:docker.io/hookbuild/test:x", id, ""},
		{"archive:s.tar:z", "", "no image z; it has [hookbuild/test:x, b:y]"},
		{"archive:s.tar@" + zeros, "", "no image " + zeros},
		{"archive:a:b.tar:2", otherID, ""},
		{"archive:a:b.tar@" + digest(one), id, ""},
		{"UPPER", "", "want NAME[:TAG]"},
		{"", "", "want NAME[:TAG]"},
		{"docker://x", "", "want NAME[:TAG]"},
		{"name@sha256:12", "", "want NAME[:TAG]"},
	} {
		t.Run(tc.ref, func(t *testing.T) {
			f := finder(t)
			f.Dir = dir
			pin, err := f.Resolve(t.Context(), tc.ref)
			if tc.err == "" && (err != nil || pin.Config != tc.want) {
				t.Errorf("got %+v, %v, want %s", pin, err, tc.want)
			}
			if tc.err != "" {
				has(t, err, tc.err)
				if !isA[*ReferenceError](err) && !isA[*FormatError](err) && !isA[*NotFoundError](err) {
					t.Errorf("got a %T", err)
				}
			}
		})
	}
}

// pinned is the pin of the sample under a reference.
func pinned(t testing.TB, ref string) Pin { return Pin{Ref: ref, Config: sampleID(t)} }

func TestReadLooksInThisOrder(t *testing.T) {
	s := newServer(t)
	img, other := ociImage(t, plain), contents{}
	other.index(other.image("amd64", plain, [][]byte{tarOf(t, entry{name: "other"})}))
	s.put(t, img, "x", "same")
	s.put(t, img, "x", "moved")
	s.put(t, other, "x", "moved")
	manifest := digestOf(manifestIn(t, img))
	save, otherSave := dockerSave(t, `null`), other.tar(t)
	otherID := digestOf(configOf("amd64", tarOf(t, entry{name: "other"})))
	broken := errors.New("the engine is on fire")
	for _, c := range []struct {
		name, tag, manifest string
		engine              *shelf
		offline             bool
		saved, asked        bool   // was something saved, was the registry asked
		err                 string // after "engine: "
	}{
		{"engine by name", "none", "", &shelf{images: map[string]held{"REF": {sampleID(t), save}}}, false, true, false, ""},
		{"engine by id alone", "none", "", &shelf{images: map[string]held{sampleID(t): {sampleID(t), save}}}, false, true, false, ""},
		{"engine before the registry", "same", manifest, &shelf{images: map[string]held{"REF": {sampleID(t), save}}}, false, true, false, ""},
		{"engine offline", "same", "", &shelf{images: map[string]held{"REF": {sampleID(t), save}}}, true, true, false, ""},
		{"engine has another one", "same", "", &shelf{images: map[string]held{"REF": {otherID, otherSave}}}, false, true, true, ""},
		{"engine is broken", "same", "", &shelf{err: broken}, false, false, true, ""},
		{"engine saves rubbish", "same", "", &shelf{images: map[string]held{"REF": {sampleID(t), []byte("<html>")}}}, false, true, true, ""},
		{"no engine", "same", "", nil, false, false, true, ""},
		{"the tag has moved", "moved", manifest, &shelf{}, false, false, true, ""},
		{
			"the tag has moved, pinned without a manifest", "moved", "", &shelf{}, false, false, true,
			"engine: no such image\n  HOST: has " + otherID + " now, want " + sampleID(t),
		},
		{
			"nowhere", "none", "", &shelf{}, false, false, true,
			"engine: no such image\n  HOST: no such image: HOST answered 404 Not Found (MANIFEST_UNKNOWN",
		},
		{
			"manifest gone", "same", "sha256:" + strings.Repeat("0", 64), &shelf{}, false, false, true,
			"engine: no such image\n  HOST: no such image: HOST answered 404",
		},
		{"offline", "same", manifest, &shelf{err: broken}, true, false, false, "engine: the engine is on fire\n  HOST: not asked (offline)"},
		{
			"engine has another one, offline", "same", "", &shelf{images: map[string]held{"REF": {otherID, otherSave}}}, true, true, false,
			"engine: has " + otherID + " now, want " + sampleID(t) + "\n  HOST: not asked (offline)",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := finder(t)
			ref := s.ref("x:" + c.tag)
			f.Registry = &registry.Client{Offline: c.offline}
			if c.engine != nil {
				if img, ok := c.engine.images["REF"]; ok {
					c.engine.images[ref] = img
				}
				f.Engine = c.engine
			}
			s.conns.Store(0)
			pin := pinned(t, ref)
			pin.Manifest = c.manifest
			img, err := f.Read(t.Context(), pin)
			if asked := s.conns.Load() > 0; asked != c.asked || c.engine != nil && (c.engine.saved.Load() > 0) != c.saved {
				t.Errorf("%d connections to the registry", s.conns.Load())
			}
			if c.err != "" {
				host, _, _ := strings.Cut(ref, "/")
				nowhere, ok := errors.AsType[*NotFoundError](err)
				if !ok || nowhere.Hint() == "" || len(nowhere.Tried) != 3 {
					t.Fatalf("got %T %v", err, err)
				}
				has(t, err, "image "+ref+": found in none of the places where it was looked for\n  cache: no image "+sampleID(t)+"\n  "+strings.ReplaceAll(c.err, "HOST", host))
				if isA[*registry.OfflineError](err) != c.offline {
					t.Errorf("offline is not told: %v", err)
				}
				return
			}
			must(t, err)
			if diff := cmp.Diff(sampleTree, listing(t, img)); diff != "" {
				t.Error(diff)
			}
			// From now on the cache has it, and nobody is asked.
			s.conns.Store(0)
			f.Engine, f.Registry = &shelf{err: broken}, &registry.Client{}
			if _, err := f.Read(t.Context(), pin); err != nil || s.conns.Load() != 0 {
				t.Errorf("from the cache: %v, %d connections", err, s.conns.Load())
			}
		})
	}
}

// manifestIn is the manifest of a layout's one image.
func manifestIn(t testing.TB, c contents) []byte {
	t.Helper()
	for _, content := range c {
		if strings.Contains(content, `"config":{"mediaType"`) {
			return []byte(content)
		}
	}
	t.Fatal("no manifest")
	return nil
}

func TestResolveAsksTheEngineFirst(t *testing.T) {
	s := newServer(t)
	s.put(t, ociImage(t, plain), "x", "1")
	ref := s.ref("x:1")
	e := &shelf{images: map[string]held{ref: {sampleID(t), dockerSave(t, `null`)}}}
	f := finder(t)
	f.Engine, f.Registry = e, &registry.Client{}
	s.conns.Store(0)
	pin, err := f.Resolve(t.Context(), ref)
	if err != nil || pin != pinned(t, ref) || s.conns.Load() != 0 {
		t.Errorf("got %+v, %v, %d connections", pin, err, s.conns.Load())
	}
	e.images = nil
	pin, err = f.Resolve(t.Context(), ref)
	if err != nil || pin.Config != sampleID(t) || pin.Manifest != digestOf(manifestIn(t, ociImage(t, plain))) {
		t.Errorf("got %+v, %v", pin, err)
	}
	e.err = errors.New("the engine is on fire")
	if _, err = f.Resolve(t.Context(), ref); err != nil {
		t.Errorf("with a broken engine: %v", err)
	}
	_, err = f.Resolve(t.Context(), s.ref("x:none"))
	has(t, err, "engine: the engine is on fire\n", "answered 404")
	if !isA[*NotFoundError](err) || !isA[*registry.NotFoundError](err) || !errors.Is(err, e.err) {
		t.Errorf("got %T", err)
	}
	s.hook = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusUnauthorized); return true }
	_, err = f.Resolve(t.Context(), ref)
	nowhere, ok := errors.AsType[*NotFoundError](err)
	if !ok || !isA[*registry.AuthError](err) || !strings.Contains(nowhere.Hint(), "docker login") {
		t.Errorf("got %T %v", err, err)
	}
	has(t, err, "answered 401 Unauthorized", "credentials: none were given")
}

// A layout and an archive are compared with the pin for as long as they are there.
func TestLocalPlacesChange(t *testing.T) {
	for _, scheme := range []string{"oci:", "archive:"} {
		t.Run(scheme, func(t *testing.T) {
			f := finder(t)
			at := filepath.Join(f.Dir, "image")
			lay := func(c contents) {
				must(t, os.RemoveAll(at))
				if scheme == "oci:" {
					must(t, os.Rename(c.dir(t), at))
				} else {
					must(t, os.WriteFile(at, c.tar(t), 0o600))
				}
			}
			read := func() error {
				t.Helper()
				img, err := f.Read(t.Context(), pinned(t, scheme+"image"))
				if err == nil && !slices.Equal(listing(t, img), sampleTree) {
					t.Errorf("got %q", listing(t, img))
				}
				return err
			}
			gone := read()
			has(t, gone, "\n  cache: no image "+sampleID(t)+"\n  "+at+": no such file or directory")
			if !isA[*NotFoundError](gone) {
				t.Errorf("got %T", gone)
			}
			lay(ociImage(t, plain))
			must(t, read())
			other := contents{}
			lay(other.index(other.image("amd64", plain, [][]byte{tarOf(t, entry{name: "other"})})))
			err := read()
			changed, ok := errors.AsType[*ChangedError](err)
			if !ok || changed.Want != sampleID(t) || !strings.Contains(changed.Hint(), "hookbuild lock --update") {
				t.Fatalf("got %T %v", err, err)
			}
			has(t, err, changed.Want, changed.Got, scheme+"image")
			lay(contents{"index.json": "{"})
			if err := read(); !isA[*FormatError](err) {
				t.Errorf("broken: got %T %v", err, err)
			}
			must(t, os.RemoveAll(at), read()) // the cache has it
			must(t, os.RemoveAll(f.Cache))
			if err := read(); !isA[*NotFoundError](err) {
				t.Errorf("got %T %v", err, err)
			}
		})
	}
}

func TestCacheIsRepaired(t *testing.T) {
	s := newServer(t)
	s.put(t, ociImage(t, plain), "x", "1")
	dir := ociImage(t, plain).dir(t)
	engine := &shelf{images: map[string]held{"test:x": {sampleID(t), dockerSave(t, `null`)}}}
	flip := func(file string) error {
		data, err := os.ReadFile(file)
		data[len(data)/2] ^= 1
		return errors.Join(err, os.WriteFile(file, data, 0o600))
	}
	for _, ref := range []string{s.ref("x:1"), "oci:" + dir, "test:x"} {
		for name, spoil := range map[string]func(f Finder, layer, config string) error{
			"a layer flipped": func(_ Finder, layer, _ string) error { return flip(layer) },
			"a layer cut":     func(_ Finder, layer, _ string) error { return os.Truncate(layer, 100) },
			"a layer gone":    func(_ Finder, layer, _ string) error { return os.Remove(layer) },
			"configuration":   func(_ Finder, _, config string) error { return flip(config) },
			"a pipe": func(_ Finder, _, config string) error {
				return errors.Join(os.Remove(config), syscall.Mkfifo(config, 0o600))
			},
			"all gone": func(f Finder, _, _ string) error { return os.RemoveAll(f.Cache) },
			"nothing":  func(Finder, string, string) error { return nil },
		} {
			t.Run(name+" of "+ref, func(t *testing.T) {
				f := finder(t)
				f.Engine, f.Registry = engine, &registry.Client{}
				_, err := f.Read(t.Context(), pinned(t, ref))
				must(t, err)
				layer := cache{f.Cache}.layerFile(digestOf(sample(t)[1]))
				config := filepath.Join(f.Cache, "images", strings.TrimPrefix(sampleID(t), "sha256:")+".json")
				must(t, spoil(f, layer, config))
				img, err := f.Read(t.Context(), pinned(t, ref))
				must(t, err)
				if diff := cmp.Diff(sampleTree, listing(t, img)); diff != "" {
					t.Error(diff)
				}
				f.Engine, f.Registry = nil, nil
				if _, err := f.Read(t.Context(), pinned(t, ref)); err != nil {
					t.Errorf("the cache is not whole again: %v", err)
				}
			})
		}
	}
}

func TestReadersShareTheCache(t *testing.T) {
	s := newServer(t)
	s.put(t, ociImage(t, plain), "x", "1")
	f := finder(t)
	f.Registry = &registry.Client{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			img, err := f.Read(t.Context(), pinned(t, s.ref("x:1")))
			if err != nil || !slices.Equal(listing(t, img), sampleTree) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if left := temporary(t, f); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

func TestOwnFailuresAreNoAnswers(t *testing.T) {
	taken := file(t, nil)
	f := finder(t)
	f.Cache = taken
	f.Engine = &shelf{images: map[string]held{"test:x": {sampleID(t), dockerSave(t, `null`)}}}
	for _, ref := range []string{"test:x", "oci:" + ociImage(t, plain).dir(t), "archive:" + file(t, gzipped(t, dockerSave(t, `null`)))} {
		_, err := f.Read(t.Context(), pinned(t, ref))
		if err == nil || isA[*NotFoundError](err) || isA[*FormatError](err) {
			t.Errorf("%s: a cache that cannot be: got %T %v", ref, err, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f = finder(t)
	f.Registry = &registry.Client{}
	f.Engine = &shelf{images: map[string]held{"test:x": {sampleID(t), dockerSave(t, `null`)}}}
	for _, ref := range []string{"test:x", "127.0.0.1:1/x", "archive:" + file(t, dockerSave(t, `null`)), "oci:" + ociImage(t, plain).dir(t)} {
		if _, err := f.Read(ctx, pinned(t, ref)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: got %v", ref, err)
		}
	}
}

func TestPinsThatAreNone(t *testing.T) {
	for _, config := range []string{"", "sha256:12", "sha512:" + strings.Repeat("0", 128), "../../etc"} {
		if _, err := finder(t).Read(t.Context(), Pin{Ref: "test:x", Config: config}); !isA[*ReferenceError](err) {
			t.Errorf("%q: got %v", config, err)
		}
	}
}

func TestFinderTellsOfLostAttributes(t *testing.T) {
	f := finder(t)
	e := engineWith(t, layer(t, [2]string{"ping", "elf"}))
	must(t, os.WriteFile(filepath.Join(f.Dir, "a.tar"), e.archive, 0o600))
	var lost []string
	f.Lost = func(ref, path, name string) { lost = append(lost, fmt.Sprint(ref, " ", path, " ", name)) }
	pin, err := f.Resolve(t.Context(), "archive:a.tar")
	must(t, err)
	_, err = f.Read(t.Context(), pin)
	must(t, err)
	if want := []string{"archive:a.tar ping security.capability"}; !slices.Equal(lost, want) {
		t.Errorf("got %q, want %q", lost, want)
	}
}

// A tar that no tree can be is told of with image, layer and entry, and asked for nowhere else.
func TestHostileTarInALayer(t *testing.T) {
	bad := tarOf(t, entry{name: "good", content: "1"}, entry{name: "../../etc/passwd", content: "root"})
	c := contents{}
	c.index(c.image("amd64", plain, [][]byte{bad}))
	s := newServer(t)
	s.put(t, c, "x", "1")
	for _, ref := range []string{"oci:" + c.dir(t), s.ref("x:1")} {
		f := finder(t)
		f.Registry = &registry.Client{}
		_, err := f.Read(t.Context(), Pin{Ref: ref, Config: digestOf(configOf("amd64", bad))})
		e, ok := errors.AsType[*FormatError](err)
		if !ok || e.Image != ref || e.Layer != digestOf(bad) || !isA[*filetree.TarError](err) || isA[*NotFoundError](err) {
			t.Errorf("got %T %v", err, err)
		}
		has(t, err, ref, digestOf(bad), "../../etc/passwd")
	}
}

func TestCancelWithinALayer(t *testing.T) {
	s := newServer(t)
	s.put(t, ociImage(t, plain), "x", "1")
	ctx, cancel := context.WithCancel(t.Context())
	s.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, digestOf(sample(t)[1])) {
			return false
		}
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
		return true
	}
	f := finder(t)
	f.Registry = &registry.Client{}
	_, err := f.Read(ctx, pinned(t, s.ref("x:1")))
	if !errors.Is(err, context.Canceled) || isA[*NotFoundError](err) {
		t.Errorf("got %T %v", err, err)
	}
	if left := temporary(t, f); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	s.hook = nil
	if _, err := f.Read(t.Context(), pinned(t, s.ref("x:1"))); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// FuzzArchive asserts that whatever an archive is, it is read or refused with an error of a known type.
func FuzzArchive(f *testing.F) {
	_, containerd := containerdSave(f)
	for _, archive := range [][]byte{dockerSave(f, `["a:x"]`), newDockerSave(f), containerd, gzipped(f, ociImage(f, plain).tar(f)), nil} {
		f.Add(archive, "x")
		f.Add(archive, "")
	}
	f.Fuzz(func(t *testing.T, archive []byte, tag string) {
		ref := "archive:" + file(t, archive)
		if tag != "" {
			ref += ":" + tag
		}
		find := finder(t)
		pin, err := find.Resolve(t.Context(), ref)
		if err == nil {
			_, err = find.Read(t.Context(), pin)
		}
		if err != nil && !isA[*FormatError](err) && !isA[*ReferenceError](err) && !isA[*NotFoundError](err) {
			t.Errorf("got %T %v", err, err)
		}
	})
}
