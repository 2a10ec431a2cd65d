package cachedir

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
)

// DefaultLimit is how large the cache may become where nothing else is said, in bytes: some ten builds of different
// kernels.
const DefaultLimit = 20 << 30

// Trim removes files until the cache is not larger than limit, in bytes: what killed runs have left first, then what
// was not used for the longest time. The digests of pins, keys and signed indexes stay, even if they are more than
// that; pins is called only where the cache is larger than limit. A limit of 0 is none. Where somebody else works with the cache nothing is removed: the last one to end does it.
// What has been removed is returned beside an error, too.
func Trim(ctx context.Context, dir string, limit int64, pins func() (map[string]bool, error)) (removed []Entry, err error) {
	if limit == 0 {
		return nil, nil
	}
	release, err := Claim(dir)
	var inUse *InUseError
	if errors.As(err, &inUse) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	entries, err := List(ctx, dir)
	if err != nil {
		return nil, err
	}
	total := int64(0)
	for _, e := range entries {
		total += e.Bytes
	}
	if total <= limit {
		return nil, nil
	}
	rule := Rule{Age: -1} // of any age
	if rule.Pins, err = pins(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(entries, func(a, b Entry) int {
		if a.Temporary != b.Temporary {
			return cmp.Compare(rank(a), rank(b))
		}
		return a.Used.Compare(b.Used)
	})
	for _, e := range entries {
		if total <= limit {
			break
		}
		if rule.Now = e.Used; !rule.Goes(e) {
			continue
		}
		if err := Remove(dir, e); err != nil {
			return removed, err
		}
		removed, total = append(removed, e), total-e.Bytes
	}
	return removed, nil
}

// rank puts temporary files first.
func rank(e Entry) int {
	if e.Temporary {
		return 0
	}
	return 1
}
