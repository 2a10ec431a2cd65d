package artifacts

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteText writes the report for a person to read.
func (r *Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	a := r.Archive
	fmt.Fprintf(t, "initramfs: %s, %s level %d; unpacked %s in %d entries\n", mib(a.Compressed), a.Compression, a.Level, mib(r.Bytes), r.Entries)
	fmt.Fprintf(t, "memory that a machine needs to unpack it, the kernel not counted: %s\n", mib(r.Memory.Needed))
	fmt.Fprintf(t, "\nsegments\tentries\tunpacked\tcompressed\t\n")
	for _, s := range a.Segments {
		fmt.Fprintf(t, "\t%d\t%s\t%s\t  %s\n", s.Entries, mib(s.Bytes), mib(s.Compressed), s.Name)
	}
	writeSizes(t, "containers", r.Containers)
	writeSizes(t, "directories", r.Directories)
	writeSizes(t, "types", r.Types)
	writeSizes(t, "largest files", r.Files)
	fmt.Fprintf(t, "\nequal files that became hard links save %s\n", mib(a.Linked))
	fmt.Fprintf(t, "equal files in different segments, or with different modes or owners, waste %s\n", mib(r.Wasted))
	for _, d := range r.Duplicates {
		fmt.Fprintf(t, "\t\t%s\t\t  %s\n", mib(d.Wasted), strings.Join(d.Paths, ", "))
	}
	for _, l := range r.LostCapabilities {
		needed := "nobody there needs them"
		if len(l.NeededBy) > 0 {
			needed = "needed by " + strings.Join(l.NeededBy, ", ")
		}
		fmt.Fprintf(t, "capabilities lost: %s (%s)\n", l.Path, needed)
	}
	return t.Flush()
}

func writeSizes(w io.Writer, title string, sizes []Size) {
	fmt.Fprintf(w, "\n%s\tentries\tunpacked\t\n", title)
	for _, s := range sizes {
		fmt.Fprintf(w, "\t%d\t%s\t\t  %s\n", s.Entries, mib(s.Bytes), s.Name)
	}
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
