package linuxkit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// TestConfigsAreOfTheSpecification reads every golden config.json with the specification's own types, which
// runc and containerd use, and writes it again: no key may be unknown or lost, and none stand elsewhere.
func TestConfigsAreOfTheSpecification(t *testing.T) {
	o := Options{Kernel: "kernel", ReadFile: readTestFile, Layout: layout}
	count := 0
	for _, name := range goldenNames(t) {
		result, err := Assemble(t.Context(), goldenSpec(t, name), testImages(t), o)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range result.Tree.Entries() {
			if e.Kind == filetree.Regular && strings.HasPrefix(e.Path, "containers/") && strings.HasSuffix(e.Path, "/config.json") {
				count++
				checkConfig(t, name+": "+e.Path, text(t, e.Data))
			}
		}
	}
	if count < 40 {
		t.Errorf("found %d config.json, want 40 or more", count)
	}
}

func checkConfig(t *testing.T, name, config string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(config)))
	d.DisallowUnknownFields()
	var spec specs.Spec
	if err := d.Decode(&spec); err != nil {
		t.Errorf("%s: %v\n%s", name, err, config)
		return
	}
	again, err := marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config, string(again)); diff != "" {
		t.Errorf("%s: -ours +theirs:\n%s", name, diff)
	}
}
