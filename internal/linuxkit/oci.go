package linuxkit

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// The types below are the part of config.json that LinuxKit produces
// (https://github.com/opencontainers/runtime-spec/blob/v1.2.1/config.md).

const ociVersion = "1.2.1"

type ociSpec struct {
	Version     string            `json:"ociVersion"`
	Process     ociProcess        `json:"process"`
	Root        ociRoot           `json:"root"`
	Hostname    string            `json:"hostname,omitempty"`
	Mounts      []ociMount        `json:"mounts"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Linux       ociLinux          `json:"linux"`
}

type ociProcess struct {
	User            ociUser         `json:"user"`
	Args            []string        `json:"args"`
	Env             []string        `json:"env,omitempty"`
	Cwd             string          `json:"cwd"`
	Capabilities    ociCapabilities `json:"capabilities"`
	Rlimits         []rlimit        `json:"rlimits,omitempty"`
	NoNewPrivileges bool            `json:"noNewPrivileges,omitempty"`
	OOMScoreAdj     *int            `json:"oomScoreAdj,omitempty"`
}

type ociUser struct {
	UID            uint32   `json:"uid"`
	GID            uint32   `json:"gid"`
	AdditionalGIDs []uint32 `json:"additionalGids,omitempty"`
}

type ociCapabilities struct {
	Bounding    []capability `json:"bounding,omitempty"`
	Effective   []capability `json:"effective,omitempty"`
	Inheritable []capability `json:"inheritable,omitempty"`
	Permitted   []capability `json:"permitted,omitempty"`
	Ambient     []capability `json:"ambient,omitempty"`
}

type ociRoot struct {
	Path     string `json:"path"`
	Readonly bool   `json:"readonly,omitempty"`
}

type ociMount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type,omitempty"`
	Source      string   `json:"source,omitempty"`
	Options     []string `json:"options,omitempty"`

	UIDMappings []idMapping `json:"uidMappings,omitempty"`
	GIDMappings []idMapping `json:"gidMappings,omitempty"`
}

type ociLinux struct {
	UIDMappings       []idMapping       `json:"uidMappings,omitempty"`
	GIDMappings       []idMapping       `json:"gidMappings,omitempty"`
	Sysctl            map[string]string `json:"sysctl,omitempty"`
	Resources         resources         `json:"resources"`
	CgroupsPath       string            `json:"cgroupsPath,omitempty"`
	Namespaces        []ociNamespace    `json:"namespaces"`
	Devices           []ociDevice       `json:"devices,omitempty"`
	RootfsPropagation string            `json:"rootfsPropagation,omitempty"`
	MaskedPaths       []string          `json:"maskedPaths,omitempty"`
	ReadonlyPaths     []string          `json:"readonlyPaths,omitempty"`
}

type ociNamespace struct {
	Type string `json:"type"`
	Path string `json:"path,omitempty"`
}

type ociDevice struct {
	Path     string  `json:"path"`
	Type     string  `json:"type"`
	Major    integer `json:"major"`
	Minor    integer `json:"minor"`
	FileMode octal   `json:"fileMode"` // JSON has it in decimal
}

// runtimeSpec is runtime.json, LinuxKit's own file about what to prepare before the container starts. All
// keys are always there.
type runtimeSpec struct {
	Cgroups    []string           `json:"cgroups"`
	Mounts     []ociMount         `json:"mounts"`
	Mkdir      []string           `json:"mkdir"`
	Interfaces []networkInterface `json:"interfaces"`
	BindNS     runtimeBindNS      `json:"bindNS"`
	Namespace  string             `json:"namespace"`
}

type runtimeBindNS struct {
	Cgroup wholePath `json:"cgroup"`
	IPC    wholePath `json:"ipc"`
	Mnt    wholePath `json:"mnt"`
	Net    wholePath `json:"net"`
	PID    wholePath `json:"pid"`
	User   wholePath `json:"user"`
	UTS    wholePath `json:"uts"`
}

// marshal writes JSON as LinuxKit does: four spaces, nothing escaped for HTML, no newline at the end.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "    ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
