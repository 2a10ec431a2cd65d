package kconfig

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write puts files into a new directory.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// sh runs a script in a directory and returns what it says and whether it went well.
func sh(t *testing.T, dir, script string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", script, "script"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(file string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, file)
			found = append(found, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSubsetScript(t *testing.T) {
	wanted := []string{
		"Documentation/Kconfig", "Kconfig", "Makefile", "arch/arm64/Makefile", "arch/s390/crypto/Kconfig", "arch/x86/Makefile",
		"arch/x86/Makefile_32.cpu", "drivers/pinctrl/qcom/Kconfig.msm", "scripts/Kconfig.include", "scripts/Makefile.build",
		"scripts/basic/fixdep.c", "scripts/cc-version.sh", "scripts/kconfig/lxdialog/util.c", "scripts/kconfig/parser.y",
		"scripts/rust_is_available_bindgen_libclang.h", "scripts/subarch.include",
	}
	others := []string{
		"Documentation/kbuild/index.rst", "arch/s390/Makefile", "arch/x86/kernel/Makefile", "drivers/net/be.c",
		"scripts/checkpatch.pl", "scripts/dtc/dtc.c", "scripts/kconfig/tests/choice/Kconfig",
	}
	files := map[string]string{}
	for _, name := range slices.Concat(wanted, others) {
		files[name] = name + "\n"
	}
	// 6.10 and later have scripts/include.
	for _, later := range []bool{false, true} {
		want := slices.Clone(wanted)
		if later {
			files["scripts/include/list.h"] = "list\n"
			want = append(want, "scripts/include/list.h")
			slices.Sort(want)
		}
		from, to := write(t, files), filepath.Join(t.TempDir(), "below", "to")
		if err := os.Chmod(filepath.Join(from, "scripts/cc-version.sh"), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := sh(t, "/", SubsetScript(), from, to); err != nil || out != "" {
			t.Fatalf("%v: %s", err, out)
		}
		if got := names(t, to); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if info, err := os.Stat(filepath.Join(to, "scripts/cc-version.sh")); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("got mode %v and error %v, want the script executable", info.Mode(), err)
		}
		if out, err := sh(t, "/", SubsetScript(), from, to); err == nil || !strings.Contains(out, "is there already") {
			t.Errorf("got error %v and %q, want a directory that exists refused", err, out)
		}
	}
}

func TestSubsetScriptMissing(t *testing.T) {
	from := write(t, map[string]string{"Makefile": "", "Kconfig": ""})
	if out, err := sh(t, "/", SubsetScript(), from, filepath.Join(t.TempDir(), "to")); err == nil {
		t.Errorf("want an error for a directory without arch and scripts, got %q", out)
	}
}

func TestInstallScript(t *testing.T) {
	for _, tc := range []struct{ name, header, want string }{
		{"before 6.9", "struct menu {\n\tstruct file *file;\n};\n", "HOSTCFLAGS_hookbuild-query.o :=\n"},
		{"6.9 and later", "struct menu {\n\tconst char *filename;\n};\n", "HOSTCFLAGS_hookbuild-query.o := -DQUERY_MENU_FILENAME\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := map[string]string{"scripts/kconfig/Makefile": "common-objs := util.o\n", "scripts/kconfig/expr.h": tc.header}
			tree, source := write(t, files), write(t, map[string]string{"query.c": QuerySource()})
			for range 2 { // The second run changes nothing.
				if out, err := sh(t, tree, InstallScript(), filepath.Join(source, "query.c")); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			makefile, err := os.ReadFile(filepath.Join(tree, "scripts/kconfig/Makefile"))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"common-objs := util.o\n", tc.want, "hookbuild-query-objs := hookbuild-query.o $(common-objs)\n",
				"\nhookbuild_queryconfig: $(obj)/hookbuild-query\n\t$(Q)$< $(QUERY_ARGS) $(Kconfig)\n"} {
				if strings.Count(string(makefile), want) != 1 {
					t.Errorf("got %q, want %q in it once", makefile, want)
				}
			}
			installed, err := os.ReadFile(filepath.Join(tree, "scripts/kconfig/hookbuild-query.c"))
			if err != nil || string(installed) != QuerySource() {
				t.Errorf("the source is not the one installed: %v", err)
			}
			want := append(slices.Sorted(maps.Keys(files)), "scripts/kconfig/hookbuild-query.c")
			slices.Sort(want)
			if got := names(t, tree); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestQueryWritesWhatIsRead compares the keys on both sides of the JSON.
func TestQueryWritesWhatIsRead(t *testing.T) {
	for _, key := range []string{"name", "type", "value", "written", "prompt", "visible", "file", "line", "depends", "unmet",
		"prompt_unmet", "selected_by", "selectors", "implied_by", "choice", "choice_chosen", "range"} {
		if !strings.Contains(QuerySource(), `"`+key+`"`) && !strings.Contains(QuerySource(), `\"`+key+`\"`) {
			t.Errorf("query.c does not write %s", key)
		}
	}
}
