// Package kernel makes a kernel for HookOS: a source or a finished kernel goes in, a container image comes out
// that holds what LinuxKit expects of a kernel image: /kernel, /kernel.tar (modules, an uncompressed tar),
// /System.map, /config and /dtbs.tar.gz; and /metadata.json, which says what it was made from.
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
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client/llb"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/kconfig"
	"github.com/hookbuild/hookbuild/internal/modules"
	"github.com/hookbuild/hookbuild/internal/plan"
)

//go:embed package.sh
var packageScript string

//go:embed prepare.sh
var prepareScript string

//go:embed compile.sh
var compileScript string

//go:embed kconfig.sh
var kconfigScript string

// Recipe is everything of this package that decides about an initramfs besides a Spec and a Selection.
func Recipe() string { return recipe() + modules.Recipe() }

// recipe is the part of it that decides about a kernel's image.
func recipe() string {
	return packageScript + prepareScript + compileScript + kconfigScript +
		kconfig.QuerySource() + kconfig.InstallScript() + kconfig.SubsetScript()
}

// Repository is the name under which kernel images stand in the engine.
const Repository = "hookbuild/kernel"

// Spec says which kernel to make. Every method gives an image of the same form.
type Spec struct {
	Arch     plan.Arch
	HostArch string // the engine's architecture, Debian's name
	Epoch    int64  // seconds since 1970; every time in the result
	Image    string // the Debian image that the work runs in; to compile, it holds the toolchain
	Source   Source
	Config   []byte // the configuration that is asked for; not looked at where nothing is compiled
	Patches  []Patch
	External []External
	// Tree names the build tree: kernels of one name compile in the same one, so that what a changed symbol
	// does not touch is not compiled again. It has no influence on the result.
	Tree string
	// Command builds this kernel again; it stands in a label of the image, and has no influence either.
	Command string
}

// Patch changes the source. Patches are applied in order, with -p1 and without fuzz.
type Patch struct {
	Name   string `json:"name"` // for messages
	SHA256 string `json:"sha256"`
}

// External is a module that is not in the kernel's source. Its tarball has one directory at the top, or none;
// the sources lie there or in src.
type External struct {
	Name   string   `json:"name"`
	SHA256 string   `json:"sha256"`
	Make   []string `json:"make,omitempty"` // arguments for the module's own Makefile; none: kbuild compiles it
}

// Inputs gets what a Spec names onto this host. It is called only where there is something to do.
type Inputs func(ctx context.Context) (map[string]engine.Local, error)

// Names of the directories that Inputs returns: the source, and the files that are handed in by their digest.
const (
	SourceInput = "source"
	FilesInput  = "files"
)

// identity is what decides about the kernel's content, in a form that can be read again in the image.
type identity struct {
	Arch      plan.Arch  `json:"arch"`
	Epoch     int64      `json:"epoch"`
	Toolchain string     `json:"toolchain"`
	Source    Source     `json:"source"`
	Config    string     `json:"asked_config_sha256,omitempty"`
	Patches   []Patch    `json:"patches,omitempty"`
	External  []External `json:"external_modules,omitempty"`
	Recipe    string     `json:"recipe"`
}

// Identity is what decides about the kernel's content, in JSON: what the tag is a digest of, and what
// /metadata.json has.
func (s Spec) Identity() []byte {
	id := identity{
		Arch: s.Arch, Epoch: s.Epoch, Toolchain: s.Image, Source: s.Source,
		Patches: s.Patches, External: s.External, Recipe: hexSum([]byte(recipe())),
	}
	if s.Source.compiled() {
		id.Config = hexSum(s.Config)
	}
	return mustJSON(id)
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil { // strings, numbers and slices of them only
		panic(err)
	}
	return data
}

// Ref is the name of the kernel's image; its tag is a digest of everything that enters.
func (s Spec) Ref() string {
	return fmt.Sprintf("%s:%s-%s", Repository, s.Arch.Debian(), hexSum(s.Identity())[:16])
}

// builder is the part of an engine that makes images.
type builder interface {
	Has(ctx context.Context, ref string) (bool, error)
	Build(ctx context.Context, b engine.Build) error
}

// Compile makes the kernel's image from source, with the complete configuration that Configure has returned.
// clean, which has another value each time, compiles everything in an empty tree and without ccache, as a proof
// that the result is the same; usually it is empty. A failing build is an *Error.
func (s Spec) Compile(ctx context.Context, e builder, config []byte, clean string, in Inputs, log func(engine.Event)) (warnings []string, err error) {
	more := []llb.RunOption{
		llb.AddMount("/config", s.configFiles(config), llb.Readonly),
		llb.AddMount("/build/src", llb.Scratch(), llb.AsPersistentCacheDir(s.sourceID(), llb.CacheMountShared)),
		llb.AddMount("/build/obj", llb.Scratch(), llb.AsPersistentCacheDir(s.treeID(), llb.CacheMountLocked)),
		llb.AddMount("/ccache", llb.Scratch(), llb.AsPersistentCacheDir(ccacheID, llb.CacheMountShared)),
		llb.AddEnv("PREPARE", prepareScript),
		llb.AddEnv("TOOLCHAIN", s.Image),
		// A new value is enough for the step to run again; llb.IgnoreCache would also throw the source away.
		llb.AddEnv("CLEAN", clean),
	}
	return s.run(ctx, e, step{script: compileScript, name: "compile the kernel", more: more}, in, log)
}

// Unpack makes the kernel's image from a kernel that is compiled already.
func (s Spec) Unpack(ctx context.Context, e builder, in Inputs, log func(engine.Event)) (warnings []string, err error) {
	more := []llb.RunOption{llb.AddMount("/config", s.configFiles(nil), llb.Readonly)}
	return s.run(ctx, e, step{script: packageScript, name: "take the kernel apart", more: more}, in, log)
}

// step is a program that makes the kernel's image in /out.
type step struct {
	script, name string
	more         []llb.RunOption
}

func (s Spec) run(ctx context.Context, e builder, st step, in Inputs, log func(engine.Event)) ([]string, error) {
	locals, err := in(ctx)
	if err != nil {
		return nil, err
	}
	def, err := s.exec(st, locals).AddMount("/out", llb.Scratch()).Marshal(ctx, llb.Platform(base.Platform(s.HostArch)))
	if err != nil {
		return nil, err
	}
	w := watch{to: log}
	b := engine.Build{Definition: def, Tag: s.Ref(), Config: s.imageConfig(), Log: w.event, Locals: locals}
	err = w.failure(e.Build(ctx, b))
	return w.warnings, err
}

// exec is the step in LLB. The network is off in it.
func (s Spec) exec(st step, locals map[string]engine.Local) llb.ExecState {
	opts := []llb.RunOption{
		llb.Args([]string{"/bin/sh", "-c", st.script}),
		llb.AddEnv("PATH", base.Path),
		llb.AddEnv("HOME", "/root"),
		llb.AddEnv("LC_ALL", "C"),
		llb.AddEnv("EPOCH", strconv.FormatInt(s.Epoch, 10)),
		llb.AddEnv("KARCH", s.Arch.Kbuild()),
		llb.AddEnv("CROSS_COMPILE", s.crossCompile()),
		llb.AddEnv("SOURCE", s.Source.form()),
		llb.Network(llb.NetModeNone),
		llb.WithCustomName(st.name),
	}
	for name, l := range locals { // the order of mounts does not matter: LLB sorts them
		local := []llb.LocalOption{llb.WithCustomName("hand in the kernel's " + name)}
		if len(l.Include) > 0 {
			local = append(local, llb.IncludePatterns(l.Include))
		} else { // the engine compares with what it was sent before under a key, by size and time
			local = append(local, llb.SharedKeyHint(strings.Join(s.Source.SHA256, " ")))
		}
		opts = append(opts, llb.AddMount("/"+name, llb.Local(name, local...), llb.Readonly))
	}
	if s.Source.Kind == Tarball {
		opts = append(opts, llb.AddEnv("TARBALL", s.Source.SHA256[0]))
	}
	return llb.Image(s.Image).Run(append(opts, st.more...)...)
}

// configFiles is /config: the small files that say what to do. They are part of the definition, so that no
// comparison by size and time can take one for another.
func (s Spec) configFiles(config []byte) llb.State {
	st := llb.Scratch()
	write := func(name string, data []byte) {
		st = st.File(llb.Mkfile(name, 0o644, data), llb.WithCustomName("hand in "+name[1:]))
	}
	write("/spec.json", s.Identity())
	if config != nil {
		write("/config", config)
	}
	if len(s.Patches) > 0 {
		var list []byte
		for _, p := range s.Patches {
			list = fmt.Appendf(list, "%s %s\n", p.SHA256, p.Name)
		}
		write("/patches", list)
	}
	for i, x := range s.External {
		dir := fmt.Sprintf("/external/%03d", i)
		st = st.File(llb.Mkdir(dir, 0o755, llb.WithParents(true)), llb.WithCustomName("hand in the external modules"))
		write(dir+"/name", []byte(x.Name))
		write(dir+"/file", []byte(x.SHA256))
		var args []byte
		for _, arg := range x.Make {
			args = append(args, arg+"\n"...)
		}
		write(dir+"/make", args)
	}
	return st
}

// ccacheID is the compiler's cache, for all kernels of an engine.
const ccacheID = "hookbuild-ccache"

// sourceID names the cache with the patched source.
func (s Spec) sourceID() string {
	return "hookbuild-source-" + hexSum(mustJSON([]any{s.Source, s.Patches, prepareScript}))[:16]
}

// treeID names the build tree's cache: one per name, source, patches, architecture and toolchain, so that a
// changed symbol finds its tree again and a changed compiler never does.
func (s Spec) treeID() string {
	return "hookbuild-kernel-" + hexSum(mustJSON([]any{s.Tree, s.Arch, s.Image, s.sourceID()}))[:16]
}

func (s Spec) crossCompile() string {
	if s.Arch.Debian() == s.HostArch {
		return ""
	}
	return map[plan.Arch]string{plan.X8664: "x86_64-linux-gnu-", plan.AArch64: "aarch64-linux-gnu-"}[s.Arch]
}

// CommandLabel is the image's label with the command that builds it again.
const CommandLabel = "io.hookbuild.command"

func (s Spec) imageConfig() []byte {
	return mustJSON(map[string]any{
		"architecture": s.Arch.Debian(), "os": "linux",
		"config": map[string]any{"Labels": map[string]string{CommandLabel: s.Command}},
	})
}

// MetadataName is the file of the image that says what the kernel was made from.
const MetadataName = "metadata.json"

// Metadata is what that file says.
type Metadata struct {
	Release      string `json:"release"`       // uname -r
	Compiler     string `json:"compiler"`      // first line of gcc --version; what a finished kernel says of itself
	ConfigSHA256 string `json:"config_sha256"` // of the final configuration, /config
	Spec         any    `json:"spec"`          // what decided about it, a JSON object
}

// maxMetadata bounds the file, in bytes.
const maxMetadata = 1 << 20

// ReadMetadata reads it.
func ReadMetadata(r io.Reader) (Metadata, error) {
	var m Metadata
	data, err := io.ReadAll(io.LimitReader(r, maxMetadata))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%s of the kernel image: %w", MetadataName, err)
	}
	return m, nil
}

// Made says whether an image with this metadata was made from s.
func (s Spec) Made(m Metadata) bool {
	var own any
	if err := json.Unmarshal(s.Identity(), &own); err != nil {
		return false
	}
	return reflect.DeepEqual(own, m.Spec)
}

// Toolchain returns the Debian packages that compile a kernel for arch on a machine of hostArch, and that its
// menus need.
func Toolchain(arch plan.Arch, hostArch string) []string {
	pkgs := []string{
		"bc", "bison", "ccache", "cpio", "flex", "gcc", "kmod", "libelf-dev", "libncurses-dev", "libssl-dev", "lz4", "make",
		"openssl", "patch", "pkgconf", "xz-utils", "zstd",
	}
	if arch.Debian() == hostArch {
		return pkgs
	}
	return append(pkgs, map[plan.Arch]string{
		plan.X8664: "gcc-x86-64-linux-gnu", plan.AArch64: "gcc-aarch64-linux-gnu",
	}[arch])
}

// IsCacheMount says whether BuildKit's text about a cache mount is about one of this package's. Newer ones of BuildKit
// end it with the mount's id; that of Docker Engine 20.10 names just where it is mounted, and the script.
func IsCacheMount(text string) bool {
	if _, id, ok := strings.Cut(text, ` with id "`); ok {
		return strings.HasPrefix(id[strings.LastIndex(id, "/")+1:], "hookbuild-")
	}
	mounts := []string{"/build/src", "/build/obj", "/ccache"}
	at, script, ok := strings.Cut(strings.TrimPrefix(text, "cached mount "), " from exec /bin/sh -c ")
	return ok && slices.Contains(mounts, at) && strings.Contains(script, `eval "$PREPARE"`) && strings.Contains(script, "hookbuild")
}
