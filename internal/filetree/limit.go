package filetree

import "fmt"

// What a tar from outside, and the tree that it is laid into, may come to. The tree of HookOS has some ten
// thousand entries; with these, ApplyTar stays below 256 MiB and a few seconds.
const (
	maxEntries = 180_000
	maxNames   = 32 << 20 // bytes of the names, link targets and attributes' names in a tar; and of the paths in a tree
	maxSteps   = 60_000_000

	copiedPerStep = 16 // bytes of a path that are copied in the time of one step
)

// LimitError says that a tar holds more than ApplyTar takes, or would make a tree of it that does.
type LimitError struct{ What string }

// Error says which limit.
func (e *LimitError) Error() string { return e.What }

// usage is what has been made so far. A nil usage has no limits.
type usage struct {
	entries int
	names   int64 // bytes
	steps   int64 // of path lookups: symlinks make one name cost as much as 40
}

// entry counts one entry, with the bytes of its names.
func (u *usage) entry(names int) error {
	if u == nil {
		return nil
	}
	u.entries++
	u.names += int64(names)
	return u.check()
}

// step counts components of paths that are looked up.
func (u *usage) step(n int) error {
	if u == nil {
		return nil
	}
	if u.steps += int64(n); u.steps > maxSteps {
		return &LimitError{"the symlinks among its paths take too many steps to follow"}
	}
	return nil
}

func (u *usage) check() error {
	switch {
	case u.entries > maxEntries:
		return &LimitError{fmt.Sprintf("more than %d entries", maxEntries)}
	case u.names > maxNames:
		return &LimitError{fmt.Sprintf("more than %d bytes of names", maxNames)}
	}
	return nil
}

// add counts n and what is below it.
func (u *usage) add(n *node) {
	u.entries++
	u.names += int64(len(n.Path))
	for _, child := range n.children {
		u.add(child)
	}
}
