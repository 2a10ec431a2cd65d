package modules

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tarOf is a tar with these files. A name that ends in "/" is a directory.
func tarOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}
		if strings.HasSuffix(name, "/") {
			h.Mode, h.Typeflag = 0o755, tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const release = "6.12.1-toy"

// below puts names below the kernel's module directory, as internal/kernel's tars have it.
func below(files map[string]string) map[string]string {
	out := map[string]string{}
	for name, text := range files {
		out["./lib/modules/"+release+"/"+name] = text
	}
	return out
}

// read makes an index of files below the kernel's module directory.
func read(t testing.TB, files map[string]string) *Index {
	t.Helper()
	x, err := ReadTar(bytes.NewReader(tarOf(t, below(files))))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// tool runs a foreign program, which has to be there and to succeed.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		file := filepath.Join(dir, name)
		if _, err := os.Stat(file); err != nil {
			continue
		}
		var stderr strings.Builder
		cmd := exec.Command(file, args...)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, &stderr)
		}
		return string(out)
	}
	t.Fatalf("this test needs %s", name)
	return ""
}

// write puts files below dir. A text that begins with "-> " is a symlink.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// toy is a module that kmod takes for one, and that no kernel would.
type toy struct {
	exports []string
	needs   []string // symbols
	info    []string // KEY=value of .modinfo
}

// ko is the toy as an object file: the sections that kmod looks at, and nothing in them to run.
func (m toy) ko() []byte {
	names := []byte{0}
	symbols := []elf.Sym64{{}}
	for _, s := range m.needs {
		symbols = append(symbols, elf.Sym64{Name: uint32(len(names)), Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_NOTYPE)})
		names = append(append(names, s...), 0)
	}
	var symtab bytes.Buffer
	_ = binary.Write(&symtab, binary.LittleEndian, symbols) // a Buffer takes everything
	sections := []struct {
		name string
		kind elf.SectionType
		data []byte
	}{
		{"", elf.SHT_NULL, nil},
		{".modinfo", elf.SHT_PROGBITS, terminated(m.info)},
		{"__ksymtab_strings", elf.SHT_PROGBITS, terminated(m.exports)},
		{".symtab", elf.SHT_SYMTAB, symtab.Bytes()},
		{".strtab", elf.SHT_STRTAB, names},
		{".shstrtab", elf.SHT_STRTAB, nil},
	}
	var sectionNames, data bytes.Buffer
	var headers []elf.Section64
	for i, s := range sections {
		h := elf.Section64{Name: uint32(sectionNames.Len()), Type: uint32(s.kind), Addralign: 1}
		sectionNames.WriteString(s.name + "\x00")
		if s.kind == elf.SHT_SYMTAB {
			h.Link, h.Info, h.Entsize = uint32(i+1), 1, elf.Sym64Size
		}
		if i == len(sections)-1 {
			s.data = sectionNames.Bytes()
		}
		h.Off, h.Size = uint64(64+data.Len()), uint64(len(s.data))
		data.Write(s.data)
		headers = append(headers, h)
	}
	file := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Shoff: uint64(64 + data.Len()), Ehsize: 64, Shentsize: 64,
		Shnum: uint16(len(sections)), Shstrndx: uint16(len(sections) - 1),
	}
	var out bytes.Buffer
	_ = binary.Write(&out, binary.LittleEndian, file)
	out.Write(data.Bytes())
	_ = binary.Write(&out, binary.LittleEndian, headers)
	return out.Bytes()
}

func terminated(list []string) []byte {
	var b []byte
	for _, s := range list {
		b = append(append(b, s...), 0)
	}
	return b
}
