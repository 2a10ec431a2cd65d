package kernelorg

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// version is a release: 6.6 is {6, 6, 0}, 6.6.142 is {6, 6, 142}.
type version [3]int

// versionPattern leaves out release candidates, which kernel.org does not sign as tarballs.
var versionPattern = regexp.MustCompile(`^(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})(?:\.([1-9][0-9]{0,4}))?$`)

// firstMajor is the first major version with directories and names of today's form.
const firstMajor = 3

func parseVersion(s string) (version, error) {
	m := versionPattern.FindStringSubmatch(s)
	if m == nil {
		return version{}, fmt.Errorf("%q is not the version of a Linux release, like 6.6 or 6.6.142", s)
	}
	var v version
	for i, digits := range m[1:] {
		v[i], _ = strconv.Atoi(digits) // "" where there is no point release
	}
	if v[0] < firstMajor {
		return version{}, fmt.Errorf("version %s: want %d.0 or later", s, firstMajor)
	}
	return v, nil
}

func (v version) String() string {
	if v[2] == 0 {
		return v.series()
	}
	return v.series() + "." + strconv.Itoa(v[2])
}

func (v version) series() string { return fmt.Sprintf("%d.%d", v[0], v[1]) }

func (v version) major() int { return v[0] }

func (v version) sameSeries(o version) bool { return v.series() == o.series() }

func (v version) compare(o version) int { return slices.Compare(v[:], o[:]) }

// request is a Want that makes sense.
type request struct {
	version           // the release, or any of the series
	exact     bool    // whether it has to be this release
	notBefore version // the newest of the same series; the zero value is none
}

func parseWant(w Want) (request, error) {
	var r request
	var err error
	if w.Version != "" {
		r.exact = true
		if r.version, err = parseVersion(w.Version); err != nil {
			return r, err
		}
		if w.Series != "" && w.Series != r.series() {
			return r, fmt.Errorf("release %s is not of series %s", w.Version, w.Series)
		}
	} else if r.version, err = parseVersion(w.Series); err != nil || strings.Count(w.Series, ".") != 1 {
		return r, fmt.Errorf("%q is not a series of Linux releases, like 6.6", w.Series)
	}
	for _, v := range w.NotBefore {
		before, err := parseVersion(v)
		if err != nil {
			return r, fmt.Errorf("the lock's kernel: %w", err)
		}
		if before.sameSeries(r.version) && before.compare(r.notBefore) > 0 {
			r.notBefore = before
		}
	}
	return r, nil
}
