package image

import (
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/registry"
)

// Blobs returns what a pinned image consists of: its configuration, byte by byte, and its layers without
// compression, lowest first. Both come from the cache, which Read of the same image fills; the error is that of a
// file which is not there, or no longer what it was.
func (f Finder) Blobs(pin Pin) (config []byte, layers []filetree.Blob, err error) {
	c := cache{f.Cache}
	if config, err = c.document(pin.Config); err != nil {
		return nil, nil, err
	}
	parsed, err := registry.ParseConfig(config, f.Platform)
	if err != nil {
		return nil, nil, &FormatError{Image: pin.Ref, Err: err}
	}
	for _, id := range parsed.RootFS.DiffIDs {
		layer, err := c.blob(id)
		if err != nil {
			return nil, nil, err
		}
		layers = append(layers, layer)
	}
	return config, layers, nil
}
