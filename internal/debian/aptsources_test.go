package debian

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestAptSources(t *testing.T) {
	apt := fstest.MapFS{
		"sources.list": {Data: []byte(`# deb http://commented.example/debian trixie main
deb http://mirror.example/debian/ trixie main contrib # a comment
deb-src http://src.example/debian trixie main
  deb [ arch=amd64,arm64 signed-by=/usr/share/keyrings/x.gpg ] https://secure.example/debian trixie main
deb cdrom:[Debian GNU/Linux 13 _Trixie_]/ trixie main
deb file:/srv/debian trixie main
deb http://flat.example/debian ./
deb http://nothing.example/debian trixie
deb http://mirror.example/debian trixie non-free
debdelta http://odd.example/debian trixie main
`)},
		"sources.list.d/b.sources": {Data: []byte(`# at the top
Types: deb deb-src
URIs: http://one.example/debian http://two.example/debian/
Suites: trixie trixie-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 xyz
 -----END PGP PUBLIC KEY BLOCK-----

enabled: no
types: deb
uris: http://off.example/debian
suites: trixie
components: main

Types: deb-src
URIs: http://src.example/debian
Suites: trixie
Components: main

types: deb
uris: http://exact.example/debian http://$(ARCH).example/debian
suites: trixie stable/
components: main
`)},
		"sources.list.d/a.list":         {Data: []byte("deb http://first.example/debian trixie main\n")},
		"sources.list.d/broken.sources": {Data: []byte("this is no stanza\n")},
		"sources.list.d/c.list.save":    {Data: []byte("deb http://saved.example/debian trixie main\n")},
		"trusted.gpg.d/x.list":          {Data: []byte("deb http://elsewhere.example/debian trixie main\n")},
	}
	sources, err := AptSources(apt)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range sources {
		got = append(got, strings.Join([]string{s.File, s.URL, s.Suite}, " "))
	}
	want := []string{
		"sources.list http://mirror.example/debian trixie",
		"sources.list https://secure.example/debian trixie",
		"sources.list.d/a.list http://first.example/debian trixie",
		"sources.list.d/b.sources http://one.example/debian trixie",
		"sources.list.d/b.sources http://one.example/debian trixie-updates",
		"sources.list.d/b.sources http://two.example/debian trixie",
		"sources.list.d/b.sources http://two.example/debian trixie-updates",
		"sources.list.d/b.sources http://exact.example/debian trixie",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}

// aptOf is a configuration with one source a line.
func aptOf(w *world, lines ...string) fstest.MapFS {
	root := strings.TrimSuffix(w.mirror.Archive, "/debian/")
	text := strings.ReplaceAll(strings.Join(lines, "\n"), "ROOT", root)
	return fstest.MapFS{"sources.list": {Data: []byte(text)}}
}

func TestFindMirror(t *testing.T) {
	const archive, security = "deb ROOT/debian trixie main", "deb ROOT/debian-security trixie-security main"
	tests := map[string]struct {
		lines        []string
		wantArchive  string
		wantSecurity string
	}{
		"both":                      {[]string{archive, security}, "/debian", "/debian-security"},
		"security first":            {[]string{security, archive}, "/debian", "/debian-security"},
		"archive only":              {[]string{archive}, "/debian", ""},
		"after one that is gone":    {[]string{"deb ROOT/gone trixie main", archive}, "/debian", ""},
		"after one of another kind": {[]string{"deb ROOT/other stable main", archive}, "/debian", ""},
		"the first of two":          {[]string{archive, "deb ROOT/copy trixie main", security}, "/debian", "/debian-security"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.publish()
			w.put("/other/dists/stable/InRelease", clearSign(t, "Origin: Other\nLabel: Debian\n", today, w.key))
			w.put("/copy/dists/trixie/InRelease", w.files["/debian/dists/trixie/InRelease"])
			m, err := w.client.FindMirror(t.Context(), aptOf(w, test.lines...))
			if err != nil {
				t.Fatal(err)
			}
			root := strings.TrimSuffix(w.mirror.Archive, "/debian/")
			want := Mirror{Archive: root + test.wantArchive}
			if test.wantSecurity != "" {
				want.Security = root + test.wantSecurity
			}
			if diff := cmp.Diff(want, m); diff != "" {
				t.Errorf("mirror (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFindMirrorFindsNone(t *testing.T) {
	tests := map[string][]string{
		"no sources":    nil,
		"security only": {"deb ROOT/debian-security trixie-security main"},
		"gone":          {"deb ROOT/gone trixie main"},
		"not signed":    {"deb ROOT/plain trixie main"},
	}
	for name, lines := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.publish()
			w.put("/plain/dists/trixie/InRelease", []byte("Origin: Debian\nLabel: Debian\n"))
			m, err := w.client.FindMirror(t.Context(), aptOf(w, lines...))
			if !errors.Is(err, ErrNoMirror) {
				t.Errorf("got %v, %v, want ErrNoMirror", m, err)
			}
		})
	}
}

func TestFindMirrorSaysWhatItTried(t *testing.T) {
	w := newWorld(t)
	w.serve = func(rw http.ResponseWriter, _ *http.Request) bool { rw.WriteHeader(http.StatusForbidden); return true }
	_, err := w.client.FindMirror(t.Context(), aptOf(w, "deb ROOT/a trixie main", "deb ROOT/b trixie main"))
	for _, want := range []string{"/a/dists/trixie/InRelease: 403", "/b/dists/trixie/InRelease: 403", "sources.list: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
