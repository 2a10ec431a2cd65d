package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// localImage is the image of a `docker save` archive, its layers compared with its configuration.
type localImage struct {
	v1.Image
	digest v1.Hash          // of the manifest that a registry gets
	sizes  map[string]int64 // what a registry gets, by digest
	total  int64            // the sum of sizes
}

// readArchive opens the one image of an archive. Reading from it ends when ctx does, since compressing
// large layers takes its time.
func readArchive(ctx context.Context, path string) (*localImage, error) {
	open := func() (io.ReadCloser, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		return cancelReader{ctx, f}, nil
	}
	img, err := readImage(open)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return img, nil
}

func readImage(open tarball.Opener) (*localImage, error) {
	index, err := tarball.LoadManifest(open)
	if err != nil {
		return nil, err
	}
	if len(index) != 1 {
		return nil, fmt.Errorf("%d images in the archive, want one", len(index))
	}
	img, err := tarball.Image(open, nil)
	if err != nil {
		return nil, err
	}
	if err := checkLayers(img); err != nil {
		return nil, err
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	local := &localImage{Image: img, sizes: map[string]int64{}}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if _, twice := local.sizes[d.Digest.String()]; !twice {
			local.total += d.Size
		}
		local.sizes[d.Digest.String()] = d.Size
	}
	local.digest, err = img.Digest()
	return local, err
}

// checkLayers hashes the layers: a registry looks only at what they are compressed to here.
func checkLayers(img v1.Image) error {
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		return fmt.Errorf("%d layers in the archive, %d in the configuration", len(layers), len(config.RootFS.DiffIDs))
	}
	for i, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		got, _, err := v1.SHA256(r)
		if cerr := r.Close(); err == nil {
			err = cerr
		}
		if err == nil && got != config.RootFS.DiffIDs[i] {
			err = fmt.Errorf("got %s, want %s", got, config.RootFS.DiffIDs[i])
		}
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return nil
}

// cancelReader ends with its context.
type cancelReader struct {
	ctx context.Context // for the time of one Push
	f   *os.File
}

func (r cancelReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.f.Read(p)
}

func (r cancelReader) Close() error { return r.f.Close() }
