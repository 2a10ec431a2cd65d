package debian

import (
	"os/exec"
	"slices"
	"testing"
)

func TestCompareVersionsLikeDpkg(t *testing.T) {
	versions := []string{
		"0", "0-0", "1", "01", "1.0", "1.00-0", "1.0~rc1", "1.0~", "1.0~~", "1.0~~a", "1.0a", "1.0+b1", "1.0.", "1.0-1~bpo12+1",
		"1.0-1", "1.0-1.1", "1.0-1-1", "0:1.0", "1:0.1", "10:0", "2:1.0-1+deb13u4", "6.12.9-1", "6.12.117-1", "2.41-12+deb13u4",
		"2.41-12", "1.2.3a", "1.2.3A", "1.2.3.a", "1.2.3-z", "99999999999999999999999", "100000000000000000000000", "1.0-1ubuntu1",
	}
	for i, a := range versions {
		for _, b := range versions[i:] {
			want := dpkgCompare(t, a, b)
			if got := CompareVersions(a, b); got != want {
				t.Errorf("%s and %s: got %d, dpkg says %d", a, b, got, want)
			}
			if got := CompareVersions(b, a); got != -want {
				t.Errorf("%s and %s: got %d, dpkg says %d", b, a, got, -want)
			}
		}
	}
}

// dpkgCompare asks dpkg.
func dpkgCompare(t *testing.T, a, b string) int {
	t.Helper()
	for i, op := range []string{"lt", "eq", "gt"} {
		err := exec.Command("dpkg", "--compare-versions", a, op, b).Run()
		if err == nil {
			return i - 1
		}
		if _, ok := err.(*exec.ExitError); !ok {
			t.Fatalf("this test compares with dpkg: %v", err)
		}
	}
	t.Fatalf("dpkg does not order %s and %s", a, b)
	return 0
}

func TestCompareVersionsSorts(t *testing.T) {
	got := []string{"6.12.117-1", "6.12.9-2", "1:0", "6.12.9-1", "6.12~rc1-1"}
	slices.SortFunc(got, CompareVersions)
	want := []string{"6.12~rc1-1", "6.12.9-1", "6.12.9-2", "6.12.117-1", "1:0"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
