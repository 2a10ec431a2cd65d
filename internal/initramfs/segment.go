package initramfs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// Segment is a part of a tree that becomes an archive of its own, with a trailer, compressed on its own. (Without
// the trailers the kernel would join hard links by their numbers over all segments.) Its bytes depend on nothing
// outside it.
type Segment struct {
	Name    string           // for people: it does not enter the archive
	Entries []filetree.Entry // parents before what they hold, here or in an earlier segment
}

// title is the name in an error.
func (s Segment) title() string {
	if s.Name == "" {
		return ""
	}
	return fmt.Sprintf(" segment %q", s.Name)
}

// Split divides t into segments, sorted by their names. Of says where an entry belongs; two rules go before it:
// all paths of one file are in the first segment that any of them belongs to, and a directory is in the first that
// it or anything below it is in, so that the kernel, which makes no parents, has it in time. Each entry is in
// exactly one segment.
func Split(t *filetree.Tree, of func(filetree.Entry) string) []Segment {
	entries := t.Entries()
	name := make([]string, len(entries))
	first := map[*filetree.Inode]string{} // the first name of all its paths
	for i, e := range entries {
		name[i] = of(e)
		if old, ok := first[e.Inode]; !ok || name[i] < old {
			first[e.Inode] = name[i]
		}
	}
	dirs := map[string]int{}
	for i, e := range entries {
		if e.Kind == filetree.Dir {
			dirs[e.Path] = i
		} else {
			name[i] = first[e.Inode]
		}
	}
	for i := len(entries) - 1; i > 0; i-- { // what is below comes after
		parent := dirs[path.Dir(entries[i].Path)]
		name[parent] = min(name[parent], name[i])
	}
	parts := map[string][]filetree.Entry{}
	for i, e := range entries {
		parts[name[i]] = append(parts[name[i]], e)
	}
	segments := make([]Segment, 0, len(parts))
	for _, n := range slices.Sorted(maps.Keys(parts)) {
		segments = append(segments, Segment{Name: n, Entries: parts[n]})
	}
	return segments
}

// Duplicate is one content, mode and owner that files of several segments have. Hard links cannot reach from one
// segment into another.
type Duplicate struct {
	Bytes  int64 // of the content
	Wasted int64 // of all copies but one
	Paths  []DuplicatePath
}

// DuplicatePath is where a copy is.
type DuplicatePath struct{ Segment, Path string }

// Duplicates finds files that would be one in a single segment with Options.Dedup and are not in these, those that
// waste most first. Nothing is read.
func Duplicates(segments []Segment) []Duplicate {
	type copies struct {
		paths []DuplicatePath // the first path in each segment
	}
	all := map[identity]*copies{}
	for _, s := range segments {
		here := map[identity]bool{}
		for _, e := range s.Entries {
			if e.Kind != filetree.Regular || e.Data.Size() <= 0 {
				continue
			}
			id := identify(e.Inode)
			if here[id] {
				continue
			}
			here[id] = true
			if all[id] == nil {
				all[id] = &copies{}
			}
			all[id].paths = append(all[id].paths, DuplicatePath{s.Name, e.Path})
		}
	}
	found := []Duplicate{}
	for id, c := range all {
		if n := int64(len(c.paths)); n > 1 {
			found = append(found, Duplicate{Bytes: id.size, Wasted: id.size * (n - 1), Paths: c.paths})
		}
	}
	slices.SortFunc(found, func(a, b Duplicate) int {
		return cmp.Or(cmp.Compare(b.Wasted, a.Wasted), cmp.Compare(a.Paths[0].Path, b.Paths[0].Path))
	})
	return found
}

// SegmentStats is what was written of one segment.
type SegmentStats struct {
	Name       string
	Key        [sha256.Size]byte // of everything that decides about its bytes
	Cached     bool              // it was copied from the cache
	Entries    int
	Unpacked   int64 // bytes of file contents, a file with several names counted once
	Linked     int64 // bytes of file contents that Options.Dedup has saved
	Archive    int64 // bytes of the cpio archive
	Compressed int64 // bytes of it in the file
}

// WriteSegments writes the segments to w, one compressed archive behind the other. The same segments and options
// give the same bytes, whatever the machine and whatever is in the cache. What Write says of errors and of ctx
// holds here, too; a directory that is missing, or a path or hard link that is in two segments, is an
// *UnsupportedError.
//
// Cache is a directory for finished segments, made where it is missing; "" is none. A segment that is there is
// copied after its digest was checked; any other is read back while it is made, compared with its entries, and
// kept. Whatever is in the cache may be deleted at any time.
func WriteSegments(ctx context.Context, w io.Writer, segments []Segment, o Options, cache string) (Stats, error) {
	if err := o.Validate(); err != nil {
		return Stats{}, err
	}
	jobs, err := planSegments(segments, o)
	if err != nil {
		return Stats{}, err
	}
	out := &sink{w: w, stopped: ctx.Err}
	var s Stats
	c := &compressor{options: o}
	for _, j := range jobs {
		before := out.n
		cached, err := j.write(ctx, out, c, cache)
		if err != nil {
			return Stats{}, fmt.Errorf("initramfs%s: %w", j.segment.title(), err)
		}
		s.add(j.records, j.linked)
		one := SegmentStats{
			Name: j.segment.Name, Key: j.key, Cached: cached, Entries: len(j.records), Unpacked: unpacked(j.records),
			Linked: j.linked, Archive: archiveSize(j.records, o.Epoch), Compressed: out.n - before,
		}
		s.Archive += one.Archive
		s.Segments = append(s.Segments, one)
	}
	s.Compressed = out.n
	return s, nil
}

// job is a segment to write.
type job struct {
	segment Segment
	records []record
	linked  int64
	key     [sha256.Size]byte
}

// planSegments makes sure of what the kernel would not say.
func planSegments(segments []Segment, o Options) ([]job, error) {
	kinds := map[string]filetree.Kind{} // of all paths so far
	homes := map[*filetree.Inode]int{}  // which segment has it
	jobs := make([]job, 0, len(segments))
	for i, s := range segments {
		for _, e := range s.Entries {
			if _, twice := kinds[e.Path]; twice {
				return nil, unsupported(e, "the path comes twice")
			}
			parent, ok := kinds[path.Dir(e.Path)]
			if e.Path != "." && (!ok || parent != filetree.Dir) {
				return nil, unsupported(e, "no directory comes before it, and the kernel makes none")
			}
			kinds[e.Path] = e.Kind
			if home, known := homes[e.Inode]; known && home != i && linkable(e.Kind) {
				return nil, unsupported(e, "a hard link to a file in another segment")
			}
			homes[e.Inode] = i
		}
		records, linked, err := plan(s.Entries, o.Dedup)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, job{segment: s, records: records, linked: linked, key: segmentKey(records, o)})
	}
	return jobs, nil
}
