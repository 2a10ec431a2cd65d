package linuxkit

import (
	"reflect"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// document is a LinuxKit YAML as it is written.
type document struct {
	Kernel   kernel                   `yaml:"kernel"`
	Init     []strictyaml.Value[ref]  `yaml:"init"`
	Onboot   []container              `yaml:"onboot"`
	Services []container              `yaml:"services"`
	Files    []file                   `yaml:"files"`
	Trust    strictyaml.Value[*trust] `yaml:"trust"`
	_        struct{}                 `unsupported:"onshutdown volumes"`
}

type kernel struct {
	Image   strictyaml.Value[string] `yaml:"image,literal"` // checkKernel expands it
	Cmdline strictyaml.Value[string] `yaml:"cmdline"`
	_       struct{}                 `unsupported:"binary tar ucode"`
}

// trust is what old LinuxKit files say about signatures of images; LinuxKit itself ignores it.
type trust struct {
	Image []string `yaml:"image"`
	Org   []string `yaml:"org"`
}

// container is an entry of onboot or services.
type container struct {
	Name  strictyaml.Value[name] `yaml:"name,required"`
	Image strictyaml.Value[ref]  `yaml:"image,required"`
	options
}

// options are the keys that both a container of the YAML and the image label org.mobyproject.config take.
type options struct {
	Command           strictyaml.Value[[]string]               `yaml:"command"`
	Env               strictyaml.Value[[]string]               `yaml:"env"`
	Cwd               strictyaml.Value[string]                 `yaml:"cwd"`
	Capabilities      strictyaml.Value[[]capability]           `yaml:"capabilities"`
	CapabilitiesAdd   strictyaml.Value[[]capability]           `yaml:"capabilities.add"`
	Ambient           strictyaml.Value[[]capability]           `yaml:"ambient"`
	Binds             strictyaml.Value[[]bind]                 `yaml:"binds"`
	BindsAdd          strictyaml.Value[[]bind]                 `yaml:"binds.add"`
	Mounts            strictyaml.Value[[]mount]                `yaml:"mounts"`
	Tmpfs             strictyaml.Value[[]tmpfs]                `yaml:"tmpfs"`
	Devices           strictyaml.Value[[]device]               `yaml:"devices"`
	Net               strictyaml.Value[namespace]              `yaml:"net"`
	IPC               strictyaml.Value[namespace]              `yaml:"ipc"`
	UTS               strictyaml.Value[namespace]              `yaml:"uts"`
	PID               strictyaml.Value[namespace]              `yaml:"pid"`
	Hostname          strictyaml.Value[string]                 `yaml:"hostname"`
	Readonly          strictyaml.Value[bool]                   `yaml:"readonly"`
	UID               strictyaml.Value[ident]                  `yaml:"uid"`
	GID               strictyaml.Value[ident]                  `yaml:"gid"`
	AdditionalGIDs    strictyaml.Value[[]ident]                `yaml:"additionalGids"`
	NoNewPrivileges   strictyaml.Value[bool]                   `yaml:"noNewPrivileges"`
	OOMScoreAdj       strictyaml.Value[int]                    `yaml:"oomScoreAdj"`
	RootfsPropagation strictyaml.Value[string]                 `yaml:"rootfsPropagation"`
	CgroupsPath       strictyaml.Value[string]                 `yaml:"cgroupsPath"`
	MaskedPaths       strictyaml.Value[[]string]               `yaml:"maskedPaths"`
	ReadonlyPaths     strictyaml.Value[[]string]               `yaml:"readonlyPaths"`
	Sysctl            strictyaml.Value[strictyaml.Map[string]] `yaml:"sysctl"`
	Rlimits           strictyaml.Value[[]rlimit]               `yaml:"rlimits"`
	Annotations       strictyaml.Value[strictyaml.Map[string]] `yaml:"annotations"`
	Runtime           runtimeOptions                           `yaml:"runtime"`
	_                 struct{}                                 `unsupported:"resources userns uidMappings gidMappings"`
}

// runtimeOptions is what is prepared before a container starts.
type runtimeOptions struct {
	Cgroups strictyaml.Value[[]string] `yaml:"cgroups"`
	Mounts  strictyaml.Value[[]mount]  `yaml:"mounts"`
	Mkdir   strictyaml.Value[[]string] `yaml:"mkdir"`
	_       struct{}                   `unsupported:"interfaces bindNS namespace"`
}

// over returns o with what it does not say taken from weak. A value is replaced as a whole, never merged;
// an empty string says nothing.
func (o options) over(weak options) options {
	fillIn(reflect.ValueOf(&o).Elem(), reflect.ValueOf(weak))
	return o
}

// fillIn copies each Value of weak that strong lacks. It works by reflection so that a new key cannot be
// forgotten here.
func fillIn(strong, weak reflect.Value) {
	for i := range strong.NumField() {
		s, w := strong.Field(i), weak.Field(i)
		if !s.CanSet() { // the list of unsupported keys
			continue
		}
		value, ok := s.Interface().(interface{ Set() bool })
		switch {
		case !ok:
			fillIn(s, w)
		case !value.Set(), s.FieldByName("V").Kind() == reflect.String && s.FieldByName("V").Len() == 0:
			s.Set(w)
		}
	}
}

// checkKernel expands variables in the image's reference unless it stands for the flavor's kernel.
func checkKernel(r *strictyaml.Reader, k *kernel) {
	if !k.Image.Set() || k.Image.V == "" || k.Image.V == FlavorKernel {
		return
	}
	text, err := r.Expand(k.Image.V)
	if err == nil {
		err = checkRef(text)
	}
	if err != nil {
		r.Faultf(k.Image.Pos, `"image": %v`, err)
		return
	}
	k.Image.V = text
}

// checkOptions finds what is wrong with values that are right one by one.
func checkOptions(r *strictyaml.Reader, o options) {
	for _, list := range []strictyaml.Value[[]capability]{o.Capabilities, o.CapabilitiesAdd, o.Ambient} {
		if err := checkCapabilities(list.V); err != nil {
			r.Faultf(list.Pos, "%v", err)
		}
	}
	for key, n := range map[string]strictyaml.Value[namespace]{"ipc": o.IPC, "uts": o.UTS, "pid": o.PID} {
		if n.V == "none" {
			r.Faultf(n.Pos, "%q: only the network can be none: want host, new or an absolute path", key)
		}
	}
	for _, m := range o.Mounts.V {
		if _, err := m.complete(); err != nil {
			r.Faultf(m.Pos, "%v", err)
		}
	}
	for _, m := range o.Runtime.Mounts.V {
		if m.Destination == "" {
			r.Faultf(m.Pos, `key "destination" is missing`)
		}
	}
	for _, d := range o.Devices.V {
		if err := d.check(); err != nil {
			r.Faultf(d.Pos, "%v", err)
		}
	}
	if o.OOMScoreAdj.V < -1000 || o.OOMScoreAdj.V > 1000 {
		r.Faultf(o.OOMScoreAdj.Pos, `"oomScoreAdj": want -1000 to 1000, got %d`, o.OOMScoreAdj.V)
	}
}
