package test

import (
	"archive/tar"
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/crypto/ssh"

	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// peerBinary builds test/peer for an architecture, static, as it runs in an image that holds nothing else.
func peerBinary(t *testing.T, arch string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "peer-"+arch)
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, "./peer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// imageFile is an entry of a layer; its size is that of the content.
type imageFile struct {
	tar.Header
	content []byte
}

func layerOf(t *testing.T, files ...imageFile) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		f.Size = int64(len(f.content))
		if err := errors.Join(w.WriteHeader(&f.Header), write(w, f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

func regular(name string, mode int64, content []byte) imageFile {
	return imageFile{tar.Header{Name: name, Mode: mode, Typeflag: tar.TypeReg}, content}
}

func directory(name string) imageFile {
	return imageFile{tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeDir}, nil}
}

// imageOf is an image for Linux.
func imageOf(t *testing.T, arch string, c v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Architecture, config.OS, config.Config = arch, "linux", c
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// archiveOf writes an image as docker save does.
func archiveOf(t *testing.T, file, arch, tag string, c v1.Config, layers ...v1.Layer) {
	t.Helper()
	ref, err := name.NewTag(tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(file, ref, imageOf(t, arch, c, layers...)); err != nil {
		t.Fatal(err)
	}
}

// capNetRaw is a file's capability, effective and permitted (capabilities(7), struct vfs_cap_data of revision 2).
const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// checkLayers is what the stand-in for an action runs, as user 1000.
const checkLayers = `
[ ! -e /gone ] && echo "action: the whiteout holds"
[ "$(ls /opaque)" = new ] && echo "action: the opaque directory holds"
/bin/busybox-raw grep -q "CapEff:.0000000000002000" /proc/self/status && echo "action: the file's capability holds"
`

// staticBusybox is that of HookOS.
func staticBusybox(t *testing.T, p *project, flavor string) []byte {
	t.Helper()
	p.run("lock", flavor)
	set, _ := p.lock(flavor).Find(resolve.UserlandSet("init"))
	at := slices.IndexFunc(set.Packages, func(pkg debian.Package) bool { return pkg.Name == "busybox-static" })
	if at < 0 {
		t.Fatal("the lock has no busybox-static")
	}
	dir := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "-x", cached(t, set.Packages[at]), dir).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "usr/bin/busybox"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// actionArchive is an image with all that layers can do to each other.
func actionArchive(t *testing.T, file, arch string, busybox []byte) {
	t.Helper()
	raw := regular("bin/busybox-raw", 0o755, busybox)
	raw.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": capNetRaw}
	link := func(name string) imageFile {
		return imageFile{tar.Header{Name: "bin/" + name, Linkname: "busybox", Typeflag: tar.TypeSymlink, Mode: 0o777}, nil}
	}
	archiveOf(t, file, arch, "actions/image2disk:v1",
		v1.Config{Cmd: []string{"/bin/sh", "-c", checkLayers}, User: "1000", Env: []string{"PATH=/bin"}},
		layerOf(t, directory("bin"), regular("bin/busybox", 0o755, busybox), link("sh"), link("ls"), link("grep"), raw,
			directory("gone"), regular("gone/file", 0o644, nil), directory("opaque"), regular("opaque/old", 0o644, nil)),
		layerOf(t, regular(".wh.gone", 0, nil), directory("opaque"), regular("opaque/.wh..wh..opq", 0, nil), regular("opaque/new", 0o644, nil)))
}

// agentArchive is an image with the stand-in for the agent.
func agentArchive(t *testing.T, file, arch, peer string) {
	t.Helper()
	data, err := os.ReadFile(peer)
	if err != nil {
		t.Fatal(err)
	}
	archiveOf(t, file, arch, "tink-agent:v1", v1.Config{Entrypoint: []string{"/peer", "agent"}}, layerOf(t, regular("peer", 0o755, data)))
}

const siteYAML = `flavors:
  site-%[1]s:
    extends: hook-debian-%[1]s
    kernel:
      modules: {exclude: [e1000]}
    userland:
      agent_image: "archive:agent.tar"
      embedded_images:
        - {source: "archive:action.tar", as: [127.0.0.1/embedded/image2disk, 127.0.0.1/embedded/writefile, 127.0.0.1/embedded/reboot]}
      ntp: [10.0.2.2]
      ca_certificates: [cert.pem]
      ssh: {authorized_keys: id.pub}
`

// agentEnv is what the agent is given, but for what every container has.
var agentEnv = []string{
	"agent: env DOCKER_REGISTRY=", "agent: env HTTPS_PROXY=http://10.0.2.2:3128", "agent: env HTTP_PROXY=", "agent: env ID=52:54:00:12:34:56",
	"agent: env NO_PROXY=10.0.0.0/8,.example", "agent: env REGISTRY_PASSWORD=pass'word=1", "agent: env REGISTRY_USERNAME=machine",
	"agent: env TINKERBELL_GRPC_AUTHORITY=10.9.9.9:42113", "agent: env TINKERBELL_INSECURE_TLS=true", "agent: env TINKERBELL_TLS=false",
	"agent: env WORKER_ID=52:54:00:12:34:56",
}

// siteProject has a HookOS with embedded images, the image with QEMU, and a certificate for 10.0.2.2, which HookOS trusts.
func siteProject(t *testing.T, arch string) *project {
	t.Helper()
	p := newProject(t)
	p.run("all", "hook-debian-"+arch) // brings the packages
	p.write("hookbuild.yaml", fmt.Sprintf(siteYAML, arch))
	agentArchive(t, p.path("agent.tar"), arch, peerBinary(t, arch))
	actionArchive(t, p.path("action.tar"), arch, staticBusybox(t, p, "hook-debian-"+arch))
	writeCertificate(t, p.path("cert.pem"), p.path("key.pem"))
	writeKey(t, p.path("id"), p.path("id.pub"))
	p.run("all", "site-"+arch)
	p.run("boot", "site-"+arch, "--expect", "Linux version", "--timeout", "5m") // which makes the image with QEMU
	return p
}

// writeCertificate makes one that vouches for itself, older than any build.
func writeCertificate(t *testing.T, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(10, 0, 2, 2)},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, private.Public(), private)
	pkcs8, kerr := x509.MarshalPKCS8PrivateKey(private)
	if err := errors.Join(err, kerr); err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// writeKey makes a pair of keys for ssh.
func writeKey(t *testing.T, private, public string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	key, kerr := ssh.NewPublicKey(pub)
	if err := errors.Join(err, kerr); err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(private, pem.EncodeToMemory(block), 0o600), os.WriteFile(public, ssh.MarshalAuthorizedKey(key), 0o644))
	if err != nil {
		t.Fatal(err)
	}
}

// TestProvision boots a HookOS as EKS Anywhere boots it, and looks at what it does.
func TestProvision(t *testing.T) {
	p, peer := siteProject(t, "amd64"), peerBinary(t, "amd64")
	t.Run("embedded images", func(t *testing.T) { p.t = t; provisionEmbedded(t, p, "site-amd64", peer) })
	t.Run("registry", func(t *testing.T) { p.t = t; provisionRegistry(t, p, peer) })
	t.Run("static address", func(t *testing.T) { p.t = t; provisionStatic(t, p) })
	t.Run("one of two cards", func(t *testing.T) { p.t = t; provisionInterface(t, p) })
	t.Run("VLAN", func(t *testing.T) { p.t = t; provisionVLAN(t, p) })
	p.t = t
}

// twoCards are on a network of their own each, with QEMU's DHCP.
var twoCards = []string{
	"-netdev", "user,id=n0,ipv6=off", "-device", "virtio-net-pci,netdev=n0,romfile=,mac=52:54:00:00:00:01",
	"-netdev", "user,id=n1,ipv6=off,net=10.0.3.0/24", "-device", "virtio-net-pci,netdev=n1,romfile=,mac=52:54:00:00:00:02",
}

func provisionStatic(t *testing.T, p *project) {
	m := p.boots("site-amd64", machineOptions{
		Append: "ipam=52-54-00-00-00-02::10.0.3.77:255.255.255.0:10.0.3.2:rack7:10.0.3.3,1.1.1.1:lab.example,example:10.0.3.9,10.0.3.8",
		Net:    twoCards,
	})
	if line := m.ready(); !strings.Contains(line, "address 10.0.3.77") {
		t.Errorf("got %q", line)
	}
	m.idle()
	const sources = "/containers/services/ntp/rootfs/run/chrony/all.sources"
	m.until("grep -q 10.0.3.9 "+sources, bootTimeout)
	for command, want := range map[string]string{
		"hostname":                               "rack7",
		"ip -4 -o addr show | grep -c 'inet 10'": "1",
		"ip route show | grep default":           "default via 10.0.3.2 dev eth1 ",
		"cat /etc/resolv.conf":                   "search lab.example example\nnameserver 10.0.3.3\nnameserver 1.1.1.1",
		"cat " + sources:                         "server 10.0.2.2 iburst\nserver 10.0.3.8 iburst\nserver 10.0.3.9 iburst",
		"pidof dhcpcd || echo none":              "none",
	} {
		if got := m.sh(command); got != want {
			t.Errorf("%s: got %q, want %q", command, got, want)
		}
	}
}

func provisionInterface(t *testing.T, p *project) {
	m := p.boots("site-amd64", machineOptions{
		Append: "interface=eth1 ipam=nonsense console=tty0", Net: twoCards,
	})
	if line := m.ready(); !strings.Contains(line, "address 10.0.3.15") {
		t.Errorf("got %q", line)
	}
	m.idle()
	m.has(`^HookOS network: ipam=nonsense: want MAC:VLAN:.*; asking DHCP instead`)
	if got := m.sh("ip -4 -o addr show | grep -c 'inet 10'"); got != "1" {
		t.Errorf("%s cards have an address, want the one that was named:\n%s", got, m.sh("ip addr"))
	}
	// A shell on each console. Of serial ports the kernel takes one only.
	m.until("(for tty in tty1 ttyS0; do sv status /run/service/console-$tty | grep ^run: && ls -l /proc/*/fd/0 | grep /dev/$tty || exit 1; done)", bootTimeout)
	m.send("echo bye''; sleep 1")
	m.expect("^bye")
	m.powerButton()
	m.expect("reboot: Power down")
}

// provisionVLAN has two machines on one wire: the first serves DHCP in a VLAN.
func provisionVLAN(t *testing.T, p *project) {
	wire := func(end, mac string) []string {
		return []string{"-netdev", "socket,id=n0," + end + "=127.0.0.1:7777", "-device", "virtio-net-pci,netdev=n0,romfile=,mac=" + mac}
	}
	server := p.boots("site-amd64", machineOptions{
		Append: "ipam=52-54-00-00-00-01:100:192.168.100.1:255.255.255.0::server:192.168.100.1::", Net: wire("listen", "52:54:00:00:00:01"), Memory: "1500M",
	})
	server.ready()
	server.sh(`printf 'start 192.168.100.50\nend 192.168.100.60\ninterface eth0.100\nopt dns 192.168.100.1\nopt ntpsrv 192.168.100.1\noption subnet 255.255.255.0\n' >/tmp/udhcpd.conf
mkdir -p /var/lib/misc && busybox udhcpd /tmp/udhcpd.conf && sleep 1 && pidof busybox`)
	client := p.boots("site-amd64", machineOptions{
		Append: "vlan_id=100 hw_addr=52:54:00:00:00:02", Net: wire("connect", "52:54:00:00:00:02"), Share: server.container, Memory: "1500M",
	})
	if line := client.ready(); !strings.Contains(line, "address 192.168.100.5") {
		t.Errorf("got %q", line)
	}
	client.idle()
	if got := client.sh("ip -4 -o addr show | grep 'eth0 ' || echo none"); got != "none" {
		t.Errorf("the card itself has an address: %s", got)
	}
	client.sh("grep -x 'ntp=192.168.100.1' /run/network/eth0.100.lease")
}

// provisionRegistry has the agent pulled, with a login, by a machine whose clock stands at 1970.
func provisionRegistry(t *testing.T, p *project, peer string) {
	m := p.boots("site-amd64", machineOptions{
		Append: "docker_registry=10.0.2.2:5000 insecure_registries=10.0.2.2:5000 registry_username=machine registry_password=pass'word=1 " +
			"worker_id=reboot",
		QEMU:  []string{"-rtc", "base=1970-01-02"},
		Files: map[string]string{"peer": peer, "tink-worker:latest.tar": p.path("agent.tar"), "cert.pem": p.path("cert.pem"), "key.pem": p.path("key.pem")},
	})
	m.ready()
	// The clock stands at the build's date: there is nobody yet to tell the time.
	m.sh(". /etc/hookos/build; [ $(date +%s) -ge $HOOKOS_EPOCH ] && [ $(date +%s) -lt $((HOOKOS_EPOCH + 1000)) ]")
	m.sh("[ -e /sys/module/virtio_rng ]")
	m.expect(`^HookOS bootkit: pulling the agent 10\.0\.2\.2:5000/tink-worker:latest failed, trying again: `)
	docker(t, "exec", "-d", m.container, "sh", "-c", "exec /peer/peer serve /peer >/peer/log 2>&1")
	peerIsReady(t, m)
	m.until("echo \"pass'word=1\" | docker login -u machine --password-stdin 10.0.2.2:5443 && docker pull -q 10.0.2.2:5443/tink-worker:latest", bootTimeout)
	m.expect(`^HookOS bootkit: the agent 10\.0\.2\.2:5000/tink-worker:latest runs`)
	m.expect(`^HookOS: an action asks for a restart`)
	m.expect(`reboot: Restarting system`)
}

// peerIsReady waits until the peer has said so; what else it said is why it is not.
func peerIsReady(t *testing.T, m *machine) {
	t.Helper()
	const limit = time.Minute
	var said []byte
	for begin := time.Now(); time.Since(begin) < limit; time.Sleep(time.Second) {
		// docker exec -d may not have made the file yet.
		said, _ = exec.Command("docker", "exec", m.container, "cat", "/peer/log").CombinedOutput()
		if strings.Contains(string(said), "peer: ready") {
			return
		}
	}
	t.Fatalf("the peer is not ready after %s, and said: %s", limit, said)
}

func provisionEmbedded(t *testing.T, p *project, flavor, peer string) {
	m := p.boots(flavor, machineOptions{
		Append: "facility=onprem syslog_host=10.0.2.2 grpc_authority=10.9.9.9:42113 tinkerbell_tls=false tinkerbell_insecure_tls=true " +
			"worker_id=52:54:00:12:34:56 hw_addr=52:54:00:12:34:56 modules=loop,squashfs,no-such modprobe.blacklist=virtio_rng docker_registry " +
			"tink_worker_image=127.0.0.1/embedded/tink-worker registry_username=machine registry_password=pass'word=1 " +
			"NO_PROXY=10.0.0.0/8,.example HTTP_PROXY HTTPS_PROXY=http://10.0.2.2:3128 insecure_registries=10.0.2.2:5000 " +
			"registry_mirrors=http://10.0.2.2:5001",
		Net:    []string{"-netdev", "user,id=n0,ipv6=off,hostfwd=tcp:127.0.0.1:2222-:22", "-device", "virtio-net-pci,netdev=n0,romfile="},
		QEMU:   []string{"-device", "e1000,romfile="},
		Files:  map[string]string{"peer": peer, "id": p.path("id")},
		Before: "/peer/peer serve /peer >/peer/log 2>&1 &",
	})
	t.Log(m.ready())
	peerIsReady(t, m)
	m.has(`^HookOS: no driver for the network device 8086:100e:1af4:1100 at 0000:`)
	m.has(`^HookOS network card eth0: driver virtio_net, 52:54:00:12:34:56, link.*, 10\.0\.2\.15/24`)
	m.expect(`^HookOS bootkit: the agent 127\.0\.0\.1/embedded/tink-worker runs`)
	t.Run("the agent", func(t *testing.T) { m.t = t; checkAgent(t, m) })
	t.Run("the machine", func(t *testing.T) { m.t = t; checkMachine(t, m, flavor) })
	t.Run("what is killed comes back", func(t *testing.T) { m.t = t; checkKilled(t, m) })
	t.Run("syslog", func(t *testing.T) { m.t = t; checkSyslog(t, m) })
	m.t = t
	// The peer tells the time an hour ahead.
	m.until(fmt.Sprintf("[ $(date +%%s) -gt %d ]", time.Now().Add(30*time.Minute).Unix()), bootTimeout)
	if out := docker(t, "exec", m.container, "/peer/peer", "ssh", "/peer/id", "cat /etc/hookos/build"); !strings.Contains(out, "HOOKOS_FLAVOR="+flavor) {
		t.Errorf("by ssh: got %q", out)
	}
	m.send("poweroff")
	m.expect("reboot: Power down")
}

func checkAgent(t *testing.T, m *machine) {
	logs := m.until("docker logs tink-worker | grep 'the action ended' >/dev/null && docker logs tink-worker", bootTimeout)
	var env, action []string
	for line := range strings.Lines(logs) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "agent: env ") {
			env = append(env, line)
		} else if strings.Contains(line, "action") {
			action = append(action, line)
		}
	}
	if diff := cmp.Diff(agentEnv, env); diff != "" {
		t.Errorf("the agent's environment (-want +got):\n%s", diff)
	}
	want := []string{"action: the whiteout holds", "action: the opaque directory holds", "action: the file's capability holds", "agent: the action ended with 0"}
	if diff := cmp.Diff(want, action); diff != "" {
		t.Errorf("the action (-want +got):\n%s", diff)
	}
	if out := m.sh("ls /usr/lib/embedded-images"); out != "" {
		t.Errorf("the archives are still there: %s", out)
	}
	if out, code := m.try(`ps w | grep "pass'wor[d]"; grep -r "pass'word" /var/log /run/log`); code == 0 || strings.Contains(out, "pass'word") {
		t.Errorf("the password is to be seen:\n%s", out)
	}
}

func checkMachine(t *testing.T, m *machine, flavor string) {
	for command, want := range map[string]string{
		"cat /sys/module/loop/initstate":                                                                         "live",
		"[ ! -e /sys/module/virtio_rng ] && echo none":                                                           "none",
		"cut -d= -f1 /etc/os-release | sort -u | xargs":                                                          "ANSI_COLOR HOME_URL ID ID_LIKE NAME PRETTY_NAME VERSION VERSION_CODENAME VERSION_ID",
		". /etc/os-release; echo $ID $VERSION_ID":                                                                "hookos 0.1.0",
		". /etc/os-release; echo $PRETTY_NAME | sed 's/ v.*//'":                                                  "HookOS " + flavor,
		"docker info -f '{{.Driver}} {{.CgroupVersion}} {{.LoggingDriver}}'":                                     "overlay2 2 syslog",
		"docker info -f '{{.RegistryConfig.InsecureRegistryCIDRs}}' >/dev/null":                                  "",
		"jq -c '.\"insecure-registries\"' /run/../containers/services/hook-docker/rootfs/etc/docker/daemon.json": `["10.0.2.2:5000"]`,
		"docker info -f '{{.HTTPSProxy}} {{.NoProxy}} {{.RegistryConfig.Mirrors}}'":                              "http://10.0.2.2:3128 10.0.0.0/8,.example [http://10.0.2.2:5001/]",
		"ls /dev/disk >/dev/null 2>&1; udevadm info -q property /sys/class/net/eth0 | grep -c ^ID_":              "",
	} {
		if want == "" {
			m.sh(command)
		} else if got := m.sh(command); got != want {
			t.Errorf("%s: got %q, want %q", command, got, want)
		}
	}
	t.Log(m.sh("grep MemAvailable /proc/meminfo"))
}

// checkKilled allows for what a busy host that emulates the machine takes, and says how long it took.
func checkKilled(t *testing.T, m *machine) {
	for what, kill := range map[string]string{"the agent": "docker kill tink-worker", "Docker": "kill -9 $(pidof dockerd)"} {
		before := m.sh("docker inspect -f '{{.Id}}' tink-worker")
		begin := time.Now()
		m.sh(kill)
		m.until("id=$(docker inspect -f '{{.State.Running}} {{.Id}}' tink-worker) && [ \"$id\" != 'true "+before+"' ] && [ \"${id% *}\" = true ]", bootTimeout)
		t.Logf("%s was back after %.0f s", what, time.Since(begin).Seconds())
	}
}

func checkSyslog(t *testing.T, m *machine) {
	m.sh("docker run --rm --name speaker 127.0.0.1/embedded/image2disk sh -c 'echo hello from an action'")
	deadline := time.Now().Add(bootTimeout)
	for {
		got := docker(t, "exec", m.container, "cat", "/peer/syslog")
		if strings.Contains(got, "<30>1 - - hook-docker - - - ") && strings.Contains(got, " speaker ") && strings.Contains(got, "hello from an action") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("what came by syslog:\n%s", got)
		}
		time.Sleep(time.Second)
	}
}
