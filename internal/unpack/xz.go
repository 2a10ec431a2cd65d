package unpack

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// The parts of an xz stream. The library's own reader of them makes a dictionary as large as any block asks for,
// and reads into what follows the stream, so only its LZMA2 is used.
const (
	xzMagic    = "\xfd7zXZ\x00"
	xzEnd      = "YZ"
	xzHeader   = len(xzMagic) + 2 + 4 // flags and their CRC32
	xzFooter   = 4 + 4 + 2 + len(xzEnd)
	xzPacked   = 0x40 // block flag: its packed size is there
	xzUnpacked = 0x80 // block flag: its size is there
	xzReserved = 0x3c
	xzFilters  = 0x03 // block flag: how many filters, less one
	xzLZMA2    = 0x21
	xzX86      = 0x04

	// Each block has a dictionary of its own, which is made before the old one is gone. So a block may have what
	// xz -9 uses, or what the kernel's build uses where it is the only one. And so that a file of many small blocks
	// does not spend its time on making dictionaries, their sum is held to a multiple of the output.
	xzMaxDict  = 64 << 20
	xzSoleDict = 128 << 20
	xzDictRate = 16
)

var errFilters = errors.New("it has other filters than LZMA2, alone or after that for x86")

type xzReader struct {
	in    *counted
	flags [2]byte
	index hash.Hash // of every block's sizes, as the index should have them
	count uint64    // blocks
	total int64     // bytes given
	dicts int64     // bytes of all dictionaries so far
	large bool      // the first was more than further blocks may have

	block *xzBlock // nil between blocks
}

// xzBlock is the block that is being read.
type xzBlock struct {
	start          int64 // in the stream
	packed, size   uint64
	hasPack, hasSz bool
	x86            bool
	data           io.Reader
	begin, n       int64 // where the data begin; bytes given
	check          hash.Hash
}

// counted counts what is read. It is an io.ByteReader, so that the library does not read ahead of it.
type counted struct {
	r *bufio.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counted) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// take reads n bytes, n < 1 KiB or so.
func (c *counted) take(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(c, b)
	return b, unexpected(err)
}

// zeros reads what fills up to a multiple of four.
func (c *counted) zeros() error {
	b, err := c.take(int(-c.n & 3))
	if err == nil && len(bytes.Trim(b, "\x00")) > 0 {
		return errors.New("padding that is not zero")
	}
	return err
}

func newXZ(src *bufio.Reader) (io.ReadCloser, error) {
	r := &xzReader{in: &counted{r: src}, index: sha256.New()}
	head, err := r.in.take(xzHeader)
	if err != nil {
		return nil, err
	}
	r.flags = [2]byte(head[len(xzMagic):])
	if string(head[:len(xzMagic)]) != xzMagic || !crcFits(head[len(xzMagic):]) || r.flags[0] != 0 {
		return nil, errors.New("the header is damaged")
	}
	if _, err := xzCheck(r.flags[1]); err != nil {
		return nil, err
	}
	return r, nil
}

// crcFits says whether b ends in the CRC32 of what stands before it.
func crcFits(b []byte) bool {
	end := len(b) - 4
	return crc32.ChecksumIEEE(b[:end]) == binary.LittleEndian.Uint32(b[end:])
}

// xzCheck returns the hash that ends every block; nil where there is none.
func xzCheck(kind byte) (hash.Hash, error) {
	switch kind {
	case 0:
		return nil, nil
	case 1:
		return crc32.NewIEEE(), nil
	case 4:
		return crc64.New(crc64.MakeTable(crc64.ECMA)), nil
	case 10:
		return sha256.New(), nil
	}
	return nil, fmt.Errorf("a check of kind %d, want none, CRC32, CRC64 or SHA-256", kind)
}

func (r *xzReader) Close() error { return nil }

func (r *xzReader) Read(p []byte) (int, error) {
	for {
		if r.block == nil {
			if err := r.next(); err != nil {
				return 0, err // io.EOF after the footer
			}
		}
		n, err := r.block.data.Read(p)
		r.total += int64(n)
		r.block.n += int64(n)
		if r.block.check != nil {
			r.block.check.Write(p[:n])
		}
		if err == io.EOF {
			err = r.endBlock()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// next begins a block, or reads the index and the footer and returns io.EOF.
func (r *xzReader) next() error {
	start := r.in.n
	size, err := r.in.ReadByte()
	if err != nil {
		return unexpected(err)
	}
	if size == 0 {
		return r.end(start)
	}
	rest, err := r.in.take(4*int(size) + 3)
	if err != nil {
		return err
	}
	head := append([]byte{size}, rest...)
	if !crcFits(head) {
		return errors.New("a block's header is damaged")
	}
	b, dict, err := parseXZBlock(head[1 : len(head)-4])
	if err != nil {
		return err
	}
	if err := r.admit(dict); err != nil {
		return err
	}
	b.start, b.begin = start, r.in.n
	b.check, _ = xzCheck(r.flags[1]) // has been tried
	b.data, err = lzma.Reader2Config{DictCap: int(max(dict, lzma.MinDictCap))}.NewReader2(r.in)
	if b.x86 {
		b.data = &x86Filter{src: b.data}
	}
	r.block = b
	return err
}

// admit holds the dictionary of the next block to the limits.
func (r *xzReader) admit(dict int64) error {
	most := int64(xzMaxDict)
	if r.count == 0 {
		most = xzSoleDict
	}
	switch {
	case dict > most:
		return fmt.Errorf("a dictionary of %d bytes, want at most %d", dict, most)
	case r.large:
		return fmt.Errorf("a further block after one with a dictionary of more than %d bytes", xzMaxDict)
	}
	r.large = dict > xzMaxDict
	if r.dicts += dict; r.dicts > xzSoleDict+xzDictRate*r.total {
		return fmt.Errorf("dictionaries of %d bytes for %d bytes of content", r.dicts, r.total)
	}
	return nil
}

// parseXZBlock reads a block's header between its size and its sum.
func parseXZBlock(head []byte) (*xzBlock, int64, error) {
	in := bytes.NewReader(head)
	flags, err := in.ReadByte()
	if err != nil {
		return nil, 0, err
	}
	if flags&xzReserved != 0 {
		return nil, 0, errors.New("a block's header has unknown flags")
	}
	b := &xzBlock{hasPack: flags&xzPacked != 0, hasSz: flags&xzUnpacked != 0}
	for _, f := range []struct {
		has bool
		to  *uint64
	}{{b.hasPack, &b.packed}, {b.hasSz, &b.size}} {
		if f.has {
			if *f.to, err = binary.ReadUvarint(in); err != nil {
				return nil, 0, errors.New("a block's header is damaged")
			}
		}
	}
	if flags&xzFilters == 1 {
		x86 := make([]byte, 2) // number, size of its properties
		_, err := io.ReadFull(in, x86)
		if b.x86 = err == nil && x86[0] == xzX86 && x86[1] == 0; !b.x86 {
			return nil, 0, errFilters
		}
	} else if flags&xzFilters != 0 {
		return nil, 0, errFilters
	}
	filter := make([]byte, 3) // number, size of its properties, properties
	if _, err := io.ReadFull(in, filter); err != nil {
		return nil, 0, errors.New("a block's header is damaged")
	}
	if filter[0] != xzLZMA2 || filter[1] != 1 {
		return nil, 0, errFilters
	}
	dict, err := lzma.DecodeDictCap(filter[2])
	return b, dict, err
}

// endBlock compares the block's sizes and its sum.
func (r *xzReader) endBlock() error {
	b := r.block
	r.block = nil
	packed := uint64(r.in.n - b.begin)
	if (b.hasPack && packed != b.packed) || (b.hasSz && uint64(b.n) != b.size) {
		return errors.New("a block's size is not what its header says")
	}
	if err := r.in.zeros(); err != nil {
		return err
	}
	unpadded := uint64(b.begin-b.start) + packed
	if b.check != nil {
		want := b.check.Sum(nil)
		unpadded += uint64(len(want))
		got, err := r.in.take(len(want))
		if err != nil {
			return err
		}
		if r.flags[1] != 10 { // the CRCs stand with their low byte first
			for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
				want[i], want[j] = want[j], want[i]
			}
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("a block has check %x, want %x", want, got)
		}
	}
	r.count++
	noteSizes(r.index, unpadded, uint64(b.n))
	return nil
}

// noteSizes adds a block's sizes to the sum of all.
func noteSizes(h hash.Hash, unpadded, size uint64) {
	h.Write(binary.AppendUvarint(binary.AppendUvarint(nil, unpadded), size))
}

// end reads the rest of the index, which must be about the blocks that came, and the footer.
func (r *xzReader) end(start int64) error {
	sum := crc32.NewIEEE()
	sum.Write([]byte{0})
	in := &teeByteReader{r: r.in, sum: sum}
	count, err := binary.ReadUvarint(in)
	if err != nil || count != r.count {
		return errors.Join(errors.New("the index is not about these blocks"), err)
	}
	sizes := sha256.New()
	for range count {
		unpadded, err1 := binary.ReadUvarint(in)
		size, err2 := binary.ReadUvarint(in)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		noteSizes(sizes, unpadded, size)
	}
	for r.in.n&3 != start&3 {
		if b, err := in.ReadByte(); err != nil || b != 0 {
			return errors.Join(errors.New("the index is damaged"), err)
		}
	}
	length := r.in.n - start
	tail, err := r.in.take(4 + xzFooter)
	if err != nil {
		return err
	}
	footer := tail[4:]
	want := binary.LittleEndian.AppendUint32(nil, uint32((length+4)/4-1))
	want = append(append(want, r.flags[:]...), xzEnd...)
	if binary.LittleEndian.Uint32(tail) != sum.Sum32() || !bytes.Equal(sizes.Sum(nil), r.index.Sum(nil)) ||
		!bytes.Equal(footer[4:], want) || binary.LittleEndian.Uint32(footer) != crc32.ChecksumIEEE(want[:6]) {
		return errors.New("the index or the footer is damaged")
	}
	return io.EOF
}

// teeByteReader sums the bytes that are read through it.
type teeByteReader struct {
	r   io.ByteReader
	sum hash.Hash
}

func (t *teeByteReader) ReadByte() (byte, error) {
	b, err := t.r.ReadByte()
	if err == nil {
		t.sum.Write([]byte{b})
	}
	return b, unexpected(err)
}
