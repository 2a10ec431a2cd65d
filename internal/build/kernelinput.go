package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/kconfig"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// Kernel is what the user's files say of a job's kernel.
type Kernel struct {
	// Config is the configuration after merging; empty where nothing is compiled.
	Config []byte
	// Base is the configuration file that the fragments are merged over.
	Base ConfigFile
	// Asked are the symbols that must come out as they were asked for.
	Asked []kconfig.Line

	patches  []kernel.Patch
	external []kernel.External
	source   []input // tarball, directory or packages of the user's; empty where Debian or kernel.org has it
	files    []input // of patches and external
}

// ConfigFile is a file kernel/configs/<config>-<series>.y-<arch>.
type ConfigFile struct {
	Name string // the file's name, without directory
	Data []byte
	Over []kconfig.Line // what is merged over it, in order
}

// readKernel reads everything of the user's that goes into the kernel.
func readKernel(req Request) (*Kernel, error) {
	k := &Kernel{}
	f := req.Flavor.Kernel
	if err := k.readSource(f.Source); err != nil {
		return nil, err
	}
	if f.Method != config.MethodSource {
		return k, nil
	}
	if err := k.readConfig(req); err != nil {
		return nil, err
	}
	for _, file := range f.Patches {
		in, err := newInput("patch", file, "", "")
		if err == nil {
			err = in.mustBe(false, "patch")
		}
		if err != nil {
			return nil, err
		}
		k.files = append(k.files, in)
		k.patches = append(k.patches, kernel.Patch{Name: filepath.Base(file), SHA256: in.sha256})
	}
	for _, x := range f.External {
		in, err := newModule(x)
		if err != nil {
			return nil, err
		}
		k.files = append(k.files, in)
		k.external = append(k.external, kernel.External{Name: x.Name, SHA256: in.sha256, Make: x.Make})
	}
	return k, nil
}

func (k *Kernel) readSource(s config.Source) error {
	read := func(from, want, suffix string) error {
		in, err := newInput("kernel", from, want, suffix)
		if err == nil {
			err = in.mustBe(s.Kind == config.SourceDir, "kernel")
		}
		k.source = append(k.source, in)
		return err
	}
	switch s.Kind {
	case config.SourceURL:
		return read(s.URL, s.SHA256, "")
	case config.SourceDir:
		return read(s.Dir, "", "")
	case config.SourceDebs:
		for _, file := range s.Debs {
			if err := read(file, "", ".deb"); err != nil {
				return err
			}
		}
	}
	return nil
}

// readConfig merges the configuration's parts.
func (k *Kernel) readConfig(req Request) error {
	f := req.Flavor.Kernel
	k.Base.Name = fmt.Sprintf("%s-%s.y-%s", f.Config, f.Series, req.Flavor.Arch)
	data, err := fs.ReadFile(req.Configs, k.Base.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return &InputError{What: fmt.Sprintf("flavor %s: there is no kernel/configs/%s, in the project or built in", req.Flavor.ID, k.Base.Name)}
	}
	if err != nil {
		return err
	}
	k.Base.Data = data
	lines, err := kconfig.Parse("kernel/configs/"+k.Base.Name, data)
	if err != nil {
		return err
	}
	if k.Base.Over, err = overrides(req); err != nil {
		return err
	}
	merged := kconfig.Merge(lines, k.Base.Over)
	k.Config = kconfig.Format(merged)
	k.Asked = k.Base.Over
	if !kconfig.IsFull(data) { // a complete .config says much that is not anybody's wish
		k.Asked = merged
	}
	return nil
}

// overrides are the lines that are merged over the configuration: the project's fragments, then those that the
// flavor names, then its single symbols.
func overrides(req Request) ([]kconfig.Line, error) {
	var all []kconfig.Line
	add := func(name string, data []byte, err error) error {
		if err != nil {
			return &InputError{What: fmt.Sprintf("fragment: %v", err)}
		}
		lines, err := kconfig.Parse(name, data)
		all = append(all, lines...)
		return err
	}
	for _, name := range ownFragments(req) {
		data, err := fs.ReadFile(req.Project, name)
		if err := add(name, data, err); err != nil {
			return nil, err
		}
	}
	for _, file := range req.Flavor.Kernel.Fragments {
		name, data, err := readFragment(req, file)
		if err == nil {
			err = CheckFragment(name, req.Flavor)
		}
		if err := add(name, data, err); err != nil {
			return nil, err
		}
	}
	for _, s := range req.Flavor.Kernel.Set {
		line, err := setting(s)
		if err != nil {
			return nil, err
		}
		all = append(all, line)
	}
	return kconfig.Merge(all), nil
}

// setting is a symbol of the flavor's `set`.
func setting(s config.Setting) (kconfig.Line, error) {
	if s.Value == "" { // of YAML's two kinds of quotes one is its own
		return kconfig.Line{}, &InputError{What: fmt.Sprintf(`%s: set: %s has no value; the empty text is '""', and n switches a symbol off`, s.Pos, s.Name)}
	}
	line, err := kconfig.ParseSet("set", s.Name+"="+s.Value)
	if err != nil {
		return line, &InputError{What: s.Pos + ": " + err.Error()}
	}
	line.Origin = kconfig.Origin{File: s.Pos}
	return line, nil
}

const fragmentDir = "kernel/configs/fragments"

// ownFragments are the project's fragments, in the order of their names. One that is called NAME.ARCH.config
// counts for that architecture only.
func ownFragments(req Request) []string {
	names, err := fs.Glob(req.Project, fragmentDir+"/*.config")
	if err != nil { // a malformed pattern only
		panic(err)
	}
	var own []string
	for _, name := range names {
		if a := fragmentArch(name); a == "" || a == req.Flavor.Arch {
			own = append(own, name)
		}
	}
	return own
}

// fragmentArch is the architecture that a fragment's name has, "" for all.
func fragmentArch(file string) plan.Arch {
	stem, ok := strings.CutSuffix(path.Base(filepath.ToSlash(file)), ".config")
	if !ok {
		return ""
	}
	arch, err := plan.ParseArch(strings.TrimPrefix(path.Ext(stem), "."))
	if err != nil {
		return ""
	}
	return arch
}

// CheckFragment refuses a fragment that by its name is one for another architecture than the flavor's. The error
// is an *InputError.
func CheckFragment(file string, f config.Flavor) error {
	if arch := fragmentArch(file); arch != "" && arch != f.Arch {
		return &InputError{What: fmt.Sprintf("%s is for %s, as its name says, and flavor %s is for %s", file, arch, f.ID, f.Arch)}
	}
	return nil
}

// readFragment reads a file that the flavor names. A name without a directory may also be that of a fragment of
// the project's or of a built-in one, with .config behind it or not. It returns the file's name, for messages.
func readFragment(req Request, file string) (string, []byte, error) {
	base := filepath.Base(file)
	isName := file == base || filepath.Dir(file) == filepath.Dir(req.LockFile) // where config puts a name of hookbuild.yaml
	data, err := os.ReadFile(file)
	if !errors.Is(err, fs.ErrNotExist) || !isName {
		return file, data, err
	}
	// The built-in ones have a directory of another name: in a clone of hookbuild they would be the project's, which
	// are merged without being asked for.
	for _, dir := range []string{"fragments", "optional"} {
		for _, name := range []string{base, base + ".config"} {
			data, err := fs.ReadFile(req.Configs, dir+"/"+name)
			if !errors.Is(err, fs.ErrNotExist) {
				return fragmentDir + "/" + name, data, err
			}
		}
	}
	return file, nil, fmt.Errorf("%w, and no fragment of that name is in the project's %s or built in", err, fragmentDir)
}

// planned is what the plan says of the kernel, but for what the lock knows.
func (k *Kernel) planned() plan.Kernel {
	var p plan.Kernel
	for _, in := range k.source {
		p.Source = append(p.Source, in.sha256)
	}
	if k.Base.Name != "" {
		p.Config = hexSum(k.Config)
	}
	for _, patch := range k.patches {
		p.Patches = append(p.Patches, plan.Source{Name: patch.Name, SHA256: patch.SHA256})
	}
	for _, x := range k.external {
		p.External = append(p.External, plan.External{Source: plan.Source{Name: x.Name, SHA256: x.SHA256}, Make: x.Make})
	}
	return p
}
