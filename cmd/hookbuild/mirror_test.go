package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/ulikunitz/xz"

	"github.com/hookbuild/hookbuild/internal/boot"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/resolve"
	"github.com/hookbuild/hookbuild/userland"
)

// mirror is a Debian mirror on 127.0.0.1 with a small package of every name that a flavor asks for.
type mirror struct {
	url     string
	key     *openpgp.Entity // which hookbuild trusts
	date    time.Time       // of its indexes
	origin  string
	spoiled func(path string, data []byte) []byte // what is served in place of data; nil is nothing

	mu    sync.Mutex
	files map[string][]byte
	asked int
	stall chan struct{} // closed by the first question; none is answered then. nil answers
}

// suites are those that hookbuild reads, by the part of the mirror that they are in.
var suites = map[string]string{"debian": "trixie", "debian-security": "trixie-security"}

// startMirror is the command mirror: it makes $MIRROR and $SECURITY_MIRROR, names them to hookbuild by its
// variables, and makes it trust their key.
func startMirror(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "mirror")
	now := time.Now().UTC().Truncate(time.Second)
	key, err := newKey(now)
	ts.Check(err)
	m := &mirror{key: key, date: now.Add(-time.Hour), origin: "Debian"}
	server := httptest.NewServer(m)
	ts.Defer(server.Close)
	m.url = server.URL
	ts.Check(m.publish(m.key))
	var ring bytes.Buffer
	ts.Check(key.Serialize(&ring))
	ts.Check(os.WriteFile(ts.Getenv(testKeyring), ring.Bytes(), 0o600))
	ts.Setenv(testTrusted, fmt.Sprintf("%X", key.PrimaryKey.Fingerprint))
	ts.Setenv("MIRROR", m.url+"/debian")
	ts.Setenv("SECURITY_MIRROR", m.url+"/debian-security")
	ts.Setenv("HOOKBUILD_DEBIAN_MIRROR", m.url+"/debian")
	ts.Setenv("HOOKBUILD_DEBIAN_SECURITY_MIRROR", m.url+"/debian-security")
	sceneOf(ts).mirror = m
}

// newKey makes a key that is a day old.
func newKey(now time.Time) (*openpgp.Entity, error) {
	return openpgp.NewEntity("Archive", "", "archive@mirror.example", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return now.AddDate(0, 0, -1) },
	})
}

// serves FAULT changes what the mirror serves from now on.
func serves(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "serves FAULT")
	m := sceneOf(ts).mirror
	key := m.key
	m.spoiled, m.origin = nil, "Debian"
	switch args[0] {
	case "what-it-should":
	case "unknown-key":
		var err error
		key, err = newKey(m.date)
		ts.Check(err)
	case "altered-InRelease":
		m.spoil("/InRelease", func(data []byte) []byte { return bytes.Replace(data, []byte("Label: "), []byte("Label: X"), 1) })
	case "altered-Packages":
		m.spoil("/by-hash/SHA256/", alter)
	case "altered-deb":
		m.spoil(".deb", alter)
	case "truncated-deb":
		m.spoil(".deb", func(data []byte) []byte { return data[:len(data)/2] })
	case "no-deb":
		m.spoil(".deb", func([]byte) []byte { return nil })
	case "older-index":
		m.date = m.date.Add(-time.Hour)
	case "newer-index":
		m.date = m.date.Add(time.Minute)
	case "another-distribution":
		m.origin = "Elsewhere"
	default:
		ts.Fatalf("serves: there is no fault %q", args[0])
	}
	ts.Check(m.publish(key))
}

// alter flips a bit in the middle.
func alter(data []byte) []byte {
	data[len(data)/2] ^= 1
	return data
}

// spoil changes every file with part in its path.
func (m *mirror) spoil(part string, change func([]byte) []byte) {
	m.spoiled = func(path string, data []byte) []byte {
		if strings.Contains(path, part) {
			return change(slices.Clone(data))
		}
		return data
	}
}

// [!] asked: the mirror has been asked since the last asked, or has not.
func asked(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) == 0, "[!] asked")
	m := sceneOf(ts).mirror
	m.mu.Lock()
	defer m.mu.Unlock()
	if (m.asked == 0) != neg {
		ts.Fatalf("the mirror has been asked %d times", m.asked)
	}
	m.asked = 0
}

// ServeHTTP serves the published files.
func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.asked++
	stall, data := m.stall, m.files[r.URL.Path]
	if stall != nil && m.asked == 1 {
		close(stall)
	}
	m.mu.Unlock()
	switch {
	case stall != nil:
		<-r.Context().Done() // until the client gives up
	case data == nil:
		http.NotFound(w, r)
	default:
		w.Write(data) // a client that has gone needs no answer
	}
}

// hang lets the mirror answer nothing. What it returns is closed by the next question.
func (m *mirror) hang() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked, m.stall = 0, make(chan struct{})
	return m.stall
}

// publish lays everything out anew, signed by key.
func (m *mirror) publish(key *openpgp.Entity) error {
	files := map[string][]byte{}
	var list strings.Builder
	for _, name := range packageNames() {
		deb := makeDeb(name)
		file := "pool/" + name + "_1.0_all.deb"
		files["/debian/"+file] = deb
		fmt.Fprintf(&list, "Package: %s\nVersion: 1.0\nArchitecture: all\nPriority: %s\nFilename: %s\nSize: %d\nSHA256: %s\n\n",
			name, priority(name), file, len(deb), sha256Hex(deb))
	}
	for part, suite := range suites {
		packages := ""
		if part == "debian" {
			packages = list.String()
		}
		if err := m.addSuite(files, "/"+part+"/dists/"+suite+"/", suite, packages, key); err != nil {
			return err
		}
	}
	if m.spoiled != nil {
		for path, data := range files {
			files[path] = m.spoiled(path, data)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files = files
	return nil
}

// addSuite adds a suite's indexes; all packages are in main of both architectures.
func (m *mirror) addSuite(files map[string][]byte, dir, suite, packages string, key *openpgp.Entity) error {
	label := "Debian"
	if strings.HasSuffix(suite, "-security") {
		label = "Debian-Security"
	}
	var sums strings.Builder
	for _, component := range []string{"main", "non-free-firmware"} {
		text := ""
		if component == "main" {
			text = packages
		}
		index, err := packed(text)
		if err != nil {
			return err
		}
		for _, arch := range []string{"amd64", "arm64"} {
			name := component + "/binary-" + arch
			files[dir+name+"/by-hash/SHA256/"+sha256Hex(index)] = index
			fmt.Fprintf(&sums, " %s %d %s/Packages.xz\n", sha256Hex(index), len(index), name)
		}
	}
	release, err := signed(fmt.Sprintf("Origin: %s\nLabel: %s\nCodename: %s\nDate: %s\nAcquire-By-Hash: yes\nSHA256:\n%s",
		m.origin, label, suite, m.date.Format(time.RFC1123), sums.String()), m.date, key)
	files[dir+"InRelease"] = release
	return err
}

// packageNames are the packages that the built-in flavors ask for, on an engine of either architecture.
func packageNames() []string {
	cfg, err := config.Load("hookbuild.yaml", nil)
	if err != nil {
		panic(err)
	}
	var components []resolve.Component
	for _, name := range userland.Components(userland.Files) {
		seeds, _, err := userland.Packages(userland.Files, name)
		if err != nil {
			panic(err)
		}
		components = append(components, resolve.Component{Name: name, Seeds: seeds})
	}
	names := map[string]bool{"base-files": true, "dpkg": true, "pci.ids": true, "usb.ids": true}
	for _, f := range cfg.Flavors() {
		for _, hostArch := range []string{"amd64", "arm64"} {
			for _, r := range resolve.Requests(f, hostArch, components, boot.Packages(f.Arch)) {
				for _, seed := range r.Seeds {
					names[seed] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func priority(name string) string {
	if name == "base-files" || name == "dpkg" {
		return "required"
	}
	return "optional"
}

// makeDeb makes a package with one file. It has no compression, which deb(5) allows, and more bytes than fit
// into the smallest file system.
func makeDeb(name string) []byte {
	content := make([]byte, 8<<10)
	rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(content)
	members := []struct {
		name string
		data []byte
	}{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar", oneFileTar("./control", fmt.Appendf(nil, "Package: %s\nVersion: 1.0\nArchitecture: all\n", name))},
		{"data.tar", dataOf(name, content)},
	}
	out := []byte("!<arch>\n")
	for _, m := range members { // their sizes are even: no padding
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		out = append(out, m.data...)
	}
	return out
}

// dataOf are a package's files. Some say something about drivers, in a kernel in which everything is compiled in.
func dataOf(name string, content []byte) []byte {
	switch name {
	case "linux-image-amd64", "linux-image-arm64":
		return oneFileTar("./usr/lib/modules/6.12.1-test/modules.builtin.modinfo", []byte(
			"be2net.file=drivers/net/ethernet/emulex/benet/be2net\x00be2net.alias=pci:v000019A2d00000710sv*sd*bc*sc*i*\x00"+
				"hpsa.file=drivers/scsi/hpsa\x00hpsa.alias=pci:v0000103Cd00003239sv0000103Csd000021BDbc*sc*i*\x00"+
				"hid.file=drivers/hid/hid\x00hid.alias=usb:v0001*\x00"))
	case "pci.ids":
		return oneFileTar("./usr/share/misc/pci.ids", []byte("# names\n19a2  Emulex Corporation\n\t0710  OneConnect 10Gb NIC (be3)\n\t\t103c 1  x\nC 02  Network\n\t00  Ethernet\n"))
	case "usb.ids":
		return oneFileTar("./usr/share/misc/usb.ids", []byte("0001  Fry's Electronics\n\t0002  Keyboard\nC 03  Human Interface Device\n"))
	}
	return oneFileTar("./usr/share/"+name, content)
}

func oneFileTar(name string, data []byte) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))})
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil { // memory takes everything
		panic(err)
	}
	return out.Bytes()
}

func packed(text string) ([]byte, error) {
	var out bytes.Buffer
	w, err := xz.NewWriter(&out)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

func signed(text string, at time.Time, key *openpgp.Entity) ([]byte, error) {
	var out bytes.Buffer
	w, err := clearsign.Encode(&out, key.PrivateKey, &packet.Config{Time: func() time.Time { return at }})
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return nil, err
	}
	err = w.Close()
	return append(out.Bytes(), '\n'), err
}

func sha256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// interrupt ARGUMENT... runs hookbuild, lets its first question to the mirror hang, and presses Ctrl-C then.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "interrupt ARGUMENT...")
	s := sceneOf(ts)
	hangs := s.mirror.hang()
	cmd := s.command(ts, args...)
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-hangs:
		ts.Check(cmd.Process.Signal(os.Interrupt))
		<-ended
	case err := <-ended:
		ts.Fatalf("hookbuild ended before it asked the mirror (this test needs a Docker Engine): %v", err)
	}
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		ts.Fatalf("exit code %d, want %d", code, exitInterrupted)
	}
}
