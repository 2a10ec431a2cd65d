package page

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/hookbuild/hookbuild/internal/artifacts"
)

// rect is a place in an SVG, in its user units.
type rect struct{ X, Y, W, H float64 }

// squarify divides a frame among sizes: areas are proportional to them, nothing overlaps, and the rectangles are as
// close to squares as the method of Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000), makes them. It wants the
// largest first, and answers in that order. What has no size gets no area.
func squarify(sizes []int64, frame rect) []rect {
	var total float64
	for _, s := range sizes {
		total += float64(s)
	}
	var done []rect
	left := frame
	for from := 0; from < len(sizes); {
		if total <= 0 || sizes[from] <= 0 {
			done = append(done, rect{X: left.X, Y: left.Y})
			from++
			continue
		}
		scale := left.W * left.H / total // area of a byte
		short := min(left.W, left.H)
		to, sum := from+1, float64(sizes[from])
		for to < len(sizes) && sizes[to] > 0 {
			more := sum + float64(sizes[to])
			if worst(sizes[from:to+1], more*scale, short, scale) > worst(sizes[from:to], sum*scale, short, scale) {
				break
			}
			to, sum = to+1, more
		}
		var row []rect
		row, left = lay(sizes[from:to], sum, scale, left)
		done = append(done, row...)
		from, total = to, total-sum
	}
	return done
}

// worst is the largest ratio of the sides of rectangles that share a strip along a side of the frame.
func worst(sizes []int64, area, side, scale float64) float64 {
	thick := area / side
	ratio := 0.0
	for _, s := range sizes {
		long := float64(s) * scale / thick
		ratio = max(ratio, long/thick, thick/long)
	}
	return ratio
}

// lay puts a strip of rectangles along the shorter side of the frame, and returns them with what is left of it.
func lay(sizes []int64, sum, scale float64, frame rect) (row []rect, left rect) {
	left = frame
	if frame.W >= frame.H {
		thick := min(sum*scale/frame.H, frame.W)
		for y, i := frame.Y, 0; i < len(sizes); i++ {
			h := frame.H * float64(sizes[i]) / sum
			row = append(row, rect{frame.X, y, thick, h})
			y += h
		}
		left.X, left.W = frame.X+thick, frame.W-thick
		return row, left
	}
	thick := min(sum*scale/frame.W, frame.H)
	for x, i := frame.X, 0; i < len(sizes); i++ {
		w := frame.W * float64(sizes[i]) / sum
		row = append(row, rect{x, frame.Y, w, thick})
		x += w
	}
	left.Y, left.H = frame.Y+thick, frame.H-thick
	return row, left
}

const (
	smallGroup = 0.01  // of all bytes; containers with less share one rectangle
	smallCell  = 0.004 // and so do directories, within their container
	colors     = 8     // of page.css
	letter     = 6.6   // width of one, in user units; the style sheet sets the size of the type
	heading    = 17    // height of a container's name
	gap        = 2     // between containers
	thinGap    = 1.5   // between directories
)

// Share is a part of the initramfs, for the table beside the treemap and for its rectangles.
type Share struct {
	Container string // HookOS for what is in none
	Directory string
	Bytes     int64
	Percent   float64 // of all bytes
	Where     string  // both names
}

// Label is what a screen reader says.
func (s Share) Label() string {
	return fmt.Sprintf("%s, %s, %s %%", s.Where, Bytes(s.Bytes), percent(s.Percent))
}

// Treemap is a picture of where the bytes go, for one width of the page.
type Treemap struct {
	Class         string // wide or narrow
	Width, Height float64
	Groups        []Group
}

// Group is a container with its directories.
type Group struct {
	rect
	Color int
	Name  string // cut to what fits; empty where nothing does
	Cells []Cell
}

// Cell is a directory.
type Cell struct {
	rect
	Share
	Text, Size string // cut to what fits; empty where nothing does
}

// part is a container while shares are made of a report.
type part struct {
	name   string
	bytes  int64
	shares []Share
}

// shares sums up what is too small to be seen.
func shares(places []artifacts.Place) []part {
	var total, rest int64
	for _, p := range places {
		total += p.Bytes
	}
	var parts []part
	small := 0
	for _, p := range places {
		switch name := p.Name; {
		case p.Bytes == 0:
		case float64(p.Bytes) < smallGroup*float64(total):
			rest, small = rest+p.Bytes, small+1
		default:
			if name == artifacts.RootPlace {
				name = "HookOS"
			}
			parts = append(parts, part{name, p.Bytes, sharesOf(name, p, total)})
		}
	}
	if rest > 0 {
		name := fmt.Sprintf("%d small containers", small)
		parts = append(parts, part{name, rest, []Share{share(name, "", rest, total)}})
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.bytes, a.bytes) })
	return parts
}

func share(container, directory string, bytes, total int64) Share {
	s := Share{Container: container, Directory: directory, Bytes: bytes, Where: container}
	if directory != "" {
		s.Where += ", " + directory
	}
	if total > 0 {
		s.Percent = 100 * float64(bytes) / float64(total)
	}
	return s
}

func sharesOf(name string, p artifacts.Place, total int64) (all []Share) {
	rest := p.Rest.Bytes
	for _, d := range p.Directories {
		if float64(d.Bytes) < smallCell*float64(total) {
			rest += d.Bytes
			continue
		}
		directory := "/" + d.Name
		if d.Name == "." {
			directory = "files of its root"
		}
		all = append(all, share(name, directory, d.Bytes, total))
	}
	if rest > 0 {
		all = append(all, share(name, "smaller directories", rest, total))
	}
	slices.SortStableFunc(all, func(a, b Share) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return all
}

// draw lays the shares out.
func draw(class string, width, height float64, parts []part) Treemap {
	m := Treemap{Class: class, Width: width, Height: height}
	var sizes []int64
	for _, p := range parts {
		sizes = append(sizes, p.bytes)
	}
	for i, place := range squarify(sizes, rect{0, 0, width, height}) {
		g := Group{rect: inset(place, gap), Color: i % colors, Name: fit(parts[i].name, 0.9*place.W-8)} // it is bold
		inner := g.rect
		if place.H < 2*heading {
			g.Name = ""
		}
		if g.Name != "" {
			inner.Y, inner.H = inner.Y+heading, inner.H-heading
		}
		var sizes []int64
		for _, s := range parts[i].shares {
			sizes = append(sizes, s.Bytes)
		}
		for j, place := range squarify(sizes, inner) {
			g.Cells = append(g.Cells, cell(inset(place, thinGap), parts[i].shares[j]))
		}
		m.Groups = append(m.Groups, g)
	}
	return m
}

func cell(place rect, s Share) Cell {
	c := Cell{rect: place, Share: s}
	const line = 15
	text := s.Directory
	if text == "" {
		text = s.Container
	}
	if place.H > line+3 {
		c.Text = fit(text, place.W-8)
	}
	if c.Text != "" && place.H > 2*line+3 {
		c.Size = fit(Bytes(s.Bytes), place.W-8)
	}
	return c
}

func inset(r rect, by float64) rect {
	return rect{r.X + by/2, r.Y + by/2, max(r.W-by, 0), max(r.H-by, 0)}
}

// fit cuts text to a width; empty where too little would be left of it to mean something.
func fit(text string, width float64) string {
	letters := []rune(text)
	n := int(math.Floor(width / letter))
	switch {
	case len(letters) <= n:
		return text
	case n < 5:
		return ""
	}
	return string(letters[:n-1]) + "…"
}
