package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/linuxkit"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// factsFile is what HookOS's own scripts read about the build. Format: KEY=value, for a shell to source.
const factsFile = "etc/hookos/build"

// assemble makes the root file system and writes the files of the generation, but for an ISO.
func (b *Builder) assemble(ctx context.Context, j *Job, r *recorder, img images, staging *artifacts.Staging) (m artifacts.Manifest, note string, err error) {
	src := b.imageSource(j, r, img)
	o := linuxkit.Options{Kernel: img.selected, ReadFile: os.ReadFile, Layout: src.Layout}
	if j.Base != "" {
		base, err := b.readBase(ctx, j, r)
		if err != nil {
			return m, "", err
		}
		defer func() { err = errors.Join(err, base.Close()) }()
		o.Base = base.tree
	}
	res, err := linuxkit.Assemble(ctx, j.Spec, src, o)
	if err != nil {
		return m, "", err
	}
	for _, w := range res.Warnings {
		r.warn(w)
	}
	if len(j.Plan.Embedded) > 0 && !j.runs(dockerComponent) {
		r.warn("nothing in this HookOS loads the embedded images: build:docker of the built-in userland/hook.yaml does")
	}
	if err := errors.Join(j.site.addTo(res.Tree), addEmbedded(ctx, j, res, src)); err != nil {
		return m, "", err
	}
	if err := addFacts(j, res.Tree); err != nil {
		return m, "", err
	}
	report, err := b.writeFiles(ctx, j, res, img.report, staging)
	if err != nil {
		return m, "", err
	}
	if lost := report.LostCapabilities; len(lost) > 0 {
		r.warn(fmt.Sprintf("%d programs lose their file capabilities, which an initramfs cannot hold, the first /%s; the report lists them", len(lost), lost[0].Path))
	}
	m = b.manifest(j, res, report.Archive)
	m.Kernel, err = b.kernelOrigin(ctx, img)
	return m, fmt.Sprintf("%s in %d entries, %s by %s", mib(report.Bytes), report.Entries, mib(report.Archive.Compressed), report.Archive.Compression), err
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

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
func (b *Builder) writeFiles(ctx context.Context, j *Job, res *linuxkit.Result, rep artifacts.KernelReport, s *artifacts.Staging) (*artifacts.Report, error) {
	arch := j.Flavor.Arch
	archive, err := b.writeInitramfs(ctx, j, res, s)
	if err != nil {
		return nil, err
	}
	if err := writeBlob(s, artifacts.KernelName(arch), res.Kernel); err != nil {
		return nil, err
	}
	if name := artifacts.DTBsName(arch); name != "" && res.DTBs != nil {
		if err := writeBlob(s, name, *res.DTBs); err != nil {
			return nil, err
		}
	}
	report := artifacts.NewReport(archive)
	report.Kernel = rep
	report.LostCapabilities = lostCapabilities(res)
	if err := j.accept(report); err != nil {
		return nil, err
	}
	return report, s.WriteReport(report)
}

func writeBlob(s *artifacts.Staging, name string, blob filetree.Blob) error {
	out, err := s.Create(name)
	if err != nil {
		return err
	}
	_, err = copyBlob(out, blob)
	return errors.Join(err, out.Close())
}

func (b *Builder) manifest(j *Job, res *linuxkit.Result, a artifacts.Archive) artifacts.Manifest {
	m := artifacts.Manifest{
		Version: j.Version, Command: j.Command, Cmdline: res.Cmdline,
		Compressor:    artifacts.Compressor{Name: a.Compression, Module: compressorModule(a.Compression), Level: a.Level},
		KernelRelease: kernelRelease(res.Tree), Plan: j.Plan,
		EmbeddedImages: len(j.Plan.Embedded) > 0, EKSA: eksa(j.Plan.Embedded),
	}
	m.Compressor.Version = b.ModuleVersion(m.Compressor.Module)
	for _, s := range j.Entry.Sets {
		if s.Name == resolve.BootSet {
			continue
		}
		for _, p := range s.Packages {
			name := fmt.Sprintf("%s: %s_%s_%s.deb", s.Name, p.Name, p.Version, p.Arch)
			m.Sources = append(m.Sources, artifacts.Source{Name: name, Digest: "sha256:" + p.SHA256})
		}
	}
	for _, i := range j.Entry.Images {
		m.Sources = append(m.Sources, artifacts.Source{Name: fmt.Sprintf("image: %s (%s)", i.Ref, i.Platform), Digest: i.Config})
	}
	if b := j.Entry.Bundle; b != nil {
		m.Sources = append(m.Sources, artifacts.Source{Name: "bundle: " + b.URL, Digest: "sha256:" + b.SHA256})
	}
	if j.Plan.Base != "" {
		m.Sources = append(m.Sources, artifacts.Source{Name: "base", Digest: "sha256:" + j.Plan.Base})
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
