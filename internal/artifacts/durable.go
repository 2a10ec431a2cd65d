package artifacts

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// File is one stored file. Sums are lower-case hexadecimal, the size is in bytes.
type File struct {
	Name    string `json:"name"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	SHA512  string `json:"sha512"`
	AliasOf string `json:"alias_of,omitempty"` // the file that this is a second name of; empty for none
}

// digester hashes and counts what is written to it.
type digester struct {
	sha256, sha512 hash.Hash
	size           int64
}

func newDigester() *digester {
	return &digester{sha256: sha256.New(), sha512: sha512.New()}
}

// worthSharing is how many bytes take longer to hash than it takes to have a second processor help.
const worthSharing = 16 << 10

func (d *digester) Write(p []byte) (int, error) {
	d.start(p)()
	return len(p), nil
}

// start hashes p, in part beside the caller, who calls finish before p changes.
func (d *digester) start(p []byte) (finish func()) {
	d.size += int64(len(p))
	if len(p) < worthSharing {
		d.sha256.Write(p)
		d.sha512.Write(p)
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.sha512.Write(p)
	}()
	return func() {
		d.sha256.Write(p)
		<-done
	}
}

func (d *digester) file(name string) File {
	return File{
		Name:   name,
		Size:   d.size,
		SHA256: hex.EncodeToString(d.sha256.Sum(nil)),
		SHA512: hex.EncodeToString(d.sha512.Sum(nil)),
	}
}

// describe returns data's entry under name.
func describe(name string, data []byte) File {
	d := newDigester()
	d.Write(data)
	return d.file(name)
}

// encodeJSON is the form of every JSON file that is published.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // the command that builds it again is read by people
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}

// createFile makes a new file with mode 0644 whatever the umask.
func createFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o644); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// writeFile makes a new file with the given content, on the disk when it returns.
func writeFile(path string, data []byte) error {
	f, err := createFile(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return finish(f, err)
}

// finish syncs and closes f after the writes, of which err is the first failure.
func finish(f *os.File, err error) error {
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// makeDir makes the directory with mode 0755 whatever the umask. One that exists is left as it is.
func makeDir(path string) error {
	err := os.Mkdir(path, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o755); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// makeTempDir makes a directory in parent that the next writer removes if this one dies.
func makeTempDir(parent string) (string, error) {
	dir, err := os.MkdirTemp(parent, tempPrefix)
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// syncDir brings a directory's entries to the disk.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return finish(d, nil)
}

// removeTemps takes away what a writer that died left in dir, which need not exist.
func removeTemps(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// checkSize compares the file in dir with its entry without reading it.
func checkSize(dir string, want File) error {
	path := filepath.Join(dir, want.Name)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &DamagedError{Path: path, Reason: "the file is missing"}
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return &DamagedError{Path: path, Reason: "not a regular file"}
	case info.Size() != want.Size:
		return &DamagedError{Path: path, Reason: fmt.Sprintf("got %d bytes, want %d", info.Size(), want.Size)}
	}
	return nil
}

// checkContent reads the file in dir and compares it with its entry.
func checkContent(dir string, want File) error {
	if err := checkSize(dir, want); err != nil {
		return err
	}
	path := filepath.Join(dir, want.Name)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want.SHA256 {
		return &DamagedError{Path: path, Reason: fmt.Sprintf("got sha256 %s, want %s", got, want.SHA256)}
	}
	return nil
}
