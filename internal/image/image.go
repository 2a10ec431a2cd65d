// Package image finds container images and reads them into trees: an image in the engine, or a Dockerfile
// directory that is built first. Layers are spooled once, uncompressed, into the cache under their digest and
// never unpacked. Format: https://github.com/opencontainers/image-spec/blob/main/layer.md
package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/filetree"
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

// Reader reads images of one engine through a cache of layers.
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
	tree, err := r.tree(ctx, ref, info.Layers)
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", ref, err)
	}
	return Image{Image: info, Ref: ref, Tree: tree}, nil
}

// tree merges the layers, lowest first. A layer whose cached file turns out damaged is taken from the engine
// again, once.
func (r Reader) tree(ctx context.Context, ref string, layers []string) (*filetree.Tree, error) {
	if r.cached(layers) {
		if tree, err := r.merge(ref, layers); err == nil {
			return tree, nil
		}
	}
	if err := r.spool(ctx, ref, layers); err != nil {
		return nil, err
	}
	return r.merge(ref, layers)
}

func (r Reader) file(diffID string) string {
	return filepath.Join(r.Cache, "layers", strings.ReplaceAll(diffID, ":", "-"))
}

func (r Reader) cached(layers []string) bool {
	for _, l := range layers {
		if _, err := os.Stat(r.file(l)); err != nil {
			return false
		}
	}
	return true
}

func (r Reader) merge(ref string, layers []string) (*filetree.Tree, error) {
	t := filetree.New()
	for _, l := range layers {
		blob, err := r.blob(l)
		if err != nil {
			return nil, err
		}
		o := filetree.TarOptions{Whiteouts: true}
		if r.Lost != nil {
			o.OnLostXattr = func(path, name string) { r.Lost(ref, path, name) }
		}
		if err := t.ApplyTar(blob, ref, o); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l, err)
		}
	}
	return t, nil
}

// blob is the cached layer as one run of bytes whose digest is checked as it is read.
func (r Reader) blob(diffID string) (filetree.Blob, error) {
	digest, err := v1.NewHash(diffID)
	if err != nil || digest.Algorithm != "sha256" {
		return filetree.Blob{}, fmt.Errorf("layer id %q is not a sha256 digest", diffID)
	}
	sum, err := hex.DecodeString(digest.Hex)
	if err != nil {
		return filetree.Blob{}, err
	}
	info, err := os.Stat(r.file(diffID))
	if err != nil {
		return filetree.Blob{}, err
	}
	return filetree.FileRange(r.file(diffID), 0, info.Size(), [sha256.Size]byte(sum)), nil
}

// spool writes the image's layers into the cache. The archive that the engine sends may name its layers only
// at its end, so it is written to a temporary file first.
func (r Reader) spool(ctx context.Context, ref string, layers []string) error {
	dir := filepath.Join(r.Cache, "layers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".save-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if err := r.save(ctx, ref, tmp); err != nil {
		return err
	}
	img, err := tarball.ImageFromPath(tmp.Name(), nil)
	if err != nil {
		return fmt.Errorf("read the engine's archive: %w", err)
	}
	got, err := img.Layers()
	if err != nil {
		return fmt.Errorf("read the engine's archive: %w", err)
	}
	if len(got) != len(layers) {
		return fmt.Errorf("the engine's archive has %d layers, want %d", len(got), len(layers))
	}
	for i, l := range got {
		content, err := l.Uncompressed()
		if err != nil {
			return fmt.Errorf("layer %s: %w", layers[i], err)
		}
		if err := r.keep(layers[i], content); err != nil {
			return fmt.Errorf("layer %s: %w", layers[i], err)
		}
	}
	return nil
}

func (r Reader) save(ctx context.Context, ref string, w io.Writer) error {
	in, err := r.Engine.Save(ctx, ref)
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := io.Copy(w, in); err != nil {
		return fmt.Errorf("save image %s: %w", ref, err)
	}
	return nil
}

// keep writes one layer under its digest, and only if that is what it has.
func (r Reader) keep(diffID string, content io.ReadCloser) error {
	defer content.Close()
	tmp, err := os.CreateTemp(filepath.Join(r.Cache, "layers"), ".layer-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(tmp, sum), content); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != diffID {
		return fmt.Errorf("got %s, want %s", got, diffID)
	}
	return os.Rename(tmp.Name(), r.file(diffID))
}
