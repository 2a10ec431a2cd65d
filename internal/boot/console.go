package boot

import (
	"strings"
	"unicode"
)

// maxLine bounds a console line in bytes; a longer one is cut into several.
const maxLine = 4096

// mode is where in an escape sequence a console stands (ECMA-48,
// https://ecma-international.org/publications-and-standards/standards/ecma-48/).
type mode uint8

const (
	text  mode = iota
	esc        // after ESC
	skip       // one more byte belongs to the sequence: a character set
	csi        // after ESC [, up to a byte from @ to ~
	quote      // a string, up to BEL or ESC \
)

// console cuts the bytes of a serial console into lines without escape sequences, control characters and
// bytes that are no UTF-8. Where the writes were cut makes no difference.
type console struct {
	emit func(line string)
	mode mode
	line []byte
}

func (c *console) put(b byte) {
	if b == '\n' { // also ends a sequence that something else cut off
		c.mode = text
		c.flush()
		return
	}
	switch c.mode {
	case text:
		c.char(b)
	case esc:
		c.mode = afterEsc(b)
	case skip:
		c.mode = text
	case csi:
		if b >= '@' && b <= '~' {
			c.mode = text
		}
	case quote:
		switch b {
		case '\a':
			c.mode = text
		case 0x1b:
			c.mode = esc
		}
	}
}

func afterEsc(b byte) mode {
	switch b {
	case '[':
		return csi
	case ']', 'P', 'X', '^', '_':
		return quote
	case '(', ')', '*', '+', '#', '%', ' ':
		return skip
	}
	return text
}

func (c *console) char(b byte) {
	switch {
	case b == 0x1b:
		c.mode = esc
	case b == '\b':
		c.line = c.line[:max(0, len(c.line)-1)]
	case b == '\t' || b >= ' ' && b != 0x7f:
		c.line = append(c.line, b)
		if len(c.line) == maxLine {
			c.flush()
		}
	}
}

// open is the line that has not ended yet.
func (c *console) open() string { return clean(c.line) }

// flush ends the line that stands open. An empty one is no line.
func (c *console) flush() {
	if len(c.line) > 0 {
		c.emit(clean(c.line))
		c.line = c.line[:0]
	}
}

// clean also drops the controls from U+0080 on, which some terminals obey.
func clean(line []byte) string {
	s := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(line), "\uFFFD"))
	return strings.TrimRight(s, " \t")
}
