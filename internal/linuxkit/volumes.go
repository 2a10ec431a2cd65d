package linuxkit

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"

	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// volume is an entry of volumes: a directory that containers share by binding its name.
type volume struct {
	Name      strictyaml.Value[volumeName]   `yaml:"name,required"`
	Image     strictyaml.Value[volumeImage]  `yaml:"image"`
	Readonly  strictyaml.Value[bool]         `yaml:"readonly"`
	Format    strictyaml.Value[volumeFormat] `yaml:"format"`
	Platforms strictyaml.Value[[]platform]   `yaml:"platforms"`
}

// volumeName is also a directory.
type volumeName string

var validVolume = regexp.MustCompile(`^[a-z0-9_-]+$`)

func (n *volumeName) FromYAML(r strictyaml.Raw) error {
	return set(n, r, func(s string) (volumeName, error) {
		if !validVolume.MatchString(s) || len(s) > maxName {
			return "", fmt.Errorf("%q is no name of a volume: want small letters, digits, _ and -, at most %d", s, maxName)
		}
		return volumeName(s), nil
	})
}

// volumeImage is a reference like any other, but for LinuxKit's metadata, which has it as it was written.
type volumeImage string

func (i *volumeImage) FromYAML(r strictyaml.Raw) error {
	return set(i, r, func(s string) (volumeImage, error) {
		if s == "" {
			return "", nil
		}
		return volumeImage(s), checkRef(s)
	})
}

// volumeFormat is how an image lies in a volume.
type volumeFormat string

const (
	filesystemFormat volumeFormat = "filesystem" // its files; what no format means
	ociFormat        volumeFormat = "oci"        // as a directory in the OCI image layout
)

func (f *volumeFormat) FromYAML(r strictyaml.Raw) error {
	return set(f, r, func(s string) (volumeFormat, error) {
		known := []string{"", string(filesystemFormat), string(ociFormat)}
		if !slices.Contains(known, s) {
			return "", fmt.Errorf("unknown format %q: want filesystem or oci%s", s, strictyaml.DidYouMean(s, known))
		}
		return volumeFormat(s), nil
	})
}

// platform is OS/ARCHITECTURE[/VARIANT].
type platform string

var validPlatform = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$`)

func (p *platform) FromYAML(r strictyaml.Raw) error {
	return set(p, r, func(s string) (platform, error) {
		if !validPlatform.MatchString(s) {
			return "", fmt.Errorf("%q is no platform: want OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT", s)
		}
		return platform(s), nil
	})
}

// checkVolume finds what is wrong with an entry as a whole.
func checkVolume(r *strictyaml.Reader, v volume) {
	if v.Format.V == ociFormat && v.Image.V == "" {
		r.Faultf(v.Format.Pos, `format oci needs the key "image"`)
	}
	if v.Platforms.Set() && v.Format.V != ociFormat {
		r.Faultf(v.Platforms.Pos, `"platforms" goes with format oci only`)
	}
}

// volumes are the volumes by their names.
type volumes map[string]volume

// use changes a source that is a volume's name into where the volume is. Containers get a read-only volume
// from where its files lie, and read-only: LinuxKit's first process makes every volume writable at merged.
func (vs volumes) use(source string, options []string) (string, error) {
	v, ok := vs[source]
	if !ok {
		known := make([]string, 0, len(vs))
		for name := range vs {
			known = append(known, name)
		}
		return "", fmt.Errorf("no volume is named %q%s", source, strictyaml.DidYouMean(source, known))
	}
	dir := path.Join("/", v.dir())
	if !v.Readonly.V {
		return path.Join(dir, "merged"), nil
	}
	if !slices.Contains(options, "ro") || slices.Contains(options, "rw") {
		return "", fmt.Errorf("volume %q is read-only: want the option ro", source)
	}
	return path.Join(dir, "lower"), nil
}

// useIn returns o with all that it mounts changed so. What cannot be is a fault.
func (vs volumes) useIn(r *strictyaml.Reader, o options) options {
	o.Binds.V = vs.useInBinds(r, o.Binds.V)
	o.BindsAdd.V = vs.useInBinds(r, o.BindsAdd.V)
	o.Mounts.V = slices.Clone(o.Mounts.V)
	for i, m := range o.Mounts.V {
		if m.Type != "bind" || m.Source == "" || path.IsAbs(m.Source) || r.Full() {
			continue
		}
		var err error
		if o.Mounts.V[i].Source, err = vs.use(m.Source, m.Options); err != nil {
			r.Faultf(m.Pos, "%v", err)
		}
	}
	return o
}

func (vs volumes) useInBinds(r *strictyaml.Reader, binds []bind) []bind {
	binds = slices.Clone(binds)
	for i, b := range binds {
		if path.IsAbs(b.source) || r.Full() {
			continue
		}
		var err error
		if binds[i].source, err = vs.use(b.source, b.options); err != nil {
			r.Faultf(b.pos, "%v", err)
		}
	}
	return binds
}

// section is the volume's directory below containersDir.
func (v volume) section() string { return "volumes/" + string(v.Name.V) }

func (v volume) dir() string { return path.Join(containersDir, v.section()) }

// addVolume lays out what LinuxKit's first process makes a file system of: an overlay of tmp, which becomes a
// tmpfs, over lower, seen at merged. It wants all three.
func (a *assembly) addVolume(ctx context.Context, v volume) error {
	bundle := a.result.parts.add(Part{Kind: PartBundle, Name: v.section()})
	for _, name := range []string{"lower", "merged", "tmp"} {
		if err := ensureDir(a.tree, path.Join(v.dir(), name), bundle); err != nil {
			return err
		}
	}
	if v.Image.V == "" {
		return nil
	}
	ref := string(v.Image.V)
	origin := a.result.parts.add(Part{Kind: PartVolume, Name: v.section(), Image: ref})
	t, err := a.volumeTree(ctx, v, ref, origin)
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.Name.V, err)
	}
	return a.tree.Graft(path.Join(v.dir(), "lower"), t)
}

func (a *assembly) volumeTree(ctx context.Context, v volume, ref, origin string) (*filetree.Tree, error) {
	if v.Format.V != ociFormat {
		img, err := a.image(ctx, ref)
		if err != nil {
			return nil, err
		}
		return unpack(img, origin, symlink(initResolvConf))
	}
	if a.options.Layout == nil {
		return nil, errors.New("format oci: there is nothing here to make an OCI image layout with")
	}
	layout, err := a.options.Layout(ctx, v.layout())
	if err != nil {
		return nil, fmt.Errorf("image %s: OCI layout: %w", ref, err)
	}
	return copyTree(layout, origin, nil)
}

func (v volume) layout() Layout {
	l := Layout{Ref: string(v.Image.V)}
	for _, p := range v.Platforms.V {
		l.Platforms = append(l.Platforms, string(p))
	}
	return l
}

// Layout is an image that a volume wants as a directory in the OCI image layout
// (https://github.com/opencontainers/image-spec/blob/main/image-layout.md).
type Layout struct {
	Ref       string
	Platforms []string // OS/ARCHITECTURE[/VARIANT]; empty means all that the image has
}
