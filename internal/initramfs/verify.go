package initramfs

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/unpack"
)

// Verify reads the compressed archive r to its end and compares it with what Write(t, o) should have made:
// the entries, their order, every number, and contents by their SHA-256. It returns the first difference.
// It unpacks gzip with the standard library, not with the one that Write packs with. Let r fail to stop it early.
func Verify(r io.Reader, t *filetree.Tree, o Options) error {
	return VerifySegments(context.Background(), r, []Segment{{Entries: t.Entries()}}, o)
}

// VerifySegments is Verify for what WriteSegments(segments, o) should have made. It also holds each segment to one
// compressed stream, without a byte between two of them.
func VerifySegments(ctx context.Context, r io.Reader, segments []Segment, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	packed := bufio.NewReaderSize(&source{r: r, stopped: ctx.Err}, 256<<10)
	for _, s := range segments {
		records, _, err := plan(s.Entries, o.Dedup)
		if err != nil {
			return err
		}
		if err := verifyStream(packed, records, o); err != nil {
			return fmt.Errorf("verify%s: %w", s.title(), err)
		}
	}
	if err := atEnd(packed); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

// atEnd says whether r is through.
func atEnd(r *bufio.Reader) error {
	switch _, err := r.ReadByte(); {
	case err == nil:
		return errors.New("something follows the compressed stream")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// verifyStream reads one compressed stream, which must hold the records.
func verifyStream(packed *bufio.Reader, records []record, o Options) error {
	z, err := openStream(packed, o.compression())
	if err != nil {
		return err
	}
	defer z.Close()
	return compare(NewReader(z), records, o.Epoch)
}

// openStream is stricter than it need be to read: the header of gzip has no room for a name or a time.
func openStream(packed *bufio.Reader, c Compression) (io.ReadCloser, error) {
	if c == Zstd {
		return unpack.NewReader(packed, unpack.Zstd)
	}
	z, err := gzip.NewReader(packed)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	if z.Name != "" || z.Comment != "" || len(z.Extra) != 0 || !z.ModTime.IsZero() {
		return nil, errors.New("the gzip header has a name, comment, extra field or time, want none")
	}
	return z, nil
}

// compare reads the archive a, which must hold the records.
func compare(a *Reader, records []record, epoch int64) error {
	buf := make([]byte, 256<<10)
	for _, want := range records {
		got, err := a.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s is missing", want.Path)
		}
		if err != nil {
			return err
		}
		if wanted := want.header(epoch); got != wanted {
			return fmt.Errorf("%s: got %+v, want %+v", want.Path, got, wanted)
		}
		if got.Size == 0 {
			continue
		}
		hash := sha256.New()
		if _, err := io.CopyBuffer(hash, a, buf); err != nil {
			return fmt.Errorf("%s: %w", want.Path, err)
		}
		if got, want, path := [sha256.Size]byte(hash.Sum(nil)), want.Data.SHA256(), want.Path; got != want {
			return fmt.Errorf("%s: got content with sha256 %x, want %x", path, got, want)
		}
	}
	h, err := a.Next()
	if err == nil {
		return fmt.Errorf("%.80q is too much", h.Name)
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// header is what a reader must find for r.
func (r record) header(epoch int64) Header {
	h := Header{
		Name: r.Path, Inode: r.ino, Mode: r.mode, UID: r.UID, GID: r.GID,
		Links: r.links, MTime: epoch, Size: r.size,
	}
	switch r.Kind {
	case filetree.Symlink:
		h.Target, h.Size = r.Target, 0
	case filetree.Char, filetree.Block:
		h.RMajor, h.RMinor = r.Major, r.Minor
	}
	return h
}

// source lets nothing be read once it is stopped.
type source struct {
	r       io.Reader
	stopped func() error // ctx.Err
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.stopped(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}
