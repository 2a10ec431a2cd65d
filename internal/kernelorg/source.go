package kernelorg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hookbuild/hookbuild/internal/decompress"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/pgp"
)

const (
	maxSign   = 64 << 10 // bytes of a detached signature; they have about 1 kB
	maxTarXZ  = 1 << 30  // bytes of a source as it comes; 6.12 has 150 MB
	maxSource = 4 << 30  // bytes of a source, decompressed; 6.12 has 1.6 GB
)

// bring sees to it that the cache holds a source with a good signature of a developer and returns the
// fingerprint of that one's key. It reaches its place only when it is verified.
func (s *search) bring(ctx context.Context, p Pin) (developer string, err error) {
	held, err := s.held(ctx, p)
	if err != nil {
		return "", err
	}
	if before := s.verifiedBefore(p); held && before != "" {
		return before, nil
	}
	signatures, err := s.signatures(ctx, p)
	if err != nil {
		return "", err
	}
	if held {
		return s.verify(ctx, p, s.file(p), signatures)
	}
	if err := os.MkdirAll(filepath.Dir(s.file(p)), 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(s.file(p)), ".new-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, tarName(p)+".xz")
	if err := s.fetch(ctx, p, file); err != nil {
		return "", err
	}
	if developer, err = s.verify(ctx, p, file, signatures); err != nil {
		return "", err
	}
	return developer, os.Rename(file, s.file(p))
}

func tarName(p Pin) string { return "linux-" + p.Version + ".tar" }

func (s *search) sourceAddress(p Pin, suffix string) (string, error) {
	v, err := parseVersion(p.Version)
	if err != nil {
		return "", err
	}
	return s.address(v.major(), tarName(p)+suffix)
}

// signatures fetches the developer's signature.
func (s *search) signatures(ctx context.Context, p Pin) ([]byte, error) {
	address, err := s.sourceAddress(p, ".sign")
	if err != nil {
		return nil, err
	}
	armored, err := s.from.Bytes(ctx, address, maxSign)
	if err != nil {
		return nil, err
	}
	packets, err := pgp.Detached(armored)
	if err != nil {
		return nil, &download.VerifyError{
			File: download.Redacted(address), What: "signature", Got: err.Error(), Want: "an armored detached signature",
		}
	}
	return packets, nil
}

// held reports whether the cache has the source.
func (s *search) held(ctx context.Context, p Pin) (bool, error) {
	cache := download.Client{Offline: true}
	err := cache.File(ctx, download.File{Dest: s.file(p), SHA256: p.SHA256, Size: -1, Max: maxTarXZ})
	var missing *download.OfflineError
	if errors.As(err, &missing) {
		return false, nil
	}
	return err == nil, err
}

// fetch brings the source to a place that is not its own yet.
func (s *search) fetch(ctx context.Context, p Pin, dest string) error {
	address, err := s.sourceAddress(p, ".xz")
	if err != nil {
		return err
	}
	m := &meter{report: s.Progress, name: tarName(p) + ".xz", total: -1}
	return s.from.File(ctx, download.File{
		URL: address, Name: "linux " + p.Version, Dest: dest, SHA256: p.SHA256, Size: -1, Max: maxTarXZ,
		Total: func(n int64) { m.total = n }, Moved: m.add,
	})
}

// verify checks the developer's signature, which is over the tar as it was before compression.
func (s *search) verify(ctx context.Context, p Pin, file string, signatures []byte) (developer string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	tar := &unpacker{
		name: tarName(p), file: f, stopped: ctx.Err,
		meter: &meter{report: s.Progress, name: "verifying " + tarName(p), total: info.Size()},
	}
	developer, err = s.check(ctx, tar.name, s.trusted.Developers, signatures, tar.open)
	if tar.err != nil {
		return "", tar.failure()
	}
	if err == nil {
		s.remember(p, developer)
	}
	return developer, err
}

// verifiedBefore is the developer whose signature this client has verified, "" where it has not.
func (c *Client) verifiedBefore(p Pin) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.verified[p.release()]
}

func (c *Client) remember(p Pin, developer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.verified == nil {
		c.verified = map[release]string{}
	}
	c.verified[p.release()] = developer
}

// unpacker reads the tar out of a .tar.xz. It keeps the error that ended it early, since what reads it takes
// any for a fault of the signature.
type unpacker struct {
	name    string // of the tar
	file    *os.File
	stopped func() error
	meter   *meter
	tar     io.Reader
	err     error
}

// open begins from the start.
func (u *unpacker) open() io.Reader {
	u.meter.done = 0
	if _, u.err = u.file.Seek(0, io.SeekStart); u.err == nil {
		u.tar, u.err = decompress.NewReader(&counter{u.file, u.meter}, ".xz", u.name, maxSource)
	}
	return u
}

func (u *unpacker) Read(p []byte) (int, error) {
	if u.err == nil {
		u.err = u.stopped()
	}
	if u.err != nil {
		return 0, u.err
	}
	n, err := u.tar.Read(p)
	if err != nil && err != io.EOF {
		u.err = err
	}
	return n, err
}

// failure says of u.err whose fault it is: that of this machine or of its user, or of what was downloaded.
func (u *unpacker) failure() error {
	var disk *os.PathError
	var long *download.VerifyError
	if errors.As(u.err, &disk) || errors.As(u.err, &long) || u.stopped() != nil {
		return fmt.Errorf("verifying %s: %w", u.name, u.err)
	}
	return &download.VerifyError{File: u.name + ".xz", What: "xz", Got: u.err.Error(), Want: "one whole stream"}
}

// meter adds up bytes and reports them.
type meter struct {
	report      func(name string, done, total int64)
	name        string
	done, total int64
}

func (m *meter) add(n int64) {
	m.done += n
	if m.report != nil && n != 0 {
		m.report(m.name, m.done, m.total)
	}
}

// counter tells a meter of the bytes that pass.
type counter struct {
	r io.Reader
	m *meter
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.m.add(int64(n))
	return n, err
}
