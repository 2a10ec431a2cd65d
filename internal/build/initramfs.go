package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/initramfs"
	"github.com/hookbuild/hookbuild/internal/kconfig"
	"github.com/hookbuild/hookbuild/internal/linuxkit"
)

// maxKernelConfig is far above the 300 KiB of Debian's.
const maxKernelConfig = 8 << 20

// compression settles how the initramfs of the job is compressed. kernelConfig is the configuration of the
// kernel that is to unpack it; nil where nobody knows it.
func (j *Job) compression(kernelConfig []byte) (initramfs.Compression, error) {
	want := initramfs.Compression(j.Plan.Initramfs.Compression)
	known := kernelConfig != nil
	has, err := builtIn(kernelConfig)
	switch {
	case err != nil:
		return "", fmt.Errorf("the kernel's configuration: %w", err)
	case known && !has["BLK_DEV_INITRD"]:
		return "", &InputError{What: "the kernel unpacks no initramfs at all: CONFIG_BLK_DEV_INITRD is not set"}
	case want == config.CompressionAuto && has[initramfs.Zstd.Symbol()]:
		return initramfs.Zstd, nil
	case want == config.CompressionAuto:
		want = initramfs.Gzip
	}
	if known && !has[want.Symbol()] {
		return "", &InputError{What: fmt.Sprintf("the kernel cannot unpack an initramfs that is compressed with %s: CONFIG_%s is not set", want, want.Symbol())}
	}
	return want, nil
}

// unpacks says whether a kernel of that configuration can unpack the initramfs of the job.
func (j *Job) unpacks(kernelConfig []byte) error {
	_, err := j.compression(kernelConfig)
	return err
}

// builtIn are the symbols that a configuration has as y.
func builtIn(kernelConfig []byte) (map[string]bool, error) {
	lines, err := kconfig.Parse("/config", kernelConfig)
	has := map[string]bool{}
	for _, l := range lines {
		has[l.Name] = l.Value == "y"
	}
	return has, err
}

// compressorModule is the Go module that writes a compression.
func compressorModule(compression string) string {
	if compression == string(initramfs.Zstd) {
		return "github.com/klauspost/compress"
	}
	return "github.com/klauspost/pgzip"
}

// writeInitramfs writes the microcode, where there is any, and then the segments, each of which is read back
// and compared with the tree when it is made.
func (b *Builder) writeInitramfs(ctx context.Context, j *Job, res *linuxkit.Result, s *artifacts.Staging) (a artifacts.Archive, err error) {
	kernelConfig, err := readConfig(res.Config)
	if err != nil {
		return a, err
	}
	o := initramfs.Options{Epoch: j.Plan.Epoch, Level: j.Plan.Initramfs.Level, Dedup: true}
	if o.Compression, err = j.compression(kernelConfig); err != nil {
		return a, err
	}
	out, err := s.Create(artifacts.InitramfsName(j.Flavor.Arch))
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	var early int64
	if res.Microcode != nil {
		if early, err = copyBlob(out, *res.Microcode); err != nil {
			return a, err
		}
	}
	segments := j.segments(res)
	stats, err := initramfs.WriteSegments(ctx, out, segments, o, filepath.Join(b.Cache, "segments"))
	if err != nil {
		return a, err
	}
	a = artifacts.Archive{
		Compression: string(o.Compression), Level: o.EffectiveLevel(), Bytes: stats.Archive, Compressed: early + stats.Compressed, Linked: stats.Linked,
	}
	for i, done := range stats.Segments {
		a.Segments = append(a.Segments, artifacts.Segment{
			Name: done.Name, Entries: done.Entries, Bytes: done.Archive, Compressed: done.Compressed, Content: segments[i].Entries,
		})
	}
	return a, nil
}

// readConfig reads a kernel's configuration; nil stays nil.
func readConfig(blob *filetree.Blob) ([]byte, error) {
	if blob == nil {
		return nil, nil
	}
	if blob.Size() > maxKernelConfig {
		return nil, &InputError{What: fmt.Sprintf("the kernel's configuration has %d bytes, want at most %d", blob.Size(), maxKernelConfig)}
	}
	return blob.ReadAll()
}

func copyBlob(out io.Writer, blob filetree.Blob) (int64, error) {
	in, err := blob.Open()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	return io.Copy(out, in)
}

// segments are what becomes an archive each.
func (j *Job) segments(res *linuxkit.Result) []initramfs.Segment {
	if j.Plan.Initramfs.Single {
		return []initramfs.Segment{{Name: "all", Entries: res.Tree.Entries()}}
	}
	var segments []initramfs.Segment
	for _, s := range res.Segments() {
		segments = append(segments, initramfs.Segment{Name: s.Name, Entries: s.Entries})
	}
	return segments
}

// lostCapabilities are the files that lose theirs, and who counts on them.
func lostCapabilities(res *linuxkit.Result) []artifacts.LostCapabilities {
	lost := []artifacts.LostCapabilities{}
	for _, e := range initramfs.LostCapabilities(res.Tree) {
		lost = append(lost, artifacts.LostCapabilities{Path: e.Path, NeededBy: res.PartOf(e).Unprivileged})
	}
	return lost
}

// BudgetError says that an initramfs needs more memory than it may.
type BudgetError struct {
	Needed, Max int64 // bytes
	Largest     []artifacts.Size
}

// Error says how much, and what takes most.
func (e *BudgetError) Error() string {
	var most []string
	for _, f := range e.Largest {
		most = append(most, fmt.Sprintf("%s %s", f.Name, mib(f.Bytes)))
	}
	return fmt.Sprintf("a machine needs %s of memory to unpack the initramfs, more than the %s that it may; most of it are %s",
		mib(e.Needed), mib(e.Max), strings.Join(most, ", "))
}

// accept says whether an initramfs is one that the job may have.
func (j *Job) accept(r *artifacts.Report) error {
	if limit := j.Flavor.Initramfs.MaxRAM; limit > 0 && r.Memory.Needed > limit {
		const shown = 3
		return &BudgetError{Needed: r.Memory.Needed, Max: limit, Largest: r.Directories[:min(shown, len(r.Directories))]}
	}
	if j.AllowLostCapabilities {
		return nil
	}
	for _, l := range r.LostCapabilities {
		if len(l.NeededBy) > 0 {
			return &InputError{What: fmt.Sprintf(
				"%s has capabilities that an initramfs cannot hold, and %s, which does not run as root, may need them: give the container ambient capabilities, or build with --allow-lost-capabilities",
				path.Join("/", l.Path), strings.Join(l.NeededBy, " and "))}
		}
	}
	return nil
}
