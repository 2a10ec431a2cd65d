// Package image finds container images and reads them into trees: in our cache, in the engine, in an image layout, in
// a `docker save` or OCI archive, in a registry; or a Dockerfile directory is built first. Layers are spooled once,
// without compression, into the cache under their digest, verified whenever they are read, and never unpacked.
// Formats: https://github.com/opencontainers/image-spec/blob/main/layer.md, image-layout.md beside it, and
// https://github.com/moby/docker-image-spec.
package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/registry"
)

// Image is an image whose layers have been merged into one tree.
type Image struct {
	engine.Image
	Ref  string
	Tree *filetree.Tree
}

// store is the part of an engine that images are read from.
type store interface {
	Inspect(ctx context.Context, ref string) (engine.Image, error)
	Save(ctx context.Context, ref string) (io.ReadCloser, error)
}

// Reader reads images of one engine by names that say what is in them, through a cache of layers.
type Reader struct {
	Engine store
	Cache  string // directory; layers lie below layers/
	// Lost is told of every extended attribute that an initramfs cannot keep; nil drops the news.
	Lost func(ref, path, name string)
}

// Read returns the image that the engine holds under ref. engine.ErrNoImage where there is none.
func (r Reader) Read(ctx context.Context, ref string) (Image, error) {
	info, err := r.Engine.Inspect(ctx, ref)
	if err != nil {
		return Image{}, err
	}
	tree, err := r.tree(ctx, ref, info)
	if err != nil {
		return Image{}, err
	}
	return Image{Image: info, Ref: ref, Tree: tree}, nil
}

// tree merges the layers. One whose cached file turns out damaged is taken from the engine again, once.
func (r Reader) tree(ctx context.Context, ref string, info engine.Image) (*filetree.Tree, error) {
	c := cache{r.Cache}
	if c.hasLayers(info.Layers) {
		tree, err := c.tree(ref, info.Layers, r.Lost)
		if err == nil || isA[*FormatError](err) {
			return tree, err
		}
		c.dropDamaged(info.Layers)
	}
	got, err := saved(ctx, r.Engine, ref, ref, "linux/"+cmp.Or(info.Arch, "amd64"), c)
	if err != nil {
		return nil, err
	}
	defer got.close()
	if has := got.config.RootFS.DiffIDs; !slices.Equal(has, info.Layers) {
		return nil, &FormatError{Image: ref, Err: fmt.Errorf("the engine's archive has the %d layers %v, want the %d %v", len(has), has, len(info.Layers), info.Layers)}
	}
	if err := c.keep(ctx, ref, got); err != nil {
		return nil, err
	}
	tree, err := c.tree(ref, info.Layers, r.Lost)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	return tree, nil
}

// saved reads what the engine has under a name.
func saved(ctx context.Context, e store, ref, as, platform string, c cache) (*found, error) {
	in, err := e.Save(ctx, as)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	stream := &stream{r: in}
	a, err := streamedArchive(ctx, stream, c)
	if stream.err != nil {
		return nil, fmt.Errorf("save image %s: %w", ref, stream.err)
	}
	if err != nil {
		return nil, inImage(ctx, ref, fmt.Errorf("read the engine's archive: %w", err))
	}
	got, err := a.find(reference{text: ref}, platform)
	if err != nil {
		a.close()
		return nil, inImage(ctx, ref, err)
	}
	return got, nil
}

// inImage says which image an error is about.
func inImage(ctx context.Context, ref string, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("image %s: %w", ref, context.Cause(ctx))
	case isA[*cacheError](err), isA[*missingError](err), isA[*ReferenceError](err):
		return err
	}
	if e, ok := errors.AsType[*FormatError](err); ok {
		e.Image = ref
		return err
	}
	return &FormatError{Image: ref, Err: err}
}

// known is an image as its configuration describes it.
func known(ref, id string, c *registry.Config, tree *filetree.Tree) Image {
	return Image{Ref: ref, Tree: tree, Image: engine.Image{
		ID: id, Arch: c.Architecture, Layers: c.RootFS.DiffIDs,
		Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd, Env: c.Config.Env,
		WorkingDir: c.Config.WorkingDir, Labels: c.Config.Labels,
	}}
}
