package artifacts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Hold returns the generation with the given plan id and keeps Prune of any process from removing it until release
// is called, or this process dies; release may be called more than once. Only the manifest is read. ErrNotFound where
// there is no such generation, a *DamagedError where its manifest is none.
func (s *Store) Hold(id string) (gen Generation, release func() error, err error) {
	if err := checkID(id); err != nil {
		return Generation{}, nil, err
	}
	lock, err := holdDir(s.generationDir(id))
	if errors.Is(err, fs.ErrNotExist) {
		return Generation{}, nil, fmt.Errorf("generation %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Generation{}, nil, fmt.Errorf("generation %s: %w", id, err)
	}
	gen, err = s.readGeneration(id)
	if err != nil {
		return Generation{}, nil, errors.Join(err, lock.Close())
	}
	return gen, func() error {
		if err := lock.Close(); !errors.Is(err, fs.ErrClosed) {
			return err
		}
		return nil
	}, nil
}

// holdDir opens a directory with a shared flock(2), the one that stands there after the lock was given: what was
// opened may have been renamed away meanwhile.
func holdDir(dir string) (*os.File, error) {
	for {
		f, err := os.Open(dir)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH)
		same := false
		if err == nil {
			same, err = stands(f, dir)
		}
		if err == nil && same {
			return f, nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
}

// stands says whether the open f is what is found at path.
func stands(f *os.File, path string) (bool, error) {
	opened, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(opened, there), err
}

// claimDir opens a directory that nobody holds, with an exclusive flock(2); nil where somebody does.
func claimDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, f.Close()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// held says whether somebody holds the generation now.
func held(dir string) (bool, error) {
	f, err := claimDir(dir)
	if err != nil || f == nil {
		return err == nil, err
	}
	return false, f.Close()
}

// removeDir takes a generation away that nobody holds; false where somebody does. It is renamed first, so that
// nobody sees a part of it.
func (s *Store) removeDir(id string) (removed bool, err error) {
	dir := s.generationDir(id)
	claim, err := claimDir(dir)
	if err != nil || claim == nil {
		return false, err
	}
	defer func() { err = errors.Join(err, claim.Close()) }()
	parent := filepath.Dir(dir)
	temp, err := makeTempDir(parent)
	if err != nil {
		return false, err
	}
	if err := os.Rename(dir, filepath.Join(temp, "old")); err != nil {
		return false, errors.Join(err, os.Remove(temp))
	}
	return true, errors.Join(syncDir(parent), os.RemoveAll(temp))
}
