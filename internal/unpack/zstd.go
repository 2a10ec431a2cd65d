package unpack

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdMaxWindow is the largest window that the kernel takes, in bytes: ZSTD_WINDOWSIZE_MAX of
// lib/decompress_unzstd.c. (That file also says 8 MB, which no code in it holds to.)
const zstdMaxWindow = 128 << 20

// newZstd gives the library one frame only: by itself it reads on into what follows.
func newZstd(src *bufio.Reader) (io.ReadCloser, error) {
	f := &frame{src: src}
	if err := f.header(); err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(zstdMaxWindow), zstd.WithDecoderMaxMemory(1<<62))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

// frame is the bytes of one zstd frame. It reads only the lengths in it.
type frame struct {
	src  *bufio.Reader
	left int64 // that may pass before the next length
	sum  bool  // four bytes of checksum follow the last block
	done bool  // nothing follows what is left
}

func (f *frame) header() error {
	head, err := f.src.Peek(zstd.HeaderMaxSize)
	if err != nil && err != io.EOF {
		return err
	}
	var h zstd.Header
	if err := h.Decode(head); err != nil {
		return err
	}
	if h.Skippable {
		return errors.New("a skippable frame, which the kernel does not know")
	}
	if h.WindowSize > zstdMaxWindow {
		return fmt.Errorf("a window of %d bytes, want at most %d", h.WindowSize, int64(zstdMaxWindow))
	}
	if h.DictionaryID != 0 {
		return fmt.Errorf("it needs dictionary %d", h.DictionaryID)
	}
	f.left, f.sum = int64(h.HeaderSize), h.HasCheckSum
	return nil
}

// The header of a block, 24 bits: the last one's flag, the type, the size.
const (
	blockHeader = 3
	blockRLE    = 1 // the size is that of the output; one byte stands in the stream
	frameSum    = 4
)

// block finds the length of the next block.
func (f *frame) block() error {
	head, err := f.src.Peek(blockHeader)
	if err != nil {
		return unexpected(err)
	}
	h := binary.LittleEndian.Uint32([]byte{head[0], head[1], head[2], 0})
	size := int64(h >> 3)
	if h>>1&3 == blockRLE {
		size = 1
	}
	f.left = blockHeader + size
	if h&1 != 0 {
		f.done = true
		if f.sum {
			f.left += frameSum
		}
	}
	return nil
}

func (f *frame) Read(p []byte) (int, error) {
	if f.left == 0 {
		if f.done {
			return 0, io.EOF
		}
		if err := f.block(); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > f.left {
		p = p[:f.left]
	}
	n, err := f.src.Read(p)
	f.left -= int64(n)
	return n, unexpected(err)
}
