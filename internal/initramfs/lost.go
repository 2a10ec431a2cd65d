package initramfs

import (
	"slices"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// capabilityXattr is where Linux keeps the capabilities of a program (capabilities(7)).
const capabilityXattr = "security.capability"

// LostCapabilities returns the files of t that came with capabilities, in the order of the tree. They will run
// without them: newc has no place for extended attributes.
func LostCapabilities(t *filetree.Tree) []filetree.Entry {
	var lost []filetree.Entry
	for _, e := range t.Entries() {
		if e.Kind == filetree.Regular && slices.Contains(e.Xattrs, capabilityXattr) {
			lost = append(lost, e)
		}
	}
	return lost
}
