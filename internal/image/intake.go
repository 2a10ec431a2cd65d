package image

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// layerOptions is how every layer is read.
func layerOptions() filetree.TarOptions { return filetree.TarOptions{Whiteouts: true} }

// intake is a file for the cache that was hashed, and listed in case it is a layer, while it was written. Discard
// removes it, unless it was adopted before.
type intake struct {
	file    string
	digest  string            // sha256:…
	list    *filetree.Listing // nil where it is no tar without a fault
	adopted bool
}

// take makes a temporary file of what fill writes.
func (c cache) take(fill func(io.Writer) error) (_ *intake, err error) {
	tmp, err := c.temporary(filepath.Join(c.dir, "layers"))
	if err != nil {
		return nil, err
	}
	t := &intake{file: tmp.Name()}
	defer func() {
		if err != nil {
			t.discard()
		}
	}()
	pr, pw := io.Pipe()
	listed := make(chan *filetree.Listing, 1)
	go func() {
		list, _ := filetree.List(pr, "", layerOptions()) // a fault is told of when the layer is read
		listed <- list
	}()
	sum := sha256.New()
	err = fill(io.MultiWriter(diskWriter{tmp}, pw, sum)) // the lister works on a buffer of its own meanwhile
	pw.CloseWithError(err)                               // nil is io.EOF
	t.list, t.digest = <-listed, "sha256:"+hex.EncodeToString(sum.Sum(nil))
	if cerr := tmp.Close(); err == nil && cerr != nil {
		err = &cacheError{cerr}
	}
	return t, err
}

func (t *intake) discard() {
	if !t.adopted {
		os.Remove(t.file)
	}
}

// adopt makes a layer of the cache of what was taken, which must be that layer.
func (c cache) adopt(t *intake) error {
	file := c.layerFile(t.digest)
	if err := os.Rename(t.file, file); err != nil {
		return &cacheError{err}
	}
	t.file, t.adopted = file, true
	c.keepListing(t.digest, t.list)
	return nil
}

// listing returns what a layer of the cache holds. A layer is read for it once, to its end; then its listing stands
// beside it, and holds for as long as nothing wrote to the layer's file.
func (c cache) listing(ref, diffID string, layer filetree.Blob) (*filetree.Listing, error) {
	if list, ok := c.keptListing(diffID); ok {
		return list, nil
	}
	r, err := layer.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	list, err := filetree.List(r, ref, layerOptions())
	if err == nil {
		c.keepListing(diffID, list)
	}
	return list, err
}

func (c cache) listingFile(diffID string) string {
	return c.layerFile(diffID) + "." + filetree.ListingFormat
}

// A kept listing is the digest of all that follows; size and time of the layer's file; the listing.
const (
	stampSize     = 16
	listingHeader = sha256.Size + stampSize
)

// keptListing returns the listing beside a layer, false where there is none that can be used.
func (c cache) keptListing(diffID string) (*filetree.Listing, bool) {
	data, err := os.ReadFile(c.listingFile(diffID))
	if err != nil || len(data) < listingHeader {
		return nil, false
	}
	stamp, err := c.stamp(diffID)
	if err != nil || sha256.Sum256(data[sha256.Size:]) != [sha256.Size]byte(data) || string(stamp) != string(data[sha256.Size:listingHeader]) {
		return nil, false
	}
	var list filetree.Listing
	return &list, list.UnmarshalBinary(data[listingHeader:]) == nil
}

// keepListing puts a listing beside its layer. Where that fails, the layer is read again the next time.
func (c cache) keepListing(diffID string, list *filetree.Listing) {
	if list == nil {
		return
	}
	data, err := list.MarshalBinary()
	if err != nil {
		return
	}
	stamp, err := c.stamp(diffID)
	if err != nil {
		return
	}
	data = append(stamp, data...)
	sum := sha256.Sum256(data)
	_ = c.write(c.listingFile(diffID), func(w io.Writer) error {
		_, err := w.Write(append(sum[:], data...))
		return err
	})
}

// stamp is size and time of a layer's file, which change when somebody writes to it.
func (c cache) stamp(diffID string) ([]byte, error) {
	info, err := os.Stat(c.layerFile(diffID))
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(info.Size()))
	return binary.BigEndian.AppendUint64(b, uint64(info.ModTime().UnixNano())), nil
}

// Forget removes a layer from the cache whose file is no longer what it was, so that the next one to want the image
// brings it again. It returns false where the error is not about such a file.
func Forget(cacheDir string, err error) bool {
	changed, ok := errors.AsType[*filetree.ChangedError](err)
	if !ok || filepath.Dir(changed.File) != filepath.Join(cacheDir, "layers") {
		return false
	}
	err = os.Remove(changed.File)
	return err == nil || errors.Is(err, fs.ErrNotExist)
}
