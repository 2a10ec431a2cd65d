package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/resolve"
)

func (p *program) lockCommand() *cli.Command {
	return &cli.Command{
		Name: "lock", Usage: "pin a flavor's packages, kernel and images in hookbuild.lock",
		ArgsUsage: "[FLAVOR]",
		Description: "Without --update, only what the lock lacks or was asked for otherwise is resolved.\n\n" +
			"Example:\n" +
			"  hookbuild lock hook-default-amd64 --update",
		Flags: slices.Concat(flavorFlags(), compositionFlags(), inputFlags(), []cli.Flag{&cli.BoolFlag{
			Name: "update", Usage: "take the newest packages, of a series of kernel.org the newest release, and what images' names and a bundle's URL mean now",
		}}),
		Action: p.lock,
	}
}

func (p *program) lock(c *cli.Context) (err error) {
	w, err := p.workshop(c.Context, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	w.request.Refresh, w.request.Update = true, c.Bool("update")
	j, err := w.job(c.Context)
	if err != nil {
		return err
	}
	w.report.Close()
	changes := resolve.Changes(j.Lock)
	if w.json {
		return p.printJSON(map[string]any{"flavor": j.Flavor.ID, "written": j.Lock.Written, "changes": changes})
	}
	var text strings.Builder
	if len(changes) == 0 {
		fmt.Fprintf(&text, "%s: the lock stays as it is\n", j.Flavor.ID)
	}
	for _, ch := range changes {
		fmt.Fprintln(&text, ch)
	}
	_, err = io.WriteString(p.Stdout, text.String())
	return err
}
