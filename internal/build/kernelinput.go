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
		in, err := newInput("external module "+x.Name, x.URL, x.SHA256, "")
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
	own, err := ownFragments(req)
	if err != nil {
		return nil, err
	}
	for _, name := range own {
		data, err := fs.ReadFile(req.Project, name)
		if err := add(name, data, err); err != nil {
			return nil, err
		}
	}
	for _, file := range req.Flavor.Kernel.Fragments {
		data, err := readFragment(req, file)
		if err := add(file, data, err); err != nil {
			return nil, err
		}
	}
	for _, s := range req.Flavor.Kernel.Set {
		line, err := kconfig.ParseSet(s.Pos, s.Name+"="+s.Value)
		if err != nil {
			return nil, err
		}
		all = append(all, line)
	}
	return kconfig.Merge(all), nil
}

const fragmentDir = "kernel/configs/fragments"

// ownFragments are the project's fragments, in the order of their names. One that is called NAME.ARCH.config
// counts for that architecture only.
func ownFragments(req Request) ([]string, error) {
	names, err := fs.Glob(req.Project, fragmentDir+"/*.config")
	if err != nil { // a malformed pattern only
		panic(err)
	}
	var own []string
	for _, name := range names {
		arch := strings.TrimPrefix(path.Ext(strings.TrimSuffix(name, ".config")), ".")
		if a, err := plan.ParseArch(arch); err == nil && a != req.Flavor.Arch {
			continue
		}
		own = append(own, name)
	}
	return own, nil
}

// readFragment reads a file that the flavor names, or the built-in fragment of that name.
func readFragment(req Request, file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	if built, berr := fs.ReadFile(req.Configs, "fragments/"+filepath.Base(file)); berr == nil {
		return built, nil
	}
	return nil, err
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
