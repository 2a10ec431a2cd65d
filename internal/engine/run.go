package engine

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// Container is one run of a program in an image.
type Container struct {
	Image      string
	Cmd        []string
	Env        []string                  // NAME=value, on top of the image's
	WorkingDir string                    // made where it is missing; the image's when empty
	Files      func(w *tar.Writer) error // written below / before the program starts; nil for none
	Outputs    []Output                  // read in this order once the program has ended, whatever its exit code
	Devices    []string                  // device nodes of the engine's host, /dev/kvm for one
	Network    string                    // the engine's network; "none" when empty
	Tmpfs      map[string]string         // mount point to options; neither Files nor Outputs reach below one
	Memory     int64                     // limit in bytes; 0 is none
}

// Label marks every container that hookbuild starts, so that a person can find them.
const Label = "io.hookbuild.container"

// cleanupTimeout bounds the removal of a container after its run was cancelled.
const cleanupTimeout = 10 * time.Second

// Run creates the container, copies its files in, runs it to its end, reads its outputs and removes it, also
// when ctx is cancelled. Standard output and standard error both go to out. An exit code other than zero is no
// error; where the program has ended, its code is returned beside an error of the outputs too.
func (e *Engine) Run(ctx context.Context, c Container, out io.Writer) (exitCode int, err error) {
	id, err := e.create(ctx, c.Image, c.config(), c.hostConfig())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.remove(ctx, id)) }()
	if err := e.copyIn(ctx, id, c.Files); err != nil {
		return 0, err
	}
	if exitCode, err = e.start(ctx, id, out); err != nil {
		return 0, err
	}
	return exitCode, e.collect(ctx, id, c.Outputs)
}

func (c Container) config() *container.Config {
	return &container.Config{
		Image: c.Image, Cmd: c.Cmd, Env: c.Env, WorkingDir: c.WorkingDir, Labels: map[string]string{Label: "run"},
	}
}

func (c Container) hostConfig() *container.HostConfig {
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
	return host
}

func (e *Engine) create(ctx context.Context, image string, cfg *container.Config, host *container.HostConfig) (string, error) {
	made, err := e.docker.ContainerCreate(ctx, cfg, host, nil, nil, "")
	if err != nil {
		return "", fmt.Errorf("create container from %s: %w", image, err)
	}
	return made.ID, nil
}

// remove kills the container where it still runs. One that is gone, or just going because it has ended by
// itself, is no error: it is waited for.
func (e *Engine) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	err := e.docker.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsConflict(err) {
		gone, failed := e.docker.ContainerWait(ctx, id, container.WaitConditionRemoved)
		select {
		case <-gone:
			return nil
		case err = <-failed:
		}
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove the container: %w", err)
	}
	return nil
}

// copyIn streams a tar into the container, so nothing is staged on disk.
func (e *Engine) copyIn(ctx context.Context, id string, files func(*tar.Writer) error) error {
	if files == nil {
		return nil
	}
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
