package build

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/iso"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/linuxkit"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// format is the version of everything in our own code that decides about bytes and is not hashed otherwise:
// the tree's layout, the archive, the compressor. It enters the plan id; count it up with every such change.
const format = "3"

// componentScheme marks an image reference that is a directory with a Dockerfile.
const componentScheme = "build:"

// Request says what to build.
type Request struct {
	Flavor    config.Flavor
	HostArch  string // the engine's architecture, Debian's name
	Suite     string
	LockFile  string
	LinuxKit  []string          // YAML files in place of the flavor's
	Base      string            // path of an initramfs that everything is laid over; "" for none
	Single    bool              // write one segment
	Vars      map[string]string // ${NAME} of the YAML
	Home      string            // what ~ of a `source:` stands for; "" makes that a fault
	Epoch     int64             // seconds since 1970; 0 takes the lock's newest index date
	Update    bool              // resolve anew although the lock has the flavor
	Refresh   bool              // resolve anew where the lock was made for other packages
	Command   string            // builds it again; for the manifest
	Version   string            // of hookbuild; it stands in the outputs
	Project   fs.FS             // the user's directory
	Configs   fs.FS             // kernel configs
	Userland  fs.FS             // component directories and hook.yaml
	BootSeeds []string          // packages that boot needs
	// AllowLostCapabilities lets files lose capabilities(7) that a container may need.
	AllowLostCapabilities bool
	// Packages reads a component's list of Debian packages.
	Packages func(fsys fs.FS, component string) (seeds, exclude []string, err error)
}

// Job is a build whose inputs are all settled.
type Job struct {
	Flavor     config.Flavor
	Plan       plan.Plan
	Entry      resolve.Entry
	Lock       resolve.Result
	Spec       *linuxkit.Spec
	Kernel     *Kernel
	Components []Component
	Command    string
	Version    string
	Base       string
	OwnYAML    bool // the LinuxKit YAML is the user's

	AllowLostCapabilities bool

	site site
}

// Component is a directory with a Dockerfile that the YAML names.
type Component struct {
	resolve.Component        // its Name is that of a directory in userland, or a path in the project
	Ref               string // as the YAML has it
	Files             fs.FS
}

// InputError is something in the user's files or on the command line that cannot be built.
type InputError struct{ What string }

// Error says what.
func (e *InputError) Error() string { return e.What }

// Prepare reads the flavor's files and resolves what they ask for. The lock is written where it lacks the
// flavor. m is asked only then.
func Prepare(ctx context.Context, req Request, m *Packages) (*Job, error) {
	j := &Job{
		Flavor: req.Flavor, Command: req.Command, Version: req.Version, Base: req.Base,
		OwnYAML: len(req.LinuxKit)+len(req.Flavor.Userland.LinuxKit) > 0, AllowLostCapabilities: req.AllowLostCapabilities,
	}
	var sources []plan.Source
	var err error
	if j.Spec, sources, err = readSpec(req); err != nil {
		return nil, err
	}
	if j.site, err = readSite(req.Flavor.Userland); err != nil {
		return nil, err
	}
	if j.Kernel, err = readKernel(req); err != nil {
		return nil, err
	}
	if j.Components, err = readComponents(req, j.Spec); err != nil {
		return nil, err
	}
	embedded, bundle, err := readEmbedded(ctx, req, m)
	if err != nil {
		return nil, err
	}
	in := resolve.Input{
		Flavor: req.Flavor, Epoch: req.Epoch, Recipe: recipe(req.Version), LinuxKit: sources, Vars: sortedVars(req.Vars),
		Kernel: j.Kernel.planned(), Single: req.Single, Embedded: embedded, Site: j.site.planned(),
	}
	if req.Flavor.Outputs.ISO {
		in.ISO = hexSum([]byte(iso.Recipe()))
	}
	if err := checkAliases(req.Flavor); err != nil {
		return nil, err
	}
	if req.Base != "" {
		if in.Base, err = hashBase(req.Base); err != nil {
			return nil, err
		}
	}
	for _, c := range j.Components {
		in.Components = append(in.Components, c.Component)
	}
	requests := resolve.Requests(req.Flavor, req.HostArch, in.Components, req.BootSeeds)
	o := resolve.Options{LockFile: req.LockFile, Suite: req.Suite, Update: req.Update, Refresh: req.Refresh, Bundle: bundle}
	if j.Lock, err = resolve.Flavor(ctx, req.Flavor, requests, imageRequests(j.Spec, embedded, req.Flavor.Arch), o, m); err != nil {
		return nil, err
	}
	j.Entry = j.Lock.Entry
	j.Plan, err = j.Entry.Plan(in)
	return j, err
}

// recipe is the digest of what hookbuild itself contributes to the outputs.
func recipe(version string) string {
	return hexSum([]byte(format + "\n" + version + "\n" + base.Recipe() + kernel.Recipe()))
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func sortedVars(vars map[string]string) []plan.Var {
	list := make([]plan.Var, 0, len(vars))
	for name, value := range vars {
		list = append(list, plan.Var{Name: name, Value: value})
	}
	slices.SortFunc(list, func(a, b plan.Var) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// The userland's own compositions, used where a flavor names none.
const (
	embeddedYAML = "hook.yaml"
	baseYAML     = "base.yaml" // over a base, which is composed already
	sshYAML      = "ssh.yaml"  // merged where the flavor has keys for an ssh server
)

// readSpec reads and merges the YAML files. Sources are named without their directory, which must not enter
// the plan.
func readSpec(req Request) (*linuxkit.Spec, []plan.Source, error) {
	spec, sources, err := readComposition(req)
	if err != nil || req.Flavor.Userland.AuthorizedKeys == "" {
		return spec, sources, err
	}
	ssh, source, err := embeddedSpec(req, sshYAML)
	if err != nil {
		return nil, nil, err
	}
	return linuxkit.Merge(spec, ssh), append(sources, source...), nil
}

func readComposition(req Request) (*linuxkit.Spec, []plan.Source, error) {
	files := req.LinuxKit
	if len(files) == 0 && req.Base != "" {
		return embeddedSpec(req, baseYAML)
	}
	if len(files) == 0 {
		files = req.Flavor.Userland.LinuxKit
	}
	if len(files) == 0 {
		return embeddedSpec(req, embeddedYAML)
	}
	var spec *linuxkit.Spec
	var sources []plan.Source
	for _, file := range files {
		data, err := readYAML(req, file)
		if err != nil {
			return nil, nil, &InputError{What: fmt.Sprintf("LinuxKit YAML: %v", err)}
		}
		next, err := linuxkit.ParseWith(file, data, parseOptions(req))
		if err != nil {
			return nil, nil, err
		}
		if spec != nil {
			next = linuxkit.Merge(spec, next)
		}
		spec = next
		sources = append(sources, plan.Source{Name: filepath.Base(file), SHA256: hexSum(data)})
	}
	more, err := sourceFiles(spec)
	return spec, append(sources, more...), err
}

// userlandDir is the directory of a project whose files go before the built-in ones of the same name.
const userlandDir = "userland"

// readYAML reads a file; where a project has no userland/NAME, that is the built-in one.
func readYAML(req Request, file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && filepath.Base(filepath.Dir(file)) == userlandDir {
		if builtIn, none := fs.ReadFile(req.Userland, filepath.Base(file)); none == nil {
			return builtIn, nil
		}
	}
	return data, err
}

// embeddedSpec reads one of the userland's own compositions, which the project may replace.
func embeddedSpec(req Request, name string) (*linuxkit.Spec, []plan.Source, error) {
	data, err := fs.ReadFile(req.Userland, name)
	if err != nil {
		return nil, nil, err
	}
	o := parseOptions(req)
	o.Template = linuxkit.TemplateNone // the flavor's is of its own YAML
	spec, err := linuxkit.ParseWith("userland/"+name, data, o)
	return spec, []plan.Source{{Name: name, SHA256: hexSum(data)}}, err
}

func parseOptions(req Request) linuxkit.ParseOptions {
	o := linuxkit.ParseOptions{Vars: req.Vars, Template: linuxkit.Template(req.Flavor.Userland.Template), WorkDir: ".", Home: req.Home}
	if o.Template == linuxkit.TemplateHook {
		o.Vars = hookVars(req)
	}
	return o
}

// hookVars are the declared variables, and what upstream's build declares by itself.
func hookVars(req Request) map[string]string {
	k := req.Flavor.Kernel
	vars := map[string]string{
		"HOOK_VERSION": req.Version, "HOOK_KERNEL_ID": req.Flavor.ID, "HOOK_KERNEL_VERSION": cmp.Or(k.Version, k.Series),
	}
	maps.Copy(vars, req.Vars)
	return vars
}

// sourceFiles are the files that `source:` names.
func sourceFiles(spec *linuxkit.Spec) ([]plan.Source, error) {
	var sources []plan.Source
	for _, file := range spec.Sources() {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // `optional` may allow it; the assembly decides
		}
		if err != nil {
			return nil, &InputError{What: err.Error()}
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, &InputError{What: err.Error()}
		}
		sources = append(sources, plan.Source{Name: filepath.Base(file), SHA256: hex.EncodeToString(h.Sum(nil))})
	}
	return sources, nil
}

// readComponents finds the directories that the YAML names as build:NAME or build:DIR.
func readComponents(req Request, spec *linuxkit.Spec) ([]Component, error) {
	var all []Component
	for _, l := range spec.Layouts() {
		if strings.HasPrefix(l.Ref, componentScheme) {
			return nil, &InputError{What: fmt.Sprintf("a volume of format oci cannot hold %s: want an image of the engine, of a registry, oci: or archive:", l.Ref)}
		}
	}
	for _, ref := range spec.Images() {
		if !strings.HasPrefix(ref, componentScheme) {
			continue
		}
		c, err := readComponent(req, ref)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Component) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Ref, b.Ref)) })
	return all, nil
}

// imageRequests are the images that are made elsewhere: those that the YAML names, and those to bring along.
func imageRequests(spec *linuxkit.Spec, embedded []plan.Embedded, arch plan.Arch) []resolve.ImageRequest {
	var all []resolve.ImageRequest
	for _, e := range embedded {
		all = append(all, resolve.ImageRequest{Ref: e.Ref, Platform: platformOf(arch)})
	}
	for _, ref := range spec.Images() {
		if !strings.HasPrefix(ref, componentScheme) {
			all = append(all, resolve.ImageRequest{Ref: ref, Platform: platformOf(arch)})
		}
	}
	for _, l := range spec.Layouts() {
		for _, platform := range layoutPlatforms(l, arch) {
			all = append(all, resolve.ImageRequest{Ref: l.Ref, Platform: platform})
		}
	}
	slices.SortFunc(all, func(a, b resolve.ImageRequest) int {
		return cmp.Or(cmp.Compare(a.Ref, b.Ref), cmp.Compare(a.Platform, b.Platform))
	})
	return slices.Compact(all)
}

func platformOf(arch plan.Arch) string { return "linux/" + arch.Debian() }

// componentName is one path element that may also stand in an image's tag.
var componentName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

// readComponent reads the directory that a reference means: userland/NAME, of the project or built in, or any
// other directory of the project.
func readComponent(req Request, ref string) (c Component, err error) {
	name := strings.TrimPrefix(ref, componentScheme)
	from, where := req.Userland, "userland/"+name+"/Dockerfile, in the project or built in"
	if strings.Contains(name, "/") {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
		from, where = req.Project, name+"/Dockerfile in the project"
	}
	if !fs.ValidPath(name) || !componentName.MatchString(path.Base(name)) {
		return c, &InputError{What: fmt.Sprintf("image %s: %q is no name of a directory in userland, nor a path inside the project", ref, name)}
	}
	if _, err := fs.Stat(from, path.Join(name, "Dockerfile")); err != nil {
		return c, &InputError{What: fmt.Sprintf("image %s: there is no %s", ref, where)}
	}
	if c.Files, err = fs.Sub(from, name); err != nil {
		return c, err
	}
	c.Ref, c.Name = ref, name
	if c.SHA256, err = image.Digest(c.Files); err != nil {
		return c, &InputError{What: fmt.Sprintf("image %s: %v", ref, err)}
	}
	if _, err := fs.Stat(c.Files, "packages"); errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if c.Seeds, c.Exclude, err = req.Packages(from, name); err != nil {
		return c, &InputError{What: err.Error()}
	}
	return c, nil
}

// checkAliases finds what would else be found only when everything is built.
func checkAliases(f config.Flavor) error {
	for _, a := range f.Outputs.Aliases {
		if a.Of == artifacts.ISOName(f.Arch) && !f.Outputs.ISO {
			return &artifacts.MissingFileError{Alias: a.Name, Of: a.Of}
		}
	}
	return nil
}
