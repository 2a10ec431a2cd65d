//go:build bench || soak

package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/base"
	"github.com/hookbuild/hookbuild/internal/hardware/drivers"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// benchRuns is how often each thing is measured; the median is what counts.
const benchRuns = 3

// figure is one run of hookbuild as a whole process.
type figure struct {
	wall, cpu time.Duration
	rss       int64              // peak resident memory in bytes
	stages    map[string]float64 // seconds by stage
	out       string
}

// measure runs hookbuild and reads the stages' times from its progress.
func measure(t *testing.T, p *project, args ...string) figure {
	t.Helper()
	cmd := p.command(t.Context(), append(args, "--progress", "json")...)
	var progress bytes.Buffer
	cmd.Stderr = &progress
	begin := time.Now()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("hookbuild %s: %v\n%s", strings.Join(args, " "), err, progress.Bytes())
	}
	use := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return figure{
		wall: time.Since(begin), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
		rss: use.Maxrss << 10, stages: stageTimes(t, &progress), out: string(out),
	}
}

func stageTimes(t *testing.T, progress *bytes.Buffer) map[string]float64 {
	t.Helper()
	begin, took := map[string]float64{}, map[string]float64{}
	s := bufio.NewScanner(progress)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var e struct {
			Seconds float64 `json:"seconds"`
			Stage   string  `json:"stage"`
			Event   string  `json:"event"`
		}
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatalf("progress %q: %v", s.Text(), err)
		}
		switch e.Event {
		case "start":
			begin[e.Stage] = e.Seconds
		case "end":
			took[e.Stage] = e.Seconds - begin[e.Stage]
		}
	}
	return took
}

// median of what f says of each run.
func median(runs []figure, f func(figure) float64) float64 {
	var v []float64
	for _, r := range runs {
		v = append(v, f(r))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// report prints a row of docs/benchmarks.md.
func report(t *testing.T, what, target string, value string) {
	t.Helper()
	t.Logf("| %s | %s | %s |", what, value, target)
}

func mib(bytes float64) string { return fmt.Sprintf("%.0f MiB", bytes/(1<<20)) }

func TestBench(t *testing.T) {
	t.Logf("machine: %d CPUs, %s/%s, %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, cpuModel(t))
	t.Run("base", benchBase)
	t.Run("initramfs", benchInitramfs)
	t.Run("archive", benchArchive)
	t.Run("boot", benchBoot)
	t.Run("drivers", benchDrivers)
	t.Run("kernel", benchKernel)
}

func cpuModel(t *testing.T) string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`model name\s*: (.*)`).FindSubmatch(data)
	if m == nil {
		return "unknown CPU"
	}
	return string(m[1])
}

// benchBase makes the base image anew each time; the packages are in the cache.
func benchBase(t *testing.T) {
	p := newProject(t)
	p.run("kernel", "hook-debian-amd64")
	var runs []figure
	for range benchRuns {
		for _, ref := range strings.Fields(hookbuildImages(t)) {
			if strings.Contains(ref, "debian:base-") {
				docker(t, "rmi", ref)
			}
		}
		docker(t, "builder", "prune", "-f", "--filter", "type=regular")
		runs = append(runs, measure(t, p, "kernel", "hook-debian-amd64"))
	}
	report(t, "base bootstrap, wall", "60 s", fmt.Sprintf("%.1f s", median(runs, func(f figure) float64 { return f.stages["base"] })))
	report(t, "base bootstrap, peak memory of hookbuild", "300 MiB", mib(median(runs, func(f figure) float64 { return float64(f.rss) })))
}

// benchInitramfs makes everything after the images: assembly, archive, report, outputs.
func benchInitramfs(t *testing.T) {
	p := newProject(t)
	p.run("all", "hook-debian-amd64")
	var cold, same []figure
	for range benchRuns {
		if err := os.RemoveAll(p.path("out")); err != nil {
			t.Fatal(err)
		}
		cold = append(cold, measure(t, p, "all", "hook-debian-amd64"))
		same = append(same, measure(t, p, "all", "hook-debian-amd64"))
	}
	info, err := os.Stat(p.path("out/hook/initramfs-x86_64"))
	if err != nil {
		t.Fatal(err)
	}
	what := fmt.Sprintf("initramfs of hook-debian-amd64 (%s)", mib(float64(info.Size())))
	report(t, what+", wall", "", fmt.Sprintf("%.1f s", median(cold, func(f figure) float64 { return f.stages["initramfs"] })))
	report(t, what+", CPU of the whole run", "", fmt.Sprintf("%.1f s", median(cold, func(f figure) float64 { return f.cpu.Seconds() })))
	report(t, what+", peak memory of the whole run", "", mib(median(cold, func(f figure) float64 { return float64(f.rss) })))
	report(t, "all, nothing changed, wall", "10 s", fmt.Sprintf("%.1f s", median(same, func(f figure) float64 { return f.wall.Seconds() })))
}

// benchArchive makes the initramfs of a large image of the engine, and compares it with pigz alone over the same
// archive. Cold means that neither the image nor its segments are in the cache.
func benchArchive(t *testing.T) {
	for times, compressions := range map[int][]string{1: {"gzip", "zstd"}, 6: {"gzip"}} { // memory is what the large one is about
		t.Run(strconv.Itoa(times), func(t *testing.T) {
			ref := benchRoot(t, times)
			defer docker(t, "rmi", ref)
			for _, compression := range compressions {
				measureArchive(t, ref, compression)
			}
		})
	}
}

// benchRoot puts the toolchain's root into the engine as an image, several times over in directories of its own.
func benchRoot(t *testing.T, times int) (ref string) {
	t.Helper()
	p := newProject(t)
	p.run("kernel-config", "hook-default-amd64", "--check") // makes the toolchain
	set, ok := p.lock("hook-default-amd64").Find(resolve.ToolchainSet)
	if !ok {
		t.Fatal("the lock has no toolchain")
	}
	toolchain := base.Set{Name: set.Name, Arch: set.Arch, Packages: set.Packages}.Ref()
	ref = fmt.Sprintf("hookbuild-bench/root:%d", times)
	script := "mkdir /more"
	for i := range times - 1 { // other bytes each time, so that they do not become links
		script += fmt.Sprintf("; cp -a /usr /more/%d; find /more/%d -type f -size +4k -exec sh -c 'for f; do echo %d >> \"$f\"; done' - {} +", i, i, i)
	}
	id := strings.TrimSpace(docker(t, "create", "--network", "none", toolchain, "sh", "-c", script))
	defer docker(t, "rm", "-f", id)
	docker(t, "start", "-a", id)
	docker(t, "commit", id, ref)
	return ref
}

func measureArchive(t *testing.T, ref, compression string) {
	t.Helper()
	p := newProject(t)
	p.env = []string{"HOOKBUILD_CACHE_DIR=" + p.path("cache")}
	p.write("root.yaml", "init: [\""+ref+"\"]\nfiles: [{path: etc/bench, contents: one}]\n")
	linuxkit := []string{"linuxkit", "hook-debian-amd64", "-f", "root.yaml", "--compression", compression}
	first := measure(t, p, linuxkit...) // packages, kernel and lock are not what this is about
	var cold, changed, same []figure
	var pigz []time.Duration
	image := p.path("out/hook/initramfs-x86_64")
	for i := range benchRuns {
		for _, dir := range []string{"out", "cache/layers", "cache/images", "cache/segments"} {
			if err := os.RemoveAll(p.path(dir)); err != nil {
				t.Fatal(err)
			}
		}
		cold = append(cold, measure(t, p, linuxkit...))
		same = append(same, measure(t, p, linuxkit...))
		if compression == "gzip" {
			pigz = append(pigz, pigzAlone(t, image))
		}
		p.write("root.yaml", fmt.Sprintf("init: [\"%s\"]\nfiles: [{path: etc/bench, contents: two%d}]\n", ref, i))
		changed = append(changed, measure(t, p, linuxkit...))
		p.write("root.yaml", "init: [\""+ref+"\"]\nfiles: [{path: etc/bench, contents: one}]\n")
	}
	info, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	wall := func(f figure) float64 { return f.wall.Seconds() }
	what := ref + " by " + compression
	report(t, what+": size of the initramfs", "", mib(float64(info.Size())))
	report(t, what+": whole run, cold", "", fmt.Sprintf("%.1f s", median(cold, wall)))
	report(t, what+": one file changed", "", fmt.Sprintf("%.1f s", median(changed, wall)))
	report(t, what+": nothing changed", "0.3 s", fmt.Sprintf("%.2f s", median(same, wall)))
	report(t, what+": peak memory of hookbuild, cold", "160 MiB", mib(median(append(cold, first), func(f figure) float64 { return float64(f.rss) })))
	if len(pigz) > 0 {
		slices.Sort(pigz)
		report(t, what+": pigz -6 -p2 alone over the same archive", "", fmt.Sprintf("%.1f s", pigz[len(pigz)/2].Seconds()))
	}
}

// pigzAlone compresses the initramfs's archive with nothing but pigz.
func pigzAlone(t *testing.T, image string) time.Duration {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "archive")
	if out, err := exec.Command("sh", "-ec", "pigz -dc < "+image+" > "+archive).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	begin := time.Now()
	if out, err := exec.Command("sh", "-ec", "pigz -6 -p2 < "+archive+" > "+archive+".gz").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	took := time.Since(begin)
	if err := errors.Join(os.Remove(archive), os.Remove(archive+".gz")); err != nil {
		t.Fatal(err)
	}
	return took
}

// benchBoot boots both flavors.
func benchBoot(t *testing.T) {
	p := newProject(t)
	for _, flavor := range []string{"hook-debian-amd64", "hook-default-amd64"} {
		p.run("all", flavor)
		var runs []figure
		for range benchRuns {
			f := measure(t, p, "boot", flavor)
			runs = append(runs, f)
		}
		memory := regexp.MustCompile(`HookOS memory: (.*)`).FindSubmatch(p.read("out/logs/boot.log"))
		if memory == nil {
			t.Error("the console does not say how much memory is in use")
			continue
		}
		report(t, flavor+", boot to ready (TCG, 1 CPU, 2 GiB)", "", fmt.Sprintf("%.0f s", median(runs, func(f figure) float64 { return f.stages["boot"] })))
		report(t, flavor+", memory at ready", "", string(memory[1]))
	}
}

// benchDrivers asks about 200 devices of an image that was asked about before.
func benchDrivers(t *testing.T) {
	const count = 200
	p := newProject(t)
	p.run("all", "hook-debian-amd64")
	p.run("drivers", "hook-debian-amd64", "--pci", "8086:1572")
	kernel, _ := debianKernel(t, p)
	var list strings.Builder
	exact := slices.DeleteFunc(drivers.Patterns(kernel), func(d drivers.Pattern) bool {
		return !strings.HasPrefix(d.Alias, "pci:v0000") || d.Alias[13:18] != "d0000"
	})
	for i := range count {
		alias := exact[i*len(exact)/count].Alias
		fmt.Fprintf(&list, "%02x:%02x.0 Ethernet controller [0200]: Vendor Device [%s:%s]\n", i/32, i%32, strings.ToLower(alias[9:13]), strings.ToLower(alias[18:22]))
	}
	p.write("lspci.txt", list.String())
	var took []float64
	for range 5 {
		begin := time.Now()
		out, err := p.command(t.Context(), "drivers", "hook-debian-amd64", "--lspci", "lspci.txt", "--json").Output() // some are not driven
		took = append(took, time.Since(begin).Seconds())
		if n := strings.Count(string(out), `"status":`); n < count {
			t.Fatalf("%d devices: %v\n%s", n, err, out)
		}
	}
	slices.Sort(took)
	report(t, "drivers, 200 devices", "0.5 s", fmt.Sprintf("%.2f s", took[len(took)/2]))
}

// benchKernel is the comparison on a configuration of about five minutes, and what a change costs.
func benchKernel(t *testing.T) {
	measureKernel(t, "medium", "testdata/medium-6.12.y-x86_64", "CRC7", benchRuns)
}

// measureKernel compiles one configuration, with a driver switched off, by hookbuild and by a bare make in the
// same container, in turn. Then it switches the driver on, and compares the result with a clean build.
func measureKernel(t *testing.T, name, file, symbol string, runs int) {
	var ours, bare []figure
	for i := range runs {
		p, config := benchProject(t, file)
		p.run("kernel-config", benchFlavor, "--unset", symbol)
		forget := rememberCacheMounts(t, "/build/obj")
		dropCacheMounts(t, cacheMounts(t, "/ccache")) // as on the first day
		f := measure(t, p, "kernel", benchFlavor)
		f.cpu = kernelCPU(t, p)
		ours = append(ours, f)
		bare = append(bare, bareMake(t, p, config))
		t.Logf("pair %d: hookbuild %.0f s, bare make %.0f s", i+1, ours[i].stages["kernel"], bare[i].wall.Seconds())
		if i == runs-1 {
			measureChange(t, p, name, symbol)
		}
		forget()
	}
	a := median(ours, func(f figure) float64 { return f.stages["kernel"] })
	b := median(bare, func(f figure) float64 { return f.wall.Seconds() })
	report(t, "kernel, "+name+" config: hookbuild", "", fmt.Sprintf("%.0f s", a))
	report(t, "kernel, "+name+" config: bare make -j in the same container", "", fmt.Sprintf("%.0f s", b))
	report(t, "kernel, "+name+" config: ratio", "1.1", fmt.Sprintf("%.2f", a/b))
	cpu := func(f figure) float64 { return f.cpu.Seconds() } // on a machine that does other things it is the better measure
	a, b = median(ours, cpu), median(bare, cpu)
	report(t, "kernel, "+name+" config: ratio of CPU time", "1.1", fmt.Sprintf("%.2f (%.0f s of %.0f s)", a/b, a, b))
}

const benchFlavor = "bench-amd64"

// benchProject has one flavor, whose configuration has a name of its own: that gives it a build tree that is
// empty, and the kernel one that the engine does not have yet.
func benchProject(t *testing.T, file string) (p *project, config string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p = newProject(t)
	id := fmt.Sprintf("bench%d", time.Now().UnixNano())
	config = "kernel/configs/" + id + "-6.12.y-x86_64"
	p.write(config, fmt.Sprintf("%sCONFIG_LOCALVERSION=\"-%s\"\n", data, id))
	p.write("hookbuild.yaml", "flavors:\n  "+benchFlavor+":\n    extends: hook-default-amd64\n    kernel: {config: "+id+"}\n")
	return p, p.path(config)
}

// measureChange switches a driver from n to m in a tree that is built, and compares with a clean build of the same.
func measureChange(t *testing.T, p *project, name, symbol string) {
	full := kernelCPU(t, p).Seconds()
	p.run("kernel-config", benchFlavor, "--set", symbol+"=m")
	change := measure(t, p, "kernel", benchFlavor)
	changeCPU := kernelCPU(t, p).Seconds()
	same := measure(t, p, "kernel", benchFlavor)
	incremental := kernelImage(t, strings.TrimSpace(change.out))
	clean := measure(t, p, "kernel", benchFlavor, "--clean")
	for file, data := range kernelImage(t, strings.TrimSpace(clean.out)) {
		if !bytes.Equal(data, incremental[file]) {
			t.Errorf("%s: the incremental build has other bytes than a clean one", file)
		}
	}
	report(t, "kernel, "+name+" config: CPU time of all programs", "", fmt.Sprintf("%.0f s", full))
	report(t, "kernel, "+name+" config: "+symbol+" from n to m, wall", "90 s", fmt.Sprintf("%.0f s", change.wall.Seconds()))
	report(t, "kernel, "+name+" config: the same, CPU time in relation to a full build", "0.05", fmt.Sprintf("%.3f (%.0f s of %.0f s)", changeCPU/full, changeCPU, full))
	report(t, "kernel, "+name+" config: nothing changed, wall", "3 s", fmt.Sprintf("%.1f s", same.wall.Seconds()))
}

// cpuLine is the last of a kernel's log: minutes and seconds, of users' code and of the engine's kernel.
var cpuLine = regexp.MustCompile(`CPU time of all programs \(user, system\): (\d+)m([0-9.]+)s (\d+)m([0-9.]+)s`)

// kernelCPU is what the last compilation took.
func kernelCPU(t *testing.T, p *project) time.Duration {
	t.Helper()
	return cpuTime(t, p.read("out/logs/kernel.log"))
}

func cpuTime(t *testing.T, log []byte) time.Duration {
	t.Helper()
	m := cpuLine.FindSubmatch(log)
	if m == nil {
		t.Fatalf("this does not say how much CPU time it took:\n%s", log)
	}
	var seconds float64
	for i, unit := range []float64{60, 1, 60, 1} {
		n, err := strconv.ParseFloat(string(m[i+1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		seconds += n * unit
	}
	return time.Duration(seconds * float64(time.Second))
}

// bareMake does with the docker command what hookbuild's kernel stage does, unpacking and installing the
// modules included.
func bareMake(t *testing.T, p *project, config string) figure {
	t.Helper()
	set, ok := p.lock(benchFlavor).Find(resolve.ToolchainSet)
	if !ok {
		t.Fatal("the lock has no toolchain")
	}
	toolchain := base.Set{Name: set.Name, Arch: set.Arch, Packages: set.Packages}.Ref()
	volume := strings.TrimSpace(docker(t, "volume", "create"))
	defer docker(t, "volume", "rm", volume)
	id := strings.TrimSpace(docker(t, "create", "--network", "none", "-v", volume+":/build", toolchain, "sh", "-euc", `
		mkdir -p /build/src /build/obj
		dpkg-deb -x /source.deb /build
		tar -C /build/src --strip-components=1 -xf /build/usr/src/linux-source-*.tar.xz
		cp /defconfig /build/obj/.config
		cd /build/src
		make -s O=/build/obj olddefconfig
		make O=/build/obj -j"$(nproc)" bzImage modules >/build/log
		make -s O=/build/obj INSTALL_MOD_PATH=/build/mods INSTALL_MOD_STRIP=1 modules_install
		times > /tmp/times # in a pipe it would be those of a shell of its own
		echo "CPU time of all programs (user, system): $(tail -n 1 /tmp/times)"`))
	defer docker(t, "rm", "-f", id)
	docker(t, "cp", sourcePackage(t, p), id+":/source.deb")
	docker(t, "cp", config, id+":/defconfig")
	begin := time.Now()
	out := docker(t, "start", "-a", id)
	return figure{wall: time.Since(begin), cpu: cpuTime(t, []byte(out))}
}

// sourcePackage is the cached linux-source package that the project's lock names.
func sourcePackage(t *testing.T, p *project) string {
	t.Helper()
	set, ok := p.lock(benchFlavor).Find(resolve.KernelSet)
	if !ok {
		t.Fatal("the lock has no kernel source")
	}
	return cached(t, set.Packages[0])
}
