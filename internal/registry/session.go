package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// session is one call's dealings with one source.
type session struct {
	source    source
	agent     string
	auth      authn.Authenticator
	looked    string // for an AuthError
	transport *roundTripper
}

// session finds the credentials for a source. The caller closes it.
func (c *Client) session(ctx context.Context, from source) (*session, error) {
	s := &session{source: from, agent: c.UserAgent, auth: authn.Anonymous, looked: "none were given"}
	if c.Keychain != nil {
		found, err := authn.Resolve(ctx, c.Keychain, from.repo)
		if err != nil {
			return nil, err
		}
		s.auth, s.looked = found, "those of the caller"
		if own, ok := found.(credential); ok { // the library compares with its own Anonymous
			s.auth, s.looked = own.Authenticator, own.looked
		}
	}
	s.transport = newTransport(c, from.hosts)
	return s, nil
}

// close ends the session's connections, and what it tells of its progress.
func (s *session) close() {
	s.transport.meter.close()
	s.transport.close()
}

// options are the library's. It would repeat requests as well, and sleep through a cancel while it waits;
// the session's own transport does it instead.
func (s *session) options(ctx context.Context) []remote.Option {
	options := []remote.Option{
		remote.WithContext(ctx), remote.WithAuth(s.auth), remote.WithTransport(s.transport),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryStatusCodes(),
	}
	if s.agent != "" {
		options = append(options, remote.WithUserAgent(s.agent))
	}
	return options
}

// find looks for an image in all sources; the caller closes its session.
func (c *Client) find(ctx context.Context, op, ref, platform string) (*image, error) {
	asked, err := parseReference(ref)
	if err != nil {
		return nil, &Error{Op: op, Ref: asked.String(), Err: err}
	}
	if _, err := parsePlatform(platform); err != nil {
		return nil, &Error{Op: op, Ref: asked.String(), Err: err}
	}
	if c.Offline {
		return nil, &OfflineError{Ref: asked.String()}
	}
	sources, err := c.sources(asked)
	if err != nil {
		return nil, &Error{Op: op, Ref: asked.String(), Err: err}
	}
	var mirror error
	for _, from := range sources {
		var found *image
		if found, err = c.findIn(ctx, op, from, asked, platform); err == nil {
			return found, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if mirror != nil {
			return nil, fmt.Errorf("%w (its mirror, asked before: %v)", err, mirror) //nolint:errorlint // what the mirror said is no cause
		}
		mirror = err
	}
	return nil, err
}

// findIn looks for an image in one source.
func (c *Client) findIn(ctx context.Context, op string, from source, asked reference, platform string) (*image, error) {
	s, err := c.session(ctx, from)
	if err != nil {
		return nil, failLocally(ctx, op, asked, err)
	}
	found, err := s.image(ctx, from.in(asked), platform)
	if err != nil {
		s.close()
		return nil, s.fail(ctx, op, asked, err)
	}
	found.session, found.asked = s, asked
	return found, nil
}

// push sends what the registry has not yet.
func (s *session) push(ctx context.Context, to name.Reference, img *localImage) (v1.Hash, error) {
	m := s.transport.meter
	m.expect(img.total)
	s.transport.sizes = img.sizes
	var err error
	for tries := range attempts {
		if tries > 0 {
			if err := s.transport.wait(ctx, tries, 0); err != nil {
				return v1.Hash{}, err
			}
			m.restart()
		}
		// What has arrived before a failure is found there and not sent again.
		err = remote.Push(to, img, s.options(ctx)...)
		if err == nil || ctx.Err() != nil || !worthPushingAgain(err) {
			break
		}
	}
	if err != nil {
		return v1.Hash{}, err
	}
	m.finish()
	return img.digest, nil
}

// worthPushingAgain is true for what the transport does not repeat by itself, since a part of a layer may
// have arrived: the requests that carry one, and those that end it.
func worthPushingAgain(err error) bool {
	carry := []string{http.MethodPatch, http.MethodPut}
	var ce *connectionError
	if errors.As(err, &ce) {
		return slices.Contains(carry, ce.method) && lost(ce.err)
	}
	var te *transport.Error
	return errors.As(err, &te) && te.Request != nil && slices.Contains(carry, te.Request.Method) && faulty(te.StatusCode)
}

// attempts is how often a request is made in all, where the connection is lost or the registry has a fault
// of its own.
const attempts = 3

// The bounds on waiting.
const (
	defaultPause = time.Second
	defaultStall = 2 * time.Minute // registries check the digest of a large layer before they answer
	longestPause = 15 * time.Second
)
