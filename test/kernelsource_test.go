package test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/hookbuild/hookbuild/internal/resolve"
)

// TestFinishedKernels hands Debian's kernel in as what a user may have: as packages, and as a directory.
func TestFinishedKernels(t *testing.T) {
	p := newProject(t)
	debian := kernelImage(t, strings.TrimSpace(p.run("kernel", "hook-debian-amd64")))
	var debs []string
	set, ok := p.lock("hook-debian-amd64").Find(resolve.KernelSet)
	if !ok {
		t.Fatal("the lock has no kernel")
	}
	for i, pkg := range set.Packages {
		name := fmt.Sprintf("debs/%d.deb", i)
		link(t, cached(t, pkg), p.path(name))
		debs = append(debs, name)
	}
	p.write("dir/vmlinuz", string(debian["kernel"]))
	p.write("dir/System.map", string(debian["System.map"]))
	p.write("dir/config", string(debian["config"]))
	untar(t, debian["kernel.tar"], p.path("dir"))
	p.write("hookbuild.yaml", fmt.Sprintf(`flavors:
  deb-amd64:
    extends: hook-debian-amd64
    kernel: {method: deb, source: {deb: [%s]}}
  dir-amd64:
    extends: hook-debian-amd64
    kernel: {method: dir, source: {dir: dir}}
`, strings.Join(debs, ", ")))
	for _, flavor := range []string{"deb-amd64", "dir-amd64"} {
		got := kernelImage(t, strings.TrimSpace(p.run("kernel", flavor)))
		for _, name := range []string{"kernel", "System.map", "config", "kernel.tar"} {
			if !bytes.Equal(got[name], debian[name]) {
				t.Errorf("%s: /%s is not that of Debian's kernel: %d bytes, want %d", flavor, name, len(got[name]), len(debian[name]))
			}
		}
	}
}

func link(t *testing.T, from, to string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Symlink(from, to)); err != nil {
		t.Fatal(err)
	}
}

// untar writes the directories and regular files of a tar.
func untar(t *testing.T, data []byte, dir string) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(to, 0o755)
		case tar.TypeReg:
			var content []byte
			if content, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(to, content, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestKernelRepository puts a kernel's image into a registry and takes it from there.
func TestKernelRepository(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	repository := strings.TrimPrefix(server.URL, "http://") + "/hook/kernel"
	p := newProject(t)
	ref := strings.TrimSpace(p.run("kernel", "hook-debian-amd64", "--push-kernel", "--kernel-repository", repository))
	before := kernelImage(t, ref)
	docker(t, "rmi", ref)
	cmd := p.command(t.Context(), "kernel", "hook-debian-amd64", "--pull-kernel", "--kernel-repository", repository, "--progress", "plain")
	var progress bytes.Buffer
	cmd.Stderr = &progress
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != ref {
		t.Fatalf("got %s, %v\n%s", out, err, progress.Bytes())
	}
	if said := progress.String(); !strings.Contains(said, "[pull] done") || strings.Contains(said, "[kernel] started") {
		t.Errorf("the kernel was made, not pulled:\n%s", said)
	}
	after := kernelImage(t, ref)
	for name, data := range before {
		if !bytes.Equal(after[name], data) {
			t.Errorf("/%s has other bytes than before", name)
		}
	}
	if strings.Contains(docker(t, "images", "--format", "{{.Repository}}"), repository) {
		t.Error("the repository's name is left in the engine")
	}
	// What the repository does not have is made.
	docker(t, "rmi", ref)
	if got := strings.TrimSpace(p.run("kernel", "hook-debian-amd64", "--pull-kernel", "--kernel-repository", repository+"/other")); got != ref {
		t.Errorf("got %s, want %s", got, ref)
	}
}
