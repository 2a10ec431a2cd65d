package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lockPoll is how often a waiting writer tries again. flock(2) cannot be given up once it blocks, so that
// Ctrl-C could not end a wait in it.
const lockPoll = 100 * time.Millisecond

// LockedError says that another process writes to the output directory.
type LockedError struct {
	Dir string
	PID int // of the holder; 0 where it has not said so yet
}

// Error names the directory and the process.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is being written to by another process", e.Dir)
	}
	return fmt.Sprintf("%s is being written to by process %d", e.Dir, e.PID)
}

// Hint says how to get on.
func (e *LockedError) Hint() string {
	return "wait for it, or choose another output directory with --out"
}

// TryLock takes the directory for writing or fails at once with a *LockedError. The directory is made if it
// does not exist, and what a writer that died has left is removed. Where something stands in the way of
// publishing it fails with a *HookTakenError, so that nobody builds for an hour first. The caller calls
// unlock, which may be called more than once.
func (s *Store) TryLock() (unlock func() error, err error) {
	if err := s.makeOutputDir(); err != nil {
		return nil, fmt.Errorf("output directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock of the output directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(&LockedError{Dir: s.dir, PID: readPID(f)}, f.Close())
	}
	if err == nil {
		err = s.begin(f)
	}
	if err != nil {
		return nil, fmt.Errorf("lock of the output directory: %w", errors.Join(err, f.Close()))
	}
	return s.unlocker(f), nil
}

// Lock is TryLock that waits for the holder. onWait, if not nil, hears the holder's process id once for
// each holder. When ctx ends first, its cause is returned beside the *LockedError.
func (s *Store) Lock(ctx context.Context, onWait func(pid int)) (unlock func() error, err error) {
	ticker := time.NewTicker(lockPoll)
	defer ticker.Stop()
	told := 0
	for {
		unlock, err := s.TryLock()
		var locked *LockedError
		if !errors.As(err, &locked) {
			return unlock, err
		}
		if locked.PID != told && onWait != nil {
			told = locked.PID
			onWait(told)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", locked, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// begin is what every writer does first.
func (s *Store) begin(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return err
	}
	if _, err := s.published(); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	for _, dir := range []string{s.dir, filepath.Join(s.dir, generationsDir), filepath.Join(s.dir, setsDir)} {
		if err := removeTemps(dir); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locked = true
	return nil
}

func (s *Store) unlocker(f *os.File) func() error {
	return func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if f == nil {
			return nil
		}
		s.locked = false
		err := errors.Join(f.Truncate(0), f.Close()) // closing gives the lock back
		f = nil
		return err
	}
}

// makeOutputDir makes the output directory, its parents too.
func (s *Store) makeOutputDir() error {
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(s.dir)), 0o755); err != nil {
		return err
	}
	return makeDir(filepath.Clean(s.dir))
}

// readPID returns the process id in a lock file, 0 where there is none.
func readPID(f io.ReaderAt) int {
	buf := make([]byte, 20)
	n, _ := f.ReadAt(buf, 0) // a short read is the rule
	pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		return 0
	}
	return pid
}
