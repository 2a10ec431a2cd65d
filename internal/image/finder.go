package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/registry"
)

// Pin is what a reference was resolved to.
type Pin struct {
	Ref string // as it was given
	// Config is the identity of the image: the digest (sha256:…) of its configuration, which covers the digests of its
	// layers without compression and does not depend on where the image came from.
	Config string
	// Manifest is the digest of the platform's manifest in the registry, to pull it by. "" where the image came from
	// elsewhere.
	Manifest string
}

// Finder looks for images where they may be. A reference is one of
//
//	NAME[:TAG][@sha256:DIGEST]          of the engine, or else of a registry; short names are Docker's
//	oci:DIR[:TAG|@sha256:DIGEST]        in an OCI image layout
//	archive:FILE[:TAG|@sha256:DIGEST]   in what docker save writes, or an OCI archive; gzip or zstd may be around it
//
// In a layout the tag is org.opencontainers.image.ref.name, in full or what follows its last colon; one image needs
// none. A path may have colons in it: its longest beginning that exists is the path, and where none exists it ends at
// the last colon that no slash follows.
type Finder struct {
	Engine   store            // asked first; nil is not asked
	Registry *registry.Client // asked last; nil is not asked
	Cache    string           // directory; layers below layers/, configurations and manifests below images/
	Dir      string           // what relative paths of references are relative to
	Platform string           // linux/amd64 …
	// Lost is told of every extended attribute that an initramfs cannot keep; nil drops the news.
	Lost func(ref, path, name string)
}

// place is where an image may be.
type place struct {
	name string
	find func(context.Context) (*found, error) // the caller closes what it finds
}

// Resolve finds out what ref means now: in its layout or archive, in the engine, in the registry.
//
// Nowhere is a *NotFoundError, which has what every place answered; a malformed or ambiguous reference is a
// *ReferenceError, a broken layout or archive a *FormatError.
func (f Finder) Resolve(ctx context.Context, ref string) (Pin, error) {
	r, err := f.parse(ref)
	if err != nil {
		return Pin{}, err
	}
	if r.path != "" {
		got, err := f.local(ctx, r)
		if isA[*missingError](err) {
			return Pin{}, &NotFoundError{Ref: ref, Tried: []Answer{{r.path, err}}}
		}
		if err != nil {
			return Pin{}, err
		}
		defer got.close()
		return Pin{Ref: ref, Config: got.id}, nil
	}
	tried := &NotFoundError{Ref: ref}
	places := append(f.engineNow(r), f.registryPlaces(r, "")...)
	for _, p := range places {
		pin, err := f.resolveAt(ctx, ref, p)
		if err == nil {
			return pin, nil
		}
		if fatal(ctx, err) {
			return Pin{}, inImage(ctx, ref, err)
		}
		tried.Tried = append(tried.Tried, Answer{p.name, err})
	}
	return Pin{}, tried
}

// resolveAt asks one place.
func (f Finder) resolveAt(ctx context.Context, ref string, p place) (Pin, error) {
	got, err := p.find(ctx)
	if err != nil {
		return Pin{}, err
	}
	defer got.close()
	return Pin{Ref: ref, Config: got.id, Manifest: got.manifest}, f.remember(ctx, ref, got)
}

// remember keeps of a resolved image what costs nothing more: its documents, and what the engine has saved.
func (f Finder) remember(ctx context.Context, ref string, got *found) error {
	if got.manifest != "" {
		got.layers = nil
	}
	return cache{f.Cache}.keep(ctx, ref, got)
}

// fatal is true for errors that the next place would meet as well.
func fatal(ctx context.Context, err error) bool { return ctx.Err() != nil || isA[*cacheError](err) }

// Read returns exactly the pinned image: from the cache, else from where the reference says, else, for a name, from
// the engine or a registry. Another image under the same name is an answer like any other that is not the image. What
// a layout or an archive holds is compared with the pin first, where it is there: another image is a *ChangedError.
// Further errors are those of Resolve; what is wrong in a layer's tar is a *FormatError with a *filetree.TarError.
func (f Finder) Read(ctx context.Context, pin Pin) (Image, error) {
	r, err := f.parse(pin.Ref)
	if err != nil {
		return Image{}, err
	}
	if h, err := v1.NewHash(pin.Config); err != nil || h.Algorithm != "sha256" {
		return Image{}, &ReferenceError{Ref: pin.Ref, Err: fmt.Errorf("pinned to %s, want sha256:DIGEST", shown(pin.Config))}
	}
	tried := &NotFoundError{Ref: pin.Ref}
	var places []place
	if r.path == "" {
		places = append(f.enginePinned(r, pin), f.registryPlaces(r, pin.Manifest)...)
	} else {
		got, err := f.local(ctx, r)
		switch {
		case err == nil && got.id != pin.Config:
			got.close()
			return Image{}, &ChangedError{Ref: pin.Ref, Want: pin.Config, Got: got.id}
		case err == nil:
			return f.readLocal(ctx, pin, got)
		case !isA[*missingError](err):
			return Image{}, err
		default:
			tried.Tried = append(tried.Tried, Answer{r.path, err})
		}
	}
	img, err := f.cached(pin)
	if err == nil || !isA[*missingError](err) {
		return img, err
	}
	tried.Tried = append([]Answer{{cachePlace, err}}, tried.Tried...)
	return f.fetch(ctx, pin, places, tried)
}

// Holds is true where the cache has a file for each part of the pinned image. Nothing is read but its configuration, so
// that Read may still find a layer damaged, and bring it anew.
func (f Finder) Holds(pin Pin) bool {
	c := cache{f.Cache}
	raw, err := c.document(pin.Config)
	if err != nil {
		return false
	}
	config, err := registry.ParseConfig(raw, f.Platform)
	return err == nil && c.hasLayers(config.RootFS.DiffIDs)
}

// readLocal reads the pinned image, which a layout or an archive has, through the cache.
func (f Finder) readLocal(ctx context.Context, pin Pin, got *found) (Image, error) {
	defer got.close()
	img, err := f.cached(pin)
	if !isA[*missingError](err) {
		return img, err
	}
	if err := (cache{f.Cache}).keep(ctx, pin.Ref, got); err != nil {
		return Image{}, err
	}
	if img, err = f.cached(pin); isA[*missingError](err) { // somebody empties it meanwhile
		err = &NotFoundError{Ref: pin.Ref, Tried: []Answer{{cachePlace, err}}}
	}
	return img, err
}

// fetch asks one place after the other.
func (f Finder) fetch(ctx context.Context, pin Pin, places []place, tried *NotFoundError) (Image, error) {
	for _, p := range places {
		err := f.take(ctx, pin, p)
		if err == nil {
			var img Image
			if img, err = f.cached(pin); err == nil || isA[*FormatError](err) {
				return img, err
			}
		}
		if fatal(ctx, err) {
			return Image{}, inImage(ctx, pin.Ref, err)
		}
		tried.Tried = append(tried.Tried, Answer{p.name, err})
	}
	return Image{}, tried
}

// take fills the cache from a place.
func (f Finder) take(ctx context.Context, pin Pin, p place) error {
	got, err := p.find(ctx)
	if err != nil {
		return err
	}
	defer got.close()
	if got.id != pin.Config {
		return missing("has %s now, want %s", got.id, pin.Config)
	}
	err = cache{f.Cache}.keep(ctx, pin.Ref, got)
	if isA[*FormatError](err) && got.manifest != "" { // what a registry gave is not what its image says
		err = &registry.Error{Op: "pull", Ref: pin.Ref, Err: err}
	}
	return err
}

// cached returns the image out of the cache, a *missingError where that does not have all of it.
func (f Finder) cached(pin Pin) (Image, error) {
	c := cache{f.Cache}
	raw, err := c.document(pin.Config)
	if err != nil {
		return Image{}, missing("no image %s", pin.Config)
	}
	config, err := registry.ParseConfig(raw, f.Platform)
	if err != nil {
		return Image{}, &FormatError{Image: pin.Ref, Err: err}
	}
	ids := config.RootFS.DiffIDs
	if !c.hasLayers(ids) {
		return Image{}, missing("not all layers of %s", pin.Config)
	}
	tree, err := c.tree(pin.Ref, ids, f.Lost)
	if err != nil && unusable(err) {
		c.dropDamaged(ids)
		return Image{}, missing("a damaged layer of %s: %v", pin.Config, err)
	}
	if err != nil {
		return Image{}, err
	}
	return known(pin.Ref, pin.Config, config, tree), nil
}

// local opens a layout or an archive. A *missingError where there is no such file or no such image in it.
func (f Finder) local(ctx context.Context, r reference) (*found, error) {
	got, err := f.openLocal(ctx, r)
	var pe *fs.PathError
	if errors.As(err, &pe) && pe.Path == r.path && errors.Is(err, fs.ErrNotExist) {
		return nil, missing("no such file or directory")
	}
	if err != nil {
		return nil, inImage(ctx, r.text, err)
	}
	return got, nil
}

func (f Finder) openLocal(ctx context.Context, r reference) (*found, error) {
	if r.layout {
		dir, err := openDirectory(r.path)
		if err != nil {
			return nil, err
		}
		got, err := (&layout{files: dir, platform: f.Platform}).find(r)
		if err != nil {
			dir.close()
		}
		return got, err
	}
	file, err := openRegular(r.path)
	if err != nil {
		return nil, err
	}
	a, err := newArchive(ctx, file, cache{f.Cache})
	if err != nil {
		return nil, err
	}
	got, err := a.find(r, f.Platform)
	if err != nil {
		a.close()
	}
	return got, err
}

// engineNow is the engine, asked for what it has under a name.
func (f Finder) engineNow(r reference) []place {
	if f.Engine == nil {
		return nil
	}
	return []place{{enginePlace, func(ctx context.Context) (*found, error) {
		info, err := f.inspect(ctx, r.text)
		if err != nil {
			return nil, err
		}
		c := cache{f.Cache}
		if id, ok := c.config(info.ID, f.Platform); ok {
			if raw, err := c.document(id); err == nil {
				config, err := registry.ParseConfig(raw, f.Platform)
				return &found{id: id, config: config, close: func() {}}, err
			}
		}
		return saved(ctx, f.Engine, r.text, r.text, f.Platform, c)
	}}}
}

// The places that have no name of their own.
const (
	cachePlace  = "cache"
	enginePlace = "engine"
)

// enginePinned is the engine, asked for an image by its id and then by its name. An id of the containerd image store
// is no digest of a configuration, so that only what is saved can tell, unless the cache knows that id's documents.
func (f Finder) enginePinned(r reference, pin Pin) []place {
	if f.Engine == nil {
		return nil
	}
	return []place{{enginePlace, func(ctx context.Context) (*found, error) {
		c := cache{f.Cache}
		if info, err := f.inspect(ctx, pin.Config); err == nil && info.ID == pin.Config {
			return saved(ctx, f.Engine, r.text, pin.Config, f.Platform, c)
		}
		info, err := f.inspect(ctx, r.text)
		if err != nil {
			return nil, err
		}
		if id, ok := c.config(info.ID, f.Platform); ok && id != pin.Config {
			return nil, missing("has %s now, want %s", id, pin.Config)
		}
		return saved(ctx, f.Engine, r.text, r.text, f.Platform, c)
	}}}
}

func (f Finder) inspect(ctx context.Context, name string) (engine.Image, error) {
	info, err := f.Engine.Inspect(ctx, name)
	if errors.Is(err, engine.ErrNoImage) {
		return info, missing("no such image")
	}
	return info, err
}

// registryPlaces is the registry that a name names, asked for a manifest, or for what the name means now.
func (f Finder) registryPlaces(r reference, manifest string) []place {
	if f.Registry == nil {
		return nil
	}
	ref := r.text
	if manifest != "" {
		ref = r.name.Context().Digest(manifest).Name()
	}
	return []place{{r.name.Context().RegistryStr(), func(ctx context.Context) (*found, error) {
		img, err := f.Registry.Open(ctx, ref, f.Platform)
		if err != nil {
			return nil, err
		}
		return remote(img), nil
	}}}
}

// remote is an image in a registry.
func remote(img *registry.RemoteImage) *found {
	got := &found{
		id: img.ConfigID, config: img.Config, manifest: img.Digest,
		documents: [][]byte{img.Manifest, img.RawConfig}, close: img.Close,
	}
	for i, l := range img.Layers {
		got.layers = append(got.layers, packed{
			diffID: l.DiffID,
			open:   func(ctx context.Context) (io.ReadCloser, error) { return img.Layer(ctx, i) },
		})
	}
	return got
}
