package artifacts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hookbuild/hookbuild/internal/plan"
)

func TestTwoWriters(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, arch := range []plan.Arch{plan.X8664, plan.AArch64} {
		wg.Go(func() {
			for n := range 5 {
				if err := writeOnce(t.Context(), dir, arch, fmt.Sprint(n)); err != nil {
					errs[i] = err
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	recipes, err := verifySet(filepath.Join(dir, "hook"))
	if err != nil || recipes[plan.X8664] != "4" || recipes[plan.AArch64] != "4" {
		t.Errorf("got %v, %v, want the last of both", recipes, err)
	}
}

// writeOnce is one builder: a store of its own, as another process has.
func writeOnce(ctx context.Context, dir string, arch plan.Arch, recipe string) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	unlock, err := s.Lock(ctx, nil)
	if err != nil {
		return err
	}
	gen, err := generate(s, testPlan(arch, "f", recipe), 1000)
	if err != nil {
		return errors.Join(err, unlock())
	}
	_, err = s.Publish(gen)
	return errors.Join(err, unlock())
}

func TestLockWaits(t *testing.T) {
	holder := locked(t)
	waiter, err := Open(holder.Dir())
	if err != nil {
		t.Fatal(err)
	}
	var locked *LockedError
	if _, err := waiter.TryLock(); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("TryLock: got %v, want a LockedError with pid %d", err, os.Getpid())
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	var told []int
	_, err = waiter.Lock(ctx, func(pid int) {
		told = append(told, pid)
		cancel(interrupted)
	})
	if !errors.Is(err, interrupted) || !errors.As(err, &locked) {
		t.Errorf("Lock: got %v, want the cause and a LockedError", err)
	}
	if len(told) != 1 || told[0] != os.Getpid() {
		t.Errorf("onWait: got %v, want %d once", told, os.Getpid())
	}
}

func TestUnlock(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := s.TryLock()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := unlock(); err != nil {
			t.Errorf("unlock: %v", err)
		}
	}
	if _, err := s.Stage(testPlanID()); err == nil {
		t.Error("Stage after unlock: no error")
	}
	data, err := os.ReadFile(filepath.Join(dir, ".lock"))
	if err != nil || len(data) > 0 {
		t.Errorf("lock file: got %q, %v, want it empty", data, err)
	}
	other, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	lock(t, other)
}

func testPlanID() string {
	p := testPlan(plan.X8664, "f", "x1")
	return p.ID()
}

func TestLockRemovesLeftovers(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"generations/.tmp-1", "sets/.tmp-2", "generations/keep", "sets/1"} {
		if err := os.MkdirAll(filepath.Join(dir, path, "below"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sets/1", filepath.Join(dir, ".tmp-hook")); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	lock(t, s)
	if left := leftovers(t, dir); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	for _, path := range []string{"generations/keep/below", "sets/1/below"} {
		if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
			t.Error(err)
		}
	}
}
