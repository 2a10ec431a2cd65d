package filetree

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestBlob(t *testing.T) {
	file := filepath.Join(t.TempDir(), "spool")
	if err := os.WriteFile(file, []byte("..content.."), 0o600); err != nil {
		t.Fatal(err)
	}
	blobs := map[string]Blob{
		"memory":         Bytes([]byte("content")),
		"file":           FileRange(file, 2, 7, sha256.Sum256([]byte("content"))),
		"part of memory": Bytes([]byte("..content..")).part(2, 7, [32]byte{}),
		"part of file":   FileRange(file, 1, 10, [32]byte{}).part(1, 7, sha256.Sum256([]byte("content"))),
	}
	for name, b := range blobs {
		got, err := b.ReadAll()
		if err != nil || string(got) != "content" || b.Size() != 7 || b.SHA256() != sha256.Sum256([]byte("content")) {
			t.Errorf("%s: got %q, %v, size %d, sha256 %x", name, got, err, b.Size(), b.SHA256())
		}
	}
	if got, err := (Blob{}).ReadAll(); len(got) != 0 || err != nil {
		t.Errorf("the zero blob: got %q, %v", got, err)
	}
}

func TestBlobOfAChangedFile(t *testing.T) {
	sum := sha256.Sum256([]byte("content"))
	cases := map[string]struct {
		now   string
		wrong bool
	}{
		"as it was":         {"content", false},
		"grown after it":    {"content, and more", false},
		"cut":               {"conten", true},
		"a byte is changed": {"cOntent", true},
		"emptied":           {"", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "spool")
			if err := os.WriteFile(file, []byte(c.now), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := FileRange(file, 0, 7, sum).ReadAll()
			changed, ok := errors.AsType[*ChangedError](err)
			if ok != c.wrong || (ok && changed.File != file) || (!ok && err != nil) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := FileRange(filepath.Join(t.TempDir(), "none"), 0, 1, sum).ReadAll(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that there is no file", err)
	}
}
