package filetree

import (
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dump returns one line per entry but the root: what it is, owner and mode where they are not the usual
// ones, content, and which earlier path it is a hard link of.
func dump(t *testing.T, tree *Tree) []string {
	t.Helper()
	var lines []string
	first := map[*Inode]string{}
	for _, e := range tree.Entries() {
		if e.Path == "." {
			continue
		}
		line := fmt.Sprintf("%s %s", e.Path, e.Kind)
		switch e.Kind {
		case Regular:
			b, err := e.Data.ReadAll()
			if err != nil {
				t.Fatalf("%s: %v", e.Path, err)
			}
			line += fmt.Sprintf(" %q", b)
		case Symlink:
			line += " -> " + e.Target
		case Char, Block:
			line += fmt.Sprintf(" %d:%d", e.Major, e.Minor)
		}
		if usual := map[Kind]uint32{Dir: 0o755, Symlink: 0o777}[e.Kind]; e.Perm != usual && e.Perm != 0o644 {
			line += fmt.Sprintf(" %04o", e.Perm)
		}
		if e.UID != 0 || e.GID != 0 {
			line += fmt.Sprintf(" %d:%d", e.UID, e.GID)
		}
		if old := first[e.Inode]; old != "" {
			line += " = " + old
		} else {
			first[e.Inode] = e.Path
		}
		lines = append(lines, line)
	}
	checkParents(t, tree)
	return lines
}

// checkParents asserts what every user of a tree relies on: parents are there, are directories, come first.
func checkParents(t *testing.T, tree *Tree) {
	t.Helper()
	seen := map[string]bool{}
	for _, e := range tree.Entries() {
		if e.Path != "." && !seen[path.Dir(e.Path)] {
			t.Errorf("%s comes without or before its parent directory", e.Path)
		}
		if got, ok := tree.Lookup(e.Path); !ok || got.Path != e.Path || got.Inode != e.Inode {
			t.Errorf("Lookup(%q) = %v, %v, want the entry itself", e.Path, got, ok)
		}
		seen[e.Path] = e.Kind == Dir
	}
}

// build makes a tree of words: "dir/", "link -> target", "hard = target", "file" (its content is its name).
func build(t *testing.T, words ...string) *Tree {
	t.Helper()
	tree := New()
	for _, w := range words {
		if err := addWord(tree, w, "test"); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

func addWord(tree *Tree, w, origin string) error {
	if name, target, ok := strings.Cut(w, " = "); ok {
		return tree.Link(name, target, origin)
	}
	n := &Inode{Perm: 0o644, Data: Bytes([]byte(w))}
	name, target, ok := strings.Cut(w, " -> ")
	switch {
	case ok:
		n = &Inode{Kind: Symlink, Perm: 0o777, Target: target}
	case strings.HasSuffix(w, "/"):
		n = &Inode{Kind: Dir, Perm: 0o755}
	}
	return tree.Add(name, n, origin)
}

func TestClean(t *testing.T) {
	good := map[string]string{
		"a": "a", "./a/b/": "a/b", "/a": "a", "//a//b": "a/b", ".": ".", "./": ".", "/": ".", "a/../b": "b",
		"..a": "..a", "a/..": ".", strings.Repeat("x", 4095): strings.Repeat("x", 4095),
	}
	for name, want := range good {
		if got, err := Clean(name); got != want || err != nil {
			t.Errorf("Clean(%q) = %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"", "..", "../a", "/..", "/../a", "a/../../b", "a\x00b", strings.Repeat("x", 4096)} {
		if got, err := Clean(name); err == nil {
			t.Errorf("Clean(%.20q) = %q, want an error", name, got)
		}
	}
}

func TestResolve(t *testing.T) {
	tree := build(t, "usr/lib/", "usr/share/doc/", "lib -> usr/lib", "abs -> /usr/share", "up -> ../../usr",
		"usr/loop -> loop/x", "deep -> abs/doc/..", "dot -> .", "usr/self -> /lib/", "dangling -> no/where", "file", "to -> file")
	cases := map[string]string{
		"lib":              "lib",
		"lib/x":            "usr/lib/x",
		"lib/x/y":          "usr/lib/x/y",
		"lib/.":            "usr/lib",
		"abs/doc":          "usr/share/doc",
		"up/lib/x":         "usr/lib/x", // above the root is the root
		"abs/../lib/x":     "usr/lib/x", // not ./lib: .. goes up from where abs leads
		"deep/y":           "usr/share/y",
		"dot/dot/lib/x":    "usr/lib/x",
		"usr/self/x":       "usr/lib/x",
		"dangling/x":       "no/where/x",
		"dangling/../x":    "no/x",
		"no/such/../thing": "no/thing",
		"no/../x":          "x",
		"to/x":             "file/x",
		"..":               ".",
		".":                ".",
	}
	for p, want := range cases {
		if got, err := tree.Resolve(p); got != want || err != nil {
			t.Errorf("Resolve(%q) = %q, %v, want %q", p, got, err, want)
		}
	}
	if got, err := tree.Resolve("usr/loop/x"); err == nil {
		t.Errorf("Resolve of a loop = %q, want an error", got)
	}
	if _, ok := tree.Lookup("usr/loop/x"); ok {
		t.Error("Lookup finds something in a loop")
	}
}

func TestAdd(t *testing.T) {
	cases := map[string]struct {
		words    []string
		want     []string
		conflict string // path of the *ConflictError of the last word
	}{
		"parents are made":             {words: []string{"a/b/c"}, want: []string{"a directory", "a/b directory", `a/b/c file "a/b/c"`}},
		"file over file":               {words: []string{"a", "/./a"}, want: []string{`a file "/./a"`}},
		"file over symlink":            {words: []string{"a -> b", "a"}, want: []string{`a file "a"`}},
		"symlink over file":            {words: []string{"a", "a -> b"}, want: []string{"a symlink -> b"}},
		"directory keeps its children": {words: []string{"a/b", "a/"}, want: []string{"a directory", `a/b file "a/b"`}},
		"below a symlink":              {words: []string{"lib -> usr/lib", "lib/x"}, want: []string{"lib symlink -> usr/lib", "usr directory", "usr/lib directory", `usr/lib/x file "lib/x"`}},
		"directory over symlink to one": {words: []string{"usr/lib/", "lib -> usr/lib", "lib/", "lib/x"},
			want: []string{"lib symlink -> usr/lib", "usr directory", "usr/lib directory", `usr/lib/x file "lib/x"`}},
		"directory over symlink to file": {words: []string{"f", "a -> f", "a/"}, conflict: "a"},
		"directory over dangling":        {words: []string{"a -> f", "a/"}, conflict: "a"},
		"directory over file":            {words: []string{"a", "a/"}, conflict: "a"},
		"file over directory":            {words: []string{"a/", "a"}, conflict: "a"},
		"file over root":                 {words: []string{". -> x"}, conflict: "."},
		"below a file":                   {words: []string{"a", "a/b/c"}, conflict: "a"},
		"below a symlink to a file":      {words: []string{"f", "a -> f", "a/b"}, conflict: "f"},
		"component order":                {words: []string{"a-b", "a/b", "a."}, want: []string{"a directory", `a/b file "a/b"`, `a-b file "a-b"`, `a. file "a."`}},
		"replacing one of two names":     {words: []string{"a", "b = a", "a -> x"}, want: []string{"a symlink -> x", `b file "a"`}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			last := len(c.words) - 1
			tree := build(t, c.words[:last]...)
			err := addWord(tree, c.words[last], "new")
			conflict, _ := errors.AsType[*ConflictError](err)
			switch {
			case c.conflict == "" && err != nil:
				t.Fatal(err)
			case c.conflict != "" && (conflict == nil || conflict.Path != c.conflict || conflict.NewFrom != "new"):
				t.Fatalf("got error %v, want a conflict at %s", err, c.conflict)
			}
			if diff := cmp.Diff(c.want, dump(t, tree)); c.conflict == "" && diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestAddBadNames(t *testing.T) {
	tree := build(t, "loop -> loop/x")
	for _, name := range []string{"", "../x", "a\x00", "loop/y"} {
		if err := tree.Add(name, &Inode{}, "test"); err == nil {
			t.Errorf("Add(%q) gives no error", name)
		}
	}
}

func TestDirectoryTakesOverModeAndOwner(t *testing.T) {
	tree := build(t, "a/b")
	for _, name := range []string{"a", "."} {
		if err := tree.Add(name, &Inode{Kind: Dir, Perm: 0o1777, UID: 7, GID: 8}, "second"); err != nil {
			t.Fatal(err)
		}
		e, ok := tree.Lookup(name)
		if !ok || e.Perm != 0o1777 || e.UID != 7 || e.GID != 8 || e.Origin != "second" || e.Path != name {
			t.Errorf("got %+v", e)
		}
	}
	if _, ok := tree.Lookup("a/b"); !ok {
		t.Error("a/b is gone")
	}
}

func TestLink(t *testing.T) {
	tree := build(t, "d/", "usr/bin/x", "bin -> usr/bin", "y = ./bin/x", "s -> y", "z = s")
	want := []string{"bin symlink -> usr/bin", "d directory", "s symlink -> y", "usr directory", "usr/bin directory",
		`usr/bin/x file "usr/bin/x"`, `y file "usr/bin/x" = usr/bin/x`, "z symlink -> y = s"}
	if diff := cmp.Diff(want, dump(t, tree)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, target := range []string{"no", "d", "../x", ""} {
		if err := tree.Link("new", target, "test"); err == nil {
			t.Errorf("Link to %q gives no error", target)
		}
	}
}

func TestRemove(t *testing.T) {
	words := []string{"a/b/c", "a/d", "a-b", "link -> a", "x = a/d"}
	cases := map[string]struct {
		do   func(*Tree)
		want []string
	}{
		"subtree":        {func(t *Tree) { t.Remove("a") }, []string{`a-b file "a-b"`, "link symlink -> a", `x file "a/d"`}},
		"symlink itself": {func(t *Tree) { t.Remove("link"); t.Remove("a/b"); t.Remove("x") }, []string{"a directory", `a/d file "a/d"`, `a-b file "a-b"`}},
		"through a symlink": {func(t *Tree) { t.Remove("link/b"); t.Remove("x") },
			[]string{"a directory", `a/d file "a/d"`, `a-b file "a-b"`, "link symlink -> a"}},
		"children":            {func(t *Tree) { t.RemoveChildren("a"); t.Remove("a-b") }, []string{"a directory", "link symlink -> a", `x file "a/d"`}},
		"not of a symlink":    {func(t *Tree) { t.RemoveChildren("link"); t.Remove("a") }, []string{`a-b file "a-b"`, "link symlink -> a", `x file "a/d"`}},
		"root keeps itself":   {func(t *Tree) { t.Remove(".") }, nil},
		"root's children":     {func(t *Tree) { t.RemoveChildren(".") }, nil},
		"nothing is no error": {func(t *Tree) { t.Remove("no/such"); t.Remove("a/d/x"); t.RemoveChildren("no"); t.Remove(".") }, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tree := build(t, words...)
			c.do(tree)
			if diff := cmp.Diff(c.want, dump(t, tree)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if root, ok := tree.Lookup("."); !ok || root.Kind != Dir || root.Perm != 0o755 {
				t.Errorf("the root is %+v", root)
			}
		})
	}
}

func TestGraft(t *testing.T) {
	sub := build(t, "a", "d/b = a", "e/")
	if err := sub.Add(".", &Inode{Kind: Dir, Perm: 0o700}, "sub"); err != nil {
		t.Fatal(err)
	}
	tree := build(t, "c/x")
	if err := tree.Graft("c/rootfs", sub); err != nil {
		t.Fatal(err)
	}
	want := []string{"c directory", "c/rootfs directory 0700", `c/rootfs/a file "a"`, "c/rootfs/d directory",
		`c/rootfs/d/b file "a" = c/rootfs/a`, "c/rootfs/e directory", `c/x file "c/x"`}
	if diff := cmp.Diff(want, dump(t, tree)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	conflict, ok := errors.AsType[*ConflictError](tree.Graft("c", build(t, "x/y")))
	if !ok || conflict.Path != "c/x" {
		t.Errorf("got %v, want a conflict at c/x", conflict)
	}
}

func TestKindString(t *testing.T) {
	if got := FIFO.String() + ", " + Kind(99).String(); got != "fifo, kind 99" {
		t.Errorf("got %q", got)
	}
}

// The paths of 2000 nested directories must share their bytes: copies would take 4 MB.
func TestDeepPath(t *testing.T) {
	deep := strings.Repeat("a/", 2000) + "f"
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	tree := build(t, deep)
	runtime.ReadMemStats(&after)
	if n := len(tree.Entries()); n != 2002 {
		t.Fatalf("got %d entries, want 2002", n)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
		t.Errorf("took %d bytes, want at most 2 MiB", got)
	}
}
