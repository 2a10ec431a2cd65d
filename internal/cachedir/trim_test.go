package cachedir

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pin pins the digests of these letters.
func pin(letters ...string) func() (map[string]bool, error) {
	pins := map[string]bool{}
	for _, c := range letters {
		pins[digest(c)] = true
	}
	return func() (map[string]bool, error) { return pins, nil }
}

func TestTrim(t *testing.T) {
	file := func(c string) string { return "debs/" + digest(c) + ".deb" }
	one := lay(t, 0, file("a"))
	each := list(t, one)[0].Bytes // that a file takes on this disk
	for _, tc := range []struct {
		name  string
		limit int64
		want  []string // that stay, without mine
	}{
		{"no limit", 0, []string{file("a"), file("b"), file("c"), file("d"), "keys/K.gpg", "tmp/tree-1"}},
		{"within it", 6 * each, []string{file("a"), file("b"), file("c"), file("d"), "keys/K.gpg", "tmp/tree-1"}},
		{"killed runs first", 6*each - 1, []string{file("a"), file("b"), file("c"), file("d"), "keys/K.gpg"}},
		{"then the longest unused", 4 * each, []string{file("a"), file("b"), file("d"), "keys/K.gpg"}},
		{"and the next", 3 * each, []string{file("a"), file("d"), "keys/K.gpg"}},
		{"never what is pinned, nor a key", 1, []string{file("a"), "keys/K.gpg"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := lay(t, 90, file("a"), "keys/K.gpg", "mine")
			add(t, dir, 1, file("d"), "tmp/tree-1")
			add(t, dir, 5, file("b"))
			add(t, dir, 50, file("c"))
			before := list(t, dir)
			for _, e := range before {
				if e.Bytes != each {
					t.Fatalf("%s takes %d bytes, another file as long %d", e.Path, e.Bytes, each)
				}
			}
			removed, err := Trim(t.Context(), dir, tc.limit, pin("a"))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range list(t, dir) {
				got = append(got, e.Path)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(removed) != len(before)-len(got) {
				t.Errorf("told of %d removed files: %v", len(removed), removed)
			}
			if again, err := Trim(t.Context(), dir, tc.limit, pin("a")); err != nil || len(again) > 0 {
				t.Errorf("a second time: %v, %v", again, err)
			}
		})
	}
}

func TestTrimKeepsOffWhatIsHeld(t *testing.T) {
	dir := lay(t, 90, "debs/"+digest("a")+".deb")
	release, err := Hold(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := Trim(t.Context(), dir, 1, pin()); err != nil || len(removed) > 0 || len(list(t, dir)) != 1 {
		t.Errorf("a held cache: %v, %v", removed, err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if removed, err := Trim(t.Context(), dir, 1, pin()); err != nil || len(removed) != 1 {
		t.Errorf("afterwards: %v, %v", removed, err)
	}
	if removed, err := Trim(t.Context(), dir+"-missing", 1, pin()); err != nil || len(removed) > 0 {
		t.Errorf("a missing cache: %v, %v", removed, err)
	}
}
