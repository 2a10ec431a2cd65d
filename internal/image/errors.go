package image

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hookbuild/hookbuild/internal/registry"
)

// ReferenceError says that a reference is malformed, or means more than one image.
type ReferenceError struct {
	Ref string
	Err error
}

// Error names the reference.
func (e *ReferenceError) Error() string { return fmt.Sprintf("image %q: %v", e.Ref, e.Err) }

// Unwrap returns the cause.
func (e *ReferenceError) Unwrap() error { return e.Err }

// FormatError says that what was found under a reference is no image that can be read: it is damaged, contradicts
// itself, or goes beyond the bounds of this package.
type FormatError struct {
	Image string // the reference
	Layer string // sha256:… of the uncompressed layer at fault; "" where it is none
	Entry string // the file of the layout or of the archive; "" where it is not about one
	Err   error
}

// Error names the image, the layer and the file.
func (e *FormatError) Error() string {
	text := "image " + e.Image
	if e.Layer != "" {
		text += ": layer " + e.Layer
	}
	if e.Entry != "" {
		text += ": " + shown(e.Entry)
	}
	return fmt.Sprintf("%s: %v", text, e.Err)
}

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// ChangedError says that a layout or an archive holds another image than the pinned one.
type ChangedError struct {
	Ref       string
	Want, Got string // digests of configurations
}

// Error has both digests.
func (e *ChangedError) Error() string {
	return fmt.Sprintf("image %s: it holds %s now, want %s, which hookbuild.lock has", e.Ref, e.Got, e.Want)
}

// Hint says how to get on.
func (e *ChangedError) Hint() string { return "hookbuild lock --update takes the new one" }

// Answer is what one place said when it was asked for an image.
type Answer struct {
	Place string // cache, engine, the registry's host, or the path
	Err   error
}

// NotFoundError says that no place gave an image. Its tree has what each of them said, also where it failed in
// another way than by not having it.
type NotFoundError struct {
	Ref   string
	Tried []Answer // in the order of asking
}

// Error says on one line each where the image was looked for.
func (e *NotFoundError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "image %s: found in none of the places where it was looked for", e.Ref)
	for _, a := range e.Tried {
		fmt.Fprintf(&text, "\n  %s: %s", a.Place, said(a.Err))
	}
	return text.String()
}

// Unwrap returns what the places said.
func (e *NotFoundError) Unwrap() []error {
	all := make([]error, 0, len(e.Tried))
	for _, a := range e.Tried {
		all = append(all, a.Err)
	}
	return all
}

// Hint is the next step of the place asked last that has one.
func (e *NotFoundError) Hint() string {
	for i := len(e.Tried) - 1; i >= 0; i-- {
		var own interface{ Hint() string }
		if errors.As(e.Tried[i].Err, &own) {
			return own.Hint()
		}
	}
	if strings.HasPrefix(e.Ref, layoutScheme) || strings.HasPrefix(e.Ref, archiveScheme) {
		return "paths are relative to the directory of hookbuild.yaml"
	}
	return "pull, load or build it in the engine, or name a file: oci:DIR for an image layout, archive:FILE for what docker save writes"
}

// said is an answer without what stands before it anyway.
func said(err error) string {
	if _, ok := errors.AsType[*registry.OfflineError](err); ok {
		return "not asked (offline)"
	}
	if missing, ok := errors.AsType[*registry.NotFoundError](err); ok {
		return strings.TrimPrefix(err.Error(), missing.Ref+": ")
	}
	text := err.Error()
	if e, ok := errors.AsType[*FormatError](err); ok {
		text = strings.TrimPrefix(text, "image "+e.Image+": ")
	}
	return text
}

// missingError is the answer of a place that works and does not have the image.
type missingError struct{ what string }

func (e *missingError) Error() string { return e.what }

func missing(format string, args ...any) error { return &missingError{fmt.Sprintf(format, args...)} }

// cacheError is a failure of this host's disk, which is no answer of a place.
type cacheError struct{ error }

func (e *cacheError) Unwrap() error { return e.error }

func isA[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// longestName is how much of a name from outside is shown, in bytes.
const longestName = 200

// shown makes a name from outside fit for a message.
func shown(name string) string {
	if len(name) > longestName {
		name = name[:longestName] + "…"
	}
	if quoted := fmt.Sprintf("%q", name); quoted[1:len(quoted)-1] != name {
		return quoted
	}
	return name
}
