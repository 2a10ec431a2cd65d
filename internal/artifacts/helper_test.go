package artifacts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// helperVar makes the test binary a helper process: one to kill, or one in namespaces of its own.
const helperVar = "HOOKBUILD_ARTIFACTS_HELPER"

func TestMain(m *testing.M) {
	name := os.Getenv(helperVar)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := map[string]func(dir string) error{
		"publish":  publishForEver,
		"promote":  promoteForEver,
		"full":     fillSmallDisk,
		"readonly": lockReadOnly,
	}[name](os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// helper is the command that runs a helper process on dir.
func helper(ctx context.Context, name, dir string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], dir)
	cmd.Env = append(os.Environ(), helperVar+"="+name)
	return cmd
}

func testPlan(arch plan.Arch, flavor, recipe string) plan.Plan {
	return plan.Plan{Schema: plan.Schema, Flavor: flavor, Arch: arch, Epoch: 1_700_000_000, Recipe: recipe}
}

// generate stages and commits a generation: what a build does. The files hold their name and the recipe,
// repeated, so that one can see to which generation a file belongs.
func generate(s *Store, p plan.Plan, size int) (Generation, error) {
	staging, err := s.Stage(p.ID())
	if err != nil {
		return Generation{}, err
	}
	defer staging.Abort()
	names := []string{KernelName(p.Arch), InitramfsName(p.Arch)}
	if dtbs := DTBsName(p.Arch); dtbs != "" {
		names = append(names, dtbs)
	}
	for _, name := range names {
		w, err := staging.Create(name)
		if err != nil {
			return Generation{}, err
		}
		if _, err := w.Write(testContent(name, p.Recipe, size)); err != nil {
			return Generation{}, err
		}
		if err := w.Close(); err != nil {
			return Generation{}, err
		}
	}
	report := NewReport(Archive{Compressed: int64(size)})
	if err := staging.WriteReport(report); err != nil {
		return Generation{}, err
	}
	return staging.Commit(Manifest{
		Version:       "v0.0.0-test",
		Command:       "hookbuild all " + p.Flavor,
		KernelRelease: "6.12.0-test",
		Compressor:    Compressor{Name: "gzip", Module: "mod.example/gzip", Version: "v1.0.0", Level: 9},
		EKSA:          EKSA{Reason: "no embedded images"},
		Sources:       []Source{{Name: "kernel", Digest: "sha256:00"}},
		Plan:          p,
	})
}

func testContent(name, recipe string, size int) []byte {
	line := name + " of " + recipe + "\n"
	return bytes.Repeat([]byte(line), size/len(line)+1)
}

// locked returns a store in a new directory that the test may write to.
func locked(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	lock(t, s)
	return s
}

func lock(t *testing.T, s *Store) {
	t.Helper()
	unlock, err := s.TryLock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unlock(); err != nil {
			t.Error(err)
		}
	})
}

func mustGenerate(t *testing.T, s *Store, arch plan.Arch, flavor, recipe string) Generation {
	t.Helper()
	gen, err := generate(s, testPlan(arch, flavor, recipe), 1000)
	if err != nil {
		t.Fatal(err)
	}
	return gen
}

func mustPublish(t *testing.T, s *Store, gen Generation) Set {
	t.Helper()
	set, err := s.Publish(gen)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// verifySet reads the set in dir as a stranger would: every file but checksum.txt is in checksum.txt, has
// that sum, and kernel and initramfs are of one generation, whose recipe is returned for each architecture.
func verifySet(dir string) (recipes map[plan.Arch]string, err error) {
	sums, err := os.ReadFile(filepath.Join(dir, ChecksumName))
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(sums), "\n"), "\n")
	if len(lines) != len(entries)-1 {
		return nil, fmt.Errorf("%d files, %d checksums", len(entries), len(lines))
	}
	recipes = map[plan.Arch]string{}
	for _, line := range lines {
		sum, name, _ := strings.Cut(line, "  ")
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if got := sha512.Sum512(data); hex.EncodeToString(got[:]) != sum {
			return nil, fmt.Errorf("%s: wrong checksum", name)
		}
		stem, arch, ok := strings.Cut(name, "-")
		if !ok || stem == "dtbs" {
			continue
		}
		first, _, _ := strings.Cut(string(data), "\n")
		_, recipe, _ := strings.Cut(first, " of ")
		if old, ok := recipes[plan.Arch(arch)]; ok && old != recipe {
			return nil, fmt.Errorf("%s: kernel and initramfs are of %s and %s", arch, old, recipe)
		}
		recipes[plan.Arch(arch)] = recipe
	}
	return recipes, nil
}

// snapshot maps every path below dir to its kind, mode and content, links followed.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %x", sha256.Sum256(data))
		}
		rel, err := filepath.Rel(dir, path)
		all[rel] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// leftovers lists what a dead writer has left anywhere in dir.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for path := range snapshot(t, dir) {
		if strings.Contains(path, tempPrefix) {
			all = append(all, path)
		}
	}
	return all
}
