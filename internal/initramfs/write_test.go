package initramfs

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/heaptest"
)

const epoch = 1_700_000_000

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func file(perm uint32, content string) *filetree.Inode {
	return &filetree.Inode{Perm: perm, Data: filetree.Bytes([]byte(content))}
}

func symlink(target string) *filetree.Inode {
	return &filetree.Inode{Kind: filetree.Symlink, Perm: 0o644, Target: target}
}

// spooled is a file whose content is in the middle of another file.
func spooled(t testing.TB, content []byte) *filetree.Inode {
	t.Helper()
	name := filepath.Join(t.TempDir(), "spool")
	must(t, os.WriteFile(name, []byte("before"+string(content)+"after"), 0o600))
	data := filetree.FileRange(name, 6, int64(len(content)), sha256.Sum256(content))
	return &filetree.Inode{Perm: 0o600, Data: data}
}

// sample is a small tree with one of everything that an archive can hold.
func sample(t testing.TB) *filetree.Tree {
	t.Helper()
	tree := filetree.New()
	dir := &filetree.Inode{Kind: filetree.Dir, Perm: 0o1777, UID: 1, GID: 2}
	owned := file(0o640, "owned")
	owned.UID, owned.GID = 1000, math.MaxUint32-1
	must(t,
		tree.Add("init", file(0o755, "#!/bin/sh\n"), "test"),
		tree.Add("tmp", dir, "test"),
		tree.Add("etc/owned", owned, "test"),
		tree.Add("bin/su", file(0o6755, "setuid and setgid"), "test"),
		tree.Add("lib", symlink("usr/lib"), "test"),
		tree.Add("lib/big", spooled(t, bytes.Repeat([]byte("0123456789"), 150_000)), "test"),
		tree.Link("a-name", "usr/lib/big", "test"),
		tree.Link("zz/name", "usr/lib/big", "test"),
		tree.Add("empty", file(0o444, ""), "test"),
		tree.Link("empty2", "empty", "test"),
		tree.Add("link", symlink("/no/such/"+strings.Repeat("x", 300)), "test"),
		tree.Link("link2", "link", "test"), // symlinks may share an inode in a tree
		tree.Add("run/fifo", &filetree.Inode{Kind: filetree.FIFO, Perm: 0o620}, "test"),
		tree.Link("run/fifo2", "run/fifo", "test"),
		tree.Add("names/with space", file(0o644, "1"), "test"),
		tree.Add("names/ünï\xff", file(0o644, "12"), "test"),
		tree.Add("names/-dash", file(0o644, "123"), "test"),
		tree.Add("names/"+strings.Repeat("n", 255), file(0o644, "1234"), "test"),
		tree.Add("not/TRAILER!!!", file(0o000, "12345"), "test"),
	)
	return tree
}

// write returns the compressed archive of tree, verified.
func write(t testing.TB, tree *filetree.Tree, o Options) ([]byte, Stats) {
	t.Helper()
	var b bytes.Buffer
	s, err := Write(context.Background(), &b, tree, o)
	must(t, err, Verify(bytes.NewReader(b.Bytes()), tree, o))
	return b.Bytes(), s
}

func gunzip(t testing.TB, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	must(t, err)
	out, err := io.ReadAll(z)
	must(t, err)
	return out
}

func TestWriteAndRead(t *testing.T) {
	tree := filetree.New()
	must(t, tree.Add("d/x", file(0o4755, "12345"), "test"), tree.Link("y", "d/x", "test"), tree.Link("a", "y", "test"),
		tree.Add("s", symlink("d/x"), "test"), tree.Add("zero", file(0o644, ""), "test"),
		tree.Add("f", &filetree.Inode{Kind: filetree.FIFO, Perm: 0o600, UID: 7, GID: 8}, "test"))
	packed, _ := write(t, tree, Options{Epoch: epoch})
	r := NewReader(bytes.NewReader(gunzip(t, packed)))
	var got []Header
	var bodies []string
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		body, err := io.ReadAll(r)
		must(t, err)
		got, bodies = append(got, h), append(bodies, string(body))
	}
	want := []Header{
		{Name: ".", Inode: 1, Mode: 0o40755, Links: 2, MTime: epoch},
		{Name: "a", Inode: 2, Mode: 0o104755, Links: 3, MTime: epoch},
		{Name: "d", Inode: 3, Mode: 0o40755, Links: 2, MTime: epoch},
		{Name: "d/x", Inode: 2, Mode: 0o104755, Links: 3, MTime: epoch},
		{Name: "f", Inode: 4, Mode: 0o10600, UID: 7, GID: 8, Links: 1, MTime: epoch},
		{Name: "s", Inode: 5, Mode: 0o120777, Links: 1, MTime: epoch, Target: "d/x"},
		{Name: "y", Inode: 2, Mode: 0o104755, Links: 3, MTime: epoch, Size: 5},
		{Name: "zero", Inode: 6, Mode: 0o100644, Links: 1, MTime: epoch},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"", "", "", "", "", "", "12345", ""}, bodies); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// everything is sample with what it lacks: devices, and files of equal content.
func everything(t testing.TB) *filetree.Tree {
	t.Helper()
	tree := sample(t)
	copies := strings.Repeat("the same ", 1000)
	must(t,
		tree.Add("dev/console", &filetree.Inode{Kind: filetree.Char, Perm: 0o600, Major: 5, Minor: 1}, "devices"),
		tree.Add("dev/disk", &filetree.Inode{Kind: filetree.Block, Perm: 0o660, GID: 6, Major: maxMajor, Minor: maxMinor}, "devices"),
		tree.Link("dev/disk2", "dev/disk", "devices"),
		tree.Add("copies/a", file(0o644, copies), "copies"),
		tree.Add("copies/b", file(0o644, copies), "copies"),
		tree.Add("copies/mode", file(0o600, copies), "copies"),
		tree.Add("dev/copy", file(0o644, copies), "devices"),
	)
	return tree
}

func TestDevices(t *testing.T) {
	packed, _ := write(t, everything(t), Options{Epoch: epoch})
	got := map[string]Header{}
	r := NewReader(bytes.NewReader(gunzip(t, packed)))
	for h, err := r.Next(); err != io.EOF; h, err = r.Next() {
		must(t, err)
		if strings.HasPrefix(h.Name, "dev/") && h.Size == 0 {
			h.Inode = 0
			got[h.Name] = h
		}
	}
	disk := Header{Name: "dev/disk", Mode: 0o60660, GID: 6, Links: 2, MTime: epoch, RMajor: 4095, RMinor: 1048575}
	disk2 := disk
	disk2.Name = "dev/disk2"
	want := map[string]Header{
		"dev/console": {Name: "dev/console", Mode: 0o20600, Links: 1, MTime: epoch, RMajor: 5, RMinor: 1},
		"dev/disk":    disk, "dev/disk2": disk2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// names are the paths in an archive by their inode numbers, and the sizes that stand with them.
func names(t *testing.T, tree *filetree.Tree, o Options) map[uint32][]string {
	t.Helper()
	packed, _ := write(t, tree, o)
	r := NewReader(bytes.NewReader(gunzip(t, packed)))
	groups := map[uint32][]string{}
	for h, err := r.Next(); err != io.EOF; h, err = r.Next() {
		must(t, err)
		groups[h.Inode] = append(groups[h.Inode], fmt.Sprintf("%s %d/%d", h.Name, h.Size, h.Links))
	}
	return groups
}

func TestDedup(t *testing.T) {
	tree := filetree.New()
	owned := file(0o644, "same")
	owned.UID = 1
	must(t, tree.Add("a", file(0o644, "same"), "test"), tree.Add("b", spooled(t, []byte("same")), "test"),
		tree.Add("c", file(0o600, "same"), "test"), tree.Add("d", file(0o644, "same"), "test"), tree.Link("e", "d", "test"),
		tree.Add("f", owned, "test"), tree.Add("g", file(0o644, ""), "test"), tree.Add("h", file(0o644, ""), "test"),
		tree.Add("i", symlink("same"), "test"), tree.Add("j", symlink("same"), "test"))
	plain := map[uint32][]string{
		1: {". 0/2"}, 2: {"a 4/1"}, 3: {"b 4/1"}, 4: {"c 4/1"}, 5: {"d 0/2", "e 4/2"}, 6: {"f 4/1"},
		7: {"g 0/1"}, 8: {"h 0/1"}, 9: {"i 0/1"}, 10: {"j 0/1"},
	}
	if diff := cmp.Diff(plain, names(t, tree, Options{})); diff != "" {
		t.Errorf("without: -want +got:\n%s", diff)
	}
	linked := map[uint32][]string{
		1: {". 0/2"}, 2: {"a 0/3", "d 0/3", "e 4/3"}, 3: {"b 0/2", "c 4/2"}, 4: {"f 4/1"},
		5: {"g 0/1"}, 6: {"h 0/1"}, 7: {"i 0/1"}, 8: {"j 0/1"},
	}
	if diff := cmp.Diff(linked, names(t, tree, Options{Dedup: true})); diff != "" {
		t.Errorf("with: -want +got:\n%s", diff)
	}
	_, stats := write(t, tree, Options{Dedup: true})
	if stats.Linked != 8 || stats.Unpacked != 12 {
		t.Errorf("got %+v, want 8 bytes linked and 12 unpacked", stats)
	}
}

func TestLostCapabilities(t *testing.T) {
	tree := filetree.New()
	ping := file(0o755, "ping")
	ping.Xattrs = []string{"security.capability", "user.x"}
	other := file(0o755, "other")
	other.Xattrs = []string{"user.x"}
	must(t, tree.Add("bin/ping", ping, "an image"), tree.Link("bin/ping6", "bin/ping", "an image"), tree.Add("bin/other", other, "an image"))
	var got []string
	for _, e := range LostCapabilities(tree) {
		got = append(got, e.Path+" of "+e.Origin)
	}
	if diff := cmp.Diff([]string{"bin/ping of an image", "bin/ping6 of an image"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestStats(t *testing.T) {
	packed, got := write(t, sample(t), Options{Epoch: epoch})
	want := Stats{
		Entries: 28, Unpacked: 1_500_000 + 10 + 5 + 17 + 1 + 2 + 3 + 4 + 5,
		Archive: int64(len(gunzip(t, packed))), Compressed: int64(len(packed)),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got.Archive%512 != 0 {
		t.Errorf("the archive has %d bytes, want a multiple of 512", got.Archive)
	}
}

func TestGzipHeader(t *testing.T) {
	for level := range 10 {
		packed, _ := write(t, sample(t), Options{Level: level})
		if want := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0}; !bytes.HasPrefix(packed, want) {
			t.Errorf("level %d: got header % x, want no flags and no time", level, packed[:10])
		}
	}
}

func TestLevels(t *testing.T) {
	size := func(level int) int64 {
		_, s := write(t, corpus(t, 1<<20), Options{Level: level})
		return s.Compressed
	}
	if fast, usual, six, small := size(1), size(0), size(6), size(9); usual != six || fast <= six || small >= six {
		t.Errorf("got %d bytes at level 1, %d at 0, %d at 6, %d at 9", fast, usual, six, small)
	}
}

// Each level of zstd is another one. (This data has no order of sizes: it is noise of two bits in three.)
func TestZstdLevels(t *testing.T) {
	seen := map[int64]int{}
	for level := range zstdMax + 1 {
		packed, s := write(t, corpus(t, 1<<20), Options{Compression: Zstd, Level: level})
		if !bytes.HasPrefix(packed, []byte("\x28\xb5\x2f\xfd")) {
			t.Errorf("level %d: got % x…", level, packed[:4])
		}
		if other, twice := seen[s.Compressed]; twice != (level == zstdLevel) {
			t.Errorf("level %d gives %d bytes, as does %d", level, s.Compressed, other)
		}
		seen[s.Compressed] = level
	}
}

func TestSymbol(t *testing.T) {
	for c, want := range map[Compression]string{"": "RD_GZIP", Gzip: "RD_GZIP", Zstd: "RD_ZSTD"} {
		if got := c.Symbol(); got != want {
			t.Errorf("%q: got %s, want %s", c, got, want)
		}
	}
}

// The window decides how much memory a kernel needs to unpack, and whether it does.
func TestZstdWindow(t *testing.T) {
	packed, _ := write(t, corpus(t, 1<<20), Options{Compression: Zstd, Level: zstdMax})
	var h zstd.Header
	must(t, h.Decode(packed))
	if h.WindowSize != 8<<20 || h.SingleSegment || !h.HasCheckSum {
		t.Errorf("got %+v, want a window of 8 MiB and a checksum", h)
	}
}

// The bytes of a release must not change unnoticed: not by this code, not by a new version of a library, not
// by another architecture.
func TestGolden(t *testing.T) {
	packed, _ := write(t, sample(t), Options{Epoch: epoch})
	small, _ := write(t, sample(t), Options{Epoch: epoch, Compression: Zstd})
	for what, c := range map[string]struct {
		got  []byte
		want string
	}{
		"archive": {gunzip(t, packed), goldenArchive},
		"gzip":    {packed, goldenGzip},
		"zstd":    {small, goldenZstd},
	} {
		if got := fmt.Sprintf("%x", sha256.Sum256(c.got)); got != c.want {
			t.Errorf("%s: got sha256 %s, want %s", what, got, c.want)
		}
	}
}

func TestSameBytesAnywhere(t *testing.T) {
	tree := corpus(t, 3<<20)
	kinds := []Options{{Epoch: epoch}, {Epoch: epoch, Compression: Zstd}}
	var want [][]byte
	for _, o := range kinds {
		packed, _ := write(t, tree, o)
		want = append(want, packed)
	}
	zone, procs := time.Local, runtime.GOMAXPROCS(0)
	t.Cleanup(func() { time.Local = zone; runtime.GOMAXPROCS(procs) })
	changes := map[string]func(){
		"umask":        func() { old := syscall.Umask(0o077); t.Cleanup(func() { syscall.Umask(old) }) },
		"directory":    func() { t.Chdir(t.TempDir()) },
		"time zone":    func() { time.Local = time.FixedZone("Far", 14*3600) },
		"one thread":   func() { runtime.GOMAXPROCS(1) },
		"two threads":  func() { runtime.GOMAXPROCS(2) },
		"many threads": func() { runtime.GOMAXPROCS(16) },
	}
	for name, change := range changes {
		change()
		for i, o := range kinds {
			if got, _ := write(t, tree, o); !bytes.Equal(got, want[i]) {
				t.Errorf("%s, %s: the bytes differ", name, o.compression())
			}
		}
	}
}

func TestUnsupported(t *testing.T) {
	huge := filetree.FileRange("none", 0, math.MaxUint32+1, [32]byte{})
	cases := map[string]struct {
		path string
		n    *filetree.Inode
	}{
		"large major":       {"dev/console", &filetree.Inode{Kind: filetree.Char, Perm: 0o600, Major: 1 << 12, Minor: 1}},
		"large minor":       {"dev/sda", &filetree.Inode{Kind: filetree.Block, Perm: 0o600, Major: 8, Minor: 1 << 20}},
		"owner -1":          {"f", &filetree.Inode{UID: math.MaxUint32}},
		"group -1":          {"f", &filetree.Inode{GID: math.MaxUint32}},
		"unknown kind":      {"odd", &filetree.Inode{Kind: 77}},
		"4 GiB":             {"huge", &filetree.Inode{Data: huge}},
		"the trailer":       {"TRAILER!!!", file(0o644, "")},
		"trailer directory": {"TRAILER!!!", &filetree.Inode{Kind: filetree.Dir}},
		"long component":    {"d/" + strings.Repeat("x", 256), file(0o644, "")},
		"long path":         {"s/" + strings.Repeat("e/", 1050) + "f", file(0o644, "")},
		"long target":       {"l", symlink(strings.Repeat("x", 4096))},
		"empty target":      {"l", symlink("")},
		"NUL in a target":   {"l", symlink("a\x00b")},
		"wide mode":         {"f", file(0o100644, "")},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tree := filetree.New()
			// A path can get longer than one that Add is given: through a symlink.
			must(t, tree.Add("s", symlink(strings.Repeat("d/", 1000)), "test"), tree.Add(c.path, c.n, "some image"))
			var b bytes.Buffer
			_, err := Write(context.Background(), &b, tree, Options{})
			e, ok := errors.AsType[*UnsupportedError](err)
			if !ok || e.Origin != "some image" || !strings.Contains(c.path, filepath.Base(e.Path)) || b.Len() != 0 {
				t.Errorf("got %v and %d bytes, want an UnsupportedError and none", err, b.Len())
			}
		})
	}
}

func TestLimitsAreReached(t *testing.T) {
	tree := filetree.New()
	long := strings.Repeat(strings.Repeat("d", 255)+"/", 15) + strings.Repeat("f", 255)
	must(t, tree.Add(long, file(0o7777, "x"), "test"), tree.Add("l", symlink(strings.Repeat("x", 4095)), "test"))
	write(t, tree, Options{Epoch: math.MaxUint32})
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{
		{Epoch: -1}, {Epoch: math.MaxUint32 + 1}, {Level: -1}, {Level: 10}, {Epoch: -1, Level: 10},
		{Compression: "xz"}, {Compression: Zstd, Level: 5}, {Compression: Zstd, Level: -1},
	} {
		_, err := Write(context.Background(), io.Discard, filetree.New(), o)
		if err == nil || Verify(strings.NewReader(""), filetree.New(), o) == nil {
			t.Errorf("%+v: got no error", o)
		}
		_, typed := errors.AsType[*UnsupportedError](err)
		if wrong := o.Epoch < 0 || o.Epoch > math.MaxUint32; typed != wrong || (o.Level == 10) != strings.Contains(err.Error(), "level 10") {
			t.Errorf("%+v: got %v", o, err)
		}
	}
}

func TestContentThatChanged(t *testing.T) {
	name := filepath.Join(t.TempDir(), "spool")
	must(t, os.WriteFile(name, []byte("content"), 0o600))
	for what, sum := range map[string]string{"altered": "CONTENT", "cut": "content, longer"} {
		tree := filetree.New()
		data := filetree.FileRange(name, 0, int64(len(sum)), sha256.Sum256([]byte(sum)))
		must(t, tree.Add("f", &filetree.Inode{Data: data}, "an image"))
		_, err := Write(context.Background(), io.Discard, tree, Options{})
		_, ok := errors.AsType[*filetree.ChangedError](err)
		if !ok || !strings.Contains(err.Error(), "f of an image") {
			t.Errorf("%s: got %v, want a ChangedError that names the entry", what, err)
		}
	}
	tree := filetree.New()
	must(t, tree.Add("f", &filetree.Inode{Data: filetree.FileRange(name+"x", 0, 1, [32]byte{})}, "an image"))
	if _, err := Write(context.Background(), io.Discard, tree, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that there is no file", err)
	}
}

// writerFunc is a writer.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestCancel(t *testing.T) {
	defer noGoroutineLeft(t)()
	var ctx context.Context
	var cancel context.CancelFunc
	written := 0
	w := writerFunc(func(p []byte) (int, error) {
		written += len(p)
		if written > 1000 {
			cancel()
		}
		return len(p), nil
	})
	for _, c := range []Compression{Gzip, Zstd} {
		ctx, cancel = context.WithCancel(t.Context())
		written = 0
		if _, err := Write(ctx, w, corpus(t, 12<<20), Options{Compression: c}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want that it was cancelled", c, err)
		}
		if written > 2<<20 {
			t.Errorf("%s: wrote %d bytes, want it to stop after a block", c, written)
		}
		cancel() // also where it was not reached
		before := written
		if _, err := Write(ctx, w, filetree.New(), Options{Compression: c}); !errors.Is(err, context.Canceled) || written != before {
			t.Errorf("%s, cancelled before: got %v, wrote %d bytes", c, err, written-before)
		}
	}
}

func TestFailingWriter(t *testing.T) {
	defer noGoroutineLeft(t)()
	for _, c := range []Compression{Gzip, Zstd} {
		t.Run(string(c), func(t *testing.T) { failingWriter(t, Options{Compression: c}) })
	}
}

func failingWriter(t *testing.T, o Options) {
	tree := corpus(t, 3<<20)
	packed, _ := write(t, tree, o)
	full := errors.New("no space left")
	for _, room := range []int{0, 5, 10, 1000, 1 << 20, len(packed) / 2, len(packed) - 9, len(packed) - 8, len(packed) - 1} {
		left := room
		w := writerFunc(func(p []byte) (int, error) {
			if len(p) > left {
				return left, full
			}
			left -= len(p)
			return len(p), nil
		})
		if _, err := Write(context.Background(), w, tree, o); !errors.Is(err, full) {
			t.Errorf("room for %d bytes: got %v, want the writer's error", room, err)
		}
	}
}

// noGoroutineLeft returns a check that as many goroutines are there as now.
func noGoroutineLeft(t *testing.T) func() {
	before := runtime.NumGoroutine()
	return func() {
		for deadline := time.Now().Add(2 * time.Minute); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%d goroutines are left, want %d", runtime.NumGoroutine(), before)
				return
			}
		}
	}
}

// A file of 160 MiB must pass through in little memory.
func TestMemory(t *testing.T) {
	const size = 160 << 20
	name := filepath.Join(t.TempDir(), "large")
	must(t, os.WriteFile(name, nil, 0o600), os.Truncate(name, size))
	hash := sha256.New()
	_, err := io.CopyN(hash, zeros{}, size)
	must(t, err)
	tree := filetree.New()
	must(t, tree.Add("large", &filetree.Inode{Data: filetree.FileRange(name, 0, size, [32]byte(hash.Sum(nil)))}, "test"))
	taken := heaptest.Watch()
	_, err = Write(context.Background(), io.Discard, tree, Options{})
	must(t, err)
	if most := taken(); most > 64<<20 {
		t.Errorf("took %d MiB, want at most 64", most>>20)
	} else {
		t.Logf("took %d MiB", most>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// corpus is a tree of files with size bytes together that compress about as programs do.
func corpus(t testing.TB, size int) *filetree.Tree {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rng.Uint32()>>24) & byte(rng.Uint32()>>24)
	}
	name := filepath.Join(t.TempDir(), "corpus")
	must(t, os.WriteFile(name, data, 0o600))
	tree := filetree.New()
	for offset, n := 0, 0; offset < size; n++ {
		length := min(rng.IntN(100_000), size-offset)
		sum := sha256.Sum256(data[offset : offset+length])
		blob := filetree.FileRange(name, int64(offset), int64(length), sum)
		must(t, tree.Add(fmt.Sprintf("d%d/f%d", n%50, n), &filetree.Inode{Perm: 0o644, Data: blob}, "corpus"))
		offset += length
	}
	return tree
}

func BenchmarkWrite(b *testing.B) {
	tree := corpus(b, 100_000_000)
	b.SetBytes(100_000_000)
	for b.Loop() {
		_, err := Write(context.Background(), io.Discard, tree, Options{Epoch: epoch})
		must(b, err)
	}
}

func BenchmarkVerify(b *testing.B) {
	tree := corpus(b, 100_000_000)
	packed, _ := write(b, tree, Options{Epoch: epoch})
	b.SetBytes(100_000_000)
	for b.Loop() {
		must(b, Verify(bytes.NewReader(packed), tree, Options{Epoch: epoch}))
	}
}
