package linuxkit

import (
	"errors"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// set parses a string value; it makes FromYAML of the types below one line each.
func set[T any](to *T, r strictyaml.Raw, parse func(string) (T, error)) error {
	text, err := r.AsString()
	if err != nil {
		return err
	}
	*to, err = parse(text)
	return err
}

// name of a container. At run time it is a runc or containerd id and a directory, hence the limits.
type name string

var validName = regexp.MustCompile(`^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$`)

const maxName = 76 // containerd's limit

func (n *name) FromYAML(r strictyaml.Raw) error { return set(n, r, parseName) }

func parseName(s string) (name, error) {
	if len(s) > maxName || !validName.MatchString(s) {
		return "", fmt.Errorf("%q is no valid id: want letters and digits, joined by single . _ or -, at most %d", s, maxName)
	}
	return name(s), nil
}

// containerdNamespace is where containerd keeps a service; its names are formed like those of containers.
type containerdNamespace string

func (containerdNamespace) whole() {}

func (n *containerdNamespace) FromYAML(r strictyaml.Raw) error {
	return set(n, r, func(s string) (containerdNamespace, error) {
		if s == "" {
			return "", nil
		}
		_, err := parseName(s)
		return containerdNamespace(s), err
	})
}

// ref is an image reference, or build:DIR for an image that is built from a directory.
type ref string

func (r *ref) FromYAML(raw strictyaml.Raw) error {
	return set(r, raw, func(s string) (ref, error) { return ref(s), checkRef(s) })
}

func (r ref) plain() any { return expandRef(string(r)) }

func checkRef(s string) error {
	switch {
	case strings.HasPrefix(s, "@pkg:"):
		return errors.New("@pkg: is not supported: write the image that it stands for, or build:NAME")
	case s == "" || strings.ContainsAny(s, " \t\r\n\x00") || strings.Contains(s, "${"):
		return fmt.Errorf("%q is no image reference", s)
	}
	return nil
}

// schemes are what a reference begins with that names no image of a registry.
func schemes() []string { return []string{"build:", "oci:", "archive:"} }

// defaultRegistry is meant where a reference names none.
const defaultRegistry = "docker.io"

// expandRef writes a reference out as LinuxKit does: nginx:1 is nginx:1 of library in the default registry,
// a/b is a/b there.
func expandRef(s string) string {
	if slices.ContainsFunc(schemes(), func(scheme string) bool { return strings.HasPrefix(s, scheme) }) {
		return s
	}
	switch parts := strings.Split(s, "/"); {
	case len(parts) == 1:
		return defaultRegistry + "/library/" + s
	case len(parts) == 2 && !strings.ContainsAny(parts[0], ".:") && parts[0] != "localhost":
		return defaultRegistry + "/" + s
	}
	return s
}

// imagePath is the path of a file in an image. It may be empty.
type imagePath string

func (p *imagePath) FromYAML(r strictyaml.Raw) error {
	return set(p, r, func(s string) (imagePath, error) {
		if s == "" {
			return "", nil
		}
		clean, err := filetree.Clean(s)
		if err == nil && clean == "." {
			err = fmt.Errorf("%q is the root directory", s)
		}
		return imagePath(clean), err
	})
}

// wholeString is a string that also counts where it is empty.
type wholeString string

func (wholeString) whole() {}

func (w *wholeString) FromYAML(r strictyaml.Raw) error {
	return set(w, r, func(s string) (wholeString, error) { return wholeString(s), nil })
}

// wholePath is an absolute path, or empty; it counts where it is empty, too.
type wholePath string

func (wholePath) whole() {}

func (w *wholePath) FromYAML(r strictyaml.Raw) error {
	return set(w, r, func(s string) (wholePath, error) {
		if s != "" && !path.IsAbs(s) {
			return "", fmt.Errorf("want an absolute path, got %q", s)
		}
		return wholePath(s), nil
	})
}

// namespace says which of the kernel's namespaces a container is in: host (or root), new, or a path. Empty
// means the default.
type namespace string

func (n *namespace) FromYAML(r strictyaml.Raw) error { return set(n, r, parseNamespace) }

func parseNamespace(s string) (namespace, error) {
	switch {
	case s == "", s == "host", s == "root", s == "new", s == "none", path.IsAbs(s):
		return namespace(s), nil
	}
	return "", fmt.Errorf("%q is no namespace: want host, new or an absolute path", s)
}

// octal is a file mode, written as a string of octal digits.
type octal uint32

var octalDigits = regexp.MustCompile(`^[0-7]{1,5}$`)

func (o *octal) FromYAML(r strictyaml.Raw) error { return set(o, r, parseOctal) }

func (o octal) plain() any { return fmt.Sprintf("%04o", uint32(o)) }

func parseOctal(s string) (octal, error) {
	n, err := strconv.ParseUint(s, 8, 12)
	if err != nil || !octalDigits.MatchString(s) {
		return 0, fmt.Errorf("%q is no file mode: want octal digits up to 7777", s)
	}
	return octal(n), nil
}

// ident is a user or group: a number, or the name of a container, which stands for the container's number.
type ident struct {
	number    uint32
	container string // empty for a number
}

func (id *ident) FromYAML(r strictyaml.Raw) error {
	if r.Kind == strictyaml.String {
		if _, err := strconv.Atoi(r.Text); err == nil {
			return fmt.Errorf("a string names a container: write the number %s without quotes", r.Text)
		}
		*id = ident{container: r.Text}
		return nil
	}
	n, err := r.AsInt()
	if err != nil && r.Kind == strictyaml.Expanded {
		*id = ident{container: r.Text}
		return nil
	}
	if err != nil {
		return fmt.Errorf("want a number or the name of a container: %w", err)
	}
	if n < 0 || n >= math.MaxUint32 {
		return fmt.Errorf("id %d is out of range", n)
	}
	*id = ident{number: uint32(n)}
	return nil
}

func (id ident) plain() any {
	if id.container != "" {
		return id.container
	}
	return id.number
}

const firstID = 100

// ids maps the names of containers to their numbers.
type ids map[string]uint32

func (m ids) number(id ident) (uint32, error) {
	if id.container == "" || id.container == "root" {
		return id.number, nil
	}
	n, ok := m[id.container]
	if !ok {
		known := make([]string, 0, len(m))
		for k := range m {
			known = append(known, k)
		}
		return 0, fmt.Errorf("no container is named %q%s", id.container, strictyaml.DidYouMean(id.container, known))
	}
	return n, nil
}

// rlimit is a resource limit, written NAME,SOFT,HARD.
type rlimit struct {
	Type string `json:"type"`
	Hard uint64 `json:"hard"`
	Soft uint64 `json:"soft"`
	text string // as written
}

func (l rlimit) plain() any { return l.text }

func rlimitNames() []string {
	return []string{"AS", "CORE", "CPU", "DATA", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE",
		"NICE", "NOFILE", "NPROC", "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK"}
}

func (l *rlimit) FromYAML(r strictyaml.Raw) error { return set(l, r, parseRlimit) }

func parseRlimit(s string) (rlimit, error) {
	parts := strings.Split(s, ",")
	if len(parts) != 3 {
		return rlimit{}, fmt.Errorf("rlimit %q: want NAME,SOFT,HARD", s)
	}
	short := strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(parts[0])), "RLIMIT_")
	if !slices.Contains(rlimitNames(), short) {
		return rlimit{}, fmt.Errorf("unknown rlimit %q%s", parts[0], strictyaml.DidYouMean(short, rlimitNames()))
	}
	soft, err := parseLimit(parts[1])
	if err != nil {
		return rlimit{}, fmt.Errorf("rlimit %q: %w", s, err)
	}
	hard, err := parseLimit(parts[2])
	if err != nil {
		return rlimit{}, fmt.Errorf("rlimit %q: %w", s, err)
	}
	return rlimit{Type: "RLIMIT_" + short, Soft: soft, Hard: hard, text: s}, nil
}

func parseLimit(s string) (uint64, error) {
	s = strings.TrimSpace(s)
	if strings.EqualFold(s, "unlimited") {
		return math.MaxUint64, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a number nor unlimited", s)
	}
	return n, nil
}

// device is an entry of devices. The path "all" means access to all devices of the type.
type device struct {
	Pos   strictyaml.Pos
	Path  string                  `yaml:"path,required"`
	Type  string                  `yaml:"type,required"`
	Major integer                 `yaml:"major"`
	Minor integer                 `yaml:"minor"`
	Mode  strictyaml.Value[octal] `yaml:"mode"`
}

func (d device) check() error {
	types := []string{"b", "c", "u", "p"}
	if d.Path == "all" {
		types = []string{"a", "b", "c"}
	}
	switch {
	case d.Path == "" || d.Type == "": // said already
		return nil
	case !slices.Contains(types, d.Type):
		return fmt.Errorf("device %s: type %q is none of %s", d.Path, d.Type, strings.Join(types, ", "))
	case d.Path != "all" && !path.IsAbs(d.Path):
		return fmt.Errorf("device %s: want an absolute path or all", d.Path)
	case d.Path != "all" && !d.Mode.Set():
		return fmt.Errorf(`device %s: key "mode" is missing`, d.Path)
	case d.Major < 0 || d.Minor < 0 || d.Major > math.MaxUint32 || d.Minor > math.MaxUint32:
		return fmt.Errorf("device %s: number %d:%d is out of range", d.Path, d.Major, d.Minor)
	}
	return nil
}
