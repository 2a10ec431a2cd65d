package registry

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestPing(t *testing.T) {
	status := func(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			return true
		}
	}
	for _, tc := range []struct {
		name string
		hook func(http.ResponseWriter, *http.Request) bool
		want []string // parts of the error; nil where it answers as it should
	}{
		{"answers", nil, nil},
		{"wants credentials", status(http.StatusUnauthorized, "WWW-Authenticate", `Basic realm="x"`), nil},
		{"is no registry", status(http.StatusNotFound), []string{"404"}},
		{"is broken", status(http.StatusInternalServerError), []string{"500"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, false)
			s.hook = tc.hook
			c := quick()
			c.Hosts = map[string]Host{s.host(): {PlainHTTP: true}}
			got, err := c.Ping(t.Context(), s.host())
			if err != nil || len(got) != 1 || got[0].Host != s.host() {
				t.Fatalf("got %v, %v", got, err)
			}
			if tc.want == nil && got[0].Err != nil {
				t.Errorf("got %v", got[0].Err)
			}
			if tc.want != nil {
				has(t, got[0].Err, append(tc.want, s.host())...)
			}
		})
	}
}

func TestPingAsksTheMirrorToo(t *testing.T) {
	mirror, s := newServer(t, false), newServer(t, true)
	c := quick()
	c.Hosts = map[string]Host{s.host(): {Mirror: mirror.URL + "/path", CA: s.ca()}}
	got, err := c.Ping(t.Context(), s.host())
	if err != nil || len(got) != 2 || got[0] != (Reached{mirror.host(), nil}) || got[1] != (Reached{s.host(), nil}) {
		t.Errorf("got %v, %v", got, err)
	}
	c.Hosts = nil
	if got, err = c.Ping(t.Context(), s.host()); err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v", got, err)
	}
	has(t, got[0].Err, s.host()) // a certificate that nobody vouches for
}

func TestPingDoesNotHang(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	got, err := quick().Ping(ctx, l.Addr().String())
	if err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v", got, err)
	}
	has(t, got[0].Err, l.Addr().String(), "deadline exceeded")
}

func TestPingRefuses(t *testing.T) {
	if _, err := (&Client{Offline: true}).Ping(t.Context(), "registry.example"); !isOffline(err) {
		t.Errorf("offline: got %v", err)
	}
	_, err := quick().Ping(t.Context(), "no registry")
	has(t, err, "no registry")
}

func isOffline(err error) bool {
	_, ok := err.(*OfflineError) //nolint:errorlint // it is returned as it is
	return ok
}
