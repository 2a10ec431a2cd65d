package registry

import (
	"errors"
	"io"
	"net/http"
	"testing"
)

func TestMirror(t *testing.T) {
	img := newImage(t, 1, 1, amd64)
	refuse := func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true }
	for _, tc := range []struct {
		name             string
		inMirror, origin bool
		path             string // of the mirror's URL
		hook             func(http.ResponseWriter, *http.Request) bool
		asked            int    // requests for manifests that the registry itself gets
		want             string // of the error; empty where it succeeds
	}{
		{"has it", true, true, "", nil, 0, ""},
		{"has it below a path", true, true, "/proxy/hub/", nil, 0, ""},
		{"has it, the registry not", true, false, "", nil, 0, ""},
		{"has it not", false, true, "", nil, 1, ""},
		{"refuses", true, true, "", refuse, 1, ""},
		{"neither has it", false, false, "", nil, 1, "no such image"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mirror, s := newServer(t, false), newServer(t, false)
			if tc.inMirror {
				prefix := ""
				if tc.path != "" {
					prefix = "proxy/hub/"
				}
				mirror.put(t, prefix+"team/x:1", img)
			}
			if tc.origin {
				s.put(t, "team/x:1", img)
			}
			mirror.hook = tc.hook
			c := quick()
			c.Hosts = map[string]Host{s.host(): {Mirror: mirror.URL + tc.path}}
			digest, err := c.Pull(t.Context(), s.ref("team/x:1"), amd64, io.Discard)
			if n := s.count("/manifests/"); n != tc.asked {
				t.Errorf("the registry itself was asked %d times, want %d", n, tc.asked)
			}
			if tc.want == "" {
				if err != nil || digest != digestOf(t, img) {
					t.Errorf("got %s, %v", digest, err)
				}
				return
			}
			var missing *NotFoundError
			if !errors.As(err, &missing) || missing.Answer.Host != s.host() {
				t.Errorf("got %T %v, want the registry's own *NotFoundError", err, err)
			}
			has(t, err, tc.want, "its mirror, asked before: ", mirror.host()+" answered 404")
		})
	}
}

func TestMirrorIsNotPushedTo(t *testing.T) {
	mirror, s := newServer(t, false), newServer(t, false)
	c := quick()
	c.Hosts = map[string]Host{s.host(): {Mirror: mirror.URL}}
	if _, err := c.Push(t.Context(), saved(t, newImage(t, 1, 1, amd64), "x:1"), s.ref("x:1")); err != nil {
		t.Fatal(err)
	}
	if len(mirror.asked()) != 0 || sent(s) == 0 {
		t.Errorf("the mirror was asked %v, the registry %v", mirror.asked(), s.asked())
	}
}

func TestMirrorDown(t *testing.T) {
	mirror, s := newServer(t, false), newServer(t, false)
	s.put(t, "x:1", newImage(t, 1, 1, amd64))
	mirror.Close()
	c := quick()
	c.Hosts = map[string]Host{s.host(): {Mirror: mirror.URL}}
	if _, err := c.Resolve(t.Context(), s.ref("x:1"), amd64); err != nil {
		t.Error(err)
	}
}

// The scheme of the mirror's URL says how it is spoken to, and its own entry what it is trusted by.
func TestMirrorsOwnHost(t *testing.T) {
	mirror := newServer(t, true)
	img := newImage(t, 1, 1, amd64)
	mirror.put(t, "x:1", img)
	c := quick()
	c.Hosts = map[string]Host{
		"127.0.0.1:1": {Mirror: mirror.URL},
		mirror.host(): {CA: mirror.ca(), PlainHTTP: true},
	}
	if digest, err := c.Resolve(t.Context(), "127.0.0.1:1/x:1", amd64); err != nil || digest != digestOf(t, img) {
		t.Errorf("got %s, %v", digest, err)
	}
	plain := newServer(t, false)
	plain.put(t, "library/x:1", img)
	transport, _ := dialer(plain.host())
	c = quick()
	c.Transport, c.Hosts = transport, map[string]Host{"docker.io": {Mirror: "http://cache"}}
	if digest, err := c.Resolve(t.Context(), "x:1", amd64); err != nil || digest != digestOf(t, img) {
		t.Errorf("a mirror of Docker's registry, by a bare name: got %s, %v", digest, err)
	}
}

func TestMalformedMirror(t *testing.T) {
	for _, address := range []string{
		"mirror.example", "ftp://mirror.example", "https://", "https://user:" + secret + "@mirror.example",
		"http://%zz", "https://mirror.example/UPPER",
	} {
		c := &Client{Hosts: map[string]Host{"registry.example": {Mirror: address}}}
		_, err := c.Resolve(t.Context(), "registry.example/x:1", amd64)
		has(t, err, "resolve registry.example/x:1: registries: registry.example: mirror: ")
		silent(t, err, "user")
	}
}
