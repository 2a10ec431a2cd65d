// Package initramfs writes a filetree.Tree as the compressed cpio archive that the kernel unpacks into its
// first root file system, whole or in segments that are kept in a cache, and reads such files back: its own to
// verify them, any to look into. Format: newc in gzip or zstd, one archive or several behind each other,
// https://docs.kernel.org/driver-api/early-userspace/buffer-format.html; what init/initramfs.c does with it
// decides where the text is silent.
package initramfs

import (
	"context"
	"hash"
	"io"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// GNU cpio and the kernel's own gen_init_cpio fill an archive up to this.
const archiveBlock = 512

// Stats is what was written.
type Stats struct {
	Entries    int            // paths, the root among them, the trailers not
	Unpacked   int64          // bytes of file contents, a file with several names counted once
	Linked     int64          // bytes of file contents that Options.Dedup has saved
	Archive    int64          // bytes of the cpio archives
	Compressed int64          // bytes given to the writer
	Segments   []SegmentStats // of WriteSegments, in their order; nil for Write
}

// add counts the records of one archive.
func (s *Stats) add(records []record, linked int64) {
	s.Entries += len(records)
	s.Linked += linked
	s.Unpacked += unpacked(records)
}

func unpacked(records []record) (n int64) {
	for _, r := range records {
		if r.Kind == filetree.Regular {
			n += r.size
		}
	}
	return n
}

// Write writes t to w as one archive. The same tree and options give the same bytes, whatever the machine. Nothing
// is written of a tree that newc or the kernel cannot hold: the error is then an *UnsupportedError. A cancelled
// ctx stops it between two blocks. After an error, w holds a part of an archive, of no use.
func Write(ctx context.Context, w io.Writer, t *filetree.Tree, o Options) (Stats, error) {
	if err := o.Validate(); err != nil {
		return Stats{}, err
	}
	records, linked, err := plan(t.Entries(), o.Dedup)
	if err != nil {
		return Stats{}, err
	}
	out := &sink{w: w, stopped: ctx.Err}
	archive, err := compress(ctx, out, records, &compressor{options: o})
	if err != nil {
		return Stats{}, err
	}
	s := Stats{Archive: archive, Compressed: out.n}
	s.add(records, linked)
	return s, nil
}

// compress writes the compressed archive and returns its size before compression.
func compress(ctx context.Context, out io.Writer, records []record, c *compressor) (size int64, err error) {
	z, err := c.begin(out)
	if err != nil {
		return 0, err
	}
	defer c.finish()
	archive := &sink{w: z, stopped: ctx.Err}
	if err := writeArchive(archive, records, c.options.Epoch); err != nil {
		return 0, err
	}
	return archive.n, z.Close()
}

// sink counts and hashes what passes, and lets nothing pass once it is stopped.
type sink struct {
	w       io.Writer
	stopped func() error // ctx.Err
	hash    hash.Hash    // nil: none
	n       int64
}

func (s *sink) Write(p []byte) (int, error) {
	if err := s.stopped(); err != nil {
		return 0, err
	}
	n, err := s.w.Write(p)
	s.n += int64(n)
	if s.hash != nil {
		s.hash.Write(p[:n])
	}
	return n, err
}
