package filetree

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"fmt"
	"slices"
)

// ListingFormat names the binary form of a Listing, and what List makes of a tar: it has to change with either.
const ListingFormat = "listing1"

// Listing is what a tar holds, in the order of the tar, but for the contents of its files, of which it has place and
// digest. It can be kept, so that a tar is read only once.
type Listing struct {
	entries   []tarEntry
	whiteouts []whiteout
}

// bound returns the entries with their contents in src, each with an inode of its own.
func (l *Listing) bound(src Blob) []tarEntry {
	entries := slices.Clone(l.entries)
	for i, e := range entries {
		inode := *e.inode
		if inode.Kind == Regular && e.link == "" {
			inode.Data = src.part(e.body.offset, e.body.size, e.body.sum)
		}
		entries[i].inode = &inode
	}
	return entries
}

// The binary form: gob writes only exported names.
type (
	storedListing struct {
		Entries   []storedEntry
		Whiteouts []storedWhiteout
	}
	storedEntry struct {
		Name, Path, Link, Target     string
		Kind                         Kind
		Perm, UID, GID, Major, Minor uint32
		Xattrs                       []string
		Offset, Size                 int64
		Sum                          []byte
	}
	storedWhiteout struct {
		Entry, Dir, Name string
		Opaque           bool
	}
)

// MarshalBinary returns the form that UnmarshalBinary of the same ListingFormat reads.
func (l *Listing) MarshalBinary() ([]byte, error) {
	var s storedListing
	for _, e := range l.entries {
		n := e.inode
		stored := storedEntry{
			Name: e.name, Path: e.path, Link: e.link, Target: n.Target, Kind: n.Kind, Perm: n.Perm,
			UID: n.UID, GID: n.GID, Major: n.Major, Minor: n.Minor, Xattrs: e.xattrs,
		}
		if n.Kind == Regular && e.link == "" {
			stored.Offset, stored.Size, stored.Sum = e.body.offset, e.body.size, e.body.sum[:]
		}
		s.Entries = append(s.Entries, stored)
	}
	for _, w := range l.whiteouts {
		s.Whiteouts = append(s.Whiteouts, storedWhiteout{w.entry, w.dir, w.name, w.opaque})
	}
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(s)
	return b.Bytes(), err
}

// UnmarshalBinary reads what MarshalBinary wrote. It is no reader of foreign bytes: what they say of a tar is
// believed.
func (l *Listing) UnmarshalBinary(data []byte) error {
	var s storedListing
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&s); err != nil {
		return err
	}
	*l = Listing{}
	for _, e := range s.Entries {
		entry := tarEntry{name: e.Name, path: e.Path, link: e.Link, xattrs: e.Xattrs, inode: &Inode{
			Kind: e.Kind, Perm: e.Perm, UID: e.UID, GID: e.GID, Major: e.Major, Minor: e.Minor, Target: e.Target,
		}}
		if e.Link == "" {
			entry.inode.Xattrs = e.Xattrs
		}
		if e.Kind == Regular && e.Link == "" {
			if len(e.Sum) != sha256.Size {
				return fmt.Errorf("%s: a digest of %d bytes, want %d", e.Name, len(e.Sum), sha256.Size)
			}
			entry.body = body{e.Offset, e.Size, [sha256.Size]byte(e.Sum)}
		}
		l.entries = append(l.entries, entry)
	}
	for _, w := range s.Whiteouts {
		l.whiteouts = append(l.whiteouts, whiteout{w.Entry, w.Dir, w.Name, w.Opaque})
	}
	return nil
}
