package artifacts

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// tree makes a tree of name → content; a name with -> is a hard link, one with => a symlink.
func tree(t *testing.T, files ...string) *filetree.Tree {
	t.Helper()
	tr := filetree.New()
	for _, f := range files {
		var err error
		if name, target, ok := strings.Cut(f, "->"); ok {
			err = tr.Link(name, target, "test")
		} else if name, target, ok := strings.Cut(f, "=>"); ok {
			err = tr.Add(name, &filetree.Inode{Kind: filetree.Symlink, Target: target}, "test")
		} else {
			name, data, _ := strings.Cut(f, "=")
			err = tr.Add(name, &filetree.Inode{Data: filetree.Bytes([]byte(data))}, "test")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// archive has a segment for each tree; a root that is in an earlier one is left out.
func archive(compressed int64, trees ...*filetree.Tree) Archive {
	a := Archive{Compression: "zstd", Level: 2, Bytes: 2 * compressed, Compressed: compressed, Linked: 1 << 20}
	for i, t := range trees {
		s := Segment{Name: fmt.Sprintf("segment %d", i), Content: t.Entries()}
		if i > 0 {
			s.Content = s.Content[1:]
		}
		s.Entries = len(s.Content)
		a.Segments = append(a.Segments, s)
	}
	return a
}

func TestReport(t *testing.T) {
	main := tree(t,
		"init=1234567",
		"bin=>usr/bin",
		"usr/bin/busybox="+strings.Repeat("b", 5000),
		"usr/bin/sh->usr/bin/busybox",
		"etc/a=same", "etc/b=same", "etc/c=diff", "etc/empty=", "etc/empty2=",
		"lib/modules/6.12/a.ko.xz=mod", "lib/firmware/f=firmw", "lib/libc.so.6=so",
	)
	if err := main.Add("etc/private", &filetree.Inode{Perm: 0o600, Data: filetree.Bytes([]byte("same"))}, "test"); err != nil {
		t.Fatal(err)
	}
	if err := main.Add("usr/bin/tool", &filetree.Inode{Perm: 0o755, Data: filetree.Bytes([]byte("tool!"))}, "test"); err != nil {
		t.Fatal(err)
	}
	containers := tree(t,
		"containers/services/ntpd/lower/x=same",
		"containers/services/ntpd/config.json={}",
		"containers/onboot/000-udev/config.json={}",
	)
	a := archive(3000, main, containers)
	const entries = 22 + 9
	// Pages: init, busybox two, same three times, diff, module, firmware, library, tool, {}.
	const pages = 1 + 2 + 3 + 1 + 1 + 1 + 1 + 1 + 1
	unpacked := int64(entries*1024 + pages*4096)
	want := &Report{
		Schema:  3,
		Bytes:   7 + 5000 + 4*5 + 3 + 5 + 2 + 5 + 2*2,
		Entries: entries,
		Memory:  Memory{Compressed: 3000, Unpacked: unpacked, Needed: 2 * unpacked},
		Archive: a,
		Containers: []Size{
			{Name: "services/ntpd", Bytes: 6, Entries: 4},
			{Name: "onboot/000-udev", Bytes: 2, Entries: 2},
		},
		Directories: []Size{
			{Name: "usr", Bytes: 5005, Entries: 5},
			{Name: "etc", Bytes: 16, Entries: 7},
			{Name: "lib", Bytes: 10, Entries: 7},
			{Name: "containers", Bytes: 8, Entries: 9},
			{Name: ".", Bytes: 7, Entries: 3},
		},
		Types: []Size{
			{Name: "other file", Bytes: 5031, Entries: 12},
			{Name: "firmware", Bytes: 5, Entries: 1},
			{Name: "program", Bytes: 5, Entries: 1},
			{Name: "kernel module", Bytes: 3, Entries: 1},
			{Name: "shared library", Bytes: 2, Entries: 1},
			{Name: "directory", Entries: 14},
			{Name: "symlink", Entries: 1},
		},
		Places: []Place{
			{Size: Size{Name: ".", Bytes: 5038, Entries: 25}, Directories: []Size{
				{Name: "usr/bin", Bytes: 5005, Entries: 4},
				{Name: "etc", Bytes: 16, Entries: 7},
				{Name: ".", Bytes: 7, Entries: 3},
				{Name: "lib/firmware", Bytes: 5, Entries: 2},
				{Name: "lib/modules", Bytes: 3, Entries: 3},
				{Name: "lib", Bytes: 2, Entries: 2},
				{Name: "containers", Entries: 1},
				{Name: "containers/onboot", Entries: 1},
				{Name: "containers/services", Entries: 1},
				{Name: "usr", Entries: 1},
			}},
			{Size: Size{Name: "services/ntpd", Bytes: 6, Entries: 4}, Directories: []Size{{Name: ".", Bytes: 6, Entries: 4}}},
			{Size: Size{Name: "onboot/000-udev", Bytes: 2, Entries: 2}, Directories: []Size{{Name: ".", Bytes: 2, Entries: 2}}},
		},
		Files: []Size{
			{Name: "usr/bin/busybox", Bytes: 5000, Entries: 1},
			{Name: "init", Bytes: 7, Entries: 1},
			{Name: "lib/firmware/f", Bytes: 5, Entries: 1},
			{Name: "usr/bin/tool", Bytes: 5, Entries: 1},
			{Name: "containers/services/ntpd/lower/x", Bytes: 4, Entries: 1},
			{Name: "etc/a", Bytes: 4, Entries: 1},
			{Name: "etc/b", Bytes: 4, Entries: 1},
			{Name: "etc/c", Bytes: 4, Entries: 1},
			{Name: "etc/private", Bytes: 4, Entries: 1},
			{Name: "lib/modules/6.12/a.ko.xz", Bytes: 3, Entries: 1},
			{Name: "containers/onboot/000-udev/config.json", Bytes: 2, Entries: 1},
			{Name: "containers/services/ntpd/config.json", Bytes: 2, Entries: 1},
			{Name: "lib/libc.so.6", Bytes: 2, Entries: 1},
		},
		Duplicates:       []Duplicate{{Bytes: 4, Wasted: 8, Paths: []string{"etc/a", "etc/private", "containers/services/ntpd/lower/x"}}},
		Wasted:           8,
		LostCapabilities: []LostCapabilities{},
	}
	if diff := cmp.Diff(want, NewReport(a), cmp.Comparer(func(a, b *filetree.Inode) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReportText(t *testing.T) {
	r := NewReport(archive(3<<20, tree(t, "containers/services/ntpd/lower/x="+strings.Repeat("x", 2<<20)), tree(t, "y="+strings.Repeat("x", 2<<20))))
	r.LostCapabilities = []LostCapabilities{{Path: "bin/ping", NeededBy: []string{"services/ntpd"}}, {Path: "bin/other"}}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"initramfs: 3.0 MiB, zstd level 2; unpacked 4.0 MiB in 7 entries\n",
		"not counted: 8.0 MiB\n",
		"  segment 1\n", "  services/ntpd\n", "  containers/services/ntpd/lower/x\n", "  other file\n",
		"hard links save 1.0 MiB\n", "waste 2.0 MiB\n", "  containers/services/ntpd/lower/x, y\n",
		"capabilities lost: bin/ping (needed by services/ntpd)\n", "capabilities lost: bin/other (nobody there needs them)\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, text.String())
		}
	}
}

// The keys are what people's programs read.
func TestKernelReportInJSON(t *testing.T) {
	const want = `{"release":"6.12.1","modules":2,"module_bytes":200,"all_modules":9,"all_module_bytes":900,` +
		`"firmware":[{"path":"a.bin.xz","size":4,"package":"firmware-a","for":"ice"}],"missing_firmware":[{"name":"gone.bin","module":"bnx2"}]}`
	r := Report{Kernel: KernelReport{
		Release: "6.12.1", Modules: 2, ModuleBytes: 200, AllModules: 9, AllModuleBytes: 900,
		Firmware: []Firmware{{Path: "a.bin.xz", Size: 4, Package: "firmware-a", For: "ice"}}, Missing: []MissingFirmware{{Name: "gone.bin", Module: "bnx2"}},
	}}
	data, err := json.Marshal(r)
	var keys map[string]json.RawMessage
	if err := errors.Join(err, json.Unmarshal(data, &keys)); err != nil {
		t.Fatal(err)
	}
	if got := string(keys["kernel"]); got != want {
		t.Errorf("got %s", got)
	}
}

func TestReportMemoryOfIncompressible(t *testing.T) {
	r := NewReport(archive(1_000_000, filetree.New()))
	if want := (Memory{Compressed: 1_000_000, Unpacked: 1024, Needed: 1_001_024}); r.Memory != want {
		t.Errorf("got %+v, want %+v", r.Memory, want)
	}
}

func TestReportPlaces(t *testing.T) {
	const root = "containers/services/docker/"
	files := []string{root + "config.json=12", root + "rootfs/usr/lib/modules/x=123", root + "rootfs/usr/bin/y=1234", root + "rootfs/lower/z=1"}
	for i := range 60 {
		files = append(files, fmt.Sprintf("%slower/d%02d/e/f=%d", root, i, 10+i))
	}
	places := NewReport(archive(0, tree(t, files...))).Places
	i := slices.IndexFunc(places, func(p Place) bool { return p.Name == "services/docker" })
	if i != 0 || len(places) != 2 || places[1].Name != RootPlace {
		t.Fatalf("got %+v", places)
	}
	got := places[0]
	want := []Size{{Name: "usr/bin", Bytes: 4, Entries: 2}, {Name: "usr/lib/modules", Bytes: 3, Entries: 2}, {Name: ".", Bytes: 2, Entries: 4}}
	if diff := cmp.Diff(want, got.Directories[:3]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	sum := got.Rest.Bytes
	for _, d := range got.Directories {
		sum += d.Bytes
	}
	if got.Bytes != 130 || sum != got.Bytes || len(got.Directories) != 50 || got.Rest.Entries == 0 {
		t.Errorf("got %d bytes, %d listed and left out, %d directories, rest %+v", got.Bytes, sum, len(got.Directories), got.Rest)
	}
}

func TestReportIsBounded(t *testing.T) {
	var files []string
	for i := range 120 {
		files = append(files, fmt.Sprintf("d/%03d=%d", i, i))
	}
	var moved []string
	for _, f := range files {
		moved = append(moved, "e"+f[1:])
	}
	r := NewReport(archive(0, tree(t, files...), tree(t, moved...)))
	if len(r.Files) != 50 || len(r.Duplicates) != 50 || r.Wasted != 10+2*90+3*20 {
		t.Errorf("got %d files, %d duplicates, %d wasted", len(r.Files), len(r.Duplicates), r.Wasted)
	}
}
