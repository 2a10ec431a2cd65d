package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// kernelEntry is a flavor's kernel as it is written.
type kernelEntry[S, F any] struct {
	kernelKeys
	Source   strictyaml.Value[S] `yaml:"source"`
	Firmware strictyaml.Value[F] `yaml:"firmware"`
}

type kernelKeys struct {
	Method    strictyaml.Value[method]                       `yaml:"method"`
	Series    strictyaml.Value[series]                       `yaml:"series"`
	Version   strictyaml.Value[version]                      `yaml:"version"`
	Config    strictyaml.Value[fileName]                     `yaml:"config"`
	Fragments strictyaml.Value[[]filePath]                   `yaml:"fragments"`
	Settings  strictyaml.Value[strictyaml.Map[settingValue]] `yaml:"set"`
	Patches   strictyaml.Value[[]filePath]                   `yaml:"patches"`
	External  strictyaml.Value[[]externalEntry]              `yaml:"external_modules"`
	Modules   modulesEntry                                   `yaml:"modules"`
	Keyring   strictyaml.Value[filePath]                     `yaml:"keyring"`
}

type sourceKeys struct {
	URL    strictyaml.Value[location]   `yaml:"url"`
	SHA256 strictyaml.Value[digest]     `yaml:"sha256"`
	Dir    strictyaml.Value[filePath]   `yaml:"dir"`
	Debs   strictyaml.Value[[]filePath] `yaml:"deb"`
}

type externalEntry struct {
	Name   strictyaml.Value[fileName] `yaml:"name,required"`
	URL    strictyaml.Value[location] `yaml:"url,required"`
	SHA256 strictyaml.Value[digest]   `yaml:"sha256"`
	Make   []word                     `yaml:"make"`
}

type modulesEntry struct {
	Include strictyaml.Value[[]word] `yaml:"include"`
	Exclude strictyaml.Value[[]word] `yaml:"exclude"`
}

// from returns k with what it does not say taken from parent.
func (k kernelEntry[S, F]) from(parent kernelEntry[S, F]) kernelEntry[S, F] {
	if !k.Series.Set() && !k.Version.Set() { // two ways to say the same: either replaces both
		k.Series, k.Version = parent.Series, parent.Version
	}
	inherit(&k.Method, parent.Method)
	inherit(&k.Source, parent.Source)
	inherit(&k.Config, parent.Config)
	inherit(&k.Fragments, parent.Fragments)
	inherit(&k.Patches, parent.Patches)
	inherit(&k.External, parent.External)
	inherit(&k.Modules.Include, parent.Modules.Include)
	inherit(&k.Modules.Exclude, parent.Modules.Exclude)
	inherit(&k.Firmware, parent.Firmware)
	inherit(&k.Keyring, parent.Keyring)
	k.Settings.Pos = cmp.Or(k.Settings.Pos, parent.Settings.Pos)
	k.Settings.V = merge(k.Settings.V, parent.Settings.V, symbol)
	return k
}

// merge returns own and what of parent's it does not say. Keys of the same name are the same.
func merge[T any](own, parent strictyaml.Map[T], name func(key string) string) strictyaml.Map[T] {
	all := slices.Clone(own)
	for _, p := range parent {
		same := func(q strictyaml.Pair[T]) bool { return name(q.Key.V) == name(p.Key.V) }
		if !slices.ContainsFunc(own, same) {
			all = append(all, p)
		}
	}
	return all
}

// symbol is the name of a symbol as Kconfig files have it.
func symbol(key string) string { return strings.TrimPrefix(key, "CONFIG_") }

// kind returns one of the Source constants; empty where the source is wrong or not given.
func (s source) kind() string {
	switch {
	case s.word.text != "":
		return s.word.text
	case s.URL.Set():
		return SourceURL
	case s.Dir.Set():
		return SourceDir
	case s.Debs.Set():
		return SourceDebs
	}
	return ""
}

// settled returns the kernel that k describes, without what has no effect. dir is where its paths begin.
func settled(k kernelEntry[source, firmware], dir string) Kernel {
	out := Kernel{
		Method:   string(k.Method.V),
		Modules:  Modules{Include: texts(k.Modules.Include.V), Exclude: texts(k.Modules.Exclude.V)},
		Firmware: Firmware{Auto: k.Firmware.V.word.text == firmwareAuto, Globs: texts(k.Firmware.V.globs)},
	}
	if out.Method != MethodDebian {
		s := k.Source.V
		out.Source = Source{
			Kind: s.kind(), URL: s.URL.V.in(dir), SHA256: string(s.SHA256.V), Dir: string(s.Dir.V.in(dir)), Debs: paths(s.Debs.V, dir),
		}
	}
	if out.Method == MethodSource || out.Method == MethodDebian {
		out.Series = k.series()
	}
	if out.Method != MethodSource {
		return out
	}
	out.Config = string(k.Config.V)
	out.Fragments = paths(k.Fragments.V, dir)
	out.Set = settings(k.Settings.V)
	out.Patches = paths(k.Patches.V, dir)
	for _, m := range k.External.V {
		out.External = append(out.External, ExternalModule{
			Name: string(m.Name.V), URL: m.URL.V.in(dir), SHA256: string(m.SHA256.V), Make: texts(m.Make),
		})
	}
	if out.Source.Kind == SourceKernelOrg {
		out.Version = string(k.Version.V)
		out.Keyring = string(k.Keyring.V.in(dir))
	}
	return out
}

func (k kernelKeys) series() string { return cmp.Or(k.Version.V.series(), string(k.Series.V)) }

func settings(in strictyaml.Map[settingValue]) []Setting {
	var out []Setting
	for _, p := range in {
		out = append(out, Setting{Name: symbol(p.Key.V), Value: string(p.Value), Pos: p.Key.Pos.String()})
	}
	slices.SortFunc(out, func(a, b Setting) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func paths(in []filePath, dir string) []string {
	var out []string
	for _, p := range in {
		out = append(out, string(p.in(dir)))
	}
	return out
}

func texts(in []word) []string {
	var out []string
	for _, w := range in {
		out = append(out, string(w))
	}
	return out
}

type method string

func (m *method) FromYAML(r strictyaml.Raw) error {
	return choice(m, r, []string{MethodSource, MethodDebian, MethodDeb, MethodDir}, []string{"image"})
}

type series string

var seriesForm = regexp.MustCompile(`^[1-9][0-9]*\.(0|[1-9][0-9]*)$`)

func (s *series) FromYAML(r strictyaml.Raw) error {
	return matching(s, r, seriesForm, "a kernel series such as 6.12")
}

type version string

var versionForm = regexp.MustCompile(`^[1-9][0-9]*\.(0|[1-9][0-9]*)\.[1-9][0-9]*$`)

func (v *version) FromYAML(r strictyaml.Raw) error {
	return matching(v, r, versionForm, "a kernel version such as 6.6.107")
}

// series is empty where v is.
func (v version) series() string {
	return string(v[:max(strings.LastIndex(string(v), "."), 0)])
}

type fileName string

func (n *fileName) FromYAML(r strictyaml.Raw) error {
	return matching(n, r, fileForm, "a name: want a-z, 0-9 and single . _ or - between them")
}

// word is a string that is not empty.
type word string

func (w *word) FromYAML(r strictyaml.Raw) error {
	text, err := r.AsString()
	if err == nil && text == "" {
		return errors.New("the string is empty")
	}
	*w = word(text)
	return err
}

type digest string

var digestForm = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

func (d *digest) FromYAML(r strictyaml.Raw) error {
	err := matching(d, r, digestForm, "a SHA-256: want 64 hexadecimal digits")
	*d = digest(strings.ToLower(string(*d)))
	return err
}

// location is an http or https URL, or a path, relative to the file that it is written in.
type location string

// FromYAML does not repeat a URL in its message: there may be a password in it.
func (l *location) FromYAML(r strictyaml.Raw) error {
	text, err := r.AsString()
	if err != nil {
		return err
	}
	if text == "" {
		return errors.New("the URL or path is empty")
	}
	if scheme, _, ok := strings.Cut(text, "://"); ok {
		u, err := url.Parse(text)
		if !IsURL(text) {
			return fmt.Errorf("cannot fetch from %s://: want http://, https:// or a path", scheme)
		}
		if err != nil || u.Host == "" {
			return errors.New("not a URL: want http://HOST/PATH, https://HOST/PATH or a path")
		}
	}
	*l = location(text)
	return nil
}

// in returns l seen from outside dir, the directory of the file.
func (l location) in(dir string) string {
	if IsURL(string(l)) {
		return string(l)
	}
	return string(filePath(l).in(dir))
}

// settingValue is a value of set: y, m, n, a number or a string.
type settingValue string

// wholeNumber leaves out what YAML 1.1, YAML 1.2 and Kconfig read differently, such as 010 and 1_000.
var wholeNumber = regexp.MustCompile(`^(-?(0|[1-9][0-9]*)|0[xX][0-9a-fA-F]+)$`)

func (v *settingValue) FromYAML(r strictyaml.Raw) error {
	switch r.Kind {
	case strictyaml.Bool:
		return fmt.Errorf("want y, m or n, got %s; a string that reads %[1]s needs quotes", r.Text)
	case strictyaml.Number:
		if !wholeNumber.MatchString(r.Text) {
			return fmt.Errorf("want a whole number, decimal or with 0x, got %s; a string that reads so needs quotes", r.Text)
		}
	case strictyaml.String:
		switch strings.ToLower(r.Text) { // whether there were quotes is not known here
		case "yes", "no", "on", "off":
			return fmt.Errorf("want y, m or n, got %s; a string that reads so has to stand in a fragment", r.Text)
		}
		if slices.Contains([]string{"Y", "M", "N"}, r.Text) {
			return fmt.Errorf("want %s, got %s; a string that reads so has to stand in a fragment", strings.ToLower(r.Text), r.Text)
		}
		if strings.ContainsFunc(r.Text, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return errors.New("a string in the kernel's configuration is one line without control characters")
		}
	default:
		return fmt.Errorf("want y, m, n, a number or a string, got %s", r.Kind)
	}
	*v = settingValue(r.Text)
	return nil
}
