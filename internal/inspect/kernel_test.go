package inspect

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/hookbuild/hookbuild/internal/unpack"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

const (
	release = "6.12.48-hook"
	banner  = release + " (builder@host) #1 SMP"
	options = "# Linux/x86 6.12.48 Kernel Configuration\nCONFIG_64BIT=y\n# CONFIG_ZRAM is not set\nCONFIG_RD_ZSTD=y\n"
)

func gz(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(content)
	must(t, err, z.Close())
	return b.Bytes()
}

func packed(t testing.TB, f unpack.Format, content []byte) []byte {
	t.Helper()
	switch f {
	case unpack.Gzip:
		return gz(t, content)
	case unpack.Zstd:
		z, err := zstd.NewWriter(nil)
		must(t, err)
		return z.EncodeAll(content, nil)
	case unpack.XZ:
		cmd := exec.Command("xz", "--check=crc32", "--x86", "--lzma2=dict=1MiB")
		cmd.Stdin = bytes.NewReader(content)
		out, err := cmd.Output()
		must(t, err)
		return out
	}
	return content
}

// proper is a kernel proper of n bytes of noise with what ReadKernel looks for in the middle of it.
func proper(t testing.TB, n int, banner, config string) []byte {
	t.Helper()
	content := make([]byte, n)
	_, err := rand.NewChaCha8([32]byte{1}).Read(content)
	must(t, err)
	put := func(at int, s string) {
		if s != "" {
			copy(content[at:], s)
		}
	}
	put(n/4, "Linux version %s\x00IKCFG_ST, and no more") // texts of the kernel that look alike
	put(n/2, banner)
	if config != "" {
		put(n/2+300, "IKCFG_ST"+string(gz(t, []byte(config)))+"IKCFG_ED")
	}
	return content
}

// bzImage is the least that a boot loader takes for one, two sectors of setup and the payload.
func bzImage(payload []byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, 3*512)
	b[0x1f1] = 2
	copy(b[0x1fe:], "\x55\xaa")
	copy(b[0x202:], "HdrS")
	le.PutUint16(b[0x206:], 0x20f)
	le.PutUint16(b[0x20e:], 0x200)
	le.PutUint16(b[0x236:], 1)
	le.PutUint32(b[0x248:], 16)
	le.PutUint32(b[0x24c:], uint32(len(payload)+4))
	copy(b[0x400:], banner+"\x00")
	b = append(append(b, make([]byte, 16)...), payload...)
	return append(b, "size and what follows the kernel proper"...)
}

func arm64(content []byte) []byte {
	b := bytes.Clone(content)
	copy(b, "MZ\x00\x91")
	copy(b[0x38:], "ARM\x64")
	return b
}

func zboot(payload []byte) []byte {
	b := make([]byte, 0x400)
	copy(b, "MZ\x00\x00zimg")
	binary.LittleEndian.PutUint32(b[8:], 0x400)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(payload)))
	copy(b[24:], "gzip\x00")
	binary.LittleEndian.PutUint32(b[0x3c:], 0x80)
	copy(b[0x80:], "PE\x00\x00\x64\xaa")
	return append(b, payload...)
}

func readKernel(file []byte) (*Kernel, error) {
	return ReadKernel(bytes.NewReader(file), int64(len(file)))
}

func TestReadKernel(t *testing.T) {
	long := "Linux version " + banner + "\n"
	x86, arm := proper(t, 3<<20, "", options), arm64(proper(t, 3<<20, long, options))
	bare := arm64(proper(t, 1<<20, long, ""))
	cases := map[string]struct {
		file []byte
		want Kernel
	}{
		"bzImage, gzip":        {bzImage(packed(t, unpack.Gzip, x86)), Kernel{Format: BzImage, Arch: "x86_64", Compression: unpack.Gzip, Config: []byte(options)}},
		"bzImage, zstd":        {bzImage(packed(t, unpack.Zstd, x86)), Kernel{Format: BzImage, Arch: "x86_64", Compression: unpack.Zstd, Config: []byte(options)}},
		"bzImage, xz":          {bzImage(packed(t, unpack.XZ, x86)), Kernel{Format: BzImage, Arch: "x86_64", Compression: unpack.XZ, Config: []byte(options)}},
		"bzImage, no config":   {bzImage(packed(t, unpack.Gzip, proper(t, 1<<20, "", ""))), Kernel{Format: BzImage, Arch: "x86_64", Compression: unpack.Gzip}},
		"bzImage, lzma":        {bzImage([]byte("\x5d\x00\x00\x80\x00")), Kernel{Format: BzImage, Arch: "x86_64", Compression: unpack.LZMA, Unread: "lzma stream"}},
		"bzImage, cut payload": {bzImage(packed(t, unpack.Gzip, x86)[:1<<20]), Kernel{Format: BzImage, Arch: "x86_64", Compression: unpack.Gzip, Unread: "gzip stream"}},
		"Image":                {arm, Kernel{Format: Arm64Image, Arch: "aarch64", Config: []byte(options)}},
		"Image without config": {bare, Kernel{Format: Arm64Image, Arch: "aarch64"}},
		"Image in gzip":        {gz(t, arm), Kernel{Format: Arm64Image, Arch: "aarch64", Compression: unpack.Gzip, Config: []byte(options)}},
		"zboot, gzip":          {zboot(gz(t, arm)), Kernel{Format: EFIZboot, Arch: "aarch64", Compression: unpack.Gzip, Config: []byte(options)}},
		"zboot, zstd":          {zboot(packed(t, unpack.Zstd, arm)), Kernel{Format: EFIZboot, Arch: "aarch64", Compression: unpack.Zstd, Config: []byte(options)}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := readKernel(c.file)
			must(t, err)
			if !strings.HasPrefix(got.Unread, c.want.Unread) || (got.Unread == "") != (c.want.Unread == "") {
				t.Errorf("unread: got %q, want %q", got.Unread, c.want.Unread)
			}
			c.want.Release, c.want.Banner, c.want.Unread = release, banner, got.Unread
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if is, err := IsKernel(bytes.NewReader(c.file)); err != nil || !is {
				t.Errorf("IsKernel: got %v, %v", is, err)
			}
		})
	}
}

// What is looked for may stand across two windows of the search, and at the very end.
func TestScanAcrossWindows(t *testing.T) {
	config := "IKCFG_ST" + string(gz(t, []byte(options))) + "IKCFG_ED"
	for _, at := range []int{64, scanWindow - 700, scanWindow - 10, scanWindow - 3, scanWindow, 2*scanWindow - longestStart - 5, 3*scanWindow + 17} {
		for _, first := range []string{"Linux version " + banner + "\n" + config, config + "Linux version " + banner + "\n"} {
			content := append(append(arm64(make([]byte, 64)), make([]byte, at-64)...), first...)
			got, err := readKernel(content)
			if err != nil || got.Release != release || string(got.Config) != options {
				t.Errorf("at %d: got %+v, %v", at, got, err)
			}
		}
	}
}

// badKernels are files that are no kernel, or not a whole one.
func badKernels(t testing.TB) map[string][]byte {
	t.Helper()
	good := bzImage(gz(t, proper(t, 1<<16, "", options)))
	put := func(at int, s string) []byte {
		b := bytes.Clone(good)
		copy(b[at:], s)
		return b
	}
	return map[string][]byte{
		"empty":                    nil,
		"text":                     []byte("this is no kernel"),
		"gzip of text":             gz(t, []byte("text")),
		"half a header":            good[:0x250],
		"payload behind the end":   put(0x248, "\xff\xff\xff\xff"),
		"payload of 4 GiB":         put(0x24c, "\xff\xff\xff\xff"),
		"payload of nothing":       put(0x24c, "\x00\x00\x00\x00"),
		"version behind the end":   put(0x20e, "\xff\xff"),
		"version without end":      append(put(0x20e, "\xff\x03")[:0x5ff], bytes.Repeat([]byte("v"), 5000)...),
		"cut before the payload":   good[:3*512],
		"Image without version":    arm64(make([]byte, 1<<20)),
		"Image that is all header": arm64(make([]byte, 64)),
		"Image in gzip, cut":       gz(t, arm64(proper(t, 1<<20, "", "")))[:1<<19],
		"zboot, cut":               zboot(nil)[:0x100],
		"zboot without payload":    zboot(nil),
		"zboot of bzip2":           zboot([]byte("BZh91AY&SY")),
		"zboot of no kernel":       zboot(gz(t, make([]byte, 1<<20))),
	}
}

func TestBadKernels(t *testing.T) {
	for name, file := range badKernels(t) {
		t.Run(name, func(t *testing.T) {
			got, err := readKernel(file)
			if _, ok := errors.AsType[*KernelError](err); !ok {
				t.Errorf("got %+v, %v, want a KernelError", got, err)
			}
		})
	}
}

// A kernel that makes much of itself is read to a limit; its configuration, too.
func TestKernelBombs(t *testing.T) {
	zeros := make([]byte, 128<<10)
	rle := "\x28\xb5\x2f\xfd\x00\x58" + strings.Repeat("\x02\x00\x10\x00", 1<<13) // a GiB
	large := "IKCFG_ST" + string(gz(t, bytes.Repeat(zeros, 64))) + "IKCFG_ED"
	for name, c := range map[string]struct{ payload, unread string }{
		"zstd":          {rle, ""},
		"configuration": {string(gz(t, append(bytes.Clone(zeros), large...))), "more than 4194304 bytes"},
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		k, err := readKernel(bzImage([]byte(c.payload)))
		runtime.ReadMemStats(&after)
		must(t, err)
		if k.Config != nil || !strings.Contains(k.Unread, c.unread) {
			t.Errorf("%s: got %q and %d bytes of configuration", name, k.Unread, len(k.Config))
		}
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 64<<20 {
			t.Errorf("%s: took %d MiB", name, taken>>20)
		}
	}
}

// failingAt reads as r does and fails from an offset on.
type failingAt struct {
	r   io.ReaderAt
	at  int64
	err error
}

func (f failingAt) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.at {
		return 0, f.err
	}
	return f.r.ReadAt(p, off)
}

func TestKernelReaderFails(t *testing.T) {
	broken := errors.New("input/output error")
	file := bzImage(gz(t, proper(t, 1<<20, "", options)))
	for _, at := range []int64{0, 0x300, 0x700, 1 << 19} {
		_, err := ReadKernel(failingAt{bytes.NewReader(file), at, broken}, int64(len(file)))
		if !errors.Is(err, broken) {
			t.Errorf("at %d: got %v, want the reader's error", at, err)
		}
	}
	if _, err := IsKernel(failingAt{bytes.NewReader(file), 0, broken}); !errors.Is(err, broken) {
		t.Errorf("IsKernel: got %v, want the reader's error", err)
	}
	if k := new(Kernel); !errors.Is(k.search(iotest.ErrReader(broken), ""), broken) {
		t.Error("search: want the reader's error")
	}
}

func TestDiffKernels(t *testing.T) {
	a := &Kernel{Format: BzImage, Arch: "x86_64", Banner: "1", Config: []byte("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\n")}
	b := &Kernel{Format: BzImage, Arch: "x86_64", Banner: "2", Compression: unpack.Zstd, Config: []byte("# another comment\nCONFIG_A=y\nCONFIG_B=y\n\nCONFIG_C=m\n")}
	want := Difference{
		Added: []File{{Path: "CONFIG_B=y", Kind: "option"}}, Removed: []File{{Path: "# CONFIG_B is not set", Kind: "option"}},
		Changed: []Change{{Path: "version", What: []string{"1 -> 2"}}, {Path: "compression", What: []string{" -> zstd"}}},
	}
	if diff := cmp.Diff(want, DiffKernels(a, b)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if d := DiffKernels(a, a); !d.None() {
		t.Errorf("with itself: got %+v", d)
	}
	b.Config = nil
	if d := DiffKernels(a, b); len(d.Added)+len(d.Removed) > 0 {
		t.Errorf("without configuration: got %+v", d)
	}
}

// FuzzReadKernel asserts that nothing makes it panic or hang.
func FuzzReadKernel(f *testing.F) {
	for _, file := range badKernels(f) {
		f.Add(file[:min(len(file), 8<<10)])
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		k, err := readKernel(file)
		if _, ok := errors.AsType[*KernelError](err); err != nil && !ok {
			t.Errorf("got %v, want a KernelError", err)
		}
		if err == nil && k.Format == "" {
			t.Errorf("got %+v without a format", k)
		}
	})
}
