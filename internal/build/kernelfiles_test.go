package build

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/download"
)

// lay makes a directory: "name/" is one, "name!" is executable, "-> x" is a link to x.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name, executable := strings.CutSuffix(name, "!")
		file := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		target, link := strings.CutPrefix(text, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			err = errors.Join(err, os.MkdirAll(file, 0o755))
		case link:
			err = errors.Join(err, os.Symlink(target, file))
		case executable:
			err = errors.Join(err, os.WriteFile(file, []byte(text), 0o755))
		default:
			err = errors.Join(err, os.WriteFile(file, []byte(text), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sumOf(t *testing.T, dir string) string {
	t.Helper()
	sum, err := treeSum(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

var tree = map[string]string{"Kbuild": "x", "scripts/run!": "#!/bin/sh", "link": "-> scripts/run", "empty/": "", "a/b/c.c": "int c;"}

func TestTreeSum(t *testing.T) {
	want := sumOf(t, lay(t, tree))
	for _, c := range []struct {
		name   string
		change func(dir string) error
		same   bool
	}{
		{"nothing", func(string) error { return nil }, true},
		{"a file's content", func(dir string) error { return os.WriteFile(filepath.Join(dir, "Kbuild"), []byte("y"), 0o644) }, false},
		{"a file's name", func(dir string) error { return os.Rename(filepath.Join(dir, "Kbuild"), filepath.Join(dir, "kbuild")) }, false},
		{"a file's place", func(dir string) error { return os.Rename(filepath.Join(dir, "a/b/c.c"), filepath.Join(dir, "a/c.c")) }, false},
		{"one file more", func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o644) }, false},
		{"an empty directory less", func(dir string) error { return os.Remove(filepath.Join(dir, "empty")) }, false},
		{"a directory in a file's place", func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "Kbuild")), os.Mkdir(filepath.Join(dir, "Kbuild"), 0o755))
		}, false},
		{"a program", func(dir string) error { return os.Chmod(filepath.Join(dir, "Kbuild"), 0o755) }, false},
		{"no program", func(dir string) error { return os.Chmod(filepath.Join(dir, "scripts/run"), 0o644) }, false},
		{"a link's target", func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "link")), os.Symlink("Kbuild", filepath.Join(dir, "link")))
		}, false},
		{"a file with the target's name in the link's place", func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "link")), os.WriteFile(filepath.Join(dir, "link"), []byte("scripts/run"), 0o644))
		}, false},
		{"other modes", func(dir string) error {
			return errors.Join(os.Chmod(filepath.Join(dir, "Kbuild"), 0o600), os.Chmod(filepath.Join(dir, "a"), 0o700))
		}, true},
		{"other times", func(dir string) error {
			return os.Chtimes(filepath.Join(dir, "Kbuild"), time.Unix(1, 0), time.Unix(1, 0))
		}, true},
		{"version control", func(dir string) error {
			return errors.Join(os.MkdirAll(filepath.Join(dir, ".git/objects"), 0o755), os.WriteFile(filepath.Join(dir, ".git/HEAD"), []byte("x"), 0o644))
		}, true},
		{"version control's link to elsewhere", func(dir string) error { return os.WriteFile(filepath.Join(dir, ".git"), []byte("gitdir: x"), 0o644) }, true},
		{"a directory of that name further down", func(dir string) error { return os.MkdirAll(filepath.Join(dir, "a/.git"), 0o755) }, false},
	} {
		dir := lay(t, tree)
		if err := c.change(dir); err != nil {
			t.Fatal(err)
		}
		if got := sumOf(t, dir); (got == want) != c.same {
			t.Errorf("%s: the digest is the same: %v, want %v", c.name, got == want, c.same)
		}
	}
	// Names must not run into what follows them.
	if sumOf(t, lay(t, map[string]string{"a\nb": ""})) == sumOf(t, lay(t, map[string]string{"a": "", "b": ""})) {
		t.Error("a line end in a name is taken for the end of an entry")
	}
}

// oddities are what a directory may hold and a source does not.
func oddities(t *testing.T) map[string]string {
	t.Helper()
	withPipe, withSocket := lay(t, tree), lay(t, tree)
	if err := syscall.Mkfifo(filepath.Join(withPipe, "a/pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(withSocket, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return map[string]string{"a/pipe": withPipe, "socket": withSocket}
}

func TestTreeSumRefuses(t *testing.T) {
	for name, dir := range oddities(t) {
		if _, err := treeSum(dir, nil); err == nil || !strings.Contains(err.Error(), name+" is neither a file nor a directory nor a symlink") {
			t.Errorf("%s: got %v", name, err)
		}
		if err := packTo(io.Discard, dir, nil); err == nil {
			t.Errorf("%s: packed", name)
		}
	}
	if _, err := treeSum(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestNewInput(t *testing.T) {
	dir := lay(t, tree)
	file := filepath.Join(dir, "Kbuild")
	sum := hexSum([]byte("x"))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, from, want string
		sum              string
		dir              bool
	}{
		{"a file", file, "", sum, false},
		{"a file with its digest", file, sum, sum, false},
		{"a directory", dir, "", sumOf(t, dir), true},
		{"a link to a directory", link, "", sumOf(t, dir), true},
		{"a URL", "https://mirror.example/x.tar", strings.Repeat("a", 64), strings.Repeat("a", 64), false},
	} {
		in, err := newInput("kernel", c.from, c.want, ".deb")
		if err != nil || in.sha256 != c.sum || in.dir != c.dir || in.name() != c.sum+".deb" {
			t.Errorf("%s: got %+v, %v", c.name, in, err)
		}
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	var bad *InputError
	for from, want := range map[string]string{
		filepath.Join(dir, "none"): "kernel: stat ", pipe: "is neither a file nor a directory", oddities(t)["socket"]: "socket is neither",
	} {
		if _, err := newInput("kernel", from, "", ""); !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an *InputError with %q", err, want)
		}
	}
	var ve *download.VerifyError
	if _, err := newInput("kernel", file, strings.Repeat("b", 64), ""); !errors.As(err, &ve) || ve.Got != sum || ve.File != file {
		t.Errorf("another digest: got %v", err)
	}
}

// keeper has a cache, and a client that may use the network.
func keeper(t *testing.T) *Builder {
	return &Builder{Cache: t.TempDir(), Download: &download.Client{}, Report: &heard{}}
}

func kept(t *testing.T, b *Builder, in input) string {
	t.Helper()
	name, err := b.keep(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(b.inputDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// nothingIn says that a failure has left no file in the cache.
func nothingIn(t *testing.T, b *Builder) {
	t.Helper()
	left, err := os.ReadDir(b.inputDir())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("left in the cache: %v", left)
	}
}

func TestKeepFile(t *testing.T) {
	b := keeper(t)
	file := filepath.Join(t.TempDir(), "mine.patch")
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(file, "content")
	in, err := newInput("patch", file, "", ".deb")
	if err != nil {
		t.Fatal(err)
	}
	if got := kept(t, b, in); got != "content" {
		t.Errorf("got %q", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := kept(t, b, in); got != "content" {
		t.Errorf("from the cache: got %q", got)
	}
	dest := filepath.Join(b.inputDir(), in.name())
	write(file, "content")
	write(dest, "damaged")
	if got := kept(t, b, in); got != "content" {
		t.Errorf("after damage: got %q", got)
	}
	// A file that has changed since the plan was made is not the one of the plan.
	write(file, "changed")
	write(dest, "damaged")
	if err := os.Remove(dest); err != nil {
		t.Fatal(err)
	}
	var ve *download.VerifyError
	if _, err := b.keep(t.Context(), in); !errors.As(err, &ve) || ve.Got != hexSum([]byte("changed")) || !strings.HasPrefix(ve.Want, in.sha256) {
		t.Errorf("changed: got %v", err)
	}
	nothingIn(t, b)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := b.keep(t.Context(), in); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("gone: got %v", err)
	}
}

func TestKeepDirectory(t *testing.T) {
	b := keeper(t)
	dir := lay(t, join(tree, map[string]string{".git/HEAD": "x"}))
	in, err := newInput("external module x", dir, "", "")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := tar.NewReader(strings.NewReader(kept(t, b, in))); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case h.Typeflag == tar.TypeSymlink:
			data = []byte("-> " + h.Linkname)
		case h.Typeflag == tar.TypeReg && h.Mode&0o100 != 0:
			h.Name += "!"
		case h.Typeflag == tar.TypeDir:
			h.Name = strings.TrimSuffix(h.Name, "/") + "/"
		}
		got[h.Name] = string(data)
	}
	if diff := cmp.Diff(join(tree, map[string]string{"scripts/": "", "a/": "", "a/b/": ""}), got); diff != "" {
		t.Error(diff)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	kept(t, b, in) // is not packed again
	b, dir = keeper(t), lay(t, tree)
	if in, err = newInput("external module x", dir, "", ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Kbuild"), []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	var ve *download.VerifyError
	if _, err := b.keep(t.Context(), in); !errors.As(err, &ve) || ve.Got != sumOf(t, dir) {
		t.Errorf("changed: got %v", err)
	}
	nothingIn(t, b)
}

// A copy has what the digest is of, and nothing that depends on modes and the umask.
func TestSnapshot(t *testing.T) {
	dir := lay(t, join(tree, map[string]string{".git/HEAD": "x"}))
	at := time.Unix(1_000_000_000, 0)
	err := errors.Join(os.Chmod(filepath.Join(dir, "Kbuild"), 0o600), os.Chmod(filepath.Join(dir, "a"), 0o700), os.Chtimes(filepath.Join(dir, "a/b/c.c"), at, at))
	if err != nil {
		t.Fatal(err)
	}
	in, err := newInput("kernel", dir, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Umask(syscall.Umask(0o077))
	dest := t.TempDir()
	if err := in.snapshot(t.Context(), dest); err != nil || sumOf(t, dest) != in.sha256 {
		t.Fatalf("got %v", err)
	}
	for name, want := range map[string]fs.FileMode{"Kbuild": 0o644, "scripts/run": 0o755, "a": 0o755 | fs.ModeDir, "a/b/c.c": 0o644} {
		info, err := os.Stat(filepath.Join(dest, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v, want mode %v", name, info, err, want)
		}
		if name == "a/b/c.c" && !info.ModTime().Equal(at) {
			t.Errorf("%s: got time %v, want %v", name, info.ModTime(), at)
		}
	}
	if _, err := os.Lstat(filepath.Join(dest, ".git")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what version control keeps: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := in.snapshot(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	if err := in.snapshot(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no place to copy to: got %v", err)
	}
}

// What an earlier build has left in an external module's directory is not part of it.
func TestExternalModuleWithoutBuildProducts(t *testing.T) {
	source := map[string]string{
		"Kbuild": "obj-m := hello.o\n", "hello.c": "int c;", "blob.o_shipped": "x", "src/kobject.c": "", "src/x.mod.h": "", "src/o": "", "notes.cmd": "",
		"old.o/kept.c": "", "link": "-> hello.c",
	}
	products := map[string]string{
		"hello.o": "1", "hello.ko": "2", "hello.mod": "3", "hello.mod.c": "4", "hello.mod.o": "5", ".hello.o.cmd": "6", "Module.symvers": "7",
		"modules.order": "8", ".Module.symvers.cmd": "9", "src/deep.o": "10", "src/.deep.o.cmd": "11", "other.ko": "-> hello.ko",
	}
	clean, err := newModule(config.ExternalModule{Name: "hello", URL: lay(t, source)})
	if err != nil {
		t.Fatal(err)
	}
	dir := lay(t, join(source, products))
	built, err := newModule(config.ExternalModule{Name: "hello", URL: dir})
	if err != nil || built.sha256 != clean.sha256 {
		t.Errorf("got %s, %v; want %s as without build products", built.sha256, err, clean.sha256)
	}
	b := keeper(t)
	var names []string
	for r := tar.NewReader(strings.NewReader(kept(t, b, built))); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	want := []string{"Kbuild", "blob.o_shipped", "hello.c", "link", "notes.cmd", "old.o", "old.o/kept.c", "src", "src/kobject.c", "src/o", "src/x.mod.h"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	// A build beside it is no change.
	again := keeper(t)
	if err := os.WriteFile(filepath.Join(dir, "hello.o"), []byte("built again"), 0o644); err != nil {
		t.Fatal(err)
	}
	kept(t, again, built)
	whole, err := newInput("kernel", dir, "", "")
	if err != nil || whole.sha256 == clean.sha256 {
		t.Errorf("of a kernel's directory everything counts: got %s, %v", whole.sha256, err)
	}
}

func join(all ...map[string]string) map[string]string {
	sum := map[string]string{}
	for _, m := range all {
		for k, v := range m {
			sum[k] = v
		}
	}
	return sum
}

func TestKeepURL(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path != "/linux.tar" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, "the source")
	}))
	t.Cleanup(srv.Close)
	b, h := keeper(t), &heard{}
	b.Report = h
	good := input{from: srv.URL + "/linux.tar", sha256: hexSum([]byte("the source"))}
	if !config.IsURL(good.from) {
		t.Fatal("not a URL")
	}
	for range 2 {
		if got := kept(t, b, good); got != "the source" || asked.Load() != 1 {
			t.Errorf("got %q after %d requests", got, asked.Load())
		}
	}
	if !h.has("count kernel linux.tar 10/0") {
		t.Errorf("heard %q", h.lines)
	}
	b = keeper(t)
	var ve *download.VerifyError
	var fe *download.FetchError
	var offline *download.OfflineError
	bad := good
	bad.sha256 = strings.Repeat("a", 64)
	if _, err := b.keep(t.Context(), bad); !errors.As(err, &ve) || ve.Got != good.sha256 {
		t.Errorf("another content: got %v", err)
	}
	bad.from = srv.URL + "/none"
	if _, err := b.keep(t.Context(), bad); !errors.As(err, &fe) || fe.Status != http.StatusNotFound {
		t.Errorf("nothing there: got %v", err)
	}
	b.Download.Offline = true
	if _, err := b.keep(t.Context(), good); !errors.As(err, &offline) {
		t.Errorf("offline: got %v", err)
	}
	nothingIn(t, b)
}

func TestPack(t *testing.T) {
	dir := lay(t, tree)
	in, err := newInput("x", dir, "", "")
	if err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(full, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := pack(in, filepath.Join(full, "dest")); err == nil {
		t.Error("no place to write to: no error")
	}
	digest := sha256.New()
	if err := packTo(digest, dir, nil); err != nil {
		t.Fatal(err)
	}
	first := hex.EncodeToString(digest.Sum(nil))
	digest.Reset()
	if err := packTo(digest, dir, nil); err != nil || hex.EncodeToString(digest.Sum(nil)) != first {
		t.Errorf("packed twice, it differs: %v", err)
	}
}
