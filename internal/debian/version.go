package debian

import (
	"cmp"
	"strings"
)

// CompareVersions orders two Debian package versions as deb-version(7) says: negative where a is older than
// b, zero where they are equal ("1.0" and "1.00-0" are), positive where a is newer.
func CompareVersions(a, b string) int {
	ea, ua, ra := splitVersion(a)
	eb, ub, rb := splitVersion(b)
	return cmp.Or(comparePart(ea, eb), comparePart(ua, ub), comparePart(ra, rb))
}

// splitVersion takes [epoch:]upstream[-revision] apart; a missing part is empty, which compares as zero.
func splitVersion(v string) (epoch, upstream, revision string) {
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, v = e, rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		v, revision = v[:i], v[i+1:]
	}
	return epoch, v, revision
}

// comparePart compares the text and the numbers of two parts by turns.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		var ta, tb, na, nb string
		ta, na, a = textAndNumber(a)
		tb, nb, b = textAndNumber(b)
		if c := cmp.Or(compareText(ta, tb), compareNumber(na, nb)); c != 0 {
			return c
		}
	}
	return 0
}

// textAndNumber cuts off the longest start without digits and the number that follows it.
func textAndNumber(s string) (text, number, rest string) {
	i := 0
	for i < len(s) && !isDigit(s[i]) {
		i++
	}
	j := i
	for j < len(s) && isDigit(s[j]) {
		j++
	}
	return s[:i], s[i:j], s[j:]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// compareText compares byte by byte: a tilde sorts before the end, the end before letters, letters before
// everything else.
func compareText(a, b string) int {
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(weight(a, i), weight(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

func weight(s string, i int) int {
	switch {
	case i >= len(s):
		return 0
	case s[i] == '~':
		return -1
	case 'a' <= s[i]|0x20 && s[i]|0x20 <= 'z':
		return int(s[i])
	}
	return int(s[i]) + 256
}

// compareNumber compares digits of any length by value; no digits are zero.
func compareNumber(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}
