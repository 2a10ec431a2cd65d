// Package kernel makes a kernel for HookOS: Debian packages go in, a container image comes out that holds
// what LinuxKit expects of a kernel image: /kernel, /kernel.tar (modules, an uncompressed tar), /System.map,
// /config and /dtbs.tar.gz.
// Contract: https://github.com/linuxkit/linuxkit/blob/master/docs/kernels.md
package kernel

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/moby/buildkit/client/llb"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/plan"
)

//go:embed package.sh
var packageScript string

//go:embed unpack.sh
var unpackScript string

//go:embed compile.sh
var compileScript string

// Recipe is everything of this package that decides about a kernel besides its Spec.
func Recipe() string { return packageScript + unpackScript + compileScript }

// Repository is the name under which kernel images stand in the engine.
const Repository = "hookbuild/kernel"

// Spec says which kernel to make. Both methods give an image of the same form.
type Spec struct {
	Arch     plan.Arch
	HostArch string // the engine's architecture, Debian's name
	Epoch    int64  // seconds since 1970; every time in the result
	Image    string // the Debian image that the work runs in; for Source it holds the compiler
	Packages []debian.Package
	// Defconfig is the configuration in savedefconfig form. Empty takes the packages' own binary kernel.
	Defconfig []byte
	// Tree names the build tree: kernels of one name compile in the same one, so that what a changed symbol
	// does not touch is not compiled again. It has no influence on the result.
	Tree string
}

// Ref is the name of the kernel's image; its tag is a digest of everything that enters.
func (s Spec) Ref() string {
	h := sha256.New()
	io.WriteString(h, Recipe())
	fmt.Fprintf(h, "\n%s %d %s\n", s.Arch, s.Epoch, s.Image)
	for _, p := range s.Packages {
		fmt.Fprintln(h, p.SHA256)
	}
	h.Write(s.Defconfig)
	return fmt.Sprintf("%s:%s-%s", Repository, s.Arch.Debian(), hex.EncodeToString(h.Sum(nil))[:16])
}

// builder is the part of an engine that Ensure needs.
type builder interface {
	Has(ctx context.Context, ref string) (bool, error)
	Build(ctx context.Context, b engine.Build) error
}

// Ensure returns the name of the kernel's image, which it makes where the engine lacks it. The packages are
// fetched only then. A failing step is an *engine.BuildError.
func Ensure(ctx context.Context, e builder, s Spec, fetch base.Fetch, log func(engine.Event)) (string, error) {
	ref := s.Ref()
	if has, err := e.Has(ctx, ref); has || err != nil {
		return ref, err
	}
	files, err := fetch(ctx, s.Packages)
	if err != nil {
		return "", err
	}
	debs, err := debsOf(files)
	if err != nil {
		return "", err
	}
	def, err := s.definition(debs.Include).Marshal(ctx, llb.Platform(base.Platform(s.HostArch)))
	if err != nil {
		return "", err
	}
	b := engine.Build{
		Definition: def, Tag: ref, Config: s.imageConfig(), Log: log,
		Locals: map[string]engine.Local{"debs": debs},
	}
	return ref, e.Build(ctx, b)
}

// debsOf is the build context with just these packages. Their file names are digests, so that the engine's
// comparison by size and time can never take one for another.
func debsOf(files map[string]string) (engine.Local, error) {
	var l engine.Local
	for _, file := range slices.Sorted(maps.Values(files)) {
		dir, name := filepath.Split(file)
		if l.Dir != "" && l.Dir != dir {
			return l, fmt.Errorf("packages lie in %s and in %s; want one directory", l.Dir, dir)
		}
		l.Dir, l.Include = dir, append(l.Include, name)
	}
	return l, nil
}

// definition is the build in LLB.
func (s Spec) definition(debs []string) llb.State {
	in := llb.Local("debs", llb.IncludePatterns(debs), llb.WithCustomName("hand in the kernel's packages"))
	if len(s.Defconfig) == 0 {
		return s.run(packageScript, "take the kernel out of its package", in)
	}
	config := llb.Scratch().File(llb.Mkfile("/defconfig", 0o644, s.Defconfig),
		llb.WithCustomName("hand in the kernel configuration"))
	return s.run(compileScript, "compile the kernel", in,
		llb.AddMount("/config", config, llb.Readonly),
		llb.AddMount("/build", llb.Scratch(), llb.AsPersistentCacheDir(s.treeID(), llb.CacheMountLocked)),
		llb.AddEnv("KARCH", s.Arch.Kbuild()),
		llb.AddEnv("CROSS_COMPILE", s.crossCompile()),
		llb.AddEnv("UNPACK", unpackScript))
}

func (s Spec) run(script, name string, debs llb.State, more ...llb.RunOption) llb.State {
	opts := append([]llb.RunOption{
		llb.Args([]string{"/bin/sh", "-c", script}),
		llb.AddMount("/debs", debs, llb.Readonly),
		llb.AddEnv("PATH", base.Path),
		llb.AddEnv("LC_ALL", "C"),
		llb.AddEnv("EPOCH", strconv.FormatInt(s.Epoch, 10)),
		llb.Network(llb.NetModeNone),
		llb.WithCustomName(name),
	}, more...)
	return llb.Image(s.Image).Run(opts...).AddMount("/out", llb.Scratch())
}

// treeID names the build tree's cache: one per name, source, architecture and toolchain, so that a changed
// symbol finds its tree again and a changed compiler never does.
func (s Spec) treeID() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n%s\n", s.Tree, s.Arch, s.Image, unpackScript)
	for _, p := range s.Packages {
		fmt.Fprintln(h, p.SHA256)
	}
	return "hookbuild-kernel-" + hex.EncodeToString(h.Sum(nil))[:16]
}

func (s Spec) crossCompile() string {
	if s.Arch.Debian() == s.HostArch {
		return ""
	}
	return map[plan.Arch]string{plan.X8664: "x86_64-linux-gnu-", plan.AArch64: "aarch64-linux-gnu-"}[s.Arch]
}

func (s Spec) imageConfig() []byte {
	data, err := json.Marshal(map[string]any{"architecture": s.Arch.Debian(), "os": "linux", "config": map[string]any{}})
	if err != nil { // only strings
		panic(err)
	}
	return data
}

// Toolchain returns the Debian packages that compile a kernel for arch on a machine of hostArch.
func Toolchain(arch plan.Arch, hostArch string) []string {
	pkgs := []string{"bc", "bison", "cpio", "flex", "gcc", "kmod", "libelf-dev", "libssl-dev", "make", "xz-utils"}
	if arch.Debian() == hostArch {
		return pkgs
	}
	return append(pkgs, map[plan.Arch]string{
		plan.X8664: "gcc-x86-64-linux-gnu", plan.AArch64: "gcc-aarch64-linux-gnu",
	}[arch])
}
