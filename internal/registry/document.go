package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The bounds on what an image may say that it is. Real images stay far below them; the specification wants
// registries to take manifests of 4 MiB.
const (
	MaxManifest = 4 << 20  // bytes of a manifest or an index
	MaxConfig   = 8 << 20  // bytes of a configuration
	MaxLayers   = 500      // of one image
	MaxLayer    = 32 << 30 // bytes of a layer, packed or not
	maxImages   = 1000     // of one index
)

// Kind tells an image's manifest from an index: OCIImageIndex, or an image's media type. The document, which is
// hashed, goes before says, the type that whoever gave it has for it.
func Kind(document []byte, says types.MediaType) (types.MediaType, error) {
	var doc struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		return "", fmt.Errorf("read the manifest: %w", err)
	}
	if doc.MediaType != "" {
		says = doc.MediaType
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

// ParseManifest reads an image's manifest, and refuses what is no image and what no honest image needs: an
// artifact, a layer that is kept elsewhere, a size out of bounds, a digest that is not SHA-256.
func ParseManifest(document []byte) (*v1.Manifest, error) {
	if err := checkCounts(document); err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(document))
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	if m.ArtifactType != "" {
		return nil, fmt.Errorf("an artifact of type %q, not an image", oneLine(m.ArtifactType))
	}
	if !m.Config.MediaType.IsConfig() {
		return nil, fmt.Errorf("an artifact of type %q, not an image", oneLine(string(m.Config.MediaType)))
	}
	if m.Config.Digest.Algorithm != sha256Name {
		return nil, errors.New("the configuration has no digest of SHA-256")
	}
	if m.Config.Size < 0 || m.Config.Size > MaxConfig {
		return nil, fmt.Errorf("a configuration of %d bytes, want at most %d", m.Config.Size, MaxConfig)
	}
	for i, l := range m.Layers {
		switch {
		case l.Digest.Algorithm != sha256Name:
			return nil, fmt.Errorf("layer %d has no digest of SHA-256", i)
		case !l.MediaType.IsLayer():
			return nil, fmt.Errorf("layer %d has the type %q", i, oneLine(string(l.MediaType)))
		case !l.MediaType.IsDistributable() || len(l.URLs) > 0:
			return nil, fmt.Errorf("layer %d is kept outside the registry", i)
		case l.Size < 0 || l.Size > MaxLayer: // the library takes -1 for any size
			return nil, fmt.Errorf("layer %d of %d bytes, want at most %d", i, l.Size, int64(MaxLayer))
		}
	}
	return m, nil
}

const sha256Name = "sha256"

// ParseIndex reads an index.
func ParseIndex(document []byte) (*v1.IndexManifest, error) {
	if err := checkCounts(document); err != nil {
		return nil, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(document))
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	return index, nil
}

// checkCounts refuses lists that no honest manifest or index has, before memory is given to their elements. What
// cannot be read at all is for others to tell.
func checkCounts(document []byte) error {
	var n struct {
		Layers    tally `json:"layers"`
		Manifests tally `json:"manifests"`
	}
	if err := json.Unmarshal(document, &n); err != nil {
		return nil
	}
	if n.Layers > MaxLayers {
		return fmt.Errorf("%d layers, want at most %d", n.Layers, MaxLayers)
	}
	if n.Manifests > maxImages {
		return fmt.Errorf("%d images in the index, want at most %d", n.Manifests, maxImages)
	}
	return nil
}

// tally is the length of a list.
type tally int

// UnmarshalJSON counts.
func (t *tally) UnmarshalJSON(list []byte) error {
	dec := json.NewDecoder(bytes.NewReader(list))
	if first, err := dec.Token(); err != nil || first != json.Delim('[') {
		return err // whoever needs a list will say that this is none
	}
	var element json.RawMessage
	for dec.More() {
		if err := dec.Decode(&element); err != nil {
			return err
		}
		*t++
	}
	return nil
}

// Pick finds the first image of an index that is for a platform (os/arch); the one image of an index that names
// none is for any, until its configuration says otherwise. Attestations, which BuildKit puts beside images, have
// the platform unknown/unknown.
func Pick(index *v1.IndexManifest, platform string) (v1.Descriptor, error) {
	p, err := parsePlatform(platform)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var there []string
	for _, entry := range index.Manifests {
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
	if len(index.Manifests) == 1 && index.Manifests[0].Platform == nil { // its configuration has the platform
		return index.Manifests[0], nil
	}
	const shown = 20
	if len(there) > shown {
		there = append(there[:shown], "…")
	}
	return v1.Descriptor{}, fmt.Errorf("no image for %s in the index; it has [%s]", p, strings.Join(there, ", "))
}

// Config is what hookbuild reads of an image's configuration.
type Config struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"` // Go's spelling
	Config       struct {
		Entrypoint []string          `json:"Entrypoint"`
		Cmd        []string          `json:"Cmd"`
		Env        []string          `json:"Env"`
		WorkingDir string            `json:"WorkingDir"`
		Labels     map[string]string `json:"Labels"`
	} `json:"config"`
	RootFS struct {
		DiffIDs []string `json:"diff_ids"` // sha256:… of the uncompressed layers, lowest first
	} `json:"rootfs"`
}

// ParseConfig reads an image's configuration, and compares it with a platform (os/arch). Some images do not say
// what they are for.
func ParseConfig(document []byte, platform string) (*Config, error) {
	p, err := parsePlatform(platform)
	if err != nil {
		return nil, err
	}
	var c Config
	if err := json.Unmarshal(document, &c); err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if (c.OS != "" && c.OS != p.OS) || (c.Architecture != "" && c.Architecture != p.Architecture) {
		return nil, fmt.Errorf("no image for %s; it is for %s", p, oneLine(v1.Platform{OS: c.OS, Architecture: c.Architecture}.String()))
	}
	if n := len(c.RootFS.DiffIDs); n > MaxLayers {
		return nil, fmt.Errorf("%d layers in the configuration, want at most %d", n, MaxLayers)
	}
	for i, id := range c.RootFS.DiffIDs {
		if h, err := v1.NewHash(id); err != nil || h.Algorithm != sha256Name {
			return nil, fmt.Errorf("layer %d: its id %q in the configuration is no digest of SHA-256", i, oneLine(id))
		}
	}
	return &c, nil
}

// CheckLayers compares the configuration with the number of layers that its manifest has.
func (c *Config) CheckLayers(n int) error {
	if n != len(c.RootFS.DiffIDs) {
		return fmt.Errorf("%d layers in the manifest, %d in the configuration", n, len(c.RootFS.DiffIDs))
	}
	return nil
}
