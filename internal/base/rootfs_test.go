package base

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rootfs returns the bytes that the pool's packages make.
func (p *pool) rootfs() []byte {
	p.Helper()
	var out bytes.Buffer
	if err := writeRootfs(p.Context(), &out, p.pkgs, p.files); err != nil {
		p.Fatal(err)
	}
	return out.Bytes()
}

// entries reads a tar; the later of two entries with one name counts, as for whoever unpacks it.
func entries(t *testing.T, data []byte) (byName map[string]*tar.Header, content map[string]string, names []string) {
	t.Helper()
	byName, content = map[string]*tar.Header{}, map[string]string{}
	in := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := in.Next()
		if err == io.EOF {
			return byName, content, names
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		byName[h.Name], content[h.Name] = h, string(text)
		names = append(names, h.Name)
	}
}

func TestRootfsPaths(t *testing.T) {
	h, content, names := entries(t, small(t).rootfs())
	if got := h["./usr/sbin/adduser"]; got == nil || got.Mode != 0o4755 || got.Uname != "" {
		t.Errorf("adduser: got %+v", got)
	}
	if got := h["./usr/sbin/addgroup"]; got == nil || got.Typeflag != tar.TypeLink || got.Linkname != "./usr/sbin/adduser" {
		t.Errorf("addgroup: got %+v, want a hard link below /usr", got)
	}
	if content["./usr/lib64/ld.so"] != "elf" {
		t.Error("ld.so is not below /usr")
	}
	for _, name := range []string{"./lib", "./sbin", "./lib64"} {
		if got := h[name]; got == nil || got.Typeflag != tar.TypeSymlink {
			t.Errorf("%s: got %+v, want the symlink of base-files", name, got)
		}
		if h[name+"/"] != nil {
			t.Errorf("%s/: a directory would replace the symlink", name)
		}
	}
	for _, name := range []string{"./", "./etc/", "./usr/"} {
		if n := len(slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s != name })); n != 1 {
			t.Errorf("%s: got %d entries, want 1", name, n)
		}
	}
	if !slices.IsSortedFunc([]string{"./lib", "./usr/lib64/ld.so", "./var/lib/dpkg/status"}, func(a, b string) int {
		return slices.Index(names, a) - slices.Index(names, b)
	}) {
		t.Errorf("base-files is not first, or the status is not last: %q", names)
	}
}

func TestMerged(t *testing.T) {
	for in, want := range map[string]string{
		"/bin/sh": "/usr/bin/sh", "/lib/x/y": "/usr/lib/x/y", "/lib": "/lib", "/": "/", "/usr/bin/sh": "/usr/bin/sh",
		"/libexec/x": "/libexec/x", "/etc/lib/x": "/etc/lib/x", "/lib64/ld.so": "/usr/lib64/ld.so",
	} {
		if got := merged(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestRootfsDatabase(t *testing.T) {
	h, content, _ := entries(t, small(t).rootfs())
	const dpkg = "./var/lib/dpkg/"
	for name, want := range map[string]string{
		"info/format":                "1\n",
		"info/adduser.list":          "/.\n/etc\n/etc/adduser.conf\n/lib\n/sbin\n/sbin/adduser\n/sbin/addgroup\n",
		"info/libc6:amd64.list":      "/.\n/lib64\n/lib64/ld.so\n/etc\n/etc/ld.so.conf\n",
		"info/adduser.md5sums":       "x\n",
		"triggers/ldconfig":          "libc6:amd64/noawait\nman-db/noawait\n",
		"triggers/File":              "/usr/lib/locale libc6:amd64\n/usr/share/man man-db/noawait\n",
		"info/libc6:amd64.conffiles": "/etc/ld.so.conf\n",
	} {
		if got, ok := content[dpkg+name]; !ok || got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := h[dpkg+"info/adduser.postinst"]; got == nil || got.Mode != 0o755 {
		t.Errorf("postinst: got %+v, want mode 0755", got)
	}
	if got := h[dpkg+"info/adduser.md5sums"]; got.Mode != 0o644 {
		t.Errorf("md5sums: got mode %o", got.Mode)
	}
	want := fmt.Sprintf("Package: adduser\nVersion: 1.0\nArchitecture: all\nMaintainer: T <t@mirror.example>\nDescription: a test\n"+
		" of this package\nStatus: install ok unpacked\nConffiles:\n /etc/adduser.conf %x\n\n", md5.Sum([]byte("a=b\n")))
	if got := content[dpkg+"status"]; !strings.Contains(got, want) {
		t.Errorf("status: got\n%s\nwant in it\n%s", got, want)
	}
}

// dpkg itself must be able to work with the result.
func TestDpkgReadsTheDatabase(t *testing.T) {
	root := t.TempDir()
	untar := exec.Command("tar", "-C", root, "--no-same-owner", "-xf", "-")
	untar.Stdin = bytes.NewReader(small(t).rootfs())
	if out, err := untar.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	admin := "--admindir=" + filepath.Join(root, "var/lib/dpkg")
	query := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("dpkg-query", append([]string{admin}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("dpkg-query %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	got := query("-W", "-f", "${binary:Package} ${Version} ${db:Status-Status} ${db:Status-Want}\n")
	want := "adduser 1.0 unpacked install\nbase-files 1.0 unpacked install\nlibc6:amd64 1.0 unpacked install\nman-db 1.0 unpacked install\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := query("-L", "libc6:amd64"); got != "/.\n/lib64\n/lib64/ld.so\n/etc\n/etc/ld.so.conf\n" {
		t.Errorf("the files of libc6: got %q", got)
	}
	if got := query("-S", "/lib64/ld.so"); got != "libc6:amd64: /lib64/ld.so\n" {
		t.Errorf("whose is ld.so: got %q", got)
	}
	if got := query("-W", "-f", "${Conffiles}", "adduser"); got != fmt.Sprintf(" /etc/adduser.conf %x", md5.Sum([]byte("a=b\n"))) {
		t.Errorf("conffiles: got %q", got)
	}
	out, err := exec.Command("dpkg", admin, "--audit").CombinedOutput()
	if text := string(out); err != nil || !strings.Contains(text, "unpacked but not yet configured") || strings.Count(text, "The following") != 1 {
		t.Errorf("dpkg --audit: %v\n%s", err, text)
	}
	if data, err := os.ReadFile(filepath.Join(root, "lib64/ld.so")); string(data) != "elf" {
		t.Errorf("ld.so by its old path: got %q, %v", data, err)
	}
}

func TestRootfsIsDeterministic(t *testing.T) {
	p := small(t)
	first := p.rootfs()
	for range 20 { // as often as it takes a map to show two orders
		slices.Reverse(p.pkgs)
		if !bytes.Equal(first, p.rootfs()) {
			t.Fatal("two runs gave different bytes")
		}
	}
}

func TestRootfsStaysInItsRoot(t *testing.T) {
	p := newPool(t)
	p.add("evil", "all", "", nil, []item{{name: "../../etc/passwd", content: "x"}, {name: "./a", hardlink: "../../../b"}, {name: "/abs", content: "y"}})
	h, _, names := entries(t, p.rootfs())
	for _, name := range names {
		if !strings.HasPrefix(name, "./") || strings.Contains(name, "..") {
			t.Errorf("the tar has %q", name)
		}
	}
	if got := h["./a"].Linkname; got != "./b" {
		t.Errorf("got a hard link to %q", got)
	}
}

func TestRootfsFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(p *pool)
		want string
	}{
		{"a trigger that is a path", func(p *pool) {
			p.add("evil", "all", "", []item{{name: "./triggers", content: "interest ../../../etc/passwd\n"}}, nil)
		}, `"../../../etc/passwd" is no trigger's name`},
		{"a package that was not fetched", func(p *pool) {
			p.add("lost", "all", "", nil, nil)
			clear(p.files)
		}, "unpack lost 1.0"},
		{"not a package", func(p *pool) {
			p.add("broken", "all", "", nil, nil)
			os.WriteFile(p.files[p.pkgs[0].SHA256], []byte("<html>"), 0o644)
		}, "not an ar archive"},
		{"cut", func(p *pool) {
			p.add("cut", "all", "", nil, []item{{name: "./a", content: strings.Repeat("x", 5000)}})
			os.Truncate(p.files[p.pkgs[0].SHA256], 8000)
		}, "unpack cut 1.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPool(t)
			c.make(p)
			err := writeRootfs(t.Context(), io.Discard, p.pkgs, p.files)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestRootfsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := small(t)
	if err := writeRootfs(ctx, io.Discard, p.pkgs, p.files); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// limited fails after n bytes, as an engine's full disk does.
type limited struct{ n int }

var errFull = errors.New("no space left")

func (l *limited) Write(p []byte) (int, error) {
	if l.n -= len(p); l.n < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestRootfsReportsEveryFailedWrite(t *testing.T) {
	p := small(t)
	for n := 0; n < len(p.rootfs()); n += 1024 {
		if err := writeRootfs(t.Context(), &limited{n}, p.pkgs, p.files); !errors.Is(err, errFull) {
			t.Fatalf("after %d bytes: got %v", n, err)
		}
	}
}
