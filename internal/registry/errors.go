package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Answer is what was said to a request that failed.
type Answer struct {
	Host    string // who said it: the registry, its mirror, its token server, or where its layers lie
	Status  int    // the HTTP status; 0 where it did not come to one
	Code    string // the registry's own error code, such as DENIED; empty where it gave none
	Message string // the registry's own words, on one line
}

// String names the host, the status, and what the registry says itself.
func (a Answer) String() string {
	text := fmt.Sprintf("%s answered %d %s", a.Host, a.Status, http.StatusText(a.Status))
	switch {
	case a.Code != "" && a.Message != "":
		return fmt.Sprintf("%s (%s: %s)", text, a.Code, a.Message)
	case a.Code != "" || a.Message != "":
		return fmt.Sprintf("%s (%s)", text, a.Code+a.Message)
	}
	return text
}

// NotFoundError says that the registry is there, and has no such image.
type NotFoundError struct {
	Ref    string // registry/repository:tag or @digest, in full, here and below
	Answer Answer
}

// Error names the image and the registry's answer.
func (e *NotFoundError) Error() string {
	return fmt.Sprintf("%s: no such image: %s", e.Ref, e.Answer)
}

// AuthError says that the registry, or its token server, refused: status 401 or 403.
type AuthError struct {
	Op     string // "pull", "push" or "resolve", here and below
	Ref    string
	Answer Answer
	Looked string // where credentials were looked for, and whether there were any; never the credentials
}

// Error names the image, the answer, and where credentials were looked for.
func (e *AuthError) Error() string {
	return fmt.Sprintf("%s %s: %s; credentials: %s", e.Op, e.Ref, e.Answer, e.Looked)
}

// Hint says how to get on.
func (e *AuthError) Hint() string {
	host, _, _ := strings.Cut(e.Ref, "/")
	return "docker login " + host + "; registries also answer so where there is no such repository"
}

// OfflineError says that an image is in a registry and no connection is allowed.
type OfflineError struct {
	Ref string
}

// Error names the image.
func (e *OfflineError) Error() string {
	return fmt.Sprintf("%s is in a registry, and connections are not allowed (offline)", e.Ref)
}

// Hint says how to get on.
func (e *OfflineError) Hint() string { return "run once without --offline" }

// Error is any other failure: no connection, a fault of the registry, content that is not what its digest
// says, or something that is no image.
type Error struct {
	Op     string
	Ref    string
	Layer  string // digest, in the registry, of the layer that it is about; empty where it is about none
	Answer Answer // zero where the failure is not an answer
	Err    error
}

// Error names the image and the cause.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s %s: ", e.Op, e.Ref)
	if e.Layer != "" {
		text += "layer " + e.Layer + ": "
	}
	if e.Answer.Status != 0 {
		return text + e.Answer.String()
	}
	return text + reason(e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// errMissing marks the answer that a manifest is not there.
var errMissing = errors.New("no such manifest")

// fail makes an error of the session into one of the exported kinds.
func (s *session) fail(ctx context.Context, op string, asked reference, err error) error {
	answer, atHome := s.answer(err)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s %s: %w", op, asked, context.Cause(ctx))
	case errors.Is(err, errMissing):
		return &NotFoundError{Ref: asked.String(), Answer: answer}
	case atHome && (answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden):
		return &AuthError{Op: op, Ref: asked.String(), Answer: answer, Looked: s.looked}
	}
	return &Error{Op: op, Ref: asked.String(), Answer: answer, Err: err}
}

// failLocally is fail where no registry was asked yet.
func failLocally(ctx context.Context, op string, asked reference, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", op, asked, context.Cause(ctx))
	}
	return &Error{Op: op, Ref: asked.String(), Err: err}
}

// answer finds the answer in err. It is not at home where the registry sent us on to another host, which
// has nothing to do with our credentials.
func (s *session) answer(err error) (a Answer, atHome bool) {
	var te *transport.Error
	var untrusted *tls.CertificateVerificationError
	// A host on the loopback is asked by http after that, and answers that it does not speak it.
	if !errors.As(err, &te) || errors.As(err, &untrusted) {
		return Answer{}, false
	}
	a, atHome = Answer{Host: s.source.repo.RegistryStr(), Status: te.StatusCode}, true
	if te.Request != nil {
		a.Host = te.Request.URL.Host
		atHome = te.Request.Response == nil || a.Host == s.source.repo.RegistryStr()
	}
	if len(te.Errors) > 0 {
		a.Code, a.Message = oneLine(string(te.Errors[0].Code)), oneLine(te.Errors[0].Message)
	}
	return a, atHome
}

// connectionError is a request that came to no answer, and what may be done about it.
type connectionError struct {
	host   string
	method string
	err    error
	advice string // a setting that would help; empty where there is none
}

func (e *connectionError) Error() string {
	text := e.host + ": " + e.err.Error()
	if e.advice != "" {
		text += "; " + e.advice
	}
	return text
}

func (e *connectionError) Unwrap() error { return e.err }

// reason is the text of a cause. The URLs that the library puts into its errors may carry signatures of
// a storage, and its texts whole answers of a token server, so they are left out.
func reason(err error) string {
	var ce *connectionError
	var ue *url.Error
	switch {
	case errors.As(err, &ce):
		return oneLine(ce.Error())
	case errors.As(err, &ue):
		if u, perr := url.Parse(ue.URL); perr == nil {
			return oneLine(u.Host + ": " + ue.Err.Error())
		}
		return oneLine(ue.Err.Error())
	}
	return oneLine(err.Error())
}

// longestText is how much of somebody else's text is shown, in bytes.
const longestText = 400

// oneLine makes a text from outside fit for a message: its first line, without control characters.
func oneLine(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if len(text) > longestText {
		text = strings.ToValidUTF8(text[:longestText], "") + "…"
	}
	return text
}
