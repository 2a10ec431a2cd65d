//go:build soak

package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// A Debian whose init is systemd, small enough to be an initramfs. It has a shell on the serial console, the server's
// unit as it is delivered, and the same unit with a program that tries to write in the server's place.
const (
	guestFlavor = `flavors:
  guest:
    extends: hook-debian-amd64
    kernel:
      modules: {include: []}
    userland:
      linuxkit: [hook.yaml]
`
	guestYAML = `
kernel: {image: "${HOOK_KERNEL}", cmdline: "console=ttyS0,115200"}
init: ["build:guest"]
`
	guestPackages   = "busybox-static\nsystemd\n"
	guestDockerfile = `ARG BASE
FROM ${BASE} AS build
RUN --mount=type=bind,from=debs,target=/debs \
    set -eu; \
    mkdir /out; \
    for deb in /debs/*.deb; do dpkg-deb -x "$deb" /out; done; \
    cd /out; \
    rm -rf etc/systemd/system/* usr/share usr/lib/locale usr/lib/*/gconv usr/lib/systemd/system/getty@.service; \
    mkdir -p boot dev etc/systemd/system/multi-user.target.wants home lib mnt opt proc root run srv sys tmp var/tmp; \
    chmod 0700 root; chmod 1777 tmp var/tmp; \
    ln -s usr/bin bin; ln -s usr/sbin sbin; ln -s usr/lib64 lib64; ln -s usr/lib/systemd/systemd init; \
    for name in cat dmesg grep id kill sh sha256sum sleep stty touch wget; do ln -sf busybox "usr/bin/$name"; done; \
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'nobody:x:65534:65534:nobody:/:/bin/false' >etc/passwd; \
    printf '%s\n' 'root:x:0:' 'tty:x:5:' 'nogroup:x:65534:' >etc/group; \
    echo 0123456789abcdef0123456789abcdef >etc/machine-id; \
    ln -s /usr/lib/systemd/system/multi-user.target etc/systemd/system/default.target; \
    for name in console hookbuild-serve; do ln -s "../$name.service" etc/systemd/system/multi-user.target.wants/; done
FROM scratch
COPY --from=build /out /
COPY --chmod=0644 console.service hookbuild-serve.service probe.service /etc/systemd/system/
COPY --chmod=0755 hookbuild probe /usr/local/bin/
ADD out.tar /
`
	guestConsole = `[Unit]
After=hookbuild-serve.service

[Service]
ExecStart=/usr/bin/busybox sh -c "echo guest ready; exec busybox sh"
StandardInput=tty
StandardOutput=tty
TTYPath=/dev/ttyS0
`
	// What is writable for everybody, and the server's own output directory, is among the places.
	guestProbe = `#!/bin/sh
echo "user $(id -u)"
grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
for place in / /boot /dev /dev/shm /etc /home /mnt /opt /proc /root /run /srv /srv/hookbuild/out /srv/hookbuild/out/generations /sys /tmp /usr/local/bin /var /var/tmp; do
    touch "$place/probe" 2>/dev/null && echo "wrote in $place"
done
echo end
`
)

// testService runs deploy's systemd unit under systemd, in a machine.
func testService(t *testing.T) {
	p := newProject(t)
	kernelSum := guestProject(t, p)
	p.run("linuxkit", "guest")
	p.run("boot", "guest", "--expect", "guest ready", "--timeout", "10m") // which makes the image with QEMU
	m := p.boots("guest", machineOptions{Append: "systemd.show_status=0"})
	m.expect(`^guest ready`)
	m.send("stty -echo; PS1=; PS2=; dmesg -n 1")
	m.sh("true")

	serves := "wget -q -O - http://127.0.0.1:8080/hook/vmlinuz-x86_64 | sha256sum | grep " + kernelSum
	m.until(serves, time.Minute)
	if got := m.sh("systemctl is-active hookbuild-serve; wget -q -O - http://127.0.0.1:8081/readyz"); !strings.HasPrefix(got, "active\n") {
		t.Errorf("state: got %q", got)
	}
	t.Run("exposure", func(t *testing.T) { // 0 is none, 10 is all
		t.Log(m.sh("systemd-analyze security --no-pager --threshold=20 hookbuild-serve.service | grep -i exposure.level"))
		if out, code := m.try("systemd-analyze security --no-pager --threshold=20 hookbuild-serve.service >/dev/null"); code != 0 {
			t.Errorf("above 2.0: %s", out)
		}
	})
	t.Run("writes nowhere", func(t *testing.T) {
		m.sh("systemctl start probe")
		got := m.until("grep -q ^end /run/probe.log && cat /run/probe.log", time.Minute)
		t.Log(got)
		lines := strings.Split(got, "\n")
		if user := lines[0]; user == "user 0" || user == "user " {
			t.Errorf("it runs as %q", user)
		}
		for _, want := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q", want)
			}
		}
		for _, line := range lines { // /tmp and /var/tmp are its own, and end with it
			if place, ok := strings.CutPrefix(line, "wrote in "); ok && place != "/tmp" && place != "/var/tmp" {
				t.Error(line)
			}
		}
		m.sh("! test -e /tmp/probe && ! test -e /var/tmp/probe")
	})
	t.Run("is started again", func(t *testing.T) {
		before := m.sh("systemctl show -P MainPID hookbuild-serve")
		m.sh("kill -9 " + before)
		after := m.until("pid=$(systemctl show -P MainPID hookbuild-serve); test $pid != 0 && test $pid != "+before+" && echo $pid", time.Minute)
		m.until(serves, time.Minute)
		t.Logf("process %s, then %s", before, after)
	})
	t.Run("stops", func(t *testing.T) {
		m.sh("systemctl stop hookbuild-serve")
		if got := m.sh("systemctl show -P Result -P ActiveState hookbuild-serve"); got != "success\ninactive" && got != "inactive\nsuccess" {
			t.Errorf("got %q", got)
		}
	})
}

// guestProject writes the project, and returns the SHA-256 of the kernel that its server is to serve.
func guestProject(t *testing.T, p *project) (kernelSum string) {
	t.Helper()
	unit, err := os.ReadFile("../deploy/hookbuild-serve.service")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(unit), "ExecStart=")
	command, _, ok := strings.Cut(rest, "\n")
	if !ok {
		t.Fatal("the unit has no ExecStart")
	}
	probe := strings.Replace(string(unit), "ExecStart="+command, "ExecStart=/usr/local/bin/probe\nStandardOutput=file:/run/probe.log", 1)
	for name, content := range map[string]string{
		"hookbuild.yaml": guestFlavor, "hook.yaml": guestYAML, "userland/guest/packages": guestPackages, "userland/guest/Dockerfile": guestDockerfile,
		"userland/guest/console.service": guestConsole, "userland/guest/hookbuild-serve.service": string(unit),
		"userland/guest/probe.service": probe, "userland/guest/probe": guestProbe,
	} {
		p.write(name, content)
	}
	copyTo(t, p.path("userland/guest/hookbuild"), binary(t))
	root := t.TempDir()
	kernel := bytes.Repeat([]byte("a kernel "), 100_000)
	publishFiles(t, filepath.Join(root, "srv/hookbuild/out"), kernel)
	if out, err := exec.Command("tar", "-C", root, "--owner=0", "--group=0", "-cf", p.path("userland/guest/out.tar"), "srv").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	sum := sha256.Sum256(kernel)
	return hex.EncodeToString(sum[:])
}

// publishFiles publishes what is no HookOS, but has its names.
func publishFiles(t *testing.T, out string, kernel []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		t.Fatal(err)
	}
	store, err := artifacts.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := store.TryLock()
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	made := plan.Plan{Schema: plan.Schema, Flavor: "guest", Arch: plan.X8664}
	staging, err := store.Stage(made.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer staging.Abort()
	for _, name := range []string{artifacts.KernelName(made.Arch), artifacts.InitramfsName(made.Arch)} {
		w, err := staging.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(kernel); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	err = staging.WriteReport(artifacts.NewReport(artifacts.Archive{}))
	gen, errCommit := staging.Commit(artifacts.Manifest{Plan: made})
	if err := errors.Join(err, errCommit); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Publish(gen); err != nil {
		t.Fatal(err)
	}
}
