package artifacts

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// historyName is the file that says what was published when.
const historyName = "history.json"

// maxHistory is how many entries it keeps of an architecture.
const maxHistory = 100

// history is the plan ids of each architecture that were published, the latest last, each once. What stands behind
// the id that is current now was rolled back from.
type history map[plan.Arch][]string

func (s *Store) history() (history, error) {
	h := history{}
	err := readJSON(filepath.Join(s.dir, historyName), &h)
	var damaged *DamagedError
	if errors.As(err, &damaged) { // missing, or not ours: the past is forgotten, and nothing else
		return history{}, nil
	}
	return h, err
}

// record writes that id is about to be published in the place of current, which may be "". It does so before the
// switch: whoever dies in between leaves an entry behind the current one, which counts as rolled back.
func (s *Store) record(arch plan.Arch, current, id string) error {
	h, err := s.history()
	if err != nil {
		return err
	}
	if h.before(arch, current, func(string) bool { return true }) == id {
		return nil // a step back
	}
	past := h[arch]
	if i := slices.Index(past, current); i >= 0 {
		past = past[:i+1]
	} else if current != "" {
		past = append(past, current)
	}
	past = slices.DeleteFunc(slices.Clone(past), func(old string) bool { return old == id })
	h[arch] = append(past, id)[max(0, len(past)+1-maxHistory):]
	data, err := encodeJSON(h)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(s.dir, historyName), data)
}

// before returns the entry before current that is there, "" where there is none.
func (h history) before(arch plan.Arch, current string, there func(id string) bool) string {
	past := h[arch]
	for i := slices.Index(past, current) - 1; i >= 0; i-- {
		if there(past[i]) {
			return past[i]
		}
	}
	return ""
}

// replaceFile writes a file in the place of an older one.
func replaceFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	temp := filepath.Join(dir, tempPrefix+filepath.Base(path))
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeFile(temp, data); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(dir)
}
