package test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// docker runs the Docker command line, which must succeed.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// rememberCacheMounts returns a function that removes the builder's cache mounts at a path which came since.
func rememberCacheMounts(t *testing.T, path string) (forget func()) {
	t.Helper()
	before := cacheMounts(t, path)
	return func() {
		came := slices.DeleteFunc(cacheMounts(t, path), func(id string) bool { return slices.Contains(before, id) })
		dropCacheMounts(t, came)
	}
}

func dropCacheMounts(t *testing.T, ids []string) {
	t.Helper()
	for _, id := range ids {
		docker(t, "builder", "prune", "-af", "--filter", "id="+id)
	}
}

// cacheMounts are the ids of the builder's cache mounts at a path.
func cacheMounts(t *testing.T, path string) []string {
	t.Helper()
	var records []struct{ ID, CacheType, Description string }
	out := docker(t, "system", "df", "-v", "--format", "{{json .BuildCache}}")
	if err := json.Unmarshal([]byte(out), &records); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range records {
		if r.CacheType == "exec.cachemount" && strings.HasPrefix(r.Description, "cached mount "+path+" ") {
			ids = append(ids, strings.TrimSuffix(r.ID, "*"))
		}
	}
	return ids
}

// hookbuildImages are the names of hookbuild's images in the engine, a line each.
func hookbuildImages(t *testing.T) string {
	t.Helper()
	return docker(t, "images", "--format", "{{.Repository}}:{{.Tag}}", "hookbuild/*")
}
