package linuxkit

import (
	"bytes"
	"fmt"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

const (
	// apkDatabase is where Alpine says which packages are installed; scanners look there.
	apkDatabase = "lib/apk/db/installed"
	// maxAPKDatabase is how many bytes of it are taken; Alpine's largest images have two million.
	maxAPKDatabase = 64 << 20
)

// keepAPKDatabase remembers the list of an init image, which the next one's would replace.
func (a *assembly) keepAPKDatabase(t *filetree.Tree) {
	if e, ok := t.Lookup(apkDatabase); ok && e.Kind == filetree.Regular {
		a.apk = append(a.apk, e.Data)
	}
}

// addAPKDatabase writes all lists as one, as LinuxKit does.
func (a *assembly) addAPKDatabase() error {
	if len(a.apk) < 2 {
		return nil
	}
	var size int64
	for _, list := range a.apk {
		size += list.Size()
	}
	if size > maxAPKDatabase {
		a.warnf("/%s: the lists of the init images have %d bytes and are not joined", apkDatabase, size)
		return nil
	}
	var b bytes.Buffer
	for _, list := range a.apk {
		data, err := list.ReadAll()
		if err != nil {
			return fmt.Errorf("/%s: %w", apkDatabase, err)
		}
		b.Write(data)
		b.WriteString("\n\n")
	}
	return a.tree.Add(apkDatabase, regular(b.Bytes(), 0o644), a.result.parts.add(Part{Kind: PartOther}))
}
