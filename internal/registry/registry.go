// Package registry takes container images out of a registry and puts them into one
// (https://github.com/opencontainers/distribution-spec): a tag is resolved to a digest, an image of one
// platform becomes a `docker load` archive, a `docker save` archive becomes an image in the registry.
package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Host says how one host is spoken to. The zero value is https with the system's certificate authorities.
type Host struct {
	// PlainHTTP means http and nothing else. Without it a host is asked by https, and those on the loopback
	// (localhost, 127.0.0.0/8, ::1) by http where they do not answer to that, as Docker does.
	PlainHTTP bool

	// CA are certificates (PEM) of authorities to be trusted beside the system's.
	CA []byte

	// Mirror is the base URL, http or https, of a registry that is asked first for what is pulled or resolved;
	// a path in it goes before the repository. Its scheme goes before PlainHTTP of its own host, whose CA
	// counts. Where the mirror has no image or does not answer, the registry itself is asked.
	Mirror string
}

// Client speaks to registries. The zero value is anonymous and uses https. Its methods may be called from
// several goroutines.
type Client struct {
	Keychain  authn.Keychain  // nil is anonymous
	Hosts     map[string]Host // by host, with its port where a reference has one
	Offline   bool            // open no connection: every method is an *OfflineError
	UserAgent string

	// Transport makes the connections; nil is one with timeouts, with the CAs of Hosts and with the host's
	// proxy settings. One that is given is used as it is: it knows nothing of the CAs.
	Transport http.RoundTripper

	// Progress is told of the bytes that have come or gone, out of total; nil is nobody. Calls do not overlap
	// within one Pull or Push. What the registry has already counts as gone.
	Progress func(done, total int64)

	pause time.Duration // before the first repetition of a request, then longer; 0 is a second
	stall time.Duration // how long a transfer may rest before it is given up; 0 is two minutes
}

// Resolve returns the digest (sha256:…) of the image that ref, with a tag or a digest, means on a platform
// (os/arch). Its errors are those of Pull.
func (c *Client) Resolve(ctx context.Context, ref, platform string) (digest string, err error) {
	found, err := c.find(ctx, "resolve", ref, platform)
	if err != nil {
		return "", err
	}
	defer found.session.close()
	return found.digest.String(), nil
}

// Pull writes the image that ref, with a tag or a digest, means on a platform (os/arch) to w: an archive
// for `docker load`, with the tag that ref has. Layers stay compressed as they are in the registry. It
// returns the digest that Resolve returns. What was written beside an error is no archive.
//
// No such image is a *NotFoundError, a refusal an *AuthError, no connection allowed an *OfflineError, all
// else an *Error; a cancelled context is its own error.
func (c *Client) Pull(ctx context.Context, ref, platform string, w io.Writer) (digest string, err error) {
	found, err := c.find(ctx, "pull", ref, platform)
	if err != nil {
		return "", err
	}
	s := found.session
	defer s.close()
	if err := found.archive(w, s.transport.meter); err != nil {
		return "", s.fail(ctx, "pull", found.asked, err)
	}
	return found.digest.String(), nil
}

// Push puts the one image of a `docker save` archive into a registry as ref, which has a tag, and returns
// its digest there. Layers, configuration and manifest that are there already are not sent. Its errors are
// those of Pull, but for *NotFoundError.
func (c *Client) Push(ctx context.Context, archive, ref string) (digest string, err error) {
	asked, err := parseReference(ref)
	if err == nil && asked.digest != "" {
		err = errors.New("want a tag to push to, not a digest")
	}
	if err != nil {
		return "", &Error{Op: "push", Ref: asked.String(), Err: err}
	}
	if c.Offline {
		return "", &OfflineError{Ref: asked.String()}
	}
	img, err := readArchive(ctx, archive)
	if err != nil {
		return "", failLocally(ctx, "push", asked, err)
	}
	s, err := c.session(ctx, c.origin(asked))
	if err != nil {
		return "", failLocally(ctx, "push", asked, err)
	}
	defer s.close()
	hash, err := s.push(ctx, s.source.in(asked), img)
	if err != nil {
		return "", s.fail(ctx, "push", asked, err)
	}
	return hash.String(), nil
}

// archive writes the image as `docker load` reads it. manifest.json comes last, so that an archive cut
// short is none.
func (i *image) archive(w io.Writer, m *meter) error {
	// Without a tag the archive names none: a digest is not a name that an engine gives.
	var as name.Reference = i.session.source.repo.Digest(i.digest.String())
	if i.asked.tag != nil {
		as = *i.asked.tag
	}
	total, err := tarball.CalculateSize(map[name.Reference]v1.Image{as: i})
	if err != nil {
		return err
	}
	m.expect(total)
	return tarball.Write(as, i, io.MultiWriter(w, m))
}
