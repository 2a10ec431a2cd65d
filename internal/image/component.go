package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// Repository is the name under which built component images stand in the engine.
const Repository = "hookbuild/component"

// Component is a directory with a Dockerfile and the packages that it is given as the context "debs".
type Component struct {
	Name     string   // of the directory, for the image's name
	Arch     string   // of the image; Debian's name
	Files    fs.FS    // the directory
	Base     string   // image that the Dockerfile gets as the build argument BASE
	Packages []string // SHA-256 of each .deb, sorted
}

// Digest identifies the directory's content: names, bytes, and where symlinks lead. Modes and times are not part of it; a
// Dockerfile states the modes. What is neither file, directory nor symlink is an error.
func Digest(dir fs.FS) (string, error) {
	h := sha256.New()
	err := fs.WalkDir(dir, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if d.Type() == fs.ModeSymlink {
			target, err := fs.ReadLink(dir, p)
			fmt.Fprintf(h, "%q -> %q\n", p, target)
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a directory nor a symlink", p)
		}
		data, err := fs.ReadFile(dir, p)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %d\n", p, len(data))
		h.Write(data)
		return nil
	})
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Ref is the image's name; its tag is a digest of everything that enters.
func (c Component) Ref() (string, error) {
	sum, err := Digest(c.Files)
	if err != nil {
		return "", fmt.Errorf("component %s: %w", c.Name, err)
	}
	h := sha256.New()
	fmt.Fprintln(h, sum, c.Base)
	for _, p := range c.Packages {
		fmt.Fprintln(h, p)
	}
	return fmt.Sprintf("%s:%s-%s-%s", Repository, c.Name, c.Arch, hex.EncodeToString(h.Sum(nil))[:16]), nil
}

// builder is the part of an engine that builds.
type builder interface {
	Has(ctx context.Context, ref string) (bool, error)
	Build(ctx context.Context, b engine.Build) error
}

// Ensure returns the name of the component's image, which it builds where the engine lacks it. debs gives the
// directory that holds the packages as <sha256>.deb; it is called only then.
func (c Component) Ensure(ctx context.Context, e builder, tmp string, debs func(context.Context) (string, error), log func(engine.Event)) (ref string, err error) {
	ref, err = c.Ref()
	if err != nil {
		return "", err
	}
	if has, err := e.Has(ctx, ref); has || err != nil {
		return ref, err
	}
	packages, err := debs(ctx)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(tmp, "component-*")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := c.lay(dir); err != nil {
		return "", fmt.Errorf("component %s: %w", c.Name, err)
	}
	if err := e.Build(ctx, c.build(ref, dir, packages, log)); err != nil {
		return "", fmt.Errorf("component %s: %w", c.Name, err)
	}
	return ref, nil
}

func (c Component) build(ref, dir, packages string, log func(engine.Event)) engine.Build {
	include := make([]string, 0, len(c.Packages))
	for _, sum := range c.Packages {
		include = append(include, sum+".deb")
	}
	files := engine.Local{Dir: filepath.Join(dir, "files")}
	debs := engine.Local{Dir: packages, Include: include}
	if len(include) == 0 {
		debs = engine.Local{Dir: filepath.Join(dir, "none")}
	}
	return engine.Build{
		Args:     map[string]string{"BASE": c.Base},
		Contexts: []string{"debs"},
		Locals:   map[string]engine.Local{"context": files, "dockerfile": files, "debs": debs},
		Tag:      ref, Log: log,
	}
}

// lay writes the directory out, since the engine takes its build context from a disk. All files get one
// mode, whatever the umask. Symlinks are not followed, as docker build does not.
func (c Component) lay(dir string) error {
	if err := os.Mkdir(filepath.Join(dir, "none"), 0o755); err != nil {
		return err
	}
	root := filepath.Join(dir, "files")
	return fs.WalkDir(c.Files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(root, filepath.FromSlash(p))
		if d.IsDir() {
			return errors.Join(os.Mkdir(to, 0o755), os.Chmod(to, 0o755))
		}
		if d.Type() == fs.ModeSymlink {
			target, err := fs.ReadLink(c.Files, p)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		}
		return copyFile(c.Files, p, to)
	})
}

func copyFile(from fs.FS, name, to string) error {
	in, err := from.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(0o644), out.Close())
}
