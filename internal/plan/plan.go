// Package plan describes one build completely: everything uncertain has been settled, so that a plan can be
// printed, hashed and compared. Two builds with the same plan id have the same bytes.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Schema is the version of the plan's JSON form; it enters the plan id.
const Schema = 4

// Plan is one build of one flavor for one architecture.
type Plan struct {
	Schema    int        `json:"schema"`
	Flavor    string     `json:"flavor"`
	Arch      Arch       `json:"arch"`
	Epoch     int64      `json:"epoch"`  // seconds since 1970, UTC; every time in the outputs
	Recipe    string     `json:"recipe"` // SHA-256 of what hookbuild itself contributes: scripts, formats, tables
	Debian    []Index    `json:"debian"`
	Packages  []Set      `json:"packages"` // sorted by name
	Kernel    Kernel     `json:"kernel"`
	LinuxKit  []Source   `json:"linuxkit"`                  // in merge order
	Images    []Image    `json:"images"`                    // that LinuxKit names, sorted by reference
	Template  string     `json:"template"`                  // which variables of LinuxKit are replaced: none or hook
	Base      string     `json:"base,omitempty"`            // SHA-256 of the initramfs that everything is laid over
	Userland  []Source   `json:"userland"`                  // component directories, sorted by name
	Embedded  []Embedded `json:"embedded_images,omitempty"` // in the order in which HookOS loads them
	Site      Site       `json:"site,omitzero"`
	Vars      []Var      `json:"vars"` // sorted by name
	Initramfs Initramfs  `json:"initramfs"`
	ISO       string     `json:"iso,omitempty"`     // SHA-256 of what hookbuild contributes to the ISO; empty: none is made
	Aliases   []Alias    `json:"aliases,omitempty"` // sorted by name
}

// Index is a signed Debian index that packages were resolved from.
type Index struct {
	Suite  string `json:"suite"`
	Date   string `json:"date"`   // RFC 3339, UTC
	SHA256 string `json:"sha256"` // of InRelease
}

// Set is a resolved set of packages: base, kernel, toolchain, userland/NAME.
type Set struct {
	Name     string    `json:"name"`
	Packages []Package `json:"packages"` // sorted by name
}

// Package is one Debian binary package, pinned.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"` // Debian's name, or all
	SHA256  string `json:"sha256"`
}

// Kernel says which kernel, and made how.
type Kernel struct {
	Method   string     `json:"method"` // source, debian, deb or dir
	Series   string     `json:"series"`
	Version  string     `json:"version,omitempty"` // Debian's package version, or kernel.org's; empty where nobody says
	Source   []string   `json:"source,omitempty"`  // SHA-256 of what is no Debian package of the lock: tarball, directory, files
	Config   string     `json:"config,omitempty"`  // SHA-256 of the configuration after merging; empty where nothing is compiled
	Patches  []Source   `json:"patches,omitempty"` // in the order in which they are applied
	External []External `json:"external_modules,omitempty"`
	Modules  Modules    `json:"modules"`            // what the initramfs takes
	Firmware []string   `json:"firmware,omitempty"` // "auto", or patterns; empty takes none
}

// External is a module that is not in the kernel's source.
type External struct {
	Source
	Make []string `json:"make,omitempty"` // arguments of its own Makefile
}

// Modules are patterns for the kernel's modules.
type Modules struct {
	Include []string `json:"include"`
	Exclude []string `json:"exclude,omitempty"`
}

// Source is an input file or directory by content.
type Source struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// Image is a container image, pinned.
type Image struct {
	Ref      string `json:"ref"`
	Platform string `json:"platform"` // such as linux/amd64
	Config   string `json:"config"`   // digest of its configuration, which covers its layers: sha256:…
}

// Embedded is an image that HookOS brings along; Images has what it is pinned to.
type Embedded struct {
	Ref   string   `json:"ref"`
	Names []string `json:"names"` // with their tags
}

// Site is what the place where HookOS runs adds to it.
type Site struct {
	CACertificates string   `json:"ca_certificates,omitempty"` // SHA-256 of the certificates, one after the other
	NTP            []string `json:"ntp,omitempty"`
	AuthorizedKeys string   `json:"authorized_keys,omitempty"` // SHA-256 of the file; empty: there is no ssh server
}

// Var is one ${NAME} of the LinuxKit YAML.
type Var struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Alias is a second name under which a file is published.
type Alias struct {
	Name string `json:"name"`
	Of   string `json:"of"` // the file's own name
}

// Initramfs says how the archive is compressed.
type Initramfs struct {
	Compression string `json:"compression"` // gzip, zstd, or auto: what the kernel can unpack
	Level       int    `json:"level"`       // 0: the compression's usual one
	Single      bool   `json:"single"`      // one segment
}

// ID is the SHA-256 of the plan's canonical JSON, in hex. It names the generation that the plan makes.
func (p *Plan) ID() string {
	data, err := json.Marshal(p)
	if err != nil { // a Plan holds only strings, numbers and slices of them
		panic(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Set returns the packages of the named set, nil where there is none.
func (p *Plan) Set(name string) []Package {
	for _, s := range p.Packages {
		if s.Name == name {
			return s.Packages
		}
	}
	return nil
}
