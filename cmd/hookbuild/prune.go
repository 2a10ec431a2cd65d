package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/cachedir"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

const (
	// defaultAge is how long something stays that nobody uses.
	defaultAge = 30 * 24 * time.Hour
	// freshAge is how long something stays in the engine that looks like a leftover of a killed run: a hookbuild with
	// another cache, or on another host, may just be making it.
	freshAge = time.Hour
)

func (p *program) pruneCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "remove what builds have left in the cache and in the engine and what nobody uses any more",
		Description: "What goes: what was not used for --older-than, and what killed runs have left. What stays: what the project's hookbuild.lock and\n" +
			"hookbuild.yaml name (files, Debian images), what containers or builds use, whatever is not hookbuild's own, and always what was built\n" +
			"(hookbuild artifacts prune removes old generations). Whatever goes is made or fetched again when it is needed; a compiled kernel takes a while.\n\n" +
			"While another hookbuild works with the cache nothing is removed (exit code 3). One on another host or with another --cache-dir cannot be seen:\n" +
			"before --all, make sure that none uses the engine.\n\n" +
			"Example:\n" +
			"  hookbuild prune --dry-run\n" +
			"  hookbuild prune --older-than 168h",
		Flags: append(commonFlags(),
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be removed, and remove nothing"},
			&cli.BoolFlag{Name: "all", Usage: "remove also what was used lately and what hookbuild.lock names: everything that is not in use now"},
			&cli.DurationFlag{Name: "older-than", Value: defaultAge, Usage: "remove what was not used for this time"},
		),
		Action: p.cleanUp,
	}
}

// piece is something that goes or stays: files of one kind in the cache, or one thing in the engine.
type piece struct {
	Kind  string    `json:"kind"` // cache, image, container, build cache
	Name  string    `json:"name"`
	Files int       `json:"files,omitempty"` // of the cache
	Bytes int64     `json:"bytes"`
	Used  time.Time `json:"used"`          // last, of several files the latest
	Why   string    `json:"why,omitempty"` // it stays; empty where it goes

	files    []cachedir.Entry
	leftover engine.Leftover
}

// Reasons to stay.
const (
	whyNeeded = "the project needs it"
	whyRecent = "used lately"
)

// pruning is one run.
type pruning struct {
	settings
	*program
	cache  string
	rule   cachedir.Rule
	images map[string]bool // names in the engine that stay
	dry    bool
}

func (p *program) cleanUp(c *cli.Context) (err error) {
	if err := noMore(c, 0); err != nil {
		return err
	}
	x, err := p.pruning(c)
	if err != nil {
		return err
	}
	if !x.dry {
		release, err := cachedir.Claim(x.cache)
		switch {
		case errors.Is(err, fs.ErrNotExist): // nothing is there, and nobody works with it
		case err != nil:
			return err
		default:
			defer func() { err = errors.Join(err, release()) }()
		}
	}
	pieces, err := x.files(c.Context)
	if err != nil {
		return err
	}
	e, unreachable := p.connect(c.Context)
	if unreachable == nil {
		defer func() { err = errors.Join(err, e.Close()) }()
		more, err := x.leftovers(c.Context, e)
		if err != nil {
			return err
		}
		pieces = append(pieces, more...)
	}
	failed := x.remove(c.Context, e, pieces)
	if c.Context.Err() != nil {
		return context.Cause(c.Context)
	}
	if unreachable == nil || failed != nil || !x.json { // else the one document is that of the error
		if err := x.show(pieces); err != nil {
			return err
		}
	}
	return errors.Join(failed, unreachable)
}

// pruning reads what stays.
func (p *program) pruning(c *cli.Context) (*pruning, error) {
	s, err := p.settings(c)
	if err != nil {
		return nil, err
	}
	cfg, err := s.config()
	if err != nil {
		return nil, err
	}
	x := &pruning{settings: s, program: p, dry: c.Bool("dry-run"), images: map[string]bool{}}
	if x.cache, err = p.cacheDir(s, cfg); err != nil {
		return nil, err
	}
	x.rule = cachedir.Rule{Now: p.Now(), Age: c.Duration("older-than"), All: c.Bool("all")}
	if x.rule.Age < 0 {
		return nil, &usageError{fmt.Sprintf("--older-than %s: want a time like 720h", x.rule.Age)}
	}
	lock, err := resolve.ReadLock(filepath.Join(s.project, resolve.LockName))
	if err != nil { // what it names must not go because it cannot be read
		return nil, err
	}
	for _, entry := range lock.Flavors {
		for _, set := range entry.Sets {
			x.images[base.Set{Name: set.Name, Arch: set.Arch, Packages: set.Packages}.Ref()] = true
		}
	}
	x.rule.Pins, err = s.pins(x.cache)
	return x, err
}

// files sorts what is in the cache by kind, and by whether it goes.
func (x *pruning) files(ctx context.Context) ([]piece, error) {
	entries, err := cachedir.List(ctx, x.cache)
	if err != nil {
		return nil, err
	}
	var pieces []piece
	for _, e := range entries {
		one := piece{Kind: "cache", Name: e.Room}
		switch {
		case e.Temporary:
			one.Name = "left by killed runs"
		case x.rule.Goes(e):
		case x.rule.Pins[e.Digest], e.Digest == "":
			one.Why = whyNeeded
		default:
			one.Why = whyRecent
		}
		at := slices.IndexFunc(pieces, func(p piece) bool { return p.Name == one.Name && p.Why == one.Why })
		if at < 0 {
			at, pieces = len(pieces), append(pieces, one)
		}
		p := &pieces[at]
		p.Files, p.Bytes, p.files = p.Files+1, p.Bytes+e.Bytes, append(p.files, e)
		if e.Used.After(p.Used) {
			p.Used = e.Used
		}
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return cmp.Compare(a.Name, b.Name) })
	return pieces, nil
}

// unfinished ends the name of an image that exists only while a Debian image is made.
const unfinished = "-unpacked"

// ownImage is what our images are called: one of our repositories, and a tag that ends with a digest of what went in.
func ownImage() func(name string) bool {
	repositories := []string{base.Repository, image.Repository, kernel.Repository, kernel.ConfigRepository, kernel.SelectionRepository}
	tag := regexp.MustCompile(`^[a-z0-9.-]+-[0-9a-f]{16}(` + unfinished + `)?$`)
	return func(name string) bool {
		repository, t, ok := strings.Cut(strings.TrimPrefix(name, "docker.io/"), ":")
		return ok && slices.Contains(repositories, repository) && tag.MatchString(t)
	}
}

// leftovers are what we have put into the engine.
func (x *pruning) leftovers(ctx context.Context, e *engine.Engine) ([]piece, error) {
	found, err := e.Leftovers(ctx, engine.Recognize{Image: ownImage(), Mount: kernel.IsCacheMount})
	if err != nil {
		return nil, err
	}
	var pieces []piece
	for _, l := range found {
		pieces = append(pieces, piece{Kind: string(l.Kind), Name: l.Name, Bytes: l.Bytes, Used: l.Used, Why: x.why(l), leftover: l})
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return cmp.Or(cmp.Compare(b.Kind, a.Kind), cmp.Compare(a.Name, b.Name)) })
	return pieces, nil
}

// why a leftover stays; empty where it goes.
func (x *pruning) why(l engine.Leftover) string {
	age := x.rule.Age
	if l.Kind == engine.ContainerKind || strings.HasSuffix(l.Name, unfinished) {
		age = freshAge
	}
	switch {
	case l.Busy != "":
		return l.Busy
	case x.rule.All:
		return ""
	case x.images[strings.TrimPrefix(l.Name, "docker.io/")]:
		return whyNeeded
	case x.rule.Now.Sub(l.Used) <= age:
		return whyRecent
	}
	return ""
}

// remove removes the pieces that go: containers first, since they use images. What is in use after all stays. One that
// fails does not keep the others.
func (x *pruning) remove(ctx context.Context, e *engine.Engine, pieces []piece) error {
	if x.dry {
		return nil
	}
	var errs []error
	isContainer := func(p *piece) bool { return p.Kind == string(engine.ContainerKind) }
	var order []*piece
	for n := range pieces {
		order = append(order, &pieces[n])
	}
	slices.SortStableFunc(order, func(a, b *piece) int {
		if isContainer(a) == isContainer(b) {
			return 0
		} else if isContainer(a) {
			return -1
		}
		return 1
	})
	for _, p := range order {
		if p.Why != "" || ctx.Err() != nil {
			continue
		}
		err := x.removeOne(ctx, e, p)
		var busy *engine.BusyError
		switch {
		case errors.As(err, &busy):
			p.Why = "it is in use"
		case err != nil:
			p.Why = "it could not be removed"
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (x *pruning) removeOne(ctx context.Context, e *engine.Engine, p *piece) error {
	if p.leftover.ID != "" {
		return e.Discard(ctx, p.leftover)
	}
	var errs []error
	for _, f := range p.files {
		if ctx.Err() == nil {
			errs = append(errs, cachedir.Remove(x.cache, f))
		}
	}
	return errors.Join(errs...)
}

// show prints what went and what stays.
func (x *pruning) show(pieces []piece) error {
	removed, kept := []piece{}, []piece{}
	var gone, stays int64
	for _, p := range pieces {
		if p.Why == "" {
			removed, gone = append(removed, p), gone+p.Bytes
		} else {
			kept, stays = append(kept, p), stays+p.Bytes
		}
	}
	if x.json {
		return x.printJSON(map[string]any{"dry_run": x.dry, "removed": removed, "kept": kept, "bytes": gone})
	}
	did := map[bool]string{false: "removed", true: "would remove"}[x.dry]
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, list := range [][]piece{removed, kept} {
		for _, p := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\tlast used %s\n", cmp.Or(p.says(), did), p.Kind, p.title(), units.HumanSize(float64(p.Bytes)), p.Used.Format("2006-01-02"))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(&text, "%s %s or more; %s stay. What was built is untouched.\n", did, units.HumanSize(float64(gone)), units.HumanSize(float64(stays)))
	_, err := io.WriteString(x.Stdout, text.String())
	return err
}

// says is why it stays.
func (p piece) says() string {
	if p.Why == "" {
		return ""
	}
	return "kept, " + p.Why
}

func (p piece) title() string {
	if p.Files == 0 {
		return p.Name
	}
	return fmt.Sprintf("%s (%d)", p.Name, p.Files)
}
