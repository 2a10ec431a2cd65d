package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const deploy = "../../deploy/"

// TestUnit lets systemd read the unit, with a program that is there in the place of hookbuild.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile(deploy + "hookbuild-serve.service")
	if err != nil {
		t.Fatal(err)
	}
	const program = "/usr/local/bin/hookbuild"
	var command string
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "ExecStart="+program+" "); ok {
			command = strings.TrimSpace(rest)
		}
	}
	wantServe(t, strings.Fields(command))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "hookbuild-serve.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), program, self)), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "hookbuild") { // of the host's own units it says things too
			t.Errorf("systemd-analyze: %s", line)
		}
	}
	if err != nil {
		t.Errorf("systemd-analyze verify (make test-tools installs it): %v\n%s", err, out)
	}
}

// wantServe holds that the arguments start the server: each flag is one of its own, and the ports are free to take.
func wantServe(t *testing.T, args []string) {
	t.Helper()
	if len(args) == 0 || args[0] != "serve" {
		t.Fatalf("got %q, want serve", args)
	}
	p := &program{system{Stdout: io.Discard, Stderr: io.Discard, Getenv: func(string) string { return "" }}}
	known := map[string]bool{}
	for _, f := range p.serveCommand().Flags {
		known["--"+f.Names()[0]] = true
	}
	for _, arg := range args[1:] {
		if strings.HasPrefix(arg, "-") && !known[arg] {
			t.Errorf("serve has no flag %s", arg)
		}
	}
}

func TestCompose(t *testing.T) {
	text, err := os.ReadFile(deploy + "compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Build   struct{ Context, Dockerfile string }
			Command []string
			Volumes []string
			CapDrop []string `yaml:"cap_drop"`
			User    string
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	s, ok := file.Services["hookbuild"]
	if !ok || s.User == "" || len(s.CapDrop) != 1 || len(s.Volumes) != 1 || !strings.HasSuffix(s.Volumes[0], ":ro") {
		t.Errorf("got %+v", s)
	}
	wantServe(t, s.Command)
	// From a file, since Debian 12's docker-compose 1.29 knows no Dockerfile inside of compose.yaml. Its path is as from
	// the context, which make build makes.
	if _, err := os.Stat(filepath.Join(deploy, s.Build.Context, s.Build.Dockerfile)); s.Build.Dockerfile == "" || err != nil {
		t.Errorf("build: got %+v, %v", s.Build, err)
	}
}
