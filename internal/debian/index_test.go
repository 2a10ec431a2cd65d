package debian

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/download"
)

func TestIndex(t *testing.T) {
	w := newWorld(t)
	x := w.index()
	var got []string
	for _, r := range x.Releases {
		got = append(got, r.Suite+" "+r.Date.Format(time.DateOnly)+" "+r.SHA256)
	}
	want := []string{
		"trixie 2026-09-22 " + sha(w.files["/debian/dists/trixie/InRelease"]),
		"trixie-security 2026-11-21 " + sha(w.files["/debian-security/dists/trixie-security/InRelease"]),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("releases (-want +got):\n%s", diff)
	}
	hello, fix := w.archive.debs[0].data, w.secure.debs[0].data
	wantPackages := []Package{
		{Name: "fix", Version: "1.0", Arch: "amd64", Filename: "pool/updates/main/fix_1.0_amd64.deb",
			SHA256: sha(fix), Size: int64(len(fix)), Archive: FromSecurity},
		{Name: "hello", Version: "1.0", Arch: "amd64", Filename: "pool/main/hello_1.0_amd64.deb",
			SHA256: sha(hello), Size: int64(len(hello)), Archive: FromArchive},
	}
	if diff := cmp.Diff(wantPackages, w.resolve(x, "hello", "fix")); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if p, ok := x.Lookup("amd64", "fix"); !ok || p != wantPackages[0] {
		t.Errorf("Lookup: got %v %v", p, ok)
	}
	if p, ok := x.Lookup("arm64", "fix"); ok {
		t.Errorf("Lookup for an architecture that was not asked for: got %v", p)
	}
}

func TestIndexAccepts(t *testing.T) {
	tests := map[string]func(w *world){
		"no by-hash":             func(w *world) { w.archive.plainPaths = true },
		"no security archive":    func(w *world) { w.mirror.Security = "" },
		"armored keyring":        func(w *world) { armorKeyring(w) },
		"date of the lock":       func(w *world) { w.req.NotBefore = map[string]time.Time{"trixie": w.archive.date} },
		"clock some hours late":  func(w *world) { w.secure.date = today.Add(20 * time.Hour) },
		"unknown signer first":   func(w *world) { w.archive.signers = []*openpgp.Entity{newKey(t, "Other", 0), w.key} },
		"expired signer first":   func(w *world) { addExpired(w) },
		"a keyring that is none": func(w *world) { w.write(w.client.CacheDir+"-x", []byte("x")); addKeyring(w, w.client.CacheDir+"-x") },
		"a keyring that is gone": func(w *world) { addKeyring(w, w.client.CacheDir+"-gone") },
		"connection broken once": func(w *world) { breakOnce(w) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			change(w)
			if p := w.resolve(w.index(), "hello"); len(p) != 1 {
				t.Errorf("got %v", p)
			}
		})
	}
}

func addKeyring(w *world, file string) {
	w.client.Keyrings = append([]string{file}, w.client.Keyrings...)
}

func armorKeyring(w *world) {
	w.Helper()
	w.write(w.client.Keyrings[0], armored(w.T, w.key))
}

// addExpired has the archive sign with a trusted key that has expired, too, and first.
func addExpired(w *world) {
	w.Helper()
	old := newKey(w.T, "Old", 24*time.Hour)
	w.write(w.client.Keyrings[0], keyring(w.T, old, w.key))
	w.client.Trusted = append(w.client.Trusted, fingerprint(old))
	w.archive.signers = []*openpgp.Entity{old, w.key}
}

// breakOnce drops the first connection.
func breakOnce(w *world) {
	broken := false
	w.serve = func(http.ResponseWriter, *http.Request) bool {
		if broken {
			return false
		}
		broken = true
		panic(http.ErrAbortHandler)
	}
}

// spoil returns an edit hook for the files whose path contains part.
func spoil(part string, change func([]byte) []byte) func(string, []byte) []byte {
	return func(path string, data []byte) []byte {
		if strings.Contains(path, part) {
			return change(data)
		}
		return data
	}
}

func flip(data []byte) []byte     { data[len(data)/2] ^= 1; return data }
func cut(data []byte) []byte      { return data[:len(data)-5] }
func lengthen(data []byte) []byte { return append(data, "more"...) }

func TestIndexRefuses(t *testing.T) {
	const inRelease = "dists/trixie/InRelease"
	tests := map[string]struct {
		change func(w *world)
		what   string // of the VerifyError
		got    string // a part of its Got
	}{
		"unsigned": {func(w *world) {
			w.edit = spoil(inRelease, func(b []byte) []byte {
				text, _, _ := bytes.Cut(b[bytes.Index(b, []byte("Origin")):], []byte("-----"))
				return text
			})
		}, "signature", "no clear-signed text"},
		"key that is not trusted": {func(w *world) { w.archive.signers[0] = newKey(w.T, "Other", 0) },
			"signature", "no signature is by a key that is trusted"},
		"key in the keyring but not trusted": {func(w *world) { w.client.Trusted = []string{strings.Repeat("0", 40)} },
			"signature", "no signature is by a key that is trusted"},
		"expired key": {func(w *world) {
			addExpired(w)
			w.archive.signers = w.archive.signers[:1]
		}, "signature", "expired"},
		"altered text": {func(w *world) {
			w.edit = spoil(inRelease, func(b []byte) []byte { return bytes.Replace(b, []byte("Label: D"), []byte("Label: d"), 1) })
		}, "signature", "invalid"},
		"altered signature": {func(w *world) {
			w.edit = spoil(inRelease, func(b []byte) []byte {
				at := bytes.Index(b, []byte("SIGNATURE-----\n\n")) + 60
				b[at] ^= 1
				return b
			})
		}, "signature", ""},
		"text before the signed block": {func(w *world) {
			w.edit = spoil(inRelease, func(b []byte) []byte { return append([]byte("Codename: trixie\n"), b...) })
		}, "signature", "text before"},
		"text after the signed block": {func(w *world) { w.edit = spoil(inRelease, lengthen) }, "signature", "text after"},
		"InRelease without end": {func(w *world) {
			w.edit = spoil(inRelease, func(b []byte) []byte { return append(b, make([]byte, maxInRelease)...) })
		}, "size", "more"},
		"security not signed": {func(w *world) { w.secure.signers[0] = newKey(w.T, "Other", 0) }, "signature", "trusted"},
		"older than the lock": {func(w *world) {
			w.req.NotBefore = map[string]time.Time{"trixie": w.archive.date.Add(time.Second)}
		}, "date", "2026-09-22T12:00:00Z"},
		"security older than the lock": {func(w *world) {
			w.req.NotBefore = map[string]time.Time{"trixie-security": today}
		}, "date", "2026-11-21T12:00:00Z"},
		"from the future": {func(w *world) {
			w.archive.date, w.archive.signedAt = today.Add(25*time.Hour), today
		}, "date", "2026-11-23T13:00:00Z"},
		"signed in the future": {func(w *world) { w.archive.signedAt = today.Add(25 * time.Hour) }, "signature", "expired"},
		"no longer valid":      {func(w *world) { w.secure.validUntil = today.Add(-time.Second) }, "valid-until", "2026-11-22T11:59:59Z"},
		"another suite": {func(w *world) {
			w.archive.codename = "forky"
			w.serve = func(rw http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/debian/"+inRelease {
					return false
				}
				rw.Write(w.files["/debian/dists/forky/InRelease"])
				return true
			}
		}, "codename", `"forky"`},
		"Packages altered":   {func(w *world) { w.edit = spoil("by-hash", flip) }, "sha256", ""},
		"Packages truncated": {func(w *world) { w.edit = spoil("by-hash", cut) }, "size", ""},
		"Packages too long":  {func(w *world) { w.edit = spoil("by-hash", lengthen) }, "size", ""},
		"Packages too long, length not said": {func(w *world) {
			w.edit = spoil("by-hash", lengthen)
			w.serve = func(rw http.ResponseWriter, r *http.Request) bool {
				rw.(http.Flusher).Flush() // makes it a chunked answer
				return false
			}
		}, "size", "more"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			test.change(w)
			w.publish()
			_, err := w.client.Index(t.Context(), w.mirror, w.req)
			var ve *download.VerifyError
			if !errors.As(err, &ve) {
				t.Fatalf("got %v, want a VerifyError", err)
			}
			if ve.What != test.what || !strings.Contains(ve.Got, test.got) {
				t.Errorf("got %v, want wrong %q with %q", ve, test.what, test.got)
			}
			if files := w.cached(); len(files) > 0 {
				t.Errorf("kept in the cache: %v", files)
			}
		})
	}
}

func TestIndexFetchErrors(t *testing.T) {
	tests := map[string]struct {
		serve  func(rw http.ResponseWriter, r *http.Request) bool
		status int
		text   string
	}{
		"not there":   {func(rw http.ResponseWriter, r *http.Request) bool { http.NotFound(rw, r); return true }, 404, "404 Not Found"},
		"fault":       {func(rw http.ResponseWriter, r *http.Request) bool { rw.WriteHeader(503); return true }, 503, "503"},
		"dropped":     {func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, 0, "EOF"},
		"broken off":  {func(rw http.ResponseWriter, r *http.Request) bool { return breakOff(rw) }, 0, "unexpected EOF"},
		"falls still": {func(rw http.ResponseWriter, r *http.Request) bool { return hang(rw, r) }, 0, "sends nothing"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if name == "falls still" {
				w.client.Stall = 2 * time.Second
			}
			w.serve = test.serve
			w.publish()
			_, err := w.client.Index(t.Context(), w.mirror, w.req)
			var fe *download.FetchError
			if !errors.As(err, &fe) || fe.Status != test.status || !strings.Contains(err.Error(), test.text) {
				t.Fatalf("got %v, want a FetchError with status %d and %q", err, test.status, test.text)
			}
			if want := strings.TrimSuffix(w.mirror.Archive, "/") + "/dists/trixie/InRelease"; fe.URL != want {
				t.Errorf("got URL %s, want %s", fe.URL, want)
			}
			if files := w.cached(); len(files) > 0 {
				t.Errorf("kept in the cache: %v", files)
			}
		})
	}
}

// breakOff promises more than it sends.
func breakOff(rw http.ResponseWriter) bool {
	rw.Header().Set("Content-Length", "1000")
	rw.Write([]byte("half"))
	rw.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// hang sends a byte and then nothing until the client goes away.
func hang(rw http.ResponseWriter, r *http.Request) bool {
	rw.Write([]byte("-"))
	rw.(http.Flusher).Flush()
	<-r.Context().Done()
	return true
}

func TestIndexNoConnection(t *testing.T) {
	w := newWorld(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	_, err := w.client.Index(t.Context(), Mirror{Archive: gone.URL}, w.req)
	var fe *download.FetchError
	if !errors.As(err, &fe) || fe.Status != 0 {
		t.Errorf("got %v, want a FetchError without status", err)
	}
}

func TestIndexCancelled(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.serve = func(rw http.ResponseWriter, r *http.Request) bool { cancel(); return hang(rw, r) }
	_, err := w.client.Index(ctx, w.mirror, w.req)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestRedirects(t *testing.T) {
	w := newWorld(t)
	w.publish()
	forward := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, strings.TrimSuffix(w.mirror.Archive, "/debian/")+r.URL.Path, http.StatusFound)
	})
	plain, secret := httptest.NewServer(forward), httptest.NewTLSServer(forward)
	defer plain.Close()
	defer secret.Close()
	w.client.HTTP = secret.Client()

	if _, err := w.client.Index(t.Context(), Mirror{Archive: plain.URL + "/debian"}, w.req); err != nil {
		t.Errorf("http to http: %v", err)
	}
	w.asked()
	os.RemoveAll(w.client.CacheDir)
	_, err := w.client.Index(t.Context(), Mirror{Archive: secret.URL + "/debian"}, w.req)
	var fe *download.FetchError
	if !errors.As(err, &fe) || !strings.Contains(err.Error(), "redirect from https to http refused") {
		t.Errorf("https to http: got %v", err)
	}
	if hits := w.asked(); len(hits) > 0 {
		t.Errorf("https to http: requests behind the redirect: %v", hits)
	}
	if files := w.cached(); len(files) > 0 {
		t.Errorf("kept in the cache: %v", files)
	}
}

func TestKeysFromMirror(t *testing.T) {
	w := newWorld(t)
	w.client.Keyrings = nil
	w.archive.signers[0] = newKey(t, "Trusted only by the package", 0)
	other := w.archive.signers[0]
	w.archive.debs = append(w.archive.debs, member{keyringPackage, makeDeb(t,
		"Package: debian-archive-keyring\nVersion: 1.0\nArchitecture: all\n",
		member{"usr/share/keyrings/archive.pgp", keyring(t, other, w.key)},
		member{"usr/share/keyrings/README", []byte("text")})})
	w.publish()

	_, err := w.client.Index(t.Context(), w.mirror, w.req)
	var ve *download.VerifyError
	if !errors.As(err, &ve) || ve.What != "signature" {
		t.Fatalf("signed by a key of the package that is not trusted: got %v", err)
	}

	w.archive.signers[0] = w.key
	w.publish()
	os.RemoveAll(w.client.CacheDir)
	if _, err := w.client.Index(t.Context(), w.mirror, w.req); err != nil {
		t.Fatalf("signed by a key of the package that is trusted: %v", err)
	}
	kept, err := os.ReadFile(w.client.keptKeys())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(keyring(t, w.key), kept); diff != "" {
		t.Errorf("keys kept (-want +got):\n%s", diff)
	}

	w.asked()
	if _, err := w.client.Index(t.Context(), w.mirror, w.req); err != nil {
		t.Fatal(err)
	}
	isDeb := func(path string) bool { return strings.HasSuffix(path, ".deb") }
	if hits := w.asked(); slices.ContainsFunc(hits, isDeb) {
		t.Errorf("the second time the keys came from the mirror again: %v", hits)
	}
}

func TestIndexOffline(t *testing.T) {
	w := newWorld(t)
	w.publish()
	w.client.Offline = true
	_, err := w.client.Index(t.Context(), w.mirror, w.req)
	var oe *download.OfflineError
	if !errors.As(err, &oe) || oe.Name != "the index of trixie" {
		t.Errorf("nothing in the cache: got %v, want an OfflineError", err)
	}
	w.client.Offline = false
	w.index()
	w.asked()

	w.client.Offline = true
	x, err := w.client.Index(t.Context(), Mirror{}, w.req)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.resolve(x, "hello", "fix"); len(got) != 2 {
		t.Errorf("got %v", got)
	}
	w.write(w.client.keptRelease("trixie"), clearSign(t, "Codename: trixie\n", today, newKey(t, "Other", 0)))
	if _, err = w.client.Index(t.Context(), Mirror{}, w.req); err == nil {
		t.Error("a cached InRelease by a key that is not trusted was accepted")
	}
	if hits := w.asked(); len(hits) > 0 {
		t.Errorf("connections were opened: %v", hits)
	}
}

func TestIndexRequestFaults(t *testing.T) {
	w := newWorld(t)
	req := IndexRequest{Suite: "../trixie", Archs: []string{"amd64"}, Components: []string{"ma in"}}
	_, err := w.client.Index(t.Context(), w.mirror, req)
	for _, want := range []string{`"../trixie"`, `"ma in"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s in it", err, want)
		}
	}
	if hits := w.asked(); len(hits) > 0 {
		t.Errorf("connections were opened: %v", hits)
	}
}
