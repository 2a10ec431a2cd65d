package modules

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseDep(t *testing.T) {
	got, err := parseDep([]byte("kernel/a.ko.xz:\n\n# a comment\nkernel/b/c-d.ko: kernel/a.ko.xz  kernel/e.ko.zst\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"kernel/a.ko.xz": {}, "kernel/b/c-d.ko": {"kernel/a.ko.xz", "kernel/e.ko.zst"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseSoftdep(t *testing.T) {
	const text = `# Soft dependencies extracted from modules themselves.
softdep ext4 pre: crypto-crc32c
softdep libfoo-bar pre: a b post: c
softdep cifs gcm
softdep cifs nls
weakdep mlx5_core mlx5_ib x
newword something else
softdep lonely
`
	got, err := parseSoftdep([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"ext4": {"crypto-crc32c"}, "libfoo_bar": {"a", "b", "c"}, "cifs": {"gcm", "nls"}, "mlx5_core": {"mlx5_ib", "x"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseAlias(t *testing.T) {
	got, err := parseAlias([]byte("# Aliases\nalias pci:v00008086d-x* ice-x\nalias acpi*:A B:* spaced\nalias fs-ext4[a-c] ext4\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []alias{{"pci:v00008086d_x*", "ice_x"}, {"acpi*:A B:*", "spaced"}, {"fs_ext4[a-c]", "ext4"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(alias{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseBuiltin(t *testing.T) {
	got, err := parseBuiltin([]byte("kernel/fs/ext4/ext4.ko\nkernel/lib/a-b.ko\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"kernel/fs/ext4/ext4.ko", "kernel/lib/a-b.ko"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseFaults(t *testing.T) {
	dep := func(b []byte) error { _, err := parseDep(b); return err }
	for name, tc := range map[string]struct {
		parse      func([]byte) error
		text, want string
	}{
		"dep without a colon": {dep, "a.ko:\nb.ko", `line 2: "b.ko": want PATH: PATH`},
		"dep without a path":  {dep, ": a.ko", "line 1: "},
		"dep twice":           {dep, "a.ko:\n\na.ko: b.ko", "line 3: a.ko stands here twice"},
		"endless line":        {dep, "a.ko:\n" + strings.Repeat("x", maxLine+1), "line 2: bufio.Scanner: token too long"},
		"softdep of nothing":  {func(b []byte) error { _, err := parseSoftdep(b); return err }, "softdep", "want softdep NAME"},
		"alias too short":     {func(b []byte) error { _, err := parseAlias(b); return err }, "alias x", "want alias PATTERN NAME"},
		"no alias":            {func(b []byte) error { _, err := parseAlias(b); return err }, "options a b=c", "want alias PATTERN NAME"},
		"builtin":             {func(b []byte) error { _, err := parseBuiltin(b); return err }, "kernel/README", "not the path of a module"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.parse([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestModuleName(t *testing.T) {
	for p, want := range map[string]string{
		"kernel/net/x-y.ko": "x_y", "x.ko.xz": "x", "a/x.ko.zst": "x", "x.ko.gz": "x", "a.b.ko": "a.b",
		"x.ko.bz2": "", "x.o": "", ".ko": "", "a/.ko.xz": "", "x.xz": "", "": "",
	} {
		name, ok := moduleName(p)
		if ok != (want != "") || ok && name != want {
			t.Errorf("%q: got %q %v, want %q", p, name, ok, want)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add("a.ko:\nkernel/b.ko.xz: a.ko\n", "softdep b pre: c-d post: a\n", "alias c* a\nalias x:[a-b]?/* b\n", "kernel/z.ko\n")
	f.Add("a.ko: a.ko\n", "weakdep a a a\n", "alias * a\n", "")
	f.Fuzz(func(t *testing.T, dep, soft, aliases, builtin string) {
		if strings.Count(dep, "\n") > 50 || strings.Count(aliases, "\n") > 50 {
			return
		}
		c := contents{release: release, sizes: map[string]int64{}, texts: map[string][]byte{
			"modules.dep": []byte(dep), "modules.softdep": []byte(soft),
			"modules.alias": []byte(aliases), "modules.builtin": []byte(builtin),
		}}
		deps, err := parseDep([]byte(dep))
		if err != nil {
			return
		}
		for p := range deps {
			if _, ok := moduleName(p); ok {
				c.sizes[p] = 1
			}
		}
		x, err := c.index()
		if err != nil {
			return
		}
		for _, s := range []Selection{{}, {Include: []string{"[a-m]*"}, Exclude: []string{"b"}}} {
			res, err := Select(x, s)
			if err != nil {
				t.Fatal(err)
			}
			closed(t, x, res)
		}
	})
}
