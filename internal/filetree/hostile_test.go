package filetree

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What one layer may cost, as the project promises.
const (
	mostTime   = 50 * time.Second // ten times what it may take: the test may run on a busy host
	mostMemory = 256 << 20
)

// field is a text at its place in a header, in place of what would be there.
type field struct {
	at   int
	text string
}

// The places of POSIX.1-1988 (ustar).
const (
	atMode, atUID, atGID, atSize, atTime, atLink, atMagic = 100, 108, 116, 124, 136, 157, 257
	atMajor, atMinor                                      = 329, 337
)

// header is a header of ustar as bytes, with a right checksum. Nothing is checked.
func header(flag byte, name string, size int, fields ...field) string {
	b := make([]byte, 512)
	put := func(f field) { copy(b[f.at:], f.text) }
	number := fmt.Sprintf("%07o\x00", 0)
	for _, f := range []field{{0, name}, {atMode, "0000644\x00"}, {atUID, number}, {atGID, number}, {atSize, fmt.Sprintf("%011o\x00", size)},
		{atTime, "00000000000\x00"}, {156, string(flag)}, {atMagic, "ustar\x0000"}, {atMajor, number}, {atMinor, number}} {
		put(f)
	}
	for _, f := range fields {
		put(f)
	}
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return string(b)
}

// filled is content with zeros up to the next block.
func filled(content string) string { return content + strings.Repeat("\x00", -len(content)&511) }

// file is a regular file as bytes.
func file(name, content string, fields ...field) string {
	return header('0', name, len(content), fields...) + filled(content)
}

// pax is an extended header with these keys and values, for the entry that follows.
func pax(pairs ...string) string { return extended('x', pairs...) }

func extended(flag byte, pairs ...string) string {
	var body strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		rest := " " + pairs[i] + "=" + pairs[i+1] + "\n"
		size := len(rest) + len(strconv.Itoa(len(rest)))
		size = len(rest) + len(strconv.Itoa(size))
		body.WriteString(strconv.Itoa(size) + rest)
	}
	return rawPAX(flag, body.String())
}

func rawPAX(flag byte, body string) string { return header(flag, "pax", len(body)) + filled(body) }

const end = "\x00"

// ended adds the two blocks of zeros.
func ended(blocks ...string) string { return strings.Join(blocks, "") + strings.Repeat(end, 1024) }

// base256 is a number of n bytes as GNU tar writes those that have no room in octal digits.
func base256(n int, v int64) string {
	b := make([]byte, n)
	for i := range b {
		b[n-1-i] = byte(v >> min(8*i, 63))
	}
	b[0] |= 0x80
	return string(b)
}

// kinds make an entry of each kind with a name. What links lead to is there in every tar of hostileLayers.
func kinds() map[string]func(name string) entry {
	with := func(flag byte, link string) func(string) entry {
		return func(name string) entry {
			return entry{Header: tar.Header{Name: name, Typeflag: flag, Linkname: link, Mode: 0o644}}
		}
	}
	return map[string]func(string) entry{
		"file": with(tar.TypeReg, ""), "directory": with(tar.TypeDir, ""), "symlink": with(tar.TypeSymlink, "ok"), "hard link": with(tar.TypeLink, "ok"),
		"character device": with(tar.TypeChar, ""), "block device": with(tar.TypeBlock, ""), "fifo": with(tar.TypeFifo, ""),
	}
}

// hostileLayer is a tar that no image may have.
type hostileLayer struct {
	tar   string
	entry string // at fault; "" where its name is not known
	want  string // in the error
}

type hostileTable map[string]hostileLayer

// add adds a case whose tar begins with a good file, "ok".
func (h hostileTable) add(name, entry, want string, blocks ...string) {
	h[name] = hostileLayer{file("ok", "") + ended(blocks...), entry, want}
}

func (h hostileTable) pack(t testing.TB, name, want string, entries ...entry) {
	last := entries[len(entries)-1]
	h[name] = hostileLayer{string(pack(t, append(words("ok"), entries...)...)), last.Name, want}
}

// badNames are names that no entry of any kind may have.
func (h hostileTable) badNames(t testing.TB) {
	part, long := strings.Repeat("n", 256), strings.Repeat("long/", 819)+"f"
	names := map[string]struct{ name, want string }{
		"leads out":               {"../x", "leads out of the root"},
		"leads out after ./":      {"./../x", "leads out of the root"},
		"leads out in the middle": {"a/../../x", "leads out of the root"},
		"absolute and leads out":  {"/../../x", "leads out of the root"},
		"the root's parent":       {"..", "leads out of the root"},
		"256 bytes in a part":     {"d/" + part + "/x", "255"},
		"256 bytes":               {part, "255"},
		"4096 bytes":              {long, "4096 bytes"},
		"100,000 parts":           {strings.Repeat("a/", 100_000) + "f", "200001 bytes"},
		"100,000 times up":        {strings.Repeat("../", 100_000) + "f", "leads out of the root"},
		"below a file":            {"ok/x", "ok: file"},
		"below a loop":            {"loop/x", "symbolic links"},
		"below a loop of two":     {"ping/x/y", "symbolic links"},
		"below a symlink to one":  {"to/x", "ok: file"},
		"below a fifo":            {"pipe/x", "pipe: fifo"},
		"below a whiteout":        {".wh.d/x", "below a whiteout"},
	}
	before := append(words("loop -> loop", "ping -> pong", "pong -> ping", "to -> ok"), kinds()["fifo"]("pipe"))
	for kind, of := range kinds() {
		for what, n := range names {
			h.pack(t, kind+", name: "+what, n.want, append(before[:len(before):len(before)], of(n.name))...)
		}
		h.add(kind+", name: empty", "", "is empty", header(of("").Typeflag, "", 0, field{atLink, of("").Linkname}))
		h.add(kind+", name: NUL in a pax path", "", `after entry "ok"`, pax("path", "a\x00b"), header(of("").Typeflag, "x", 0, field{atLink, "ok"}))
		h.add(kind+", header: checksum", "", `after entry "ok"`, strings.Replace(header(of("").Typeflag, "x", 0), "ustar", "ustaR", 1))
		h.add(kind+", header: cut", "", `after entry "ok"`)
		h[kind+", header: cut"] = hostileLayer{file("ok", "") + header(of("").Typeflag, "x", 0)[:511], "", "unexpected EOF"}
	}
}

// badWhiteouts have the prefix of whiteouts and are none.
func (h hostileTable) badWhiteouts(t testing.TB) {
	for _, name := range []string{".wh.", "d/.wh.", ".wh..", "d/.wh..", ".wh...", "d/.wh...", ".wh..wh.", ".wh..wh.plnk", ".wh..wh.aufs", ".wh..wh.orph",
		"d/.wh..wh.plnk", ".wh..wh..opq2", ".wh..wh..wh.x"} {
		for _, kind := range []string{"file", "directory", "symlink", "hard link"} {
			h.pack(t, kind+", whiteout: "+name, "not a whiteout", kinds()[kind](name))
		}
	}
	for what, name := range map[string]string{"below a file": "ok/.wh.x", "below a loop": "loop/.wh.x", "opaque file": "ok/.wh..wh..opq", "opaque loop": "loop/.wh..wh..opq"} {
		h.pack(t, "whiteout "+what, "", word("loop -> loop"), word(name))
	}
}

// badNumbers are owners, devices and sizes that no inode can have.
func (h hostileTable) badNumbers() {
	numbers := map[string]string{"negative": base256(8, -1), "2^32": base256(8, math.MaxUint32+1), "2^56": base256(8, 1<<55), "no digits": "zzzzzzz\x00", "decimal": "0000009\x00"}
	for kind, of := range kinds() {
		flag, device := of("").Typeflag, kind == "character device" || kind == "block device"
		for what, v := range numbers {
			digits := what == "no digits" || what == "decimal"
			for at, name := range map[int]string{atUID: "uid", atGID: "gid", atMajor: "device major", atMinor: "device minor", atMode: "mode"} {
				switch {
				case digits: // the header cannot be read
					h.add(kind+", "+name+": "+what, "", `after entry "ok"`, header(flag, "x", 0, field{atLink, "ok"}, field{at, v}))
				case name == "mode", (at == atMajor || at == atMinor) && !device: // means nothing here
				default:
					h.add(kind+", "+name+": "+what, "x", name+" is ", header(flag, "x", 0, field{atLink, "ok"}, field{at, v}))
				}
			}
		}
		if flag != tar.TypeReg && flag != tar.TypeDir {
			h.add(kind+", size: 512", "x", "512 bytes of content", header(flag, "x", 512, field{atLink, "ok"}), filled("body"))
		}
		if flag == tar.TypeReg {
			h.add(kind+", size: negative", "", `after entry "ok"`, header(flag, "x", 0, field{atSize, base256(12, -1)}))
		} else {
			h.add(kind+", size: negative", "x", "-1 bytes", header(flag, "x", 0, field{atLink, "ok"}, field{atSize, base256(12, -1)}))
		}
	}
	for what, v := range map[string]int64{"4 GiB": 1 << 32, "8 EiB": math.MaxInt64, "1 MiB": 1 << 20} {
		h.add("file, size: claims "+what, "x", "unexpected EOF", header('0', "x", 0, field{atSize, base256(12, v)}), filled("body"))
		h.add("file, pax size: claims "+what, "x", "unexpected EOF", pax("size", strconv.FormatInt(v, 10)), file("x", "body"))
	}
}

// badLinks lead nowhere or out.
func (h hostileTable) badLinks(t testing.TB) {
	link := func(name, to string) entry {
		return entry{Header: tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink}}
	}
	for what, c := range map[string]struct {
		before []string
		to     string
		want   string
	}{
		"leads out":               {nil, "../etc/shadow", "leads out"},
		"leads out absolutely":    {nil, "/../etc/shadow", "leads out"},
		"leads out in the middle": {nil, "d/../../x", "leads out"},
		"to the root":             {nil, "/", "a directory"},
		"to ..":                   {nil, "..", "leads out"},
		"to nothing":              {nil, "none", "does not exist"},
		"to itself":               {nil, "x", "does not exist"},
		"to a directory":          {[]string{"d/"}, "d", "a directory"},
		"to a lower directory":    {nil, "lower", "a directory"},
		"below a file":            {nil, "ok/x", "does not exist"},
		"through a loop":          {[]string{"loop -> loop"}, "loop/x", "does not exist"},
		"to a whiteout":           {[]string{".wh.gone"}, ".wh.gone", "does not exist"},
		"to a replaced file":      {[]string{"d/f", "d"}, "d/f", "does not exist"},
		"to 4096 bytes":           {nil, strings.Repeat("a", 4096), "4096 bytes"},
	} {
		h.pack(t, "hard link: "+what, c.want, append(words(c.before...), link("x", c.to))...)
	}
	h.add("hard link: to what follows", "x", "does not exist", header('1', "x", 0, field{atLink, "y"}), file("y", ""))
	for _, flag := range "12" {
		kind := map[rune]string{'1': "hard link", '2': "symlink"}[flag]
		want := map[rune]string{'1': "is empty", '2': "want 1 to 4095"}[flag]
		h.add(kind+": to no name", "x", want, header(byte(flag), "x", 0))
		h.add(kind+": NUL in a pax target", "", `after entry "ok"`, pax("linkpath", "a\x00b"), header(byte(flag), "x", 0))
		h.add(kind+": target of 100,000 parts", "x", "4095", pax("linkpath", strings.Repeat("a/", 100_000)), header(byte(flag), "x", 0))
		h.add(kind+": GNU target of 4096 bytes", "x", "4095", header('K', "././@LongLink", 4097)+filled(strings.Repeat("a", 4096)+end), header(byte(flag), "x", 0))
	}
	h.pack(t, "file in place of the root", ".", kinds()["file"]("."))
	h.pack(t, "symlink in place of the root", "", kinds()["symlink"]("/"))
	h.pack(t, "hard link in place of the root", "", kinds()["hard link"]("./"))
}

// badRecords are pax and GNU headers that cannot be, or mean what a tree has not.
func (h hostileTable) badRecords() {
	for key, values := range map[string][]string{
		"size":  {"-1", "1e3", "0x10", " 1", "", "99999999999999999999"},
		"uid":   {"x", "1.5", "99999999999999999999"},
		"gid":   {"x", "--1"},
		"mtime": {"nan", "inf", "1.2.3", "1e9", "x"},
		"atime": {"nan"},
		"ctime": {"-"},
		"path":  {"\x00"}, "uname": {"a\x00"}, "gname": {"\x00b"},
	} {
		for _, v := range values {
			if v == "" {
				continue // takes the record away
			}
			h.add(fmt.Sprintf("pax record %s=%q", key, v), "", `after entry "ok"`, pax(key, v), file("x", ""))
		}
	}
	for what, body := range map[string]string{
		"length of 0": "0 a=b\n", "negative length": "-6 a=b\n", "length of 20 digits": "99999999999999999999 a=b\n", "longer than it is": "99 a=b\n",
		"shorter than it is": "5 a=b\n", "no length": " a=b\n", "no =": "7 aaaa\n", "no line feed": "6 a=b ", "no key": "5 =b\n", "only a number": "6", "zeros": "\x00\x00\x00\x00",
		"+6 as length": "+6 a=b\n", "text": "this is no record", "NUL in a key": "7 a\x00=b\n",
	} {
		h.add("pax body: "+what, "", `after entry "ok"`, rawPAX('x', body), file("x", ""))
	}
	for _, key := range []string{"GNU.sparse.major", "GNU.sparse.numblocks", "GNU.sparse.size", "GNU.sparse.realsize"} {
		h.add("sparse: "+key+" alone", "x", "sparse", pax(key, "9"), file("x", ""))
	}
	h.add("sparse: a name of its own", "x", "sparse", pax("GNU.sparse.name", "other"), file("x", ""))
	for what, m := range map[string]string{"negative": "-1\n0\n1\n", "overlapping": "2\n0\n9\n3\n9\n", "a million": "1000000\n", "text": "x\n", "beyond the end": "1\n99999999999\n1\n", "without end": strings.Repeat("1", 600)} {
		h.add("sparse map of 1.0: "+what, "", "", pax("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "1", "GNU.sparse.name", "x"), file("x", filled(m)))
	}
	h.add("sparse map of 0.1: not pairs", "", "", pax("GNU.sparse.map", "0,1,2", "GNU.sparse.numblocks", "1", "GNU.sparse.size", "9"), file("x", ""))
	h.add("sparse: GNU's old form", "x", "sparse", header('S', "x", 0, field{atMagic, "ustar  \x00"}, field{386, "00000000000\x0000000000000\x00"}))
	h.add("sparse: GNU's old form, extended for ever", "", "", header('S', "x", 0, field{atMagic, "ustar  \x00"}, field{482, "\x01"}), strings.Repeat(strings.Repeat("\x00", 504)+"\x01"+strings.Repeat("\x00", 7), 100))
	for _, flag := range "xgLK" {
		h.add(fmt.Sprintf("type %c: claims 1 GiB", flag), "", `after entry "ok"`, header(byte(flag), "h", 1<<30), filled("a"))
		h.add(fmt.Sprintf("type %c: 1 MiB and a byte", flag), "", `after entry "ok"`, header(byte(flag), "h", 1<<20+1), filled(strings.Repeat("a", 1<<20+1)))
		h[fmt.Sprintf("type %c: cut", flag)] = hostileLayer{file("ok", "") + header(byte(flag), "h", 600) + filled("a"), "", `after entry "ok"`}
	}
	h.add("xattr: no name", "x", "name of 0 bytes", pax("SCHILY.xattr.", "v"), file("x", ""))
	h.add("xattr: name of 256 bytes", "x", "name of 256 bytes", pax("SCHILY.xattr."+strings.Repeat("n", 256), "v"), file("x", ""))
	h.add("xattr: NUL in its name", "", `after entry "ok"`, pax("SCHILY.xattr.a\x00b", "v"), file("x", ""))
}

// badTypes are what no Linux file is, and archives that are not as tar has them.
func (h hostileTable) badTypes(t testing.TB) {
	for _, flag := range "789ABCDEFGHIJMNOPQRTUVWXYZabcefhs" {
		h.add(fmt.Sprintf("type %q", flag), "x", "want a file, directory, link, device or fifo", header(byte(flag), "x", 0))
	}
	valid := string(pack(t, words("a", "b")...))
	for what, c := range map[string]hostileLayer{
		"text":                  {strings.Repeat("text", 256), "", "first header"},
		"gzip":                  {filled("\x1f\x8b\x08\x00"), "", "first header"},
		"half a block":          {strings.Repeat("x", 100), "", "first header"},
		"cut in a header":       {valid[:1100], "", `after entry "a"`},
		"cut in a body":         {valid[:512], "a", "unexpected EOF"},
		"one block of zeros":    {file("ok", "") + strings.Repeat("\x00", 512) + file("x", ""), "", `after entry "ok"`},
		"garbage for a header":  {file("ok", "") + strings.Repeat("x", 1024), "", `after entry "ok"`},
		"a body that is longer": {file("ok", "body"+strings.Repeat("x", 600), field{atSize, "00000000004\x00"}) + ended(), "", `after entry "ok"`},
	} {
		h["archive: "+what] = c
	}
}

func hostileLayers(t testing.TB) hostileTable {
	t.Helper()
	h := hostileTable{}
	h.badNames(t)
	h.badWhiteouts(t)
	h.badNumbers()
	h.badLinks(t)
	h.badRecords()
	h.badTypes(t)
	return h
}

// Every layer of the table is refused by an error that says which image and, where its name can be known, which
// entry; what was below it stays as it was.
func TestHostileLayers(t *testing.T) {
	cases := hostileLayers(t)
	if len(cases) < 300 {
		t.Fatalf("got %d cases, want 300", len(cases))
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tree := build(t, "lower/f", "l -> lower")
			begin := time.Now()
			err := tree.ApplyTar(Bytes([]byte(c.tar)), "image:tag", TarOptions{Whiteouts: true})
			if took := time.Since(begin); took > mostTime {
				t.Errorf("took %s", took)
			}
			e, ok := errors.AsType[*TarError](err)
			if !ok {
				t.Fatalf("got %v, want a TarError", err)
			}
			if e.Origin != "image:tag" || (e.Entry != c.entry && (c.want != "" || c.entry != "")) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v at %.80q, want %q at %.80q", err, e.Entry, c.want, c.entry)
			}
			if n := len(err.Error()); n > 1000 {
				t.Errorf("the error has %d bytes", n)
			}
			if diff := cmp.Diff([]string{"l->lower", "lower/", "lower/f"}, short(tree)); diff != "" {
				t.Errorf("the tree was touched: -want +got:\n%s", diff)
			}
			if err := New().ApplyTar(Bytes([]byte(c.tar)), "image:tag", TarOptions{}); err != nil {
				if _, ok := errors.AsType[*TarError](err); !ok {
					t.Errorf("without whiteouts: got %v, want a TarError", err)
				}
			}
		})
	}
}

// What looks hostile and is legal: Docker and containerd take it, and nothing of it leaves the tree.
func TestOddLayers(t *testing.T) {
	name255, v7 := strings.Repeat("n", 255), field{atMagic, strings.Repeat("\x00", 8)}
	for name, c := range map[string]struct {
		lower []string
		tar   string
		want  []string
	}{
		"pax path and ustar name disagree":     {tar: ended(pax("path", "p"), file("../u", "1")), want: []string{"p:1"}},
		"pax target and ustar target disagree": {tar: ended(pax("linkpath", "p"), header('2', "l", 0, field{atLink, "../u"})), want: []string{"l->p"}},
		"pax size and ustar size disagree":     {tar: ended(pax("size", "3"), header('0', "x", 0)+filled("abc"), file("y", "y")), want: []string{"x:abc", "y"}},
		"an empty pax record takes nothing":    {tar: ended(pax("path", ""), file("x", "x")), want: []string{"x"}},
		"two pax headers: the last counts":     {tar: ended(pax("path", "a"), pax("uname", "u"), file("x", "x")), want: []string{"x"}},
		"GNU name, then pax path":              {tar: ended(header('L', "L", 4)+filled("gnu\x00"), file("x", "1")), want: []string{"gnu:1"}},
		"a global header is ignored":           {tar: ended(extended('g', "path", "../g", "comment", "c"), file("x", "x")), want: []string{"x"}},
		"only a global header":                 {tar: ended(extended('g', "comment", "c")), want: nil},
		"nothing":                              {tar: "", want: nil},
		"only zeros":                           {tar: ended(), want: nil},
		"no end":                               {tar: file("x", "x"), want: []string{"x"}},
		"no padding at the end":                {tar: file("x", "body")[:600], want: []string{"x:body"}},
		"a second tar behind the end":          {tar: ended(file("x", "x")) + ended(file("../y", "y")), want: []string{"x"}},
		"garbage behind the end":               {tar: ended(file("x", "x")) + "garbage", want: []string{"x"}},
		"V7":                                   {tar: ended(header(0, "d/", 0, v7), header(0, "d/x", 0, v7)), want: []string{"d/", "d/x:"}},
		"a file with a slash":                  {tar: ended(file("x/", "1")), want: []string{"x:1"}},
		"a directory with a size":              {tar: ended(header('5', "d/", 1<<30), file("d/x", "1")), want: []string{"d/", "d/x:1"}},
		"255 bytes in a part":                  {tar: ended(pax("path", name255), file("x", name255)), want: []string{name255}},
		"the trailer of newc":                  {tar: ended(file("TRAILER!!!", "TRAILER!!!")), want: []string{"TRAILER!!!"}},
		"backslashes, colons, controls":        {tar: ended(file(`..\x`, `..\x`), file("c:/\x1b\n", "c:/\x1b\n")), want: []string{`..\x`, "c:/", "c:/\x1b\n"}},
		"not UTF-8":                            {tar: ended(file("\xff\xfe", "\xff\xfe"), pax("path", "\x80"), file("x", "\x80")), want: []string{"\x80", "\xff\xfe"}},
		"absolute":                             {tar: ended(file("//a", "1"), file("/./b", "2")), want: []string{"a:1", "b:2"}},
		"up and down inside":                   {tar: ended(file("a/../b", "1")), want: []string{"b:1"}},
		"one name many times":                  {tar: ended(file("x", "1"), file("./x", "2"), header('2', "x", 0, field{atLink, "y"}), file("x", "3")), want: []string{"x:3"}},
		"file, directory, file":                {tar: ended(file("x", "1"), file("x", "1"), header('5', "x", 0), file("x/y", "2"), file("x", "3")), want: []string{"x:3"}},
		"symlink out, then a file through it":  {tar: ended(header('2', "s", 0, field{atLink, "../../../etc"}), file("s/passwd", "1")), want: []string{"etc/", "etc/passwd:1", "s->../../../etc"}},
		"absolute symlink, then through it":    {tar: ended(header('2', "s", 0, field{atLink, "/etc"}), file("s/../x", "1")), want: []string{"s->/etc", "x:1"}},
		"symlinks through symlinks":            {tar: ended(header('2', "a", 0, field{atLink, "/b/../.."}), header('2', "b", 0, field{atLink, ".."}), file("a/b/x", "1")), want: []string{"a->/b/../..", "b->..", "x:1"}},
		"symlink to itself":                    {tar: ended(header('2', "s", 0, field{atLink, "s"})), want: []string{"s->s"}},
		"hard link to a symlink":               {tar: ended(header('2', "s", 0, field{atLink, "/x"}), header('1', "h", 0, field{atLink, "s"})), want: []string{"h->/x", "s->/x"}},
		"hard link to a lower file, hidden":    {lower: []string{"f"}, tar: ended(file(".wh.f", ""), header('1', "h", 0, field{atLink, "f"})), want: []string{"h:f"}},
		"whiteout through its own symlink":     {lower: []string{"etc/x", "etc/y"}, tar: ended(header('2', "s", 0, field{atLink, "../etc"}), file("s/.wh.x", "")), want: []string{"etc/", "etc/y", "s->../etc"}},
		"whiteout through a lower symlink":     {lower: []string{"etc/x", "s -> etc"}, tar: ended(file("s/.wh.x", "")), want: []string{"etc/", "etc/x", "s/"}},
		"whiteout with content":                {lower: []string{"x"}, tar: ended(file(".wh.x", strings.Repeat("w", 1000))), want: nil},
		"whiteouts that are links":             {lower: []string{"x", "y"}, tar: ended(header('1', ".wh.x", 0, field{atLink, "../.."}), header('2', ".wh.y", 0)), want: nil},
		"opaque root, with the root":           {lower: []string{"x"}, tar: ended(file(".wh..wh..opq", ""), header('5', ".", 0), file("y", "y")), want: []string{"y"}},
		"uname without uid":                    {tar: ended(file("x", "x", field{265, "nobody"}, field{297, "nogroup"})), want: []string{"x"}},
		"times of all sizes":                   {tar: ended(file("x", "x", field{atTime, base256(12, -1)}), file("y", "y", field{atTime, base256(12, math.MaxInt64)}), pax("mtime", "99999999999999.9"), file("z", "z")), want: []string{"x", "y", "z"}},
		"a mode of many bits":                  {tar: ended(file("x", "x", field{atMode, base256(8, -1)})), want: []string{"x"}},
	} {
		t.Run(name, func(t *testing.T) {
			tree := build(t, c.lower...)
			if err := tree.ApplyTar(Bytes([]byte(c.tar)), "image:tag", TarOptions{Whiteouts: true}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, short(tree)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			checkParents(t, tree)
		})
	}
}

// bomb writes entries to a tar until the end of what it needs.
type bomb struct {
	write func(w io.Writer) error
	want  string // in the error; "" where it has to be taken
}

// many writes n blocks that f makes.
func many(n int, f func(i int) string) bomb {
	return bomb{write: func(w io.Writer) error {
		for i := range n {
			if _, err := io.WriteString(w, f(i)); err != nil {
				return err
			}
		}
		return nil
	}}
}

func (b bomb) refused(want string) bomb {
	b.want = want
	return b
}

// bombs are layers that cost time or memory, each up to a gigabyte.
func bombs() map[string]bomb {
	const lots = 181_000
	name := func(i int) string { return fmt.Sprintf("d%d/f%d", i%1000, i) }
	long := func(i int) string { return fmt.Sprintf("%s/%d", strings.Repeat("d/", 1900), i) }
	return map[string]bomb{
		"a million entries":    many(1_000_000, func(i int) string { return file(name(i), "") }).refused("180000 entries"),
		"as many as there may": many(178_000, func(i int) string { return file(name(i), "") }),
		"symlinks": many(lots, func(i int) string {
			return header('2', fmt.Sprintf("%090d", i), 0, field{atLink, strings.Repeat("../", 33)})
		}).
			refused("bytes of names"),
		"hard links": many(lots, func(i int) string { return header("01"[min(i, 1)], name(i), 0, field{atLink, "d0/f0"}) }).refused("180000 entries"),
		"whiteouts": many(lots, func(i int) string {
			return file([...]string{fmt.Sprintf("d%d/.wh.f%d", i%1000, i), fmt.Sprintf("o%d/.wh..wh..opq", i)}[i%2], "")
		}).refused("180000 entries"),
		"one directory each": many(110_000, func(i int) string { return file(fmt.Sprintf("d%d/f", i), "") }).refused("180000 entries"),
		"long names":         many(20_000, func(i int) string { return pax("path", long(i)) + file("x", "") }).refused("bytes of names"),
		"deep paths":         many(300, func(i int) string { return pax("path", strconv.Itoa(i)+"/"+long(i)) + file("x", "") }).refused("bytes of names"),
		"paths behind a symlink": many(20_000, func(i int) string {
			switch i {
			case 0:
				return pax("path", strings.Repeat("d/", 1900)) + header('5', "x", 0)
			case 1:
				return pax("linkpath", strings.Repeat("d/", 1900)) + header('2', "s", 0)
			}
			return file(fmt.Sprintf("s/%d", i), "")
		}).refused("bytes of names"),
		"symlinks in a chain": many(20_000, func(i int) string {
			switch {
			case i == 0:
				return header('5', "d", 0)
			case i < 40:
				return pax("linkpath", strings.Repeat("d/../", 800)+fmt.Sprintf("l%d", i+1)) + header('2', fmt.Sprintf("l%d", i), 0)
			case i == 40:
				return header('2', "l40", 0, field{atLink, "d"})
			}
			return file(fmt.Sprintf("l1/%d", i), "")
		}).refused("too many steps"),
		"types that change": many(100_000, func(i int) string { return header("05"[i%2], "x", 0) }),
		"attributes": many(100, func(i int) string {
			var pairs []string
			for n := range 2000 {
				pairs = append(pairs, fmt.Sprintf("SCHILY.xattr.user.%0200d", n), "")
			}
			return pax(append(pairs, "SCHILY.xattr.user.x", "v")...) + file("x", "")
		}).refused("bytes of names"),
		"a file of 4 GiB": many(1, func(int) string {
			return header('0', "x", 0, field{atSize, base256(12, 1<<32)})
		}).refused("unexpected EOF"),
	}
}

const bombFile = "FILETREE_TEST_LAYER" // of a child process: the layer to apply

// TestMain applies one layer in a process of its own, whose memory can be measured.
func TestMain(m *testing.M) {
	layer := os.Getenv(bombFile)
	if layer == "" {
		os.Exit(m.Run())
	}
	err := applyFile(layer)
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		panic(err)
	}
	took := use.Utime.Nano() + use.Stime.Nano()
	fmt.Printf("%d\n%d\n%v\n", took/1e6, highWater(), err)
}

// applyFile applies a layer over itself, as a layer that changes every file does.
func applyFile(layer string) error {
	f, err := os.Open(layer)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	tree := New()
	for range 2 {
		if err := tree.ApplyTar(FileRange(layer, 0, size, [32]byte(h.Sum(nil))), "image:tag", TarOptions{Whiteouts: true}); err != nil {
			return fmt.Errorf("%T %w", err, err)
		}
	}
	runtime.KeepAlive(tree.Entries())
	return nil
}

// highWater is the most memory that this process has had, in bytes.
func highWater() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return math.MaxInt64
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	words := strings.Fields(after)
	kb, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return kb << 10
}

func TestLayerBombs(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range bombs() {
		t.Run(name, func(t *testing.T) {
			layer := filepath.Join(t.TempDir(), "layer")
			f, err := os.Create(layer)
			must(t, err)
			w := bufio.NewWriterSize(f, 1<<20)
			must(t, b.write(w), w.Flush(), f.Close())
			cmd := exec.Command(self)
			// Often collected, the memory is what is needed, and not garbage for which there was no time yet.
			cmd.Env = append(os.Environ(), bombFile+"="+layer, "GOGC=25", "GOMEMLIMIT=192MiB")
			out, err := cmd.CombinedOutput()
			var took, memory int64
			var got string
			if _, scan := fmt.Sscanf(string(out), "%d\n%d\n%s", &took, &memory, &got); err != nil || scan != nil {
				t.Fatalf("%v, %v\n%s", err, scan, out)
			}
			refused := b.want != "" && strings.Contains(string(out), b.want)
			if (b.want == "" && got != "<nil>") || (b.want != "" && (got != "*filetree.TarError" || !refused)) {
				t.Errorf("got %s, want %q", out, b.want)
			}
			// Twice, since what is legal is applied twice.
			if took > 2*mostTime.Milliseconds() || memory > mostMemory {
				t.Errorf("took %d ms of CPU and %d MiB", took, memory>>20)
			}
			t.Logf("%d ms, %d MiB: %.300s", took, memory>>20, out)
		})
	}
}
