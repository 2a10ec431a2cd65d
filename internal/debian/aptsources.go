package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hookbuild/hookbuild/internal/download"
)

// ErrNoMirror says that no Debian mirror was found; the error around it says what was tried.
var ErrNoMirror = errors.New("no Debian mirror found")

// AptSource is one entry of an apt configuration that may lead to a mirror.
type AptSource struct {
	URL   string // base URL without a trailing slash
	Suite string
	File  string // where it is written, relative to apt's directory
}

// probeLimit is how long one entry of the apt configuration may take to answer: entries for other
// repositories may lead to hosts that a closed network drops silently.
const probeLimit = 15 * time.Second

// AptSources returns the binary package sources with an http or https URL that an apt configuration directory
// (/etc/apt) names and has enabled, in apt's order: sources.list, then sources.list.d by name
// (sources.list(5)). Lines that apt would not understand are passed over.
func AptSources(apt fs.FS) ([]AptSource, error) {
	var sources []AptSource
	files := []string{"sources.list"}
	entries, err := fs.ReadDir(apt, "sources.list.d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries { // sorted by name
		files = append(files, path.Join("sources.list.d", e.Name()))
	}
	for _, file := range files {
		read := oneLineSources
		switch path.Ext(file) {
		case ".list":
		case ".sources":
			read = deb822Sources
		default:
			continue
		}
		text, err := fs.ReadFile(apt, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, s := range read(text) {
			s.File = file
			if s.usable() && !slices.ContainsFunc(sources, s.same) {
				sources = append(sources, s)
			}
		}
	}
	return sources, nil
}

// usable is false for what is not fetched by HTTP (cdrom, file, mirror+…), for a flat repository, whose suite
// is a path, and for what needs a substitution.
func (s AptSource) usable() bool {
	http := strings.HasPrefix(s.URL, "http://") || strings.HasPrefix(s.URL, "https://")
	return http && s.Suite != "" && !strings.HasSuffix(s.Suite, "/") && !strings.Contains(s.URL+s.Suite, "$(")
}

func (s AptSource) same(o AptSource) bool { return s.URL == o.URL && s.Suite == o.Suite }

// oneLineSources reads lines like "deb [arch=amd64] http://mirror.example/debian trixie main".
func oneLineSources(text []byte) []AptSource {
	var sources []AptSource
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb")
		if !ok || strings.TrimLeft(rest, " \t[") == rest { // deb-src, or no entry at all
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if f := strings.Fields(rest); len(f) >= 3 {
			sources = append(sources, AptSource{URL: strings.TrimRight(f[0], "/"), Suite: f[1]})
		}
	}
	return sources
}

// deb822Sources reads stanzas with Types, URIs, Suites and Components.
func deb822Sources(text []byte) []AptSource {
	var sources []AptSource
	err := readParagraphs(bytes.NewReader(text), nil, func(p paragraph) error {
		off := slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(p["enabled"]))
		if off || p["components"] == "" || !slices.Contains(strings.Fields(p["types"]), "deb") {
			return nil
		}
		for _, uri := range strings.Fields(p["uris"]) {
			for _, suite := range strings.Fields(p["suites"]) {
				sources = append(sources, AptSource{URL: strings.TrimRight(uri, "/"), Suite: suite})
			}
		}
		return nil
	})
	if err != nil { // a broken file: apt refuses it, too
		return nil
	}
	return sources
}

// FindMirror looks through an apt configuration directory (os.DirFS("/etc/apt"), or that of an image) for a
// Debian mirror: the first source whose InRelease says Origin and Label "Debian", and the first that says
// "Debian-Security". Nothing is verified here: Index does that, with suites of its own. Security is empty
// where there is none. No mirror is ErrNoMirror; offline it is an *download.OfflineError.
func (c *Client) FindMirror(ctx context.Context, apt fs.FS) (Mirror, error) {
	if c.Offline {
		return Mirror{}, &download.OfflineError{Name: "the address of a Debian mirror"}
	}
	sources, err := AptSources(apt)
	if err != nil {
		return Mirror{}, err
	}
	var m Mirror
	tried := []error{ErrNoMirror}
	for _, s := range sources {
		label, err := c.probe(ctx, s)
		if ctx.Err() != nil {
			return Mirror{}, ctx.Err()
		}
		switch {
		case err != nil:
			tried = append(tried, fmt.Errorf("%s: %w", s.File, err))
		case label == "Debian" && m.Archive == "":
			m.Archive = s.URL
		case label == "Debian-Security" && m.Security == "":
			m.Security = s.URL
		}
		if m.Archive != "" && m.Security != "" {
			break
		}
	}
	if m.Archive == "" {
		return Mirror{}, errors.Join(tried...)
	}
	return m, nil
}

// probe returns the label of a suite whose origin is Debian, "" for another origin.
func (c *Client) probe(ctx context.Context, s AptSource) (label string, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	address, err := download.FileURL(s.URL, "dists/"+s.Suite+"/InRelease")
	if err != nil {
		return "", err
	}
	raw, err := c.downloads().Bytes(ctx, address, maxInRelease)
	if err != nil {
		return "", err
	}
	parts, err := splitSigned(download.Redacted(address), raw)
	if err != nil {
		return "", err
	}
	p, err := oneParagraph(parts.Text)
	if err != nil {
		return "", fmt.Errorf("%s: %w", download.Redacted(address), err)
	}
	if p["origin"] != "Debian" {
		return "", nil
	}
	return p["label"], nil
}
