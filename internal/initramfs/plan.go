package initramfs

import (
	"crypto/sha256"
	"fmt"
	"math"
	"strings"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

const (
	trailerName = "TRAILER!!!" // the name that ends an archive

	maxPath = 4095 // PATH_MAX without its NUL: the kernel skips a longer name or symlink target
	maxName = 255  // NAME_MAX of the kernel's ramfs and tmpfs

	// A device number has 12 and 20 bits in the kernel (include/linux/kdev_t.h); it drops the rest silently.
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1

	// To chown(2) this is "leave it": the kernel would leave the file to root.
	noOwner = math.MaxUint32

	typeMask    = 0o170000
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

func unsupported(e filetree.Entry, format string, args ...any) error {
	return &UnsupportedError{Path: e.Path, Origin: e.Origin, What: fmt.Sprintf(format, args...)}
}

// record is an entry with the numbers that its header needs.
type record struct {
	filetree.Entry
	ino   uint32
	links uint32
	mode  uint32 // type and permissions
	size  int64  // of the body that follows this name
}

// plan numbers the entries from 1 in their order. Names of one file share its number; with dedup, so do names of
// equal files. Only the last of them has the content: GNU cpio writes it there, and the kernel accepts it at any.
// Symlinks are never shared, since the kernel makes each one new from its own body. Linked is how many bytes of
// contents dedup has saved.
func plan(entries []filetree.Entry, dedup bool) (records []record, linked int64, err error) {
	files := map[*filetree.Inode]*filetree.Inode{} // which one stands for it
	names := map[*filetree.Inode]uint32{}          // how many each has
	same := map[identity]*filetree.Inode{}
	for _, e := range entries {
		if err := check(e); err != nil {
			return nil, 0, err
		}
		if _, known := files[e.Inode]; !known {
			files[e.Inode] = e.Inode
			if dedup && e.Kind == filetree.Regular && e.Data.Size() > 0 {
				id := identify(e.Inode)
				if first, ok := same[id]; ok {
					files[e.Inode] = first
					linked += id.size
				} else {
					same[id] = e.Inode
				}
			}
		}
		names[files[e.Inode]]++
	}
	return number(entries, files, names), linked, nil
}

// number makes the records. Files says which inode stands for each, names how many paths that one has.
func number(entries []filetree.Entry, files map[*filetree.Inode]*filetree.Inode, names map[*filetree.Inode]uint32) []record {
	records := make([]record, 0, len(entries))
	seen := map[*filetree.Inode]uint32{} // how many of its names have come
	numbers := map[*filetree.Inode]uint32{}
	next := uint32(1)
	for _, e := range entries {
		r, file := newRecord(e), files[e.Inode]
		if linkable(e.Kind) {
			r.ino, r.links = numbers[file], names[file]
			if seen[file]++; seen[file] < r.links {
				r.size = 0
			}
		}
		if r.ino == 0 {
			r.ino, numbers[file] = next, next
			next++
		}
		records = append(records, r)
	}
	return records
}

// identity is what two files must share to be one.
type identity struct {
	size           int64
	sum            [sha256.Size]byte
	perm, uid, gid uint32
}

func identify(n *filetree.Inode) identity {
	return identity{n.Data.Size(), n.Data.SHA256(), n.Perm, n.UID, n.GID}
}

func linkable(k filetree.Kind) bool { return k != filetree.Dir && k != filetree.Symlink }

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
	case filetree.Char:
		r.mode = typeChar | e.Perm
	case filetree.Block:
		r.mode = typeBlock | e.Perm
	default:
		r.mode, r.size = typeRegular|e.Perm, e.Data.Size()
	}
	return r
}

// check says why e cannot be written, or nil.
func check(e filetree.Entry) error {
	switch {
	case e.Path == trailerName:
		return unsupported(e, "the name marks the end of an archive")
	case len(e.Path) > maxPath:
		return unsupported(e, "the path has %d bytes, want at most %d", len(e.Path), maxPath)
	case e.Path == "" || strings.IndexByte(e.Path, 0) >= 0:
		return unsupported(e, "the path %.80q is empty or has a NUL byte", e.Path)
	case e.Perm > 0o7777:
		return unsupported(e, "mode %#o, want 12 bits", e.Perm)
	case e.UID == noOwner || e.GID == noOwner:
		return unsupported(e, "owner %d:%d, want at most %d", e.UID, e.GID, uint32(noOwner-1))
	}
	for name := range strings.SplitSeq(e.Path, "/") {
		if len(name) > maxName {
			return unsupported(e, "a component of the path has %d bytes, want at most %d", len(name), maxName)
		}
	}
	switch e.Kind {
	case filetree.Dir, filetree.FIFO:
		return nil
	case filetree.Char, filetree.Block:
		if e.Major > maxMajor || e.Minor > maxMinor {
			return unsupported(e, "device %d:%d, want at most %d:%d", e.Major, e.Minor, maxMajor, maxMinor)
		}
		return nil
	case filetree.Symlink:
		return checkTarget(e)
	case filetree.Regular:
		if size := e.Data.Size(); size < 0 || size > math.MaxUint32 {
			return unsupported(e, "the file has %d bytes, want at most %d", size, uint32(math.MaxUint32))
		}
		return nil
	}
	return unsupported(e, "%s", e.Kind)
}

func checkTarget(e filetree.Entry) error {
	switch {
	case e.Target == "" || strings.IndexByte(e.Target, 0) >= 0:
		return unsupported(e, "the symlink's target %.80q is empty or has a NUL byte", e.Target)
	case len(e.Target) > maxPath:
		return unsupported(e, "the symlink's target has %d bytes, want at most %d", len(e.Target), maxPath)
	}
	return nil
}
