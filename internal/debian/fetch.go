package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

// attempts is how often a file is asked for when the connection breaks or the mirror has a fault of its own.
const attempts = 2

// maxRedirects is net/http's own limit, which a CheckRedirect of ours replaces.
const maxRedirects = 10

// content is what a file must be.
type content struct {
	size   int64
	sha256 string // lower-case hex
}

// download is one file to bring into the cache.
type download struct {
	base  string // of the mirror; not looked at offline
	file  string // below it
	name  string // for a FetchError and an OfflineError
	pkg   bool   // whether name is a package
	want  content
	dest  string
	moved func(n int64) // told of bytes as they come, a negative number when they are dropped; may be nil
}

// ensure sees to it that d.dest holds what it must: a file that is there already is hashed and kept, any
// other one is fetched.
func (c *Client) ensure(ctx context.Context, d download) error {
	if d.moved == nil {
		d.moved = func(int64) {}
	}
	ok, err := holds(d.dest, d.want)
	if err != nil {
		return err
	}
	if ok {
		d.moved(d.want.size)
		return nil
	}
	if c.Offline {
		return &OfflineError{Name: d.name}
	}
	for range attempts {
		if err = c.fetchOnce(ctx, d); err == nil || !worthRetrying(ctx, err) {
			break
		}
	}
	return err
}

// worthRetrying is true for broken connections and for the mirror's own faults, not for what would come
// out the same again.
func worthRetrying(ctx context.Context, err error) bool {
	var fe *FetchError
	if ctx.Err() != nil || !errors.As(err, &fe) || errors.Is(err, errDowngrade) || errors.Is(err, errStalled) {
		return false
	}
	return fe.Status == 0 || fe.Status >= http.StatusInternalServerError
}

// holds reports whether the file at path is there and is want. A file that is not want is no error: it is
// fetched again.
func holds(path string, want content) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, newVerifier(f, path, want))
	var ve *VerifyError
	if errors.As(err, &ve) {
		return false, nil
	}
	return err == nil, err
}

// fetchOnce asks for a file once and puts it into place when it is right.
func (c *Client) fetchOnce(ctx context.Context, d download) error {
	address, err := fileURL(d.base, d.file)
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	body, length, err := c.get(ctx, address, d.packageName())
	if err != nil {
		return err
	}
	defer body.Close()
	if length >= 0 && length != d.want.size {
		return &VerifyError{File: redacted(address), What: "size", Got: bytesText(length), Want: bytesText(d.want.size)}
	}
	counted := &counter{r: newVerifier(body, redacted(address), d.want), moved: d.moved}
	if err := writeFile(d.dest, counted); err != nil {
		d.moved(-counted.n)
		return err
	}
	return nil
}

// packageName is what a FetchError calls the package; an index has none.
func (d download) packageName() string {
	if d.pkg {
		return d.name
	}
	return ""
}

// get opens a URL. What is read from the body and fails is a *FetchError; the caller closes it. The length
// is -1 where the mirror does not say.
func (c *Client) get(ctx context.Context, rawURL, name string) (body io.ReadCloser, length int64, err error) {
	watched, touch, stop := c.watch(ctx)
	fail := func(status int, err error) error {
		if errors.Is(context.Cause(watched), errStalled) {
			err = errStalled
		}
		return &FetchError{Name: name, URL: redacted(rawURL), Status: status, Err: err}
	}
	req, err := http.NewRequestWithContext(watched, http.MethodGet, rawURL, nil)
	if err != nil {
		stop()
		return nil, 0, err
	}
	// The digests are those of the files as they lie on the mirror.
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

// innermost drops the *url.Error around a cause: it would repeat the URL, and with its password.
func innermost(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// errDowngrade says that an https mirror sends us to http.
var errDowngrade = errors.New("redirect from https to http refused")

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
	file string
	want content
	hash hash.Hash
	n    int64
}

func newVerifier(r io.Reader, file string, want content) *verifier {
	return &verifier{r: r, file: file, want: want, hash: sha256.New()}
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	v.n += int64(n)
	if v.n > v.want.size {
		return 0, &VerifyError{File: v.file, What: "size", Got: "more", Want: bytesText(v.want.size)}
	}
	if err != io.EOF {
		return n, err
	}
	if v.n != v.want.size {
		return n, &VerifyError{File: v.file, What: "size", Got: bytesText(v.n), Want: bytesText(v.want.size)}
	}
	if got := hex.EncodeToString(v.hash.Sum(nil)); got != v.want.sha256 {
		return n, &VerifyError{File: v.file, What: "sha256", Got: got, Want: v.want.sha256}
	}
	return n, io.EOF
}

func bytesText(n int64) string { return strconv.FormatInt(n, 10) + " bytes" }

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

// writeFile puts what r gives at path, whole or not at all: temporary file beside it, fsync, rename.
func writeFile(path string, r io.Reader) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
