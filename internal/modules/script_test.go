package modules

import (
	"bytes"
	"crypto/sha256"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kernelTree is a kernel with firmware of all kinds named in it, as depmod leaves it.
func kernelTree(t *testing.T) string {
	dir := t.TempDir()
	firmware := func(names ...string) toy {
		var m toy
		for _, n := range names {
			m.info = append(m.info, "firmware="+n)
		}
		return m
	}
	core := toy{exports: []string{"card_core"}}
	card := firmware("card/v2.bin", "card/v1.bin", "gone.bin")
	card.needs = []string{"card_core"}
	write(t, filepath.Join(dir, "lib/modules", release), map[string]string{
		"kernel/drivers/net/core.ko":          string(core.ko()),
		"kernel/drivers/net/card.ko.xz":       packed(t, string(card.ko())),
		"kernel/drivers/net/wild.ko":          string(firmware("wild/*-[12].fw", "nothing/*", "card/v2.bin").ko()),
		"kernel/drivers/net/far.ko":           string(firmware("dir/inner.bin", "chain.bin", "abs.bin", "dangling.bin", "away.bin").ko()),
		"kernel/drivers/net/packed.ko":        string(firmware("old.bin", "new.bin").ko()),
		"kernel/drivers/other/unselected.ko":  string(firmware("unselected.bin").ko()),
		"updates/extra-card.ko":               string(toy{needs: []string{"card_core"}}.ko()),
		"modules.order":                       "kernel/drivers/net/core.ko\nkernel/drivers/other/unselected.ko\nkernel/drivers/net/card.ko\n",
		"modules.builtin":                     "kernel/drivers/base/builtin.ko\n",
		"modules.builtin.modinfo":             "builtin.license=GPL\x00builtin.firmware=builtin.bin\x00builtin.firmware=gone-too.bin\x00",
		"build/this-is-not-for-the-initramfs": "",
	})
	tool(t, "depmod", "-b", dir, release)
	return dir
}

func packed(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{"x": text})
	return tool(t, "xz", "--check=crc32", "-c", filepath.Join(dir, "x"))
}

var large = strings.Repeat("firmware ", 1000)

// packages are what the kernel's firmware comes from.
func packages(t *testing.T) map[string]map[string]string {
	return map[string]map[string]string{
		"firmware-one": {
			"usr/lib/firmware/card/v2.bin":       large,
			"usr/lib/firmware/card/v1.bin":       "-> v2.bin",
			"usr/lib/firmware/wild/a-1.fw":       "small",
			"usr/lib/firmware/wild/b/c-2.fw":     "below",
			"usr/lib/firmware/wild/a-3.fw":       "not asked for",
			"usr/lib/firmware/builtin.bin":       "builtin",
			"usr/lib/firmware/unselected.bin":    "unselected",
			"usr/share/doc/firmware-one/license": "not firmware",
		},
		"firmware-two": {
			"lib/firmware/dir":                  "-> real/place",
			"lib/firmware/real/place/in.bin":    large,
			"lib/firmware/real/place/inner.bin": "-> in.bin",
			"lib/firmware/chain.bin":            "-> ./dir/../place/link.bin",
			"lib/firmware/real/place/link.bin":  "-> ../../dir/in.bin",
			"lib/firmware/abs.bin":              "-> /usr/lib/firmware/real/small.bin",
			"lib/firmware/real/small.bin":       "small",
			"lib/firmware/dangling.bin":         "-> nowhere",
			"lib/firmware/away.bin":             "-> ../../../../etc/passwd",
			"lib/firmware/old.bin.xz":           packed(t, "old"),
			"lib/firmware/new.bin.zst":          "zstd, as far as the script is concerned",
		},
	}
}

// job is one run of the script, moved from the top of a container's file system to a directory.
type job struct {
	kernel   string // directory that becomes kernel.tar
	config   string
	keep     map[string][]byte
	packages map[string]map[string]string
	umask    string
}

const readsAll = "CONFIG_FW_LOADER_COMPRESS_XZ=y\nCONFIG_FW_LOADER_COMPRESS_ZSTD=y\n"

// run gives the directory of the outputs and what the script says.
func (j job) run(t *testing.T) (out, said string, err error) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"in", "keep", "debs", "tmp", "out", "root"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "tar", "-C", j.kernel, "-cf", filepath.Join(dir, "in/kernel.tar"), ".")
	files := map[string]string{"in/config": j.config}
	for name, text := range j.keep {
		files["keep/"+name] = string(text)
	}
	write(t, dir, files)
	for name, content := range j.packages {
		root := filepath.Join(dir, "root", name)
		write(t, root, content)
		write(t, root, map[string]string{
			"DEBIAN/control": "Package: " + name + "\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n",
		})
		tool(t, "dpkg-deb", "--root-owner-group", "-b", root, filepath.Join(dir, "debs", sum(name)+".deb"))
	}
	script := strings.NewReplacer("/in/", dir+"/in/", "/keep/", dir+"/keep/", "/debs/", dir+"/debs/",
		"/tmp/", dir+"/tmp/", "/out/", dir+"/out/").Replace(Script())
	cmd := exec.Command("sh", "-c", "umask "+j.umask+"\n"+script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "EPOCH=1700000000", "TZ=Asia/Kolkata"}
	text, err := cmd.CombinedOutput()
	return filepath.Join(dir, "out"), string(text), err
}

// want is job.run where it has to succeed.
func (j job) want(t *testing.T) (out string, rep Report) {
	t.Helper()
	if j.umask == "" {
		j.umask = "022"
	}
	out, said, err := j.run(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	f, err := os.Open(filepath.Join(out, "firmware"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if rep, err = ReadReport(f); err != nil {
		t.Fatal(err)
	}
	return out, rep
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return string("0123456789abcdef"[h[0]&15])
}

// inputs are those for a selection of the kernel in dir.
func inputs(t *testing.T, dir string, s Selection, f Firmware) (Result, map[string][]byte) {
	t.Helper()
	x, err := ReadTar(strings.NewReader(tool(t, "tar", "-C", dir, "-cf", "-", ".")))
	if err != nil {
		t.Fatal(err)
	}
	res, err := Select(x, s)
	if err != nil {
		t.Fatal(err)
	}
	keep, err := Inputs(res, f)
	if err != nil {
		t.Fatal(err)
	}
	return res, keep
}

// listing is a tar's content but for what depmod makes: mode, owner, time, name, link.
func listing(t *testing.T, file string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(tool(t, "env", "TZ=UTC", "tar", "--full-time", "--numeric-owner", "-tvf", file)) {
		f := strings.Fields(line)
		name := f[5]
		if strings.Contains(name, "/modules.") && !strings.HasSuffix(name, "modules.order") {
			continue
		}
		b.WriteString(strings.Join(append([]string{f[0], f[1], f[3], f[4]}, f[5:]...), " ") + "\n")
	}
	return b.String()
}

func TestScript(t *testing.T) {
	dir := kernelTree(t)
	_, keep := inputs(t, dir, Selection{Include: []string{"drivers/net/"}}, nil)
	out, rep := job{kernel: dir, config: readsAll, keep: keep, packages: packages(t)}.want(t)

	const file, link, folder = "-rw-r--r-- 0/0 2023-11-14 22:13:20 ./lib/", "lrwxrwxrwx 0/0 2023-11-14 22:13:20 ./lib/", "drwxr-xr-x 0/0 2023-11-14 22:13:20 ./"
	want := folder + "\n" + folder + "lib/\n" + folder + "lib/firmware/\n" +
		link + "firmware/abs.bin -> /lib/firmware/real/small.bin\n" +
		file + "firmware/builtin.bin\n" +
		folder + "lib/firmware/card/\n" +
		link + "firmware/card/v1.bin.xz -> v2.bin.xz\n" +
		file + "firmware/card/v2.bin.xz\n" +
		link + "firmware/chain.bin.xz -> ./dir/../place/link.bin.xz\n" +
		link + "firmware/dir -> real/place\n" +
		file + "firmware/new.bin.zst\n" +
		file + "firmware/old.bin.xz\n" +
		folder + "lib/firmware/real/\n" +
		folder + "lib/firmware/real/place/\n" +
		file + "firmware/real/place/in.bin.xz\n" +
		link + "firmware/real/place/inner.bin.xz -> in.bin.xz\n" +
		link + "firmware/real/place/link.bin.xz -> ../../dir/in.bin.xz\n" +
		file + "firmware/real/small.bin\n" +
		folder + "lib/firmware/wild/\n" +
		file + "firmware/wild/a-1.fw\n" +
		folder + "lib/firmware/wild/b/\n" +
		file + "firmware/wild/b/c-2.fw\n" +
		folder + "lib/modules/\n" + folder + "lib/modules/" + release + "/\n" +
		folder + "lib/modules/" + release + "/kernel/\n" +
		folder + "lib/modules/" + release + "/kernel/drivers/\n" +
		folder + "lib/modules/" + release + "/kernel/drivers/net/\n" +
		file + "modules/" + release + "/kernel/drivers/net/card.ko.xz\n" +
		file + "modules/" + release + "/kernel/drivers/net/core.ko\n" +
		file + "modules/" + release + "/kernel/drivers/net/far.ko\n" +
		file + "modules/" + release + "/kernel/drivers/net/packed.ko\n" +
		file + "modules/" + release + "/kernel/drivers/net/wild.ko\n" +
		file + "modules/" + release + "/modules.order\n" +
		folder + "lib/modules/" + release + "/updates/\n" +
		file + "modules/" + release + "/updates/extra-card.ko\n"
	if diff := cmp.Diff(want, listing(t, filepath.Join(out, "kernel.tar"))); diff != "" {
		t.Errorf("kernel.tar (-want +got):\n%s", diff)
	}

	for i := range rep.Files { // how well xz packs is not ours to say
		if f := &rep.Files[i]; f.Path != f.Place && f.Stored < f.Size {
			f.Stored = 0
		}
	}
	n, old := int64(len(large)), int64(len(packed(t, "old")))
	wantReport := Report{
		Files: []File{
			{"builtin.bin", "builtin.bin", 7, 7, "firmware-one", "builtin"},
			{"card/v2.bin", "card/v2.bin.xz", n, 0, "firmware-one", "card"},
			{"new.bin.zst", "new.bin.zst", 39, 39, "firmware-two", "packed"},
			{"old.bin.xz", "old.bin.xz", old, old, "firmware-two", "packed"},
			{"real/place/in.bin", "real/place/in.bin.xz", n, 0, "firmware-two", "far"},
			{"real/small.bin", "real/small.bin", 5, 5, "firmware-two", "far"},
			{"wild/a-1.fw", "wild/a-1.fw", 5, 5, "firmware-one", "wild"},
			{"wild/b/c-2.fw", "wild/b/c-2.fw", 5, 5, "firmware-one", "wild"},
		},
		Missing: []Missing{
			{"away.bin", "far"}, {"dangling.bin", "far"}, {"gone-too.bin", "builtin"}, {"gone.bin", "card"}, {"nothing/*", "wild"},
		},
	}
	if diff := cmp.Diff(wantReport, rep); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// What the kernel would open is what the package has: every file and link is followed and unpacked again.
func TestScriptKeepsContents(t *testing.T) {
	dir := kernelTree(t)
	_, keep := inputs(t, dir, Selection{Include: []string{"all"}}, nil)
	out, _ := job{kernel: dir, config: readsAll, keep: keep, packages: packages(t)}.want(t)
	root := t.TempDir()
	tool(t, "tar", "-C", root, "-xf", filepath.Join(out, "kernel.tar"))
	for name, want := range map[string]string{
		"card/v1.bin.xz": large, "card/v2.bin.xz": large, "dir/inner.bin.xz": large, "chain.bin.xz": large,
		"old.bin.xz": "old", "wild/b/c-2.fw": "below", "unselected.bin": "unselected",
	} {
		command := "cat"
		if strings.HasSuffix(name, ".xz") {
			command = "xzcat"
		}
		if got := tool(t, command, filepath.Join(root, "lib/firmware", name)); got != want {
			t.Errorf("%s: got %.40q, want %.40q", name, got, want)
		}
	}
	order, err := os.ReadFile(filepath.Join(root, "lib/modules", release, "modules.order"))
	if want := "kernel/drivers/net/core.ko\nkernel/drivers/other/unselected.ko\nkernel/drivers/net/card.ko\n"; err != nil || string(order) != want {
		t.Errorf("modules.order: got %q, %v, want %q", order, err, want)
	}
	if check := tool(t, "xz", "-l", "--robot", "-v", filepath.Join(root, "lib/firmware/card/v2.bin.xz")); !strings.Contains(check, "CRC32") {
		t.Errorf("the kernel reads no checksum but CRC32:\n%s", check)
	}
}

// After the selection modprobe loads the same modules for a name as before.
func TestScriptLeavesWhatModprobeNeeds(t *testing.T) {
	dir := kernelTree(t)
	res, keep := inputs(t, dir, Selection{Include: []string{"card"}}, Firmware{"none"})
	out, rep := job{kernel: dir, config: readsAll, keep: keep}.want(t)
	root := t.TempDir()
	tool(t, "tar", "-C", root, "-xf", filepath.Join(out, "kernel.tar"))
	if got, want := names(res.Keep), "card core extra-card"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	for _, p := range res.Keep {
		name := nameOf(p)
		if diff := cmp.Diff(needed(t, dir, name), needed(t, root, name)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", name, diff)
		}
	}
	if len(rep.Files)+len(rep.Missing) != 0 {
		t.Errorf("none: got %+v", rep)
	}
	if got := tool(t, "modprobe", "-C", "/dev/null", "-d", root, "-S", release, "--show-depends", "builtin"); !strings.HasPrefix(got, "builtin ") {
		t.Errorf("what is built in is no longer known: %q", got)
	}
}

func TestScriptFirmwareModes(t *testing.T) {
	dir := kernelTree(t)
	for _, tc := range []struct {
		name      string
		firmware  Firmware
		config    string
		want      string // places
		missing   int
		unmatched []string
	}{
		{"none", Firmware{"none"}, readsAll, "", 0, nil},
		{"patterns", Firmware{"card/", "wild/*", "no/such", "**/in.bin", "new.bin"}, readsAll,
			"card/v2.bin.xz new.bin.zst real/place/in.bin.xz wild/a-1.fw wild/a-3.fw", 0, []string{"no/such"}},
		{"auto and more", Firmware{"auto", "wild/a-3.fw"}, readsAll, "builtin.bin card/v2.bin.xz wild/a-3.fw", 2, nil},
		{"kernel that reads plain files only", Firmware{"auto", "*.bin*", "card/"}, "# CONFIG_FW_LOADER_COMPRESS is not set\n",
			"builtin.bin card/v2.bin real/place/in.bin real/small.bin unselected.bin", 2, nil},
		{"kernel without zstd", Firmware{"new.bin", "old.bin", "card/v1.bin"}, "CONFIG_FW_LOADER_COMPRESS_XZ=y\n",
			"card/v2.bin.xz old.bin.xz", 0, []string{"new.bin"}},
		{"kernel without xz", Firmware{"new.bin", "old.bin", "card/v1.bin"}, "CONFIG_FW_LOADER_COMPRESS_ZSTD=y\n",
			"card/v2.bin new.bin.zst", 0, []string{"old.bin"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, keep := inputs(t, dir, Selection{Include: []string{"card"}}, tc.firmware)
			_, rep := job{kernel: dir, config: tc.config, keep: keep, packages: packages(t)}.want(t)
			var places []string
			for _, f := range rep.Files {
				places = append(places, f.Place)
			}
			if got := strings.Join(places, " "); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if len(rep.Missing) != tc.missing || !slices.Equal(rep.Unmatched, tc.unmatched) {
				t.Errorf("got missing %v, unmatched %v", rep.Missing, rep.Unmatched)
			}
		})
	}
}

func TestScriptWithoutPackages(t *testing.T) {
	dir := kernelTree(t)
	_, keep := inputs(t, dir, Selection{Include: []string{"card"}}, nil)
	_, rep := job{kernel: dir, config: readsAll, keep: keep}.want(t)
	want := []Missing{{"builtin.bin", "builtin"}, {"card/v1.bin", "card"}, {"card/v2.bin", "card"}, {"gone-too.bin", "builtin"}, {"gone.bin", "card"}}
	if len(rep.Files) != 0 || !slices.Equal(rep.Missing, want) {
		t.Errorf("got %+v", rep)
	}
}

func TestScriptWithoutModules(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no directory":    {"lib/.keep": ""},
		"empty directory": {"lib/modules/.keep": ""},
		"all built in":    {"lib/modules/" + release + "/modules.builtin": "kernel/a.ko\n", "lib/modules/" + release + "/modules.dep": ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, files)
			res, keep := inputs(t, dir, Selection{}, Firmware{"auto", "wild/a-1.fw"})
			out, rep := job{kernel: dir, config: "", keep: keep, packages: packages(t)}.want(t)
			if len(res.Keep) != 0 || len(rep.Files) != 1 {
				t.Errorf("got %v, %+v", res.Keep, rep)
			}
			if got := listing(t, filepath.Join(out, "kernel.tar")); !strings.Contains(got, "./lib/firmware/wild/a-1.fw") || strings.Contains(got, ".keep") {
				t.Errorf("got\n%s", got)
			}
		})
	}
}

// Debian's kmod does not read gzip, so that such modules have to be there without it.
func TestScriptUnpacksGzip(t *testing.T) {
	dir := t.TempDir()
	kernel := filepath.Join(dir, "lib/modules", release, "kernel")
	write(t, kernel, map[string]string{"a.ko": string(toy{info: []string{"firmware=card/v2.bin"}}.ko())})
	tool(t, "depmod", "-b", dir, release)
	tool(t, "gzip", filepath.Join(kernel, "a.ko"))
	keep, err := Inputs(Result{Keep: []string{"kernel/a.ko.gz"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, rep := job{kernel: dir, config: readsAll, keep: keep, packages: packages(t)}.want(t)
	if got := listing(t, filepath.Join(out, "kernel.tar")); !strings.Contains(got, "kernel/a.ko\n") || len(rep.Files) != 1 {
		t.Errorf("got %+v\n%s", rep, got)
	}
}

func TestScriptSaysTheSameTwice(t *testing.T) {
	dir := kernelTree(t)
	_, keep := inputs(t, dir, Selection{Include: []string{"all"}}, nil)
	j := job{kernel: dir, config: readsAll, keep: keep, packages: packages(t), umask: "022"}
	first, _ := j.want(t)
	j.umask = "077"
	second, _ := j.want(t)
	for _, name := range []string{"kernel.tar", "firmware"} {
		a, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(second, name))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s is not the same: %v", name, err)
		}
	}
}

func TestScriptFaults(t *testing.T) {
	dir := kernelTree(t)
	two := t.TempDir()
	write(t, two, map[string]string{"lib/modules/1/modules.dep": "", "lib/modules/2/modules.dep": ""})
	_, keep := inputs(t, dir, Selection{Include: []string{"card"}}, nil)
	twice := packages(t)
	maps.Copy(twice["firmware-two"], map[string]string{"usr/lib/firmware/card/v2.bin": "another"})
	lost := map[string][]byte{"modules": []byte("kernel/lost.ko\n"), "firmware": nil}
	noModule := kernelTree(t)
	write(t, filepath.Join(noModule, "lib/modules", release), map[string]string{"kernel/text.ko": "not an object file"})
	text := map[string][]byte{"modules": []byte("kernel/text.ko\n"), "firmware": nil}
	for name, tc := range map[string]struct {
		job  job
		want string
	}{
		"a file in two packages": {job{kernel: dir, keep: keep, packages: twice}, "more than one package has card/v2.bin"},
		"two kernels":            {job{kernel: two, keep: keep}, "want the modules of one kernel"},
		"a module that is gone":  {job{kernel: dir, keep: lost}, "kernel/lost.ko"},
		"no object file":         {job{kernel: noModule, keep: text}, "text.ko"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.job.umask = "022"
			out, said, err := tc.job.run(t)
			if err == nil || !strings.Contains(said, tc.want) {
				t.Errorf("got %v, want %q in\n%s", err, tc.want, said)
			}
			if _, err := os.Stat(filepath.Join(out, "kernel.tar")); err == nil {
				t.Error("it wrote kernel.tar all the same")
			}
		})
	}
}

func TestScriptIsCleanShell(t *testing.T) {
	file := filepath.Join(t.TempDir(), "select.sh")
	if err := os.WriteFile(file, []byte(Script()), 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, "sh", "-n", file)
	tool(t, "shellcheck", "-s", "sh", file)
}
