//go:build bench || soak

package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

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
	t.Run("boot", benchBoot)
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

// benchKernel is the comparison on a configuration of about five minutes, and what a change costs.
func benchKernel(t *testing.T) {
	compareKernel(t, "medium", "testdata/medium-6.12.y-x86_64", benchRuns)
	changeKernel(t, "medium", "testdata/medium-6.12.y-x86_64", "CRC7")
}

// changeKernel compiles a configuration, switches one driver from n to m, and compares the result with a clean
// build of the same.
func changeKernel(t *testing.T, name, file, symbol string) {
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := newProject(t)
	id := fmt.Sprintf("change%d", time.Now().UnixNano())
	p.write("kernel/configs/"+id+"-6.12.y-x86_64", fmt.Sprintf("%sCONFIG_LOCALVERSION=\"-%s\"\n", config, id))
	p.write("hookbuild.yaml", "flavors:\n  bench-amd64:\n    extends: hook-default-amd64\n    kernel: {config: "+id+"}\n")
	defer rememberCacheMounts(t, "/build/obj")()
	p.run("kernel-config", "bench-amd64", "--unset", symbol)
	measure(t, p, "kernel", "bench-amd64", "--clean")
	full := kernelCPU(t, p)
	p.run("kernel-config", "bench-amd64", "--set", symbol+"=m")
	change := measure(t, p, "kernel", "bench-amd64")
	changeCPU := kernelCPU(t, p)
	same := measure(t, p, "kernel", "bench-amd64")
	incremental := kernelImage(t, strings.TrimSpace(change.out))
	clean := measure(t, p, "kernel", "bench-amd64", "--clean")
	for file, data := range kernelImage(t, strings.TrimSpace(clean.out)) {
		if !bytes.Equal(data, incremental[file]) {
			t.Errorf("%s: the incremental build has other bytes than a clean one", file)
		}
	}
	report(t, "kernel, "+name+" config: "+symbol+" from n to m, wall", "90 s", fmt.Sprintf("%.0f s", change.wall.Seconds()))
	report(t, "kernel, "+name+" config: the same, CPU time in relation to a full build", "0.05", fmt.Sprintf("%.3f (%.0f s of %.0f s)", changeCPU/full, changeCPU, full))
	report(t, "kernel, "+name+" config: nothing changed, wall", "3 s", fmt.Sprintf("%.1f s", same.wall.Seconds()))
}

// cpuLine is the last of a kernel's log: minutes and seconds, of users' code and of the engine's kernel.
var cpuLine = regexp.MustCompile(`CPU time of all programs \(user, system\): (\d+)m([0-9.]+)s (\d+)m([0-9.]+)s`)

// kernelCPU is what the last compilation took, in seconds.
func kernelCPU(t *testing.T, p *project) (seconds float64) {
	t.Helper()
	m := cpuLine.FindSubmatch(p.read("out/logs/kernel.log"))
	if m == nil {
		t.Fatal("the kernel's log does not say how much CPU time it took")
	}
	for i, unit := range []float64{60, 1, 60, 1} {
		n, err := strconv.ParseFloat(string(m[i+1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		seconds += n * unit
	}
	return seconds
}

// compareKernel compiles one configuration by hookbuild and by a bare make in the same container, in turn.
func compareKernel(t *testing.T, name, file string, runs int) {
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var ours, bare []figure
	for i := range runs {
		p := newProject(t)
		// A name of its own gives the configuration a build tree that is empty, and the kernel one that the
		// engine does not have yet.
		id := fmt.Sprintf("bench%d", time.Now().UnixNano())
		p.write("kernel/configs/"+id+"-6.12.y-x86_64", fmt.Sprintf("%sCONFIG_LOCALVERSION=\"-%s\"\n", config, id))
		p.write("hookbuild.yaml", "flavors:\n  bench-amd64:\n    extends: hook-default-amd64\n    kernel: {config: "+id+"}\n")
		forget := rememberCacheMounts(t, "/build/obj")
		dropCacheMounts(t, cacheMounts(t, "/ccache")) // as on the first day
		ours = append(ours, measure(t, p, "kernel", "bench-amd64"))
		forget()
		bare = append(bare, bareMake(t, p, p.path("kernel/configs/"+id+"-6.12.y-x86_64")))
		t.Logf("pair %d: hookbuild %.0f s, bare make %.0f s", i+1, ours[i].stages["kernel"], bare[i].wall.Seconds())
	}
	seconds := func(f figure) float64 { return f.stages["kernel"] }
	a, b := median(ours, seconds), median(bare, func(f figure) float64 { return f.wall.Seconds() })
	report(t, "kernel, "+name+" config: hookbuild", "", fmt.Sprintf("%.0f s", a))
	report(t, "kernel, "+name+" config: bare make -j in the same container", "", fmt.Sprintf("%.0f s", b))
	report(t, "kernel, "+name+" config: ratio", "1.1", fmt.Sprintf("%.2f", a/b))
}

// bareMake does with the docker command what hookbuild's kernel stage does, unpacking and installing the
// modules included.
func bareMake(t *testing.T, p *project, config string) figure {
	t.Helper()
	var toolchain string
	for _, ref := range strings.Fields(hookbuildImages(t)) {
		if strings.Contains(ref, "debian:toolchain-") {
			toolchain = ref
		}
	}
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
		make -s O=/build/obj INSTALL_MOD_PATH=/build/mods INSTALL_MOD_STRIP=1 modules_install`))
	defer docker(t, "rm", "-f", id)
	docker(t, "cp", sourcePackage(t, p), id+":/source.deb")
	docker(t, "cp", config, id+":/defconfig")
	begin := time.Now()
	docker(t, "start", "-a", id)
	return figure{wall: time.Since(begin)}
}

// sourcePackage is the cached linux-source package that the project's lock names.
func sourcePackage(t *testing.T, p *project) string {
	t.Helper()
	set, ok := p.lock("bench-amd64").Find(resolve.KernelSet)
	if !ok {
		t.Fatal("the lock has no kernel source")
	}
	return cached(t, set.Packages[0])
}
