package artifacts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// TestLimits runs helpers in mount namespaces of their own: a mount there needs no root, reaches nobody else
// and ends with the process.
func TestLimits(t *testing.T) {
	for _, name := range []string{"full", "readonly"} {
		t.Run(name, func(t *testing.T) {
			cmd := helper(t.Context(), name, t.TempDir())
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			if os.Getuid() != 0 {
				cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
				cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// fillSmallDisk publishes on a file system of 1 MiB until it is full, at the first byte that is too much
// each time: every failure names ENOSPC and leaves the old set whole and nothing beside it.
func fillSmallDisk(dir string) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	s, err := Open(filepath.Join(dir, "out"))
	if err != nil {
		return err
	}
	unlock, err := s.TryLock()
	if err != nil {
		return err
	}
	gen, err := generate(s, testPlan(plan.X8664, "f", "first"), 10_000)
	if err != nil {
		return err
	}
	if _, err := s.Publish(gen); err != nil {
		return err
	}
	failures := 0
	for kib := 150; kib < 600; kib += 5 { // from where all fits to where not even the kernel does
		if err := publishOnce(s, fmt.Sprint(kib), kib<<10); err == nil {
			continue
		} else if !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("%d KiB: got %w, want ENOSPC", kib, err)
		}
		failures++
		recipes, err := verifySet(s.HookPath())
		if err != nil || recipes[plan.X8664] != "first" {
			return fmt.Errorf("%d KiB: published is %v, %v", kib, recipes, err)
		}
	}
	if failures == 0 {
		return errors.New("the disk was never full")
	}
	left, err := filepath.Glob(filepath.Join(dir, "out", "*", tempPrefix+"*"))
	return errors.Join(err, unlock(), wantNone(left))
}

func publishOnce(s *Store, recipe string, size int) error {
	gen, err := generate(s, testPlan(plan.X8664, "f", recipe), size)
	if err != nil {
		return err
	}
	defer os.RemoveAll(gen.Dir)
	return fillUp(s, gen)
}

// fillUp takes the last free byte before it publishes, so that the set has no room.
func fillUp(s *Store, gen Generation) error {
	path := filepath.Join(s.Dir(), "ballast")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	_, err = s.Publish(gen)
	return err
}

func wantNone(paths []string) error {
	if len(paths) > 0 {
		return fmt.Errorf("left behind: %q", paths)
	}
	return nil
}

// lockReadOnly tries to write where nobody can.
func lockReadOnly(dir string) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	for _, out := range []string{dir, filepath.Join(dir, "a", "out")} {
		s, err := Open(out)
		if err != nil {
			return err
		}
		if _, err := s.TryLock(); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), dir) {
			return fmt.Errorf("got %w, want EROFS with the directory's name", err)
		}
	}
	return nil
}
