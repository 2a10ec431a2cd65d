package artifacts

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// aged makes published generations of x86_64, the first of which is the oldest, and returns their ids.
func aged(t *testing.T, s *Store, recipes ...string) []string {
	t.Helper()
	var ids []string
	for i, recipe := range recipes {
		gen := mustGenerate(t, s, plan.X8664, "f", recipe)
		mustPublish(t, s, gen)
		when := time.Unix(1_700_000_000+int64(i), 0)
		if err := os.Chtimes(gen.Dir, when, when); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, gen.ID())
	}
	return ids
}

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	lock(t, s)
	return s
}

// there lists the recipes of the generations, the newest first.
func there(t *testing.T, s *Store) []string {
	t.Helper()
	all, err := s.Generations()
	if err != nil {
		t.Fatal(err)
	}
	var recipes []string
	for _, l := range all {
		mark := ""
		for name, is := range map[string]bool{"*": l.Current, "-": l.Previous} {
			if is {
				mark = name
			}
		}
		if l.Damaged != nil {
			recipes = append(recipes, "damaged")
			continue
		}
		recipes = append(recipes, l.Manifest.Plan.Recipe+mark)
	}
	return recipes
}

func prune(t *testing.T, s *Store, keep int, dry bool) (removed []string) {
	t.Helper()
	gone, err := s.Prune(keep, dry)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range gone {
		removed = append(removed, l.Manifest.Plan.Recipe)
	}
	return removed
}

func TestPrune(t *testing.T) {
	s := newStore(t)
	ids := aged(t, s, "1", "2", "3", "4", "5", "6")
	other := mustGenerate(t, s, plan.AArch64, "f", "arm")
	old := time.Unix(1_600_000_000, 0)
	if err := os.Chtimes(other.Dir, old, old); err != nil {
		t.Fatal(err)
	}
	if got := prune(t, s, 2, true); !slices.Equal(got, []string{"4", "3", "2", "1"}) || len(there(t, s)) != 7 {
		t.Errorf("a dry run says %q and leaves %q", got, there(t, s))
	}
	_, release, err := s.Hold(ids[1])
	if err != nil {
		t.Fatal(err)
	}
	gen, err := s.Generation(ids[2])
	if err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, gen) // which makes it the newest as well
	if err := os.Chtimes(gen.Dir, old, old); err != nil {
		t.Fatal(err)
	}
	if got := prune(t, s, 2, false); !slices.Equal(got, []string{"4", "1"}) {
		t.Errorf("removed %q, want neither the held nor the current one", got)
	}
	if got := there(t, s); !slices.Equal(got, []string{"6-", "5", "2", "3*", "arm"}) && !slices.Equal(got, []string{"6-", "5", "2", "arm", "3*"}) {
		t.Errorf("left %q", got)
	}
	if err := errors.Join(release(), release()); err != nil {
		t.Error(err)
	}
	if got := prune(t, s, 2, false); !slices.Equal(got, []string{"2"}) {
		t.Errorf("removed %q, want the one that nobody holds any more", got)
	}
	if err := s.VerifyCurrent(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if left := leftovers(t, s.Dir()); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// A generation whose manifest nobody can read is of no use to anybody.
func TestPruneRemovesDamagedOnes(t *testing.T) {
	s := newStore(t)
	ids := aged(t, s, "1", "2")
	if err := os.WriteFile(filepath.Join(s.generationDir(ids[0]), ManifestName), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := there(t, s); !slices.Equal(got, []string{"2*", "damaged"}) {
		t.Errorf("got %q", got)
	}
	gone, err := s.Prune(5, false)
	if err != nil || len(gone) != 1 || gone[0].ID() != ids[0] {
		t.Errorf("removed %+v, %v", gone, err)
	}
}

// What is published is not removed, whatever has become of its generation: a server goes on serving it.
func TestPruneKeepsWhatIsPublished(t *testing.T) {
	s := newStore(t)
	ids := aged(t, s, "1", "2")
	if err := os.WriteFile(filepath.Join(s.generationDir(ids[1]), ManifestName), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	all, err := s.Generations()
	if err != nil || !all[0].Current || all[0].Damaged == nil || all[0].ID() != ids[1] {
		t.Errorf("listed %+v, %v", all, err)
	}
	if gone, err := s.Prune(1, false); err != nil || len(gone) != 0 {
		t.Errorf("removed %+v, %v", gone, err)
	}
}

func TestHoldOfNothing(t *testing.T) {
	s := newStore(t)
	ids := aged(t, s, "1")
	for _, id := range []string{"", "../generations", ids[0][:63] + "g", string(make([]byte, 64))} {
		if _, _, err := s.Hold(id); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%q: got %v", id, err)
		}
	}
	missing := "0000000000000000000000000000000000000000000000000000000000000000"
	if _, _, err := s.Hold(missing); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want not found", err)
	}
	if err := os.Remove(filepath.Join(s.generationDir(ids[0]), ManifestName)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Hold(ids[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want damaged", err)
	}
	if all, err := s.Generations(); err != nil || all[0].Held {
		t.Errorf("a failed Hold holds: %+v, %v", all, err)
	}
}

func TestRollback(t *testing.T) {
	s := newStore(t)
	previous := func() string {
		t.Helper()
		gen, err := s.Previous(plan.X8664)
		var none *NoPreviousError
		if errors.As(err, &none) {
			return "none"
		}
		if err != nil {
			t.Fatal(err)
		}
		mustPublish(t, s, gen)
		return gen.Manifest.Plan.Recipe
	}
	if got := previous(); got != "none" {
		t.Errorf("of nothing: got %s", got)
	}
	ids := aged(t, s, "1", "2", "3")
	if a, b, c := previous(), previous(), previous(); a != "2" || b != "1" || c != "none" {
		t.Errorf("got %s, %s, %s, want 2, 1 and none", a, b, c)
	}
	mustPublish(t, s, mustGenerate(t, s, plan.X8664, "f", "4")) // on 1: what came after that is not before this
	if got := previous(); got != "1" {
		t.Errorf("got %s, want 1", got)
	}
	gen, err := s.Generation(ids[2])
	if err != nil {
		t.Fatal(err)
	}
	mustPublish(t, s, gen)
	if _, err := s.removeDir(ids[0]); err != nil {
		t.Fatal(err)
	}
	if got := previous(); got != "none" {
		t.Errorf("got %s, want none: 1 is gone", got)
	}
	if err := os.WriteFile(filepath.Join(s.Dir(), historyName), []byte("no JSON"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := previous(); got != "none" {
		t.Errorf("got %s, want none: the history is lost", got)
	}
	mustPublish(t, s, mustGenerate(t, s, plan.X8664, "f", "5"))
	if got := previous(); got != "3" {
		t.Errorf("got %s, want 3, which was current when the history began anew", got)
	}
}

func TestVerify(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"a byte": func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, InitramfsName(plan.X8664)), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte{0}, 1000)
			return errors.Join(err, f.Close())
		},
		"gone":  func(dir string) error { return os.Remove(filepath.Join(dir, TarballName(plan.X8664))) },
		"short": func(dir string) error { return os.Truncate(filepath.Join(dir, KernelName(plan.X8664)), 9) },
	} {
		s := newStore(t)
		ids := aged(t, s, "1")
		set, err := s.Current()
		if err != nil {
			t.Fatal(err)
		}
		var read int64
		if err := errors.Join(s.VerifyGeneration(t.Context(), ids[0], func(n int64) { read += n }), s.VerifyCurrent(t.Context(), nil)); err != nil || read == 0 {
			t.Errorf("%s: before: %v, %d bytes", name, err, read)
		}
		if err := errors.Join(spoil(s.generationDir(ids[0])), spoil(set.Dir)); err != nil {
			t.Fatal(err)
		}
		var damaged *DamagedError
		if err := s.VerifyGeneration(t.Context(), ids[0], nil); !errors.As(err, &damaged) {
			t.Errorf("%s: the generation: got %v", name, err)
		}
		if err := s.VerifyCurrent(t.Context(), nil); !errors.As(err, &damaged) {
			t.Errorf("%s: the set: got %v", name, err)
		}
	}
	s := newStore(t)
	ids := aged(t, s, "1")
	set, err := s.Current()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(s.generationDir(ids[0]), "extra"), nil, 0o644),
		os.WriteFile(filepath.Join(set.Dir, ChecksumName), []byte("0\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if err := s.VerifyGeneration(t.Context(), ids[0], nil); !errors.As(err, &damaged) || filepath.Base(damaged.Path) != "extra" {
		t.Errorf("got %v, want extra", err)
	}
	if err := s.VerifyCurrent(t.Context(), nil); !errors.As(err, &damaged) || filepath.Base(damaged.Path) != ChecksumName || !strings.HasPrefix(damaged.Reason, "line 1 ") {
		t.Errorf("got %v, want line 1 of %s", err, ChecksumName)
	}
}

func TestFirstDifference(t *testing.T) {
	for _, c := range []struct {
		got, want string
		line      int
		text      string
	}{
		{"a\nb\n", "a\nb\n", 0, ""},
		{"", "a\n", 1, "a"},
		{"a\nc\n", "a\nb\n", 2, "b"},
		{"a\n", "a\nb\n", 2, "b"},
		{"a\nb", "a\nb\n", 3, ""},
		{"a\nb\nc\n", "a\nb\n", 3, ""},
		{"a\nb\n\n", "a\nb\n", 4, ""},
		{"a\r\nb\n", "a\nb\n", 1, "a"},
	} {
		if line, text := firstDifference([]byte(c.got), []byte(c.want)); line != c.line || text != c.text {
			t.Errorf("%q for %q: got line %d, %q; want %d, %q", c.got, c.want, line, text, c.line, c.text)
		}
	}
}
