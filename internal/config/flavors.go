package config

import (
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// debianSeries is the kernel that Debian trixie has, as binary and as linux-source package.
const debianSeries = "6.12"

// resolver follows `extends:` from flavor to flavor.
type resolver struct {
	r       *strictyaml.Reader
	entries map[string]pair
	ids     []string
	done    map[string]entry
	busy    map[string]bool
}

type pair struct {
	strictyaml.Pair[entry]
	builtIn bool
}

// settle makes the flavors out of their entries. dir is where the paths of own begin.
func settle(r *strictyaml.Reader, dir string, builtIn, own strictyaml.Map[entry]) map[string]Flavor {
	s := resolver{r: r, entries: map[string]pair{}, done: map[string]entry{}, busy: map[string]bool{}}
	for _, p := range builtIn {
		s.add(pair{p, true})
	}
	for _, p := range own {
		s.add(pair{p, false})
	}
	flavors := map[string]Flavor{}
	for _, id := range s.ids {
		flavors[id] = s.flavor(id, dir)
	}
	return flavors
}

// add takes an entry in, unless its id cannot be used.
func (s *resolver) add(p pair) {
	id := p.Key.V
	switch {
	case !fileForm.MatchString(id):
		s.r.Faultf(p.Key.Pos, "%q is no id of a flavor: want a-z, 0-9 and single . _ or - between them", id)
	case s.entries[id].builtIn:
		s.r.Faultf(p.Key.Pos, "flavor %q is built in: choose another id, with extends: %s", id, id)
	default:
		s.entries[id] = p
		s.ids = append(s.ids, id)
	}
}

// resolve returns the entry of id with all that it inherits.
func (s *resolver) resolve(id string) entry {
	if f, ok := s.done[id]; ok {
		return f
	}
	s.busy[id] = true
	p := s.entries[id]
	f := p.Value
	if parent, ok := s.parent(id); ok {
		f = f.from(s.resolve(parent))
	}
	s.busy[id] = false
	s.done[id] = f
	return f
}

// parent returns what id extends. A flavor of the user's that extends nothing builds on hook-default of its
// architecture, so that it may leave out what it does not care about.
func (s *resolver) parent(id string) (string, bool) {
	p := s.entries[id]
	parent := p.Value.Extends
	if !parent.Set() {
		arch := plan.Arch(p.Value.Arch.V)
		return "hook-default-" + arch.Debian(), arch != "" && !p.builtIn
	}
	if _, ok := s.entries[parent.V]; !ok {
		s.r.Faultf(parent.Pos, "unknown flavor %q%s", parent.V, strictyaml.DidYouMean(parent.V, s.ids))
		return "", false
	}
	if s.busy[parent.V] {
		s.r.Faultf(parent.Pos, "flavor %q extends itself by way of %q", id, parent.V)
		return "", false
	}
	return parent.V, true
}

func (s *resolver) flavor(id, dir string) Flavor {
	p := s.entries[id]
	e := s.resolve(id)
	s.check(p, e)
	return Flavor{
		ID:       id,
		Arch:     plan.Arch(e.Arch.V),
		BuiltIn:  p.builtIn,
		Kernel:   settled(e.Kernel, dir),
		Userland: e.Userland.settled(dir),
		Initramfs: Initramfs{
			Compression: string(e.Initramfs.Compression.V), Level: int(e.Initramfs.Level.V), MaxRAM: int64(e.Initramfs.MaxRAM.V),
		},
		Outputs: e.Outputs.settled(plan.Arch(e.Arch.V)),
	}
}

// settled leaves out the aliases that were inherited from a flavor of another architecture.
func (e outputsEntry) settled(arch plan.Arch) Outputs {
	out := Outputs{ISO: bool(e.ISO.V)}
	for _, p := range e.Aliases {
		if a := (plan.Alias{Name: p.Key.V, Of: string(p.Value.V)}); artifacts.CheckAlias(arch, a.Name, a.Of) == nil {
			out.Aliases = append(out.Aliases, a)
		}
	}
	slices.SortFunc(out.Aliases, func(a, b plan.Alias) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// settled is the userland with its paths seen from outside dir.
func (u userlandEntry) settled(dir string) Userland {
	out := Userland{
		LinuxKit: paths(u.LinuxKit.V, dir), Template: string(u.Template.V),
		ImagesFile: string(u.EmbeddedImages.V.Word.in(dir)), EKSABundle: u.EKSABundle.V.in(dir), AgentImage: string(u.AgentImage.V),
		CACertificates: paths(u.CACertificates.V, dir), AuthorizedKeys: string(u.SSH.AuthorizedKeys.V.in(dir)),
	}
	for _, i := range u.EmbeddedImages.V.Rest {
		img := EmbeddedImage{Source: string(i.Source.V)}
		for _, name := range i.As.V {
			img.As = append(img.As, string(name))
		}
		out.EmbeddedImages = append(out.EmbeddedImages, img)
	}
	for _, h := range u.NTP.V {
		out.NTP = append(out.NTP, string(h))
	}
	return out
}
