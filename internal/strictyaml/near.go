package strictyaml

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// DidYouMean returns `: did you mean "x"?` where one of the known names is close to name, else "".
func DidYouMean(name string, known []string) string {
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
