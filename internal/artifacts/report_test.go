package artifacts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

func TestReport(t *testing.T) {
	got, err := NewReport(t.Context(), tree(t,
		"init=1234567",
		"bin=>usr/bin",
		"usr/bin/busybox="+strings.Repeat("b", 5000),
		"usr/bin/sh->usr/bin/busybox",
		"etc/a=same", "etc/b=same", "etc/c=diff", "etc/empty=", "etc/empty2=",
		"containers/services/ntpd/lower/x=same",
		"containers/services/ntpd/config.json={}",
		"containers/onboot/000-udev/config.json={}",
	), 3000)
	if err != nil {
		t.Fatal(err)
	}
	const entries = 22
	unpacked := int64(entries*1024 + 2*4096 + 7*4096)
	want := &Report{
		Schema:  1,
		Bytes:   7 + 5000 + 4*4 + 2*2,
		Entries: entries,
		Memory:  Memory{Compressed: 3000, Unpacked: unpacked, Needed: 2 * unpacked},
		Containers: []Size{
			{Name: "services/ntpd", Bytes: 6, Entries: 4},
			{Name: "onboot/000-udev", Bytes: 2, Entries: 2},
		},
		Directories: []Size{
			{Name: "usr", Bytes: 5000, Entries: 4},
			{Name: "etc", Bytes: 12, Entries: 6},
			{Name: "containers", Bytes: 8, Entries: 9},
			{Name: ".", Bytes: 7, Entries: 3},
		},
		Files: []Size{
			{Name: "usr/bin/busybox", Bytes: 5000, Entries: 1},
			{Name: "init", Bytes: 7, Entries: 1},
			{Name: "containers/services/ntpd/lower/x", Bytes: 4, Entries: 1},
			{Name: "etc/a", Bytes: 4, Entries: 1},
			{Name: "etc/b", Bytes: 4, Entries: 1},
			{Name: "etc/c", Bytes: 4, Entries: 1},
			{Name: "containers/onboot/000-udev/config.json", Bytes: 2, Entries: 1},
			{Name: "containers/services/ntpd/config.json", Bytes: 2, Entries: 1},
		},
		Duplicates: []Duplicate{
			{Bytes: 4, Wasted: 8, Paths: []string{"containers/services/ntpd/lower/x", "etc/a", "etc/b"}},
			{Bytes: 2, Wasted: 2, Paths: []string{"containers/onboot/000-udev/config.json", "containers/services/ntpd/config.json"}},
		},
		Wasted: 10,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
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
	r, err := NewReport(t.Context(), filetree.New(), 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Memory{Compressed: 1_000_000, Unpacked: 1024, Needed: 1_001_024}); r.Memory != want {
		t.Errorf("got %+v, want %+v", r.Memory, want)
	}
}

func TestReportIsBounded(t *testing.T) {
	var files []string
	for i := range 120 {
		files = append(files, fmt.Sprintf("d/%03d=%d", i, i/2))
	}
	r, err := NewReport(t.Context(), tree(t, files...), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Files) != 50 || len(r.Duplicates) != 50 || r.Wasted != 10+2*50 {
		t.Errorf("got %d files, %d duplicates, %d wasted", len(r.Files), len(r.Duplicates), r.Wasted)
	}
}

func TestReportReadsOnlyEqualSizes(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	lone := tree(t, "a=1")
	if err := lone.Add("b", &filetree.Inode{Data: filetree.FileRange(absent, 0, 9, [32]byte{})}, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := NewReport(t.Context(), lone, 0); err != nil {
		t.Errorf("a size that occurs once was read: %v", err)
	}
	if err := lone.Add("c", &filetree.Inode{Data: filetree.Bytes(make([]byte, 9))}, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := NewReport(t.Context(), lone, 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want the failure to read b", err)
	}
}

func TestReportNoticesChangedSpool(t *testing.T) {
	spool := filepath.Join(t.TempDir(), "spool")
	if err := os.WriteFile(spool, bytes.Repeat([]byte("x"), 9), 0o644); err != nil {
		t.Fatal(err)
	}
	tr := tree(t, "a=123456789")
	blob := filetree.FileRange(spool, 0, 9, sha256.Sum256([]byte("yyyyyyyyy")))
	if err := tr.Add("b", &filetree.Inode{Data: blob}, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := NewReport(t.Context(), tr, 0); err == nil || !strings.Contains(err.Error(), "b: ") {
		t.Errorf("got %v, want an error that names b", err)
	}
}

func TestReportIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewReport(ctx, tree(t, "a=1", "b=2"), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
