package artifacts

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// ReportSchema is the version of the report's JSON form.
const ReportSchema = 1

// listed is how many files and duplicates a report names: enough to see where the bytes go.
const listed = 50

// Report says where the bytes of an initramfs go. Sizes are in bytes; a file with several hard links counts
// once, at its first path.
type Report struct {
	Schema      int          `json:"schema"`
	Bytes       int64        `json:"bytes"`   // of all file contents, unpacked
	Entries     int          `json:"entries"` // paths, directories included
	Memory      Memory       `json:"memory"`
	Containers  []Size       `json:"containers"`  // by section/name, the largest first
	Directories []Size       `json:"directories"` // by top-level directory, "." for files of the root itself
	Files       []Size       `json:"files"`       // the largest files
	Duplicates  []Duplicate  `json:"duplicates"`  // those that waste most
	Wasted      int64        `json:"wasted"`      // by all duplicates, also those that are not listed
	Kernel      KernelReport `json:"kernel"`      // filled in by the caller of NewReport
}

// KernelReport says what the initramfs took of the kernel's modules, and which firmware they load.
type KernelReport struct {
	Release        string            `json:"release"` // uname -r; empty for a kernel without modules
	Modules        int               `json:"modules"`
	ModuleBytes    int64             `json:"module_bytes"`
	AllModules     int               `json:"all_modules"` // of the kernel
	AllModuleBytes int64             `json:"all_module_bytes"`
	Firmware       []Firmware        `json:"firmware"`         // by path
	Missing        []MissingFirmware `json:"missing_firmware"` // named by a driver and in no package, by name
}

// Firmware is a file below /lib/firmware.
type Firmware struct {
	Path    string `json:"path"`
	Size    int64  `json:"size"`    // in the initramfs, unpacked
	Package string `json:"package"` // Debian's name
	For     string `json:"for"`     // the module that names it, or the pattern
}

// MissingFirmware is a file that a driver names and no package has.
type MissingFirmware struct {
	Name   string `json:"name"`
	Module string `json:"module"`
}

// Memory is what the initramfs takes of a machine's memory, the kernel itself and what later runs in it not
// counted.
//
// While the kernel unpacks, the archive and what is already unpacked are both in memory, so that at the end
// Compressed + Unpacked are needed. The kernel unpacks into a tmpfs, which may take half of the memory and
// no more (Documentation/filesystems/tmpfs.rst, "size"), so that 2 × Unpacked are needed as well:
//
//	Needed = max(Compressed + Unpacked, 2 × Unpacked)
//
// Unpacked rounds each content up to pages of 4096 bytes and adds 1024 bytes for each entry, about what its
// inode and its name take in the kernel.
type Memory struct {
	Compressed int64 `json:"compressed"`
	Unpacked   int64 `json:"unpacked"`
	Needed     int64 `json:"needed"`
}

// Size is a file, directory or container with its contents' sum.
type Size struct {
	Name    string `json:"name"`
	Bytes   int64  `json:"bytes"`
	Entries int    `json:"entries"` // 1 for a file
}

// Duplicate is one content that stands in several files that are not links of each other.
type Duplicate struct {
	Bytes  int64    `json:"bytes"`  // of the content
	Wasted int64    `json:"wasted"` // of all copies but one
	Paths  []string `json:"paths"`  // sorted as in the tree
}

const (
	pageSize  = 4096
	entrySize = 1024
)

// NewReport measures the tree of an initramfs that is compressed bytes long. Files of equal size are read to
// find duplicates; an error is one of reading, or ctx's.
func NewReport(ctx context.Context, t *filetree.Tree, compressed int64) (*Report, error) {
	entries := t.Entries()
	r := &Report{Schema: ReportSchema, Entries: len(entries), Memory: Memory{Compressed: compressed}}
	containers, directories := map[string]Size{}, map[string]Size{}
	first := firstLinks(entries)
	files := []Size{}
	for i, e := range entries {
		var size int64
		if first[e.Inode] == i {
			size = e.Data.Size()
		}
		r.Bytes += size
		r.Memory.Unpacked += entrySize + (size+pageSize-1)/pageSize*pageSize
		add(containers, container(e.Path), size)
		add(directories, topDirectory(e), size)
		if size > 0 {
			files = append(files, Size{Name: e.Path, Bytes: size, Entries: 1})
		}
	}
	r.Memory.Needed = r.Memory.Unpacked + max(compressed, r.Memory.Unpacked)
	r.Containers, r.Directories = largest(containers), largest(directories)
	sortSizes(files)
	r.Files = files[:min(len(files), listed)]
	return r, r.findDuplicates(ctx, entries, first)
}

// firstLinks gives for each file the index of its first path. Only a Regular has content, but an Inode's
// other kinds are listed alike: their Data is empty.
func firstLinks(entries []filetree.Entry) map[*filetree.Inode]int {
	first := make(map[*filetree.Inode]int, len(entries))
	for i, e := range entries {
		if _, ok := first[e.Inode]; !ok {
			first[e.Inode] = i
		}
	}
	return first
}

// container returns section/name of what stands in containers/section/name, else "".
func container(p string) string {
	parts := strings.SplitN(p, "/", 4)
	if len(parts) < 3 || parts[0] != "containers" {
		return ""
	}
	return parts[1] + "/" + parts[2]
}

// topDirectory is the first component of the entry's path, "." for what is no directory there.
func topDirectory(e filetree.Entry) string {
	top, _, below := strings.Cut(e.Path, "/")
	if !below && e.Kind != filetree.Dir {
		return "."
	}
	return top
}

func add(sums map[string]Size, name string, bytes int64) {
	if name == "" {
		return
	}
	s := sums[name]
	sums[name] = Size{Name: name, Bytes: s.Bytes + bytes, Entries: s.Entries + 1}
}

func largest(sums map[string]Size) []Size {
	all := []Size{} // an empty list, not null, in the JSON
	for _, s := range sums {
		all = append(all, s)
	}
	sortSizes(all)
	return all
}

func sortSizes(s []Size) {
	slices.SortFunc(s, func(a, b Size) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Name, b.Name))
	})
}

// content identifies equal contents.
type content struct {
	size int64
	sum  [sha256.Size]byte
}

// findDuplicates fills Duplicates and Wasted. Only files that share their size are read.
func (r *Report) findDuplicates(ctx context.Context, entries []filetree.Entry, first map[*filetree.Inode]int) error {
	bySize := map[int64]int{}
	for i, e := range entries {
		if first[e.Inode] == i {
			bySize[e.Data.Size()]++
		}
	}
	copies := map[content][]string{}
	for i, e := range entries {
		size := e.Data.Size()
		if first[e.Inode] != i || size == 0 || bySize[size] < 2 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		sum, err := hashBlob(e.Data)
		if err != nil {
			return fmt.Errorf("report: %s: %w", e.Path, err)
		}
		key := content{size: size, sum: sum}
		copies[key] = append(copies[key], e.Path)
	}
	r.listDuplicates(copies)
	return nil
}

func (r *Report) listDuplicates(copies map[content][]string) {
	r.Duplicates = []Duplicate{}
	for c, paths := range copies {
		if len(paths) < 2 {
			continue
		}
		d := Duplicate{Bytes: c.size, Wasted: c.size * int64(len(paths)-1), Paths: paths}
		r.Wasted += d.Wasted
		r.Duplicates = append(r.Duplicates, d)
	}
	slices.SortFunc(r.Duplicates, func(a, b Duplicate) int {
		return cmp.Or(cmp.Compare(b.Wasted, a.Wasted), strings.Compare(a.Paths[0], b.Paths[0]))
	})
	r.Duplicates = r.Duplicates[:min(len(r.Duplicates), listed)]
}

func hashBlob(b filetree.Blob) ([sha256.Size]byte, error) {
	f, err := b.Open()
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), err
}
