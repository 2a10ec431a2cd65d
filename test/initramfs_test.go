package test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/boot"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/initramfs"
	"github.com/hookbuild/hookbuild/internal/initramfs/initramfstest"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// listFiles is a first process that says what there is: for each path its kind, mode, links, device, inode, owner,
// time, and the target or the digest of the content. Its busybox lies beside it in /.t, which it leaves out.
const listFiles = `#!/.t/busybox sh
PATH=/.t/bin
/.t/busybox mkdir /.t/bin
/.t/busybox --install -s /.t/bin
cd /
find . -xdev ! -path './.t*' ! -path ./init | while IFS= read -r f; do
	value=
	[ -h "$f" ] && value=$(readlink "$f")
	[ -f "$f" ] && [ ! -h "$f" ] && value=$(sha256sum <"$f" | cut -c1-64)
	echo "LIST|$f|$(stat -c '%F|%a|%h|%t:%T|%i|%u:%g|%Y' "$f")|$value"
done
echo LISTED
poweroff -f
`

// listed is a path as the guest sees it.
type listed struct {
	path, kind, perm, links, device, inode, owner, mtime, value string
}

// withLister is the tree with the first process. The kernel runs it with an empty /dev/console, which it brings.
func withLister(t *testing.T, tree *filetree.Tree) *filetree.Tree {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("this test needs a static busybox (make test-tools installs it): %v", err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	add(t, tree, "init", &filetree.Inode{Perm: 0o755, Data: filetree.Bytes([]byte(listFiles))}, "lister")
	add(t, tree, ".t/busybox", &filetree.Inode{Perm: 0o755, Data: filetree.Bytes(program)}, "lister")
	return tree
}

func add(t *testing.T, tree *filetree.Tree, p string, n *filetree.Inode, origin string) {
	t.Helper()
	if err := tree.Add(p, n, origin); err != nil {
		t.Fatal(err)
	}
}

// qemu is what boots need.
type qemu struct{ image, kernel string }

// newQEMU takes Debian's kernel and the image with QEMU, which `boot` makes.
func newQEMU(t *testing.T) qemu {
	t.Helper()
	p := newProject(t)
	p.run("all", "hook-debian-amd64")
	// It makes the image first. A boot of HookOS is not what this is about.
	if err := p.command(t.Context(), "boot", "hook-debian-amd64", "--timeout", "1s").Run(); err == nil {
		t.Error("HookOS was ready within a second")
	}
	set, ok := p.lock("hook-debian-amd64").Find(resolve.BootSet)
	if !ok {
		t.Fatal("the lock has no packages for QEMU")
	}
	ref := base.Set{Name: set.Name, Arch: set.Arch, Packages: set.Packages}.Ref()
	return qemu{image: ref, kernel: p.path("out/hook/vmlinuz-x86_64")}
}

// list boots the kernel with the initramfs and returns what the first process lists, by path.
func (q qemu) list(t *testing.T, image []byte) map[string]listed {
	t.Helper()
	file := filepath.Join(t.TempDir(), "initramfs")
	if err := os.WriteFile(file, image, 0o600); err != nil {
		t.Fatal(err)
	}
	var console bytes.Buffer
	_, err := boot.Run(t.Context(), connect(t), boot.Options{
		Image: q.image, Arch: plan.X8664, Accel: boot.TCG, Kernel: q.kernel, Initramfs: file, MemoryBytes: 1 << 30,
		Append: "quiet loglevel=1 panic=-1", Expect: "LISTED", Timeout: 10 * time.Minute, Console: &console, Now: time.Now,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, console.Bytes())
	}
	files := map[string]listed{}
	for line := range strings.Lines(console.String()) {
		_, text, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "LIST|")
		f := strings.SplitN(text, "|", 9)
		if ok && len(f) == 9 {
			f[0] = strings.TrimPrefix(f[0], "./")
			files[f[0]] = listed{f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8]}
		}
	}
	return files
}

// TestKernelUnpacks has Debian's kernel unpack what is written in every form, and compares all it sees with the tree.
// It also holds the reader's rules to the kernel.
func TestKernelUnpacks(t *testing.T) {
	q := newQEMU(t)
	for name, o := range map[string]initramfs.Options{
		"gzip":                {},
		"zstd, linked, small": {Compression: initramfs.Zstd, Level: 4, Dedup: true},
	} {
		t.Run(name, func(t *testing.T) { checkSegments(t, q, o) })
	}
	t.Run("rules", func(t *testing.T) { checkRules(t, q) })
}

// oddTree is a tree with everything that an initramfs can hold.
func oddTree(t *testing.T) *filetree.Tree {
	t.Helper()
	tree := withLister(t, filetree.New())
	text := func(perm uint32, s string) *filetree.Inode {
		return &filetree.Inode{Perm: perm, Data: filetree.Bytes([]byte(s))}
	}
	owned := text(0o4711, "owned and setuid")
	owned.UID, owned.GID = 1000, 4_000_000_000
	same := strings.Repeat("the same ", 2000)
	for p, n := range map[string]*filetree.Inode{
		"etc/owned":                         owned,
		"etc/empty":                         text(0o600, ""),
		"names/with space":                  text(0o644, "1"),
		"names/-dash":                       text(0o644, "2"),
		"names/" + strings.Repeat("n", 255): text(0o644, "3"),
		"names/TRAILER!!!":                  text(0o000, "4"),
		"tmp":                               {Kind: filetree.Dir, Perm: 0o1777, UID: 1, GID: 2},
		"lib":                               {Kind: filetree.Symlink, Target: "usr/lib"},
		"usr/lib/large":                     text(0o644, strings.Repeat("0123456789", 500_000)),
		"far":                               {Kind: filetree.Symlink, Target: "/no/such/" + strings.Repeat("x", 3000)},
		"run/fifo":                          {Kind: filetree.FIFO, Perm: 0o620},
		"dev/console":                       {Kind: filetree.Char, Perm: 0o600, Major: 5, Minor: 1},
		"dev/disk":                          {Kind: filetree.Block, Perm: 0o660, GID: 6, Major: 8, Minor: 17},
		"dev/last":                          {Kind: filetree.Block, Perm: 0o660, Major: 4095, Minor: 1048575},
		"copies/a":                          text(0o644, same),
		"copies/b":                          text(0o644, same),
		"copies/c":                          text(0o600, same),
		"usr/copy":                          text(0o644, same),
	} {
		add(t, tree, p, n, strings.SplitN(p, "/", 2)[0])
	}
	for p, target := range map[string]string{"usr/lib/large2": "usr/lib/large", "names/link": "usr/lib/large", "run/fifo2": "run/fifo", "dev/disk2": "dev/disk"} {
		if err := tree.Link(p, target, "links"); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

func checkSegments(t *testing.T, q qemu, o initramfs.Options) {
	const epoch = 1_700_000_000
	tree := oddTree(t)
	o.Epoch = epoch
	var image bytes.Buffer
	segments := initramfs.Split(tree, func(e filetree.Entry) string { return e.Origin })
	stats, err := initramfs.WriteSegments(t.Context(), &image, segments, o, t.TempDir())
	if err != nil || len(stats.Segments) < 5 {
		t.Fatalf("got %d segments, %v", len(stats.Segments), err)
	}
	got := q.list(t, image.Bytes())
	checkLinks(t, got, o.Dedup)
	delete(got, "root") // the kernel's own
	for _, e := range tree.Entries() {
		if e.Path == "init" || strings.HasPrefix(e.Path, ".t") {
			continue
		}
		want := expected(e, epoch)
		is := got[e.Path]
		delete(got, e.Path)
		is.inode, is.links = "", ""
		if e.Path == "dev/console" || e.Path == "." { // they have been used
			is.mtime, want.mtime = "", ""
		}
		if is != want {
			t.Errorf("got  %+v\nwant %+v", is, want)
		}
	}
	for p := range got {
		t.Errorf("%s is too much", p)
	}
}

// expected is how the guest has to see the entry.
func expected(e filetree.Entry, epoch int64) listed {
	l := listed{path: e.Path, perm: fmt.Sprintf("%o", e.Perm), device: "0:0", owner: fmt.Sprintf("%d:%d", e.UID, e.GID), mtime: fmt.Sprint(epoch)}
	switch e.Kind {
	case filetree.Dir:
		l.kind = "directory"
	case filetree.Symlink:
		l.kind, l.perm, l.value = "symbolic link", "777", e.Target
	case filetree.FIFO:
		l.kind = "fifo"
	case filetree.Char, filetree.Block:
		l.kind = map[filetree.Kind]string{filetree.Char: "character special file", filetree.Block: "block special file"}[e.Kind]
		l.device = fmt.Sprintf("%x:%x", e.Major, e.Minor)
	default:
		sum := e.Data.SHA256()
		l.kind, l.value = "regular file", fmt.Sprintf("%x", sum)
		if e.Data.Size() == 0 {
			l.kind, l.value = "regular empty file", fmt.Sprintf("%x", sha256.Sum256(nil))
		}
	}
	return l
}

// checkLinks asserts which paths are one file.
func checkLinks(t *testing.T, got map[string]listed, dedup bool) {
	t.Helper()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"usr/lib/large", "usr/lib/large2", true}, {"usr/lib/large", "names/link", true},
		{"run/fifo", "run/fifo2", true}, {"dev/disk", "dev/disk2", true},
		{"copies/a", "copies/b", dedup}, {"copies/a", "copies/c", false}, {"copies/a", "usr/copy", false},
	} {
		if same := got[c.a].inode == got[c.b].inode; same != c.same {
			t.Errorf("%s and %s are one file: %v, want %v", c.a, c.b, same, c.same)
		}
	}
}

// checkRules boots with all rules below directories of their own, and with each that is about the root alone.
func checkRules(t *testing.T, q qemu) {
	var together bytes.Buffer
	rules := initramfstest.Rules()
	for i, r := range rules {
		if r.Alone {
			t.Run(r.Name, func(t *testing.T) {
				var image bytes.Buffer
				squeeze(t, &image, r.Archives(""))
				compareRule(t, q.list(t, finish(t, &image)), r, ".")
			})
			continue
		}
		squeeze(t, &together, r.Archives(ruleDir(i)))
	}
	got := q.list(t, finish(t, &together))
	for i, r := range rules {
		if !r.Alone {
			t.Run(r.Name, func(t *testing.T) { compareRule(t, got, r, ruleDir(i)) })
		}
	}
}

func ruleDir(i int) string { return fmt.Sprintf("rule%02d", i) }

func squeeze(t *testing.T, image *bytes.Buffer, archives [][]byte) {
	t.Helper()
	for _, a := range archives {
		z := gzip.NewWriter(image)
		if _, err := z.Write(a); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// finish adds the first process.
func finish(t *testing.T, image *bytes.Buffer) []byte {
	t.Helper()
	tree := withLister(t, filetree.New())
	segment := initramfs.Segment{Entries: tree.Entries()}
	if _, err := initramfs.WriteSegments(context.WithoutCancel(t.Context()), image, []initramfs.Segment{segment}, initramfs.Options{}, ""); err != nil {
		t.Fatal(err)
	}
	return image.Bytes()
}

func compareRule(t *testing.T, got map[string]listed, r initramfstest.Rule, dir string) {
	t.Helper()
	var below []listed
	for _, l := range got {
		rel := l.path
		if dir != "." {
			var ok bool
			if rel, ok = strings.CutPrefix(l.path, dir+"/"); !ok {
				continue
			}
		} else if rel == "." || kernelsOwn(rel, r.Want) {
			continue
		}
		l.path = rel
		l.value = strings.Replace(l.value, "/"+dir+"/", "/", 1)
		if l.kind != "socket" {
			below = append(below, l)
		}
	}
	slices.SortFunc(below, func(a, b listed) int { return slices.Compare(strings.Split(a.path, "/"), strings.Split(b.path, "/")) })
	if diff := cmp.Diff(hashed(r.Want), terse(below)); diff != "" {
		t.Errorf("what the rule says is not what the kernel does: -rule +kernel:\n%s", diff)
	}
}

// kernelsOwn is true for what the initramfs inside the kernel made, and the rule has not touched.
func kernelsOwn(p, want string) bool {
	return p == "dev/console" || (slices.Contains([]string{"dev", "root"}, p) && !strings.Contains(want, p+"/"))
}

// digits is how much of a digest is compared.
const digits = 12

// terse is the rules' form, with digests in place of contents.
func terse(files []listed) string {
	names := map[string]int{} // paths by inode
	for _, f := range files {
		if f.kind != "directory" {
			names[f.inode]++
		}
	}
	numbers := map[string]int{}
	var out []string
	for _, f := range files {
		text := f.path
		switch {
		case f.kind == "directory":
			text += "/" + f.perm
		case f.kind == "symbolic link":
			text += "->" + f.value
		case strings.HasPrefix(f.kind, "regular"):
			text += "=" + f.value[:digits]
		default:
			var major, minor int
			fmt.Sscanf(f.device, "%x:%x", &major, &minor)
			text += fmt.Sprintf("(%s %d:%d)", strings.Replace(f.kind, "special file", "device", 1), major, minor)
		}
		if names[f.inode] > 1 {
			if numbers[f.inode] == 0 {
				numbers[f.inode] = len(numbers) + 1
			}
			text += fmt.Sprintf("#%d", numbers[f.inode])
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// hashed puts digests in place of a rule's contents.
func hashed(want string) string {
	words := strings.Split(want, " ")
	for i, w := range words {
		name, rest, ok := strings.Cut(w, "=")
		if !ok {
			continue
		}
		content, link, linked := strings.Cut(rest, "#")
		words[i] = fmt.Sprintf("%s=%x", name, sha256.Sum256([]byte(content)))[:len(name)+1+digits]
		if linked {
			words[i] += "#" + link
		}
	}
	return strings.Join(words, " ")
}
