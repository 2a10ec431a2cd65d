package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// pulled reads an archive with the library: its names, and the image in it.
func pulled(t *testing.T, archive []byte) ([]string, v1.Image) {
	t.Helper()
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }
	index, err := tarball.LoadManifest(open)
	if err != nil || len(index) != 1 {
		t.Fatalf("%d images, %v", len(index), err)
	}
	img, err := tarball.Image(open, nil)
	if err != nil {
		t.Fatal(err)
	}
	return index[0].RepoTags, img
}

// same fails where two images differ in content.
func same(t *testing.T, got, want v1.Image) {
	t.Helper()
	g, err := got.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	w, err := want.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if g.Config.Digest != w.Config.Digest {
		t.Errorf("got configuration %s, want %s", g.Config.Digest, w.Config.Digest)
	}
	digest := func(d v1.Descriptor) string { return d.Digest.String() }
	if g, w := strings.Join(each(g.Layers, digest), " "), strings.Join(each(w.Layers, digest), " "); g != w {
		t.Errorf("got layers %s, want %s", g, w)
	}
}

func each[T any](list []T, f func(T) string) (out []string) {
	for _, e := range list {
		out = append(out, f(e))
	}
	return out
}

func TestPull(t *testing.T) {
	s := newServer(t, false)
	img := newImage(t, 1, 3, amd64)
	s.put(t, "team/kernel:6.12", img)
	s.put(t, "team/kernel:latest", img)
	digest := digestOf(t, img)
	for _, tc := range []struct {
		name, ref string
		tags      []string
	}{
		{"tag", "team/kernel:6.12", []string{"team/kernel:6.12"}},
		{"no tag", "team/kernel", []string{"team/kernel:latest"}},
		{"digest", "team/kernel@" + digest, nil},
		{"tag and digest", "team/kernel:other@" + digest, []string{"team/kernel:other"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			var told []int64
			var total int64
			c := quick()
			c.Progress = func(done, all int64) { told, total = append(told, done), all }
			got, err := c.Pull(t.Context(), s.ref(tc.ref), amd64, &out)
			if err != nil || got != digest {
				t.Fatalf("got %s, %v, want %s", got, err, digest)
			}
			tags, back := pulled(t, out.Bytes())
			if want := each(tc.tags, s.ref); !slices.Equal(tags, want) {
				t.Errorf("got tags %q, want %q", tags, want)
			}
			same(t, back, img)
			if !slices.IsSorted(told) || total != int64(out.Len()) || told[len(told)-1] != total {
				t.Errorf("progress %v of %d, want it to end at %d", told, total, out.Len())
			}
			resolved, err := c.Resolve(t.Context(), s.ref(tc.ref), amd64)
			if err != nil || resolved != digest {
				t.Errorf("resolved: got %s, %v, want %s", resolved, err, digest)
			}
		})
	}
}

func TestPullTwiceIsTheSame(t *testing.T) {
	s := newServer(t, false)
	s.put(t, "a:1", newImage(t, 1, 2, amd64))
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if _, err := quick().Pull(t.Context(), s.ref("a:1"), amd64, out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of one image differ")
	}
}

func TestPullFromIndex(t *testing.T) {
	s := newServer(t, false)
	images := map[string]v1.Image{}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, platform := range []string{"unknown/unknown", amd64, "linux/arm64"} {
		img := newImage(t, int64(i), 1, platform)
		images[platform] = img
		system, arch, _ := strings.Cut(platform, "/")
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: system, Architecture: arch}},
		})
	}
	s.put(t, "multi:1", index)
	s.put(t, "one:1", mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: images["linux/arm64"]}))

	for _, platform := range []string{amd64, "linux/arm64"} {
		var out bytes.Buffer
		got, err := quick().Pull(t.Context(), s.ref("multi:1"), platform, &out)
		if want := digestOf(t, images[platform]); err != nil || got != want {
			t.Fatalf("%s: got %s, %v, want %s", platform, got, err, want)
		}
		_, back := pulled(t, out.Bytes())
		same(t, back, images[platform])
	}
	_, err := quick().Resolve(t.Context(), s.ref("multi:1"), "linux/riscv64")
	has(t, err, "resolve "+s.ref("multi:1")+": no image for linux/riscv64 in the index; it has [linux/amd64, linux/arm64]")
	if got, err := quick().Resolve(t.Context(), s.ref("one:1"), "linux/arm64"); err != nil || got != digestOf(t, images["linux/arm64"]) {
		t.Errorf("an index that names no platform: got %s, %v", got, err)
	}
	_, err = quick().Resolve(t.Context(), s.ref("one:1"), amd64)
	has(t, err, "no image for linux/amd64; it is for linux/arm64")
}

const (
	zeros         = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	ociImage      = "application/vnd.oci.image.manifest.v1+json"
	ociIndex      = "application/vnd.oci.image.index.v1+json"
	ociConfigType = "application/vnd.oci.image.config.v1+json"
	ociConfig     = `"config":{"mediaType":"` + ociConfigType + `","size":2,"digest":"` + zeros + `"}`
)

func layer(kind string, size int64, more string) string {
	return fmt.Sprintf(`{"mediaType":%q,"size":%d,"digest":%q%s}`, kind, size, zeros, more)
}

func TestNoImage(t *testing.T) {
	const (
		ociLayer = "application/vnd.oci.image.layer.v1.tar+gzip"
		foreign  = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
		schema1  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
		artifact = "application/vnd.oci.artifact.manifest.v1+json"
		noLayers = `"layers":[]`
	)
	manifest := func(parts ...string) string {
		return ociImage + "\n" + `{"schemaVersion":2,` + strings.Join(parts, ",") + "}"
	}
	config := func(kind, size, digest string) string {
		return fmt.Sprintf(`"config":{"mediaType":%q,"size":%s,"digest":%q}`, kind, size, digest)
	}
	layers := func(list ...string) string {
		return manifest(ociConfig, `"layers":[`+strings.Join(list, ",")+`]`)
	}
	for _, tc := range []struct{ name, answer, want string }{
		{"schema 1", schema1 + "\n" + `{"schemaVersion":1,"fsLayers":[]}`, "schema 1"},
		{"schema 1 under another type", ociImage + "\n" + `{"schemaVersion":1,"fsLayers":[]}`, "schema 1"},
		{"artifact", manifest(config("application/vnd.cncf.helm.config.v1+json", "2", zeros), noLayers),
			`an artifact of type "application/vnd.cncf.helm.config.v1+json", not an image`},
		{"artifact type", manifest(`"artifactType":"application/x"`, ociConfig, noLayers), `an artifact of type "application/x"`},
		{"another document", artifact + "\n" + `{"blobs":[]}`, fmt.Sprintf("no image, but %q", artifact)},
		{"image and index", manifest(ociConfig, noLayers, `"manifests":[]`), "an image and an index at once"},
		{"index by type, image by content", ociIndex + "\n" + `{"schemaVersion":2,` + ociConfig + `,"layers":[]}`, "no image, but"},
		{"image by type, index by content", ociImage + "\n" + `{"schemaVersion":2,"manifests":[]}`, "no image, but"},
		{"empty index", ociIndex + "\n" + `{"schemaVersion":2,"manifests":[]}`, "it has []"},
		{"page of a proxy", "text/html\n<html>sign in</html>", "read the manifest: invalid character"},
		{"digest that is none", manifest(config(ociConfigType, "2", "md5:00"), noLayers), "read the manifest"},
		{"configuration without a digest", manifest(`"config":{"mediaType":"`+ociConfigType+`","size":2}`, noLayers),
			"the configuration has no digest"},
		{"large configuration", manifest(config(ociConfigType, "99999999", zeros), noLayers), "99999999 bytes"},
		{"configuration of any size", manifest(config(ociConfigType, "-1", zeros), noLayers), "-1 bytes"},
		{"layer without a digest", layers(`{"mediaType":"` + ociLayer + `","size":1}`), "layer 0 has no digest"},
		{"layer of any size", layers(layer(ociLayer, -1, "")), "layer 0 of -1 bytes"},
		{"large layer", layers(layer(ociLayer, 1<<50, "")), "layer 0 of 1125899906842624 bytes"},
		{"layer of another type", layers(layer("text/plain", 1, "")), `layer 0 has the type "text/plain"`},
		{"layer elsewhere", layers(layer(ociLayer, 1, `,"urls":["http://127.0.0.1/layer"]`)), "outside the registry"},
		{"foreign layer", layers(layer(foreign, 1, "")), "outside the registry"},
		{"many layers", layers(slices.Repeat([]string{layer(ociLayer, 1, "")}, MaxLayers+1)...), "501 layers"},
		{"large manifest", ociImage + "\n" + strings.Repeat(" ", MaxManifest+1), "an answer of more than 4194304 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, false)
			s.hook = serve(map[string]string{"/v2/x/manifests/1": tc.answer})
			_, err := quick().Pull(t.Context(), s.ref("x:1"), amd64, io.Discard)
			var other *Error
			if !errors.As(err, &other) || other.Op != "pull" || other.Ref != s.ref("x:1") {
				t.Errorf("got %T %+v, want an *Error of the pull", err, err)
			}
			has(t, err, "pull "+s.ref("x:1")+": ", tc.want)
			if n := s.count("/blobs/"); n != 0 {
				t.Errorf("%d blobs asked for before the manifest was refused", n)
			}
		})
	}
}

func TestNestedIndex(t *testing.T) {
	s := newServer(t, false)
	inner := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: newImage(t, 1, 1, amd64)})
	outer := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: inner, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
	})
	s.put(t, "x:1", outer)
	_, err := quick().Resolve(t.Context(), s.ref("x:1"), amd64)
	has(t, err, "is an index again")
}

func TestConfigurationOfOtherLayers(t *testing.T) {
	s := newServer(t, false)
	img := newImage(t, 1, 2, amd64)
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.RootFS.DiffIDs = config.RootFS.DiffIDs[:1]
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	s.put(t, "x:1", img)
	_, err = quick().Resolve(t.Context(), s.ref("x:1"), amd64)
	has(t, err, "2 layers in the manifest, 1 in the configuration")
}

func TestNotFound(t *testing.T) {
	s := newServer(t, false)
	img := newImage(t, 1, 2, amd64)
	s.put(t, "there:1", img)
	for _, tc := range []struct{ name, ref, code string }{
		{"tag", "there:2", "MANIFEST_UNKNOWN"},
		{"repository", "nowhere:1", "NAME_UNKNOWN"},
		{"digest", "there@" + zeros, "MANIFEST_UNKNOWN"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := quick().Pull(t.Context(), s.ref(tc.ref), amd64, io.Discard)
			var missing *NotFoundError
			if !errors.As(err, &missing) || missing.Answer.Status != 404 || missing.Answer.Code != tc.code || missing.Answer.Host != s.host() {
				t.Fatalf("got %T %+v", err, err)
			}
			has(t, err, s.ref(tc.ref)+": no such image: "+s.host()+" answered 404 Not Found ("+tc.code+": ")
		})
	}
	t.Run("layer", func(t *testing.T) {
		s.hook = times(9, layerOf(t, img, 1), http.NotFound)
		_, err := quick().Pull(t.Context(), s.ref("there:1"), amd64, io.Discard)
		notMissing(t, err, 404)
	})
	t.Run("no registry", func(t *testing.T) {
		s.hook = func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true }
		_, err := quick().Pull(t.Context(), s.ref("there:1"), amd64, io.Discard)
		notMissing(t, err, 404)
	})
}

// notMissing fails where an error is not an *Error with the status.
func notMissing(t *testing.T, err error, status int) {
	t.Helper()
	var other *Error
	if !errors.As(err, &other) || other.Answer.Status != status {
		t.Errorf("got %T %+v, want an *Error with status %d", err, err, status)
	}
}

func TestFaultyIndex(t *testing.T) {
	s := newServer(t, false)
	img := newImage(t, 1, 1, amd64)
	s.put(t, "x:good", img)
	entry := func(size int, digest, arch string) string {
		return fmt.Sprintf(`{"mediaType":%q,"size":%d,"digest":%q,"platform":{"os":"linux","architecture":%q}}`, ociImage, size, digest, arch)
	}
	var many []string
	for i := range 30 {
		many = append(many, entry(9, zeros, fmt.Sprintf("arch%02d", i)))
	}
	index := func(entries ...string) string {
		return ociIndex + "\n" + `{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`
	}
	s.hook = serve(map[string]string{
		"/v2/x/manifests/missing": index(entry(9, zeros, "amd64")),
		"/v2/x/manifests/size":    index(entry(9, digestOf(t, img), "amd64")),
		"/v2/x/manifests/many":    index(many...),
	})
	_, err := quick().Resolve(t.Context(), s.ref("x:missing"), amd64)
	notMissing(t, err, 404) // the tag is there
	_, err = quick().Resolve(t.Context(), s.ref("x:size"), amd64)
	has(t, err, "image "+digestOf(t, img)+" of the index: got ", "bytes, want 9")
	_, err = quick().Resolve(t.Context(), s.ref("x:many"), amd64)
	has(t, err, "it has [linux/arch00, ", ", linux/arch19, …]")
}

// A registry made of files may not know its content types.
func TestContentTypeUnknown(t *testing.T) {
	s := newServer(t, false)
	img := mutate.MediaType(newImage(t, 1, 1, amd64), types.OCIManifestSchema1)
	s.put(t, "x:1", img)
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), `"mediaType":"`+ociImage+`",`, "", 1)
	s.hook = serve(map[string]string{"/v2/x/manifests/1": "application/octet-stream\n" + text})
	var out bytes.Buffer
	if _, err := quick().Pull(t.Context(), s.ref("x:1"), amd64, &out); err != nil {
		t.Fatal(err)
	}
	_, back := pulled(t, out.Bytes())
	same(t, back, img)
}

func TestWrongBytes(t *testing.T) {
	img := newImage(t, 1, 2, amd64)
	digest := digestOf(t, img)
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	bad := func(n int64) string { return "application/octet-stream\n" + strings.Repeat("x", int(n)) }
	config, last := m.Config, m.Layers[1]
	var other bytes.Buffer // a manifest of the same size, as an index entry would have it
	if raw, err := img.RawManifest(); err != nil || json.Indent(&other, raw, "", "") != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, path, answer, want string }{
		{"layer", "blobs/" + last.Digest.String(), bad(last.Size), `want "` + last.Digest.String() + `"`},
		{"layer too short", "blobs/" + last.Digest.String(), bad(last.Size - 1), fmt.Sprintf("does not match expected size %d", last.Size)},
		{"layer too long", "blobs/" + last.Digest.String(), bad(last.Size + 1), fmt.Sprintf("does not match expected size %d", last.Size)},
		{"configuration", "blobs/" + config.Digest.String(), bad(config.Size), "read the configuration: "},
		{"manifest", "manifests/" + digest, ociImage + "\n" + other.String(), "does not match requested digest"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, false)
			s.put(t, "x:1", img)
			s.hook = serve(map[string]string{"/v2/x/" + tc.path: tc.answer})
			var out bytes.Buffer
			_, err := quick().Pull(t.Context(), s.ref("x:1@"+digest), amd64, &out)
			has(t, err, tc.want)
			open := func() (io.ReadCloser, error) { return io.NopCloser(&out), nil }
			if _, err := tarball.LoadManifest(open); err == nil {
				t.Error("what was written can be loaded")
			}
		})
	}
}

func TestChunkedLayerOfWrongLength(t *testing.T) {
	img := newImage(t, 1, 1, amd64)
	for _, extra := range []int{-5, 5} {
		s := newServer(t, false)
		s.put(t, "x:1", img)
		s.hook = times(9, layerOf(t, img, 0), func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush() // no Content-Length from here on
			m, _ := img.Manifest()
			io.WriteString(w, strings.Repeat("x", int(m.Layers[0].Size)+extra))
		})
		_, err := quick().Pull(t.Context(), s.ref("x:1"), amd64, io.Discard)
		has(t, err, "error verifying")
	}
}

func TestPullIntoFullDisk(t *testing.T) {
	s := newServer(t, false)
	s.put(t, "x:1", newImage(t, 1, 1, amd64))
	r, w := io.Pipe()
	full := errors.New("disk full")
	r.CloseWithError(full)
	_, err := quick().Pull(t.Context(), s.ref("x:1"), amd64, w)
	if !errors.Is(err, full) {
		t.Errorf("got %v, want it to wrap what the writer says", err)
	}
}

func TestOffline(t *testing.T) {
	s := newServer(t, false)
	s.put(t, "x:1", newImage(t, 1, 1, amd64))
	s.forget()
	transport, dials := dialer(s.host())
	c := &Client{Offline: true, Transport: transport, Keychain: DockerKeychain(t.TempDir())}
	calls := map[string]func(*Client) error{
		"resolve": func(c *Client) error { _, err := c.Resolve(t.Context(), s.ref("x:1"), amd64); return err },
		"pull":    func(c *Client) error { _, err := c.Pull(t.Context(), s.ref("x:1"), amd64, io.Discard); return err },
		"push": func(c *Client) error {
			_, err := c.Push(t.Context(), saved(t, newImage(t, 2, 1, amd64), "y:1"), s.ref("y:1"))
			return err
		},
	}
	for name, call := range calls {
		var offline *OfflineError
		if err := call(c); !errors.As(err, &offline) || !strings.Contains(err.Error(), "offline") || offline.Hint() == "" {
			t.Errorf("%s: got %v, want an *OfflineError", name, err)
		}
	}
	if *dials != 0 || s.arrived() != 0 {
		t.Fatalf("%d connections were tried, %d arrived", *dials, s.arrived())
	}
	c.Offline = false // the counter counts
	for name, call := range calls {
		if err := call(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if *dials == 0 || s.arrived() == 0 {
		t.Error("no connection was counted")
	}
}

func TestFaultsOfTheCaller(t *testing.T) {
	for _, tc := range []struct{ name, ref, platform, want string }{
		{"reference", "registry.example/UPPER:1", amd64, "malformed reference"},
		{"scheme in the reference", "https://registry.example/x:1", amd64, "malformed reference"},
		{"platform", "registry.example/x:1", "amd64", `platform "amd64": want os/arch`},
		{"variant", "registry.example/x:1", "linux/arm/v7", "want os/arch"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			transport, dials := dialer("127.0.0.1:1")
			_, err := (&Client{Transport: transport}).Resolve(context.Background(), tc.ref, tc.platform)
			has(t, err, "resolve "+tc.ref, tc.want)
			if *dials != 0 {
				t.Error("a connection was tried")
			}
		})
	}
}

func TestParseReference(t *testing.T) {
	hub := name.DefaultRegistry
	for _, tc := range []struct{ text, full, tag string }{
		{"registry.example/a/b:1", "registry.example/a/b:1", "1"},
		{"registry.example:5000/a", "registry.example:5000/a:latest", "latest"},
		{"localhost/a:1", "localhost/a:1", "1"},
		{"debian:trixie", hub + "/library/debian:trixie", "trixie"},
		{"registry.example/a@" + zeros, "registry.example/a@" + zeros, ""},
		{"registry.example:5000/a@" + zeros, "registry.example:5000/a@" + zeros, ""},
		{"registry.example/a:1@" + zeros, "registry.example/a:1@" + zeros, "1"},
	} {
		r, err := parseReference(tc.text)
		if err != nil || r.String() != tc.full {
			t.Errorf("%s: got %s, %v, want %s", tc.text, r, err, tc.full)
		}
		if got := r.tag; (got == nil) != (tc.tag == "") || got != nil && got.TagStr() != tc.tag {
			t.Errorf("%s: got tag %v, want %q", tc.text, got, tc.tag)
		}
	}
}
