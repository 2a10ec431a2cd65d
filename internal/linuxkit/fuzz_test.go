package linuxkit

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// checkFaultsOf wants an error to be a list of faults, each with its place.
func checkFaultsOf(t *testing.T, err error, file string) {
	t.Helper()
	var errs strictyaml.Errors
	if !errors.As(err, &errs) || len(errs) == 0 || len(errs) > maxFaults+1 {
		t.Fatalf("%T: %v", err, err)
	}
	for _, e := range errs {
		if e.Pos.File != file || e.Pos.Line < 1 || e.Pos.Column < 1 || e.Message == "" {
			t.Errorf("fault without a place: %+v", e)
		}
	}
}

// FuzzParse looks for panics, for faults without a place, and for a Spec that cannot be used.
func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob(goldenDir + "/*.yaml")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("%d seeds, error %v", len(seeds), err)
	}
	for _, file := range seeds {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, false)
		f.Add(data, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, hook bool) {
		o := ParseOptions{Vars: map[string]string{"A": "b", "HOOK_VERSION": "${A}"}, WorkDir: "w", Home: "/h"}
		if hook {
			o.Template = TemplateHook
		}
		s, err := ParseWith("hook.yaml", data, o)
		if err != nil {
			checkFaultsOf(t, err, "hook.yaml")
			return
		}
		if m := Merge(s, s); len(m.Images()) != len(s.Images()) {
			t.Errorf("merged with itself: %d images, alone %d", len(m.Images()), len(s.Images()))
		}
		if err := s.Validate(); err != nil {
			checkFaultsOf(t, err, "hook.yaml")
			return
		}
		for _, c := range s.containers() {
			checkBundle(t, c.options, s.ids())
		}
		checkMetadata(t, s)
	})
}

// FuzzLabel does so for what an image says about itself.
func FuzzLabel(f *testing.F) {
	for _, img := range testImages(f).images {
		if text := img.Config.Labels[label]; text != "" {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := newReader()
		l := parseLabel(r, "i", ImageConfig{Labels: map[string]string{label: text}})
		if err := r.Err(); err != nil {
			checkFaultsOf(t, err, "image i, label "+label)
			return
		}
		c := container{Name: strictyaml.Value[name]{V: "c"}}
		o, _, err := settle(c, l, ImageConfig{})
		if err != nil {
			checkFaultsOf(t, err, "image i, label "+label)
			return
		}
		if _, err := o.user(ids{}); err == nil { // a label cannot know the containers of a YAML
			checkBundle(t, o, ids{})
		}
	})
}

// checkBundle wants the files of a bundle to be JSON.
func checkBundle(t *testing.T, o options, ids ids) {
	t.Helper()
	config, err := o.withImage(ImageConfig{}).config(ids)
	if err != nil {
		t.Fatalf("a valid container has no config.json: %v", err)
	}
	for _, v := range []any{config, o.runtime("/containers/x", "/lower")} {
		if data, err := marshal(v); err != nil || !json.Valid(data) {
			t.Errorf("%T: %s, error %v", v, data, err)
		}
	}
}

// checkMetadata wants both forms to be what they say, and the same.
func checkMetadata(t *testing.T, s *Spec) {
	t.Helper()
	asJSON, err := s.metadata(metadataJSON, "k")
	if err != nil || !json.Valid(asJSON) {
		t.Fatalf("%s, error %v", asJSON, err)
	}
	asYAML, err := s.metadata(metadataYAML, "k")
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal(asYAML, &doc); err != nil {
		t.Fatalf("%v\n%s", err, asYAML)
	}
	again, err := json.Marshal(doc)
	if err != nil {
		t.Fatalf("%v\n%s", err, asYAML)
	}
	var fromYAML, fromJSON any
	if err := errors.Join(json.Unmarshal(again, &fromYAML), json.Unmarshal(asJSON, &fromJSON)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
		t.Errorf("-JSON +YAML:\n%s", diff)
	}
}
