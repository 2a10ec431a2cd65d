package test

import (
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
)

// A component with busybox, which is also the image of volumes. Its containers prove what a YAML can ask for, each
// thing in a line on the console; what a container of the section onboot writes itself gets there if it fails.
const (
	proofPackages   = "busybox-static\n"
	proofDockerfile = `ARG BASE
FROM ${BASE} AS build
RUN --mount=type=bind,from=debs,target=/debs \
    set -eu; \
    mkdir /out; \
    for deb in /debs/*.deb; do dpkg-deb -x "$deb" /out; done; \
    cd /out; \
    rm -rf etc usr/share; \
    mkdir dev etc proc run sys v f l; \
    ln -s usr/bin bin; \
    for name in cat grep head hostname id ip kill mkdir mount nsenter ping sed sh sha256sum sleep touch; do ln -s busybox "usr/bin/$name"; done; \
    echo below >word
FROM scratch
COPY --from=build /out /
ENV PATH=/usr/bin
`
	proofFlavor = `flavors:
  proof:
    extends: hook-debian-amd64
    userland:
      linuxkit: [hook.yaml]
`
	proofYAML = `
kernel: {image: "${HOOK_KERNEL}", cmdline: "console=ttyS0,115200"}
init: ["build:init"]
volumes:
  - {name: shared, image: "build:proof"}
  - {name: fixed, image: "build:proof", readonly: true}
  - {name: layout, image: "oci:layout", format: oci, readonly: true}
onboot:
  - name: write
    image: build:proof
    binds: ["shared:/v"]
    command: [sh, -c, "echo above >/v/new"]
  - name: volumes
    image: build:proof
    binds: ["shared:/v", "fixed:/f:ro", "layout:/l:ro", "/dev/console:/dev/console"]
    command:
      - sh
      - -c
      - |
        exec >/dev/console
        echo "proof: volume $(cat /v/new /v/word)" | sed 'N; s/\n/ /'
        touch /f/new 2>/dev/null || echo "proof: read-only $(cat /f/word)"
        digest=$(sed 's/.*"sha256:\([0-9a-f]*\)".*/\1/' /l/index.json | head -n 1)
        echo "$digest  /l/blobs/sha256/$digest" | sha256sum -c >/dev/null && echo "proof: image layout"
  - name: spread
    image: build:proof
    rootfsPropagation: shared
    capabilities: [CAP_SYS_ADMIN]
    binds: ["/run:/run"]
    command: [sh, -c, "mkdir /run/spread && mount -t tmpfs spread /run/spread"]
  - name: runtime
    image: build:proof
    binds: ["/run:/run", "/dev/console:/dev/console"]
    runtime:
      mkdir: [/run/made/by, inside]
      mounts: [{type: tmpfs, destination: /run/mounted}]
      cgroups: [proof/inner]
    command:
      - sh
      - -c
      - |
        exec >/dev/console
        [ -d /run/made/by ] && [ -d /inside ] && echo "proof: mkdir"
        grep -q ' /run/mounted tmpfs ' /proc/mounts && echo "proof: mount"
        grep -q '^spread /run/spread ' /proc/mounts && echo "proof: mount by another container"
        [ -e /sys/fs/cgroup/proof/inner/cgroup.procs ] && echo "proof: cgroup"
  - name: links
    image: build:proof
    net: new
    capabilities: [CAP_NET_ADMIN]
    binds: &console ["/dev/console:/dev/console"]
    runtime:
      interfaces:
        - {name: inside, add: veth, peer: outside}
        - {name: moved, add: dummy, createInRoot: true}
        - {name: made, add: dummy}
      bindNS: {net: /run/netns/links, uts: /run/netns/uts, mnt: /run/netns/mnt}
    command:
      - sh
      - -c
      - |
        exec >/dev/console
        ip addr add 10.9.0.2/24 dev inside && ip link set inside up
        for link in moved made; do ip link show $link >/dev/null && echo "proof: link $link"; done
  - name: ping
    image: build:proof
    capabilities: [CAP_NET_ADMIN, CAP_NET_RAW]
    binds: *console
    command:
      - sh
      - -c
      - |
        exec >/dev/console
        ip addr add 10.9.0.1/24 dev outside && ip link set outside up
        ping -c 3 -W 10 10.9.0.2 >/dev/null && echo "proof: ping through the pair"
        ip link add existing type dummy
  - name: joins
    image: build:proof
    net: /run/netns/links
    binds: *console
    command: [sh, -c, "ip addr show inside | grep -q 10.9.0.2/24 && echo 'proof: namespace by its path' >/dev/console"]
  - name: enters
    image: build:proof
    net: new
    capabilities: [CAP_SYS_ADMIN]
    binds: ["/run/netns:/run/netns", "/dev/console:/dev/console"]
    runtime: {interfaces: [{name: existing}]}
    command:
      - sh
      - -c
      - |
        exec >/dev/console
        ip link show existing >/dev/null && echo "proof: link existing"
        nsenter --net=/run/netns/links ip addr show inside | grep -q 10.9.0.2/24 && echo "proof: nsenter"
  - name: refused
    image: build:proof
    net: new
    binds: *console
    runtime: {interfaces: [{name: absent}]}
    command: [sh, -c, "echo 'proof: refused has run' >/dev/console"]
  - name: options
    image: build:proof
    net: new
    ipc: new
    uts: new
    hostname: proofhost
    readonly: true
    uid: 7
    gid: 8
    additionalGids: [9]
    capabilities: [CAP_NET_RAW]
    ambient: [CAP_NET_RAW]
    noNewPrivileges: true
    oomScoreAdj: 5
    cgroupsPath: proof/options
    tmpfs: ["/v:size=1m"]
    devices: [{path: /dev/proof, type: c, major: 1, minor: 3, mode: "0666"}]
    sysctl: {net.ipv4.ip_forward: "1"}
    rlimits: ["nofile,100,200"]
    maskedPaths: [/word]
    readonlyPaths: [/v]
    resources: {memory: {limit: 67108864}, pids: {limit: 50}, cpu: {shares: 512}}
    command:
      - sh
      - -c
      - |
        cd /sys/fs/cgroup/proof/options
        echo "proof: options $(id -u) $(id -G) $(hostname) $(ulimit -n)" $(cat /proc/self/oom_score_adj /proc/sys/net/ipv4/ip_forward memory.max pids.max)
        echo x >/dev/proof && echo "proof: device"
        [ -r /word ] && [ ! -s /word ] && echo "proof: masked"
        grep -q "NoNewPrivs:.1" /proc/self/status && grep -q "CapAmb:.0000000000002000" /proc/self/status && echo "proof: privileges"
        grep -q " /v tmpfs ro," /proc/mounts && echo "proof: read-only path"
        exit 7
  - name: user
    image: build:proof
    net: new
    userns: new
    uidMappings: [{containerID: 0, hostID: 100000, size: 1000}]
    gidMappings: [{containerID: 0, hostID: 100000, size: 1000}]
    command: [sh, -c, "echo proof: user $(cat /proc/self/uid_map); exit 7"]
services:
  - name: again
    image: build:proof
    net: new
    binds: ["shared:/v", "/run:/run", "/dev/console:/dev/console"]
    runtime:
      mounts: [{type: tmpfs, destination: /run/again}]
      interfaces: [{name: life, add: veth, peer: lifeline}]
      bindNS: {net: /run/netns/again}
    command:
      - sh
      - -c
      - |
        exec >/dev/console
        ip link show life >/dev/null || exit 4
        if [ ! -e /run/again/first ]; then
            echo "proof: service starts"
            touch /run/again/first
            exit 3
        fi
        echo "proof: service starts again"
        touch /v/again
        until [ -e /v/late ]; do sleep 1; done
        grep -q '^late /run/late ' /proc/mounts && echo "proof: mount while it runs"
        trap 'echo "proof: service is told to end"; exit' TERM
        touch /v/twice
        while :; do sleep 1 & wait $!; done
  - name: off
    image: build:proof
    pid: host
    rootfsPropagation: shared
    capabilities: [CAP_SYS_ADMIN]
    binds: ["shared:/v", "/run:/run"]
    command:
      - sh
      - -c
      - |
        until [ -e /v/again ]; do sleep 1; done
        mkdir /run/late && mount -t tmpfs late /run/late
        touch /v/late
        until [ -e /v/twice ]; do sleep 1; done
        kill -USR2 1
onshutdown:
  - name: last
    image: build:proof
    binds: ["shared:/v"]
    command: [sh, -c, "echo \"proof: onshutdown $(cat /v/new)\""]
`
)

// proofs are the lines, in their order.
var proofs = []string{
	"proof: volume above below",
	"proof: read-only below",
	"proof: image layout",
	"proof: mkdir",
	"proof: mount",
	"proof: mount by another container",
	"proof: cgroup",
	"proof: link moved",
	"proof: link made",
	"proof: ping through the pair",
	"proof: namespace by its path",
	"proof: link existing",
	"proof: nsenter",
	"proof: options 7 8 9 proofhost 100 5 1 67108864 50",
	"proof: device",
	"proof: masked",
	"proof: privileges",
	"proof: read-only path",
	"proof: user 0 100000 1000",
	"proof: service starts",
	"proof: service starts again",
	"proof: mount while it runs",
	"proof: onshutdown above",
	"proof: service is told to end",
}

// TestUserlandRunsLinuxKitYAML boots once and is switched off by one of its services.
func TestUserlandRunsLinuxKitYAML(t *testing.T) {
	p := newProject(t)
	p.write("hookbuild.yaml", proofFlavor)
	p.write("hook.yaml", proofYAML)
	p.write("userland/proof/packages", proofPackages)
	p.write("userland/proof/Dockerfile", proofDockerfile)
	if err := layoutOf(p.path("layout"), randomImage(t)); err != nil {
		t.Fatal(err)
	}
	p.run("linuxkit", "proof")
	p.run("boot", "proof", "--expect", "reboot: Power down", "--timeout", "10m")
	console := consoleLines(p)
	var got []string
	for _, line := range console {
		if i := strings.Index(line, "proof: "); i >= 0 {
			got = append(got, line[i:])
		}
	}
	if !slices.Equal(got, proofs) {
		t.Errorf("the containers said\n%s\nwant\n%s\nthe console:\n%s",
			strings.Join(got, "\n"), strings.Join(proofs, "\n"), strings.Join(console, "\n"))
	}
	for _, want := range []string{
		"HookOS: container 008-refused cannot be prepared: interface absent: ",
		"HookOS: onboot container 009-options ended with exit code 7; ",
		"HookOS: service again ended (exit code 3, ",
	} {
		if !slices.ContainsFunc(console, func(line string) bool { return strings.Contains(line, want) }) {
			t.Errorf("the console lacks %q:\n%s", want, strings.Join(console, "\n"))
		}
	}
}

// consoleLines is what the log of the last boot holds.
func consoleLines(p *project) []string {
	return strings.Split(string(p.read("out/logs/boot.log")), "\n")
}

// randomImage is for the machine's platform, and for no other purpose than to be found again.
func randomImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}
