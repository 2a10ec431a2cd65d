package serve

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// file is an open file and what an answer says of it.
type file struct {
	*os.File
	label      string // for counting: a published name, or extra
	original   string // the published name that label is, or is a second one of; empty for an extra file
	extra      string // an extra file's name; empty for all others
	generation string // the plan id; empty for what belongs to no single one
	size       int64
	etag       string // quoted
	modified   time.Time
	caching    string // Cache-Control
}

// errAbsent says that nothing of that name is served.
var errAbsent = errors.New("not published")

// openTries bounds how often a file is looked up again. A set is removed when the second one after it is
// published, so that even one repetition is rare.
const openTries = 3

// openPublished opens a file of the current set.
func (h *handler) openPublished(name string) (f *file, err error) {
	for range openTries {
		f, err = h.openOnce(name)
		if err == nil || errors.Is(err, errAbsent) {
			break
		}
		h.forget() // the set may have been replaced and removed between the look-up and the opening
	}
	return f, err
}

func (h *handler) openOnce(name string) (*file, error) {
	set, err := h.current()
	if err != nil {
		return nil, err
	}
	entry, ok := set.File(name)
	if !ok {
		return nil, errAbsent
	}
	f, err := openSized(filepath.Join(set.Dir, name), entry.Size)
	if err != nil {
		return nil, err
	}
	return published(f, entry.File, entry.Epoch, generationOf(set, name), mayChange), nil
}

func published(f *os.File, entry artifacts.File, epoch int64, generation, caching string) *file {
	return &file{
		File: f, label: entry.Name, original: cmp.Or(entry.AliasOf, entry.Name), generation: generation, size: entry.Size,
		etag: quote(entry.SHA256), modified: time.Unix(epoch, 0), caching: caching,
	}
}

func quote(sum string) string { return `"` + sum + `"` }

// openSized opens a file that must have so many bytes.
func openSized(path string, size int64) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != size {
		err = fmt.Errorf("%s: got %d bytes, want %d", f.Name(), info.Size(), size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// current returns the set that the symlink leads to now, read once for each set.
func (h *handler) current() (artifacts.Set, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	info, err := os.Stat(h.store.HookPath())
	if err == nil && h.key != nil && os.SameFile(info, h.key) && info.ModTime().Equal(h.key.ModTime()) {
		return h.set, nil
	}
	set, err := h.store.Current()
	var damaged *artifacts.DamagedError
	if errors.Is(err, artifacts.ErrNotFound) && !errors.As(err, &damaged) {
		return artifacts.Set{}, errAbsent
	}
	if err != nil {
		return artifacts.Set{}, err
	}
	h.key, h.set = info, set
	return set, nil
}

func (h *handler) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.key = nil
}

// generationOf is the plan id of the generation that a file of a set comes from, empty for what belongs to all.
func generationOf(set artifacts.Set, name string) string {
	for _, m := range set.Manifests {
		if slices.ContainsFunc(m.Files, func(f artifacts.File) bool { return f.Name == name }) {
			return m.PlanID
		}
	}
	return ""
}

// entryOf returns the entry of a generation's file, its report included.
func entryOf(m artifacts.Manifest, name string) (artifacts.File, bool) {
	all := append(slices.Clone(m.Files), m.Report)
	i := slices.IndexFunc(all, func(f artifacts.File) bool { return f.Name == name })
	if i < 0 {
		return artifacts.File{}, false
	}
	return all[i], true
}

// openGeneration opens a file of a generation that is kept, published or not. Once it is open it can be read to its
// end, also when the generation is removed meanwhile.
func (h *handler) openGeneration(id, name string) (f *file, err error) {
	gen, release, err := h.store.Hold(id)
	if errors.Is(err, artifacts.ErrNotFound) || !isID(id) {
		return nil, errAbsent
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if name == artifacts.ManifestName {
		return openManifest(gen)
	}
	return openOf(gen, name, immutable)
}

// openManifest opens what a generation says of itself. It has its own sum nowhere; and it may change, since another
// hookbuild, or another command, can have made the same.
func openManifest(gen artifacts.Generation) (*file, error) {
	f, err := os.Open(gen.Path(artifacts.ManifestName))
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	entry := artifacts.File{Name: artifacts.ManifestName, Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}
	return published(f, entry, gen.Manifest.Plan.Epoch, gen.ID(), mayChange), nil
}

// openOf opens a file of a generation that is held.
func openOf(gen artifacts.Generation, name, caching string) (*file, error) {
	entry, ok := entryOf(gen.Manifest, name)
	if !ok {
		return nil, errAbsent
	}
	f, err := openSized(gen.Path(name), entry.Size)
	if err != nil {
		return nil, err
	}
	return published(f, entry, gen.Manifest.Plan.Epoch, gen.ID(), caching), nil
}

// isID tells a plan id from what a client has made up.
func isID(id string) bool {
	return len(id) == 64 && strings.Trim(id, "0123456789abcdef") == ""
}

// archOf says for which architecture a file boots machines, and whether as its kernel or as its initramfs; names that
// an alias gave have the same beginning and the same end.
func archOf(name string) (arch plan.Arch, kernel, initramfs bool) {
	for _, arch := range []plan.Arch{plan.X8664, plan.AArch64} {
		if strings.HasSuffix(name, "-"+string(arch)) {
			return arch, strings.HasPrefix(name, "vmlinuz-"), strings.HasPrefix(name, "initramfs-")
		}
	}
	return "", false, false
}
