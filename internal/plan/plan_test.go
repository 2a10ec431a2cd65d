package plan

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseArch(t *testing.T) {
	for _, c := range []struct {
		in             string
		want           Arch
		debian, kbuild string
	}{
		{"x86_64", X8664, "amd64", "x86_64"},
		{"amd64", X8664, "amd64", "x86_64"},
		{"aarch64", AArch64, "arm64", "arm64"},
		{"arm64", AArch64, "arm64", "arm64"},
	} {
		got, err := ParseArch(c.in)
		if err != nil || got != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.in, got, err, c.want)
		}
		if got.Debian() != c.debian || got.Kbuild() != c.kbuild {
			t.Errorf("%s: got %s and %s, want %s and %s", c.in, got.Debian(), got.Kbuild(), c.debian, c.kbuild)
		}
	}
}

func TestParseArchRefuses(t *testing.T) {
	for _, in := range []string{"", "X86_64", "x86-64", "x86_64 ", "i386", "armhf", "riscv64"} {
		got, err := ParseArch(in)
		if err == nil || got != "" || !strings.Contains(err.Error(), fmt.Sprintf("%q", in)) {
			t.Errorf("%q: got %q, %v; want an error that names it", in, got, err)
		}
	}
}

// full is a plan in which every field has a value and every list an entry.
func full() *Plan {
	return &Plan{
		Schema: Schema, Flavor: "hook-default-amd64", Arch: X8664, Epoch: 1790000000, Recipe: "aa",
		Debian:   []Index{{Suite: "trixie", Date: "2026-09-21T00:00:00Z", SHA256: "bb"}},
		Packages: []Set{{Name: "base", Packages: []Package{{Name: "dash", Version: "0.5", Arch: "amd64", SHA256: "cc"}}}},
		Kernel: Kernel{
			Method: "source", Series: "6.12", Version: "6.12.1-1", Source: []string{"gg"}, Config: "dd",
			Patches:  []Source{{Name: "fix.patch", SHA256: "hh"}},
			External: []External{{Source: Source{Name: "ice", SHA256: "ii"}, Make: []string{"all"}}},
			Modules:  Modules{Include: []string{"default"}, Exclude: []string{"sound/"}}, Firmware: []string{"auto"},
		},
		LinuxKit:  []Source{{Name: "hook.yaml", SHA256: "ee"}},
		Userland:  []Source{{Name: "dhcp", SHA256: "ff"}},
		Images:    []Image{{Ref: "registry.example/ntp:1", Platform: "linux/amd64", Config: "sha256:ab"}},
		Template:  "hook",
		Base:      "ba",
		Embedded:  []Embedded{{Ref: "registry.example/action:1", Names: []string{"127.0.0.1/embedded/action:latest"}}},
		Site:      Site{CACertificates: "f0", NTP: []string{"10.0.0.1"}, AuthorizedKeys: "f1"},
		Vars:      []Var{{Name: "A", Value: "b"}},
		Initramfs: Initramfs{Compression: "gzip", Level: 9, Single: true},
		ISO:       "cd",
		Aliases:   []Alias{{Name: "vmlinuz-latest-lts-x86_64", Of: "vmlinuz-x86_64"}},
	}
}

// The id names what users have published: it may change only together with Schema.
func TestIDIsStable(t *testing.T) {
	const want = "5b893c4173699b756ac0062b903c4987156d879ec0c05f3545eb964d257b731a"
	if got := full().ID(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// leaves returns every string and number that p consists of, by its path.
func leaves(v reflect.Value, path string, into map[string]reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			leaves(v.Field(i), path+"."+v.Type().Field(i).Name, into)
		}
	case reflect.Slice:
		if v.Len() == 0 {
			into[path+" is empty"] = v
		}
		for i := range v.Len() {
			leaves(v.Index(i), fmt.Sprintf("%s[%d]", path, i), into)
		}
	default:
		into[path] = v
	}
}

func TestIDChangesWithEveryField(t *testing.T) {
	p := full()
	all := map[string]reflect.Value{}
	leaves(reflect.ValueOf(p).Elem(), "Plan", all)
	if len(all) < 34 {
		t.Fatalf("got only %d fields", len(all))
	}
	seen := map[string]string{p.ID(): "no change"}
	for path, v := range all {
		old := reflect.ValueOf(v.Interface())
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Int, reflect.Int64:
			v.SetInt(v.Int() + 1)
		case reflect.Bool:
			v.SetBool(!v.Bool())
		default:
			t.Fatalf("%s: kind %s is not covered", path, v.Kind())
		}
		if other, ok := seen[p.ID()]; ok {
			t.Errorf("%s: has the id of %s", path, other)
		}
		seen[p.ID()] = path
		v.Set(old)
	}
	if got := p.ID(); seen[got] != "no change" {
		t.Errorf("the plan was not restored: %s", got)
	}
}

func TestIDChangesWithOrderAndLength(t *testing.T) {
	two := func(names ...string) *Plan {
		p := full()
		p.LinuxKit = nil
		for _, n := range names {
			p.LinuxKit = append(p.LinuxKit, Source{Name: n, SHA256: "aa"})
		}
		return p
	}
	ids := map[string][]string{}
	for _, names := range [][]string{nil, {"a"}, {"a", "a"}, {"a", "b"}, {"b", "a"}, {"ab"}} {
		id := two(names...).ID()
		if other, ok := ids[id]; ok {
			t.Errorf("%q has the id of %q", names, other)
		}
		ids[id] = names
	}
}

func TestJSONRoundTripKeepsTheID(t *testing.T) {
	data, err := json.Marshal(full())
	if err != nil {
		t.Fatal(err)
	}
	var back Plan
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full(), &back); diff != "" {
		t.Error(diff)
	}
	if back.ID() != full().ID() {
		t.Error("another id after a round trip")
	}
}

func TestSet(t *testing.T) {
	p := full()
	if diff := cmp.Diff(p.Packages[0].Packages, p.Set("base")); diff != "" {
		t.Error(diff)
	}
	if got := p.Set("kernel"); got != nil {
		t.Errorf("got %v for a set that is not there", got)
	}
}
