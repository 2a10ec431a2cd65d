package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// settled is how old a change must be until nothing can hide behind it: file systems keep times no more exactly than
// their clock ticks, so that two changes in a row may leave the same ones.
const settled = 2 * time.Second

// openExtra opens a regular file of the directory Options.Extra. Links are followed as far as they stay in the
// directory. What cannot be served is errAbsent, so that nobody learns what is there.
func (h *handler) openExtra(name string) (*file, error) {
	if h.extra == nil {
		return nil, errAbsent
	}
	info, err := h.extra.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil, errAbsent
	}
	// Should it have become a pipe meanwhile, opening it must not wait for a writer.
	f, err := h.extra.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errAbsent
	}
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = errAbsent
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &file{
		File: f, label: "extra", extra: name, size: info.Size(), modified: info.ModTime(),
		etag: extraTag(info, h.now()), caching: mayChange,
	}, nil
}

// extraTag makes a validator of what the file system knows of a file, since hashing an OS image of gigabytes at each
// request is out of the question. It is a strong one (RFC 9110, section 8.8.1), which allows ranges to be put together,
// because every change of the content, also one that sets the modification time back, gives another inode or change
// time; within the first moments after a change, when that is not so yet, it is a weak one.
func extraTag(info fs.FileInfo, now time.Time) string {
	var inode uint64
	changed := info.ModTime()
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		inode, changed = stat.Ino, time.Unix(stat.Ctim.Unix())
	}
	tag := fmt.Sprintf(`"%x-%x-%x-%x"`, inode, info.Size(), info.ModTime().UnixNano(), changed.UnixNano())
	if now.Sub(changed) < settled {
		return "W/" + tag
	}
	return tag
}
