package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// release is hookbuild's version. It stands in the outputs and enters the plan id, so it is a constant and
// not what a build system makes of a checkout.
const release = "0.1.0"

func (p *program) versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version",
		Description: "Example:\n  hookbuild version --json",
		Flags:       commonFlags(),
		Action:      p.version,
	}
}

func (p *program) version(c *cli.Context) error {
	if err := noMore(c, 0); err != nil {
		return err
	}
	s, err := p.settings(c)
	if err != nil {
		return err
	}
	if s.json {
		return p.printJSON(map[string]string{
			"version": release, "revision": revision(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
		})
	}
	_, err = fmt.Fprintf(p.Stdout, "hookbuild %s %s%s/%s %s\n", release, spaced(revision()), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return err
}

func spaced(s string) string {
	if s == "" {
		return ""
	}
	return s + " "
}

// revision is the commit that the program was built from, "" where the build did not note it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
