package resolve

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// LockName is the lock's file name in the project directory.
const LockName = "hookbuild.lock"

const lockSchema = 1

// Lock is hookbuild.lock: what each flavor was resolved to. It is meant to be committed.
type Lock struct {
	Schema  int              `json:"schema"`
	Flavors map[string]Entry `json:"flavors"`
}

// Entry is one flavor's part of the lock.
type Entry struct {
	Debian []plan.Index `json:"debian"`           // the signed indexes that everything below was resolved from
	Sets   []Set        `json:"sets"`             // sorted by name
	Kernel *Kernel      `json:"kernel,omitempty"` // the source from kernel.org; nil where the kernel is not from there
	Images []Image      `json:"images,omitempty"` // sorted by reference
	Bundle *File        `json:"eksa_bundle,omitempty"`
}

// File is a file of a web server, pinned.
type File struct {
	URL    string `json:"url"` // without a password: the lock is meant to be committed
	SHA256 string `json:"sha256"`
}

// Image is a pinned container image with the request that led to it.
type Image struct {
	ImageRequest
	Config   string `json:"config"`             // digest of its configuration, sha256:…: the same wherever the image is
	Manifest string `json:"manifest,omitempty"` // digest of its manifest in the registry that it came from; empty where it came from elsewhere
}

// Kernel is a pinned kernel source with the request that led to it.
type Kernel struct {
	Series  string `json:"series"`            // newest point release of …
	Exactly string `json:"exactly,omitempty"` // … or this version
	kernelorg.Pin
}

// Set is a resolved set of packages with the request that led to it.
type Set struct {
	Request
	Packages []debian.Package `json:"packages"` // sorted by name
}

// Request asks for a set of packages.
type Request struct {
	Name     string   `json:"name"`               // base, toolchain, kernel, boot, userland/NAME
	Arch     string   `json:"arch"`               // Debian's name
	Required bool     `json:"required,omitempty"` // with Debian's essential and required packages
	Seeds    []string `json:"seeds"`
	Exclude  []string `json:"exclude,omitempty"` // never taken; dependencies on them count as met
}

func (r Request) equal(o Request) bool {
	return r.Name == o.Name && r.Arch == o.Arch && r.Required == o.Required &&
		slices.Equal(r.Seeds, o.Seeds) && slices.Equal(r.Exclude, o.Exclude)
}

// LockError is a lock that cannot be used as it is: unreadable, or made for another request. It is the
// user's to mend.
type LockError struct {
	File string
	What string
	Hint string // what to run; empty where the file has to be edited
}

// Error names the file and what is wrong with it.
func (e *LockError) Error() string { return e.File + ": " + e.What }

// ReadLock reads the lock; a missing file is an empty lock. Unknown keys are errors, since a lock of a newer
// hookbuild may pin what this one does not know.
func ReadLock(file string) (*Lock, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &Lock{Schema: lockSchema, Flavors: map[string]Entry{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the lock: %w", err)
	}
	lock := &Lock{}
	if err := decode(data, lock); err != nil {
		return nil, &LockError{File: file, What: lineOf(data, err) + err.Error()}
	}
	if lock.Schema != lockSchema {
		what := fmt.Sprintf("schema %d; this hookbuild knows %d", lock.Schema, lockSchema)
		return nil, &LockError{File: file, What: what}
	}
	if lock.Flavors == nil {
		lock.Flavors = map[string]Entry{}
	}
	if what := lock.fault(); what != "" {
		return nil, &LockError{File: file, What: what}
	}
	return lock, nil
}

// fault is the first value that is not of its form, "" where all are. What else a package must be is checked
// where it is fetched.
func (l *Lock) fault() string {
	for _, id := range slices.Sorted(maps.Keys(l.Flavors)) {
		for _, i := range l.Flavors[id].Debian {
			if _, err := time.Parse(time.RFC3339, i.Date); err != nil {
				return fmt.Sprintf("flavor %s: date %q of %s: want RFC 3339", id, i.Date, i.Suite)
			}
		}
		if k := l.Flavors[id].Kernel; k != nil {
			if err := k.Check(kernelorg.Want{Series: k.Series, Version: k.Exactly}); err != nil {
				return fmt.Sprintf("flavor %s: kernel: %v", id, err)
			}
		}
		for _, i := range l.Flavors[id].Images {
			if !isDigest(i.Config) || i.Manifest != "" && !isDigest(i.Manifest) {
				return fmt.Sprintf("flavor %s: image %s: want digests, sha256: and %d hexadecimal digits in lower case", id, i.Ref, 2*sha256.Size)
			}
		}
		if b := l.Flavors[id].Bundle; b != nil && !isSHA256(b.SHA256) {
			return fmt.Sprintf("flavor %s: sha256 %q of the bundle: want %d hexadecimal digits, in lower case", id, b.SHA256, 2*sha256.Size)
		}
		for _, s := range l.Flavors[id].Sets {
			for _, p := range s.Packages {
				if !isSHA256(p.SHA256) {
					return fmt.Sprintf("flavor %s: sha256 %q of %s: want %d hexadecimal digits, in lower case", id, p.SHA256, p.Name, 2*sha256.Size)
				}
			}
		}
	}
	return ""
}

func isDigest(text string) bool {
	sum, ok := strings.CutPrefix(text, "sha256:")
	return ok && isSHA256(sum)
}

func isSHA256(text string) bool {
	return len(text) == 2*sha256.Size && strings.Trim(text, "0123456789abcdef") == ""
}

// decode reads the one JSON document in data, strictly.
func decode(data []byte, lock *Lock) error {
	if err := json.Unmarshal(data, &json.RawMessage{}); err != nil { // the Decoder would not see what follows
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(lock)
}

// lineOf says where in the file a JSON error stands, as "line N: ".
func lineOf(data []byte, err error) string {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	offset := int64(-1)
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &typ):
		offset = typ.Offset
	}
	if offset < 0 || offset > int64(len(data)) {
		return ""
	}
	return fmt.Sprintf("line %d: ", 1+bytes.Count(data[:offset], []byte("\n")))
}

// Write replaces the lock atomically.
func (l *Lock) Write(file string) (err error) {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("write the lock: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".hookbuild.lock-*")
	if err != nil {
		return fmt.Errorf("write the lock: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write the lock: %w", err), os.Remove(tmp.Name()))
		}
	}()
	_, err = tmp.Write(append(data, '\n'))
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}

// Find returns the set of that name.
func (e Entry) Find(name string) (Set, bool) {
	for _, s := range e.Sets {
		if s.Name == name {
			return s, true
		}
	}
	return Set{}, false
}

// only is the entry with just the sets and images that are asked for: what else a lock may hold must not decide
// about a plan.
func (e Entry) only(requests []Request, images []ImageRequest) Entry {
	var sets []Set
	for _, r := range requests {
		if s, ok := e.Find(r.Name); ok {
			sets = append(sets, s)
		}
	}
	wanted := slices.DeleteFunc(slices.Clone(e.Images), func(i Image) bool { return !slices.Contains(images, i.ImageRequest) })
	return Entry{Debian: e.Debian, Sets: sets, Kernel: e.Kernel, Images: wanted, Bundle: e.Bundle}
}

// check says what differs between what is asked for now and what the entry was made for; empty is nothing.
func (e Entry) check(requests []Request, k *kernelorg.Want) string {
	switch {
	case k == nil: // a pin that nobody asks for decides about nothing
	case e.Kernel == nil:
		return "holds no kernel source"
	case e.Kernel.Series != k.Series || e.Kernel.Exactly != k.Version:
		return fmt.Sprintf("was made for kernel %s, not %s", cmp.Or(e.Kernel.Exactly, e.Kernel.Series), cmp.Or(k.Version, k.Series))
	}
	for _, r := range requests {
		s, ok := e.Find(r.Name)
		if !ok {
			return fmt.Sprintf("holds no packages for %q", r.Name)
		}
		if !s.equal(r) {
			return fmt.Sprintf("was made for another list of packages for %q", r.Name)
		}
	}
	return ""
}

// notBefore are the dates that an index must not be older than: the newest that any flavor was resolved from.
func (l *Lock) notBefore() (map[string]time.Time, error) {
	dates := map[string]time.Time{}
	for _, e := range l.Flavors {
		for _, i := range e.Debian {
			t, err := time.Parse(time.RFC3339, i.Date)
			if err != nil {
				return nil, fmt.Errorf("the lock's date of %s: %w", i.Suite, err)
			}
			if t.After(dates[i.Suite]) {
				dates[i.Suite] = t
			}
		}
	}
	return dates, nil
}

// kernels are the versions of a series that any flavor is pinned to, sorted: kernel.org's list must not be older.
func (l *Lock) kernels(series string) []string {
	var versions []string
	for _, e := range l.Flavors {
		if e.Kernel != nil && e.Kernel.Series == series {
			versions = append(versions, e.Kernel.Version)
		}
	}
	slices.Sort(versions)
	return slices.Compact(versions)
}

// Epoch is the newest index date, in seconds since 1970: the time that every output carries.
func (e Entry) Epoch() (int64, error) {
	var newest int64
	for _, i := range e.Debian {
		t, err := time.Parse(time.RFC3339, i.Date)
		if err != nil {
			return 0, fmt.Errorf("the lock's date of %s: %w", i.Suite, err)
		}
		newest = max(newest, t.Unix())
	}
	return newest, nil
}

// What stands for the source from kernel.org, and for container images, in a list of changes.
const (
	kernelOrgSet = "kernel.org"
	imageSet     = "images"
	bundleSet    = "bundle"
)

// Change is a package that the lock now pins otherwise. Where Before is After, the content is another one.
type Change struct {
	Set     string `json:"set"`
	Package string `json:"package"`
	Before  string `json:"before,omitempty"` // version; empty for a new package
	After   string `json:"after,omitempty"`  // empty for one that is gone
}

// String says it in one line.
func (c Change) String() string {
	switch {
	case c.Before == "":
		return fmt.Sprintf("%s: + %s %s", c.Set, c.Package, c.After)
	case c.After == "":
		return fmt.Sprintf("%s: - %s %s", c.Set, c.Package, c.Before)
	case c.Before == c.After:
		return fmt.Sprintf("%s: %s %s: same version, other content", c.Set, c.Package, c.After)
	}
	return fmt.Sprintf("%s: %s %s -> %s", c.Set, c.Package, c.Before, c.After)
}

// Changes lists what a resolution has changed, by set and package; nothing where the lock stays as it is.
func Changes(r Result) []Change {
	if !r.Written {
		return nil
	}
	before := Entry{}
	if r.Before != nil {
		before = *r.Before
	}
	var all []Change
	for _, name := range setNames(before, r.Entry) {
		old, now := pins(before, name), pins(r.Entry, name)
		names := slices.Concat(slices.Collect(maps.Keys(old)), slices.Collect(maps.Keys(now)))
		slices.Sort(names)
		for _, pkg := range slices.Compact(names) {
			if old[pkg] != now[pkg] {
				all = append(all, Change{Set: name, Package: pkg, Before: old[pkg].version, After: now[pkg].version})
			}
		}
	}
	return all
}

func setNames(entries ...Entry) []string {
	var names []string
	for _, e := range entries {
		if e.Kernel != nil {
			names = append(names, kernelOrgSet)
		}
		if len(e.Images) > 0 {
			names = append(names, imageSet)
		}
		if e.Bundle != nil {
			names = append(names, bundleSet)
		}
		for _, s := range e.Sets {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// content is what a package is pinned to.
type content struct{ version, sha256 string }

// pins are a set's packages by name.
func pins(e Entry, set string) map[string]content {
	all := map[string]content{}
	if set == kernelOrgSet && e.Kernel != nil {
		all["linux"] = content{e.Kernel.Version, e.Kernel.SHA256}
	}
	if set == imageSet {
		for _, i := range e.Images {
			all[i.Ref+" "+i.Platform] = content{i.Config, i.Manifest}
		}
	}
	if set == bundleSet && e.Bundle != nil {
		all[e.Bundle.URL] = content{"sha256:" + e.Bundle.SHA256, ""}
	}
	s, _ := e.Find(set)
	for _, p := range s.Packages {
		all[p.Name] = content{p.Version, p.SHA256}
	}
	return all
}
