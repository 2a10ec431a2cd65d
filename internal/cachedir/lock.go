package cachedir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// InUseError says that a hookbuild works with the cache.
type InUseError struct{ Dir string }

// Error names the directory.
func (e *InUseError) Error() string {
	return fmt.Sprintf("the cache %s is in use by another hookbuild", e.Dir)
}

// Hint says how to get on.
func (e *InUseError) Hint() string {
	return "wait until it has ended; --dry-run shows what would be removed"
}

// poll is how often Hold tries again. flock(2) cannot be given up once it blocks.
const poll = 100 * time.Millisecond

// Hold makes the cache directory and keeps Claim of any process from getting it until release is called, or this
// process dies. Any number of processes may hold it; one that has claimed it is waited for, until ctx ends. release
// takes away again what Hold has made and nobody has put anything into. On a file system without locks nothing is held.
func Hold(ctx context.Context, dir string) (release func() error, err error) {
	made, err := missing(dir)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		f, err := share(dir)
		if err != nil {
			return nil, fmt.Errorf("cache: %w", err)
		}
		if f != nil {
			return func() error { return giveUp(f, made) }, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", &InUseError{dir}, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// missing are dir and its parents that are not there, dir first.
func missing(dir string) (list []string, err error) {
	dir, err = filepath.Abs(dir)
	for err == nil {
		_, serr := os.Stat(dir)
		if !errors.Is(serr, fs.ErrNotExist) {
			break
		}
		list, dir = append(list, dir), filepath.Dir(dir)
	}
	return list, err
}

// makeAndOpen tries again where somebody takes a directory away between two of its steps. A symlink that leads nowhere
// stays, so that there is an end to it.
func makeAndOpen(dir string) (f *os.File, err error) {
	for range 100 {
		if err = os.MkdirAll(dir, 0o755); err == nil {
			f, err = os.Open(dir)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return f, err
}

// share opens the directory with a shared lock; nil where that is to be tried again: it is claimed, or somebody has
// taken it away between making and locking it.
func share(dir string) (*os.File, error) {
	f, err := makeAndOpen(dir)
	if err != nil {
		return nil, err
	}
	if errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK) {
		return nil, f.Close()
	}
	opened, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if there, err := os.Stat(dir); err != nil || !os.SameFile(opened, there) {
		return nil, f.Close()
	}
	return f, nil
}

// giveUp ends a lock. Directories that were made for it go where they are empty and nobody else holds them.
func giveUp(f *os.File, made []string) error {
	if len(made) > 0 && syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		for _, dir := range made {
			if os.Remove(dir) != nil { // there is something in it
				break
			}
		}
	}
	return f.Close()
}

// Claim takes the cache directory for this process alone until release is called. Where somebody holds it the error
// is an *InUseError, where it is not there one of fs.ErrNotExist.
func Claim(dir string) (release func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(&InUseError{dir}, f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock of the cache %s: %w", dir, err), f.Close())
	}
	return f.Close, nil
}
