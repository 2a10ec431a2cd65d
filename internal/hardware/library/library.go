// Package library keeps what is known of kernels, of their sources and of images: a package, a tarball or an initramfs
// goes in, what it says about drivers comes out, made once for each digest and kept in the cache directory. What is kept
// there needs neither the file nor a network.
package library

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/decompress"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/hardware/drivers"
	"github.com/hookbuild/hookbuild/internal/hardware/kbuild"
	"github.com/hookbuild/hookbuild/internal/hardware/modinfo"
	"github.com/hookbuild/hookbuild/internal/inspect"
	"github.com/hookbuild/hookbuild/internal/kconfig"
)

// format is the version of what is kept; another one is made anew.
const format = "1"

const (
	maxSource = 8 << 30   // bytes of a kernel's source, unpacked; that of 6.12 has 1.6 GB
	maxKept   = 256 << 20 // bytes of what is kept of one digest, unpacked; 3 MB is usual
	maxIDs    = 16 << 20  // bytes of a list of names
)

// Library is a directory with what is known. Its zero value keeps nothing.
type Library struct {
	Dir string // made when missing; may be shared with other processes and deleted at any time
	// Making is told what is made because it is not kept, which may take a minute; nil is nobody.
	Making func(what string)
}

// Kernel returns what the modules of a Debian kernel say. file brings the package, and is called only where it is needed.
func (l Library) Kernel(ctx context.Context, p debian.Package, file func() (string, error)) (*modinfo.Kernel, error) {
	return kept(l, "kernel", p.SHA256, "the modules of "+p.Name+" "+p.Version, func() (*modinfo.Kernel, error) {
		return fromDeb(ctx, file, modinfo.ReadTar)
	})
}

// Package returns what a Debian package with a kernel's source says.
func (l Library) Package(ctx context.Context, p debian.Package, file func() (string, error)) (*kbuild.Tree, error) {
	return kept(l, "source", p.SHA256, "the source of Linux "+p.Version, func() (*kbuild.Tree, error) {
		return fromDeb(ctx, file, func(data io.Reader) (*kbuild.Tree, error) {
			t := tar.NewReader(data)
			for {
				h, err := t.Next()
				if errors.Is(err, io.EOF) {
					return nil, fmt.Errorf("%s %s has no source of a kernel", p.Name, p.Version)
				}
				if err != nil {
					return nil, err
				}
				if base := path.Base(h.Name); strings.HasPrefix(base, "linux-source-") && strings.Contains(base, ".tar") {
					return readTree(t, base)
				}
			}
		})
	})
}

// Tarball returns what a kernel's source in a compressed tar says.
func (l Library) Tarball(ctx context.Context, name, sha256 string, file func() (string, error)) (*kbuild.Tree, error) {
	return kept(l, "source", sha256, "the source of "+name, func() (*kbuild.Tree, error) {
		path, err := file()
		if err != nil {
			return nil, err
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readTree(&stoppable{f, ctx}, filepath.Base(path))
	})
}

// Image returns what a kernel and an initramfs that belong together have of drivers. sha256 is a digest of both.
func (l Library) Image(ctx context.Context, sha256, kernel, initramfs string) (*drivers.Image, error) {
	return kept(l, "image", sha256, "the drivers of "+initramfs, func() (*drivers.Image, error) {
		return readImage(ctx, kernel, initramfs)
	})
}

// IDs returns the files below usr/share/misc of a package, by name: pci.ids, usb.ids.
func (l Library) IDs(ctx context.Context, p debian.Package, file func() (string, error)) (map[string]string, error) {
	files, err := kept(l, "ids", p.SHA256, "the names of "+p.Name+" "+p.Version, func() (*map[string]string, error) {
		return fromDeb(ctx, file, readIDs)
	})
	if err != nil {
		return nil, err
	}
	return *files, nil
}

func readIDs(data io.Reader) (*map[string]string, error) {
	files := map[string]string{}
	t := tar.NewReader(data)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return &files, nil
		}
		if err == nil && h.Typeflag == tar.TypeReg && strings.HasSuffix(h.Name, ".ids") {
			if h.Size > maxIDs {
				return nil, fmt.Errorf("%s has more than %d bytes", h.Name, maxIDs)
			}
			var text []byte
			text, err = io.ReadAll(t)
			files[path.Base(h.Name)] = strings.ToValidUTF8(string(text), "?")
		}
		if err != nil {
			return nil, err
		}
	}
}

func fromDeb[T any](ctx context.Context, file func() (string, error), read func(io.Reader) (T, error)) (none T, err error) {
	name, err := file()
	if err != nil {
		return none, err
	}
	d, err := debian.OpenDeb(name)
	if err != nil {
		return none, err
	}
	data, err := d.Data()
	if err != nil {
		return none, err
	}
	defer data.Close()
	return read(&stoppable{data, ctx})
}

func readTree(r io.Reader, name string) (*kbuild.Tree, error) {
	_, suffix, _ := strings.Cut(name, ".tar")
	plain, err := decompress.NewReader(r, suffix, name, maxSource)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer plain.Close()
	return kbuild.Read(plain)
}

// stoppable ends with its context.
type stoppable struct {
	r   io.Reader
	ctx context.Context // of the one reading
}

func (s *stoppable) Read(p []byte) (int, error) {
	if err := context.Cause(s.ctx); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

const firmwareDir = "lib/firmware/"

func readImage(ctx context.Context, kernel, initramfs string) (*drivers.Image, error) {
	k, err := inspect.LoadKernel(kernel)
	if err != nil {
		return nil, err
	}
	image := &drivers.Image{}
	if k.Config != nil {
		if image.Config, err = values(kernel, k.Config); err != nil {
			return nil, err
		}
	}
	i, err := inspect.Load(ctx, initramfs, nil)
	if err != nil {
		return nil, err
	}
	for _, e := range i.Tree.Entries() {
		name, ok := strings.CutPrefix(strings.TrimPrefix(e.Path, "usr/"), firmwareDir)
		if ok && e.Kind != filetree.Dir {
			image.Firmware = append(image.Firmware, strings.TrimSuffix(strings.TrimSuffix(name, ".xz"), ".zst"))
		}
	}
	slices.Sort(image.Firmware)
	var r modinfo.Reader
	if err := i.Each(ctx, modinfo.Wants, r.Add); err != nil {
		return nil, err
	}
	image.Modules = r.Kernel()
	return image, nil
}

// values are the symbols of a configuration that have a line and are not n.
func values(name string, text []byte) (map[string]string, error) {
	lines, err := kconfig.Parse(name, text)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, l := range lines {
		if l.Value == "y" || l.Value == "m" {
			all[l.Name] = l.Value
		}
	}
	return all, nil
}

// kept returns what is kept of a digest; it is made where it is not, or where it cannot be read.
func kept[T any](l Library, kind, sha256, what string, make func() (*T, error)) (*T, error) {
	if !download.IsSHA256(sha256) {
		return nil, fmt.Errorf("%s: %q is not a sha256", what, sha256)
	}
	file := filepath.Join(l.Dir, kind+"-"+format+"-"+sha256+".json.gz")
	if l.Dir != "" {
		got, err := load[T](file)
		if err == nil || errors.Is(err, fs.ErrPermission) {
			return got, err
		}
	}
	if l.Making != nil {
		l.Making(what)
	}
	made, err := make()
	if err != nil || l.Dir == "" {
		return made, err
	}
	return made, store(file, made)
}

func load[T any](file string) (*T, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(plain, maxKept))
	if err != nil {
		return nil, err
	}
	got := new(T)
	return got, json.Unmarshal(text, got)
}

func store(file string, v any) error {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := errors.Join(json.NewEncoder(w).Encode(v), w.Close()); err != nil {
		return err
	}
	return download.WriteFile(file, &b)
}
