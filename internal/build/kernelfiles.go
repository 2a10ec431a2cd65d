package build

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/download"
)

// input is a file or directory of the user's, or on a web server, that goes into a kernel by its content.
type input struct {
	from   string // path or URL
	sha256 string // of the file, or of the directory's content
	dir    bool
	suffix string // of its name in the cache
	// leaveOut are the names of files that are not part of a directory; nil is none.
	leaveOut *regexp.Regexp
}

// newInput reads what from names, for its digest. want is the digest that it must have, "" where it is a path
// and anything will do; of a URL nothing is fetched yet.
func newInput(what, from, want, suffix string) (input, error) {
	return input{from: from, sha256: want, suffix: suffix}.read(what)
}

// buildProduct are the files that kbuild leaves beside a module's sources. It would take them for built, against
// whatever kernel that was. A binary that belongs to the sources is called NAME.o_shipped
// (https://docs.kernel.org/kbuild/modules.html).
var buildProduct = regexp.MustCompile(`^(.*\.(o|ko|mod|mod\.c)|\..*\.cmd|Module\.symvers|modules\.order)$`)

// newModule reads an external module.
func newModule(x config.ExternalModule) (input, error) {
	return input{from: x.URL, sha256: x.SHA256, leaveOut: buildProduct}.read("external module " + x.Name)
}

func (in input) read(what string) (input, error) {
	from, want := in.from, in.sha256
	if config.IsURL(from) {
		return in, nil
	}
	info, err := os.Stat(from)
	if err != nil {
		return in, &InputError{What: fmt.Sprintf("%s: %v", what, err)}
	}
	if in.dir = info.IsDir(); !in.dir && !info.Mode().IsRegular() { // reading a pipe might never end
		return in, &InputError{What: fmt.Sprintf("%s: %s is neither a file nor a directory", what, from)}
	}
	got := ""
	if !in.dir {
		got, err = fileSum(from)
	} else if in.from, err = filepath.EvalSymlinks(from); err == nil { // what walks a tree does not follow a link to it
		got, err = treeSum(in.from, in.leaveOut)
	}
	if err != nil {
		return in, &InputError{What: fmt.Sprintf("%s: %v", what, err)}
	}
	if want != "" && got != want {
		return in, &download.VerifyError{File: from, What: "sha256", Got: got, Want: want}
	}
	in.sha256 = got
	return in, nil
}

// mustBe refuses a directory where a file is wanted, and the other way round.
func (in input) mustBe(dir bool, what string) error {
	if in.dir == dir {
		return nil
	}
	kind := map[bool]string{true: "a directory", false: "a file"}
	return &InputError{What: fmt.Sprintf("%s: %s is %s, want %s", what, in.from, kind[in.dir], kind[dir])}
}

func fileSum(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// treeSum is the digest of a directory: names, kinds, executable bits, targets of links and contents.
func treeSum(dir string, leaveOut *regexp.Regexp) (string, error) {
	h := sha256.New()
	err := walkTree(dir, leaveOut, func(name string, info fs.FileInfo) error {
		file := filepath.Join(dir, filepath.FromSlash(name))
		switch {
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := os.Readlink(file)
			fmt.Fprintf(h, "link %q %q\n", name, target)
			return err
		case info.Mode().IsRegular():
			sum, err := fileSum(file)
			fmt.Fprintf(h, "file %q %v %s\n", name, isProgram(info), sum)
			return err
		}
		fmt.Fprintf(h, "dir %q\n", name)
		return nil
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

func isProgram(info fs.FileInfo) bool { return info.Mode().Perm()&0o100 != 0 }

// walkTree visits directories, regular files and symlinks below dir in the order of their names, but for files
// that are to be left out. What version control keeps beside them is not part of a source.
func walkTree(dir string, leaveOut *regexp.Regexp, visit func(name string, info fs.FileInfo) error) error {
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil || name == "." {
			return err
		}
		if name == ".git" {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if t := info.Mode().Type(); t != 0 && t != fs.ModeDir && t != fs.ModeSymlink {
			return fmt.Errorf("%s is neither a file nor a directory nor a symlink", file)
		}
		if leaveOut != nil && !d.IsDir() && leaveOut.MatchString(d.Name()) {
			return nil
		}
		return visit(filepath.ToSlash(name), info)
	})
}

// inputDir is where files are kept by their digest.
func (b *Builder) inputDir() string { return filepath.Join(b.Cache, "files") }

func (in input) name() string { return in.sha256 + in.suffix }

// keep puts the input into the cache under its digest, a directory as a tar, and returns its name there.
func (b *Builder) keep(ctx context.Context, in input) (string, error) {
	dest := filepath.Join(b.inputDir(), in.name())
	if config.IsURL(in.from) {
		var done int64
		return in.name(), b.Download.File(ctx, download.File{
			URL: in.from, Dest: dest, SHA256: in.sha256, Size: -1, Max: maxInput,
			Moved: func(n int64) {
				done += n
				b.Report.Count(stageKernel, filepath.Base(in.from), done, 0)
			},
		})
	}
	if in.dir {
		if _, err := os.Stat(dest); err == nil {
			return in.name(), nil
		}
		return in.name(), pack(in, dest)
	}
	if got, err := fileSum(dest); err == nil && got == in.sha256 {
		return in.name(), nil
	}
	f, err := os.Open(in.from)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return in.name(), download.WriteFile(dest, &checked{in: in, file: f, sum: sha256.New()})
}

// checked reads the input's file, and fails at its end where it is no longer the one that the digest is of.
type checked struct {
	in   input
	file io.Reader
	sum  hash.Hash
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.file.Read(p)
	c.sum.Write(p[:n])
	if err == io.EOF {
		if changed := c.in.is(hex.EncodeToString(c.sum.Sum(nil))); changed != nil {
			err = changed
		}
	}
	return n, err
}

// is compares with the digest that the input had when the build began.
func (in input) is(got string) error {
	if got == in.sha256 {
		return nil
	}
	return &download.VerifyError{File: in.from, What: "sha256", Got: got, Want: in.sha256 + " as when the build began"}
}

// maxInput bounds what is downloaded, in bytes; the source of a kernel takes 0.15 GB.
const maxInput = 4 << 30

// pack writes the directory as a tar, unless it has changed meanwhile.
func pack(in input, dest string) error {
	r, w := io.Pipe()
	go func() {
		err := packTo(w, in.from, in.leaveOut)
		if err == nil {
			var got string
			if got, err = treeSum(in.from, in.leaveOut); err == nil {
				err = in.is(got)
			}
		}
		w.CloseWithError(err)
	}()
	err := download.WriteFile(dest, r)
	return errors.Join(err, r.Close())
}

func packTo(w io.Writer, dir string, leaveOut *regexp.Regexp) error {
	t := tar.NewWriter(w)
	err := walkTree(dir, leaveOut, func(name string, info fs.FileInfo) error {
		file := filepath.Join(dir, filepath.FromSlash(name))
		target := ""
		if info.Mode().Type() == fs.ModeSymlink {
			var err error
			if target, err = os.Readlink(file); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		h.Name = strings.TrimSuffix(name, "/")
		if err := t.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(t, f)
		return err
	})
	return errors.Join(err, t.Close())
}

// snapshot copies the directory to dest, which must be empty, and makes sure that the copy is what the digest is
// of: what is sent to the engine may be read long after it was planned with. Modes are as little as the digest knows
// of them.
func (in input) snapshot(ctx context.Context, dest string) error {
	err := walkTree(in.from, in.leaveOut, func(name string, info fs.FileInfo) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		from, to := filepath.Join(in.from, filepath.FromSlash(name)), filepath.Join(dest, filepath.FromSlash(name))
		switch {
		case info.IsDir():
			return errors.Join(os.Mkdir(to, 0o755), os.Chmod(to, 0o755)) // whatever the umask is
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := os.Readlink(from)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		}
		return copyFile(from, to, info)
	})
	got := ""
	if err == nil {
		got, err = treeSum(dest, nil)
	}
	_, noDest := os.Stat(dest)
	if errors.Is(err, fs.ErrNotExist) && noDest == nil || err == nil && got != in.sha256 {
		return &InputError{What: fmt.Sprintf("kernel: %s changed while it was read; run it again when nothing writes there", in.from)}
	}
	return err
}

func copyFile(from, to string, info fs.FileInfo) error {
	mode := fs.FileMode(0o644)
	if isProgram(info) {
		mode = 0o755
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Chmod(mode), dst.Close(), os.Chtimes(to, info.ModTime(), info.ModTime()))
}
