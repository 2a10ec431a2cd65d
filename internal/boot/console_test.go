package boot

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConsoleLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	cases := map[string]struct {
		in   string
		want []string
	}{
		"nothing":                  {"", nil},
		"LF":                       {"a\nb\n", []string{"a", "b"}},
		"CR LF":                    {"a\r\nb\r\n", []string{"a", "b"}},
		"CR CR LF":                 {"a\r\r\n", []string{"a"}},
		"empty lines are none":     {"\r\n\n\r\na\n\n", []string{"a"}},
		"open line at the end":     {"a\nlogin: ", []string{"a", "login:"}},
		"blanks at the end go":     {"a \t \nb\n", []string{"a", "b"}},
		"blanks in front stay":     {"  a\n", []string{"  a"}},
		"tab stays":                {"a\tb\n", []string{"a\tb"}},
		"colours":                  {"\x1b[0;1mi\x1b[mPXE\x1b[38;5;12m!\x1b[0m\n", []string{"iPXE!"}},
		"private modes and reset":  {"\x1bc\x1b[?7l\x1b[2J\x1b[=3hSeaBIOS\n", []string{"SeaBIOS"}},
		"cursor positions":         {"\x1b[2J\x1b[01;01Hup\n", []string{"up"}},
		"title, BEL":               {"\x1b]0;root@hook: ~\aup\n", []string{"up"}},
		"title, ESC backslash":     {"\x1b]0;root\x1b\\up\n", []string{"up"}},
		"character set":            {"\x1b(Bup\n", []string{"up"}},
		"sequence cut by LF":       {"a\x1b[31\nup\n", []string{"a", "up"}},
		"title that never ends":    {"a\x1b]0;title\nup\n", []string{"a", "up"}},
		"ESC at the very end":      {"a\x1b", []string{"a"}},
		"backspaces":               {"Ctrl-B\b\b\b\b\b\bup\n", []string{"up"}},
		"too many backspaces":      {"a\b\b\bup\n", []string{"up"}},
		"controls":                 {"a\x00\x01\x07\x0b\x0c\x0e\x7fb\n", []string{"ab"}},
		"C1 controls in UTF-8":     {"a\u009b31mb\n", []string{"a31mb"}},
		"UTF-8":                    {"Größe ✓\n", []string{"Größe ✓"}},
		"no UTF-8":                 {"a\xff\xfe\xc3b\n", []string{"a\uFFFDb"}},
		"only controls":            {"\x1b[0m\x00\n", nil},
		"line at the limit":        {long + "\n", []string{long}},
		"line beyond the limit":    {long + "yz\n", []string{long, "yz"}},
		"twice the limit, no end":  {long + long, []string{long, long}},
		"controls do not fill it":  {strings.Repeat("\x00", 3*maxLine) + "a\n", []string{"a"}},
		"kernel line after a beep": {"\a[    0.000000] Linux\r\n", []string{"[    0.000000] Linux"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			lines := console{emit: func(s string) { got = append(got, s) }}
			for i := range len(c.in) {
				lines.put(c.in[i])
			}
			lines.flush()
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConsoleIsBounded(t *testing.T) {
	lines := console{emit: func(string) {}}
	for range 10 * maxLine {
		lines.put('x')
	}
	if got := cap(lines.line); got > 2*maxLine {
		t.Errorf("the line buffer grew to %d bytes, want at most %d", got, 2*maxLine)
	}
}
