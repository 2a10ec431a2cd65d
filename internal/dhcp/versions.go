package dhcp

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Phase says where the Tinkerbell stack runs, which changes once in the life of a management cluster.
type Phase string

// The phases.
const (
	Bootstrap Phase = "bootstrap" // eksctl anywhere create cluster runs: the stack is on the admin machine
	Cluster   Phase = "cluster"   // afterwards, for ever: the stack is in the cluster, at tinkerbellIP
)

// Paths are what follows the stack's address in URLs of its HTTP server: a port where it is not 80, and a path.
type Paths struct {
	Script string // of iPXE's script
	Binary string // of the directory with iPXE's binaries
}

// Generation is a run of versions whose stack answers at the same places.
type Generation struct {
	Name               string // for people: "0.22 to 0.24"
	From, To           int    // the N of EKS Anywhere 0.N, both included; 0 and 0 for Tinkerbell itself
	Bootstrap, Cluster Paths
	ARM64              string // iPXE for UEFI on arm64; the other names never changed
}

// The names that never changed. All are in the root of the stack's TFTP server.
const (
	nameBIOS = "undionly.kpxe"
	nameX64  = "ipxe.efi"
)

// Upstream is the version that means Tinkerbell without EKS Anywhere.
const Upstream = "tinkerbell"

// Generations is the table of where each version's smee has its script and binaries, the oldest first. Sources: EKS
// Anywhere's pkg/providers/tinkerbell/stack, and Tinkerbell's smee.
func Generations() []Generation {
	port80 := Paths{Script: "/auto.ipxe", Binary: "/ipxe"}
	port7171 := Paths{Script: ":7171/auto.ipxe", Binary: ":7171/ipxe"}
	oneProgram := Paths{Script: ":7171/ipxe/script/auto.ipxe", Binary: ":7171/ipxe/binary"}
	onePort := Paths{Script: ":7080/ipxe/script/auto.ipxe", Binary: ":7080/ipxe/binary"}
	return []Generation{
		{Name: "0.19 and older", From: 0, To: 19, Bootstrap: port80, Cluster: port80, ARM64: "snp.efi"},
		{Name: "0.20 to 0.21", From: 20, To: 21, Bootstrap: port80,
			Cluster: Paths{Script: port7171.Script, Binary: port80.Binary}, ARM64: "snp.efi"},
		{Name: "0.22 to 0.24", From: 22, To: 24, Bootstrap: port7171, Cluster: port7171, ARM64: "snp.efi"},
		{Name: "0.25 to 0.26", From: 25, To: 26, Bootstrap: oneProgram, Cluster: oneProgram, ARM64: "snp-arm64.efi"},
		{Name: Upstream, Bootstrap: onePort, Cluster: onePort, ARM64: "snp-arm64.efi"},
	}
}

// In returns where things are in a phase.
func (g Generation) In(p Phase) Paths {
	if p == Bootstrap {
		return g.Bootstrap
	}
	return g.Cluster
}

// IsUpstream is true of Tinkerbell without EKS Anywhere, which has no bootstrap phase.
func (g Generation) IsUpstream() bool { return g.Name == Upstream }

// VersionError is a version that the table does not have. Guessing would be worse: the URL has changed with nearly
// every generation.
type VersionError struct{ Got string }

// Error names the versions that there are.
func (e *VersionError) Error() string {
	var names []string
	for _, g := range Generations() {
		names = append(names, g.Name)
	}
	return fmt.Sprintf("version %q is not known; known are %s", e.Got, strings.Join(names, ", "))
}

// VersionHint says how to do without the table.
const VersionHint = "of a newer version, find out what its smee answers at, give the newest version here, and --script-url and --binary-url"

// ParseVersion returns the generation that a version belongs to: 0.26, v0.26, 0.26.1, or tinkerbell. The error is a
// *VersionError.
func ParseVersion(s string) (Generation, error) {
	parts := strings.Split(strings.TrimPrefix(s, "v"), ".")
	minor := -1
	if (len(parts) == 2 || len(parts) == 3) && parts[0] == "0" {
		for _, part := range parts[1:] {
			if n, err := strconv.ParseUint(part, 10, 16); err != nil {
				return Generation{}, &VersionError{s}
			} else if minor < 0 {
				minor = int(n)
			}
		}
	}
	for _, g := range Generations() {
		if g.IsUpstream() && s == Upstream || !g.IsUpstream() && g.From <= minor && minor <= g.To {
			return g, nil
		}
	}
	return Generation{}, &VersionError{s}
}

// VersionsOfScript names the generations, with their phase where it matters, whose script is at this URL's port and
// path; of a path with a MAC address in it too. None where no version answers there.
func VersionsOfScript(script string) []string {
	u, err := url.Parse(withoutMAC(script))
	if err != nil || u.Scheme != "http" {
		return nil
	}
	where := u.Path
	if p := u.Port(); p != "" && p != "80" {
		where = ":" + p + where
	}
	var names []string
	for _, g := range Generations() {
		boot, cluster := g.Bootstrap.Script == where, g.Cluster.Script == where
		switch {
		case boot && cluster:
			names = append(names, g.Name)
		case boot:
			names = append(names, g.Name+" in the bootstrap phase")
		case cluster:
			names = append(names, g.Name+" in the cluster phase")
		}
	}
	return names
}

// macVariable is what iPXE replaces with the booting card's MAC address, with dashes (ipxe.org/cfg/netX).
const macVariable = "${netX/mac:hexhyp}"

// withMAC puts the MAC address where smee looks for it: the last element but one of the path.
func withMAC(script string) string {
	dir, file := path.Split(script)
	return dir + macVariable + "/" + file
}

// macElement is an element of a path that iPXE, or somebody else, makes of a MAC address.
var macElement = regexp.MustCompile(`/(\$\{[^}]*\}|[0-9A-Fa-f]{2}([-:][0-9A-Fa-f]{2}){5})(/[^/]*)$`)

// withoutMAC takes it out where smee looks for it.
func withoutMAC(script string) string { return macElement.ReplaceAllString(script, "$3") }

// at makes a URL of an address and what follows it.
func at(ip netip.Addr, paths string) string { return "http://" + ip.String() + paths }
