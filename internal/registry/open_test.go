package registry

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// opened opens an image and reads all of its layers.
func opened(t *testing.T, c *Client, ref string) (*RemoteImage, [][]byte, error) {
	t.Helper()
	img, err := c.Open(t.Context(), ref, amd64)
	if err != nil {
		return nil, nil, err
	}
	defer img.Close()
	var layers [][]byte
	for n := range img.Layers {
		r, err := img.Layer(t.Context(), n)
		if err != nil {
			return img, layers, err
		}
		content, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return img, layers, err
		}
		layers = append(layers, content)
	}
	return img, layers, nil
}

func TestOpen(t *testing.T) {
	s, mirror := newServer(t, false), newServer(t, false)
	img := newImage(t, 1, 3, amd64)
	s.put(t, "team/x:1", img)
	mirror.put(t, "team/y:1", img)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for name, ref := range map[string]string{"tag": "team/x:1", "digest": "team/x@" + digestOf(t, img), "mirror": "team/y:1"} {
		t.Run(name, func(t *testing.T) {
			s.forget()
			c := quick()
			var done, total int64
			c.Progress = func(d, all int64) { done, total = d, all }
			c.Hosts = map[string]Host{s.host(): {Mirror: mirror.URL}}
			got, layers, err := opened(t, c, s.ref(ref))
			if err != nil {
				t.Fatal(err)
			}
			if got.Digest != digestOf(t, img) || got.ConfigID != manifest.Config.Digest.String() || !bytes.Equal(got.RawConfig, config) {
				t.Errorf("got %s, configuration %s", got.Digest, got.ConfigID)
			}
			if sum := fmt.Sprintf("sha256:%x", sha256.Sum256(got.Manifest)); sum != got.Digest {
				t.Errorf("the manifest has %s, want %s", sum, got.Digest)
			}
			var want int64
			for i, l := range got.Layers {
				sum, diffID := fmt.Sprintf("sha256:%x", sha256.Sum256(layers[i])), got.Config.RootFS.DiffIDs[i]
				if sum != l.Digest || l.Digest != manifest.Layers[i].Digest.String() || l.DiffID != diffID || int64(len(layers[i])) != l.Size {
					t.Errorf("layer %d: got %+v, %s of %d bytes", i, l, sum, len(layers[i]))
				}
				want += l.Size
			}
			if done != want || total != want || len(layers) != 3 {
				t.Errorf("told of %d bytes of %d, want %d", done, total, want)
			}
			if n := s.count("/team/y/"); n != 0 {
				t.Errorf("the registry was asked %d times for what its mirror has", n)
			}
		})
	}
}

func TestOpenWrongBytes(t *testing.T) {
	img := newImage(t, 1, 2, amd64)
	digest := layerOf(t, img, 1)
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	size := int(m.Layers[1].Size)
	for _, tc := range []struct {
		name    string
		n       int
		chunked bool
		want    string
	}{
		{"others", size, false, "error verifying sha256"},
		{"too few", size - 5, false, "error verifying sha256"},
		{"too many", size + 5, false, fmt.Sprintf("got %d bytes, want %d", size+5, size)},
		{"too few, in chunks", size - 5, true, "error verifying"},
		{"too many, in chunks", size + 5, true, fmt.Sprintf("got %d bytes, want %d", size+5, size)},
		{"without end", 1 << 30, true, "bytes, want"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, false)
			s.put(t, "x:1", img)
			s.hook = times(9, digest, func(w http.ResponseWriter, _ *http.Request) {
				if tc.chunked {
					w.(http.Flusher).Flush()
				} else {
					w.Header().Set("Content-Length", fmt.Sprint(tc.n))
				}
				for n := tc.n; n > 0; n -= 1000 {
					if _, err := io.WriteString(w, strings.Repeat("x", min(n, 1000))); err != nil {
						return
					}
				}
			})
			_, layers, err := opened(t, quick(), s.ref("x:1"))
			var other *Error
			if !errors.As(err, &other) || other.Layer != digest || len(layers) != 1 {
				t.Errorf("got %T %v after %d layers", err, err, len(layers))
			}
			has(t, err, "pull "+s.ref("x:1")+": layer "+digest+": ", tc.want)
		})
	}
}

// A layer is resumed where the connection is lost, as in Pull.
func TestOpenResumes(t *testing.T) {
	img := newImage(t, 1, 1, amd64)
	s := newServer(t, false)
	s.put(t, "x:1", img)
	s.hook = times(1, layerOf(t, img, 0), func(w http.ResponseWriter, _ *http.Request) {
		l, _ := img.Layers()
		r, _ := l[0].Compressed()
		size, _ := l[0].Size()
		w.Header().Set("Content-Length", fmt.Sprint(size))
		io.CopyN(w, r, size/2)
	})
	if _, _, err := opened(t, quick(), s.ref("x:1")); err != nil || s.count("/blobs/"+layerOf(t, img, 0)) != 2 {
		t.Errorf("%v after %v", err, s.asked())
	}
}

func TestOpenOffline(t *testing.T) {
	s := newServer(t, false)
	s.put(t, "x:1", newImage(t, 1, 1, amd64))
	transport, dials := dialer(s.host())
	c := &Client{Offline: true, Transport: transport, Hosts: map[string]Host{s.host(): {Mirror: s.URL}}}
	s.forget()
	var offline *OfflineError
	if _, _, err := opened(t, c, s.ref("x:1")); !errors.As(err, &offline) {
		t.Errorf("got %v, want an *OfflineError", err)
	}
	if *dials != 0 || s.arrived() != 0 {
		t.Fatalf("%d connections were tried, %d arrived", *dials, s.arrived())
	}
	c.Offline = false // the counter counts
	if _, _, err := opened(t, c, s.ref("x:1")); err != nil || *dials == 0 || s.arrived() == 0 {
		t.Errorf("%v, %d connections", err, *dials)
	}
}

func TestOpenAsksTheCredentialHelper(t *testing.T) {
	s := newServer(t, false)
	s.put(t, "team/x:1", newImage(t, 1, 2, amd64))
	var scopes []string
	s.hook = tokens(s, &scopes)
	helper(t, "test", fmt.Sprintf(`echo '{"Username":"ada","Secret":%q}'`, secret))
	c := quick()
	c.Keychain = DockerKeychain(dockerConfig(t, `{"credsStore":"test"}`))
	if _, layers, err := opened(t, c, s.ref("team/x:1")); err != nil || len(layers) != 2 {
		t.Errorf("%v, %d layers", err, len(layers))
	}
	c.Keychain = DockerKeychain(t.TempDir())
	_, _, err := opened(t, c, s.ref("team/x:1"))
	var auth *AuthError
	if !errors.As(err, &auth) {
		t.Errorf("got %T %v", err, err)
	}
	silent(t, err, "ada")
}

func TestPickOfNoPlatform(t *testing.T) {
	if _, err := Pick(&v1.IndexManifest{}, "amd64"); err == nil {
		t.Error("no error")
	}
	if _, err := ParseConfig([]byte("{}"), ""); err == nil {
		t.Error("no error")
	}
}
