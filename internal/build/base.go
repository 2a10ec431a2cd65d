package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/initramfs"
)

// baseTree is the root file system of an initramfs that a build begins with.
type baseTree struct {
	tree  *filetree.Tree
	spool *os.File // what the tree's files are runs of
}

// Close takes the files away; the tree is of no use afterwards.
func (b *baseTree) Close() error { return errors.Join(b.spool.Close(), os.Remove(b.spool.Name())) }

// hashBase is the digest of the initramfs that a build begins with.
func hashBase(file string) (sum string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", &InputError{What: fmt.Sprintf("--base: %v", err)}
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", &InputError{What: fmt.Sprintf("--base: %v", err)}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readBase unpacks the job's base as a kernel would. What a kernel drops of it is a warning.
func (b *Builder) readBase(ctx context.Context, j *Job, r *recorder) (_ *baseTree, err error) {
	f, err := os.Open(j.Base)
	if err != nil {
		return nil, &InputError{What: fmt.Sprintf("--base: %v", err)}
	}
	defer f.Close()
	spool, err := os.CreateTemp(b.Cache, ".base-*")
	if err != nil {
		return nil, err
	}
	base := &baseTree{spool: spool}
	defer func() {
		if err != nil {
			err = errors.Join(err, base.Close())
		}
	}()
	h := sha256.New()
	in := io.TeeReader(&stoppable{f, ctx}, h)
	got, err := initramfs.Unpack(initramfs.Open(in, initramfs.Limits{}), spool, nil)
	if err != nil {
		return nil, fmt.Errorf("--base %s: %w", j.Base, err)
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return nil, err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != j.Plan.Base {
		return nil, &InputError{What: fmt.Sprintf("--base %s: it has changed since the build began", j.Base)}
	}
	if n := len(got.Dropped); n > 0 {
		first := got.Dropped[0]
		r.warn(fmt.Sprintf("--base %s: a kernel drops %d of its entries, the first %.80q: %s", j.Base, n, first.Name, first.Why))
	}
	base.tree = got.Tree
	return base, nil
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
