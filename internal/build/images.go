package build

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/linuxkit"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// imageSource gives linuxkit its images: those that this build has made by their names in the engine, all
// others as the lock pins them.
type imageSource struct {
	made   images
	reader image.Reader
	finder func(platform string) image.Finder
	arch   plan.Arch
	pins   []resolve.Image
}

func (b *Builder) imageSource(j *Job, r *recorder, made images) *imageSource {
	lost := func(ref, path, name string) {
		if name != initramfsCapability { // which the report lists
			r.warn(fmt.Sprintf("image %s: %s loses its %s, which an initramfs cannot hold", ref, path, name))
		}
	}
	return &imageSource{
		made: made, arch: j.Flavor.Arch, pins: j.Entry.Images,
		reader: image.Reader{Engine: b.Engine, Cache: b.Cache, Lost: lost},
		finder: func(platform string) image.Finder {
			f := b.Packages.images(platform)
			f.Lost = lost
			return f
		},
	}
}

// bring is a stage that brings the pinned images into the cache, where it lacks one. An image's files are looked at
// when they are used; what is missing is known before a kernel has been compiled, and the engine hands an image out
// while the kernel's modules are read.
func (b *Builder) bring(ctx context.Context, j *Job, r *recorder) error {
	var lacking []resolve.Image
	for _, p := range j.Entry.Images {
		if !b.Packages.images(p.Platform).Holds(pinOf(p)) {
			lacking = append(lacking, p)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	return r.stage(ctx, stageImages, func(ctx context.Context, log func(engine.Event)) (string, error) {
		for _, p := range lacking {
			log(engine.Event{Step: "bring " + p.Ref})
			if _, err := b.Packages.images(p.Platform).Read(ctx, pinOf(p)); err != nil {
				return "", err
			}
			log(engine.Event{Step: "bring " + p.Ref, Done: true})
		}
		return fmt.Sprintf("brought %d of %d", len(lacking), len(j.Entry.Images)), nil
	})
}

func pinOf(p resolve.Image) image.Pin {
	return image.Pin{Ref: p.Ref, Config: p.Config, Manifest: p.Manifest}
}

// initramfsCapability is the attribute that file capabilities(7) are kept in.
const initramfsCapability = "security.capability"

// Image reads an image.
func (s *imageSource) Image(ctx context.Context, ref string) (linuxkit.Image, error) {
	got, err := s.read(ctx, ref, platformOf(s.arch))
	if err != nil {
		return linuxkit.Image{}, err
	}
	return linuxkit.Image{
		Tree: got.Tree, Digest: strings.Join(got.Layers, " "),
		Config: linuxkit.ImageConfig{
			Entrypoint: got.Entrypoint, Cmd: got.Cmd, Env: got.Env, WorkingDir: got.WorkingDir, Labels: got.Labels,
		},
	}, nil
}

func (s *imageSource) read(ctx context.Context, ref, platform string) (image.Image, error) {
	if made, ok := s.made.components[ref]; ok {
		return s.reader.Read(ctx, made)
	}
	if ref == s.made.selected {
		return s.reader.Read(ctx, ref)
	}
	pin, err := s.pin(ref, platform)
	if err != nil {
		return image.Image{}, err
	}
	return s.finder(platform).Read(ctx, pin)
}

func (s *imageSource) pin(ref, platform string) (image.Pin, error) {
	for _, p := range s.pins {
		if p.Ref == ref && p.Platform == platform {
			return image.Pin{Ref: ref, Config: p.Config, Manifest: p.Manifest}, nil
		}
	}
	return image.Pin{}, fmt.Errorf("image %s: the lock has none for %s", ref, platform)
}

// layoutPlatforms are those that a volume gets its image for: the machine's, where the YAML names none.
func layoutPlatforms(l linuxkit.Layout, arch plan.Arch) []string {
	if len(l.Platforms) == 0 {
		return []string{platformOf(arch)}
	}
	return l.Platforms
}

// Layout makes an image layout with the layers as they are in the cache, uncompressed: the initramfs compresses
// them. Format: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
func (s *imageSource) Layout(ctx context.Context, l linuxkit.Layout) (*filetree.Tree, error) {
	w := layoutWriter{tree: filetree.New(), origin: "image layout of " + l.Ref}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, platform := range layoutPlatforms(l, s.arch) {
		d, err := s.addTo(ctx, &w, l.Ref, platform)
		if err != nil {
			return nil, err
		}
		system, arch, _ := strings.Cut(platform, "/")
		arch, variant, _ := strings.Cut(arch, "/")
		d.Platform = &ocispec.Platform{OS: system, Architecture: arch, Variant: variant}
		d.Annotations = map[string]string{ocispec.AnnotationRefName: l.Ref}
		index.Manifests = append(index.Manifests, d)
	}
	err := w.document(ocispec.ImageIndexFile, index)
	if err == nil {
		err = w.document(ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	}
	return w.tree, err
}

// addTo puts an image into a layout and returns its manifest's descriptor.
func (s *imageSource) addTo(ctx context.Context, w *layoutWriter, ref, platform string) (ocispec.Descriptor, error) {
	config, layers, err := s.blobs(ctx, ref, platform)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return w.image(config, layers)
}

// blobs are what an image that is made elsewhere consists of.
func (s *imageSource) blobs(ctx context.Context, ref, platform string) (config []byte, layers []filetree.Blob, err error) {
	pin, err := s.pin(ref, platform)
	if err != nil {
		return nil, nil, err
	}
	f := s.finder(platform)
	f.Lost = nil                                // the layers stay as they are
	if _, err := f.Read(ctx, pin); err != nil { // which brings it into the cache
		return nil, nil, err
	}
	if config, layers, err = f.Blobs(pin); err != nil {
		return nil, nil, fmt.Errorf("image %s: %w", ref, err)
	}
	return config, layers, nil
}

// layoutWriter puts blobs into an image layout.
type layoutWriter struct {
	tree   *filetree.Tree
	origin string
}

// image writes an image's blobs and returns its manifest's descriptor.
func (w *layoutWriter) image(config []byte, layers []filetree.Blob) (ocispec.Descriptor, error) {
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	var err error
	if m.Config, err = w.blob(ocispec.MediaTypeImageConfig, filetree.Bytes(config)); err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, layer := range layers {
		d, err := w.blob(ocispec.MediaTypeImageLayer, layer)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		m.Layers = append(m.Layers, d)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return w.blob(ocispec.MediaTypeImageManifest, filetree.Bytes(data))
}

// blob writes one blob; those of several images may be the same.
func (w *layoutWriter) blob(mediaType string, content filetree.Blob) (ocispec.Descriptor, error) {
	sum := content.SHA256()
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.NewDigestFromBytes(digest.SHA256, sum[:sha256.Size]), Size: content.Size()}
	return d, w.file(path.Join(ocispec.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded()), content)
}

func (w *layoutWriter) document(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.file(name, filetree.Bytes(data))
}

func (w *layoutWriter) file(name string, content filetree.Blob) error {
	if _, there := w.tree.Lookup(name); there {
		return nil
	}
	return w.tree.Add(name, &filetree.Inode{Kind: filetree.Regular, Perm: 0o644, Data: content}, w.origin)
}
