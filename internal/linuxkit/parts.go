package linuxkit

import (
	"path"
	"slices"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// PartKind is a sort of thing that a root file system is made of.
type PartKind uint8

// The kinds of parts, in the order of Result.Segments: small things before the large ones that lie in their
// directories, and what changes often last.
const (
	PartBase     PartKind = iota // the root file system that everything else is laid over
	PartInit                     // an init image
	PartKernel                   // the modules of the kernel image
	PartBundle                   // config.json, runtime.json and mount points of a container or volume
	PartVolume                   // the image in a volume
	PartImage                    // the image of one or more containers
	PartFiles                    // the files section
	PartEmbedded                 // an image for the Docker inside; AddPart makes it known
	PartOther                    // anything else, such as what is added to the tree after Assemble
)

// Part is where an entry of the root file system comes from.
type Part struct {
	Kind  PartKind
	Name  string   // the container or volume, as in onboot/000-dhcp, services/ntp, volumes/data; else ""
	Image string   // the image's reference, where it comes from one
	Users []string // of PartImage: the containers that run on the image, Name the first of them

	// Unprivileged are those of Users that do not begin as root and may gain privileges: what capabilities(7) a
	// file of the image brings they may count on.
	Unprivileged []string
}

// String names the part for people: "init image linuxkit/init:1", "services/ntp".
func (p Part) String() string {
	switch p.Kind {
	case PartBase:
		return "base"
	case PartInit:
		return "init image " + p.Image
	case PartKernel:
		return p.Image + " kernel.tar"
	case PartBundle:
		return "bundle " + p.Name
	case PartVolume, PartImage:
		return "image " + p.Image + " of " + p.Name
	case PartFiles:
		return "files"
	case PartEmbedded:
		return "embedded image " + p.Image
	}
	return "other"
}

// parts keeps who brought what: the origin of an entry leads to its part.
type parts struct {
	list     []*Part
	byOrigin map[string]int // index into list
}

// add makes p known and returns the origin that its entries are to have.
func (ps *parts) add(p Part) string { return ps.addAs(p.String(), &p) }

// addAs does so for an origin that says more than the part's name, and for a part that is not complete yet.
func (ps *parts) addAs(origin string, p *Part) string {
	if _, known := ps.byOrigin[origin]; !known {
		if ps.byOrigin == nil {
			ps.byOrigin = map[string]int{}
		}
		ps.byOrigin[origin] = len(ps.list)
		ps.list = append(ps.list, p)
	}
	return origin
}

// AddPart makes p, which is added to the tree after Assemble, a part of its own, and returns the origin that its
// entries are to have.
func (r *Result) AddPart(p Part) (origin string) { return r.parts.add(p) }

// PartOf returns the part that e, an entry of the result's tree, comes from.
func (r *Result) PartOf(e filetree.Entry) Part {
	if i, ok := r.parts.byOrigin[e.Origin]; ok {
		return *r.parts.list[i]
	}
	return Part{Kind: PartOther}
}

// Segment is a run of entries to be archived on its own.
type Segment struct {
	// Name is unique in one result and the same in the next: "base", "init image IMAGE", "kernel", "containers"
	// (all bundles), "image IMAGE of CONTAINER", "files", "other".
	Name    string
	Entries []filetree.Entry
}

// Segments divides the entries that r.Tree has now, each into one segment: one for each image, one for the
// kernel's modules, one for all bundles, one for the files section, one for each embedded image, one for the rest. The order of segments
// and of their entries is the order to unpack them in: a directory stands in the first segment that has
// something below it, so that a parent always comes first. The names of one inode stand in one segment,
// the first that any of them belongs to. Segments are never empty.
func (r *Result) Segments() []Segment {
	entries := r.Tree.Entries()
	names, ofPart := r.parts.segments()
	all := make([]Segment, len(names))
	for i, rank := range r.ranks(entries, ofPart, len(names)-1) {
		all[rank].Name = names[rank]
		all[rank].Entries = append(all[rank].Entries, entries[i])
	}
	return slices.DeleteFunc(all, func(s Segment) bool { return len(s.Entries) == 0 })
}

// segments names the segments in their order, and says which of them each part goes to. The last is the one
// for entries of no part.
func (ps *parts) segments() (names []string, ofPart []int) {
	ofPart = make([]int, len(ps.list))
	for kind, joined := range []string{
		PartBase: "base", PartInit: "", PartKernel: "kernel", PartBundle: "containers", PartVolume: "", PartImage: "",
		PartFiles: "files", PartEmbedded: "", PartOther: "other",
	} {
		if joined != "" {
			names = append(names, joined)
		}
		for i, p := range ps.list {
			if p.Kind != PartKind(kind) {
				continue
			}
			if joined == "" {
				names = append(names, p.String())
			}
			ofPart[i] = len(names) - 1
		}
	}
	return names, ofPart
}

// ranks says for each entry which segment it stands in.
func (r *Result) ranks(entries []filetree.Entry, ofPart []int, other int) []int {
	ranks := make([]int, len(entries))
	at := make(map[string]int, len(entries)) // index by path
	ofInode := map[*filetree.Inode]int{}
	for i, e := range entries {
		at[e.Path] = i
		ranks[i] = other
		if part, ok := r.parts.byOrigin[e.Origin]; ok {
			ranks[i] = ofPart[part]
		}
		if rank, ok := ofInode[e.Inode]; !ok || ranks[i] < rank {
			ofInode[e.Inode] = ranks[i]
		}
	}
	for i := len(entries) - 1; i >= 0; i-- { // what a directory holds comes after it, so it is settled already
		e := entries[i]
		if e.Kind != filetree.Dir {
			ranks[i] = ofInode[e.Inode]
		}
		parent := at[path.Dir(e.Path)]
		ranks[parent] = min(ranks[parent], ranks[i])
	}
	return ranks
}
