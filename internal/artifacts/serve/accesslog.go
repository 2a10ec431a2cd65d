package serve

import (
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// response is a ResponseWriter that remembers what the answer is.
type response struct {
	http.ResponseWriter
	status int
	bytes  int64
	file   *file            // that it is made of; nil for none
	begun  func(status int) // called once with the status, before it is sent; nil for nobody
}

// WriteHeader remembers the status.
func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		if w.begun != nil {
			w.begun(status)
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write counts.
func (w *response) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom counts, and keeps sendfile(2) in use, for which net/http has its own ReadFrom.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// toTheEnd says whether the file's last byte was handed to the network, and all that was asked for before it.
func (w *response) toTheEnd() bool {
	if w.file == nil || strconv.FormatInt(w.bytes, 10) != w.Header().Get("Content-Length") {
		return false
	}
	switch w.status {
	case http.StatusOK:
		return w.bytes == w.file.size
	case http.StatusPartialContent:
		size := strconv.FormatInt(w.file.size, 10)
		return strings.HasSuffix(w.Header().Get("Content-Range"), "-"+strconv.FormatInt(w.file.size-1, 10)+"/"+size)
	}
	return false
}

// logged writes a line for a request that has been answered. machine is the client's name, "" where nobody knows it.
// Neither query nor headers are in it: they may hold what is no business of a log.
func logged(w *response, r *http.Request, machine string, log *slog.Logger, duration time.Duration, timed bool) {
	attrs := []slog.Attr{
		slog.String("remote", r.RemoteAddr),
		slog.String("method", r.Method),
		slog.String("path", r.URL.EscapedPath()),
		slog.Int("status", w.status),
		slog.Int64("bytes", w.bytes),
	}
	if machine != "" {
		attrs = append(attrs, slog.String("machine", machine))
	}
	if timed {
		attrs = append(attrs, slog.Duration("duration", duration))
	}
	if w.file != nil && w.file.generation != "" {
		attrs = append(attrs, slog.String("generation", w.file.generation))
	}
	log.LogAttrs(r.Context(), slog.LevelInfo, "request", attrs...)
}
