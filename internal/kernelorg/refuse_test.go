package kernelorg_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/kernelorg/kernelorgtest"
)

func body(data []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(data)) }

const list = "sha256sums.asc"

// editList changes the list after it was signed.
func editList(change func(text []byte) []byte) func(w *world) {
	return func(w *world) { w.instead(list, change(w.served("v6.x/"+list))) }
}

// listSays changes the digest of a release in the list before it is signed.
func listSays(w *world, version, digest string) {
	before := sha(pack(w.T, w.tars[version]))
	w.List = func(text string) string { return strings.Replace(text, before, digest, 1) }
}

// otherTar has a release be another source, which the list and the signature given agree on.
func otherTar(w *world, tarXZ, sign []byte) {
	w.Replace("6.6.10", tarXZ, sign)
	listSays(w, "6.6.10", sha(tarXZ))
}

func TestResolveRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(w *world)
		what   string // of the VerifyError
		text   string // in the message
	}{
		"list by another key": {func(w *world) {
			w.client.Keyring = w.Keyring
			w.Autosigner = kernelorgtest.NewKey(w, "autosigner@kernel.org", 0)
		}, "signature", "no signature is by a key that is trusted, want a good one by autosigner@kernel.org"},
		"list by a developer": {func(w *world) {
			w.client.Keyring = w.Keyring
			w.Autosigner = w.Developer
		}, "signature", "want a good one by autosigner@kernel.org"},
		"source by another key": {func(w *world) {
			w.client.Keyring = w.Keyring
			w.Developer = kernelorgtest.NewKey(w, "gregkh@kernel.org", 0)
			w.Replace("6.6.10", nil, kernelorgtest.Sign(w, w.Developer, bytes.NewReader(w.tars["6.6.10"])))
		}, "signature", "linux-6.6.10.tar: wrong signature: got no signature is by a key that is trusted"},
		"source by the autosigner": {func(w *world) {
			w.Replace("6.6.10", nil, kernelorgtest.Sign(w, w.Autosigner, bytes.NewReader(w.tars["6.6.10"])))
		}, "signature", "want a good one by gregkh@kernel.org"},
		"autosigner's key expired": {func(w *world) {
			w.Autosigner = kernelorgtest.NewKey(w, "autosigner@kernel.org", 24*time.Hour)
			w.client.Trusted.Autosigner = kernelorgtest.Signer(w.Autosigner)
		}, "signature", "expired"},
		"developer's key expired": {func(w *world) {
			w.Developer = kernelorgtest.NewKey(w, "gregkh@kernel.org", 24*time.Hour)
			w.client.Trusted.Developers[0] = kernelorgtest.Signer(w.Developer)
			w.Replace("6.6.10", nil, kernelorgtest.Sign(w, w.Developer, bytes.NewReader(w.tars["6.6.10"])))
		}, "signature", "expired"},
		"autosigner's key revoked": {func(w *world) { revoke(w, w.Autosigner) }, "signature", "revoked"},
		"developer's key revoked":  {func(w *world) { revoke(w, w.Developer) }, "signature", "revoked"},
		"signature of another version": {func(w *world) {
			w.Replace("6.6.10", nil, w.served("v6.x/linux-6.6.9.tar.sign"))
		}, "signature", "linux-6.6.10.tar: wrong signature"},
		"another version under this one's name": {func(w *world) {
			w.Replace("6.6.10", pack(w.T, w.tars["6.6.9"]), w.served("v6.x/linux-6.6.9.tar.sign"))
		}, "sha256", "linux-6.6.10.tar.xz"},
		"good sums, bad signature": {func(w *world) { otherTar(w, pack(w.T, []byte("other")), nil) }, "signature", "linux-6.6.10.tar"},
		"good signature, bad sums": {func(w *world) { listSays(w, "6.6.10", strings.Repeat("a", 64)) },
			"sha256", "linux-6.6.10.tar.xz: wrong sha256"},
		"signature over the .tar.xz": {func(w *world) {
			w.Replace("6.6.10", nil, kernelorgtest.Sign(w, w.Developer, bytes.NewReader(pack(w.T, w.tars["6.6.10"]))))
		}, "signature", "linux-6.6.10.tar: wrong signature"},
		"signature that is none": {func(w *world) { w.Replace("6.6.10", nil, []byte("x")) },
			"signature", "linux-6.6.10.tar.sign: wrong signature: got no armored signature"},
		"signature that is a key": {func(w *world) { w.Replace("6.6.10", nil, mustRead(w, w.Keyring)) },
			"signature", "PGP PUBLIC KEY BLOCK: want a signature"},
		"truncated xz": {func(w *world) {
			whole := pack(w.T, w.tars["6.6.10"])
			otherTar(w, whole[:len(whole)-40], nil)
		}, "xz", "linux-6.6.10.tar.xz: wrong xz: got unexpected EOF"},
		"no xz": {func(w *world) { otherTar(w, []byte("x"), nil) }, "xz", "want one whole stream"},
		"text before the signed block": {editList(func(b []byte) []byte {
			return append([]byte(strings.Repeat("a", 64)+"  linux-6.6.11.tar.xz\n"), b...)
		}), "signature", "text before the signed block"},
		"text after the signed block": {editList(func(b []byte) []byte { return append(b, "x"...) }),
			"signature", "text after the signed block"},
		"no signed block": {editList(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("PGP"), nil) }),
			"signature", "no clear-signed text"},
		"list altered": {editList(func(b []byte) []byte { return bytes.Replace(b, []byte("linux-6.6.2."), []byte("linux-6.6.3."), 1) }),
			"signature", "sha256sums.asc: wrong signature"},
		"list with CRLF": {editList(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }),
			"signature", "a carriage return"},
		"list without end": {editList(func(b []byte) []byte { return append(b, make([]byte, 16<<20)...) }), "size", "at most 16777216 bytes"},
		"a release twice": {func(w *world) {
			w.List = func(text string) string { return text + strings.Repeat("b", 64) + "  linux-6.6.10.tar.xz\n" }
		}, "form", "linux-6.6.10.tar.xz twice"},
		"a line that is none": {func(w *world) { w.List = func(text string) string { return text + "linux-6.6.11.tar.xz\n" } },
			"form", `the line "linux-6.6.11.tar.xz"`},
		"a list of nothing": {func(w *world) { w.List = func(string) string { return "" } }, "series", "no release at all"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			test.change(w)
			_, err := w.client.Resolve(t.Context(), kernelorg.Want{Series: "6.6"})
			var ve *download.VerifyError
			if !errors.As(err, &ve) || ve.What != test.what || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want a VerifyError of the %s with %q", err, test.what, test.text)
			}
			w.refused()
		})
	}
}

func revoke(w *world, key interface {
	RevokeKey(packet.ReasonForRevocation, string, *packet.Config) error
}) {
	w.Helper()
	if err := key.RevokeKey(packet.KeyRetired, "test", &packet.Config{Time: kernelorgtest.Born}); err != nil {
		w.Fatal(err)
	}
}

func mustRead(w *world, file string) []byte {
	w.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		w.Fatal(err)
	}
	return data
}

func TestResolveFetchErrors(t *testing.T) {
	const source = "linux-6.6.10.tar.xz"
	tests := map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		status int
		text   string
	}{
		"no list":          {at(list, http.NotFound), 404, "/v6.x/sha256sums.asc: 404 Not Found"},
		"no signature":     {at(".tar.sign", http.NotFound), 404, "/v6.x/linux-6.6.10.tar.sign: 404"},
		"no source":        {at(source, http.NotFound), 404, "/v6.x/linux-6.6.10.tar.xz: 404"},
		"no keys":          {at("", func(rw http.ResponseWriter, r *http.Request) { http.NotFound(rw, r) }), 404, "404"},
		"fault":            {at(source, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) }), 503, "503"},
		"broken off":       {at(source, breakOff), 0, "unexpected EOF"},
		"list broken off":  {at(list, breakOff), 0, "unexpected EOF"},
		"falls still":      {at(source, hang), 0, "sends nothing"},
		"list falls still": {at(list, hang), 0, "sends nothing"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if strings.HasSuffix(name, "falls still") {
				w.client.Download.Stall = 2 * time.Second
			}
			w.Answer = test.answer
			_, err := w.client.Resolve(t.Context(), kernelorg.Want{Series: "6.6"})
			var fe *download.FetchError
			if !errors.As(err, &fe) || fe.Status != test.status || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want a FetchError with status %d and %q", err, test.status, test.text)
			}
			w.refused()
		})
	}
}

// breakOff promises more than it sends.
func breakOff(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Length", "1000")
	rw.Write([]byte("half"))
	rw.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// hang sends a byte and then nothing until the client goes away.
func hang(rw http.ResponseWriter, r *http.Request) {
	rw.Write([]byte("-"))
	rw.(http.Flusher).Flush()
	<-r.Context().Done()
}

func TestDownloadCutShort(t *testing.T) {
	tests := map[string]struct {
		change func(whole []byte) []byte
		length string // what the header says; empty is nothing
		what   string
	}{
		"truncated":        {func(whole []byte) []byte { return whole[:100] }, "", "sha256"},
		"too long":         {func(whole []byte) []byte { return append(whole, "more"...) }, "", "sha256"},
		"endless, it says": {func(whole []byte) []byte { return whole }, "1099511627776", "size"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			data := test.change(pack(t, w.tars["6.6.10"]))
			w.Answer = at("linux-6.6.10.tar.xz", func(rw http.ResponseWriter, _ *http.Request) {
				if test.length != "" {
					rw.Header().Set("Content-Length", test.length)
				}
				rw.(http.Flusher).Flush()
				rw.Write(data)
			})
			_, err := w.client.Resolve(t.Context(), kernelorg.Want{Series: "6.6"})
			var ve *download.VerifyError
			if !errors.As(err, &ve) || ve.What != test.what {
				t.Errorf("got %v, want a VerifyError of the %s", err, test.what)
			}
			w.refused()
		})
	}
}

func TestRedirects(t *testing.T) {
	w := newWorld(t)
	secret := httptest.NewTLSServer(w.Mirror)
	defer secret.Close()
	other := ""
	front := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, other+r.URL.Path, http.StatusFound)
	}))
	defer front.Close()
	w.client.Download.HTTP = front.Client()
	w.client.Mirror = front.URL + "/pub/linux/kernel"

	other = strings.TrimSuffix(w.URL, "/pub/linux/kernel")
	_, err := w.client.Resolve(t.Context(), kernelorg.Want{Series: "6.6"})
	var fe *download.FetchError
	if !errors.As(err, &fe) || !strings.Contains(err.Error(), "redirect from https to http refused") {
		t.Errorf("https to http: got %v", err)
	}
	if asked := w.Asked(); len(asked) > 0 {
		t.Errorf("https to http: requests behind the redirect: %v", asked)
	}
	w.refused()

	other = secret.URL
	w.resolve(kernelorg.Want{Series: "6.6"})
}
