// Package serve gives the published set of an output directory to machines that boot over the network: an
// artifacts.Store goes in, an HTTP/1.1 server (https://www.rfc-editor.org/rfc/rfc9110) for EKS Anywhere's
// hookImagesURLPath comes out.
package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
)

const (
	// indexPage is the answer for the directory, which EKS Anywhere asks for before it creates a cluster behind a
	// proxy. It does not list the files.
	indexPage = "hookbuild serves HookOS here. Use the address of /hook as hookImagesURLPath.\n"

	retryAfter = 5 // seconds until a client that was sent away may come back; iPXE does so by itself

	mayChange = "no-cache"                            // the URL never changes, what is behind it does
	immutable = "public, max-age=31536000, immutable" // RFC 8246; the URL names the content
)

// handler answers from the set that is current when the request comes.
type handler struct {
	store *artifacts.Store
	log   *slog.Logger
	clock func() time.Time // nil for none
	extra *os.Root         // nil for none
	pairs *pairs           // nil where every file comes from the current set, since there is no clock
	stats *stats
	names func(netip.Addr) string // of machines; nil for none

	browser *browser // nil for none: what is for browsers is not found then

	mu  sync.Mutex
	key os.FileInfo   // the directory that set was read from
	set artifacts.Set // valid while the symlink leads to key
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// now is the zero time where there is no clock.
func (h *handler) now() time.Time {
	if h.clock == nil {
		return time.Time{}
	}
	return h.clock()
}

// ServeHTTP answers, and keeps account of it.
func (h *handler) ServeHTTP(plain http.ResponseWriter, r *http.Request) {
	w := &response{ResponseWriter: plain}
	begin := h.now()
	h.stats.begin()
	if r.Body != http.NoBody { // nobody waits for what a client sends that is not asked for it
		w.Header().Set("Connection", "close")
		if err := http.NewResponseController(plain).SetReadDeadline(time.Unix(1, 0)); err != nil {
			h.log.DebugContext(r.Context(), "read deadline", "error", err)
		}
	}
	if isOver(r) {
		sendAway(w, r, "too many downloads; try again\n")
	} else {
		h.answerTo(w, r)
	}
	h.stats.end(w)
	logged(w, r, h.machine(r), h.log, h.now().Sub(begin), h.clock != nil)
}

// machine is what the client is called, "" where nobody knows it.
func (h *handler) machine(r *http.Request) string {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || h.names == nil {
		return ""
	}
	return h.names(remote.Addr().Unmap())
}

// answerTo gives GET and HEAD of exactly the published files, each at /NAME and /hook/NAME, of
// the generations that are kept at /generations/ID/NAME, and of the extra directory at /extra/NAME, with doubled and
// trailing slashes too, and 200 on / and /hook: a line of text, or for browsers a page. It never redirects. A new set is served from the next request on; a
// download that runs goes on with the file it began with. What goes wrong here and is not the client's fault is logged.
func (h *handler) answerTo(w *response, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer(w, r, http.StatusMethodNotAllowed, "only GET and HEAD are answered\n")
		return
	}
	t, ok := route(r.URL)
	switch {
	case !ok:
		answer(w, r, http.StatusNotFound, "no such file\n")
	case t.kind == directory:
		h.serveDirectory(w, r)
	case t.kind == inPage:
		h.serveAsset(w, r, t.name)
	case t.kind == events:
		h.serveEvents(w, r)
	default:
		h.serveFile(w, r, t)
	}
}

// answer sends a short text, or for HEAD only its headers.
func answer(w http.ResponseWriter, r *http.Request, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.Header().Set("Cache-Control", mayChange)
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprint(w, text) // a client that has gone needs no answer
	}
}

// sendAway tells a client to come back.
func sendAway(w http.ResponseWriter, r *http.Request, why string) {
	w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	w.Header().Set("Connection", "close")
	answer(w, r, http.StatusServiceUnavailable, why)
}

// serveFile sends a file, if there is one.
func (h *handler) serveFile(w *response, r *http.Request, t target) {
	f, done, err := h.choose(r, t)
	switch {
	case errors.Is(err, errAbsent):
		answer(w, r, http.StatusNotFound, "no such file\n")
		return
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		h.log.WarnContext(r.Context(), "no more files can be opened", "error", err)
		sendAway(w, r, "too many downloads; try again\n")
		return
	case err != nil:
		h.log.ErrorContext(r.Context(), "a published file cannot be served", "name", t.name, "error", err)
		answer(w, r, http.StatusInternalServerError, "the published files are damaged; see hookbuild's log\n")
		return
	}
	defer f.Close()
	w.file = f
	defer func() { done(w.toTheEnd()) }()
	defer h.stats.sending(f)()
	if h.browser != nil && r.Method == http.MethodGet {
		defer h.browser.watch(w, r, f)()
	}
	header := w.Header()
	header.Set("Content-Type", contentType(t.name))
	header.Set("ETag", f.etag)
	header.Set("Cache-Control", f.caching)
	http.ServeContent(w, conditions(r, f.size), "", f.modified, f.File) // the bare file: the kernel can copy it
}

// conditions is the request as http.ServeContent is to see it. Conditions on Last-Modified are dropped: it is the
// plan's epoch, which two different builds may share, so that only the ETag says whether a file is still the same.
func conditions(r *http.Request, size int64) *http.Request {
	header := r.Header.Clone()
	header.Del("If-Modified-Since")
	header.Del("If-Unmodified-Since")
	if v := header.Get("If-Range"); v != "" && !strings.HasPrefix(v, `"`) {
		header.Del("If-Range")
		header.Del("Range")
	}
	if asked := rangeHeader(header.Values("Range"), size); asked != "" {
		header.Set("Range", asked)
	} else {
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

// choose opens what a target stands for and says what to do when the answer has ended: done hears whether the file
// was sent up to its last byte.
func (h *handler) choose(r *http.Request, t target) (f *file, done func(toTheEnd bool), err error) {
	done = func(bool) {}
	switch t.kind {
	case inExtra:
		f, err = h.openExtra(t.name)
	case inGeneration:
		f, err = h.openGeneration(t.generation, t.name)
	default:
		if h.pairs != nil {
			return h.openPaired(r, t.name)
		}
		f, err = h.openPublished(t.name)
	}
	return f, done, err
}

// openPaired opens a published file, and where a machine boots with it, the one that belongs to what it has taken
// before.
func (h *handler) openPaired(r *http.Request, name string) (*file, func(bool), error) {
	nothing := func(bool) {}
	arch, kernel, initramfs := archOf(name)
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		kernel, initramfs = false, false
	}
	key := machineKey{addr: remote.Addr().Unmap(), arch: arch}
	if initramfs {
		wanted := strings.Trim(r.Header.Get("If-Range"), `"`)
		gen, done, ok := h.pairs.initramfs(key, r.RemoteAddr, wanted, r.Method == http.MethodGet)
		if ok {
			f, err := openOf(gen, name, mayChange)
			if err != nil {
				done(false)
			}
			return f, done, err
		}
	}
	f, err := h.openPublished(name)
	if err != nil {
		return f, nothing, err
	}
	inParts := r.Method == http.MethodHead || r.Header.Get("Range") != "" // HEAD comes first, for the size
	if kind, arch, ok := kindOf(f); ok && kind == isoFile && key.addr.IsValid() && inParts {
		return h.openISO(r, f, key.addr, arch, name)
	}
	if !kernel || r.Method != http.MethodGet {
		return f, nothing, nil
	}
	done, err := h.pairs.kernel(key, r.RemoteAddr, f.generation)
	if err != nil {
		h.log.WarnContext(r.Context(), "this machine gets the newest initramfs, whichever that is", "remote", r.RemoteAddr, "error", err)
	}
	return f, done, nil
}

// openISO opens the ISO that an address has begun to read in parts; newest is the published one, which it gets where it
// has begun with none, or where that one had no ISO of this name.
func (h *handler) openISO(r *http.Request, newest *file, addr netip.Addr, arch plan.Arch, name string) (*file, func(bool), error) {
	gen, done, err := h.pairs.isoPart(addr, arch, newest.generation, r.Method == http.MethodGet)
	ended := func(bool) { done() }
	if err != nil {
		h.log.WarnContext(r.Context(), "parts of this ISO are of the newest one, whichever that is", "remote", r.RemoteAddr, "error", err)
		return newest, ended, nil
	}
	if id := gen.ID(); id == newest.generation || id == "" {
		return newest, ended, nil
	}
	f, err := openOf(gen, name, mayChange)
	if errors.Is(err, errAbsent) {
		return newest, ended, nil
	}
	defer newest.Close()
	if err != nil {
		done()
	}
	return f, ended, err
}

// ready says whether there is something to serve.
func (h *handler) ready() error {
	_, err := h.current()
	return err
}
