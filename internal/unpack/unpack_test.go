package unpack

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/hookbuild/hookbuild/internal/heaptest"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// text is n bytes that compress.
func text(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("the kernel unpacks an archive into its first root file system and starts /init 0755 1234")
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(words[rng.IntN(len(words))])
		b.WriteByte(byte(rng.IntN(256)))
	}
	return b.Bytes()[:n]
}

// packed runs a foreign compressor.
func packed(t testing.TB, content []byte, tool string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(tool, args...)
	cmd.Stdin = bytes.NewReader(content)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v; it is in Debian's package of that name", tool, args, err)
	}
	return out
}

// lz4Store is the legacy frame with blocks of literals only, but for a run that overlaps itself at the end of each.
func lz4Store(content []byte) []byte {
	out := binary.LittleEndian.AppendUint32(nil, lz4Legacy)
	for len(content) > 0 {
		n := min(len(content), lz4Block)
		block := literals(nil, content[:n])
		out = binary.LittleEndian.AppendUint32(out, uint32(len(block)))
		out = append(out, block...)
		content = content[n:]
	}
	return out
}

// literals appends the last sequence of a block.
func literals(block, content []byte) []byte {
	n := len(content)
	if n < lz4Long {
		block = append(block, byte(n<<4))
	} else {
		block = append(block, 0xf0)
		for n -= lz4Long; n >= 255; n -= 255 {
			block = append(block, 255)
		}
		block = append(block, byte(n))
	}
	return append(block, content...)
}

func gzipped(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(content)
	must(t, err, z.Close())
	return b.Bytes()
}

func zstandard(t testing.TB, content []byte, o ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, o...)
	must(t, err)
	_, err = z.Write(content)
	must(t, err, z.Close())
	return b.Bytes()
}

// sample is a stream of each format, and of each variant that foreign tools write.
func samples(t testing.TB, content []byte) map[string][]byte {
	t.Helper()
	return map[string][]byte{
		"gzip":                 gzipped(t, content),
		"gzip, foreign":        packed(t, content, "gzip", "-9"),
		"zstd":                 zstandard(t, content),
		"zstd without sum":     zstandard(t, content, zstd.WithEncoderCRC(false)),
		"zstd, large window":   zstandard(t, content, zstd.WithWindowSize(zstdMaxWindow)),
		"lz4, stored":          lz4Store(content),
		"xz":                   packed(t, content, "xz", "-1"),
		"xz as for the kernel": packed(t, content, "xz", "--check=crc32", "--lzma2=dict=1MiB"),
		"xz, SHA-256":          packed(t, content, "xz", "-0", "--check=sha256"),
		"xz, no check":         packed(t, content, "xz", "-0", "--check=none"),
		"xz, many blocks":      packed(t, content, "xz", "-0", "-T2", "--block-size=100000"),
	}
}

// unpacked reads one stream and returns it and what is left behind it.
func unpacked(file []byte) (content, rest []byte, err error) {
	src := bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(file)), 512)
	r, err := NewReader(src, Detect(file))
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	if content, err = io.ReadAll(r); err != nil {
		return content, nil, err
	}
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		return content, nil, fmt.Errorf("after the end: got %v, want io.EOF", err)
	}
	rest, err = io.ReadAll(src)
	return content, rest, err
}

func TestReadsOneStream(t *testing.T) {
	for _, size := range []int{0, 1, 1000, 700_000} {
		content := text(size)
		for name, file := range samples(t, content) {
			if name == "lz4, stored" {
				continue
			}
			t.Run(fmt.Sprintf("%s of %d", name, size), func(t *testing.T) {
				// What follows would be read as a part of the stream by a library that is left to itself.
				behind := append([]byte("\x00\x00\x00\x00"), file...)
				for what, next := range map[string][]byte{"nothing": {}, "the same": file, "zeros": behind, "text": []byte("07070100")} {
					got, rest, err := unpacked(append(bytes.Clone(file), next...))
					if err != nil || !bytes.Equal(got, content) || !bytes.Equal(rest, next) {
						t.Errorf("%s behind it: got %d bytes, %v, and %d bytes behind, want %d and %d", what, len(got), err, len(rest), size, len(next))
					}
				}
			})
		}
	}
}

func TestLZ4(t *testing.T) {
	large := text(20 << 20)
	frames := map[string]struct{ file, want, rest []byte }{
		"empty":            {lz4Store(nil), nil, nil},
		"three blocks":     {lz4Store(large), large, nil},
		"two frames":       {append(lz4Store([]byte("one")), lz4Store([]byte("two"))...), []byte("onetwo"), nil},
		"ended by zeros":   {append(lz4Store([]byte("one")), "\x00\x00\x00\x0007"...), []byte("one"), []byte("07")},
		"match":            {lz4Blocks("\x32abc\x03\x00\x00"), []byte("abcabcabc"), nil},
		"match of itself":  {lz4Blocks("\x1fa\x01\x00\xff\x00\x00"), bytes.Repeat([]byte("a"), 1+19+255), nil},
		"last is literals": {lz4Blocks("\x10a\x01\x00\x20bc"), []byte("aaaaabc"), nil},
	}
	for name, c := range frames {
		t.Run(name, func(t *testing.T) {
			got, rest, err := unpacked(c.file)
			if err != nil || !bytes.Equal(got, c.want) || !bytes.Equal(rest, c.rest) {
				t.Errorf("got %.40q, %v, %q behind, want %.40q", got, err, rest, c.want)
			}
		})
	}
}

// lz4Blocks is a legacy frame of packed blocks.
func lz4Blocks(blocks ...string) []byte {
	out := binary.LittleEndian.AppendUint32(nil, lz4Legacy)
	for _, b := range blocks {
		out = append(binary.LittleEndian.AppendUint32(out, uint32(len(b))), b...)
	}
	return out
}

// The lz4 program unpacks what the tests write, and the other way round.
func TestLZ4Tool(t *testing.T) {
	content := text(9 << 20)
	got, rest, err := unpacked(packed(t, content, "lz4", "-l", "-9", "-c"))
	if err != nil || !bytes.Equal(got, content) || len(rest) != 0 {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(content))
	}
	if got := packed(t, lz4Store(content), "lz4", "-d", "-c"); !bytes.Equal(got, content) {
		t.Errorf("lz4 unpacks %d bytes, want %d", len(got), len(content))
	}
}

func TestDetect(t *testing.T) {
	for name, file := range samples(t, []byte("content")) {
		if want, _, _ := strings.Cut(strings.ReplaceAll(name, ",", " "), " "); string(Detect(file)) != want {
			t.Errorf("%s: got %q", name, Detect(file))
		}
	}
	for head, want := range map[string]Format{"": "", "\x1f": "", "07": "", "\x00\x00": "", "BZh": Bzip2, "\x5d\x00": LZMA, "\x89LZO": LZO, "MZ": ""} {
		if got := Detect([]byte(head)); got != want {
			t.Errorf("%q: got %q, want %q", head, got, want)
		}
	}
}

// hostile are streams that cannot be read, by what is wrong with them.
func hostile(t testing.TB) map[string][]byte {
	t.Helper()
	xz := packed(t, []byte("content"), "xz", "--check=crc32")
	cases := map[string][]byte{
		"gzip, magic only":          []byte("\x1f\x8b"),
		"gzip, method":              []byte("\x1f\x8b\x07\x00\x00\x00\x00\x00\x00\x00"),
		"gzip, packed":              []byte("\x1f\x9e\x08\x00\x00\x00\x00\x00\x00\x00"),
		"gzip, name without end":    append([]byte("\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x00"), bytes.Repeat([]byte("n"), 100_000)...),
		"bzip2":                     []byte("BZh91AY&SY"),
		"lzma":                      []byte("\x5d\x00\x00\x80\x00"),
		"lzo":                       []byte("\x89LZO\x00"),
		"unknown":                   []byte("unknown"),
		"zstd, magic only":          []byte("\x28\xb5\x2f\xfd"),
		"zstd, another magic":       []byte("\x28\xb5\x2f\xfe\x00\x00\x00\x00"),
		"zstd, window of 512 MiB":   []byte("\x28\xb5\x2f\xfd\x00\x98\x01\x00\x00"),
		"zstd, window of 3.75 TiB":  []byte("\x28\xb5\x2f\xfd\x00\xff\x01\x00\x00"),
		"zstd, a dictionary":        []byte("\x28\xb5\x2f\xfd\x01\x58\x07\x01\x00\x00"),
		"zstd, content of 2^64-1":   []byte("\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00"),
		"zstd, reserved block":      []byte("\x28\xb5\x2f\xfd\x00\x58\x07\x00\x00"),
		"zstd, block above 128 KiB": []byte("\x28\xb5\x2f\xfd\x00\x58\xf9\xff\xff"),
		"lz4, magic only":           []byte("\x02\x21"),
		"lz4, half a length":        append(lz4Blocks("\x10a"), 0x01, 0x00),
		"lz4, block that is cut":    append(lz4Blocks(), "\x10\x00\x00\x00\x10a"...),
		"lz4, block of 4 GiB":       append(lz4Blocks(), "\xff\xff\xff\xff"...),
		"lz4, no token":             lz4Blocks("\x10a\x01\x00"),
		"lz4, too few literals":     lz4Blocks("\x30ab"),
		"lz4, length without end":   lz4Blocks("\xf0\xff\xff"),
		"lz4, half an offset":       lz4Blocks("\x10a\x01"),
		"lz4, offset of 0":          lz4Blocks("\x10a\x00\x00\x00"),
		"lz4, offset too large":     lz4Blocks("\x10a\x02\x00\x00"),
		"lz4, match without end":    lz4Blocks("\x1fa\x01\x00\xff"),
		"lz4, above 8 MiB":          lz4Blocks("\x1fa\x01\x00" + strings.Repeat("\xff", 33_000) + "\x00\x00"),
		"xz, magic only":            []byte(xzMagic),
	}
	for i := range xz[:len(xz)-1] {
		cases[fmt.Sprintf("xz cut after %d bytes", i+1)] = xz[:i+1]
	}
	for i := 2; i < len(xz); i++ { // every byte of this xz is under some sum
		bad := bytes.Clone(xz)
		bad[i] ^= 0x10
		cases[fmt.Sprintf("xz with another byte %d", i)] = bad
	}
	delete(cases, "xz cut after 1 bytes")
	return cases
}

func TestHostile(t *testing.T) {
	for name, file := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			_, _, err := unpacked(file)
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Format != Detect(file) || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("got %v, want an Error", err)
			}
		})
	}
	// Today's lz4 frame begins with other bytes, which no kernel knows.
	src := bufio.NewReader(bytes.NewReader(binary.LittleEndian.AppendUint32(nil, lz4Frame)))
	if _, err := NewReader(src, LZ4); err == nil || !strings.Contains(err.Error(), "lz4 -l") {
		t.Errorf("lz4's other frame: got %v", err)
	}
}

func TestTruncations(t *testing.T) {
	content := text(150_000)
	for name, file := range samples(t, content) {
		for n := 2; n < len(file); n += max(1, len(file)/23) {
			got, _, err := unpacked(file[:n])
			if name == "lz4, stored" && err == nil && len(got) < len(content) {
				continue // the format has no end of its own
			}
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("%s cut after %d bytes: got %v, want an Error", name, n, err)
			}
		}
	}
}

// What fails below is passed on.
func TestReaderFails(t *testing.T) {
	broken := errors.New("input/output error")
	for name, file := range samples(t, text(1000)) {
		for _, n := range []int{2, len(file) / 2, len(file) - 1} {
			src := bufio.NewReader(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(broken)))
			r, err := NewReader(src, Detect(file))
			if err == nil {
				_, err = io.ReadAll(r)
			}
			if !errors.Is(err, broken) {
				t.Errorf("%s after %d bytes: got %v, want the reader's error", name, n, err)
			}
		}
	}
}

// What the kernel's build does to a kernel: the filter for x86 programs goes before LZMA2. Programs of this
// machine have enough of the opcodes; made-up bytes have all the rare cases of them.
func TestX86Filter(t *testing.T) {
	program, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	rng := rand.New(rand.NewPCG(3, 4))
	dense := make([]byte, 500_000)
	for i := range dense {
		dense[i] = []byte{0xe8, 0xe9, 0x00, 0xff, 0x01, 0xe8, byte(rng.Uint32())}[rng.IntN(7)]
	}
	for name, content := range map[string][]byte{
		"a program": program[:min(len(program), 4<<20)], "dense": dense, "empty": nil, "short": {0xe8, 0, 0, 0}, "one operand": {0xe8, 5, 0, 0, 0},
	} {
		file := packed(t, content, "xz", "--check=crc32", "--x86", "--lzma2=dict=1MiB")
		got, rest, err := unpacked(append(file, "rest"...))
		if err != nil || !bytes.Equal(got, content) || string(rest) != "rest" {
			t.Errorf("%s: got %d bytes, %v, %q, want %d", name, len(got), err, rest, len(content))
		}
	}
	other := packed(t, program[:1000], "xz", "--arm", "--lzma2=dict=1MiB")
	if _, _, err := unpacked(other); err == nil || !strings.Contains(err.Error(), "other filters") {
		t.Errorf("the filter for ARM: got %v", err)
	}
}

// A dictionary or window costs what the largest may cost, and no more however many there are.
func TestMemory(t *testing.T) {
	noise := make([]byte, 200<<20)
	rng := rand.NewChaCha8([32]byte{})
	_, err := rng.Read(noise)
	must(t, err)
	files := map[string][]byte{
		"zstd, window of 128 MiB":   zstandard(t, noise, zstd.WithWindowSize(zstdMaxWindow), zstd.WithEncoderLevel(zstd.SpeedFastest)),
		"xz, dictionary of 64 MiB":  packed(t, noise[:100_000], "xz", "-0", "--lzma2=dict=64MiB", "--block-size=50000"),
		"xz, dictionary of 128 MiB": packed(t, noise[:100_000], "xz", "-0", "--lzma2=dict=128MiB"),
		"xz, too many dictionaries": packed(t, noise[:100_000], "xz", "-0", "--lzma2=dict=64MiB", "--block-size=10000"),
		"xz, two of 128 MiB":        packed(t, noise[:100_000], "xz", "-0", "--lzma2=dict=128MiB", "--block-size=60000"),
		"xz, dictionary of 256 MiB": packed(t, noise[:1000], "xz", "--lzma2=dict=256MiB"),
	}
	refused := map[string]bool{"xz, too many dictionaries": true, "xz, two of 128 MiB": true, "xz, dictionary of 256 MiB": true}
	for name, file := range files {
		grown := heaptest.Watch()
		src := bufio.NewReader(bytes.NewReader(file))
		r, err := NewReader(src, Detect(file))
		must(t, err)
		buf := make([]byte, 1<<20)
		for err == nil {
			_, err = r.Read(buf)
		}
		if taken := grown(); taken > 200<<20 || refused[name] == (err == io.EOF) {
			t.Errorf("%s: took %d MiB, %v", name, taken>>20, err)
		} else {
			t.Logf("%s: took %d MiB, %v", name, taken>>20, err)
		}
		r.Close()
	}
}

// FuzzNewReader asserts that nothing makes it panic or hang, and that an error says of which format.
func FuzzNewReader(f *testing.F) {
	for _, file := range samples(f, text(300)) {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := NewReader(bufio.NewReader(bytes.NewReader(file)), Detect(file))
		if err == nil {
			_, err = io.Copy(io.Discard, io.LimitReader(r, 1<<20))
			r.Close()
		}
		if _, ok := errors.AsType[*Error](err); err != nil && !ok {
			t.Errorf("got %v, want an Error", err)
		}
	})
}
