package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	magic      = "070701"
	headerSize = 110 // magic and 13 numbers of 8 hexadecimal digits
)

// Header is an entry of an archive. Numbers are as the archive has them.
type Header struct {
	Name   string // as it stands, not cleaned: never to be used as a path of this machine
	Target string // of a symlink

	Inode  uint32
	Mode   uint32 // type and permissions, as st_mode
	UID    uint32
	GID    uint32
	Links  uint32
	MTime  int64 // seconds since 1970
	Size   int64 // bytes that Read gives; 0 for a symlink
	Major  uint32
	Minor  uint32
	RMajor uint32 // of the device that a device node is
	RMinor uint32
}

// FormatError says that an archive is not well-formed newc.
type FormatError struct {
	Offset int64 // in the uncompressed archive, of the field or byte at fault
	What   string
}

// Error names the place.
func (e *FormatError) Error() string {
	return fmt.Sprintf("newc archive: at offset %d: %s", e.Offset, e.What)
}

// Reader reads an uncompressed newc archive. It is stricter than the kernel: anything that two programs
// could read differently is an error. It allocates no more than one name and one symlink's target,
// whatever the archive says.
type Reader struct {
	r      *bufio.Reader
	offset int64
	left   int64 // of the current body
	pad    int64 // after the current body
	more   bool  // something may follow the trailer
	err    error // the end, or a fault, is for good
}

// NewReader returns a reader of r. It reads ahead.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 64<<10)}
}

// Next goes to the next entry; what is left of the current body is skipped. The end is io.EOF, and comes only
// after the trailer and zeros that fill the last 512 bytes. What is not newc is a *FormatError; other errors
// are those of the underlying reader.
func (r *Reader) Next() (Header, error) {
	if r.err != nil {
		return Header{}, r.err
	}
	h, err := r.next()
	if err != nil {
		r.err = err
		return Header{}, err
	}
	return h, nil
}

// Read reads the body of the current entry and ends in io.EOF.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.r.Read(p)
	r.offset += int64(n)
	r.left -= int64(n)
	if err == nil || n > 0 {
		return n, nil
	}
	r.err = r.broken(err, "a body")
	return 0, r.err
}

func (r *Reader) next() (Header, error) {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return Header{}, err
	}
	if err := r.zeros(r.pad, "after a body"); err != nil {
		return Header{}, err
	}
	r.pad = 0
	start := r.offset
	var raw [headerSize]byte
	if err := r.fill(raw[:], "a header, with no trailer yet"); err != nil {
		return Header{}, err
	}
	h, nameSize, err := parseHeader(raw, start)
	if err != nil {
		return Header{}, err
	}
	if h.Name, err = r.text(nameSize, "name"); err != nil {
		return Header{}, err
	}
	if err := r.zeros(padding(headerSize+int64(nameSize)), "after a name"); err != nil {
		return Header{}, err
	}
	if h.Name == trailerName {
		return Header{}, r.end(h, start)
	}
	return r.body(h, start)
}

// body prepares for the body of h, or takes a symlink's.
func (r *Reader) body(h Header, start int64) (Header, error) {
	fault := func(format string, args ...any) (Header, error) {
		return Header{}, &FormatError{Offset: start, What: fmt.Sprintf(format, args...)}
	}
	r.pad = padding(h.Size)
	switch h.Mode &^ 0o7777 { // not typeMask: no other bit may be set
	case typeRegular:
		r.left = h.Size
		return h, nil
	case typeSymlink:
		return r.symlink(h, start)
	case typeDir, typeFIFO, typeChar, typeBlock, typeSocket:
		if h.Size != 0 {
			return fault("%.80q has mode %#o and %d bytes, want none", h.Name, h.Mode, h.Size)
		}
		return h, nil
	}
	return fault("%.80q has mode %#o, which is no type of file", h.Name, h.Mode)
}

func (r *Reader) symlink(h Header, start int64) (Header, error) {
	if h.Size < 1 || h.Size > maxPath {
		return h, &FormatError{start, fmt.Sprintf("symlink %.80q has a target of %d bytes, want 1 to %d", h.Name, h.Size, maxPath)}
	}
	target := make([]byte, h.Size)
	at := r.offset
	if err := r.fill(target, "a symlink's target"); err != nil {
		return h, err
	}
	h.Target, h.Size = string(target), 0
	if strings.IndexByte(h.Target, 0) >= 0 {
		return h, &FormatError{at, fmt.Sprintf("the target of symlink %.80q has a NUL byte", h.Name)}
	}
	return h, nil
}

// end checks the trailer and what follows it.
func (r *Reader) end(h Header, start int64) error {
	if h.Size != 0 {
		return &FormatError{start, fmt.Sprintf("the trailer has %d bytes, want none", h.Size)}
	}
	if r.more {
		return io.EOF
	}
	if err := r.zeros(-r.offset&(archiveBlock-1), "after the trailer"); err != nil {
		return err
	}
	_, err := r.r.ReadByte()
	switch {
	case err == nil:
		return &FormatError{r.offset, "the archive goes on after its end"}
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return fmt.Errorf("newc archive: at offset %d: %w", r.offset, err)
}

// parseHeader takes a header apart, which stands at offset.
func parseHeader(raw [headerSize]byte, offset int64) (h Header, nameSize uint32, err error) {
	if got := string(raw[:len(magic)]); got != magic {
		return h, 0, &FormatError{offset, fmt.Sprintf("got %q, want the magic number %q", got, magic)}
	}
	var mtime, size, check uint32
	fields := [...]*uint32{
		&h.Inode, &h.Mode, &h.UID, &h.GID, &h.Links, &mtime, &size,
		&h.Major, &h.Minor, &h.RMajor, &h.RMinor, &nameSize, &check,
	}
	for i, to := range fields {
		digits := raw[len(magic)+8*i:][:8]
		for _, c := range digits {
			d := strings.IndexByte("0123456789abcdef", c|0x20)
			if d < 0 || c < '0' {
				at := offset + int64(len(magic)+8*i)
				return h, 0, &FormatError{at, fmt.Sprintf("got %q, want 8 hexadecimal digits", digits)}
			}
			*to = *to<<4 | uint32(d)
		}
	}
	h.MTime, h.Size = int64(mtime), int64(size)
	if nameSize < 2 || nameSize > maxPath+1 {
		return h, 0, &FormatError{offset, fmt.Sprintf("a name of %d bytes, want 2 to %d with its NUL", nameSize, maxPath+1)}
	}
	if check != 0 {
		return h, 0, &FormatError{offset, fmt.Sprintf("a checksum of %#x, want 0", check)}
	}
	return h, nameSize, nil
}

// text reads size bytes that end in the only NUL among them.
func (r *Reader) text(size uint32, what string) (string, error) {
	at := r.offset
	b := make([]byte, size)
	if err := r.fill(b, "a "+what); err != nil {
		return "", err
	}
	if i := strings.IndexByte(string(b), 0); i != len(b)-1 {
		return "", &FormatError{at, fmt.Sprintf("a %s of %d bytes, want a NUL at its end and none before", what, size)}
	}
	return string(b[:size-1]), nil
}

// zeros reads n bytes, n < 512, that must be zero.
func (r *Reader) zeros(n int64, where string) error {
	var b [archiveBlock]byte
	at := r.offset
	if err := r.fill(b[:n], "the padding "+where); err != nil {
		return err
	}
	if i := strings.IndexFunc(string(b[:n]), func(c rune) bool { return c != 0 }); i >= 0 {
		return &FormatError{at + int64(i), fmt.Sprintf("the padding %s has byte %#x, want 0", where, b[i])}
	}
	return nil
}

func (r *Reader) fill(b []byte, what string) error {
	n, err := io.ReadFull(r.r, b)
	r.offset += int64(n)
	if err != nil {
		return r.broken(err, what)
	}
	return nil
}

// broken tells an archive that stops too early from a reader that fails.
func (r *Reader) broken(err error, what string) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF { // as io.ReadFull has them; a wrapped one is the reader's own
		return &FormatError{r.offset, "the archive ends before or in " + what}
	}
	return fmt.Errorf("newc archive: at offset %d: %w", r.offset, err)
}

// padding is what fills n up to a multiple of 4.
func padding(n int64) int64 { return -n & 3 }
