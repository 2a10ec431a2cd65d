package engine

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// Container is one run of a program in an image.
type Container struct {
	Image   string
	Cmd     []string
	Env     []string                  // NAME=value, on top of the image's
	Files   func(w *tar.Writer) error // written below / before the start; nil for none
	Devices []string                  // device nodes of the engine's host, /dev/kvm for one
	Network string                    // the engine's network; "none" when empty
	Tmpfs   map[string]string         // mount point to options
	Memory  int64                     // limit in bytes; 0 is none
}

// Label marks every container that hookbuild starts, so that a person can find them.
const Label = "io.hookbuild.container"

// cleanupTimeout bounds the removal of a container after its run was cancelled.
const cleanupTimeout = 10 * time.Second

// Run creates the container, copies its files in, runs it to its end and removes it, also when ctx is
// cancelled. Standard output and standard error both go to out. An exit code other than zero is no error.
func (e *Engine) Run(ctx context.Context, c Container, out io.Writer) (exitCode int, err error) {
	id, err := e.create(ctx, c)
	if err != nil {
		return 0, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		opts := container.RemoveOptions{Force: true, RemoveVolumes: true}
		err = errors.Join(err, e.docker.ContainerRemove(ctx, id, opts))
	}()
	if c.Files != nil {
		if err := e.copyIn(ctx, id, c.Files); err != nil {
			return 0, err
		}
	}
	return e.start(ctx, id, out)
}

func (e *Engine) create(ctx context.Context, c Container) (string, error) {
	network := c.Network
	if network == "" {
		network = "none"
	}
	host := &container.HostConfig{NetworkMode: container.NetworkMode(network), Tmpfs: c.Tmpfs}
	host.Memory = c.Memory
	for _, d := range c.Devices {
		host.Devices = append(host.Devices, container.DeviceMapping{
			PathOnHost: d, PathInContainer: d, CgroupPermissions: "rwm",
		})
	}
	cfg := &container.Config{
		Image: c.Image, Cmd: c.Cmd, Env: c.Env, Labels: map[string]string{Label: "run"},
	}
	made, err := e.docker.ContainerCreate(ctx, cfg, host, nil, nil, "")
	if err != nil {
		return "", fmt.Errorf("create container from %s: %w", c.Image, err)
	}
	return made.ID, nil
}

// copyIn streams a tar into the stopped container, so nothing is staged on disk.
func (e *Engine) copyIn(ctx context.Context, id string, files func(*tar.Writer) error) error {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		tw := tar.NewWriter(w)
		err := files(tw)
		if err == nil {
			err = tw.Close()
		}
		w.CloseWithError(err)
		done <- err
	}()
	err := e.docker.CopyToContainer(ctx, id, "/", r, container.CopyToContainerOptions{})
	r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	if werr := <-done; werr != nil && (err == nil || !errors.Is(werr, io.ErrClosedPipe)) {
		return fmt.Errorf("copy files into the container: %w", werr)
	}
	if err != nil {
		return fmt.Errorf("copy files into the container: %w", err)
	}
	return nil
}

func (e *Engine) start(ctx context.Context, id string, out io.Writer) (int, error) {
	att, err := e.docker.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return 0, fmt.Errorf("attach to the container: %w", err)
	}
	defer att.Close()
	defer context.AfterFunc(ctx, att.Close)() // the hijacked connection does not know of ctx
	copied := make(chan error, 1)
	go func() {
		_, err := stdcopy.StdCopy(out, out, att.Reader)
		copied <- err
	}()
	waiting, failed := e.docker.ContainerWait(ctx, id, container.WaitConditionNextExit)
	if err := e.docker.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		att.Close()
		<-copied
		return 0, fmt.Errorf("start the container: %w", err)
	}
	select {
	case res := <-waiting:
		if err := <-copied; ctx.Err() != nil {
			return 0, context.Cause(ctx)
		} else if err != nil {
			return 0, fmt.Errorf("read the container's output: %w", err)
		}
		return int(res.StatusCode), nil
	case err := <-failed:
		att.Close()
		<-copied
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return 0, fmt.Errorf("wait for the container: %w", err)
	}
}
