// Package initramfstest is a table of what the kernel makes of the entries of an initramfs
// (https://docs.kernel.org/driver-api/early-userspace/buffer-format.html, init/initramfs.c), and of what it silently
// does not make; for tests. The reader is held to it, and so is a kernel in QEMU.
package initramfstest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Rule is one case.
type Rule struct {
	Name string
	// Entries stand one a line, "---" between two archives:
	//
	//	dir NAME PERM
	//	file NAME [CONTENT]
	//	link NAME INODE [CONTENT]      a file that says it has two names
	//	number NAME INODE [CONTENT]    a file that says it has one
	//	sym NAME TARGET
	//	char NAME MAJOR:MINOR, block NAME MAJOR:MINOR, fifo NAME, sock NAME
	Entries string
	Alone   bool // it is about the root itself, so that it cannot stand below a directory
	// Want is the tree, sorted component by component, without its root: NAME/PERM for a directory, NAME=CONTENT,
	// NAME->TARGET, NAME(KIND MAJOR:MINOR). Paths of one file end in #1, those of a second in #2. What only the
	// kernel itself has made is not there.
	Want    string
	Dropped string // names of which the kernel makes nothing, and of sockets
}

// Rules returns the table.
func Rules() []Rule {
	long := strings.Repeat("n", 256)
	return []Rule{
		{Name: "a missing parent", Entries: "file d/f x\ndir d 755\nfile d/g y", Want: "d/755 d/g=y", Dropped: "d/f"},
		{Name: "the parent is a file", Entries: "file d x\nfile d/f y", Want: "d=x", Dropped: "d/f"},
		{Name: "the kernel's own directories", Alone: true, Entries: "file dev/f x\nfile root/f y", Want: "dev/755 dev/f=x root/700 root/f=y"},
		{Name: "the last file wins", Entries: "file f long\nfile f x", Want: "f=x"},
		{Name: "an empty one wins", Entries: "file f long\nfile f", Want: "f="},
		{Name: "across archives", Entries: "file f x\n---\nfile f y", Want: "f=y"},
		{Name: "a directory twice", Entries: "dir d 755\nfile d/f x\ndir d 700", Want: "d/700 d/f=x"},
		{Name: "a file over an empty directory", Entries: "dir d 755\nfile d x", Want: "d=x"},
		{Name: "a file over a full directory", Entries: "dir d 755\nfile d/f x\nfile d y", Want: "d/755 d/f=x", Dropped: "d"},
		{Name: "a symlink over a full directory", Entries: "dir d 755\nfile d/f x\nsym d y", Want: "d/755 d/f=x", Dropped: "d"},
		{Name: "a directory over a file", Entries: "file d x\ndir d 755", Want: "d/755"},
		{Name: "a directory over a symlink", Entries: "dir e 755\nsym d e\ndir d 700", Want: "d/700 e/755"},
		{Name: "a directory with a slash over a symlink", Entries: "dir e 755\nsym d e\ndir d/ 700", Want: "d->e e/700"},
		{Name: "a symlink over a symlink", Entries: "sym l a\nsym l b", Want: "l->b"},
		{Name: "a symlink over a file", Entries: "file l x\nsym l b", Want: "l->b"},
		{Name: "a file over a symlink", Entries: "file f x\nsym l f\nfile l y", Want: "f=x l=y"},
		{Name: "through a symlink", Entries: "dir usr 755\ndir usr/lib 755\nsym lib usr/lib\nfile lib/f x", Want: "lib->usr/lib usr/755 usr/lib/755 usr/lib/f=x"},
		{Name: "through an absolute symlink", Entries: "dir usr 755\nsym lib /usr\nfile lib/f x", Want: "lib->/usr usr/755 usr/f=x"},
		{Name: "through a dangling symlink", Entries: "sym lib usr\nfile lib/f x", Want: "lib->usr", Dropped: "lib/f"},
		{Name: "through a loop", Entries: "sym a b\nsym b a\nfile a/f x", Want: "a->b b->a", Dropped: "a/f"},
		{Name: "out of the root", Alone: true, Entries: "file ../f x\nsym up ../../..\nfile up/g y", Want: "f=x g=y up->../../.."},
		{Name: "dots and slashes", Entries: "dir d 755\nfile ./d/../f x\nfile d//g y\nfile no/../h z", Want: "d/755 d/g=y f=x", Dropped: "no/../h"},
		{Name: "a slash first", Alone: true, Entries: "dir /d 755\nfile //d/f x", Want: "d/755 d/f=x"},
		{Name: "the root", Alone: true, Entries: "dir ./ 700\ndir / 711\nfile f x", Want: "f=x"},
		{Name: "a file in place of the root", Alone: true, Entries: "file . x\nfile f x", Want: "f=x", Dropped: "."},
		{Name: "a file with a slash", Entries: "file f/ x", Dropped: "f/"},
		{Name: "a symlink with a slash", Entries: "sym l/ x", Dropped: "l/"},
		{Name: "a fifo with a slash", Entries: "fifo f/", Dropped: "f/"},
		{Name: "a component of 256 bytes", Entries: "file " + long + " x", Dropped: long},
		{Name: "hard links, the content last", Entries: "link a 7\nlink b 7 x", Want: "a=x#1 b=x#1"},
		{Name: "hard links, the content first", Entries: "link a 7 x\nlink b 7", Want: "a=x#1 b=x#1"},
		{Name: "hard links, two contents", Entries: "link a 7 long\nlink b 7 x", Want: "a=x#1 b=x#1"},
		{Name: "hard links end at a trailer", Entries: "link a 7 x\n---\nlink b 7 y", Want: "a=x b=y"},
		{Name: "equal numbers and no links", Entries: "number a 7 x\nnumber b 7", Want: "a=x b="},
		{Name: "a hard link over a file", Entries: "file b old\nlink a 7 x\nlink b 7", Want: "a=x#1 b=x#1"},
		{Name: "a hard link over an empty directory", Entries: "dir b 755\nlink a 7 x\nlink b 7", Want: "a=x#1 b=x#1"},
		{Name: "a hard link to what was not made", Entries: "link d/a 7 x\nlink b 7 y", Dropped: "d/a b"},
		{Name: "one name twice as hard links", Entries: "link a 7 x\nlink a 7 y", Dropped: "a"},
		{Name: "a later file over a hard link", Entries: "link a 7 x\nlink b 7\n---\nfile a new", Want: "a=new#1 b=new#1"},
		{Name: "devices", Entries: "char n 1:3\nblock b 8:0\nfifo f", Want: "b(block device 8:0) f(fifo 0:0) n(character device 1:3)"},
		{Name: "the largest device", Entries: "char n 4095:1048575", Want: "n(character device 4095:1048575)"},
		{Name: "a device twice keeps its number", Entries: "char n 1:3\nchar n 1:5", Want: "n(character device 1:3)"},
		{Name: "a device over a file", Entries: "file n x\nchar n 1:5", Want: "n(character device 1:5)"},
		{Name: "a device over another kind", Entries: "block n 1:3\nchar n 1:5", Want: "n(character device 1:5)"},
		{Name: "a socket", Entries: "sock s", Dropped: "s"},
		{Name: "TRAILER!!! below a directory", Entries: "dir d 755\nfile d/TRAILER!!! x", Want: "d/755 d/TRAILER!!!=x"},
	}
}

// Archives returns the rule's newc archives, whole. With a prefix, all stands below that directory, which is made.
func (r Rule) Archives(prefix string) [][]byte {
	var all [][]byte
	for i, entries := range strings.Split(r.Entries, "\n---\n") {
		var b bytes.Buffer
		if i == 0 && prefix != "" {
			add(&b, prefix, 0o40755, 2, 0, "", "0:0")
		}
		for _, line := range strings.Split(entries, "\n") {
			entry(&b, strings.Split(line, " "), prefix)
		}
		add(&b, "TRAILER!!!", 0, 1, 0, "", "0:0")
		all = append(all, b.Bytes())
	}
	return all
}

// entry writes what a line says.
func entry(b *bytes.Buffer, words []string, prefix string) {
	words = append(words, "", "") // what may be left out
	name, value := words[1], words[2]
	if prefix != "" {
		name = prefix + "/" + name
	}
	switch words[0] {
	case "dir":
		perm, _ := strconv.ParseUint(value, 8, 12)
		add(b, name, 0o40000|uint32(perm), 2, 0, "", "0:0")
	case "file":
		add(b, name, 0o100644, 1, 0, value, "0:0")
	case "link", "number":
		ino, _ := strconv.Atoi(value)
		links := map[string]int{"link": 2, "number": 1}[words[0]]
		add(b, name, 0o100644, links, ino, words[3], "0:0")
	case "sym":
		if strings.HasPrefix(value, "/") && prefix != "" {
			value = "/" + prefix + value
		}
		add(b, name, 0o120777, 1, 0, value, "0:0")
	case "char":
		add(b, name, 0o20600, 1, 0, "", value)
	case "block":
		add(b, name, 0o60600, 1, 0, "", value)
	case "fifo":
		add(b, name, 0o10600, 1, 0, "", "0:0")
	case "sock":
		add(b, name, 0o140600, 1, 0, "", "0:0")
	}
}

// add writes an entry. It checks nothing.
func add(b *bytes.Buffer, name string, mode uint32, links, ino int, body, device string) {
	major, minor, _ := strings.Cut(device, ":")
	x, _ := strconv.Atoi(major)
	y, _ := strconv.Atoi(minor)
	fmt.Fprintf(b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		ino, mode, 0, 0, links, 0, len(body), 0, 0, x, y, len(name)+1, 0, name)
	fill(b)
	b.WriteString(body)
	fill(b)
}

func fill(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
