package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/registry"
)

// cache is the directory that keeps what was read: configurations and manifests as images/<hex>.json, layers without
// compression as layers/sha256-<diff id>, each with its listing beside it. All of it is named by its digest and compared with it when it is read, so
// that several processes may write it and anybody may delete it.
type cache struct{ dir string }

func (c cache) documentFile(digest v1.Hash) string {
	return filepath.Join(c.dir, "images", digest.Hex+".json")
}

func (c cache) layerFile(diffID string) string {
	return filepath.Join(c.dir, "layers", strings.ReplaceAll(diffID, ":", "-"))
}

// document returns what has the digest, an error where that is not whole.
func (c cache) document(digest string) ([]byte, error) {
	h, err := v1.NewHash(digest)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(c.documentFile(h))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, registry.MaxConfig+1))
	if err == nil && digestOf(data) != digest {
		err = fmt.Errorf("got %s, want %s", digestOf(data), digest)
	}
	return data, err
}

// keepDocument writes a document under its digest.
func (c cache) keepDocument(data []byte) error {
	h, err := v1.NewHash(digestOf(data))
	if err != nil {
		return err
	}
	return c.write(c.documentFile(h), func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// config returns the digest of the configuration that a digest leads to, by documents that were kept: its own, that
// of a manifest, or that of an index's image for the platform. The ids of an engine's images are any of the three,
// depending on its image store.
func (c cache) config(digest, platform string) (string, bool) {
	for range maxDepth {
		data, err := c.document(digest)
		if err != nil {
			return "", false
		}
		var config struct {
			RootFS json.RawMessage `json:"rootfs"`
		}
		if json.Unmarshal(data, &config) == nil && config.RootFS != nil {
			return digest, true
		}
		next, err := leadsTo(data, platform)
		if err != nil {
			return "", false
		}
		digest = next.Digest.String()
	}
	return "", false
}

// leadsTo is the image of an index, or the configuration of a manifest.
func leadsTo(data []byte, platform string) (v1.Descriptor, error) {
	kind, err := registry.Kind(data, "")
	if err != nil {
		return v1.Descriptor{}, err
	}
	if !kind.IsIndex() {
		m, err := registry.ParseManifest(data)
		if err != nil {
			return v1.Descriptor{}, err
		}
		return m.Config, nil
	}
	index, err := registry.ParseIndex(data)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return registry.Pick(index, platform)
}

// hasLayers is true where there is a file for each layer.
func (c cache) hasLayers(diffIDs []string) bool {
	for _, id := range diffIDs {
		if _, err := os.Stat(c.layerFile(id)); err != nil {
			return false
		}
	}
	return true
}

// dropDamaged deletes the files of layers that are not what they are named.
func (c cache) dropDamaged(diffIDs []string) {
	for _, id := range diffIDs {
		blob, err := c.blob(id)
		if err != nil {
			continue
		}
		r, err := blob.Open()
		if err != nil {
			continue
		}
		_, err = io.Copy(io.Discard, r)
		r.Close()
		if err != nil {
			os.Remove(c.layerFile(id)) // one that stays will be told of by whoever reads it
		}
	}
}

// tree merges the layers, lowest first. What lies in the cache and is damaged or gone is a *filetree.ChangedError or
// fs.ErrNotExist; what is wrong in a layer itself, which is the same from any place, is a *FormatError.
func (c cache) tree(ref string, diffIDs []string, lost func(ref, path, name string)) (*filetree.Tree, error) {
	t := filetree.New()
	for _, id := range diffIDs {
		blob, err := c.blob(id)
		if err != nil {
			return nil, err
		}
		o := layerOptions()
		if lost != nil {
			o.OnLostXattr = func(path, name string) { lost(ref, path, name) }
		}
		list, err := c.listing(ref, id, blob)
		if err == nil {
			err = t.ApplyListed(blob, list, ref, o)
		}
		if err != nil {
			if unusable(err) {
				return nil, err
			}
			return nil, &FormatError{Image: ref, Layer: id, Err: err}
		}
	}
	return t, nil
}

// unusable is true for the errors that say that the cache must be filled again.
func unusable(err error) bool {
	return isA[*filetree.ChangedError](err) || errors.Is(err, fs.ErrNotExist)
}

// blob is a layer as one run of bytes whose digest is checked as it is read.
func (c cache) blob(diffID string) (filetree.Blob, error) {
	digest, err := v1.NewHash(diffID)
	if err != nil || digest.Algorithm != "sha256" {
		return filetree.Blob{}, fmt.Errorf("layer id %q is not a sha256 digest", diffID)
	}
	sum, err := hex.DecodeString(digest.Hex)
	if err != nil {
		return filetree.Blob{}, err
	}
	info, err := os.Stat(c.layerFile(diffID))
	if err != nil {
		return filetree.Blob{}, err
	}
	return filetree.FileRange(c.layerFile(diffID), 0, info.Size(), [sha256.Size]byte(sum)), nil
}

// keep writes what was found into the cache: the layers that it has not, then the documents.
func (c cache) keep(ctx context.Context, ref string, found *found) error {
	done := map[string]bool{}
	for _, l := range found.layers {
		if done[l.diffID] || c.hasLayers([]string{l.diffID}) {
			continue
		}
		done[l.diffID] = true
		if err := c.keepLayer(ctx, l); err != nil {
			return inLayer(ctx, ref, l, err)
		}
	}
	for _, d := range found.documents {
		if err := c.keepDocument(d); err != nil {
			return err
		}
	}
	return nil
}

// inLayer says which layer an error is about.
func inLayer(ctx context.Context, ref string, l packed, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("image %s: layer %s: %w", ref, l.diffID, context.Cause(ctx))
	case isA[*registry.Error](err), isA[*registry.AuthError](err): // which say it themselves
		return err
	case isA[*cacheError](err):
		return fmt.Errorf("image %s: layer %s: %w", ref, l.diffID, err)
	}
	return &FormatError{Image: ref, Layer: l.diffID, Entry: l.entry, Err: err}
}

// keepLayer writes one layer under its diff id, and only if that is what it has.
func (c cache) keepLayer(ctx context.Context, l packed) error {
	if l.taken != nil && l.taken.digest == l.diffID {
		return c.adopt(l.taken)
	}
	in, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	taken, err := c.take(func(w io.Writer) error { return unpackTo(w, &cancelReader{ctx, in}, registry.MaxLayer) })
	if err != nil {
		return err
	}
	defer taken.discard()
	if taken.digest != l.diffID {
		return fmt.Errorf("got %s without compression, want %s", taken.digest, l.diffID)
	}
	return c.adopt(taken)
}

// write makes a file of what fill writes, unless fill fails. A failure of the disk is a *cacheError.
func (c cache) write(file string, fill func(io.Writer) error) error {
	tmp, err := c.temporary(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if err := fill(diskWriter{tmp}); err != nil {
		tmp.Close()
		return err
	}
	if err := errors.Join(tmp.Close(), os.Rename(tmp.Name(), file)); err != nil {
		return &cacheError{err}
	}
	return nil
}

func (c cache) temporary(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, &cacheError{err}
	}
	tmp, err := os.CreateTemp(dir, ".tmp-*")
	if err != nil {
		return nil, &cacheError{err}
	}
	return tmp, nil
}

// spool writes to a file that has no name any more, so that nothing is left of it whatever happens. The caller
// closes it.
func (c cache) spool(fill func(io.Writer) error) (*os.File, error) {
	tmp, err := c.temporary(filepath.Join(c.dir, "layers"))
	if err != nil {
		return nil, err
	}
	if err := os.Remove(tmp.Name()); err != nil {
		tmp.Close()
		return nil, &cacheError{err}
	}
	if err := fill(diskWriter{tmp}); err != nil {
		tmp.Close()
		return nil, err
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		tmp.Close()
		return nil, &cacheError{err}
	}
	return tmp, nil
}

// diskWriter tells its own errors from those of what is being copied.
type diskWriter struct{ f *os.File }

func (w diskWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	if err != nil {
		err = &cacheError{err}
	}
	return n, err
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
