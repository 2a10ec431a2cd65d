package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/inspect"
)

func (p *program) diffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "compare two initramfs files, or two kernels",
		ArgsUsage: "A B",
		Description: "It compares what a kernel would make of them: kinds, modes, owners, contents, not times and not how they are compressed. Of\n" +
			"kernels it compares the versions, and the configurations where both have theirs in them. The exit code is 6 where they differ.\n\n" +
			"Example:\n" +
			"  hookbuild diff old/initramfs-x86_64 out/hook/initramfs-x86_64",
		Flags:  commonFlags(),
		Action: p.diff,
	}
}

// differentError says that there is a difference, which has been shown.
type differentError struct{ added, removed, changed int }

func (e *differentError) Error() string {
	return fmt.Sprintf("they differ: %d added, %d removed, %d changed", e.added, e.removed, e.changed)
}

// differenceJSON is the JSON form of the result.
type differenceJSON struct {
	A sideJSON `json:"a"`
	B sideJSON `json:"b"`
	inspect.Difference
}

type sideJSON struct {
	File     string `json:"file"`
	Bytes    int64  `json:"bytes,omitempty"`    // of the file of an initramfs
	Unpacked int64  `json:"unpacked,omitempty"` // bytes of contents, hard links once
}

func (p *program) diff(c *cli.Context) error {
	if err := noMore(c, 2); err != nil {
		return err
	}
	s, err := p.settings(c)
	if err != nil {
		return err
	}
	if c.NArg() != 2 {
		return &usageError{"diff: want two files, A and B"}
	}
	d, err := compareFiles(c.Context, c.Args().Get(0), c.Args().Get(1))
	if err != nil {
		return err
	}
	if s.json {
		err = p.printJSON(d)
	} else {
		err = p.showDifference(d)
	}
	if err != nil || d.None() {
		return err
	}
	return &differentError{len(d.Added), len(d.Removed), len(d.Changed)}
}

func compareFiles(ctx context.Context, a, b string) (differenceJSON, error) {
	d := differenceJSON{A: sideJSON{File: a}, B: sideJSON{File: b}}
	kernelA, err := inspect.IsKernelFile(a)
	if err != nil {
		return d, err
	}
	kernelB, err := inspect.IsKernelFile(b)
	if err != nil {
		return d, err
	}
	switch {
	case kernelA != kernelB:
		return d, &usageError{"diff: one is a kernel and the other is not"}
	case kernelA:
		d.Difference, err = compareKernels(a, b)
		return d, err
	}
	before, err := inspect.Load(ctx, a, nil)
	if err != nil {
		return d, err
	}
	after, err := inspect.Load(ctx, b, nil)
	if err != nil {
		return d, err
	}
	d.A.Bytes, d.A.Unpacked = before.Bytes, before.Content()
	d.B.Bytes, d.B.Unpacked = after.Bytes, after.Content()
	d.Difference = inspect.Diff(before.Tree, after.Tree)
	return d, nil
}

func compareKernels(a, b string) (inspect.Difference, error) {
	before, err := inspect.LoadKernel(a)
	if err != nil {
		return inspect.Difference{}, err
	}
	after, err := inspect.LoadKernel(b)
	if err != nil {
		return inspect.Difference{}, err
	}
	return inspect.DiffKernels(before, after), nil
}

func (p *program) showDifference(d differenceJSON) error {
	out := &errWriter{w: p.Stdout}
	for _, f := range d.Removed {
		fmt.Fprintf(out, "- %s%s\n", visible(f.Path), sizeNote(f))
	}
	for _, f := range d.Added {
		fmt.Fprintf(out, "+ %s%s\n", visible(f.Path), sizeNote(f))
	}
	for _, ch := range d.Changed {
		what := strings.Join(ch.What, ", ")
		if ch.OldBytes != ch.NewBytes {
			what += fmt.Sprintf(", %d -> %d bytes", ch.OldBytes, ch.NewBytes)
		}
		fmt.Fprintf(out, "~ %s: %s\n", visible(ch.Path), visible(what))
	}
	if d.None() {
		fmt.Fprintln(out, "no difference")
	}
	if d.A.Bytes > 0 {
		fmt.Fprintf(out, "%s -> %s unpacked, %s -> %s as they are\n",
			mebibytes(d.A.Unpacked), mebibytes(d.B.Unpacked), mebibytes(d.A.Bytes), mebibytes(d.B.Bytes))
	}
	return out.err
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// sizeNote is what stands behind a path: the size of a file, else the kind.
func sizeNote(f inspect.File) string {
	switch f.Kind {
	case "file":
		return fmt.Sprintf(", %d bytes", f.Bytes)
	case "option":
		return ""
	}
	return ", " + f.Kind
}
