package build

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
)

func text(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func TestOverlay(t *testing.T) {
	upper := fstest.MapFS{"a": text("upper"), "d/both": text("upper"), "d/upper": text("x"), "file-over-dir": text("upper"), "dir-over-file/x": text("upper")}
	lower := fstest.MapFS{"a": text("lower"), "b": text("lower"), "d/both": text("lower"), "d/lower": text("y"), "e/f/g": text("lower"), "file-over-dir/x": text("lower"), "dir-over-file": text("lower")}
	o := Overlay{Upper: upper, Lower: lower}
	delete(lower, "file-over-dir/x") // TestFS does not know of it; below
	if err := fstest.TestFS(o, "a", "b", "d/both", "d/upper", "d/lower", "e/f/g", "file-over-dir", "dir-over-file/x"); err != nil {
		t.Error(err)
	}
	lower["file-over-dir/x"] = text("lower")
	for name, want := range map[string]string{"a": "upper", "b": "lower", "d/both": "upper", "file-over-dir": "upper", "e/f/g": "lower"} {
		if got, err := fs.ReadFile(o, name); string(got) != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := o.ReadDir("file-over-dir"); err == nil {
		t.Error("a file that hides a directory is listed as the directory")
	}
	if _, err := o.Open("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: got %v", err)
	}
	if _, err := o.ReadDir("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: got %v", err)
	}
}

func TestOverlaySymlinks(t *testing.T) {
	link := func(to string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink} }
	o := Overlay{Upper: fstest.MapFS{"a": link("upper"), "upper": text("")}, Lower: fstest.MapFS{"a": link("lower"), "d/b": link("c"), "d/c": text("")}}
	for name, want := range map[string]string{"a": "upper", "d/b": "c"} {
		if got, err := fs.ReadLink(o, name); got != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
		if info, err := fs.Lstat(o, name); err != nil || info.Mode().Type() != fs.ModeSymlink {
			t.Errorf("%s: got %v, %v", name, info, err)
		}
	}
	if _, err := fs.ReadLink(o, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing symlink: got %v", err)
	}
}

func TestOverlayDirectoryInPieces(t *testing.T) {
	o := Overlay{Upper: fstest.MapFS{"d/b": text("")}, Lower: fstest.MapFS{"d/a": text(""), "d/c": text("")}}
	f, err := o.Open("d")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for {
		some, err := f.(fs.ReadDirFile).ReadDir(2)
		if err == io.EOF {
			break
		}
		if err != nil || len(some) == 0 {
			t.Fatalf("got %v, %v", some, err)
		}
		for _, e := range some {
			names = append(names, e.Name())
		}
	}
	if !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("got %q", names)
	}
}

// A project need not have the directory at all.
func TestOverlayOverAMissingDirectory(t *testing.T) {
	upper, err := fs.Sub(os.DirFS(t.TempDir()), "userland")
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(Overlay{Upper: upper, Lower: fstest.MapFS{"a/b": text("x")}}, "a/b"); err != nil {
		t.Error(err)
	}
}

// broken fails in a way that must not be taken for "there is nothing".
type broken struct{ err error }

func (b broken) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: b.err}
}

func TestOverlayReportsFaults(t *testing.T) {
	good := fstest.MapFS{"d/a": text("x")}
	for name, o := range map[string]Overlay{
		"upper": {Upper: broken{fs.ErrPermission}, Lower: good},
		"lower": {Upper: good, Lower: broken{fs.ErrPermission}},
	} {
		if _, err := o.ReadDir("d"); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: ReadDir: got %v", name, err)
		}
		if _, err := o.Open("d"); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: Open: got %v", name, err)
		}
	}
}

func TestOverlayOfSubdirectoriesOnDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "dhcp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dhcp", "script"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Overlay{Upper: os.DirFS(dir), Lower: fstest.MapFS{"dhcp/script": text("theirs"), "dhcp/Dockerfile": text("FROM scratch")}}
	sub, err := fs.Sub(o, "dhcp")
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(sub, "script", "Dockerfile"); err != nil {
		t.Error(err)
	}
}
