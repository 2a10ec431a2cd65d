package initramfs

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hookbuild/hookbuild/internal/filetree"
)

func TestVerifyFindsADifference(t *testing.T) {
	packed, _ := write(t, sample(t), Options{Epoch: epoch})
	changes := map[string]struct {
		change func(*filetree.Tree) error
		want   string // in the error
	}{
		"content in memory": {func(tr *filetree.Tree) error { return tr.Add("init", file(0o755, "#!/bin/xx\n"), "x") }, "init: got content"},
		"no third name":     {func(tr *filetree.Tree) error { return tr.Add("zz/name", file(0o600, ""), "x") }, "a-name: "},
		"size":              {func(tr *filetree.Tree) error { return tr.Add("init", file(0o755, "longer than it was"), "x") }, "init: "},
		"mode":              {func(tr *filetree.Tree) error { return tr.Add("init", file(0o700, "#!/bin/sh\n"), "x") }, "init: "},
		"kind":              {func(tr *filetree.Tree) error { return tr.Add("init", symlink("x"), "x") }, "init: "},
		"target":            {func(tr *filetree.Tree) error { return tr.Add("lib", symlink("usr/bin"), "x") }, "lib: "},
		"owner": {func(tr *filetree.Tree) error {
			return tr.Add("tmp", &filetree.Inode{Kind: filetree.Dir, Perm: 0o1777, UID: 1}, "x")
		}, "tmp: "},
		"missing": {func(tr *filetree.Tree) error { return tr.Add("zz/zzz", file(0o644, ""), "x") }, "zz/zzz is missing"},
		"missing inside": {func(tr *filetree.Tree) error { return tr.Add("names/more", file(0o644, ""), "x") },
			"names/more: "},
		"too much":     {func(tr *filetree.Tree) error { tr.Remove("zz/name"); return tr.Add("usr/lib/big", file(0, ""), "x") }, "a-name: "},
		"no hard link": {func(tr *filetree.Tree) error { return tr.Add("empty2", file(0o444, ""), "x") }, "empty: "},
	}
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			tree := sample(t)
			must(t, c.change(tree))
			err := Verify(bytes.NewReader(packed), tree, Options{Epoch: epoch})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
	if err := Verify(bytes.NewReader(packed), sample(t), Options{Epoch: epoch + 1}); err == nil {
		t.Error("another epoch: got no error")
	}
}

func TestVerifyFindsContentOfAFile(t *testing.T) {
	trees := make([]*filetree.Tree, 2)
	for i, content := range []string{"this", "that"} {
		trees[i] = filetree.New()
		must(t, trees[i].Add("f", spooled(t, []byte(content)), "test"))
	}
	packed, _ := write(t, trees[0], Options{})
	err := Verify(bytes.NewReader(packed), trees[1], Options{})
	if err == nil || !strings.Contains(err.Error(), "f: got content with sha256") {
		t.Errorf("got %v", err)
	}
}

func TestVerifyFindsWhatIsTooMuch(t *testing.T) {
	tree := filetree.New()
	must(t, tree.Add("z", file(0o644, "more"), "test"))
	packed, _ := write(t, tree, Options{})
	err := Verify(bytes.NewReader(packed), filetree.New(), Options{})
	if err == nil || !strings.Contains(err.Error(), `"z" is too much`) {
		t.Errorf("got %v", err)
	}
}

func TestVerifyCompressedBytes(t *testing.T) {
	tree := sample(t)
	packed, _ := write(t, tree, Options{Epoch: epoch})
	repack := func(change func(*gzip.Writer)) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		change(z)
		_, err := z.Write(gunzip(t, packed))
		must(t, err, z.Close())
		return b.Bytes()
	}
	bad := map[string][]byte{
		"empty":        nil,
		"no gzip":      gunzip(t, packed),
		"cut":          packed[:len(packed)/2],
		"cut sum":      packed[:len(packed)-1],
		"wrong sum":    append(bytes.Clone(packed[:len(packed)-8]), make([]byte, 8)...),
		"byte behind":  append(bytes.Clone(packed), 0),
		"second":       append(bytes.Clone(packed), packed...),
		"with a name":  repack(func(z *gzip.Writer) { z.Name = "initramfs" }),
		"empty member": append(bytes.Clone(packed), repack(func(*gzip.Writer) {})...),
	}
	for name, b := range bad {
		if err := Verify(bytes.NewReader(b), tree, Options{Epoch: epoch}); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	// Another compressor's bytes hold the same archive.
	must(t, Verify(bytes.NewReader(repack(func(*gzip.Writer) {})), tree, Options{Epoch: epoch}))
}

func TestVerifyPassesErrorsOn(t *testing.T) {
	tree := sample(t)
	packed, _ := write(t, tree, Options{})
	broken := errors.New("input/output error")
	for _, n := range []int{0, 100, len(packed) - 1, len(packed)} {
		r := io.MultiReader(bytes.NewReader(packed[:n]), iotest.ErrReader(broken))
		if err := Verify(r, tree, Options{}); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: got %v, want the reader's error", n, err)
		}
	}
}

func TestVerifyRefusesWhatWriteRefuses(t *testing.T) {
	tree := filetree.New()
	must(t, tree.Add("dev/null", &filetree.Inode{Kind: filetree.Char, Major: 1 << 12}, "test"))
	_, want := Write(context.Background(), io.Discard, tree, Options{})
	got := Verify(strings.NewReader(""), tree, Options{})
	if want == nil || got == nil || got.Error() != want.Error() {
		t.Errorf("got %v, want %v", got, want)
	}
}
