package doctor

import (
	"fmt"
	"strings"
)

// The smallest terminal that the kernel's menuconfig draws on (scripts/kconfig/lxdialog/dialog.h: 19 rows, 80 columns).
const (
	leastColumns = 80
	leastRows    = 19
)

// Terminal is what the user sits at. The zero value is no terminal.
type Terminal struct {
	There         bool // keys can be read and something can be drawn
	Columns, Rows uint // 0 where it does not tell
	Term          string
	NoColor       bool
	Locale        string // of LC_ALL, LC_CTYPE and LANG the first that is set
}

// Finding judges a terminal; only kernel-config's menu needs one.
func (t Terminal) Finding() Finding {
	const name = "terminal"
	if !t.There {
		return Finding{name, OK, "none: progress is plain, and kernel-config takes --set, --unset and --fragment", ""}
	}
	colour := "colours"
	if t.NoColor {
		colour = "no colours (NO_COLOR)"
	}
	f := Finding{name, OK, fmt.Sprintf("%d×%d, TERM=%s, %s, locale %s", t.Columns, t.Rows, t.Term, colour, t.Locale), ""}
	locale := strings.ToUpper(strings.ReplaceAll(t.Locale, "-", ""))
	switch {
	case t.Term == "" || t.Term == "dumb":
		f.State, f.Hint = Warning, "kernel-config draws its menu by TERM: set it to what the terminal is, such as xterm-256color"
	case t.Columns < leastColumns || t.Rows < leastRows:
		f.State, f.Hint = Warning, fmt.Sprintf("kernel-config's menu needs %d columns and %d rows: make the window larger", leastColumns, leastRows)
	case !strings.Contains(locale, "UTF8"):
		f.State, f.Hint = Warning, "the locale is not UTF-8: letters outside of ASCII may come out wrong; LANG=C.UTF-8 mends that"
	}
	return f
}
