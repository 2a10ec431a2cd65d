// Package iso makes the image that a BMC mounts as a virtual CD: a kernel, an initramfs and a boot loader go in, an
// ISO 9660 image (https://ecma-international.org/publications-and-standards/standards/ecma-119/) for UEFI machines
// comes out, with a place for the kernel command line that Tinkerbell's smee fills while the image passes through it
// (https://github.com/tinkerbell/tinkerbell, smee/internal/iso). docs/iso.md has the layout and the reasons.
package iso

import (
	"archive/tar"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// Magic is the text of 1024 characters that smee looks for in the image and replaces by the kernel command line,
// padded with blanks. It is smee's constant, in its package internal/iso, and the default of its option for it.
func Magic() string { return magic }

//go:embed magic.txt
var magic string

//go:embed make.sh
var script string

//go:embed grub.cfg
var menu string

// slack are blanks behind the magic. smee does not compare lengths: what is longer than the magic overwrites what
// follows it, and a kernel reads no more than 2047 characters on some architectures.
const slack = 1000

// Config is GRUB's configuration. In single quotes GRUB reads nothing but the closing one; unquoted, the variable's
// value falls apart into the words that it consists of.
func Config() string {
	return strings.Replace(menu, "@CMDLINE@", magic+strings.Repeat(" ", slack), 1)
}

// Recipe is everything of this package that decides about an image's content besides the packages and the files
// that go in.
func Recipe() string { return script + Config() }

// Tools are the Debian packages (trixie), without recommended ones, that Image.Tools needs.
func Tools() []string { return []string{"mtools", "xorriso"} }

// loader is what differs between the architectures. Both programs are signed: shim by Microsoft, GRUB by Debian,
// built by Debian for its own installation media.
type loader struct {
	packages []string
	shim     string // path in the packages
	shimFile string // name in the image, which UEFI 2.10, 3.5.1.1, gives removable media
	grub     string
	grubFile string // name that shim asks for
}

// loaderFor returns the zero loader for an unknown architecture.
func loaderFor(a plan.Arch) loader {
	switch a {
	case plan.X8664:
		return loader{
			packages: []string{"grub-efi-amd64-signed", "shim-signed"},
			shim:     "usr/lib/shim/shimx64.efi.signed", shimFile: "BOOTX64.EFI",
			grub: "usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed", grubFile: "grubx64.efi",
		}
	case plan.AArch64:
		return loader{
			packages: []string{"grub-efi-arm64-signed", "shim-signed"},
			shim:     "usr/lib/shim/shimaa64.efi.signed", shimFile: "BOOTAA64.EFI",
			grub: "usr/lib/grub/arm64-efi-signed/gcdaa64.efi.signed", grubFile: "grubaa64.efi",
		}
	}
	return loader{}
}

// Loader are the Debian packages (trixie), of the machine's architecture, that Image.Loader needs; nil for an unknown
// architecture. leftOut are their dependencies: all of them make sense on an installed system only.
func Loader(a plan.Arch) (packages, leftOut []string) {
	return loaderFor(a).packages, []string{
		"debconf", "grub-common", "grub-efi-amd64-bin", "grub-efi-arm64-bin", "grub2-common", "mokutil",
		"shim-helpers-amd64-signed", "shim-helpers-arm64-signed", "shim-signed-common",
	}
}

// Image says what an image is made from. All fields but Log are needed.
type Image struct {
	Arch      plan.Arch
	Epoch     int64    // seconds since 1970; every time in the image
	Tools     string   // image in the engine with Tools installed
	Loader    []string // files of this host: the packages that Loader names
	Kernel    string   // file of this host
	Initramfs string   // file of this host
	Log       func(engine.Event)
}

// runner is the part of *engine.Engine that is needed here.
type runner interface {
	Run(ctx context.Context, c engine.Container, out io.Writer) (exitCode int, err error)
}

// step is what the making is called where it fails.
const step = "make the ISO"

// Write makes the image and writes it to w. A program that fails is an *engine.BuildError, an image that smee or a
// machine would not get along with is a *FaultError; w has its bytes then.
func (i Image) Write(ctx context.Context, e runner, w io.Writer) error {
	limit, err := i.limit()
	if err != nil {
		return err
	}
	check := NewChecker()
	log := &lines{log: i.Log}
	code, err := e.Run(ctx, engine.Container{
		Image: i.Tools, WorkingDir: "/" + workDir, Cmd: i.command(), Files: i.files,
		Env: []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", i.Epoch), "TZ=UTC", "LC_ALL=C", "HOME=/root"},
		Outputs: []engine.Output{{Path: "/" + workDir + "/hook.iso", Read: func(r io.Reader) error {
			_, err := io.Copy(io.MultiWriter(w, check), io.LimitReader(r, limit))
			return err
		}}},
	}, log)
	log.end()
	if code != 0 {
		return &engine.BuildError{Step: step, ExitCode: code, Tail: log.tail, Err: fmt.Errorf("exit code %d", code)}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	return check.Fault()
}

// workDir is where all files lie in the container.
const workDir = "iso"

// overhead is far above what an image holds besides kernel and initramfs.
const overhead = 64 << 20

// limit is what an image cannot be larger than.
func (i Image) limit() (int64, error) {
	total := int64(overhead)
	for _, file := range []string{i.Kernel, i.Initramfs} {
		info, err := os.Stat(file)
		if err != nil {
			return 0, err
		}
		total += info.Size()
	}
	return total, nil
}

func (i Image) command() []string {
	l := loaderFor(i.Arch)
	return []string{"sh", "make.sh", l.shim, l.shimFile, l.grub, l.grubFile}
}

// files writes what the container needs.
func (i Image) files(w *tar.Writer) error {
	for name, text := range map[string]string{"make.sh": script, "in/grub.cfg": Config()} {
		h := &tar.Header{Name: path.Join(workDir, name), Mode: 0o644, Size: int64(len(text))}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	named := map[string]string{"vmlinuz": i.Kernel, "initramfs": i.Initramfs}
	for n, file := range i.Loader {
		named[fmt.Sprintf("%d.deb", n)] = file
	}
	for name, file := range named {
		if err := engine.AddFile(w, path.Join(workDir, "in", name), file, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// lines passes whole lines on and keeps the last ones.
type lines struct {
	log  func(engine.Event)
	rest string
	tail []string
}

// maxTail is how many lines of a failed program are shown.
const maxTail = 20

// Write takes what the programs say.
func (l *lines) Write(p []byte) (int, error) {
	text := l.rest + string(p)
	for {
		line, rest, ok := strings.Cut(text, "\n")
		if !ok {
			l.rest = text
			return len(p), nil
		}
		l.line(line)
		text = rest
	}
}

// end passes on a last line without an end.
func (l *lines) end() {
	if l.rest != "" {
		l.line(l.rest)
		l.rest = ""
	}
}

func (l *lines) line(text string) {
	text = strings.TrimRight(text, "\r")
	l.tail = append(l.tail, text)
	l.tail = l.tail[max(0, len(l.tail)-maxTail):]
	if l.log != nil {
		l.log(engine.Event{Step: step, Text: text})
	}
}
