package serve

import (
	"fmt"
	"strconv"
	"strings"
)

// maxParts is how many parts of a file one answer has at most. More are within a client's rights, but nobody who
// boots a machine asks for them, and each costs a seek.
const maxParts = 4

// span is a part of a file, both ends included.
type span struct{ first, last int64 }

// rangeHeader turns the Range fields of a request for a file of so many bytes into one that http.ServeContent
// answers as RFC 9110, section 14.2, and nginx do. The empty string stands for the whole file: where nothing is
// asked for, the unit is not bytes (which a server must ignore), there are several fields, more than maxParts
// parts, or parts with more bytes than the file. What cannot be read, and what lies behind the end, is answered
// with 416.
func rangeHeader(fields []string, size int64) string {
	if len(fields) != 1 || size == 0 {
		return ""
	}
	unit, set, ok := strings.Cut(fields[0], "=")
	if !ok || !strings.EqualFold(unit, "bytes") || strings.Trim(set, " \t,") == "" {
		return ""
	}
	spans, ok := parseSpans(set, size)
	if !ok || len(spans) == 0 {
		return fmt.Sprintf("bytes=%d-", size)
	}
	var parts []string
	var total int64
	for _, s := range spans {
		parts = append(parts, fmt.Sprintf("%d-%d", s.first, s.last))
		total += s.last - s.first + 1
	}
	if len(spans) > maxParts || total > size {
		return ""
	}
	return "bytes=" + strings.Join(parts, ",")
}

// parseSpans reads a range set, and leaves out what lies behind the end. It stops with the first span that makes
// it one too many, so that total sums in rangeHeader cannot overflow.
func parseSpans(set string, size int64) (spans []span, ok bool) {
	for item := range strings.SplitSeq(set, ",") {
		if item = strings.Trim(item, " \t"); item == "" {
			continue // RFC 9110, section 5.6.1.2: a recipient must accept empty elements of a list
		}
		s, ok := parseSpan(item, size)
		if !ok {
			return nil, false
		}
		if s.first <= s.last && len(spans) <= maxParts {
			spans = append(spans, s)
		}
	}
	return spans, true
}

// parseSpan reads first-last, first- or -length. One that lies behind the end has first > last.
func parseSpan(item string, size int64) (s span, ok bool) {
	first, last, ok := strings.Cut(item, "-")
	first, last = strings.TrimRight(first, " \t"), strings.TrimLeft(last, " \t")
	if !ok || first == "" && last == "" {
		return span{}, false
	}
	if first == "" {
		length, ok := number(last)
		return span{max(size-length, 0), size - 1}, ok
	}
	if s.first, ok = number(first); !ok {
		return span{}, false
	}
	if s.last = size - 1; last == "" {
		return s, true
	}
	end, ok := number(last)
	if !ok || end < s.first {
		return span{}, false
	}
	s.last = min(end, size-1)
	return s, true
}

// number reads digits; strconv alone would take a sign.
func number(digits string) (int64, bool) {
	n, err := strconv.ParseUint(digits, 10, 63)
	return int64(n), err == nil
}
