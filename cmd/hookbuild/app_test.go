package main

import (
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

// parse returns what a verb's action would be given.
func parse(t *testing.T, args ...string) *cli.Context {
	t.Helper()
	p := &program{testSystem(io.Discard, io.Discard, args...)}
	app := p.app()
	var got *cli.Context
	for _, c := range app.Commands {
		c.Action = func(c *cli.Context) error {
			got = c
			return nil
		}
	}
	if err := app.RunContext(t.Context(), interspersed(app, p.Args)); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return got
}

func TestInterspersed(t *testing.T) {
	app := (&program{testSystem(io.Discard, io.Discard)}).app()
	for _, tc := range []struct{ name, args, want string }{
		{"nothing", "", ""},
		{"verb", "all", "all"},
		{"unknown verb", "zebra x --json", "zebra x --json"},
		{"flags first", "all --json --out o x", "all --json --out o -- x"},
		{"flag after a positional", "all x --json", "all --json -- x"},
		{"value after a positional", "all x --out o", "all --out o -- x"},
		{"value with =", "all x --out=o y", "all --out=o -- x y"},
		{"one dash", "all x -out o", "all -out o -- x"},
		{"short name", "linuxkit x -f a -f b y", "linuxkit -f a -f b -- x y"},
		{"alias of the verb", "initramfs x -f a", "initramfs -f a -- x"},
		{"switch takes no value", "all --offline x", "all --offline -- x"},
		{"switch with a value", "all x --offline=false", "all --offline=false -- x"},
		{"value that looks like a flag", "boot x --append --json", "boot --append --json -- x"},
		{"duration", "boot x --timeout 1m", "boot --timeout 1m -- x"},
		{"value is missing", "all x --out", "all --out -- x"},
		{"unknown flag", "all x --zebra y", "all --zebra -- x y"},
		{"a dash is positional", "all - --json", "all --json -- -"},
		{"after --", "all -- --json x", "all -- --json x"},
		{"after -- and a positional", "all x --json -- --out", "all --json -- x --out"},
		{"-- at the end", "all x --", "all -- x"},
		{"completion", "all x --out --generate-bash-completion", "all x --out --generate-bash-completion"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := interspersed(app, append([]string{"hookbuild"}, strings.Fields(tc.args)...))
			if diff := cmp.Diff(append([]string{"hookbuild"}, strings.Fields(tc.want)...), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What interspersed returns is read as it was meant.
func TestParse(t *testing.T) {
	c := parse(t, "linuxkit", "x", "-f", "a,b", "--json", "--var", "A=1,2", "-f", "c", "--", "--out")
	if diff := cmp.Diff([]string{"x", "--out"}, c.Args().Slice()); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a,b", "c"}, c.StringSlice("file")); diff != "" {
		t.Errorf("--file (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"A=1,2"}, c.StringSlice("var")); diff != "" {
		t.Errorf("--var (-want +got):\n%s", diff)
	}
	if !c.Bool("json") || c.String("out") != "out" {
		t.Errorf("got --json %t, --out %q", c.Bool("json"), c.String("out"))
	}
}

func TestEveryVerbHasAnExample(t *testing.T) {
	for _, c := range (&program{testSystem(io.Discard, io.Discard)}).app().Commands {
		t.Run(c.Name, func(t *testing.T) {
			got := runHere(t, c.Name, "--help")
			if got.code != 0 || got.stderr != "" {
				t.Fatalf("exit code %d, standard error %q", got.code, got.stderr)
			}
			_, example, _ := strings.Cut(got.stdout, "Example:\n")
			if !strings.Contains(example, "hookbuild "+c.Name) {
				t.Errorf("no example in:\n%s", got.stdout)
			}
		})
	}
}

// variableValues are a value for each type of flag, as it stands in a variable and as an action gets it.
func variableValues(f cli.Flag, c *cli.Context) (text, want, got string) {
	name := f.Names()[0]
	switch f := f.(type) {
	case *cli.BoolFlag:
		other := boolText(!f.Value)
		return other, other, boolText(c.Bool(name))
	case *cli.DurationFlag:
		return "90s", "1m30s", c.Duration(name).String()
	case *cli.IntFlag:
		return "7", "7", strconv.Itoa(c.Int(name))
	case *cli.StringSliceFlag:
		return "a,b\nc d", "[a,b|c d]", "[" + strings.Join(c.StringSlice(name), "|") + "]"
	}
	return "some value", "some value", c.String(name)
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

func TestEveryFlagHasAVariable(t *testing.T) {
	for _, verb := range (&program{testSystem(io.Discard, io.Discard)}).app().Commands {
		for _, f := range verb.Flags {
			name := f.Names()[0]
			if name == cli.HelpFlag.Names()[0] {
				continue
			}
			t.Run(verb.Name+"/"+name, func(t *testing.T) {
				text, want, unset := variableValues(f, parse(t, verb.Name))
				if unset == want {
					t.Fatalf("the default is %s already", want)
				}
				t.Setenv("HOOKBUILD_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")), text)
				if _, _, got := variableValues(f, parse(t, verb.Name)); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
	}
}

func TestDropEmptyVariables(t *testing.T) {
	t.Setenv("HOOKBUILD_OUT", "")
	t.Setenv("HOOKBUILD_ARCH", "arm64")
	t.Setenv("OTHER_EMPTY", "")
	dropEmptyVariables()
	c := parse(t, "all")
	if c.String("out") != "out" || c.String("arch") != "arm64" {
		t.Errorf("got --out %q and --arch %q, want the default and arm64", c.String("out"), c.String("arch"))
	}
}
