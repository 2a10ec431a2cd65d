package debian

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine is how long a line of a control file may be. The longest in trixie's Packages is about 60 kB.
const maxLine = 4 << 20

// paragraph is one stanza of a file in deb822(5) form: values by lower-case field name, continuation lines
// joined by newlines without their leading space.
type paragraph map[string]string

// readParagraphs hands every stanza of r to each. With a non-nil keep, only those fields are kept. Each
// call gets a map of its own.
func readParagraphs(r io.Reader, keep map[string]bool, each func(paragraph) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	p := paragraph{}
	field := ""
	for n := 1; lines.Scan(); n++ {
		line := lines.Bytes()
		switch {
		case len(bytes.TrimSpace(line)) == 0:
			if err := flush(p, each); err != nil {
				return err
			}
			p, field = paragraph{}, ""
		case line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if field != "" {
				p[field] += "\n" + string(bytes.TrimSpace(line))
			}
		default:
			name, value, ok := bytes.Cut(line, []byte{':'})
			if !ok {
				return fmt.Errorf("line %d: %.80q is not a field", n, line)
			}
			field = strings.ToLower(string(name))
			if keep != nil && !keep[field] {
				field = ""
				continue
			}
			p[field] = string(bytes.TrimSpace(value))
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return flush(p, each)
}

func flush(p paragraph, each func(paragraph) error) error {
	if len(p) == 0 {
		return nil
	}
	return each(p)
}

// oneParagraph reads a text that must hold exactly one stanza.
func oneParagraph(text []byte) (paragraph, error) {
	var found []paragraph
	err := readParagraphs(bytes.NewReader(text), nil, func(p paragraph) error {
		found = append(found, p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, errors.New("want exactly one paragraph, got " + fmt.Sprint(len(found)))
	}
	return found[0], nil
}
