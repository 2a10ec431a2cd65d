package build

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/initramfs"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

func (p *project) lockText() string {
	p.Helper()
	data, err := os.ReadFile(p.req.LockFile)
	if err != nil {
		p.Fatal(err)
	}
	return string(data)
}

// pin writes an image into the lock.
func (p *project) pin(ref, digest string) {
	p.Helper()
	lock, err := resolve.ReadLock(p.req.LockFile)
	if err != nil {
		p.Fatal(err)
	}
	e := lock.Flavors[p.req.Flavor.ID]
	e.Images = append(e.Images, resolve.Image{ImageRequest: resolve.ImageRequest{Ref: ref, Platform: "linux/amd64"}, Config: digest})
	lock.Flavors[p.req.Flavor.ID] = e
	if err := lock.Write(p.req.LockFile); err != nil {
		p.Fatal(err)
	}
}

// archive writes what docker save would, with these files in one layer.
func (p *project) archive(name string, list files) (ref string) {
	p.Helper()
	p.file(name, string(makeImage(p.T, list).archive))
	return "archive:" + name
}

// built builds the project's YAML, with images from files and the engine.
func (p *project) built(yaml string) (Result, string, error) {
	p.Helper()
	e, _ := newEngine(p.T)
	p.req.LinuxKit = []string{p.file("my.yaml", yaml)}
	p.pkg.Images = image.Finder{Engine: e, Cache: p.pkg.Client.CacheDir, Dir: p.dir}
	out := p.TempDir()
	j, err := Prepare(p.Context(), p.req, p.pkg)
	if err != nil {
		return Result{}, "", err
	}
	res, err := p.builder(e, out, &heard{}, ticking()).All(p.Context(), j)
	return res, filepath.Join(out, "hook", "initramfs-x86_64"), err
}

func TestImagesOfFiles(t *testing.T) {
	p := newProject(t)
	p.lock()
	ref := p.archive("tool.tar", files{{"bin/", ""}, {"bin/tool", "elf"}})
	res, file, err := p.built("init: [\"" + ref + "\"]\nvolumes: [{name: v, image: \"" + ref + "\", format: oci}]\n")
	if err != nil {
		t.Fatal(err)
	}
	tree := unpacked(t, file)
	if tree["bin/tool"] != "elf" {
		t.Errorf("got %q", tree["bin/tool"])
	}
	lock, err := resolve.ReadLock(p.req.LockFile)
	if err != nil {
		t.Fatal(err)
	}
	pins := lock.Flavors[p.req.Flavor.ID].Images
	if len(pins) != 1 || pins[0].Ref != ref || pins[0].Platform != "linux/amd64" {
		t.Fatalf("got the pins %+v", pins)
	}
	if !slices.ContainsFunc(res.Generation.Manifest.Plan.Images, func(i plan.Image) bool { return i.Config == pins[0].Config }) {
		t.Errorf("the plan has the images %v", res.Generation.Manifest.Plan.Images)
	}
	checkLayout(t, tree, "containers/volumes/v/lower/", pins[0].Config)

	p.archive("tool.tar", files{{"bin/", ""}, {"bin/tool", "other"}})
	if _, _, err := p.built("init: [\"" + ref + "\"]\n"); !isA[*image.ChangedError](err) {
		t.Errorf("of another content under the same name: got %v", err)
	}
}

func TestImagesAreBroughtFirst(t *testing.T) {
	p := newProject(t)
	p.lock()
	ref := p.archive("tool.tar", files{{"bin/", ""}, {"bin/tool", "elf"}})
	e, _ := newEngine(t)
	p.pkg.Images = image.Finder{Engine: e, Cache: p.pkg.Client.CacheDir, Dir: p.dir}
	build := func(file string, between func()) (*heard, error) {
		p.req.LinuxKit = []string{p.file("my.yaml", "init: [\""+ref+"\"]\nfiles: [{path: etc/"+file+", contents: a}]\n")}
		j, err := Prepare(t.Context(), p.req, p.pkg)
		if err != nil {
			t.Fatal(err)
		}
		between()
		h := &heard{}
		_, err = p.builder(e, t.TempDir(), h, ticking()).All(t.Context(), j)
		return h, err
	}
	if h, err := build("first", func() {}); err != nil || !h.has("start images") {
		t.Errorf("the cache is empty: %v, %q", err, h.lines)
	}
	if h, err := build("second", func() {}); err != nil || h.has("start images") {
		t.Errorf("the cache has it: %v, %q", err, h.lines)
	}
	var nowhere *image.NotFoundError
	h, err := build("third", func() {
		if err := errors.Join(os.RemoveAll(filepath.Join(p.pkg.Client.CacheDir, "layers")), os.Remove(filepath.Join(p.dir, "tool.tar"))); err != nil {
			t.Fatal(err)
		}
	})
	if !errors.As(err, &nowhere) || h.has("start initramfs") {
		t.Errorf("it is nowhere: %v, %q", err, h.lines)
	}
}

// checkLayout follows an image layout from its index to its configuration, and checks every blob's digest.
func checkLayout(t *testing.T, tree map[string]string, dir, config string) {
	t.Helper()
	type descriptor struct{ Digest string }
	blob := func(digest string) []byte {
		name := dir + "blobs/sha256/" + strings.TrimPrefix(digest, "sha256:")
		sum := sha256.Sum256([]byte(tree[name]))
		if "sha256:"+hex.EncodeToString(sum[:]) != digest {
			t.Fatalf("%s: there is none, or with other content", name)
		}
		return []byte(tree[name])
	}
	var index struct{ Manifests []descriptor }
	if err := json.Unmarshal([]byte(tree[dir+"index.json"]), &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("index.json: %v, %+v", err, index)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	if err := json.Unmarshal(blob(index.Manifests[0].Digest), &manifest); err != nil || len(manifest.Layers) != 1 {
		t.Fatalf("the manifest: %v, %+v", err, manifest)
	}
	blob(manifest.Layers[0].Digest)
	if blob(manifest.Config.Digest); manifest.Config.Digest != config {
		t.Errorf("got the configuration %s, want %s", manifest.Config.Digest, config)
	}
	if !strings.Contains(tree[dir+"oci-layout"], "imageLayoutVersion") {
		t.Error("there is no oci-layout")
	}
}

func TestLostCapabilitiesThatAreNeeded(t *testing.T) {
	p := newProject(t)
	p.lock()
	ref := p.archive("tool.tar", files{{"bin/", ""}, {"bin/ping", "elf"}})
	yaml := "services: [{name: ping, image: \"" + ref + "\", command: [/bin/ping], uid: 7}]\n"
	if _, _, err := p.built(yaml); !isA[*InputError](err) || !strings.Contains(err.Error(), "/containers/services/ping/lower/bin/ping has capabilities that an initramfs cannot hold, and services/ping") {
		t.Errorf("got %v", err)
	}
	if _, _, err := p.built(strings.Replace(yaml, "uid: 7", "uid: 0", 1)); err != nil {
		t.Errorf("of a container that runs as root: %v", err)
	}
	p.req.AllowLostCapabilities = true
	res, _, err := p.built(yaml)
	if err != nil || len(res.Report.LostCapabilities) != 1 || res.Report.LostCapabilities[0].NeededBy[0] != "services/ping" {
		t.Errorf("allowed: %v, %+v", err, res.Report)
	}
}

func TestMemoryBudget(t *testing.T) {
	p := newProject(t)
	p.lock()
	yaml := "init: [\"" + p.archive("tool.tar", files{{"tool", strings.Repeat("x", 1<<20)}}) + "\"]\n"
	p.req.Flavor.Initramfs.MaxRAM = 2 << 20
	_, file, err := p.built(yaml)
	var over *BudgetError
	if !errors.As(err, &over) || over.Max != 2<<20 || over.Needed <= over.Max || len(over.Largest) != 3 {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("it was published")
	}
	p.req.Flavor.Initramfs.MaxRAM = 4 << 20
	if _, _, err := p.built(yaml); err != nil {
		t.Error(err)
	}
}

func TestCompression(t *testing.T) {
	const gzip, zstd, initrd = "CONFIG_RD_GZIP=y\n", "CONFIG_RD_ZSTD=y\n", "CONFIG_BLK_DEV_INITRD=y\n"
	for _, c := range []struct{ want, config, got, fault string }{
		{config.CompressionAuto, initrd + gzip + zstd, "zstd", ""},
		{config.CompressionAuto, initrd + gzip + "# CONFIG_RD_ZSTD is not set\n", "gzip", ""},
		{config.CompressionAuto, "unknown", "gzip", ""},
		{config.CompressionAuto, initrd, "", "CONFIG_RD_GZIP is not set"},
		{config.CompressionZstd, "unknown", "zstd", ""},
		{config.CompressionZstd, initrd + gzip, "", "compressed with zstd: CONFIG_RD_ZSTD is not set"},
		{config.CompressionGzip, initrd + gzip + zstd, "gzip", ""},
		{config.CompressionGzip, initrd + zstd, "", "compressed with gzip: CONFIG_RD_GZIP is not set"},
		{config.CompressionGzip, gzip, "", "CONFIG_BLK_DEV_INITRD is not set"},
	} {
		j := &Job{}
		j.Plan.Initramfs.Compression = c.want
		text := []byte(c.config)
		if c.config == "unknown" {
			text = nil
		}
		got, err := j.compression(text)
		if c.fault != "" && (!isA[*InputError](err) || !strings.Contains(err.Error(), c.fault)) || c.fault == "" && (err != nil || string(got) != c.got) {
			t.Errorf("%s of %q: got %q, %v", c.want, c.config, got, err)
		}
	}
}

func TestCompressionIsCheckedBeforeTheCompiler(t *testing.T) {
	p := newProject(t)
	e, f := newEngine(t)
	f.lose("hookbuild/kernel:")
	p.req.Configs = fstest.MapFS{"generic-6.12.y-x86_64": text("CONFIG_64BIT=y\n# CONFIG_RD_GZIP is not set\n")}
	h := &heard{}
	_, err := p.builder(e, t.TempDir(), h, ticking()).All(t.Context(), p.job())
	if !isA[*InputError](err) || !strings.Contains(err.Error(), "CONFIG_RD_GZIP is not set") || h.has("start kernel") {
		t.Errorf("got %v, heard %q", err, h.lines)
	}
}

func TestSingleSegment(t *testing.T) {
	p := newProject(t)
	p.lock()
	yaml := "init: [\"" + p.archive("tool.tar", files{{"a", "same"}, {"b", "same"}}) + "\"]\nfiles: [{path: c, contents: same, mode: \"0755\"}]\n"
	many, _, err := p.built(yaml)
	if err != nil {
		t.Fatal(err)
	}
	p.req.Single = true
	one, file, err := p.built(yaml)
	if err != nil {
		t.Fatal(err)
	}
	if len(one.Report.Archive.Segments) != 1 || len(many.Report.Archive.Segments) < 3 || one.Generation.ID() == many.Generation.ID() {
		t.Errorf("got %d and %d segments", len(one.Report.Archive.Segments), len(many.Report.Archive.Segments))
	}
	if many.Report.Archive.Linked != 4 || one.Report.Archive.Linked != 8 || many.Report.Wasted != 4 || one.Report.Wasted != 0 {
		t.Errorf("linked %d and %d, wasted %d and %d", many.Report.Archive.Linked, one.Report.Archive.Linked, many.Report.Wasted, one.Report.Wasted)
	}
	if tree := unpacked(t, file); len(tree) == 0 {
		t.Error("it is empty")
	}
}

func TestBase(t *testing.T) {
	p := newProject(t)
	p.lock()
	var file bytes.Buffer
	tree := filetree.New()
	for name, content := range map[string]string{"init": "theirs", "lib/modules/5.10/a.ko": "old", "bin/sh": "sh"} {
		if err := tree.Add(name, &filetree.Inode{Perm: 0o755, Data: filetree.Bytes([]byte(content))}, "test"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := initramfs.Write(t.Context(), &file, tree, initramfs.Options{}); err != nil {
		t.Fatal(err)
	}
	p.req.Base = p.file("base.img", file.String())
	res, out, err := p.built("files: [{path: etc/mine, contents: x}]\n")
	if err != nil {
		t.Fatal(err)
	}
	got := unpacked(t, out)
	_, old := got["lib/modules/5.10/a.ko"]
	if got["init"] != "theirs" || got["bin/sh"] != "sh" || got["etc/mine"] != "x" || got["lib/modules/6.12.1-hook/modules.dep"] != "x" || old {
		t.Errorf("got %q", got)
	}
	if p := res.Generation.Manifest.Plan; p.Base == "" {
		t.Error("the plan does not have the base")
	}
	if left, err := filepath.Glob(filepath.Join(p.pkg.Client.CacheDir, ".base-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	p.req.Base = p.file("cut.img", file.String()[:file.Len()/2])
	if _, _, err := p.built("files: [{path: etc/mine, contents: x}]\n"); !isA[*initramfs.ImageError](err) {
		t.Errorf("of one that is cut: got %v", err)
	}
	p.req.Base = filepath.Join(p.dir, "none.img")
	if _, _, err := p.built("files: [{path: etc/mine, contents: x}]\n"); !isA[*InputError](err) {
		t.Errorf("of one that is not there: got %v", err)
	}
}
