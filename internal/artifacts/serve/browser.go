package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/artifacts/serve/page"
	"github.com/hookbuild/hookbuild/internal/plan"
)

const (
	maxStreams = 32 // of events; each is a connection and a second's work of a few hundred microseconds
	everySoOft = time.Second
	heartbeat  = 15 // of those without anything new until a comment says that the stream is alive
)

// browser is what people see of the server.
type browser struct {
	*ledger
	page    *page.Page
	streams chan struct{} // one for each that is open
	base    string        // URL without a slash at its end, as the machines reach the server; empty where nobody knows

	mu    sync.Mutex
	stamp string // of the store, when site was made
	site  page.Site
}

func newBrowser(o Options) (*browser, error) {
	p, err := page.New()
	return &browser{ledger: newLedger(o.Now, o.Names), page: p, streams: make(chan struct{}, maxStreams)}, err
}

// wantsHTML says whether a client names text/html as something that it takes. A browser does; iPXE, curl, smee and EKS
// Anywhere send */* or nothing.
func wantsHTML(r *http.Request) bool {
	for item := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, params, err := mime.ParseMediaType(item)
		if err != nil || kind != "text/html" {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		return params["q"] == "" || err == nil && q > 0
	}
	return false
}

// watch has an answer in the ledger from its header on until done.
func (b *browser) watch(w *response, r *http.Request, f *file) (done func()) {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return func() {}
	}
	var sent atomic.Int64
	ended := func(int64, bool) {}
	w.begun = func(status int) {
		if status != http.StatusOK && status != http.StatusPartialContent {
			return
		}
		ended = b.begin(remote.Addr().Unmap(), f, status == http.StatusPartialContent, &sent)
		if c := connOf(r); c != nil {
			c.sent.Store(&sent)
		}
	}
	return func() {
		if c := connOf(r); c != nil {
			c.sent.Store(nil)
		}
		ended(w.bytes, w.toTheEnd())
	}
}

// serveDirectory answers at / and /hook.
func (h *handler) serveDirectory(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept")
	if h.browser == nil || !wantsHTML(r) {
		answer(w, r, http.StatusOK, indexPage)
		return
	}
	var b bytes.Buffer
	if err := h.browser.page.Render(&b, h.view(r)); err != nil {
		h.log.ErrorContext(r.Context(), "the page cannot be made", "error", err)
		answer(w, r, http.StatusOK, indexPage)
		return
	}
	deliver(w, r, b.Bytes(), "text/html; charset=utf-8")
}

// serveAsset answers for the files that the page needs.
func (h *handler) serveAsset(w http.ResponseWriter, r *http.Request, name string) {
	content, contentType, ok := page.Asset(name)
	if !ok || h.browser == nil {
		answer(w, r, http.StatusNotFound, "no such file\n")
		return
	}
	deliver(w, r, content, contentType)
}

// deliver answers with what was made for browsers.
func deliver(w http.ResponseWriter, r *http.Request, content []byte, contentType string) {
	header := w.Header()
	forBrowsers(header)
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(content)))
	header.Set("Cache-Control", mayChange)
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(content) // a client that has gone needs no answer
	}
}

// forBrowsers forbids what the page does not need.
func forBrowsers(header http.Header) {
	header.Set("Content-Security-Policy", page.Policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
}

// view is the page as it is now.
func (h *handler) view(r *http.Request) page.View {
	v := page.View{Site: h.look(), Now: h.now()}
	v.Fetches, v.Boots = h.browser.show()
	if !v.Now.IsZero() {
		v.Zone, _ = v.Now.Zone()
	}
	base := h.browser.urlFor(r)
	for _, p := range v.Published {
		for _, f := range p.Files {
			if v.ISOURL == "" && f.Name == artifacts.ISOName(p.Arch) {
				v.ISOURL = base + "/" + f.Name
			}
		}
	}
	v.URL, v.Snippet = base+"/hook", Snippet(base, v.ISOURL)
	return v
}

// urlFor is where machines reach the server: as the browser did, unless that is on the same host.
func (b *browser) urlFor(r *http.Request) string {
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil { // without a port
		host = strings.Trim(r.Host, "[]")
	}
	addr, err := netip.ParseAddr(host)
	if here := host == "" || host == "localhost" || err == nil && addr.IsLoopback(); here && b.base != "" {
		return scheme + strings.TrimPrefix(b.base, "http://")
	}
	return scheme + r.Host
}

// look reads what is published and what is kept, where that is something else than before.
func (h *handler) look() page.Site {
	b := h.browser
	b.mu.Lock()
	defer b.mu.Unlock()
	stamp := h.store.Stamp()
	if stamp == b.stamp {
		return b.site
	}
	site, err := h.survey()
	site.Key = stamp
	switch {
	case err != nil:
		h.log.Error("the page lacks something", "error", err)
		site.Trouble = "What is published cannot be read; hookbuild's log says why."
		return site // and it is tried again
	case len(site.Published) == 0:
		site.Trouble = "Nothing is published yet. hookbuild all does that, and this server then has it at once."
	}
	b.stamp, b.site = stamp, site
	return site
}

// survey reads the store. What could be read is in the answer also where there is an error.
func (h *handler) survey() (page.Site, error) {
	set, err := h.current()
	if errors.Is(err, errAbsent) {
		err = nil
	}
	all, errAll := h.store.Generations()
	reports := map[plan.Arch]*artifacts.Report{}
	for arch := range set.Manifests {
		report, errReport := set.Report(arch)
		if errReport != nil {
			errAll = errors.Join(errAll, errReport)
			continue
		}
		reports[arch] = report
	}
	return page.NewSite(set, all, reports, EmbeddedImagesWarning), errors.Join(err, errAll)
}

// serveEvents tells a browser what changes, as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html): what is fetched, the boots, and a key that is another
// one when something else is published. Each tells the whole state, at most once in a second and only where it is
// another one than before: who reads slowly misses what was in between, and holds up nobody. It ends with the
// connection, and when the server is told to stop.
func (h *handler) serveEvents(w http.ResponseWriter, r *http.Request) {
	switch {
	case h.browser == nil:
		answer(w, r, http.StatusNotFound, "no such file\n")
		return
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET")
		answer(w, r, http.StatusMethodNotAllowed, "only GET is answered\n")
		return
	}
	select {
	case h.browser.streams <- struct{}{}:
		defer func() { <-h.browser.streams }()
	default:
		sendAway(w, r, "too many pages are open; try again\n")
		return
	}
	header := w.Header()
	forBrowsers(header)
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	tick := time.NewTicker(everySoOft)
	defer tick.Stop()
	told := map[string]string{}
	for quiet := 0; ; quiet++ {
		text, err := h.news(told)
		if text == "" && quiet >= heartbeat {
			text = ": nothing new\n\n"
		}
		if text != "" {
			quiet = 0
			_, errWrite := fmt.Fprint(w, text)
			err = errors.Join(err, errWrite, http.NewResponseController(w).Flush())
		}
		if err != nil {
			h.log.DebugContext(r.Context(), "events", "error", err)
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// news are the events whose data is not what was told already.
func (h *handler) news(told map[string]string) (text string, err error) {
	fetches, boots := h.browser.show()
	for _, event := range []struct {
		name string
		data any
	}{{"fetches", fetches}, {"boots", boots}, {"published", h.store.Stamp()}} {
		data, err := json.Marshal(event.data)
		if err != nil {
			return "", err
		}
		if told[event.name] != string(data) {
			told[event.name] = string(data)
			text += fmt.Sprintf("event: %s\ndata: %s\n\n", event.name, data)
		}
	}
	return text, nil
}
