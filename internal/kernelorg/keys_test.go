package kernelorg_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/kernelorg/kernelorgtest"
)

func TestKeysOfOthers(t *testing.T) {
	tests := map[string]struct {
		serve func(w *world) []byte
		got   string
	}{
		"another key": {func(w *world) []byte {
			return kernelorgtest.Public(w, w.Developer)
		}, "GREGKH"},
		"nothing": {func(*world) []byte { return nil }, "none"},
		"no key":  {func(*world) []byte { return []byte("<html>") }, "none"},
		"a whole keyring": {func(w *world) []byte {
			var keys []*openpgp.Entity
			for range 5 {
				keys = append(keys, kernelorgtest.NewKey(w, "x@kernel.org", 0))
			}
			return kernelorgtest.Public(w, keys...)
		}, "5 others"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			key := test.serve(w)
			w.Answer = func(rw http.ResponseWriter, r *http.Request) bool {
				if r.URL.Query().Get("l") != "autosigner" {
					return false
				}
				rw.Write(key)
				return true
			}
			_, err := w.client.Resolve(t.Context(), kernelorg.Want{Series: "6.6"})
			want := strings.Replace(test.got, "GREGKH", w.Trusted.Developers[0].Fingerprint, 1)
			var ve *download.VerifyError
			if !errors.As(err, &ve) || ve.What != "key" || ve.Got != want {
				t.Errorf("got %v, want a VerifyError of the key, which is %s", err, want)
			}
			w.refused()
		})
	}
}

func TestKeyring(t *testing.T) {
	tests := map[string]struct {
		keyring func(w *world) []byte
		text    string // of a VerifyError; empty where it works
	}{
		"armored": {func(w *world) []byte { return mustRead(w, w.Keyring) }, ""},
		"binary":  {func(w *world) []byte { return kernelorgtest.Public(w, w.Autosigner, w.Developer) }, ""},
		"with others": {func(w *world) []byte {
			return kernelorgtest.Public(w, kernelorgtest.NewKey(w, "x@kernel.org", 0), w.Autosigner, w.Developer)
		}, ""},
		"put together": {func(w *world) []byte {
			one := kernelorgtest.Armored(w, openpgp.PublicKeyType, kernelorgtest.Public(w, w.Autosigner))
			return append(one, kernelorgtest.Armored(w, openpgp.PublicKeyType, kernelorgtest.Public(w, w.Developer))...)
		}, ""},
		"the wrong keys": {func(w *world) []byte {
			return kernelorgtest.Public(w, kernelorgtest.NewKey(w, "autosigner@kernel.org", 0))
		}, "want "},
		"no developer": {func(w *world) []byte { return kernelorgtest.Public(w, w.Autosigner) }, "of gregkh@kernel.org"},
		"no keys":      {func(*world) []byte { return []byte("x") }, "wrong key: got none, want "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.client.Keyring = filepath.Join(t.TempDir(), "keyring")
			w.client.WKD = "http://127.0.0.1:1"
			if err := os.WriteFile(w.client.Keyring, test.keyring(w), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := w.client.Resolve(t.Context(), kernelorg.Want{Series: "6.6"})
			if test.text == "" {
				if files := w.cached(); err != nil || len(files) != 1 {
					t.Errorf("got %v, and in the cache %v, want the source only", err, files)
				}
				return
			}
			var ve *download.VerifyError
			if !errors.As(err, &ve) || ve.What != "key" || ve.File != w.client.Keyring || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want a VerifyError of the key with %q", err, test.text)
			}
			w.refused()
		})
	}
}

func TestKeyringGone(t *testing.T) {
	w := newWorld(t)
	w.client.Keyring = filepath.Join(t.TempDir(), "gone")
	if _, err := w.client.Resolve(t.Context(), kernelorg.Want{Series: "6.6"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want os.ErrNotExist", err)
	}
}

func TestKeptKeys(t *testing.T) {
	w := newWorld(t)
	w.resolve(kernelorg.Want{Series: "6.6"})
	noKeys := func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("l") == "" {
			return false
		}
		http.NotFound(rw, r)
		return true
	}

	w.Answer = noKeys
	w.resolve(kernelorg.Want{Series: "6.12"}) // with the keys that were kept

	spoiled := filepath.Join(w.client.CacheDir, "keys", w.Trusted.Autosigner.Fingerprint+".gpg")
	if err := os.WriteFile(spoiled, kernelorgtest.Public(t, kernelorgtest.NewKey(t, "autosigner@kernel.org", 0)), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := w.client.Resolve(t.Context(), kernelorg.Want{Series: "6.1"})
	var ve *download.VerifyError
	if !errors.As(err, &ve) || ve.What != "key" || ve.File != spoiled {
		t.Errorf("another key in the cache: got %v, want a VerifyError of it", err)
	}

	w.Answer = nil
	w.resolve(kernelorg.Want{Series: "6.1"}) // mends it
	revoke(w, w.Developer)
	if _, err = w.newClient(w.client.CacheDir).Resolve(t.Context(), kernelorg.Want{Series: "6.6"}); !errors.As(err, &ve) || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("revoked since it was kept: got %v, want a VerifyError", err)
	}
}

// TestDevelopers has three developers of whom one signs: the others' keys are not needed.
func TestDevelopers(t *testing.T) {
	w := newWorld(t)
	w.client.Download = nil
	linus, sasha := kernelorgtest.NewKey(t, "torvalds@kernel.org", 0), kernelorgtest.NewKey(t, "sashal@kernel.org", 0)
	w.client.Trusted.Developers = append([]kernelorg.Signer{kernelorgtest.Signer(linus)}, w.Trusted.Developers...)
	w.client.Trusted.Developers = append(w.client.Trusted.Developers, kernelorgtest.Signer(sasha))
	pin := w.resolve(kernelorg.Want{Series: "6.6"})
	if want := w.Trusted.Developers[0].Fingerprint; pin.SignedBy[1] != want {
		t.Errorf("signed by %s, want %s", pin.SignedBy[1], want)
	}

	w.Developer = sasha
	w.Add("6.6.11", pack(t, []byte("by another developer")))
	if pin = w.resolve(kernelorg.Want{Series: "6.6"}); pin.Version != "6.6.11" || pin.SignedBy[1] != kernelorgtest.Signer(sasha).Fingerprint {
		t.Errorf("got %v, want 6.6.11 signed by %s", pin, kernelorgtest.Signer(sasha).Fingerprint)
	}
}
