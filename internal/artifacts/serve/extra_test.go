package serve

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// write makes a file that was changed long ago, as far as its modification time goes.
func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// extraDir is a directory with one file to serve, and everything that must not be.
func extraDir(t *testing.T) (dir string, content []byte) {
	t.Helper()
	outside := t.TempDir()
	write(t, filepath.Join(outside, "secret"), []byte("secret"))
	dir, content = t.TempDir(), bytes.Repeat([]byte("os image "), 1000)
	write(t, filepath.Join(dir, "os-1.31.gz"), content)
	write(t, filepath.Join(dir, "empty"), nil)
	write(t, filepath.Join(dir, ".hidden"), content)
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "sub", "file"), content)
	for name, target := range map[string]string{
		"inside": "os-1.31.gz", "outside": filepath.Join(outside, "secret"), "dangling": "nowhere", "round": "round",
		"up": "../" + filepath.Base(outside) + "/secret",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, content
}

func TestExtra(t *testing.T) {
	dir, content := extraDir(t)
	addr := start(t, Options{Store: newStore(t), Extra: dir, Now: time.Now}).addr
	tests := []struct {
		path   string
		status int
	}{
		{"/extra/os-1.31.gz", 200}, {"//extra//os-1.31.gz/", 200}, {"/extra/inside", 200}, {"/extra/empty", 200},
		{"/extra", 404}, {"/extra/", 404}, {"/os-1.31.gz", 404}, {"/hook/extra/os-1.31.gz", 404}, {"/extra/none", 404},
		{"/extra/.hidden", 404}, {"/extra/%2ehidden", 404}, {"/extra/sub", 404}, {"/extra/sub/file", 404}, {"/extra/sub%2Ffile", 404},
		{"/extra/outside", 404}, {"/extra/up", 404}, {"/extra/dangling", 404}, {"/extra/round", 404}, {"/extra/pipe", 404},
		{"/extra/..", 404}, {"/extra/../extra/os-1.31.gz", 404}, {`/extra/..\secret`, 404}, {"/extra/os-1.31.gz%00", 404},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			resp, body := get(t, addr, tt.path, "")
			if resp.StatusCode != tt.status || strings.Contains(string(body), "secret") {
				t.Fatalf("got %s, want %d\n%s", resp.Status, tt.status, body)
			}
			if tt.status == 200 && tt.path != "/extra/empty" && !bytes.Equal(body, content) {
				t.Errorf("got %d bytes, want the file", len(body))
			}
		})
	}
	resp, body := get(t, addr, "/extra/os-1.31.gz", "Range: bytes=-9\r\n")
	if resp.StatusCode != 206 || string(body) != "os image " {
		t.Errorf("range: got %s, %q", resp.Status, body)
	}
}

// TestExtraTag holds what makes the tag a strong validator.
func TestExtraTag(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	tag := func(later time.Duration) string {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return extraTag(info, info.ModTime().Add(later))
	}
	write(t, path, []byte("one"))
	if got := tag(0); !strings.HasPrefix(got, `W/"`) {
		t.Errorf("just changed: got %s, want a weak one", got)
	}
	first := tag(time.Minute)
	if !strings.HasPrefix(first, `"`) || first != tag(time.Hour) {
		t.Errorf("got %s and %s, want one strong tag", first, tag(time.Hour))
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // more than a tick of the file system's clock
	write(t, path, []byte("two"))
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if got := tag(time.Minute); got == first {
		t.Errorf("same size and modification time, other content: got the same tag %s", got)
	}
}

func TestNoExtra(t *testing.T) {
	addr := start(t, Options{Store: newStore(t)}).addr
	if resp, _ := get(t, addr, "/extra/passwd", ""); resp.StatusCode != 404 {
		t.Errorf("got %s", resp.Status)
	}
	err := Run(t.Context(), Options{Listen: "127.0.0.1:0", Store: newStore(t), Extra: filepath.Join(t.TempDir(), "none")})
	var bad *OptionError
	if !errors.As(err, &bad) || bad.Option != "Extra" {
		t.Errorf("a directory that is not there: got %v", err)
	}
}

func TestGenerations(t *testing.T) {
	store := newStore(t)
	one := mustPublish(t, store, "one", 1000).Manifests[plan.X8664].PlanID
	two := mustPublish(t, store, "two", 1000).Manifests[plan.X8664].PlanID
	addr := start(t, Options{Store: store}).addr
	for id, recipe := range map[string]string{one: "one", two: "two"} {
		resp, body := get(t, addr, "/generations/"+id+"/"+initramfs, "")
		if want := content(initramfs, recipe, 1000); resp.StatusCode != 200 || !bytes.Equal(body, want) || resp.Header.Get("ETag") != quote(sum(want)) {
			t.Errorf("%s: got %s, %d bytes", recipe, resp.Status, len(body))
		}
		if got := resp.Header.Get("Cache-Control"); got != immutable {
			t.Errorf("Cache-Control: got %q", got)
		}
	}
	manifest, err := os.ReadFile(filepath.Join(store.Dir(), "generations", one, artifacts.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	resp, body := get(t, addr, "/generations/"+one+"/"+artifacts.ManifestName, "")
	if resp.StatusCode != 200 || !bytes.Equal(body, manifest) || resp.Header.Get("ETag") != quote(sum(manifest)) ||
		resp.Header.Get("Cache-Control") != mayChange || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("manifest: got %s, %v, %d bytes", resp.Status, resp.Header, len(body))
	}
	if resp, body := get(t, addr, "/generations/"+one+"/"+artifacts.ManifestName, "Range: bytes=-9\r\n"); resp.StatusCode != 206 || !bytes.HasSuffix(manifest, body) || len(body) != 9 {
		t.Errorf("part of the manifest: got %s, %q", resp.Status, body)
	}
	for path, status := range map[string]int{
		"/generations/" + one + "/" + artifacts.ReportName:    200,
		"//generations//" + one + "//" + kernel + "/":         200,
		"/generations/" + one + "/none":                       404,
		"/generations/" + one:                                 404,
		"/generations":                                        404,
		"/generations/../" + kernel:                           404,
		"/generations/" + one[:63] + "0/" + kernel:            404,
		"/generations/" + strings.ToUpper(one) + "/" + kernel: 404,
		"/generations/%2e%2e/" + kernel:                       404,
		"/hook/generations/" + one + "/" + kernel:             404,
	} {
		if resp, _ := get(t, addr, path, ""); resp.StatusCode != status {
			t.Errorf("%s: got %s, want %d", path, resp.Status, status)
		}
	}
	if resp, _ := get(t, addr, "/"+initramfs, ""); resp.Header.Get("Cache-Control") != mayChange {
		t.Errorf("what is published: Cache-Control: got %q", resp.Header.Get("Cache-Control"))
	}
	if resp, _ := get(t, addr, "/generations/"+one+"/"+kernel, "If-None-Match: "+quote(sum(content(kernel, "one", 1000)))+"\r\n"); resp.StatusCode != http.StatusNotModified {
		t.Errorf("If-None-Match: got %s", resp.Status)
	}
}
