package test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/image"
)

// TestKernelSameBytes compiles one small kernel twice, each time in an empty build tree.
func TestKernelSameBytes(t *testing.T) {
	tiny, err := os.ReadFile("testdata/tiny-6.12.y-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	// A version of its own makes this a kernel, and names of their own make trees, that the engine has not yet.
	id := time.Now().UnixNano()
	p := newProject(t)
	yaml := "flavors:\n"
	for _, name := range []string{"one", "two"} {
		config := fmt.Sprintf("%s%d", name, id)
		p.write("kernel/configs/"+config+"-6.12.y-x86_64", fmt.Sprintf("%sCONFIG_LOCALVERSION=\"-%d\"\n", tiny, id))
		yaml += fmt.Sprintf("  %s-amd64:\n    extends: hook-default-amd64\n    kernel: {config: %s}\n", name, config)
	}
	p.write("hookbuild.yaml", yaml)
	defer rememberCacheMounts(t)()
	first := compiled(t, p, "one-amd64")
	second := compiled(t, p, "two-amd64")
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the second build has other bytes:\n%s", diff)
	}
}

// compiled builds the flavor's kernel and returns the digest of each file of its image, which it removes: the
// next build of the same content must not find it.
func compiled(t *testing.T, p *project, flavor string) map[string]string {
	t.Helper()
	ref := strings.TrimSpace(p.run("kernel", flavor))
	defer docker(t, "rmi", ref)
	img, err := (image.Reader{Engine: connect(t), Cache: t.TempDir()}).Read(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for _, e := range img.Tree.Entries() {
		data, err := e.Data.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		sums[e.Path] = fmt.Sprintf("%x", sha256.Sum256(data))
	}
	return sums
}
