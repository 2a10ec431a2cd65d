package iso

import (
	"bytes"
	"fmt"
	"strings"
)

// sector is the unit that a CD is read in (ECMA-119, 6.1.2).
const sector = 2048

// The descriptors at the beginning of an image: ECMA-119, 8.4, and El Torito 1.0, figure 7.
const (
	primaryAt = 16 * sector
	bootAt    = 17 * sector
	headEnd   = 18 * sector

	primary    = "\x01CD001\x01"
	bootRecord = "\x00CD001\x01EL TORITO SPECIFICATION\x00"
)

// FaultError is an image that smee would not patch, or that a machine would not boot.
type FaultError struct{ What string }

// Error says what is wrong with the image.
func (e *FaultError) Error() string { return "the ISO that was made is of no use: " + e.What }

// Checker is a writer that looks at an image as it passes, in pieces of any size. It keeps less than 64 KiB of it.
type Checker struct {
	head  []byte // up to headEnd
	last  []byte // the last bytes, fewer than the magic has
	size  int64
	found []int64 // where the magic begins
}

// NewChecker returns a Checker that has seen nothing.
func NewChecker() *Checker { return &Checker{} }

// Write looks at p. It does not fail.
func (c *Checker) Write(p []byte) (int, error) {
	if missing := headEnd - len(c.head); missing > 0 {
		c.head = append(c.head, p[:min(missing, len(p))]...)
	}
	c.search(p)
	c.size += int64(len(p))
	return len(p), nil
}

// search finds the magic where it begins in what came before, too. What is copied for that is bounded.
func (c *Checker) search(p []byte) {
	border := append(c.last, p[:min(len(p), len(magic)-1)]...)
	c.count(border, c.size-int64(len(c.last)))
	c.count(p, c.size)
	if len(p) < len(magic)-1 {
		p = border
	}
	c.last = bytes.Clone(p[max(0, len(p)-len(magic)+1):])
}

// count notes each place of the magic in p, which begins at offset.
func (c *Checker) count(p []byte, offset int64) {
	for at := 0; ; at++ {
		i := bytes.Index(p[at:], []byte(magic))
		if i < 0 {
			return
		}
		at += i
		c.found = append(c.found, offset+int64(at))
	}
}

// Fault returns a *FaultError for the whole of what was written, nil where nothing is wrong with it. smee sees the
// image in the pieces that a BMC asks for, whole sectors, and finds the magic in one piece only.
func (c *Checker) Fault() error {
	fault := func(format string, args ...any) error { return &FaultError{fmt.Sprintf(format, args...)} }
	switch {
	case len(c.found) != 1:
		return fault("the text that smee replaces by the kernel command line is in it %d times, want once", len(c.found))
	case c.found[0]/sector != (c.found[0]+int64(len(magic))-1)/sector:
		return fault("the text that smee replaces by the kernel command line begins at byte %d, so that it is in two sectors", c.found[0])
	case len(c.head) < headEnd:
		return fault("it has %d bytes, less than its descriptors need", c.size)
	case c.size%sector != 0:
		return fault("it has %d bytes, which are no whole sectors", c.size)
	case !strings.HasPrefix(string(c.head[primaryAt:]), primary):
		return fault("it has no ISO 9660 volume descriptor")
	case !strings.HasPrefix(string(c.head[bootAt:]), bootRecord):
		return fault("it has no El Torito boot record")
	}
	return nil
}
