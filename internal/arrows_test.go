// Package internal_test holds what is true of the module as a whole: which package may import which
// (docs/architecture.md), where the clock and the environment are read, and what no file may name.
package internal_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = ".."
	module = "github.com/hookbuild/hookbuild"

	longestFunction = 70 // lines
)

// everything stands in the table for a room that may import all others.
const everything = "everything"

// sources parses the Go files of the module, by slash-separated path from the root.
func sources(t *testing.T, tests bool) (*token.FileSet, map[string]*ast.File) {
	t.Helper()
	fset, files := token.NewFileSet(), map[string]*ast.File{}
	for name, text := range tree(t) {
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") != tests {
			continue
		}
		f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = f
	}
	if len(files) < 10 {
		t.Fatalf("found %d Go files; the tree is not where it should be", len(files))
	}
	return fset, files
}

// tree reads the project's text files, by slash-separated path from the root. What git ignores is left out.
func tree(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if d.IsDir() && slices.Contains([]string{".git", "bin", "out"}, name) {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(file)
		if err == nil && !bytes.Contains(text, []byte{0}) {
			files[name] = text
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// imports are the rooms that each room's sources import.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	rooms := map[string][]string{}
	_, files := sources(t, false)
	for name, f := range files {
		room := path.Dir(name)
		rooms[room] = append(rooms[room], nil...)
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if to, ok := strings.CutPrefix(imported, module+"/"); ok && !slices.Contains(rooms[room], to) {
				rooms[room] = append(rooms[room], to)
			}
		}
	}
	return rooms
}

// row is a line of the table: | `room` | what it is | `room`, `room` |.
var row = regexp.MustCompile("(?m)^\\| `([a-z/]+)` \\|[^|\n]*\\|([^|\n]*)\\|$")

var quoted = regexp.MustCompile("`([a-z/]+)`")

// arrows reads the table of docs/architecture.md.
func arrows(t *testing.T) map[string][]string {
	t.Helper()
	const doc = "docs/architecture.md"
	text, ok := tree(t)[doc]
	if !ok {
		t.Fatalf("%s is missing", doc)
	}
	table := map[string][]string{}
	for _, m := range row.FindAllSubmatch(text, -1) {
		room, cell := string(m[1]), strings.TrimSpace(string(m[2]))
		if _, twice := table[room]; twice {
			t.Errorf("%s: %s stands twice in the table", doc, room)
		}
		table[room] = []string{}
		for _, to := range quoted.FindAllStringSubmatch(cell, -1) {
			table[room] = append(table[room], to[1])
		}
		if len(table[room]) == 0 && cell != "nothing" && cell != everything {
			t.Errorf("%s: %s: cannot read %q", doc, room, cell)
		}
		if cell == everything {
			table[room] = []string{everything}
		}
	}
	return table
}

// differences compares what the sources import with what the table says; every difference is one line.
func differences(got, want map[string][]string) []string {
	var found []string
	for room, list := range got {
		allowed, known := want[room]
		if !known {
			found = append(found, room+" is not in the table")
			continue
		}
		for _, to := range list {
			if !slices.Contains(allowed, to) && !slices.Contains(allowed, everything) {
				found = append(found, fmt.Sprintf("%s imports %s, which the table does not allow", room, to))
			}
		}
	}
	for room, allowed := range want {
		list, exists := got[room]
		if !exists {
			found = append(found, room+" is in the table and does not exist")
			continue
		}
		for _, to := range allowed {
			if to != everything && !slices.Contains(list, to) {
				found = append(found, fmt.Sprintf("%s may import %s and does not; take it out of the table", room, to))
			}
		}
	}
	slices.Sort(found)
	return found
}

func TestArrows(t *testing.T) {
	for _, d := range differences(imports(t), arrows(t)) {
		t.Error(d)
	}
}

func TestDifferences(t *testing.T) {
	got := map[string][]string{"a": {"b", "c"}, "b": nil, "new": nil, "cmd": {"a", "b"}}
	want := map[string][]string{"a": {"b", "d"}, "b": nil, "gone": nil, "cmd": {everything}}
	report := strings.Join(differences(got, want), "\n")
	for _, line := range []string{
		"a imports c, which the table does not allow", "a may import d and does not; take it out of the table",
		"gone is in the table and does not exist", "new is not in the table",
	} {
		if !strings.Contains(report, line) {
			t.Errorf("lacks %q:\n%s", line, report)
		}
	}
	if strings.Count(report, "\n") != 3 {
		t.Errorf("says more than that:\n%s", report)
	}
}

// forbidden are calls that belong to cmd: what they give is passed in from there.
func forbidden() map[string]string {
	return map[string]string{
		"os.Exit": "only main ends the program", "log.Fatal": "return the error", "log.Fatalf": "return the error",
		"log.Fatalln": "return the error", "log.Panic": "return the error", "log.Panicf": "return the error",
		"os.Getenv": "the environment is read in cmd", "os.LookupEnv": "the environment is read in cmd",
		"os.Environ": "the environment is read in cmd", "os.ExpandEnv": "the environment is read in cmd",
		"os.Setenv": "the environment is not ours to change",
		"time.Now":  "the clock is passed in", "time.Since": "the clock is passed in", "time.Until": "the clock is passed in",
		"slog.SetDefault": "loggers are passed in", "slog.Default": "loggers are passed in",
	}
}

// mayPanic are the functions below cmd that may panic: none can do so because of what a user gives.
func mayPanic() map[string]string {
	return map[string]string{
		"internal/base/base.go imageConfig":          "JSON of strings cannot fail",
		"internal/build/kernelinput.go ownFragments": "a pattern of ours that is malformed is a fault of the program",
		"internal/dhcp/kea.go keaQuote":              "JSON of strings cannot fail",
		"internal/kernel/kernel.go mustJSON":         "JSON of strings and numbers cannot fail",
		"internal/plan/plan.go ID":                   "JSON of strings and numbers cannot fail",
		"internal/strictyaml/decode.go composite":    "a type of ours that cannot be decoded is a fault of the program",
	}
}

func TestNothingBelowCmdReadsTheWorld(t *testing.T) {
	fset, files := sources(t, false)
	unused := mayPanic()
	for name, f := range files {
		if strings.HasPrefix(name, "cmd/") || strings.HasPrefix(name, "test/") { // programs of their own
			continue
		}
		for _, decl := range f.Decls {
			function := ""
			if d, ok := decl.(*ast.FuncDecl); ok {
				function = d.Name.Name
				if function == "init" && d.Recv == nil {
					t.Errorf("%s: an init function", fset.Position(d.Pos()))
				}
			}
			for _, call := range worldly(decl) {
				id := name + " " + function
				if _, ok := mayPanic()[id]; call.name == "panic" && ok {
					delete(unused, id)
					continue
				}
				t.Errorf("%s: %s: %s", fset.Position(call.pos), call.name, call.reason)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(unused)) {
		t.Errorf("%s is allowed to panic and does not", id)
	}
}

// use is a forbidden name in a declaration.
type use struct {
	pos          token.Pos
	name, reason string
}

// worldly finds uses of the forbidden functions, called or passed on, and calls of panic.
func worldly(decl ast.Decl) []use {
	var found []use
	ast.Inspect(decl, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok {
				name := pkg.Name + "." + n.Sel.Name
				if reason := forbidden()[name]; reason != "" {
					found = append(found, use{n.Pos(), name, reason})
				}
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "panic" {
				found = append(found, use{n.Pos(), "panic", "return an error, or say in mayPanic why no input leads here"})
			}
		}
		return true
	})
	return found
}

func TestWorldly(t *testing.T) {
	const text = `package p
func f() { defer os.Exit(1); g(time.Now); panic("no"); _ = time.Second; x.Now() }`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, u := range worldly(f.Decls[0]) {
		names = append(names, u.name)
	}
	if got, want := strings.Join(names, " "), "os.Exit time.Now panic"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFunctionsAreShort(t *testing.T) {
	fset, files := sources(t, false)
	longest := 0
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			d, ok := n.(*ast.FuncDecl)
			if !ok {
				return true
			}
			lines := fset.Position(d.End()).Line - fset.Position(d.Pos()).Line + 1
			longest = max(longest, lines)
			if lines > longestFunction {
				t.Errorf("%s: %s has %d lines, want at most %d", fset.Position(d.Pos()), d.Name.Name, lines, longestFunction)
			}
			return true
		})
	}
	if longest < 10 {
		t.Errorf("the longest function has %d lines; that cannot be", longest)
	}
}

func TestNoTestIsSkipped(t *testing.T) {
	fset, files := sources(t, true)
	skips := []string{"Skip", "Skipf", "SkipNow"}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok || !slices.Contains(skips, s.Sel.Name) {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && slices.Contains([]string{"t", "b", "tb", "f"}, x.Name) {
				t.Errorf("%s: a test that cannot run has to fail and say what it lacks", fset.Position(s.Pos()))
			}
			return true
		})
	}
}

// hosts are those that a user or the host's own configuration has to name: mirrors of Debian, proxies of Go
// modules, registries of container images.
var hosts = regexp.MustCompile(`(?i)\b(` + strings.Join([]string{
	`(deb|security|snapshot|archive|httpredir|cdn-[a-z]+|ftp(\.[a-z]+)?|mirrors?(\.[a-z]+)?)\.debian\.(org|net)`,
	`(proxy|sum)\.golang\.org`, `goproxy\.(io|cn)`,
	`(registry-1|index|registry|hub)\.docker\.(io|com)`, `docker\.io/[a-z]+`,
	`ghcr\.io`, `quay\.io`, `([a-z]+\.)?gcr\.io`, `[a-z0-9-]+\.pkg\.dev`, `registry\.k8s\.io`, `public\.ecr\.aws`, `mcr\.microsoft\.com`,
}, "|") + `)`)

// ownImages begins the full form that BuildKit gives to our images' names; they are in the engine only.
const ownImages = "docker.io" + "/hookbuild"

func TestNoFileNamesAMirror(t *testing.T) {
	for name, text := range tree(t) {
		if name == "go.mod" || name == "go.sum" { // names of modules
			continue
		}
		for i, line := range strings.Split(string(text), "\n") {
			if host := hosts.FindString(line); host != "" && !strings.HasPrefix(host, ownImages) {
				t.Errorf("%s:%d: names %s", name, i+1, host)
			}
		}
	}
}

func TestHosts(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       bool
	}{
		{"mirror", "http://deb." + "debian.org/debian", true},
		{"security mirror", "http://security." + "debian.org/debian-security", true},
		{"country mirror", "ftp.de." + "debian.org", true},
		{"module proxy", "https://proxy." + "golang.org", true},
		{"registry", "FROM docker.io" + "/library/debian", true},
		{"list of mirrors", "https://www.debian.org/mirror/list", false},
		{"archive keys", "https://ftp-master.debian.org/keys.html", false},
		{"package", "apt-get install docker.io ca-certificates", false},
		{"example", "http://mirror.example/debian", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := hosts.MatchString(tc.text); got != tc.want {
				t.Errorf("%q: got %v, want %v", tc.text, got, tc.want)
			}
		})
	}
}
