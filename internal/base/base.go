// Package base makes the Debian images that builds run in, without a container registry: pinned .deb files
// go in, an image in the engine comes out. The packages' contents are laid into a tar stream as dpkg would
// have unpacked them, and `dpkg --configure -a` runs once, in the engine, with the network off.
package base

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/client/llb"

	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/engine"
)

// configure runs the packages' scripts in the unpacked root file system.
//
//go:embed configure.sh
var configure string

// Recipe is everything of this package that decides about an image's content besides its packages.
func Recipe() string { return layout + configure }

// Repository is the name under which all Debian images stand in the engine.
const Repository = "hookbuild/debian"

// Set is a set of pinned packages that makes one image.
type Set struct {
	Name     string // what the image is for: base, toolchain, boot
	Arch     string // Debian's name of the engine's architecture
	Packages []debian.Package
}

// Ref is the image's name. Its tag carries the architecture and a digest of the packages and of the way they
// are laid down, so that another content always has another name.
func (s Set) Ref() string {
	h := sha256.New()
	io.WriteString(h, Recipe())
	sums := make([]string, 0, len(s.Packages))
	for _, p := range s.Packages {
		sums = append(sums, p.SHA256)
	}
	slices.Sort(sums)
	io.WriteString(h, strings.Join(sums, "\n"))
	return fmt.Sprintf("%s:%s-%s-%s", Repository, s.Name, s.Arch, hex.EncodeToString(h.Sum(nil))[:16])
}

// store is the part of an engine that Ensure needs.
type store interface {
	Has(ctx context.Context, ref string) (bool, error)
	Import(ctx context.Context, rootfs io.Reader, ref string) error
	Build(ctx context.Context, b engine.Build) error
	Remove(ctx context.Context, ref string) error
}

// Fetch gives the local file of each package, by SHA-256.
type Fetch func(ctx context.Context, pkgs []debian.Package) (map[string]string, error)

// cleanupTimeout bounds the removal of the unpacked image after the work was cancelled.
const cleanupTimeout = 10 * time.Second

// Ensure returns the name of the set's image, which it makes where the engine lacks it. Nothing is fetched
// when it is there. A package script that fails is an *engine.BuildError.
func Ensure(ctx context.Context, e store, s Set, fetch Fetch, log func(engine.Event)) (ref string, err error) {
	ref = s.Ref()
	if has, err := e.Has(ctx, ref); has || err != nil {
		return ref, err
	}
	files, err := fetch(ctx, s.Packages)
	if err != nil {
		return "", err
	}
	if log != nil { // the engine says nothing while it imports
		log(engine.Event{Step: fmt.Sprintf("lay down %d packages", len(s.Packages))})
	}
	unpacked := ref + "-unpacked"
	defer func() { // also after a failed import: the engine may have ended it all the same
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		err = errors.Join(err, e.Remove(ctx, unpacked))
	}()
	if err := importRootfs(ctx, e, s, files, unpacked); err != nil {
		return "", fmt.Errorf("bootstrap Debian image %s: %w", s.Name, err)
	}
	def, err := configured(ctx, unpacked, s)
	if err != nil {
		return "", err
	}
	b := engine.Build{Definition: def, Tag: ref, Config: imageConfig(s.Arch), Log: log}
	if err := e.Build(ctx, b); err != nil {
		return "", fmt.Errorf("configure Debian image %s: %w", s.Name, err)
	}
	return ref, nil
}

// importRootfs streams the unpacked packages into the engine, never holding them.
func importRootfs(ctx context.Context, e store, s Set, files map[string]string, ref string) error {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := writeRootfs(ctx, w, s.Packages, files)
		w.CloseWithError(err)
		done <- err
	}()
	err := e.Import(ctx, r, ref)
	r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	if werr := <-done; werr != nil && (err == nil || !errors.Is(werr, io.ErrClosedPipe)) {
		return werr // the cause; the engine only saw its input end
	}
	return err
}

func configured(ctx context.Context, unpacked string, s Set) (*llb.Definition, error) {
	st := llb.Image(unpacked).Run(
		llb.Args([]string{"/bin/sh", "-c", configure}),
		llb.AddEnv("PATH", Path),
		llb.Network(llb.NetModeNone),
		llb.WithCustomName("configure the Debian image "+s.Name),
	).Root()
	return st.Marshal(ctx, llb.Platform(Platform(s.Arch)))
}

// Path is the PATH of every program that runs in a Debian image.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// imageConfig is the OCI image config of the finished image.
func imageConfig(arch string) []byte {
	type run struct {
		Env []string
		Cmd []string
	}
	data, err := json.Marshal(struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		Config       run    `json:"config"`
	}{arch, "linux", run{Env: []string{"PATH=" + Path}, Cmd: []string{"/bin/sh"}}})
	if err != nil { // only strings
		panic(err)
	}
	return data
}
