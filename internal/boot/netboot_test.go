package boot

import (
	"archive/tar"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/plan"
)

func netbootOptions(t *testing.T, a plan.Arch) Options {
	return Options{
		Image: "qemu", Arch: a, EngineArch: plan.X8664, Accel: TCG, Now: time.Now, Append: "vlan_id=7",
		Netboot: &Netboot{
			Binary: writeFile(t, "hookbuild", "BINARY"),
			Files: func(w *tar.Writer, dir string) error {
				return engine.AddFile(w, dir+"/hook/vmlinuz-"+string(a), writeFile(t, "k", "KERNEL"), 0o644)
			},
		},
	}
}

func TestNetbootFiles(t *testing.T) {
	for _, a := range []plan.Arch{plan.X8664, plan.AArch64} {
		t.Run(string(a), func(t *testing.T) {
			r := &fakeRunner{steps: []step{{0, ready + "\n"}}}
			if _, err := Run(t.Context(), r, netbootOptions(t, a)); err != nil {
				t.Fatal(err)
			}
			link := map[plan.Arch]string{plan.X8664: "ipxe.efi", plan.AArch64: "ipxe-arm64.efi"}[a]
			want := map[string]string{
				"netboot/hookbuild":                     "0755 BINARY",
				"netboot/out/hook/vmlinuz-" + string(a): "0644 KERNEL",
				"netboot/tftp/" + link:                  "-> /usr/lib/ipxe/" + link,
				"netboot/start.sh":                      "0644 " + startScript,
				"netboot/tftp/autoexec.ipxe":            r.files["netboot/tftp/autoexec.ipxe"],
				"netboot/":                              "0755 ",
				"netboot/out/":                          "0755 ",
				"netboot/tftp/":                         "0755 ",
			}
			if diff := cmp.Diff(want, r.files); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNetbootScript(t *testing.T) {
	files, err := untar(netbootOptions(t, plan.AArch64).files)
	if err != nil {
		t.Fatal(err)
	}
	script := strings.TrimPrefix(files["netboot/tftp/autoexec.ipxe"], "0644 ")
	if !strings.HasPrefix(script, "#!ipxe\n") || strings.Contains(script, "@") {
		t.Errorf("script %q: want #!ipxe first and every placeholder filled in", script)
	}
	lines := strings.Split(script, "\n")
	for _, want := range []string{
		"kernel ${base}/vmlinuz-aarch64 initrd=initramfs-aarch64 console=ttyAMA0,115200 vlan_id=7 || goto failed",
		"initrd ${base}/initramfs-aarch64 || goto failed",
		"echo " + ipxeGaveUp, // what the console is searched for
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("the script has no line %q:\n%s", want, script)
		}
	}
}

// A script that the shell cannot parse would show only in a real boot.
func TestStartScriptParses(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-n")
	cmd.Stdin = strings.NewReader(startScript)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sh -n: %v\n%s", err, out)
	}
	for _, want := range []string{"/" + serverFile + " serve", "--out /" + outDir + " "} {
		if !strings.Contains(startScript, want) {
			t.Errorf("start.sh does not use %q, where the files are", want)
		}
	}
}

func TestNetbootRefusesWhatIPXEChanges(t *testing.T) {
	cases := map[string]struct {
		extra string
		fine  bool
	}{
		"plain":            {"a=b c", true},
		"quotes":           {`a="b c"`, true},
		"expansion":        {"a=${net0/mac}", false},
		"dollar":           {"a=$b", true},
		"or":               {"a || b", false},
		"and":              {"a && b", false},
		"semicolon":        {"a ; b", false},
		"semicolon inside": {"a;b", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := netbootOptions(t, plan.X8664)
			o.Append = c.extra
			if err := o.Validate(); (err == nil) != c.fine {
				t.Errorf("got %v, want an error: %v", err, !c.fine)
			}
		})
	}
}

func TestNetbootFilesFail(t *testing.T) {
	broken := errors.New("no set published")
	o := netbootOptions(t, plan.X8664)
	o.Netboot.Files = func(*tar.Writer, string) error { return broken }
	if _, err := Run(t.Context(), &fakeRunner{}, o); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}
