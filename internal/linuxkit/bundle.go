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

// maxLabel is how long the label may be, in bytes; each container of the image has its content in its bundle.
const maxLabel = 32 << 10

// parseLabel reads the label of the image, if it has one.
func parseLabel(r *strictyaml.Reader, image string, c ImageConfig) options {
	var o options
	text := c.Labels[label]
	if text == "" {
		return o
	}
	file := fmt.Sprintf("image %s, label %s", image, label)
	if len(text) > maxLabel {
		r.Faultf(strictyaml.Pos{File: file, Line: 1, Column: 1}, "the label has %d bytes, want at most %d", len(text), maxLabel)
		return o
	}
	r.Decode(file, []byte(text), &o)
	checkOptions(r, o)
	return o
}

// settle merges what the YAML, the label and the image's own configuration say, strongest first. The
// warnings tell what LinuxKit ignores and what will not run.
func settle(c container, l options, image ImageConfig) (o options, warnings []string, err error) {
	warn := func(pos strictyaml.Pos, format string, args ...any) {
		warnings = append(warnings, fmt.Sprintf("%s: %s", pos, fmt.Sprintf(format, args...)))
	}
	ignored := func(given bool, pos strictyaml.Pos, key, where string) {
		if given {
			warn(pos, "%q counts; LinuxKit ignores it %s", key, where)
		}
	}
	ignored(l.CapabilitiesAdd.Set(), l.CapabilitiesAdd.Pos, "capabilities.add", "in a label")
	ignored(l.BindsAdd.Set(), l.BindsAdd.Pos, "binds.add", "in a label")
	ignored(c.CapabilitiesAdd.Set() && c.Capabilities.Set(), c.CapabilitiesAdd.Pos, "capabilities.add", `beside "capabilities"`)
	ignored(c.BindsAdd.Set() && c.Binds.Set(), c.BindsAdd.Pos, "binds.add", `beside "binds"`)
	if l, err = l.added(l); err != nil {
		return o, nil, err
	}
	if o, err = c.options.over(l).added(c.options); err != nil {
		return o, nil, err
	}
	private := o.UserNS.V != "" && o.UserNS.V != "host" && o.UserNS.V != "root"
	switch mapped := len(o.UIDMappings.V)+len(o.GIDMappings.V) > 0; {
	case mapped && !private:
		warn(c.Name.Pos, "container %s maps users or groups and has no userns of its own: runc will not start it", c.Name.V)
	case o.UserNS.V == "new" && !mapped:
		warn(c.Name.Pos, "container %s has a userns of its own and maps no users or groups: runc will not start it", c.Name.V)
	}
	return o.withImage(image), warnings, nil
}

// added returns o with what the .add keys of from say at the ends of its lists.
func (o options) added(from options) (options, error) {
	if add := from.CapabilitiesAdd; add.Set() {
		o.Capabilities = strictyaml.Value[[]capability]{Pos: add.Pos, V: slices.Concat(o.Capabilities.V, add.V)}
		if err := checkCapabilities(o.Capabilities.V); err != nil {
			return o, strictyaml.Errors{{Pos: add.Pos, Message: fmt.Sprintf(`"capabilities.add": with what it adds to, %v`, err)}}
		}
	}
	if add := from.BindsAdd; add.Set() {
		o.Binds = strictyaml.Value[[]bind]{Pos: add.Pos, V: slices.Concat(o.Binds.V, add.V)}
	}
	return o, nil
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
			UIDMappings:       o.UIDMappings.V,
			GIDMappings:       o.GIDMappings.V,
			Resources:         o.Resources.V.withRules(rules),
			CgroupsPath:       string(o.CgroupsPath.V),
			Namespaces:        o.namespaces(),
			Devices:           devices,
			RootfsPropagation: string(o.RootfsPropagation.V),
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
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "nodev", "noexec", "relatime"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: dev},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: sys},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}

// mounts lists one mount for each destination, sorted: a later kind replaces an earlier one with all its
// options, and sorting puts a mount before what is mounted inside it.
func (o options) mounts() ([]ociMount, error) {
	all := defaultMounts(o.Readonly.V)
	for _, t := range o.Tmpfs.V {
		all = append(all, ociMount{Destination: t.destination, Type: "tmpfs", Source: "tmpfs", Options: t.options})
	}
	for _, b := range o.Binds.V {
		opts := []string{"rw", "rbind", "rshared"}
		if b.options != nil {
			opts = append(slices.Clone(b.options), "rbind")
		}
		all = append(all, ociMount{Destination: b.destination, Type: "bind", Source: b.source, Options: opts})
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
	add("user", cmp.Or(o.UserNS.V, "host"))
	add("mount", "new")
	return list
}

// devices returns the device nodes and the rules that allow their use. A fifo needs no rule and an unbuffered
// device is a character device to them; LinuxKit writes rules of these types, which runc refuses.
func (o options) devices() ([]ociDevice, []deviceRule) {
	var nodes []ociDevice
	var rules []deviceRule
	for _, d := range o.Devices.V {
		rule := deviceRule{Allow: true, Type: d.Type, Access: "rwm"}
		if d.Path != "all" {
			rule.Major, rule.Minor = &d.Major, &d.Minor
			nodes = append(nodes, ociDevice{Path: d.Path, Type: d.Type, Major: d.Major, Minor: d.Minor, FileMode: d.Mode.V})
		}
		if d.Type == "u" {
			rule.Type = "c"
		}
		if d.Type != "p" {
			rules = append(rules, rule)
		}
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
		Interfaces: append([]networkInterface{}, o.Runtime.Interfaces.V...),
		BindNS: runtimeBindNS{
			Cgroup: o.Runtime.BindNS.Cgroup.V, IPC: o.Runtime.BindNS.IPC.V, Mnt: o.Runtime.BindNS.Mnt.V,
			Net: o.Runtime.BindNS.Net.V, PID: o.Runtime.BindNS.PID.V, User: o.Runtime.BindNS.User.V, UTS: o.Runtime.BindNS.UTS.V,
		},
		Namespace: string(o.Runtime.Namespace.V),
	}
}
