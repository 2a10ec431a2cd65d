package linuxkit

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// Template says which variables of a YAML are replaced.
type Template string

// The templates. The empty string is TemplateNone.
const (
	// TemplateNone replaces ${NAME} in every value but files[].contents, which holds shell scripts with
	// variables of their own, and a kernel.image that is exactly FlavorKernel. A NAME ([A-Za-z_][A-Za-z0-9_]*)
	// that is not declared is a fault. Every other $ is an ordinary character; there is no way to quote.
	TemplateNone Template = "none"

	// TemplateHook replaces ${NAME} and $NAME, as upstream's envsubst does, where NAME is one of HookVariables,
	// and in files[].contents too; everything else passes untouched. One of the names that is not declared is
	// a fault, but for a kernel.image that is exactly ${HOOK_KERNEL_IMAGE}: that is the flavor's kernel.
	TemplateHook Template = "hook"
)

// Templates lists the names of the templates.
func Templates() []Template { return []Template{TemplateNone, TemplateHook} }

// hookKernel is what upstream's template has in FlavorKernel's place.
const hookKernel = "${HOOK_KERNEL_IMAGE}"

// HookVariables lists the variables of upstream's hook.template.yaml, sorted.
func HookVariables() []string {
	names := []string{"HOOK_VERSION", "HOOK_KERNEL_IMAGE", "HOOK_KERNEL_ID", "HOOK_KERNEL_VERSION"}
	for _, x := range []string{"BOOTKIT", "DOCKER", "UDEV", "ACPID", "CONTAINERD", "RUNC", "EMBEDDED",
		"LINUXKIT_RNGD", "LINUXKIT_GETTY", "LINUXKIT_SYSCTL", "LINUXKIT_MODPROBE", "LINUXKIT_OPENNTPD", "LINUXKIT_INIT",
		"LINUXKIT_DHCPCD", "LINUXKIT_SSHD", "LINUXKIT_CA_CERTIFICATES", "LINUXKIT_SYSFS", "LINUXKIT_FIRMWARE"} {
		names = append(names, "HOOK_CONTAINER_"+x+"_IMAGE")
	}
	slices.Sort(names)
	return names
}

var (
	variable     = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)
	hookVariable = regexp.MustCompile(`\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))`)
)

// maxExpanded is how many bytes the values of one file may have after variables were put in. A long text
// behind an alias is expanded each time that it is meant.
const maxExpanded = 16 << 20

// expander puts variables into the values of one file.
type expander struct {
	pattern *regexp.Regexp
	only    []string // the names that are looked at; nil means all
	vars    map[string]string
	bytes   int // so far
}

func newExpander(t Template, vars map[string]string) *expander {
	if t == TemplateHook {
		return &expander{pattern: hookVariable, only: HookVariables(), vars: vars}
	}
	return &expander{pattern: variable, vars: vars}
}

// expand returns text with its variables replaced.
func (e *expander) expand(text string) (string, error) {
	var err error
	text = e.pattern.ReplaceAllStringFunc(text, func(match string) string {
		if err != nil {
			return ""
		}
		groups := e.pattern.FindStringSubmatch(match)
		name := groups[len(groups)-1]
		if name == "" {
			name = groups[1]
		}
		if e.only != nil && !slices.Contains(e.only, name) {
			return match
		}
		value, ok := e.vars[name]
		if !ok {
			err = e.undeclared(name)
		}
		if e.bytes += len(value); e.bytes > maxExpanded {
			err = fmt.Errorf("the variables of this file make more than %d bytes", maxExpanded)
		}
		return value
	})
	return text, err
}

func (e *expander) undeclared(name string) error {
	if e.only != nil {
		return fmt.Errorf("variable ${%s} of upstream's template is not declared", name)
	}
	names := make([]string, 0, len(e.vars))
	for n := range e.vars {
		names = append(names, n)
	}
	return fmt.Errorf("variable ${%s} is not declared%s", name, strictyaml.DidYouMean(name, names))
}
