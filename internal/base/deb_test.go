package base

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hookbuild/hookbuild/internal/debian"
)

// item is one entry of a tar: a directory where name ends in "/", a symlink or a hard link where to is set,
// else a file.
type item struct {
	name     string
	content  string
	symlink  string
	hardlink string
	mode     int64
}

func makeTar(t *testing.T, items ...item) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Mode: i.mode, Size: int64(len(i.content)), Typeflag: tar.TypeReg, Uname: "builder", Gname: "builder"}
		switch {
		case i.name[len(i.name)-1] == '/':
			h.Typeflag = tar.TypeDir
		case i.symlink != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, i.symlink
		case i.hardlink != "":
			h.Typeflag, h.Linkname = tar.TypeLink, i.hardlink
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(i.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// makeDeb puts a package together (deb(5)) from its control files and its contents.
func makeDeb(t *testing.T, control, data []item) []byte {
	t.Helper()
	out := []byte("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar", makeTar(t, control...)}, {"data.tar", makeTar(t, data...)}} {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		out = append(out, m.data...)
		if len(m.data)%2 == 1 {
			out = append(out, '\n')
		}
	}
	return out
}

// pool is a directory of packages.
type pool struct {
	*testing.T
	dir   string
	pkgs  []debian.Package
	files map[string]string
}

func newPool(t *testing.T) *pool { return &pool{T: t, dir: t.TempDir(), files: map[string]string{}} }

// add makes a package; more are further lines of its control paragraph.
func (p *pool) add(name, arch, more string, scripts, data []item) {
	p.Helper()
	text := fmt.Sprintf("Package: %s\nVersion: 1.0\nArchitecture: %s\nMaintainer: T <t@mirror.example>\n%sDescription: a test\n of this package\n", name, arch, more)
	deb := makeDeb(p.T, append([]item{{name: "./control", content: text}, {name: "./md5sums", content: "x\n"}}, scripts...), data)
	sum := sha256.Sum256(deb)
	id := hex.EncodeToString(sum[:])
	file := filepath.Join(p.dir, id+".deb")
	if err := os.WriteFile(file, deb, 0o644); err != nil {
		p.Fatal(err)
	}
	p.files[id] = file
	p.pkgs = append(p.pkgs, debian.Package{Name: name, Version: "1.0", Arch: arch, SHA256: id})
}

// small is a system of four packages with everything that can be special about one.
func small(t *testing.T) *pool {
	p := newPool(t)
	p.add("adduser", "all", "", []item{
		{name: "./conffiles", content: "/etc/adduser.conf\n/etc/gone.conf\nremove-on-upgrade /etc/old.conf\n"},
		{name: "./postinst", content: "#!/bin/sh\n", mode: 0o644},
	}, []item{
		{name: "./"}, {name: "./etc/"}, {name: "./etc/adduser.conf", content: "a=b\n"}, {name: "./lib/"},
		{name: "./sbin/"}, {name: "./sbin/adduser", content: "#!/bin/sh\n", mode: 0o4755}, {name: "./sbin/addgroup", hardlink: "./sbin/adduser"},
	})
	p.add("base-files", "amd64", "Essential: yes\n", nil, []item{
		{name: "./"}, {name: "./etc/"}, {name: "./usr/"}, {name: "./usr/lib/"}, {name: "./usr/sbin/"}, {name: "./usr/lib64/"},
		{name: "./lib", symlink: "usr/lib"}, {name: "./sbin", symlink: "usr/sbin"}, {name: "./lib64", symlink: "usr/lib64"},
		{name: "./tmp/", mode: 0o1777},
	})
	p.add("libc6", "amd64", "Multi-Arch: same\n", []item{
		{name: "./triggers", content: "# the cache of ld.so\ninterest-noawait ldconfig\nactivate-noawait ldconfig\ninterest /usr/lib/locale\n"},
		{name: "./conffiles", content: "/etc/ld.so.conf\n"},
	}, []item{
		{name: "./"}, {name: "./lib64/"}, {name: "./lib64/ld.so", content: "elf"}, {name: "./etc/"}, {name: "./etc/ld.so.conf", content: "include\n"},
	})
	p.add("man-db", "amd64", "", []item{
		{name: "./triggers", content: "interest-noawait /usr/share/man\ninterest-noawait ldconfig\n"},
	}, []item{{name: "./usr/"}, {name: "./usr/share/"}, {name: "./usr/share/man/"}})
	return p
}
