package resolve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/modules"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// fromDebian is a flavor that asks nothing of kernel.org.
func fromDebian(id string) config.Flavor {
	return config.Flavor{ID: id, Kernel: config.Kernel{Method: config.MethodDebian, Series: "6.12"}}
}

// two are the requests of most tests.
func two() []Request {
	return []Request{{Name: "base", Arch: "amd64", Required: true, Seeds: []string{"b"}}, {Name: "userland/x", Arch: "amd64", Seeds: []string{"a"}, Exclude: []string{"b"}}}
}

// pinned are the packages of every set as NAME=VERSION.
func pinned(e Entry) []string {
	var all []string
	for _, s := range e.Sets {
		for _, p := range s.Packages {
			all = append(all, s.Name+": "+p.Name+"="+p.Version)
		}
	}
	return all
}

var versionOne = []string{"base: b=1", "base: base-files=1", "userland/x: a=1", "userland/x: lib=1"}

func TestFirstRunWritesAndLaterOnesRead(t *testing.T) {
	w := newWorld(t)
	first := w.flavor("x", two(), w.o)
	if diff := cmp.Diff(versionOne, pinned(first.Entry)); diff != "" {
		t.Error(diff)
	}
	if !first.Written || first.Before != nil {
		t.Errorf("got written %v, before %v", first.Written, first.Before)
	}
	var suites []string
	for _, i := range first.Entry.Debian {
		suites = append(suites, i.Suite+" "+i.Date)
		if len(i.SHA256) != 64 {
			t.Errorf("%s: got sha256 %q", i.Suite, i.SHA256)
		}
	}
	if want := []string{"trixie 2026-11-19T12:00:00Z", "trixie-security 2026-11-20T12:00:00Z"}; !slices.Equal(suites, want) {
		t.Errorf("got indexes %q, want %q", suites, want)
	}
	text := w.lockText()
	w.publish(today.AddDate(0, 0, -1), "2")
	w.asked, w.down = nil, errors.New("no mirror")
	again := w.flavor("x", two(), w.o)
	if again.Written || len(w.asked) != 0 || w.lockText() != text {
		t.Errorf("got written %v, %d questions", again.Written, len(w.asked))
	}
	if diff := cmp.Diff(first.Entry, again.Entry); diff != "" {
		t.Error(diff)
	}
}

func TestIndexRequest(t *testing.T) {
	w := newWorld(t)
	w.flavor("x", append(two(), Request{Name: "arm", Arch: "arm64", Seeds: []string{"b"}}), w.o)
	want := debian.IndexRequest{
		Suite: "trixie", Archs: []string{"amd64", "arm64"}, Components: []string{"main", "non-free-firmware"}, NotBefore: map[string]time.Time{},
	}
	if diff := cmp.Diff([]debian.IndexRequest{want}, w.asked); diff != "" {
		t.Error(diff)
	}
}

func TestChangedRequests(t *testing.T) {
	w := newWorld(t)
	w.flavor("x", two(), w.o)
	text := w.lockText()
	w.publish(today.AddDate(0, 0, -1), "2")
	w.asked = nil
	changed := two()
	changed[1].Exclude = nil
	_, err := Flavor(t.Context(), fromDebian("x"), changed, nil, w.o, w)
	var bad *LockError
	if !errors.As(err, &bad) || bad.Hint != "hookbuild lock x" || !strings.Contains(err.Error(), `flavor x was made for another list of packages for "userland/x"`) {
		t.Errorf("got %v", err)
	}
	if len(w.asked) != 0 || w.lockText() != text {
		t.Error("the mirror was asked or the lock written")
	}
	o := w.o
	o.Refresh = true
	res := w.flavor("x", changed, o)
	if !res.Written || res.Before == nil || res.Entry.Sets[0].Packages[0].Version != "2" {
		t.Errorf("got %+v", res)
	}
	if got := Changes(res); len(got) != 4 || got[0].String() != "base: b 1 -> 2" {
		t.Errorf("got changes %v", got)
	}
}

func TestRefreshAndUpdate(t *testing.T) {
	for _, c := range []struct {
		name            string
		refresh, update bool
		written         bool
	}{{"neither", false, false, false}, {"refresh", true, false, false}, {"update", false, true, true}, {"both", true, true, true}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.flavor("x", two(), w.o)
			w.flavor("other", two()[:1], w.o)
			w.publish(today.AddDate(0, 0, -1), "2")
			o := w.o
			o.Refresh, o.Update = c.refresh, c.update
			res := w.flavor("x", two(), o)
			if res.Written != c.written || (res.Entry.Sets[0].Packages[0].Version == "2") != c.written {
				t.Errorf("got written %v, %v", res.Written, pinned(res.Entry))
			}
			lock, err := ReadLock(w.o.LockFile)
			if err != nil {
				t.Fatal(err)
			}
			if got := pinned(lock.Flavors["other"]); !slices.Equal(got, versionOne[:2]) {
				t.Errorf("the other flavor: got %q", got)
			}
			if diff := cmp.Diff(res.Entry, lock.Flavors["x"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// An index older than what ANY flavor was resolved from is refused.
func TestOlderIndexIsRefused(t *testing.T) {
	w := newWorld(t)
	w.flavor("x", two(), w.o)
	text := w.lockText()
	w.publish(today.AddDate(0, 0, -10), "0")
	_, err := Flavor(t.Context(), fromDebian("new"), two(), nil, w.o, w)
	var ve *download.VerifyError
	if !errors.As(err, &ve) {
		t.Errorf("got %v, want a *download.VerifyError", err)
	}
	if got := w.asked[1].NotBefore["trixie"]; !got.Equal(today.AddDate(0, 0, -3)) {
		t.Errorf("got not before %s", got)
	}
	if w.lockText() != text {
		t.Error("the lock was written")
	}
}

func TestFailuresLeaveTheLock(t *testing.T) {
	down := errors.New("no mirror")
	for _, c := range []struct {
		name     string
		lock     string
		requests []Request
		down     error
		want     string
	}{
		{"the mirror does not answer", "", two(), down, "no mirror"},
		{"no such package", "", []Request{{Name: "kernel", Arch: "amd64", Seeds: []string{"nonsense"}}}, nil, "packages for kernel: nonsense"},
		{"a broken lock", "{", two(), nil, "line 1"},
		{"a date that is none", `{"schema":1,"flavors":{"y":{"debian":[{"suite":"trixie","date":"x","sha256":"y"}],"sets":[]}}}`, two(), nil, `date "x" of trixie`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.down = c.down
			if c.lock != "" {
				w.write(w.o.LockFile, c.lock)
			}
			_, err := Flavor(t.Context(), fromDebian("x"), c.requests, nil, w.o, w)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if w.lockText() != c.lock {
				t.Errorf("the lock is now %q", w.lockText())
			}
			want := 0
			if c.lock != "" {
				want = 1
			}
			if found, err := os.ReadDir(filepath.Dir(w.o.LockFile)); err != nil || len(found) != want {
				t.Errorf("got %v, %v in the project", found, err)
			}
		})
	}
}

// What a lock holds besides must not get into a plan.
func TestSetsThatNobodyAsksForAreLeftOut(t *testing.T) {
	w := newWorld(t)
	all := w.flavor("x", two(), w.o)
	w.asked = nil
	res := w.flavor("x", two()[:1], w.o)
	if diff := cmp.Diff(versionOne[:2], pinned(res.Entry)); diff != "" {
		t.Error(diff)
	}
	if len(w.asked) != 0 || res.Written || len(Changes(res)) != 0 || len(res.Before.Sets) != len(all.Entry.Sets) {
		t.Errorf("got written %v, changes %v", res.Written, Changes(res))
	}
}

func TestPlan(t *testing.T) {
	f := config.Flavor{
		ID: "hook-debian-amd64", Arch: plan.X8664, Kernel: config.Kernel{
			Method: config.MethodDebian, Series: "6.12", Modules: config.Modules{Include: []string{"default"}, Exclude: []string{"ice"}},
			Firmware: config.Firmware{Auto: true},
		},
		Initramfs: config.Initramfs{Compression: "gzip", Level: 6},
	}
	in := Input{
		Flavor: f, Recipe: "rr", Kernel: plan.Kernel{Source: []string{"ss"}, Config: "cc", Patches: []plan.Source{{Name: "p", SHA256: "pp"}}}, LinuxKit: []plan.Source{{Name: "hook.yaml", SHA256: "yy"}},
		Components: []Component{{Name: "dhcp", SHA256: "dd", Seeds: []string{"udhcpc"}}}, Vars: []plan.Var{{Name: "A", Value: "b"}},
	}
	got, err := entry().Plan(in)
	if err != nil {
		t.Fatal(err)
	}
	sum := strings.Repeat("a", 64)
	pkg := func(name, version string) plan.Package {
		return plan.Package{Name: name, Version: version, Arch: "amd64", SHA256: sum}
	}
	want := plan.Plan{
		Schema: plan.Schema, Flavor: f.ID, Arch: plan.X8664, Epoch: time.Date(2026, 9, 8, 11, 0, 0, 0, time.UTC).Unix(), Recipe: "rr",
		Debian: entry().Debian,
		Packages: []plan.Set{
			{Name: "base", Packages: []plan.Package{pkg("apt", "3.0"), pkg("dash", "0.5")}},
			{Name: "kernel", Packages: []plan.Package{pkg("linux-image-6.12.1-amd64", "6.12.1-1"), pkg("linux-image-amd64", "6.12.1-2")}},
		},
		Kernel: plan.Kernel{
			Method: "debian", Series: "6.12", Version: "6.12.1-2", Source: []string{"ss"}, Config: "cc", Patches: []plan.Source{{Name: "p", SHA256: "pp"}},
			Modules: plan.Modules{Include: []string{"default"}, Exclude: []string{"ice"}}, Firmware: []string{"auto"},
		},
		LinuxKit: in.LinuxKit, Userland: []plan.Source{{Name: "dhcp", SHA256: "dd"}}, Vars: in.Vars,
		Initramfs: plan.Initramfs{Compression: "gzip", Level: 6},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	in.Epoch = 1234
	if got, err := entry().Plan(in); got.Epoch != 1234 || err != nil {
		t.Errorf("a given epoch: got %d, %v", got.Epoch, err)
	}
	in.Epoch = 0
	broken := entry()
	broken.Debian[0].Date = "x"
	if _, err := broken.Plan(in); err == nil {
		t.Error("a date that is none: no error")
	}
}

func TestKernelVersionOfASource(t *testing.T) {
	e := Entry{Debian: entry().Debian, Sets: []Set{{Request: Request{Name: KernelSet}, Packages: []debian.Package{{Name: "linux-source-6.12", Version: "6.12.9-1"}, {Name: "zlib", Version: "1"}}}}}
	if got, err := e.Plan(Input{}); got.Kernel.Version != "6.12.9-1" || err != nil {
		t.Errorf("got %q, %v", got.Kernel.Version, err)
	}
}

// summary is a request in one line.
func summary(r Request) string {
	return fmt.Sprintf("%s %s %s %v not %v", r.Name, r.Arch, map[bool]string{true: "required"}[r.Required], r.Seeds, r.Exclude)
}

const (
	baseWant     = "base amd64 required [apt kmod xz-utils] not []"
	bootWant     = "boot amd64 required [apt kmod qemu-system-x86 xz-utils] not []"
	leftOut      = "not [binutils initramfs-tools kmod linux-base xz-utils]"
	toolsWant    = "toolchain amd64 required [apt bc bison ccache cpio flex gcc %skmod libelf-dev libncurses-dev libssl-dev lz4 make openssl patch pkgconf xz-utils zstd] not []"
	firmwareWant = "firmware %s  %v not [initramfs-tools]"
)

func requestsFor(f config.Flavor, components ...Component) []string {
	var got []string
	for _, r := range Requests(f, "amd64", components, []string{"qemu-system-x86", "kmod"}) {
		got = append(got, summary(r))
	}
	return got
}

// The built-in flavors, on an amd64 engine.
func TestRequests(t *testing.T) {
	cfg, err := config.Load("hookbuild.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	components := []Component{{Name: "init", Seeds: []string{"busybox-static"}}, {Name: "dhcp", Seeds: []string{"udhcpc"}, Exclude: []string{"busybox"}}}
	tools := map[string]string{"amd64": fmt.Sprintf(toolsWant, ""), "arm64": fmt.Sprintf(toolsWant, "gcc-aarch64-linux-gnu ")}
	for id, want := range map[string]struct{ arch, kernel, tools string }{
		"hook-default-amd64":    {"amd64", "kernel amd64  [linux-source-6.12] " + leftOut, tools["amd64"]},
		"hook-default-arm64":    {"arm64", "kernel arm64  [linux-source-6.12] " + leftOut, tools["arm64"]},
		"hook-latest-lts-amd64": {"amd64", "", tools["amd64"]},
		"hook-latest-lts-arm64": {"arm64", "", tools["arm64"]},
		"hook-debian-amd64":     {"amd64", "kernel amd64  [linux-image-amd64] " + leftOut, ""},
		"hook-debian-arm64":     {"arm64", "kernel arm64  [linux-image-arm64] " + leftOut, ""},
	} {
		t.Run(id, func(t *testing.T) {
			f, err := cfg.Flavor(id)
			if err != nil {
				t.Fatal(err)
			}
			all := []string{baseWant, bootWant, fmt.Sprintf(firmwareWant, want.arch, modules.FirmwarePackages()), want.kernel, want.tools,
				"userland/dhcp " + want.arch + "  [udhcpc] not [busybox]", "userland/init " + want.arch + "  [busybox-static] not []"}
			all = slices.DeleteFunc(all, func(s string) bool { return s == "" })
			if diff := cmp.Diff(all, requestsFor(f, components...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRequestsOfEachMethod(t *testing.T) {
	tools := fmt.Sprintf(toolsWant, "")
	for _, c := range []struct {
		name string
		k    config.Kernel
		want []string // besides base and boot
	}{
		{"a tarball", config.Kernel{Method: config.MethodSource, Source: config.Source{Kind: config.SourceURL}}, []string{tools}},
		{"a source tree", config.Kernel{Method: config.MethodSource, Source: config.Source{Kind: config.SourceDir}}, []string{tools}},
		{"kernel.org", config.Kernel{Method: config.MethodSource, Source: config.Source{Kind: config.SourceKernelOrg}}, []string{tools}},
		{"packages of the user's", config.Kernel{Method: config.MethodDeb, Source: config.Source{Kind: config.SourceDebs}}, nil},
		{"a directory", config.Kernel{Method: config.MethodDir, Source: config.Source{Kind: config.SourceDir}}, nil},
		{"firmware by name", config.Kernel{Method: config.MethodDir, Firmware: config.Firmware{Globs: []string{"bnx2/"}}},
			[]string{fmt.Sprintf(firmwareWant, "amd64", modules.FirmwarePackages())}},
	} {
		got := requestsFor(config.Flavor{Arch: plan.X8664, Kernel: c.k})
		if diff := cmp.Diff(append([]string{baseWant, bootWant}, c.want...), got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// The tools are the engine's, the boot loader the machine's.
func TestRequestsForAnISO(t *testing.T) {
	const leftOut = "not [debconf grub-common grub-efi-amd64-bin grub-efi-arm64-bin grub2-common mokutil shim-helpers-amd64-signed shim-helpers-arm64-signed shim-signed-common]"
	for arch, loader := range map[plan.Arch]string{
		plan.X8664:   "loader amd64  [grub-efi-amd64-signed shim-signed] " + leftOut,
		plan.AArch64: "loader arm64  [grub-efi-arm64-signed shim-signed] " + leftOut,
	} {
		got := requestsFor(config.Flavor{Arch: arch, Kernel: config.Kernel{Method: config.MethodDir}, Outputs: config.Outputs{ISO: true}})
		want := []string{baseWant, bootWant, "iso amd64 required [apt kmod mtools xorriso xz-utils] not []", loader}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}
