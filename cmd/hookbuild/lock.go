package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/plan"
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
			Name: "update", Usage: "take the newest packages, those of drivers among them if it has been asked, of a series of kernel.org the newest release, and what images' names and a bundle's URL mean now",
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
	written, changes := j.Lock.Written, resolve.Changes(j.Lock)
	if c.Bool("update") {
		hardware, err := w.updateHardware(c.Context, j.Flavor.Arch)
		if err != nil {
			return err
		}
		written = written || hardware.Written
		for _, change := range resolve.Changes(hardware) {
			change.Set = "drivers/" + change.Set
			changes = append(changes, change)
		}
	}
	w.report.Close()
	if w.json {
		return p.printJSON(map[string]any{"flavor": j.Flavor.ID, "written": written, "changes": changes})
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

// updateHardware takes the newest of what drivers looks devices up in, where the lock has that.
func (w *workshop) updateHardware(ctx context.Context, arch plan.Arch) (resolve.Result, error) {
	lock, err := resolve.ReadLock(w.request.LockFile)
	if err != nil || !lock.HasHardware(arch) {
		return resolve.Result{}, err
	}
	series, err := hardwareSeries(w.config, arch)
	if err != nil {
		return resolve.Result{}, err
	}
	o := resolve.Options{LockFile: w.request.LockFile, Suite: w.request.Suite, Update: true}
	return resolve.Hardware(ctx, arch, series, o, w.builder.Packages)
}
