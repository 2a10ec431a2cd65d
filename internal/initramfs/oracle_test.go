package initramfs

import (
	"bytes"
	stdcmp "cmp"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

// run runs a foreign tool and returns what it says.
func run(t *testing.T, dir string, stdin []byte, tool string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		packages := map[string]string{"bsdtar": "libarchive-tools"}
		t.Fatalf("%s is not installed; it is in Debian's package %s", tool, stdcmp.Or(packages[tool], tool))
	}
	cmd := exec.Command(tool, args...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s", tool, args, err, stderr.String())
	}
	if stderr.Len() > 0 {
		t.Errorf("%s %v says: %s", tool, args, stderr.String())
	}
	return stdout.String()
}

func TestForeignToolsUnpack(t *testing.T) {
	tree := sample(t)
	packed, _ := write(t, tree, Options{Epoch: epoch})
	archive := gunzip(t, packed)
	unpack := map[string]func(dir string){
		"GNU cpio": func(dir string) {
			run(t, dir, archive, "cpio", "--extract", "--make-directories", "--preserve-modification-time", "--quiet")
		},
		"bsdtar": func(dir string) { run(t, dir, packed, "bsdtar", "-x", "-p", "-f", "-") },
	}
	for name, do := range unpack {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			old := syscall.Umask(0o022)
			defer syscall.Umask(old)
			do(dir)
			compareToDisk(t, dir, tree)
		})
	}
}

// pieces cuts the file into its segments, each uncompressed by the tool that made the format.
func pieces(t *testing.T, packed []byte, stats Stats, tool string) (archives [][]byte) {
	t.Helper()
	for _, s := range stats.Segments {
		archives = append(archives, []byte(run(t, t.TempDir(), packed[:s.Compressed], tool, "-d", "-c")))
		packed = packed[s.Compressed:]
	}
	return archives
}

// Both tools read one archive and stop at its trailer, so they are given the segments one by one.
func TestForeignToolsUnpackSegments(t *testing.T) {
	// Making devices needs root; TestForeignToolsListDevices has them.
	tree := sample(t)
	for name, o := range map[string]Options{"gzip": {Epoch: epoch}, "zstd": {Epoch: epoch, Compression: Zstd}} {
		packed, stats := writeSegments(t, Split(tree, func(e filetree.Entry) string { return strings.SplitN(e.Path, "/", 2)[0] }), o, "")
		archives := pieces(t, packed, stats, name)
		if len(archives) < 10 {
			t.Fatalf("got %d segments", len(archives))
		}
		for tool, args := range map[string][]string{
			"cpio": {"--extract", "--preserve-modification-time", "--quiet"}, "bsdtar": {"-x", "-p", "-f", "-"},
		} {
			t.Run(name+" by "+tool, func(t *testing.T) {
				dir := t.TempDir()
				old := syscall.Umask(0o022)
				defer syscall.Umask(old)
				for _, a := range archives {
					run(t, dir, a, tool, args...)
				}
				compareToDisk(t, dir, tree)
			})
		}
	}
}

func TestForeignToolsListDevices(t *testing.T) {
	packed, _ := write(t, everything(t), Options{Epoch: epoch})
	lists := map[string]string{
		"cpio":   run(t, t.TempDir(), gunzip(t, packed), "cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet"),
		"bsdtar": run(t, t.TempDir(), packed, "bsdtar", "-t", "-v", "--numeric-owner", "-f", "-"),
	}
	for tool, list := range lists {
		list = strings.Join(strings.Fields(strings.ReplaceAll(list, ", ", ",")), " ")
		for _, want := range []string{
			"crw------- 1 0 0 5,1 Nov 14 2023 dev/console", "brw-rw---- 2 0 6 4095,1048575 Nov 14 2023 dev/disk",
		} {
			if !strings.Contains(list, want) && !strings.Contains(list, strings.Replace(want, ",", ", ", 1)) {
				t.Errorf("%s: got %s, want %s in it", tool, list, want)
			}
		}
	}
}

// compareToDisk asserts that dir holds the tree and nothing else. Owners can be asserted only where the tool
// could set them.
func compareToDisk(t *testing.T, dir string, tree *filetree.Tree) {
	t.Helper()
	var names, want []string
	must(t, filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		names = append(names, rel)
		return err
	}))
	inodes := map[*filetree.Inode]uint64{}
	for _, e := range tree.Entries() {
		want = append(want, e.Path)
		var st syscall.Stat_t
		must(t, syscall.Lstat(filepath.Join(dir, e.Path), &st))
		compareStat(t, e, st)
		compareContent(t, filepath.Join(dir, e.Path), e)
		if e.Kind == filetree.Symlink {
			continue
		}
		if old, ok := inodes[e.Inode]; ok && old != st.Ino {
			t.Errorf("%s: the hard link is a file of its own", e.Path)
		}
		inodes[e.Inode] = st.Ino
	}
	slices.Sort(names)
	slices.Sort(want)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func compareStat(t *testing.T, e filetree.Entry, st syscall.Stat_t) {
	t.Helper()
	mode := map[filetree.Kind]uint32{
		filetree.Regular: syscall.S_IFREG | e.Perm, filetree.Dir: syscall.S_IFDIR | e.Perm,
		filetree.Symlink: syscall.S_IFLNK | 0o777, filetree.FIFO: syscall.S_IFIFO | e.Perm,
	}[e.Kind]
	if os.Geteuid() != 0 { // bsdtar makes nothing setuid that has become another user's
		mode, st.Mode = mode&^0o6000, st.Mode&^0o6000
	}
	if st.Mode != mode {
		t.Errorf("%s: got mode %o, want %o", e.Path, st.Mode, mode)
	}
	// GNU cpio leaves a directory and a symlink with the time of unpacking.
	if (e.Kind == filetree.Regular || e.Kind == filetree.FIFO) && st.Mtim.Sec != epoch {
		t.Errorf("%s: got time %d, want %d", e.Path, st.Mtim.Sec, epoch)
	}
	if os.Geteuid() == 0 && (st.Uid != e.UID || st.Gid != e.GID) {
		t.Errorf("%s: got owner %d:%d, want %d:%d", e.Path, st.Uid, st.Gid, e.UID, e.GID)
	}
}

func compareContent(t *testing.T, name string, e filetree.Entry) {
	t.Helper()
	switch e.Kind {
	case filetree.Regular:
		must(t, os.Chmod(name, 0o600)) // for whoever is not root; the mode has been compared
		got, err := os.ReadFile(name)
		must(t, err)
		want, err := e.Data.ReadAll()
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: the content differs: %d bytes, want %d", e.Path, len(got), len(want))
		}
		must(t, os.Chmod(name, fs.FileMode(e.Perm&0o777)|setBits(e.Perm)))
	case filetree.Symlink:
		if got, err := os.Readlink(name); err != nil || got != e.Target {
			t.Errorf("%s: got target %q, %v, want %q", e.Path, got, err, e.Target)
		}
	}
}

// setBits turns setuid, setgid and sticky into Go's.
func setBits(perm uint32) (m fs.FileMode) {
	for bit, mode := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if perm&bit != 0 {
			m |= mode
		}
	}
	return m
}

// GNU cpio's own listing has the numbers that unpacking as an ordinary user cannot show.
func TestForeignToolsList(t *testing.T) {
	tree := filetree.New()
	owned := file(0o4750, "12345")
	owned.UID, owned.GID = 1000, 4_000_000_000
	must(t, tree.Add("a", owned, "test"), tree.Link("b", "a", "test"), tree.Add("l", symlink("to"), "test"))
	packed, _ := write(t, tree, Options{Epoch: epoch})
	lists := map[string]struct{ got, want string }{
		"GNU cpio": {
			run(t, t.TempDir(), gunzip(t, packed), "cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet"),
			"drwxr-xr-x 2 0 0 0 Nov 14 2023 .\n-rwsr-x--- 2 1000 4000000000 0 Nov 14 2023 a\n" +
				"-rwsr-x--- 2 1000 4000000000 5 Nov 14 2023 b\nlrwxrwxrwx 1 0 0 2 Nov 14 2023 l -> to\n",
		},
		"bsdtar": {
			run(t, t.TempDir(), packed, "bsdtar", "-t", "-v", "--numeric-owner", "-f", "-"),
			"drwxr-xr-x 2 0 0 0 Nov 14 2023 .\n-rwsr-x--- 2 1000 4000000000 0 Nov 14 2023 a\n" +
				"-rwsr-x--- 2 1000 4000000000 5 Nov 14 2023 b link to a\nlrwxrwxrwx 1 0 0 2 Nov 14 2023 l -> to\n",
		},
	}
	for name, c := range lists {
		var lines []string
		for line := range strings.Lines(c.got) {
			lines = append(lines, strings.Join(strings.Fields(line), " ")+"\n")
		}
		if diff := cmp.Diff(c.want, strings.Join(lines, "")); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

// What GNU cpio packs, our strict reader takes.
func TestReaderTakesGNUCpio(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("content"), 0o600), os.Symlink("a", filepath.Join(dir, "l")),
		os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")), syscall.Mkfifo(filepath.Join(dir, "f"), 0o600))
	archive := run(t, dir, []byte(".\na\nb\nf\nl\n"), "cpio", "--create", "--format=newc", "--quiet")
	canonical, err := drain(strings.NewReader(archive))
	if err != nil || strings.Count(canonical, "content") != 1 || strings.Count(canonical, magic) != 5 {
		t.Errorf("got %q, %v", canonical, err)
	}
}
