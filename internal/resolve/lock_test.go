package resolve

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// entry is a lock entry with the sets base, boot and kernel.
func entry() Entry {
	pkg := func(name, version string) debian.Package {
		return debian.Package{
			Name: name, Version: version, Arch: "amd64", Filename: "pool/" + name, SHA256: strings.Repeat("a", 64), Size: 7, Archive: debian.FromArchive,
		}
	}
	return Entry{
		Debian: []plan.Index{
			{Suite: "trixie", Date: "2026-09-06T10:00:00Z", SHA256: "aa"}, {Suite: "trixie-security", Date: "2026-09-08T11:00:00Z", SHA256: "bb"},
		},
		Sets: []Set{
			{Request: Request{Name: "base", Arch: "amd64", Required: true, Seeds: []string{"apt"}}, Packages: []debian.Package{pkg("apt", "3.0"), pkg("dash", "0.5")}},
			{Request: Request{Name: "boot", Arch: "amd64", Required: true, Seeds: []string{"apt", "qemu"}}, Packages: []debian.Package{pkg("qemu", "10")}},
			{
				Request:  Request{Name: "kernel", Arch: "amd64", Seeds: []string{"linux-image-amd64"}, Exclude: []string{"kmod"}},
				Packages: []debian.Package{pkg("linux-image-6.12.1-amd64", "6.12.1-1"), pkg("linux-image-amd64", "6.12.1-2")},
			},
		},
	}
}

func requestsOf(e Entry) []Request {
	var all []Request
	for _, s := range e.Sets {
		all = append(all, s.Request)
	}
	return all
}

func TestLockRoundTrip(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := t.TempDir()
	file := filepath.Join(dir, LockName)
	want := &Lock{Schema: 1, Flavors: map[string]Entry{"z": entry(), "a": {}}}
	for range 2 { // also over an existing one
		if err := want.Write(file); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadLock(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("got %v, %v; want mode 0644", info.Mode(), err)
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) != 1 {
		t.Errorf("got %v, %v; want only the lock", found, err)
	}
	data, err := os.ReadFile(file)
	if text := string(data); err != nil || !strings.HasSuffix(text, "}\n") || strings.Index(text, `"a"`) > strings.Index(text, `"z"`) {
		t.Errorf("%v: not as a person would want it in a diff:\n%s", err, text)
	}
}

func TestWriteFailureLeavesEverythingAsItWas(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, LockName)
	if err := os.MkdirAll(filepath.Join(target, "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := (&Lock{Schema: 1}).Write(target)
	if err == nil || !strings.Contains(err.Error(), "write the lock") {
		t.Errorf("got %v", err)
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) != 1 {
		t.Errorf("left behind: %v, %v", found, err)
	}
	if err := (&Lock{}).Write(filepath.Join(dir, "none", LockName)); err == nil {
		t.Error("a missing directory is no error")
	}
}

func TestReadLock(t *testing.T) {
	a64 := strings.Repeat("a", 64)
	pinned := func(series, exactly, version, sha256 string) string {
		lock := Lock{Schema: 1, Flavors: map[string]Entry{"x": {Kernel: &Kernel{
			Series: series, Exactly: exactly, Pin: kernelorg.Pin{Version: version, SHA256: sha256},
		}}}}
		data, err := json.Marshal(lock)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for _, c := range []struct{ name, content, want string }{
		{"empty file", "", "unexpected end of JSON input"},
		{"cut", "{\n\"schema\": 1,\n\"flavors\": {", "line 3: unexpected end"},
		{"broken", "{\n\"schema\": 1,\n<<<<<<< ours\n}", "line 3: invalid character '<'"},
		{"two documents", "{\"schema\":1}\n{\"schema\":1}", "line 2: invalid character"},
		{"unknown key", `{"schema":1,"images":{}}`, `unknown field "images"`},
		{"unknown key inside", `{"schema":1,"flavors":{"x":{"debian":[],"colours":"y"}}}`, `unknown field "colours"`},
		{"unknown key of a pin", `{"schema":1,"flavors":{"x":{"debian":[],"sets":[],"kernel":{"series":"6.6","mirror":"x"}}}}`, `unknown field "mirror"`},
		{"no pin", `{"schema":1,"flavors":{"x":{"debian":[],"sets":[],"kernel":{}}}}`, `flavor x: kernel: "" is not a series`},
		{"a pin that leads elsewhere", `{"schema":1,"flavors":{"x":{"debian":[],"sets":[],"kernel":{"series":"6.6","version":"6.6.9","sha256":"../../x","signed_by":[]}}}}`,
			`flavor x: kernel: sha256 "../../x" of linux-6.6.9: want 64 hexadecimal digits`},
		{"a pin with a command", pinned("6.6", "", "6.6.x; rm", a64), `flavor x: kernel: "6.6.x; rm" is not the version of a Linux release`},
		{"a pin of a candidate", pinned("6.6", "", "6.6.10-rc1?", a64), `flavor x: kernel: "6.6.10-rc1?" is not the version`},
		{"a pin in capitals", pinned("6.6", "", "6.6.9", strings.ToUpper(a64)), `AAAA" of linux-6.6.9: want 64 hexadecimal digits, in lower case`},
		{"a short pin", pinned("6.6", "", "6.6.9", a64[1:]), `of linux-6.6.9: want 64 hexadecimal digits`},
		{"a pin of another series", pinned("6.6", "", "6.12.9", a64), `flavor x: kernel: linux-6.12.9: want a release of 6.6`},
		{"a pin of another release", pinned("6.6", "6.6.9", "6.6.10", a64), `flavor x: kernel: linux-6.6.10: want 6.6.9`},
		{"a request for no release", pinned("6.6", "latest", "6.6.9", a64), `flavor x: kernel: "latest" is not the version`},
		{"wrong type", "{\n\"schema\": \"1\"}", "line 2: json: cannot unmarshal"},
		{"newer", `{"schema":2,"flavors":{}}`, "schema 2; this hookbuild knows 1"},
		{"no schema", `{"flavors":{}}`, "schema 0"},
		{"null", `null`, "schema 0"},
		{"bad date", `{"schema":1,"flavors":{"x":{"debian":[{"suite":"trixie","date":"yesterday","sha256":"aa"}],"sets":[]}}}`, `date "yesterday" of trixie`},
		{"bad digest", `{"schema":1,"flavors":{"x":{"debian":[],"sets":[{"name":"base","arch":"amd64","seeds":[],"packages":[{"name":"apt","version":"1","arch":"amd64","file":"f","sha256":"../x","size":1,"archive":"archive"}]}]}}}`, `sha256 "../x" of apt`},
		{"digest in capitals", `{"schema":1,"flavors":{"x":{"debian":[],"sets":[{"name":"base","arch":"amd64","seeds":[],"packages":[{"name":"apt","version":"1","arch":"amd64","file":"f","sha256":"` +
			strings.ToUpper(a64) + `","size":1,"archive":"archive"}]}]}}}`, `AAAA" of apt: want 64 hexadecimal digits, in lower case`},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), LockName)
			if err := os.WriteFile(file, []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := ReadLock(file)
			var bad *LockError
			if !errors.As(err, &bad) || bad.File != file || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a *LockError with %q", err, c.want)
			}
		})
	}
}

func TestReadLockWithoutContent(t *testing.T) {
	missing := filepath.Join(t.TempDir(), LockName)
	bare := filepath.Join(t.TempDir(), LockName)
	if err := os.WriteFile(bare, []byte(`{"schema":1}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{missing, bare} {
		lock, err := ReadLock(file)
		if err != nil || lock.Schema != 1 || lock.Flavors == nil || len(lock.Flavors) != 0 {
			t.Errorf("%s: got %+v, %v", file, lock, err)
		}
	}
	var bad *LockError
	if _, err := ReadLock(t.TempDir()); err == nil || errors.As(err, &bad) {
		t.Errorf("a directory: got %v, want an error of the file system", err)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(r []Request) []Request
		want   string
	}{
		{"the same", func(r []Request) []Request { return r }, ""},
		{"one less", func(r []Request) []Request { return r[1:] }, ""},
		{"one more", func(r []Request) []Request { return append(r, Request{Name: "toolchain"}) }, `holds no packages for "toolchain"`},
		{"seeds", func(r []Request) []Request { r[0].Seeds = []string{"apt", "kmod"}; return r }, `another list of packages for "base"`},
		{"no seeds", func(r []Request) []Request { r[0].Seeds = nil; return r }, `another list of packages for "base"`},
		{"architecture", func(r []Request) []Request { r[1].Arch = "arm64"; return r }, `another list of packages for "boot"`},
		{"required", func(r []Request) []Request { r[1].Required = false; return r }, `another list of packages for "boot"`},
		{"exclude", func(r []Request) []Request { r[2].Exclude = nil; return r }, `another list of packages for "kernel"`},
	} {
		e := entry()
		if got := e.check(c.change(requestsOf(e)), nil); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestNotBeforeAndEpoch(t *testing.T) {
	old := entry()
	old.Debian = []plan.Index{{Suite: "trixie", Date: "2026-09-07T10:00:00+02:00"}, {Suite: "trixie-security", Date: "2026-01-01T00:00:00Z"}}
	lock := &Lock{Flavors: map[string]Entry{"a": entry(), "b": old, "c": {}}}
	got, err := lock.notBefore()
	if err != nil {
		t.Fatal(err)
	}
	for suite, want := range map[string]string{"trixie": "2026-09-07T08:00:00Z", "trixie-security": "2026-09-08T11:00:00Z"} {
		if at := got[suite].UTC().Format(time.RFC3339); at != want {
			t.Errorf("%s: got %s, want %s", suite, at, want)
		}
	}
	epoch, err := entry().Epoch()
	if want := time.Date(2026, 9, 8, 11, 0, 0, 0, time.UTC).Unix(); epoch != want || err != nil {
		t.Errorf("got epoch %d, %v; want %d", epoch, err, want)
	}
	lock.Flavors["c"] = Entry{Debian: []plan.Index{{Suite: "trixie", Date: "yesterday"}}}
	if _, err := lock.notBefore(); err == nil || !strings.Contains(err.Error(), "trixie") {
		t.Errorf("got %v", err)
	}
	if _, err := lock.Flavors["c"].Epoch(); err == nil || !strings.Contains(err.Error(), "yesterday") {
		t.Errorf("got %v", err)
	}
}

func TestChanges(t *testing.T) {
	before, after, again := entry(), entry(), entry()
	before.Kernel = &Kernel{Series: "6.6", Pin: kernelorg.Pin{Version: "6.6.9", SHA256: strings.Repeat("a", 64)}}
	after.Kernel = before.Kernel
	again.Kernel = &Kernel{Series: "6.6", Pin: kernelorg.Pin{Version: "6.6.9", SHA256: strings.Repeat("b", 64)}}
	again.Sets[0].Packages[1].SHA256 = strings.Repeat("b", 64)
	after.Sets = slices.Clone(after.Sets)
	after.Sets[0].Packages = []debian.Package{{Name: "apt", Version: "3.1"}, {Name: "bash", Version: "5"}}
	after.Sets = append(after.Sets[:2], Set{Request: Request{Name: "toolchain"}, Packages: []debian.Package{{Name: "gcc", Version: "14"}}})
	for _, c := range []struct {
		name string
		r    Result
		want []string
	}{
		{"nothing written", Result{Entry: after, Before: &before}, nil},
		{"the same packages", Result{Entry: before, Before: &before, Written: true}, nil},
		{"all kinds", Result{Entry: after, Before: &before, Written: true}, []string{
			"base: apt 3.0 -> 3.1", "base: + bash 5", "base: - dash 0.5",
			"kernel: - linux-image-6.12.1-amd64 6.12.1-1", "kernel: - linux-image-amd64 6.12.1-2", "toolchain: + gcc 14",
		}},
		{"the same versions, built or packed again", Result{Entry: again, Before: &before, Written: true}, []string{
			"base: dash 0.5: same version, other content", "kernel.org: linux 6.6.9: same version, other content",
		}},
		{"a bundle", Result{
			Entry:  Entry{Bundle: &File{"https://e.example/b.yaml", "bb"}},
			Before: &Entry{Bundle: &File{"https://e.example/b.yaml", "aa"}}, Written: true,
		}, []string{"bundle: https://e.example/b.yaml sha256:aa -> sha256:bb"}},
		{"a new flavor", Result{Entry: Entry{Sets: before.Sets[1:2]}, Written: true}, []string{"boot: + qemu 10"}},
	} {
		var got []string
		for _, ch := range Changes(c.r) {
			got = append(got, ch.String())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}
