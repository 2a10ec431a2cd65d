package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	bkclient "github.com/moby/buildkit/client"
)

// Info is what an engine says of itself and of its machine.
type Info struct {
	Version    string
	API        string // the version that is spoken with it
	Host       string // how it is reached: unix:///var/run/docker.sock, tcp://host:port …
	Socket     bool   // whether that is a socket of this machine
	Name       string // of its machine
	Driver     string // of its storage: overlay2, vfs …
	Containerd bool   // whether containerd keeps its images
	Root       string // the directory, on its machine, in which it stores data
	Memory     int64  // bytes
	CPUs       int

	HTTPProxy, HTTPSProxy, NoProxy string
}

// Info asks the engine.
func (e *Engine) Info(ctx context.Context) (Info, error) {
	got, err := e.docker.Info(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("ask the engine about itself: %w", err)
	}
	host := e.docker.DaemonHost()
	containerd := func(pair [2]string) bool {
		return pair[0] == "driver-type" && strings.HasPrefix(pair[1], "io.containerd.snapshotter.")
	}
	return Info{
		Version: e.name, API: e.api, Host: host, Name: got.Name,
		Socket: strings.HasPrefix(host, "unix://") || strings.HasPrefix(host, "npipe://"),
		Driver: got.Driver, Containerd: slices.ContainsFunc(got.DriverStatus, containerd),
		Root: got.DockerRootDir, Memory: got.MemTotal, CPUs: got.NCPU,
		HTTPProxy: got.HTTPProxy, HTTPSProxy: got.HTTPSProxy, NoProxy: got.NoProxy,
	}, nil
}

// BuildKit asks the engine's BuildKit whether it works and returns its version, "" where it does not tell: those of
// before Docker Engine 23 do not.
func (e *Engine) BuildKit(ctx context.Context) (version string, err error) {
	c, err := e.buildKit(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	workers, err := c.ListWorkers(ctx)
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx) // BuildKit's own error does not wrap it
	case err != nil:
		return "", err
	case len(workers) == 0:
		return "", errors.New("it has no worker")
	}
	version = workers[0].BuildkitVersion.Version
	if strings.HasSuffix(version, "+unknown") { // as Debian builds it
		version = ""
	}
	return version, nil
}

// buildKit opens a connection to the engine's BuildKit. The caller closes it.
func (e *Engine) buildKit(ctx context.Context) (*bkclient.Client, error) {
	c, err := bkclient.New(ctx, "", bkclient.WithContextDialer(e.dial),
		bkclient.WithSessionDialer(func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
			return e.docker.DialHijack(ctx, "/session", proto, meta)
		}))
	if err != nil {
		return nil, fmt.Errorf("connect to the engine's BuildKit: %w", err)
	}
	return c, nil
}
