package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// kernels loads text and returns the kernels of all flavors that are not built in.
func kernels(t *testing.T, text string) map[string]Kernel {
	t.Helper()
	all := map[string]Kernel{}
	for _, f := range load(t, text).Flavors() {
		if !f.BuiltIn {
			all[f.ID] = f.Kernel
		}
	}
	return all
}

func checkKernels(t *testing.T, text string, want map[string]Kernel) {
	t.Helper()
	if diff := cmp.Diff(want, kernels(t, text)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestKernelKeys(t *testing.T) {
	checkKernels(t, `
flavors:
  mine:
    arch: x86_64
    kernel:
      method: source
      series: "6.6"
      version: 6.6.107
      source: kernel.org
      config: rack
      fragments: [b.config, /abs/a.config]
      set:
        LOG_BUF_SHIFT: 18
        CONFIG_BE2NET: m
        PHYSICAL_START: 0x1000000
        DEFAULT_HOSTNAME: "hook"
        LOCALVERSION: ""
        MT76x0U: n
        CMDLINE: "true"
      patches: [p/2.patch, p/1.patch]
      external_modules:
        - {name: ice, url: "https://mirror.example/ice.tar.gz", sha256: `+strings.ToUpper(sum)+`, make: [-C, src]}
        - {name: mlnx-ofed, url: src/mlnx}
        - {name: igb, url: /abs/igb.tgz, sha256: `+sum+`}
      modules: {include: [default, "drivers/net/**"], exclude: [wireless]}
      firmware: [bnx2/*, "*.fw"]
      keyring: keys/kernel.gpg
`, map[string]Kernel{"mine": {
		Method: "source", Series: "6.6", Version: "6.6.107", Source: Source{Kind: "kernel.org"}, Config: "rack",
		Fragments: []string{"site/b.config", "/abs/a.config"},
		Set: []Setting{
			{"BE2NET", "m", "site/hookbuild.yaml:14:9"}, {"CMDLINE", "true", "site/hookbuild.yaml:19:9"},
			{"DEFAULT_HOSTNAME", "hook", "site/hookbuild.yaml:16:9"}, {"LOCALVERSION", "", "site/hookbuild.yaml:17:9"},
			{"LOG_BUF_SHIFT", "18", "site/hookbuild.yaml:13:9"}, {"MT76x0U", "n", "site/hookbuild.yaml:18:9"},
			{"PHYSICAL_START", "0x1000000", "site/hookbuild.yaml:15:9"},
		},
		Patches: []string{"site/p/2.patch", "site/p/1.patch"},
		External: []ExternalModule{
			{Name: "ice", URL: "https://mirror.example/ice.tar.gz", SHA256: sum, Make: []string{"-C", "src"}},
			{Name: "mlnx-ofed", URL: "site/src/mlnx"},
			{Name: "igb", URL: "/abs/igb.tgz", SHA256: sum},
		},
		Keyring:  "site/keys/kernel.gpg",
		Modules:  Modules{Include: []string{"default", "drivers/net/**"}, Exclude: []string{"wireless"}},
		Firmware: Firmware{Globs: []string{"bnx2/*", "*.fw"}},
	}})
}

func TestKernelSources(t *testing.T) {
	compiled := func(series string, s Source) Kernel {
		k := fromDebian("generic")
		k.Series, k.Source = series, s
		return k
	}
	given := func(method string, s Source) Kernel {
		k := debianBinary()
		k.Method, k.Series, k.Source = method, "", s
		return k
	}
	implied := compiled("6.1", Source{Kind: SourceKernelOrg})
	implied.Version = "6.1.9"
	checkKernels(t, `
flavors:
  url:  {arch: amd64, kernel: {source: {url: "https://mirror.example/linux.tar.xz", sha256: `+sum+`}}}
  file: {arch: amd64, kernel: {source: {url: linux.tar.xz, sha256: `+sum+`}, series: "6.1"}}
  tree: {arch: amd64, kernel: {source: {dir: ../linux}}}
  deb:  {arch: amd64, kernel: {method: deb, source: {deb: [debs/image.deb, /abs/modules.deb]}}}
  dir:  {arch: amd64, kernel: {method: dir, source: {dir: built}}}
  version-only: {arch: amd64, kernel: {source: kernel.org, version: 6.1.9}}
  after-deb: {extends: deb, kernel: {method: source, source: debian}}
`, map[string]Kernel{
		"url":          compiled("6.12", Source{Kind: SourceURL, URL: "https://mirror.example/linux.tar.xz", SHA256: sum}),
		"file":         compiled("6.1", Source{Kind: SourceURL, URL: "site/linux.tar.xz", SHA256: sum}),
		"tree":         compiled("6.12", Source{Kind: SourceDir, Dir: "linux"}),
		"deb":          given(MethodDeb, Source{Kind: SourceDebs, Debs: []string{"site/debs/image.deb", "/abs/modules.deb"}}),
		"dir":          given(MethodDir, Source{Kind: SourceDir, Dir: "site/built"}),
		"version-only": implied,
		"after-deb":    fromDebian("generic"),
	})
}

func TestKernelExtends(t *testing.T) {
	all := kernels(t, `
flavors:
  parent:
    extends: hook-latest-lts-amd64
    kernel:
      version: 6.6.107
      fragments: [a, b]
      set: {BE2NET: m, ICE: m, BNXT: y}
      patches: [a]
      external_modules: [{name: ice, url: ice}]
      modules: {exclude: [wireless]}
      firmware: [a/*]
      keyring: k.gpg
  same: {extends: parent}
  lists:
    extends: parent
    kernel: {fragments: [c], patches: [], external_modules: [], firmware: none, modules: {include: [all]}, keyring: l.gpg}
  maps:
    extends: parent
    kernel: {set: {CONFIG_ICE: y, HINIC: m}, firmware: auto, modules: {exclude: []}}
  series: {extends: parent, kernel: {series: "6.6"}}
  version: {extends: parent, kernel: {version: 6.12.5}}
  debian: {extends: parent, kernel: {source: debian, series: "6.12"}}
  binary: {extends: parent, kernel: {method: debian, series: "6.12"}}
  built: {extends: parent, kernel: {method: dir, source: {dir: d}}}
`)
	parent := Kernel{
		Method: "source", Series: "6.6", Version: "6.6.107", Source: Source{Kind: "kernel.org"}, Config: "generic",
		Fragments: []string{"site/a", "site/b"},
		Set: []Setting{
			{"BE2NET", "m", "site/hookbuild.yaml:8:13"}, {"BNXT", "y", "site/hookbuild.yaml:8:32"}, {"ICE", "m", "site/hookbuild.yaml:8:24"},
		},
		Patches: []string{"site/a"}, External: []ExternalModule{{Name: "ice", URL: "site/ice"}}, Keyring: "site/k.gpg",
		Modules:  Modules{Include: []string{"default"}, Exclude: []string{"wireless"}},
		Firmware: Firmware{Globs: []string{"a/*"}},
	}
	lists, maps, series, version, debian := parent, parent, parent, parent, parent
	lists.Fragments, lists.Patches, lists.External, lists.Keyring = []string{"site/c"}, nil, nil, "site/l.gpg"
	lists.Modules.Include, lists.Firmware = []string{"all"}, Firmware{}
	maps.Set = []Setting{
		parent.Set[0], parent.Set[1], {"HINIC", "m", "site/hookbuild.yaml:20:35"}, {"ICE", "y", "site/hookbuild.yaml:20:20"},
	}
	maps.Modules.Exclude, maps.Firmware = nil, Firmware{Auto: true}
	series.Version = ""
	version.Series, version.Version = "6.12", "6.12.5"
	debian.Series, debian.Version, debian.Source.Kind, debian.Keyring = "6.12", "", "debian", ""
	rest := Kernel{Method: "debian", Series: "6.12", Modules: parent.Modules, Firmware: parent.Firmware}
	built := Kernel{Method: "dir", Source: Source{Kind: "dir", Dir: "site/d"}, Modules: parent.Modules, Firmware: parent.Firmware}
	want := map[string]Kernel{
		"parent": parent, "same": parent, "lists": lists, "maps": maps, "series": series, "version": version,
		"debian": debian, "binary": rest, "built": built,
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestKernelFaults(t *testing.T) {
	for _, tc := range []struct{ name, kernel, want string }{
		// The mapping begins at column 36.
		{"version form", `{source: kernel.org, version: "6.6"}`, `1:66: "version": "6.6" is not a kernel version such as 6.6.107`},
		{"version as a number", `{source: kernel.org, version: 6.6}`, `1:66: "version": want a string, got a number: write "6.6" with quotes`},
		{"version of another series", `{source: kernel.org, version: 6.6.107, series: "6.12"}`, `1:66: version 6.6.107 is not of series 6.12`},
		{"version of Debian's", `{version: 6.6.107}`, `1:46: "version" has no effect: the source is debian, not kernel.org`},
		{"version and keyring of a tree", `{source: {dir: d}, version: 6.6.107, keyring: k}`,
			"1:64: \"version\" has no effect: the source is dir, not kernel.org\n1:82: \"keyring\" has no effect: the source is dir, not kernel.org"},
		{"source near", `{source: kernelorg}`, `1:45: "source": unknown value "kernelorg": did you mean "kernel.org"? want debian or kernel.org`},
		{"source list", `{source: [a]}`, `1:45: "source": want debian, kernel.org or a mapping with url, dir or deb, got a list`},
		{"source number", `{source: 7}`, `1:45: "source": want debian, kernel.org or a mapping with url, dir or deb, got a number`},
		{"source nothing", `{source: }`, `1:45: "source": want debian, kernel.org or a mapping with url, dir or deb, got nothing`},
		{"source empty", `{source: {}}`, `1:45: "source": want one of url, dir and deb, got 0 of them`},
		{"source with two", `{source: {url: a, dir: b, sha256: c}}`,
			"1:45: \"source\": want one of url, dir and deb, got 2 of them\n1:70: \"sha256\": \"c\" is not a SHA-256: want 64 hexadecimal digits"},
		{"source key", `{source: {dir: a, dirs: b}}`, `1:54: unknown key "dirs": did you mean "dir"?`},
		{"source url scheme", `{source: {url: "ftp://mirror.example/a", sha256: ` + sum + `}}`,
			`1:51: "url": cannot fetch from ftp://: want http://, https:// or a path`},
		{"source url host", `{source: {url: "https:///a", sha256: ` + sum + `}}`,
			`1:51: "url": not a URL: want http://HOST/PATH, https://HOST/PATH or a path`},
		{"source url empty", `{source: {url: "", sha256: ` + sum + `}}`, `1:51: "url": the URL or path is empty`},
		{"source url alone", `{source: {url: linux.tar.xz}}`, `1:51: "url": the tarball needs "sha256"`},
		{"source dir", `{source: {dir: ""}}`, `1:51: "dir": the path is empty`},
		{"source dir with a digest", `{source: {dir: d, sha256: ` + sum + `}}`, `1:62: "sha256" has no effect without "url"`},
		{"source deb", `{method: deb, source: {deb: [""]}}`, `1:65: "deb[0]": the path is empty`},
		{"source deb empty", `{method: deb, source: {deb: []}}`, `1:64: "deb": the list is empty`},
		{"source deb scalar", `{method: deb, source: {deb: a.deb}}`, `1:64: "deb": want a list, got a string`},
		{"deb without its source", `{method: deb}`,
			`1:45: method deb does not fit the source, which is debian: want source: {deb: [FILE]}`},
		{"deb with another source", `{method: deb, source: kernel.org}`,
			`1:58: method deb does not fit the source, which is kernel.org: want source: {deb: [FILE]}`},
		{"dir with another source", `{method: dir, source: {deb: [a]}}`,
			`1:58: method dir does not fit the source, which is deb: want source: {dir: DIR}`},
		{"packages to compile", `{source: {deb: [a]}}`, "1:45: method source does not fit the source, which is deb: want source: debian, kernel.org, {url: URL, sha256: HEX} or {dir: DIR}"},
		{"series of packages", `{method: deb, source: {deb: [a]}, series: "6.12"}`,
			`1:78: "series" has no effect: method deb takes the kernel that it is given`},
		{"series of a directory", `{method: dir, source: {dir: a}, series: "6.12"}`,
			`1:76: "series" has no effect: method dir takes the kernel that it is given`},
		{"binary: all without effect", `{method: debian, source: {dir: a}, version: 6.6.1, config: a, fragments: [a], set: {A: y}, patches: [a], external_modules: [], keyring: a}`,
			"1:61: \"source\" has no effect: method debian compiles nothing\n1:80: \"version\" has no effect: method debian compiles nothing\n" +
				"1:95: \"config\" has no effect: method debian compiles nothing\n1:109: \"fragments\" has no effect: method debian compiles nothing\n" +
				"1:119: \"set\" has no effect: method debian compiles nothing\n1:136: \"patches\" has no effect: method debian compiles nothing\n" +
				"1:159: \"external_modules\" has no effect: method debian compiles nothing\n1:172: \"keyring\" has no effect: method debian compiles nothing"},
		{"packages: set without effect", `{method: deb, source: {deb: [a]}, set: {}}`, `1:75: "set" has no effect: method deb compiles nothing`},
		{"directory: patches without effect", `{method: dir, source: {dir: a}, patches: [p]}`, `1:77: "patches" has no effect: method dir compiles nothing`},
		{"config", `{config: ../x}`, `1:45: "config": "../x" is not a name: want a-z, 0-9 and single . _ or - between them`},
		{"fragments", `{fragments: [a, ""]}`, `1:52: "fragments[1]": the path is empty`},
		{"patches", `{patches: p}`, `1:46: "patches": want a list, got a string`},
		{"keyring", `{source: kernel.org, keyring: "", series: "6.6"}`, `1:66: "keyring": the path is empty`},
		{"external module", `{external_modules: [{url: a, maek: b}, {name: A/b, make: [""]}]}`,
			"1:56: \"external_modules[0]\": key \"name\" is missing\n1:65: unknown key \"maek\": did you mean \"make\"?\n" +
				"1:75: \"external_modules[1]\": key \"url\" is missing\n" +
				"1:82: \"name\": \"A/b\" is not a name: want a-z, 0-9 and single . _ or - between them\n1:94: \"make[0]\": the string is empty"},
		{"external module twice", `{external_modules: [{name: a, url: x}, {name: a, url: y}]}`, `1:82: duplicate name "a": line 1 has it already`},
		{"external module without digest", `{external_modules: [{name: a, url: "http://mirror.example/a"}]}`, `1:71: "url": the tarball needs "sha256"`},
		{"external module digest", `{external_modules: [{name: a, url: x, sha256: 12}]}`,
			`1:82: "sha256": want a string, got a number: write "12" with quotes`},
		{"modules list", `{modules: [a]}`, `1:46: "modules": want a mapping, got a list`},
		{"modules", `{modules: {include: [""], exclude: a, only: b}}`,
			"1:57: \"include[0]\": the string is empty\n1:71: \"exclude\": want a list, got a string\n1:74: unknown key \"only\""},
		{"modules number", `{modules: {include: [7]}}`, `1:57: "include[0]": want a string, got a number: write "7" with quotes`},
		{"firmware near", `{firmware: atuo}`, `1:47: "firmware": unknown value "atuo": did you mean "auto"? want auto or none`},
		{"firmware mapping", `{firmware: {a: b}}`, `1:47: "firmware": want auto, none or a list, got a mapping`},
		{"firmware glob", `{firmware: [""]}`, `1:48: "firmware[0]": the string is empty`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checkFaults(t, "flavors: {a: {arch: amd64, kernel: "+tc.kernel+"}}\n", tc.want)
		})
	}
}

func TestSettingFaults(t *testing.T) {
	const asString = "; a string that reads so has to stand in a fragment"
	for _, tc := range []struct{ name, setting, want string }{
		{"true", "A: true", `"A": want y, m or n, got true; a string that reads true needs quotes`},
		{"False", "A: False", `"A": want y, m or n, got False; a string that reads False needs quotes`},
		{"yes", "A: yes", `"A": want y, m or n, got yes` + asString},
		{"No", "A: No", `"A": want y, m or n, got No` + asString},
		{"on", "A: on", `"A": want y, m or n, got on` + asString},
		{"OFF", "A: OFF", `"A": want y, m or n, got OFF` + asString},
		{"Y", "A: Y", `"A": want y, got Y` + asString},
		{"M", "A: M", `"A": want m, got M` + asString},
		{"octal", "A: 010", `"A": want a whole number, decimal or with 0x, got 010; a string that reads so needs quotes`},
		{"underscore", "A: 1_000", `"A": want a whole number, decimal or with 0x, got 1_000; a string that reads so needs quotes`},
		{"fraction", "A: 1.5", `"A": want a whole number, decimal or with 0x, got 1.5; a string that reads so needs quotes`},
		{"nothing", "A:", `"A": want y, m, n, a number or a string, got nothing`},
		{"list", "A: [m]", `"A": want y, m, n, a number or a string, got a list`},
		{"two lines", `A: "a\nb"`, `"A": a string in the kernel's configuration is one line without control characters`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			column := "12"
			if strings.HasSuffix(tc.setting, ":") {
				column = "11" // where nothing stands
			}
			checkFaults(t, "flavors:\n  a:\n    arch: amd64\n    kernel:\n      set:\n        "+tc.setting+"\n", "6:"+column+": "+tc.want)
		})
	}
	for _, tc := range []struct{ name, settings, want string }{
		{"symbol", "{BE2NET-X: m, CONFIG_: y}", "1:43: \"BE2NET-X\" is no symbol of the kernel's configuration: want letters, digits and _\n" +
			"1:56: \"CONFIG_\" is no symbol of the kernel's configuration: want letters, digits and _"},
		{"same symbol", "{CONFIG_ICE: m, ICE: y}", `1:58: duplicate symbol "ICE": line 1 has it already`},
		{"list of symbols", "[BE2NET]", `1:42: "set": want a mapping, got a list`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checkFaults(t, "flavors: {a: {arch: amd64, kernel: {set: "+tc.settings+"}}}\n", tc.want)
		})
	}
}

// All faults are reported at once, each once, whichever of the two readings finds them.
func TestKernelFaultsTogether(t *testing.T) {
	checkFaults(t, `flavors:
  a:
    arch: amd64
    kernel:
      source: {dir: 7}
      firmware: [8]
      set: {A: true}
      patch: [x]
  b:
    extends: a
    kernel: {source: kernelorg, firmware: all, config: ""}
kernel-org: {}
`, `5:21: "dir": want a string, got a number: write "7" with quotes
6:18: "firmware[0]": want a string, got a number: write "8" with quotes
7:16: "A": want y, m or n, got true; a string that reads true needs quotes
8:7: unknown key "patch": did you mean "patches"?
11:22: "source": unknown value "kernelorg": did you mean "kernel.org"? want debian or kernel.org
11:43: "firmware": unknown value "all": want auto or none
11:56: "config": "" is not a name: want a-z, 0-9 and single . _ or - between them
12:1: unknown key "kernel-org": did you mean "kernel_org"?`)
}

// Behind an alias a fault has the place where the value was written, in both readings.
func TestAliases(t *testing.T) {
	all := kernels(t, `
flavors:
  a: {arch: amd64, kernel: {source: &s {dir: d}, firmware: &f auto}}
  b: {arch: arm64, kernel: {source: *s, firmware: *f}}
`)
	if diff := cmp.Diff(all["a"], all["b"]); diff != "" || all["b"].Source.Dir != "site/d" {
		t.Errorf("-a +b:\n%s", diff)
	}
	checkFaults(t, "vars: {S: &s [a]}\nflavors: {a: {arch: amd64, kernel: {source: *s}}}\n",
		"1:11: \"S\": want a string, a number or a boolean, got a list\n"+
			"1:11: \"source\": want debian, kernel.org or a mapping with url, dir or deb, got a list")
}

func TestFirmware(t *testing.T) {
	for _, tc := range []struct {
		name     string
		f        Firmware
		wanted   bool
		patterns []string
	}{
		{"none", Firmware{}, false, nil},
		{"auto", Firmware{Auto: true}, true, []string{"auto"}},
		{"globs", Firmware{Globs: []string{"a/*", "b"}}, true, []string{"a/*", "b"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.f.Wanted(); got != tc.wanted {
				t.Errorf("got %v, want %v", got, tc.wanted)
			}
			if diff := cmp.Diff(tc.patterns, tc.f.Patterns()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// The examples of docs/config.md are read, each by itself, and together hold every key of kernel.
func TestDocumentedExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```").FindAllStringSubmatch(string(text), -1)
	all := ""
	for _, e := range examples {
		load(t, e[1])
		all += e[1]
	}
	for _, key := range []string{
		"method: source", "method: deb", "method: dir", "series:", "version:", "source: debian", "source: kernel.org", "source: {url:",
		"source: {dir:", "source: {deb:", "config:", "fragments:", "set:", "patches:", "external_modules:", "modules:", "firmware:",
		"keyring:", "kernel_org:", "kernel_repository:", "registries:", "plain_http:", "ca:",
	} {
		if !regexp.MustCompile(`(?m)(^|[ {])` + regexp.QuoteMeta(key)).MatchString(all) {
			t.Errorf("no example has %q", key)
		}
	}
}

func TestIsURL(t *testing.T) {
	for location, want := range map[string]bool{
		"https://mirror.example/a": true, "http://mirror.example": true, "a/b.tar.xz": false, "/a": false, "http:/a": false, "": false,
	} {
		if got := IsURL(location); got != want {
			t.Errorf("%q: got %v, want %v", location, got, want)
		}
	}
}

func TestFlavorsAreCopies(t *testing.T) {
	c := load(t, `
flavors:
  mine:
    arch: amd64
    userland: {linuxkit: [a]}
    kernel:
      fragments: [a]
      set: {A: y}
      patches: [a]
      external_modules: [{name: a, url: a, make: [a]}]
      modules: {include: [a], exclude: [a]}
      firmware: [a]
  deb: {arch: amd64, kernel: {method: deb, source: {deb: [a]}}}
`)
	want := c.Flavors()
	for _, id := range []string{"mine", "deb"} {
		f, err := c.Flavor(id)
		if err != nil {
			t.Fatal(err)
		}
		k := f.Kernel
		lists := [][]string{
			f.Userland.LinuxKit, k.Fragments, k.Patches, k.Modules.Include, k.Modules.Exclude, k.Firmware.Globs, k.Source.Debs,
		}
		if k.Set != nil {
			k.Set[0].Value, k.External[0].Name = "changed", "changed"
			lists = append(lists, k.External[0].Make)
		}
		for _, list := range lists {
			for i := range list {
				list[i] = "changed"
			}
		}
	}
	if diff := cmp.Diff(want, c.Flavors()); diff != "" {
		t.Errorf("after a caller changed its copy: -want +got:\n%s", diff)
	}
}
