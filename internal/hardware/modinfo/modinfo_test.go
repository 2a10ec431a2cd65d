package modinfo

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"
)

// object is an ELF file with a section .modinfo that holds the fields.
func object(fields ...string) []byte {
	const header, sectionHeader = 64, 64
	info := strings.Join(fields, "\x00") + "\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	le := binary.LittleEndian
	b.Write(le.AppendUint16(nil, 1))  // relocatable
	b.Write(le.AppendUint16(nil, 62)) // x86-64
	b.Write(le.AppendUint32(nil, 1))
	b.Write(make([]byte, 16)) // entry, program headers
	b.Write(le.AppendUint64(nil, uint64(header+len(info)+len(names))))
	b.Write(make([]byte, 4))
	for _, v := range []uint16{header, 0, 0, sectionHeader, 3, 2} {
		b.Write(le.AppendUint16(nil, v))
	}
	b.WriteString(info + names)
	b.Write(make([]byte, sectionHeader))
	for _, s := range []struct {
		name, kind   uint32
		offset, size int
	}{{1, 1, header, len(info)}, {10, 3, header + len(info), len(names)}} {
		b.Write(le.AppendUint32(le.AppendUint32(nil, s.name), s.kind))
		b.Write(make([]byte, 16))
		b.Write(le.AppendUint64(le.AppendUint64(nil, uint64(s.offset)), uint64(s.size)))
		b.Write(make([]byte, 24))
	}
	return b.Bytes()
}

func compressed(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type file struct {
	name string
	data []byte
}

func archive(t *testing.T, files []file) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

const dir = "./usr/lib/modules/6.12.57+deb13-amd64/"

func TestReadTar(t *testing.T) {
	got, err := ReadTar(archive(t, []file{
		{dir + "kernel/drivers/net/bnx-t.ko.xz", compressed(t, object("license=GPL", "alias=pci:v000014E4d*", "firmware=a.fw", "alias=pci:v2", "firmware=b.fw"))},
		{dir + "kernel/lib/crc8.ko", object("license=GPL")},
		{dir + "modules.builtin", []byte("kernel/drivers/nvme/host/nvme-core.ko\nkernel/drivers/virtio/virtio.ko\n")},
		{dir + "modules.builtin.modinfo", []byte("nvme_core.license=GPL\x00nvme_core.alias=pci:v*bc01sc08i02*\x00nvme_core.file=drivers/nvme/host/nvme-core\x00printk.parm=time:bool\x00")},
		{dir + "modules.order", []byte("x")},
		{"./boot/vmlinuz", []byte("x")},
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := &Kernel{Release: "6.12.57+deb13-amd64", Modules: []Module{
		{Path: "kernel/drivers/net/bnx-t", Aliases: []string{"pci:v000014E4d*", "pci:v2"}, Firmware: []string{"a.fw", "b.fw"}},
		{Path: "kernel/drivers/nvme/host/nvme-core", Builtin: true, Aliases: []string{"pci:v*bc01sc08i02*"}},
		{Path: "kernel/drivers/virtio/virtio", Builtin: true},
		{Path: "kernel/lib/crc8"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if name := got.Modules[0].Name(); name != "bnx_t" {
		t.Errorf("got %s, want bnx_t", name)
	}
}

func TestReadTarRefuses(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files []file
		want  string
	}{
		{"no module", []file{{dir + "kernel/a.ko", []byte("text")}}, "kernel/a.ko"},
		{"not compressed", []file{{dir + "kernel/a.ko.xz", object()}}, "kernel/a.ko.xz"},
		{"two kernels", []file{{dir + "kernel/a.ko", object()}, {"lib/modules/6.6/kernel/a.ko", object()}}, "of one kernel"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := ReadTar(archive(t, tc.files)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
	if _, err := ReadTar(strings.NewReader(strings.Repeat("no tar", 200))); err == nil {
		t.Error("what is no tar was read")
	}
}

func TestWants(t *testing.T) {
	for name, want := range map[string]bool{
		"lib/modules/6.12/kernel/a.ko": true, "/usr/lib/modules/6.12/modules.builtin": true, "lib/modules/6.12/modules.dep": false,
		"lib/firmware/a.ko": false, "lib/modules/a.ko": false,
	} {
		if got := Wants(name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func FuzzAdd(f *testing.F) {
	f.Add(object("alias=pci:v1", "firmware=x"), "a.alias=x\x00a.file=drivers/a\x00")
	f.Fuzz(func(t *testing.T, module []byte, builtin string) {
		if len(module) > 4096 || len(builtin) > 4096 {
			return
		}
		var r Reader
		_ = r.Add("lib/modules/6/kernel/a.ko", bytes.NewReader(module)) // any answer but a crash
		if err := r.Add("lib/modules/6/modules.builtin.modinfo", strings.NewReader(builtin)); err != nil {
			t.Fatal(err)
		}
		for _, m := range r.Kernel().Modules {
			if m.Path == "" {
				t.Error("a module without a path")
			}
		}
	})
}
