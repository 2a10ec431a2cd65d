package linuxkit

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// expanded gives images under the names that metadata has.
type expanded struct{ images }

func (e expanded) Image(ctx context.Context, ref string) (Image, error) {
	img, err := e.images.Image(ctx, ref)
	if err != nil {
		img, err = e.images.Image(ctx, strings.TrimPrefix(strings.TrimPrefix(ref, defaultRegistry+"/"), "library/"))
	}
	return img, err
}

// TestMetadataIsTheConfiguration builds each golden YAML again from its own metadata, in both forms.
func TestMetadataIsTheConfiguration(t *testing.T) {
	o := Options{Kernel: "kernel", ReadFile: readTestFile, Layout: layout}
	for _, name := range goldenNames(t) {
		spec := goldenSpec(t, name)
		first, err := Assemble(t.Context(), spec, testImages(t), o)
		if err != nil {
			t.Fatal(err)
		}
		kernelRef := (&assembly{spec: spec, options: o}).kernelRef()
		for _, form := range []metadataForm{metadataYAML, metadataJSON} {
			t.Run(name+" "+string(form), func(t *testing.T) {
				data, err := spec.metadata(form, kernelRef)
				if err != nil {
					t.Fatal(err)
				}
				// Whatever looks like a variable in it is one no longer.
				po := goldenOptions(name)
				po.Template = TemplateHook
				again, err := ParseWith(goldenDir+"/again.yaml", data, po)
				if err != nil {
					t.Fatalf("%v\n%s", err, data)
				}
				second, err := Assemble(t.Context(), again, expanded{testImages(t)}, o)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(dump(t, first.Tree), dump(t, second.Tree)); diff != "" {
					t.Errorf("-first +again:\n%s", diff)
				}
				if first.Cmdline != second.Cmdline || digest(first.Kernel) != digest(second.Kernel) {
					t.Errorf("cmdline %q and %q", first.Cmdline, second.Cmdline)
				}
			})
		}
	}
}

func TestExpandRef(t *testing.T) {
	for ref, want := range map[string]string{
		"nginx": defaultRegistry + "/library/nginx", "nginx:1": defaultRegistry + "/library/nginx:1", "a/b": defaultRegistry + "/a/b", "localhost/b": "localhost/b",
		"host.example/b": "host.example/b", "host:5000/b": "host:5000/b", "a/b/c": "a/b/c", defaultRegistry + "/a/b:1": defaultRegistry + "/a/b:1",
		"build:init": "build:init", "oci:dir/x": "oci:dir/x", "archive:x.tar": "archive:x.tar",
	} {
		if got := expandRef(ref); got != want {
			t.Errorf("%s: got %s, want %s", ref, got, want)
		}
	}
}

func TestPageSize(t *testing.T) {
	for size, want := range map[pageSize]uint64{"1KB": 1 << 10, "64KB": 64 << 10, "2MB": 2 << 20, "16GB": 16 << 30} {
		if got := size.plain(); got != want {
			t.Errorf("%s: got %v, want %d", size, got, want)
		}
	}
}
