package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// fakeBuilder looks at what a build is given while it is there.
type fakeBuilder struct {
	has    bool
	hasErr error
	err    error
	built  []engine.Build
	files  map[string]string // path below the context and its mode, to content
	extra  []string          // names in the directory of packages
}

func (f *fakeBuilder) Has(context.Context, string) (bool, error) { return f.has, f.hasErr }

func (f *fakeBuilder) Build(_ context.Context, b engine.Build) error {
	f.built, f.files = append(f.built, b), map[string]string{}
	root := b.Locals["context"].Dir
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		content := "dir"
		if d.Type() == fs.ModeSymlink {
			content, err = os.Readlink(p)
		} else if !d.IsDir() {
			var data []byte
			data, err = os.ReadFile(p)
			content = string(data)
		}
		f.files[rel+" "+info.Mode().String()] = content
		return err
	})
	found, rerr := os.ReadDir(b.Locals["debs"].Dir)
	for _, e := range found {
		f.extra = append(f.extra, e.Name())
	}
	return errors.Join(err, rerr, f.err)
}

func component() Component {
	return Component{
		Name: "dhcp", Arch: "amd64", Base: "hookbuild/debian:base-amd64-0", Packages: []string{"aa", "bb"},
		Files: fstest.MapFS{
			"Dockerfile":    {Data: []byte("FROM scratch\n"), Mode: 0o600},
			"etc/conf/dhcp": {Data: []byte{0, 1, 0xff, '\n'}, Mode: 0o755},
			"empty":         {Mode: 0o444},
			"etc/to-dir":    {Data: []byte("conf"), Mode: fs.ModeSymlink},
			"etc/to-none":   {Data: []byte("/run/none"), Mode: fs.ModeSymlink},
		},
	}
}

func TestDigest(t *testing.T) {
	sum := func(files fstest.MapFS) string {
		t.Helper()
		got, err := Digest(files)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	one := func(name, content string) fstest.MapFS { return fstest.MapFS{name: {Data: []byte(content)}} }
	want := sum(one("a", "x"))
	other := one("a", "x")
	other["a"].Mode, other["a"].ModTime = 0o755, time.Unix(1, 0)
	if sum(other) != want {
		t.Error("mode and time change the digest")
	}
	seen := map[string]string{want: "a=x"}
	for name, files := range map[string]fstest.MapFS{
		"content":               one("a", "y"),
		"name":                  one("b", "x"),
		"directory":             one("d/a", "x"),
		"no content":            one("a", ""),
		"nothing":               {},
		"another file":          {"a": {Data: []byte("x")}, "b": {}},
		"a name with a newline": one("a 1\nxb", ""),
		"a symlink":             {"a": {Data: []byte("x"), Mode: fs.ModeSymlink}},
		"another symlink":       {"a": {Data: []byte("y"), Mode: fs.ModeSymlink}},
	} {
		got := sum(files)
		if as, ok := seen[got]; ok {
			t.Errorf("%s: the digest of %s", name, as)
		}
		seen[got] = name
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	if got, err := Digest(os.DirFS(dir)); got != want || err != nil {
		t.Errorf("on disk: got %s, %v; want %s", got, err, want)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Digest(os.DirFS(dir)); err == nil || err.Error() != "fifo is neither a file nor a directory nor a symlink" {
		t.Errorf("a fifo: got %v", err)
	}
	if _, err := Digest(os.DirFS(filepath.Join(dir, "none"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: got %v", err)
	}
}

func TestComponentRef(t *testing.T) {
	ref := func(change func(c *Component)) string {
		t.Helper()
		c := component()
		change(&c)
		got, err := c.Ref()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	seen := map[string]string{}
	for name, change := range map[string]func(*Component){
		"nothing":      func(*Component) {},
		"name":         func(c *Component) { c.Name = "init" },
		"architecture": func(c *Component) { c.Arch = "arm64" },
		"base":         func(c *Component) { c.Base += "1" },
		"package":      func(c *Component) { c.Packages = []string{"aa", "cc"} },
		"no package":   func(c *Component) { c.Packages = nil },
		"file":         func(c *Component) { c.Files = fstest.MapFS{"Dockerfile": {}} },
	} {
		got := ref(change)
		if as, ok := seen[got]; ok {
			t.Errorf("%s: the name of %s", name, as)
		}
		seen[got] = name
		if !strings.HasPrefix(got, "hookbuild/component:") {
			t.Errorf("got %s", got)
		}
	}
	if a, b := ref(func(*Component) {}), ref(func(*Component) {}); a != b {
		t.Errorf("got %s and %s", a, b)
	}
}

func TestEnsureBuilds(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077)) // what is built must not depend on it
	c := component()
	debs := t.TempDir()
	tmp := filepath.Join(t.TempDir(), "cache", "not", "there", "yet")
	f := &fakeBuilder{}
	ref, err := c.Ensure(t.Context(), f, tmp, func(context.Context) (string, error) { return debs, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := f.built[0]
	if want, _ := c.Ref(); ref != want || b.Tag != want {
		t.Errorf("got %s, built %s, want %s", ref, b.Tag, want)
	}
	want := map[string]string{
		". drwxr-xr-x": "dir", "etc drwxr-xr-x": "dir", "etc/conf drwxr-xr-x": "dir",
		"Dockerfile -rw-r--r--": "FROM scratch\n", "etc/conf/dhcp -rw-r--r--": "\x00\x01\xff\n", "empty -rw-r--r--": "",
		"etc/to-dir Lrwxrwxrwx": "conf", "etc/to-none Lrwxrwxrwx": "/run/none",
	}
	if diff := cmp.Diff(want, f.files); diff != "" {
		t.Error(diff)
	}
	if got := b.Locals["debs"]; got.Dir != debs || !slices.Equal(got.Include, []string{"aa.deb", "bb.deb"}) {
		t.Errorf("got packages %+v", got)
	}
	if b.Args["BASE"] != c.Base || !slices.Equal(b.Contexts, []string{"debs"}) || b.Definition != nil {
		t.Errorf("got build %+v", b)
	}
	nothingLeft(t, tmp)
}

func nothingLeft(t *testing.T, tmp string) {
	t.Helper()
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// No list of names would mean all files; a component without packages must get an empty directory.
func TestEnsureOffersNoPackageWhenNoneIsAskedFor(t *testing.T) {
	c := component()
	c.Packages = nil
	debs := t.TempDir()
	if err := os.WriteFile(filepath.Join(debs, "cc.deb"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f := &fakeBuilder{}
	if _, err := c.Ensure(t.Context(), f, t.TempDir(), func(context.Context) (string, error) { return debs, nil }, nil); err != nil {
		t.Fatal(err)
	}
	if len(f.extra) != 0 {
		t.Errorf("got packages %q, want none", f.extra)
	}
}

func TestEnsureUsesWhatIsThere(t *testing.T) {
	f := &fakeBuilder{has: true}
	ref, err := component().Ensure(t.Context(), f, t.TempDir(), func(context.Context) (string, error) {
		t.Error("packages are fetched")
		return "", nil
	}, nil)
	if want, _ := component().Ref(); err != nil || ref != want || len(f.built) != 0 {
		t.Errorf("got %s, %v, %d builds", ref, err, len(f.built))
	}
}

func TestEnsureFailures(t *testing.T) {
	fault := errors.New("the cause")
	link := component()
	link.Files = os.DirFS(t.TempDir() + "/none")
	for _, c := range []struct {
		name    string
		c       Component
		builder fakeBuilder
		debs    error
		want    string
	}{
		{"the engine is gone", component(), fakeBuilder{hasErr: fault}, nil, "the cause"},
		{"packages", component(), fakeBuilder{}, fault, "the cause"},
		{"the build", component(), fakeBuilder{err: fault}, nil, "component dhcp: the cause"},
		{"no such directory", link, fakeBuilder{}, nil, "component dhcp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tmp := t.TempDir()
			debs := t.TempDir()
			_, err := c.c.Ensure(t.Context(), &c.builder, tmp, func(context.Context) (string, error) { return debs, c.debs }, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			nothingLeft(t, tmp)
		})
	}
}
