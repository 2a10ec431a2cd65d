package userland

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

func TestPackages(t *testing.T) {
	for _, tc := range []struct {
		name, file     string
		seeds, exclude []string
		wantErr        string
	}{
		{name: "seeds in order", file: "runit\ncrun\n", seeds: []string{"runit", "crun"}},
		{name: "comments and blanks", file: "# why\n\n crun  # small\n", seeds: []string{"crun"}},
		{name: "left out", file: "kmod\n-openssl-provider-legacy  # no cipher\n", seeds: []string{"kmod"}, exclude: []string{"openssl-provider-legacy"}},
		{name: "plus and dot", file: "libstdc++6\ngcc-14-base\nlibbz2-1.0", seeds: []string{"libstdc++6", "gcc-14-base", "libbz2-1.0"}},
		{name: "two on a line", file: "crun\nkmod jq\n", wantErr: `c/packages:2: "kmod jq" is no package name`},
		{name: "capital", file: "Crun\n", wantErr: `c/packages:1: "Crun" is no package name`},
		{name: "version", file: "crun=1.21\n", wantErr: `c/packages:1: "crun=1.21" is no package name`},
		{name: "twice", file: "crun\ncrun\n", wantErr: "c/packages:2: crun is named twice"},
		{name: "wanted and left out", file: "crun\n-crun\n", wantErr: "c/packages:2: crun is named twice"},
		{name: "only left out", file: "-crun\n", wantErr: "c/packages: names no package"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fsys := fstest.MapFS{"c/packages": {Data: []byte(tc.file)}}
			seeds, exclude, err := Packages(fsys, "c")
			if got := errText(err); got != tc.wantErr {
				t.Fatalf("error %q, want %q", got, tc.wantErr)
			}
			if diff := cmp.Diff(tc.seeds, seeds); diff != "" {
				t.Errorf("seeds (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.exclude, exclude); diff != "" {
				t.Errorf("exclude (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPackagesWithoutFile(t *testing.T) {
	if _, _, err := Packages(fstest.MapFS{}, "c"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestParsePostinsts(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		ok         bool
	}{
		{"made instead", "ca-certificates: the bundle is made in docker/Dockerfile", true},
		{"nothing with reason", `libc6: "nothing: restarts services"`, true},
		{"nothing without reason", "libc6: nothing", false},
		{"nothing and a colon", `libc6: "nothing: "`, false},
		{"empty", "libc6:", false},
		{"list", "- libc6", false},
		{"no package name", "Lib C: x", false},
		{"twice", "libc6: x\nlibc6: y", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := parsePostinsts([]byte(tc.text)); (err == nil) != tc.ok {
				t.Errorf("error %v, want ok %v", err, tc.ok)
			}
		})
	}
}

func TestPostinstsOfEmbeddedTable(t *testing.T) {
	table, err := Postinsts()
	if err != nil {
		t.Fatal(err)
	}
	if table["libc6"] == "" {
		t.Errorf("libc6, which every component with a shared library has, is not in %v", table)
	}
}

// A component that go:embed missed would be missing from every binary.
func TestEveryFileIsEmbedded(t *testing.T) {
	onDisk := listFiles(t, os.DirFS("."))
	onDisk = slices.DeleteFunc(onDisk, func(p string) bool { return path.Ext(p) == ".go" })
	if diff := cmp.Diff(onDisk, listFiles(t, Files)); diff != "" {
		t.Errorf("embedded files differ (-directory +embedded):\n%s", diff)
	}
}

func listFiles(t *testing.T, fsys fs.FS) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestComponentsAreComplete(t *testing.T) {
	dirs, err := fs.ReadDir(Files, ".")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, d := range dirs {
		if d.IsDir() {
			want = append(want, d.Name())
		}
	}
	got := Components(Files)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("components (-directories +got):\n%s", diff)
	}
	for _, c := range got {
		if _, _, err := Packages(Files, c); err != nil {
			t.Error(err)
		}
	}
}

var (
	copyLine = regexp.MustCompile(`(?m)^COPY (.*)$`)
	syntax   = regexp.MustCompile(`(?mi)^#\s*syntax=`)
)

// The rules of a component's Dockerfile that no engine checks.
func TestDockerfiles(t *testing.T) {
	for _, c := range Components(Files) {
		t.Run(c, func(t *testing.T) {
			text := read(t, c+"/Dockerfile")
			if syntax.MatchString(text) {
				t.Error("names a frontend, which would be pulled from a registry")
			}
			for _, want := range []string{"\nARG BASE\nFROM ${BASE} AS build\n", "\nFROM scratch\nCOPY --from=build /out /\n"} {
				if !strings.Contains(text, want) {
					t.Errorf("lacks %q", want)
				}
			}
			_, final, _ := strings.Cut(text, "\nFROM scratch\n")
			for _, m := range copyLine.FindAllStringSubmatch(final, -1) {
				if !strings.HasPrefix(m[1], "--from=build ") && !strings.HasPrefix(m[1], "--chmod=0") {
					t.Errorf("%q states no mode; embedded files have none", m[0])
				}
			}
			missed := uncopied(t, text, c)
			if len(missed) > 0 {
				t.Errorf("files that no COPY names: %v", missed)
			}
		})
	}
}

// uncopied returns the files of a component that its Dockerfile does not copy.
func uncopied(t *testing.T, text, component string) []string {
	t.Helper()
	var words []string
	for _, m := range copyLine.FindAllStringSubmatch(text, -1) {
		words = append(words, strings.Fields(m[1])...)
	}
	sub, err := fs.Sub(Files, component)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(listFiles(t, sub), func(p string) bool {
		return p == "Dockerfile" || p == "packages" || slices.Contains(words, p) || slices.Contains(words, path.Dir(p))
	})
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := Files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// applets returns the names that init's busybox answers to.
func applets(t *testing.T) []string {
	t.Helper()
	var names []string
	for line := range strings.Lines(read(t, "init/applets")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			names = append(names, line)
		}
	}
	return names
}

func TestAppletsAreSortedAndOnce(t *testing.T) {
	got := applets(t)
	want := slices.Compact(slices.Sorted(slices.Values(got)))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("init/applets (-sorted +is):\n%s", diff)
	}
}

func TestHookYAMLNamesComponents(t *testing.T) {
	var doc struct {
		Init             []string
		Onboot, Services []struct{ Name, Image string }
	}
	if err := yaml.Unmarshal([]byte(read(t, "hook.yaml")), &doc); err != nil {
		t.Fatal(err)
	}
	images := append(slices.Clone(doc.Init), "build:ssh") // which ssh.yaml names
	for _, c := range slices.Concat(doc.Onboot, doc.Services) {
		images = append(images, c.Image)
	}
	used := map[string]bool{}
	for _, image := range images {
		name, ok := strings.CutPrefix(image, "build:")
		if !ok || !slices.Contains(Components(Files), name) {
			t.Errorf("%s is no component", image)
		}
		used[name] = true
	}
	for _, c := range Components(Files) {
		if !used[c] {
			t.Errorf("component %s is in no list", c)
		}
	}
}

// scripts returns what is written in shell: what begins with its interpreter, and what such files source.
func scripts(t *testing.T) []string {
	t.Helper()
	found := []string{"init/lib.sh", "init/profile"}
	for _, p := range listFiles(t, Files) {
		if strings.HasPrefix(read(t, p), "#!/bin/sh\n") {
			found = append(found, p)
		}
	}
	return found
}

func TestShellSyntax(t *testing.T) {
	all := scripts(t)
	if len(all) < 10 {
		t.Fatalf("found only %v", all)
	}
	for _, p := range all {
		if out, err := exec.Command("sh", "-n", p).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", p, err, out)
		}
	}
}
