package linuxkit

import (
	"fmt"
	"regexp"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expander returns the function that replaces ${NAME} by vars[NAME].
func expander(vars map[string]string) func(string) (string, error) {
	names := make([]string, 0, len(vars))
	for n := range vars {
		names = append(names, n)
	}
	return func(text string) (string, error) {
		var err error
		text = variable.ReplaceAllStringFunc(text, func(match string) string {
			n := match[2 : len(match)-1]
			value, ok := vars[n]
			if !ok && err == nil {
				err = fmt.Errorf("variable ${%s} is not declared%s", n, strictyaml.DidYouMean(n, names))
			}
			return value
		})
		return text, err
	}
}
