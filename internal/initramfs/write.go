// Package initramfs writes a filetree.Tree as the compressed cpio archive that the kernel unpacks into its
// first root file system, and reads such an archive back to verify it. Format: newc in gzip,
// https://docs.kernel.org/driver-api/early-userspace/buffer-format.html; what init/initramfs.c does with it
// decides where the text is silent.
package initramfs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"time"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/pgzip"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

const (
	defaultLevel = 6

	// The compressor works on blocks of this size, each on its own. The bytes depend on the size and not on
	// how many are under way, which bounds the memory: about 3 blocks and 1 MiB of state for each.
	blockSize   = 1 << 20
	concurrency = 4

	// GNU cpio and the kernel's own gen_init_cpio fill the archive up to this.
	archiveBlock = 512
)

// Options says how an archive is written. The zero value is a good one.
type Options struct {
	Epoch int64 // every mtime, in seconds since 1970, 0 to 2^32-1
	Level int   // of gzip, 1 (fast) to 9 (small); 0 is 6
}

// Validate reports all faults of the options.
func (o Options) Validate() error {
	var errs []error
	if o.Epoch < 0 || o.Epoch > math.MaxUint32 {
		errs = append(errs, &UnsupportedError{What: fmt.Sprintf("time %d, want 0 to %d", o.Epoch, uint32(math.MaxUint32))})
	}
	if o.Level < 0 || o.Level > 9 {
		errs = append(errs, fmt.Errorf("gzip level %d, want 1 to 9, or 0 for %d", o.Level, defaultLevel))
	}
	return errors.Join(errs...)
}

// Stats is what was written.
type Stats struct {
	Entries    int               // paths, the root among them, the trailer not
	Unpacked   int64             // bytes of file contents, a file with several names counted once
	Archive    int64             // bytes of the cpio archive
	Compressed int64             // bytes given to the writer
	SHA256     [sha256.Size]byte // of the compressed bytes
}

// Write writes t to w. The same tree and options give the same bytes, whatever the machine. Nothing is
// written of a tree that newc or the kernel cannot hold: the error is then an *UnsupportedError. A cancelled
// ctx stops it between two blocks. After an error, w holds a part of an archive, of no use.
func Write(ctx context.Context, w io.Writer, t *filetree.Tree, o Options) (Stats, error) {
	if err := o.Validate(); err != nil {
		return Stats{}, err
	}
	records, err := plan(t)
	if err != nil {
		return Stats{}, err
	}
	out := &sink{w: w, stopped: ctx.Err, hash: sha256.New()}
	archive, err := compress(ctx, out, records, o)
	if err != nil {
		return Stats{}, err
	}
	s := Stats{Entries: len(records), Archive: archive, Compressed: out.n}
	for _, r := range records {
		if r.Kind == filetree.Regular {
			s.Unpacked += r.size
		}
	}
	out.hash.Sum(s.SHA256[:0])
	return s, nil
}

// compress writes the archive through gzip and returns its size before compression.
func compress(ctx context.Context, out io.Writer, records []record, o Options) (size int64, err error) {
	level := o.Level
	if level == 0 {
		level = defaultLevel // the library's own default is 5
	}
	z, err := pgzip.NewWriterLevel(out, level)
	if err != nil {
		return 0, err
	}
	// Close leaves the library's goroutine behind where a write failed; Reset waits for it in every case.
	defer z.Reset(io.Discard)
	if err := z.SetConcurrency(blockSize, concurrency); err != nil {
		return 0, err
	}
	z.ModTime = time.Unix(0, 0) // the zero time.Time is not zero in the header
	archive := &sink{w: z, stopped: ctx.Err}
	if err := writeArchive(archive, records, o.Epoch); err != nil {
		return 0, err
	}
	return archive.n, z.Close()
}

// writeArchive writes the newc archive.
//
// The library is used for headers and padding only, with a field of Links, Inode and Size for each name of a
// file, which it leaves as they are. It must not be given a Checksum (one spoils every later header of the
// process), a size of 4 GiB (cut silently) or a device (its number is lost): plan sees to that.
func writeArchive(out *sink, records []record, epoch int64) error {
	w := cpio.NewWriter(out)
	buf := make([]byte, 256<<10)
	for _, r := range records {
		h := &cpio.Header{
			Name: r.Path, Inode: int64(r.ino), Links: int(r.links), Mode: cpio.FileMode(r.mode),
			Uid: int(r.UID), Guid: int(r.GID), ModTime: time.Unix(epoch, 0), Size: r.size,
		}
		if err := w.WriteHeader(h); err != nil {
			return fmt.Errorf("write %s: %w", r.Path, err)
		}
		if err := writeBody(w, r, buf); err != nil {
			return fmt.Errorf("write %s of %s: %w", r.Path, r.Origin, err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write the trailer: %w", err)
	}
	_, err := out.Write(make([]byte, -out.n&(archiveBlock-1)))
	return err
}

// writeBody writes the size bytes that the header has announced.
func writeBody(w io.Writer, r record, buf []byte) error {
	if r.size == 0 {
		return nil
	}
	if r.Kind == filetree.Symlink {
		_, err := io.WriteString(w, r.Target)
		return err
	}
	body, err := r.Data.Open()
	if err != nil {
		return err
	}
	defer body.Close()
	// A plain loop ends in the blob's own verdict about its digest, which io.CopyN would not wait for.
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{body}, buf)
	if err == nil && n != r.size {
		err = fmt.Errorf("got %d bytes, want %d", n, r.size)
	}
	return err
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
