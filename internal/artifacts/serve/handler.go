// Package serve gives the published set of an output directory to machines that boot over the network: an
// artifacts.Store goes in, an HTTP/1.1 server (https://www.rfc-editor.org/rfc/rfc9110) for EKS Anywhere's
// hookImagesURLPath comes out.
package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
)

// indexPage is the answer for the directory, which EKS Anywhere asks for before it creates a cluster behind a
// proxy. It does not list the files.
const indexPage = "hookbuild serves HookOS here. Use the address of /hook as hookImagesURLPath.\n"

// handler answers from the set that is current when the request comes.
type handler struct {
	store *artifacts.Store
	log   *slog.Logger

	mu  sync.Mutex
	key os.FileInfo   // the directory that set was read from
	set artifacts.Set // valid while the symlink leads to key
}

// Handler serves GET and HEAD of exactly the published files of the current set, each at /NAME and
// /hook/NAME, with doubled and trailing slashes too, and 200 on / and /hook. It never redirects. A new set is
// served from the next request on; a download that runs goes on with the file it began with. What goes wrong
// here and is not the client's fault goes to log, which may be nil.
func Handler(store *artifacts.Store, log *slog.Logger) http.Handler {
	return &handler{store: store, log: orDiscard(log)}
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer(w, r, http.StatusMethodNotAllowed, "only GET and HEAD are answered\n")
		return
	}
	name, ok := route(r.URL)
	switch {
	case !ok:
		answer(w, r, http.StatusNotFound, "no such file\n")
	case name == "":
		answer(w, r, http.StatusOK, indexPage)
	default:
		h.serveFile(w, r, name)
	}
}

// answer sends a short text, or for HEAD only its headers.
func answer(w http.ResponseWriter, r *http.Request, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprint(w, text) // a client that has gone needs no answer
	}
}

// route returns the file name that a URL asks for, "" for the directory. The path is split before it is
// decoded, so that an encoded slash is part of a name, and no published file has such a name.
func route(u *url.URL) (name string, ok bool) {
	var parts []string
	for p := range strings.SplitSeq(u.EscapedPath(), "/") {
		if p != "" {
			parts = append(parts, p)
		}
	}
	if len(parts) > 0 && parts[0] == "hook" {
		parts = parts[1:]
	}
	if len(parts) == 0 {
		return "", true
	}
	name, err := url.PathUnescape(parts[0])
	return name, err == nil && name != "" && len(parts) == 1
}

// serveFile sends a file of the current set, if it has one of that name.
func (h *handler) serveFile(w http.ResponseWriter, r *http.Request, name string) {
	f, entry, err := h.open(name)
	if errors.Is(err, errAbsent) {
		answer(w, r, http.StatusNotFound, "no such file\n")
		return
	}
	if err != nil {
		h.log.ErrorContext(r.Context(), "a published file cannot be served", "name", name, "error", err)
		answer(w, r, http.StatusInternalServerError, "the published files are damaged; see hookbuild's log\n")
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", contentType(name))
	w.Header().Set("ETag", `"`+entry.SHA256+`"`)
	w.Header().Set("Cache-Control", "no-cache") // the URL never changes, what is behind it does
	http.ServeContent(w, withoutDates(r), "", time.Unix(entry.Epoch, 0), f)
}

// withoutDates drops conditions on Last-Modified: it is the plan's epoch, which two different builds may
// share, so that only the ETag says whether a file is still the same.
func withoutDates(r *http.Request) *http.Request {
	header := r.Header.Clone()
	header.Del("If-Modified-Since")
	header.Del("If-Unmodified-Since")
	if v := header.Get("If-Range"); v != "" && !strings.HasPrefix(v, `"`) {
		header.Del("If-Range")
		header.Del("Range")
	}
	plain := *r
	plain.Header = header
	return &plain
}

func contentType(name string) string {
	switch filepath.Ext(name) {
	case ".json":
		return "application/json"
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// errAbsent says that nothing of that name is published.
var errAbsent = errors.New("not published")

// openTries bounds how often a file is looked up again. A set is removed when the second one after it is
// published, so that even one repetition is rare.
const openTries = 3

// open opens a file of the current set.
func (h *handler) open(name string) (f *os.File, entry artifacts.SetFile, err error) {
	for range openTries {
		f, entry, err = h.openOnce(name)
		if err == nil || errors.Is(err, errAbsent) {
			break
		}
		h.forget() // the set may have been replaced and removed between the look-up and the opening
	}
	return f, entry, err
}

func (h *handler) openOnce(name string) (*os.File, artifacts.SetFile, error) {
	set, err := h.current()
	if err != nil {
		return nil, artifacts.SetFile{}, err
	}
	entry, ok := set.File(name)
	if !ok {
		return nil, artifacts.SetFile{}, errAbsent
	}
	f, err := os.Open(filepath.Join(set.Dir, name))
	if err != nil {
		return nil, artifacts.SetFile{}, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != entry.Size {
		err = fmt.Errorf("%s: got %d bytes, want %d", f.Name(), info.Size(), entry.Size)
	}
	if err != nil {
		return nil, artifacts.SetFile{}, errors.Join(err, f.Close())
	}
	return f, entry, nil
}

// current returns the set that the symlink leads to now, read once for each set.
func (h *handler) current() (artifacts.Set, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	info, err := os.Stat(h.store.HookPath())
	if err == nil && h.key != nil && os.SameFile(info, h.key) && info.ModTime().Equal(h.key.ModTime()) {
		return h.set, nil
	}
	set, err := h.store.Current()
	var damaged *artifacts.DamagedError
	if errors.Is(err, artifacts.ErrNotFound) && !errors.As(err, &damaged) {
		return artifacts.Set{}, errAbsent
	}
	if err != nil {
		return artifacts.Set{}, err
	}
	h.key, h.set = info, set
	return set, nil
}

func (h *handler) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.key = nil
}
