// Package cachedir looks after the cache directory that every build shares: what is in it and since when it was not
// used, who works with it now, and what of it may go. It knows the names that hookbuild's other packages give to their
// files, and neither counts nor removes anything else: a user may have named a directory that holds more.
package cachedir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Entry is a file of the cache, or a whole directory of temporary ones.
type Entry struct {
	Path      string    // below the cache directory, with slashes
	Room      string    // its first part: debs, layers, segments …
	Digest    string    // SHA-256 in its name, lower-case hex; empty where there is none
	Bytes     int64     // that it takes on the disk
	Used      time.Time // when it was last read or written; on a file system without access times, when it came
	Temporary bool      // half of something: what made it has ended, unless somebody holds the cache
}

// rooms are the directories of the cache with what files are called in them, below the directory. A digest is the
// pattern's group.
func rooms() map[string]*regexp.Regexp {
	const digest = "([0-9a-f]{64})"
	return map[string]*regexp.Regexp{
		"bundles":    regexp.MustCompile(`^` + digest + `\.yaml$`),
		"debs":       regexp.MustCompile(`^` + digest + `\.deb$`),
		"dists":      regexp.MustCompile(`^[a-z0-9.+-]+/InRelease$`),
		"drivers":    regexp.MustCompile(`^[a-z]+-[0-9]+-` + digest + `\.json\.gz$`),
		"files":      regexp.MustCompile(`^` + digest + `(\.[A-Za-z0-9.]+)?$`),
		"images":     regexp.MustCompile(`^` + digest + `\.json$`),
		"indexes":    regexp.MustCompile(`^` + digest + `\.xz$`),
		"kernel.org": regexp.MustCompile(`^` + digest + `\.tar\.xz$`),
		"keys":       regexp.MustCompile(`^[A-Za-z0-9-]+\.gpg$`),
		"layers":     regexp.MustCompile(`^sha256-` + digest + `(\.[A-Za-z0-9.-]+)?$`),
		"segments":   regexp.MustCompile(`^[0-9a-f]{2}/` + digest + `\.[a-z]+$`),
	}
}

// temporary are the names of what is not finished: anywhere in a room, in the cache directory itself, and in tmp.
var (
	halfFile = regexp.MustCompile(`^\.(tmp|segment|new)-[A-Za-z0-9]+$`)
	halfTop  = regexp.MustCompile(`^\.(keys|base|doctor)-[A-Za-z0-9]+$`)
	halfTmp  = regexp.MustCompile(`^(tree|component|pull|push)-[A-Za-z0-9.]+$`)
)

// List returns what is in the cache, sorted by path. A directory that is not there holds nothing, and what vanishes
// meanwhile is left out.
func List(ctx context.Context, dir string) (list []Entry, err error) {
	known := rooms()
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil || rel == "." {
			return err
		}
		e := classify(known, filepath.ToSlash(rel))
		switch {
		case e.Temporary:
			if err := measure(file, &e); err != nil {
				return err
			}
			list = append(list, e)
			if d.IsDir() {
				return filepath.SkipDir
			}
		case e.Path != "" && d.Type().IsRegular():
			if err := measure(file, &e); err != nil {
				return err
			}
			list = append(list, e)
		case d.IsDir() && e.Room != "tmp" && known[e.Room] == nil:
			return filepath.SkipDir
		}
		return nil
	})
	return list, err
}

// classify says what a path is by its name; Path is empty where it is nothing of ours.
func classify(known map[string]*regexp.Regexp, rel string) Entry {
	room, below, _ := strings.Cut(rel, "/")
	e := Entry{Room: room}
	switch {
	case below == "" && halfTop.MatchString(rel), room == "tmp" && halfTmp.MatchString(below), known[room] != nil && halfFile.MatchString(path.Base(rel)):
		e.Path, e.Temporary = rel, true
	case known[room] == nil:
	default:
		if m := known[room].FindStringSubmatch(below); m != nil {
			e.Path = rel
			if len(m) > 1 {
				e.Digest = m[1]
			}
		}
	}
	return e
}

// measure fills in size and time, of a directory those of all that is in it.
func measure(file string, e *Entry) error {
	return filepath.WalkDir(file, func(p string, _ fs.DirEntry, err error) error {
		var s unix.Stat_t
		if err == nil {
			err = unix.Lstat(p, &s)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return &fs.PathError{Op: "stat", Path: p, Err: err}
		}
		e.Bytes += s.Blocks * 512 // the unit of stat(2), whatever the file system's is
		for _, t := range []unix.Timespec{s.Mtim, s.Atim} {
			if used := time.Unix(t.Unix()); used.After(e.Used) && s.Mode&unix.S_IFMT != unix.S_IFDIR { // listing reads a directory
				e.Used = used
			}
		}
		return nil
	})
}

// Rule says what stays.
type Rule struct {
	Now  time.Time
	Age  time.Duration   // what was used within it stays
	Pins map[string]bool // digests that stay, see Pinned
	All  bool            // nothing of that: only what somebody holds stays
}

// Goes says whether the rule lets an entry go. What tells whom to trust and how old an index may be is small, and goes
// with All only.
func (r Rule) Goes(e Entry) bool {
	switch {
	case e.Temporary, r.All:
		return true
	case e.Room == "keys", e.Room == "dists", r.Pins[e.Digest]:
		return false
	}
	return r.Now.Sub(e.Used) > r.Age
}

var digestPattern = regexp.MustCompile(`[0-9a-f]{64}`)

// maxPinFile bounds what Pinned reads of one file, in bytes.
const maxPinFile = 64 << 20

// Pinned are the digests that texts name, hookbuild.lock and hookbuild.yaml for example, and those of what stands
// behind them in the cache: an image's layers, the indexes of a suite that was verified.
func Pinned(dir string, texts ...[]byte) (map[string]bool, error) {
	pins := map[string]bool{}
	add := func(text []byte) {
		for _, d := range digestPattern.FindAll(text, -1) {
			pins[string(d)] = true
		}
	}
	for _, t := range texts {
		add(t)
	}
	releases, err := filepath.Glob(filepath.Join(dir, "dists", "*", "InRelease"))
	if err != nil { // a cache directory with a bracket in its name
		releases = nil
	}
	for _, file := range releases {
		text, err := readBounded(file)
		if err != nil {
			return nil, err
		}
		add(text)
	}
	for d := range pins {
		text, err := readBounded(filepath.Join(dir, "images", d+".json"))
		if err != nil {
			return nil, err
		}
		var config struct {
			RootFS struct {
				DiffIDs []string `json:"diff_ids"`
			} `json:"rootfs"`
		}
		if json.Unmarshal(text, &config) != nil { // damaged: it is brought again
			continue
		}
		for _, id := range config.RootFS.DiffIDs {
			add([]byte(id)) // pins grow while they are walked; a layer is no image, so that it does not matter
		}
	}
	return pins, nil
}

// readBounded reads a file, empty where there is none.
func readBounded(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() > maxPinFile {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

// Remove removes an entry of the directory. One that is gone is no error.
func Remove(dir string, e Entry) error {
	file := filepath.Join(dir, filepath.FromSlash(e.Path))
	if !e.Temporary {
		err := os.Remove(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	// What was copied from a user's tree may have directories without the right to write.
	err := filepath.WalkDir(file, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(p, 0o700)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err := errors.Join(err, os.RemoveAll(file)); err != nil {
		return fmt.Errorf("remove what an interrupted run has left: %w", err)
	}
	return nil
}
