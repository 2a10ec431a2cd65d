package linuxkit

import (
	"fmt"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// ImageConfig is the part of an image's configuration that LinuxKit looks at. The user is not part of it.
type ImageConfig struct {
	Entrypoint []string
	Cmd        []string
	Env        []string
	WorkingDir string
	Labels     map[string]string
}

// Image is a container image with its layers applied.
type Image struct {
	Tree   *filetree.Tree
	Config ImageConfig
	Digest string // identifies the content: containers whose images share it share their files; may be empty
}

// hosts is the /etc/hosts of everything in HookOS; an image's own is a placeholder of the engine that
// exported it.
const hosts = "127.0.0.1\tlocalhost\n" +
	"::1\tlocalhost ip6-localhost ip6-loopback\n" +
	"fe00::0\tip6-localnet\n" +
	"ff00::0\tip6-mcastprefix\n" +
	"ff02::1\tip6-allnodes\n" +
	"ff02::2\tip6-allrouters\n"

// resolvConf is what a container has until something is mounted over it.
const resolvConf = "\n# written at run time\n"

// initResolvConf is where the root's /etc/resolv.conf leads: / is read-only at run time, /run is not.
const initResolvConf = "/run/resolvconf/resolv.conf"

// ignored says which entries of an image never reach HookOS: traces of Docker, and what only makes sense in
// the running container that was exported.
func ignored(p string) bool {
	switch p {
	case ".dockerenv", "Dockerfile", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf":
		return true
	}
	return false
}

// unpack returns the files of img as they are laid out in HookOS: without what is ignored, and with the
// places that a container's mounts and a resolver need. resolver is the inode of etc/resolv.conf. origin is
// what all entries get.
func unpack(img Image, origin string, resolver *filetree.Inode) (*filetree.Tree, error) {
	t, err := copyTree(img.Tree, origin, ignored)
	if err == nil {
		err = addSpecial(t, origin, resolver)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", origin, err)
	}
	return t, nil
}

// copyTree returns a tree of what skip does not want left out; it may be nil. The inodes are copies, hard
// links among them kept: an image that is unpacked twice must not end up as links from one place to the other.
func copyTree(from *filetree.Tree, origin string, skip func(path string) bool) (*filetree.Tree, error) {
	t := filetree.New()
	copies := map[*filetree.Inode]*filetree.Inode{}
	for _, e := range from.Entries() {
		if skip != nil && skip(e.Path) {
			continue
		}
		if copies[e.Inode] == nil {
			n := *e.Inode
			copies[e.Inode] = &n
		}
		if err := t.Add(e.Path, copies[e.Inode], origin); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// addSpecial adds what every unpacked image has.
func addSpecial(t *filetree.Tree, origin string, resolver *filetree.Inode) error {
	for _, dir := range []string{"dev", "dev/pts", "dev/shm", "etc", "proc", "sys"} {
		if err := ensureDir(t, dir, origin); err != nil {
			return err
		}
	}
	if _, ok := t.Lookup("etc/mtab"); !ok {
		if err := t.Add("etc/mtab", symlink("/proc/mounts"), origin); err != nil {
			return err
		}
	}
	if err := t.Add("etc/hosts", regular([]byte(hosts), 0o644), origin); err != nil {
		return err
	}
	return t.Add("etc/resolv.conf", resolver, origin)
}

// ensureDir makes p a directory; the mode of one that exists stays.
func ensureDir(t *filetree.Tree, p, origin string) error {
	if e, ok := t.Lookup(p); ok && e.Kind == filetree.Dir {
		return nil
	}
	return t.Add(p, directory(0o755), origin)
}

func regular(data []byte, perm uint32) *filetree.Inode {
	return &filetree.Inode{Kind: filetree.Regular, Perm: perm, Data: filetree.Bytes(data)}
}

func directory(perm uint32) *filetree.Inode {
	return &filetree.Inode{Kind: filetree.Dir, Perm: perm}
}

func symlink(target string) *filetree.Inode {
	return &filetree.Inode{Kind: filetree.Symlink, Perm: 0o777, Target: target}
}
