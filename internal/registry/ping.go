package registry

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Reached says whether one host answered as a registry does.
type Reached struct {
	Host string // HOST[:PORT]
	Err  error  // an *Error; nil where it did, be it with a wish for credentials
}

// Ping asks a registry, HOST[:PORT], and before it the mirror that Hosts names for it, whether they speak the
// protocol of registries. No credentials are sent. The error is an *OfflineError, or an *Error for what is no
// registry's name.
func (c *Client) Ping(ctx context.Context, host string) ([]Reached, error) {
	asked, err := parseReference(host + "/ping:ping")
	if err != nil {
		return nil, &Error{Op: "ask", Ref: host, Err: err}
	}
	if c.Offline {
		return nil, &OfflineError{Ref: host}
	}
	sources, err := c.sources(asked)
	if err != nil {
		return nil, &Error{Op: "ask", Ref: host, Err: err}
	}
	var answers []Reached
	for _, from := range sources {
		t := newTransport(c, from.hosts)
		_, err := transport.Ping(ctx, from.repo.Registry, t)
		t.close()
		if err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("no answer: %w", context.Cause(ctx))
			}
			err = &Error{Op: "ask", Ref: from.repo.RegistryStr(), Err: err}
		}
		answers = append(answers, Reached{from.repo.RegistryStr(), err})
	}
	return answers, nil
}
