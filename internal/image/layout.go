package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/hookbuild/hookbuild/internal/registry"
)

// files are the files of an image layout, in a directory or in an archive.
type files interface {
	// open returns a regular file by its slash-separated name, and its size. The caller closes it.
	// fs.ErrNotExist where there is none.
	open(name string) (io.ReadCloser, int64, error)
	close()
}

// directory is a layout on the disk. Nothing in it leads out of it.
type directory struct{ root *os.Root }

func openDirectory(path string) (directory, error) {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory; archive:FILE is for files")
	}
	if err != nil {
		return directory{}, err
	}
	root, err := os.OpenRoot(path)
	return directory{root}, err
}

func (d directory) open(name string) (io.ReadCloser, int64, error) {
	f, err := regular(d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (d directory) close() { _ = d.root.Close() } // nothing is written by it

// The files of a layout (https://github.com/opencontainers/image-spec/blob/main/image-layout.md).
const (
	indexFile     = "index.json"
	versionFile   = "oci-layout"
	layoutVersion = "1.0.0"
)

// The annotations of descriptors.
const (
	refNameKey    = "org.opencontainers.image.ref.name"
	containerdKey = "io.containerd.image.name"  // the name in full, where ref.name is the tag
	attestKey     = "vnd.docker.reference.type" // on what BuildKit puts beside images
	unknownOS     = "unknown"                   // of an attestation
	maxDepth      = 4                           // indexes within indexes; Docker makes two
)

// layout finds one image of an image layout.
type layout struct {
	files    files
	platform string
	seen     [][]byte // documents on the way
}

// find returns the image that r means. What it returns reads from the files.
func (l *layout) find(r reference) (*found, error) {
	if err := l.checkVersion(); err != nil {
		return nil, err
	}
	raw, err := l.read(indexFile, registry.MaxManifest)
	if err != nil {
		return nil, err
	}
	index, err := parseTop(raw)
	if err != nil {
		return nil, &FormatError{Entry: indexFile, Err: err}
	}
	d, err := l.choose(index.Manifests, r)
	if err != nil {
		return nil, err
	}
	return l.image(d)
}

func parseTop(raw []byte) (*v1.IndexManifest, error) {
	kind, err := registry.Kind(raw, "")
	if err != nil {
		return nil, err
	}
	if !kind.IsIndex() {
		return nil, errors.New("an image's manifest, want an index")
	}
	return registry.ParseIndex(raw)
}

// checkVersion refuses layouts of another version. Some archives do without the file.
func (l *layout) checkVersion() error {
	raw, err := l.read(versionFile, registry.MaxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var doc struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return &FormatError{Entry: versionFile, Err: err}
	}
	if doc.Version != layoutVersion {
		return &FormatError{Entry: versionFile, Err: fmt.Errorf("version %s, want %s", shown(doc.Version), layoutVersion)}
	}
	return nil
}

// choose finds what r means in the layout's own index.
func (l *layout) choose(all []v1.Descriptor, r reference) (v1.Descriptor, error) {
	if r.digest != "" {
		return l.byDigest(all, r.digest)
	}
	var images []v1.Descriptor
	for _, d := range all {
		if d.Annotations[attestKey] != "" || d.Platform != nil && d.Platform.OS == unknownOS {
			continue
		}
		same := func(other v1.Descriptor) bool { return other.Digest == d.Digest }
		fits := r.tag == "" || r.means(d.Annotations[refNameKey], d.Annotations[containerdKey])
		if fits && !slices.ContainsFunc(images, same) {
			images = append(images, d)
		}
	}
	switch {
	case len(images) == 1:
		return images[0], nil
	case len(images) == 0 && r.tag != "":
		return v1.Descriptor{}, missing("no image %s; it has [%s]", shown(r.tag), names(all))
	case len(images) == 0:
		return v1.Descriptor{}, missing("no image in it")
	}
	fits := slices.DeleteFunc(slices.Clone(images), func(d v1.Descriptor) bool { return !isFor(d.Platform, l.platform) })
	if len(fits) != 1 {
		return v1.Descriptor{}, &ReferenceError{Ref: r.text, Err: fmt.Errorf("it means %d images; say which by :TAG or @sha256:DIGEST; there are [%s]", len(images), names(all))}
	}
	return fits[0], nil
}

// byDigest finds an image that may also lie within an index.
func (l *layout) byDigest(all []v1.Descriptor, digest string) (v1.Descriptor, error) {
	for _, d := range all {
		if d.Digest.String() == digest {
			return d, nil
		}
	}
	h, err := v1.NewHash(digest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	f, size, err := l.files.open(blobName(h))
	if errors.Is(err, fs.ErrNotExist) {
		return v1.Descriptor{}, missing("no image %s", digest)
	}
	if err != nil {
		return v1.Descriptor{}, &FormatError{Entry: blobName(h), Err: err}
	}
	f.Close()
	return v1.Descriptor{Digest: h, Size: size}, nil
}

func isFor(p *v1.Platform, platform string) bool {
	return p != nil && p.OS+"/"+p.Architecture == platform
}

// names are those of a layout's images, for a message.
func names(all []v1.Descriptor) string {
	const most = 20
	var list []string
	for _, d := range all {
		name := d.Annotations[refNameKey]
		if name == "" {
			name = "@" + d.Digest.String()
		}
		list = append(list, shown(name))
	}
	return strings.Join(firstOf(list, most), ", ")
}

func firstOf(list []string, n int) []string {
	if len(list) > n {
		return append(list[:n:n], "…")
	}
	return list
}

// image follows a descriptor to one platform's image.
func (l *layout) image(d v1.Descriptor) (*found, error) {
	for range maxDepth {
		raw, err := l.document(d, registry.MaxManifest)
		if err != nil {
			return nil, err
		}
		l.seen = append(l.seen, raw)
		kind, err := registry.Kind(raw, d.MediaType)
		if err != nil {
			return nil, &FormatError{Entry: blobName(d.Digest), Err: err}
		}
		if !kind.IsIndex() {
			return l.single(d, raw)
		}
		index, err := registry.ParseIndex(raw)
		if err != nil {
			return nil, &FormatError{Entry: blobName(d.Digest), Err: err}
		}
		next, err := registry.Pick(index, l.platform)
		if err != nil {
			return nil, &FormatError{Entry: blobName(d.Digest), Err: err}
		}
		d = next
	}
	return nil, &FormatError{Entry: blobName(d.Digest), Err: fmt.Errorf("more than %d indexes within each other", maxDepth-1)}
}

// single reads the image of a manifest.
func (l *layout) single(d v1.Descriptor, raw []byte) (*found, error) {
	fail := func(d v1.Descriptor, err error) (*found, error) {
		return nil, &FormatError{Entry: blobName(d.Digest), Err: err}
	}
	m, err := registry.ParseManifest(raw)
	if err != nil {
		return fail(d, err)
	}
	text, err := l.document(m.Config, registry.MaxConfig)
	if err != nil {
		return nil, err
	}
	config, err := registry.ParseConfig(text, l.platform)
	if err == nil {
		err = config.CheckLayers(len(m.Layers))
	}
	if err != nil {
		return fail(m.Config, err)
	}
	f := &found{id: m.Config.Digest.String(), config: config, documents: append(l.seen, text), close: l.files.close}
	for i, d := range m.Layers {
		f.layers = append(f.layers, packed{
			diffID: config.RootFS.DiffIDs[i], entry: blobName(d.Digest),
			open: func(context.Context) (io.ReadCloser, error) { return l.blob(d) },
		})
	}
	return f, nil
}

func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// blob opens what a descriptor names, to be verified as it is read.
func (l *layout) blob(d v1.Descriptor) (io.ReadCloser, error) {
	if d.Digest.Algorithm != "sha256" {
		return nil, errors.New("a descriptor without a digest of SHA-256")
	}
	r, size, err := l.files.open(blobName(d.Digest))
	if err != nil {
		return nil, err
	}
	if size != d.Size {
		r.Close()
		return nil, fmt.Errorf("got %d bytes, want %d", size, d.Size)
	}
	return verified(r, d), nil
}

func (l *layout) document(d v1.Descriptor, limit int64) ([]byte, error) {
	r, err := l.blob(d)
	if err == nil && d.Size > limit {
		r.Close()
		err = fmt.Errorf("%d bytes, want at most %d", d.Size, limit)
	}
	if err != nil {
		return nil, &FormatError{Entry: blobName(d.Digest), Err: err}
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, &FormatError{Entry: blobName(d.Digest), Err: err}
	}
	return raw, nil
}

// read returns a small file.
func (l *layout) read(name string, limit int64) ([]byte, error) {
	return readSmall(l.files, name, limit)
}

func readSmall(from files, name string, limit int64) ([]byte, error) {
	r, size, err := from.open(name)
	if err == nil && size > limit {
		r.Close()
		err = fmt.Errorf("%d bytes, want at most %d", size, limit)
	}
	if err != nil {
		return nil, &FormatError{Entry: name, Err: err}
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, limit))
	if err != nil {
		return nil, &FormatError{Entry: name, Err: err}
	}
	return raw, nil
}
