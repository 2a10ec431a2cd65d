package initramfs

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// segmentFormat enters every key. It has to change with the bytes that are made of the same entries.
const segmentFormat = "hookbuild initramfs segment 1"

// segmentKey is the digest of everything that decides about a segment's bytes: its archive with the digest of each
// body in the body's place, and how it is compressed.
func segmentKey(records []record, o Options) [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s %d\n%s\n", segmentFormat, o.compression(), o.EffectiveLevel(), compressors)
	var b []byte
	for _, r := range records {
		b = r.appendTo(b[:0], o.Epoch)
		switch {
		case r.mode&typeMask == typeSymlink:
			b = append(b, r.Target...)
		case r.size > 0:
			sum := r.Data.SHA256()
			b = append(b, sum[:]...)
		}
		h.Write(b)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// write writes the segment's bytes, from the cache where they are in it.
func (j job) write(ctx context.Context, out *sink, c *compressor, cache string) (cached bool, err error) {
	if cache == "" {
		return false, j.pack(ctx, out, c)
	}
	name := hex.EncodeToString(j.key[:])
	file := filepath.Join(cache, name[:2], name+"."+string(c.options.compression()))
	f, size, err := openKept(out.stopped, file)
	if err != nil {
		return false, err
	}
	if cached = f != nil; !cached {
		if f, size, err = j.keep(ctx, file, c); err != nil {
			return false, err
		}
	}
	defer f.Close()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{out}, io.LimitReader(f, size), make([]byte, 1<<20))
	if err == nil && n != size {
		err = fmt.Errorf("%s was cut while it was read: got %d bytes, want %d", file, n, size)
	}
	return cached, err
}

// pack compresses the segment and reads it back on the way.
func (j job) pack(ctx context.Context, out io.Writer, c *compressor) error {
	pr, pw := io.Pipe()
	verified := make(chan error, 1)
	go func() {
		packed := bufio.NewReaderSize(pr, 256<<10)
		err := verifyStream(packed, j.records, c.options)
		if err == nil {
			err = atEnd(packed)
		}
		pr.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		verified <- err
	}()
	_, err := compress(ctx, io.MultiWriter(out, pw), j.records, c)
	pw.CloseWithError(err) // nil is io.EOF for the reader
	if verr := <-verified; verr != nil && (err == nil || errors.Is(err, io.ErrClosedPipe)) {
		return fmt.Errorf("what was written is not the tree that was meant: %w", verr)
	}
	return err
}

// openKept opens a finished segment, which is a file that ends in the SHA-256 of what stands before it, and of
// which size bytes are the segment. It returns nil where there is none, or none whose digest is right.
func openKept(stopped func() error, file string) (f *os.File, size int64, err error) {
	f, err = os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	right, size, err := checkKept(stopped, f)
	if err != nil || !right {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

func checkKept(stopped func() error, f *os.File) (right bool, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return false, 0, err
	}
	if size = info.Size() - sha256.Size; size < 0 {
		return false, 0, nil
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, &source{r: io.LimitReader(f, size), stopped: stopped}, make([]byte, 256<<10)); err != nil {
		return false, 0, err
	}
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(f, want); err != nil {
		return false, 0, err
	}
	return bytes.Equal(h.Sum(nil), want), size, nil
}

// keep makes the segment in the cache and returns it open.
func (j job) keep(ctx context.Context, file string, c *compressor) (_ *os.File, size int64, err error) {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, 0, err
	}
	f, err := os.CreateTemp(dir, ".segment-*")
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	out := &sink{w: f, stopped: ctx.Err, hash: sha256.New()}
	if err := j.pack(ctx, out, c); err != nil {
		return nil, 0, err
	}
	if _, err := f.Write(out.hash.Sum(nil)); err != nil {
		return nil, 0, err
	}
	return f, out.n, os.Rename(f.Name(), file)
}
