package serve

import (
	"fmt"
	"net"
)

// PortRefusedError says that a port belongs to EKS Anywhere on its admin machine. --force-port overrides it.
type PortRefusedError struct {
	Port   int
	Reason string
}

// Error names the port and what of EKS Anywhere needs it.
func (e *PortRefusedError) Error() string {
	return fmt.Sprintf("port %d belongs to EKS Anywhere on its admin machine: %s", e.Port, e.Reason)
}

// Hint says how to get on.
func (e *PortRefusedError) Hint() string {
	return "take another port, 8080 is the default; on a machine that is no admin machine --force-port overrides this"
}

const preflight = "`eksctl anywhere create cluster` fails when anything accepts connections there; "

// Port is one that EKS Anywhere uses on its admin machine.
type Port struct {
	Network string // tcp or udp
	Number  int
	Reason  string // what needs it there
	Refused bool   // whether the server keeps off it; else it warns
}

// Ports are all of them, in the order of their numbers, those of UDP first.
func Ports() []Port {
	return []Port{
		{"udp", 67, "Tinkerbell's DHCP server answers machines there", false},
		{"udp", 69, "machines load iPXE from there by TFTP", false},
		{"udp", 514, "HookOS sends its logs there by syslog", false},
		{"tcp", 80, preflight + "Tinkerbell's boot server had its iPXE script there up to 0.21", true},
		{"tcp", 2222, "Tinkerbell's SSH access to consoles", false},
		{"tcp", 6443, "the Kubernetes API server", false},
		{"tcp", 7080, "newer Tinkerbell has all its HTTP there: iPXE script, binaries and metadata", true},
		{"tcp", 7171, "machines get the iPXE script, the iPXE binaries and the patched ISO there", true},
		{"tcp", 7172, preflight + "machines get their metadata there", true},
		{"tcp", 7443, "newer Tinkerbell has all its HTTPS there", true},
		{"tcp", 42113, preflight + "the agents in HookOS reach Tinkerbell's gRPC server there", true},
		{"tcp", 50061, "Tinkerbell's metadata server in older templates", false},
	}
}

// CheckPort says whether the server may listen there ("host:port" or ":port", the port a number or a service
// name). refuse is a *PortRefusedError for a port that EKS Anywhere needs, or says that listen is no
// address; warn is empty or says who may want the port too.
func CheckPort(listen string) (warn string, refuse error) {
	_, service, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listen address %q: %w", listen, err)
	}
	port, err := net.LookupPort("tcp", service)
	if err != nil {
		return "", fmt.Errorf("listen address %q: %w", listen, err)
	}
	for _, p := range Ports() {
		switch {
		case p.Number != port || p.Network != "tcp":
		case p.Refused:
			return "", &PortRefusedError{Port: port, Reason: p.Reason}
		default:
			return fmt.Sprintf("port %d may be wanted by EKS Anywhere on its admin machine: %s", port, p.Reason), nil
		}
	}
	return "", nil
}
