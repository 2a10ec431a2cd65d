package build

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/modules"
)

func TestSelection(t *testing.T) {
	firmware := packageOf("firmware", "firmware")
	for _, c := range []struct {
		name     string
		firmware config.Firmware
		want     modules.Firmware
		packages []string
	}{
		{"no firmware", config.Firmware{}, modules.Firmware{"none"}, nil},
		{"what drivers name", config.Firmware{Auto: true}, modules.Firmware{"auto"}, []string{firmware.SHA256}},
		{"patterns", config.Firmware{Globs: []string{"bnx2/", "**/*.pkg"}}, modules.Firmware{"bnx2/", "**/*.pkg"}, []string{firmware.SHA256}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			p.req.Flavor.Kernel.Firmware = c.firmware
			p.req.Flavor.Kernel.Modules = config.Modules{Include: []string{"default"}, Exclude: []string{"ice"}}
			p.relock()
			j := p.job()
			p.cached(j)
			b, _ := p.maker(&heard{})
			want := kernel.Selection{
				Kernel: "the kernel", Arch: "x86_64", HostArch: "amd64", Epoch: j.Plan.Epoch, Image: "the base",
				Modules: modules.Selection{Include: []string{"default"}, Exclude: []string{"ice"}}, Firmware: c.want, Packages: c.packages,
			}
			if diff := cmp.Diff(want, b.selection(j, "the base", "the kernel")); diff != "" {
				t.Error(diff)
			}
			got, err := b.firmware(j)(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			locals := map[string]engine.Local{}
			if c.packages != nil {
				locals["debs"] = engine.Local{Dir: p.pkg.Dir(), Include: []string{firmware.SHA256 + ".deb"}}
			}
			if len(got) != len(locals) || c.packages != nil && !cmp.Equal(locals, got) {
				t.Errorf("got %+v, want %+v", got, locals)
			}
		})
	}
}

func TestSelectedImageIsMade(t *testing.T) {
	p, h := newProject(t), &heard{}
	p.req.Flavor.Kernel.Firmware.Auto = true
	p.req.Flavor.Kernel.Modules.Include = []string{"all", "nonsense"}
	p.relock()
	b, f := p.maker(h, "hookbuild/modules:")
	j := p.job()
	var offline *download.OfflineError
	var stage *StageError
	if _, err := b.All(t.Context(), j); !errors.As(err, &offline) || !errors.As(err, &stage) || stage.Stage != "modules" {
		t.Errorf("without its packages: got %v", err)
	}
	p.cached(j)
	res, err := b.All(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.buildKit.tags(); len(got) != 1 || got[0] != "hookbuild/modules:amd64" {
		t.Errorf("built %q", got)
	}
	for _, want := range []string{`modules: "nonsense" matches no module of kernel 6.12.1-hook`, `firmware: "none/" matches no file`} {
		found := false
		for _, w := range res.Warnings {
			found = found || strings.Contains(w, want)
		}
		if !found {
			t.Errorf("got warnings %q, want %q", res.Warnings, want)
		}
	}
	if !h.begins(`end modules "modules: 1 of 1, `) {
		t.Errorf("heard %q", h.lines)
	}
	data, err := os.ReadFile(filepath.Join(res.Generation.Dir, artifacts.ReportName))
	if err != nil || !strings.Contains(string(data), `"path": "a.bin.xz"`) || !strings.Contains(string(data), `"module": "bnx2"`) {
		t.Errorf("got report %s, %v", data, err)
	}
}

func TestKernelReport(t *testing.T) {
	got := kernelReport(
		modules.Result{Release: "6.12.1", Total: modules.Count{Files: 9, Bytes: 900}, Kept: modules.Count{Files: 2, Bytes: 200}},
		modules.Report{
			Files:   []modules.File{{Path: "a.bin", Place: "a.bin.xz", Size: 9, Stored: 4, Package: "firmware-a", For: "ice"}},
			Missing: []modules.Missing{{Name: "gone.bin", Module: "bnx2"}},
		})
	want := artifacts.KernelReport{
		Release: "6.12.1", Modules: 2, ModuleBytes: 200, AllModules: 9, AllModuleBytes: 900,
		Firmware: []artifacts.Firmware{{Path: "a.bin.xz", Size: 4, Package: "firmware-a", For: "ice"}},
		Missing:  []artifacts.MissingFirmware{{Name: "gone.bin", Module: "bnx2"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := kernelReport(modules.Result{}, modules.Report{}); got.Firmware == nil || got.Missing == nil {
		t.Error("an empty list is null in JSON")
	}
}

// An image that is not of the form, whoever made it, is named.
func TestImagesOfAnotherForm(t *testing.T) {
	for _, c := range []struct {
		name  string
		image string
		files files
		want  string
	}{
		{"no modules", "hookbuild/kernel:", files{{"kernel", "x"}}, "/kernel.tar"},
		{"modules that are no tar", "hookbuild/kernel:", files{{"kernel", "x"}, {"kernel.tar", strings.Repeat("x", 1024)}}, "read the kernel's modules"},
		{"no report", "hookbuild/modules:", files{{"kernel", "x"}}, "/firmware"},
		{"a report without meaning", "hookbuild/modules:", files{{"firmware", "what\tis\tthis\n"}}, "has no meaning"},
		{"no metadata", "hookbuild/kernel:", files{{"kernel", "x"}, {"kernel.tar", ""}, {"config", kernelConfig}}, "/metadata.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProject(t)
			b, f := p.maker(&heard{})
			f.images[c.image] = makeImage(t, c.files)
			if _, err := b.All(t.Context(), p.job()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
