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

// tarEntry is one entry of a tar.
type tarEntry struct {
	name   string // as the tar has it, for messages
	path   string // clean
	inode  *Inode // of a hard link only mode and owner
	link   string // clean path of a hard link's target; "" for others
	xattrs []string
	body   body // of a regular file
}

// body is where in a tar a file's content is.
type body struct {
	offset, size int64
	sum          [sha256.Size]byte
}

const (
	xattrRecord  = "SCHILY.xattr." // the pax record of an extended attribute, as star, GNU tar and Go write it
	sparseRecord = "GNU.sparse."
)

// List reads an uncompressed tar from r, to the last byte of r whatever is wrong with the tar. Origin is for its
// errors: a fault in the tar is a *TarError, with a *LimitError in it where there is too much; any other is that of r.
func List(r io.Reader, origin string, o TarOptions) (*Listing, error) {
	in := &counter{r: bufio.NewReaderSize(r, 256<<10)}
	lr := layerReader{in: in, tar: tar.NewReader(in), options: o, buf: make([]byte, 128<<10)}
	name, tarErr := lr.readAll()
	// The rest is read for the digest; where that is wrong, it is the cause of whatever the tar's fault is.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return nil, fmt.Errorf("%s: %w", origin, err)
	}
	if tarErr != nil {
		return nil, &TarError{Origin: origin, Entry: name, Err: tarErr}
	}
	return &lr.list, nil
}

// layerReader is the state of one pass over a tar.
type layerReader struct {
	in      *counter
	tar     *tar.Reader
	options TarOptions
	buf     []byte
	list    Listing
	use     usage
}

// readAll reads every entry. Beside an error it returns the name of the entry at fault, "" where that is not
// known.
func (l *layerReader) readAll() (name string, err error) {
	last := ""
	for {
		h, err := l.tar.Next()
		switch {
		case errors.Is(err, io.EOF):
			return "", nil
		case errors.Is(err, tar.ErrInsecurePath):
			// Depends on GODEBUG and on the host's idea of a local name; Clean is our rule.
		case err != nil && last == "":
			return "", fmt.Errorf("the first header: %w", err)
		case err != nil:
			return "", fmt.Errorf("after entry %.*q: %w", shownName, last, err)
		}
		last = h.Name
		if err := l.read(h); err != nil {
			return h.Name, err
		}
	}
}

func (l *layerReader) read(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // as with Docker and containerd; git archive writes one
	}
	p, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if err := l.use.entry(len(h.Name) + len(h.Linkname)); err != nil {
		return err
	}
	if l.options.Whiteouts {
		w, is, err := parseWhiteout(p)
		if err != nil {
			return err
		}
		if is {
			w.entry = h.Name
			l.list.whiteouts = append(l.list.whiteouts, w)
			return nil
		}
	}
	e := tarEntry{name: h.Name, path: p}
	if err := l.fill(&e, h); err != nil {
		return err
	}
	l.list.entries = append(l.list.entries, e)
	return nil
}

// cleanName is Clean with what a directory of Linux can hold (NAME_MAX of include/uapi/linux/limits.h).
func cleanName(name string) (string, error) {
	p, err := Clean(name)
	if err != nil {
		return "", err
	}
	for part := range strings.SplitSeq(p, "/") {
		if len(part) > maxName {
			return "", fmt.Errorf("%.40q… has %d bytes, want at most %d between two slashes", part, len(part), maxName)
		}
	}
	return p, nil
}

// fill makes e what h says it is; for a regular file it reads the content.
func (l *layerReader) fill(e *tarEntry, h *tar.Header) (err error) {
	if e.xattrs, err = l.records(h); err != nil {
		return err
	}
	// The size of a directory means nothing (POSIX.1-1988 has it as a quota) and is followed by no content.
	// Of a hard link, some programs write the content and some only its size.
	if h.Size < 0 || h.Size > 0 && h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir {
		return fmt.Errorf("type %q with %d bytes of content, want none", h.Typeflag, h.Size)
	}
	if e.inode, err = newInode(h); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		e.link, err = Clean(h.Linkname)
		return err
	}
	e.inode.Xattrs = e.xattrs
	if e.inode.Kind == Regular {
		e.body, err = l.content(h)
	}
	return err
}

// records returns the names of the extended attributes among the pax records of h, sorted.
func (l *layerReader) records(h *tar.Header) (xattrs []string, err error) {
	sparse := h.Typeflag == tar.TypeGNUSparse
	for record := range h.PAXRecords {
		sparse = sparse || strings.HasPrefix(record, sparseRecord)
		name, ok := strings.CutPrefix(record, xattrRecord)
		if !ok {
			continue
		}
		if l.use.names += int64(len(name)); name == "" || len(name) > maxName {
			return nil, fmt.Errorf("extended attribute %.40q has a name of %d bytes, want 1 to %d", name, len(name), maxName)
		}
		xattrs = append(xattrs, name)
	}
	slices.Sort(xattrs)
	if sparse {
		return nil, errors.New("a sparse file: write the tar without --sparse")
	}
	return xattrs, l.use.check()
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
		n.Target = h.Linkname
		if size := len(n.Target); size == 0 || size > maxPath || strings.IndexByte(n.Target, 0) >= 0 {
			return nil, fmt.Errorf("a symlink to %.40q of %d bytes, want 1 to %d and no NUL", n.Target, size, maxPath)
		}
	}
	return n, errors.Join(errs[:]...)
}

func kindOf(flag byte) (Kind, error) {
	switch flag {
	case tar.TypeReg, tar.TypeLink: // which is never to a directory
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
func (l *layerReader) content(h *tar.Header) (body, error) {
	offset := l.in.n
	hash := sha256.New()
	if _, err := io.CopyBuffer(hash, l.tar, l.buf); err != nil {
		return body{}, err
	}
	if got := l.in.n - offset; got != h.Size {
		return body{}, fmt.Errorf("got %d bytes of content, want %d", got, h.Size)
	}
	return body{offset, h.Size, [sha256.Size]byte(hash.Sum(nil))}, nil
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
