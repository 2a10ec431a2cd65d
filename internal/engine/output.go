package engine

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
)

// ErrNoOutput says that a container's program has not left a file that is wanted of it.
var ErrNoOutput = errors.New("no such file in the container")

// Output is a file that is wanted from a container.
type Output struct {
	Path string                  // absolute; a regular file, since a link would be sent as what it is
	Read func(r io.Reader) error // gets the content, and bounds how much of it to take
}

// collect reads the outputs, in order, up to the first that fails.
func (e *Engine) collect(ctx context.Context, id string, outputs []Output) error {
	for _, o := range outputs {
		if err := e.copyOut(ctx, id, o); err != nil {
			return fmt.Errorf("read %s from the container: %w", o.Path, err)
		}
	}
	return nil
}

func (e *Engine) copyOut(ctx context.Context, id string, o Output) error {
	archive, _, err := e.docker.CopyFromContainer(ctx, id, o.Path)
	if errdefs.IsNotFound(err) {
		if _, gone := e.docker.ContainerInspect(ctx, id); gone == nil {
			return ErrNoOutput
		}
	}
	if err != nil {
		return err
	}
	defer archive.Close()
	r := tar.NewReader(archive)
	h, err := r.Next()
	if err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg {
		return fmt.Errorf("got %s, want a regular file", h.FileInfo().Mode())
	}
	return o.Read(r)
}
