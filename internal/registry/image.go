package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The bounds on what a registry says an image is. Real images stay far below them; the specification wants
// registries to take manifests of 4 MiB.
const (
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
	maxLayers   = 500
	maxLayer    = 32 << 30
)

// image is one platform's image in a registry. Its manifest and configuration have been read, hashed and
// checked; a layer is hashed as it is read, and has an error in place of its end where it is not what the
// manifest says.
type image struct {
	v1.Image
	digest  v1.Hash // of the manifest
	asked   reference
	session *session
}

// image reads what ref means on a platform.
func (s *session) image(ctx context.Context, ref name.Reference, p v1.Platform) (*image, error) {
	puller, err := remote.NewPuller(s.options(ctx)...)
	if err != nil {
		return nil, err
	}
	desc, err := puller.Get(ctx, ref)
	if err != nil {
		return nil, missing(err)
	}
	if desc.MediaType, err = kind(desc); err != nil {
		return nil, err
	}
	if desc.MediaType.IsIndex() {
		if desc, err = child(ctx, puller, ref.Context(), desc.Manifest, p); err != nil {
			return nil, err
		}
	}
	if err := checkManifest(desc.Manifest); err != nil {
		return nil, err
	}
	img, err := desc.Image()
	if err != nil {
		return nil, err
	}
	if err := checkConfig(img, p); err != nil {
		return nil, err
	}
	return &image{Image: img, digest: desc.Digest}, nil
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

// kind tells an image from an index. Content-Type is the registry's word; the document, which is hashed,
// goes before it.
func kind(desc *remote.Descriptor) (types.MediaType, error) {
	var doc struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(desc.Manifest, &doc); err != nil {
		return "", fmt.Errorf("read the manifest: %w", err)
	}
	says := doc.MediaType
	if says == "" {
		says = desc.MediaType
	}
	index, img := doc.Manifests != nil, doc.Config != nil || doc.Layers != nil
	switch {
	case doc.SchemaVersion == 1 || says.IsSchema1():
		return "", errors.New("an image of schema 1, Docker's format before 2016: pull it and push it again with a Docker of today")
	case index && img:
		return "", errors.New("a manifest that is an image and an index at once")
	case index && !says.IsImage():
		return types.OCIImageIndex, nil
	case img && doc.Config != nil && !says.IsIndex():
		if says.IsImage() {
			return says, nil
		}
		return types.OCIManifestSchema1, nil
	}
	return "", fmt.Errorf("no image, but %q", oneLine(string(says)))
}

// child reads the image of an index that is for a platform.
func child(ctx context.Context, puller *remote.Puller, repo name.Repository, index []byte, p v1.Platform) (*remote.Descriptor, error) {
	entry, err := pick(index, p)
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
	if desc.MediaType, err = kind(desc); err != nil {
		return nil, fmt.Errorf("image %s of the index: %w", entry.Digest, err)
	}
	if desc.MediaType.IsIndex() {
		return nil, fmt.Errorf("image %s of the index is an index again", entry.Digest)
	}
	return desc, nil
}

// pick finds the first image of an index that is for a platform. Attestations, which BuildKit puts beside
// images, have the platform unknown/unknown.
func pick(index []byte, p v1.Platform) (v1.Descriptor, error) {
	doc, err := v1.ParseIndexManifest(bytes.NewReader(index))
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("read the index: %w", err)
	}
	var there []string
	for _, entry := range doc.Manifests {
		if entry.Platform == nil {
			continue
		}
		if entry.Platform.OS == p.OS && entry.Platform.Architecture == p.Architecture {
			return entry, nil
		}
		if text := oneLine(entry.Platform.String()); !slices.Contains(there, text) && entry.Platform.OS != "unknown" {
			there = append(there, text)
		}
	}
	if len(doc.Manifests) == 1 && doc.Manifests[0].Platform == nil { // its configuration has the platform
		return doc.Manifests[0], nil
	}
	const shown = 20
	if len(there) > shown {
		there = append(there[:shown], "…")
	}
	return v1.Descriptor{}, fmt.Errorf("no image for %s in the index; it has [%s]", p, strings.Join(there, ", "))
}

// checkManifest refuses what is no image, and what no honest image needs.
func checkManifest(manifest []byte) error {
	m, err := v1.ParseManifest(bytes.NewReader(manifest))
	if err != nil {
		return fmt.Errorf("read the manifest: %w", err)
	}
	if m.ArtifactType != "" {
		return fmt.Errorf("an artifact of type %q, not an image", oneLine(m.ArtifactType))
	}
	if !m.Config.MediaType.IsConfig() {
		return fmt.Errorf("an artifact of type %q, not an image", oneLine(string(m.Config.MediaType)))
	}
	if m.Config.Digest == (v1.Hash{}) {
		return errors.New("the configuration has no digest")
	}
	if m.Config.Size < 0 || m.Config.Size > maxConfig {
		return fmt.Errorf("a configuration of %d bytes, want at most %d", m.Config.Size, maxConfig)
	}
	if len(m.Layers) > maxLayers {
		return fmt.Errorf("%d layers, want at most %d", len(m.Layers), maxLayers)
	}
	for i, l := range m.Layers {
		switch {
		case l.Digest == (v1.Hash{}):
			return fmt.Errorf("layer %d has no digest", i)
		case !l.MediaType.IsLayer():
			return fmt.Errorf("layer %d has the type %q", i, oneLine(string(l.MediaType)))
		case !l.MediaType.IsDistributable() || len(l.URLs) > 0:
			return fmt.Errorf("layer %d is kept outside the registry", i)
		case l.Size < 0 || l.Size > maxLayer: // the library takes -1 for any size
			return fmt.Errorf("layer %d of %d bytes, want at most %d", i, l.Size, int64(maxLayer))
		}
	}
	return nil
}

// checkConfig reads the configuration, which the library hashes, and compares it with the manifest and with
// the platform. Some images do not say what they are for.
func checkConfig(img v1.Image, p v1.Platform) error {
	config, err := img.ConfigFile()
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	has := v1.Platform{OS: config.OS, Architecture: config.Architecture}
	if (has.OS != "" && has.OS != p.OS) || (has.Architecture != "" && has.Architecture != p.Architecture) {
		return fmt.Errorf("no image for %s; it is for %s", p, oneLine(has.String()))
	}
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("read the manifest: %w", err)
	}
	if len(layers) != len(config.RootFS.DiffIDs) {
		return fmt.Errorf("%d layers in the manifest, %d in the configuration", len(layers), len(config.RootFS.DiffIDs))
	}
	return nil
}
