package linuxkit

import (
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// checkSegments holds what Segments promises: all entries, each once, a parent before what it holds, the
// names of one inode together.
func checkSegments(t *testing.T, r *Result) {
	t.Helper()
	seen := map[string]bool{".": true}
	of := map[*filetree.Inode]string{}
	names := map[string]bool{}
	count := 0
	for _, s := range r.Segments() {
		if len(s.Entries) == 0 || names[s.Name] {
			t.Errorf("segment %q is empty or there twice", s.Name)
		}
		names[s.Name] = true
		for _, e := range s.Entries {
			count++
			if seen[e.Path] && e.Path != "." {
				t.Errorf("%s stands twice", e.Path)
			}
			if !seen[path.Dir(e.Path)] {
				t.Errorf("%s of segment %q comes before its parent", e.Path, s.Name)
			}
			seen[e.Path] = true
			if first, ok := of[e.Inode]; ok && first != s.Name {
				t.Errorf("%s is in segment %q, another name of it in %q", e.Path, s.Name, first)
			}
			of[e.Inode] = s.Name
		}
	}
	if want := len(r.Tree.Entries()); count != want {
		t.Errorf("the segments hold %d entries, the tree %d", count, want)
	}
}

const partsYAML = `
init: [merged, overlay]
onboot:
  - {name: a, image: sh}
services:
  - {name: b, image: "sh:copy", readonly: true}
  - {name: c, image: bare, command: [/a]}
volumes: [{name: v, image: plain:1}]
files:
  - {path: etc/deep/er/file, contents: x}
  - {path: usr/sbin/init, contents: mine}
  - {path: usr/mine, directory: true}
`

func TestPartOf(t *testing.T) {
	result, err := assemble(t, partsYAML)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]Part{
		"lib":                               {Kind: PartInit, Image: "merged"},
		"own/secret":                        {Kind: PartInit, Image: "overlay"},
		"etc/hosts":                         {Kind: PartInit, Image: "overlay"},
		"usr/lib/modules/6.12/a.ko":         {Kind: PartKernel, Image: "kernel"},
		"containers/onboot/000-a":           {Kind: PartImage, Name: "onboot/000-a", Image: "sh", Users: []string{"onboot/000-a", "services/b"}},
		"containers/onboot/000-a/lower":     {Kind: PartImage, Name: "onboot/000-a", Image: "sh", Users: []string{"onboot/000-a", "services/b"}},
		"containers/services/b/rootfs":      {Kind: PartBundle, Name: "services/b"},
		"containers/services/c/lower/a":     {Kind: PartImage, Name: "services/c", Image: "bare", Users: []string{"services/c"}},
		"containers/volumes/v/merged":       {Kind: PartBundle, Name: "volumes/v"},
		"containers/volumes/v/lower/bin":    {Kind: PartVolume, Name: "volumes/v", Image: "plain:1"},
		"etc/deep/er":                       {Kind: PartFiles},
		"usr/sbin/init":                     {Kind: PartFiles},
		".":                                 {Kind: PartOther},
		"containers/services/b/config.json": {Kind: PartBundle, Name: "services/b"},
	} {
		e, ok := result.Tree.Lookup(p)
		if !ok {
			t.Errorf("there is no %s", p)
			continue
		}
		if diff := cmp.Diff(want, result.PartOf(e)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", p, diff)
		}
	}
}

// segmentOf says which segment each path stands in.
func segmentOf(r *Result) map[string]string {
	of := map[string]string{}
	for _, s := range r.Segments() {
		for _, e := range s.Entries {
			of[e.Path] = s.Name
		}
	}
	return of
}

func TestSegments(t *testing.T) {
	result, err := assemble(t, partsYAML)
	if err != nil {
		t.Fatal(err)
	}
	if err := result.Tree.Add("etc/added/late", regular([]byte("x"), 0o600), "somebody"); err != nil {
		t.Fatal(err)
	}
	checkSegments(t, result)
	var names []string
	for _, s := range result.Segments() {
		names = append(names, s.Name)
	}
	want := []string{"init image merged", "init image overlay", "kernel", "containers", "image plain:1 of volumes/v",
		"image sh of onboot/000-a", "image bare of services/c", "files", "other"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	of := segmentOf(result)
	for p, want := range map[string]string{
		".": "init image merged", "usr": "init image merged", "etc": "init image overlay", "usr/lib/modules": "kernel",
		"containers": "containers", "containers/onboot/000-a": "containers", "containers/onboot/000-a/lower": "image sh of onboot/000-a",
		"containers/volumes/v": "containers", "containers/volumes/v/lower": "image plain:1 of volumes/v", "usr/sbin/init": "files", "etc/deep": "files", "etc/added": "other", "etc/added/late": "other",
	} {
		if of[p] != want {
			t.Errorf("%s is in segment %q, want %q", p, of[p], want)
		}
	}
}

// TestSegmentsStay: what a build changes must not touch the segments of anything else.
func TestSegmentsStay(t *testing.T) {
	before, err := assemble(t, partsYAML)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, from, to, changed string }{
		{"a file's content", "contents: mine", "contents: other", "files"},
		{"a new file", "  - {path: usr/mine", "  - {path: opt/new/file, contents: x}\n  - {path: usr/mine", "files"},
		{"a container's option", "readonly: true", "readonly: true, hostname: x", "containers"},
		{"a new container", "volumes:", "  - {name: d, image: 'sh:copy'}\nvolumes:", "containers"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			after, err := assemble(t, strings.Replace(partsYAML, tc.from, tc.to, 1))
			if err != nil {
				t.Fatal(err)
			}
			old := map[string]string{}
			for _, s := range before.Segments() {
				old[s.Name] = listing(s)
			}
			for _, s := range after.Segments() {
				if got := listing(s) != old[s.Name]; got != (s.Name == tc.changed) {
					t.Errorf("segment %q: changed %v; before:\n%s\nafter:\n%s", s.Name, got, old[s.Name], listing(s))
				}
			}
		})
	}
}

func listing(s Segment) string {
	var b strings.Builder
	for _, e := range s.Entries {
		b.WriteString(e.Path + " " + e.Kind.String() + " " + digest(e.Data) + "\n")
	}
	return b.String()
}

// TestSegmentOfLinks: a name that a later part gives to an earlier part's inode stays with it.
func TestSegmentOfLinks(t *testing.T) {
	result, err := assemble(t, "init: [merged]\nfiles: [{path: opt/x, contents: y}]\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := result.Tree.Link("opt/init", "usr/sbin/init", "somebody"); err != nil {
		t.Fatal(err)
	}
	checkSegments(t, result)
	of := segmentOf(result)
	if of["opt/init"] != "init image merged" || of["opt"] != "init image merged" || of["opt/x"] != "files" {
		t.Errorf("got %v", of)
	}
}

func TestUnprivileged(t *testing.T) {
	result, err := assemble(t, `
onboot:
  - {name: a, image: sh, uid: 7}
services:
  - {name: b, image: "sh:copy"}
  - {name: c, image: sh, uid: a, noNewPrivileges: true}
  - {name: d, image: "sh:copy", uid: a}
`)
	if err != nil {
		t.Fatal(err)
	}
	e, ok := result.Tree.Lookup("containers/onboot/000-a/lower")
	if !ok {
		t.Fatal("the image has no place")
	}
	want := Part{
		Kind: PartImage, Name: "onboot/000-a", Image: "sh",
		Users:        []string{"onboot/000-a", "services/b", "services/c", "services/d"},
		Unprivileged: []string{"onboot/000-a", "services/d"},
	}
	if diff := cmp.Diff(want, result.PartOf(e)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestBase(t *testing.T) {
	for name, base := range map[string]*filetree.Tree{
		"directories": tree(t, "f 0644 lib/modules/5.10/old.ko x", "f 0755 init #!", "f 0755 lib/ld.so x", "c 0600 dev/null 3"),
		"merged usr":  tree(t, "l lib usr/lib", "f 0644 usr/lib/modules/5.10/old.ko x", "f 0755 init #!", "f 0755 usr/lib/ld.so x", "c 0600 dev/null 3"),
	} {
		spec, err := Parse("test.yaml", []byte("files: [{path: etc/mine, contents: x}]"), nil)
		if err != nil {
			t.Fatal(err)
		}
		result, err := Assemble(t.Context(), spec, testImages(t), Options{Kernel: "kernel", Base: base})
		if err != nil {
			t.Fatal(err)
		}
		checkSegments(t, result)
		has := func(p string) bool {
			resolved, err := result.Tree.Resolve(p)
			_, ok := result.Tree.Lookup(resolved)
			return ok && err == nil
		}
		for _, p := range []string{"init", "lib/ld.so", "dev/null", "etc/mine", "lib/modules/6.12/a.ko"} {
			if !has(p) {
				t.Errorf("%s: there is no %s", name, p)
			}
		}
		if has("lib/modules/5.10") || has("lib/modules/5.10/old.ko") {
			t.Errorf("%s: the base's modules are still there", name)
		}
		if of := segmentOf(result); of["init"] != "base" || of["etc/mine"] != "files" {
			t.Errorf("%s: got init in %q, etc/mine in %q", name, of["init"], of["etc/mine"])
		}
		if has := func(p string) bool { _, ok := base.Lookup(p); return ok }; !has("init") || has("etc/mine") {
			t.Errorf("%s: the base itself was changed", name)
		}
	}
}
