package serve

import (
	"net/url"
	"strings"
)

// target is what a path asks for. The zero value is the directory.
type target struct {
	kind       kind
	generation string // plan id, for inGeneration
	name       string // as it was asked for, decoded; empty for the directory
}

type kind int

const (
	directory    kind = iota // / and /hook
	inSet                    // /NAME and /hook/NAME
	inGeneration             // /generations/ID/NAME
	inExtra                  // /extra/NAME
	inPage                   // /page/NAME, what the page for browsers needs
	events                   // /events
)

// route reads a path. It is split before it is decoded, so that an encoded slash is part of a name, and no file
// that is served has such a name; empty parts, of doubled and trailing slashes, count for nothing. ok is false
// where no file can be meant.
func route(u *url.URL) (t target, ok bool) {
	var parts []string
	for p := range strings.SplitSeq(u.EscapedPath(), "/") {
		if p != "" {
			parts = append(parts, p)
		}
	}
	switch {
	case len(parts) == 3 && parts[0] == "generations":
		t = target{kind: inGeneration, generation: parts[1]}
	case len(parts) == 2 && parts[0] == "extra":
		t = target{kind: inExtra}
	case len(parts) == 2 && parts[0] == "page":
		t = target{kind: inPage}
	case len(parts) == 1 && parts[0] == "events": // no published file can have that name
		return target{kind: events}, true
	case len(parts) == 0, len(parts) == 1 && parts[0] == "hook":
		return target{}, true
	case len(parts) == 1, len(parts) == 2 && parts[0] == "hook":
		t = target{kind: inSet}
	default:
		return target{}, false
	}
	name, err := url.PathUnescape(parts[len(parts)-1])
	t.name = name
	return t, err == nil && plain(name)
}

// plain says whether a name can be one of a file that is served: a path has more than one reading where there are
// slashes or backslashes in it, and what begins with a dot is hidden.
func plain(name string) bool {
	return name != "" && name[0] != '.' && !strings.ContainsAny(name, "/\\\x00")
}
