package filetree

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
)

// Blob is the content of a regular file: bytes in memory, or a run of bytes in a file (a spooled tar). The
// zero value is an empty file.
type Blob struct {
	data   []byte
	file   string
	offset int64
	size   int64
	sum    [sha256.Size]byte // of a file-backed blob
}

// Bytes returns a blob that holds b, which must not be changed afterwards.
func Bytes(b []byte) Blob {
	return Blob{data: b, size: int64(len(b))}
}

// FileRange returns a blob for size bytes of the file at offset, whose SHA-256 is sum.
func FileRange(file string, offset, size int64, sum [sha256.Size]byte) Blob {
	return Blob{file: file, offset: offset, size: size, sum: sum}
}

// Size is the length in bytes.
func (b Blob) Size() int64 { return b.size }

// SHA256 is the digest that the content has or, where it comes from a file, must have.
func (b Blob) SHA256() [sha256.Size]byte {
	if b.file == "" {
		return sha256.Sum256(b.data)
	}
	return b.sum
}

// part returns size bytes of b from offset on, which must lie inside b and have the digest sum.
func (b Blob) part(offset, size int64, sum [sha256.Size]byte) Blob {
	if b.file == "" {
		return Bytes(b.data[offset : offset+size : offset+size])
	}
	return FileRange(b.file, b.offset+offset, size, sum)
}

// Open returns a reader of the content; the caller closes it. Where the content comes from a file, its
// SHA-256 is checked when the end is reached: a difference is a *ChangedError in place of io.EOF.
func (b Blob) Open() (io.ReadCloser, error) {
	if b.file == "" {
		return io.NopCloser(bytes.NewReader(b.data)), nil
	}
	f, err := os.Open(b.file)
	if err != nil {
		return nil, err
	}
	return &verifier{f: f, r: io.NewSectionReader(f, b.offset, b.size), hash: sha256.New(), want: b}, nil
}

// ReadAll returns the whole content.
func (b Blob) ReadAll() ([]byte, error) {
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// ChangedError says that a file no longer holds what a blob was made of: it was cut or altered. What was
// derived from the file must be made again.
type ChangedError struct {
	File   string
	Offset int64
	What   string // got and want, of the size or the digest
}

// Error names the file and what differs.
func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s: at offset %d: %s", e.File, e.Offset, e.What)
}

// verifier hashes what passes and compares at the end, so that a changed cache file cannot go unnoticed.
type verifier struct {
	f    *os.File
	r    io.Reader
	hash hash.Hash
	n    int64
	want Blob
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	v.n += int64(n)
	if err != io.EOF {
		return n, err
	}
	if v.n != v.want.size {
		return n, v.changed("got %d bytes, want %d", v.n, v.want.size)
	}
	if got := [sha256.Size]byte(v.hash.Sum(nil)); got != v.want.sum {
		return n, v.changed("got sha256 %x, want %x", got, v.want.sum)
	}
	return n, io.EOF
}

func (v *verifier) changed(format string, args ...any) error {
	return &ChangedError{File: v.want.file, Offset: v.want.offset, What: fmt.Sprintf(format, args...)}
}

func (v *verifier) Close() error { return v.f.Close() }
