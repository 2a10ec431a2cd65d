package base

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/debian"
)

// layout is the version of the way packages are laid down; it enters the image's name.
const layout = "1"

// rootfs writes a tar of unpacked packages with the dpkg database that describes them.
type rootfs struct {
	tar      *tar.Writer
	seen     map[string]bool     // paths that are in the tar
	status   bytes.Buffer        // /var/lib/dpkg/status
	triggers map[string][]string // file below /var/lib/dpkg/triggers to its lines
}

// writeRootfs lays all packages into w, base-files first because it brings the symlinks of the merged /usr.
func writeRootfs(ctx context.Context, w io.Writer, pkgs []debian.Package, files map[string]string) error {
	r := &rootfs{tar: tar.NewWriter(w), seen: map[string]bool{}, triggers: map[string][]string{}}
	pkgs = slices.Clone(pkgs)
	slices.SortFunc(pkgs, func(a, b debian.Package) int {
		return cmp.Or(rank(a.Name)-rank(b.Name), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range pkgs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.add(files[p.SHA256]); err != nil {
			return fmt.Errorf("unpack %s %s: %w", p.Name, p.Version, err)
		}
	}
	if err := r.database(); err != nil {
		return err
	}
	return r.tar.Close()
}

func rank(name string) int {
	if name == "base-files" {
		return 0
	}
	return 1
}

// add unpacks one package and notes it in the database.
func (r *rootfs) add(file string) error {
	deb, err := debian.OpenDeb(file)
	if err != nil {
		return err
	}
	data, err := deb.Data()
	if err != nil {
		return err
	}
	defer data.Close()
	sums, list, err := r.contents(data, conffiles(deb))
	if err != nil {
		return err
	}
	return r.register(deb, list, sums)
}

// conffiles are the package's configuration files, absolute paths as dpkg lists them.
func conffiles(deb *debian.Deb) map[string]bool {
	set := map[string]bool{}
	for line := range strings.Lines(string(deb.Scripts["conffiles"])) {
		if f := strings.Fields(line); len(f) == 1 { // a second word is a flag: remove-on-upgrade
			set[f[0]] = true
		}
	}
	return set
}

// contents copies a package's data.tar, and returns the MD5 of its conffiles (dpkg's status file wants them)
// and the paths that it brought.
func (r *rootfs) contents(data io.Reader, conf map[string]bool) (sums map[string]string, list []string, err error) {
	sums = map[string]string{}
	in := tar.NewReader(data)
	for {
		h, err := in.Next()
		if err == io.EOF {
			return sums, list, nil
		}
		if err != nil {
			return nil, nil, err
		}
		name := path.Clean("/" + h.Name)
		list = append(list, listed(name))
		if h.Typeflag == tar.TypeDir && r.seen[merged(name)] {
			continue // a directory, or as with dpkg a symlink to one: /lib of base-files stays
		}
		r.seen[merged(name)] = true
		sum, err := r.copy(h, in, name)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", h.Name, err)
		}
		if conf[name] {
			sums[name] = sum
		}
	}
}

// listed is how dpkg writes a path into a package's list: the root is "/.".
func listed(name string) string {
	if name == "/" {
		return "/."
	}
	return name
}

func (r *rootfs) copy(h *tar.Header, body io.Reader, name string) (md5sum string, err error) {
	out := *h
	out.Name = "." + merged(name)
	if h.Typeflag == tar.TypeLink {
		out.Linkname = "." + merged(path.Clean("/"+h.Linkname))
	}
	if h.Typeflag == tar.TypeDir {
		out.Name = strings.TrimSuffix(out.Name, "/") + "/"
	}
	out.Uname, out.Gname, out.Format = "", "", tar.FormatPAX
	if err := r.tar.WriteHeader(&out); err != nil {
		return "", err
	}
	sum := md5.New()
	if _, err := io.Copy(r.tar, io.TeeReader(body, sum)); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// merged moves a path of the old top-level directories below /usr, where base-files' symlinks lead: a tar
// entry must not depend on the reader following a link.
func merged(name string) string {
	top, rest, below := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	switch top {
	case "bin", "sbin", "lib", "lib64", "lib32", "libx32":
		if below {
			return "/usr/" + top + "/" + rest
		}
	}
	return name
}

// register writes the package's files below /var/lib/dpkg/info and its paragraph of the status file.
func (r *rootfs) register(deb *debian.Deb, list []string, sums map[string]string) error {
	c := deb.Control
	name := c.Package
	if c.MultiArch == "same" {
		name += ":" + c.Architecture
	}
	prefix := "./var/lib/dpkg/info/" + name + "."
	if err := r.file(prefix+"list", []byte(strings.Join(list, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	for _, script := range slices.Sorted(maps.Keys(deb.Scripts)) {
		if err := r.file(prefix+script, deb.Scripts[script], scriptMode(script)); err != nil {
			return err
		}
	}
	if err := r.interests(name, deb.Scripts["triggers"]); err != nil {
		return err
	}
	fmt.Fprintf(&r.status, "%s\nStatus: install ok unpacked\n", strings.TrimSpace(c.Text))
	if len(sums) > 0 {
		r.status.WriteString("Conffiles:\n")
		for _, f := range slices.Sorted(maps.Keys(sums)) {
			fmt.Fprintf(&r.status, " %s %s\n", f, sums[f])
		}
	}
	r.status.WriteString("\n")
	return nil
}

func scriptMode(name string) int64 {
	switch name {
	case "preinst", "postinst", "prerm", "postrm", "config":
		return 0o755
	}
	return 0o644
}

// interests notes which triggers the package waits for, as dpkg's unpack step does (deb-triggers(5)).
func (r *rootfs) interests(pkg string, triggers []byte) error {
	for line := range strings.Lines(string(triggers)) {
		f := strings.Fields(line)
		if len(f) != 2 || !strings.HasPrefix(f[0], "interest") {
			continue
		}
		waiter := pkg
		if strings.HasSuffix(f[0], "-noawait") {
			waiter += "/noawait"
		}
		if strings.HasPrefix(f[1], "/") {
			r.triggers["File"] = append(r.triggers["File"], f[1]+" "+waiter)
			continue
		}
		if strings.Contains(f[1], "/") { // it becomes the name of a file
			return fmt.Errorf("%q is no trigger's name", f[1])
		}
		r.triggers[f[1]] = append(r.triggers[f[1]], waiter)
	}
	return nil
}

// database writes what dpkg keeps outside of info/.
func (r *rootfs) database() error {
	for _, name := range slices.Sorted(maps.Keys(r.triggers)) {
		lines := strings.Join(r.triggers[name], "\n") + "\n"
		if err := r.file("./var/lib/dpkg/triggers/"+name, []byte(lines), 0o644); err != nil {
			return err
		}
	}
	if err := r.file("./var/lib/dpkg/info/format", []byte("1\n"), 0o644); err != nil {
		return err
	}
	return r.file("./var/lib/dpkg/status", r.status.Bytes(), 0o644)
}

func (r *rootfs) file(name string, data []byte, mode int64) error {
	h := &tar.Header{Name: name, Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	if err := r.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := r.tar.Write(data)
	return err
}
