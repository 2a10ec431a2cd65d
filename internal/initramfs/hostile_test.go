package initramfs

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/hookbuild/hookbuild/internal/heaptest"
)

// entryKinds are the modes of all kinds of entries.
func entryKinds() map[string]uint32 {
	return map[string]uint32{"file": 0o100644, "directory": 0o40755, "symlink": 0o120777, "character device": 0o20600, "block device": 0o60600,
		"fifo": 0o10644, "socket": 0o140644}
}

// The numbers of a header, counted from 0.
const (
	atMode, atSize, atNameSize, atCheck = 1, 6, 11, 12
)

// hostileEntries are archives with one entry that is wrong in one way, for each kind of entry, between two good ones.
func hostileEntries() map[string]string {
	cases := map[string]string{}
	for kind, mode := range entryKinds() {
		h := Header{Name: "bad", Mode: mode, Links: 1}
		if kind == "symlink" {
			h.Target = "target"
		}
		good := encode(h, "")
		archive := func(entry string) string { return closeArchive(dirEntry + entry + fileEntry) }
		number := func(i int, v uint32) string {
			return archive(good[:6+8*i] + fmt.Sprintf("%08x", v) + good[6+8*i+8:])
		}
		add := func(what, archive string) { cases[kind+": "+what] = archive }

		for what, name := range map[string]string{"4096 bytes": strings.Repeat("n", 4096), "100,000 parts": strings.Repeat("a/", 100_000), "NUL": "a\x00b",
			"only NUL": "\x00", "nothing": "", "NUL at the end": "a\x00"} {
			long := h
			long.Name = name
			add("a name of "+what, archive(encode(long, "")))
		}
		for what, size := range map[string]uint32{"0": 0, "1": 1, "3": 3, "6": 6, "4097": 4097, "2 GiB": 1 << 31, "4 GiB": 1<<32 - 1} {
			add("says that its name has "+what+" bytes", number(atNameSize, size))
		}
		for what, bits := range map[string]uint32{"no type": mode & 0o7777, "all types": mode | 0o170000, "a type of 4": mode&0o7777 | 0o30000, "17 bits": mode | 1<<16, "32 bits": mode | 1<<31} {
			add("a mode of "+what, number(atMode, bits))
		}
		for what, size := range map[string]uint32{"2 GiB": 1 << 31, "4 GiB": 1<<32 - 1, "7 bytes": 7} {
			add("says that it has "+what, number(atSize, size))
		}
		add("a checksum", number(atCheck, 1))
		add("padding", archive(strings.Replace(good, "bad\x00", "bad\x00x", 1)[:len(good)]))
		add("no NUL", archive(strings.Replace(good, "bad\x00", "bad!", 1)))
		add("magic of crc", archive("070702"+good[6:]))
		add("magic of odc", archive("070707"+good[6:]))
		add("a byte before it", archive("\x01"+good))
		for what, n := range map[string]int{"its magic": 3, "its numbers": 60, "its name": headerSize + 2} {
			add("cut in "+what, dirEntry+good[:n])
		}
		add("the name of the end, with a body", archive(encode(Header{Name: trailerName, Mode: mode, Size: 4}, "body")))
	}
	return cases
}

// Every archive of the table is refused, alone and in each compression, by an error that says where.
func TestHostileEntries(t *testing.T) {
	cases := hostileEntries()
	if len(cases) < 190 {
		t.Fatalf("got %d cases, want 190", len(cases))
	}
	forms := map[string]func(string) string{
		"alone": func(a string) string { return a }, "gzip": func(a string) string { return gz(t, a) },
		"zstd": func(a string) string {
			return zst(t, a, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
		}, "lz4": lz4,
	}
	taken := heaptest.Watch()
	for name, bad := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := drain(strings.NewReader(bad)); err == nil {
				t.Fatal("the strict reader takes it")
			}
			for form, pack := range forms {
				file := pack(bad)
				begin := time.Now()
				_, err := Unpack(Open(strings.NewReader(file), Limits{}), nil, nil)
				if took := time.Since(begin); took > 50*time.Second { // see checkBad
					t.Errorf("%s: took %s", form, took)
				}
				if e, ok := errors.AsType[*ImageError](err); !ok || e.Err == nil || e.Offset < 0 || e.Offset > int64(len(file)) {
					t.Errorf("%s: got %v, want an ImageError inside %d bytes", form, err, len(file))
				}
			}
		})
	}
	if most := taken(); most > 256<<20 {
		t.Errorf("took %d MiB, want at most 256", most>>20)
	}
}
