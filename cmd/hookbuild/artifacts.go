package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/artifacts/serve"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// keepFlag says how many generations stay.
func keepFlag() cli.Flag {
	return &cli.IntFlag{Name: "keep", Value: artifacts.DefaultKeep, Usage: "`NUMBER` of generations of each architecture that stay; the current ones and those being served do in any case"}
}

func keepOf(c *cli.Context) (int, error) {
	n := c.Int("keep")
	if n < 1 {
		return 0, &usageError{fmt.Sprintf("--keep %d: want at least 1", n)}
	}
	return n, nil
}

func (p *program) artifactsCommand() *cli.Command {
	return &cli.Command{
		Name: "artifacts", Usage: "list, promote, roll back, prune and verify what was built",
		ArgsUsage: "list | promote ID | rollback | prune | verify [ID]",
		Description: "Every build is kept as a generation, under its plan id; one of each architecture is current, which is what hookbuild serve gives\n" +
			"to machines. An ID may be cut to as many digits as are unique.\n\n" +
			"  list       the generations, the newest first\n" +
			"  promote    make a generation current; --after-boot boots it in QEMU first, and leaves everything as it is where it does not come up\n" +
			"  rollback   make the one current that was so before; once more goes further back\n" +
			"  prune      remove old generations, as every build does\n" +
			"  verify     read all files again and compare their sums; the exit code is 6 where one differs\n\n" +
			"Example:\n" +
			"  hookbuild artifacts list\n" +
			"  hookbuild artifacts promote 3f9a1c --after-boot\n" +
			"  hookbuild artifacts rollback --arch x86_64",
		Flags: slices.Concat(flavorFlags(), machineFlags(), []cli.Flag{
			keepFlag(),
			&cli.BoolFlag{Name: "dry-run", Usage: "prune: only say what would be removed"},
			&cli.BoolFlag{Name: "after-boot", Usage: "promote, rollback: only where the generation comes up in QEMU"},
		}),
		Action: p.artifacts,
	}
}

// shelf is what the actions of artifacts work with.
type shelf struct {
	settings
	store *artifacts.Store
	id    string // that was given; "" for none
}

// shelfAction is one of them.
type shelfAction struct {
	run    func(*cli.Context, shelf) error
	ids    int // how many ids it takes at most
	needed bool
}

func (p *program) shelfActions() map[string]shelfAction {
	return map[string]shelfAction{
		"list":     {run: p.listGenerations},
		"promote":  {run: p.promote, ids: 1, needed: true},
		"rollback": {run: p.rollback},
		"prune":    {run: p.prune},
		"verify":   {run: p.verify, ids: 1},
	}
}

func (p *program) artifacts(c *cli.Context) error {
	name := c.Args().First()
	action, ok := p.shelfActions()[name]
	switch {
	case !ok:
		return &usageError{fmt.Sprintf("artifacts: got %q, want list, promote ID, rollback, prune or verify [ID]", name)}
	case action.needed && c.NArg() < 2:
		return &usageError{fmt.Sprintf("artifacts %s: say which generation; hookbuild artifacts list has their ids", name)}
	case c.IsSet("dry-run") && name != "prune":
		return &usageError{"--dry-run is for hookbuild artifacts prune"}
	case c.IsSet("after-boot") && name != "promote" && name != "rollback":
		return &usageError{"--after-boot is for hookbuild artifacts promote and rollback"}
	}
	if err := noMore(c, 1+action.ids); err != nil {
		return err
	}
	s, err := p.settings(c)
	if err != nil {
		return err
	}
	store, err := artifacts.Open(s.out)
	if err != nil {
		return err
	}
	return action.run(c, shelf{settings: s, store: store, id: c.Args().Get(1)})
}

// lock takes the output directory, and waits for whoever has it.
func (s shelf) lock(ctx context.Context) (unlock func() error, err error) {
	return s.store.Lock(ctx, func(pid int) {
		s.log.Warn(fmt.Sprintf("waiting for the hookbuild with process id %d, which writes to %s", pid, s.out))
	})
}

// find returns the generation that an id, or the beginning of one, means.
func (s shelf) find(id string) (artifacts.Listed, error) {
	all, err := s.store.Generations()
	if err != nil {
		return artifacts.Listed{}, err
	}
	var fit []artifacts.Listed
	var ids []string
	for _, l := range all {
		ids = append(ids, short(l.ID()))
		if strings.HasPrefix(l.ID(), strings.ToLower(id)) {
			fit = append(fit, l)
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1:
		return artifacts.Listed{}, &usageError{fmt.Sprintf("generation %q: %d begin like that; give more digits", id, len(fit))}
	case len(all) == 0:
		return artifacts.Listed{}, &usageError{fmt.Sprintf("there is no generation in %s; hookbuild all makes one", s.out)}
	}
	return artifacts.Listed{}, &usageError{fmt.Sprintf("generation %q: there is none; there are %s", id, strings.Join(ids, ", "))}
}

// short is as much of a plan id as people need.
func short(id string) string { return id[:min(len(id), 12)] }

// listedJSON is the JSON form of a generation in a list.
type listedJSON struct {
	PlanID        string    `json:"plan_id"`
	Flavor        string    `json:"flavor,omitempty"`
	Arch          plan.Arch `json:"arch,omitempty"`
	KernelRelease string    `json:"kernel_release,omitempty"`
	Version       string    `json:"version,omitempty"` // of the hookbuild that made it
	Bytes         int64     `json:"bytes"`
	Made          time.Time `json:"made"` // or published last
	Current       bool      `json:"current"`
	Previous      bool      `json:"previous"` // rollback would publish it
	Held          bool      `json:"held"`     // by a server, for instance
	Damaged       string    `json:"damaged,omitempty"`
}

func asJSON(l artifacts.Listed) listedJSON {
	j := listedJSON{PlanID: l.ID(), Bytes: l.Bytes, Made: l.Made.UTC().Truncate(time.Second), Current: l.Current, Previous: l.Previous, Held: l.Held}
	if l.Damaged != nil {
		j.Damaged = l.Damaged.Error()
		return j
	}
	m := l.Manifest
	j.Flavor, j.Arch, j.KernelRelease, j.Version = m.Plan.Flavor, m.Plan.Arch, m.KernelRelease, m.Version
	return j
}

func allAsJSON(all []artifacts.Listed) []listedJSON {
	list := []listedJSON{}
	for _, l := range all {
		list = append(list, asJSON(l))
	}
	return list
}

func (p *program) listGenerations(_ *cli.Context, s shelf) error {
	all, err := s.store.Generations()
	if err != nil {
		return err
	}
	if s.json {
		return p.printJSON(map[string]any{"generations": allAsJSON(all)})
	}
	if len(all) == 0 {
		_, err := fmt.Fprintf(p.Stdout, "there is no generation in %s; hookbuild all makes one\n", s.out)
		return err
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GENERATION\tFLAVOR\tKERNEL\tSIZE\tMADE\t")
	for _, l := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", short(l.ID()), flavorOf(l), l.Manifest.KernelRelease, mib(l.Bytes),
			l.Made.Format("2006-01-02 15:04"), strings.Join(marks(l), ", "))
	}
	return w.Flush()
}

func flavorOf(l artifacts.Listed) string {
	if l.Damaged != nil {
		return "?"
	}
	return l.Manifest.Plan.Flavor
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// marks is what is to be said of a generation.
func marks(l artifacts.Listed) (text []string) {
	for _, m := range []struct {
		is   bool
		what string
	}{{l.Current, "current"}, {l.Previous, "rollback goes here"}, {l.Held && !l.Current, "being served"}, {l.Damaged != nil, "damaged"}} {
		if m.is {
			text = append(text, m.what)
		}
	}
	return text
}

func (p *program) promote(c *cli.Context, s shelf) error {
	l, err := s.find(s.id)
	if err != nil {
		return err
	}
	return p.makeCurrent(c, s, l.ID())
}

func (p *program) rollback(c *cli.Context, s shelf) error {
	arch, err := archFlag(c)
	if err != nil {
		return err
	}
	if arch == "" {
		published, err := s.store.Published()
		if err != nil {
			return err
		}
		switch len(published) {
		case 0:
			return &usageError{fmt.Sprintf("nothing is published in %s, so there is nothing to roll back from", s.out)}
		case 1:
			arch = published[0]
		default:
			return &usageError{"both architectures are published; say with --arch which one to roll back"}
		}
	}
	gen, err := s.store.Previous(arch)
	if err != nil {
		return refusedBy(err)
	}
	return p.makeCurrent(c, s, gen.ID())
}

// makeCurrent publishes a generation that is whole, and that boots where that was asked for.
func (p *program) makeCurrent(c *cli.Context, s shelf, id string) (err error) {
	gen, release, err := s.store.Hold(id)
	if err != nil {
		return refusedBy(err)
	}
	defer func() { err = errors.Join(err, release()) }()
	if c.Bool("after-boot") {
		if err := p.mustBoot(c, gen); err != nil {
			return err
		}
	}
	unlock, err := s.lock(c.Context)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if gen, err = s.store.Generation(id); err != nil {
		return refusedBy(err)
	}
	if text := serve.EmbeddedImagesWarning(gen.Manifest); text != "" {
		s.log.Warn(text)
	}
	set, err := s.store.Publish(gen)
	if err != nil {
		return err
	}
	if s.json {
		return p.printJSON(map[string]any{"plan_id": id, "flavor": gen.Manifest.Plan.Flavor, "arch": gen.Manifest.Plan.Arch, "set": set.Number})
	}
	_, err = fmt.Fprintf(p.Stdout, "%s is current: %s with kernel %s\n", short(id), gen.Manifest.Plan.Flavor, gen.Manifest.KernelRelease)
	return err
}

// mustBoot boots the generation as hookbuild boot does.
func (p *program) mustBoot(c *cli.Context, gen artifacts.Generation) (err error) {
	w, err := p.workshopOf(c.Context, c, []string{gen.Manifest.Plan.Flavor}, func(config.Flavor) error { return nil })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	_, err = p.bootGeneration(c, w, gen)
	return err
}

// checkError says that what was built is not what it was.
type checkError struct{ error }

func (e *checkError) Unwrap() error { return e.error }

// Hint says how to get on.
func (e *checkError) Hint() string {
	return "the same command that built it makes it again: hookbuild all FLAVOR"
}

// refusedBy is err as this verb's answer: damage is what a check found.
func refusedBy(err error) error {
	var damaged *artifacts.DamagedError
	var none *artifacts.NoPreviousError
	switch {
	case errors.As(err, &damaged):
		return &checkError{err}
	case errors.As(err, &none):
		return &usageError{err.Error()}
	}
	return err
}

func (p *program) prune(c *cli.Context, s shelf) (err error) {
	keep, err := keepOf(c)
	if err != nil {
		return err
	}
	unlock, err := s.lock(c.Context)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	dry := c.Bool("dry-run")
	removed, err := s.store.Prune(keep, dry)
	if err != nil {
		return err
	}
	if s.json {
		return p.printJSON(map[string]any{"removed": allAsJSON(removed), "dry_run": dry})
	}
	did := map[bool]string{false: "removed", true: "would remove"}[dry]
	var text strings.Builder
	for _, l := range removed {
		fmt.Fprintf(&text, "%s %s, %s of %s\n", did, short(l.ID()), flavorOf(l), l.Made.Format("2006-01-02 15:04"))
	}
	if len(removed) == 0 {
		fmt.Fprintf(&text, "nothing to remove: there are at most %d generations of each architecture, or more are in use\n", keep)
	}
	_, err = io.WriteString(p.Stdout, text.String())
	return err
}

const stageVerify = "verify"

func (p *program) verify(c *cli.Context, s shelf) error {
	var what []artifacts.Listed
	if s.id != "" {
		l, err := s.find(s.id)
		if err != nil {
			return err
		}
		what = append(what, l)
	} else {
		var err error
		if what, err = s.store.Generations(); err != nil {
			return err
		}
	}
	read, err := p.readAll(c.Context, s, what)
	if err != nil {
		return refusedBy(err)
	}
	ids := []string{}
	for _, l := range what {
		ids = append(ids, l.ID())
	}
	if s.json {
		return p.printJSON(map[string]any{"verified": ids, "bytes": read})
	}
	also := ""
	if s.id == "" {
		also = ", and what is published,"
	}
	_, err = fmt.Fprintf(p.Stdout, "read %s: every generation (%d)%s is what its manifest says\n", mib(read), len(ids), also)
	return err
}

// toRead is how many bytes readAll has to read.
func (s shelf) toRead(what []artifacts.Listed) (total int64) {
	for _, l := range what {
		total += l.Bytes + l.Manifest.Report.Size
	}
	if s.id != "" {
		return total
	}
	set, err := s.store.Current()
	if err != nil { // which is said when it is verified
		return total
	}
	for _, f := range set.Files {
		total += f.Size
	}
	return total
}

// readAll verifies generations and, without an id, the published set; it returns how many bytes that were.
func (p *program) readAll(ctx context.Context, s shelf, what []artifacts.Listed) (read int64, err error) {
	report, err := p.reporter(s.settings)
	if err != nil {
		return 0, err
	}
	defer report.Close()
	begin := p.Now()
	report.Start(stageVerify)
	defer func() { report.End(stageVerify, "", p.Now().Sub(begin), err) }()
	total := s.toRead(what)
	count := func(n int64) {
		read += n
		report.Count(stageVerify, "what was built", read, total)
	}
	for _, l := range what {
		if err := s.store.VerifyGeneration(ctx, l.ID(), count); err != nil {
			return read, err
		}
	}
	if s.id == "" {
		return read, s.store.VerifyCurrent(ctx, count)
	}
	return read, nil
}
