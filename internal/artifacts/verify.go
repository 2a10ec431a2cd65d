package artifacts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// VerifyGeneration reads every file of a generation and compares size, SHA-256 and SHA-512 with its manifest. The
// first difference is a *DamagedError. Done, where not nil, is told of bytes that have been read.
func (s *Store) VerifyGeneration(ctx context.Context, id string, done func(bytes int64)) error {
	gen, err := s.readGeneration(id)
	if err != nil {
		return err
	}
	files := append(slices.Clone(gen.Manifest.Files), gen.Manifest.Report)
	for _, f := range files {
		if err := verifyFile(ctx, gen.Dir, f, done); err != nil {
			return fmt.Errorf("generation %s: %w", id, err)
		}
	}
	if err := onlyThese(gen.Dir, append(files, File{Name: ManifestName})); err != nil {
		return fmt.Errorf("generation %s: %w", id, err)
	}
	return nil
}

// VerifyCurrent is VerifyGeneration of the published set, with its checksums. Nothing published is no fault.
func (s *Store) VerifyCurrent(ctx context.Context, done func(bytes int64)) error {
	set, err := s.Current()
	var damaged *DamagedError
	if errors.Is(err, ErrNotFound) && !errors.As(err, &damaged) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range set.Files {
		if err := verifyFile(ctx, set.Dir, f.File, done); err != nil {
			return fmt.Errorf("set %d: %w", set.Number, err)
		}
	}
	if err := verifyChecksums(set); err != nil {
		return fmt.Errorf("set %d: %w", set.Number, err)
	}
	return nil
}

// verifyChecksums compares checksum.txt with what the manifests say.
func verifyChecksums(set Set) error {
	path := filepath.Join(set.Dir, ChecksumName)
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var files []File
	for _, f := range set.Files {
		if f.Name != ChecksumName {
			files = append(files, f.File)
		}
	}
	if line, text := firstDifference(got, checksums(files)); line > 0 {
		return &DamagedError{Path: path, Reason: fmt.Sprintf("line %d is not what the manifests say: want %q", line, text)}
	}
	return nil
}

// firstDifference finds the first line of got, from 1, that is not that of want, and returns want's, "" after its end. 0
// where there is none.
func firstDifference(got, want []byte) (line int, text string) {
	lines := bytes.Split(got, []byte("\n"))
	for i, w := range bytes.Split(want, []byte("\n")) {
		if i == len(lines) || !bytes.Equal(lines[i], w) {
			return i + 1, string(w)
		}
		line = i + 1
	}
	if line < len(lines) {
		return line + 1, ""
	}
	return 0, ""
}

// onlyThese says whether dir holds nothing but the files.
func onlyThese(dir string, files []File) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.ContainsFunc(files, func(f File) bool { return f.Name == e.Name() }) {
			return &DamagedError{Path: filepath.Join(dir, e.Name()), Reason: "no manifest names it"}
		}
	}
	return nil
}

// verifyFile reads a file and compares all that its entry says.
func verifyFile(ctx context.Context, dir string, want File, done func(bytes int64)) error {
	if err := checkSize(dir, want); err != nil {
		return err
	}
	path := filepath.Join(dir, want.Name)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &DamagedError{Path: path, Reason: "the file is missing"}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sums := newDigester()
	buf := make([]byte, copyBlock)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := f.Read(buf)
		sums.start(buf[:n])()
		if done != nil {
			done(int64(n))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	switch got := sums.file(want.Name); {
	case got.SHA256 != want.SHA256:
		return &DamagedError{Path: path, Reason: fmt.Sprintf("got sha256 %s, want %s", got.SHA256, want.SHA256)}
	case got.SHA512 != want.SHA512:
		return &DamagedError{Path: path, Reason: fmt.Sprintf("got sha512 %s, want %s", got.SHA512, want.SHA512)}
	}
	return nil
}
