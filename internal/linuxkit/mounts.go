package linuxkit

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// bind is a bind mount, SOURCE:DESTINATION[:OPTIONS]. A source without a leading / is the name of a volume.
type bind struct {
	pos                 strictyaml.Pos
	source, destination string
	options             []string // nil where none were given
}

func (b *bind) FromYAML(r strictyaml.Raw) error {
	if err := set(b, r, parseBind); err != nil {
		return err
	}
	b.pos = r.Pos
	return nil
}

func (b bind) plain() any {
	s := b.source + ":" + b.destination
	if b.options != nil {
		s += ":" + strings.Join(b.options, ",")
	}
	return s
}

func parseBind(s string) (bind, error) {
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return bind{}, fmt.Errorf("bind %q: want SOURCE:DESTINATION or SOURCE:DESTINATION:OPTIONS", s)
	}
	if !path.IsAbs(parts[0]) && !validVolume.MatchString(parts[0]) {
		return bind{}, fmt.Errorf("bind %q: %q is neither an absolute path nor the name of a volume", s, parts[0])
	}
	b := bind{source: parts[0], destination: parts[1]}
	if len(parts) == 3 {
		b.options = strings.Split(parts[2], ",")
	}
	return b, nil
}

// tmpfs is a mount of an empty file system, DESTINATION[:OPTIONS].
type tmpfs struct {
	destination string
	options     []string
}

func (t *tmpfs) FromYAML(r strictyaml.Raw) error { return set(t, r, parseTmpfs) }

func (t tmpfs) plain() any {
	if t.options == nil {
		return t.destination
	}
	return t.destination + ":" + strings.Join(t.options, ",")
}

func parseTmpfs(s string) (tmpfs, error) {
	parts := strings.Split(s, ":")
	if len(parts) > 2 || slices.Contains(parts, "") {
		return tmpfs{}, fmt.Errorf("tmpfs %q: want DESTINATION or DESTINATION:OPTIONS", s)
	}
	t := tmpfs{destination: parts[0]}
	if len(parts) == 2 {
		t.options = strings.Split(parts[1], ",")
	}
	return t, nil
}

// mount is an entry of mounts and of runtime.mounts.
type mount struct {
	Pos         strictyaml.Pos
	Destination string   `yaml:"destination"`
	Type        string   `yaml:"type"`
	Source      string   `yaml:"source"`
	Options     []string `yaml:"options"`

	// LinuxKit writes these two into its own metadata, in this spelling, and reads them without effect.
	UIDMappings []idMapping `yaml:"uidmappings"`
	GIDMappings []idMapping `yaml:"gidmappings"`
}

// complete fills in what LinuxKit derives: the type from the source, the source from the type, the
// destination of the kernel's own file systems.
func (m mount) complete() (ociMount, error) {
	if m.Type == "" && slices.Contains([]string{"mqueue", "devpts", "proc", "sysfs", "cgroup"}, m.Source) {
		m.Type = m.Source
	}
	if m.Type == "" && m.Destination == "/dev" {
		m.Type = "tmpfs"
	}
	if m.Type == "" {
		return ociMount{}, errors.New(`a mount needs the key "type"`)
	}
	if m.Source == "" {
		m.Source = m.Type
	}
	if m.Destination == "" {
		m.Destination = map[string]string{"proc": "/proc", "devpts": "/dev/pts", "sysfs": "/sys",
			"cgroup": "/sys/fs/cgroup", "mqueue": "/dev/mqueue"}[m.Type]
	}
	if m.Destination == "" {
		return ociMount{}, errors.New(`a mount needs the key "destination"`)
	}
	return m.verbatim(), nil
}

func (m mount) verbatim() ociMount {
	return ociMount{Destination: m.Destination, Type: m.Type, Source: m.Source, Options: m.Options,
		UIDMappings: m.UIDMappings, GIDMappings: m.GIDMappings}
}
