package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The forms of a reference that are no names.
const (
	layoutScheme  = "oci:"
	archiveScheme = "archive:"
)

// reference is what a text means. It has a path or a name.
type reference struct {
	text   string
	path   string         // of a layout or an archive
	layout bool           // the path is a layout's
	tag    string         // in the layout or the archive; "" is the one image there
	digest string         // sha256:… in the layout or the archive, which goes before the tag
	name   name.Reference // as a registry knows it
}

// parse reads a reference.
func (f Finder) parse(text string) (reference, error) {
	r := reference{text: text}
	var err error
	if rest, ok := strings.CutPrefix(text, layoutScheme); ok {
		r.layout = true
		err = r.cut(rest, f.Dir)
	} else if rest, ok := strings.CutPrefix(text, archiveScheme); ok {
		err = r.cut(rest, f.Dir)
	} else if r.name, err = name.ParseReference(text); err != nil || strings.Contains(text, "://") {
		err = errors.New("want NAME[:TAG][@sha256:DIGEST], oci:DIR[:TAG] or archive:FILE[:TAG]")
	}
	if err != nil {
		return r, &ReferenceError{Ref: text, Err: err}
	}
	return r, nil
}

// cut takes path, tag and digest apart. A path may have colons in it: the longest beginning that exists is the path.
// Where none exists, it ends at the last colon that no slash follows.
func (r *reference) cut(rest, dir string) error {
	if i := strings.LastIndex(rest, "@sha256:"); i >= 0 {
		h, err := v1.NewHash(rest[i+1:])
		if err != nil {
			return fmt.Errorf("want 64 hexadecimal digits behind @sha256: %w", err)
		}
		rest, r.digest = rest[:i], h.String()
	}
	in := func(p string) string {
		if filepath.IsAbs(p) {
			return filepath.Clean(p)
		}
		return filepath.Join(dir, p)
	}
	end := len(rest)
	for end > 0 {
		if _, err := os.Lstat(in(rest[:end])); err == nil {
			break
		}
		end = strings.LastIndexByte(rest[:end], ':')
	}
	if end <= 0 {
		end = len(rest)
		if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.Contains(rest[i:], "/") {
			end = i
		}
	}
	if r.path = rest[:end]; r.path == "" || strings.ContainsRune(r.path, 0) {
		return errors.New("want a path behind the colon")
	}
	if r.path = in(r.path); end < len(rest) {
		if r.tag = rest[end+1:]; r.tag == "" {
			return errors.New("want a tag behind the last colon")
		}
	}
	return nil
}

// means is true of an image that goes by one of names there: in full, as Docker shortens it, or by the tag alone.
func (r reference) means(names ...string) bool {
	for _, n := range names {
		short := strings.TrimPrefix(strings.TrimPrefix(n, "docker.io/"), "library/")
		if n == r.tag || short == r.tag || strings.HasSuffix(n, ":"+r.tag) && !strings.Contains(r.tag, "/") {
			return true
		}
	}
	return false
}
