package filetree

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// layer is a tar as read: what to lay and what to take away, in the order of the tar.
type layer struct {
	entries   []tarEntry
	whiteouts []whiteout
	dirs      []string // the paths of entries that are directories
}

// tarEntry is one entry of a tar.
type tarEntry struct {
	name     string // as the tar has it, for messages
	path     string // clean
	inode    *Inode // nil for a hard link
	link     string // clean path of a hard link's target
	selected bool
	xattrs   []string
}

// kind is the entry's; a hard link is never a directory.
func (e tarEntry) kind() Kind {
	if e.inode == nil {
		return Regular
	}
	return e.inode.Kind
}

const (
	xattrRecord  = "SCHILY.xattr." // the pax record of an extended attribute, as star, GNU tar and Go write it
	sparseRecord = "GNU.sparse."
)

// readLayer reads src to its end.
func readLayer(src Blob, origin string, o TarOptions) (layer, error) {
	r, err := src.Open()
	if err != nil {
		return layer{}, fmt.Errorf("%s: %w", origin, err)
	}
	defer r.Close()
	in := &counter{r: bufio.NewReaderSize(r, 256<<10)}
	lr := layerReader{src: src, in: in, tar: tar.NewReader(in), options: o, buf: make([]byte, 128<<10)}
	name, tarErr := lr.readAll()
	// The rest is read for the digest; where that is wrong, it is the cause of whatever the tar's fault is.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return layer{}, fmt.Errorf("%s: %w", origin, err)
	}
	if tarErr != nil {
		return layer{}, &TarError{Origin: origin, Entry: name, Err: tarErr}
	}
	return lr.layer, nil
}

// layerReader is the state of one pass over a tar.
type layerReader struct {
	src     Blob
	in      *counter
	tar     *tar.Reader
	options TarOptions
	buf     []byte
	layer   layer
}

// readAll reads every entry. Beside an error it returns the name of the entry at fault.
func (l *layerReader) readAll() (name string, err error) {
	for {
		h, err := l.tar.Next()
		switch {
		case errors.Is(err, io.EOF):
			return "", nil
		case errors.Is(err, tar.ErrInsecurePath):
			// Depends on GODEBUG and on the host's idea of a local name; Clean is our rule.
		case err != nil:
			return "", err
		}
		if err := l.read(h); err != nil {
			return h.Name, err
		}
	}
}

func (l *layerReader) read(h *tar.Header) error {
	p, err := Clean(h.Name)
	if err != nil {
		return err
	}
	if l.options.Whiteouts {
		w, is, err := parseWhiteout(p)
		if err != nil {
			return err
		}
		if is {
			l.layer.whiteouts = append(l.layer.whiteouts, w)
			return nil
		}
	}
	e := tarEntry{name: h.Name, path: p, selected: l.options.Select == nil || l.options.Select(p)}
	if err := l.fill(&e, h); err != nil {
		if !e.selected {
			return nil
		}
		return err
	}
	if e.kind() == Dir {
		l.layer.dirs = append(l.layer.dirs, p)
	}
	l.layer.entries = append(l.layer.entries, e)
	return nil
}

// fill makes e what h says it is; for a regular file it reads the content.
func (l *layerReader) fill(e *tarEntry, h *tar.Header) (err error) {
	sparse := h.Typeflag == tar.TypeGNUSparse
	for record := range h.PAXRecords {
		sparse = sparse || strings.HasPrefix(record, sparseRecord)
		if name, ok := strings.CutPrefix(record, xattrRecord); ok {
			e.xattrs = append(e.xattrs, name)
		}
	}
	slices.Sort(e.xattrs)
	if sparse {
		return errors.New("a sparse file: write the tar without --sparse")
	}
	if h.Typeflag != tar.TypeReg && h.Size != 0 {
		return fmt.Errorf("type %q with %d bytes of content, want none", h.Typeflag, h.Size)
	}
	if h.Typeflag == tar.TypeLink {
		e.link, err = Clean(h.Linkname)
		return err
	}
	if e.inode, err = newInode(h); err != nil {
		return err
	}
	e.inode.Xattrs = e.xattrs
	if e.inode.Kind == Regular {
		e.inode.Data, err = l.content(h)
	}
	return err
}

// newInode returns the inode of h without its content.
func newInode(h *tar.Header) (*Inode, error) {
	kind, err := kindOf(h.Typeflag)
	if err != nil {
		return nil, err
	}
	n := &Inode{Kind: kind, Perm: uint32(h.Mode & 0o7777)}
	var errs [4]error
	n.UID, errs[0] = to32("uid", int64(h.Uid))
	n.GID, errs[1] = to32("gid", int64(h.Gid))
	switch kind {
	case Char, Block:
		n.Major, errs[2] = to32("device major", h.Devmajor)
		n.Minor, errs[3] = to32("device minor", h.Devminor)
	case Symlink:
		if n.Target = h.Linkname; n.Target == "" {
			return nil, errors.New("a symlink that leads nowhere")
		}
	}
	return n, errors.Join(errs[:]...)
}

func kindOf(flag byte) (Kind, error) {
	switch flag {
	case tar.TypeReg:
		return Regular, nil
	case tar.TypeDir:
		return Dir, nil
	case tar.TypeSymlink:
		return Symlink, nil
	case tar.TypeChar:
		return Char, nil
	case tar.TypeBlock:
		return Block, nil
	case tar.TypeFifo:
		return FIFO, nil
	}
	return 0, fmt.Errorf("type %q: want a file, directory, link, device or fifo", flag)
}

// to32 narrows a number of a tar, whose base-256 form has room for negative and larger ones.
func to32(what string, v int64) (uint32, error) {
	if v < 0 || v > math.MaxUint32 {
		return 0, fmt.Errorf("%s is %d, want 0 to %d", what, v, uint32(math.MaxUint32))
	}
	return uint32(v), nil
}

// content hashes the file at hand and returns where it is. The tar reader takes headers in blocks of 512
// bytes and nothing ahead of them, so that the content begins where the counter stands.
func (l *layerReader) content(h *tar.Header) (Blob, error) {
	offset := l.in.n
	hash := sha256.New()
	if _, err := io.CopyBuffer(hash, l.tar, l.buf); err != nil {
		return Blob{}, err
	}
	if got := l.in.n - offset; got != h.Size {
		return Blob{}, fmt.Errorf("got %d bytes of content, want %d", got, h.Size)
	}
	return l.src.part(offset, h.Size, [sha256.Size]byte(hash.Sum(nil))), nil
}

// counter knows how far its reader has been read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
