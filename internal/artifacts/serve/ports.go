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

// refused are the ports that EKS Anywhere cannot do without, with what needs them.
func refused(port int) string {
	switch port {
	case 80:
		return preflight + "Tinkerbell's boot server had its iPXE script there up to 0.21"
	case 42113:
		return preflight + "the agents in HookOS reach Tinkerbell's gRPC server there"
	case 7172:
		return preflight + "machines get their metadata there"
	case 7171:
		return "machines get the iPXE script, the iPXE binaries and the patched ISO there"
	case 7080:
		return "newer Tinkerbell has all its HTTP there: iPXE script, binaries and metadata"
	case 7443:
		return "newer Tinkerbell has all its HTTPS there"
	}
	return ""
}

// warned are the ports that EKS Anywhere may use on the same machine.
func warned(port int) string {
	switch port {
	case 2222:
		return "Tinkerbell's SSH access to consoles"
	case 6443:
		return "the Kubernetes API server"
	case 50061:
		return "Tinkerbell's metadata server in older templates"
	}
	return ""
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
	if reason := refused(port); reason != "" {
		return "", &PortRefusedError{Port: port, Reason: reason}
	}
	if user := warned(port); user != "" {
		return fmt.Sprintf("port %d may be wanted by EKS Anywhere on its admin machine: %s", port, user), nil
	}
	return "", nil
}
