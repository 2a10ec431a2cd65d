// Package userland holds HookOS itself as files: one directory per component image (a Dockerfile, the list of
// its Debian packages, and what is copied in) and hook.yaml, which composes them, in LinuxKit's format
// (https://github.com/linuxkit/linuxkit/blob/master/docs/yaml.md).
package userland

import (
	"bufio"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Files is this directory: COMPONENT/…, hook.yaml, base.yaml, ssh.yaml and postinst.yaml. Modes are lost on the way into the binary,
// so every Dockerfile states them.
//
//go:embed all:*/* hook.yaml base.yaml ssh.yaml postinst.yaml
var Files embed.FS

// packageName is what Debian allows (Debian Policy 5.6.1).
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)

// Components returns the names of the directories in fsys that can be built, sorted: those with a Dockerfile.
func Components(fsys fs.FS) []string {
	found, err := fs.Glob(fsys, "*/Dockerfile")
	if err != nil {
		return nil // not reached: Glob fails on a malformed pattern only
	}
	names := make([]string, 0, len(found))
	for _, f := range found {
		names = append(names, path.Dir(f))
	}
	return names
}

// Packages reads COMPONENT/packages in fsys: one Debian package a line, "#" starts a comment. seeds are those
// wanted, exclude (lines that begin with "-") those to leave out of their dependencies, both in the order of the
// file. A file that wants nothing, a malformed name and a name that stands there twice are errors with their line.
func Packages(fsys fs.FS, component string) (seeds, exclude []string, err error) {
	name := path.Join(component, "packages")
	f, err := fsys.Open(name)
	if err != nil {
		return nil, nil, fmt.Errorf("packages of %s: %w", component, err)
	}
	defer f.Close()
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		pkg, excluded := strings.CutPrefix(text, "-")
		if !packageName.MatchString(pkg) {
			return nil, nil, fmt.Errorf("%s:%d: %q is no package name", name, n, text)
		}
		if seen[pkg] {
			return nil, nil, fmt.Errorf("%s:%d: %s is named twice", name, n, pkg)
		}
		seen[pkg] = true
		if excluded {
			exclude = append(exclude, pkg)
		} else {
			seeds = append(seeds, pkg)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(seeds) == 0 {
		return nil, nil, fmt.Errorf("%s: names no package", name)
	}
	return seeds, exclude, nil
}

// Postinsts returns the embedded table of Debian packages whose postinst script is not run: package → what is
// made in its place, or "nothing: " and the reason. A value that says neither is an error.
func Postinsts() (map[string]string, error) {
	text, err := Files.ReadFile("postinst.yaml")
	if err != nil {
		return nil, fmt.Errorf("table of postinst scripts: %w", err)
	}
	return parsePostinsts(text)
}

func parsePostinsts(text []byte) (map[string]string, error) {
	table := map[string]string{}
	if err := yaml.Unmarshal(text, &table); err != nil {
		return nil, fmt.Errorf("table of postinst scripts: %w", err)
	}
	for pkg, instead := range table {
		if !packageName.MatchString(pkg) {
			return nil, fmt.Errorf("table of postinst scripts: %q is no package name", pkg)
		}
		reason, nothing := strings.CutPrefix(instead, "nothing")
		reason = strings.TrimLeft(reason, ": ")
		if strings.TrimSpace(instead) == "" || nothing && reason == "" {
			return nil, fmt.Errorf("table of postinst scripts: %s: no word of what is made instead, or why nothing is", pkg)
		}
	}
	return table, nil
}
