package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/initramfs/initramfstest"
)

// described is a line for each entry of a tree: all that counts, contents by their digest. Hard links are numbered.
func described(t testing.TB, tree *filetree.Tree) (lines []string) {
	t.Helper()
	links := map[*filetree.Inode]int{}
	for _, e := range tree.Entries() {
		if e.Kind != filetree.Symlink && e.Kind != filetree.Dir {
			if _, ok := links[e.Inode]; !ok {
				links[e.Inode] = len(links)
			}
		}
		perm := e.Perm
		if e.Kind == filetree.Symlink {
			perm = 0o777
		}
		line := fmt.Sprintf("%s %s %04o %d:%d", e.Path, e.Kind, perm, e.UID, e.GID)
		switch e.Kind {
		case filetree.Symlink:
			line += " -> " + e.Target
		case filetree.Char, filetree.Block:
			line += fmt.Sprintf(" %d:%d", e.Major, e.Minor)
		case filetree.Regular:
			sum := e.Data.SHA256()
			line += fmt.Sprintf(" %d %x", e.Data.Size(), sum[:4])
		}
		if n, ok := links[e.Inode]; ok {
			line += fmt.Sprintf(" #%d", n)
		}
		lines = append(lines, line)
	}
	return lines
}

// terse is the tree as a Rule has it.
func terse(t *testing.T, u *Unpacked) string {
	t.Helper()
	var out []string
	links := map[*filetree.Inode]int{}
	count := map[*filetree.Inode]int{}
	for _, e := range u.Tree.Entries() {
		count[e.Inode]++
	}
	for _, e := range u.Tree.Entries()[1:] {
		text := e.Path
		switch e.Kind {
		case filetree.Dir:
			text += fmt.Sprintf("/%o", e.Perm)
		case filetree.Symlink:
			text += "->" + e.Target
		case filetree.Regular:
			body, err := e.Data.ReadAll()
			must(t, err)
			text += "=" + string(body)
		default:
			text += fmt.Sprintf("(%s %d:%d)", e.Kind, e.Major, e.Minor)
		}
		if count[e.Inode] > 1 {
			if _, ok := links[e.Inode]; !ok {
				links[e.Inode] = len(links) + 1
			}
			text += fmt.Sprintf("#%d", links[e.Inode])
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestKernelRules(t *testing.T) {
	for _, r := range initramfstest.Rules() {
		t.Run(r.Name, func(t *testing.T) {
			file := ""
			for _, a := range r.Archives("") {
				file += gz(t, string(a))
			}
			spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
			must(t, err)
			u, err := Unpack(Open(strings.NewReader(file), Limits{}), spool, nil)
			must(t, err)
			if got := terse(t, u); got != r.Want {
				t.Errorf("got  %s\nwant %s", got, r.Want)
			}
			var dropped []string
			for _, d := range u.Dropped {
				dropped = append(dropped, d.Name)
			}
			if got := strings.Join(dropped, " "); got != r.Dropped {
				t.Errorf("dropped %v, want %s", u.Dropped, r.Dropped)
			}
		})
	}
}

func TestUnpackOwners(t *testing.T) {
	h := Header{Name: "f", Mode: typeRegular | 0o4755, UID: 1000, GID: noOwner, Links: 1}
	u, err := Unpack(Open(strings.NewReader(closeArchive(encode(h, "")+encode(Header{Name: "s", Mode: typeSymlink, UID: 5, GID: 6, Target: "f"}, ""))), Limits{}), nil, nil)
	must(t, err)
	want := []string{". directory 0755 0:0", "f file 4755 1000:0 0 e3b0c442 #0", "s symlink 0777 5:6 -> f"}
	if diff := cmp.Diff(want, described(t, u.Tree)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestBodies(t *testing.T) {
	r := initramfstest.Rule{Entries: "file a 1\nlink b 7 2\nlink c 7 3\n---\nfile a 4\nfile e"}
	u, err := Unpack(Open(bytes.NewReader(bytes.Join(r.Archives(""), nil)), Limits{}), nil, nil)
	must(t, err)
	got := map[string]int{}
	for _, e := range u.Tree.Entries() {
		if n, ok := u.Bodies[e.Inode]; ok {
			got[e.Path] = n
		}
		if e.Kind == filetree.Regular && e.Data.Size() > 0 {
			if _, err := e.Data.ReadAll(); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s can be opened: %v", e.Path, err)
			}
		}
	}
	if diff := cmp.Diff(map[string]int{"a": 3, "b": 2, "c": 2}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestUnpackToAFullDisk(t *testing.T) {
	spool, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(t, err)
	defer spool.Close()
	_, err = Unpack(Open(strings.NewReader(gz(t, archive("a", "1"))), Limits{}), spool, nil)
	if _, image := errors.AsType[*ImageError](err); err == nil || image {
		t.Errorf("got %v, want that the disk is full", err)
	}
}
