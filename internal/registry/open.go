package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Layer is one layer of an image in a registry.
type Layer struct {
	Digest string // sha256:… of what the registry keeps, which may be compressed
	DiffID string // sha256:… of the uncompressed layer
	Size   int64  // bytes of what the registry keeps
}

// RemoteImage is one platform's image in a registry. What is in it has been read, hashed and checked.
type RemoteImage struct {
	Digest    string // of the manifest
	Manifest  []byte
	Config    *Config
	ConfigID  string // digest of RawConfig
	RawConfig []byte
	Layers    []Layer // lowest first

	image *image
}

// Open reads the manifest and the configuration of the image that ref, with a tag or a digest, means on a platform
// (os/arch), and leaves its layers to be read. Ctx counts until Close, which the caller calls. Its errors are those
// of Pull.
func (c *Client) Open(ctx context.Context, ref, platform string) (*RemoteImage, error) {
	found, err := c.find(ctx, "pull", ref, platform)
	if err != nil {
		return nil, err
	}
	r, err := found.remote()
	if err != nil {
		found.session.close()
		return nil, found.session.fail(ctx, "pull", found.asked, err)
	}
	return r, nil
}

func (i *image) remote() (*RemoteImage, error) {
	manifest, err := i.RawManifest()
	if err != nil {
		return nil, err
	}
	raw, err := i.RawConfigFile()
	if err != nil {
		return nil, err
	}
	r := &RemoteImage{
		Digest: i.digest.String(), Manifest: manifest, Config: i.config,
		ConfigID: i.manifest.Config.Digest.String(), RawConfig: raw, image: i,
	}
	var total int64
	for n, l := range i.manifest.Layers {
		r.Layers = append(r.Layers, Layer{Digest: l.Digest.String(), DiffID: i.config.RootFS.DiffIDs[n], Size: l.Size})
		total += l.Size
	}
	i.session.transport.meter.expect(total)
	return r, nil
}

// Layer returns layer n as the registry keeps it. Where it is not what the manifest says, an *Error stands in place
// of its end. The caller closes it.
func (r *RemoteImage) Layer(ctx context.Context, n int) (io.ReadCloser, error) {
	i, l := r.image, r.Layers[n]
	fail := func(err error) error {
		err = i.session.fail(ctx, "pull", i.asked, err)
		if e, ok := errors.AsType[*Error](err); ok {
			e.Layer = l.Digest
		}
		return err
	}
	// The image's own layers would parse the manifest again for each.
	remote, err := i.puller.Layer(ctx, i.session.source.repo.Digest(l.Digest))
	if err != nil {
		return nil, fail(err)
	}
	content, err := remote.Compressed()
	if err != nil {
		return nil, fail(err)
	}
	return &layerReader{ReadCloser: content, left: l.Size, size: l.Size, meter: i.session.transport.meter, fail: fail}, nil
}

// Close ends the connections.
func (r *RemoteImage) Close() { r.image.session.close() }

// layerReader is a layer that the library hashes. It compares the size with the manifest's.
type layerReader struct {
	io.ReadCloser
	left, size int64
	meter      *meter
	fail       func(error) error
}

func (l *layerReader) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	l.left -= int64(n)
	l.meter.add(int64(n))
	switch {
	case l.left < 0 || err == io.EOF && l.left > 0:
		return 0, l.fail(fmt.Errorf("got %d bytes, want %d", l.size-l.left, l.size))
	case err != nil && err != io.EOF:
		err = l.fail(err)
	}
	return n, err
}
