package kernel

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestScripts(t *testing.T) {
	// SC2153: KARCH is set by the definition. SC2015: what stands between && and || only looks.
	found, err := filepath.Glob("*.sh")
	if err != nil || len(found) != 5 {
		t.Fatalf("got %q, %v", found, err)
	}
	for _, script := range found {
		for _, args := range [][]string{{"sh", "-n", script}, {"shellcheck", "-s", "sh", "-e", "SC2015,SC2153", script}} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%q: %v\n%s", args, err, out)
			}
		}
	}
}

// place is a container's file system that a script runs in, moved from / to a directory.
type place struct {
	*testing.T
	dir string
	env []string
}

// newPlace has fake programs, and all the directories that a step finds.
func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{T: t, dir: t.TempDir()}
	for _, dir := range []string{"build/src", "build/obj", "ccache", "config", "source", "files", "out", "tmp", "answers"} {
		if err := os.MkdirAll(filepath.Join(p.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p.write(map[string]string{
		"config/spec.json": `{"arch":"x86_64"}`,
		"bin/gcc!":         "printf '%s\\n' 'gcc (Debian \"14\") \\1' 'Copyright'\n",
		"bin/strip!":       "echo stripped >> \"$2\"\n",
		"bin/depmod!":      "echo \"$*\" >> \"$DEPMOD_LOG\"\n",
	})
	for name, target := range map[string]string{"aarch64-linux-gnu-gcc": "gcc", "aarch64-linux-gnu-strip": "strip"} {
		if err := os.Symlink(target, filepath.Join(p.dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	p.env = append(os.Environ(), "PATH="+p.dir+"/bin:"+os.Getenv("PATH"), "DEPMOD_LOG="+p.dir+"/depmod.log", "LC_ALL=C",
		"EPOCH=1790000000", "KARCH=x86_64", "CROSS_COMPILE=", "TOOLCHAIN=the image", "CLEAN=")
	return p
}

// write makes files; a name that ends in "!" is a program for the shell, one whose text begins with "-> " a link.
func (p *place) write(all map[string]string) {
	p.Helper()
	for name, text := range all {
		mode := os.FileMode(0o644)
		name, program := strings.CutSuffix(name, "!")
		if program {
			mode, text = 0o755, "#!/bin/sh\nset -eu\n"+text
		}
		file := filepath.Join(p.dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			p.Fatal(err)
		}
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			if err := os.Symlink(target, file); err != nil {
				p.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			p.Fatal(err)
		}
	}
}

func (p *place) read(name string) string {
	p.Helper()
	data, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		p.Fatal(err)
	}
	return string(data)
}

func (p *place) has(name string) bool {
	_, err := os.Lstat(filepath.Join(p.dir, name))
	return err == nil
}

// absolute are the paths in the scripts that are not of the system.
var absolute = regexp.MustCompile(`(^|[\s"=])(/(?:build|ccache|config|source|files|out|tmp|answers|kconfig-obj|kconfig)\b)`)

func (p *place) moved(script string) string {
	return absolute.ReplaceAllString(script, "${1}"+p.dir+"${2}")
}

// sh runs a script of ours. Its environment has env on top.
func (p *place) sh(script string, env ...string) (said string, err error) {
	p.Helper()
	cmd := exec.Command("/bin/sh", "-c", p.moved(script))
	cmd.Env = slices.Concat(p.env, []string{"PREPARE=" + p.moved(prepareScript)}, env)
	cmd.Dir = p.dir
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is sh for what must work.
func (p *place) run(script string, env ...string) string {
	p.Helper()
	said, err := p.sh(script, env...)
	if err != nil {
		p.Fatalf("%v\n%s", err, said)
	}
	return said
}

// tool runs a program of this host, below dir.
func (p *place) tool(dir string, args ...string) {
	p.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = filepath.Join(p.dir, dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// listed are a tar's entries as "mode uid time name -> target", those that are no directories with their content.
func listed(t *testing.T, data []byte) map[string]string {
	t.Helper()
	all := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 1790000000 {
			t.Errorf("%s: belongs to %d:%d (%s), of %s", h.Name, h.Uid, h.Gid, h.Uname, h.ModTime)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeDir {
			all[h.Name] = string(content)
		}
	}
}

func (p *place) modules() map[string]string { return listed(p.T, []byte(p.read("out/kernel.tar"))) }

func (p *place) dtbs() map[string]string {
	p.Helper()
	z, err := gzip.NewReader(strings.NewReader(p.read("out/dtbs.tar.gz")))
	if err != nil {
		p.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		p.Fatal(err)
	}
	return listed(p.T, data)
}

// metadata is what the image says of itself; the digest of its configuration is compared here.
func (p *place) metadata() Metadata {
	p.Helper()
	m, err := ReadMetadata(strings.NewReader(p.read("out/metadata.json")))
	if err != nil {
		p.Fatal(err)
	}
	if m.ConfigSHA256 != hexSum([]byte(p.read("out/config"))) {
		p.Errorf("got config_sha256 %s", m.ConfigSHA256)
	}
	m.ConfigSHA256 = ""
	return m
}

// spec is the metadata's Spec in tests.
var spec = map[string]any{"arch": "x86_64"}

// kernelSource is a toy: its Makefile does as the kernel's, without a compiler.
var kernelSource = map[string]string{
	"Kbuild": "", "Kconfig": "", "a.c": "one\ntwo\nthree\nfour\nfive\n",
	"arch/x86/include/asm/setup.h": "#define COMMAND_LINE_SIZE 2048\n#define OTHER 2048\n",
	"Makefile": `.SILENT:
.PHONY: bzImage Image modules dtbs modules_install dtbs_install
bzImage Image: objects
	mkdir -p $(O)/arch/x86/boot $(O)/arch/arm64/boot $(O)/include/config $(O)/scripts $(O)/certs
	cat $(O)/a.o > $(O)/arch/x86/boot/bzImage
	cat $(O)/a.o > $(O)/arch/arm64/boot/Image
	echo map > $(O)/System.map
	echo 6.12.9-toy > $(O)/include/config/kernel.release
	printf '#!/bin/sh\necho "signed $$1 $${2##*/} $${3##*/} $${4##*/}" >> "$$4"\n' > $(O)/scripts/sign-file
	chmod 755 $(O)/scripts/sign-file
	env | grep -E '^(ARCH|CROSS_COMPILE|KBUILD_|CCACHE_)' | sort > $(O)/env
	echo 'CC=$(CC) HOSTCC=$(HOSTCC)' >> $(O)/env
	if grep -q SPOIL $(O)/.config; then echo CONFIG_MORE=y >> $(O)/.config; fi
	if grep -q WANTED_KEY $(O)/.config; then touch $(O)/certs/signing_key.pem; fi
objects: a.c
	if [ ! -e $(O)/a.o ] || [ a.c -nt $(O)/a.o ] || [ $(O)/.config -nt $(O)/a.o ]; then echo "  CC      a.o"; cp a.c $(O)/a.o; fi
modules:
ifneq ($(M),)
	for c in $(M)/*.c; do cp $$c $${c%.c}.ko; done
	echo "symbols of $(notdir $(M)), $(notdir $(patsubst %/,%,$(dir $(KBUILD_EXTRA_SYMBOLS))))" > $(M)/Module.symvers
endif
modules_install:
	mkdir -p $(INSTALL_MOD_PATH)/lib/modules/6.12.9-toy/kernel
	echo "toy strip=$(INSTALL_MOD_STRIP)" > $(INSTALL_MOD_PATH)/lib/modules/6.12.9-toy/kernel/toy.ko
	ln -s $(O) $(INSTALL_MOD_PATH)/lib/modules/6.12.9-toy/build
dtbs:
	touch $(O)/board.dtb
dtbs_install:
	cp $(O)/board.dtb $(INSTALL_DTBS_PATH)
`,
}

func below(dir string, files map[string]string) map[string]string {
	all := map[string]string{}
	for name, text := range files {
		all[dir+"/"+name] = text
	}
	return all
}

// withSource has the toy kernel as Debian's package.
func withSource(t *testing.T) *place {
	t.Helper()
	p := newPlace(t)
	p.env = append(p.env, "SOURCE=package")
	p.write(below("linux-source-6.12", kernelSource))
	p.tool(".", "mkdir", "-p", "deb/usr/src", "deb/DEBIAN")
	p.tool(".", "tar", "-cJf", "deb/usr/src/linux-source-6.12.tar.xz", "linux-source-6.12")
	p.write(map[string]string{"deb/DEBIAN/control": "Package: linux-source-6.12\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"})
	p.tool(".", "dpkg-deb", "--root-owner-group", "-b", "deb", "source/aa.deb")
	return p
}

const onlyPrepare = "set -eu\neval \"$PREPARE\"\nprepare\n"

func TestPrepareScript(t *testing.T) {
	tarball := func(args ...string) func(p *place) {
		return func(p *place) {
			p.write(below("linux-6.6.142", kernelSource))
			p.tool(".", append(append([]string{"tar"}, args...), "linux-6.6.142")...)
			p.env = append(p.env, "SOURCE=tarball", "TARBALL=tt")
		}
	}
	for name, source := range map[string]func(p *place){
		"Debian's package": nil,
		"a tar":            tarball("-cf", "files/tt"),
		"a tar.xz":         tarball("-cJf", "files/tt"),
		"a tar.gz":         tarball("-czf", "files/tt"),
		"a directory": func(p *place) {
			p.write(below("source", kernelSource))
			p.env = append(p.env, "SOURCE=tree")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var p *place
			if source == nil {
				p = withSource(t)
			} else {
				p = newPlace(t)
				source(p)
			}
			// What a killed run left.
			p.write(map[string]string{"build/src/tree/half": "x", "build/src/deb/half": "x"})
			said := p.run(onlyPrepare + "pwd")
			if want := p.dir + "/build/src/tree\n"; !strings.HasPrefix(said, "unpacking the kernel source\n") || !strings.HasSuffix(said, want) {
				t.Errorf("got %q", said)
			}
			if got := p.read("build/src/tree/a.c"); got != kernelSource["a.c"] || p.has("build/src/tree/half") || p.has("build/src/deb") {
				t.Errorf("got a.c %q, or what a killed run left", got)
			}
			if got := p.read("build/src/tree/arch/x86/include/asm/setup.h"); got != "#define COMMAND_LINE_SIZE 4096\n#define OTHER 2048\n" {
				t.Errorf("got %q", got)
			}
			p.write(map[string]string{"build/src/tree/mark": ""})
			if said := p.run(onlyPrepare); said != "" || !p.has("build/src/tree/mark") {
				t.Errorf("the second time: got %q", said)
			}
		})
	}
}

func TestPrepareScriptOnOddSources(t *testing.T) {
	p := newPlace(t)
	p.env = append(p.env, "SOURCE=tree")
	p.write(map[string]string{"source/README": "x"})
	if said, err := p.sh(onlyPrepare); err == nil || !strings.Contains(said, "this is no kernel source") || p.has("build/src/ready") {
		t.Errorf("no kernel: got %v, %q", err, said)
	}
	p.write(map[string]string{"source/Kbuild": "", "source/Kconfig": "", "source/arch/x86/include/asm/setup.h": "#define COMMAND_LINE_SIZE 1024\n"})
	if said := p.run(onlyPrepare); len(watched(said).warnings) != 1 || !strings.Contains(said, "no COMMAND_LINE_SIZE of 2048") {
		t.Errorf("another command line: got %q", said)
	}
	p = newPlace(t)
	p.env = append(p.env, "SOURCE=tarball", "TARBALL=tt")
	p.write(map[string]string{"files/tt": "this is no tar"})
	if said, err := p.sh(onlyPrepare); err == nil || p.has("build/src/ready") {
		t.Errorf("no tar: got %q", said)
	}
}

func TestPatches(t *testing.T) {
	const good = "--- a/a.c\n+++ b/a.c\n@@ -1,3 +1,3 @@\n one\n-two\n+zwei\n three\n"
	onTop := strings.NewReplacer("-two", "-zwei", "+zwei", "+deux").Replace(good)
	moved := strings.Replace(good, "@@ -1,3 +1,3 @@", "@@ -2,3 +2,3 @@", 1)
	fuzzy := strings.Replace(good, " one\n", " uno\n", 1)
	for _, c := range []struct {
		name    string
		patches []string
		want    string // the second line; "" where it does not apply
		bad     string
	}{
		{"one", []string{good}, "zwei", ""},
		{"in order", []string{good, onTop}, "deux", ""},
		{"at another line", []string{moved}, "zwei", ""},
		{"with a new file", []string{good, "--- /dev/null\n+++ b/new.c\n@@ -0,0 +1 @@\n+new\n"}, "zwei", ""},
		{"in the wrong order", []string{onTop, good}, "", "error: patch 1.patch: "},
		{"with fuzz", []string{fuzzy}, "", "error: patch 1.patch: "},
		{"twice", []string{good, good}, "", "error: patch 2.patch: "},
		{"the other way round", []string{strings.NewReplacer("-two", "-zwei", "+zwei", "+two").Replace(good)}, "", "error: patch 1.patch: "},
		{"for a file that is not there", []string{strings.ReplaceAll(good, "a.c", "none.c")}, "", "error: patch 1.patch: "},
		{"garbage", []string{"<html>not found</html>\n"}, "", "error: patch 1.patch: "},
		{"empty", []string{good, ""}, "", "error: patch 2.patch: "},
		{"out of the tree", []string{strings.NewReplacer("a/a.c", "a/../../a.c", "b/a.c", "b/../../a.c").Replace(good)}, "", "error: patch 1.patch: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			p.env = append(p.env, "SOURCE=tree")
			p.write(below("source", kernelSource))
			p.write(map[string]string{"build/a.c": kernelSource["a.c"]}) // ../../a.c
			list := ""
			for i, text := range c.patches {
				n := string(rune('1' + i))
				list += "p" + n + " patch " + n + ".patch\n"
				p.write(map[string]string{"files/p" + n: text})
			}
			p.write(map[string]string{"config/patches": list})
			said, err := p.sh(onlyPrepare)
			if c.bad != "" {
				first := watched(said).first
				if err == nil || p.has("build/src/ready") || len(first) == 0 || !strings.HasPrefix(first[0], c.bad) {
					t.Errorf("got %v, first error %q", err, first)
				}
				return
			}
			if err != nil || strings.Split(p.read("build/src/tree/a.c"), "\n")[1] != c.want {
				t.Errorf("got %v, %q\n%s", err, p.read("build/src/tree/a.c"), said)
			}
			if p.has("build/src/tree/a.c.orig") || len(c.patches) > 1 && strings.Contains(c.patches[1], "new.c") && p.read("build/src/tree/new.c") != "new\n" {
				t.Error("not what the patches say")
			}
		})
	}
}

const toyConfig = "CONFIG_MODULES=y\n"

func TestCompileScript(t *testing.T) {
	p := withSource(t)
	p.write(map[string]string{"config/config": toyConfig})
	said := p.run(compileScript)
	if !strings.Contains(said, "\nkernel 6.12.9-toy, CPU time of all programs") || len(watched(said).warnings) != 0 {
		t.Errorf("got %s", said)
	}
	want := map[string]string{"./lib/modules/6.12.9-toy/kernel/toy.ko": "toy strip=1\n"}
	if diff := cmp.Diff(want, p.modules()); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{"out/kernel": kernelSource["a.c"], "out/System.map": "map\n", "out/config": toyConfig} {
		if got := p.read(name); got != want {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if len(p.dtbs()) != 0 {
		t.Errorf("got device trees %q", p.dtbs())
	}
	if diff := cmp.Diff(Metadata{Release: "6.12.9-toy", Compiler: `gcc (Debian "14") \1`, Spec: spec}, p.metadata()); diff != "" {
		t.Error(diff)
	}
	env := "ARCH=x86_64\nCCACHE_COMPILERCHECK=string:the image\nCCACHE_DEPEND=1\nCCACHE_DIR=" + p.dir + "/ccache\nCCACHE_MAXSIZE=8G\nCROSS_COMPILE=\n" +
		"KBUILD_BUILD_HOST=hookbuild\nKBUILD_BUILD_TIMESTAMP=Mon Sep 21 14:13:20 UTC 2026\nKBUILD_BUILD_USER=hookbuild\nKBUILD_BUILD_VERSION=1\n" +
		"CC=ccache gcc HOSTCC=ccache gcc\n"
	if diff := cmp.Diff(env, p.read("build/obj/env")); diff != "" {
		t.Error(diff)
	}
}

// again runs the compilation in a fresh container: what is not in a cache is gone.
func (p *place) again(env ...string) string {
	p.Helper()
	p.tool(".", "rm", "-r", "tmp", "out")
	p.tool(".", "mkdir", "tmp", "out")
	return p.run(compileScript, env...)
}

func TestCompileScriptAgain(t *testing.T) {
	p := withSource(t)
	p.write(map[string]string{"config/config": toyConfig})
	if said := p.run(compileScript); !strings.Contains(said, "CC      a.o") {
		t.Errorf("at first: got %s", said)
	}
	first := p.read("out/kernel.tar")
	p.write(map[string]string{"build/obj/left": "x"})
	if said := p.again(); strings.Contains(said, "CC ") || strings.Contains(said, "unpacking") {
		t.Errorf("nothing has changed: got %s", said)
	}
	if p.read("out/kernel.tar") != first {
		t.Error("the modules differ")
	}
	p.write(map[string]string{"config/config": toyConfig + "CONFIG_A=y\n"})
	if said := p.again(); !strings.Contains(said, "CC ") || strings.Contains(said, "unpacking") || p.read("out/config") != toyConfig+"CONFIG_A=y\n" {
		t.Errorf("a changed symbol: got %s", said)
	}
	if !p.has("build/obj/left") {
		t.Error("the build tree was emptied")
	}
	if said := p.again("CLEAN=17"); !strings.Contains(said, "CC ") || p.has("build/obj/left") || !strings.Contains(p.read("build/obj/env"), "CCACHE_DISABLE=1\n") {
		t.Errorf("clean: got %s", said)
	}
}

func TestCompileScriptForArm(t *testing.T) {
	p := withSource(t)
	p.write(map[string]string{"config/config": "CONFIG_MODULES is not set\n"})
	p.run(compileScript, "KARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-")
	if _, ok := p.dtbs()["./board.dtb"]; !ok || p.read("out/kernel") != kernelSource["a.c"] || len(p.modules()) != 0 {
		t.Errorf("got device trees %q, modules %q", p.dtbs(), p.modules())
	}
	if env := p.read("build/obj/env"); !strings.Contains(env, "ARCH=arm64\n") || !strings.Contains(env, "CC=ccache aarch64-linux-gnu-gcc HOSTCC=ccache gcc\n") {
		t.Errorf("got %s", env)
	}
	if said, err := p.sh(compileScript, "KARCH=riscv"); err == nil || !strings.Contains(said, "no image name known for riscv") {
		t.Errorf("got %v, %s", err, said)
	}
}

func TestCompileScriptKeepsTheConfiguration(t *testing.T) {
	p := withSource(t)
	p.write(map[string]string{"config/config": toyConfig + "# SPOIL\n"})
	if said, err := p.sh(compileScript); err == nil || !strings.Contains(said, "the build changed its configuration") || !strings.Contains(said, "> CONFIG_MORE=y") || p.has("out/metadata.json") {
		t.Errorf("got %v, %s", err, said)
	}
}

// Of a build that was killed a file may be half written, with a time that make trusts.
func TestCompileScriptAfterAKill(t *testing.T) {
	p := withSource(t)
	p.write(map[string]string{"config/config": toyConfig + "# SPOIL\n"})
	if _, err := p.sh(compileScript); err == nil || p.has("build/obj/unfinished") || !p.has("build/obj/a.o") {
		t.Errorf("a build that fails: got %v, or the tree counts as killed", err)
	}
	p.write(map[string]string{"config/config": toyConfig, "build/obj/a.o": "half", "build/obj/left": "x", "build/obj/unfinished": ""})
	if said := p.again(); !strings.Contains(said, "CC ") || p.has("build/obj/left") || p.has("build/obj/unfinished") || p.read("out/kernel") != kernelSource["a.c"] {
		t.Errorf("after a kill: got %s", said)
	}
	p.write(map[string]string{"bin/make!": "kill -9 $PPID\n"})
	if _, err := p.sh(compileScript); err == nil || !p.has("build/obj/unfinished") {
		t.Errorf("killed: got %v, or the tree counts as good", err)
	}
}

// external hands in a module's tarball.
func (p *place) external(n, name, args string, files map[string]string, tarArgs ...string) {
	p.Helper()
	p.write(below("tarball-"+n, files))
	p.tool("tarball-"+n, append([]string{"tar", "-cf", p.dir + "/files/x" + n}, tarArgs...)...)
	p.write(map[string]string{"config/external/" + n + "/name": name, "config/external/" + n + "/file": "x" + n, "config/external/" + n + "/make": args})
}

const signing = toyConfig + "CONFIG_MODULE_SIG=y\nCONFIG_MODULE_SIG_ALL=y\nCONFIG_MODULE_SIG_HASH=\"sha512\"\nCONFIG_MODULE_SIG_KEY=\"certs/signing_key.pem\"\n"

func TestExternalModules(t *testing.T) {
	own := "all:\n\techo \"$(KVER) [$(A)] $(notdir $(KSRC)) $(notdir $(KDIR)) $(ARCH)\" > sub.ko\n"
	for _, c := range []struct {
		name   string
		config string
		files  map[string]string
		args   string
		tar    string
		want   map[string]string // below updates/NAME
	}{
		{"kbuild", toyConfig, map[string]string{"top/Kbuild": "obj-m := hello.o\n", "top/hello.c": "hello\n"}, "", "top",
			map[string]string{"hello.ko": "hello\nstripped\n"}},
		{"in the directory src", toyConfig, map[string]string{"ice-1.2/README": "x", "ice-1.2/src/Makefile": "x", "ice-1.2/src/ice.c": "ice\n"}, "", "ice-1.2",
			map[string]string{"ice.ko": "ice\nstripped\n"}},
		{"without a directory", toyConfig, map[string]string{"Makefile": "x", "a.c": "a\n", "b.c": "b\n"}, "", ".",
			map[string]string{"a.ko": "a\nstripped\n", "b.ko": "b\nstripped\n"}},
		{"its own Makefile", toyConfig, map[string]string{"top/Makefile": own}, "all\nA=b  c\n", "top",
			map[string]string{"sub.ko": "6.12.9-toy [b  c] obj obj x86_64\nstripped\n"}},
		{"signed", signing, map[string]string{"top/Kbuild": "x", "top/hello.c": "hello\n"}, "", "top",
			map[string]string{"hello.ko": "hello\nstripped\nsigned sha512 signing_key.pem signing_key.x509 hello.ko\n"}},
		{"that looks at headers first", toyConfig, map[string]string{
			"top/Kbuild": "x", "top/a.c": "a\n", "top/kcompat-generator.sh": "echo \"${KSRC##*/} ${CONFFILE##*/obj/}\" > $OUT; cp $OUT generated.c\n",
		}, "", "top", map[string]string{"a.ko": "a\nstripped\n", "generated.ko": "tree include/generated/autoconf.h\nstripped\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := withSource(t)
			p.write(map[string]string{"config/config": c.config})
			p.external("000", "hello", c.args, c.files, c.tar)
			said := p.run(compileScript)
			want := map[string]string{"./lib/modules/6.12.9-toy/kernel/toy.ko": "toy strip=1\n"}
			for name, text := range c.want {
				want["./lib/modules/6.12.9-toy/updates/hello/"+name] = text
			}
			got := p.modules()
			for name, text := range got {
				got[name] = strings.ReplaceAll(text, p.dir, "")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s\n%s", diff, said)
			}
			if log := p.read("depmod.log"); !strings.Contains(log, "/tmp/mods -F "+p.dir+"/build/obj/System.map 6.12.9-toy") {
				t.Errorf("got depmod %q", log)
			}
		})
	}
}

func TestExternalModulesInOrder(t *testing.T) {
	p := withSource(t)
	p.write(map[string]string{"config/config": toyConfig})
	p.external("001", "second", "", map[string]string{"Kbuild": "", "s.c": "s\n"}, ".")
	p.external("000", "first", "", map[string]string{"Kbuild": "", "f.c": "f\n"}, ".")
	p.external("002", "third", "", map[string]string{"Kbuild": "", "t.c": "t\n"}, ".")
	said := p.run(compileScript)
	if got := p.read("tmp/external/third/Module.symvers"); got != "symbols of third, first second\n" {
		t.Errorf("got %q", got)
	}
	if first, second := strings.Index(said, "external module first"), strings.Index(said, "external module second"); first < 0 || second < first {
		t.Errorf("got %s", said)
	}
	p = withSource(t)
	p.write(map[string]string{"config/config": toyConfig})
	p.external("000", "empty", "", map[string]string{"Kbuild": "", "README": ""}, ".")
	p.write(map[string]string{"build/obj/x": ""})
	said, err := p.sh(compileScript)
	if first := watched(said).first; err == nil || p.has("out/metadata.json") || len(first) == 0 {
		t.Errorf("no module: got %v, %q in\n%s", err, first, said)
	}
}

func TestCompileScriptWarnsOfAKeyOfItsOwn(t *testing.T) {
	for config, want := range map[string]int{signing + "# WANTED_KEY\n": 1, signing: 0, toyConfig + "# WANTED_KEY\n": 0} {
		p := withSource(t)
		p.write(map[string]string{"config/config": config})
		if got := watched(p.run(compileScript)).warnings; len(got) != want {
			t.Errorf("%q: got warnings %q", config, got)
		}
	}
}

// finishedKernel is a directory with what a kernel's build leaves.
var finishedKernel = map[string]string{
	"vmlinuz-6.1.0-x": "bzImage", "System.map-6.1.0-x": "map", "config-6.1.0-x": "CONFIG_MODULES=y\nCONFIG_CC_VERSION_TEXT=\"gcc (\\\"x\\\") 12\"\n",
	"lib/modules/6.1.0-x/kernel/a.ko": "a", "lib/modules/6.1.0-x/build": "-> /usr/src/linux", "lib/modules/6.1.0-x/source": "-> /usr/src/linux",
	"dtbs/board.dtb": "dtb",
}

func TestPackageScript(t *testing.T) {
	change := func(from, to string) map[string]string {
		all := map[string]string{}
		for name, text := range finishedKernel {
			if name == from {
				name = to
			}
			if name != "" {
				all[name] = text
			}
		}
		return all
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // in what it says where it fails
	}{
		{"with versions", finishedKernel, ""},
		{"below boot", change("vmlinuz-6.1.0-x", "boot/vmlinux-6.1.0-x"), ""},
		{"a plain name", change("vmlinuz-6.1.0-x", "Image"), ""},
		{"below usr", change("lib/modules/6.1.0-x/kernel/a.ko", "usr/lib/modules/6.1.0-x/kernel/a.ko"), ""},
		{"a plain configuration", change("config-6.1.0-x", ".config"), ""},
		{"no kernel", change("vmlinuz-6.1.0-x", ""), "the kernel: error: there is none of"},
		{"no System.map", change("System.map-6.1.0-x", ""), "System.map: error: there is none of"},
		{"no configuration", change("config-6.1.0-x", ""), "the configuration: error: there is none of"},
		{"two kernels", change("dtbs/board.dtb", "vmlinuz-6.2"), "the kernel: error: want one, got vmlinuz-6.1.0-x and vmlinuz-6.2"},
		{"two sets of modules", change("dtbs/board.dtb", "lib/modules/6.2/a"), "lib/modules: error: want the modules of one kernel"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			p.write(below("source", c.files))
			said, err := p.sh(packageScript, "SOURCE=tree")
			if c.want != "" {
				if first := watched(said).first; err == nil || len(first) == 0 || !strings.HasPrefix(first[0], c.want) {
					t.Errorf("got %v, first error %q of\n%s", err, first, said)
				}
				return
			}
			if err != nil || p.read("out/kernel") != "bzImage" || p.read("out/System.map") != "map" {
				t.Fatalf("got %v, %s", err, said)
			}
			if diff := cmp.Diff(map[string]string{"./lib/modules/6.1.0-x/kernel/a.ko": "a"}, p.modules()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(map[string]string{"./board.dtb": "dtb"}, p.dtbs()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(Metadata{Release: "6.1.0-x", Compiler: `gcc ("x") 12`, Spec: spec}, p.metadata()); diff != "" {
				t.Error(diff)
			}
			if log := p.read("depmod.log"); !strings.HasSuffix(log, " 6.1.0-x\n") {
				t.Errorf("got depmod %q", log)
			}
		})
	}
}

func TestPackageScriptOnPackages(t *testing.T) {
	p := newPlace(t)
	for name, files := range map[string]map[string]string{
		"image": {"boot/vmlinuz-6.12.9-amd64": "bzImage", "boot/System.map-6.12.9-amd64": "map", "boot/config-6.12.9-amd64": "CONFIG_MODULES=y\n",
			"usr/lib/linux-image-6.12.9-amd64/vendor/b.dtb": "dtb"},
		"modules": {"usr/lib/modules/6.12.9-amd64/kernel/a.ko.xz": "a"},
		"meta":    {"usr/share/doc/linux-image-amd64/x": "x"},
	} {
		p.write(below(name, files))
		p.write(map[string]string{name + "/DEBIAN/control": "Package: " + name + "\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"})
		p.tool(".", "dpkg-deb", "--root-owner-group", "-b", name, "source/"+name+".deb")
	}
	p.run(packageScript, "SOURCE=packages")
	if diff := cmp.Diff(map[string]string{"./lib/modules/6.12.9-amd64/kernel/a.ko.xz": "a"}, p.modules()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"./vendor/b.dtb": "dtb"}, p.dtbs()); diff != "" {
		t.Error(diff)
	}
	if m := p.metadata(); m.Release != "6.12.9-amd64" {
		t.Errorf("got %+v", m)
	}
	p.write(map[string]string{"source/bad.deb": "this is no package"})
	p.tool(".", "rm", "-r", "tmp", "out")
	p.tool(".", "mkdir", "tmp", "out")
	if said, err := p.sh(packageScript, "SOURCE=packages"); err == nil || len(watched(said).first) == 0 || p.has("out/metadata.json") {
		t.Errorf("a package that is none: got %v, %s", err, said)
	}
}

func TestPackageScriptWithoutModules(t *testing.T) {
	for config, warnings := range map[string]int{"# CONFIG_MODULES is not set\n": 0, "CONFIG_MODULES=y\n": 1} {
		p := newPlace(t)
		p.write(map[string]string{"source/boot/vmlinuz-6.1": "k", "source/System.map": "m", "source/config": config})
		said := p.run(packageScript, "SOURCE=tree")
		if got := watched(said).warnings; len(got) != warnings || len(p.modules()) != 0 || p.metadata().Release != "6.1" {
			t.Errorf("%q: got %s, %q", config, said, p.modules())
		}
	}
}

// What is not in the digest of a user's directory must not be in the image.
func TestPackageScriptAndModes(t *testing.T) {
	var images []string
	for _, mask := range []string{"u=rwX,go=", "u=rwX,g=rwX,o=rX"} {
		p := newPlace(t)
		p.write(below("source", finishedKernel))
		p.tool("source", "chmod", "-R", mask, "lib", "dtbs")
		p.run(packageScript, "SOURCE=tree")
		images = append(images, p.read("out/kernel.tar")+p.read("out/dtbs.tar.gz"))
	}
	if images[0] != images[1] {
		t.Error("two directories with the same content give other bytes")
	}
	p := newPlace(t)
	p.write(map[string]string{"source/bzImage": "k", "source/System.map": "m", "source/config": ""})
	if p.run(packageScript, "SOURCE=tree"); p.metadata().Release != "unknown" {
		t.Errorf("a kernel that nobody gave a version: got %+v", p.metadata())
	}
}

// menu is a make that writes what the query program and a menu write.
const menu = `for arg; do
	case $arg in
	QUERY_ARGS=*)
		set -- ${arg#QUERY_ARGS=}
		cp $1 $2; echo short > $3; echo symbols > $4
		echo "query ${1##*/}" >> "$MAKE_LOG"
		exit 0
		;;
	menuconfig|nconfig)
		echo "$arg ${KCONFIG_CONFIG##*/} ${PWD##*/}" >> "$MAKE_LOG"
		[ -z "$SAVES" ] || echo "$SAVES" >> $KCONFIG_CONFIG
		exit $CODE
		;;
	esac
done
`

func TestEditScript(t *testing.T) {
	for _, c := range []struct {
		name, what, saves, code string
		after                   string // "" where there is to be none
		log                     string
	}{
		{"saved", "menuconfig", "CONFIG_A=y", "0", "CONFIG_B=y\nCONFIG_A=y\n", "query in\nmenuconfig config kconfig-obj\nquery config\n"},
		{"saved, and an error", "nconfig", "CONFIG_A=y", "1", "CONFIG_B=y\nCONFIG_A=y\n", "query in\nnconfig config kconfig-obj\nquery config\n"},
		{"not saved", "menuconfig", "", "1", "", "query in\nmenuconfig config kconfig-obj\n"},
		{"nothing different", "menuconfig", "", "0", "", "query in\nmenuconfig config kconfig-obj\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			p.write(map[string]string{"answers/in": "CONFIG_B=y\n", "bin/make!": menu, "kconfig-obj/Makefile": ""})
			p.run(editScript, "EDITOR_COMMAND="+c.what, "SAVES="+c.saves, "CODE="+c.code, "MAKE_LOG="+p.dir+"/make.log")
			if got := p.read("make.log"); got != c.log {
				t.Errorf("got %q", got)
			}
			for _, end := range answerFiles {
				if !p.has("answers/before"+end) || p.has("answers/after"+end) != (c.after != "") {
					t.Errorf("files %s are not as they should be", end)
				}
			}
			if c.after != "" && p.read("answers/after.config") != c.after {
				t.Errorf("got %q", p.read("answers/after.config"))
			}
		})
	}
	p := newPlace(t)
	p.write(map[string]string{"answers/in": "CONFIG_B=y\n", "bin/make!": menu, "kconfig-obj/Makefile": "", "bin/bash!": "echo CONFIG_C=m >> $KCONFIG_CONFIG\nexit 3\n"})
	p.run(editScript, "EDITOR_COMMAND=shell", "SAVES=", "CODE=0", "MAKE_LOG="+p.dir+"/make.log")
	if got := p.read("answers/after.config"); got != "CONFIG_B=y\nCONFIG_C=m\n" {
		t.Errorf("shell: got %q", got)
	}
	p.write(map[string]string{"bin/make!": "echo 'Kconfig:1: syntax error' >&2\nexit 2\n"})
	if _, err := p.sh(editScript, "EDITOR_COMMAND=menuconfig"); err == nil {
		t.Error("a configuration that cannot be read: no error")
	}
}

func TestKconfigScript(t *testing.T) {
	p := newPlace(t)
	p.env = append(p.env, "SOURCE=tree")
	p.write(below("source", kernelSource))
	p.write(map[string]string{
		"config/query.c": "int main;", "bin/make!": `echo "$*" | sed "s#$ROOT##g" >> "$MAKE_LOG"` + "\n" + strings.Replace(menu, "menuconfig|nconfig", "never", 1),
	})
	p.run(kconfigScript, "SUBSET=mkdir \"$2\"; cp \"$1/Kconfig\" \"$1/Makefile\" \"$2\"", "INSTALL=cp \"$1\" query.c",
		"ROOT="+p.dir, "MAKE_LOG="+p.dir+"/make.log", "KARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-")
	const flags = "-s O=/kconfig-obj ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- "
	want := flags + "QUERY_ARGS=/tmp/try/in /tmp/try/config /tmp/try/defconfig /tmp/try/symbols hookbuild_queryconfig\nquery in\n" + flags + "build_menuconfig build_nconfig\n"
	if diff := cmp.Diff(want, p.read("make.log")); diff != "" {
		t.Error(diff)
	}
	if p.read("kconfig/query.c") != "int main;" || !p.has("kconfig/Kconfig") || p.has("kconfig/a.c") || p.has("tmp/try") {
		t.Error("the image does not hold what it should")
	}
	p.write(map[string]string{"bin/make!": "exit 2\n"})
	p.tool(".", "rm", "-r", "kconfig", "kconfig-obj")
	if _, err := p.sh(kconfigScript, "SUBSET=mkdir \"$2\"", "INSTALL=:"); err == nil {
		t.Error("a Kconfig that cannot be built: no error")
	}
}
