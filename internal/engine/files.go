package engine

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
)

// AddFile writes the file of this host into w, streamed, owned by root: a container's Files are such tars.
func AddFile(w *tar.Writer, name, file string, perm int64) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", file)
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: perm, Size: info.Size()}); err != nil {
		return fmt.Errorf("%s as %s: %w", file, name, err)
	}
	if n, err := io.Copy(w, io.LimitReader(f, info.Size())); err != nil {
		return fmt.Errorf("%s as %s: %w", file, name, err)
	} else if n != info.Size() {
		return fmt.Errorf("%s became shorter while it was read: got %d bytes, want %d", file, n, info.Size())
	}
	return nil
}
