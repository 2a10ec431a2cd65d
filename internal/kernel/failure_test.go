package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// watched lets a watch see an output, line by line.
func watched(output string) *watch {
	w := &watch{}
	for line := range strings.Lines(output) {
		w.event(engine.Event{Step: "compile the kernel", Text: strings.TrimSuffix(line, "\n")})
	}
	return w
}

// What the programs of a kernel build say, of the versions in Debian 12 and 13.
var failures = []struct{ name, output, first string }{
	{"gcc", `  CC      drivers/a.o
drivers/a.c: In function 'probe':
drivers/a.c:12:9: error: implicit declaration of function 'nonsense' [-Wimplicit-function-declaration]
   12 |         nonsense();
      |         ^~~~~~~~
make[4]: *** [/build/src/tree/scripts/Makefile.build:229: drivers/a.o] Error 1
`, "drivers/a.c:12:9: error: implicit declaration of function 'nonsense' [-Wimplicit-function-declaration]"},
	{"gcc, interleaved with others", `  CC      drivers/a.o
  CC [M]  drivers/b.o
drivers/c.c:3:5: warning: unused variable 'error' [-Wunused-variable]
In file included from drivers/a.c:1:
  CC      fs/error.o
include/linux/a.h:7:10: fatal error: linux/none.h: No such file or directory
    7 | #include <linux/none.h>
  CC      mm/slab.o
      |          ^~~~~~~~~~~~~~
compilation terminated.
make[3]: *** [/build/src/tree/scripts/Makefile.build:478: drivers] Error 2
make[3]: *** Waiting for unfinished jobs....
mm/other.c:1:1: error: something else
`, "include/linux/a.h:7:10: fatal error: linux/none.h: No such file or directory"},
	{"gcc itself", "gcc: error: unrecognized command-line option '--bogus'\n", "gcc: error: unrecognized command-line option '--bogus'"},
	{"gcc runs out of memory", "gcc: fatal error: Killed signal terminated program cc1\ncompilation terminated.\n", "gcc: fatal error: Killed signal terminated program cc1"},
	{"gcc breaks", "mm/a.c:5:1: internal compiler error: Segmentation fault\n", "mm/a.c:5:1: internal compiler error: Segmentation fault"},
	{"warnings as errors", "<stdin>:1:26: error: 'x' is used uninitialized [-Werror=uninitialized]\ncc1: all warnings being treated as errors\n",
		"<stdin>:1:26: error: 'x' is used uninitialized [-Werror=uninitialized]"},
	{"#error", "a.h:3:2: error: #error \"no clang here\"\n", "a.h:3:2: error: #error \"no clang here\""},
	{"the assembler", "arch/x86/s.S: Assembler messages:\narch/x86/s.S:1: Error: no such instruction: `bogus %eax'\nmake[3]: *** [scripts/Makefile.build:5: s.o] Error 1\n",
		"arch/x86/s.S:1: Error: no such instruction: `bogus %eax'"},
	{"the linker, one place", "ld: warning: .tmp_vmlinux1 has a LOAD segment with RWX permissions\nld: init/main.o: in function `start_kernel':\nmain.c:(.init.text+0xa): undefined reference to `foo'\nmake[2]: *** [scripts/Makefile.vmlinux:34: vmlinux] Error 1\n",
		"main.c:(.init.text+0xa): undefined reference to `foo'"},
	{"the linker of another architecture", "aarch64-linux-gnu-ld: main.c:(.text+0x11): undefined reference to `foo'\n", "aarch64-linux-gnu-ld: main.c:(.text+0x11): undefined reference to `foo'"},
	{"the linker, twice defined", "ld: d3.o:(.data+0x0): multiple definition of `foo'; d2.o:(.data+0x0): first defined here\n", "ld: d3.o:(.data+0x0): multiple definition of `foo'; d2.o:(.data+0x0): first defined here"},
	{"the linker, no file", "ld: cannot find nolib.o: No such file or directory\n", "ld: cannot find nolib.o: No such file or directory"},
	{"the linker, a script", "/usr/bin/ld: cannot open linker script file none.lds: No such file or directory\n", "/usr/bin/ld: cannot open linker script file none.lds: No such file or directory"},
	{"modpost", "WARNING: modpost: missing MODULE_DESCRIPTION() in lib/a.o\nERROR: modpost: \"nonsense\" [drivers/b.ko] undefined!\nmake[3]: *** [scripts/Makefile.modpost:145: Module.symvers] Error 1\n",
		`ERROR: modpost: "nonsense" [drivers/b.ko] undefined!`},
	{"make, no rule", "make[2]: *** No rule to make target 'drivers/none.o', needed by 'drivers/built-in.a'.  Stop.\n", "make[2]: *** No rule to make target 'drivers/none.o', needed by 'drivers/built-in.a'.  Stop."},
	{"a Makefile", "Makefile:1160: *** Cannot generate ORC metadata.  Stop.\n", "Makefile:1160: *** Cannot generate ORC metadata.  Stop."},
	{"a source that was built in", "***\n*** The source tree is not clean, please run 'make ARCH=x86_64 mrproper'\n*** in /build/src/tree\n***\nmake[1]: *** [Makefile:659: outputmakefile] Error 1\n",
		"*** The source tree is not clean, please run 'make ARCH=x86_64 mrproper'"},
	{"Kconfig", "drivers/mine/Kconfig:3: syntax error\ndrivers/mine/Kconfig:3: unknown statement \"bogus\"\nmake[2]: *** [scripts/kconfig/Makefile:85: hookbuild_queryconfig] Error 1\n",
		"drivers/mine/Kconfig:3: syntax error"},
	{"Kconfig, no file", "Kconfig:10: can't open file \"drivers/none/Kconfig\"\n", `Kconfig:10: can't open file "drivers/none/Kconfig"`},
	{"Kconfig, a circle", "drivers/Kconfig.a:7:error: recursive dependency detected!\n", "drivers/Kconfig.a:7:error: recursive dependency detected!"},
	{"Kconfig, only warnings", ".config:4:warning: override: reassigning to symbol T\ndrivers/Kconfig:7:warning: strange\nmake: *** [Makefile:236: __sub-make] Error 2\n",
		"make: *** [Makefile:236: __sub-make] Error 2"},
	{"device trees", "arch/arm64/boot/dts/a.dts:12.1-5 syntax error\nError: arch/arm64/boot/dts/a.dts:12.1-5 syntax error\nFATAL ERROR: Unable to parse input tree\n",
		"Error: arch/arm64/boot/dts/a.dts:12.1-5 syntax error"},
	{"device trees, a check", "a.dts:3.1-4.2: Warning (unit_address_vs_reg): /a: node has a unit name\na.dts:9.3-8: ERROR (phandle_references): /b: no such phandle\n",
		"a.dts:9.3-8: ERROR (phandle_references): /b: no such phandle"},
	{"no program", "/bin/sh: 1: bc: not found\nmake[1]: *** [kernel/time/Makefile:22: timeconst.h] Error 127\n", "/bin/sh: 1: bc: not found"},
	{"no program, says bash", "bash: line 3: awk: command not found\n", "bash: line 3: awk: command not found"},
	{"a full disk", "fs/a.c:1: note: x\n/tmp/ccYt.s: final close failed: No space left on device\n", "/tmp/ccYt.s: final close failed: No space left on device"},
	{"a patch", "applying mine.patch\nerror: mine.patch: the patch does not apply to this source:\npatching file a.c\n1 out of 1 hunk FAILED -- saving rejects to file a.c.rej\n",
		"error: mine.patch: the patch does not apply to this source:"},
	{"an external module", "compiling the external module ice\nerror: ice: its build made no module\n", "error: ice: its build made no module"},
	{"a configuration of its own mind", "error: the build changed its configuration:\n1a2\n> CONFIG_MORE=y\n", "error: the build changed its configuration:"},
	{"packages", "dpkg-deb: error: '/source/aa.deb' is not a Debian format archive\n", "dpkg-deb: error: '/source/aa.deb' is not a Debian format archive"},
	{"two kernels", "the kernel: error: want one, got vmlinuz-1 and vmlinuz-2\n", "the kernel: error: want one, got vmlinuz-1 and vmlinuz-2"},
}

func TestFirstError(t *testing.T) {
	failed := &engine.BuildError{Step: "compile the kernel", ExitCode: 2, Tail: []string{"the last line"}}
	for _, c := range failures {
		err := watched(c.output).failure(fmt.Errorf("wrapped: %w", failed))
		var first *Error
		if !errors.As(err, &first) || err.Error() != c.first {
			t.Errorf("%s: got %v, want %s", c.name, err, c.first)
			continue
		}
		_, after, _ := strings.Cut(c.output, c.first+"\n")
		want := strings.SplitAfter(after, "\n")
		want = want[:min(len(want)-1, contextLines)]
		if diff := cmp.Diff(after[:len(strings.Join(want, ""))], strings.Join(append(slices.Clone(first.First[1:]), ""), "\n")); diff != "" {
			t.Errorf("%s: what follows: %s", c.name, diff)
		}
		var step *engine.BuildError
		if !errors.As(err, &step) || step != failed {
			t.Errorf("%s: got %v, want it to be the step's error", c.name, err)
		}
	}
}

// A build that goes well, or fails without a word, has no first error.
func TestNoFirstError(t *testing.T) {
	const quiet = `  CC      drivers/acpi/error.o
  CC [M]  fs/errors.o
  LD [M]  drivers/error.ko
  HOSTCC  scripts/kconfig/conf.o
drivers/a.c:3:5: warning: error: "x" is not said [-Wcpp]
ld: warning: cannot find entry symbol _start; defaulting to 0000000000401000
vmlinux.o: warning: objtool: foo+0x1: error: unreachable
WARNING: modpost: EXPORT symbol "x" version generation failed
drivers/a.c:3:5: note: error handling is here
  INSTALL /tmp/mods/lib/modules/6.12.9/kernel/lib/error.ko
  DEPMOD  /tmp/mods/lib/modules/6.12.9
  OBJCOPY arch/x86/boot/vmlinux.bin
Kernel: arch/x86/boot/bzImage is ready  (#1)
kernel 6.12.9
`
	quietly := watched(quiet)
	failed := &engine.BuildError{Step: "x", ExitCode: 1}
	if err := quietly.failure(failed); err != failed {
		t.Errorf("got %v, want the step's own error", err)
	}
	if err := quietly.failure(nil); err != nil {
		t.Errorf("no failure: got %v", err)
	}
	other := errors.New("the engine is gone")
	if err := watched("a.c:1:1: error: x\n").failure(other); err != other {
		t.Errorf("not a step: got %v", err)
	}
}

func TestWarnings(t *testing.T) {
	w := watched(`a.c:1:2: warning: unused variable 'x' [-Wunused-variable]
    1 | int x;
warning: the modules are signed with a key of their own
ld: warning: vmlinux has a LOAD segment with RWX permissions
vmlinux.o: warning: objtool: foo+0x1: unreachable instruction
WARNING: modpost: missing MODULE_DESCRIPTION() in lib/a.o
.config:4:warning: override: reassigning to symbol T
a.dts:3.1-4.2: Warning (unit_address_vs_reg): /a: node has a unit name
this line speaks of a warning: not at its beginning
`)
	want := []string{
		"a.c:1:2: warning: unused variable 'x' [-Wunused-variable]", "the modules are signed with a key of their own",
		"ld: warning: vmlinux has a LOAD segment with RWX permissions", "vmlinux.o: warning: objtool: foo+0x1: unreachable instruction",
		"WARNING: modpost: missing MODULE_DESCRIPTION() in lib/a.o", ".config:4:warning: override: reassigning to symbol T",
		"a.dts:3.1-4.2: Warning (unit_address_vs_reg): /a: node has a unit name",
	}
	if diff := cmp.Diff(want, w.warnings); diff != "" {
		t.Error(diff)
	}
	if w := watched(strings.Repeat("a.c:1:2: warning: x\n", 3*maxWarnings)); len(w.warnings) != maxWarnings {
		t.Errorf("got %d warnings, want %d", len(w.warnings), maxWarnings)
	}
}

// Everything is passed on, the starts and ends of steps too.
func TestWatchPassesOn(t *testing.T) {
	var heard []engine.Event
	w := watch{to: func(e engine.Event) { heard = append(heard, e) }}
	all := []engine.Event{{Step: "a"}, {Step: "a", Text: "a.c:1:1: error: x"}, {Step: "a"}, {Step: "a", Text: "make: *** x"}, {Step: "a", Done: true}}
	for _, e := range all {
		w.event(e)
	}
	if diff := cmp.Diff(all, heard); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a.c:1:1: error: x", "make: *** x"}, w.first); diff != "" {
		t.Error(diff)
	}
}
