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
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/linuxkit"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// format is the version of everything in our own code that decides about bytes and is not hashed otherwise:
// the tree's layout, the archive, the compressor. It enters the plan id; count it up with every such change.
const format = "1"

// componentScheme marks an image reference that is a directory with a Dockerfile.
const componentScheme = "build:"

// Request says what to build.
type Request struct {
	Flavor    config.Flavor
	HostArch  string // the engine's architecture, Debian's name
	Suite     string
	LockFile  string
	LinuxKit  []string          // YAML files in place of the flavor's
	Vars      map[string]string // ${NAME} of the YAML
	Epoch     int64             // seconds since 1970; 0 takes the lock's newest index date
	Update    bool              // resolve anew although the lock has the flavor
	Refresh   bool              // resolve anew where the lock was made for other packages
	Command   string            // builds it again; for the manifest
	Version   string            // of hookbuild; it stands in the outputs
	Project   fs.FS             // the user's directory
	Configs   fs.FS             // kernel configs
	Userland  fs.FS             // component directories and hook.yaml
	BootSeeds []string          // packages that boot needs
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
}

// Component is a directory of HookOS's userland that the YAML names.
type Component struct {
	resolve.Component
	Files fs.FS
}

// InputError is something in the user's files or on the command line that cannot be built.
type InputError struct{ What string }

// Error says what.
func (e *InputError) Error() string { return e.What }

// Prepare reads the flavor's files and resolves what they ask for. The lock is written where it lacks the
// flavor. m is asked only then.
func Prepare(ctx context.Context, req Request, m *Packages) (*Job, error) {
	j := &Job{Flavor: req.Flavor, Command: req.Command, Version: req.Version}
	var sources []plan.Source
	var err error
	if j.Spec, sources, err = readSpec(req); err != nil {
		return nil, err
	}
	if j.Kernel, err = readKernel(req); err != nil {
		return nil, err
	}
	if j.Components, err = readComponents(req, j.Spec); err != nil {
		return nil, err
	}
	in := resolve.Input{
		Flavor: req.Flavor, Epoch: req.Epoch, Recipe: recipe(req.Version), LinuxKit: sources, Vars: sortedVars(req.Vars),
		Kernel: j.Kernel.planned(),
	}
	for _, c := range j.Components {
		in.Components = append(in.Components, c.Component)
	}
	requests := resolve.Requests(req.Flavor, req.HostArch, in.Components, req.BootSeeds)
	o := resolve.Options{LockFile: req.LockFile, Suite: req.Suite, Update: req.Update, Refresh: req.Refresh}
	if j.Lock, err = resolve.Flavor(ctx, req.Flavor, requests, o, m); err != nil {
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

// embeddedYAML is the userland's own composition, used where a flavor names none.
const embeddedYAML = "hook.yaml"

// readSpec reads and merges the YAML files. Sources are named without their directory, which must not enter
// the plan.
func readSpec(req Request) (*linuxkit.Spec, []plan.Source, error) {
	files := req.LinuxKit
	if len(files) == 0 {
		files = req.Flavor.Userland.LinuxKit
	}
	if len(files) == 0 {
		data, err := fs.ReadFile(req.Userland, embeddedYAML)
		if err != nil {
			return nil, nil, err
		}
		spec, err := linuxkit.Parse("userland/"+embeddedYAML, data, req.Vars)
		return spec, []plan.Source{{Name: embeddedYAML, SHA256: hexSum(data)}}, err
	}
	var spec *linuxkit.Spec
	var sources []plan.Source
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, &InputError{What: fmt.Sprintf("LinuxKit YAML: %v", err)}
		}
		next, err := linuxkit.Parse(file, data, req.Vars)
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

// readComponents finds the directories that the YAML names as build:NAME.
func readComponents(req Request, spec *linuxkit.Spec) ([]Component, error) {
	var all []Component
	for _, ref := range spec.Images() {
		name, ok := strings.CutPrefix(ref, componentScheme)
		if !ok {
			continue
		}
		c, err := readComponent(req, name)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Component) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// componentName is one path element that may also stand in an image's tag.
var componentName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

func readComponent(req Request, name string) (Component, error) {
	var c Component
	if !componentName.MatchString(name) {
		return c, &InputError{What: fmt.Sprintf("image %s%s: %q is no name of a directory in userland", componentScheme, name, name)}
	}
	if _, err := fs.Stat(req.Userland, name+"/Dockerfile"); err != nil {
		return c, &InputError{What: fmt.Sprintf("image %s%s: there is no userland/%s/Dockerfile, in the project or built in", componentScheme, name, name)}
	}
	dir, err := fs.Sub(req.Userland, name)
	if err != nil {
		return c, err
	}
	sum, err := image.Digest(dir)
	if err != nil {
		return c, fmt.Errorf("userland/%s: %w", name, err)
	}
	seeds, exclude, err := req.Packages(req.Userland, name)
	if err != nil {
		return c, &InputError{What: err.Error()}
	}
	c.Component = resolve.Component{Name: name, SHA256: sum, Seeds: seeds, Exclude: exclude}
	c.Files = dir
	return c, nil
}
