package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/artifacts"
)

// input is one thing that decides about a generation.
type input struct {
	kind string // what differs is listed by it
	name string // among those of its kind; empty where there is one only
	// value is what people know it by, such as a version; sum tells inputs apart that have none.
	value, sum string
}

// inputs are what a generation was made from, in the order in which changes are listed.
func inputs(m artifacts.Manifest) []input {
	p := m.Plan
	all := []input{
		{kind: "flavor", value: p.Flavor},
		{kind: "kernel", value: m.KernelRelease},
		{kind: "kernel configuration", sum: m.Kernel.ConfigSHA256},
		{kind: "kernel modules", sum: fmt.Sprint(p.Kernel.Modules, p.Kernel.Firmware)},
		{kind: "command line", value: m.Cmdline},
	}
	for _, s := range p.Kernel.Patches {
		all = append(all, input{kind: "kernel patches", name: s.Name, sum: s.SHA256})
	}
	for _, e := range p.Kernel.External {
		all = append(all, input{kind: "external modules", name: e.Name, sum: e.SHA256})
	}
	for _, set := range p.Packages {
		for _, d := range set.Packages {
			all = append(all, input{kind: "packages", name: d.Name, value: d.Version, sum: d.SHA256})
		}
	}
	for _, i := range p.Images {
		all = append(all, input{kind: "images", name: i.Ref, sum: i.Config})
	}
	for _, e := range p.Embedded {
		all = append(all, input{kind: "embedded images", name: e.Ref, sum: strings.Join(e.Names, " ")})
	}
	for _, s := range p.LinuxKit {
		all = append(all, input{kind: "LinuxKit YAML", name: s.Name, sum: s.SHA256})
	}
	for _, s := range p.Userland {
		all = append(all, input{kind: "components", name: s.Name, sum: s.SHA256})
	}
	for _, v := range p.Vars {
		all = append(all, input{kind: "variables", name: v.Name, value: v.Value})
	}
	return append(all,
		input{kind: "base", sum: p.Base},
		input{kind: "NTP servers", value: strings.Join(p.Site.NTP, " ")},
		input{kind: "CA certificates", sum: p.Site.CACertificates},
		input{kind: "SSH keys", sum: p.Site.AuthorizedKeys},
		input{kind: "compression", value: m.Compressor.Name, sum: fmt.Sprint(m.Compressor)},
		input{kind: "ISO", sum: p.ISO},
		input{kind: "hookbuild", value: m.Version, sum: p.Recipe},
	)
}

// namedChanges is how many names a kind of changes lists.
const namedChanges = 8

// Changes says what differs between two generations, a line for each kind of input and one for the files; empty for none.
func Changes(was, is artifacts.Manifest) []string {
	type key struct{ kind, name string }
	before, after := map[key][]input{}, map[key][]input{}
	for _, i := range inputs(was) {
		before[key{i.kind, i.name}] = append(before[key{i.kind, i.name}], i)
	}
	var keys []key
	for _, i := range inputs(is) {
		k := key{i.kind, i.name}
		if after[k] == nil {
			keys = append(keys, k)
		}
		after[k] = append(after[k], i)
	}
	for _, i := range inputs(was) {
		if k := (key{i.kind, i.name}); after[k] == nil && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	var kinds []string
	lines := map[string][]string{}
	for _, k := range keys {
		if !slices.Contains(kinds, k.kind) {
			kinds = append(kinds, k.kind)
		}
		if !slices.Equal(before[k], after[k]) {
			lines[k.kind] = append(lines[k.kind], strings.TrimSpace(k.name+" "+difference(before[k], after[k])))
		}
	}
	var all []string
	for _, kind := range kinds {
		if of := lines[kind]; len(of) > 0 {
			all = append(all, kind+": "+few(of))
		}
	}
	if of := sizes(was, is); len(of) > 0 {
		all = append(all, "files: "+few(of))
	}
	return all
}

// difference of an input: its packages may stand in several sets, with one version in all or several.
func difference(before, after []input) string {
	a, b := values(before), values(after)
	switch {
	case before == nil:
		return strings.TrimSpace(b + " added")
	case after == nil:
		return "removed"
	case a == b && allEmpty(before):
		return "added"
	case a == b && allEmpty(after):
		return "removed"
	case a == b:
		return "changed"
	}
	return cmp.Or(a, "none") + " → " + cmp.Or(b, "none")
}

func allEmpty(of []input) bool {
	return !slices.ContainsFunc(of, func(i input) bool { return i.value != "" || i.sum != "" })
}

func values(of []input) string {
	var all []string
	for _, i := range of {
		if i.value != "" && !slices.Contains(all, i.value) {
			all = append(all, i.value)
		}
	}
	return strings.Join(all, " and ")
}

func few(all []string) string {
	if more := len(all) - namedChanges; more > 0 {
		return strings.Join(all[:namedChanges], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(all, ", ")
}

// sizes says which files have become larger or smaller, came or went.
func sizes(was, is artifacts.Manifest) []string {
	before := map[string]int64{}
	for _, f := range was.Files {
		before[f.Name] = f.Size
	}
	var all []string
	for _, f := range is.Files {
		old, ok := before[f.Name]
		delete(before, f.Name)
		switch {
		case !ok:
			all = append(all, f.Name+" "+Bytes(f.Size)+" (new)")
		case old != f.Size:
			all = append(all, f.Name+" "+Bytes(f.Size)+" ("+change(old, f.Size)+")")
		}
	}
	for _, f := range was.Files {
		if _, gone := before[f.Name]; gone {
			all = append(all, f.Name+" no more")
		}
	}
	return all
}
