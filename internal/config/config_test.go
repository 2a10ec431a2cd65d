package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

func load(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Load("site/hookbuild.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBuiltInFlavors(t *testing.T) {
	c, err := Load("hookbuild.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	source := Kernel{Method: "source", Series: "6.12", Source: "debian", Config: "generic"}
	lts := Kernel{Method: "source", Series: "6.6", Source: "kernel.org", Config: "generic"}
	binary := Kernel{Method: "debian", Series: "6.12"}
	gzip := Initramfs{Compression: "gzip", Level: 6}
	const later = "kernel sources from kernel.org are not supported yet"
	want := []Flavor{
		{ID: "hook-debian-amd64", Arch: plan.X8664, BuiltIn: true, Kernel: binary, Initramfs: gzip},
		{ID: "hook-debian-arm64", Arch: plan.AArch64, BuiltIn: true, Kernel: binary, Initramfs: gzip},
		{ID: "hook-default-amd64", Arch: plan.X8664, BuiltIn: true, Kernel: source, Initramfs: gzip},
		{ID: "hook-default-arm64", Arch: plan.AArch64, BuiltIn: true, Kernel: source, Initramfs: gzip},
		{ID: "hook-latest-lts-amd64", Arch: plan.X8664, BuiltIn: true, Kernel: lts, Initramfs: gzip, Unavailable: later},
		{ID: "hook-latest-lts-arm64", Arch: plan.AArch64, BuiltIn: true, Kernel: lts, Initramfs: gzip, Unavailable: later},
	}
	if diff := cmp.Diff(want, c.Flavors()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if c.Debian != (Debian{Suite: "trixie"}) || c.Cache != (Cache{}) || c.Vars == nil || len(c.Vars) != 0 {
		t.Errorf("got %+v", c)
	}
}

func TestLoadGlobalKeys(t *testing.T) {
	c := load(t, `
debian: {mirror: "https://mirror.example/debian", security_mirror: http://mirror.example/sec, suite: trixie}
cache: {dir: tmp/cache}
vars: {SITE: north, VLAN: 12, DEBUG: false, EMPTY: ""}
`)
	if want := (Debian{"https://mirror.example/debian", "http://mirror.example/sec", "trixie"}); c.Debian != want {
		t.Errorf("debian: got %+v, want %+v", c.Debian, want)
	}
	if c.Cache.Dir != "site/tmp/cache" {
		t.Errorf("cache: got %q", c.Cache.Dir)
	}
	want := map[string]string{"SITE": "north", "VLAN": "12", "DEBUG": "false", "EMPTY": ""}
	if diff := cmp.Diff(want, c.Vars); diff != "" {
		t.Errorf("vars: -want +got:\n%s", diff)
	}
}

func TestExtends(t *testing.T) {
	c := load(t, `
flavors:
  grandchild:
    extends: child
    userland: {linuxkit: [other.yaml]}
  child:
    extends: hook-default-amd64
    kernel: {config: site}
    userland: {linuxkit: [a.yaml, /abs/b.yaml]}
    initramfs: {level: 9}
  sibling:
    extends: child
    arch: arm64
    kernel: {method: debian}
  alone: {arch: aarch64}
  repaired:
    extends: hook-latest-lts-amd64
    kernel: {source: debian, series: "6.12"}
`)
	for _, want := range []Flavor{
		{ID: "grandchild", Arch: plan.X8664,
			Kernel:   Kernel{Method: "source", Series: "6.12", Source: "debian", Config: "site"},
			Userland: Userland{LinuxKit: []string{"site/other.yaml"}}, Initramfs: Initramfs{"gzip", 9}},
		{ID: "child", Arch: plan.X8664,
			Kernel:   Kernel{Method: "source", Series: "6.12", Source: "debian", Config: "site"},
			Userland: Userland{LinuxKit: []string{"site/a.yaml", "/abs/b.yaml"}}, Initramfs: Initramfs{"gzip", 9}},
		{ID: "sibling", Arch: plan.AArch64,
			Kernel:   Kernel{Method: "debian", Series: "6.12"},
			Userland: Userland{LinuxKit: []string{"site/a.yaml", "/abs/b.yaml"}}, Initramfs: Initramfs{"gzip", 9}},
		{ID: "alone", Arch: plan.AArch64,
			Kernel: Kernel{Method: "source", Series: "6.12", Source: "debian", Config: "generic"}, Initramfs: Initramfs{"gzip", 6}},
		{ID: "repaired", Arch: plan.X8664,
			Kernel: Kernel{Method: "source", Series: "6.12", Source: "debian", Config: "generic"}, Initramfs: Initramfs{"gzip", 6}},
	} {
		got, err := c.Flavor(want.ID)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", want.ID, diff)
		}
	}
	if n := len(c.Flavors()); n != 11 {
		t.Errorf("got %d flavors, want 6 built in and 5", n)
	}
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "# nothing\n", "1:1: the document is empty"},
		{"second document", "cache: {dir: x}\n---\n{}\n", "2:1: a second document begins here: only one is allowed"},
		{"near key", "flavor: {}\n", `1:1: unknown key "flavor": did you mean "flavors"?`},
		{"later: registries", "registries: {r.example: {}}\n", `1:1: "registries" is not supported yet`},
		{"later: cache", "cache: {max_size: 20GiB}\n", `1:9: "max_size" is not supported yet`},
		{"later: outputs", "flavors: {a: {arch: x86_64, outputs: {iso: true}, base: r}}\n",
			"1:29: \"outputs\" is not supported yet\n1:51: \"base\" is not supported yet"},
		{"later: kernel", "flavors:\n  a:\n    arch: amd64\n    kernel:\n      set: {BE2NET: m}\n      version: 6.12.1\n",
			"5:7: \"set\" is not supported yet\n6:7: \"version\" is not supported yet"},
		{"later: userland", "flavors: {a: {arch: amd64, userland: {ntp: [x]}}}\n", `1:39: "ntp" is not supported yet`},
		{"later: initramfs", "flavors: {a: {arch: amd64, initramfs: {compression: zstd, max_ram: 2GiB}}}\n",
			"1:53: \"compression\": \"zstd\" is not supported yet\n1:59: \"max_ram\" is not supported yet"},
		{"later: method", "flavors: {a: {arch: amd64, kernel: {method: deb}}}\n", `1:45: "method": "deb" is not supported yet`},
		{"later: kernel.org", "flavors: {a: {arch: amd64, kernel: {source: kernel.org}}}\n", `1:45: "kernel.org" is not supported yet`},
		{"later: source url", "flavors: {a: {arch: amd64, kernel: {source: {url: x}}}}\n",
			`1:45: "source": a source with url or dir is not supported yet`},
		{"method", "flavors: {a: {arch: amd64, kernel: {method: sources}}}\n",
			`1:45: "method": unknown value "sources": did you mean "source"? want source or debian`},
		{"suite", "debian: {suite: bookworm}\n", `1:17: "suite": unknown value "bookworm": want trixie`},
		{"mirror", "debian: {mirror: mirror.example/debian, security_mirror: 7}\n",
			"1:18: \"mirror\": \"mirror.example/debian\" is no base URL: want http://HOST/PATH or https://HOST/PATH\n" +
				"1:58: \"security_mirror\": want a string, got a number: write \"7\" with quotes"},
		{"cache dir", "cache: {dir: \"\"}\n", `1:14: "dir": the path is empty`},
		{"vars", "vars:\n  1a: x\n  HOOK_KERNEL: y\n  a: [b]\n",
			"2:3: \"1a\" is no name of a variable: want letters, digits and _, no digit first\n" +
				"3:3: variable HOOK_KERNEL stands for the flavor's kernel: choose another name\n" +
				"4:6: \"a\": want a string, a number or a boolean, got a list"},
		{"arch", "flavors: {a: {arch: i386}}\n",
			`1:21: "arch": unknown architecture "i386": want x86_64, amd64, aarch64 or arm64`},
		{"series as a number", "flavors: {a: {arch: amd64, kernel: {series: 6.12}}}\n",
			`1:45: "series": want a string, got a number: write "6.12" with quotes`},
		{"series form", "flavors: {a: {arch: amd64, kernel: {series: 6.12.y}}}\n",
			`1:45: "series": "6.12.y" is not a kernel series such as 6.12`},
		{"series that Debian lacks", "flavors: {a: {arch: amd64, kernel: {series: \"6.6\"}}}\n",
			`1:45: flavor "a": Debian trixie has the kernel series 6.12, not 6.6`},
		{"series inherited from elsewhere", "flavors:\n  a: {extends: hook-latest-lts-amd64, kernel: {source: debian}}\n",
			`2:3: flavor "a": Debian trixie has the kernel series 6.12, not 6.6`},
		{"config climbs", "flavors: {a: {arch: amd64, kernel: {config: ../x}}}\n",
			`1:45: "config": "../x" is not a name: want a-z, 0-9 and single . _ or - between them`},
		{"without effect", "flavors: {a: {extends: hook-debian-amd64, kernel: {source: debian, config: x}}}\n",
			"1:60: \"source\" has no effect: method debian compiles nothing\n1:76: \"config\" has no effect: method debian compiles nothing"},
		{"level", "flavors: {a: {arch: amd64, initramfs: {level: 10}}}\n", `1:47: "level": want 1 to 9, got 10`},
		{"id", "flavors: {A/b: {arch: amd64}}\n",
			`1:11: "A/b" is no id of a flavor: want a-z, 0-9 and single . _ or - between them`},
		{"id that is built in", "flavors:\n  hook-debian-amd64: {arch: amd64}\n",
			`2:3: flavor "hook-debian-amd64" is built in: choose another id, with extends: hook-debian-amd64`},
		{"neither extends nor arch", "flavors:\n  a: {kernel: {method: debian}}\n", `2:3: flavor "a" needs extends or arch`},
		{"unknown parent", "flavors:\n  a: {extends: hook-defualt-amd64}\n",
			`2:16: unknown flavor "hook-defualt-amd64": did you mean "hook-default-amd64"?`},
		{"itself", "flavors:\n  a: {extends: a}\n", `2:16: flavor "a" extends itself by way of "a"`},
		{"cycle", "flavors:\n  a: {extends: b}\n  b: {extends: c}\n  c: {extends: a}\n",
			`4:16: flavor "c" extends itself by way of "a"`},
		{"empty path", "flavors: {a: {arch: amd64, userland: {linuxkit: [\"\"]}}}\n", `1:50: "linuxkit[0]": the path is empty`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := Load("hookbuild.yaml", []byte(tc.text))
			want := "hookbuild.yaml:" + strings.ReplaceAll(tc.want, "\n", "\nhookbuild.yaml:")
			if got := fmt.Sprint(err); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			var errs strictyaml.Errors
			if !errors.As(err, &errs) || c != nil {
				t.Errorf("got %v and an error of type %T", c, err)
			}
		})
	}
}

func TestSelect(t *testing.T) {
	c := load(t, "flavors: {mine: {arch: aarch64}}\n")
	for _, tc := range []struct {
		name, flavor string
		arch, engine plan.Arch
		want, err    string
	}{
		{"the engine's", "", "", plan.AArch64, "hook-default-arm64", ""},
		{"arch", "", plan.X8664, plan.AArch64, "hook-default-amd64", ""},
		{"flavor", "hook-debian-amd64", "", plan.AArch64, "hook-debian-amd64", ""},
		{"flavor without an engine", "mine", "", "", "mine", ""},
		{"both agree", "mine", plan.AArch64, plan.X8664, "mine", ""},
		{"both disagree", "mine", plan.X8664, plan.X8664, "", "flavor mine is for aarch64, --arch says x86_64"},
		{"nothing", "", "", "", "", "which architecture? give a flavor or --arch"},
		{"near", "hook-debian-amd46", "", plan.X8664, "", `unknown flavor "hook-debian-amd46": did you mean "hook-debian-amd64"? there are ` +
			"hook-debian-amd64, hook-debian-arm64, hook-default-amd64, hook-default-arm64, hook-latest-lts-amd64, hook-latest-lts-arm64, mine"},
		{"unavailable", "hook-latest-lts-amd64", "", plan.X8664, "",
			"flavor hook-latest-lts-amd64 cannot be built yet: kernel sources from kernel.org are not supported yet"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := c.Select(tc.flavor, tc.arch, tc.engine)
			if tc.err == "" && (err != nil || f.ID != tc.want) {
				t.Errorf("got %s, error %v, want %s", f.ID, err, tc.want)
			}
			var usage *UsageError
			if tc.err != "" && (!errors.As(err, &usage) || err.Error() != tc.err) {
				t.Errorf("got %v (%T), want %s", err, err, tc.err)
			}
		})
	}
}

func TestFlavorsAreCopies(t *testing.T) {
	c := load(t, "flavors: {mine: {arch: amd64, userland: {linuxkit: [a.yaml]}}}\n")
	f, err := c.Flavor("mine")
	if err != nil {
		t.Fatal(err)
	}
	f.Userland.LinuxKit[0] = "changed"
	if again, _ := c.Flavor("mine"); again.Userland.LinuxKit[0] != "site/a.yaml" {
		t.Errorf("got %q after a caller changed its copy", again.Userland.LinuxKit[0])
	}
}
