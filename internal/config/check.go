package config

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// check looks at what p says itself (own) together with what it inherits (e).
func (s *resolver) check(p pair, e entry) {
	own, id := p.Value, p.Key.V
	if !own.Extends.Set() && !own.Arch.Set() {
		s.r.Faultf(p.Key.Pos, "flavor %q needs extends or arch", id)
		return
	}
	k := own.Kernel
	s.checkSource(k.Source)
	s.checkSettings(k.Settings.V)
	s.checkExternal(k.External.V)
	if k.Series.V != "" && k.Version.V != "" && k.Version.V.series() != string(k.Series.V) {
		s.r.Faultf(k.Version.Pos, "version %s is not of series %s", k.Version.V, k.Series.V)
	}
	s.checkEffects(k, e.Kernel)
	s.checkFit(k, e.Kernel)
	s.checkDebianSeries(p, e.Kernel)
	s.checkLevel(own.Initramfs.Level, e.Initramfs.Compression.V)
	s.checkAliases(own.Outputs.Aliases, plan.Arch(e.Arch.V))
}

// checkLevel holds a level to what the compression, which may be inherited, has.
func (s *resolver) checkLevel(v strictyaml.Value[level], c compression) {
	if !v.Set() || c == "" {
		return
	}
	highest := map[compression]level{CompressionGzip: 9, CompressionZstd: 4}[c]
	switch {
	case highest == 0:
		s.r.Faultf(v.Pos, `"level" has no effect: compression is %s; say which one`, c)
	case v.V < 1 || v.V > highest:
		s.r.Faultf(v.Pos, `"level": want 1 to %d for %s, got %d`, highest, c, v.V)
	}
}

func (s *resolver) checkAliases(all strictyaml.Map[strictyaml.Value[word]], arch plan.Arch) {
	for _, p := range all {
		if arch == "" || p.Value.V == "" { // said already
			continue
		}
		if err := artifacts.CheckAlias(arch, p.Key.V, string(p.Value.V)); err != nil {
			s.r.Faultf(p.Key.Pos, "alias: %v", err)
		}
	}
}

// checkSource looks at a source that is a mapping.
func (s *resolver) checkSource(v strictyaml.Value[source]) {
	if v.V.word.kind != strictyaml.Mapping {
		return
	}
	given := 0
	for _, set := range []bool{v.V.URL.Set(), v.V.Dir.Set(), v.V.Debs.Set()} {
		if set {
			given++
		}
	}
	if given != 1 {
		s.r.Faultf(v.Pos, `"source": want one of url, dir and deb, got %d of them`, given)
		return
	}
	switch sum := v.V.SHA256; {
	case v.V.URL.Set() && !sum.Set():
		s.r.Faultf(v.V.URL.Pos, `"url": the tarball needs "sha256"`)
	case !v.V.URL.Set() && sum.Set():
		s.r.Faultf(sum.Pos, `"sha256" has no effect without "url"`)
	}
	if d := v.V.Debs; d.V != nil && len(d.V) == 0 { // nil is no list at all
		s.r.Faultf(d.Pos, `"deb": the list is empty`)
	}
}

// symbolForm has lower case because a few symbols do, such as MT76x0U.
var symbolForm = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

func (s *resolver) checkSettings(all strictyaml.Map[settingValue]) {
	first := map[string]strictyaml.Pos{}
	for _, p := range all {
		name := symbol(p.Key.V)
		at, twice := first[name]
		switch {
		case !symbolForm.MatchString(name):
			s.r.Faultf(p.Key.Pos, "%q is no symbol of the kernel's configuration: want letters, digits and _", p.Key.V)
		case twice:
			s.r.Faultf(p.Key.Pos, "duplicate symbol %q: line %d has it already", p.Key.V, at.Line)
		default:
			first[name] = p.Key.Pos
		}
	}
}

func (s *resolver) checkExternal(all []externalEntry) {
	first := map[fileName]strictyaml.Pos{}
	for _, m := range all {
		at, twice := first[m.Name.V]
		switch {
		case m.Name.V == "": // said already
		case twice:
			s.r.Faultf(m.Name.Pos, "duplicate name %q: line %d has it already", m.Name.V, at.Line)
		default:
			first[m.Name.V] = m.Name.Pos
		}
		if IsURL(string(m.URL.V)) && !m.SHA256.Set() {
			s.r.Faultf(m.URL.Pos, `"url": the tarball needs "sha256"`)
		}
	}
}

// checkEffects refuses what the flavor itself says in vain. What it inherits in vain is no fault: hook-debian
// extends hook-default.
func (s *resolver) checkEffects(own, e kernelEntry[source, firmware]) {
	method, kind := e.Method.V, e.Source.V.kind()
	switch {
	case method == "":
	case method != MethodSource:
		s.refuse(own.compiling(method == MethodDebian), "method %s compiles nothing", method)
		if method != MethodDebian {
			s.refuse([]given{{"series", own.Series.Pos}}, "method %s takes the kernel that it is given", method)
		}
	case kind != "" && kind != SourceKernelOrg:
		keys := []given{{"version", own.Version.Pos}, {"keyring", own.Keyring.Pos}}
		s.refuse(keys, "the source is %s, not %s", kind, SourceKernelOrg)
	}
}

// refuse adds a fault for each of keys that the flavor has.
func (s *resolver) refuse(keys []given, format string, args ...any) {
	for _, k := range keys {
		if k.pos.Line > 0 {
			s.r.Faultf(k.pos, "%q has no effect: %s", k.name, fmt.Sprintf(format, args...))
		}
	}
}

// given is a key with the place where a flavor has it, if it does.
type given struct {
	name string
	pos  strictyaml.Pos
}

// compiling are the keys that are about compiling a kernel; source is one for Debian's binary only.
func (k kernelEntry[S, F]) compiling(source bool) []given {
	keys := []given{
		{"version", k.Version.Pos}, {"config", k.Config.Pos}, {"fragments", k.Fragments.Pos}, {"set", k.Settings.Pos},
		{"patches", k.Patches.Pos}, {"external_modules", k.External.Pos}, {"keyring", k.Keyring.Pos},
	}
	if source {
		keys = append(keys, given{"source", k.Source.Pos})
	}
	return keys
}

// checkFit compares method and source where the flavor gives one of them.
func (s *resolver) checkFit(own, e kernelEntry[source, firmware]) {
	kind := e.Source.V.kind()
	var fit []string
	var want string
	switch e.Method.V {
	case MethodSource:
		fit = []string{SourceDebian, SourceKernelOrg, SourceURL, SourceDir}
		want = "debian, kernel.org, {url: URL, sha256: HEX} or {dir: DIR}"
	case MethodDeb:
		fit, want = []string{SourceDebs}, "{deb: [FILE]}"
	case MethodDir:
		fit, want = []string{SourceDir}, "{dir: DIR}"
	}
	if want == "" || kind == "" || slices.Contains(fit, kind) {
		return
	}
	pos := own.Source.Pos
	if !own.Source.Set() {
		pos = own.Method.Pos
	}
	if pos.Line > 0 {
		s.r.Faultf(pos, "method %s does not fit the source, which is %s: want source: %s", e.Method.V, kind, want)
	}
}

// checkDebianSeries holds a kernel from Debian to the one that Debian has.
func (s *resolver) checkDebianSeries(p pair, e kernelEntry[source, firmware]) {
	own := p.Value.Kernel
	fromDebian := e.Method.V == MethodDebian || e.Method.V == MethodSource && e.Source.V.kind() == SourceDebian
	got := e.series()
	if !fromDebian || own.Version.Set() || got == "" || got == debianSeries {
		return
	}
	pos := p.Key.Pos
	if own.Series.Set() {
		pos = own.Series.Pos
	}
	s.r.Faultf(pos, "flavor %q: Debian %s has the kernel series %s, not %s", p.Key.V, suite, debianSeries, got)
}
