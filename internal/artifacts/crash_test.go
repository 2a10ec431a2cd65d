package artifacts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// publishForEver publishes one generation of x86_64 after the other, until it is killed. It says when it
// begins, and which recipe is published when Publish has returned. Recipes count up over all processes.
func publishForEver(dir string) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	if _, err := s.Lock(context.Background(), nil); err != nil {
		return err
	}
	next := 1
	if set, err := s.Current(); err == nil {
		if next, err = strconv.Atoi(set.Manifests[plan.X8664].Plan.Recipe); err != nil {
			return err
		}
	}
	fmt.Println("begin")
	for {
		next++
		gen, err := generate(s, testPlan(plan.X8664, "f", strconv.Itoa(next)), 50_000)
		if err != nil {
			return err
		}
		if _, err := s.Publish(gen); err != nil {
			return err
		}
		fmt.Println(next)
		if err := os.RemoveAll(gen.Dir); err != nil { // as a later prune: sets do not need it
			return err
		}
	}
}

// TestKill kills a publisher at many points: whenever it dies, what is published is whole, of one
// generation, and not older than what it said was published; the other architecture stays.
func TestKill(t *testing.T) {
	const kills = 120
	s, err := Open(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := s.TryLock()
	if err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, mustGenerate(t, s, plan.AArch64, "f", "arm"))
	mustPublish(t, s, mustGenerate(t, s, plan.X8664, "f", "1"))
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	duringStage, duringSet := 0, 0
	// A slow disk needs a longer life to come to the set.
	for i := 0; i < kills || i < 10*kills && (duringStage == 0 || duringSet == 0); i++ {
		told := runAndKill(t, "publish", s.Dir(), time.Duration(random.IntN(40_000*(1+i/kills)))*time.Microsecond)
		recipes, err := verifySet(s.HookPath())
		if err != nil {
			t.Fatalf("kill %d: %v", i, err)
		}
		got, err := strconv.Atoi(recipes[plan.X8664])
		if err != nil || got < told || recipes[plan.AArch64] != "arm" {
			t.Fatalf("kill %d: got %v, want x86_64 not older than %d and arm", i, recipes, told)
		}
		for _, path := range leftovers(t, s.Dir()) {
			switch {
			case strings.Count(path, "/") > 1:
			case strings.HasPrefix(path, generationsDir):
				duringStage++
			default:
				duringSet++
			}
		}
	}
	t.Logf("killed %d times while staging, %d times while publishing", duringStage, duringSet)
	if duringStage == 0 || duringSet == 0 {
		t.Errorf("killed %d times while staging and %d times while publishing, want both", duringStage, duringSet)
	}
	lock(t, s)
	if left := leftovers(t, s.Dir()); len(left) > 0 {
		t.Errorf("the next writer left %q", left)
	}
	set, err := s.Current()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sha512sum", "--check", "--strict", ChecksumName)
	cmd.Dir = set.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sha512sum: %v\n%s", err, out)
	}
}

// promoteForEver makes one of three generations after the other current, goes back, and prunes, until it is killed.
func promoteForEver(dir string) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	if _, err := s.Lock(context.Background(), nil); err != nil {
		return err
	}
	fmt.Println("begin")
	for n := 1; ; n++ {
		for _, recipe := range []string{"1", "2", "3"} {
			p := testPlan(plan.X8664, "f", recipe)
			gen, err := s.Generation(p.ID())
			if errors.Is(err, ErrNotFound) {
				gen, err = generate(s, p, 50_000)
			}
			if err != nil {
				return err
			}
			if _, err := s.Publish(gen); err != nil {
				return err
			}
		}
		gen, err := s.Previous(plan.X8664)
		if err != nil {
			return err
		}
		if _, err := s.Publish(gen); err != nil {
			return err
		}
		if _, err := s.Prune(1+n%3, false); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// TestKillPromote is TestKill of what moves between generations that are there.
func TestKillPromote(t *testing.T) {
	const kills = 80
	s, err := Open(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := s.TryLock()
	if err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, mustGenerate(t, s, plan.X8664, "f", "1"))
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	for i := range kills {
		runAndKill(t, "promote", s.Dir(), time.Duration(random.IntN(40_000))*time.Microsecond)
		if _, err := verifySet(s.HookPath()); err != nil {
			t.Fatalf("kill %d: %v", i, err)
		}
		if err := s.VerifyCurrent(t.Context(), nil); err != nil {
			t.Fatalf("kill %d: %v", i, err)
		}
		all, err := s.Generations()
		if err != nil {
			t.Fatalf("kill %d: %v", i, err)
		}
		current := 0
		for _, l := range all {
			if l.Damaged != nil || l.Held {
				t.Errorf("kill %d: left %+v", i, l)
			}
			if l.Current {
				current++
			}
			if err := s.VerifyGeneration(t.Context(), l.ID(), nil); err != nil {
				t.Errorf("kill %d: %v", i, err)
			}
		}
		if current != 1 {
			t.Errorf("kill %d: of %d generations %d are current, want 1", i, len(all), current)
		}
	}
	lock(t, s)
	if left := leftovers(t, s.Dir()); len(left) > 0 {
		t.Errorf("the next writer left %q", left)
	}
}

// runAndKill lets a publisher work on dir for the given time after it has begun, kills it, and returns the
// last recipe that it said was published.
func runAndKill(t *testing.T, name, dir string, life time.Duration) (told int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := helper(ctx, name, dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "begin" {
		t.Fatalf("publisher said %q", lines.Text())
	}
	kill := time.AfterFunc(life, cancel) // exec.CommandContext kills with SIGKILL
	defer kill.Stop()
	for lines.Scan() {
		if told, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("publisher ended by itself: %v", err)
	}
	return told
}
