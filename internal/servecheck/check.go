// Package servecheck asks an HTTP server what EKS Anywhere, iPXE and smee ask of it: a URL for hookImagesURLPath or
// hookIsoURL goes in, an answer for each requirement comes out. What they need is in docs/serve.md; HTTP is RFC 9110.
package servecheck

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// Purpose is what a server may be good for.
type Purpose string

// The purposes.
const (
	EKSA Purpose = "eksa" // machines boot over the network: hookImagesURLPath
	ISO  Purpose = "iso"  // a BMC mounts an ISO through smee: hookIsoURL
)

// Result is the answer to one question.
type Result string

// The results, from good to bad.
const (
	Yes  Result = "yes"
	Note Result = "note" // it works, and there is something to know
	No   Result = "no"
)

// Check is one question, answered.
type Check struct {
	Name   string  `json:"name"` // the same in every version: scripts may look for it
	For    Purpose `json:"for"`
	Result Result  `json:"result"`
	Detail string  `json:"detail"` // what was got, and what that means
}

// Report is all answers.
type Report struct {
	URL    string  `json:"url"`
	EKSA   bool    `json:"eksa"` // it will do for EKS Anywhere; always false for the URL of an ISO
	ISO    bool    `json:"iso"`  // it will do for ISO boot
	Checks []Check `json:"checks"`
}

// OK says whether the server will do for all that it was asked about.
func (r *Report) OK() bool {
	for _, c := range r.Checks {
		if c.Result == No {
			return false
		}
	}
	return true
}

// URLError says that a URL cannot be asked.
type URLError struct {
	URL    string
	Reason string
}

// Error says why.
func (e *URLError) Error() string { return fmt.Sprintf("%q: %s", e.URL, e.Reason) }

const (
	// sample is how much of a file is read to compare ranges with.
	sample = 64 << 10

	maxRedirects = 10 // smee follows as many
)

// session is one run. A question that fails is an answer, so that there is no error to return.
type session struct {
	client *http.Client
	report *Report
}

// Run asks the server behind a URL: that of a directory with vmlinuz-x86_64 and initramfs-x86_64, which is asked about both
// purposes, or that of a file whose name ends in .iso. The error is a *URLError, or ctx's cause; whatever the server does is in
// the report. client must not follow redirects for itself (NewClient).
func Run(ctx context.Context, client *http.Client, address string) (Report, error) {
	u, err := url.Parse(address)
	if err != nil {
		return Report{}, &URLError{address, err.Error()}
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return Report{}, &URLError{address, "want http://HOST:PORT/PATH"}
	}
	report := Report{URL: address}
	s := &session{client: client, report: &report}
	left := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String() // by EKS Anywhere
	if strings.HasSuffix(u.Path, ".iso") {
		s.form(ISO, u)
		s.ranges(ctx, left)
	} else {
		s.form(EKSA, u)
		s.directory(ctx, strings.TrimRight(left, "/"))
	}
	report.EKSA, report.ISO = report.good(EKSA), report.good(ISO)
	return report, context.Cause(ctx)
}

// NewClient returns a client for Run, with an http.Transport that neither asks for compression nor goes through a proxy: EKS
// Anywhere has to reach the server without one.
func NewClient(transport *http.Transport) *http.Client {
	transport = transport.Clone()
	transport.Proxy, transport.DisableCompression = nil, true
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// good says whether a purpose was asked about and nothing speaks against it.
func (r *Report) good(p Purpose) bool {
	asked := false
	for _, c := range r.Checks {
		if c.For == p && c.Result == No {
			return false
		}
		asked = asked || c.For == p
	}
	return asked
}

func (s *session) add(p Purpose, name string, result Result, format string, args ...any) {
	s.report.Checks = append(s.report.Checks, Check{name, p, result, fmt.Sprintf(format, args...)})
}

// form looks at the URL itself.
func (s *session) form(p Purpose, u *url.URL) {
	switch {
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		s.add(p, "url", No, "EKS Anywhere drops query, user and fragment of a URL: the machines would ask without them")
	case u.Scheme == "https":
		s.add(p, "url", Note, "iPXE as Tinkerbell builds it trusts public certificate authorities and RSA keys only; plain HTTP is expected")
	case u.Path != "" && u.Path != "/" && path.Clean(u.Path) != strings.TrimRight(u.Path, "/"):
		s.add(p, "url", Note, "the path is not in its plain form")
	default:
		s.add(p, "url", Yes, "plain HTTP, without query, user and fragment")
	}
}

// answer is what a server said.
type answer struct {
	*http.Response
	body []byte // its first bytes
	err  error
}

// ask sends a request, with header fields as NAME: VALUE, and reads as many bytes of the body as limit says.
func (s *session) ask(ctx context.Context, method, address string, limit int64, fields ...string) answer {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return answer{Response: &http.Response{}, err: err}
	}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		req.Header.Set(name, value)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return answer{Response: &http.Response{}, err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	return answer{resp, body, err}
}

// fault is empty where an answer is one that a boot program takes as a file.
func (a answer) fault(status int) string {
	switch {
	case a.err != nil:
		return "no answer: " + a.err.Error()
	case a.StatusCode != status:
		return fmt.Sprintf("got %d, want %d", a.StatusCode, status)
	case a.Header.Get("Content-Encoding") != "":
		return "Content-Encoding: " + a.Header.Get("Content-Encoding") + ", which no boot program undoes"
	case a.ContentLength < 0:
		return "no Content-Length"
	}
	return ""
}
