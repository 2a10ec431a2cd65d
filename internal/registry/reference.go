package registry

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// reference is an image as a caller names it.
type reference struct {
	text   string
	repo   name.Repository
	tag    *name.Tag // nil where there is only a digest
	digest string    // goes before the tag; empty where there is none
}

// String names registry, repository and tag or digest in full.
func (r reference) String() string {
	switch {
	case r.tag != nil && r.digest != "":
		return r.tag.Name() + "@" + r.digest
	case r.tag != nil:
		return r.tag.Name()
	case r.digest != "":
		return r.repo.Digest(r.digest).Name()
	}
	return r.text
}

// parseReference reads registry/repository:tag, with @digest, or with neither, which is the tag latest.
// What it returns beside an error has the text.
func parseReference(text string) (reference, error) {
	r := reference{text: text}
	parsed, err := name.ParseReference(text)
	if err != nil {
		return r, fmt.Errorf("malformed reference: %w", err)
	}
	r.repo = parsed.Context()
	if tag, ok := parsed.(name.Tag); ok {
		r.tag = &tag
		return r, nil
	}
	r.digest = parsed.Identifier()
	before, _, _ := strings.Cut(text, "@")
	// Without a colon behind the repository, NewTag says latest; nobody asked for that.
	if tag, err := name.NewTag(before); err == nil && strings.HasSuffix(before, ":"+tag.TagStr()) {
		r.tag = &tag
	}
	return r, nil
}

// parsePlatform reads os/arch in Go's spelling.
func parsePlatform(text string) (v1.Platform, error) {
	system, arch, ok := strings.Cut(text, "/")
	if !ok || system == "" || arch == "" || strings.Contains(arch, "/") {
		return v1.Platform{}, fmt.Errorf("platform %q: want os/arch", text)
	}
	return v1.Platform{OS: system, Architecture: arch}, nil
}

// source is where an image is asked for: the registry of its name, or that one's mirror.
type source struct {
	repo  name.Repository
	hosts map[string]Host
}

// in is what r means in the source.
func (s source) in(r reference) name.Reference {
	if r.digest != "" {
		return s.repo.Digest(r.digest)
	}
	return s.repo.Tag(r.tag.TagStr())
}

// origin is the registry that r names.
func (c *Client) origin(r reference) source {
	hosts := maps.Clone(c.Hosts)
	if hosts == nil {
		hosts = map[string]Host{}
	}
	// The library knows Docker's registry by its older name.
	if h, ok := hosts["docker.io"]; ok {
		hosts[name.DefaultRegistry] = h
	}
	return source{repo: reachable(r.repo, hosts), hosts: hosts}
}

// reachable lets the library try http where that is allowed; its own rule for that goes further than ours,
// which the transport enforces.
func reachable(repo name.Repository, hosts map[string]Host) name.Repository {
	host := repo.RegistryStr()
	if !hosts[host].PlainHTTP && !loopback(host) {
		return repo
	}
	registry, err := name.NewRegistry(host, name.Insecure)
	if err != nil {
		return repo
	}
	return registry.Repo(repo.RepositoryStr())
}

// sources are the places to ask for r, in this order.
func (c *Client) sources(r reference) ([]source, error) {
	origin := c.origin(r)
	address := origin.hosts[r.repo.RegistryStr()].Mirror
	if address == "" {
		return []source{origin}, nil
	}
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		// The text may have a password in it, so it is not shown.
		return nil, fmt.Errorf("registries: %s: mirror: want a URL as https://HOST or https://HOST/PATH", r.repo.RegistryStr())
	}
	path := strings.Trim(u.Path+"/"+r.repo.RepositoryStr(), "/")
	repo, err := name.NewRepository(u.Host + "/" + path)
	if err != nil {
		return nil, fmt.Errorf("registries: %s: mirror: %w", r.repo.RegistryStr(), err)
	}
	if repo.RegistryStr() != u.Host { // a host without a dot or a port is no registry in a reference
		registry, err := name.NewRegistry(u.Host)
		if err != nil {
			return nil, fmt.Errorf("registries: %s: mirror: %w", r.repo.RegistryStr(), err)
		}
		repo = registry.Repo(path)
	}
	hosts := maps.Clone(origin.hosts)
	h := hosts[u.Host]
	h.PlainHTTP = u.Scheme == "http"
	hosts[u.Host] = h
	return []source{{repo: reachable(repo, hosts), hosts: hosts}, origin}, nil
}

// loopback is true for hosts that cannot be anywhere but here.
func loopback(host string) bool {
	bare := (&url.URL{Host: host}).Hostname()
	if addr, err := netip.ParseAddr(bare); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return bare == "localhost"
}
