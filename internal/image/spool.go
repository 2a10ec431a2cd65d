package image

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"syscall"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/hookbuild/hookbuild/internal/registry"
)

// found is an image in a place. Its configuration is read and verified; its layers are verified as they are read.
type found struct {
	id        string // digest of the configuration
	config    *registry.Config
	manifest  string   // a registry's digest; "" where it is from elsewhere
	documents [][]byte // the configuration, and the manifests that led to it
	layers    []packed // lowest first, one for each diff id
	close     func()
}

// packed is a layer as it lies in a place.
type packed struct {
	diffID string // sha256:… without compression
	entry  string // where it lies there; "" where that has no name
	// open returns the bytes there. Where the place has a digest of them, an error stands in place of their end if
	// they are others. The caller closes it.
	open func(context.Context) (io.ReadCloser, error)
	// taken is the file in the cache that the place's bytes are in already; nil where there is none.
	taken *intake
}

// The bounds on what a stream may make of itself. A disk image full of zeros is an honest layer, and packs a thousand
// to one.
const (
	freeUnpacked = 512 << 20 // bytes that may come of any number of them
	maxRatio     = 200       // bytes for each packed one, beyond that
	maxWindow    = 128 << 20
)

// unpackTo writes what in holds without its compression, by the bytes that it begins with: media types lie.
// Everything behind the first stream must be further streams of its kind, as in eStargz.
func unpackTo(w io.Writer, in io.Reader, limit int64) error {
	counted := &counter{r: in}
	src := bufio.NewReaderSize(counted, 64<<10)
	out, err := unpacked(src)
	if err != nil {
		return err
	}
	defer out.Close()
	bounded := &limiter{r: out, packed: counted, limit: limit}
	if _, err := io.CopyBuffer(w, struct{ io.Reader }{bounded}, make([]byte, 128<<10)); err != nil {
		return err
	}
	behind, err := io.Copy(io.Discard, src)
	if err == nil && behind > 0 {
		err = fmt.Errorf("%d bytes behind its end", behind)
	}
	return err
}

// What compressed streams begin with. Two bytes would not do: a tar may begin with the name BZ.
const (
	gzipMagic = "\x1f\x8b\x08"
	zstdMagic = "\x28\xb5\x2f\xfd"
	xzMagic   = "\xfd7zXZ\x00"
	longest   = len(xzMagic)
)

func isPacked(head []byte) bool {
	return slices.ContainsFunc([]string{gzipMagic, zstdMagic, xzMagic}, func(magic string) bool {
		return bytes.HasPrefix(head, []byte(magic))
	})
}

// unpacked reads gzip (https://www.rfc-editor.org/rfc/rfc1952), zstd (https://www.rfc-editor.org/rfc/rfc8878) and
// what is not compressed.
func unpacked(src *bufio.Reader) (io.ReadCloser, error) {
	head, err := src.Peek(longest)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte(gzipMagic)):
		z, err := gzip.NewReader(src)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return z, err
	case bytes.HasPrefix(head, []byte(zstdMagic)):
		z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(1<<62))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case isPacked(head):
		return nil, errors.New("compressed as xz, want gzip, zstd or none")
	}
	return io.NopCloser(src), nil
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// limiter ends a stream that grows beyond bounds.
type limiter struct {
	r      io.Reader
	packed *counter
	n      int64
	limit  int64
}

func (l *limiter) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.n += int64(n)
	if l.n > l.limit {
		return 0, fmt.Errorf("more than %d bytes without compression", l.limit)
	}
	if l.n > freeUnpacked && l.n/maxRatio > l.packed.n {
		return 0, fmt.Errorf("%d bytes so far of %d compressed ones, want at most %d times as many", l.n, l.packed.n, maxRatio)
	}
	return n, err
}

// verifier compares digest and size at the end of what it reads.
type verifier struct {
	io.ReadCloser
	hash hash.Hash
	want v1.Hash
	left int64
	size int64
}

func verified(r io.ReadCloser, d v1.Descriptor) io.ReadCloser {
	return &verifier{ReadCloser: r, hash: sha256.New(), want: d.Digest, left: d.Size, size: d.Size}
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n])
	v.left -= int64(n)
	if v.left < 0 || err == io.EOF && v.left > 0 {
		return 0, fmt.Errorf("got %d bytes, want %d", v.size-v.left, v.size)
	}
	if err == io.EOF {
		if got := hex.EncodeToString(v.hash.Sum(nil)); got != v.want.Hex {
			return 0, fmt.Errorf("got sha256:%s, want %s", got, v.want)
		}
	}
	return n, err
}

// cancelReader ends with its context.
type cancelReader struct {
	ctx context.Context // for the time of one layer
	r   io.Reader
}

func (r *cancelReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// openRegular opens a file that is one; a pipe would block.
func openRegular(file string) (*os.File, error) {
	return regular(os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0))
}

func regular(f *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("want a regular file, not %s", info.Mode().Type())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
