package debian

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/hookbuild/hookbuild/internal/decompress"
)

const (
	maxControl = 64 << 20 // bytes of control.tar, decompressed
	maxData    = 8 << 30  // bytes of data.tar, decompressed
)

// Control is a package's control paragraph.
type Control struct {
	Package      string
	Version      string
	Architecture string
	MultiArch    string // "", "same", "foreign" or "allowed"
	Essential    bool
	Text         string // the whole paragraph, verbatim, with one newline at its end
}

// Deb is an open .deb file. It holds no file handle.
type Deb struct {
	Path    string
	Control Control
	Scripts map[string][]byte // every other file of control.tar by name: preinst, triggers, md5sums, conffiles …

	data section
}

// section is a member of the archive: where it is, and how it is compressed.
type section struct {
	name   string
	offset int64
	size   int64
}

// OpenDeb reads the control part of a package (deb(5), format 2.0). The file should have been verified; what
// a hostile one can take is bounded by maxControl and by package decompress.
func OpenDeb(file string) (*Deb, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := &Deb{Path: file, Scripts: map[string][]byte{}}
	control, err := d.findMembers(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := d.readControl(f, control); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", file, control.name, err)
	}
	return d, nil
}

// Data returns the package's files as an uncompressed tar; the caller closes it.
func (d *Deb) Data() (io.ReadCloser, error) {
	f, err := os.Open(d.Path)
	if err != nil {
		return nil, err
	}
	r, err := decompress.NewReader(io.NewSectionReader(f, d.data.offset, d.data.size), d.data.suffix(), d.Path+": data.tar", maxData)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %s: %w", d.Path, d.data.name, err)
	}
	return &dataReader{Reader: r, closers: []io.Closer{r, f}}, nil
}

type dataReader struct {
	io.Reader
	closers []io.Closer
}

func (d *dataReader) Close() error {
	var errs []error
	for _, c := range d.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// suffix is what follows "control.tar" or "data.tar".
func (s section) suffix() string {
	_, suffix, _ := strings.Cut(s.name, ".tar")
	return suffix
}

// findMembers finds control.tar and data.tar. They stand in this order behind debian-binary; members whose
// name starts with an underscore may stand between and are for others.
func (d *Deb) findMembers(f *os.File) (control section, err error) {
	members, err := arMembers(f)
	if err != nil {
		return section{}, err
	}
	if len(members) == 0 || members[0].name != "debian-binary" {
		return section{}, errors.New("the first member is not debian-binary")
	}
	version := make([]byte, min(members[0].size, 16))
	if _, err := f.ReadAt(version, members[0].offset); err != nil {
		return section{}, err
	}
	if !bytes.HasPrefix(version, []byte("2.")) {
		return section{}, fmt.Errorf("format %q: want 2.0", version)
	}
	for _, m := range members[1:] {
		switch {
		case strings.HasPrefix(m.name, "control.tar") && control.name == "":
			control = m
		case strings.HasPrefix(m.name, "data.tar") && control.name != "":
			d.data = m
			return control, nil
		case !strings.HasPrefix(m.name, "_"):
			return section{}, fmt.Errorf("member %q is not expected here", m.name)
		}
	}
	return section{}, errors.New("control.tar or data.tar is missing")
}

const (
	arMagic  = "!<arch>\n"
	arHeader = 60
)

// arMembers lists an ar archive in the common format (ar(5)), without long names, which a .deb does not have.
func arMembers(f *os.File) ([]section, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	head := make([]byte, arHeader)
	if n, _ := f.ReadAt(head[:len(arMagic)], 0); n < len(arMagic) || string(head[:n]) != arMagic {
		return nil, errors.New("not an ar archive")
	}
	var members []section
	for at := int64(len(arMagic)); at < info.Size(); {
		if _, err := f.ReadAt(head, at); err != nil {
			return nil, fmt.Errorf("ar header at %d: %w", at, noEOF(err))
		}
		at += arHeader
		name := strings.TrimSuffix(strings.TrimRight(string(head[:16]), " "), "/")
		size, err := strconv.ParseInt(strings.TrimRight(string(head[48:58]), " "), 10, 64)
		if err != nil || string(head[58:]) != "`\n" {
			return nil, fmt.Errorf("ar header at %d is malformed", at-arHeader)
		}
		if size < 0 || size > info.Size()-at {
			return nil, fmt.Errorf("member %s: %d bytes, and only %d are there", name, size, info.Size()-at)
		}
		members = append(members, section{name: name, offset: at, size: size})
		at += size + size%2
	}
	return members, nil
}

// noEOF makes an end in the wrong place an error that io.Copy and friends do not swallow.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readControl reads control.tar whole.
func (d *Deb) readControl(f *os.File, control section) error {
	r, err := decompress.NewReader(io.NewSectionReader(f, control.offset, control.size), control.suffix(), d.Path+": control.tar", maxControl)
	if err != nil {
		return err
	}
	defer r.Close()
	err = eachFile(r, func(name string, r io.Reader) error {
		if strings.Contains(name, "/") {
			return fmt.Errorf("%s: a directory is not expected here", name)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		d.Scripts[name] = data
		return nil
	})
	if err != nil {
		return err
	}
	text, ok := d.Scripts["control"]
	if !ok {
		return errors.New("no file named control")
	}
	delete(d.Scripts, "control")
	d.Control, err = parseControl(text)
	return err
}

// eachFile hands every regular file of a tar to each, with its clean relative name.
func eachFile(r io.Reader, each func(name string, r io.Reader) error) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if err := each(name, t); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

func parseControl(text []byte) (Control, error) {
	p, err := oneParagraph(text)
	if err != nil {
		return Control{}, fmt.Errorf("control: %w", err)
	}
	c := Control{
		Package: p["package"], Version: p["version"], Architecture: p["architecture"],
		MultiArch: p["multi-arch"], Essential: p["essential"] == "yes",
		Text: strings.Trim(string(text), "\n") + "\n",
	}
	if c.Package == "" || c.Version == "" || c.Architecture == "" {
		return Control{}, errors.New("control: package, version or architecture is missing")
	}
	return c, nil
}
