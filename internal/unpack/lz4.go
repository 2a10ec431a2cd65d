package unpack

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The legacy frame: its number, then blocks of up to 8 MiB, each with the length of its packed form before it.
const (
	lz4Legacy = 0x184C2102
	lz4Frame  = 0x184D2204 // today's frame, which the kernel does not read
	lz4Block  = 8 << 20
	lz4Packed = lz4Block + lz4Block/255 + 16 // the longest form of a block that does not compress
)

var errLZ4 = errors.New("a block is damaged")

type lz4Reader struct {
	src    *bufio.Reader
	packed []byte
	block  []byte
	out    []byte // of the block, not yet read
}

func newLZ4(src *bufio.Reader) (io.ReadCloser, error) {
	number, err := lz4Number(src)
	switch {
	case err != nil:
		return nil, err
	case number == lz4Frame:
		return nil, errors.New("not the legacy frame, which is the one that the kernel reads; lz4 -l writes it")
	case number != lz4Legacy:
		return nil, fmt.Errorf("got number %#x, want %#x", number, lz4Legacy)
	}
	return &lz4Reader{src: src}, nil
}

func lz4Number(src *bufio.Reader) (uint32, error) {
	var b [4]byte
	_, err := io.ReadFull(src, b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

func (r *lz4Reader) Close() error { return nil }

func (r *lz4Reader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// next unpacks the next block. The number may stand again between blocks, where two frames were joined.
func (r *lz4Reader) next() error {
	size, err := lz4Number(r.src)
	for err == nil && size == lz4Legacy {
		size, err = lz4Number(r.src)
	}
	if err != nil { // io.EOF is the end, and only between blocks
		return err
	}
	if size == 0 {
		return io.EOF
	}
	if size > lz4Packed {
		return fmt.Errorf("a block of %d bytes, want at most %d", size, lz4Packed)
	}
	if r.block == nil {
		r.block, r.packed = make([]byte, lz4Block), make([]byte, lz4Packed)
	}
	packed := r.packed[:size]
	if _, err := io.ReadFull(r.src, packed); err != nil {
		return unexpected(err)
	}
	r.out, err = unpackLZ4(r.block, packed)
	return err
}

// The shortest match; a token has four bits each for the length of literals and for that of the match beyond it.
const (
	lz4MinMatch = 4
	lz4Long     = 15 // further bytes add to the length
)

// unpackLZ4 unpacks one block into dst. Format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md.
func unpackLZ4(dst, src []byte) ([]byte, error) {
	at := 0
	for {
		if len(src) == 0 {
			return nil, errLZ4
		}
		token := src[0]
		literals, rest, ok := lz4Length(int(token>>4), src[1:])
		if !ok || literals > len(rest) || literals > len(dst)-at {
			return nil, errLZ4
		}
		at += copy(dst[at:], rest[:literals])
		if src = rest[literals:]; len(src) == 0 {
			return dst[:at], nil
		}
		if len(src) < 2 {
			return nil, errLZ4
		}
		back := int(binary.LittleEndian.Uint16(src))
		length, rest, ok := lz4Length(int(token&15), src[2:])
		length += lz4MinMatch
		if !ok || back == 0 || back > at || length > len(dst)-at {
			return nil, errLZ4
		}
		for end := at + length; at < end; { // a match may reach into what it makes
			at += copy(dst[at:end], dst[at-back:at])
		}
		src = rest
	}
}

// lz4Length reads the further bytes of a length. No true one is above a block's size.
func lz4Length(n int, src []byte) (int, []byte, bool) {
	if n < lz4Long {
		return n, src, true
	}
	for i, b := range src {
		if n += int(b); n > lz4Block {
			return 0, nil, false
		}
		if b != 255 {
			return n, src[i+1:], true
		}
	}
	return 0, nil, false
}
