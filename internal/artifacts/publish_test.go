package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/plan"
)

func names(set Set) []string {
	var all []string
	for _, f := range set.Files {
		all = append(all, f.Name)
	}
	return all
}

func TestPublishBothArchitectures(t *testing.T) {
	s := locked(t)
	if _, err := s.Current(); !errors.Is(err, ErrNotFound) {
		t.Fatalf("nothing published: got %v, want ErrNotFound", err)
	}
	first := mustPublish(t, s, mustGenerate(t, s, plan.X8664, "f", "x1"))
	want := []string{"checksum.txt", "hook_x86_64.tar.gz", "initramfs-x86_64", "manifest.json", "report.json", "vmlinuz-x86_64"}
	if diff := cmp.Diff(want, names(first)); diff != "" {
		t.Errorf("x86_64 alone (-want +got):\n%s", diff)
	}
	second := mustPublish(t, s, mustGenerate(t, s, plan.AArch64, "f", "a1"))
	want = slices.Sorted(slices.Values(append(want, "dtbs-aarch64.tar.gz", "initramfs-aarch64", "vmlinuz-aarch64")))
	if diff := cmp.Diff(want, names(second)); diff != "" {
		t.Errorf("both (-want +got):\n%s", diff)
	}
	current, err := s.Current()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(second, current); diff != "" {
		t.Errorf("Current is not what Publish returned (-published +current):\n%s", diff)
	}
	if got := verified(t, s); got[plan.X8664] != "x1" || got[plan.AArch64] != "a1" {
		t.Errorf("got %v", got)
	}
	if target, err := os.Readlink(s.HookPath()); target != "sets/2" {
		t.Errorf("hook: got %q, %v, want sets/2", target, err)
	}
	if f, ok := current.File("vmlinuz-aarch64"); !ok || f.Epoch != 1_700_000_000 || f.Size == 0 {
		t.Errorf("vmlinuz-aarch64: got %+v, %v", f, ok)
	}
}

func verified(t *testing.T, s *Store) map[plan.Arch]string {
	t.Helper()
	recipes, err := verifySet(s.HookPath())
	if err != nil {
		t.Fatal(err)
	}
	return recipes
}

func TestPublishAgainChangesNothing(t *testing.T) {
	s := locked(t)
	gen := mustGenerate(t, s, plan.X8664, "f", "x1")
	first := mustPublish(t, s, gen)
	read, err := s.Generation(gen.ID())
	if err != nil {
		t.Fatal(err)
	}
	for name, g := range map[string]Generation{"as committed": gen, "as read": read} {
		if diff := cmp.Diff(first, mustPublish(t, s, g)); diff != "" {
			t.Errorf("%s (-first +again):\n%s", name, diff)
		}
	}
}

func TestPublishKeepsThePreviousSetOnly(t *testing.T) {
	s := locked(t)
	for i := range 4 {
		mustPublish(t, s, mustGenerate(t, s, plan.X8664, "f", fmt.Sprint(i)))
	}
	got, err := s.numbers()
	slices.Sort(got)
	if diff := cmp.Diff([]int{3, 4}, got); diff != "" || err != nil {
		t.Errorf("sets: %v (-want +got):\n%s", err, diff)
	}
	if recipes, err := verifySet(s.setDir(3)); err != nil || recipes[plan.X8664] != "2" {
		t.Errorf("previous set: got %v, %v", recipes, err)
	}
}

func TestPublishRepairs(t *testing.T) {
	x86, arm := KernelName(plan.X8664), KernelName(plan.AArch64)
	tests := []struct {
		name    string
		damage  func(set string) error
		current bool // Current still answers: it reads no large file
		want    map[plan.Arch]string
		dropped []plan.Arch
	}{
		{"same size, other bytes", func(set string) error {
			return os.WriteFile(filepath.Join(set, x86), testContent(x86, "xx", 1000), 0o644)
		}, true, map[plan.Arch]string{plan.X8664: "x1", plan.AArch64: "a1"}, nil},
		{"cut off", func(set string) error {
			return os.Truncate(filepath.Join(set, x86), 10)
		}, false, map[plan.Arch]string{plan.X8664: "x1", plan.AArch64: "a1"}, nil},
		{"the other architecture cut off", func(set string) error {
			return os.Truncate(filepath.Join(set, arm), 10)
		}, false, map[plan.Arch]string{plan.X8664: "x1"}, []plan.Arch{plan.AArch64}},
		{"the other architecture missing", func(set string) error {
			return os.Remove(filepath.Join(set, arm))
		}, false, map[plan.Arch]string{plan.X8664: "x1"}, []plan.Arch{plan.AArch64}},
		{"no manifest", func(set string) error {
			return os.Remove(filepath.Join(set, ManifestName))
		}, false, map[plan.Arch]string{plan.X8664: "x1"}, nil},
		{"manifest is no JSON", func(set string) error {
			return os.WriteFile(filepath.Join(set, ManifestName), []byte("{"), 0o644)
		}, false, map[plan.Arch]string{plan.X8664: "x1"}, nil},
		{"no report", func(set string) error {
			return os.WriteFile(filepath.Join(set, ReportName), []byte("{}"), 0o644)
		}, false, map[plan.Arch]string{plan.X8664: "x1"}, []plan.Arch{plan.AArch64}},
		{"no set", os.RemoveAll, false, map[plan.Arch]string{plan.X8664: "x1"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := locked(t)
			mustPublish(t, s, mustGenerate(t, s, plan.AArch64, "f", "a1"))
			set := mustPublish(t, s, mustGenerate(t, s, plan.X8664, "f", "x1"))
			if err := tt.damage(set.Dir); err != nil {
				t.Fatal(err)
			}
			_, err := s.Current()
			var damaged *DamagedError
			if (err == nil) != tt.current || err != nil && !errors.As(err, &damaged) {
				t.Errorf("Current: got %v", err)
			}
			got := mustPublish(t, s, mustGenerate(t, s, plan.X8664, "f", "x1"))
			if diff := cmp.Diff(tt.want, verified(t, s)); diff != "" {
				t.Errorf("published (-want +got):\n%s", diff)
			}
			if !slices.Equal(got.Dropped, tt.dropped) {
				t.Errorf("dropped: got %v, want %v", got.Dropped, tt.dropped)
			}
		})
	}
}

func TestHookTaken(t *testing.T) {
	tests := []struct {
		name string
		make func(path string) error
		what string
	}{
		{"directory", func(p string) error { return os.Mkdir(p, 0o755) }, "a directory"},
		{"file", func(p string) error { return os.WriteFile(p, nil, 0o644) }, "a file"},
		{"symlink elsewhere", func(p string) error { return os.Symlink("/srv/www", p) }, "a symlink to /srv/www"},
		{"symlink to no number", func(p string) error { return os.Symlink("sets/old", p) }, "a symlink to sets/old"},
		{"symlink to set 0", func(p string) error { return os.Symlink("sets/0", p) }, "a symlink to sets/0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := locked(t)
			gen := mustGenerate(t, s, plan.X8664, "f", "x1")
			if err := tt.make(s.HookPath()); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, s.Dir())
			other, err := Open(filepath.Dir(s.HookPath()))
			if err != nil {
				t.Fatal(err)
			}
			_, errPublish := s.Publish(gen)
			_, errCurrent := other.Current()
			for verb, err := range map[string]error{"publish": errPublish, "current": errCurrent} {
				var taken *HookTakenError
				if !errors.As(err, &taken) || taken.What != tt.what || !strings.Contains(taken.Hint(), "--out") {
					t.Errorf("%s: got %v, want a HookTakenError of %s", verb, err, tt.what)
				}
			}
			if diff := cmp.Diff(before, snapshot(t, s.Dir())); diff != "" {
				t.Errorf("changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestLockRefusesTakenHook(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "hook"), 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var taken *HookTakenError
	for range 2 { // the first refusal gives the lock back
		if _, err := s.TryLock(); !errors.As(err, &taken) {
			t.Errorf("got %v, want a HookTakenError before anything is built", err)
		}
	}
}

// TestReproducible makes the same outputs twice, in another directory, under another umask, in another
// order and with another history.
func TestReproducible(t *testing.T) {
	first := locked(t)
	mustPublish(t, first, mustGenerate(t, first, plan.X8664, "f", "x1"))
	mustPublish(t, first, mustGenerate(t, first, plan.AArch64, "f", "a1"))
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	t.Setenv("TZ", "Asia/Kathmandu")
	second := locked(t)
	mustPublish(t, second, mustGenerate(t, second, plan.X8664, "f", "another"))
	mustPublish(t, second, mustGenerate(t, second, plan.AArch64, "f", "a1"))
	mustPublish(t, second, mustGenerate(t, second, plan.X8664, "f", "x1"))
	if diff := cmp.Diff(snapshot(t, first.HookPath()), snapshot(t, second.HookPath())); diff != "" {
		t.Errorf("published files differ (-first +second):\n%s", diff)
	}
	for path, text := range snapshot(t, second.Dir()) {
		want := "-rw-r--r--"
		switch {
		case path == "hook":
			want = "Lrwxrwxrwx"
		case strings.HasPrefix(text, "d"):
			want = "drwxr-xr-x"
		case path == ".lock":
			want = "-rw-------" // the umask's: nobody else is to take it
		}
		if !strings.HasPrefix(text, want) {
			t.Errorf("%s: got %s, want %s", path, text, want)
		}
	}
}

// TestPublishedFilesAreLinks holds that a set takes no room of its own.
func TestPublishedFilesAreLinks(t *testing.T) {
	s := locked(t)
	gen := mustGenerate(t, s, plan.X8664, "f", "x1")
	set := mustPublish(t, s, gen)
	for _, f := range gen.Manifest.Files {
		a, errA := os.Stat(gen.Path(f.Name))
		b, errB := os.Stat(filepath.Join(set.Dir, f.Name))
		if errA != nil || errB != nil || !os.SameFile(a, b) {
			t.Errorf("%s is not linked: %v %v", f.Name, errA, errB)
		}
	}
}

// TestAliases holds that a second name is the same file, is published with it, and takes no room.
func TestAliases(t *testing.T) {
	s := locked(t)
	p := testPlan(plan.X8664, "f", "x1")
	p.Aliases = []plan.Alias{{Name: "vmlinuz-latest-lts-x86_64", Of: "vmlinuz-x86_64"}}
	gen, err := generate(s, p, 1000)
	if err != nil {
		t.Fatal(err)
	}
	set := mustPublish(t, s, gen)
	alias, ok := set.File("vmlinuz-latest-lts-x86_64")
	kernel, _ := set.File("vmlinuz-x86_64")
	if !ok || alias.SHA256 != kernel.SHA256 || alias.Size != kernel.Size || alias.AliasOf != "vmlinuz-x86_64" || kernel.AliasOf != "" {
		t.Errorf("got %+v of %+v", alias, kernel)
	}
	a, errA := os.Stat(filepath.Join(set.Dir, alias.Name))
	b, errB := os.Stat(filepath.Join(set.Dir, kernel.Name))
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		t.Errorf("it is another file: %v %v", errA, errB)
	}
	if sums, err := os.ReadFile(filepath.Join(set.Dir, ChecksumName)); !strings.Contains(string(sums), kernel.SHA512+"  vmlinuz-latest-lts-x86_64\n") {
		t.Errorf("got checksums\n%s%v", sums, err)
	}
	if err := errors.Join(s.VerifyGeneration(t.Context(), gen.ID(), nil), s.VerifyCurrent(t.Context(), nil)); err != nil {
		t.Error(err)
	}
	listed, err := s.Generations()
	if err != nil || len(listed) != 1 {
		t.Fatalf("got %v, %v", listed, err)
	}
	tarball, _ := set.File("hook_x86_64.tar.gz")
	initramfs, _ := set.File("initramfs-x86_64")
	if want := kernel.Size + initramfs.Size + tarball.Size; listed[0].Bytes != want {
		t.Errorf("got %d bytes, want %d: an alias takes none", listed[0].Bytes, want)
	}
	p.Aliases = []plan.Alias{{Name: "hook-lts-x86_64.iso", Of: "hook-x86_64-efi-initrd.iso"}}
	var missing *MissingFileError
	if _, err := generate(s, p, 1000); !errors.As(err, &missing) || missing.Of != "hook-x86_64-efi-initrd.iso" {
		t.Errorf("an alias of what was not made: got %v", err)
	}
}

func TestTarball(t *testing.T) {
	s := locked(t)
	gen := mustGenerate(t, s, plan.X8664, "f", "x1")
	cmd := exec.Command("tar", "--numeric-owner", "--utc", "--full-time", "-tvzf", gen.Path("hook_x86_64.tar.gz"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := "-rw-r--r-- 0/0            1008 2023-11-14 22:13:20 vmlinuz-x86_64\n" +
		"-rw-r--r-- 0/0            1012 2023-11-14 22:13:20 initramfs-x86_64\n"
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("GNU tar's list (-want +got):\n%s", diff)
	}
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-C", dir, "-xzf", gen.Path("hook_x86_64.tar.gz")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"vmlinuz-x86_64", "initramfs-x86_64"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != string(testContent(name, "x1", 1000)) {
			t.Errorf("%s: other content, %v", name, err)
		}
	}
}

func TestNeedsLock(t *testing.T) {
	s := locked(t)
	gen := mustGenerate(t, s, plan.X8664, "f", "x1")
	other, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Publish(gen); err == nil {
		t.Error("Publish without the lock: no error")
	}
	if _, err := other.Stage(gen.ID()); err == nil {
		t.Error("Stage without the lock: no error")
	}
}

func TestOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file: got %v, want ENOTDIR", err)
	}
	absent := filepath.Join(t.TempDir(), "absent")
	s, err := Open(absent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Newest("f", plan.X8664); !errors.Is(err, ErrNotFound) {
		t.Errorf("Newest: got %v, want ErrNotFound", err)
	}
	if _, err := os.Lstat(absent); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading made the directory: %v", err)
	}
}

// TestHookIsAlwaysThere watches the symlink as closely as it can while sets are switched.
func TestHookIsAlwaysThere(t *testing.T) {
	s := locked(t)
	mustPublish(t, s, mustGenerate(t, s, plan.X8664, "f", "0"))
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Readlink(s.HookPath()); err != nil {
				watched <- err
				return
			}
		}
		watched <- nil
	}()
	for i := range 60 {
		mustPublish(t, s, mustGenerate(t, s, plan.X8664, "f", fmt.Sprint(i+1)))
	}
	cancel()
	if err := <-watched; err != nil {
		t.Errorf("during a switch: %v", err)
	}
}

// TestPublishAgainBesideDamage holds that an unchanged generation is no reason to go on serving damage.
func TestPublishAgainBesideDamage(t *testing.T) {
	s := locked(t)
	mustPublish(t, s, mustGenerate(t, s, plan.AArch64, "f", "a1"))
	gen := mustGenerate(t, s, plan.X8664, "f", "x1")
	set := mustPublish(t, s, gen)
	if err := os.Truncate(filepath.Join(set.Dir, KernelName(plan.AArch64)), 1); err != nil {
		t.Fatal(err)
	}
	if got := mustPublish(t, s, gen); !slices.Equal(got.Dropped, []plan.Arch{plan.AArch64}) {
		t.Errorf("dropped: got %v, want aarch64", got.Dropped)
	}
	if diff := cmp.Diff(map[plan.Arch]string{plan.X8664: "x1"}, verified(t, s)); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
}
