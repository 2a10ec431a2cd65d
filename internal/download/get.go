package download

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"time"
)

// maxRedirects is net/http's own limit, which a CheckRedirect of ours replaces.
const maxRedirects = 10

// errStalled is the cause of a cancelled request whose server fell silent.
var errStalled = errors.New("the mirror sends nothing")

// errDowngrade says that an https server sends us to http.
var errDowngrade = errors.New("redirect from https to http refused")

// get opens a URL. What is read from the body and fails is a *FetchError; the caller closes it. The length
// is -1 where the server does not say.
func (c *Client) get(ctx context.Context, rawURL, name string) (body io.ReadCloser, length int64, err error) {
	watched, touch, stop := c.watch(ctx)
	fail := func(status int, err error) error {
		if errors.Is(context.Cause(watched), errStalled) {
			err = errStalled
		}
		return &FetchError{Name: name, URL: Redacted(rawURL), Status: status, Err: err}
	}
	req, err := http.NewRequestWithContext(watched, http.MethodGet, rawURL, nil)
	if err != nil {
		stop()
		return nil, 0, fmt.Errorf("malformed URL: %w", innermost(err))
	}
	// The digests are those of the files as they lie on the server.
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := c.httpClient().Do(req)
	if err != nil {
		err = fail(0, innermost(err))
		stop()
		return nil, 0, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		stop()
		return nil, 0, fail(resp.StatusCode, errors.New(resp.Status))
	}
	return &bodyReader{body: resp.Body, touch: touch, stop: stop, fail: fail}, resp.ContentLength, nil
}

// watch returns a context that is cancelled when touch is not called for the client's stall time. The
// caller calls stop when done.
func (c *Client) watch(ctx context.Context) (watched context.Context, touch func(), stop func()) {
	limit := c.Stall
	if limit == 0 {
		limit = time.Minute
	}
	watched, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(errStalled) })
	touch = func() { timer.Reset(limit) }
	stop = func() {
		timer.Stop()
		cancel(nil)
	}
	return watched, touch, stop
}

// innermost drops the *url.Error around a cause: it would repeat the URL, and with its password.
func innermost(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// httpClient returns the client with our rule for redirects before its own.
func (c *Client) httpClient() *http.Client {
	hc := http.Client{}
	if c.HTTP != nil {
		hc = *c.HTTP
	}
	own := hc.CheckRedirect
	hc.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return errDowngrade
		}
		if own != nil {
			return own(req, via)
		}
		if len(via) >= maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		return nil
	}
	return &hc
}

// bodyReader is a response body whose failures name the URL and whose silence is watched.
type bodyReader struct {
	body  io.ReadCloser
	touch func()
	stop  func()
	fail  func(status int, err error) error
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.touch()
	if err != nil && err != io.EOF {
		err = b.fail(0, err)
	}
	return n, err
}

func (b *bodyReader) Close() error {
	b.stop()
	return b.body.Close()
}

// verifier hashes and counts what passes. Too many bytes, too few, or others than wanted are a *VerifyError
// in place of io.EOF.
type verifier struct {
	r    io.Reader
	file string // for messages
	want File
	hash hash.Hash
	n    int64
}

func newVerifier(r io.Reader, file string, want File) *verifier {
	return &verifier{r: r, file: file, want: want, hash: sha256.New()}
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	v.n += int64(n)
	known, limit, want := v.want.Size >= 0, v.want.Max, atMost(v.want.Max)
	if known {
		limit, want = v.want.Size, bytesText(v.want.Size)
	}
	if v.n > limit {
		return 0, &VerifyError{File: v.file, What: "size", Got: "more", Want: want}
	}
	if err != io.EOF {
		return n, err
	}
	if known && v.n != limit {
		return n, &VerifyError{File: v.file, What: "size", Got: bytesText(v.n), Want: want}
	}
	if got := hex.EncodeToString(v.hash.Sum(nil)); got != v.want.SHA256 {
		return n, &VerifyError{File: v.file, What: "sha256", Got: got, Want: v.want.SHA256}
	}
	return n, io.EOF
}

// counter tells of the bytes that pass.
type counter struct {
	r     io.Reader
	moved func(int64)
	n     int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.moved(int64(n))
	return n, err
}
