package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/filetree"
)

// layer is a layer with these files; a name that ends in "/" is a directory.
func layer(t *testing.T, files ...[2]string) v1.Layer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1])), Typeflag: tar.TypeReg}
		if strings.HasSuffix(f[0], "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if f[0] == "ping" {
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
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// fakeEngine holds one image and counts how often it is saved.
type fakeEngine struct {
	info    engine.Image
	archive []byte
	saved   int
	fail    error // at the end of the archive
}

// engineWith makes an engine with an image of these layers.
func engineWith(t *testing.T, layers ...v1.Layer) *fakeEngine {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeEngine{info: engine.Image{ID: "sha256:aa", Cmd: []string{"/run"}}}
	for _, l := range layers {
		id, err := l.DiffID()
		if err != nil {
			t.Fatal(err)
		}
		f.info.Layers = append(f.info.Layers, id.String())
	}
	var out bytes.Buffer
	if err := tarball.Write(name.MustParseReference("hookbuild/test:x"), img, &out); err != nil {
		t.Fatal(err)
	}
	f.archive = out.Bytes()
	return f
}

func (f *fakeEngine) Inspect(_ context.Context, ref string) (engine.Image, error) {
	if ref != "hookbuild/test:x" {
		return engine.Image{}, engine.ErrNoImage
	}
	return f.info, nil
}

func (f *fakeEngine) Save(context.Context, string) (io.ReadCloser, error) {
	f.saved++
	return io.NopCloser(io.MultiReader(bytes.NewReader(f.archive), &failing{f.fail})), nil
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

// listing is the tree as path=content; directories end in "/".
func listing(t *testing.T, img Image) []string {
	t.Helper()
	var all []string
	for _, e := range img.Tree.Entries()[1:] {
		data, err := e.Data.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		switch e.Kind.String() {
		case "directory":
			all = append(all, e.Path+"/")
		default:
			all = append(all, e.Path+"="+string(data))
		}
	}
	return all
}

func read(t *testing.T, r Reader) Image {
	t.Helper()
	img, err := r.Read(t.Context(), "hookbuild/test:x")
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// inCache lists what lies in the cache of layers, but for the listings beside them.
func inCache(t *testing.T, r Reader) []string {
	t.Helper()
	found, err := os.ReadDir(filepath.Join(r.Cache, "layers"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range found {
		if filepath.Ext(e.Name()) != "."+filetree.ListingFormat {
			names = append(names, e.Name())
		}
	}
	return names
}

// files are the cache's names of the image's layers, sorted.
func (f *fakeEngine) files() []string {
	var names []string
	for _, l := range f.info.Layers {
		names = append(names, strings.ReplaceAll(l, ":", "-"))
	}
	slices.Sort(names)
	return names
}

func TestReadMergesLayers(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers [][][2]string
		want   []string
	}{
		{"no layer", nil, nil},
		{"one", [][][2]string{{{"etc/", ""}, {"etc/a", "1"}}}, []string{"etc/", "etc/a=1"}},
		{"the upper one counts", [][][2]string{{{"a", "1"}, {"b", "2"}}, {{"a", "3"}}}, []string{"a=3", "b=2"}},
		{
			"whiteouts", [][][2]string{{{"d/", ""}, {"d/x", "1"}, {"d/y", "2"}, {"o/", ""}, {"o/z", "3"}}, {{"d/.wh.x", ""}, {"o/.wh..wh..opq", ""}, {"o/new", "4"}}},
			[]string{"d/", "d/y=2", "o/", "o/new=4"},
		},
		{"the same layer twice", [][][2]string{{{"a", "1"}}, {{"a", "2"}}, {{"a", "1"}}}, []string{"a=1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var layers []v1.Layer
			for _, l := range c.layers {
				layers = append(layers, layer(t, l...))
			}
			f := engineWith(t, layers...)
			r := Reader{Engine: f, Cache: t.TempDir()}
			img := read(t, r)
			if diff := cmp.Diff(c.want, listing(t, img)); diff != "" {
				t.Error(diff)
			}
			if img.Ref != "hookbuild/test:x" || img.ID != "sha256:aa" || !slices.Equal(img.Cmd, []string{"/run"}) {
				t.Errorf("got %+v", img.Image)
			}
			if diff := cmp.Diff(slices.Compact(f.files()), inCache(t, r)); diff != "" {
				t.Errorf("the cache: %s", diff)
			}
		})
	}
}

func TestReadUsesTheCache(t *testing.T) {
	f := engineWith(t, layer(t, [2]string{"a", "1"}), layer(t, [2]string{"b", "2"}))
	r := Reader{Engine: f, Cache: t.TempDir()}
	read(t, r)
	f.archive = nil
	if got := listing(t, read(t, r)); !slices.Equal(got, []string{"a=1", "b=2"}) {
		t.Errorf("got %q", got)
	}
	if f.saved != 1 {
		t.Errorf("the engine was asked %d times, want once", f.saved)
	}
}

func TestReadRepairsTheCache(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(file string) error
	}{
		{"a flipped byte", func(file string) error {
			data, err := os.ReadFile(file)
			data[len(data)/2] ^= 1
			return errors.Join(err, os.WriteFile(file, data, 0o600))
		}},
		{"cut", func(file string) error { return os.Truncate(file, 100) }},
		{"empty", func(file string) error { return os.Truncate(file, 0) }},
		{"gone", os.Remove},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := engineWith(t, layer(t, [2]string{"a", "1"}), layer(t, [2]string{"b", strings.Repeat("2", 4000)}))
			r := Reader{Engine: f, Cache: t.TempDir()}
			want := listing(t, read(t, r))
			file := cache{r.Cache}.layerFile(f.info.Layers[1])
			if err := c.spoil(file); err != nil {
				t.Fatal(err)
			}
			later := time.Now().Add(time.Second) // a file system may count time in steps
			if err := os.Chtimes(file, later, later); err != nil && c.name != "gone" {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, listing(t, read(t, r))); diff != "" {
				t.Error(diff)
			}
			read(t, r)
			if f.saved != 2 {
				t.Errorf("the engine was asked %d times, want twice", f.saved)
			}
		})
	}
}

// A layer that is listed is not read again. Where its bytes change and its time does not, whoever reads a file of it
// is told, and Forget makes room for a whole one.
func TestForget(t *testing.T) {
	f := engineWith(t, layer(t, [2]string{"a", strings.Repeat("1", 4000)}))
	r := Reader{Engine: f, Cache: t.TempDir()}
	want := listing(t, read(t, r))
	file := cache{r.Cache}.layerFile(f.info.Layers[0])
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.IndexByte(data, '1')+2000] ^= 1
	if err := errors.Join(os.WriteFile(file, data, 0o600), os.Chtimes(file, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	e, _ := read(t, r).Tree.Lookup("a")
	_, err = e.Data.ReadAll()
	if !isA[*filetree.ChangedError](err) {
		t.Fatalf("got %v, want a ChangedError", err)
	}
	if !Forget(r.Cache, fmt.Errorf("write: %w", err)) || Forget(r.Cache, io.ErrUnexpectedEOF) || Forget(t.TempDir(), err) {
		t.Error("Forget does not know which errors are about a layer of its cache")
	}
	if diff := cmp.Diff(want, listing(t, read(t, r))); diff != "" {
		t.Error(diff)
	}
	if f.saved != 2 {
		t.Errorf("the engine was asked %d times, want twice", f.saved)
	}
}

// A listing that is damaged, of another layer's file, or of another format is made again.
func TestListingsAreChecked(t *testing.T) {
	f := engineWith(t, layer(t, [2]string{"a", "1"}, [2]string{"d/", ""}))
	r := Reader{Engine: f, Cache: t.TempDir()}
	want := listing(t, read(t, r))
	file := cache{r.Cache}.listingFile(f.info.Layers[0])
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-3] ^= 1
	for name, bad := range map[string][]byte{"empty": nil, "cut": good[:len(good)-1], "short": good[:40], "flipped": flipped} {
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, listing(t, read(t, r))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, good) {
			t.Errorf("%s: the listing is not what it was, %v", name, err)
		}
	}
}

func TestReadRefusesWrongContent(t *testing.T) {
	good := engineWith(t, layer(t, [2]string{"a", "1"}), layer(t, [2]string{"b", "2"}))
	other := engineWith(t, layer(t, [2]string{"a", "1"}), layer(t, [2]string{"b", "3"}))
	short := engineWith(t, layer(t, [2]string{"a", "1"}))
	for _, c := range []struct {
		name   string
		engine fakeEngine
		want   string
		kept   int
	}{
		{"another layer", fakeEngine{info: good.info, archive: other.archive}, good.info.Layers[1] + "]", 0},
		{"a layer less", fakeEngine{info: good.info, archive: short.archive}, "the 1 layers", 0},
		{"no archive", fakeEngine{info: good.info, archive: []byte("<html>")}, "read the engine's archive", 0},
		{"cut", fakeEngine{info: good.info, archive: good.archive[:len(good.archive)/2]}, "", 0},
		{"broken connection", fakeEngine{info: good.info, archive: good.archive, fail: io.ErrUnexpectedEOF}, "save image hookbuild/test:x", 0},
		{"a layer id that is a path", fakeEngine{info: engine.Image{Layers: []string{"../../etc"}}, archive: short.archive}, "[../../etc]", 0},
		{"a layer id that is too long", fakeEngine{info: engine.Image{Layers: []string{"sha256:" + strings.Repeat("a", 130)}}, archive: short.archive}, "aaaa", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Reader{Engine: &c.engine, Cache: filepath.Join(t.TempDir(), "cache")}
			_, err := r.Read(t.Context(), "hookbuild/test:x")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "image hookbuild/test:x") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			got := inCache(t, r)
			for _, file := range got {
				if !slices.Contains(good.files(), file) {
					t.Errorf("%s is left in the cache", file)
				}
			}
			if len(got) > c.kept {
				t.Errorf("got %q in the cache, want at most %d layers", got, c.kept)
			}
		})
	}
}

// A cached file under an id that is no digest must not crash the reader.
func TestReadRefusesIDsThatAreNoDigests(t *testing.T) {
	for _, id := range []string{"sha256:" + strings.Repeat("a", 130), "sha512:" + strings.Repeat("a", 128), "aa", ""} {
		f := &fakeEngine{info: engine.Image{Layers: []string{id}}}
		r := Reader{Engine: f, Cache: t.TempDir()}
		if err := os.MkdirAll(filepath.Dir(cache{r.Cache}.layerFile("x")), 0o755); err != nil {
			t.Fatal(err)
		}
		if id != "" {
			if err := os.WriteFile(cache{r.Cache}.layerFile(id), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.Read(t.Context(), "hookbuild/test:x"); err == nil {
			t.Errorf("%q: no error", id)
		}
	}
}

func TestReadTellsOfLostAttributes(t *testing.T) {
	f := engineWith(t, layer(t, [2]string{"ping", "elf"}))
	var lost []string
	r := Reader{Engine: f, Cache: t.TempDir(), Lost: func(ref, path, name string) { lost = append(lost, ref+" "+path+" "+name) }}
	read(t, r)
	if want := []string{"hookbuild/test:x ping security.capability"}; !slices.Equal(lost, want) {
		t.Errorf("got %q, want %q", lost, want)
	}
}

func TestReadOfAMissingImage(t *testing.T) {
	r := Reader{Engine: engineWith(t), Cache: t.TempDir()}
	if _, err := r.Read(t.Context(), "none:x"); !errors.Is(err, engine.ErrNoImage) {
		t.Errorf("got %v, want engine.ErrNoImage", err)
	}
}

func TestReadWithoutPlaceForTheCache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := Reader{Engine: engineWith(t, layer(t)), Cache: file}
	if _, err := r.Read(t.Context(), "hookbuild/test:x"); err == nil {
		t.Error("no error")
	}
}
