package cachedir

import (
	"context"
	"errors"
	"fmt"
	"os"
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
// process dies. Any number of processes may hold it; one that has claimed it is waited for, until ctx ends. On a file
// system without locks nothing is held.
func Hold(ctx context.Context, dir string) (release func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK) {
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%w: %w", &InUseError{dir}, context.Cause(ctx)), f.Close())
		case <-ticker.C:
		}
	}
	return f.Close, nil
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
