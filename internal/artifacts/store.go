// Package artifacts keeps what a build makes in an output directory: a plan id and a stream for each file go
// in, complete generations and the published set of both architectures come out. Checksums follow
// sha512sum's format (https://www.gnu.org/software/coreutils/manual/html_node/sha2-utilities.html), the
// tarball is POSIX ustar in gzip (https://www.rfc-editor.org/rfc/rfc1952).
//
// An output directory looks like this:
//
//	.lock                       flock of the writer, holds its process id
//	generations/<plan id>/      one flavor of one architecture: files, report.json, manifest.json
//	sets/<n>/                   what is published: hard links to one generation of each architecture
//	hook -> sets/<n>            the current set, switched by one rename
//	history.json                what was published before, for Previous
//
// A directory appears under its final name only when all it holds is on the disk. Names that start with
// ".tmp-" are the work of a writer that may have died; the next one removes them.
package artifacts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const (
	generationsDir = "generations"
	setsDir        = "sets"
	hookName       = "hook"
	tempPrefix     = ".tmp-"
)

// ErrNotFound says that a generation or a set does not exist. A damaged one counts as absent: a
// *DamagedError matches ErrNotFound too, so that a builder makes it again.
var ErrNotFound = errors.New("not found")

// DamagedError says that something stored is not what its manifest says.
type DamagedError struct {
	Path   string // the file or directory
	Reason string
}

// Error names the path and what is wrong with it.
func (e *DamagedError) Error() string { return fmt.Sprintf("%s is damaged: %s", e.Path, e.Reason) }

// Is makes a damaged thing count as absent.
func (e *DamagedError) Is(target error) bool { return target == ErrNotFound }

// HookTakenError says that something that hookbuild has not made stands where the published set belongs.
type HookTakenError struct {
	Path string
	What string // "a directory", "a file", "a symlink to /srv/www"
}

// Error names the path and what is there.
func (e *HookTakenError) Error() string {
	return fmt.Sprintf("%s is %s, want hookbuild's own symlink to the published set", e.Path, e.What)
}

// Hint says how to get on.
func (e *HookTakenError) Hint() string {
	return "move " + e.Path + " away, or choose another output directory with --out"
}

// Store is one output directory. Make one with Open. Reading needs no lock and may go on in any number of
// processes; Stage and Publish need the lock.
type Store struct {
	dir string

	mu     sync.Mutex
	locked bool
}

// Open returns the store in dir, which need not exist yet: a store that holds nothing answers ErrNotFound.
// Nothing is written before Lock.
func Open(dir string) (*Store, error) {
	info, err := os.Stat(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("output directory: %w", err)
	}
	if err == nil && !info.IsDir() {
		return nil, fmt.Errorf("output directory: %w", &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR})
	}
	return &Store{dir: dir}, nil
}

// Dir is the output directory as it was given to Open.
func (s *Store) Dir() string { return s.dir }

// HookPath is where the published set is found: a symlink once something is published.
func (s *Store) HookPath() string { return filepath.Join(s.dir, hookName) }

// Stamp is another text whenever something else is published, and whenever a generation comes or goes. Nothing is read
// for it. It is no secret, and names no path.
func (s *Store) Stamp() string {
	target, _ := os.Readlink(s.HookPath()) // the empty one of where nothing is published differs too
	made := int64(0)
	if info, err := os.Stat(filepath.Join(s.dir, generationsDir)); err == nil {
		made = info.ModTime().UnixNano()
	}
	return fmt.Sprintf("%s@%x", path.Base(target), made)
}

// published returns the number of the current set: ErrNotFound where nothing is published, a
// *HookTakenError where something else than our symlink stands.
func (s *Store) published() (int, error) {
	hook := s.HookPath()
	info, err := os.Lstat(hook)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s: nothing is published: %w", s.dir, ErrNotFound)
	}
	if err != nil {
		return 0, fmt.Errorf("published set: %w", err)
	}
	if info.Mode().Type() != fs.ModeSymlink {
		what := "a file"
		if info.IsDir() {
			what = "a directory"
		}
		return 0, &HookTakenError{Path: hook, What: what}
	}
	target, err := os.Readlink(hook)
	if err != nil {
		return 0, fmt.Errorf("published set: %w", err)
	}
	number, ok := strings.CutPrefix(target, setsDir+"/")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 1 {
		return 0, &HookTakenError{Path: hook, What: "a symlink to " + target}
	}
	return n, nil
}

// requireLock guards against a caller that writes without having locked.
func (s *Store) requireLock() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.locked {
		return fmt.Errorf("%s: is written to without its lock", s.dir)
	}
	return nil
}
