package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hookbuild/hookbuild/internal/build"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/kernelorg/kernelorgtest"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// repack prints a kernel source of Debian's as kernel.org would publish it, without the bulk of what a small
// kernel has no use for; every Kconfig file stays.
const repack = `set -e
dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' | xz -dc -T0 |
bsdtar -cf - -s ',^linux-source-[0-9.]*,linux-6.6.999,' \
	--exclude '*/Documentation/*.rst' --exclude '*/tools/testing/*' --exclude '*/tools/perf/*' \
	--exclude '*/sound/*.[ch]' --exclude '*/drivers/gpu/*.[ch]' --exclude '*/drivers/net/*.[ch]' --exclude '*/drivers/media/*.[ch]' \
	--exclude '*/drivers/staging/*.[ch]' --exclude '*/drivers/infiniband/*.[ch]' --exclude '*/drivers/scsi/*.[ch]' \
	--exclude '*/arch/arm*/*.dts*' --exclude '*/arch/[amprs]*/*.c' @- |
xz -1 -T2`

// TestKernelOrg is the way of hook-latest-lts: from a mirror in kernel.org's layout, through both signatures, to a
// kernel that is compiled. The source is Debian's, under another name.
func TestKernelOrg(t *testing.T) {
	dir := t.TempDir()
	tiny, err := os.ReadFile("../../test/testdata/tiny-6.12.y-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "kernel/configs/tiny-6.12.y-x86_64"), tiny)
	write(t, filepath.Join(dir, "kernel/configs/tiny-6.6.y-x86_64"), tiny)
	m := kernelorgtest.New(t)
	write(t, filepath.Join(dir, "hookbuild.yaml"), []byte(`kernel_org: {mirror: "`+m.URL+`", keys: "`+m.WKD+`"}
flavors:
  debian-amd64:
    extends: hook-default-amd64
    kernel: {config: tiny, firmware: none}
  lts-amd64:
    extends: hook-latest-lts-amd64
    kernel: {config: tiny, firmware: none}
`))
	sys := host()
	sys.KernelKeys = m.Trusted
	hookbuild := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		sys.Args = append([]string{"hookbuild"}, append(args, "--project", dir, "--out", filepath.Join(dir, "out"))...)
		sys.Stdout, sys.Stderr = &out, testWriter{t}
		if code := run(t.Context(), sys); code != 0 {
			t.Fatalf("%q: exit code %d", args, code)
		}
		return out.String()
	}
	hookbuild("lock", "debian-amd64")
	file := filepath.Join(t.TempDir(), "linux.tar.xz")
	pack(t, debianSource(t, dir), file)
	m.AddFile("6.6.999", file)
	ref := strings.TrimSpace(hookbuild("kernel", "lts-amd64"))

	lock, err := resolve.ReadLock(filepath.Join(dir, resolve.LockName))
	if err != nil {
		t.Fatal(err)
	}
	pin := lock.Flavors["lts-amd64"].Kernel
	if pin == nil || pin.Version != "6.6.999" || len(pin.SignedBy) != 2 {
		t.Fatalf("the lock pins %+v", pin)
	}
	var spec struct {
		Source kernel.Source `json:"source"`
	}
	text, err := json.Marshal(metadata(t, sys, ref).Spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	if got := spec.Source; got.Version != "6.6.999" || !slices.Equal(got.SHA256, []string{pin.SHA256}) {
		t.Errorf("the kernel's image says that it is made from %+v", got)
	}
	m.Asked() // forgets what was asked so far
	hookbuild("kernel", "lts-amd64")
	if got := m.Asked(); len(got) != 0 {
		t.Errorf("with lock and image there, kernel.org was asked for %q", got)
	}
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// debianSource is the package with the kernel's source, in the user's cache.
func debianSource(t *testing.T, dir string) string {
	t.Helper()
	lock, err := resolve.ReadLock(filepath.Join(dir, resolve.LockName))
	if err != nil {
		t.Fatal(err)
	}
	set, ok := lock.Flavors["debian-amd64"].Find(resolve.KernelSet)
	if !ok {
		t.Fatal("the lock has no kernel source")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	packages := build.Packages{
		Client: &debian.Client{HTTP: &http.Client{}, CacheDir: filepath.Join(cache, "hookbuild")},
		Apt:    os.DirFS("/etc/apt"),
	}
	files, err := packages.Fetch(t.Context(), set.Packages[:1], nil)
	if err != nil {
		t.Fatal(err)
	}
	return files[set.Packages[0].SHA256]
}

func pack(t *testing.T, deb, file string) {
	t.Helper()
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", repack, "repack", deb)
	cmd.Stdout, cmd.Stderr = out, testWriter{t}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
}

// testWriter sends what a program says to the test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	if !bytes.Contains(p, []byte("  CC ")) {
		w.t.Logf("%s", bytes.TrimRight(p, "\n"))
	}
	return len(p), nil
}

// metadata is what a kernel's image says of itself.
func metadata(t *testing.T, sys system, ref string) kernel.Metadata {
	t.Helper()
	e, err := (&program{sys}).connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	img, err := image.Reader{Engine: e, Cache: t.TempDir()}.Read(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	file, ok := img.Tree.Lookup(kernel.MetadataName)
	if !ok {
		t.Fatalf("%s has no /%s", ref, kernel.MetadataName)
	}
	data, err := file.Data.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	meta, err := kernel.ReadMetadata(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return meta
}
