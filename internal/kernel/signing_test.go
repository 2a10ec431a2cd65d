package kernel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hookbuild/hookbuild/internal/kconfig"
)

// symbolsOf are a kernel's symbols that have these values.
func symbolsOf(t *testing.T, values map[string]string) *kconfig.Symbols {
	t.Helper()
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&text, `{"name":%q,"type":"tristate","value":%q,"visible":"y"}`+"\n", name, values[name])
	}
	s, err := kconfig.ReadSymbols(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestUnloadable(t *testing.T) {
	const all = "MODULE_SIG: CONFIG_CRYPTO_SHA256=y: got "
	for _, c := range []struct {
		name                    string
		kind                    Kind
		sig, always, force, sum string
		want                    string // "" for nothing
	}{
		{"forced", Package, "y", "y", "y", "n", all + "n: Debian's kernel"},
		{"not forced", Package, "y", "y", "n", "n", all + "n: "},
		{"signed by others", Package, "y", "n", "y", "n", all + "n: "},
		{"as a module, which could not be loaded either", Package, "y", "y", "y", "m", all + "m: "},
		{"built in", Package, "y", "y", "y", "y", ""},
		{"nothing is signed", Package, "y", "n", "n", "n", ""},
		{"no signatures", Package, "n", "n", "n", "n", ""},
		{"kernel.org's source", Tarball, "y", "y", "y", "n", ""},
		{"a source tree", Directory, "y", "y", "y", "n", ""},
	} {
		s := Spec{Source: Source{Kind: c.kind}}
		got := s.Unloadable(symbolsOf(t, map[string]string{
			"MODULE_SIG": c.sig, "MODULE_SIG_ALL": c.always, "MODULE_SIG_FORCE": c.force, "CRYPTO_SHA256": c.sum,
		}))
		if len(got) > 1 || (len(got) == 1) != (c.want != "") || len(got) == 1 && !strings.HasPrefix(got[0].String(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, got, c.want)
		}
	}
	if got := (Spec{Source: Source{Kind: Package}}).Unloadable(symbolsOf(t, nil)); len(got) != 0 {
		t.Errorf("a kernel without modules: got %v", got)
	}
}
