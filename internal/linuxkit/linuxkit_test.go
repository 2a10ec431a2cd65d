package linuxkit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestImagesAndLayouts(t *testing.T) {
	s := parse(t, `kernel: {image: k}
init: [i, j, i]
onboot: [{name: a, image: c}]
onshutdown: [{name: a, image: d}]
services: [{name: a, image: c}, {name: b, image: 'build:x'}]
volumes:
  - {name: a, image: v}
  - {name: b}
  - {name: c, image: w, format: oci}
  - {name: d, image: w, format: oci, platforms: [linux/arm64, linux/amd64]}
  - {name: e, image: i, format: ""}
`)
	if diff := cmp.Diff([]string{"k", "i", "j", "v", "c", "d", "build:x"}, s.Images()); diff != "" {
		t.Errorf("images: -want +got:\n%s", diff)
	}
	want := []Layout{{Ref: "w"}, {Ref: "w", Platforms: []string{"linux/arm64", "linux/amd64"}}}
	if diff := cmp.Diff(want, s.Layouts()); diff != "" {
		t.Errorf("layouts: -want +got:\n%s", diff)
	}
	imgs := testImages(t)
	for _, ref := range s.Images() {
		imgs.images[ref] = imgs.images["sh"]
	}
	imgs.images["k"] = kernelImage(t)
	if _, err := Assemble(t.Context(), s, imgs, Options{Layout: layout}); err != nil {
		t.Fatal(err)
	}
	for _, ref := range s.Images() {
		if imgs.asked[ref] != 1 {
			t.Errorf("image %s was asked for %d times", ref, imgs.asked[ref])
		}
	}
}

func TestSources(t *testing.T) {
	const text = "files: [{path: a, source: b}, {path: c, source: /d}, {path: e, contents: f}, {path: g, source: ~/h}, {path: i, source: ../j}]\n"
	for _, tc := range []struct {
		name, file string
		o          ParseOptions
		want       []string
	}{
		{"one place", "dir/hook.yaml", ParseOptions{Home: "/me"}, []string{"dir/b", "/d", "/me/h", "j"}},
		{"two places", "dir/hook.yaml", ParseOptions{Home: "/me", WorkDir: "/w"}, []string{"dir/b", "/w/b", "/d", "/me/h", "j", "/j"}},
		{"the same place", "hook.yaml", ParseOptions{Home: "/me", WorkDir: "."}, []string{"b", "/d", "/me/h", "../j"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := ParseWith(tc.file, []byte(text), tc.o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, s.Sources()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestSourceOfSecondPlace: only what does not exist is looked for elsewhere.
func TestSourceOfSecondPlace(t *testing.T) {
	s, err := ParseWith("dir/hook.yaml", []byte("files: [{path: a, source: b, optional: true}]\n"), ParseOptions{WorkDir: "w"})
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	_, err = Assemble(t.Context(), s, testImages(t), Options{Kernel: "kernel", ReadFile: func(p string) ([]byte, error) {
		asked = append(asked, p)
		return nil, errors.New("disk is broken")
	}})
	if want := "dir/hook.yaml:1:27: source: disk is broken"; fmt.Sprint(err) != want || len(asked) != 1 {
		t.Errorf("got %v, asked for %q; want %s", err, asked, want)
	}
}

// TestMergeKernel: what replaces and what does not.
func TestMergeKernel(t *testing.T) {
	base := "image: a, cmdline: b, binary: c, tar: d, ucode: e"
	for _, tc := range []struct{ name, later, want string }{
		{"nothing", "{}", "a b c d e"},
		{"all", "{image: f, cmdline: g, binary: h, tar: i, ucode: j}", "f g h i j"},
		{"empty strings", `{image: "", cmdline: "", binary: "", tar: "", ucode: ""}`, "a b c - -"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := Merge(parse(t, "kernel: {"+base+"}\n"), parse(t, "kernel: "+tc.later+"\n")).kernel
			var got []string
			for _, s := range []string{m.Image.V, m.Cmdline.V, string(m.Binary.V), string(m.Tar.V), string(m.UCode.V)} {
				if s == "" {
					s = "-"
				}
				got = append(got, s)
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("got %s, want %s", strings.Join(got, " "), tc.want)
			}
		})
	}
}

func TestMergedNames(t *testing.T) {
	a := parse(t, "onboot: [{name: a, image: i, binds: ['late:/x']}]\nvolumes: [{name: v}]\nfiles: [{path: x, contents: y, uid: bye}]\n")
	b := parse(t, "onshutdown: [{name: bye, image: i}]\nvolumes: [{name: v}, {name: late, readonly: true}]\n")
	checkFaults(t, a.Validate(), "1:38: no volume is named \"late\"\n3:37: no container is named \"bye\"")
	checkFaults(t, Merge(a, b).Validate(), "1:38: volume \"late\" is read-only: want the option ro\n2:18: volume \"v\" exists already at hook.yaml:2:18")
	c := parse(t, "volumes: [{name: late}]\nonshutdown: [{name: bye, image: i}]\n")
	if err := Merge(a, c).Validate(); err != nil {
		t.Error(err)
	}
}

// TestOver: an empty string says nothing, but for those that count as soon as they are given.
func TestOver(t *testing.T) {
	r := newReader()
	l := parseLabel(r, "i", ImageConfig{Labels: map[string]string{label: `{"hostname": "l", "cwd": "/l", "cgroupsPath": "/l", "readonly": true, "env": ["L=l"],
		"net": "new", "oomScoreAdj": 5, "runtime": {"namespace": "l", "mkdir": ["/l"], "bindNS": {"net": "/l", "pid": "/l"}}}`}})
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	y := parse(t, "services: [{name: a, image: i, hostname: \"\", cwd: \"\", net: \"\", cgroupsPath: \"\", readonly: false, env: [], oomScoreAdj: 0, "+
		"runtime: {namespace: \"\", bindNS: {net: \"\"}}}]\n").services[0].options.over(l)
	if y.Hostname.V != "l" || y.Cwd.V != "/l" || y.Net.V != "new" {
		t.Errorf("empty strings replaced what the label says: %q, %q, %q", y.Hostname.V, y.Cwd.V, y.Net.V)
	}
	if y.CgroupsPath.V != "" || y.Readonly.V || len(y.Env.V) != 0 || y.OOMScoreAdj.V != 0 || y.Runtime.Namespace.V != "" || y.Runtime.BindNS.Net.V != "" {
		t.Errorf("what was given did not replace what the label says: %+v", y)
	}
	if y.Runtime.BindNS.PID.V != "/l" || len(y.Runtime.Mkdir.V) != 1 {
		t.Errorf("what was not given did: %+v", y.Runtime)
	}
}

// TestSameTree: nothing depends on the order of a map.
func TestSameTree(t *testing.T) {
	for _, name := range []string{"resources", "volumes", "metadata", "merge"} {
		var dumps []string
		for range 5 {
			result, err := Assemble(t.Context(), goldenSpec(t, name), testImages(t), Options{Kernel: "kernel", ReadFile: readTestFile, Layout: layout})
			if err != nil {
				t.Fatal(err)
			}
			dumps = append(dumps, dumpResult(t, result))
		}
		if len(slices.Compact(dumps)) != 1 {
			t.Errorf("%s: the results differ", name)
		}
	}
}

// TestSpecIsNotChanged: Assemble may be called again.
func TestSpecIsNotChanged(t *testing.T) {
	spec := goldenSpec(t, "volumes")
	was := fmt.Sprintf("%+v", spec.onboot[0].Binds)
	var dumps []string
	for range 2 {
		result, err := Assemble(t.Context(), spec, testImages(t), Options{Kernel: "kernel", ReadFile: readTestFile, Layout: layout})
		if err != nil {
			t.Fatal(err)
		}
		dumps = append(dumps, dumpResult(t, result))
	}
	if dumps[0] != dumps[1] || fmt.Sprintf("%+v", spec.onboot[0].Binds) != was {
		t.Error("the second result differs from the first")
	}
}
