package kernel

// Kind says what a kernel is made from.
type Kind string

// The kinds. The first three are compiled.
const (
	Package        Kind = "linux-source"    // a Debian package with the source
	Tarball        Kind = "tarball"         // the source as a tar, compressed or not, with one directory at its top
	Directory      Kind = "directory"       // the source, unpacked
	BinaryPackages Kind = "packages"        // Debian packages of a kernel
	BinaryTree     Kind = "kernel-and-tree" // a directory with vmlinuz, System.map, config and lib/modules
)

// Source is what a kernel is made from, by content. Where it is to be found is a matter of Inputs, and who vouches
// for it of the lock: another signature under the same bytes makes no other kernel.
type Source struct {
	Kind    Kind     `json:"kind"`
	Version string   `json:"version,omitempty"` // Debian's, or kernel.org's; empty where nobody says
	SHA256  []string `json:"sha256"`            // of the files, in order; of a directory's content
}

func (s Source) compiled() bool { return s.Kind != BinaryPackages && s.Kind != BinaryTree }

// form is what the scripts call it.
func (s Source) form() string {
	switch s.Kind {
	case Package:
		return "package"
	case Tarball:
		return "tarball"
	case BinaryPackages:
		return "packages"
	}
	return "tree"
}
