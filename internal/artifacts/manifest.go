package artifacts

import (
	"encoding/json"
	"fmt"

	"github.com/hookbuild/hookbuild/internal/plan"
)

// ManifestSchema is the version of the manifest's JSON form.
const ManifestSchema = 1

// Manifest says what a generation is, what it was made from and how to make it again. It holds nothing that
// differs between two equal builds: no clock, no host name, no directory. The caller of Commit fills it but
// for Schema, PlanID, Files and Report, which Commit knows itself.
type Manifest struct {
	Schema         int        `json:"schema"`
	PlanID         string     `json:"plan_id"`
	Version        string     `json:"version"` // of hookbuild
	Command        string     `json:"command"` // builds it again
	KernelRelease  string     `json:"kernel_release"`
	Kernel         Kernel     `json:"kernel"`
	Cmdline        string     `json:"cmdline"` // the kernel command line that the YAML gives; a network boot has its own
	Compressor     Compressor `json:"compressor"`
	EmbeddedImages bool       `json:"embedded_images"` // action and agent images are inside the initramfs
	EKSA           EKSA       `json:"eksa"`
	Sources        []Source   `json:"sources"` // in the caller's order
	Files          []File     `json:"files"`   // sorted by name; what is published
	Report         File       `json:"report"`  // the generation's own report.json
	Plan           plan.Plan  `json:"plan"`
}

// Kernel says how the kernel was made.
type Kernel struct {
	Image        string `json:"image"`          // its name in an engine; the tag is a digest of what went in
	Compiler     string `json:"compiler"`       // the first line of what it says of its version
	ConfigSHA256 string `json:"config_sha256"`  // of the complete configuration
	Spec         any    `json:"spec,omitempty"` // a JSON object: source, patches, modules and what else went in, by digest
}

// Compressor is what made the initramfs small; another one, or another version, gives other bytes.
type Compressor struct {
	Name    string `json:"name"`    // gzip
	Module  string `json:"module"`  // Go module path
	Version string `json:"version"` // of the module
	Level   int    `json:"level"`
}

// EKSA says whether EKS Anywhere can provision with it.
type EKSA struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason"` // why not; empty where it can
}

// Source is one input by content: a package, an image, a source archive, a file of the user's.
type Source struct {
	Name   string `json:"name"`
	Digest string `json:"digest"` // with its algorithm: sha256:…
}

// file returns the entry of a published file.
func (m *Manifest) file(name string) (File, bool) {
	for _, f := range m.Files {
		if f.Name == name {
			return f, true
		}
	}
	return File{}, false
}

// check says whether m is one that this hookbuild wrote, by its shape.
func (m *Manifest) check() error {
	if m.Schema != ManifestSchema {
		return fmt.Errorf("got manifest schema %d, want %d", m.Schema, ManifestSchema)
	}
	if got := m.Plan.ID(); got != m.PlanID {
		return fmt.Errorf("got a plan with id %s, want %s", got, m.PlanID)
	}
	for _, name := range []string{KernelName(m.Plan.Arch), InitramfsName(m.Plan.Arch)} {
		if _, ok := m.file(name); !ok {
			return fmt.Errorf("%s is missing", name)
		}
	}
	return nil
}

// parseManifest reads a generation's manifest.
func parseManifest(data []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return Manifest{}, err
	}
	return m, m.check()
}
