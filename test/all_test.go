package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/resolve"
	"github.com/hookbuild/hookbuild/userland"
)

// booted is the result of `hookbuild boot --json`.
type booted struct {
	Ready   bool    `json:"ready"`
	Line    string  `json:"line"`
	Seconds float64 `json:"seconds"`
	Accel   string  `json:"accel"`
}

// TestDebianKernel is the whole line with Debian's binary kernel, then what must hold of every build.
func TestDebianKernel(t *testing.T) {
	p := newProject(t)
	var first built
	p.runJSON(&first, "all", "hook-debian-amd64")
	checkOutputs(t, p)
	t.Run("boots", func(t *testing.T) { checkBoot(t, p, first.Kernel, "boot", "hook-debian-amd64") })
	t.Run("netboots", func(t *testing.T) { checkBoot(t, p, first.Kernel, "boot", "hook-debian-amd64", "--netboot") })
	t.Run("kernel image has LinuxKit's form", func(t *testing.T) {
		checkKernelImage(t, p.run("kernel", "hook-debian-amd64"))
	})
	t.Run("unchanged", func(t *testing.T) { checkUnchanged(t, p, first, "hook-debian-amd64") })
	t.Run("same bytes elsewhere", func(t *testing.T) { checkElsewhere(t, p, first) })
	t.Run("every postinst is answered for", func(t *testing.T) { checkPostinsts(t, p) })
	t.Run("serve", func(t *testing.T) { checkServe(t, p) })
	t.Run("a line that does not come is exit 6", func(t *testing.T) { checkUnseen(t, p) })
}

// TestDebianKernelForArm64 is built on any engine, by nothing that is emulated, and booted.
func TestDebianKernelForArm64(t *testing.T) {
	p := newProject(t)
	var first built
	p.runJSON(&first, "all", "hook-debian-arm64")
	for _, name := range []string{"vmlinuz-aarch64", "initramfs-aarch64", "dtbs-aarch64.tar.gz"} {
		if info, err := os.Stat(p.path("out/hook/" + name)); err != nil || info.Size() == 0 {
			t.Errorf("out/hook/%s: %v", name, err)
		}
	}
	checkBoot(t, p, first.Kernel, "boot", "hook-debian-arm64")
}

// checkOutputs holds the names of product and that GNU sha512sum agrees with checksum.txt.
func checkOutputs(t *testing.T, p *project) {
	t.Helper()
	for _, name := range []string{"vmlinuz-x86_64", "initramfs-x86_64", "hook_x86_64.tar.gz", "manifest.json", "report.json", "checksum.txt"} {
		if info, err := os.Stat(p.path("out/hook/" + name)); err != nil || info.Size() == 0 {
			t.Errorf("out/hook/%s: %v", name, err)
		}
	}
	cmd := exec.Command("sha512sum", "--strict", "-c", "checksum.txt")
	cmd.Dir = p.path("out/hook")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sha512sum -c: %v\n%s", err, out)
	}
}

func checkBoot(t *testing.T, p *project, release string, args ...string) {
	q := *p
	q.t = t
	var res booted
	q.runJSON(&res, append(args, "--timeout", "20m")...)
	if !res.Ready || !strings.HasPrefix(res.Line, "HookOS ready") {
		t.Errorf("got %+v", res)
	}
	for _, want := range []string{"kernel " + release, "address 10.0.2.15"} {
		if !strings.Contains(res.Line, want) {
			t.Errorf("got %q, want it to say %q", res.Line, want)
		}
	}
	t.Logf("%s, after %.0f s (%s)", res.Line, res.Seconds, res.Accel)
}

// checkKernelImage holds LinuxKit's contract of a kernel image and returns its config.
func checkKernelImage(t *testing.T, ref string) []byte {
	t.Helper()
	r := image.Reader{Engine: connect(t), Cache: t.TempDir()}
	img, err := r.Read(t.Context(), strings.TrimSpace(ref))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kernel", "kernel.tar", "System.map", "config", "dtbs.tar.gz"} {
		if e, ok := img.Tree.Lookup(name); !ok || e.Data.Size() == 0 {
			t.Errorf("/%s is missing or empty", name)
		}
	}
	e, _ := img.Tree.Lookup("config")
	config, err := e.Data.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// checkUnchanged runs the same again.
func checkUnchanged(t *testing.T, p *project, first built, args ...string) {
	q := *p
	q.t = t
	var second built
	q.runJSON(&second, append([]string{"all", "--offline"}, args...)...)
	if !second.Reused {
		t.Error("the second run built something")
	}
	if diff := cmp.Diff(first.sums(), second.sums()); diff != "" {
		t.Errorf("the second run has other bytes:\n%s", diff)
	}
}

// checkElsewhere makes the initramfs again from the same lock, in another directory, time zone and umask, with
// one processor instead of all.
func checkElsewhere(t *testing.T, p *project, first built) {
	other := newProject(t)
	other.copyFile(p, resolve.LockName)
	other.env = []string{"TZ=Pacific/Kiritimati", "GOMAXPROCS=1"}
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	var second built
	other.runJSON(&second, "all", "hook-debian-amd64")
	if second.Reused {
		t.Error("nothing was built")
	}
	if diff := cmp.Diff(first.sums(), second.sums()); diff != "" {
		t.Errorf("other bytes:\n%s", diff)
	}
	if a, b := p.read("out/hook/manifest.json"), other.read("out/hook/manifest.json"); string(a) != string(b) {
		t.Errorf("the manifests differ:\n%s", cmp.Diff(string(a), string(b)))
	}
}

// checkPostinsts looks at every package of the userland for a postinst that dpkg-deb -x does not run.
func checkPostinsts(t *testing.T, p *project) {
	table, err := userland.Postinsts()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, set := range p.lock("hook-debian-amd64").Sets {
		if !strings.HasPrefix(set.Name, "userland/") {
			continue
		}
		for _, pkg := range set.Packages {
			seen++
			deb, err := debian.OpenDeb(cached(t, pkg))
			if err != nil {
				t.Fatal(err)
			}
			if _, has := deb.Scripts["postinst"]; has && table[pkg.Name] == "" {
				t.Errorf("%s of %s has a postinst that userland/postinst.yaml says nothing about", pkg.Name, set.Name)
			}
		}
	}
	if seen == 0 {
		t.Error("the lock has no packages of the userland")
	}
}

// checkServe asks the real server as EKS Anywhere and iPXE do.
func checkServe(t *testing.T, p *project) {
	q := *p
	q.t = t
	cmd := q.command(t.Context(), "serve", "--listen", "127.0.0.1:0", "--json")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said struct {
		URL string `json:"hookImagesURLPath"`
	}
	if err := json.NewDecoder(bufio.NewReader(stdout)).Decode(&said); err != nil {
		t.Fatal(err)
	}
	want := p.read("out/hook/vmlinuz-x86_64")
	get(t, said.URL, "", http.StatusOK, nil)
	get(t, said.URL+"/vmlinuz-x86_64", "", http.StatusOK, want)
	get(t, said.URL+"//vmlinuz-x86_64", "", http.StatusOK, want)
	get(t, said.URL+"/vmlinuz-x86_64", "bytes=100-199", http.StatusPartialContent, want[100:200])
	get(t, said.URL+"/nonsense", "", http.StatusNotFound, nil)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("serve ended with %v", err)
	}
}

func get(t *testing.T, url, byteRange string, status int, want []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip")
	if byteRange != "" {
		req.Header.Set("Range", byteRange)
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // follows no redirect
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status || resp.Header.Get("Content-Encoding") != "" {
		t.Errorf("GET %s: got %s, encoding %q; want %d, none", url, resp.Status, resp.Header.Get("Content-Encoding"), status)
	}
	if want != nil && string(body) != string(want) {
		t.Errorf("GET %s: got %d bytes that differ from the file's %d", url, len(body), len(want))
	}
}

func checkUnseen(t *testing.T, p *project) {
	q := *p
	q.t = t
	cmd := q.command(t.Context(), "boot", "hook-debian-amd64", "--expect", "no such line", "--timeout", "15s", "--json")
	out, err := cmd.Output()
	if cmd.ProcessState.ExitCode() != 6 {
		t.Errorf("got %v, want exit code 6\n%s", err, out)
	}
	if !strings.Contains(string(out), `"code": 6`) {
		t.Errorf("got %s, want the code in the JSON", out)
	}
	noContainers(t)
}

// TestInterruptedKernelBuild stops a compile half-way with Ctrl-C.
func TestInterruptedKernelBuild(t *testing.T) {
	p := newProject(t)
	tiny, err := os.ReadFile("testdata/tiny-6.12.y-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	// A local version of its own makes this a kernel that the engine has not built before.
	p.write("kernel/configs/tiny-6.12.y-x86_64", fmt.Sprintf("%sCONFIG_LOCALVERSION=\"-%d\"\n", tiny, time.Now().UnixNano()))
	p.write("hookbuild.yaml", "flavors:\n  tiny-amd64:\n    extends: hook-default-amd64\n    kernel: {config: tiny}\n")
	cmd := p.command(t.Context(), "kernel", "tiny-amd64", "--progress", "plain")
	compiling := &notify{want: "  CC ", seen: func() { cmd.Process.Signal(syscall.SIGINT) }}
	cmd.Stderr = io.MultiWriter(compiling, cmd.Stderr)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("got exit code %d, want 130", code)
	}
	noProcess(t, "O=/build/obj")
	noContainers(t)
	if images := hookbuildImages(t); strings.Contains(images, "-unpacked") {
		t.Errorf("images left in the engine: %s", images)
	}
}
