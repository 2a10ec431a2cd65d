package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// image is one platform's image in a registry. Its manifest and configuration have been read, hashed and
// checked; a layer is hashed as it is read, and has an error in place of its end where it is not what the
// manifest says.
type image struct {
	v1.Image
	digest   v1.Hash // of the manifest
	manifest *v1.Manifest
	config   *Config
	puller   *remote.Puller
	asked    reference
	session  *session
}

// image reads what ref means on a platform.
func (s *session) image(ctx context.Context, ref name.Reference, platform string) (*image, error) {
	puller, err := remote.NewPuller(s.options(ctx)...)
	if err != nil {
		return nil, err
	}
	desc, err := puller.Get(ctx, ref)
	if err != nil {
		return nil, missing(err)
	}
	if desc.MediaType, err = Kind(desc.Manifest, desc.MediaType); err != nil {
		return nil, err
	}
	if desc.MediaType.IsIndex() {
		if desc, err = child(ctx, puller, ref.Context(), desc.Manifest, platform); err != nil {
			return nil, err
		}
	}
	manifest, err := ParseManifest(desc.Manifest)
	if err != nil {
		return nil, err
	}
	img, err := desc.Image()
	if err != nil {
		return nil, err
	}
	raw, err := img.RawConfigFile() // hashed by the library
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	config, err := ParseConfig(raw, platform)
	if err == nil {
		err = config.CheckLayers(len(manifest.Layers))
	}
	if err != nil {
		return nil, err
	}
	return &image{Image: img, digest: desc.Digest, manifest: manifest, config: config, puller: puller}, nil
}

// missing marks the answer that there is no such manifest. A host that is no registry answers 404 too, but
// to another question.
func missing(err error) error {
	var te *transport.Error
	if errors.As(err, &te) && te.StatusCode == http.StatusNotFound && te.Request != nil &&
		strings.Contains(te.Request.URL.Path, "/manifests/") {
		return fmt.Errorf("%w: %w", errMissing, err)
	}
	return err
}

// child reads the image of an index that is for a platform.
func child(ctx context.Context, puller *remote.Puller, repo name.Repository, index []byte, platform string) (*remote.Descriptor, error) {
	list, err := ParseIndex(index)
	if err != nil {
		return nil, err
	}
	entry, err := Pick(list, platform)
	if err != nil {
		return nil, err
	}
	desc, err := puller.Get(ctx, repo.Digest(entry.Digest.String()))
	if err != nil {
		return nil, fmt.Errorf("image %s of the index: %w", entry.Digest, err)
	}
	if desc.Size != entry.Size {
		return nil, fmt.Errorf("image %s of the index: got %d bytes, want %d", entry.Digest, desc.Size, entry.Size)
	}
	if desc.MediaType, err = Kind(desc.Manifest, desc.MediaType); err != nil {
		return nil, fmt.Errorf("image %s of the index: %w", entry.Digest, err)
	}
	if desc.MediaType.IsIndex() {
		return nil, fmt.Errorf("image %s of the index is an index again", entry.Digest)
	}
	return desc, nil
}
