package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// envPrefix begins the variable of every flag: --debian-mirror is HOOKBUILD_DEBIAN_MIRROR.
const envPrefix = "HOOKBUILD_"

// system is everything around the program that is not the same for every run; tests make their own.
type system struct {
	Args     []string
	Stdin    *os.File  // the keys of a terminal; nil for none
	Stdout   io.Writer // results
	Stderr   io.Writer // progress, warnings, errors
	Getenv   func(string) string
	Now      func() time.Time
	Columns  func() int // of the terminal at Stderr; 0 for none
	AptDir   string     // the host's apt configuration
	Keyrings []string   // files with Debian's archive keys
	Trusted  []string   // fingerprints that may sign; nil is Debian's
	// KernelKeys are fingerprints that may sign kernels; the zero value is kernel.org's.
	KernelKeys kernelorg.Anchors
}

// program is one run.
type program struct {
	system
}

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, sys system) int {
	p := &program{sys}
	err := p.app().RunContext(ctx, interspersed(p.app(), sys.Args))
	return p.finish(ctx, err)
}

// app describes the command line. Four habits of the library are mended here: flags may stand after FLAVOR
// (interspersed), an empty variable is no value (dropEmptyVariables), no exit code is its own (finish), and a
// comma does not split the value of a repeatable flag (in its variable there is one value a line).
func (p *program) app() *cli.App {
	app := &cli.App{
		Name:  "hookbuild",
		Usage: "build HookOS, boot it in QEMU, and serve it to machines that Tinkerbell or EKS Anywhere installs",
		Description: "Example:\n" +
			"  hookbuild all --arch x86_64    # kernel, userland and initramfs, in out/hook\n" +
			"  hookbuild boot --arch x86_64   # do they come up?\n" +
			"  hookbuild serve                # the URL for hookImagesURLPath",
		Writer: p.Stdout, ErrWriter: p.Stderr,
		HideVersion: true, HideHelpCommand: true, EnableBashCompletion: true, Suggest: true,
		SliceFlagSeparator: "\n",
		ExitErrHandler:     func(*cli.Context, error) {},
		OnUsageError:       onUsageError,
		Action:             noVerb,
		Commands: []*cli.Command{
			p.allCommand(), p.driversCommand(), p.kernelConfigCommand(), p.kernelCommand(), p.linuxkitCommand(), p.bootCommand(), p.serveCommand(), p.dhcpCommand(), p.artifactsCommand(),
			p.inspectCommand(), p.diffCommand(), p.lockCommand(), p.flavorsCommand(), p.doctorCommand(), p.pruneCommand(), p.versionCommand(), p.completionCommand(),
		},
	}
	for _, c := range app.Commands {
		c.OnUsageError = onUsageError
		c.HideHelpCommand = true
		for _, f := range c.Flags {
			bindVariable(f)
		}
	}
	return app
}

// usageError is a command line that cannot be meant.
type usageError struct{ what string }

func (e *usageError) Error() string { return e.what }

// Hint says where the right usage is to be found.
func (e *usageError) Hint() string { return "hookbuild --help, or hookbuild VERB --help" }

func onUsageError(_ *cli.Context, err error, _ bool) error { return &usageError{err.Error()} }

// noVerb is reached without a verb, or with an unknown one.
func noVerb(c *cli.Context) error {
	if !c.Args().Present() {
		return cli.ShowAppHelp(c)
	}
	var verbs []string
	for _, v := range c.App.Commands {
		verbs = append(verbs, v.Names()...)
	}
	name := c.Args().First()
	return &usageError{fmt.Sprintf("there is no verb %q%s", name, strictyaml.DidYouMean(name, verbs))}
}

// bindVariable gives a flag its environment variable.
func bindVariable(f cli.Flag) {
	name := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Names()[0], "-", "_"))
	switch f := f.(type) {
	case *cli.StringFlag:
		f.EnvVars = []string{name}
	case *cli.BoolFlag:
		f.EnvVars = []string{name}
	case *cli.StringSliceFlag:
		f.EnvVars = []string{name}
	case *cli.DurationFlag:
		f.EnvVars = []string{name}
	case *cli.IntFlag:
		f.EnvVars = []string{name}
	default:
		panic(fmt.Sprintf("flag --%s has a type without a variable", f.Names()[0]))
	}
}

// completionFlag is the library's; it must stay the last argument.
const completionFlag = "--generate-bash-completion"

// interspersed moves flags before the positional arguments of a verb, since the library stops looking for
// flags at the first argument that is none. What follows "--" is positional.
func interspersed(app *cli.App, args []string) []string {
	if len(args) < 2 || args[len(args)-1] == completionFlag {
		return args
	}
	c := app.Command(args[1])
	if c == nil {
		return args
	}
	var flags, rest []string
	for todo := args[2:]; len(todo) > 0; todo = todo[1:] {
		arg := todo[0]
		if arg == "--" {
			rest = append(rest, todo[1:]...)
			break
		}
		if !strings.HasPrefix(arg, "-") || arg == "-" {
			rest = append(rest, arg)
			continue
		}
		flags = append(flags, arg)
		if takesValue(c, arg) && len(todo) > 1 {
			flags = append(flags, todo[1])
			todo = todo[1:]
		}
	}
	if len(rest) > 0 {
		rest = slices.Insert(rest, 0, "--")
	}
	return slices.Concat(args[:2], flags, rest)
}

// takesValue says whether the next argument belongs to the flag.
func takesValue(c *cli.Command, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	for _, f := range c.Flags {
		if _, isBool := f.(*cli.BoolFlag); !isBool && slices.Contains(f.Names(), name) {
			return true
		}
	}
	return false // --name=value, a switch, or unknown, which the library will say
}

// noMore refuses positional arguments that the verb has no use for.
func noMore(c *cli.Context, n int) error {
	if c.NArg() <= n {
		return nil
	}
	return &usageError{fmt.Sprintf("%s: unexpected argument %q", c.Command.Name, c.Args().Get(n))}
}
