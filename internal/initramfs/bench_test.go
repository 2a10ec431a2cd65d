package initramfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// benchRoot is a root of about size bytes: this machine's programs, libraries and texts.
func benchRoot(b *testing.B, size int64) *filetree.Tree {
	b.Helper()
	tree := filetree.New()
	var total int64
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/lib/" + "x86_64-linux-gnu", "/usr/lib", "/usr/share"} {
		must(b, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || total > size {
				return nil
			}
			info, err := d.Info()
			if _, twice := tree.Lookup(p[1:]); err != nil || twice || info.Size() > 50<<20 {
				return nil
			}
			data, err := os.ReadFile(p)
			if err != nil {
				return nil
			}
			total += info.Size()
			blob := filetree.FileRange(p, 0, int64(len(data)), sha256.Sum256(data))
			return tree.Add(p[1:], &filetree.Inode{Perm: uint32(info.Mode().Perm()), Data: blob}, dir)
		}))
	}
	if total < size {
		b.Fatalf("/usr has only %d MB of files, want %d", total>>20, size>>20)
	}
	return tree
}

// byDirectory splits as images would: into some thirty segments.
func byDirectory(e filetree.Entry) string {
	parts := strings.SplitN(e.Path, "/", 4)
	return strings.Join(parts[:min(3, len(parts)-1)], "/")
}

// peak returns the most resident memory, in bytes, since the last call of forget.
func peak(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	must(b, err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	_, err = fmt.Sscan(rest, &kib)
	must(b, err)
	return kib * 1024
}

func forget(b *testing.B) {
	b.Helper()
	must(b, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0))
}

// foreign runs a tool over the archive and returns how long it took.
func foreign(b *testing.B, tool string, args ...string) time.Duration {
	b.Helper()
	cmd := exec.Command(tool, args...)
	var out bytes.Buffer
	cmd.Stderr = &out
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v: %s; it is in Debian's package of that name", tool, err, out.String())
	}
	return time.Since(begin)
}

// BenchmarkSegments compares with pigz -6 -p2 over the same archive, in turn: pigz-x is our wall time by its.
func BenchmarkSegments(b *testing.B) {
	tree := benchRoot(b, 340<<20)
	archive := filepath.Join(b.TempDir(), "root.cpio")
	file, err := os.Create(archive)
	must(b, err)
	records, _, err := plan(tree.Entries(), false)
	must(b, err, writeArchive(&sink{w: file, stopped: context.Background().Err}, records, epoch), file.Close())
	for _, c := range []Compression{Gzip, Zstd} {
		o := Options{Epoch: epoch, Compression: c}
		b.Run(string(c)+"/cold", func(b *testing.B) {
			compareWithPigz(b, archive, func(cache string) []Segment { return Split(tree, byDirectory) }, o, false)
		})
		b.Run(string(c)+"/one-file-changed", func(b *testing.B) {
			n := 0
			compareWithPigz(b, archive, func(string) []Segment {
				n++
				must(b, tree.Add("etc/changed", file0(n), "bench"))
				return Split(tree, byDirectory)
			}, o, true)
		})
		b.Run(string(c)+"/single", func(b *testing.B) {
			single := o
			single.Dedup = true
			compareWithPigz(b, archive, func(string) []Segment { return []Segment{{Entries: tree.Entries()}} }, single, false)
		})
	}
}

func file0(n int) *filetree.Inode {
	return &filetree.Inode{Perm: 0o644, Data: filetree.Bytes(fmt.Appendf(nil, "%d", n))}
}

// compareWithPigz writes what segments returns, each time with an empty cache, or with one that has what was there
// before.
func compareWithPigz(b *testing.B, archive string, segments func(cache string) []Segment, o Options, warm bool) {
	cache := b.TempDir()
	if warm {
		_, err := WriteSegments(context.Background(), io.Discard, segments(cache), o, cache)
		must(b, err)
	}
	var ours, theirs time.Duration
	var stats Stats
	var most float64
	for b.Loop() {
		if !warm {
			cache = b.TempDir()
		}
		s := segments(cache)
		out, err := os.Create(filepath.Join(b.TempDir(), "initramfs"))
		must(b, err)
		forget(b)
		begin := time.Now()
		stats, err = WriteSegments(context.Background(), out, s, o, cache)
		must(b, err, out.Close())
		ours += time.Since(begin)
		most = max(most, peak(b))
		b.StopTimer()
		theirs += foreign(b, "pigz", "-6", "-p2", "-k", "-c", archive)
		b.StartTimer()
	}
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "pigz-x")
	b.ReportMetric(float64(stats.Compressed)/(1<<20), "MiB-out")
	b.ReportMetric(most/(1<<20), "MiB-peak")
}

// BenchmarkGNU is what other ways take: GNU cpio and pigz, one behind the other.
func BenchmarkGNU(b *testing.B) {
	tree := benchRoot(b, 340<<20)
	dir := b.TempDir()
	for _, e := range tree.Entries() {
		name := filepath.Join(dir, e.Path)
		if e.Kind == filetree.Dir {
			must(b, os.MkdirAll(name, 0o755))
			continue
		}
		data, err := e.Data.ReadAll()
		must(b, err, os.WriteFile(name, data, 0o644))
	}
	for b.Loop() {
		foreign(b, "sh", "-c", "cd "+dir+" && find . | cpio -o -H newc --quiet | pigz -6 -p2 >/dev/null")
	}
}
