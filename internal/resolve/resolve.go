// Package resolve settles everything uncertain about a build, once: which packages, from which signed index.
// A flavor and the project's lock go in; the lock's entry and the plan come out.
package resolve

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/iso"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/modules"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// Component is one of HookOS's component directories and the packages that it asks for.
type Component struct {
	Name    string
	SHA256  string // of the directory's content
	Seeds   []string
	Exclude []string
}

// Names of the package sets.
const (
	BaseSet      = "base"      // the Debian image that builds run in
	ToolchainSet = "toolchain" // the same with a compiler
	KernelSet    = "kernel"    // the kernel itself, binary or source
	FirmwareSet  = "firmware"  // what the kernel's drivers load
	BootSet      = "boot"      // QEMU; not part of the plan
	ISOSet       = "iso"       // the base with what makes an ISO
	LoaderSet    = "loader"    // the ISO's boot loader
	userlandSet  = "userland/"
)

// UserlandSet is the name of a component's package set.
func UserlandSet(component string) string { return userlandSet + component }

// baseSeeds is what the base has on top of Debian's required packages: apt for Dockerfiles of the user's, the
// rest for our own recipes.
var baseSeeds = [...]string{"apt", "kmod", "xz-utils"}

// kernelLeftOut are dependencies of the kernel packages that make sense on an installed system only.
var kernelLeftOut = [...]string{"binutils", "initramfs-tools", "kmod", "linux-base", "xz-utils"}

// Requests lists the package sets that a flavor needs. hostArch is the engine's, bootSeeds what QEMU needs.
func Requests(f config.Flavor, hostArch string, components []Component, bootSeeds []string) []Request {
	tools := func(name string, more []string) Request {
		seeds := slices.Concat(baseSeeds[:], more)
		slices.Sort(seeds)
		return Request{Name: name, Arch: hostArch, Required: true, Seeds: slices.Compact(seeds)}
	}
	all := []Request{tools(BaseSet, nil), tools(BootSet, bootSeeds)}
	if r, ok := kernelRequest(f); ok {
		all = append(all, r)
	}
	if f.Kernel.Method == config.MethodSource {
		all = append(all, tools(ToolchainSet, kernel.Toolchain(f.Arch, hostArch)))
	}
	if f.Kernel.Firmware.Wanted() {
		all = append(all, Request{Name: FirmwareSet, Arch: f.Arch.Debian(), Seeds: modules.FirmwarePackages(), Exclude: firmwareLeftOut[:]})
	}
	if f.Outputs.ISO {
		seeds, leftOut := iso.Loader(f.Arch)
		all = append(all, tools(ISOSet, iso.Tools()), Request{Name: LoaderSet, Arch: f.Arch.Debian(), Seeds: seeds, Exclude: leftOut})
	}
	for _, c := range components {
		if len(c.Seeds) == 0 {
			continue
		}
		all = append(all, Request{Name: UserlandSet(c.Name), Arch: f.Arch.Debian(), Seeds: c.Seeds, Exclude: c.Exclude})
	}
	slices.SortFunc(all, func(a, b Request) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// firmwareLeftOut are dependencies of firmware packages that make sense on an installed system only.
var firmwareLeftOut = [...]string{"initramfs-tools"}

// kernelRequest is false where the kernel does not come from a Debian mirror.
func kernelRequest(f config.Flavor) (Request, bool) {
	r := Request{Name: KernelSet, Arch: f.Arch.Debian(), Exclude: kernelLeftOut[:]}
	switch {
	case f.Kernel.Method == config.MethodDebian:
		r.Seeds = []string{"linux-image-" + f.Arch.Debian()}
	case f.Kernel.Method == config.MethodSource && f.Kernel.Source.Kind == config.SourceDebian:
		r.Seeds = []string{"linux-source-" + f.Kernel.Series}
	default:
		return r, false
	}
	return r, true
}

// kernelWant is what is asked of kernel.org, nil where nothing is.
func kernelWant(f config.Flavor) *kernelorg.Want {
	if f.Kernel.Method != config.MethodSource || f.Kernel.Source.Kind != config.SourceKernelOrg {
		return nil
	}
	return &kernelorg.Want{Series: f.Kernel.Series, Version: f.Kernel.Version}
}

// sources are what is asked where the lock does not say: a Debian mirror's verified index, kernel.org, and the
// places where container images are.
type sources interface {
	Index(ctx context.Context, r debian.IndexRequest) (*debian.Index, error)
	KernelPin(ctx context.Context, w kernelorg.Want) (kernelorg.Pin, error)
	ImagePin(ctx context.Context, ref, platform string) (Image, error)
}

// Options say how to resolve.
type Options struct {
	LockFile string
	Suite    string
	Update   bool  // resolve anew although the lock has the flavor
	Refresh  bool  // resolve anew where the lock was made for other requests
	Bundle   *File // what the flavor's bundle is; nil where none comes from a web server
}

// Result is a flavor's lock entry.
type Result struct {
	Entry   Entry
	Before  *Entry // what stood there; nil for a new flavor
	Written bool   // the lock file has changed
}

// Flavor returns the flavor's entry: the lock's where it has one that fits, else a new one from the mirror's
// index, which is written to the lock. An index or a kernel older than the lock's is a *download.VerifyError;
// a lock made for other requests is a *LockError unless o says to resolve anew. from is asked only when the
// lock does not say.
//
// An image that the lock lacks is added to it: other images make no difference to what is there.
func Flavor(ctx context.Context, f config.Flavor, requests []Request, images []ImageRequest, o Options, from sources) (Result, error) {
	lock, err := ReadLock(o.LockFile)
	if err != nil {
		return Result{}, err
	}
	var res Result
	fits := false
	want := kernelWant(f)
	if e, ok := lock.Flavors[f.ID]; ok {
		res.Before = &e
		differs := e.check(requests, want)
		if differs != "" && !o.Refresh && !o.Update {
			return Result{}, &LockError{File: o.LockFile, What: "flavor " + f.ID + " " + differs, Hint: lockCommand(f)}
		}
		if fits = differs == "" && !o.Update; fits {
			res.Entry = e
		}
	}
	if !fits {
		if res.Entry, err = fresh(ctx, lock, requests, o.Suite, from); err != nil {
			return Result{}, err
		}
		if want != nil {
			if res.Entry.Kernel, err = pin(ctx, *want, lock, res.Before, o.Update, from); err != nil {
				return Result{}, err
			}
		}
	}
	known := res.Before
	if o.Update {
		known = nil
	}
	var added bool
	if res.Entry.Images, added, err = pinImages(ctx, known, images, from); err != nil {
		return Result{}, err
	}
	other := o.Bundle != nil && (res.Entry.Bundle == nil || *res.Entry.Bundle != *o.Bundle)
	if other {
		res.Entry.Bundle = o.Bundle
	}
	if res.Written = !fits || added || other; res.Written {
		lock.Flavors[f.ID] = res.Entry
		err = lock.Write(o.LockFile)
	}
	res.Entry = res.Entry.only(requests, images)
	return res, err
}

// lockCommand is what makes the lock fit the flavor.
func lockCommand(f config.Flavor) string {
	command := "hookbuild lock " + f.ID
	if f.Outputs.ISO { // hookbuild.yaml need not say it
		command += " --iso"
	}
	return command
}

// ImageRequest is an image that the LinuxKit YAML names.
type ImageRequest struct {
	Ref      string `json:"ref"`
	Platform string `json:"platform"` // such as linux/amd64
}

// pinImages settles what the images mean: what is known already stays, wanted or not.
func pinImages(ctx context.Context, before *Entry, images []ImageRequest, from sources) (all []Image, added bool, err error) {
	if before != nil {
		all = slices.Clone(before.Images)
	}
	for _, want := range images {
		if slices.ContainsFunc(all, func(i Image) bool { return i.ImageRequest == want }) {
			continue
		}
		got, err := from.ImagePin(ctx, want.Ref, want.Platform)
		if err != nil {
			return nil, false, err
		}
		got.ImageRequest, added = want, true
		all = append(all, got)
	}
	slices.SortFunc(all, func(a, b Image) int { return cmp.Or(cmp.Compare(a.Ref, b.Ref), cmp.Compare(a.Platform, b.Platform)) })
	return all, added, nil
}

// pin settles the kernel's source. What the lock says of the same request holds until an update.
func pin(ctx context.Context, want kernelorg.Want, lock *Lock, before *Entry, update bool, from sources) (*Kernel, error) {
	if before != nil && before.Kernel != nil && !update && before.Kernel.Series == want.Series && before.Kernel.Exactly == want.Version {
		return before.Kernel, nil
	}
	if want.Version == "" { // who wants an older one says so
		want.NotBefore = lock.kernels(want.Series)
	}
	p, err := from.KernelPin(ctx, want)
	if err != nil {
		return nil, err
	}
	return &Kernel{Series: want.Series, Exactly: want.Version, Pin: p}, nil
}

// fresh resolves all requests from one index.
func fresh(ctx context.Context, lock *Lock, requests []Request, suite string, from sources) (Entry, error) {
	dates, err := lock.notBefore()
	if err != nil {
		return Entry{}, err
	}
	index, err := from.Index(ctx, debian.IndexRequest{
		Suite: suite, Archs: archs(requests), Components: []string{"main", "non-free-firmware"}, NotBefore: dates,
	})
	if err != nil {
		return Entry{}, err
	}
	var e Entry
	for _, r := range index.Releases {
		date := r.Date.UTC().Format(time.RFC3339)
		e.Debian = append(e.Debian, plan.Index{Suite: r.Suite, Date: date, SHA256: r.SHA256})
	}
	for _, r := range requests {
		pkgs, err := index.Resolve(r.Arch, debian.Request{Seeds: r.Seeds, Required: r.Required, Exclude: r.Exclude})
		if err != nil {
			return Entry{}, fmt.Errorf("packages for %s: %w", r.Name, err)
		}
		e.Sets = append(e.Sets, Set{Request: r, Packages: pkgs})
	}
	return e, nil
}

func archs(requests []Request) []string {
	var all []string
	for _, r := range requests {
		all = append(all, r.Arch)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Input is what a plan consists of besides the lock.
type Input struct {
	Flavor     config.Flavor
	Epoch      int64       // seconds since 1970; 0 takes the lock's newest index date
	Recipe     string      // SHA-256 of what hookbuild itself contributes
	Kernel     plan.Kernel // but for what the flavor and the lock say of it
	LinuxKit   []plan.Source
	Base       string // SHA-256 of the initramfs that everything is laid over, "" for none
	Single     bool   // write one segment
	Components []Component
	Vars       []plan.Var // sorted by name
	Embedded   []plan.Embedded
	Site       plan.Site
	ISO        string // SHA-256 of what hookbuild contributes to the ISO, "" for none
}

// Plan puts the lock's entry and the rest of the input together.
func (e Entry) Plan(in Input) (plan.Plan, error) {
	p := plan.Plan{
		Schema: plan.Schema, Flavor: in.Flavor.ID, Arch: in.Flavor.Arch, Epoch: in.Epoch, Recipe: in.Recipe,
		Debian: e.Debian, LinuxKit: in.LinuxKit, Template: in.Flavor.Userland.Template, Base: in.Base, Vars: in.Vars,
		Kernel: in.Kernel, Embedded: in.Embedded, Site: in.Site, ISO: in.ISO, Aliases: in.Flavor.Outputs.Aliases,
		Initramfs: plan.Initramfs{Compression: in.Flavor.Initramfs.Compression, Level: in.Flavor.Initramfs.Level, Single: in.Single},
	}
	k := in.Flavor.Kernel
	p.Kernel.Method, p.Kernel.Series = k.Method, k.Series
	p.Kernel.Modules = plan.Modules{Include: k.Modules.Include, Exclude: k.Modules.Exclude}
	p.Kernel.Firmware = k.Firmware.Patterns()
	if e.Kernel != nil && kernelWant(in.Flavor) != nil {
		p.Kernel.Version, p.Kernel.Source = e.Kernel.Version, []string{e.Kernel.SHA256}
	}
	if p.Epoch == 0 {
		var err error
		if p.Epoch, err = e.Epoch(); err != nil {
			return p, err
		}
	}
	for _, s := range e.Sets {
		if s.Name != BootSet {
			p.Packages = append(p.Packages, planned(s))
		}
	}
	for _, pkg := range p.Set(KernelSet) {
		if strings.HasPrefix(pkg.Name, "linux-image-") || strings.HasPrefix(pkg.Name, "linux-source-") {
			p.Kernel.Version = pkg.Version
		}
	}
	for _, i := range e.Images {
		p.Images = append(p.Images, plan.Image{Ref: i.Ref, Platform: i.Platform, Config: i.Config})
	}
	for _, c := range in.Components {
		p.Userland = append(p.Userland, plan.Source{Name: c.Name, SHA256: c.SHA256})
	}
	return p, nil
}

func planned(s Set) plan.Set {
	out := plan.Set{Name: s.Name}
	for _, p := range s.Packages {
		out.Packages = append(out.Packages, plan.Package{Name: p.Name, Version: p.Version, Arch: p.Arch, SHA256: p.SHA256})
	}
	return out
}
