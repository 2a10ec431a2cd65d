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
	"github.com/hookbuild/hookbuild/internal/kernel"
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
	BootSet      = "boot"      // QEMU; not part of the plan
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
	all := []Request{tools(BaseSet, nil), tools(BootSet, bootSeeds), kernelRequest(f)}
	if f.Kernel.Method == config.MethodSource {
		all = append(all, tools(ToolchainSet, kernel.Toolchain(f.Arch, hostArch)))
	}
	for _, c := range components {
		all = append(all, Request{Name: UserlandSet(c.Name), Arch: f.Arch.Debian(), Seeds: c.Seeds, Exclude: c.Exclude})
	}
	slices.SortFunc(all, func(a, b Request) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func kernelRequest(f config.Flavor) Request {
	r := Request{Name: KernelSet, Arch: f.Arch.Debian(), Exclude: kernelLeftOut[:]}
	if f.Kernel.Method == config.MethodSource {
		r.Seeds = []string{"linux-source-" + f.Kernel.Series}
		return r
	}
	r.Seeds = []string{"linux-image-" + f.Arch.Debian()}
	return r
}

// mirror is what Resolve asks: a Debian mirror's verified index.
type mirror interface {
	Index(ctx context.Context, r debian.IndexRequest) (*debian.Index, error)
}

// Options say how to resolve.
type Options struct {
	LockFile string
	Suite    string
	Update   bool // resolve anew although the lock has the flavor
	Refresh  bool // resolve anew where the lock was made for other requests
}

// Result is a flavor's lock entry.
type Result struct {
	Entry   Entry
	Before  *Entry // what stood there; nil for a new flavor
	Written bool   // the lock file has changed
}

// Flavor returns the flavor's entry: the lock's where it has one that fits, else a new one from the mirror's
// index, which is written to the lock. An index older than the lock's is a *debian.VerifyError; a lock made
// for other requests is a *LockError unless o says to resolve anew. m is asked only when the index is needed.
func Flavor(ctx context.Context, id string, requests []Request, o Options, m mirror) (Result, error) {
	lock, err := ReadLock(o.LockFile)
	if err != nil {
		return Result{}, err
	}
	var res Result
	if e, ok := lock.Flavors[id]; ok {
		res.Before = &e
		differs := e.check(requests)
		if differs != "" && !o.Refresh && !o.Update {
			return Result{}, &LockError{File: o.LockFile, What: "flavor " + id + " " + differs, Hint: "hookbuild lock " + id}
		}
		if differs == "" && !o.Update {
			res.Entry = e.only(requests)
			return res, nil
		}
	}
	if res.Entry, err = fresh(ctx, lock, requests, o.Suite, m); err != nil {
		return Result{}, err
	}
	lock.Flavors[id] = res.Entry
	res.Written = true
	return res, lock.Write(o.LockFile)
}

// fresh resolves all requests from one index.
func fresh(ctx context.Context, lock *Lock, requests []Request, suite string, m mirror) (Entry, error) {
	dates, err := lock.notBefore()
	if err != nil {
		return Entry{}, err
	}
	index, err := m.Index(ctx, debian.IndexRequest{
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
	Epoch      int64  // seconds since 1970; 0 takes the lock's newest index date
	Recipe     string // SHA-256 of what hookbuild itself contributes
	Config     string // SHA-256 of the kernel configuration; empty for a binary kernel
	LinuxKit   []plan.Source
	Components []Component
	Vars       []plan.Var // sorted by name
}

// Plan puts the lock's entry and the rest of the input together.
func (e Entry) Plan(in Input) (plan.Plan, error) {
	p := plan.Plan{
		Schema: plan.Schema, Flavor: in.Flavor.ID, Arch: in.Flavor.Arch, Epoch: in.Epoch, Recipe: in.Recipe,
		Debian: e.Debian, LinuxKit: in.LinuxKit, Vars: in.Vars,
		Kernel:    plan.Kernel{Method: in.Flavor.Kernel.Method, Series: in.Flavor.Kernel.Series, Config: in.Config},
		Initramfs: plan.Initramfs{Compression: in.Flavor.Initramfs.Compression, Level: in.Flavor.Initramfs.Level},
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
