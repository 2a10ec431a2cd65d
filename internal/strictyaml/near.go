package strictyaml

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// maxNear is the longest name that is compared with the known ones; the time that takes grows with both.
const maxNear = 100

// DidYouMean returns `: did you mean "x"?` where one of the known names is close to name, else "".
func DidYouMean(name string, known []string) string {
	if len(name) > maxNear {
		return ""
	}
	best, distance := "", 1+len(name)/4+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if n := levenshtein.Distance(strings.ToLower(name), strings.ToLower(k), nil); n < distance {
			best, distance = k, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", best)
}
