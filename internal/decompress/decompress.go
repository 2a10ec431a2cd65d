// Package decompress reads gzip, xz and zstd files from outside, with bounds on what a file may make of itself. A
// file is one stream of package unpack's or several in a row.
package decompress

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/unpack"
)

// NewReader returns what the file r, compressed as the suffix says ("", ".gz", ".xz" or ".zst"), holds. More
// than limit bytes are a *download.VerifyError that names file. The caller closes it, and r.
func NewReader(r io.Reader, suffix, file string, limit int64) (io.ReadCloser, error) {
	src := bufio.NewReaderSize(r, 64<<10)
	l := &limiter{ReadCloser: io.NopCloser(src), file: file, left: limit, limit: limit}
	if suffix == "" {
		return l, nil
	}
	format, ok := map[string]unpack.Format{".gz": unpack.Gzip, ".xz": unpack.XZ, ".zst": unpack.Zstd}[suffix]
	if !ok {
		return nil, fmt.Errorf("compression %q is not supported: want .gz, .xz or .zst", suffix)
	}
	first, err := unpack.NewReader(src, format)
	if err != nil {
		return nil, cause(err)
	}
	l.ReadCloser = &streams{ReadCloser: first, src: src, format: format}
	return l, nil
}

// limiter refuses to read more than its limit.
type limiter struct {
	io.ReadCloser
	file        string
	left, limit int64
}

func (l *limiter) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, &download.VerifyError{
			File: l.file, What: "uncompressed size", Got: "more", Want: fmt.Sprintf("at most %d bytes", l.limit),
		}
	}
	return n, err
}

// streams reads one stream after the other, to the end of the file.
type streams struct {
	io.ReadCloser // the one that is being read
	src           *bufio.Reader
	format        unpack.Format
}

func (s *streams) Read(p []byte) (int, error) {
	for {
		n, err := s.ReadCloser.Read(p)
		if err != io.EOF {
			return n, cause(err)
		}
		if n > 0 {
			return n, nil
		}
		if err := s.next(); err != nil {
			return 0, err
		}
	}
}

// next begins another stream; io.EOF says that there is none.
func (s *streams) next() error {
	if s.format == unpack.XZ {
		if err := skipPadding(s.src); err != nil {
			return err
		}
	}
	if _, err := s.src.Peek(1); err != nil {
		return err
	}
	another, err := unpack.NewReader(s.src, s.format)
	if err != nil {
		return cause(err)
	}
	err = s.Close()
	s.ReadCloser = another
	return err
}

// cause leaves the format's name out of an error, which the suffix of the file's name has.
func cause(err error) error {
	if e, ok := errors.AsType[*unpack.Error](err); ok {
		return e.Err
	}
	return err
}

// skipPadding reads the zeros that may stand between xz streams, four at a time
// (https://tukaani.org/xz/xz-file-format.txt, 2.2).
func skipPadding(src *bufio.Reader) error {
	for {
		four, err := src.Peek(4)
		if err != nil || [4]byte(four) != [4]byte{} {
			if errors.Is(err, io.EOF) {
				err = nil // what is left is for who reads the next stream
			}
			return err
		}
		if _, err := src.Discard(len(four)); err != nil {
			return err
		}
	}
}
