package device

import (
	"encoding/binary"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf16"
)

// Limits of an input. lspci -vvv prints about 100 KB of a large server, so that many servers fit.
const (
	MaxInput = 16 << 20 // bytes
	MaxLine  = 64 << 10 // bytes of a line

	maxFaults = 10 // named of an input; more do not help
)

// escapes are what a terminal's log has besides text: colours, titles (ECMA-48, 5.4; OSC of xterm), and backspaces.
var escapes = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|\x1b[@-Z\\\\-_()][0-9A-B]?|[\x00-\x08\x0e-\x1f]")

// readAll reads an input within its limit. What PowerShell has redirected is UTF-16.
func readAll(name string, r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxInput+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	if len(b) > MaxInput {
		return "", fmt.Errorf("%s: more than %d MB; give the part with the devices", name, MaxInput>>20)
	}
	var order binary.ByteOrder
	switch {
	case len(b) >= 2 && b[0] == 0xff && b[1] == 0xfe:
		order = binary.LittleEndian
	case len(b) >= 2 && b[0] == 0xfe && b[1] == 0xff:
		order = binary.BigEndian
	default:
		return strings.TrimPrefix(string(b), "\ufeff"), nil
	}
	units := make([]uint16, 0, len(b)/2)
	for i := 2; i+1 < len(b); i += 2 {
		units = append(units, order.Uint16(b[i:]))
	}
	return string(utf16.Decode(units)), nil
}

// readLines reads an input's lines, without what terminals add. Line n is at n-1.
func readLines(name string, r io.Reader) ([]string, error) {
	text, err := readAll(name, r)
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(text) {
		if len(line) > MaxLine {
			return nil, fmt.Errorf("%s:%d: a line of more than %d KB; this is not a list of devices", name, len(lines)+1, MaxLine>>10)
		}
		line = strings.ReplaceAll(escapes.ReplaceAllString(line, ""), "\u00a0", " ") // a no-break space, from web pages
		lines = append(lines, strings.TrimRight(line, "\r\n\t "))
	}
	return lines, nil
}
