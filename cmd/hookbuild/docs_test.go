package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/cli.md and the examples of docs/dhcp.md anew")

func docs(name string) string { return filepath.Join("..", "..", "docs", name) }

func TestCLIReference(t *testing.T) {
	var text strings.Builder
	text.WriteString("# The command line\n\n" +
		"This is what `--help` prints, in one page. `go test ./cmd/hookbuild -update` writes it.\n\n" +
		"Flags may stand before or after FLAVOR. Every flag has a variable, which its help names; an empty one counts\n" +
		"as not set, and the flag goes before it. In the variable of a repeatable flag there is one value a line. Results\n" +
		"go to standard output, everything else to standard error. The exit codes are in [exit-codes.md](exit-codes.md).\n")
	section := func(title string, args ...string) {
		got := runHere(t, append(args, "--help")...)
		if got.code != 0 {
			t.Fatalf("%s --help: exit code %d: %s", title, got.code, got.stderr)
		}
		fmt.Fprintf(&text, "\n## %s\n\n```text\n%s```\n", title, trimLines(got.stdout))
	}
	section("hookbuild")
	for _, c := range (&program{testSystem(io.Discard, io.Discard)}).app().Commands {
		section("hookbuild "+c.Name, c.Name)
	}
	if *update {
		if err := os.WriteFile(docs("cli.md"), []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(read(t, docs("cli.md")), text.String()); diff != "" {
		t.Errorf("docs/cli.md is not what --help says; go test ./cmd/hookbuild -update writes it (-file +help):\n%s", diff)
	}
}

// dhcpExample is a command in docs/dhcp.md, with what it prints.
var dhcpExample = regexp.MustCompile("(?s)```\n(hookbuild dhcp [^`]*?)\n```\n```text\n(.*?)```\n")

// TestDHCPExamples runs the commands of docs/dhcp.md on the hardware.csv that stands there.
func TestDHCPExamples(t *testing.T) {
	file, err := filepath.Abs(docs("dhcp.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, file)
	csv := regexp.MustCompile("(?s)```csv\n(.*?)```\n").FindStringSubmatch(text)
	if csv == nil {
		t.Fatal("docs/dhcp.md has no hardware.csv")
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("hardware.csv", []byte(csv[1]), 0o644); err != nil {
		t.Fatal(err)
	}
	found := 0
	now := dhcpExample.ReplaceAllStringFunc(text, func(block string) string {
		found++
		command := dhcpExample.FindStringSubmatch(block)[1]
		got := runHere(t, strings.Fields(strings.ReplaceAll(command, "\\\n", " "))[1:]...)
		if got.code != 0 {
			t.Errorf("%s: exit code %d: %s", command, got.code, got.stderr)
		}
		return "```\n" + command + "\n```\n```text\n" + got.stdout + "```\n"
	})
	if found != 5 {
		t.Errorf("docs/dhcp.md has %d examples, want 5", found)
	}
	if *update {
		if err := os.WriteFile(file, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(text, now); diff != "" {
		t.Errorf("docs/dhcp.md is not what the commands print; make docs writes it (-file +command):\n%s", diff)
	}
}

// trimLines takes the blanks off the ends of lines.
func trimLines(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return out.String()
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// exitConstants reads the exit codes out of exit.go, so that none can be added without its row.
func exitConstants(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "exit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "exit") {
			return true
		}
		if value, ok := spec.Values[0].(*ast.BasicLit); ok {
			codes[spec.Names[0].Name] = value.Value
		}
		return true
	})
	return codes
}

func TestExitCodesAreDocumented(t *testing.T) {
	text := read(t, docs("exit-codes.md"))
	codes := exitConstants(t)
	if len(codes) < 7 {
		t.Fatalf("found only %v", codes)
	}
	codes["success"] = "0"
	for name, code := range codes {
		if !strings.Contains(text, "\n| "+code+" |") {
			t.Errorf("docs/exit-codes.md has no row for %s (%s)", code, name)
		}
	}
}
