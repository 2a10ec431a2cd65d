package debian

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/download"
)

// locked resolves both packages, sends them through JSON as a lock file would, and forgets the requests.
func (w *world) locked() []Package {
	w.Helper()
	text, err := json.Marshal(w.resolve(w.index(), "hello", "fix"))
	if err != nil {
		w.Fatal(err)
	}
	var packages []Package
	if err := json.Unmarshal(text, &packages); err != nil {
		w.Fatal(err)
	}
	w.asked()
	if err := os.RemoveAll(w.client.CacheDir); err != nil {
		w.Fatal(err)
	}
	return packages
}

func TestPackageJSON(t *testing.T) {
	p := Package{Name: "hello", Version: "1:1.0", Arch: "all", Filename: "pool/h", SHA256: "ab", Size: 3, Archive: FromArchive}
	got, err := json.Marshal(record{Package: p, priority: "required", needs: []string{"libc6"}}.Package)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"hello","version":"1:1.0","arch":"all","file":"pool/h","sha256":"ab","size":3,"archive":"archive"}`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFetch(t *testing.T) {
	w := newWorld(t)
	packages := w.locked()
	var last [2]int64
	w.client.Progress = func(name string, done, total int64) {
		if name != "packages" || done < last[0] || done > total {
			t.Errorf("progress of %s: %d of %d after %d", name, done, total, last[0])
		}
		last = [2]int64{done, total}
	}
	files, err := w.client.Fetch(t.Context(), w.mirror, append(packages, packages[0]))
	if err != nil {
		t.Fatal(err)
	}
	for i, deb := range []member{w.secure.debs[0], w.archive.debs[0]} { // by name: fix, hello
		got, err := os.ReadFile(files[packages[i].SHA256])
		if err != nil || !slices.Equal(got, deb.data) {
			t.Errorf("%s: got %d bytes, %v", deb.name, len(got), err)
		}
	}
	total := packages[0].Size + packages[1].Size
	if last != [2]int64{total, total} {
		t.Errorf("progress ended at %v, want %d of %[2]d", last, total)
	}
	if hits := w.asked(); len(hits) != 2 {
		t.Errorf("requests: got %v, want one for each package", hits)
	}
}

func TestFetchUsesAndRepairsTheCache(t *testing.T) {
	w := newWorld(t)
	packages := w.locked()
	files, err := w.client.Fetch(t.Context(), w.mirror, packages)
	if err != nil {
		t.Fatal(err)
	}
	w.asked()
	spoiled := files[packages[0].SHA256]
	data, err := os.ReadFile(spoiled)
	if err != nil {
		t.Fatal(err)
	}
	w.write(spoiled, flip(slices.Clone(data)))
	if _, err := w.client.Fetch(t.Context(), w.mirror, packages); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/debian-security/" + packages[0].Filename}, w.asked()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got, err := os.ReadFile(spoiled); err != nil || !slices.Equal(got, data) {
		t.Errorf("the spoiled file was not fetched again: %v", err)
	}
}

func TestFetchRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(data []byte) []byte
		serve  func(w *world, rw http.ResponseWriter, r *http.Request) bool
		want   []string // in the message
		typ    any
	}{
		"altered":                    {change: flip, want: []string{"hello_1.0_amd64.deb", "sha256"}, typ: new(*download.VerifyError)},
		"truncated":                  {change: cut, want: []string{"hello_1.0_amd64.deb", "size"}, typ: new(*download.VerifyError)},
		"too long":                   {change: lengthen, want: []string{"hello_1.0_amd64.deb", "size"}, typ: new(*download.VerifyError)},
		"truncated, length not said": {change: cut, serve: chunked, want: []string{"hello_1.0_amd64.deb", "size"}, typ: new(*download.VerifyError)},
		"too long, length not said":  {change: lengthen, serve: chunked, want: []string{"size: got more"}, typ: new(*download.VerifyError)},
		"gone":                       {change: func([]byte) []byte { return nil }, want: []string{"package hello 1.0", "404"}, typ: new(*download.FetchError)},
		"broken off":                 {serve: brokenOffDeb, want: []string{"package hello 1.0", "unexpected EOF"}, typ: new(*download.FetchError)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			packages := w.locked()[1:] // hello
			path := "/debian/" + packages[0].Filename
			if test.change != nil {
				w.put(path, test.change(slices.Clone(w.files[path])))
			}
			if test.serve != nil {
				w.serve = func(rw http.ResponseWriter, r *http.Request) bool { return test.serve(w, rw, r) }
			}
			_, err := w.client.Fetch(t.Context(), w.mirror, packages)
			if !errors.As(err, test.typ) {
				t.Fatalf("got %T %[1]v, want a %T", err, test.typ)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if files := w.cached(); len(files) > 0 {
				t.Errorf("kept in the cache: %v", files)
			}
		})
	}
}

// chunked sends the headers first, so that the length is not among them.
func chunked(_ *world, rw http.ResponseWriter, _ *http.Request) bool {
	rw.(http.Flusher).Flush()
	return false
}

// brokenOffDeb promises the right length and sends half of it.
func brokenOffDeb(w *world, rw http.ResponseWriter, r *http.Request) bool {
	data := w.files[r.URL.Path]
	rw.Header().Set("Content-Length", fmt.Sprint(len(data)))
	rw.Write(data[:len(data)/2])
	rw.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestFetchPlainFaultsAreNotRetried(t *testing.T) {
	w := newWorld(t)
	packages := w.locked()[1:]
	w.put("/debian/"+packages[0].Filename, nil)
	if _, err := w.client.Fetch(t.Context(), w.mirror, packages); err == nil {
		t.Fatal("no error")
	}
	if hits := w.asked(); len(hits) != 1 {
		t.Errorf("requests: got %v, want one", hits)
	}
}

func TestFetchFullDisk(t *testing.T) {
	w := newWorld(t)
	w.archive.debs[0].data = makeDeb(t, "Package: hello\nVersion: 1.0\nArchitecture: amd64\n")
	w.archive.debs[0].data = append(w.archive.debs[0].data, make([]byte, 1<<20)...)
	packages := w.locked()[1:]
	w.client.CacheDir = t.TempDir()
	if err := syscall.Mount("tmpfs", w.client.CacheDir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("this test mounts a small tmpfs and needs the right to (root, CAP_SYS_ADMIN): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(w.client.CacheDir, 0); err != nil {
			t.Errorf("unmounting %s: %v", w.client.CacheDir, err)
		}
	})
	_, err := w.client.Fetch(t.Context(), w.mirror, packages)
	var fe *download.FetchError
	if !errors.Is(err, syscall.ENOSPC) || errors.As(err, &fe) {
		t.Errorf("got %v, want ENOSPC and no FetchError", err)
	}
	if files := w.cached(); len(files) > 0 {
		t.Errorf("kept in the cache: %v", files)
	}
}

func TestFetchOffline(t *testing.T) {
	w := newWorld(t)
	packages := w.locked()
	if _, err := w.client.Fetch(t.Context(), w.mirror, packages[:1]); err != nil {
		t.Fatal(err)
	}
	w.asked()
	w.client.Offline = true
	if _, err := w.client.Fetch(t.Context(), Mirror{}, packages[:1]); err != nil {
		t.Errorf("what is in the cache: %v", err)
	}
	_, err := w.client.Fetch(t.Context(), Mirror{}, packages)
	var oe *download.OfflineError
	if want := "hello 1.0 is not in the cache, and connections are not allowed (offline)"; !errors.As(err, &oe) || err.Error() != want {
		t.Errorf("what is not: got %v, want an OfflineError %q", err, want)
	}
	if _, err := w.client.FindMirror(t.Context(), os.DirFS(t.TempDir())); !errors.As(err, &oe) {
		t.Errorf("FindMirror: got %v, want an OfflineError", err)
	}
	if hits := w.asked(); len(hits) > 0 {
		t.Errorf("connections were opened: %v", hits)
	}
}

func TestFetchRefusesBadLocks(t *testing.T) {
	good := Package{Name: "a", Version: "1", Arch: "all", Filename: "pool/a.deb", SHA256: strings.Repeat("a", 64), Size: 1, Archive: FromArchive}
	tests := map[string]struct {
		change func(p *Package)
		want   string
	}{
		"digest that climbs":  {func(p *Package) { p.SHA256 = "../../x" }, `"../../x" is not a sha256`},
		"digest in capitals":  {func(p *Package) { p.SHA256 = strings.Repeat("A", 64) }, "is not a sha256"},
		"file that climbs":    {func(p *Package) { p.Filename = "pool/../../x" }, "not a file below the archive"},
		"absolute file":       {func(p *Package) { p.Filename = "/x" }, "not a file below the archive"},
		"no file":             {func(p *Package) { p.Filename = "" }, "not a file below the archive"},
		"no size":             {func(p *Package) { p.Size = 0 }, "size of 0 bytes"},
		"size without bounds": {func(p *Package) { p.Size = 1 << 60 }, "want 1 to"},
		"unknown archive":     {func(p *Package) { p.Archive = "backports" }, `archive "backports"`},
		"no name":             {func(p *Package) { p.Name = "" }, "name or version is missing"},
		"archive without URL": {func(p *Package) { p.Archive = FromSecurity }, "a 1: mirror"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := good
			test.change(&p)
			w.mirror.Security = ""
			_, err := w.client.Fetch(t.Context(), w.mirror, []Package{p})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
			if hits := w.asked(); len(hits) > 0 {
				t.Errorf("connections were opened: %v", hits)
			}
		})
	}
}

func TestPasswordsStayOutOfMessages(t *testing.T) {
	w := newWorld(t)
	packages := w.locked()[1:]
	path := "/debian/" + packages[0].Filename
	secret := func(base string) string { return strings.Replace(base, "://", "://user:hunter2@", 1) }
	m := Mirror{Archive: secret(w.mirror.Archive)}
	for name, data := range map[string][]byte{"404": nil, "altered": flip(slices.Clone(w.files[path]))} {
		w.put(path, data)
		_, err := w.client.Fetch(t.Context(), m, packages)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, base := range []string{"ftp://user:hunter2@mirror.example", "http://user:hunter2@mirror .example"} {
		_, err := w.client.Fetch(t.Context(), Mirror{Archive: base}, packages)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", base, err)
		}
	}
}
