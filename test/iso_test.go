package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/iso"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// siteCmdline is what smee might write: longer than the magic, and with all that means something to GRUB, but for
// the quotes and the backslash, which GRUB's linux command changes.
var siteCmdline = `console=ttyS0,115200 NO_PROXY=*.example.com,10.0.0.0/8,[::1] password=a$b;{c}#d&e|f<g>!~ url=http://u:p%40@192.0.2.1/?a=b&c ` +
	strings.TrimSpace(strings.Repeat("filler=0123456789abcdef0123456789abcdef ", 25))

func TestISO(t *testing.T) {
	const flavor, name = "hook-debian-amd64", "hook-x86_64-efi-initrd.iso"
	p := newProject(t)
	var b built
	p.runJSON(&b, "all", flavor, "--iso")
	file := p.path("out/hook/" + name)

	t.Run("what is in it", func(t *testing.T) {
		checkISO(t, p, flavor, file, "BOOTX64.EFI", "grubx64.efi")
		if !strings.Contains(string(p.read("out/hook/checksum.txt")), name) || !strings.Contains(string(p.read("out/hook/manifest.json")), name) {
			t.Error("checksum.txt or manifest.json lacks it")
		}
	})
	t.Run("the same bytes in another place", func(t *testing.T) {
		q := newProject(t)
		q.copyFile(p, resolve.LockName)
		q.env = []string{"TZ=Asia/Kathmandu", "HOOKBUILD_ISO=true"}
		old := syscall.Umask(0o077)
		var again built
		q.runJSON(&again, "all", flavor)
		syscall.Umask(old)
		if diff := cmp.Diff(b.sums(), again.sums()); diff != "" || again.PlanID != b.PlanID {
			t.Errorf("plan %s, want %s; files (-first +second):\n%s", again.PlanID, b.PlanID, diff)
		}
	})
	patched := filepath.Join(t.TempDir(), "patched.iso")
	t.Run("through the server and smee", func(t *testing.T) {
		if got := throughSmee(t, p, name, patched); got != b.sums()[name] {
			t.Errorf("the ranges together have the digest %s, want %s", got, b.sums()[name])
		}
	})
	for _, medium := range []string{"CD", "disk"} {
		t.Run("boots as a "+medium, func(t *testing.T) {
			m := p.boots(flavor, machineOptions{ISO: patched, Medium: medium})
			line := m.expect(`Command line: (.*)\n`)[1] // the kernel's log cuts it
			if want := "BOOT_IMAGE=/vmlinuz " + siteCmdline; len(line) < 800 || !strings.HasPrefix(want, line) {
				t.Errorf("got the command line\n%q, want the beginning of\n%q", line, want)
			}
			if medium == "CD" {
				m.ready()
				if got := strings.TrimSpace(m.sh("cat /proc/cmdline")); got != "BOOT_IMAGE=/vmlinuz "+siteCmdline {
					t.Errorf("got /proc/cmdline\n%q, want it to end with\n%q", got, siteCmdline)
				}
			}
		})
	}
	t.Run("for arm64", func(t *testing.T) {
		p.run("all", "hook-debian-arm64", "--iso")
		checkISO(t, p, "hook-debian-arm64", p.path("out/hook/hook-aarch64-efi-initrd.iso"), "BOOTAA64.EFI", "grubaa64.efi")
	})
}

// bootArm64ISO boots an ISO for arm64.
func bootArm64ISO(t *testing.T) {
	const flavor, cmdline = "hook-debian-arm64", "console=ttyAMA0,115200 a=b"
	p := newProject(t)
	p.run("all", flavor, "--iso")
	patched := filepath.Join(t.TempDir(), "patched.iso")
	data := bytes.Replace(p.read("out/hook/hook-aarch64-efi-initrd.iso"), []byte(iso.Magic()), fmt.Appendf(nil, "%-1024s", cmdline), 1)
	if err := os.WriteFile(patched, data, 0o644); err != nil {
		t.Fatal(err)
	}
	m := p.boots(flavor, machineOptions{ISO: patched, Medium: "CD"})
	m.ready()
	if got := strings.TrimSpace(m.sh("cat /proc/cmdline")); got != "BOOT_IMAGE=/vmlinuz "+cmdline {
		t.Errorf("got /proc/cmdline %q", got)
	}
}

// oracle runs one of the foreign tools.
func oracle(t *testing.T, name string, args ...string) string {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s (make test-tools installs it): %v\n%s", name, err, stderr.String())
	}
	return out.String()
}

// elTorito is the line of a boot image in xorriso's report.
var elTorito = regexp.MustCompile(`(?m)^El Torito boot img : +1 +UEFI +y +none +\S+ +\S+ +(\d+) +(\d+)$`)

// checkISO looks at an image with xorriso and mtools.
func checkISO(t *testing.T, p *project, flavor, file, shim, grub string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	oracle(t, "xorriso", "-osirrox", "on", "-indev", file, "-extract", "/", dir)
	g := guestOf(flavor)
	for name, want := range map[string]string{
		"vmlinuz": string(p.read("out/hook/vmlinuz" + g.suffix)), "initramfs": string(p.read("out/hook/initramfs" + g.suffix)),
		"boot/grub/grub.cfg": iso.Config(), ".disk/info": "HookOS\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %d bytes, %v; want %d", name, len(got), err, len(want))
		}
	}
	report := oracle(t, "xorriso", "-indev", file, "-report_el_torito", "plain", "-report_system_area", "plain")
	found := elTorito.FindStringSubmatch(report)
	if found == nil || !strings.Contains(report, "GPT partition name") {
		t.Fatalf("no boot image for UEFI, or no GPT:\n%s", report)
	}
	sectors, _ := strconv.Atoi(found[1]) // the expression matches digits only
	lba, _ := strconv.Atoi(found[2])
	if sectors > 65535 {
		t.Errorf("the boot image has %d sectors, more than El Torito can say", sectors)
	}
	image := fmt.Sprintf("%s@@%d", file, lba*2048)
	for _, name := range []string{shim, grub} {
		if got := oracle(t, "mtype", "-i", image, "::/EFI/BOOT/"+name); !strings.HasPrefix(got, "MZ") {
			t.Errorf("%s: got %.20q, want a PE program", name, got)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte(iso.Magic()))
	if bytes.Count(data, []byte(iso.Magic())) != 1 || at/2048 != (at+1023)/2048 {
		t.Errorf("the magic is at %d first, in one sector and once is wanted", at)
	}
}

// hookISOURL is in what hookbuild serve prints.
var hookISOURL = regexp.MustCompile(`hookIsoURL: "(http://[^"]+)"`)

// throughSmee reads an image from hookbuild's server as a BMC does through smee: range by range, each one passed on
// in pieces of up to 32 KiB in which the magic is replaced. It writes what the BMC gets into file, and returns the
// digest of what the server gave.
func throughSmee(t *testing.T, p *project, name, file string) string {
	ctx, cancel := context.WithCancel(t.Context())
	cmd := p.command(ctx, "serve", "--listen", "127.0.0.1:0", "--log-level", "warn")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait() // interrupted
	defer cancel()
	var url string
	for s := bufio.NewScanner(out); url == "" && s.Scan(); {
		if found := hookISOURL.FindStringSubmatch(s.Text()); found != nil {
			url = found[1]
		}
	}
	if !strings.HasSuffix(url, "/"+name) {
		t.Fatalf("hookbuild serve prints hookIsoURL %q", url)
	}
	bmc, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer bmc.Close()
	sum, patches := sha256.New(), 0
	info, err := os.Stat(p.path("out/hook/" + name))
	if err != nil {
		t.Fatal(err)
	}
	const step = 1 << 20
	for from := int64(0); from < info.Size(); from += step {
		body := rangeOf(t, url, from, min(from+step, info.Size())-1)
		sum.Write(body)
		for ; len(body) > 0; body = body[min(len(body), 32<<10):] {
			piece := body[:min(len(body), 32<<10)]
			if i := bytes.Index(piece, []byte(iso.Magic())); i >= 0 {
				patches++
				copy(piece[i:], bytes.Repeat([]byte(" "), len(iso.Magic())))
				copy(piece[i:], siteCmdline)
			}
			if _, err := bmc.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
	}
	if patches != 1 {
		t.Errorf("the magic was found %d times", patches)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func rangeOf(t *testing.T, url string, first, last int64) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, last))
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusPartialContent || int64(len(body)) != last-first+1 {
		t.Fatalf("bytes %d to %d: got %s with %d bytes, %v", first, last, resp.Status, len(body), err)
	}
	return body
}
