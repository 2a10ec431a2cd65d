package kbuild

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestModules(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  map[string][]string
	}{
		{"a module", map[string]string{"d/Makefile": "obj-$(CONFIG_BE2NET) += be2net.o\nbe2net-y := be_main.o be_cmds.o\nbe2net-$(CONFIG_BE2NET_ROCE) += be_roce.o\n"},
			map[string][]string{"d/be2net": {"BE2NET"}}},
		{"Kbuild, braces, another operator", map[string]string{"d/Kbuild": "obj-${CONFIG_USB4} := thunder-bolt.o\nccflags-y := -I$(src)\n"},
			map[string][]string{"d/thunder_bolt": {"USB4"}}},
		{"several on joined lines", map[string]string{"d/Makefile": "obj-$(CONFIG_X) += a.o \\\n\tb.o # c.o\n"},
			map[string][]string{"d/a": {"X"}, "d/b": {"X"}}},
		{"several symbols for one", map[string]string{"d/Makefile": "obj-$(CONFIG_A) += l.o\nobj-$(CONFIG_B) += l.o b.o\n"},
			map[string][]string{"d/l": {"A", "B"}, "d/b": {"B"}}},
		{"the directory's symbol", map[string]string{
			"d/Makefile": "obj-$(CONFIG_D) += sub/\nobj-y += always/\n", "d/sub/Makefile": "obj-m += x.o\n", "d/always/Makefile": "obj-y += y.o\n"},
			map[string][]string{"d/sub/x": {"D"}}},
		{"an object in a directory below", map[string]string{"d/Makefile": "obj-$(CONFIG_X) += sub/x.o\n"}, map[string][]string{"d/sub/x": {"X"}}},
		{"conditions", map[string]string{"d/Makefile": "ifeq ($(CONFIG_A),y)\nobj-m += a.o\nelse\nobj-m += not.o\nendif\n" +
			"ifdef CONFIG_B\nobj-y += b.o\nendif\nifneq ($(CONFIG_C),)\nobj-$(CONFIG_D) += d.o\nendif\nifneq ($(CONFIG_E),y)\nobj-m += e.o\nendif\n"},
			map[string][]string{"d/a": {"A"}, "d/b": {"B"}, "d/d": {"D"}}},
		{"no more than another", map[string]string{"d/Makefile": "obj-$(subst y,$(CONFIG_L2TP),$(CONFIG_L2TP_ETH)) += l2tp_eth.o\n"},
			map[string][]string{"d/l2tp_eth": {"L2TP_ETH"}}},
		{"a list by another name", map[string]string{"d/Makefile": "more-$(CONFIG_G) += g450.o\nobj-$(CONFIG_MATROX) += base.o $(more-y)\n"},
			map[string][]string{"d/base": {"MATROX"}, "d/g450": {"G"}}},
		{"a variable", map[string]string{"d/Makefile": "objs := p.o q.o\nobj-$(CONFIG_V) += $(objs)\n"},
			map[string][]string{"d/p": {"V"}, "d/q": {"V"}}},
		{"a recipe", map[string]string{"d/Makefile": "x: y\n\tobjcopy = y.o\n"}, map[string][]string{}},
		{"a variable that is itself", map[string]string{"d/Makefile": "a = $(a) x.o $(a)\nobj-$(CONFIG_A) += $(a)\n"}, map[string][]string{"d/x": {"A"}}},
		{"endif and else alone", map[string]string{"d/Makefile": "endif\nelse\nobj-$(CONFIG_A) += a.o\n"}, map[string][]string{"d/a": {"A"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Parse(tc.files).Modules); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSymbols(t *testing.T) {
	files := map[string]string{
		"Makefile":   "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 57\nEXTRAVERSION =\n",
		"d/Makefile": "obj-$(CONFIG_A) += a.o\nobj-$(CONFIG_B) += b.o\nobj-$(CONFIG_C) += c.o\nobj-$(CONFIG_GONE) += gone.o\n",
		"Kconfig":    "menuconfig NET\n\tbool \"Net\"\nif NET\nsource \"d/Kconfig\"\nendif\n",
		"d/Kconfig": `# SPDX
menu "Devices"
	depends on PCI

config A
	tristate "The \"A\" card" if EXPERT
	depends on X && \
		Y # why
	depends on Z
	select CRC32
	help
	  config B is not here.

	  depends on NOTHING
	    if FALSE

endmenu

config B
	bool
	default y

choice
	prompt "Which"
	config C
		def_tristate m
		prompt "C"
endchoice

config B
	bool "B again"
`,
	}
	tree := Parse(files)
	want := map[string]Symbol{
		"A": {Type: "tristate", Prompt: `The "A" card`, Depends: []string{"NET", "PCI", "X && Y", "Z"}, File: "d/Kconfig", Line: 5},
		"B": {Type: "bool", Prompt: "B again", Depends: []string{"NET"}, File: "d/Kconfig", Line: 30},
		"C": {Type: "tristate", Prompt: "C", Depends: []string{"NET"}, File: "d/Kconfig", Line: 25},
	}
	if diff := cmp.Diff(want, tree.Symbols); diff != "" {
		t.Error(diff)
	}
	if tree.Version != "6.12.57" {
		t.Errorf("got version %q, want 6.12.57", tree.Version)
	}
}

func TestKey(t *testing.T) {
	for in, want := range map[string]string{
		"kernel/drivers/ata/ahci.ko.xz": "drivers/ata/ahci", "drivers/a-b/c-d.o": "drivers/a-b/c_d", "x": "x",
	} {
		if got := Key(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// source is a tar with these files in one directory.
func source(t *testing.T, files map[string]string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: "linux-6.12/" + name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestRead(t *testing.T) {
	text := "obj-$(CONFIG_X) += x.o\n"
	tree, err := Read(source(t, map[string]string{
		"drivers/Makefile": text, "drivers/x.c": text, "arch/x86/Makefile": text, "arch/mips/Makefile": text, "tools/Makefile": text,
	}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]string{"drivers/x": {"X"}, "arch/x86/x": {"X"}}, tree.Modules); diff != "" {
		t.Error(diff)
	}
}

func TestReadRefuses(t *testing.T) {
	if _, err := Read(strings.NewReader(strings.Repeat("no tar", 200))); err == nil {
		t.Error("what is no tar was read")
	}
	big := map[string]string{"Makefile": strings.Repeat("#", maxFile+1)}
	if _, err := Read(source(t, big)); err == nil || !strings.Contains(err.Error(), "Makefile") {
		t.Errorf("got %v, want an error about the Makefile's size", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("obj-$(CONFIG_X) += x.o sub/\nifeq ($(CONFIG_A),y)\nobj-m += $(y)\nendif\ny = a.o $(y)\n", "if A\nconfig X\n\ttristate \"x\"\n\thelp\n\t  t\nendif\n")
	f.Fuzz(func(t *testing.T, makefile, kconfig string) {
		if len(makefile)+len(kconfig) > 4096 {
			return
		}
		tree := Parse(map[string]string{"d/Makefile": makefile, "d/Kconfig": kconfig})
		for key, symbols := range tree.Modules {
			if key == "" || len(symbols) == 0 {
				t.Errorf("%q is built by %q", key, symbols)
			}
		}
	})
}
