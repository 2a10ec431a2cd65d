package iso

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/plan"
)

func TestMagic(t *testing.T) {
	if n := len(Magic()); n != 1024 || strings.Trim(Magic(), "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		t.Errorf("got %d characters %q, want 1024 letters and digits", n, Magic())
	}
}

// What is longer than the magic takes the blanks behind it, and the rest of the configuration stays.
func TestConfigHasRoomBehindTheMagic(t *testing.T) {
	before, after, ok := strings.Cut(Config(), Magic())
	if !ok || strings.Contains(after, Magic()) || before != "set cmdline='" {
		t.Fatalf("got %q", Config())
	}
	if room := len(after) - len(strings.TrimLeft(after, " ")); room < 1000 {
		t.Errorf("got %d blanks", room)
	}
	if rest := strings.TrimLeft(after, " "); !strings.HasPrefix(rest, "'\n") || !strings.Contains(rest, "linux /vmlinuz $cmdline") {
		t.Errorf("got %q behind the blanks", rest)
	}
}

// imageOf has the magic at the given places, and descriptors unless broken says otherwise.
func imageOf(size int, broken string, at ...int) []byte {
	data := bytes.Repeat([]byte{'4'}, size)
	if broken != "volume" {
		copy(data[primaryAt:], primary)
	}
	if broken != "boot" {
		copy(data[bootAt:], bootRecord)
	}
	for _, i := range at {
		copy(data[i:], magic)
	}
	return data
}

func TestFault(t *testing.T) {
	const sectors, last = 100 * sector, 99 * sector
	for _, c := range []struct {
		name string
		data []byte
		want string // of the message; "" is no fault
	}{
		{"good", imageOf(sectors, "", last), ""},
		{"at the end of a sector", imageOf(sectors, "", 90*sector+1024), ""},
		{"at the end", imageOf(sectors, "", sectors-1024), ""},
		{"none", imageOf(sectors, ""), "it 0 times"},
		{"two", imageOf(sectors, "", 40*sector, 42*sector), "it 2 times"},
		{"two side by side", imageOf(sectors, "", 40*sector, 40*sector+1024), "it 2 times"},
		{"cut", imageOf(sectors, "", 40*sector)[:40*sector+1000], "it 0 times"},
		{"over a border", imageOf(sectors, "", 40*sector+1025), "begins at byte 82945"},
		{"no whole sectors", imageOf(sectors+512, "", last), "no whole sectors"},
		{"short", imageOf(20*sector, "", 0)[:2*sector], "less than its descriptors need"},
		{"no volume", imageOf(sectors, "volume", last), "no ISO 9660 volume descriptor"},
		{"not to boot from", imageOf(sectors, "boot", last), "no El Torito boot record"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(len(c.data))))
			for _, piece := range []int{1 << 30, 32 << 10, 2048, 1500, 1023, 7} {
				check := NewChecker()
				for rest := c.data; len(rest) > 0; {
					n := min(len(rest), 1+r.IntN(piece))
					if n, err := check.Write(rest[:n]); err != nil || n == 0 {
						t.Fatal(n, err)
					}
					rest = rest[n:]
				}
				err := check.Fault()
				var fault *FaultError
				if (c.want == "") != (err == nil) || err != nil && (!errors.As(err, &fault) || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("in pieces of up to %d: got %v, want %q", piece, err, c.want)
				}
			}
		})
	}
}

// fakeEngine runs no program; it hands out a file.
type fakeEngine struct {
	got  engine.Container
	in   map[string]string
	says string
	code int
	file []byte
}

func (f *fakeEngine) Run(_ context.Context, c engine.Container, out io.Writer) (int, error) {
	f.got, f.in = c, map[string]string{}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := errors.Join(c.Files(w), w.Close()); err != nil {
		return 0, err
	}
	for r := tar.NewReader(&files); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		data, rerr := io.ReadAll(r)
		if err := errors.Join(err, rerr); err != nil {
			return 0, err
		}
		f.in[h.Name] = string(data)
	}
	fmt.Fprint(out, f.says)
	if f.file == nil {
		return f.code, engine.ErrNoOutput
	}
	return f.code, c.Outputs[0].Read(bytes.NewReader(f.file))
}

func testImage(t *testing.T) Image {
	t.Helper()
	file := func(name string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte("this is "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return Image{
		Arch: plan.AArch64, Epoch: 1_700_000_000, Tools: "tools:1", Loader: []string{file("grub.deb"), file("shim.deb")},
		Kernel: file("kernel"), Initramfs: file("initramfs"),
	}
}

func TestWrite(t *testing.T) {
	e := &fakeEngine{says: "one\ntwo", file: imageOf(100*sector, "", 50*sector)}
	img := testImage(t)
	var said []string
	img.Log = func(ev engine.Event) { said = append(said, ev.Text) }
	var out bytes.Buffer
	if err := img.Write(t.Context(), e, &out); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), e.file) || !slices.Equal(said, []string{"one", "two"}) {
		t.Errorf("got %d bytes and %q", out.Len(), said)
	}
	want := map[string]string{
		"iso/make.sh": script, "iso/in/grub.cfg": Config(), "iso/in/vmlinuz": "this is kernel", "iso/in/initramfs": "this is initramfs",
		"iso/in/0.deb": "this is grub.deb", "iso/in/1.deb": "this is shim.deb",
	}
	if diff := cmp.Diff(want, e.in); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(e.got.Env, "SOURCE_DATE_EPOCH=1700000000") || e.got.Image != "tools:1" || !slices.Contains(e.got.Cmd, "BOOTAA64.EFI") {
		t.Errorf("got %v in %s with %v", e.got.Cmd, e.got.Image, e.got.Env)
	}
}

func TestWriteFails(t *testing.T) {
	e := &fakeEngine{says: "xorriso: no space\n", code: 5}
	var failed *engine.BuildError
	if err := testImage(t).Write(t.Context(), e, io.Discard); !errors.As(err, &failed) || failed.ExitCode != 5 || !slices.Equal(failed.Tail, []string{"xorriso: no space"}) {
		t.Errorf("got %v, want a *engine.BuildError with code and tail", err)
	}
	if err := testImage(t).Write(t.Context(), &fakeEngine{}, io.Discard); !errors.Is(err, engine.ErrNoOutput) {
		t.Errorf("got %v where the program leaves no file", err)
	}
	var fault *FaultError
	if err := testImage(t).Write(t.Context(), &fakeEngine{file: imageOf(100*sector, "")}, io.Discard); !errors.As(err, &fault) {
		t.Errorf("got %v, want a *FaultError", err)
	}
}
