package initramfs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// byOrigin makes a segment of each origin.
func byOrigin(e filetree.Entry) string { return e.Origin }

// paths are the segments' paths by name.
func paths(segments []Segment) map[string][]string {
	all := map[string][]string{}
	for _, s := range segments {
		for _, e := range s.Entries {
			all[s.Name] = append(all[s.Name], e.Path)
		}
	}
	return all
}

func TestSplit(t *testing.T) {
	cases := map[string]struct {
		make func(*filetree.Tree) error
		want map[string][]string
	}{
		"only the root": {func(*filetree.Tree) error { return nil }, map[string][]string{"root": {"."}}},
		"each alone": {func(tr *filetree.Tree) error {
			return errors.Join(tr.Add("a", file(0, ""), "s1"), tr.Add("b", file(0, ""), "s2"))
		}, map[string][]string{"root": {"."}, "s1": {"a"}, "s2": {"b"}}},
		"the root goes before all": {func(tr *filetree.Tree) error {
			return errors.Join(tr.Add("x", file(0, ""), "a"), tr.Add("y", file(0, ""), "z"))
		}, map[string][]string{"a": {".", "x"}, "z": {"y"}}},
		"a directory goes to the first below it": {func(tr *filetree.Tree) error {
			return errors.Join(tr.Add("d/e/z", file(0, ""), "z"), tr.Add("d/e/s", file(0, ""), "s"), tr.Add("d/z", file(0, ""), "z"))
		}, map[string][]string{"root": {"."}, "s": {"d", "d/e", "d/e/s"}, "z": {"d/e/z", "d/z"}}},
		"a directory stays before what is later": {func(tr *filetree.Tree) error {
			return errors.Join(tr.Add("d", &filetree.Inode{Kind: filetree.Dir}, "s"), tr.Add("d/z", file(0, ""), "z"))
		}, map[string][]string{"root": {"."}, "s": {"d"}, "z": {"d/z"}}},
		"hard links stay together": {func(tr *filetree.Tree) error {
			return errors.Join(tr.Add("d/z", file(0, ""), "z"), tr.Link("s", "d/z", "s"), tr.Link("e/y", "s", "y"))
		}, map[string][]string{"root": {"."}, "s": {"d", "d/z", "e", "e/y", "s"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tree := filetree.New()
			must(t, c.make(tree))
			segments := Split(tree, byOrigin)
			if diff := cmp.Diff(c.want, paths(segments)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			_, err := WriteSegments(t.Context(), io.Discard, segments, Options{}, "")
			must(t, err)
		})
	}
}

// Whatever the division, each path is there once, and nothing comes before its directory.
func TestSplitAnyWay(t *testing.T) {
	tree := everything(t)
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		segments := Split(tree, func(filetree.Entry) string { return string(rune('a' + rng.IntN(6))) })
		if _, err := planSegments(segments, Options{}); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		n := 0
		for _, s := range segments {
			n += len(s.Entries)
		}
		if want := len(tree.Entries()); n != want {
			t.Errorf("seed %d: got %d entries, want %d", seed, n, want)
		}
	}
}

func TestDuplicates(t *testing.T) {
	got := Duplicates(Split(everything(t), byOrigin))
	want := []Duplicate{{Bytes: 9000, Wasted: 9000, Paths: []DuplicatePath{{"copies", "copies/a"}, {"devices", "dev/copy"}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := Duplicates([]Segment{{Entries: everything(t).Entries()}}); len(got) != 0 {
		t.Errorf("in one segment: got %v", got)
	}
}

// kinds are the options that segments are tried with.
func kinds() map[string]Options {
	return map[string]Options{
		"gzip": {Epoch: epoch}, "zstd": {Epoch: epoch, Compression: Zstd},
		"gzip, dedup": {Epoch: epoch, Dedup: true}, "zstd, small": {Epoch: epoch, Compression: Zstd, Level: 4},
	}
}

// writeSegments writes, and verifies what it has written.
func writeSegments(t testing.TB, segments []Segment, o Options, cache string) ([]byte, Stats) {
	t.Helper()
	var b bytes.Buffer
	s, err := WriteSegments(context.Background(), &b, segments, o, cache)
	must(t, err, VerifySegments(context.Background(), bytes.NewReader(b.Bytes()), segments, o))
	return b.Bytes(), s
}

// treeOf holds the entries of one segment, so that Write can be asked for the same.
func treeOf(t *testing.T, s Segment) *filetree.Tree {
	t.Helper()
	tree := filetree.New()
	for _, e := range s.Entries {
		must(t, tree.Add(e.Path, e.Inode, e.Origin))
	}
	return tree
}

func TestSegmentsAreArchivesOfTheirOwn(t *testing.T) {
	for name, o := range kinds() {
		t.Run(name, func(t *testing.T) {
			segments := Split(everything(t), byOrigin)
			packed, stats := writeSegments(t, segments, o, "")
			if len(segments) != 3 || stats.Compressed != int64(len(packed)) || len(stats.Segments) != 3 {
				t.Fatalf("got %d segments, %+v", len(segments), stats)
			}
			var unpacked, archive, entries int64
			at := int64(0)
			for i, s := range stats.Segments {
				one := packed[at : at+s.Compressed]
				at += s.Compressed
				must(t, VerifySegments(t.Context(), bytes.NewReader(one), segments[i:i+1], o))
				unpacked, archive, entries = unpacked+s.Unpacked, archive+s.Archive, entries+int64(s.Entries)
				if s.Name != segments[i].Name || s.Entries != len(segments[i].Entries) || s.Cached {
					t.Errorf("got %+v", s)
				}
			}
			if unpacked != stats.Unpacked || archive != stats.Archive || entries != int64(stats.Entries) || entries != int64(len(everything(t).Entries())) {
				t.Errorf("got %+v, want the sums of its segments", stats)
			}
			first, _ := write(t, treeOf(t, segments[0]), o) // it has the root
			if !bytes.HasPrefix(packed, first) {
				t.Error("the first segment is not what Write makes of its entries")
			}
		})
	}
}

func TestSingleSegmentIsWrite(t *testing.T) {
	tree := everything(t)
	for name, o := range kinds() {
		want, wantStats := write(t, tree, o)
		got, stats := writeSegments(t, []Segment{{Entries: tree.Entries()}}, o, t.TempDir())
		stats.Segments = nil
		if diff := cmp.Diff(wantStats, stats); diff != "" || !bytes.Equal(got, want) {
			t.Errorf("%s: the bytes differ, or the figures:\n%s", name, diff)
		}
	}
}

// cached says of each segment whether it came from the cache.
func cached(s Stats) (list []bool) {
	for _, one := range s.Segments {
		list = append(list, one.Cached)
	}
	return list
}

func TestCache(t *testing.T) {
	for name, o := range kinds() {
		t.Run(name, func(t *testing.T) {
			cache := filepath.Join(t.TempDir(), "not", "there")
			tree := everything(t)
			segments := Split(tree, byOrigin)
			plain, _ := writeSegments(t, segments, o, "")
			steps := []struct {
				name   string
				change func()
				same   bool
				cached []bool
			}{
				{"cold", func() {}, true, []bool{false, false, false}},
				{"warm", func() {}, true, []bool{true, true, true}},
				{"one content", func() { must(t, tree.Add("dev/copy", file(0o644, "new"), "devices")) }, false, []bool{true, false, true}},
				{"the same again", func() {}, false, []bool{true, true, true}},
				{"one mode", func() { must(t, tree.Add("copies/a", file(0o640, "new"), "copies")) }, false, []bool{false, true, true}},
				{"one more", func() { must(t, tree.Add("one", file(0o640, "more"), "test")) }, false, []bool{true, true, false}},
				{"back", func() { tree = everything(t) }, true, []bool{true, true, true}},
			}
			for _, s := range steps {
				s.change()
				segments = Split(tree, byOrigin)
				packed, stats := writeSegments(t, segments, o, cache)
				if diff := cmp.Diff(s.cached, cached(stats)); diff != "" {
					t.Errorf("%s: from the cache: -want +got:\n%s", s.name, diff)
				}
				if bytes.Equal(packed, plain) != s.same {
					t.Errorf("%s: the bytes are the same as without cache: %v, want %v", s.name, !s.same, s.same)
				}
			}
		})
	}
}

// cacheFiles are the cache's files by path.
func cacheFiles(t *testing.T, cache string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(cache, "*", "*"))
	must(t, err)
	return files
}

// Whatever has become of the cache, the bytes are right.
func TestSpoiltCache(t *testing.T) {
	o := Options{Epoch: epoch, Compression: Zstd}
	segments := Split(everything(t), byOrigin)
	plain, _ := writeSegments(t, segments, o, "")
	spoils := map[string]func(file string) error{
		"a flipped bit": func(f string) error {
			b, err := os.ReadFile(f)
			b[len(b)/2] ^= 4
			return errors.Join(err, os.WriteFile(f, b, 0o600))
		},
		"a flipped bit in the digest": func(f string) error {
			b, err := os.ReadFile(f)
			b[len(b)-1] ^= 4
			return errors.Join(err, os.WriteFile(f, b, 0o600))
		},
		"cut":       func(f string) error { return os.Truncate(f, 50) },
		"cut short": func(f string) error { return os.Truncate(f, 31) },
		"empty":     func(f string) error { return os.Truncate(f, 0) },
		"gone":      os.Remove,
	}
	for name, spoil := range spoils {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			writeSegments(t, segments, o, cache)
			files := cacheFiles(t, cache)
			if len(files) != len(segments) {
				t.Fatalf("got %q, want %d files", files, len(segments))
			}
			for _, f := range files {
				must(t, spoil(f))
			}
			for _, want := range []bool{false, true} {
				packed, stats := writeSegments(t, segments, o, cache)
				if !bytes.Equal(packed, plain) || stats.Segments[0].Cached != want {
					t.Errorf("got %v, and the same bytes: %v; want it in the cache: %v", cached(stats), bytes.Equal(packed, plain), want)
				}
			}
			if got := cacheFiles(t, cache); !cmp.Equal(got, files) {
				t.Errorf("got %q, want %q", got, files)
			}
		})
	}
}

func TestCacheThatCannotBe(t *testing.T) {
	taken := filepath.Join(t.TempDir(), "taken")
	must(t, os.WriteFile(taken, nil, 0o600))
	_, err := WriteSegments(t.Context(), io.Discard, Split(everything(t), byOrigin), Options{}, taken)
	if _, ok := errors.AsType[*os.PathError](err); !ok {
		t.Errorf("got %v, want that the cache is no directory", err)
	}
}

func TestKey(t *testing.T) {
	base := func() *filetree.Tree {
		tree := filetree.New()
		must(t, tree.Add("a", file(0o644, "one"), "x"), tree.Add("b", symlink("a"), "x"),
			tree.Add("c", &filetree.Inode{Kind: filetree.Char, Major: 1, Minor: 3}, "x"), tree.Add("d", file(0o644, "one"), "x"))
		return tree
	}
	key := func(tree *filetree.Tree, o Options) [32]byte {
		records, _, err := plan(tree.Entries(), o.Dedup)
		must(t, err)
		return segmentKey(records, o)
	}
	want := key(base(), Options{})
	same := map[string]func(*filetree.Tree, *Options){
		"another origin": func(tr *filetree.Tree, _ *Options) { must(t, tr.Add("a", file(0o644, "one"), "y")) },
		"content in a file": func(tr *filetree.Tree, _ *Options) {
			s := spooled(t, []byte("one"))
			s.Perm = 0o644
			must(t, tr.Add("a", s, "x"))
		},
		"the default spelled":  func(_ *filetree.Tree, o *Options) { o.Compression, o.Level = Gzip, 6 },
		"attributes, all lost": func(tr *filetree.Tree, _ *Options) { e, _ := tr.Lookup("a"); e.Xattrs = []string{"user.x"} },
	}
	for name, change := range same {
		tree, o := base(), Options{}
		change(tree, &o)
		if key(tree, o) != want {
			t.Errorf("%s: the key changed", name)
		}
	}
	others := map[string]func(*filetree.Tree, *Options){
		"content":     func(tr *filetree.Tree, _ *Options) { must(t, tr.Add("a", file(0o644, "two"), "x")) },
		"mode":        func(tr *filetree.Tree, _ *Options) { must(t, tr.Add("a", file(0o600, "one"), "x")) },
		"owner":       func(tr *filetree.Tree, _ *Options) { e, _ := tr.Lookup("a"); e.UID = 1 },
		"target":      func(tr *filetree.Tree, _ *Options) { must(t, tr.Add("b", symlink("c"), "x")) },
		"device":      func(tr *filetree.Tree, _ *Options) { e, _ := tr.Lookup("c"); e.Minor = 5 },
		"name":        func(tr *filetree.Tree, _ *Options) { tr.Remove("a"); must(t, tr.Add("A", file(0o644, "one"), "x")) },
		"hard link":   func(tr *filetree.Tree, _ *Options) { must(t, tr.Link("e", "a", "x")) },
		"dedup":       func(_ *filetree.Tree, o *Options) { o.Dedup = true },
		"level":       func(_ *filetree.Tree, o *Options) { o.Level = 5 },
		"compression": func(_ *filetree.Tree, o *Options) { o.Compression, o.Level = Zstd, 6 },
		"epoch":       func(_ *filetree.Tree, o *Options) { o.Epoch = 1 },
	}
	seen := map[[32]byte]string{want: "nothing"}
	for name, change := range others {
		tree, o := base(), Options{}
		change(tree, &o)
		k := key(tree, o)
		if other, twice := seen[k]; twice {
			t.Errorf("%s gives the key of %s", name, other)
		}
		seen[k] = name
	}
}

// The versions in every key are those that are linked.
func TestCompressorsAreThose(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	must(t, err)
	for want := range strings.SplitSeq(compressors, ", ") {
		if !strings.Contains(string(mod), want+"\n") {
			t.Errorf("go.mod has another version than %s: put it into compressors, the bytes may change", want)
		}
	}
}

func TestSegmentsThatCannotBe(t *testing.T) {
	dir, f := &filetree.Inode{Kind: filetree.Dir}, file(0, "")
	entry := func(p string, n *filetree.Inode) filetree.Entry {
		return filetree.Entry{Path: p, Inode: n, Origin: "some image"}
	}
	root := entry(".", dir)
	cases := map[string][]Segment{
		"a path twice":             {{Entries: []filetree.Entry{root, entry("a", f)}}, {Entries: []filetree.Entry{entry("a", file(0, ""))}}},
		"a directory twice":        {{Entries: []filetree.Entry{root}}, {Entries: []filetree.Entry{root}}},
		"no parent":                {{Entries: []filetree.Entry{root, entry("d/a", f)}}},
		"the parent comes after":   {{Entries: []filetree.Entry{root, entry("d/a", f)}}, {Entries: []filetree.Entry{entry("d", dir)}}},
		"the parent is a file":     {{Entries: []filetree.Entry{root, entry("d", f), entry("d/a", file(0, ""))}}},
		"a link to another":        {{Entries: []filetree.Entry{root, entry("a", f)}}, {Entries: []filetree.Entry{entry("b", f)}}},
		"what no archive can hold": {{Entries: []filetree.Entry{root}}, {Entries: []filetree.Entry{entry("TRAILER!!!", f)}}},
		"no path":                  {{Entries: []filetree.Entry{root, entry("", f)}}},
		"NUL in a path":            {{Entries: []filetree.Entry{root, entry("a\x00b", f)}}},
	}
	for name, segments := range cases {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			_, err := WriteSegments(t.Context(), &b, segments, Options{}, "")
			if _, ok := errors.AsType[*UnsupportedError](err); !ok || b.Len() != 0 {
				t.Errorf("got %v and %d bytes, want an UnsupportedError and none", err, b.Len())
			}
		})
	}
	// A symlink's inode may be in two: it has no links.
	l := symlink("x")
	writeSegments(t, []Segment{{Entries: []filetree.Entry{root, entry("a", l)}}, {Entries: []filetree.Entry{entry("b", l)}}}, Options{}, "")
}

func TestVerifySegmentsFinds(t *testing.T) {
	for name, o := range map[string]Options{"gzip": {}, "zstd": {Compression: Zstd}} {
		segments := Split(everything(t), byOrigin)
		packed, stats := writeSegments(t, segments, o, "")
		second := stats.Segments[0].Compressed
		third := second + stats.Segments[1].Compressed
		bad := map[string][]byte{
			"cut":             packed[:len(packed)-3],
			"the last is out": packed[:len(packed)-int(stats.Segments[2].Compressed)],
			"the first twice": append(bytes.Clone(packed[:second]), packed...),
			"another order":   append(append(append([]byte(nil), packed[:second]...), packed[third:]...), packed[second:third]...),
			"zeros between":   append(append(append([]byte(nil), packed[:second]...), 0, 0, 0, 0), packed[second:]...),
			"zeros behind":    append(bytes.Clone(packed), 0, 0, 0, 0),
		}
		for what, b := range bad {
			if err := VerifySegments(t.Context(), bytes.NewReader(b), segments, o); err == nil {
				t.Errorf("%s, %s: got no error", name, what)
			}
		}
		whole, _ := write(t, everything(t), o)
		if err := VerifySegments(t.Context(), bytes.NewReader(whole), segments, o); err == nil || !strings.Contains(err.Error(), `segment "copies"`) {
			t.Errorf("%s, one archive for many: got %v", name, err)
		}
	}
}

func TestSegmentsAreCancelled(t *testing.T) {
	defer noGoroutineLeft(t)()
	for _, cache := range []string{"", t.TempDir()} {
		ctx, cancel := context.WithCancel(t.Context())
		tree := corpus(t, 12<<20)
		segments := Split(tree, func(e filetree.Entry) string { return e.Path[:min(2, len(e.Path))] })
		n := 0
		w := writerFunc(func(p []byte) (int, error) {
			if n += len(p); n > 1<<20 {
				cancel()
			}
			return len(p), nil
		})
		if _, err := WriteSegments(ctx, w, segments, Options{}, cache); !errors.Is(err, context.Canceled) || n > 5<<20 {
			t.Errorf("cache %q: got %v after %d bytes, want that it was cancelled", cache, err, n)
		}
		cancel()
		if err := VerifySegments(ctx, strings.NewReader(""), segments, Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("verify: got %v, want that it was cancelled", err)
		}
		if cache == "" {
			continue
		}
		if left, _ := filepath.Glob(filepath.Join(cache, "*", ".*")); len(left) > 0 {
			t.Errorf("got %q, want nothing half written", left)
		}
		packed, _ := writeSegments(t, segments, Options{}, cache)
		if plain, _ := writeSegments(t, segments, Options{}, ""); !bytes.Equal(packed, plain) {
			t.Error("after it was cancelled the bytes are others")
		}
	}
}

func TestSegmentsToAFailingWriter(t *testing.T) {
	defer noGoroutineLeft(t)()
	full := errors.New("no space left")
	segments := Split(everything(t), byOrigin)
	for _, o := range kinds() {
		packed, _ := writeSegments(t, segments, o, "")
		for _, cache := range []string{"", t.TempDir()} {
			for _, room := range []int{0, 100, len(packed) / 2, len(packed) - 1} {
				left := room
				w := writerFunc(func(p []byte) (int, error) {
					if len(p) > left {
						return left, full
					}
					left -= len(p)
					return len(p), nil
				})
				if _, err := WriteSegments(t.Context(), w, segments, o, cache); !errors.Is(err, full) {
					t.Errorf("room for %d bytes: got %v, want the writer's error", room, err)
				}
			}
		}
	}
}

// What is made is compared with what was meant before it is kept.
func TestReadBackOnTheWay(t *testing.T) {
	defer noGoroutineLeft(t)()
	segments := Split(everything(t), byOrigin)
	jobs, err := planSegments(segments, Options{})
	must(t, err)
	j := jobs[1]
	// A content in memory changes after it was compressed: the second write is that of the block.
	data := []byte("before")
	j.records = append([]record(nil), j.records...)
	for i, r := range j.records {
		if r.Kind == filetree.Regular {
			n := *r.Inode
			n.Data = filetree.Bytes(data)
			j.records[i].Inode, j.records[i].size = &n, int64(len(data))
		}
	}
	writes := 0
	out := writerFunc(func(p []byte) (int, error) {
		if writes++; writes == 2 {
			copy(data, "after!")
		}
		return len(p), nil
	})
	var b bytes.Buffer
	err = j.pack(t.Context(), io.MultiWriter(&b, out), &compressor{})
	if err == nil || !strings.Contains(err.Error(), "not the tree that was meant") {
		t.Errorf("got %v, want that it is not what was meant", err)
	}
	if err := verifyStream(bufio.NewReader(&b), j.records, Options{}); err == nil {
		t.Error("what was written is as the records say; the test proves nothing")
	}
}
