package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/initramfs"
	"github.com/hookbuild/hookbuild/internal/inspect"
)

// configOfKernel is what --cat calls the configuration inside a kernel.
const configOfKernel = "config"

func (p *program) inspectCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "say what is in an initramfs or a kernel, or take files out of it",
		ArgsUsage: "FILE",
		Description: "Of an initramfs it lists what each of its archives has (gzip, zstd, xz, lz4 or not compressed), and of what the kernel\n" +
			"will silently make nothing. Of a kernel it says the version, and whether its configuration is in it.\n\n" +
			"Example:\n" +
			"  hookbuild inspect out/hook/initramfs-x86_64\n" +
			"  hookbuild inspect out/hook/initramfs-x86_64 --cat etc/os-release\n" +
			"  hookbuild inspect out/hook/vmlinuz-x86_64 --cat config",
		Flags: append(commonFlags(),
			&cli.StringFlag{Name: "cat", Usage: "print the content of `PATH`, symlinks followed; of a kernel, config is its configuration"},
			&cli.StringFlag{Name: "extract", Usage: "unpack an initramfs into `DIR`, which must be empty or not be there; owners and devices need root"},
		),
		Action: p.inspect,
	}
}

func (p *program) inspect(c *cli.Context) error {
	if err := noMore(c, 1); err != nil {
		return err
	}
	s, err := p.settings(c)
	if err != nil {
		return err
	}
	file, cat, dir := c.Args().First(), c.String("cat"), c.String("extract")
	switch {
	case file == "":
		return &usageError{"inspect: want a FILE, an initramfs or a kernel"}
	case cat != "" && (dir != "" || s.json):
		return &usageError{"inspect: --cat prints a file and goes with neither --extract nor --json"}
	}
	isKernel, err := inspect.IsKernelFile(file)
	if err != nil {
		return err
	}
	switch {
	case isKernel && dir != "":
		return &usageError{"inspect: --extract is for an initramfs; " + file + " is a kernel"}
	case isKernel:
		return p.inspectKernel(s, file, cat)
	case cat != "":
		i, err := inspect.Load(c.Context, file, nil)
		if err != nil {
			return err
		}
		return i.Cat(c.Context, cat, p.Stdout)
	case dir != "":
		return p.extract(c.Context, s, file, dir)
	}
	return p.list(c.Context, s, file)
}

// kernelJSON is the JSON form of a kernel.
type kernelJSON struct {
	Kind        string `json:"kind"` // kernel
	Format      string `json:"format"`
	Arch        string `json:"arch"`
	Release     string `json:"release"`
	Banner      string `json:"banner"`
	Compression string `json:"compression,omitempty"`
	Config      bool   `json:"config"`           // it is in the kernel
	Unread      string `json:"unread,omitempty"` // why it was not looked for to the end
}

func (p *program) inspectKernel(s settings, file, cat string) error {
	k, err := inspect.LoadKernel(file)
	if err != nil {
		return err
	}
	if cat != "" {
		return p.catKernel(k, file, cat)
	}
	if s.json {
		return p.printJSON(kernelJSON{"kernel", k.Format, k.Arch, k.Release, k.Banner, string(k.Compression), k.Config != nil, k.Unread})
	}
	config := "not in it"
	switch {
	case k.Config != nil:
		config = "in it; --cat config prints it"
	case k.Unread != "":
		config = "unknown: " + k.Unread
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"format", k.Format}, {"architecture", k.Arch}, {"version", k.Release}, {"", k.Banner},
		{"compression", compressionName(string(k.Compression))}, {"configuration", config},
	} {
		fmt.Fprintf(w, "%s\t%s\n", line[0], visible(line[1]))
	}
	return w.Flush()
}

func (p *program) catKernel(k *inspect.Kernel, file, cat string) error {
	switch {
	case cat != configOfKernel:
		return &usageError{"inspect: of a kernel, --cat prints config and nothing else"}
	case k.Config == nil && k.Unread != "":
		return &inspect.FileError{File: file, Err: errors.New("its configuration cannot be looked for: " + k.Unread)}
	case k.Config == nil:
		return &inspect.FileError{File: file, Err: errors.New("its configuration is not in it (CONFIG_IKCONFIG is not set)")}
	}
	_, err := p.Stdout.Write(k.Config)
	return err
}

func compressionName(c string) string {
	if c == "" {
		return "none"
	}
	return c
}

// The JSON form of an initramfs.
type (
	initramfsJSON struct {
		Kind     string        `json:"kind"`  // initramfs
		Bytes    int64         `json:"bytes"` // of the file
		Segments []segmentJSON `json:"segments"`
		Entries  []entryJSON   `json:"entries"`
		Dropped  []droppedJSON `json:"dropped"` // of which the kernel makes nothing
	}
	segmentJSON struct {
		Offset      int64  `json:"offset"`
		Compression string `json:"compression"` // none, gzip, zstd, xz or lz4
		Compressed  int64  `json:"compressed"`  // bytes in the file; 0 for a further archive in one stream
		Bytes       int64  `json:"bytes"`       // of the archive
		Entries     int    `json:"entries"`
		Microcode   bool   `json:"microcode"`
	}
	entryJSON struct {
		Segment int    `json:"segment"`
		Name    string `json:"name"`
		Kind    string `json:"kind"`
		Mode    string `json:"mode"` // four octal digits
		UID     uint32 `json:"uid"`
		GID     uint32 `json:"gid"`
		Links   uint32 `json:"links"`
		MTime   int64  `json:"mtime"`
		Bytes   int64  `json:"bytes"`
		Target  string `json:"target,omitempty"`
		Device  string `json:"device,omitempty"` // major:minor
	}
	droppedJSON struct {
		Segment int    `json:"segment"`
		Name    string `json:"name"`
		Why     string `json:"why"`
	}
)

// list prints what there is, entry by entry in the text form.
func (p *program) list(ctx context.Context, s settings, file string) error {
	out := &errWriter{w: p.Stdout}
	result := initramfsJSON{Kind: "initramfs", Segments: []segmentJSON{}, Entries: []entryJSON{}, Dropped: []droppedJSON{}}
	segment := -1
	i, err := inspect.Load(ctx, file, func(e initramfs.Entry) {
		if s.json {
			result.Entries = append(result.Entries, jsonEntry(e))
			return
		}
		if e.Segment != segment {
			segment = e.Segment
			fmt.Fprintf(out, "segment %d\n", segment)
		}
		fmt.Fprintln(out, entryLine(e))
	})
	if err := errors.Join(err, out.err); err != nil {
		return err
	}
	result.Bytes = i.Bytes
	for _, part := range i.Parts {
		result.Segments = append(result.Segments, segmentJSON{
			part.Offset, compressionName(string(part.Compression)), part.Packed, part.Size, part.Entries, part.Microcode,
		})
	}
	for _, d := range i.Dropped {
		result.Dropped = append(result.Dropped, droppedJSON(d))
	}
	if s.json {
		return p.printJSON(result)
	}
	for _, d := range i.Dropped {
		fmt.Fprintf(p.Stderr, "hookbuild: the kernel makes nothing of %s in segment %d: %s\n", visible(d.Name), d.Segment, d.Why)
	}
	return segmentTable(p.Stdout, result.Segments)
}

// errWriter remembers that writing failed: a listing has no use for each line's error.
type errWriter struct {
	w   io.Writer
	err error
}

func (w *errWriter) Write(p []byte) (n int, err error) {
	if w.err == nil {
		n, w.err = w.w.Write(p)
	}
	return n, w.err
}

func segmentTable(out io.Writer, segments []segmentJSON) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nSEGMENT\tCOMPRESSION\tOFFSET\tCOMPRESSED\tBYTES\tENTRIES\t")
	for i, s := range segments {
		note := ""
		if s.Microcode {
			note = "microcode"
		}
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\t%d\t%s\n", i, s.Compression, s.Offset, s.Compressed, s.Bytes, s.Entries, note)
	}
	return w.Flush()
}

// fileKinds are the types of st_mode, with the letter that ls has for each.
var fileKinds = map[uint32]struct{ letter, name string }{
	0o010000: {"p", "fifo"}, 0o020000: {"c", "character device"}, 0o040000: {"d", "directory"},
	0o060000: {"b", "block device"}, 0o100000: {"-", "file"}, 0o120000: {"l", "symlink"}, 0o140000: {"s", "socket"},
}

func isDevice(mode uint32) bool { return mode&0o170000 == 0o020000 || mode&0o170000 == 0o060000 }

func jsonEntry(e initramfs.Entry) entryJSON {
	j := entryJSON{
		Segment: e.Segment, Name: e.Name, Kind: fileKinds[e.Mode&0o170000].name, Mode: fmt.Sprintf("%04o", e.Mode&0o7777),
		UID: e.UID, GID: e.GID, Links: e.Links, MTime: e.MTime, Bytes: e.Size, Target: e.Target,
	}
	if isDevice(e.Mode) {
		j.Device = fmt.Sprintf("%d:%d", e.RMajor, e.RMinor)
	}
	return j
}

// entryLine is much as ls -l has it.
func entryLine(e initramfs.Entry) string {
	perm := []byte("rwxrwxrwx")
	for i := range perm {
		if e.Mode>>(8-i)&1 == 0 {
			perm[i] = '-'
		}
	}
	for _, special := range []struct {
		bit     uint32
		at      int
		letters string // with x, without
	}{{0o4000, 2, "sS"}, {0o2000, 5, "sS"}, {0o1000, 8, "tT"}} {
		switch {
		case e.Mode&special.bit == 0:
		case perm[special.at] == 'x':
			perm[special.at] = special.letters[0]
		default:
			perm[special.at] = special.letters[1]
		}
	}
	size := strconv.FormatInt(e.Size, 10)
	if isDevice(e.Mode) {
		size = fmt.Sprintf("%d:%d", e.RMajor, e.RMinor)
	}
	line := fmt.Sprintf("%s%s %3d %9s %10s  %s", fileKinds[e.Mode&0o170000].letter, perm, e.Links, fmt.Sprintf("%d:%d", e.UID, e.GID), size, visible(e.Name))
	if e.Target != "" {
		line += " -> " + visible(e.Target)
	}
	return line
}

// visible is s where a terminal shows it as it is, else quoted: a name from outside may have any bytes in it.
func visible(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return strconv.Quote(s)
}

// extracted is the JSON form of what --extract has done.
type extracted struct {
	Dir     string        `json:"dir"`
	Entries int           `json:"entries"`
	Left    []string      `json:"left"` // devices that were not made
	Dropped []droppedJSON `json:"dropped"`
}

func (p *program) extract(ctx context.Context, s settings, file, dir string) error {
	i, err := inspect.Load(ctx, file, nil)
	if err != nil {
		return err
	}
	left, err := i.Extract(ctx, dir, inspect.ExtractOptions{Owners: os.Geteuid() == 0})
	if err != nil {
		return err
	}
	result := extracted{Dir: dir, Entries: len(i.Tree.Entries()) - len(left), Left: append([]string{}, left...), Dropped: []droppedJSON{}}
	for _, d := range i.Dropped {
		result.Dropped = append(result.Dropped, droppedJSON(d))
	}
	if s.json {
		return p.printJSON(result)
	}
	for _, d := range left {
		fmt.Fprintf(p.Stderr, "hookbuild: %s is a device, which only root can make; it is left out\n", visible(d))
	}
	for _, d := range i.Dropped {
		fmt.Fprintf(p.Stderr, "hookbuild: the kernel makes nothing of %s in segment %d: %s\n", visible(d.Name), d.Segment, d.Why)
	}
	_, err = fmt.Fprintf(p.Stdout, "%d entries in %s\n", result.Entries, dir)
	return err
}
