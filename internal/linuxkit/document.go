package linuxkit

import (
	"reflect"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// document is a LinuxKit YAML as it is written. Its keys, and those of all types below it, stand in the order
// in which LinuxKit writes them itself (metadata of `files:`).
type document struct {
	Kernel     kernel                   `yaml:"kernel"`
	Init       []strictyaml.Value[ref]  `yaml:"init"`
	Onboot     []container              `yaml:"onboot"`
	Onshutdown []container              `yaml:"onshutdown"`
	Services   []container              `yaml:"services"`
	Files      []file                   `yaml:"files"`
	Volumes    []volume                 `yaml:"volumes"`
	Trust      strictyaml.Value[*trust] `yaml:"trust"`
}

type kernel struct {
	Image   strictyaml.Value[string]    `yaml:"image,literal"` // checkKernel expands it
	Cmdline strictyaml.Value[string]    `yaml:"cmdline"`
	Binary  strictyaml.Value[imagePath] `yaml:"binary"`
	Tar     strictyaml.Value[imagePath] `yaml:"tar"`
	UCode   strictyaml.Value[imagePath] `yaml:"ucode"`
}

// trust is what old LinuxKit files say about signatures of images; LinuxKit itself ignores it.
type trust struct {
	Image []string `yaml:"image"`
	Org   []string `yaml:"org"`
}

// container is an entry of onboot, onshutdown or services.
type container struct {
	Name  strictyaml.Value[name] `yaml:"name,required"`
	Image strictyaml.Value[ref]  `yaml:"image,required"`
	options
}

// options are the keys that both a container of the YAML and the image label org.mobyproject.config take.
type options struct {
	Capabilities      strictyaml.Value[[]capability]           `yaml:"capabilities"`
	CapabilitiesAdd   strictyaml.Value[[]capability]           `yaml:"capabilities.add"`
	Ambient           strictyaml.Value[[]capability]           `yaml:"ambient"`
	Mounts            strictyaml.Value[[]mount]                `yaml:"mounts"`
	Binds             strictyaml.Value[[]bind]                 `yaml:"binds"`
	BindsAdd          strictyaml.Value[[]bind]                 `yaml:"binds.add"`
	Devices           strictyaml.Value[[]device]               `yaml:"devices"`
	Tmpfs             strictyaml.Value[[]tmpfs]                `yaml:"tmpfs"`
	Command           strictyaml.Value[[]string]               `yaml:"command"`
	Env               strictyaml.Value[[]string]               `yaml:"env"`
	Cwd               strictyaml.Value[string]                 `yaml:"cwd"`
	Net               strictyaml.Value[namespace]              `yaml:"net"`
	PID               strictyaml.Value[namespace]              `yaml:"pid"`
	IPC               strictyaml.Value[namespace]              `yaml:"ipc"`
	UTS               strictyaml.Value[namespace]              `yaml:"uts"`
	UserNS            strictyaml.Value[namespace]              `yaml:"userns"`
	Hostname          strictyaml.Value[string]                 `yaml:"hostname"`
	Readonly          strictyaml.Value[bool]                   `yaml:"readonly"`
	MaskedPaths       strictyaml.Value[[]string]               `yaml:"maskedPaths"`
	ReadonlyPaths     strictyaml.Value[[]string]               `yaml:"readonlyPaths"`
	UID               strictyaml.Value[ident]                  `yaml:"uid"`
	GID               strictyaml.Value[ident]                  `yaml:"gid"`
	AdditionalGIDs    strictyaml.Value[[]ident]                `yaml:"additionalGids"`
	NoNewPrivileges   strictyaml.Value[bool]                   `yaml:"noNewPrivileges"`
	OOMScoreAdj       strictyaml.Value[int]                    `yaml:"oomScoreAdj"`
	RootfsPropagation strictyaml.Value[wholeString]            `yaml:"rootfsPropagation"`
	CgroupsPath       strictyaml.Value[wholeString]            `yaml:"cgroupsPath"`
	Resources         strictyaml.Value[resources]              `yaml:"resources"`
	Sysctl            strictyaml.Value[strictyaml.Map[string]] `yaml:"sysctl"`
	Rlimits           strictyaml.Value[[]rlimit]               `yaml:"rlimits"`
	UIDMappings       strictyaml.Value[[]idMapping]            `yaml:"uidMappings"`
	GIDMappings       strictyaml.Value[[]idMapping]            `yaml:"gidMappings"`
	Annotations       strictyaml.Value[strictyaml.Map[string]] `yaml:"annotations"`
	Runtime           runtimeOptions                           `yaml:"runtime"`
}

// runtimeOptions is what is prepared before a container starts.
type runtimeOptions struct {
	Cgroups    strictyaml.Value[[]string]            `yaml:"cgroups"`
	Mounts     strictyaml.Value[[]mount]             `yaml:"mounts"`
	Mkdir      strictyaml.Value[[]string]            `yaml:"mkdir"`
	Interfaces strictyaml.Value[[]networkInterface]  `yaml:"interfaces"`
	BindNS     bindNS                                `yaml:"bindNS"`
	Namespace  strictyaml.Value[containerdNamespace] `yaml:"namespace"`
}

// bindNS says where the container's namespaces are to appear as files.
type bindNS struct {
	Cgroup strictyaml.Value[wholePath] `yaml:"cgroup"`
	IPC    strictyaml.Value[wholePath] `yaml:"ipc"`
	Mnt    strictyaml.Value[wholePath] `yaml:"mnt"`
	Net    strictyaml.Value[wholePath] `yaml:"net"`
	PID    strictyaml.Value[wholePath] `yaml:"pid"`
	User   strictyaml.Value[wholePath] `yaml:"user"`
	UTS    strictyaml.Value[wholePath] `yaml:"uts"`
}

// whole is implemented by kinds of strings that count as soon as they are given. Of the others an empty one
// says nothing, so that a label's value stays.
type whole interface{ whole() }

// over returns o with what it does not say taken from weak. A value is replaced as a whole, never merged.
func (o options) over(weak options) options {
	fillIn(reflect.ValueOf(&o).Elem(), reflect.ValueOf(weak))
	return o
}

// fillIn copies each Value of weak that strong lacks. It works by reflection so that a new key cannot be
// forgotten here.
func fillIn(strong, weak reflect.Value) {
	for i := range strong.NumField() {
		s, w := strong.Field(i), weak.Field(i)
		value, ok := s.Interface().(interface{ Set() bool })
		switch {
		case !ok:
			fillIn(s, w)
		case !value.Set(), saysNothing(s.FieldByName("V")):
			s.Set(w)
		}
	}
}

func saysNothing(v reflect.Value) bool {
	_, isWhole := v.Interface().(whole)
	return v.Kind() == reflect.String && v.Len() == 0 && !isWhole
}

// checkKernel expands variables in the image's reference unless it stands for the flavor's kernel.
func checkKernel(r *strictyaml.Reader, k *kernel, t Template) {
	if !k.Image.Set() || k.Image.V == "" || k.Image.V == FlavorKernel {
		return
	}
	text, err := r.Expand(k.Image.V)
	switch {
	case err != nil && t == TemplateHook && k.Image.V == hookKernel:
		k.Image.V = FlavorKernel
		return
	case err == nil:
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
	for key, n := range map[string]strictyaml.Value[namespace]{"ipc": o.IPC, "uts": o.UTS, "pid": o.PID, "userns": o.UserNS} {
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
	for _, i := range o.Runtime.Interfaces.V {
		if i.Add == "veth" && i.Peer == "" && i.Name != "" { // a missing name is said already
			r.Faultf(i.Pos, `interface %s: a veth needs the key "peer"`, i.Name)
		}
	}
	if o.OOMScoreAdj.V < -1000 || o.OOMScoreAdj.V > 1000 {
		r.Faultf(o.OOMScoreAdj.Pos, `"oomScoreAdj": want -1000 to 1000, got %d`, o.OOMScoreAdj.V)
	}
	o.Resources.V.check(r)
}
