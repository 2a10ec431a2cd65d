package build

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// Packages gets Debian packages. The mirror is looked for only when something has to be fetched, so that a
// build from the lock and a full cache needs none.
type Packages struct {
	Client *debian.Client
	Mirror debian.Mirror // what flags and hookbuild.yaml say; what is empty is taken from Apt
	Apt    fs.FS         // the host's apt configuration

	KernelOrg *kernelorg.Client
	Images    image.Finder // its Platform is that of each request

	mu    sync.Mutex
	found *debian.Mirror
}

// Dir is where Fetch puts packages, each as <sha256>.deb.
func (p *Packages) Dir() string { return filepath.Join(p.Client.CacheDir, "debs") }

// Index reads and verifies the mirror's indexes.
func (p *Packages) Index(ctx context.Context, r debian.IndexRequest) (*debian.Index, error) {
	m, err := p.mirror(ctx)
	if err != nil {
		return nil, err
	}
	return p.Client.Index(ctx, m, r)
}

// KernelPin finds and verifies a kernel source at kernel.org.
func (p *Packages) KernelPin(ctx context.Context, w kernelorg.Want) (kernelorg.Pin, error) {
	return p.KernelOrg.Resolve(ctx, w)
}

// ImagePin finds out what a reference to a container image means.
func (p *Packages) ImagePin(ctx context.Context, ref, platform string) (resolve.Image, error) {
	got, err := p.images(platform).Resolve(ctx, ref)
	return resolve.Image{Config: got.Config, Manifest: got.Manifest}, err
}

func (p *Packages) images(platform string) image.Finder {
	f := p.Images
	f.Platform = platform
	return f
}

// Fetch brings packages into the cache and returns their files by SHA-256. progress may be nil.
func (p *Packages) Fetch(ctx context.Context, pkgs []debian.Package, progress func(name string, done, total int64)) (map[string]string, error) {
	cached := *p.Client
	cached.Offline, cached.Progress = true, nil
	files, err := cached.Fetch(ctx, debian.Mirror{}, pkgs)
	var missing *download.OfflineError
	if p.Client.Offline || !errors.As(err, &missing) {
		return files, err
	}
	m, err := p.mirror(ctx)
	if err != nil {
		return nil, err
	}
	client := *p.Client
	client.Progress = progress
	return client.Fetch(ctx, m, pkgs)
}

// mirror is found once; what was given goes before what the host's apt uses. Offline none is looked for: what
// there is lies in the cache.
func (p *Packages) mirror(ctx context.Context) (debian.Mirror, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return *p.found, nil
	}
	m := p.Mirror
	if p.Client.Offline {
		return m, nil
	}
	if m.Archive == "" || m.Security == "" {
		host, err := p.Client.FindMirror(ctx, p.Apt)
		if err != nil && m.Archive == "" {
			return m, err
		}
		if m.Archive == "" {
			m.Archive = host.Archive
		}
		if m.Security == "" {
			m.Security = host.Security
		}
	}
	p.found = &m
	return m, nil
}
