package linuxkit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// capability is a name as in capabilities(7), or all, or none.
type capability string

const (
	allCapabilities capability = "all"
	noCapabilities  capability = "none"
)

// knownCapabilities is in the order of the kernel's numbers (include/uapi/linux/capability.h, 5.9 and later).
func knownCapabilities() []capability {
	names := strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
		LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE
		SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
		SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
		WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)
	known := make([]capability, len(names))
	for i := range names {
		known[i] = capability("CAP_" + names[i])
	}
	return known
}

func (c *capability) FromYAML(r strictyaml.Raw) error { return set(c, r, parseCapability) }

func parseCapability(s string) (capability, error) {
	if lower := capability(strings.ToLower(s)); lower == allCapabilities || lower == noCapabilities {
		return lower, nil
	}
	known := knownCapabilities()
	if slices.Contains(known, capability(s)) {
		return capability(s), nil
	}
	names := make([]string, len(known))
	for i := range known {
		names[i] = string(known[i])
	}
	return "", fmt.Errorf("unknown capability %q%s", s, strictyaml.DidYouMean(s, names))
}

func checkCapabilities(list []capability) error {
	if len(list) > 1 && (slices.Contains(list, allCapabilities) || slices.Contains(list, noCapabilities)) {
		return errors.New("capabilities all and none stand alone in their list")
	}
	return nil
}

// expandCapabilities replaces all and none by what they mean.
func expandCapabilities(list []capability) []capability {
	switch {
	case slices.Contains(list, allCapabilities):
		return knownCapabilities()
	case slices.Contains(list, noCapabilities):
		return nil
	}
	return list
}

// capabilitySets makes the five sets of config.json. Ambient capabilities need to be permitted and
// inheritable, so they join every set but the effective one.
func capabilitySets(list, ambient []capability) ociCapabilities {
	list, ambient = expandCapabilities(list), expandCapabilities(ambient)
	union := slices.Concat(list, ambient)
	slices.Sort(union)
	union = slices.Compact(union)
	return ociCapabilities{Bounding: union, Effective: list, Inheritable: union, Permitted: union, Ambient: ambient}
}
