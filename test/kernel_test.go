package test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/kernel"
)

// ownVersion makes a configuration's kernel one that the engine has not got yet.
func ownVersion() string { return fmt.Sprintf("CONFIG_LOCALVERSION=\"-%d\"\n", time.Now().UnixNano()) }

// TestKernelIncremental switches a driver on and off again in a build tree that is there, and compares what comes
// out with a build in an empty tree that does not use the compiler's cache.
func TestKernelIncremental(t *testing.T) {
	defer rememberCacheMounts(t, "/build/obj")()
	p := tinyProject(t, ownVersion())
	first := compiled(t, p, "kernel", "tiny-amd64")
	p.run("kernel-config", "tiny-amd64", "--set", "CRC8=m", "--unset", "CRC7")
	changed := compiled(t, p, "kernel", "tiny-amd64")
	if first["kernel.tar"] == changed["kernel.tar"] {
		t.Error("the change made no difference to the modules")
	}
	clean := compiled(t, p, "kernel", "tiny-amd64", "--clean")
	if diff := cmp.Diff(clean, changed); diff != "" {
		t.Errorf("the incremental build has other bytes than a clean one:\n%s", diff)
	}
	p.run("kernel-config", "tiny-amd64", "--set", "CRC7=m", "--unset", "CRC8")
	again := compiled(t, p, "kernel", "tiny-amd64")
	delete(first, kernel.MetadataName) // it has the digest of the file, whose lines kernel-config has put in order
	delete(again, kernel.MetadataName)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("changed back, it has other bytes than at first:\n%s", diff)
	}
}

// compiled builds a kernel and returns the digest of each file of its image, which it removes: the next build of
// the same content must not find it.
func compiled(t *testing.T, p *project, args ...string) map[string]string {
	t.Helper()
	ref := strings.TrimSpace(p.run(args...))
	defer docker(t, "rmi", ref)
	sums := map[string]string{}
	for name, data := range kernelImage(t, ref) {
		sums[name] = fmt.Sprintf("%x", sha256.Sum256(data))
	}
	return sums
}

// kernelImage are the files of a kernel's image.
func kernelImage(t *testing.T, ref string) map[string][]byte {
	t.Helper()
	img, err := (image.Reader{Engine: connect(t), Cache: t.TempDir()}).Read(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range img.Tree.Entries() {
		if files[e.Path], err = e.Data.ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// TestKernelCross compiles a small kernel for arm64.
func TestKernelCross(t *testing.T) {
	defer rememberCacheMounts(t, "/build/obj")()
	tiny, err := os.ReadFile("testdata/tiny-6.12.y-aarch64")
	if err != nil {
		t.Fatal(err)
	}
	p := newProject(t)
	p.write("kernel/configs/tiny-6.12.y-aarch64", string(tiny)+ownVersion())
	p.write("hookbuild.yaml", "flavors:\n  tiny-arm64:\n    extends: hook-default-arm64\n    kernel: {config: tiny, firmware: none}\n")
	ref := strings.TrimSpace(p.run("kernel", "tiny-arm64"))
	defer docker(t, "rmi", ref)
	files := kernelImage(t, ref)
	if magic := files["kernel"][56:60]; string(magic) != "ARM\x64" { // Documentation/arch/arm64/booting.rst
		t.Errorf("got magic %q, want an arm64 Image", magic)
	}
	if dtbs := gunzip(t, files["dtbs.tar.gz"]); !bytes.Contains(dtbs, []byte("arm/fvp-base-revc.dtb")) {
		t.Error("the device trees of the board that is switched on are missing")
	}
	if !bytes.Contains(files["config"], []byte("CONFIG_ARM64=y\n")) {
		t.Error("the configuration is not one of arm64")
	}
	meta, err := kernel.ReadMetadata(bytes.NewReader(files[kernel.MetadataName]))
	if err != nil || !strings.HasPrefix(meta.Release, "6.12.") || !strings.Contains(meta.Compiler, "aarch64-linux-gnu-gcc") {
		t.Errorf("got metadata %+v, %v", meta, err)
	}
}

func gunzip(t *testing.T, data []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// extYAML is a flavor with a patch and a module of the test's own.
const extYAML = `flavors:
  ext-amd64:
    extends: hook-default-amd64
    kernel:
      config: tiny
      firmware: none
      set: {CRC8: m, MODULE_SIG: y, MODULE_SIG_FORCE: y, MODULE_SIG_SHA256: y}
      patches: [%s.patch]
      external_modules: [{name: hello, url: hello}]
    userland: {linuxkit: [modprobe.yaml]}
`

func extProject(t *testing.T, patch string) *project {
	t.Helper()
	p := tinyProject(t, ownVersion())
	p.write("hookbuild.yaml", fmt.Sprintf(extYAML, patch))
	for _, name := range []string{patch + ".patch", "hello/hello.c", "hello/Makefile", "modprobe.yaml"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		p.write(name, string(data))
	}
	return p
}

func TestKernelPatchedWithModule(t *testing.T) {
	defer rememberCacheMounts(t, "/build/obj")()
	defer rememberCacheMounts(t, "/build/src")()
	p := extProject(t, "banner")
	p.run("linuxkit", "ext-amd64")
	p.run("boot", "ext-amd64", "--expect", "hello: a module from outside the kernel's source", "--timeout", "10m")
	if !bytes.Contains(p.read("out/logs/boot.log"), []byte("banner: this kernel was patched")) {
		t.Error("the kernel was not patched")
	}
}

func TestKernelFailures(t *testing.T) {
	defer rememberCacheMounts(t, "/build/obj")()
	defer rememberCacheMounts(t, "/build/src")()
	broken := extProject(t, "broken")
	fuzzy := extProject(t, "banner")
	patch := strings.Replace(string(fuzzy.read("banner.patch")), "page_address_init();", "page_address_init(void);", 1)
	fuzzy.write("banner.patch", patch)
	unmet := tinyProject(t, "")
	unmet.write("kernel/configs/fragments/nic.config", "# a card\nCONFIG_BE2NET=m\n")
	for _, c := range []struct {
		name string
		p    *project
		args []string
		want []string
	}{
		{"the compiler's first error", broken, []string{"kernel", "ext-amd64"}, []string{"init/main.c:896:", "error: ", "out/logs/kernel.log"}},
		{"a patch that does not fit", fuzzy, []string{"kernel", "ext-amd64"}, []string{"banner.patch", "does not apply"}},
		{"a symbol that does not survive", unmet, []string{"kernel", "tiny-amd64"},
			[]string{"kernel/configs/fragments/nic.config:2", "BE2NET=m", "depends on"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := c.p.command(t.Context(), c.args...)
			cmd.Stderr = nil
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != 5 {
				t.Errorf("got exit code %d, want 5", code)
			}
			for _, want := range c.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("got\n%s\nwant it to say %q", tail(string(out)), want)
				}
			}
		})
	}
}

// tail is the end of a long output.
func tail(text string) string { return text[max(0, len(text)-2000):] }
