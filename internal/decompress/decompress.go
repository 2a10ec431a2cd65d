// Package decompress reads gzip (https://www.rfc-editor.org/rfc/rfc1952), xz (https://tukaani.org/xz/xz-file-format.txt)
// and zstd (https://www.rfc-editor.org/rfc/rfc8878) from outside, with bounds on what a stream may make of itself.
package decompress

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"github.com/hookbuild/hookbuild/internal/download"
)

// maxWindow is the largest dictionary that a stream may ask for, in bytes: what xz -9 and zstd -19 use, doubled.
const maxWindow = 128 << 20

// NewReader returns what the stream r, compressed as the suffix says ("", ".gz", ".xz" or ".zst"), holds. More
// than limit bytes are a *download.VerifyError that names file. The caller closes it, and r.
func NewReader(r io.Reader, suffix, file string, limit int64) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	limited := func(r io.Reader) io.Reader { return &limiter{r: r, file: file, left: limit, limit: limit} }
	switch suffix {
	case "":
		return io.NopCloser(limited(buffered)), nil
	case ".gz":
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(limited(z)), nil
	case ".xz":
		z, err := newXZReader(buffered)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(limited(z)), nil
	case ".zst":
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{limited(z), z.IOReadCloser()}, nil
	}
	return nil, fmt.Errorf("compression %q is not supported: want .gz, .xz or .zst", suffix)
}

// limiter refuses to read more than its limit.
type limiter struct {
	r           io.Reader
	file        string
	left, limit int64
}

func (l *limiter) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, &download.VerifyError{
			File: l.file, What: "uncompressed size", Got: "more", Want: fmt.Sprintf("at most %d bytes", l.limit),
		}
	}
	return n, err
}

// newXZReader refuses a stream whose first block asks for a dictionary above maxWindow: the library makes it
// in one piece from the header alone.
func newXZReader(r *bufio.Reader) (io.Reader, error) {
	size, err := xzDictionary(r)
	if err != nil {
		return nil, err
	}
	if size > maxWindow {
		return nil, fmt.Errorf("xz dictionary of %d bytes: want at most %d", size, int64(maxWindow))
	}
	return xz.NewReader(r)
}

// The places of https://tukaani.org/xz/xz-file-format.txt that xzDictionary looks at.
const (
	xzStreamHeader = 12   // bytes before the first block
	xzMaxHeader    = 1024 // of a block
	xzHasPacked    = 0x40 // block flag: the compressed size follows
	xzHasUnpacked  = 0x80 // block flag: the uncompressed size follows
	xzFilters      = 0x03 // block flags: number of filters, less one
	xzLZMA2        = 0x21
)

var errXZ = errors.New("not an xz stream with a single LZMA2 filter")

// xzDictionary reads the dictionary size from the first block header without consuming it. A stream without
// a block has none.
func xzDictionary(r *bufio.Reader) (int64, error) {
	head, err := r.Peek(xzStreamHeader + xzMaxHeader)
	if err != nil && err != io.EOF {
		return 0, err
	}
	if len(head) <= xzStreamHeader {
		return 0, io.ErrUnexpectedEOF
	}
	block := head[xzStreamHeader:]
	if block[0] == 0 { // the index: no block
		return 0, nil
	}
	if size := (int(block[0]) + 1) * 4; len(block) < size {
		return 0, io.ErrUnexpectedEOF
	}
	flags, at := block[1], 2
	for _, has := range []byte{xzHasPacked, xzHasUnpacked} {
		if flags&has != 0 {
			at = skipVarint(block, at)
		}
	}
	if flags&xzFilters != 0 || at+3 > len(block) || block[at] != xzLZMA2 {
		return 0, errXZ
	}
	return lzma.DecodeDictCap(block[at+2])
}

// skipVarint returns the place after a number of seven bits a byte, low bits first.
func skipVarint(b []byte, at int) int {
	for at < len(b) && b[at]&0x80 != 0 {
		at++
	}
	return at + 1
}
