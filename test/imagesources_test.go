package test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/registry"
)

// layeredImage builds an image of several layers, two of which are alike, under a name of the test's own.
func layeredImage(t *testing.T, e *engine.Engine) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"Dockerfile": "FROM scratch\nCOPY --chmod=0755 a /bin/a\nCOPY b /etc/b\nCOPY --chmod=0755 a /bin/a\nCMD [\"/bin/a\"]\nENV A=1\nLABEL l=v\n",
		"a":          strings.Repeat("program", 5000), "b": "content",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ref := "hookbuild-test/sources:" + strings.ToLower(t.Name())
	local := engine.Local{Dir: dir}
	if err := e.Build(t.Context(), engine.Build{Locals: map[string]engine.Local{"context": local, "dockerfile": local}, Tag: ref}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Remove(context.Background(), ref); err != nil {
			t.Error(err)
		}
	})
	return ref
}

// described lists what is in an image, and what it says of itself.
func described(t *testing.T, img image.Image) []string {
	t.Helper()
	list := []string{fmt.Sprint(img.ID, img.Arch, img.Entrypoint, img.Cmd, img.Env, img.Labels, img.Layers)}
	for _, e := range img.Tree.Entries() {
		list = append(list, fmt.Sprintf("%s %s %o %d:%d %d %x", e.Path, e.Kind, e.Perm, e.UID, e.GID, e.Data.Size(), e.Data.SHA256()))
	}
	return list
}

// An image is the same one, wherever it went: out of the engine, into a registry, from there into a layout, from that
// into archives, and back into the engine.
func TestImageSources(t *testing.T) {
	e := connect(t)
	ref := layeredImage(t, e)
	s := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	pushed := strings.TrimPrefix(s.URL, "http://") + "/team/sources:1"
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	platform := "linux/" + e.Arch()
	client := &registry.Client{}

	all := []string{ref}
	step := func(as string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", as, err)
		}
		all = append(all, as)
	}
	step("archive:save.tar", saveTo(t.Context(), e, ref, in("save.tar")))
	_, err := client.Push(t.Context(), in("save.tar"), pushed)
	step(pushed, err)
	img, err := remote.Image(named(t, pushed))
	if err != nil {
		t.Fatal(err)
	}
	step("oci:layout", layoutOf(in("layout"), img))
	step("archive:layout.tar", tarTo(in("layout.tar"), in("layout")))
	again := "hookbuild-test/sources:again-" + strings.ToLower(t.Name())
	step("archive:again.tar:again-"+strings.ToLower(t.Name()), tarball.WriteToFile(in("again.tar"), named(t, again), img))
	t.Cleanup(func() {
		if err := e.Remove(context.Background(), again); err != nil {
			t.Error(err)
		}
	})
	step(again, loadFrom(t.Context(), e, in("again.tar")))

	var first image.Pin
	var want []string
	for _, ref := range all {
		f := image.Finder{Engine: e, Registry: client, Cache: t.TempDir(), Dir: dir, Platform: platform}
		pin, err := f.Resolve(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Read(t.Context(), pin)
		if err != nil {
			t.Fatal(err)
		}
		if first.Config == "" {
			first, want = pin, described(t, got)
		}
		if diff := cmp.Diff(want, described(t, got)); diff != "" || pin.Config != first.Config {
			t.Errorf("%s: %+v\n%s", ref, pin, diff)
		}
	}
	if info, err := e.Inspect(t.Context(), ref); err != nil || len(info.Layers) < 3 || !slices.Contains(info.Cmd, "/bin/a") {
		t.Errorf("%+v, %v", info, err)
	}

	// Without its name the engine still has it, by its id, and with another image under the name as well.
	docker(t, "rmi", ref)
	f := image.Finder{Engine: e, Registry: &registry.Client{Offline: true}, Cache: t.TempDir(), Dir: dir, Platform: platform}
	if got, err := f.Read(t.Context(), first); err != nil || !slices.Equal(described(t, got), want) {
		t.Errorf("by its id: %v", err)
	}
	docker(t, "rmi", again)
	if err := e.Import(t.Context(), bytes.NewReader(make([]byte, 1024)), ref); err != nil {
		t.Fatal(err)
	}
	f.Cache = t.TempDir()
	_, err = f.Read(t.Context(), first)
	if missing := (*image.NotFoundError)(nil); !errors.As(err, &missing) || !strings.Contains(err.Error(), "engine: has sha256:") {
		t.Errorf("another image under the name: got %T %v", err, err)
	}
}

func named(t *testing.T, ref string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func saveTo(ctx context.Context, e *engine.Engine, ref, to string) error {
	in, err := e.Save(ctx, ref)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func layoutOf(dir string, img v1.Image) error {
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return l.AppendImage(img)
}

func tarTo(to, dir string) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	return errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), out.Close())
}

func loadFrom(ctx context.Context, e *engine.Engine, file string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	return e.Load(ctx, in)
}
