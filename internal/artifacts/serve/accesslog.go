package serve

import (
	"io"
	"log/slog"
	"net/http"
	"time"
)

// counter is a ResponseWriter that remembers status and length of the answer.
type counter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader remembers the status.
func (c *counter) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write counts.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.bytes += int64(n)
	return n, err
}

// ReadFrom counts, and keeps sendfile(2) in use, for which net/http has its own ReadFrom.
func (c *counter) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.ResponseWriter, r)
	c.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// logged writes a line for each request that has been answered. Neither query nor headers are in it: they may
// hold what is no business of a log.
func logged(h http.Handler, log *slog.Logger, now func() time.Time) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &counter{ResponseWriter: w}
		var begin time.Time
		if now != nil {
			begin = now()
		}
		h.ServeHTTP(c, r)
		attrs := []slog.Attr{
			slog.String("remote", r.RemoteAddr),
			slog.String("method", r.Method),
			slog.String("path", r.URL.EscapedPath()),
			slog.Int("status", c.status),
			slog.Int64("bytes", c.bytes),
		}
		if now != nil {
			attrs = append(attrs, slog.Duration("duration", now().Sub(begin)))
		}
		log.LogAttrs(r.Context(), slog.LevelInfo, "request", attrs...)
	})
}
