package unpack

import (
	"encoding/binary"
	"io"
	"math/bits"
)

// x86Filter undoes xz's filter for x86 programs (https://tukaani.org/xz/xz-file-format.txt, section 5.3.2), which the
// kernel's own build puts before LZMA2. The filter makes the operands of CALL and JMP absolute, so that calls of one
// function look alike; which bytes it takes for an operand depends on the opcodes right before.
type x86Filter struct {
	src  io.Reader
	err  error
	buf  [64 << 10]byte
	from int    // the first byte of buf that has not been read
	done int    // of buf: undone
	end  int    // of buf: read from src
	pos  uint32 // of buf[done] in the program
	// Seen is a bit for each of the last three bytes that is an opcode and was left as it is; bit 0 is the last.
	seen uint32
}

func (f *x86Filter) Read(p []byte) (int, error) {
	for f.from == f.done {
		if f.err != nil {
			return 0, f.err
		}
		f.fill()
	}
	n := copy(p, f.buf[f.from:f.done])
	f.from += n
	return n, nil
}

// fill reads on and undoes what it can: not the last four bytes, which may be an operand's, before the end.
func (f *x86Filter) fill() {
	f.end = copy(f.buf[:], f.buf[f.done:f.end])
	f.from, f.done = 0, 0
	var n int
	n, f.err = f.src.Read(f.buf[f.end:])
	f.end += n
	f.undo()
	if f.err != nil {
		f.done = f.end
	}
}

func (f *x86Filter) undo() {
	b := f.buf[:f.end]
	for f.done+5 <= len(b) {
		at := b[f.done : f.done+5]
		step := 1
		switch {
		case at[0]&0xfe != 0xe8: // neither CALL nor JMP
			f.seen = f.seen << 1 & 7
		case !f.converted(at):
			f.seen = (f.seen<<1 | 1) & 7
		default:
			operand := binary.LittleEndian.Uint32(at[1:])
			binary.LittleEndian.PutUint32(at[1:], f.relative(operand, f.pos+5))
			f.seen, step = 0, 5
		}
		f.done += step
		f.pos += uint32(step)
	}
}

// sign says whether b can be the highest byte of a distance within 16 MiB.
func sign(b byte) bool { return b == 0 || b == 0xff }

// converted says whether the filter took what follows the opcode for its operand.
func (f *x86Filter) converted(at []byte) bool {
	if bits.OnesCount32(f.seen) > 1 {
		return false
	}
	if f.seen != 0 && sign(at[4-bits.Len32(f.seen)]) {
		return false
	}
	return sign(at[4])
}

// relative turns an absolute operand back into a distance from next, the address behind the instruction.
func (f *x86Filter) relative(operand, next uint32) uint32 {
	distance := operand - next
	if f.seen != 0 { // the filter has gone on until the byte that the earlier opcode looks at was no sign
		shift := 8 * bits.Len32(f.seen)
		for sign(byte(distance >> (24 - shift))) {
			distance = (distance ^ (1<<(32-shift) - 1)) - next
		}
	}
	distance &= 1<<25 - 1
	return distance | -(distance & (1 << 24))
}
