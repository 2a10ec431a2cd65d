package initramfs

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// Verify reads the compressed archive r to its end and compares it with what Write(t, o) should have made:
// the entries, their order, every number, and contents by their SHA-256. It returns the first difference.
// It unpacks with the standard library, not with the one that Write packs with. Let r fail to stop it early.
func Verify(r io.Reader, t *filetree.Tree, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	records, err := plan(t)
	if err != nil {
		return err
	}
	packed := bufio.NewReaderSize(r, 256<<10)
	z, err := gzip.NewReader(packed)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	z.Multistream(false)
	if z.Name != "" || z.Comment != "" || len(z.Extra) != 0 || !z.ModTime.IsZero() {
		return errors.New("verify: the gzip header has a name, comment, extra field or time, want none")
	}
	if err := compare(NewReader(z), records, o.Epoch); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	switch _, err := packed.ReadByte(); {
	case err == nil:
		return errors.New("verify: something follows the gzip stream")
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("verify: %w", err)
	}
	return nil
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
	if r.Kind == filetree.Symlink {
		h.Target, h.Size = r.Target, 0
	}
	return h
}
