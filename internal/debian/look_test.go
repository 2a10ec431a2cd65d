package debian

import (
	"bytes"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/download"
)

func TestLook(t *testing.T) {
	for _, tc := range []struct {
		name      string
		change    func(w *world)
		notBefore time.Duration // after the index's date
		signed    bool
		dated     bool   // whether the release comes back
		what      string // of the VerifyError; empty for none
	}{
		{"good", func(*world) {}, 0, true, true, ""},
		{"a key that is not at hand", func(w *world) { w.archive.signers[0] = newKey(w.T, "Other", 0) }, 0, false, true, ""},
		{"no key at hand", func(w *world) { w.client.Keyrings = nil }, 0, false, true, ""},
		{"altered", func(w *world) {
			w.edit = spoil("InRelease", func(b []byte) []byte { return bytes.Replace(b, []byte("Label: D"), []byte("Label: d"), 1) })
		}, 0, false, true, "signature"},
		{"another suite", func(w *world) {
			w.edit = spoil("InRelease", func(b []byte) []byte {
				return bytes.Replace(b, []byte("Codename: trixie"), []byte("Codename: trixiE"), 1)
			})
			w.client.Keyrings = nil
		}, 0, false, true, "codename"},
		{"older than the lock", func(*world) {}, time.Hour, true, true, "date"},
		{"no release", func(w *world) { w.edit = spoil("InRelease", func([]byte) []byte { return []byte("hello") }) }, 0, false, false, "signature"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			tc.change(w)
			w.publish()
			rel, signed, err := w.client.Look(t.Context(), w.mirror.Archive, "trixie", w.archive.date.Add(tc.notBefore))
			var ve *download.VerifyError
			if errors.As(err, &ve) != (tc.what != "") || ve != nil && ve.What != tc.what || ve == nil && err != nil {
				t.Errorf("got %v, want wrong %q", err, tc.what)
			}
			if signed != tc.signed {
				t.Errorf("signed: got %t", signed)
			}
			if (rel != nil) != tc.dated || rel != nil && !rel.Date.Equal(w.archive.date) {
				t.Errorf("got %+v, want the date %s", rel, w.archive.date)
			}
			if len(w.asked()) != 1 || len(w.cached()) != 0 {
				t.Errorf("asked for %v and kept %v", w.asked(), w.cached())
			}
		})
	}
}

func TestLookFails(t *testing.T) {
	w := newWorld(t)
	w.publish()
	w.serve = func(rw http.ResponseWriter, _ *http.Request) bool { rw.WriteHeader(http.StatusForbidden); return true }
	var fe *download.FetchError
	if _, _, err := w.client.Look(t.Context(), w.mirror.Archive, "trixie", time.Time{}); !errors.As(err, &fe) || fe.Status != 403 {
		t.Errorf("got %v", err)
	}
	w.client.Offline = true
	var oe *download.OfflineError
	if _, _, err := w.client.Look(t.Context(), w.mirror.Archive, "trixie", time.Time{}); !errors.As(err, &oe) {
		t.Errorf("offline: got %v", err)
	}
}
