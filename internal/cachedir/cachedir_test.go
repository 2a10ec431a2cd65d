package cachedir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// digest is one that begins with c.
func digest(c string) string { return c + strings.Repeat("0", 64-len(c)) }

// lay makes files with a text of some length in a new directory, last used days ago.
func lay(t *testing.T, days int, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	add(t, dir, days, files...)
	return dir
}

func add(t *testing.T, dir string, days int, files ...string) {
	t.Helper()
	for _, f := range files {
		file := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, make([]byte, 5000), 0o644); err != nil {
			t.Fatal(err)
		}
		at := now.AddDate(0, 0, -days)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func list(t *testing.T, dir string) []Entry {
	t.Helper()
	entries, err := List(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// ours are files of every kind, with names as the other packages give them.
func ours() []string {
	return []string{
		"bundles/" + digest("a") + ".yaml", "debs/" + digest("a") + ".deb", "dists/trixie-security/InRelease",
		"drivers/source-1-" + digest("d") + ".json.gz", "files/" + digest("a"), "files/" + digest("b") + ".tar.gz", "images/" + digest("a") + ".json", "indexes/" + digest("a") + ".xz",
		"kernel.org/" + digest("a") + ".tar.xz", "keys/ABCDEF.gpg", "keys/debian-archive-keyring.gpg",
		"layers/sha256-" + digest("a"), "layers/sha256-" + digest("a") + ".listing-1", "segments/a0/" + digest("a0") + ".zstd",
	}
}

// halves are what killed runs leave.
func halves() []string {
	return []string{".base-123", ".keys-1", "debs/.tmp-77", "kernel.org/.new-5", "layers/.tmp-12", "segments/a0/.segment-9", "tmp/component-4", "tmp/pull-5.tar", "tmp/tree-3"}
}

// foreign are files that nobody of ours makes.
func foreign() []string {
	return []string{
		"README", ".hidden/x", ".tmp-1", "debs/notes.txt", "debs/" + digest("a") + ".deb.bak", "debs/sub/" + digest("a") + ".deb", "files/short",
		"photos/" + digest("a"), "segments/x", "tmp/mine", "layers/sha256-short", "layers/sub/.tmp", "trees/tree-3",
	}
}

func TestListKnowsItsOwn(t *testing.T) {
	dir := lay(t, 3, slices.Concat(ours(), foreign())...)
	for _, h := range halves() {
		if strings.HasSuffix(h, "tmp/tree-3") || strings.HasSuffix(h, ".new-5") {
			add(t, dir, 3, h+"/a", h+"/b/c") // directories
			continue
		}
		add(t, dir, 3, h)
	}
	var got, half []string
	for _, e := range list(t, dir) {
		if e.Bytes < 5000 || !e.Used.Equal(now.AddDate(0, 0, -3)) {
			t.Errorf("%s: got %d bytes, used %s", e.Path, e.Bytes, e.Used)
		}
		if e.Temporary {
			half = append(half, e.Path)
		} else {
			got = append(got, e.Path)
		}
	}
	slices.Sort(got)
	slices.Sort(half)
	if diff := cmp.Diff(ours(), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(halves(), half); diff != "" {
		t.Errorf("temporary, -want +got:\n%s", diff)
	}
}

func TestListOfNothing(t *testing.T) {
	if got := list(t, filepath.Join(t.TempDir(), "missing")); len(got) > 0 {
		t.Errorf("got %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := List(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRule(t *testing.T) {
	old, young := now.AddDate(0, 0, -31), now.AddDate(0, 0, -29)
	r := Rule{Now: now, Age: 30 * 24 * time.Hour, Pins: map[string]bool{digest("a"): true}}
	for _, tc := range []struct {
		name      string
		e         Entry
		goes, all bool
	}{
		{"old", Entry{Room: "debs", Digest: digest("b"), Used: old}, true, true},
		{"young", Entry{Room: "debs", Digest: digest("b"), Used: young}, false, true},
		{"old and pinned", Entry{Room: "debs", Digest: digest("a"), Used: old}, false, true},
		{"a key", Entry{Room: "keys", Used: old}, false, true},
		{"a release", Entry{Room: "dists", Used: old}, false, true},
		{"young and half", Entry{Room: "debs", Used: young, Temporary: true}, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			all := r
			all.All = true
			if r.Goes(tc.e) != tc.goes || all.Goes(tc.e) != tc.all {
				t.Errorf("goes %t, with All %t; want %t and %t", r.Goes(tc.e), all.Goes(tc.e), tc.goes, tc.all)
			}
		})
	}
}

func TestPinned(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"dists/trixie/InRelease":           "SHA256:\n " + digest("c") + " 12 main/Packages.xz\n",
		"images/" + digest("a") + ".json":  `{"rootfs": {"diff_ids": ["sha256:` + digest("d") + `"]}}`,
		"images/" + digest("b") + ".json":  `no JSON`,
		"images/" + digest("e0") + ".json": `{"rootfs": {"diff_ids": ["sha256:` + digest("f") + `"]}}`,
	} {
		add(t, dir, 0, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pins, err := Pinned(dir, []byte(`"config": "sha256:`+digest("a")+`"`), []byte("sha256: "+digest("b")), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{digest("a"): true, digest("b"): true, digest("c"): true, digest("d"): true}
	if diff := cmp.Diff(want, pins); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRemove(t *testing.T) {
	dir := lay(t, 1, "debs/"+digest("a")+".deb", "tmp/tree-1/a/b", "tmp/mine")
	if err := os.Chmod(filepath.Join(dir, "tmp/tree-1/a"), 0o500); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second time nothing is there any more
		for _, e := range []Entry{{Path: "debs/" + digest("a") + ".deb"}, {Path: "tmp/tree-1", Temporary: true}} {
			if err := Remove(dir, e); err != nil {
				t.Error(err)
			}
		}
	}
	var left []string
	if err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, p)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{filepath.Join(dir, "tmp/mine")}; !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
}

func TestHoldAndClaim(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "cache")
	if _, err := Claim(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing cache: got %v", err)
	}
	var releases []func() error
	for range 2 { // any number may hold it
		release, err := Hold(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	for _, release := range releases {
		var inUse *InUseError
		if _, err := Claim(dir); !errors.As(err, &inUse) || inUse.Dir != dir {
			t.Errorf("a held cache: got %v", err)
		}
		if err := release(); err != nil {
			t.Error(err)
		}
	}
	release, err := Claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Claim(dir); err == nil {
		t.Error("a claimed cache was claimed again")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	if _, err := Hold(ctx, dir); !errors.Is(err, interrupted) {
		t.Errorf("holding what is claimed: got %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}

func TestHoldLeavesNothing(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "new")
	dir := filepath.Join(parent, "cache")
	hold := func() func() error {
		release, err := Hold(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	first, second := hold(), hold() // the second has made nothing
	if err := first(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("taken away from its other holder: %v", err)
	}
	if err := second(); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(parent); err != nil {
		t.Fatal(err)
	}
	if err := hold()(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(parent); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty cache is still there: %v", err)
	}
	third := hold()
	add(t, dir, 0, "debs/x")
	if err := third(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "debs/x")); err != nil {
		t.Error(err)
	}
}

// TestHoldersComeAndGo: nobody who holds an empty cache finds it gone.
func TestHoldersComeAndGo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "cache")
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() {
			for range 50 {
				release, err := Hold(t.Context(), dir)
				if err == nil {
					_, err = os.Stat(dir)
					err = errors.Join(err, release())
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestHoldFails(t *testing.T) {
	if _, err := Hold(t.Context(), filepath.Join(lay(t, 0, "file"), "file", "x")); err == nil {
		t.Error("no error")
	}
}
