package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
)

// What a build wants of the engine's host: less memory may kill the kernel's compiler, fewer CPUs take hours, and
// base, toolchain, build trees and images come to about twenty gigabytes.
const (
	wantMemory  = 2e9 // bytes; hosts of 2 GiB report somewhat less
	wantCPUs    = 4
	wantDisk    = 20e9 // bytes
	leastDisk   = 2e9  // bytes; below it not even the base fits
	oldestMajor = 20   // Docker Engine 20.10
	oldestMinor = 10
)

// Engine is what a Docker Engine says of itself.
type Engine struct {
	Version    string
	API        string
	Arch       string // amd64, arm64
	Host       string // how it is reached, such as unix:///var/run/docker.sock
	Remote     bool   // whether it is on another machine
	Driver     string // of its storage
	Containerd bool   // whether containerd keeps its images
	Root       string // directory in which it stores data
	Disk       Disk   // of Root; zero where it is not on this machine
	Memory     int64  // bytes
	CPUs       int
	BuildKit   error  // why its BuildKit does not answer; nil where it does
	BuildKitIs string // its version; "" where it does not say
}

// Disk is the file system that something is on. The zero value is not known.
type Disk struct {
	Free, Size int64 // bytes; Free is what a user without privileges may take
}

// Findings judges the engine.
func (e Engine) Findings() []Finding {
	where := "on this machine"
	if e.Remote {
		where = "on another machine"
	}
	main := Finding{"engine", OK, fmt.Sprintf("Docker Engine %s, API %s, %s, at %s, %s", e.Version, e.API, e.Arch, e.Host, where), ""}
	switch {
	case e.tooOld():
		main.State, main.Hint = Error, fmt.Sprintf("install Docker Engine %d.%d or later", oldestMajor, oldestMinor)
	case e.Arch != "amd64" && e.Arch != "arm64":
		main.State, main.Hint = Error, "hookbuild builds on amd64 and arm64; name another engine with DOCKER_HOST"
	}
	return slices.Concat([]Finding{main, e.buildKit(), e.storage()}, e.disk(), e.size())
}

// tooOld is false for a version that is no number.
func (e Engine) tooOld() bool {
	parts := strings.SplitN(e.Version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && cmp.Or(cmp.Compare(major, oldestMajor), cmp.Compare(minor, oldestMinor)) < 0
}

func (e Engine) buildKit() Finding {
	if e.BuildKit != nil {
		return Finding{"buildkit", Error, fmt.Sprintf("the engine's BuildKit does not answer: %v", e.BuildKit), "hookbuild builds with it; Docker Engine 20.10 and later bring it along"}
	}
	version := "of a version that it does not tell"
	if e.BuildKitIs != "" {
		version = e.BuildKitIs
	}
	return Finding{"buildkit", OK, "answers, " + version, ""}
}

func (e Engine) storage() Finding {
	f := Finding{"storage", OK, e.Driver + ", images kept by the engine itself", ""}
	if e.Containerd {
		f.Detail = e.Driver + ", images kept by containerd"
	}
	if e.Driver == "vfs" {
		f.State, f.Hint = Warning, "vfs copies every layer whole: builds are slow and take many times the space; overlay2 is the usual driver"
	}
	return f
}

func (e Engine) disk() []Finding {
	if e.Disk.Size == 0 {
		return []Finding{{"engine-disk", OK, fmt.Sprintf("%s is not on this machine: its free space cannot be seen from here; a build takes about %s", e.Root, units.HumanSize(wantDisk)), ""}}
	}
	f := Finding{"engine-disk", OK, fmt.Sprintf("%s free of %s at %s", units.HumanSize(float64(e.Disk.Free)), units.HumanSize(float64(e.Disk.Size)), e.Root), ""}
	f.State = e.Disk.judge(wantDisk)
	if f.State != OK {
		f.Hint = fmt.Sprintf("a build takes about %s; hookbuild prune removes what hookbuild has left, docker system df shows what else is there", units.HumanSize(wantDisk))
	}
	return []Finding{f}
}

// judge wants so much free, in bytes.
func (d Disk) judge(want float64) State {
	switch free := float64(d.Free); {
	case free < leastDisk:
		return Error
	case free < want:
		return Warning
	}
	return OK
}

// size is memory and CPUs.
func (e Engine) size() []Finding {
	memory := Finding{"memory", OK, units.HumanSize(float64(e.Memory)), ""}
	if e.Memory < wantMemory {
		memory.State, memory.Hint = Warning, fmt.Sprintf("%s are the least for the kernel's compiler, twice as much is better", units.HumanSize(wantMemory))
	}
	cpus := Finding{"cpus", OK, strconv.Itoa(e.CPUs), ""}
	if e.CPUs < wantCPUs {
		cpus.State, cpus.Hint = Warning, fmt.Sprintf("%d or more are recommended to compile a kernel; hook-debian-* compiles none", wantCPUs)
	}
	return []Finding{memory, cpus}
}
