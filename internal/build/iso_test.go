package build

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/iso"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

func TestISOIsPartOfThePlan(t *testing.T) {
	p := newProject(t)
	without := p.job()
	p.req.Flavor.Outputs.ISO = true
	var lock *resolve.LockError
	if _, err := Prepare(t.Context(), p.req, p.pkg); !errors.As(err, &lock) || lock.Hint != "hookbuild lock hook-default-amd64 --iso" {
		t.Fatalf("got %v, want a *resolve.LockError with the command that mends it", err)
	}
	p.relock()
	with := p.job()
	if without.Plan.ISO != "" || with.Plan.ISO != hexSum([]byte(iso.Recipe())) || without.Plan.ID() == with.Plan.ID() {
		t.Errorf("got %q and %q, plans %s and %s", without.Plan.ISO, with.Plan.ISO, without.Plan.ID(), with.Plan.ID())
	}
	if len(with.Plan.Set(resolve.LoaderSet)) != 1 || len(with.Plan.Set(resolve.ISOSet)) != 1 || without.Plan.Set(resolve.LoaderSet) != nil {
		t.Errorf("got packages %+v", with.Plan.Packages)
	}
	p.req.Flavor.Outputs.ISO = false
	if again := p.job(); again.Plan.ID() != without.Plan.ID() {
		t.Error("a lock that has the ISO's packages makes another plan where none is wanted")
	}
}

func TestNoGenerationWithoutTheISO(t *testing.T) {
	const warning = "the ISO does not take the kernel command line of the LinuxKit YAML"
	for _, c := range []struct {
		name    string
		cmdline string
		own     bool
		warns   bool
	}{
		{"the built-in YAML", "console=tty0", false, false},
		{"a YAML of the user's", "console=tty0 quiet", true, true},
		{"smee's own text", iso.Magic(), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			e, f := newEngine(t)
			p.req.Flavor.Outputs.ISO = true
			if c.own {
				p.req.LinuxKit = []string{p.file("my.yaml", strings.Replace(hookYAML, "console=ttyS0 ${MORE}", c.cmdline, 1))}
			}
			p.relock()
			f.lose("hookbuild/debian:iso-")
			out, heard := t.TempDir(), &heard{}
			_, err := p.builder(e, out, heard, ticking()).All(t.Context(), p.job())
			var failed *StageError
			var offline *download.OfflineError // the packages are not in the cache
			if !errors.As(err, &failed) || failed.Stage != stageISOTools || !errors.As(err, &offline) {
				t.Errorf("got %v, want a *StageError of %s", err, stageISOTools)
			}
			for _, name := range []string{"hook", "generations/*"} {
				if found, err := filepath.Glob(filepath.Join(out, name)); err != nil || len(found) > 0 {
					t.Errorf("got %q, %v", found, err)
				}
			}
			warned := slices.ContainsFunc(readRecord(t, out).Warnings, func(w string) bool { return strings.HasPrefix(w, warning) })
			if warned != c.warns {
				t.Errorf("got warnings %q", readRecord(t, out).Warnings)
			}
			if _, err := os.Stat(filepath.Join(out, "build.json")); err != nil {
				t.Error(err)
			}
		})
	}
}
