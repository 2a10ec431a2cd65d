package debian

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dpkgDeb runs dpkg-deb and returns what it prints.
func dpkgDeb(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.Command("dpkg-deb", args...).Output()
	if err != nil {
		t.Fatalf("this test needs dpkg-deb: dpkg-deb %v: %v", args, err)
	}
	return out
}

const testControl = "Package: hello\nVersion: 1:1.0-1\nArchitecture: all\nMulti-Arch: foreign\nEssential: yes\n" +
	"Maintainer: A <a@mirror.example>\nDescription: a test\n with two lines\n"

// sourceTree makes what dpkg-deb builds a package from.
func sourceTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, f := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"DEBIAN/control":  {testControl, 0o644},
		"DEBIAN/postinst": {"#!/bin/sh\nexit 0\n", 0o755},
		"DEBIAN/md5sums":  {"b1946ac92492d2347c6235b4d2611184  usr/bin/hello\n", 0o644},
		"usr/bin/hello":   {"hello\n", 0o755},
		"usr/share/odd":   {strings.Repeat("x", 100_001), 0o644},
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(f.text), f.mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOpenDebLikeDpkg(t *testing.T) {
	tree := sourceTree(t)
	for _, compression := range []string{"none", "gzip", "xz", "zstd"} {
		t.Run(compression, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "hello.deb")
			dpkgDeb(t, "--root-owner-group", "-Z"+compression, "--uniform-compression", "-b", tree, file)
			deb, err := OpenDeb(file)
			if err != nil {
				t.Fatal(err)
			}
			want := Control{Package: "hello", Version: "1:1.0-1", Architecture: "all", MultiArch: "foreign", Essential: true, Text: testControl}
			if diff := cmp.Diff(want, deb.Control); diff != "" {
				t.Errorf("control (-want +got):\n%s", diff)
			}
			wantScripts := map[string][]byte{}
			for _, name := range []string{"postinst", "md5sums"} {
				wantScripts[name] = dpkgDeb(t, "-I", file, name)
			}
			if diff := cmp.Diff(wantScripts, deb.Scripts); diff != "" {
				t.Errorf("scripts (-want +got):\n%s", diff)
			}
			data, err := deb.Data()
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(data)
			if err := errors.Join(err, data.Close()); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, dpkgDeb(t, "--fsys-tarfile", file)) {
				t.Error("data.tar is not what dpkg-deb --fsys-tarfile gives")
			}
		})
	}
}

// bigDictionary changes the dictionary size in the first block header of an xz stream to 4 GiB - 1.
func bigDictionary(t *testing.T, stream []byte) []byte {
	t.Helper()
	at := bytes.Index(stream, []byte{0x21, 1})
	if at < 0 {
		t.Fatal("no LZMA2 filter in the stream")
	}
	stream[at+2] = 40
	sum := 12 + int(stream[12])*4 // of the block's header, which follows the stream's 12 bytes
	binary.LittleEndian.PutUint32(stream[sum:], crc32.ChecksumIEEE(stream[12:sum]))
	return stream
}

func TestOpenDebRefuses(t *testing.T) {
	control := makeTar(t, member{"control", []byte("Package: a\nVersion: 1\nArchitecture: all\n")})
	version, data := member{"debian-binary", []byte("2.0\n")}, member{"data.tar", nil}
	good := makeAr(version, member{"control.tar", control}, data)
	if deb, err := openBytes(t, good); err != nil || deb.Control.Package != "a" {
		t.Fatalf("the package that the cases start from: %v", err)
	}
	tests := map[string]struct {
		file []byte
		want string
	}{
		"empty file":                   {nil, "not an ar archive"},
		"another format":               {[]byte("PK\x03\x04 and so on"), "not an ar archive"},
		"no members":                   {[]byte("!<arch>\n"), "debian-binary"},
		"header cut off":               {good[:8+30], "unexpected EOF"},
		"member cut off":               {good[:len(good)-arHeader-1], "only"},
		"header without its end":       {bytes.Replace(good, []byte("`\n"), []byte("xx"), 1), "malformed"},
		"size that is no number":       {bytes.Replace(good, []byte("4         `"), []byte("4x        `"), 1), "malformed"},
		"negative size":                {bytes.Replace(good, []byte("4         `"), []byte("-4        `"), 1), "-4 bytes"},
		"debian-binary not first":      {makeAr(member{"control.tar", control}, version, data), "debian-binary"},
		"version 3":                    {makeAr(member{"debian-binary", []byte("3.0\n")}, member{"control.tar", control}, data), "3.0"},
		"no data":                      {makeAr(version, member{"control.tar", control}), "missing"},
		"member that does not belong":  {makeAr(version, member{"x", nil}, member{"control.tar", control}, data), `"x"`},
		"unknown compression":          {makeAr(version, member{"control.tar.lzma", control}, data), `".lzma"`},
		"no control file":              {makeAr(version, member{"control.tar", makeTar(t, member{"postinst", nil})}, data), "no file named control"},
		"directory in control.tar":     {makeAr(version, member{"control.tar", makeTar(t, member{"x/control", nil})}, data), "directory"},
		"control without a version":    {makeAr(version, member{"control.tar", makeTar(t, member{"control", []byte("Package: a\n")})}, data), "missing"},
		"two control paragraphs":       {makeAr(version, member{"control.tar", makeTar(t, member{"control", []byte("A: b\n\nA: c\n")})}, data), "exactly one"},
		"control.tar cut off":          {makeAr(version, member{"control.tar", control[:530]}, data), "EOF"},
		"control.tar.xz cut off":       {makeAr(version, member{"control.tar.xz", pack(t, ".xz", control)[:60]}, data), "EOF"},
		"control.tar that is endless":  {makeAr(version, member{"control.tar.xz", zeros(t, maxControl+1)}, data), "uncompressed size"},
		"dictionary beyond all bounds": {makeAr(version, member{"control.tar.xz", bigDictionary(t, pack(t, ".xz", control))}, data), "dictionary of 4294967295 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			deb, err := openBytes(t, test.file)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v, want an error with %q", deb, err, test.want)
			}
		})
	}
}

func openBytes(t *testing.T, data []byte) (*Deb, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return OpenDeb(file)
}

// zeros is a tar with one file of n zero bytes, by xz.
func zeros(t *testing.T, n int64) []byte {
	t.Helper()
	var head bytes.Buffer
	if err := tar.NewWriter(&head).WriteHeader(&tar.Header{Name: "control", Typeflag: tar.TypeReg, Size: n}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("xz", "-0", "-c")
	cmd.Stdin = io.MultiReader(&head, io.LimitReader(zeroReader{}, n))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("this test needs xz: %v", err)
	}
	return out
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestDataOfABrokenPackage(t *testing.T) {
	control := makeTar(t, member{"control", []byte("Package: a\nVersion: 1\nArchitecture: all\n")})
	whole := pack(t, ".xz", makeTar(t, member{"f", bytes.Repeat([]byte("x"), 5000)}))
	deb, err := openBytes(t, makeAr(member{"debian-binary", []byte("2.0\n")}, member{"_gpgorigin", []byte("sig")},
		member{"control.tar", control}, member{"data.tar.xz", whole[:len(whole)-40]}))
	if err != nil {
		t.Fatal(err)
	}
	data, err := deb.Data()
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	if n, err := io.Copy(io.Discard, data); err == nil {
		t.Errorf("read %d bytes of a data.tar.xz that is cut off, without an error", n)
	}
}
