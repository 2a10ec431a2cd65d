package linuxkit

import (
	"cmp"
	"fmt"
	"path"
	"slices"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// label is where an image says how it wants to be run, in the keys of a container.
const label = "org.mobyproject.config"

// parseLabel reads the label of the image, if it has one.
func parseLabel(image string, c ImageConfig) (options, error) {
	var o options
	text := c.Labels[label]
	if text == "" {
		return o, nil
	}
	r := &strictyaml.Reader{}
	r.Decode(fmt.Sprintf("image %s, label %s", image, label), []byte(text), &o)
	checkOptions(r, o)
	return o, r.Err()
}

// settle merges what the YAML, the label and the image's own configuration say, strongest first. The
// warnings name keys that have no effect.
func settle(c container, l options, image ImageConfig) (o options, warnings []string, err error) {
	o = c.options.over(l)
	warn := func(pos strictyaml.Pos, key, why string) {
		warnings = append(warnings, fmt.Sprintf("%s: %q has no effect: %s", pos, key, why))
	}
	if l.CapabilitiesAdd.Set() {
		warn(l.CapabilitiesAdd.Pos, "capabilities.add", "LinuxKit ignores it in a label")
	}
	if l.BindsAdd.Set() {
		warn(l.BindsAdd.Pos, "binds.add", "LinuxKit ignores it in a label")
	}
	switch {
	case !c.CapabilitiesAdd.Set():
	case c.Capabilities.Set():
		warn(c.CapabilitiesAdd.Pos, "capabilities.add", `"capabilities" stands beside it`)
	default:
		o.Capabilities.V = slices.Concat(l.Capabilities.V, c.CapabilitiesAdd.V)
		if err := checkCapabilities(o.Capabilities.V); err != nil {
			return o, nil, strictyaml.Errors{{Pos: c.CapabilitiesAdd.Pos, Message: fmt.Sprintf("added to the image's label: %v", err)}}
		}
	}
	switch {
	case !c.BindsAdd.Set():
	case c.Binds.Set():
		warn(c.BindsAdd.Pos, "binds.add", `"binds" stands beside it`)
	default:
		o.Binds.V = slices.Concat(l.Binds.V, c.BindsAdd.V)
	}
	return o.withImage(image), warnings, nil
}

// withImage fills in what only the image's configuration says. A command replaces entrypoint and arguments.
func (o options) withImage(image ImageConfig) options {
	if !o.Command.Set() {
		o.Command.V = slices.Concat(image.Entrypoint, image.Cmd)
	}
	if !o.Env.Set() {
		o.Env.V = image.Env
	}
	o.Cwd.V = cmp.Or(o.Cwd.V, image.WorkingDir, "/")
	return o
}

// config makes config.json.
func (o options) config(ids ids) (ociSpec, error) {
	user, err := o.user(ids)
	if err != nil {
		return ociSpec{}, err
	}
	mounts, err := o.mounts()
	if err != nil {
		return ociSpec{}, err
	}
	devices, rules := o.devices()
	s := ociSpec{
		Version: ociVersion,
		Process: ociProcess{
			User:            user,
			Args:            o.Command.V,
			Env:             o.Env.V,
			Cwd:             o.Cwd.V,
			Capabilities:    capabilitySets(o.Capabilities.V, o.Ambient.V),
			Rlimits:         o.Rlimits.V,
			NoNewPrivileges: o.NoNewPrivileges.V,
		},
		Root:        ociRoot{Path: "rootfs", Readonly: o.Readonly.V},
		Hostname:    o.Hostname.V,
		Mounts:      mounts,
		Annotations: stringMap(o.Annotations.V),
		Linux: ociLinux{
			Sysctl:            stringMap(o.Sysctl.V),
			Resources:         ociResources{Devices: rules},
			CgroupsPath:       o.CgroupsPath.V,
			Namespaces:        o.namespaces(),
			Devices:           devices,
			RootfsPropagation: o.RootfsPropagation.V,
			MaskedPaths:       o.MaskedPaths.V,
			ReadonlyPaths:     o.ReadonlyPaths.V,
		},
	}
	if o.OOMScoreAdj.Set() {
		s.Process.OOMScoreAdj = &o.OOMScoreAdj.V
	}
	return s, nil
}

func stringMap(m strictyaml.Map[string]) map[string]string {
	out := make(map[string]string, len(m))
	for _, p := range m {
		out[p.Key.V] = p.Value
	}
	return out
}

func (o options) user(ids ids) (u ociUser, err error) {
	if u.UID, err = ids.number(o.UID.V); err != nil {
		return u, err
	}
	if u.GID, err = ids.number(o.GID.V); err != nil {
		return u, err
	}
	for _, id := range o.AdditionalGIDs.V {
		n, err := ids.number(id)
		if err != nil {
			return u, err
		}
		u.AdditionalGIDs = append(u.AdditionalGIDs, n)
	}
	return u, nil
}

// defaultMounts is what every container gets unless it mounts something else at the same place.
func defaultMounts(readonly bool) []ociMount {
	dev := []string{"nosuid", "strictatime", "mode=755", "size=65536k"}
	sys := []string{"nosuid", "noexec", "nodev"}
	if readonly {
		dev, sys = append(dev, "ro"), append(sys, "ro")
	}
	return []ociMount{
		{"/proc", "proc", "proc", []string{"nosuid", "nodev", "noexec", "relatime"}},
		{"/dev", "tmpfs", "tmpfs", dev},
		{"/dev/pts", "devpts", "devpts", []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		{"/sys", "sysfs", "sysfs", sys},
		{"/sys/fs/cgroup", "cgroup", "cgroup", []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}

// mounts lists one mount for each destination, sorted: a later kind replaces an earlier one with all its
// options, and sorting puts a mount before what is mounted inside it.
func (o options) mounts() ([]ociMount, error) {
	all := defaultMounts(o.Readonly.V)
	for _, t := range o.Tmpfs.V {
		all = append(all, ociMount{t.destination, "tmpfs", "tmpfs", t.options})
	}
	for _, b := range o.Binds.V {
		opts := []string{"rw", "rbind", "rshared"}
		if b.options != nil {
			opts = append(slices.Clone(b.options), "rbind")
		}
		all = append(all, ociMount{b.destination, "bind", b.source, opts})
	}
	for _, m := range o.Mounts.V {
		full, err := m.complete()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Pos, err)
		}
		all = append(all, full)
	}
	at := map[string]ociMount{}
	for _, m := range all {
		at[m.Destination] = m
	}
	list := make([]ociMount, 0, len(at))
	for _, m := range at {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b ociMount) int { return cmp.Compare(a.Destination, b.Destination) })
	return list, nil
}

// namespaces lists those that the container does not share with the host, in LinuxKit's order.
func (o options) namespaces() []ociNamespace {
	var list []ociNamespace
	add := func(kind string, n namespace) {
		switch {
		case n == "host" || n == "root":
		case path.IsAbs(string(n)):
			list = append(list, ociNamespace{Type: kind, Path: string(n)})
		default:
			list = append(list, ociNamespace{Type: kind})
		}
	}
	add("network", cmp.Or(o.Net.V, "host"))
	add("ipc", cmp.Or(o.IPC.V, "host"))
	add("uts", cmp.Or(o.UTS.V, "host"))
	add("pid", cmp.Or(o.PID.V, "new"))
	add("mount", "new")
	return list
}

// devices returns the device nodes and the rules that allow their use.
func (o options) devices() ([]ociDevice, []ociDeviceRule) {
	var nodes []ociDevice
	var rules []ociDeviceRule
	for _, d := range o.Devices.V {
		rule := ociDeviceRule{Allow: true, Type: d.Type, Access: "rwm"}
		if d.Path != "all" {
			rule.Major, rule.Minor = &d.Major, &d.Minor
			nodes = append(nodes, ociDevice{Path: d.Path, Type: d.Type, Major: d.Major, Minor: d.Minor, FileMode: d.Mode.V})
		}
		rules = append(rules, rule)
	}
	return nodes, rules
}

// runtime makes runtime.json of the bundle in dir whose image lies in lower, both paths in the booted
// system. A writable container gets an overlay over lower, a read-only one a bind mount of it.
func (o options) runtime(dir, lower string) runtimeSpec {
	tmp, rootfs := path.Join(dir, "tmp"), path.Join(dir, "rootfs")
	mounts := []ociMount{
		{Destination: tmp, Type: "tmpfs", Source: "tmpfs"},
		{Destination: tmp, Options: []string{"remount", "private"}},
		{Destination: rootfs, Type: "overlay", Source: "overlay", Options: []string{
			"lowerdir=" + lower, "upperdir=" + path.Join(tmp, "upper"), "workdir=" + path.Join(tmp, "work")}},
	}
	if o.Readonly.V {
		mounts = []ociMount{{Destination: rootfs, Source: lower, Options: []string{"bind"}}}
	}
	for _, m := range o.Runtime.Mounts.V {
		mounts = append(mounts, m.verbatim())
	}
	return runtimeSpec{
		Cgroups:    append([]string{}, o.Runtime.Cgroups.V...), // [], not null
		Mounts:     mounts,
		Mkdir:      append([]string{}, o.Runtime.Mkdir.V...),
		Interfaces: []string{},
	}
}
