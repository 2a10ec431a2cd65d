package kernel

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/pb"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/modules"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// selection is what an initramfs takes of compiled's kernel.
func selection() Selection {
	return Selection{
		Kernel: "hookbuild/kernel:amd64-0", Arch: plan.X8664, HostArch: "amd64", Epoch: 1790000000, Image: "hookbuild/debian:base-amd64-0",
		Modules: modules.Selection{Include: []string{"default"}, Exclude: []string{"ice"}}, Firmware: modules.Firmware{"auto"}, Packages: []string{"f1", "f2"},
	}
}

func TestSelectionRef(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *Selection)
		want   bool
	}{
		{"nothing", func(*Selection) {}, false},
		{"the kernel", func(s *Selection) { s.Kernel += "1" }, true},
		{"the architecture", func(s *Selection) { s.Arch = plan.AArch64 }, true},
		{"the epoch", func(s *Selection) { s.Epoch++ }, true},
		{"the image", func(s *Selection) { s.Image += "1" }, true},
		{"the engine's architecture, which the image's name has", func(s *Selection) { s.HostArch = "arm64" }, false},
		{"a module", func(s *Selection) { s.Modules.Include = []string{"default", "ice"} }, true},
		{"a pattern on the other side", func(s *Selection) {
			s.Modules = modules.Selection{Include: []string{"default", "ice"}}
		}, true},
		{"what is left out", func(s *Selection) { s.Modules.Exclude = nil }, true},
		{"firmware", func(s *Selection) { s.Firmware = modules.Firmware{"none"} }, true},
		{"a firmware package", func(s *Selection) { s.Packages = []string{"f1", "f3"} }, true},
	} {
		s := selection()
		c.change(&s)
		if got := s.Ref() != selection().Ref(); got != c.want {
			t.Errorf("%s: changes the name: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSelectionDefinition(t *testing.T) {
	chosen := modules.Result{Release: "6.12.9", Keep: []string{"kernel/a.ko", "kernel/b.ko"}}
	firmware := engine.Local{Dir: "/cache/debs", Include: []string{"f1.deb", "f2.deb"}}
	for _, c := range []struct {
		name   string
		change func(s *Selection)
		in     map[string]engine.Local
		more   []string // mounts
	}{
		{"with firmware", func(*Selection) {}, map[string]engine.Local{FirmwareInput: firmware}, []string{"/debs", readOnly}},
		{"without", func(s *Selection) { s.Firmware, s.Packages = modules.Firmware{"none"}, nil }, nil, nil},
		{"for another architecture", func(s *Selection) { s.Arch = plan.AArch64 }, map[string]engine.Local{FirmwareInput: firmware}, []string{"/debs", readOnly}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, f := selection(), &fakeBuilder{}
			c.change(&s)
			if err := s.Ensure(t.Context(), f, chosen, locals(c.in), nil); err != nil {
				t.Fatal(err)
			}
			b, g := f.only(t)
			env := map[string]string{"PATH": base.Path, "EPOCH": "1790000000"}
			g.checkStep(t, modules.Script(), "amd64", env, with(map[string]string{"/": bind, "/in": readOnly, "/keep": readOnly, "/out": bind}, c.more...))
			keep, err := modules.Inputs(chosen, s.Firmware)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for name, data := range keep {
				want["/"+name] = string(data)
			}
			if diff := cmp.Diff(want, g.files); diff != "" || !strings.Contains(g.files["/modules"], "kernel/b.ko\n") {
				t.Errorf("%s\n%q", diff, g.files)
			}
			if got := g.archs["docker-image://docker.io/hookbuild/kernel:amd64-0"]; got != s.Arch.Debian() {
				t.Errorf("the kernel's image is taken for %q, want %s", got, s.Arch.Debian())
			}
			sources := []string{"docker-image://docker.io/hookbuild/debian:base-amd64-0", "docker-image://docker.io/hookbuild/kernel:amd64-0"}
			if c.in != nil {
				sources = append(sources, "local://debs")
				if got := g.sources["local://debs"][pb.AttrIncludePatterns]; got != `["f1.deb","f2.deb"]` {
					t.Errorf("got packages %s", got)
				}
			}
			if got := slices.Sorted(maps.Keys(g.sources)); !slices.Equal(got, sources) {
				t.Errorf("got sources %q", got)
			}
			if b.Tag != s.Ref() || !strings.Contains(string(b.Config), `"architecture":"`+s.Arch.Debian()+`"`) {
				t.Errorf("got tag %s, config %s", b.Tag, b.Config)
			}
		})
	}
}

// The result is the kernel's image with what the step made laid over it.
func TestSelectionKeepsTheRestOfTheKernel(t *testing.T) {
	f := &fakeBuilder{}
	if err := selection().Ensure(t.Context(), f, modules.Result{}, locals(nil), nil); err != nil {
		t.Fatal(err)
	}
	b, _ := f.only(t)
	copies := 0
	for _, raw := range b.Definition.Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			t.Fatal(err)
		}
		for _, a := range op.GetFile().GetActions() {
			if c := a.GetCopy(); c != nil {
				copies++
				if c.Src != "/" || c.Dest != "/" || !c.DirCopyContents || a.Input < 0 {
					t.Errorf("got %+v over input %d", c, a.Input)
				}
			}
		}
	}
	if copies != 1 {
		t.Errorf("got %d copies", copies)
	}
}

func TestSelectionEnsure(t *testing.T) {
	f := &fakeBuilder{has: true}
	if err := selection().Ensure(t.Context(), f, modules.Result{}, nil, nil); err != nil || len(f.built) != 0 {
		t.Errorf("it is there: got %v, %d builds", err, len(f.built))
	}
	gone := errors.New("the engine is gone")
	f = &fakeBuilder{hasErr: gone}
	if err := selection().Ensure(t.Context(), f, modules.Result{}, nil, nil); err != gone || len(f.built) != 0 {
		t.Errorf("got %v, %d builds", err, len(f.built))
	}
	s := selection()
	s.Firmware = modules.Firmware{"none", "auto"}
	f = &fakeBuilder{}
	if err := s.Ensure(t.Context(), f, modules.Result{}, locals(nil), nil); err == nil || len(f.built) != 0 {
		t.Errorf("firmware that cannot be: got %v, %d builds", err, len(f.built))
	}
}
