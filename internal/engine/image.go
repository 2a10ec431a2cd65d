package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

// ErrNoImage says that the engine holds no image of that name.
var ErrNoImage = errors.New("no such image in the engine")

// Image is what the engine knows of one of its images.
type Image struct {
	ID         string   // sha256:…, of the image's config
	Arch       string   // Go's spelling
	Layers     []string // diff ids, sha256:… of the uncompressed layers, lowest first
	Entrypoint []string
	Cmd        []string
	Env        []string
	WorkingDir string
	Labels     map[string]string
	Named      time.Time // when it got a name last; zero where the engine does not tell
}

// Inspect looks an image up by name. ErrNoImage where there is none.
func (e *Engine) Inspect(ctx context.Context, ref string) (Image, error) {
	got, err := e.docker.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return Image{}, fmt.Errorf("%s: %w", ref, ErrNoImage)
	}
	if err != nil {
		return Image{}, fmt.Errorf("inspect image %s: %w", ref, err)
	}
	img := Image{ID: got.ID, Arch: got.Architecture, Layers: got.RootFS.Layers, Named: got.Metadata.LastTagTime}
	if c := got.Config; c != nil {
		img.Entrypoint, img.Cmd, img.Env = c.Entrypoint, c.Cmd, c.Env
		img.WorkingDir, img.Labels = c.WorkingDir, c.Labels
	}
	return img, nil
}

// usedFor is how long an image that was marked as used counts as such. Marking takes longer than asking.
const usedFor = 24 * time.Hour

// Has says whether the engine holds the image. One that is there counts as used: it gets its own name once more, if that
// was not today, and the engine keeps the time of that, which Leftovers goes by.
func (e *Engine) Has(ctx context.Context, ref string) (bool, error) {
	img, err := e.Inspect(ctx, ref)
	if errors.Is(err, ErrNoImage) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if e.now != nil && e.now().Sub(img.Named) > usedFor {
		_ = e.docker.ImageTag(ctx, ref, ref) // without it the image looks older than it is, nothing else
	}
	return true, nil
}

// Save returns the image as a `docker save` archive. The caller closes it.
func (e *Engine) Save(ctx context.Context, ref string) (io.ReadCloser, error) {
	r, err := e.docker.ImageSave(ctx, []string{ref})
	if err != nil {
		return nil, fmt.Errorf("save image %s: %w", ref, err)
	}
	return r, nil
}

// Import makes an image of one layer from a tar of a root file system.
func (e *Engine) Import(ctx context.Context, rootfs io.Reader, ref string) error {
	src := image.ImportSource{Source: rootfs, SourceName: "-"}
	r, err := e.docker.ImageImport(ctx, src, ref, image.ImportOptions{})
	if err != nil {
		return fmt.Errorf("import image %s: %w", ref, err)
	}
	defer r.Close()
	if err := streamed(r); err != nil {
		return fmt.Errorf("import image %s: %w", ref, err)
	}
	return nil
}

// Load takes images in from a `docker save` archive, with the names that stand in it.
func (e *Engine) Load(ctx context.Context, archive io.Reader) error {
	got, err := e.docker.ImageLoad(ctx, archive, client.ImageLoadWithQuiet(true))
	if err != nil {
		return fmt.Errorf("load an image archive: %w", err)
	}
	defer got.Body.Close()
	if err := streamed(got.Body); err != nil {
		return fmt.Errorf("load an image archive: %w", err)
	}
	return nil
}

// Tag gives an image of the engine one more name; another image that has it loses it. ErrNoImage where there is
// no image ref.
func (e *Engine) Tag(ctx context.Context, ref, name string) error {
	err := e.docker.ImageTag(ctx, ref, name)
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%s: %w", ref, ErrNoImage)
	}
	if err != nil {
		return fmt.Errorf("tag image %s as %s: %w", ref, name, err)
	}
	return nil
}

// streamed reads an answer that is a stream of JSON messages. An engine that has begun one reports a failure
// inside it, with status 200.
func streamed(r io.Reader) error {
	for dec := json.NewDecoder(r); ; {
		var message struct {
			Error string `json:"error"`
		}
		switch err := dec.Decode(&message); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case message.Error != "":
			return errors.New(message.Error)
		}
	}
}

// Remove takes a name away from the engine, and the image with its last name. A missing image is no error.
func (e *Engine) Remove(ctx context.Context, ref string) error {
	_, err := e.docker.ImageRemove(ctx, ref, image.RemoveOptions{})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove image %s: %w", ref, err)
	}
	return nil
}
