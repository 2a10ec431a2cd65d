package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/hookbuild/hookbuild/internal/registry"
)

// The bounds on an archive. A docker save of an image with the most layers has four members for each.
const (
	maxArchive = 64 << 30 // bytes
	maxMembers = 20_000
	maxName    = 1024 // bytes of a member's name; what has a longer one is not looked for
	maxLinks   = 8    // from one member to the next
)

// archive is the members of a tar by their names. Of two with one name the latter counts, as it does when a tar is
// unpacked. Their content stays in the file, or where it was taken to.
type archive struct {
	file    *os.File
	members map[string]member
	taken   []*intake
}

// member is a run of bytes in the file, or another name.
type member struct {
	offset, size int64
	link         string  // clean name of what a symlink or a hard link leads to; docker save writes a layer only once
	fault        string  // why it cannot be read; "" where it can
	taken        *intake // where its bytes are; nil is in the archive's file
}

// newArchive takes a file over, of which it finds the members. Where there is compression around the tar, the file is
// unpacked into the cache for as long as it is in use.
func newArchive(ctx context.Context, f *os.File, c cache) (*archive, error) {
	head := make([]byte, longest)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		f.Close()
		return nil, err
	}
	if isPacked(head[:n]) {
		defer f.Close()
		if f, err = c.spool(func(w io.Writer) error { return unpackTo(w, &cancelReader{ctx, f}, maxArchive) }); err != nil {
			return nil, err
		}
	}
	a := &archive{file: f, members: map[string]member{}}
	if err := a.list(ctx); err != nil {
		f.Close()
		return nil, err
	}
	return a, nil
}

// list reads the headers. The tar reader takes them in blocks of 512 bytes and nothing ahead of them, and skips
// content by seeking, so that the content begins where the file stands.
func (a *archive) list(ctx context.Context) error {
	return a.eachMember(ctx, tar.NewReader(a.file), func(m *member) (err error) {
		m.offset, err = a.file.Seek(0, io.SeekCurrent)
		return err
	})
}

// eachMember goes through a tar. Place is called at the content of each member and says where that is.
func (a *archive) eachMember(ctx context.Context, in *tar.Reader, place func(*member) error) error {
	for n := 0; ; n++ {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		h, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // names are made clean below
			return fmt.Errorf("no tar: %w", err)
		}
		if n == maxMembers {
			return fmt.Errorf("more than %d files in the tar", maxMembers)
		}
		name, ok := clean(h.Name)
		if !ok || len(name) > maxName || h.Typeflag == tar.TypeDir {
			continue
		}
		m := memberOf(h, name)
		if err := place(&m); err != nil {
			return err
		}
		a.members[name] = m
	}
}

// clean is a member's name as it is looked for; false where it leads out of the archive.
func clean(name string) (string, bool) {
	name = path.Clean(strings.TrimLeft(name, "/"))
	return name, name != "." && name != ".." && !strings.HasPrefix(name, "../")
}

func memberOf(h *tar.Header, name string) member {
	m := member{size: h.Size}
	ok := true
	switch h.Typeflag {
	case tar.TypeReg:
		for record := range h.PAXRecords {
			if strings.HasPrefix(record, "GNU.sparse.") {
				m.fault = "a sparse file: write the tar without --sparse"
			}
		}
	case tar.TypeSymlink:
		m.link, ok = clean(path.Join(path.Dir(name), h.Linkname))
		ok = ok && !path.IsAbs(h.Linkname)
	case tar.TypeLink:
		m.link, ok = clean(h.Linkname)
	default:
		m.fault = fmt.Sprintf("a member of type %q, want a file", h.Typeflag)
	}
	if !ok || len(m.link) > maxName {
		m.link, m.fault = "", "a link out of the archive"
	}
	return m
}

func (a *archive) open(name string) (io.ReadCloser, int64, error) {
	at, ok := clean(name)
	if !ok {
		return nil, 0, errors.New("a name that leads out of the archive")
	}
	for range maxLinks {
		m, ok := a.members[at]
		switch {
		case !ok:
			return nil, 0, fs.ErrNotExist
		case m.fault != "":
			return nil, 0, errors.New(m.fault)
		case m.taken != nil:
			f, err := openRegular(m.taken.file)
			return f, m.size, err
		case m.link == "":
			return io.NopCloser(io.NewSectionReader(a.file, m.offset, m.size)), m.size, nil
		}
		at = m.link
	}
	return nil, 0, fmt.Errorf("more than %d links from one to the next", maxLinks)
}

// takenAs returns the file that the bytes of a member were taken to, nil where they were not.
func (a *archive) takenAs(name string) *intake {
	at, _ := clean(name)
	for range maxLinks {
		m := a.members[at]
		if m.link == "" {
			return m.taken
		}
		at = m.link
	}
	return nil
}

func (a *archive) close() {
	a.file.Close()
	for _, t := range a.taken {
		t.discard()
	}
}

// find returns the image that r means. An archive with an index is an image layout, whatever else is in it for older
// programs.
func (a *archive) find(r reference, platform string) (*found, error) {
	if _, ok := a.members[indexFile]; ok {
		return (&layout{files: a, platform: platform}).find(r)
	}
	if _, ok := a.members[saveFile]; ok {
		return a.findSaved(r, platform)
	}
	return nil, fmt.Errorf("no image archive: it has neither %s nor %s", indexFile, saveFile)
}

// saveFile lists the images of a docker save
// (https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format).
const (
	saveFile  = "manifest.json"
	maxImages = 1000
)

// savedImage is an element of saveFile. Its paths are members of the archive.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// findSaved finds an image of a docker save.
func (a *archive) findSaved(r reference, platform string) (*found, error) {
	images, err := a.saved()
	if err != nil {
		return nil, err
	}
	var fits []savedImage
	var there []string
	for _, img := range images {
		there = append(there, img.RepoTags...)
		ok := r.tag == "" || r.means(img.RepoTags...)
		if r.digest != "" {
			raw, err := readSmall(a, img.Config, registry.MaxConfig)
			if err != nil {
				return nil, err
			}
			ok = digestOf(raw) == r.digest
		}
		if ok {
			fits = append(fits, img)
		}
	}
	for i := range there {
		there[i] = shown(there[i])
	}
	list := strings.Join(firstOf(there, 20), ", ")
	if len(fits) == 0 {
		return nil, missing("no image %s; it has [%s]", shown(r.tag+r.digest), list)
	}
	if slices.ContainsFunc(fits, func(img savedImage) bool { return img.Config != fits[0].Config }) {
		return nil, &ReferenceError{Ref: r.text, Err: fmt.Errorf("it means %d images; say which by :TAG; there are [%s]", len(fits), list)}
	}
	return a.savedImage(fits[0], platform)
}

// saved reads the list, one by one, since a short text may have a million of them.
func (a *archive) saved() ([]savedImage, error) {
	raw, err := readSmall(a, saveFile, registry.MaxManifest)
	if err != nil {
		return nil, err
	}
	fail := func(err error) ([]savedImage, error) { return nil, &FormatError{Entry: saveFile, Err: err} }
	if !json.Valid(raw) {
		return fail(errors.New("no JSON"))
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if first, err := dec.Token(); err != nil || first != json.Delim('[') {
		return fail(errors.New("want a list of images"))
	}
	var images []savedImage
	for dec.More() {
		var img savedImage
		if err := dec.Decode(&img); err != nil {
			return fail(err)
		}
		if images = append(images, img); len(images) > maxImages {
			return fail(fmt.Errorf("more than %d images", maxImages))
		}
		if len(img.Layers) > registry.MaxLayers {
			return fail(fmt.Errorf("%d layers, want at most %d", len(img.Layers), registry.MaxLayers))
		}
	}
	if len(images) == 0 {
		return nil, missing("no image in it")
	}
	return images, nil
}

// savedImage reads an image of a docker save. Only the configuration has digests of its layers.
func (a *archive) savedImage(img savedImage, platform string) (*found, error) {
	raw, err := readSmall(a, img.Config, registry.MaxConfig)
	if err != nil {
		return nil, err
	}
	id := digestOf(raw)
	config, err := registry.ParseConfig(raw, platform)
	if err == nil {
		err = config.CheckLayers(len(img.Layers))
	}
	if says := idOf(img.Config); err == nil && says != "" && says != id {
		err = fmt.Errorf("got %s, want %s", id, says)
	}
	if err != nil {
		return nil, &FormatError{Entry: img.Config, Err: err}
	}
	f := &found{id: id, config: config, documents: [][]byte{raw}, close: a.close}
	for i, name := range img.Layers {
		f.layers = append(f.layers, packed{
			diffID: config.RootFS.DiffIDs[i], entry: name, taken: a.takenAs(name),
			open: func(context.Context) (io.ReadCloser, error) {
				r, _, err := a.open(name)
				return r, err
			},
		})
	}
	return f, nil
}

// idOf is the digest that the name of a configuration is made of, "" where it is made of something else.
func idOf(name string) string {
	h, err := v1.NewHash("sha256:" + strings.TrimSuffix(path.Base(name), ".json"))
	if err != nil {
		return ""
	}
	if _, err := hex.DecodeString(h.Hex); err != nil {
		return ""
	}
	return h.String()
}
