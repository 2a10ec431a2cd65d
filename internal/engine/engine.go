// Package engine drives a Docker Engine and the BuildKit inside it: connect, build, import and read images,
// run a container, also on a terminal. Nothing here needs the docker command, and no path of this host is
// mounted, so the engine may be on another machine. Docker Engine API >= 1.41 (https://docs.docker.com/reference/api/engine/).
package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/cli/cli/connhelper"
	"github.com/docker/cli/cli/context/store"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/tlsconfig"
)

// Options say which engine to use, as the Docker CLI's environment and configuration do. The zero value is
// the local engine on its default socket.
type Options struct {
	Host       string // DOCKER_HOST; goes before Context
	APIVersion string // DOCKER_API_VERSION; empty negotiates
	CertPath   string // DOCKER_CERT_PATH, a directory with ca.pem, cert.pem and key.pem
	TLSVerify  bool   // DOCKER_TLS_VERIFY
	Context    string // DOCKER_CONTEXT or currentContext; empty or "default" is the local engine
	ConfigDir  string // DOCKER_CONFIG; where contexts are kept

	Now func() time.Time // the clock that images are marked as used by, once a day; nil marks none
}

// Engine is a connection to one Docker Engine. Close it when done.
type Engine struct {
	docker *client.Client
	arch   string
	api    string
	name   string
	now    func() time.Time
}

// UnavailableError says that no engine answered at Host.
type UnavailableError struct {
	Host string
	Err  error
}

// Error names the address that was tried.
func (e *UnavailableError) Error() string {
	return fmt.Sprintf("no Docker Engine answers at %s: %v", e.Host, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// dialTimeout bounds the first question to the engine; a local one answers in milliseconds.
const dialTimeout = 20 * time.Second

// Connect reaches the engine and asks for its architecture. Where nothing answers the error is an
// *UnavailableError.
func Connect(ctx context.Context, o Options) (*Engine, error) {
	opts, host, err := clientOptions(o)
	if err != nil {
		return nil, &UnavailableError{Host: hostName(host), Err: err}
	}
	c, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, &UnavailableError{Host: hostName(host), Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	version, err := c.ServerVersion(ctx)
	if err != nil {
		return nil, &UnavailableError{Host: hostName(c.DaemonHost()), Err: errors.Join(err, c.Close())}
	}
	return &Engine{docker: c, arch: version.Arch, api: c.ClientVersion(), name: version.Version, now: o.Now}, nil
}

func hostName(h string) string {
	if h == "" {
		return client.DefaultDockerHost
	}
	return h
}

// Arch is the engine's architecture in Go's spelling, amd64 or arm64.
func (e *Engine) Arch() string { return e.arch }

// Version is the engine's own version, for messages.
func (e *Engine) Version() string { return e.name }

// Close ends the connection.
func (e *Engine) Close() error { return e.docker.Close() }

// clientOptions turns o into the client's options, and says which host they lead to.
func clientOptions(o Options) ([]client.Opt, string, error) {
	opts := []client.Opt{client.WithAPIVersionNegotiation()}
	if o.APIVersion != "" {
		opts = append(opts, client.WithVersion(o.APIVersion))
	}
	if o.Host == "" && o.Context != "" && o.Context != "default" {
		more, host, err := contextOptions(o)
		return append(opts, more...), host, err
	}
	if o.Host == "" {
		return opts, "", nil
	}
	if o.CertPath != "" && overTLS(o.Host) {
		opts = append(opts, tlsOption(tlsFiles(o.CertPath), o.TLSVerify))
	}
	more, err := hostOptions(o.Host)
	return append(opts, more...), o.Host, err
}

// overTLS is false for a socket and for ssh, which need no certificate and would not understand one.
func overTLS(host string) bool {
	return strings.HasPrefix(host, "tcp://") || strings.HasPrefix(host, "https://")
}

// tlsFiles are the three files as the Docker CLI names them.
func tlsFiles(dir string) tlsconfig.Options {
	return tlsconfig.Options{
		CAFile:   filepath.Join(dir, "ca.pem"),
		CertFile: filepath.Join(dir, "cert.pem"),
		KeyFile:  filepath.Join(dir, "key.pem"),
	}
}

func tlsOption(files tlsconfig.Options, verify bool) client.Opt {
	return func(c *client.Client) error {
		files.InsecureSkipVerify = !verify
		cfg, err := tlsconfig.Client(files)
		if err != nil {
			return fmt.Errorf("certificates for the engine: %w", err)
		}
		return client.WithHTTPClient(&http.Client{Transport: &http.Transport{TLSClientConfig: cfg}})(c)
	}
}

// hostOptions handles ssh:// through the ssh command, as the Docker CLI does, and the rest by the client.
func hostOptions(host string) ([]client.Opt, error) {
	helper, err := connhelper.GetConnectionHelper(host)
	if err != nil {
		return nil, err
	}
	if helper == nil {
		return []client.Opt{client.WithHost(host)}, nil
	}
	return []client.Opt{client.WithHost(helper.Host), client.WithDialContext(helper.Dialer)}, nil
}

// endpoint is the part of a Docker context that names its engine.
type endpoint struct {
	Host          string
	SkipTLSVerify bool
}

// contextOptions reads a context that `docker context create` has written.
func contextOptions(o Options) ([]client.Opt, string, error) {
	cfg := store.NewConfig(func() any { return &map[string]any{} },
		store.EndpointTypeGetter("docker", func() any { return &endpoint{} }))
	s := store.New(filepath.Join(o.ConfigDir, "contexts"), cfg)
	meta, err := s.GetMetadata(o.Context)
	if err != nil {
		return nil, "context " + o.Context, err
	}
	ep, ok := meta.Endpoints["docker"].(endpoint)
	if !ok {
		return nil, "context " + o.Context, errors.New("the context names no Docker Engine")
	}
	opts, err := hostOptions(ep.Host)
	if err != nil {
		return nil, ep.Host, err
	}
	all, err := s.ListTLSFiles(o.Context)
	if err != nil {
		return nil, ep.Host, err
	}
	if names := all["docker"]; len(names) > 0 && overTLS(ep.Host) {
		files := tlsFiles(filepath.Join(s.GetStorageInfo(o.Context).TLSPath, "docker"))
		if !slices.Contains(names, "ca.pem") {
			files.CAFile = ""
		}
		if !slices.Contains(names, "cert.pem") {
			files.CertFile, files.KeyFile = "", ""
		}
		opts = append([]client.Opt{tlsOption(files, !ep.SkipTLSVerify)}, opts...)
	}
	return opts, ep.Host, nil
}

// dial opens the engine's hijacked HTTP/2 path to BuildKit.
func (e *Engine) dial(ctx context.Context, _ string) (net.Conn, error) {
	return e.docker.DialHijack(ctx, "/grpc", "h2c", nil)
}
