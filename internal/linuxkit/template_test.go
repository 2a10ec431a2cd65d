package linuxkit

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHookVariables(t *testing.T) {
	names := HookVariables()
	if len(names) != 22 {
		t.Errorf("got %d names, want 22", len(names))
	}
	shape := regexp.MustCompile(`^HOOK_(VERSION|KERNEL_(IMAGE|ID|VERSION)|CONTAINER_[A-Z_]+_IMAGE)$`)
	for _, n := range names {
		if !shape.MatchString(n) {
			t.Errorf("%s is no name of upstream's", n)
		}
	}
	if diff := cmp.Diff([]Template{"none", "hook"}, Templates()); diff != "" {
		t.Errorf("templates: -want +got:\n%s", diff)
	}
}

// hookVars gives every variable of upstream's a value.
func hookVars() map[string]string {
	vars := map[string]string{"SOMETHING": "never", "HOME": "never"}
	for _, n := range HookVariables() {
		vars[n] = "<" + strings.ToLower(n) + ">"
	}
	return vars
}

// TestTemplateHookIsEnvsubst asks envsubst, which upstream uses, about the same texts.
func TestTemplateHookIsEnvsubst(t *testing.T) {
	vars := hookVars()
	names := "${" + strings.Join(HookVariables(), "} ${") + "}"
	for _, text := range []string{
		"", "$", "$$", "${}", "${", "plain", "${HOOK_VERSION}", "$HOOK_VERSION", "$HOOK_VERSIONS", "${HOOK_VERSION", "${HOOK_VERSION}}",
		"a${HOOK_KERNEL_ID}b$HOOK_KERNEL_ID-c", "$${HOOK_VERSION}", "\\${HOOK_VERSION}", "${HOOK_VERSION:-x}", "${SOMETHING} $SOMETHING $HOME",
		"${HOOK_CONTAINER_LINUXKIT_CA_CERTIFICATES_IMAGE}${HOOK_CONTAINER_RUNC_IMAGE}", "${ HOOK_VERSION }", "$(HOOK_VERSION)", "${hook_version}",
		"${HOOK_VERSION}\n  $HOOK_VERSION\n", "${${HOOK_VERSION}}", "$1 ${1} $@ $HOOK_", "é${HOOK_VERSION}é",
	} {
		cmd := exec.Command("envsubst", names)
		cmd.Stdin = strings.NewReader(text)
		for n, v := range vars {
			cmd.Env = append(cmd.Env, n+"="+v)
		}
		want, err := cmd.Output()
		if err != nil {
			t.Fatalf("envsubst: %v", err)
		}
		got, err := newExpander(TemplateHook, vars).expand(text)
		if err != nil || got != string(want) {
			t.Errorf("%q: got %q, error %v; envsubst makes %q of it", text, got, err, want)
		}
	}
}

func TestTemplateHookFaults(t *testing.T) {
	const text = `kernel: {image: "${HOOK_KERNEL_IMAGE}x", cmdline: "${HOOK_KERNEL_ID} ${SOMETHING}"}
init: ["${SOMETHING}", "${HOOK_CONTAINER_RUNC_IMAGE}"]
files: [{path: a, contents: "${HOOK_VERSION} ${HOME}"}]
`
	_, err := ParseWith("hook.yaml", []byte(text), ParseOptions{Template: TemplateHook, Vars: map[string]string{"SOMETHING": "x"}})
	checkFaults(t, err, `1:17: "image": variable ${HOOK_KERNEL_IMAGE} of upstream's template is not declared
1:51: "cmdline": variable ${HOOK_KERNEL_ID} of upstream's template is not declared
2:8: "init[0]": "${SOMETHING}" is no image reference
2:24: "init[1]": variable ${HOOK_CONTAINER_RUNC_IMAGE} of upstream's template is not declared
3:29: "contents": variable ${HOOK_VERSION} of upstream's template is not declared`)
}

func TestTemplateHookKernel(t *testing.T) {
	for _, tc := range []struct {
		name, image string
		vars        map[string]string
		want        []string
	}{
		{"the flavor's, as upstream says", "${HOOK_KERNEL_IMAGE}", nil, nil},
		{"the flavor's, as we say", "${HOOK_KERNEL}", nil, nil},
		{"another", "${HOOK_KERNEL_IMAGE}", map[string]string{"HOOK_KERNEL_IMAGE": "k:1"}, []string{"k:1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := ParseWith("hook.yaml", []byte("kernel: {image: \""+tc.image+"\"}\n"), ParseOptions{Template: TemplateHook, Vars: tc.vars})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, s.Images()); diff != "" {
				t.Errorf("images: -want +got:\n%s", diff)
			}
		})
	}
}

// TestTemplateNone: an explicit "none" is what no template is, too.
func TestTemplateNone(t *testing.T) {
	const text = "kernel: {cmdline: \"$HOOK_VERSION ${A}\"}\nfiles: [{path: a, contents: \"${A} ${HOOK_VERSION}\"}]\n"
	for _, template := range []Template{"", TemplateNone} {
		s, err := ParseWith("hook.yaml", []byte(text), ParseOptions{Template: template, Vars: map[string]string{"A": "a"}})
		if err != nil {
			t.Fatal(err)
		}
		if s.Cmdline() != "$HOOK_VERSION a" || s.files[0].Contents.V != "${A} ${HOOK_VERSION}" {
			t.Errorf("got %q and %q", s.Cmdline(), s.files[0].Contents.V)
		}
	}
}

// TestExpandedBytes: what all values of a file become together is bounded, whichever value goes over.
func TestExpandedBytes(t *testing.T) {
	e := newExpander(TemplateNone, map[string]string{"A": strings.Repeat("x", 1<<20)})
	for i := range 16 {
		if text, err := e.expand("${A}"); err != nil || len(text) != 1<<20 {
			t.Fatalf("%d: %d bytes, error %v", i, len(text), err)
		}
	}
	if _, err := e.expand("${A}"); err == nil {
		t.Error("17 MiB and no error")
	}
}
