package test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestExamplesPlan settles every flavor of every example, as their README tells a reader to begin.
func TestExamplesPlan(t *testing.T) {
	dirs, err := filepath.Glob("../examples/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("got %d examples, error %v", len(dirs), err)
	}
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return filepath.Base(dir) == "hook-upstream" }) // TestUpstreamImages has it
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			p := newProject(t)
			if err := os.CopyFS(p.dir, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			var flavors []struct {
				ID      string `json:"id"`
				BuiltIn bool   `json:"built_in"`
			}
			p.runJSON(&flavors, "flavors")
			own := 0
			for _, f := range flavors {
				if f.BuiltIn {
					continue
				}
				own++
				p.run("lock", f.ID)
				if len(p.lock(f.ID).Sets) == 0 {
					t.Errorf("%s: the lock has no packages", f.ID)
				}
			}
			if own == 0 {
				t.Error("the example has no flavor of its own")
			}
		})
	}
}
