package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// sent are the requests that carry something to the registry.
func sent(s *server) int { return s.count("POST ") + s.count("PATCH ") + s.count("PUT ") }

func TestPush(t *testing.T) {
	s := newServer(t, false)
	img := newImage(t, 1, 3, amd64)
	archive := saved(t, img, "anything:1")
	var done, total int64
	c := quick()
	c.Progress = func(d, all int64) { done, total = d, all }
	digest, err := c.Push(t.Context(), archive, s.ref("team/kernel:6.12"))
	if err != nil || done == 0 || done != total {
		t.Fatalf("%v, progress %d of %d", err, done, total)
	}
	if got := s.count("PATCH "); got != 4 {
		t.Errorf("%d uploads, want three layers and a configuration", got)
	}
	if got, err := c.Resolve(t.Context(), s.ref("team/kernel:6.12"), amd64); err != nil || got != digest {
		t.Errorf("resolved: got %s, %v, want %s", got, err, digest)
	}
	var out bytes.Buffer
	if got, err := c.Pull(t.Context(), s.ref("team/kernel:6.12"), amd64, &out); err != nil || got != digest {
		t.Fatalf("pulled: got %s, %v, want %s", got, err, digest)
	}
	_, back := pulled(t, out.Bytes())
	sameContent(t, back, img)

	s.forget()
	again, err := c.Push(t.Context(), archive, s.ref("team/kernel:6.12"))
	if err != nil || again != digest || sent(s) != 0 {
		t.Errorf("pushed again: %s, %v, %d requests that send; want the same digest and none", again, err, sent(s))
	}
	if done != total {
		t.Errorf("progress ends at %d of %d", done, total)
	}

	s.forget()
	other, err := c.Push(t.Context(), archive, s.ref("team/kernel:6.13"))
	if err != nil || other != digest || s.count("PATCH ") != 0 || s.count("PUT ", "/manifests/6.13") != 1 {
		t.Errorf("another tag: %s, %v, %v; want the manifest sent, nothing else", other, err, s.asked())
	}

	s.forget()
	var before, step int64
	c.Progress = func(d, _ int64) { before, step = d, max(step, d-before) }
	if _, err := c.Push(t.Context(), saved(t, newImage(t, 1, 3, "linux/arm64"), "x:1"), s.ref("team/kernel:arm")); err != nil {
		t.Fatal(err)
	}
	if step > 60_000 {
		t.Errorf("a step of %d bytes: layers that are there count one by one", step)
	}
	if got := s.count("PATCH "); got != 1 {
		t.Errorf("%d uploads for an image with the same layers, want one, of the configuration", got)
	}
}

// sameContent fails where uncompressed layers or configurations differ.
func sameContent(t *testing.T, got, want v1.Image) {
	t.Helper()
	g, err := got.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	w, err := want.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(g.RootFS.DiffIDs, w.RootFS.DiffIDs) {
		t.Errorf("got layers %v, want %v", g.RootFS.DiffIDs, w.RootFS.DiffIDs)
	}
	if err := checkLayers(got); err != nil {
		t.Error(err)
	}
}

func TestPushWhatWasPulled(t *testing.T) {
	s := newServer(t, false)
	img := newImage(t, 1, 2, amd64)
	s.put(t, "a:1", img)
	var out bytes.Buffer
	if _, err := quick().Pull(t.Context(), s.ref("a:1"), amd64, &out); err != nil {
		t.Fatal(err)
	}
	s.forget()
	digest, err := quick().Push(t.Context(), write(t, "a.tar", out.Bytes()), s.ref("b:1"))
	if err != nil || digest != digestOf(t, img) {
		t.Errorf("got %s, %v, want %s", digest, err, digestOf(t, img))
	}
}

func TestPushAgainAfterLoss(t *testing.T) {
	img := newImage(t, 1, 3, amd64)
	archive := saved(t, img, "x:1")
	drop := func(w http.ResponseWriter, r *http.Request) {
		io.CopyN(io.Discard, r.Body, 100)
		panic(http.ErrAbortHandler)
	}
	fault := func(w http.ResponseWriter, r *http.Request) { http.Error(w, "", http.StatusBadGateway) }
	for _, tc := range []struct {
		name, method, part string
		times, uploads     int
		hook               func(http.ResponseWriter, *http.Request)
		fails              bool
	}{
		{"connection lost in a layer", "PATCH", "/uploads/", 1, 8, drop, false},
		{"fault at the end of a layer", "PUT", "/uploads/", 1, 8, fault, false},
		{"fault at the manifest", "PUT", "/manifests/", 1, 4, fault, false},
		{"connection lost for ever", "PATCH", "/uploads/", 1000, 0, drop, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, false)
			hook := times(tc.times, tc.part, tc.hook)
			s.hook = func(w http.ResponseWriter, r *http.Request) bool { return r.Method == tc.method && hook(w, r) }
			c := quick()
			last, total := int64(0), int64(0)
			c.Progress = func(done, all int64) {
				if done > all || done < 0 {
					t.Errorf("progress %d of %d", done, all)
				}
				last, total = done, all
			}
			digest, err := c.Push(t.Context(), archive, s.ref("x:1"))
			if tc.fails {
				has(t, err, "push "+s.ref("x:1")+": "+s.host()+": ")
				if n := s.count("PATCH "); n > 4*attempts {
					t.Errorf("%d uploads were tried", n)
				}
				return
			}
			if err != nil || digest == "" || last != total {
				t.Fatalf("%s, %v, progress %d of %d", digest, err, last, total)
			}
			if n := s.count("PATCH "); n > tc.uploads {
				t.Errorf("%d uploads, want at most %d: what had arrived is not sent again", n, tc.uploads)
			}
			if _, err := c.Pull(t.Context(), s.ref("x:1"), amd64, io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPushRefused(t *testing.T) {
	s := newServer(t, false)
	s.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"errors":[{"code":"DENIED","message":"read only\u001b[2Jfor you\nand more"}]}`)
			return true
		}
		return false
	}
	_, err := quick().Push(t.Context(), saved(t, newImage(t, 1, 1, amd64), "x:1"), s.ref("x:1"))
	var auth *AuthError
	if !errors.As(err, &auth) || auth.Answer.Status != 403 || auth.Answer.Code != "DENIED" || auth.Op != "push" {
		t.Fatalf("got %T %+v", err, err)
	}
	has(t, err, s.ref("x:1"), "answered 403 Forbidden (DENIED: read only[2Jfor you); credentials: none were given")
	has(t, errors.New(auth.Hint()), "docker login "+s.host())
}

func TestPushFaultyArchive(t *testing.T) {
	img := newImage(t, 1, 2, amd64)
	whole, err := os.ReadFile(saved(t, img, "x:1"))
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(whole)
	changed[5_000] ^= 1 // in the first layer
	two := write(t, "two.tar", nil)
	a, b := name.MustParseReference("a:1"), name.MustParseReference("b:1")
	if err := tarball.MultiRefWriteToFile(two, map[name.Reference]v1.Image{a: img, b: newImage(t, 2, 1, amd64)}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, archive, ref, want string }{
		{"missing", "/nowhere/image.tar", "x:1", "no such file"},
		{"no archive", write(t, "text", []byte("text")), "x:1", "text"},
		{"cut short", write(t, "short.tar", whole[:60_000]), "x:1", "short.tar: "},
		{"changed", write(t, "changed.tar", changed), "x:1", "changed.tar: layer 0: got sha256:"},
		{"two images", two, "x:1", "2 images in the archive, want one"},
		{"to a digest", write(t, "whole.tar", whole), "x@" + zeros, "want a tag to push to"},
		{"to a tag with a digest", write(t, "whole.tar", whole), "x:1@" + zeros, "want a tag to push to"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, false)
			_, err := quick().Push(t.Context(), tc.archive, s.ref(tc.ref))
			has(t, err, "push "+s.ref(tc.ref)+": ", tc.want)
			if strings.HasPrefix(tc.name, "missing") && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%v does not wrap the cause", err)
			}
			if len(s.asked()) != 0 {
				t.Errorf("the registry was asked: %v", s.asked())
			}
		})
	}
}

func TestCancelledPushReadsNoMore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := newServer(t, false)
	_, err := quick().Push(ctx, saved(t, newImage(t, 1, 1, amd64), "x:1"), s.ref("x:1"))
	if !errors.Is(err, context.Canceled) || len(s.asked()) != 0 {
		t.Errorf("got %v after %v", err, s.asked())
	}
}
