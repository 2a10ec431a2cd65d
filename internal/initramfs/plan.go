package initramfs

import (
	"fmt"
	"math"
	"strings"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

const (
	trailerName = "TRAILER!!!" // the name that ends an archive

	maxPath = 4095 // PATH_MAX without its NUL: the kernel skips a longer name or symlink target
	maxName = 255  // NAME_MAX of the kernel's ramfs and tmpfs

	typeFIFO    = 0o010000
	typeChar    = 0o020000
	typeDir     = 0o040000
	typeBlock   = 0o060000
	typeRegular = 0o100000
	typeSymlink = 0o120000
	typeSocket  = 0o140000
)

// UnsupportedError says that an archive cannot hold something, or that the kernel would drop it silently.
type UnsupportedError struct {
	Path   string // in the tree; "" where an option is at fault
	Origin string // where the entry came from
	What   string
}

// Error names the path and its origin.
func (e *UnsupportedError) Error() string {
	if e.Path == "" {
		return "initramfs: " + e.What
	}
	return fmt.Sprintf("%.80s of %s cannot be in an initramfs: %s", e.Path, e.Origin, e.What)
}

// record is an entry with the numbers that its header needs.
type record struct {
	filetree.Entry
	ino   uint32
	links uint32
	mode  uint32 // type and permissions
	size  int64  // of the body that follows this name
}

// plan numbers the entries of t from 1 in their order. Names of one file share its number. Only the last of
// them has the content: GNU cpio writes it there, and the kernel accepts it at any. Symlinks are never
// shared, since the kernel makes each one new from its own body.
func plan(t *filetree.Tree) ([]record, error) {
	entries := t.Entries()
	names := map[*filetree.Inode]uint32{} // how many each has
	for _, e := range entries {
		names[e.Inode]++
	}
	records := make([]record, 0, len(entries))
	seen := map[*filetree.Inode]uint32{} // how many of them have come
	numbers := map[*filetree.Inode]uint32{}
	next := uint32(1)
	for _, e := range entries {
		if what := obstacle(e); what != "" {
			return nil, &UnsupportedError{Path: e.Path, Origin: e.Origin, What: what}
		}
		r := newRecord(e)
		if linkable(e.Kind) {
			r.ino, r.links = numbers[e.Inode], names[e.Inode]
			if seen[e.Inode]++; seen[e.Inode] < r.links {
				r.size = 0
			}
		}
		if r.ino == 0 {
			r.ino, numbers[e.Inode] = next, next
			next++
		}
		records = append(records, r)
	}
	return records, nil
}

func linkable(k filetree.Kind) bool { return k == filetree.Regular || k == filetree.FIFO }

// newRecord returns the record of an entry as if it had no other name.
func newRecord(e filetree.Entry) record {
	r := record{Entry: e, links: 1}
	switch e.Kind {
	case filetree.Dir:
		r.mode, r.links = typeDir|e.Perm, 2
	case filetree.Symlink:
		// Linux has no modes of symlinks; 0777 is what every tool that asks is told.
		r.mode, r.size = typeSymlink|0o777, int64(len(e.Target))
	case filetree.FIFO:
		r.mode = typeFIFO | e.Perm
	default:
		r.mode, r.size = typeRegular|e.Perm, e.Data.Size()
	}
	return r
}

// obstacle says why e cannot be written, or nothing.
func obstacle(e filetree.Entry) string {
	switch {
	case e.Path == trailerName:
		return "the name marks the end of an archive"
	case len(e.Path) > maxPath:
		return fmt.Sprintf("the path has %d bytes, want at most %d", len(e.Path), maxPath)
	case e.Perm > 0o7777:
		return fmt.Sprintf("mode %#o, want 12 bits", e.Perm)
	}
	for name := range strings.SplitSeq(e.Path, "/") {
		if len(name) > maxName {
			return fmt.Sprintf("a component of the path has %d bytes, want at most %d", len(name), maxName)
		}
	}
	switch e.Kind {
	case filetree.Dir, filetree.FIFO:
		return ""
	case filetree.Char, filetree.Block:
		return fmt.Sprintf("a %s (%d:%d): the system makes its own in /dev", e.Kind, e.Major, e.Minor)
	case filetree.Symlink:
		return targetObstacle(e.Target)
	case filetree.Regular:
		if size := e.Data.Size(); size < 0 || size > math.MaxUint32 {
			return fmt.Sprintf("the file has %d bytes, want at most %d", size, uint32(math.MaxUint32))
		}
		return ""
	}
	return e.Kind.String()
}

func targetObstacle(target string) string {
	switch {
	case target == "" || strings.IndexByte(target, 0) >= 0:
		return fmt.Sprintf("the symlink's target %.80q is empty or has a NUL byte", target)
	case len(target) > maxPath:
		return fmt.Sprintf("the symlink's target has %d bytes, want at most %d", len(target), maxPath)
	}
	return ""
}
