package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// encode is a second writer of newc, for the tests: it checks nothing, so that it can write anything. The
// body is content or, of a symlink, its target.
func encode(h Header, content string) string {
	body := content + h.Target
	numbers := []any{
		h.Inode, h.Mode, h.UID, h.GID, h.Links, h.MTime, h.Size + int64(len(h.Target)),
		h.Major, h.Minor, h.RMajor, h.RMinor, len(h.Name) + 1, 0,
	}
	head := "070701" + fmt.Sprintf(strings.Repeat("%08x", 13), numbers...) + h.Name + "\x00"
	return head + zeroPad(len(head), 4) + body + zeroPad(len(body), 4)
}

func zeroPad(n, to int) string { return strings.Repeat("\x00", (to-n%to)%to) }

// closeArchive adds the trailer.
func closeArchive(entries string) string {
	entries += encode(Header{Name: trailerName, Links: 1}, "")
	return entries + zeroPad(len(entries), 512)
}

var (
	dirEntry  = encode(Header{Name: ".", Inode: 1, Mode: 0o40755, Links: 2, MTime: 9}, "")
	linkEntry = encode(Header{Name: "ln", Inode: 2, Mode: 0o120777, Links: 1, Target: "to"}, "")
	fileEntry = encode(Header{Name: "file", Inode: 3, Mode: 0o100644, Links: 1, Size: 5}, "hello")
)

// drain reads a whole archive and returns what it is, in canonical form.
func drain(archive io.Reader) (string, error) {
	var canonical strings.Builder
	r := NewReader(archive)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return canonical.String(), nil
		}
		if err != nil {
			return canonical.String(), err
		}
		body, err := io.ReadAll(r)
		if err != nil {
			return canonical.String(), err
		}
		canonical.WriteString(encode(h, string(body)))
	}
}

func TestReaderTakes(t *testing.T) {
	upper := strings.ToUpper(fileEntry[:110]) + fileEntry[110:]
	cases := map[string]struct{ archive, want string }{
		"nothing but a trailer": {"", ""},
		"one of each":           {dirEntry + linkEntry + fileEntry, dirEntry + linkEntry + fileEntry},
		"upper case":            {upper, fileEntry},
		"device": {encode(Header{Name: "tty", Mode: 0o20600, RMajor: 4, RMinor: 1, Major: 3, Minor: 1}, ""),
			encode(Header{Name: "tty", Mode: 0o20600, RMajor: 4, RMinor: 1, Major: 3, Minor: 1}, "")},
		"longest name": {encode(Header{Name: strings.Repeat("x", 4095), Mode: 0o40755}, ""),
			encode(Header{Name: strings.Repeat("x", 4095), Mode: 0o40755}, "")},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			archive := closeArchive(c.archive)
			readers := map[string]io.Reader{
				"whole": strings.NewReader(archive), "by byte": iotest.OneByteReader(strings.NewReader(archive)),
				"error with data": iotest.DataErrReader(strings.NewReader(archive)),
			}
			for how, r := range readers {
				if got, err := drain(r); err != nil || got != c.want {
					t.Errorf("%s: got %q, %v, want %q", how, got, err, c.want)
				}
			}
		})
	}
}

func TestReaderSkipsBodies(t *testing.T) {
	r := NewReader(strings.NewReader(closeArchive(fileEntry + linkEntry + fileEntry)))
	for _, read := range []int{2, 0, 5} {
		h, err := r.Next()
		must(t, err)
		body := make([]byte, read)
		if _, err := io.ReadFull(r, body); err != nil || string(body) != "hello"[:read] {
			t.Errorf("%s: got %q, %v", h.Name, body, err)
		}
	}
	for range 2 { // the end is for good
		if h, err := r.Next(); err != io.EOF {
			t.Errorf("got %v, %v, want the end", h, err)
		}
	}
}

// hostile returns archives that are not well-formed, by what is wrong with them.
func hostile() map[string]string {
	valid := closeArchive(dirEntry + linkEntry + fileEntry)
	put := func(offset int, s string) string { return valid[:offset] + s + valid[offset+len(s):] }
	entry := func(h Header, content string) string { return closeArchive(encode(h, content)) }
	link, file := len(dirEntry), len(dirEntry)+len(linkEntry)
	trailer := file + len(fileEntry)
	number := func(at, i int, s string) string { return put(at+6+8*i, s) }
	cases := map[string]string{
		"empty":                   "",
		"only zeros":              strings.Repeat("\x00", 512),
		"text":                    strings.Repeat("text", 128),
		"gzip":                    "\x1f\x8b\x08\x00" + valid,
		"magic of crc":            put(0, "070702"),
		"magic of odc":            put(0, "070707"),
		"binary magic":            put(0, "\xc7\x71"),
		"magic in another entry":  put(file, "070702"),
		"magic of the trailer":    put(trailer, "070700"),
		"name of 0 bytes":         number(file, 11, "00000000"),
		"name of 1 byte":          number(file, 11, "00000001"),
		"name of 4097 bytes":      entry(Header{Name: strings.Repeat("x", 4096), Mode: 0o40755}, ""),
		"name of 4 GiB":           number(file, 11, "ffffffff"),
		"name longer than it is":  number(file, 11, "00000006"),
		"name shorter than it is": number(file, 11, "00000004"),
		"name without NUL":        put(file+110+4, "x"),
		"NUL in a name":           put(file+110+1, "\x00"),
		"padding after a name":    put(file+110+5, "\x01"),
		"padding after a target":  put(link+118, "/"),
		"padding after a body":    put(trailer-1, "x"),
		"checksum":                number(file, 12, "00000214"),
		"body shorter than it is": number(file, 6, "00000001"),
		"body longer than it is":  number(file, 6, "00000100"),
		"body of 4 GiB":           number(file, 6, "ffffffff"),
		"directory with a body":   entry(Header{Name: "d", Mode: 0o40755, Size: 4}, "body"),
		"fifo with a body":        entry(Header{Name: "d", Mode: 0o10644, Size: 4}, "body"),
		"device with a body":      entry(Header{Name: "d", Mode: 0o20644, Size: 4}, "body"),
		"socket with a body":      entry(Header{Name: "d", Mode: 0o140644, Size: 4}, "body"),
		"no type":                 entry(Header{Name: "d", Mode: 0o644}, ""),
		"two types":               entry(Header{Name: "d", Mode: 0o170644}, ""),
		"mode of 17 bits":         entry(Header{Name: "d", Mode: 0o300644}, ""),
		"symlink without target":  entry(Header{Name: "l", Mode: 0o120777}, ""),
		"target of 4096 bytes":    entry(Header{Name: "l", Mode: 0o120777, Target: strings.Repeat("x", 4096)}, ""),
		"target of 4 GiB":         number(link, 6, "ffffffff"),
		"NUL in a target":         entry(Header{Name: "l", Mode: 0o120777, Target: "a\x00b"}, ""),
		"NUL after a target":      entry(Header{Name: "l", Mode: 0o120777, Target: "a\x00"}, ""),
		"no trailer":              valid[:trailer],
		"no trailer but zeros":    valid[:trailer] + strings.Repeat("\x00", 512),
		"trailer with a body":     closeArchive(dirEntry)[:len(dirEntry)] + encode(Header{Name: trailerName, Size: 4}, "body"),
		"trailer only, unpadded":  closeArchive("")[:124],
		"zeros end early":         valid[:len(valid)-1],
		"zeros end a block early": closeArchive(strings.Repeat(dirEntry, 4))[:512],
		"a block of zeros more":   valid + strings.Repeat("\x00", 512),
		"a zero more":             valid + "\x00",
		"not only zeros":          valid[:len(valid)-1] + "x",
		"a second archive":        valid + valid,
		"a second, compressed":    valid + "\x1f\x8b\x08\x00",
	}
	for i := range 13 {
		for _, digits := range []string{"0000000g", "-0000001", "+0000001", " 0000001", "0x000001", "0000000\x10", "00000_01"} {
			cases[fmt.Sprintf("number %d is %q", i, digits)] = number(file, i, digits)
		}
	}
	return cases
}

func TestHostileArchives(t *testing.T) {
	cases := hostile()
	if len(cases) < 40 {
		t.Fatalf("got %d cases", len(cases))
	}
	for name, archive := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := drain(strings.NewReader(archive))
			e, ok := errors.AsType[*FormatError](err)
			if !ok || e.Offset < 0 || e.Offset > int64(len(archive)) || e.What == "" {
				t.Errorf("got %v, want a FormatError inside %d bytes", err, len(archive))
			}
		})
	}
}

func TestEveryTruncation(t *testing.T) {
	valid := closeArchive(dirEntry + linkEntry + fileEntry)
	for n := range valid {
		_, err := drain(strings.NewReader(valid[:n]))
		if e, ok := errors.AsType[*FormatError](err); !ok || e.Offset > int64(n) {
			t.Errorf("cut after %d bytes: got %v, want a FormatError", n, err)
		}
	}
}

// A flipped bit is an error or reads as something else; nothing is ignored. The trailer's numbers mean nothing.
func TestEveryBit(t *testing.T) {
	entries := dirEntry + linkEntry + fileEntry
	valid := []byte(closeArchive(entries))
	for i := range 8 * len(valid) {
		at := i / 8
		if at >= len(entries)+6 && at < len(entries)+110 {
			continue
		}
		flipped := bytes.Clone(valid)
		flipped[at] ^= 1 << (i % 8)
		if flipped[at]|0x20 == valid[at]|0x20 && strings.IndexByte("abcdefABCDEF", valid[at]) >= 0 {
			continue // the case of a digit
		}
		if got, err := drain(bytes.NewReader(flipped)); err == nil && got == entries {
			t.Errorf("bit %d of byte %d makes no difference", i%8, at)
		}
	}
}

func TestOffsets(t *testing.T) {
	file := int64(len(dirEntry) + len(linkEntry))
	for name, want := range map[string]int64{
		"text": 0, "magic in another entry": file, "padding after a name": file + 115, "number 6 is \"0000000g\"": file + 54,
		"padding after a body": file + int64(len(fileEntry)) - 1, "NUL in a name": file + 110, "not only zeros": 511,
	} {
		_, err := drain(strings.NewReader(hostile()[name]))
		if e, ok := errors.AsType[*FormatError](err); !ok || e.Offset != want {
			t.Errorf("%s: got %v, want offset %d", name, err, want)
		}
	}
}

// What fails below is no fault of the format.
func TestReaderPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken pipe")
	valid := closeArchive(dirEntry + fileEntry)
	for n := range len(valid) + 1 {
		r := io.MultiReader(strings.NewReader(valid[:n]), iotest.ErrReader(broken))
		_, err := drain(r)
		if _, format := errors.AsType[*FormatError](err); !errors.Is(err, broken) || format {
			t.Errorf("after %d bytes: got %v, want the reader's error", n, err)
		}
	}
}

// Lengths that the archive only claims must cost no memory.
func TestNoAllocationByALength(t *testing.T) {
	cases := hostile()
	names := []string{"name of 4 GiB", "target of 4 GiB", "body of 4 GiB"}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, name := range names {
		if _, err := drain(strings.NewReader(cases[name])); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("took %d bytes, want at most 1 MiB", got)
	}
}

// FuzzReader asserts that what the reader takes is what another encoder would have written, bit by bit but
// for the case of digits and the trailer's numbers; and that it panics at nothing.
func FuzzReader(f *testing.F) {
	f.Add([]byte(closeArchive(dirEntry + linkEntry + fileEntry)))
	f.Fuzz(func(t *testing.T, archive []byte) {
		canonical, err := drain(bytes.NewReader(archive))
		if err != nil {
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Errorf("got %v, want a FormatError", err)
			}
			return
		}
		whole := closeArchive(canonical)
		if len(whole) != len(archive) || !strings.EqualFold(whole[:len(canonical)], string(archive[:len(canonical)])) {
			t.Errorf("took %q, which should be %q", archive, whole)
		}
	})
}
