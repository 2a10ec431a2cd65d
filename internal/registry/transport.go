package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// roundTripper carries all requests of a session, also those to where the registry sends us: token servers,
// storages of layers, the next place of an upload. What the rest of the package promises about connections
// is kept here: which of them may be unencrypted, how large an answer may be, what is repeated, how long
// silence is borne.
type roundTripper struct {
	hosts map[string]Host
	given http.RoundTripper // nil is one of our own for each host
	pause time.Duration
	stall time.Duration
	meter *meter
	sizes map[string]int64 // of blobs that are being pushed, by digest

	mu  sync.Mutex
	own map[string]*http.Transport // by host
}

func newTransport(c *Client, hosts map[string]Host) *roundTripper {
	t := &roundTripper{
		hosts: hosts, given: c.Transport, pause: c.pause, stall: c.stall,
		meter: &meter{report: c.Progress}, own: map[string]*http.Transport{},
	}
	if t.pause == 0 {
		t.pause = defaultPause
	}
	if t.stall == 0 {
		t.stall = defaultStall
	}
	return t
}

// close ends the connections.
func (t *roundTripper) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, own := range t.own {
		own.CloseIdleConnections()
	}
}

// RoundTrip makes a request, again where that is worth it.
func (t *roundTripper) RoundTrip(in *http.Request) (*http.Response, error) {
	req, err := t.admit(in)
	if err != nil {
		if in.Body != nil {
			in.Body.Close()
		}
		return nil, &connectionError{host: in.URL.Host, method: in.Method, err: err}
	}
	for tries := 1; ; tries++ {
		resp, err := t.once(req)
		if tries == attempts || !repeatable(req) {
			return resp, err
		}
		var asked time.Duration
		switch {
		case err != nil:
			if !lost(err) || req.Context().Err() != nil {
				return nil, err
			}
		default:
			var again bool
			if asked, again = retryAfter(resp); !again {
				return resp, nil
			}
			resp.Body.Close()
		}
		if err := t.wait(req.Context(), tries, asked); err != nil {
			return nil, err
		}
		if req.GetBody != nil {
			req = req.Clone(req.Context())
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// maxRedirects is net/http's own limit, which the library's rule for redirects replaces.
const maxRedirects = 10

var errDowngrade = errors.New("redirect from https to http refused")

// admit returns the request as it may be made.
func (t *roundTripper) admit(req *http.Request) (*http.Request, error) {
	host, scheme := req.URL.Host, req.URL.Scheme
	plain := t.hosts[host].PlainHTTP
	if plain {
		scheme = "http"
	}
	hops := 0
	for r := req; r.Response != nil && r.Response.Request != nil; r = r.Response.Request {
		if hops++; hops > maxRedirects {
			return nil, fmt.Errorf("more than %d redirects", maxRedirects)
		}
	}
	if scheme == "http" && hops > 0 && req.Response.Request.URL.Scheme == "https" {
		return nil, errDowngrade
	}
	if scheme != "https" && !plain && !loopback(host) {
		return nil, fmt.Errorf("unencrypted connection refused; registries: %s: plain_http: true allows it", host)
	}
	if scheme == req.URL.Scheme {
		return req, nil
	}
	out := req.Clone(req.Context())
	out.URL.Scheme = scheme
	return out, nil
}

// origin is the request that redirects have made req of.
func origin(req *http.Request) *http.Request {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return req
}

// isBlob is true for a request for a layer or a configuration, wherever the registry keeps it.
func isBlob(req *http.Request) bool { return strings.Contains(origin(req).URL.Path, "/blobs/sha") }

// repeatable is true for requests that leave nothing half done: those that read, and those for a token or
// for a new upload.
func repeatable(req *http.Request) bool {
	read := req.Method == http.MethodGet || req.Method == http.MethodHead
	return read || req.Method == http.MethodPost && (req.Body == nil || req.GetBody != nil)
}

// faulty is true for statuses that say that the registry has a fault of its own.
func faulty(status int) bool {
	return slices.Contains([]int{
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	}, status)
}

// retryAfter says whether an answer is worth another request, and how long the registry wants us to wait.
// Too many requests is worth one only if that is said and is soon: limits often last for hours.
func retryAfter(resp *http.Response) (time.Duration, bool) {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	told := err == nil && seconds >= 0
	soon := told && seconds <= int(longestPause/time.Second)
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		return time.Duration(max(seconds, 0)) * time.Second, soon
	case !faulty(resp.StatusCode):
		return 0, false
	case soon:
		return time.Duration(seconds) * time.Second, true
	}
	return 0, !told
}

// lost is true where a connection was there and broke.
func lost(err error) bool {
	for _, broken := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return false
}

// wait pauses before the repetition after that many tries, longer each time.
func (t *roundTripper) wait(ctx context.Context, tries int, atLeast time.Duration) error {
	timer := time.NewTimer(max(t.pause<<(2*(tries-1)), atLeast))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// once makes a request. Of an answer's body only a layer is left to be read by the caller.
func (t *roundTripper) once(req *http.Request) (*http.Response, error) {
	w := watch(req.Context(), t.stall)
	fail := func(err error) (*http.Response, error) {
		err = w.cause(err)
		w.stop()
		return nil, failed(req, err)
	}
	base, err := t.base(req.URL.Host)
	if err != nil {
		return fail(err)
	}
	out := req.WithContext(w.ctx)
	sent := &upload{body: req.Body, watch: w}
	if req.Body != nil && req.Body != http.NoBody {
		if req.Method == http.MethodPatch {
			sent.meter = t.meter
		}
		out.Body = sent
	}
	resp, err := base.RoundTrip(out)
	if err != nil {
		sent.forget()
		return fail(err)
	}
	w.touch()
	resp.Request = out
	if resp.StatusCode >= http.StatusMultipleChoices {
		sent.forget()
	}
	t.noteExisting(resp)
	read := resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent
	if req.Method == http.MethodGet && read && isBlob(req) {
		resp.Body = &download{transport: t, req: req, length: resp.ContentLength, body: &watchedBody{resp.Body, w}}
		return resp, nil
	}
	if err := readSmall(resp); err != nil {
		return fail(err)
	}
	w.stop()
	return resp, nil
}

// noteExisting counts a blob that the registry has already.
func (t *roundTripper) noteExisting(resp *http.Response) {
	first := origin(resp.Request)
	if first.Method != http.MethodHead || resp.StatusCode != http.StatusOK || !isBlob(first) {
		return
	}
	_, digest, _ := strings.Cut(first.URL.Path, "/blobs/")
	t.meter.add(t.sizes[digest])
}

// maxRefusal is how much of an answer that is an error is looked at.
const maxRefusal = 32 << 10

// readSmall puts the whole body into memory.
func readSmall(resp *http.Response) error {
	defer resp.Body.Close()
	limit := int64(MaxManifest)
	if resp.StatusCode >= http.StatusBadRequest {
		limit = maxRefusal
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return err
	}
	if int64(len(text)) > limit {
		if limit == MaxManifest {
			return fmt.Errorf("an answer of more than %d bytes", limit)
		}
		text = nil // a page of a proxy's; the status says enough
	}
	// The library parses manifests before we see them, and gives memory to whatever number of layers they have.
	if strings.Contains(origin(resp.Request).URL.Path, "/manifests/") {
		if err := checkCounts(text); err != nil {
			return err
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(text))
	return nil
}

// failed is the error of a request that came to no answer.
func failed(req *http.Request, err error) error {
	e := &connectionError{host: req.URL.Host, method: req.Method, err: err}
	var unknown x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		e.advice = fmt.Sprintf("registries: %s: ca: FILE names the authority that signed its certificate", e.host)
	case errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/":
		if loopback(e.host) {
			// The library asks by http as well, and what comes of that is the error to tell.
			return http.ErrSchemeMismatch
		}
		e.err = http.ErrSchemeMismatch
		e.advice = fmt.Sprintf("registries: %s: plain_http: true is for a registry without https", e.host)
	}
	return e
}

// base returns what makes the connections to a host.
func (t *roundTripper) base(host string) (http.RoundTripper, error) {
	if t.given != nil {
		return t.given, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if own, ok := t.own[host]; ok {
		return own, nil
	}
	// HTTP/1 is what every registry speaks; a lost connection is the same few errors with it, and a transfer
	// does not wait for another one's window.
	own := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 20 * time.Second,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
		Protocols:           new(http.Protocols),
	}
	own.Protocols.SetHTTP1(true)
	if ca := t.hosts[host].CA; len(ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("the system's certificates: %w", err)
		}
		if !pool.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("registries: %s: ca: no certificate in it (PEM)", host)
		}
		own.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	t.own[host] = own
	return own, nil
}
