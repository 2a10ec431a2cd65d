package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// errStalled is the cause of a cancelled request that nothing moved in.
var errStalled = errors.New("nothing comes or goes any more")

// watcher cancels a request that is not touched for a while.
type watcher struct {
	ctx    context.Context // of the one request
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

func watch(ctx context.Context, limit time.Duration) *watcher {
	watched, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(errStalled) })
	return &watcher{ctx: watched, cancel: cancel, timer: timer, limit: limit}
}

func (w *watcher) touch() { w.timer.Reset(w.limit) }

func (w *watcher) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// cause is the reason for an error of the request.
func (w *watcher) cause(err error) error {
	if errors.Is(context.Cause(w.ctx), errStalled) {
		return errStalled
	}
	return err
}

// watchedBody is the body of an answer.
type watchedBody struct {
	io.ReadCloser
	watch *watcher
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = b.watch.cause(err)
	}
	b.watch.touch()
	return n, err
}

func (b *watchedBody) Close() error {
	b.watch.stop()
	return b.ReadCloser.Close()
}

// download is a blob on its way. Where the connection is lost it asks for the rest, so that a reader which
// cannot go back does not have to. The caller hashes what comes.
type download struct {
	transport *roundTripper
	req       *http.Request
	body      io.ReadCloser
	length    int64 // of the whole body; -1 where the server does not say
	n         int64 // bytes read
	tries     int   // repetitions so far
	pending   error // what ended the body, to be dealt with by the next Read
}

func (d *download) Read(p []byte) (int, error) {
	for {
		if d.pending != nil {
			if err := d.resume(); err != nil {
				return 0, d.fail(err)
			}
		}
		n, err := d.body.Read(p)
		d.n += int64(n)
		if err == nil || err == io.EOF {
			return n, err
		}
		d.pending = err
		if n > 0 {
			return n, nil
		}
	}
}

// Close ends the transfer.
func (d *download) Close() error { return d.body.Close() }

func (d *download) fail(err error) error {
	return &connectionError{host: d.req.URL.Host, method: d.req.Method, err: fmt.Errorf("after %d bytes: %w", d.n, err)}
}

// resume gets a body that goes on behind the last byte read. Where it cannot, the error is what ended the
// one before.
func (d *download) resume() error {
	ctx := d.req.Context()
	for lost(d.pending) && d.tries < attempts-1 && ctx.Err() == nil {
		d.tries++
		if err := d.transport.wait(ctx, d.tries, 0); err != nil {
			return err
		}
		req := d.req.Clone(ctx)
		req.Header.Set("Range", d.missing())
		resp, err := d.transport.once(req)
		if err != nil {
			continue
		}
		if body := rest(resp, d.n); body != nil {
			d.body.Close()
			d.body, d.pending = body, nil
			return nil
		}
		resp.Body.Close()
	}
	return d.pending
}

// missing is the range that has not come yet. Some servers want its end.
func (d *download) missing() string {
	if d.length < 0 {
		return fmt.Sprintf("bytes=%d-", d.n)
	}
	return fmt.Sprintf("bytes=%d-%d", d.n, d.length-1)
}

// rest returns the body of an answer from byte n on, nil where it does not have that. A server may ignore
// the range that it is asked for.
func rest(resp *http.Response, n int64) io.ReadCloser {
	d, ok := resp.Body.(*download) // no other one is a blob
	if !ok {
		return nil
	}
	if resp.StatusCode == http.StatusPartialContent {
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", n)) {
			return nil
		}
		return d.body
	}
	if _, err := io.CopyN(io.Discard, d.body, n); err != nil {
		return nil
	}
	return d.body
}

// upload is the body of a request. net/http may still be reading it when the request has failed.
type upload struct {
	body  io.ReadCloser
	watch *watcher
	meter *meter // nil where the body does not count

	mu   sync.Mutex
	over bool
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.body.Read(p)
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.over {
		u.watch.touch()
		u.meter.add(int64(n))
	}
	return n, err
}

// Close closes the body.
func (u *upload) Close() error { return u.body.Close() }

// forget counts nothing any more of a body that did not arrive.
func (u *upload) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over = true
}

// meter tells of bytes as they pass. A nil one tells nobody.
type meter struct {
	report func(done, total int64) // may be nil

	mu          sync.Mutex
	done, total int64
	closed      bool
}

// expect says how many bytes there will be.
func (m *meter) expect(total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total = total
}

// add counts n bytes more.
func (m *meter) add(n int64) {
	if m == nil || n == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	m.tell()
}

// restart counts from nothing.
func (m *meter) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done = 0
}

// finish says that all has arrived.
func (m *meter) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done != m.total {
		m.done = m.total
		m.tell()
	}
}

// close lets nobody be told any more: the caller has its answer.
func (m *meter) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
}

func (m *meter) tell() {
	if m.report != nil && !m.closed {
		m.report(m.done, m.total)
	}
}

// Write counts what is written.
func (m *meter) Write(p []byte) (int, error) {
	m.add(int64(len(p)))
	return len(p), nil
}
