package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hookbuild/hookbuild/internal/unpack"
)

// Limits bound what a file from outside may make of itself. A field that is 0 has the default that it names.
type Limits struct {
	Unpacked int64 // bytes of all archives; 8 GiB
	Ratio    int64 // bytes of archives for each byte of the file, beyond the first 64 MiB; 128
	Entries  int   // 250,000
	Names    int64 // bytes of names and symlink targets, and again of what paths they make in Unpack; 48 MiB

	// Packed is the length of the file where it is known. Ratio then goes by it, and not by what has been read so
	// far, which is unjust to a file that begins with zeros.
	Packed int64
}

// The defaults of Limits.
const (
	defaultUnpacked = 8 << 30
	defaultRatio    = 128
	defaultEntries  = 250_000
	defaultNames    = 48 << 20
	ratioFree       = 64 << 20

	maxParts = 10_000 // one for every container image and file would be fewer
)

func (l Limits) withDefaults() Limits {
	if l.Unpacked == 0 {
		l.Unpacked = defaultUnpacked
	}
	if l.Ratio == 0 {
		l.Ratio = defaultRatio
	}
	if l.Entries == 0 {
		l.Entries = defaultEntries
	}
	if l.Names == 0 {
		l.Names = defaultNames
	}
	return l
}

// LimitError says that a file is more than Limits allow.
type LimitError struct{ What string }

// Error says which limit.
func (e *LimitError) Error() string { return e.What }

// ImageError says that a file is no initramfs, or not one that the kernel would unpack whole.
type ImageError struct {
	Segment     int           // from 0
	Offset      int64         // in the file, where its stream begins
	Compression unpack.Format // "" for none
	Err         error         // a *FormatError, an *unpack.Error, a *LimitError or a *NameError
}

// Error names the segment and where it is.
func (e *ImageError) Error() string {
	how := "uncompressed"
	if e.Compression != "" {
		how = string(e.Compression)
	}
	return fmt.Sprintf("segment %d (%s, at offset %d): %v", e.Segment, how, e.Offset, e.Err)
}

// Unwrap returns the fault.
func (e *ImageError) Unwrap() error { return e.Err }

// Part is one archive of an initramfs as it was found.
type Part struct {
	Offset      int64         // in the file, where its stream begins
	Compression unpack.Format // "" for none
	Packed      int64         // bytes of the stream in the file; 0 for a further archive in the same stream
	Size        int64         // bytes of the archive, to the end of its trailer
	Entries     int
	Microcode   bool // it is the uncompressed one at the head of the file that the kernel looks for microcode in
}

// Entry is one entry of an initramfs.
type Entry struct {
	Header
	Segment int // from 0
}

// Image reads an initramfs as the kernel does: archives behind each other, each alone or with others in a stream of
// gzip, zstd, xz or LZ4, or uncompressed at a multiple of 4 bytes, zeros between them. Where the kernel would stop
// in the middle, or could see something else than another reader, it is an error.
type Image struct {
	file   *counter
	src    *bufio.Reader // of file
	limits Limits

	stream  io.ReadCloser // nil outside a compressed stream
	body    *bufio.Reader // of the stream
	bodyOff int64         // bytes of the stream's content before the current archive
	first   int           // the stream's first archive
	archive *Reader       // nil between archives
	total   int64         // bytes unpacked
	entries int
	names   int64 // bytes

	parts []Part
	at    Part // of the archive to come, for errors
	err   error
}

// counter counts what is read and remembers why reading failed, so that this is not taken for a fault of the file.
type counter struct {
	r   io.Reader
	n   int64
	err error
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// Open returns a reader of the initramfs r, which it reads in order. Nothing is read before Next.
func Open(r io.Reader, l Limits) *Image {
	c := &counter{r: r}
	return &Image{file: c, src: bufio.NewReaderSize(c, 64<<10), limits: l.withDefaults()}
}

// offset is where in the file the next byte of src is.
func (im *Image) offset() int64 { return im.file.n - int64(im.src.Buffered()) }

// Parts are the archives that Next has reached; the last one's numbers are whole at its end.
func (im *Image) Parts() []Part { return im.parts }

// Next goes to the next entry, across archives; what is left of the current body is skipped. The end is io.EOF. A
// fault of the file is an *ImageError; other errors are those of the underlying reader.
func (im *Image) Next() (Entry, error) {
	if im.err != nil {
		return Entry{}, im.err
	}
	e, err := im.next()
	if err != nil {
		im.err = im.fault(err)
		return Entry{}, im.err
	}
	return e, nil
}

// Read reads the body of the current entry and ends in io.EOF.
func (im *Image) Read(p []byte) (int, error) {
	if im.err != nil {
		return 0, im.err
	}
	if im.archive == nil {
		return 0, io.EOF
	}
	n, err := im.archive.Read(p)
	if err != nil && err != io.EOF {
		im.err = im.fault(err)
		err = im.err
	}
	return n, err
}

// fault says where err was met. It closes the stream.
func (im *Image) fault(err error) error {
	segment := len(im.parts)
	if im.archive != nil || (im.stream != nil && segment > im.first) {
		segment--
	}
	if im.stream != nil {
		im.stream.Close()
		im.stream = nil
	}
	switch {
	case err == io.EOF:
		return io.EOF
	case im.file.err != nil:
		return im.file.err
	}
	return &ImageError{Segment: segment, Offset: im.at.Offset, Compression: im.at.Compression, Err: plain(err)}
}

// plain takes off what the strict reader says around an error of the stream below it.
func plain(err error) error {
	if e, ok := errors.AsType[*unpack.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*LimitError](err); ok {
		return e
	}
	return err
}

func (im *Image) next() (Entry, error) {
	for {
		if im.archive == nil {
			if err := im.begin(); err != nil {
				return Entry{}, err
			}
			if len(im.parts) > maxParts {
				return Entry{}, &LimitError{fmt.Sprintf("more than %d archives", maxParts)}
			}
		}
		p := &im.parts[len(im.parts)-1]
		h, err := im.archive.Next()
		p.Size = im.archive.offset
		if err == io.EOF {
			im.endArchive(p)
			continue
		}
		if err != nil {
			return Entry{}, err
		}
		if err := im.count(h); err != nil {
			return Entry{}, err
		}
		p.Entries++
		if p.Offset == 0 && p.Compression == "" && strings.HasPrefix(h.Name, microcodeDir) {
			p.Microcode = true
		}
		return Entry{Header: h, Segment: len(im.parts) - 1}, nil
	}
}

// microcodeDir is where the kernel looks for microcode, in the uncompressed archive at the head of the file only.
const microcodeDir = "kernel/x86/microcode/"

// count holds the entries to the limits.
func (im *Image) count(h Header) error {
	im.entries++
	im.names += int64(len(h.Name) + len(h.Target))
	switch {
	case im.entries > im.limits.Entries:
		return &LimitError{fmt.Sprintf("more than %d entries", im.limits.Entries)}
	case im.names > im.limits.Names:
		return &LimitError{fmt.Sprintf("more than %d bytes of names", im.limits.Names)}
	}
	return nil
}

func (im *Image) endArchive(p *Part) {
	im.bodyOff += im.archive.offset
	im.archive = nil
	if im.stream == nil {
		p.Packed = p.Size
	}
}

// begin begins the next archive, in this stream or in the next one. The end of the file is io.EOF.
func (im *Image) begin() error {
	for {
		if im.stream != nil {
			found, err := im.beginInside()
			if found || err != nil {
				return err
			}
		}
		zeros, err := skipZeros(im.src)
		if err != nil && err != io.EOF {
			return err
		}
		im.at = Part{Offset: im.offset()}
		if err == io.EOF {
			if len(im.parts) == 0 {
				return &FormatError{zeros, "the file has no archive"}
			}
			return io.EOF
		}
		head, err := im.src.Peek(len(magic))
		if err != nil && err != io.EOF {
			return err
		}
		im.at.Compression = unpack.Detect(head)
		if im.at.Compression == "" {
			return im.beginBare(head)
		}
		if err := im.beginStream(); err != nil {
			return err
		}
	}
}

// beginBare begins an archive that is not compressed.
func (im *Image) beginBare(head []byte) error {
	if head[0] != magic[0] {
		return &FormatError{0, fmt.Sprintf("got %q, which is neither an archive nor a compression that the kernel knows", head)}
	}
	if im.at.Offset&3 != 0 {
		return &FormatError{0, "an uncompressed archive that does not begin at a multiple of 4 bytes, where the kernel does not see it"}
	}
	im.add(&Reader{r: im.src, more: true})
	return nil
}

// add makes a the current archive.
func (im *Image) add(a *Reader) {
	im.archive = a
	im.parts = append(im.parts, im.at)
}

// beginStream begins a compressed stream.
func (im *Image) beginStream() error {
	z, err := unpack.NewReader(im.src, im.at.Compression)
	if err != nil {
		return err
	}
	im.stream, im.body = z, bufio.NewReaderSize(&meter{im: im, r: z}, 64<<10)
	im.bodyOff, im.first = 0, len(im.parts)
	return nil
}

// beginInside begins the next archive of the stream; found is false where the stream is through.
func (im *Image) beginInside() (found bool, err error) {
	zeros, err := skipZeros(im.body)
	im.bodyOff += zeros
	if err == io.EOF {
		return false, im.endStream()
	}
	if err != nil {
		return false, err
	}
	if im.bodyOff&3 != 0 {
		return false, &FormatError{im.bodyOff, "an archive that does not begin at a multiple of 4 bytes"}
	}
	im.add(&Reader{r: im.body, more: true})
	return true, nil
}

func (im *Image) endStream() error {
	im.stream.Close()
	im.stream = nil
	if len(im.parts) == im.first {
		return &FormatError{im.bodyOff, "the stream has no archive"}
	}
	im.parts[im.first].Packed = im.offset() - im.at.Offset
	return nil
}

// skipZeros reads the zeros that stand next and returns how many they were. At the end it is io.EOF.
func skipZeros(r *bufio.Reader) (n int64, err error) {
	for {
		b, err := r.ReadByte()
		if err != nil {
			return n, err
		}
		if b != 0 {
			return n, r.UnreadByte()
		}
		n++
	}
}

// meter holds what is unpacked to the limits.
type meter struct {
	im *Image
	r  io.Reader
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	im := m.im
	im.total += int64(n)
	if im.total > im.limits.Unpacked {
		return 0, &LimitError{fmt.Sprintf("more than %d bytes unpacked", im.limits.Unpacked)}
	}
	if packed := max(im.offset(), im.limits.Packed); im.total > ratioFree && im.total/im.limits.Ratio > packed {
		return 0, &LimitError{fmt.Sprintf("%d bytes make more than %d: more than %d times as much", packed, im.total, im.limits.Ratio)}
	}
	return n, err
}
