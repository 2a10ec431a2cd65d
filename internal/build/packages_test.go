package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/download"
)

// packageOf is a pinned package with that content.
func packageOf(name, content string) debian.Package {
	sum := sha256.Sum256([]byte(content))
	return debian.Package{
		Name: name, Version: "1", Arch: "amd64", Filename: "pool/" + name + ".deb", SHA256: hex.EncodeToString(sum[:]),
		Size: int64(len(content)), Archive: debian.FromArchive,
	}
}

// pool is a mirror that holds packages by name and counts what it is asked.
func pool(t *testing.T, content map[string]string) (url string, asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, ok := content[strings.TrimSuffix(filepath.Base(r.URL.Path), ".deb")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	return srv.URL, asked
}

func TestPackagesFetch(t *testing.T) {
	url, asked := pool(t, map[string]string{"a": "content of a", "b": "content of b"})
	p := &Packages{Client: &debian.Client{CacheDir: t.TempDir()}, Mirror: debian.Mirror{Archive: url, Security: url}, Apt: fstest.MapFS{}}
	pkgs := []debian.Package{packageOf("a", "content of a"), packageOf("b", "content of b")}
	var last [2]int64
	files, err := p.Fetch(t.Context(), pkgs, func(_ string, done, total int64) { last = [2]int64{done, total} })
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(p.Dir(), pkgs[0].SHA256+".deb"); files[pkgs[0].SHA256] != want {
		t.Errorf("got %s, want %s", files[pkgs[0].SHA256], want)
	}
	if last != [2]int64{24, 24} || asked.Load() != 2 {
		t.Errorf("got progress %v after %d requests", last, asked.Load())
	}
	if p.Client.Progress != nil || p.Client.Offline {
		t.Error("the client was changed")
	}
	silent := func(string, int64, int64) { t.Error("progress of what is in the cache") }
	if _, err := p.Fetch(t.Context(), pkgs, silent); err != nil || asked.Load() != 2 {
		t.Errorf("again: %v, %d requests", err, asked.Load())
	}
	if err := os.WriteFile(files[pkgs[1].SHA256], []byte("content of c"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Fetch(t.Context(), pkgs, nil); err != nil || asked.Load() != 3 {
		t.Errorf("a damaged file: %v, %d requests, want 3", err, asked.Load())
	}
}

// With everything in the cache, no mirror is even looked for.
func TestPackagesFetchNeedsNoMirrorWhenAllIsCached(t *testing.T) {
	dir := t.TempDir()
	pkg := packageOf("a", "content of a")
	file := filepath.Join(dir, "debs", pkg.SHA256+".deb")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("content of a"), 0o644)); err != nil {
		t.Fatal(err)
	}
	p := &Packages{Client: &debian.Client{CacheDir: dir}, Apt: broken{errors.New("apt was read")}}
	if files, err := p.Fetch(t.Context(), []debian.Package{pkg}, nil); err != nil || files[pkg.SHA256] != file {
		t.Errorf("got %v, %v", files, err)
	}
	if _, err := p.Fetch(t.Context(), []debian.Package{packageOf("b", "b")}, nil); err == nil || !strings.Contains(err.Error(), "apt was read") {
		t.Errorf("with one missing: got %v", err)
	}
}

func TestPackagesOffline(t *testing.T) {
	url, asked := pool(t, map[string]string{"a": "content of a"})
	p := &Packages{Client: &debian.Client{CacheDir: t.TempDir(), Offline: true, Now: time.Now}, Mirror: debian.Mirror{Archive: url}, Apt: broken{errors.New("apt was read")}}
	var missing *download.OfflineError
	if _, err := p.Fetch(t.Context(), []debian.Package{packageOf("a", "content of a")}, nil); !errors.As(err, &missing) || missing.Name != "a 1" {
		t.Errorf("got %v, want a *download.OfflineError with the package's name", err)
	}
	_, err := p.Index(t.Context(), debian.IndexRequest{Suite: "trixie", Archs: []string{"amd64"}, Components: []string{"main"}})
	if !errors.As(err, &missing) {
		t.Errorf("index: got %v, want a *download.OfflineError", err)
	}
	if asked.Load() != 0 {
		t.Errorf("%d requests", asked.Load())
	}
}

func TestPackagesMirror(t *testing.T) {
	host := broken{errors.New("apt was read")}
	both := debian.Mirror{Archive: "https://mirror.example/debian", Security: "https://mirror.example/security"}
	for _, c := range []struct {
		name  string
		given debian.Mirror
		want  string // part of the error
	}{
		{"both are given", both, ""},
		{"the archive is given", debian.Mirror{Archive: both.Archive}, ""},
		{"only security is given", debian.Mirror{Security: both.Security}, "apt was read"},
		{"nothing is given", debian.Mirror{}, "apt was read"},
	} {
		p := &Packages{Client: &debian.Client{CacheDir: t.TempDir()}, Mirror: c.given, Apt: host}
		got, err := p.mirror(t.Context())
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if err == nil && got != c.given {
			t.Errorf("%s: got %+v", c.name, got)
		}
		p.Apt = broken{errors.New("read again")}
		if _, again := p.mirror(t.Context()); (again == nil) != (err == nil) {
			t.Errorf("%s: the second time %v, the first time %v", c.name, again, err)
		}
	}
}

func TestPackagesCancelled(t *testing.T) {
	url, _ := pool(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := &Packages{Client: &debian.Client{CacheDir: t.TempDir()}, Mirror: debian.Mirror{Archive: url, Security: url}}
	if _, err := p.Fetch(ctx, []debian.Package{packageOf("a", "a")}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
