package artifacts

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// copyBlock is in what pieces large files are copied and hashed, in bytes.
const copyBlock = 1 << 20

// writeTarball makes the archive of kernel and initramfs from the staged files: at its root, in this order,
// mode 0644, owner 0:0, time = epoch, so that its bytes depend on nothing else.
func (g *Staging) writeTarball(p *plan.Plan) (err error) {
	name := TarballName(p.Arch)
	if name == "" {
		return nil
	}
	w, err := g.create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	// Both files are compressed already: storing them costs 5 bytes in 65,535 and no time.
	blocks := bufio.NewWriterSize(w, copyBlock)
	zw, err := gzip.NewWriterLevel(blocks, gzip.NoCompression)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(zw)
	for _, member := range []string{KernelName(p.Arch), InitramfsName(p.Arch)} {
		if err := addMember(tw, g.dir, g.files[member], p.Epoch); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return errors.Join(tw.Close(), zw.Close(), blocks.Flush())
}

func addMember(tw *tar.Writer, dir string, file File, epoch int64) error {
	f, err := os.Open(filepath.Join(dir, file.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	err = tw.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg,
		Name:     file.Name,
		Size:     file.Size,
		Mode:     0o644,
		ModTime:  time.Unix(epoch, 0),
	})
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{tw}, struct{ io.Reader }{f}, make([]byte, copyBlock))
	return err
}
