package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/initramfs"
)

// builder is what `hookbuild all` works with, writing to out.
func (p *project) builder(e *engine.Engine, out string, h *heard, now func() time.Time) *Builder {
	p.Helper()
	store, err := artifacts.Open(out)
	if err != nil {
		p.Fatal(err)
	}
	return &Builder{
		Engine: e, Packages: p.pkg, Cache: p.pkg.Client.CacheDir, Store: store, Report: h, Now: now,
		ModuleVersion: func(string) string { return "v1" },
	}
}

// unpacked reads the archive back: path to content.
func unpacked(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := map[string]string{}
	r := initramfs.Open(f, initramfs.Limits{})
	for {
		h, err := r.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = string(data)
	}
}

func TestAll(t *testing.T) {
	p := newProject(t)
	e, f := newEngine(t)
	h, out := &heard{}, filepath.Join(t.TempDir(), "out")
	j := p.job()
	res, err := p.builder(e, out, h, ticking()).All(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if res.Reused || res.Generation.ID() != j.Plan.ID() {
		t.Errorf("got %+v", res)
	}
	if got, err := os.ReadFile(filepath.Join(out, "hook", "vmlinuz-x86_64")); string(got) != "bzImage" || err != nil {
		t.Errorf("kernel: got %q, %v", got, err)
	}
	tree := unpacked(t, filepath.Join(out, "hook", "initramfs-x86_64"))
	if tree["init"] != "#!/bin/sh\n" || tree["lib/modules/6.12.1-hook/modules.dep"] != "x" || len(tree["containers/services/dhcp/lower/bin/dhcp"])+len(tree["containers/services/dhcp/rootfs/bin/dhcp"]) != 5000 {
		t.Errorf("got files %q", tree)
	}
	if facts := tree[factsFile]; !strings.Contains(facts, "HOOKOS_FLAVOR=hook-default-amd64\n") || !strings.Contains(facts, fmt.Sprintf("HOOKOS_TREE_ENTRIES=%d\n", len(tree))) {
		t.Errorf("got facts %q, %d entries", facts, len(tree))
	}
	m := res.Generation.Manifest
	if m.KernelRelease != "6.12.1-hook" || m.Cmdline != "console=ttyS0 quiet" || m.Compressor.Level != 1 || m.Command != j.Command {
		t.Errorf("got manifest %+v", m)
	}
	var sources []string
	for _, s := range m.Sources {
		sources = append(sources, s.Name)
	}
	want := []string{"base: base_1_amd64.deb", "kernel: kernel_1_amd64.deb", "toolchain: toolchain_1_amd64.deb",
		"userland/dhcp: userland-dhcp_1_amd64.deb", "userland/init: userland-init_1_amd64.deb"}
	if diff := cmp.Diff(want, sources); diff != "" {
		t.Error(diff)
	}
	spec, err := json.Marshal(m.Kernel.Spec)
	if m.Kernel.Compiler != "gcc 14" || m.Kernel.ConfigSHA256 != "cc" || string(spec) != `{"arch":"x86_64"}` || err != nil || !strings.HasPrefix(m.Kernel.Image, "hookbuild/kernel:amd64-") {
		t.Errorf("got kernel %+v", m.Kernel)
	}
	if len(res.Warnings) != 2 || !strings.Contains(res.Warnings[0], `"none/" matches no file`) || !strings.Contains(res.Warnings[1], "1 programs lose their file capabilities, which an initramfs cannot hold, the first /bin/ping") {
		t.Errorf("got warnings %q", res.Warnings)
	}
	for _, text := range res.Warnings {
		if !h.has("warn " + text) {
			t.Errorf("nobody was told %q", text)
		}
	}
	rec := readRecord(t, out)
	var stages []string
	for _, s := range rec.Stages {
		stages = append(stages, s.Name)
	}
	slices.Sort(stages)
	if want := []string{"base", "initramfs", "modules", "publish", "userland"}; !slices.Equal(stages, want) || rec.Error != "" || rec.PlanID != j.Plan.ID() {
		t.Errorf("got stages %q, record %+v", stages, rec)
	}
	saved := len(f.saved)
	again, err := p.builder(e, out, h, ticking()).All(t.Context(), j)
	if err != nil || !again.Reused || len(f.saved) != saved {
		t.Errorf("again: got %+v, %v, %d images read", again.Reused, err, len(f.saved)-saved)
	}
}

// Two builds in other directories, with another umask, cache and clock give the same bytes.
func TestAllIsReproducible(t *testing.T) {
	var first map[string][]byte
	for i, umask := range []int{0o022, 0o077} {
		old := syscall.Umask(umask)
		t.Cleanup(func() { syscall.Umask(old) })
		p := newProject(t)
		e, _ := newEngine(t)
		now := ticking()
		if i == 1 {
			now = func() time.Time { return time.Unix(1, 0) }
		}
		res, err := p.builder(e, t.TempDir(), &heard{}, now).All(t.Context(), p.job())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string][]byte{}
		entries, err := os.ReadDir(res.Generation.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			data, err := os.ReadFile(res.Generation.Path(e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			got[e.Name()] = data
		}
		if len(got["manifest.json"]) == 0 || len(got) < 4 {
			t.Fatalf("got %d files", len(got))
		}
		if first == nil {
			first = got
			continue
		}
		for name, data := range got {
			if !bytes.Equal(first[name], data) {
				t.Errorf("%s differs", name)
			}
		}
	}
}

func TestAllFailures(t *testing.T) {
	for _, c := range []struct {
		name    string
		missing []string
		stage   string
	}{
		{"base", []string{"hookbuild/debian:base-"}, "base"},
		{"toolchain", []string{"hookbuild/kernel:", "hookbuild/debian:toolchain-"}, "toolchain"},
		{"configuration", []string{"hookbuild/kernel:", "hookbuild/kconfig:"}, "configuration"},
		{"kernel", []string{"hookbuild/kernel:"}, "kernel"},
		{"userland", []string{"hookbuild/component:dhcp-"}, "userland"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			e, f := newEngine(t)
			f.lose(c.missing...)
			out := t.TempDir()
			b := p.builder(e, out, &heard{}, ticking())
			_, err := b.All(t.Context(), p.job())
			var failed *StageError
			var offline *download.OfflineError // the packages are not in the cache
			if !errors.As(err, &failed) || failed.Stage != c.stage || !errors.As(err, &offline) {
				t.Errorf("got %v, want a *StageError of %s", err, c.stage)
			}
			if rec := readRecord(t, out); !strings.HasPrefix(rec.Error, c.stage+": ") {
				t.Errorf("got record %+v", rec)
			}
			if _, err := os.Lstat(filepath.Join(out, "hook")); err == nil {
				t.Error("something is published")
			}
			unlock, err := b.Store.TryLock()
			if err != nil {
				t.Fatalf("the output directory is still locked: %v", err)
			}
			unlock()
		})
	}
}

func TestAllNamesAnImageThatIsNotThere(t *testing.T) {
	p := newProject(t)
	e, _ := newEngine(t)
	p.req.LinuxKit = []string{p.file("my.yaml", "init: [\"registry.example/tool:1\"]\n")}
	p.lock()
	p.pkg.Images = image.Finder{Engine: e, Cache: p.pkg.Client.CacheDir}
	before := p.lockText()
	if _, err := Prepare(t.Context(), p.req, p.pkg); !isA[*image.NotFoundError](err) || !strings.Contains(err.Error(), "registry.example/tool:1") || p.lockText() != before {
		t.Errorf("got %v, want an *image.NotFoundError that names the image, and the lock as it was", err)
	}
	p.pin("registry.example/tool:1", "sha256:"+strings.Repeat("a", 64))
	out := t.TempDir()
	_, err := p.builder(e, out, &heard{}, ticking()).All(t.Context(), p.job())
	if !isA[*image.NotFoundError](err) || !strings.Contains(err.Error(), "registry.example/tool:1") {
		t.Errorf("got %v, want an *image.NotFoundError that names the image", err)
	}
	for _, dir := range []string{out, filepath.Join(out, "generations")} {
		found, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range found {
			if strings.Contains(e.Name(), "tmp") || strings.Contains(e.Name(), "staging") {
				t.Errorf("left behind: %s", e.Name())
			}
		}
	}
}

func TestAllCancelled(t *testing.T) {
	p := newProject(t)
	e, _ := newEngine(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.builder(e, t.TempDir(), &heard{}, ticking()).All(ctx, p.job()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestKernelAndBootImageAlone(t *testing.T) {
	p := newProject(t)
	e, f := newEngine(t)
	f.lose("hookbuild/component:") // must not be asked for
	h := &heard{}
	b := p.builder(e, t.TempDir(), h, ticking())
	if ref, err := b.Kernel(t.Context(), p.job()); err != nil || !strings.HasPrefix(ref, "hookbuild/kernel:amd64-") {
		t.Errorf("got %s, %v", ref, err)
	}
	if h.has("start userland") {
		t.Error("the kernel alone builds the userland")
	}
	if ref, err := b.BootImage(t.Context(), p.job()); err != nil || !strings.HasPrefix(ref, "hookbuild/debian:boot-amd64-") {
		t.Errorf("got %s, %v", ref, err)
	}
	j := p.job()
	j.Entry.Sets = nil
	if _, err := b.BootImage(t.Context(), j); err == nil || !strings.Contains(err.Error(), "no packages for boot") {
		t.Errorf("got %v", err)
	}
	err := b.Stage(t.Context(), "boot", func(context.Context, func(engine.Event)) (string, error) { return "up", nil })
	if err != nil || !h.has(`end boot "up" 1s <nil>`) {
		t.Errorf("got %v, heard %q", err, h.lines)
	}
}

// addTo adds files to a tree; the path is the key.
func addTo(t *testing.T, tree *filetree.Tree, files map[string]string) {
	t.Helper()
	for name, content := range files {
		if err := tree.Add(name, &filetree.Inode{Perm: 0o644, Data: filetree.Bytes([]byte(content))}, "test"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAddFacts(t *testing.T) {
	for name, content := range map[string]map[string]string{
		"an empty tree":            {},
		"with etc":                 {"etc/passwd": "root"},
		"with the directory":       {"etc/hookos/other": "x"},
		"with a file of that name": {factsFile: strings.Repeat("x", 9000)},
		"all sizes":                {"a": "", "b": "x", "c": strings.Repeat("x", page), "d": strings.Repeat("x", page+1), "e/f/g": strings.Repeat("x", 3*page)},
	} {
		t.Run(name, func(t *testing.T) {
			tree := filetree.New()
			addTo(t, tree, content)
			if _, ok := content["d"]; ok { // a hard link is one file
				if err := tree.Link("link", "d", "test"); err != nil {
					t.Fatal(err)
				}
			}
			p := newProject(t)
			j := p.job()
			if err := addFacts(j, tree); err != nil {
				t.Fatal(err)
			}
			// Counted without the tree: what a tmpfs would hold.
			pages, paths := 1, map[string]bool{".": true, factsFile: true, "etc": true, "etc/hookos": true}
			for file, data := range content {
				if file != factsFile {
					pages += (len(data) + page - 1) / page
				}
				for dir := file; dir != "."; dir = filepath.Dir(dir) {
					paths[dir] = true
				}
			}
			if _, ok := content["d"]; ok {
				paths["link"] = true
			}
			e, _ := tree.Lookup(factsFile)
			got, err := e.Data.ReadAll()
			want := fmt.Sprintf("HOOKOS_VERSION=0.1.0\nHOOKOS_FLAVOR=hook-default-amd64\nHOOKOS_ARCH=x86_64\nHOOKOS_EPOCH=%d\nHOOKOS_TREE_BYTES=%d\nHOOKOS_TREE_ENTRIES=%d\n",
				j.Plan.Epoch, pages*page, len(paths))
			if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
				t.Error(diff, err)
			}
			if e.Perm != 0o644 || len(tree.Entries()) != len(paths) {
				t.Errorf("got mode %o, %d entries", e.Perm, len(tree.Entries()))
			}
		})
	}
	tree := filetree.New()
	addTo(t, tree, map[string]string{factsFile + "/x": ""})
	var conflict *filetree.ConflictError
	if err := addFacts(&Job{}, tree); !errors.As(err, &conflict) {
		t.Errorf("a directory in its place: got %v", err)
	}
}

func TestKernelRelease(t *testing.T) {
	for want, file := range map[string]string{
		"6.12.1":  "lib/modules/6.12.1/modules.dep",
		"6.12.2":  "usr/lib/modules/6.12.2/kernel/net/x.ko",
		"":        "containers/lib/modules/6.12.3/x",
		"6.12.10": "lib/modules/6.12.10/x",
	} {
		tree := filetree.New()
		addTo(t, tree, map[string]string{file: "", "lib/modules.txt": ""})
		if got := kernelRelease(tree); got != want {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
}
