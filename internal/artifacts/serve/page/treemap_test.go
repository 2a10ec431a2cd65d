package page

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hookbuild/hookbuild/internal/artifacts"
)

// checkLayout holds that areas are proportional, nothing overlaps and everything is inside the frame.
func checkLayout(t *testing.T, sizes []int64, frame rect, got []rect) {
	t.Helper()
	const slack = 1e-6
	if len(got) != len(sizes) {
		t.Fatalf("got %d rectangles for %d sizes", len(got), len(sizes))
	}
	var total float64
	for _, s := range sizes {
		total += float64(s)
	}
	for i, r := range got {
		if want := frame.W * frame.H * float64(sizes[i]) / total; math.Abs(r.W*r.H-want) > slack*frame.W*frame.H {
			t.Errorf("%d of %v: got area %f, want %f", i, sizes, r.W*r.H, want)
		}
		if r.X < frame.X-slack || r.Y < frame.Y-slack || r.X+r.W > frame.X+frame.W+slack || r.Y+r.H > frame.Y+frame.H+slack {
			t.Errorf("%d of %v: %+v is outside of %+v", i, sizes, r, frame)
		}
		for j, o := range got[:i] {
			w := min(r.X+r.W, o.X+o.W) - max(r.X, o.X)
			h := min(r.Y+r.H, o.Y+o.H) - max(r.Y, o.Y)
			if w > slack && h > slack {
				t.Errorf("%v: %d %+v and %d %+v overlap", sizes, j, o, i, r)
			}
		}
	}
}

func TestSquarify(t *testing.T) {
	frame := rect{10, 20, 600, 400}
	for _, sizes := range [][]int64{{1}, {6, 6, 4, 3, 2, 2, 1}, {1 << 40, 1}, {5, 0, 0}, {1, 1, 1, 1}} {
		checkLayout(t, sizes, frame, squarify(sizes, frame))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		sizes := make([]int64, 1+random.IntN(60))
		for i := range sizes {
			sizes[i] = 1 + int64(math.Exp(random.Float64()*18))
		}
		slices.SortFunc(sizes, func(a, b int64) int { return int(b - a) })
		checkLayout(t, sizes, frame, squarify(sizes, frame))
	}
	// The example of the paper: 6 × 4 and these areas.
	want := "[{0 0 3 2} {0 2 3 2}"
	if got := fmt.Sprint(squarify([]int64{6, 6, 4, 3, 2, 2, 1}, rect{0, 0, 6, 4})); !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want it to begin with %s", got, want)
	}
	if got := squarify([]int64{0, 0}, frame); len(got) != 2 || got[0].W != 0 {
		t.Errorf("nothing at all: got %+v", got)
	}
}

func place(name string, sizes ...artifacts.Size) artifacts.Place {
	p := artifacts.Place{Size: artifacts.Size{Name: name}, Directories: sizes}
	for _, s := range sizes {
		p.Bytes += s.Bytes
	}
	return p
}

func TestShares(t *testing.T) {
	places := []artifacts.Place{
		place(".", artifacts.Size{Name: "usr/bin", Bytes: 600}, artifacts.Size{Name: ".", Bytes: 100}, artifacts.Size{Name: "etc", Bytes: 1}, artifacts.Size{Name: "srv", Bytes: 2}),
		place("services/a", artifacts.Size{Name: "bin", Bytes: 280}),
		place("services/b", artifacts.Size{Name: "bin", Bytes: 9}),
		place("services/c", artifacts.Size{Name: "bin", Bytes: 8}),
		place("services/empty"),
	}
	var got []string
	for _, p := range shares(places) {
		for _, s := range p.shares {
			got = append(got, s.Label())
		}
	}
	want := []string{
		"HookOS, /usr/bin, 600 B, 60 %", "HookOS, files of its root, 100 B, 10 %", "HookOS, smaller directories, 3 B, 0.3 %",
		"services/a, /bin, 280 B, 28 %", "2 small containers, 17 B, 1.7 %",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	m := draw("wide", 1000, 500, shares(places))
	for _, g := range m.Groups {
		for _, c := range g.Cells {
			if c.W < 0 || c.H < 0 || c.X < g.X || c.Y < g.Y || c.X+c.W > g.X+g.W+1e-6 || c.Y+c.H > g.Y+g.H+1e-6 {
				t.Errorf("%s: %+v is outside of %+v", c.Where, c.rect, g.rect)
			}
		}
	}
}

// TestTreemapIsBounded holds that a report with very many containers gives few rectangles.
func TestTreemapIsBounded(t *testing.T) {
	var places []artifacts.Place
	for i := range 2000 {
		var sizes []artifacts.Size
		for j := range 50 {
			sizes = append(sizes, artifacts.Size{Name: fmt.Sprint(j), Bytes: 1000})
		}
		places = append(places, place(fmt.Sprintf("services/%d", i), sizes...))
	}
	if got := shares(places); len(got) != 1 || len(got[0].shares) != 1 {
		t.Errorf("got %d containers", len(got))
	}
}

func TestFit(t *testing.T) {
	for text, want := range map[string]string{"usr/bin": "usr/bin", "usr/lib/x86_64": "usr/lib/x…", "ab": "ab"} {
		if got := fit(text, 10*letter+1); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	if got := fit("something", 3*letter); got != "" {
		t.Errorf("narrow: got %q", got)
	}
}
