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

// fromDebian is hook-default's kernel with a configuration's name.
func fromDebian(config string) Kernel {
	return Kernel{
		Method: "source", Series: "6.12", Source: Source{Kind: "debian"}, Config: config,
		Modules: Modules{Include: []string{"default"}}, Firmware: Firmware{Auto: true},
	}
}

// debianBinary is hook-debian's kernel.
func debianBinary() Kernel {
	return Kernel{Method: "debian", Series: "6.12", Modules: Modules{Include: []string{"default"}}, Firmware: Firmware{Auto: true}}
}

func TestBuiltInFlavors(t *testing.T) {
	c, err := Load("hookbuild.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	source, lts, binary := fromDebian("generic"), fromDebian("generic"), debianBinary()
	lts.Series, lts.Source.Kind = "6.6", "kernel.org"
	auto, none := Initramfs{Compression: "auto"}, Userland{Template: "none"}
	want := []Flavor{
		{ID: "hook-debian-amd64", Arch: plan.X8664, BuiltIn: true, Kernel: binary, Userland: none, Initramfs: auto},
		{ID: "hook-debian-arm64", Arch: plan.AArch64, BuiltIn: true, Kernel: binary, Userland: none, Initramfs: auto},
		{ID: "hook-default-amd64", Arch: plan.X8664, BuiltIn: true, Kernel: source, Userland: none, Initramfs: auto},
		{ID: "hook-default-arm64", Arch: plan.AArch64, BuiltIn: true, Kernel: source, Userland: none, Initramfs: auto},
		{ID: "hook-latest-lts-amd64", Arch: plan.X8664, BuiltIn: true, Kernel: lts, Userland: none, Initramfs: auto},
		{ID: "hook-latest-lts-arm64", Arch: plan.AArch64, BuiltIn: true, Kernel: lts, Userland: none, Initramfs: auto},
	}
	if diff := cmp.Diff(want, c.Flavors()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	c.flavors = nil
	empty := &Config{Debian: Debian{Suite: "trixie"}, Registries: map[string]Registry{}, Vars: map[string]string{}}
	if diff := cmp.Diff(empty, c, cmp.AllowUnexported(Config{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLoadGlobalKeys(t *testing.T) {
	c := load(t, `
debian: {mirror: "https://mirror.example/debian", security_mirror: http://mirror.example/sec, suite: trixie}
kernel_org: {mirror: https://mirror.example/pub, keys: https://mirror.example/keys}
kernel_repository: registry.example:5000/hook/kernel
registries:
  registry.example: {ca: pki/ca.pem}
  "registry.example:5000": {ca: /etc/ca.pem, plain_http: false}
  localhost: {plain_http: true}
cache: {dir: tmp/cache}
vars: {SITE: north, VLAN: 12, DEBUG: false, EMPTY: ""}
`)
	if want := (Debian{"https://mirror.example/debian", "http://mirror.example/sec", "trixie"}); c.Debian != want {
		t.Errorf("debian: got %+v, want %+v", c.Debian, want)
	}
	if want := (KernelOrg{"https://mirror.example/pub", "https://mirror.example/keys"}); c.KernelOrg != want {
		t.Errorf("kernel_org: got %+v, want %+v", c.KernelOrg, want)
	}
	if c.KernelRepository != "registry.example:5000/hook/kernel" {
		t.Errorf("kernel_repository: got %q", c.KernelRepository)
	}
	registries := map[string]Registry{
		"registry.example": {CA: "site/pki/ca.pem"}, "registry.example:5000": {CA: "/etc/ca.pem"}, "localhost": {PlainHTTP: true},
	}
	if diff := cmp.Diff(registries, c.Registries); diff != "" {
		t.Errorf("registries: -want +got:\n%s", diff)
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
    userland: {linuxkit: [other.yaml], template: hook}
    outputs: {aliases: {hook-lts-x86_64.iso: hook-x86_64-efi-initrd.iso}}
    initramfs: {compression: zstd}
  child:
    extends: hook-default-amd64
    kernel: {config: site}
    userland: {linuxkit: [a.yaml, /abs/b.yaml]}
    initramfs: {compression: gzip, level: 9, max_ram: 2GiB}
    outputs: {iso: true, aliases: {vmlinuz-lts-x86_64: vmlinuz-x86_64, initramfs-lts-x86_64: initramfs-x86_64}}
  sibling:
    extends: child
    outputs: {iso: false, aliases: {dtbs-lts-aarch64.tar.gz: dtbs-aarch64.tar.gz}}
    arch: arm64
    kernel: {method: debian}
  alone: {arch: aarch64}
  repaired:
    extends: hook-latest-lts-amd64
    kernel: {source: debian, series: "6.12"}
`)
	lts := []plan.Alias{{Name: "initramfs-lts-x86_64", Of: "initramfs-x86_64"}, {Name: "vmlinuz-lts-x86_64", Of: "vmlinuz-x86_64"}}
	for _, want := range []Flavor{
		{ID: "grandchild", Arch: plan.X8664,
			Kernel:   fromDebian("site"),
			Userland: Userland{LinuxKit: []string{"site/other.yaml"}, Template: "hook"}, Initramfs: Initramfs{"zstd", 0, 2 << 30},
			Outputs: Outputs{ISO: true, Aliases: append([]plan.Alias{{Name: "hook-lts-x86_64.iso", Of: "hook-x86_64-efi-initrd.iso"}}, lts...)}},
		{ID: "child", Arch: plan.X8664,
			Kernel:   fromDebian("site"),
			Userland: Userland{LinuxKit: []string{"site/a.yaml", "/abs/b.yaml"}, Template: "none"}, Initramfs: Initramfs{"gzip", 9, 2 << 30}, Outputs: Outputs{ISO: true, Aliases: lts}},
		{ID: "sibling", Arch: plan.AArch64,
			Kernel:   debianBinary(),
			Userland: Userland{LinuxKit: []string{"site/a.yaml", "/abs/b.yaml"}, Template: "none"}, Initramfs: Initramfs{"gzip", 9, 2 << 30},
			Outputs: Outputs{Aliases: []plan.Alias{{Name: "dtbs-lts-aarch64.tar.gz", Of: "dtbs-aarch64.tar.gz"}}}},
		{ID: "alone", Arch: plan.AArch64,
			Kernel: fromDebian("generic"), Userland: Userland{Template: "none"}, Initramfs: Initramfs{Compression: "auto"}},
		{ID: "repaired", Arch: plan.X8664,
			Kernel: fromDebian("generic"), Userland: Userland{Template: "none"}, Initramfs: Initramfs{Compression: "auto"}},
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

// checkFaults loads text and compares its faults with the lines of want, which lack the name of the file.
func checkFaults(t *testing.T, text, want string) {
	t.Helper()
	c, err := Load("hookbuild.yaml", []byte(text))
	want = "hookbuild.yaml:" + strings.ReplaceAll(want, "\n", "\nhookbuild.yaml:")
	if got := fmt.Sprint(err); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	var errs strictyaml.Errors
	if !errors.As(err, &errs) || c != nil {
		t.Errorf("got %v and an error of type %T", c, err)
	}
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "# nothing\n", "1:1: the document is empty"},
		{"second document", "cache: {dir: x}\n---\n{}\n", "2:1: a second document begins here: only one is allowed"},
		{"near key", "flavor: {}\n", `1:1: unknown key "flavor": did you mean "flavors"?`},
		{"mirror of a registry", "registries: {r.example: {mirror: m.example}}\n",
			`1:34: "mirror": "m.example" is no base URL: want http://HOST/PATH or https://HOST/PATH`},
		{"cache size", "cache: {max_size: much}\n", `1:19: "max_size": "much" is no size: want one like 20GiB, or 0 for no limit`},
		{"negative cache size", "cache: {max_size: -1}\n", `1:19: "max_size": "-1" is no size: want one like 20GiB, or 0 for no limit`},
		{"outputs", "flavors: {a: {arch: x86_64, outputs: {iso: both}}}\n", `1:44: "iso": want true or false, got a string`},
		{"later: base", "flavors: {a: {arch: x86_64, outputs: {aliases: {}}, base: r}}\n", `1:53: "base" is not supported yet`},
		{"aliases", "flavors: {a: {arch: x86_64, outputs: {aliases: {\n  vmlinuz-lts-x86_64: vmlinuz-aarch64,\n  manifest.json: vmlinuz-x86_64,\n" +
			"  initramfs-x86_64: initramfs-x86_64,\n  kernel-x86_64: vmlinuz-x86_64,\n  hook.iso: hook-x86_64-efi-initrd.iso,\n" +
			"  vmlinuz-lts-aarch64: vmlinuz-x86_64,\n  initramfs-iso-x86_64: hook-x86_64-efi-initrd.iso,\n  ../x86_64: vmlinuz-x86_64, a-x86_64: [], b-x86_64: ''}}}}\n",
			"2:3: alias: \"vmlinuz-aarch64\" is no file that is published for x86_64: want vmlinuz-x86_64 or initramfs-x86_64 or " +
				"hook-x86_64-efi-initrd.iso or hook_x86_64.tar.gz\n" +
				"3:3: alias: output file name \"manifest.json\" is one that hookbuild writes itself\n" +
				"4:3: alias: \"initramfs-x86_64\" is a name that hookbuild gives itself\n" +
				"5:3: alias: \"kernel-x86_64\": second names of vmlinuz-x86_64 are like vmlinuz-…-x86_64, and no others are\n" +
				"6:3: alias: \"hook.iso\": want a name with x86_64 in it, and no other architecture\n" +
				"7:3: alias: \"vmlinuz-lts-aarch64\": want a name with x86_64 in it, and no other architecture\n" +
				"8:3: alias: \"initramfs-iso-x86_64\": second names of initramfs-x86_64 are like initramfs-…-x86_64, and no others are\n" +
				"9:3: alias: output file name \"../x86_64\": want letters, digits, '.', '_' and '-', beginning with a letter or digit\n" +
				"9:40: \"a-x86_64\": want a string, got a list\n9:54: \"b-x86_64\": the string is empty"},
		{"userland", "flavors: {a: {arch: amd64, userland: {ntp: [\"a b\"], eksa_bundle: ftp://x/y, agent_image: \"a b\", ssh: {keys: f}}}}\n",
			"1:45: \"ntp[0]\": \"a b\" is not a host: want a name or an address\n" +
				"1:66: \"eksa_bundle\": cannot fetch from ftp://: want http://, https:// or a path\n" +
				"1:90: \"agent_image\": \"a b\" is no name of an image\n1:103: unknown key \"keys\""},
		{"embedded images", "flavors: {a: {arch: amd64, userland: {embedded_images: [{as: [x]}, {source: \"\"}]}}}\n",
			"1:57: \"embedded_images[0]\": key \"source\" is missing\n1:77: \"source\": \"\" is no name of an image"},
		{"initramfs", "flavors: {a: {arch: amd64, initramfs: {compression: xz, max_ram: lots}}}\n",
			"1:53: \"compression\": unknown value \"xz\": want auto or gzip or zstd\n" +
				"1:66: \"max_ram\": \"lots\" is no size: want one like 512MiB or 2GiB"},
		{"template", "flavors: {a: {arch: amd64, userland: {template: hock}}}\n",
			`1:49: "template": unknown value "hock": did you mean "hook"? want none or hook`},
		{"later: method", "flavors: {a: {arch: amd64, kernel: {method: image}}}\n", `1:45: "method": "image" is not supported yet`},
		{"method", "flavors: {a: {arch: amd64, kernel: {method: sources}}}\n",
			`1:45: "method": unknown value "sources": did you mean "source"? want source or debian or deb or dir`},
		{"suite", "debian: {suite: bookworm}\n", `1:17: "suite": unknown value "bookworm": want trixie`},
		{"mirror", "debian: {mirror: mirror.example/debian, security_mirror: 7}\n",
			"1:18: \"mirror\": \"mirror.example/debian\" is no base URL: want http://HOST/PATH or https://HOST/PATH\n" +
				"1:58: \"security_mirror\": want a string, got a number: write \"7\" with quotes"},
		{"kernel.org", "kernel_org:\n  mirror: mirror.example\n  keys: ftp://mirror.example/keys\n  key: x\n",
			"2:11: \"mirror\": \"mirror.example\" is no base URL: want http://HOST/PATH or https://HOST/PATH\n" +
				"3:9: \"keys\": \"ftp://mirror.example/keys\" is no base URL: want http://HOST/PATH or https://HOST/PATH\n" +
				"4:3: unknown key \"key\": did you mean \"keys\"?"},
		{"kernel repository with a tag", "kernel_repository: registry.example/kernel:6.12\n",
			`1:20: "kernel_repository": "registry.example/kernel:6.12" is not a repository: want HOST[:PORT]/NAME, without tag and digest`},
		{"kernel repository without a host", "kernel_repository: hook/kernel\n",
			`1:20: "kernel_repository": "hook/kernel" is not a repository: want HOST[:PORT]/NAME, without tag and digest`},
		{"kernel repository that is a host", "kernel_repository: registry.example:5000\n",
			`1:20: "kernel_repository": "registry.example:5000" is not a repository: want HOST[:PORT]/NAME, without tag and digest`},
		{"registries", "registries:\n  https://r.example: {}\n  hook: {plain_http: yes}\n  r.example: {ca: \"\", plain: true}\n",
			"2:3: \"https://r.example\" is no registry: want HOST or HOST:PORT\n3:3: \"hook\" is no registry: want HOST or HOST:PORT\n" +
				"3:22: \"plain_http\": want true or false, got a string\n" +
				"4:19: \"ca\": the path is empty\n4:23: unknown key \"plain\""},
		{"registry with both", "registries: {r.example: {plain_http: true, ca: a.pem}}\n",
			`1:48: "ca" has no effect: plain_http is true`},
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
		{"level", "flavors: {a: {arch: amd64, initramfs: {compression: gzip, level: 10}}}\n", `1:66: "level": want 1 to 9 for gzip, got 10`},
		{"level of zstd", "flavors: {a: {arch: amd64, initramfs: {compression: zstd, level: 5}}}\n", `1:66: "level": want 1 to 4 for zstd, got 5`},
		{"level of what", "flavors: {a: {arch: amd64, initramfs: {level: 3}}}\n", `1:47: "level" has no effect: compression is auto; say which one`},
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
		t.Run(tc.name, func(t *testing.T) { checkFaults(t, tc.text, tc.want) })
	}
}

func TestUserland(t *testing.T) {
	c := load(t, `
flavors:
  parent:
    arch: amd64
    userland:
      embedded_images: [{source: "archive:a.tar", as: [x, y]}, {source: r.example/b}]
      eksa_bundle: bundle.yaml
      agent_image: r.example/agent:1
      ca_certificates: [ca.pem, /etc/ca.pem]
      ntp: [10.0.0.1, "fd00::1", ntp.example]
      ssh: {authorized_keys: keys}
  child:
    extends: parent
    userland: {embedded_images: images.txt, eksa_bundle: "https://e.example/bundle.yaml", ntp: [a]}
`)
	parent := Userland{
		Template: "none", EmbeddedImages: []EmbeddedImage{{"archive:a.tar", []string{"x", "y"}}, {"r.example/b", nil}},
		EKSABundle: "site/bundle.yaml", AgentImage: "r.example/agent:1", CACertificates: []string{"site/ca.pem", "/etc/ca.pem"},
		NTP: []string{"10.0.0.1", "fd00::1", "ntp.example"}, AuthorizedKeys: "site/keys",
	}
	child := parent
	child.EmbeddedImages, child.ImagesFile, child.EKSABundle, child.NTP = nil, "site/images.txt", "https://e.example/bundle.yaml", []string{"a"}
	for id, want := range map[string]Userland{"parent": parent, "child": child} {
		f, err := c.Flavor(id)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, f.Userland); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
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
		{"from kernel.org", "hook-latest-lts-amd64", "", plan.X8664, "hook-latest-lts-amd64", ""},
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

func TestCacheSize(t *testing.T) {
	for text, want := range map[string]int64{"20GiB": 20 << 30, "0": 0, "5000000": 5_000_000} {
		c, err := Load("hookbuild.yaml", []byte("cache: {max_size: "+text+"}\n"))
		if err != nil || c.Cache.MaxSize == nil || *c.Cache.MaxSize != want {
			t.Errorf("%s: got %+v, %v", text, c, err)
		}
	}
	if c, err := Load("hookbuild.yaml", []byte("cache: {dir: x}\n")); err != nil || c.Cache.MaxSize != nil {
		t.Errorf("not given: got %+v, %v", c, err)
	}
}
