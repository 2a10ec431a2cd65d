package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/build"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/kconfig"
	"github.com/hookbuild/hookbuild/internal/kernel"
)

// answer is what Kconfig would say of a kernel with one symbol that a person can set, and one that follows it.
func answer(t *testing.T, value string) kernel.Answer {
	t.Helper()
	text := `{"name":"BE2NET","type":"tristate","value":"` + value + `","written":true,"visible":"y","prompt":"BladeEngine"}
{"name":"HAVE_BE2NET","type":"bool","value":"` + map[string]string{"n": "n", "m": "y"}[value] + `","written":true,"visible":"n"}
`
	symbols, err := kconfig.ReadSymbols(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return kernel.Answer{Symbols: symbols, Defconfig: []byte("CONFIG_BE2NET=" + value + "\n")}
}

// configuring is a session of kernel-config in an empty project, without an engine, and its standard output.
func configuring(t *testing.T, asJSON bool) (*configSession, *bytes.Buffer) {
	t.Helper()
	var stdout bytes.Buffer
	p := &program{testSystem(&stdout, io.Discard)}
	report, err := p.reporter(settings{progress: progressPlain})
	if err != nil {
		t.Fatal(err)
	}
	w := &workshop{settings: settings{project: t.TempDir(), json: asJSON}, flavor: config.Flavor{ID: "mine"}, report: report}
	job := &build.Job{Kernel: &build.Kernel{Base: build.ConfigFile{Name: "generic-6.12.y-x86_64"}}}
	return &configSession{workshop: w, p: p, job: job}, &stdout
}

func TestSave(t *testing.T) {
	for _, tc := range []struct {
		name          string
		before, after string
		want          string // file for its name
		content       string // of the file; empty for none
	}{
		{"changed", "n", "m", "BE2NET: n -> m (BladeEngine)\nwrote file\nnext: hookbuild all mine\n", "CONFIG_BE2NET=m\n"},
		{"not changed", "m", "m", "nothing has changed: mine has it that way already\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, stdout := configuring(t, false)
			if err := s.save(answer(t, tc.before), answer(t, tc.after)); err != nil {
				t.Fatal(err)
			}
			if got := strings.ReplaceAll(stdout.String(), s.configFile(), "file"); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if data, _ := os.ReadFile(s.configFile()); string(data) != tc.content {
				t.Errorf("the file holds %q, want %q", data, tc.content)
			}
		})
	}
}

func TestSaveAsJSON(t *testing.T) {
	for _, tc := range []struct{ name, before, after, want string }{
		{"changed", "n", "m", `{"changes":[{"after":"m","before":"n","name":"BE2NET","prompt":"BladeEngine"}],` +
			`"file":"file","next":"hookbuild all mine","written":true}`},
		{"not changed", "m", "m", `{"changes":[],"file":"file","next":"hookbuild all mine","written":false}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, stdout := configuring(t, true)
			if err := s.save(answer(t, tc.before), answer(t, tc.after)); err != nil {
				t.Fatal(err)
			}
			var doc any
			if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.ReplaceAll(string(data), s.configFile(), "file"); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// A file that cannot be written is no success, and leaves no half of it.
func TestSaveFails(t *testing.T) {
	s, stdout := configuring(t, false)
	if err := os.WriteFile(filepath.Join(s.project, "kernel"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.save(answer(t, "n"), answer(t, "m")); err == nil || stdout.Len() > 0 {
		t.Errorf("error %v, printed %q", err, stdout.String())
	}
}

func TestConfigFlavor(t *testing.T) {
	for _, tc := range []struct{ name, args, want string }{
		{"nothing", "kernel-config", ""},
		{"flavor", "kernel-config mine", "mine"},
		{"too many", "kernel-config mine other", "mine other"},
		{"diff", "kernel-config mine --diff", "mine"},
		{"diff with another", "kernel-config mine --diff other", "mine"},
		{"diff first", "kernel-config --diff mine other", "mine"},
		{"diff and an architecture", "kernel-config --arch x86_64 --diff other", ""},
		{"diff with too many", "kernel-config mine --diff one two", "mine one"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &program{testSystem(io.Discard, io.Discard)}
			got := strings.Join(p.configFlavor(parse(t, strings.Fields(tc.args)...)), " ")
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// What stands last counts: a flag over a fragment, as a later fragment over an earlier one.
func TestAskedSymbols(t *testing.T) {
	dir := t.TempDir()
	fragment := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	one, two := fragment("one", "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n"), fragment("two", "CONFIG_B=m\n# CONFIG_D is not set\n")
	c := parse(t, "kernel-config", "--set", "C=m", "--set", "CONFIG_E=text", "--unset", "F", "--fragment", one, "--fragment", two)
	lines, err := askedSymbols(c)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lines {
		got = append(got, strings.ReplaceAll(l.String(), dir+"/", ""))
	}
	want := []string{"one:1: CONFIG_A=y", "two:1: CONFIG_B=m", "--set: CONFIG_C=m", "two:2: CONFIG_D=n", `--set: CONFIG_E="text"`, "--unset: CONFIG_F=n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestOtherConfig(t *testing.T) {
	dir := t.TempDir()
	good, faulty := filepath.Join(dir, "good.config"), filepath.Join(dir, "faulty.config")
	for file, text := range map[string]string{good: "CONFIG_PCI=y\n", faulty: "PCI=y\n"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := configuring(t, false)
	if text, name, err := s.otherConfig(t.Context(), ""); err != nil || len(text) < 1000 || name != "hookbuild's own generic-6.12.y-x86_64" {
		t.Errorf("hookbuild's own: got %d bytes, %q, %v", len(text), name, err)
	}
	if text, name, err := s.otherConfig(t.Context(), good); err != nil || string(text) != "CONFIG_PCI=y\n" || name != good {
		t.Errorf("a file: got %q, %q, %v", text, name, err)
	}
	if _, _, err := s.otherConfig(t.Context(), faulty); !isA[*kconfig.SyntaxError](err) {
		t.Errorf("a faulty file: got %v", err)
	}
	var err error
	if s.workshop.config, err = config.Load("hookbuild.yaml", nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.otherConfig(t.Context(), "zebra"); !isA[*config.UsageError](err) {
		t.Errorf("neither file nor flavor: got %v", err)
	}
	s.job.Kernel.Base.Name = "rack-6.12.y-x86_64"
	if _, _, err := s.otherConfig(t.Context(), ""); !isA[*usageError](err) {
		t.Errorf("a configuration that hookbuild has none of: got %v", err)
	}
}
