package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/initramfs"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/linuxkit"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// factsFile is what HookOS's own scripts read about the build. Format: KEY=value, for a shell to source.
const factsFile = "etc/hookos/build"

// assemble makes the root file system and writes the generation.
func (b *Builder) assemble(ctx context.Context, j *Job, r *recorder, img images) (gen artifacts.Generation, note string, err error) {
	src := &source{images: img, reader: image.Reader{Engine: b.Engine, Cache: b.Cache, Lost: func(ref, path, name string) {
		r.warn(fmt.Sprintf("image %s: %s loses its %s, which an initramfs cannot hold", ref, path, name))
	}}}
	res, err := linuxkit.Assemble(ctx, j.Spec, src, linuxkit.Options{Kernel: img.selected, ReadFile: os.ReadFile})
	if err != nil {
		return gen, "", err
	}
	for _, w := range res.Warnings {
		r.warn(w)
	}
	if err := addFacts(j, res.Tree); err != nil {
		return gen, "", err
	}
	staging, err := b.Store.Stage(j.Plan.ID())
	if err != nil {
		return gen, "", err
	}
	defer staging.Abort()
	stats, err := b.writeFiles(ctx, j, res, img.report, staging)
	if err != nil {
		return gen, "", err
	}
	m := b.manifest(j, res)
	if m.Kernel, err = b.kernelOrigin(ctx, img); err != nil {
		return gen, "", err
	}
	gen, err = staging.Commit(m)
	return gen, fmt.Sprintf("%s in %d entries, %s compressed", mib(stats.Unpacked), stats.Entries, mib(stats.Compressed)), err
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// source gives linuxkit its images.
type source struct {
	images images
	reader image.Reader
}

// Image reads an image from the engine; build:NAME is the component of that name.
func (s *source) Image(ctx context.Context, ref string) (linuxkit.Image, error) {
	if name, ok := strings.CutPrefix(ref, componentScheme); ok {
		ref = s.images.components[name]
	}
	got, err := s.reader.Read(ctx, ref)
	if errors.Is(err, engine.ErrNoImage) {
		return linuxkit.Image{}, &InputError{What: fmt.Sprintf(
			"image %s: the engine does not hold it, and getting images from a registry is not supported yet", ref)}
	}
	if err != nil {
		return linuxkit.Image{}, err
	}
	return linuxkit.Image{
		Tree: got.Tree, Digest: strings.Join(got.Layers, " "),
		Config: linuxkit.ImageConfig{
			Entrypoint: got.Entrypoint, Cmd: got.Cmd, Env: got.Env, WorkingDir: got.WorkingDir, Labels: got.Labels,
		},
	}, nil
}

// page is what a file's content is rounded up to in a tmpfs.
const page = 4096

// addFacts writes what the scripts in HookOS want to know, the size of the tree above all: the first process
// makes the tmpfs that the tree moves to.
func addFacts(j *Job, t *filetree.Tree) error {
	facts := &filetree.Inode{Perm: 0o644, Data: filetree.Bytes([]byte("\n"))} // takes its page; the text comes last
	if err := t.Add(factsFile, facts, "hookbuild"); err != nil {
		return err
	}
	var bytes int64
	seen := map[*filetree.Inode]bool{}
	entries := t.Entries()
	for _, e := range entries {
		if !seen[e.Inode] {
			bytes += (e.Data.Size() + page - 1) / page * page
			seen[e.Inode] = true
		}
	}
	text := fmt.Sprintf("HOOKOS_VERSION=%s\nHOOKOS_FLAVOR=%s\nHOOKOS_ARCH=%s\nHOOKOS_EPOCH=%d\nHOOKOS_TREE_BYTES=%d\nHOOKOS_TREE_ENTRIES=%d\n",
		j.Version, j.Flavor.ID, j.Flavor.Arch, j.Plan.Epoch, bytes, len(entries))
	facts.Data = filetree.Bytes([]byte(text))
	return nil
}

// writeFiles writes kernel, initramfs, device trees and report.
func (b *Builder) writeFiles(ctx context.Context, j *Job, res *linuxkit.Result, rep artifacts.KernelReport, s *artifacts.Staging) (initramfs.Stats, error) {
	arch := j.Flavor.Arch
	stats, err := b.writeInitramfs(ctx, j, res.Tree, s)
	if err != nil {
		return stats, err
	}
	if err := writeBlob(s, artifacts.KernelName(arch), res.Kernel); err != nil {
		return stats, err
	}
	if name := artifacts.DTBsName(arch); name != "" && res.DTBs != nil {
		if err := writeBlob(s, name, *res.DTBs); err != nil {
			return stats, err
		}
	}
	report, err := artifacts.NewReport(ctx, res.Tree, stats.Compressed)
	if err != nil {
		return stats, err
	}
	report.Kernel = rep
	return stats, s.WriteReport(report)
}

func writeBlob(s *artifacts.Staging, name string, blob filetree.Blob) error {
	in, err := blob.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := s.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// writeInitramfs writes the archive and reads it back on the way: what goes to the file also goes through
// our own strict reader, which compares it with the tree.
func (b *Builder) writeInitramfs(ctx context.Context, j *Job, t *filetree.Tree, s *artifacts.Staging) (initramfs.Stats, error) {
	o := initramfs.Options{Epoch: j.Plan.Epoch, Level: j.Plan.Initramfs.Level}
	out, err := s.Create(artifacts.InitramfsName(j.Flavor.Arch))
	if err != nil {
		return initramfs.Stats{}, err
	}
	pr, pw := io.Pipe()
	verified := make(chan error, 1)
	go func() {
		err := initramfs.Verify(pr, t, o)
		pr.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		verified <- err
	}()
	stats, err := initramfs.Write(ctx, io.MultiWriter(out, pw), t, o)
	pw.CloseWithError(err) // nil is io.EOF for the reader
	if verr := <-verified; verr != nil && (err == nil || errors.Is(err, io.ErrClosedPipe)) {
		err = fmt.Errorf("the initramfs that was written is not the tree that was meant: %w", verr)
	}
	return stats, errors.Join(err, out.Close())
}

func (b *Builder) manifest(j *Job, res *linuxkit.Result) artifacts.Manifest {
	m := artifacts.Manifest{
		Version: j.Version, Command: j.Command, Cmdline: res.Cmdline, Compressor: b.Compressor,
		KernelRelease: kernelRelease(res.Tree), Plan: j.Plan,
		EKSA: artifacts.EKSA{Reason: "it holds no embedded action and agent images"},
	}
	m.Compressor.Level = j.Plan.Initramfs.Level
	for _, s := range j.Entry.Sets {
		if s.Name == resolve.BootSet {
			continue
		}
		for _, p := range s.Packages {
			name := fmt.Sprintf("%s: %s_%s_%s.deb", s.Name, p.Name, p.Version, p.Arch)
			m.Sources = append(m.Sources, artifacts.Source{Name: name, Digest: "sha256:" + p.SHA256})
		}
	}
	return m
}

// kernelOrigin is what the kernel's image says of itself.
func (b *Builder) kernelOrigin(ctx context.Context, img images) (artifacts.Kernel, error) {
	data, err := b.imageFile(ctx, img.kernel, kernel.MetadataName)
	if err != nil {
		return artifacts.Kernel{}, err
	}
	meta, err := kernel.ReadMetadata(bytes.NewReader(data))
	return artifacts.Kernel{Image: img.kernel, Compiler: meta.Compiler, ConfigSHA256: meta.ConfigSHA256, Spec: meta.Spec}, err
}

// imageFile reads a small file of an image in the engine.
func (b *Builder) imageFile(ctx context.Context, ref, name string) ([]byte, error) {
	blob, err := b.imageBlob(ctx, ref, name)
	if err != nil {
		return nil, err
	}
	return blob.ReadAll()
}

// imageBlob finds a file of an image in the engine.
func (b *Builder) imageBlob(ctx context.Context, ref, name string) (filetree.Blob, error) {
	img, err := image.Reader{Engine: b.Engine, Cache: b.Cache}.Read(ctx, ref)
	if err != nil {
		return filetree.Blob{}, err
	}
	e, ok := img.Tree.Lookup(name)
	if !ok {
		return filetree.Blob{}, fmt.Errorf("image %s holds no /%s", ref, name)
	}
	return e.Data, nil
}

// kernelRelease is the name of the directory that holds the kernel's modules, "" where there is none.
func kernelRelease(t *filetree.Tree) string {
	for _, e := range t.Entries() {
		dir, name := path.Split(e.Path)
		if e.Kind == filetree.Dir && (dir == "lib/modules/" || dir == "usr/lib/modules/") {
			return name
		}
	}
	return ""
}
