package library

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"

	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/hardware/kbuild"
)

func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))})
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compressed(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// deb is a package with these files.
func deb(t *testing.T, files map[string]string) (debian.Package, string) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	member := func(name string, data []byte) {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "100644", len(data))
		b.Write(data)
		if len(data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	member("debian-binary", []byte("2.0\n"))
	member("control.tar", archive(t, map[string]string{"./control": "Package: p\nVersion: 1\nArchitecture: all\n"}))
	member("data.tar", archive(t, files))
	file := filepath.Join(t.TempDir(), "p.deb")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	return debian.Package{Name: "p", Version: "1", SHA256: hex.EncodeToString(sum[:])}, file
}

func source(t *testing.T) []byte {
	return compressed(t, archive(t, map[string]string{"linux-6.12/Makefile": "VERSION = 6\nPATCHLEVEL = 12\nobj-$(CONFIG_X) += x.o\n"}))
}

func TestPackageIsReadOnce(t *testing.T) {
	p, file := deb(t, map[string]string{"./usr/src/linux-source-6.12.tar.xz": string(source(t))})
	asked, made := 0, []string{}
	l := Library{Dir: filepath.Join(t.TempDir(), "new"), Making: func(what string) { made = append(made, what) }}
	bring := func() (string, error) { asked++; return file, nil }
	want := map[string][]string{"x": {"X"}}
	for range 2 {
		tree, err := l.Package(t.Context(), p, bring)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, tree.Modules); diff != "" || tree.Version != "6.12" {
			t.Errorf("version %s: %s", tree.Version, diff)
		}
	}
	if asked != 1 || len(made) != 1 || made[0] != "the source of Linux 1" {
		t.Errorf("the package was asked for %d times, made: %q", asked, made)
	}
	files, err := filepath.Glob(filepath.Join(l.Dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got %q, %v, want one file", files, err)
	}
	if err := os.WriteFile(files[0], []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Package(t.Context(), p, bring); err != nil || asked != 2 {
		t.Errorf("damaged: got %v after %d questions, want it made anew", err, asked)
	}
}

func TestTarball(t *testing.T) {
	file := filepath.Join(t.TempDir(), "linux-6.6.tar.xz")
	if err := os.WriteFile(file, source(t), 0o600); err != nil {
		t.Fatal(err)
	}
	tree, err := Library{}.Tarball(t.Context(), "Linux 6.6", strings.Repeat("a", 64), func() (string, error) { return file, nil })
	if err != nil || tree.Of("x") == nil {
		t.Errorf("got %v, %v", tree, err)
	}
}

func TestKernelAndIDs(t *testing.T) {
	p, file := deb(t, map[string]string{
		"./usr/lib/modules/6.12-amd64/modules.builtin": "kernel/drivers/nvme/host/nvme.ko\n", "./usr/share/misc/pci.ids": "names",
	})
	k, err := Library{}.Kernel(t.Context(), p, func() (string, error) { return file, nil })
	if err != nil || k.Release != "6.12-amd64" || len(k.Modules) != 1 {
		t.Errorf("got %+v, %v", k, err)
	}
	ids, err := Library{}.IDs(t.Context(), p, func() (string, error) { return file, nil })
	if err != nil || ids["pci.ids"] != "names" {
		t.Errorf("got %q, %v", ids, err)
	}
}

func TestFaults(t *testing.T) {
	p, file := deb(t, map[string]string{"./usr/share/doc/x": "y"})
	refused := errors.New("offline")
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name string
		do   func() (*kbuild.Tree, error)
		want string
	}{
		{"no source in it", func() (*kbuild.Tree, error) {
			return Library{}.Package(t.Context(), p, func() (string, error) { return file, nil })
		}, "no source of a kernel"},
		{"it cannot be had", func() (*kbuild.Tree, error) {
			return Library{}.Package(t.Context(), p, func() (string, error) { return "", refused })
		}, "offline"},
		{"interrupted", func() (*kbuild.Tree, error) {
			return Library{}.Package(stopped, p, func() (string, error) { return file, nil })
		}, "canceled"},
		{"no digest", func() (*kbuild.Tree, error) { return Library{}.Tarball(t.Context(), "Linux", "../x", nil) }, "sha256"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := tc.do(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
