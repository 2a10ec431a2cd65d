package initramfs

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/hookbuild/hookbuild/internal/heaptest"
	"github.com/hookbuild/hookbuild/internal/unpack"
)

func gz(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(content))
	must(t, err, z.Close())
	return b.String()
}

func zst(t testing.TB, content string, o ...zstd.EOption) string {
	t.Helper()
	z, err := zstd.NewWriter(nil, o...)
	must(t, err)
	return string(z.EncodeAll([]byte(content), nil))
}

func xz(t testing.TB, content string) string {
	t.Helper()
	cmd := exec.Command("xz", "--check=crc32", "--lzma2=dict=1MiB")
	cmd.Stdin = strings.NewReader(content)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("xz: %v; it is in Debian's package xz-utils", err)
	}
	return string(out)
}

// lz4 is the legacy frame without compression, for content up to 8 MiB.
func lz4(content string) string {
	n := len(content) - 15
	block := []byte{0xf0}
	for ; n >= 255; n -= 255 {
		block = append(block, 255)
	}
	block = append(append(block, byte(n)), content...)
	head := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 0x184C2102), uint32(len(block)))
	return string(append(head, block...))
}

// archive is one with a single file.
func archive(name, content string) string {
	return closeArchive(dirEntry + encode(Header{Name: name, Inode: 2, Mode: 0o100644, Links: 1, Size: int64(len(content))}, content))
}

// listing is an image as it is read: "segment:name=content" of its files.
func listing(im *Image) (list []string, err error) {
	for {
		e, err := im.Next()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		body, err := io.ReadAll(im)
		if err != nil {
			return list, err
		}
		if e.Mode&typeMask == typeRegular {
			list = append(list, fmt.Sprintf("%d:%s=%s", e.Segment, e.Name, body))
		}
	}
}

// images are files that a kernel unpacks, with what it finds.
func images(t testing.TB) map[string]struct {
	file string
	want []string
	part string // of each: compression, offset, packed, size, entries
} {
	t.Helper()
	a, b := archive("a", "one"), archive("b", "two")
	bare := encode(Header{Name: "b", Inode: 2, Mode: 0o100644, Links: 1, Size: 3}, "two") + encode(Header{Name: trailerName, Links: 1}, "")
	microcode := closeArchive(encode(Header{Name: "kernel/x86/microcode/GenuineIntel.bin", Mode: 0o100644, Size: 4}, "code"))
	za, zb := gz(t, a), gz(t, b)
	one, both := []string{"0:a=one"}, []string{"0:a=one", "1:b=two"}
	type image = struct {
		file string
		want []string
		part string
	}
	return map[string]image{
		"uncompressed":            {a, one, "[ 0 352 352 2]"},
		"gzip":                    {za, one, fmt.Sprintf("[gzip 0 %d 352 2]", len(za))},
		"zstd":                    {zst(t, a), one, fmt.Sprintf("[zstd 0 %d 352 2]", len(zst(t, a)))},
		"xz":                      {xz(t, a), one, fmt.Sprintf("[xz 0 %d 352 2]", len(xz(t, a)))},
		"lz4":                     {lz4(a), one, fmt.Sprintf("[lz4 0 %d 352 2]", len(lz4(a)))},
		"gzip, gzip":              {za + zb, both, fmt.Sprintf("[gzip 0 %d 352 2] [gzip %d %d 352 2]", len(za), len(za), len(zb))},
		"zstd, xz":                {zst(t, a) + xz(t, b), both, ""},
		"xz, zstd":                {xz(t, a) + zst(t, b), both, ""},
		"gzip, lz4":               {za + lz4(b), both, ""},
		"lz4, zeros, gzip":        {lz4(a) + "\x00\x00\x00\x00" + zb, both, ""},
		"uncompressed twice":      {a + b, both, "[ 0 352 352 2] [ 512 352 352 2]"},
		"no block of zeros":       {strings.TrimRight(a, "\x00") + "\x00\x00\x00\x00" + bare, both, "[ 0 352 352 2] [ 352 240 240 1]"},
		"two in one stream":       {gz(t, a+b), both, fmt.Sprintf("[gzip 0 %d 352 2] [gzip 0 0 352 2]", len(gz(t, a+b)))},
		"zeros in a stream":       {gz(t, a+strings.Repeat("\x00", 5000)+b+zeroPad(1, 700)), both, ""},
		"one zero between":        {za + "\x00" + zb, both, ""},
		"three zeros between":     {zst(t, a) + "\x00\x00\x00" + zst(t, b), both, ""},
		"zeros around":            {"\x00\x00" + za + zeroPad(1, 600) + zb + zeroPad(1, 3), both, ""},
		"uncompressed after gzip": {za + zeroPad(len(za), 4) + b, both, ""},
		"microcode first": {microcode + zst(t, a) + gz(t, b), []string{"0:kernel/x86/microcode/GenuineIntel.bin=code", "1:a=one", "2:b=two"},
			""},
	}
}

func (p Part) text() string {
	return fmt.Sprintf("[%s %d %d %d %d]", p.Compression, p.Offset, p.Packed, p.Size, p.Entries)
}

func TestOpen(t *testing.T) {
	for name, c := range images(t) {
		t.Run(name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{"whole": strings.NewReader(c.file), "by byte": iotest.OneByteReader(strings.NewReader(c.file))} {
				im := Open(r, Limits{})
				got, err := listing(im)
				if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
					t.Errorf("%s: %v, -want +got:\n%s", how, err, diff)
				}
				var parts []string
				for i, p := range im.Parts() {
					parts = append(parts, p.text())
					if p.Microcode != (i == 0 && name == "microcode first") {
						t.Errorf("segment %d has microcode: %v", i, p.Microcode)
					}
				}
				if got := strings.Join(parts, " "); c.part != "" && got != c.part {
					t.Errorf("got %s, want %s", got, c.part)
				}
				if _, err := im.Next(); err != io.EOF {
					t.Errorf("after the end: got %v, want io.EOF", err)
				}
			}
		})
	}
}

func TestOpenSkipsBodies(t *testing.T) {
	im := Open(strings.NewReader(gz(t, archive("a", strings.Repeat("body", 100_000)))+gz(t, archive("b", "two"))), Limits{})
	var names []string
	for e, err := im.Next(); err != io.EOF; e, err = im.Next() {
		must(t, err)
		names = append(names, e.Name)
		if n, err := im.Read(make([]byte, 2)); err != nil && err != io.EOF || n > 2 {
			t.Errorf("%s: got %d bytes, %v", e.Name, n, err)
		}
	}
	if got := strings.Join(names, " "); got != ". a . b" {
		t.Errorf("got %s", got)
	}
}

// What we write, in any form, is read as it was.
func TestOpenReadsSegments(t *testing.T) {
	for name, o := range kinds() {
		tree := everything(t)
		packed, stats := writeSegments(t, Split(tree, byOrigin), o, "")
		u, err := Unpack(Open(bytes.NewReader(packed), Limits{}), nil, nil)
		must(t, err)
		want, got := described(t, tree), described(t, u.Tree)
		if o.Dedup { // there are other hard links
			want, got = withoutLinks(want), withoutLinks(got)
		}
		if diff := cmp.Diff(want, got); diff != "" || len(u.Dropped) != 0 {
			t.Errorf("%s: dropped %v, -want +got:\n%s", name, u.Dropped, diff)
		}
		for i, p := range u.Parts {
			s := stats.Segments[i]
			if p.Packed != s.Compressed || p.Size > s.Archive || p.Entries != s.Entries || string(p.Compression) != string(o.compression()) {
				t.Errorf("%s: got %+v, want %+v", name, p, s)
			}
		}
	}
}

func withoutLinks(lines []string) (bare []string) {
	for _, line := range lines {
		line, _, _ = strings.Cut(line, " #")
		bare = append(bare, line)
	}
	return bare
}

// badImages are files that no kernel unpacks whole, by what is wrong with them.
func badImages(t testing.TB) map[string]string {
	t.Helper()
	a := archive("a", "one")
	za, sa, xa := gz(t, a), zst(t, a), xz(t, a)
	cases := map[string]string{
		"empty":                             "",
		"only zeros":                        zeroPad(1, 10_000),
		"text":                              "this is no initramfs",
		"one byte":                          "0",
		"one byte of gzip":                  "\x1f",
		"ELF":                               "\x7fELF\x02\x01\x01",
		"bzip2":                             "BZh91AY&SY" + a,
		"lzma":                              "\x5d\x00\x00\x80\x00" + a,
		"lzo":                               "\x89LZO\x00" + a,
		"lz4 of today":                      "\x04\x22\x4d\x18" + a,
		"a skippable frame":                 "\x50\x2a\x4d\x18\x04\x00\x00\x00abcd" + sa,
		"unaligned after gzip":              za + zeroPad(len(za)+3, 4) + a,
		"unaligned at the start":            "\x00" + a,
		"unaligned in a stream":             gz(t, "\x00"+a),
		"unaligned second in a stream":      gz(t, a+"\x00"+a),
		"text after gzip":                   za + "text",
		"text after an archive":             a + "text",
		"text after an archive in a stream": gz(t, a+"text"),
		"gzip in gzip":                      gz(t, za),
		"a stream of nothing":               gz(t, ""),
		"a stream of zeros":                 za + gz(t, zeroPad(1, 512)),
		"a stream of zeros first":           zst(t, zeroPad(1, 512)) + sa,
		"an archive over two streams":       gz(t, a[:200]) + gz(t, a[200:]),
		"a half archive":                    za + gz(t, a[:200]),
		"a half uncompressed":               za + zeroPad(len(za), 4) + a[:200],
		"zstd, cut":                         sa[:len(sa)-1],
		"xz, cut":                           xa[:len(xa)-1],
		"lz4, cut":                          lz4(a)[:len(lz4(a))-1],
		"gzip, wrong sum":                   za[:len(za)-8] + "sum?" + za[len(za)-4:],
		"zstd, wrong sum":                   sa[:len(sa)-4] + "sum?",
		"zstd, window of 512 MiB":           "\x28\xb5\x2f\xfd\x00\x98\x01\x00\x00",
		"lz4, gzip behind":                  lz4(a) + za,
	}
	for name, bad := range hostile() { // of the strict reader
		cases["in gzip: "+name] = gz(t, bad)
		cases["alone: "+name] = bad
	}
	for _, name := range []string{"a second archive", "a second, compressed", "a block of zeros more", "a zero more",
		"zeros end early", "zeros end a block early", "trailer only, unpadded"} { // which are good ones here
		delete(cases, "in gzip: "+name)
		delete(cases, "alone: "+name)
	}
	cases["in gzip: a second, compressed"] = gz(t, hostile()["a second, compressed"])
	return cases
}

func TestBadImages(t *testing.T) {
	cases := badImages(t)
	if len(cases) < 150 {
		t.Fatalf("got %d cases, want 150", len(cases))
	}
	for name, file := range cases {
		t.Run(name, func(t *testing.T) { checkBad(t, strings.NewReader(file), int64(len(file)), Limits{}) })
	}
}

// checkBad asserts that r is refused by a typed error, soon and without much memory.
func checkBad(t *testing.T, r io.Reader, size int64, l Limits) {
	t.Helper()
	taken := heaptest.Watch()
	begin := time.Now()
	_, err := Unpack(Open(r, l), nil, nil)
	took := time.Since(begin)
	most := taken()
	e, ok := errors.AsType[*ImageError](err)
	if !ok || e.Err == nil || e.Offset < 0 || e.Offset > size {
		t.Errorf("got %v, want an ImageError inside %d bytes", err, size)
	}
	if most > 256<<20 {
		t.Errorf("took %d MiB, want at most 256", most>>20)
	}
	// Ten times the five seconds it may take here: the test may run on a busy host.
	if took > 50*time.Second {
		t.Errorf("took %s", took)
	}
	t.Logf("%.1f s, %d MiB: %v", took.Seconds(), most>>20, err)
}

// made is a reader of what next returns, until that is empty.
type made struct {
	next func() string
	left string
}

func (m *made) Read(p []byte) (int, error) {
	if m.left == "" {
		if m.left = m.next(); m.left == "" {
			return 0, io.EOF
		}
	}
	n := copy(p, m.left)
	m.left = m.left[n:]
	return n, nil
}

// endless repeats the entries that f makes, n of them.
func endless(n int, f func(i int) string) io.Reader {
	i := -1
	return &made{next: func() string {
		if i++; i >= n {
			return ""
		}
		return f(i)
	}}
}

// squeezed is r through gzip.
func squeezed(r io.Reader) io.Reader {
	pr, pw := io.Pipe()
	go func() {
		z, _ := gzip.NewWriterLevel(pw, gzip.BestSpeed)
		_, err := io.Copy(z, r)
		pw.CloseWithError(errors.Join(err, z.Close()))
	}()
	return pr
}

// Files that are small and make much of themselves.
func TestBombs(t *testing.T) {
	rle := func(blocks int) io.Reader { // each gives 128 KiB of zeros
		return io.MultiReader(strings.NewReader("\x28\xb5\x2f\xfd\x00\x58"), endless(blocks, func(int) string { return "\x02\x00\x10\x00" }))
	}
	head := encode(Header{Name: "zeros", Mode: 0o100644, Size: math.MaxUint32}, "")
	cases := map[string]io.Reader{
		"zstd of zeros":  rle(1 << 18),
		"gzip of zeros":  squeezed(endless(1<<14, func(int) string { return zeroPad(1, 1<<20) })),
		"a file of 4 GB": squeezed(io.MultiReader(strings.NewReader(head), endless(1<<12, func(int) string { return zeroPad(1, 1<<20) }))),
		"a million entries": endless(1_000_000, func(i int) string {
			return encode(Header{Name: fmt.Sprintf("f%d", i), Mode: 0o100644, Links: 1}, "")
		}),
		"a million hard links": endless(1_000_000, func(i int) string {
			return encode(Header{Name: fmt.Sprintf("f%d", i), Inode: 1, Mode: 0o100644, Links: math.MaxUint32}, "")
		}),
		"a million directories": endless(1_000_000, func(i int) string {
			return encode(Header{Name: fmt.Sprintf("d%d", i), Mode: 0o40755}, "")
		}),
		"names of 4095 bytes": endless(1_000_000, func(i int) string {
			return encode(Header{Name: fmt.Sprintf("%04095d", i), Mode: 0o100644}, "")
		}),
		"targets of 4095 bytes": endless(1_000_000, func(i int) string {
			return encode(Header{Name: fmt.Sprintf("l%d", i), Mode: 0o120777, Target: strings.Repeat("../", 1365)}, "")
		}),
		"long paths by symlinks": endless(1_000_000, longPaths),
		"symlinks in a chain":    endless(1_000_000, chain),
		"a million archives":     endless(1_000_000, func(int) string { return closeArchive("")[:124] }),
		"a million streams": endless(1_000_000, func(int) string {
			return "\x28\xb5\x2f\xfd\x00\x58\x02\x00\x10\x01\x00\x00" // of zeros, which is no archive
		}),
	}
	for name, r := range cases {
		t.Run(name, func(t *testing.T) { checkBad(t, r, math.MaxInt64, Limits{}) })
	}
}

// longPaths makes a directory whose path has 4000 bytes, a symlink to it, and then files through the symlink.
func longPaths(i int) string {
	dir := strings.Repeat("d", 199)
	switch {
	case i < 20:
		return encode(Header{Name: dir + strings.Repeat("/"+dir, i), Mode: 0o40755}, "")
	case i == 20:
		return encode(Header{Name: "s", Mode: 0o120777, Target: dir + strings.Repeat("/"+dir, 19)}, "")
	}
	return encode(Header{Name: fmt.Sprintf("s/%d", i), Mode: 0o100644}, "")
}

// chain makes forty symlinks that each lead to the next by a long way, and then files through all of them.
func chain(i int) string {
	switch {
	case i == 0:
		return encode(Header{Name: "d", Mode: 0o40755}, "")
	case i < 40:
		target := strings.Repeat("d/../", 800) + fmt.Sprintf("l%d", i+1)
		return encode(Header{Name: fmt.Sprintf("l%d", i), Mode: 0o120777, Target: target}, "")
	case i == 40:
		return encode(Header{Name: "l40", Mode: 0o120777, Target: "d"}, "")
	}
	return encode(Header{Name: fmt.Sprintf("l1/%d", i), Mode: 0o100644}, "")
}

func TestLimits(t *testing.T) {
	files := closeArchive(dirEntry + strings.Repeat(encode(Header{Name: "aa", Mode: 0o100644, Size: 8}, "12345678"), 10))
	zeros := closeArchive(encode(Header{Name: "zeros", Mode: 0o100644, Size: 80 << 20}, zeroPad(1, 80<<20+1)))
	cases := map[string]struct {
		file string
		l    Limits
		want string // in the error; "" for none
	}{
		"as it is":             {gz(t, files), Limits{}, ""},
		"just enough bytes":    {gz(t, files), Limits{Unpacked: int64(len(files))}, ""},
		"a byte too many":      {gz(t, files), Limits{Unpacked: int64(len(files)) - 1}, "bytes unpacked"},
		"just enough entries":  {gz(t, files), Limits{Entries: 11}, ""},
		"an entry too many":    {gz(t, files), Limits{Entries: 10}, "entries"},
		"names":                {gz(t, files), Limits{Names: 20}, "bytes of names"},
		"zeros":                {gz(t, zeros), Limits{}, "more than 128 times"},
		"zeros with a ratio":   {gz(t, zeros), Limits{Ratio: 2000}, ""},
		"zeros in a long file": {gz(t, zeros), Limits{Packed: 1 << 20}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Unpack(Open(strings.NewReader(c.file), c.l), nil, nil)
			if c.want == "" {
				must(t, err)
				return
			}
			e, ok := errors.AsType[*LimitError](err)
			if _, image := errors.AsType[*ImageError](err); !ok || !image || !strings.Contains(e.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestImageErrorSays(t *testing.T) {
	za := gz(t, archive("a", "one"))
	cases := map[string]struct {
		file string
		want ImageError
	}{
		"first":  {"text", ImageError{Segment: 0, Offset: 0}},
		"second": {za + zst(t, "text"), ImageError{Segment: 1, Offset: int64(len(za)), Compression: unpack.Zstd}},
		"inside": {za + gz(t, archive("a", "one")[:130]), ImageError{Segment: 1, Offset: int64(len(za)), Compression: unpack.Gzip}},
	}
	for name, c := range cases {
		_, err := listing(Open(strings.NewReader(c.file), Limits{}))
		e, ok := errors.AsType[*ImageError](err)
		if !ok || e.Segment != c.want.Segment || e.Offset != c.want.Offset || e.Compression != c.want.Compression {
			t.Errorf("%s: got %v, want it as %v", name, err, &c.want)
		}
	}
	_, err := listing(Open(strings.NewReader(za[:len(za)-8]+"sum?"+za[len(za)-4:]), Limits{}))
	if got := err.Error(); !strings.Contains(got, "segment 0 (gzip, at offset 0): gzip stream: ") {
		t.Errorf("got %q", got)
	}
}

// What fails below is no fault of the file.
func TestImagePassesErrorsOn(t *testing.T) {
	broken := errors.New("input/output error")
	for name, c := range images(t) {
		for n := range len(c.file) + 1 {
			_, err := listing(Open(io.MultiReader(strings.NewReader(c.file[:n]), iotest.ErrReader(broken)), Limits{}))
			if _, image := errors.AsType[*ImageError](err); !errors.Is(err, broken) || image {
				t.Fatalf("%s after %d bytes: got %v, want the reader's error", name, n, err)
			}
		}
	}
}

// A file that is cut is an error, except between two archives.
func TestEveryImageTruncation(t *testing.T) {
	za, sa := gz(t, archive("a", "one")), zst(t, archive("b", "two"))
	file := za + sa
	for n := range len(file) {
		_, err := listing(Open(strings.NewReader(file[:n]), Limits{}))
		if _, ok := errors.AsType[*ImageError](err); ok == (n == len(za)) {
			t.Errorf("cut after %d bytes: got %v", n, err)
		}
	}
}

// FuzzOpen asserts that nothing makes it panic, that an error says where, and that what is unpacked is a tree whose
// every file is below the root, and that is the same when it has been written and unpacked once more.
func FuzzOpen(f *testing.F) {
	for _, c := range images(f) {
		f.Add([]byte(c.file))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		limits := Limits{Unpacked: 1 << 24}
		u, err := Unpack(Open(bytes.NewReader(file), limits), nil, nil)
		if err != nil {
			if _, ok := errors.AsType[*ImageError](err); !ok {
				t.Errorf("got %v, want an ImageError", err)
			}
			return
		}
		for _, e := range u.Tree.Entries() {
			if strings.HasPrefix(e.Path, "/") || strings.Contains("/"+e.Path+"/", "/../") {
				t.Errorf("got path %q", e.Path)
			}
		}
		if len(u.Tree.Entries()) > 1 {
			checkAgain(t, file, limits)
		}
	})
}

// checkAgain writes what file unpacks to, which has to be the same then.
func checkAgain(t *testing.T, file []byte, limits Limits) {
	t.Helper()
	spool, err := os.CreateTemp(t.TempDir(), "")
	must(t, err)
	defer spool.Close()
	first, err := Unpack(Open(bytes.NewReader(file), limits), spool, nil)
	must(t, err)
	var packed bytes.Buffer
	if _, err := Write(t.Context(), &packed, first.Tree, Options{Level: 1}); err != nil {
		if _, ok := errors.AsType[*UnsupportedError](err); !ok {
			t.Errorf("written: %v", err)
		}
		return
	}
	second, err := Unpack(Open(&packed, Limits{Ratio: 2000}), nil, nil)
	must(t, err)
	if diff := cmp.Diff(described(t, first.Tree), described(t, second.Tree)); diff != "" || len(second.Dropped) > 0 {
		t.Errorf("dropped %v, -first +second:\n%s", second.Dropped, diff)
	}
}
