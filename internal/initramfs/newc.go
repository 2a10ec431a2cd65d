package initramfs

import (
	"fmt"
	"io"
)

// appendTo appends the header and the name of r, filled up to 4 bytes, as the archive has them. The body comes
// next, and is filled up as well.
func (r record) appendTo(b []byte, epoch int64) []byte {
	return appendHeader(b, r.header(epoch), r.size)
}

// appendHeader takes the size of the body beside h: a reader's Header has none for a symlink.
func appendHeader(b []byte, h Header, size int64) []byte {
	start := len(b)
	b = append(b, magic...)
	for _, v := range [...]int64{
		int64(h.Inode), int64(h.Mode), int64(h.UID), int64(h.GID), int64(h.Links), h.MTime, size,
		int64(h.Major), int64(h.Minor), int64(h.RMajor), int64(h.RMinor), int64(len(h.Name)) + 1, 0,
	} {
		b = fmt.Appendf(b, "%08X", v) // as GNU cpio writes it
	}
	b = append(append(b, h.Name...), 0)
	return append(b, fill[:padding(int64(len(b)-start))]...)
}

// fill is what fills up with zeros.
var fill [archiveBlock]byte

// trailer ends an archive that has n bytes.
func trailer(n int64) []byte {
	b := appendHeader(nil, Header{Name: trailerName, Links: 1}, 0)
	return append(b, fill[:-(n+int64(len(b)))&(archiveBlock-1)]...)
}

// archiveSize is how long the archive of the records will be.
func archiveSize(records []record, epoch int64) int64 {
	var n int64
	for _, r := range records {
		n += int64(len(r.appendTo(nil, epoch))) + r.size + padding(r.size)
	}
	return n + int64(len(trailer(n)))
}

// writeArchive writes the newc archive. The headers are ours: the libraries for cpio lose device numbers, and
// cut sizes of 4 GiB silently.
func writeArchive(out *sink, records []record, epoch int64) error {
	buf := make([]byte, 256<<10)
	var head []byte
	for _, r := range records {
		head = r.appendTo(head[:0], epoch)
		if _, err := out.Write(head); err != nil {
			return fmt.Errorf("write %s: %w", r.Path, err)
		}
		if err := writeBody(out, r, buf); err != nil {
			return fmt.Errorf("write %s of %s: %w", r.Path, r.Origin, err)
		}
	}
	if _, err := out.Write(trailer(out.n)); err != nil {
		return fmt.Errorf("write the trailer: %w", err)
	}
	return nil
}

// writeBody writes the size bytes that the header has announced, filled up to 4.
func writeBody(w *sink, r record, buf []byte) error {
	if r.size == 0 {
		return nil
	}
	if _, err := copyBody(w, r, buf); err != nil {
		return err
	}
	_, err := w.Write(fill[:padding(r.size)])
	return err
}

func copyBody(w *sink, r record, buf []byte) (int64, error) {
	if r.mode&typeMask == typeSymlink {
		n, err := io.WriteString(w, r.Target)
		return int64(n), err
	}
	body, err := r.Data.Open()
	if err != nil {
		return 0, err
	}
	defer body.Close()
	// A plain loop ends in the blob's own verdict about its digest, which io.CopyN would not wait for.
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{body}, buf)
	if err == nil && n != r.size {
		err = fmt.Errorf("got %d bytes, want %d", n, r.size)
	}
	return n, err
}
