package modules

import (
	"fmt"
	"strings"
)

// shown is how many names a line lists before it only counts them.
const shown = 8

// Lines tells a person what was chosen.
func (r Result) Lines() []string {
	if r.Total.Files == 0 {
		return []string{"modules: the kernel has none"}
	}
	out := []string{fmt.Sprintf("modules: %d of %d, %s of %s", r.Kept.Files, r.Total.Files, mib(r.Kept.Bytes), mib(r.Total.Bytes))}
	var kept []string
	for _, n := range r.Because {
		if n.Excluded {
			kept = append(kept, fmt.Sprintf("%s (%s needs it)", nameOf(n.Path), nameOf(n.By)))
		}
	}
	if len(kept) > 0 {
		out = append(out, "modules: excluded and kept all the same: "+list(kept))
	}
	return out
}

// Warnings tells a person what is probably a mistake.
func (r Result) Warnings() []string {
	var out []string
	for _, text := range r.Unmatched {
		hint := ""
		if near := r.near[text]; near != "" {
			hint = fmt.Sprintf("; the directory would be %q", near)
		}
		out = append(out, fmt.Sprintf("modules: %q matches no module of kernel %s%s", text, r.Release, hint))
	}
	return out
}

// Lines tells a person which firmware was taken.
func (r Report) Lines() []string {
	var size, stored int64
	for _, f := range r.Files {
		size += f.Size
		stored += f.Stored
	}
	line := fmt.Sprintf("firmware: %d files, %s", len(r.Files), mib(size))
	if stored != size {
		line += fmt.Sprintf(" (%s compressed)", mib(stored))
	}
	if len(r.Missing) > 0 {
		var names []string
		for _, m := range r.Missing {
			names = append(names, fmt.Sprintf("%s (%s)", m.Name, m.Module))
		}
		line += fmt.Sprintf("; %d named by drivers are in no package: %s", len(names), list(names))
	}
	return []string{line}
}

// Warnings tells a person what is probably a mistake.
func (r Report) Warnings() []string {
	var out []string
	for _, text := range r.Unmatched {
		out = append(out, fmt.Sprintf("firmware: %q matches no file of the packages", text))
	}
	return out
}

func list(names []string) string {
	if more := len(names) - shown; more > 1 {
		return strings.Join(names[:shown], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// nameOf is a module's name as its file has it, which is how people know it.
func nameOf(p string) string {
	p, _ = withoutSuffix(p)
	return p[strings.LastIndexByte(p, '/')+1:]
}
