package boot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hookbuild/hookbuild/internal/plan"
)

func TestProbeKVM(t *testing.T) {
	denied := "qemu-system-x86_64: Could not access KVM kernel module: Permission denied"
	cases := map[string]struct {
		runner fakeRunner
		arch   plan.Arch
		ok     bool
		why    string
	}{
		"banner": {
			fakeRunner{steps: []step{{0, "SeaBIOS (version 1.16.3)\nBUILD: gcc\n"}}}, plan.X8664, true, "",
		},
		"banner of UEFI": {
			fakeRunner{steps: []step{{0, "UEFI firmware (version 2025.02)\r\n"}}}, plan.AArch64, true, "",
		},
		"the other's banner": {
			fakeRunner{steps: []step{{0, "SeaBIOS\n"}}, ends: true, code: 124}, plan.AArch64, false, "within 10s",
		},
		"hangs, TERM":      {fakeRunner{ends: true, code: 124}, plan.X8664, false, "within 10s"},
		"hangs, KILL":      {fakeRunner{ends: true, code: 137}, plan.X8664, false, "within 10s"},
		"container hangs":  {fakeRunner{}, plan.X8664, false, "within 30s"},
		"refused":          {fakeRunner{steps: []step{{0, denied + "\n"}}, ends: true, code: 1}, plan.X8664, false, denied},
		"silent end":       {fakeRunner{ends: true, code: 1}, plan.X8664, false, "exit code 1"},
		"no such device":   {fakeRunner{err: errors.New("no such file")}, plan.X8664, false, "no such file"},
		"warning, no more": {fakeRunner{steps: []step{{0, "warning: CPUID\n"}}, ends: true, code: 124}, plan.X8664, false, "executes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ok, why, err := ProbeKVM(t.Context(), &c.runner, "qemu", c.arch, "")
				if err != nil {
					t.Fatal(err)
				}
				if ok != c.ok || !strings.Contains(why, c.why) || ok != (why == "") {
					t.Errorf("got %v, %q; want %v, %q", ok, why, c.ok, c.why)
				}
				if got := c.runner.got.Devices; !slices.Equal(got, []string{"/dev/kvm"}) {
					t.Errorf("devices %q, want /dev/kvm", got)
				}
			})
		})
	}
}

func TestProbeKVMCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := ProbeKVM(ctx, &fakeRunner{}, "qemu", plan.X8664, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestRunChoosesTheAccelerator(t *testing.T) {
	const banner = "SeaBIOS (version 1)\nLinux version 6.12\n" + ready + "\n"
	cases := map[string]struct {
		accel  string
		engine plan.Arch
		out    string
		want   string
		why    string
		calls  int
	}{
		"KVM works":            {"", plan.X8664, banner, KVM, "", 2},
		"KVM does not":         {"", plan.X8664, ready + "\n", TCG, "within 30s", 2},
		"firmware and no more": {"", plan.X8664, "SeaBIOS (version 1)\n" + ready + "\n", TCG, "within 30s", 2},
		"other architecture":   {"", plan.AArch64, banner, TCG, "the engine runs on aarch64", 1},
		"TCG asked for":        {TCG, plan.X8664, banner, TCG, "asked for", 1},
		"KVM asked for":        {KVM, plan.AArch64, banner, KVM, "", 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := directOptions(t)
			o.Accel, o.EngineArch = c.accel, c.engine
			synctest.Test(t, func(t *testing.T) {
				r := &fakeRunner{steps: []step{{0, c.out}}}
				got, err := Run(t.Context(), r, o)
				if err != nil {
					t.Fatal(err)
				}
				if got.Accel != c.want || !strings.Contains(got.Why, c.why) || r.calls != c.calls {
					t.Errorf("got %s (%s) after %d containers, want %s (%s) after %d",
						got.Accel, got.Why, r.calls, c.want, c.why, c.calls)
				}
				if got := len(r.got.Devices) > 0; got != (c.want == KVM) {
					t.Errorf("devices %q with %s", r.got.Devices, c.want)
				}
				if i := slices.Index(r.got.Cmd, "-accel"); i < 0 || r.got.Cmd[i+1] != c.want {
					t.Errorf("QEMU was called with %q, want -accel %s", r.got.Cmd, c.want)
				}
			})
		})
	}
}
