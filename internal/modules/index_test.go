package modules

import (
	"archive/tar"
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadTar(t *testing.T) {
	x := read(t, map[string]string{
		"":                          "",
		"kernel/net/a-b.ko.xz":      "12345",
		"kernel/net/c.ko.zst":       "123",
		"kernel/net/ice.ko":         "in the kernel",
		"updates/ice.ko":            "newer",
		"build/scripts/x.ko":        "depmod does not look here",
		"modules.dep":               "kernel/net/a-b.ko.xz:\nkernel/net/c.ko.zst: kernel/net/a-b.ko.xz\nupdates/ice.ko:\n",
		"modules.builtin":           "kernel/fs/ext4/ext4.ko\n",
		"modules.dep.bin":           "not ours to read",
		"../../firmware/regulatory": "nor this",
	})
	if x.Release != release {
		t.Errorf("release %s, want %s", x.Release, release)
	}
	if want := (Count{4, 5 + 3 + 13 + 5}); x.total != want {
		t.Errorf("total %v, want %v", x.total, want)
	}
	var paths []string
	for _, m := range x.modules {
		paths = append(paths, m.path)
	}
	if want := []string{"kernel/net/a-b.ko.xz", "kernel/net/c.ko.zst", "updates/ice.ko"}; !slices.Equal(paths, want) {
		t.Errorf("got %v, want %v", paths, want)
	}
}

func TestReadTarOfKernelWithoutModules(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"nothing":          {},
		"empty directory":  {"./": "", "./lib/": "", "./lib/modules/": ""},
		"no modules in it": below(map[string]string{"modules.builtin": "kernel/fs/ext4/ext4.ko\n", "modules.dep": ""}),
	} {
		t.Run(name, func(t *testing.T) {
			x, err := ReadTar(bytes.NewReader(tarOf(t, files)))
			if err != nil {
				t.Fatal(err)
			}
			res, err := Select(x, Selection{})
			if err != nil || len(res.Keep) != 0 || res.Total.Files != 0 {
				t.Errorf("got %+v, %v", res, err)
			}
		})
	}
}

func TestReadTarFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no modules.dep":     {map[string]string{"kernel/a.ko": ""}, "kernel/a.ko is not in modules.dep; run depmod"},
		"file is gone":       {map[string]string{"modules.dep": "kernel/a.ko:\n"}, "names kernel/a.ko, which is not there"},
		"needs no line":      {map[string]string{"kernel/a.ko": "", "modules.dep": "kernel/a.ko: kernel/b.ko\n"}, "needs kernel/b.ko, which has no line"},
		"one module, twice":  {map[string]string{"a-b.ko": "", "a_b.ko": "", "modules.dep": "a-b.ko:\na_b.ko:\n"}, "which are one module"},
		"faulty dep":         {map[string]string{"modules.dep": "x"}, "modules.dep: line 1: "},
		"faulty alias":       {map[string]string{"modules.alias": "x"}, "modules.alias: line 1: "},
		"faulty softdep":     {map[string]string{"modules.softdep": "softdep"}, "modules.softdep: line 1: "},
		"faulty weakdep":     {map[string]string{"modules.weakdep": "weakdep"}, "modules.weakdep: line 1: "},
		"faulty builtin":     {map[string]string{"modules.builtin": "x"}, "modules.builtin: line 1: "},
		"another kernel":     {map[string]string{"kernel/": "", "../6.6.0/kernel/": ""}, "modules of one kernel, got those of 6.6.0 and " + release},
		"directory as a .ko": {map[string]string{"kernel/a.ko/": ""}, "a file of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadTar(bytes.NewReader(tarOf(t, below(tc.files))))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestReadTarLimits(t *testing.T) {
	head := func(h tar.Header) []byte {
		var b bytes.Buffer
		if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for name, tc := range map[string]struct {
		tar  []byte
		want string
	}{
		"long text":     {head(tar.Header{Name: "lib/modules/1/modules.dep", Size: maxText + 1}), "want at most"},
		"cut off":       {head(tar.Header{Name: "lib/modules/1/modules.dep", Size: 9})[:400], "unexpected EOF"},
		"cut off text":  {head(tar.Header{Name: "lib/modules/1/modules.dep", Size: 9}), "unexpected EOF"},
		"linked module": {head(tar.Header{Name: "lib/modules/1/a.ko", Typeflag: tar.TypeSymlink, Linkname: "b.ko"}), "not a link"},
		"no tar":        {bytes.Repeat([]byte("x"), 1024), "invalid tar header"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadTar(bytes.NewReader(tc.tar)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestMatchAlias(t *testing.T) {
	for _, tc := range []struct {
		pattern, word string
		want          bool
	}{
		{"crypto_crc32c", "crypto_crc32c", true},
		{"crypto_crc32c", "crypto_crc32", false},
		{"platform:*", "platform:leds_gpio", true},
		{"of:N*T*Cx,y/z*", "of:NaTbCx,y/z/w", true},
		{"usb:v[0-4]p?", "usb:v3pa", true},
		{"usb:v[0-4]p?", "usb:v5pa", false},
		{"x*", "y", false},
		{"a[", "a[", false},
	} {
		if got := matchAlias(tc.pattern, tc.word); got != tc.want {
			t.Errorf("%s, %s: got %v", tc.pattern, tc.word, got)
		}
	}
}

// What a softdep means is what modprobe makes of the word.
func TestSoftdepsMeanWhatModprobeSays(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "lib/modules", release, "kernel"), map[string]string{
		"crc32c-generic.ko": string(toy{info: []string{"alias=crypto-crc32c", "alias=crc32c"}}.ko()),
		"crc32c-intel.ko":   string(toy{info: []string{"alias=crypto-crc32c"}}.ko()),
		"x-y.ko":            string(toy{info: []string{"alias=bus:v[0-9]x*"}}.ko()),
		"user.ko":           string(toy{info: []string{"softdep=pre: crypto-crc32c x_y", "softdep=post: bus:v7x-y/z nothing"}}.ko()),
	})
	tool(t, "depmod", "-b", dir, release)
	data := tool(t, "tar", "-C", dir, "-cf", "-", ".")
	x, err := ReadTar(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	res, err := Select(x, Selection{Include: []string{"user"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := res.Keep, needed(t, dir, "user"); !slices.Equal(got, want) {
		t.Errorf("got %v, modprobe loads %v", got, want)
	}
	if len(res.Keep) != 4 {
		t.Errorf("got %v, want all four", res.Keep)
	}
}

// needed lists the modules that modprobe would load for one, sorted, by path below lib/modules/RELEASE.
func needed(t *testing.T, dir, name string) []string {
	t.Helper()
	var paths []string
	out := tool(t, "modprobe", "-C", "/dev/null", "-d", dir, "-S", release, "--show-depends", name)
	for line := range strings.Lines(out) {
		file, ok := strings.CutPrefix(strings.TrimSpace(line), "insmod ")
		_, p, found := strings.Cut(file, "/lib/modules/"+release+"/")
		if !ok || !found {
			t.Fatalf("modprobe says %q", line)
		}
		paths = append(paths, strings.TrimSpace(p))
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}
