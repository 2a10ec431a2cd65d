package artifacts

import (
	"cmp"
	"crypto/sha256"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// ReportSchema is the version of the report's JSON form.
const ReportSchema = 3

// listed is how many files and duplicates a report names, and directories of one place: enough to see where the bytes go.
const listed = 50

// RootPlace is the name of what is in no container: HookOS itself.
const RootPlace = "."

// Report says where the bytes of an initramfs go. Sizes are in bytes; a file with several hard links counts
// once, at its first path. What the caller of NewReport fills in says so.
type Report struct {
	Schema      int          `json:"schema"`
	Bytes       int64        `json:"bytes"`   // of all file contents, unpacked
	Entries     int          `json:"entries"` // paths, directories included
	Memory      Memory       `json:"memory"`
	Archive     Archive      `json:"archive"`
	Containers  []Size       `json:"containers"`  // by section/name, the largest first
	Directories []Size       `json:"directories"` // by top-level directory, "." for files of the root itself
	Types       []Size       `json:"types"`       // by what the files are
	Places      []Place      `json:"places"`      // by container, and in it by directory; the largest first. Since schema 3
	Files       []Size       `json:"files"`       // the largest files
	Duplicates  []Duplicate  `json:"duplicates"`  // those that waste most
	Wasted      int64        `json:"wasted"`      // by all duplicates, also those that are not listed
	Kernel      KernelReport `json:"kernel"`      // filled in by the caller

	// LostCapabilities are files whose capabilities(7) the initramfs cannot hold; filled in by the caller.
	LostCapabilities []LostCapabilities `json:"lost_capabilities"`
}

// Archive says how the initramfs was written.
type Archive struct {
	Compression string    `json:"compression"` // gzip or zstd
	Level       int       `json:"level"`
	Bytes       int64     `json:"bytes"` // of the cpio archives, before they were compressed
	Compressed  int64     `json:"compressed"`
	Linked      int64     `json:"linked"`   // bytes of files that became hard links of equal ones
	Segments    []Segment `json:"segments"` // in the order of the file
}

// Segment is one of the archives that the initramfs is made of.
type Segment struct {
	Name       string           `json:"name"` // such as "kernel", "image NAME of services/ntp"
	Entries    int              `json:"entries"`
	Bytes      int64            `json:"bytes"` // of the cpio archive
	Compressed int64            `json:"compressed"`
	Content    []filetree.Entry `json:"-"` // what it holds; all segments together are the tree
}

// LostCapabilities is a file whose capabilities the initramfs cannot hold.
type LostCapabilities struct {
	Path     string   `json:"path"`
	NeededBy []string `json:"needed_by"` // containers that do not run as root, so that it fails there
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
// inode and its name take in the kernel. Equal files that the archive holds once count once.
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

// Place is a container, or RootPlace for everything else, with the directories of its root file system. Their names are
// paths in it, of two components and a leading usr ("usr/lib/modules", "opt/cni"), "." for the files of the root and for
// what the container has besides its root file system.
type Place struct {
	Size
	Directories []Size `json:"directories"` // the largest first, at most 50
	Rest        Size   `json:"rest"`        // the sum of those that are left out, without a name
}

// Duplicate is one content that stands in several files that are no links of each other in the archive either:
// in different segments, or with different modes or owners.
type Duplicate struct {
	Bytes  int64    `json:"bytes"`  // of the content
	Wasted int64    `json:"wasted"` // of all copies but one
	Paths  []string `json:"paths"`  // one of each copy, in the order of the archive
}

const (
	pageSize  = 4096
	entrySize = 1024
)

// NewReport measures an initramfs by what its segments hold.
func NewReport(a Archive) *Report {
	r := &Report{Schema: ReportSchema, Memory: Memory{Compressed: a.Compressed}, Archive: a, LostCapabilities: []LostCapabilities{}}
	containers, directories, types := map[string]Size{}, map[string]Size{}, map[string]Size{}
	places := map[string]map[string]Size{}
	files := []Size{}
	copies := map[content][]string{}
	for _, s := range a.Segments {
		first, kept := map[*filetree.Inode]bool{}, map[identity]bool{}
		for _, e := range s.Content {
			size := int64(0) // of what an earlier path does not have
			if !first[e.Inode] {
				size = e.Data.Size()
			}
			first[e.Inode] = true
			stored := size // of what the archive does not have as another file
			if size > 0 {
				files = append(files, Size{Name: e.Path, Bytes: size, Entries: 1})
				id := identify(e.Inode)
				if kept[id] {
					stored = 0
				} else {
					kept[id] = true
					copies[id.content] = append(copies[id.content], e.Path)
				}
			}
			r.Entries++
			r.Bytes += size
			r.Memory.Unpacked += entrySize + (stored+pageSize-1)/pageSize*pageSize
			add(containers, container(e.Path), size)
			add(directories, topDirectory(e), size)
			add(types, typeOf(e), size)
			addPlace(places, e, size)
		}
	}
	r.Memory.Needed = r.Memory.Unpacked + max(a.Compressed, r.Memory.Unpacked)
	r.Containers, r.Directories, r.Types = largest(containers), largest(directories), largest(types)
	r.Places = listPlaces(places)
	sortSizes(files)
	r.Files = files[:min(len(files), listed)]
	r.listDuplicates(copies)
	return r
}

// content identifies equal contents.
type content struct {
	size int64
	sum  [sha256.Size]byte
}

// identity is what files of one segment have in common when the archive holds them once.
type identity struct {
	content
	perm, uid, gid uint32
}

func identify(n *filetree.Inode) identity {
	return identity{content{n.Data.Size(), n.Data.SHA256()}, n.Perm, n.UID, n.GID}
}

// typeOf says what an entry is, as far as its name and mode tell.
func typeOf(e filetree.Entry) string {
	const anyExec = 0o111
	switch {
	case e.Kind != filetree.Regular:
		return e.Kind.String()
	case moduleName.MatchString(e.Path):
		return "kernel module"
	case firmwareName.MatchString(e.Path):
		return "firmware"
	case libraryName.MatchString(e.Path):
		return "shared library"
	case e.Perm&anyExec != 0:
		return "program"
	}
	return "other file"
}

var (
	moduleName   = regexp.MustCompile(`(^|/)lib/modules/.*\.ko(\.xz|\.zst|\.gz)?$`)
	firmwareName = regexp.MustCompile(`(^|/)lib/firmware/`)
	libraryName  = regexp.MustCompile(`\.so(\.[0-9.]+)?$`)
)

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

// addPlace counts an entry in its place and, there, in its directory.
func addPlace(places map[string]map[string]Size, e filetree.Entry, bytes int64) {
	name, inside := RootPlace, e.Path
	if c := container(e.Path); c != "" {
		name = c
		inside = strings.Trim(strings.TrimPrefix(e.Path, "containers/"+c), "/")
		for _, root := range []string{"lower", "rootfs"} { // where linuxkit puts a root file system
			if below, ok := strings.CutPrefix(inside+"/", root+"/"); ok {
				inside = strings.TrimSuffix(below, "/")
				break
			}
		}
	}
	if places[name] == nil {
		places[name] = map[string]Size{}
	}
	add(places[name], directoryOf(inside, e.Kind == filetree.Dir), bytes)
}

// directoryOf is the directory that counts for a path: two components, after a leading usr.
func directoryOf(p string, isDir bool) string {
	if !isDir {
		p = path.Dir(p)
	}
	if p == "" {
		return "."
	}
	parts := strings.Split(p, "/")
	depth := 2
	if parts[0] == "usr" {
		depth = 3
	}
	return strings.Join(parts[:min(len(parts), depth)], "/")
}

// listPlaces sums places up, and the small directories of each.
func listPlaces(places map[string]map[string]Size) []Place {
	all := []Place{}
	for name, directories := range places {
		p := Place{Size: Size{Name: name}, Directories: largest(directories)}
		for i, d := range p.Directories {
			p.Bytes, p.Entries = p.Bytes+d.Bytes, p.Entries+d.Entries
			if i >= listed {
				p.Rest.Bytes, p.Rest.Entries = p.Rest.Bytes+d.Bytes, p.Rest.Entries+d.Entries
			}
		}
		p.Directories = p.Directories[:min(len(p.Directories), listed)]
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Place) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Name, b.Name))
	})
	return all
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
