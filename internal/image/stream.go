package image

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
)

// stream is an archive that comes from an engine; it keeps the error that it ends with, if that is not io.EOF.
type stream struct {
	r   io.Reader
	n   int64
	err error
}

func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if s.n += int64(n); s.n > maxArchive {
		err = fmt.Errorf("more than %d bytes", int64(maxArchive))
	}
	if err != io.EOF {
		s.err = err
	}
	return n, err
}

// largeMember is what a member has at the least, in bytes, to be a file of its own: what is smaller is copied sooner
// than it is looked after.
const largeMember = 64 << 10

// streamedArchive reads an archive once, from its beginning to its end. It may name its layers only there, so every
// large member is taken into the cache as if it were one. The caller closes it.
func streamedArchive(ctx context.Context, in io.Reader, c cache) (_ *archive, err error) {
	a := &archive{members: map[string]member{}}
	a.file, err = c.spool(func(small io.Writer) error {
		src := bufio.NewReaderSize(&cancelReader{ctx, in}, 256<<10)
		members := tar.NewReader(src)
		var offset int64
		err := a.eachMember(ctx, members, func(m *member) error {
			if m.link != "" || m.fault != "" {
				return nil
			}
			if m.size >= largeMember {
				return a.take(m, members, c)
			}
			m.offset = offset
			offset += m.size
			_, err := io.CopyN(small, members, m.size)
			return err
		})
		if err == nil {
			_, err = io.Copy(io.Discard, src)
		}
		return err
	})
	if err != nil {
		for _, t := range a.taken {
			t.discard()
		}
		return nil, err
	}
	return a, nil
}

// take takes the content of a member at which in stands.
func (a *archive) take(m *member, in io.Reader, c cache) error {
	taken, err := c.take(func(w io.Writer) error {
		_, err := io.CopyBuffer(w, struct{ io.Reader }{in}, make([]byte, 128<<10))
		return err
	})
	if err != nil {
		return err
	}
	m.taken = taken
	a.taken = append(a.taken, taken)
	return nil
}
