// Package unpack reads one compressed stream out of a file that may go on behind it, as the files that a boot
// loader loads do. It knows formats by their first two bytes, as the kernel's lib/decompress.c does, and stands
// at the byte after the stream when it is through. Formats: gzip (https://www.rfc-editor.org/rfc/rfc1952),
// zstd (https://www.rfc-editor.org/rfc/rfc8878), xz (https://tukaani.org/xz/xz-file-format.txt) and LZ4's legacy
// frame (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md).
package unpack

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// Format is a compression, by the name that the kernel's configuration has for it, in small letters.
type Format string

// The formats that the kernel knows. The last three are told apart here and not read.
const (
	Gzip  Format = "gzip"
	XZ    Format = "xz"
	Zstd  Format = "zstd"
	LZ4   Format = "lz4"
	Bzip2 Format = "bzip2"
	LZMA  Format = "lzma"
	LZO   Format = "lzo"
)

// Detect tells the format by the first two bytes of head, "" where it is none of them.
func Detect(head []byte) Format {
	if len(head) < 2 {
		return ""
	}
	switch [2]byte(head) {
	case [2]byte{0x1f, 0x8b}, [2]byte{0x1f, 0x9e}:
		return Gzip
	case [2]byte{0xfd, '7'}:
		return XZ
	case [2]byte{0x28, 0xb5}:
		return Zstd
	case [2]byte{0x02, 0x21}:
		return LZ4
	case [2]byte{'B', 'Z'}:
		return Bzip2
	case [2]byte{0x5d, 0x00}:
		return LZMA
	case [2]byte{0x89, 'L'}:
		return LZO
	}
	return ""
}

// Error says that a stream cannot be read: it is damaged, cut, asks for too much memory, or its reader failed.
type Error struct {
	Format Format
	Err    error
}

// Error names the format.
func (e *Error) Error() string { return fmt.Sprintf("%s stream: %v", e.Format, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// NewReader returns what the one stream of the format f that begins at src holds. When it gives io.EOF, sums
// have been compared and src is behind the stream; only LZ4's legacy frame has no end of its own and goes to the
// end of src, or to four zero bytes, as in the kernel. Every other error is an *Error. How much a stream makes of
// itself is for the caller to limit; what it takes while it is read stays below 200 MiB, whatever it asks for. The
// caller closes the reader; src stays open.
func NewReader(src *bufio.Reader, f Format) (io.ReadCloser, error) {
	var r io.ReadCloser
	var err error
	switch f {
	case Gzip:
		r, err = newGzip(src)
	case Zstd:
		r, err = newZstd(src)
	case XZ:
		r, err = newXZ(src)
	case LZ4:
		r, err = newLZ4(src)
	default:
		err = errors.New("this compression cannot be read here; want gzip, zstd, xz or lz4")
	}
	if err != nil {
		return nil, &Error{Format: f, Err: unexpected(err)}
	}
	return &stream{ReadCloser: r, format: f}, nil
}

// stream makes every error an *Error, for good.
type stream struct {
	io.ReadCloser
	format Format
	err    error
}

func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = &Error{Format: s.format, Err: unexpected(err)}
	}
	s.err = err
	return n, err
}

// unexpected is err, where io.EOF says that a stream is cut.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// newGzip relies on compress/gzip not to read ahead of an io.ByteReader.
func newGzip(src *bufio.Reader) (io.ReadCloser, error) {
	z, err := gzip.NewReader(src)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return z, nil
}
