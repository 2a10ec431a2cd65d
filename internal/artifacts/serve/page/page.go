// Package page makes what a browser shows of a server: what is published, who fetches it and where its bytes go. The
// values of internal/artifacts and of the server go in, HTML (https://html.spec.whatwg.org/) and the files that it needs
// come out. It works without JavaScript, with the state of the moment.
package page

import (
	"cmp"
	"embed"
	"html/template"
	"io"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
)

//go:embed page.html
var source string

//go:embed page.css page.js icon.svg
var assets embed.FS

// Title stands in every page, so that a server can be recognized by it.
const Title = "<title>hookbuild</title>"

// Policy is the Content-Security-Policy (https://www.w3.org/TR/CSP3/) of the page: nothing but the server's own files.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Asset returns a file that the page needs, with its content type; ok false where there is none of that name.
func Asset(name string) (content []byte, contentType string, ok bool) {
	contentType = map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	}[path.Ext(name)]
	content, err := assets.ReadFile(name)
	return content, contentType, err == nil && contentType != ""
}

// Site is what is published. It stays the same until something else is.
type Site struct {
	Key         string // differs where something else is published
	Trouble     string // why there is nothing to show, or not all; empty where all is well
	Published   []Published
	Generations []Generation
}

// Published is what one architecture boots.
type Published struct {
	Generation
	Files    []artifacts.File
	Warning  string // what will not work with it; empty for nothing
	Memory   int64  // bytes that a machine needs to unpack it; 0 where nobody says
	Unpacked int64  // bytes
	Treemaps []Treemap
	Shares   []Share
	NoMap    string // why there is no treemap; empty where there is one
}

// Generation is one that is kept.
type Generation struct {
	ID, Short string
	Flavor    string
	Arch      plan.Arch
	Kernel    string // release
	Version   string // of the hookbuild that made it
	Bytes     int64
	Made      time.Time // or published last; zero where nobody knows
	Marks     []string
	Before    string   // the short id of the one that Changes compares with; empty for none
	Changes   []string // empty where nothing differs
}

// Fetch is a machine that takes a file now. The names in JSON are those of page.html's cells.
type Fetch struct {
	ID         string `json:"id"`
	Address    string `json:"address"`
	Name       string `json:"name"` // of the machine; empty where nobody knows
	What       string `json:"what"` // kernel, initramfs or ISO
	Generation string `json:"generation"`
	Percent    int    `json:"percent"`
	Progress   string `json:"progress"` // the same with more words
	Rate       string `json:"rate"`
	Last       string `json:"last"` // what came of the boot before; empty for none
}

// Boot is one that has ended, or waits.
type Boot struct {
	ID         string `json:"id"`
	Time       string `json:"time"` // when it began
	Address    string `json:"address"`
	Name       string `json:"name"`
	What       string `json:"what"`
	Generation string `json:"generation"`
	Took       string `json:"took"`
	Rate       string `json:"rate"`
	Result     string `json:"result"`
	Mark       string `json:"mark"` // good, bad or empty
}

// Fetches is what is fetched now, and how much more than that is.
type Fetches struct {
	Rows    []Fetch `json:"rows"`
	More    int     `json:"more"`
	Summary string  `json:"summary"` // made by NewFetches
}

// NewFetches counts them.
func NewFetches(rows []Fetch, more int) Fetches {
	f := Fetches{Rows: rows, More: more}
	switch n := len(rows) + more; n {
	case 0:
		f.Rows, f.Summary = []Fetch{}, "No machine is fetching now."
	case 1:
		f.Summary = "1 machine is fetching now."
	default:
		f.Summary = strconv.Itoa(n) + " machines are fetching now."
	}
	return f
}

// View is the whole page.
type View struct {
	Site
	Snippet string // to paste into the cluster's specification
	URL     string // hookImagesURLPath
	ISOURL  string // hookIsoURL; empty where there is no ISO
	Zone    string // of the times of boots; empty where there is no clock
	Now     time.Time
	Fetches Fetches
	Boots   []Boot
}

// drawn is a treemap with what makes its ids unique in a page.
type drawn struct {
	ID  plan.Arch
	Map Treemap
}

// Page makes pages. Its methods may be called from several goroutines.
type Page struct{ t *template.Template }

// New reads the template.
func New() (*Page, error) {
	t, err := template.New("page").Funcs(template.FuncMap{
		"bytes": Bytes, "percent": percent,
		"pair":   func(arch plan.Arch, m Treemap) drawn { return drawn{arch, m} },
		"noRow":  func() Fetch { return Fetch{} },
		"noBoot": func() Boot { return Boot{} },
	}).Parse(source)
	return &Page{t}, err
}

// Render writes one.
func (p *Page) Render(w io.Writer, v View) error { return p.t.Execute(w, v) }

// Age says how long ago something was.
func (v View) Age(then time.Time) string { return age(v.Now, then) }

// listedGenerations is how many generations a page has.
const listedGenerations = 30

// NewSite arranges what is published and what is kept. reports has what could be read of the published reports, warn
// says what will not work with a generation.
func NewSite(set artifacts.Set, all []artifacts.Listed, reports map[plan.Arch]*artifacts.Report, warn func(artifacts.Manifest) string) Site {
	var s Site
	for i, l := range all[:min(len(all), listedGenerations)] {
		g := generation(l)
		if older := slices.IndexFunc(all[i+1:], func(o artifacts.Listed) bool { return sameLine(l, o) }); older >= 0 {
			before := all[i+1+older]
			g.Before, g.Changes = short(before.ID()), Changes(before.Manifest, l.Manifest)
		}
		s.Generations = append(s.Generations, g)
	}
	for arch, m := range set.Manifests {
		p := Published{Generation: generation(artifacts.Listed{Generation: artifacts.Generation{Manifest: m}}), Warning: warn(m)}
		for _, g := range s.Generations {
			if g.ID == p.ID {
				p.Made = g.Made
			}
		}
		p.Bytes = 0
		for _, f := range m.Files {
			if f.AliasOf == "" {
				p.Bytes += f.Size
			}
		}
		p.Files = m.Files
		p.weigh(reports[arch])
		s.Published = append(s.Published, p)
	}
	slices.SortFunc(s.Published, func(a, b Published) int { return -cmp.Compare(a.Arch, b.Arch) }) // x86_64 first
	return s
}

// sameLine says whether both can be compared: for each architecture there is a line of generations.
func sameLine(a, b artifacts.Listed) bool {
	return a.Damaged == nil && b.Damaged == nil && a.Manifest.Plan.Arch == b.Manifest.Plan.Arch
}

// reportWithPlaces is the first schema of reports that says where the bytes are by container and directory.
const reportWithPlaces = 3

// weigh takes what the report says.
func (p *Published) weigh(r *artifacts.Report) {
	switch {
	case r == nil:
		p.NoMap = "Its report cannot be read."
		return
	case r.Schema < reportWithPlaces:
		p.NoMap = "An older hookbuild made it, whose report does not say where the bytes are. The next build does."
	case r.Bytes == 0 || len(r.Places) == 0:
		p.NoMap = "There is nothing in it."
	}
	p.Memory, p.Unpacked = r.Memory.Needed, r.Bytes
	if p.NoMap != "" {
		return
	}
	parts := shares(r.Places)
	for _, part := range parts {
		p.Shares = append(p.Shares, part.shares...)
	}
	p.Treemaps = []Treemap{draw("wide", 1080, 460, parts), draw("narrow", 344, 620, parts)}
}

func generation(l artifacts.Listed) Generation {
	g := Generation{ID: l.ID(), Short: short(l.ID()), Bytes: l.Bytes, Made: l.Made}
	for _, mark := range []struct {
		is   bool
		text string
	}{{l.Current, "current"}, {l.Previous, "rollback goes here"}, {l.Damaged != nil, "damaged"}} {
		if mark.is {
			g.Marks = append(g.Marks, mark.text)
		}
	}
	if l.Damaged == nil {
		m := l.Manifest
		g.Flavor, g.Arch, g.Kernel, g.Version = m.Plan.Flavor, m.Plan.Arch, m.KernelRelease, m.Version
	}
	return g
}

// short is as much of a plan id as people need.
func short(id string) string { return id[:min(len(id), 12)] }
