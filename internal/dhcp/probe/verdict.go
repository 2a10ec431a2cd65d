package probe

import (
	"bytes"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/dhcp"
)

// Fault is one thing that is wrong with an answer.
type Fault struct {
	Code   string     `json:"code"`
	Server netip.Addr `json:"server,omitzero"` // whose answer it is; zero where there is none
	Says   string     `json:"says"`            // what is wrong, and what it means for the machine
}

// What can be wrong. Scripts may branch on these.
const (
	noAnswer       = "no-answer"
	unwanted       = "answered"
	unreadable     = "unreadable"
	noBootFile     = "no-boot-file"
	bootFileToOS   = "boot-file-to-os"
	cutOff         = "cut-off"
	otherVersion   = "other-version"
	otherPhase     = "other-phase"
	otherServer    = "other-server"
	otherFile      = "other-file"
	loops          = "loop"
	rawFormMissed  = "raw-user-class-missed"
	rfc3004Missed  = "rfc3004-user-class-missed"
	scriptTooSoon  = "script-too-soon"
	efiToBIOS      = "efi-to-bios"
	biosToEFI      = "bios-to-efi"
	otherArch      = "other-architecture"
	noURL          = "no-url"
	urlForTFTP     = "url-over-tftp"
	noOption60     = "no-option-60"
	noNextServer   = "no-next-server"
	outsideSubnet  = "outside-subnet"
	notReservation = "not-the-reservation"
	takenAddress   = "address-taken"
	otherNetmask   = "other-netmask"
	otherGateway   = "other-gateway"
)

// role is what a client is doing when it asks, which decides what a wrong answer does to it.
type role int

const (
	firmwarePXE role = iota
	firmwareHTTP
	otherIPXE
	tinkerbell
	ordinaryOS
)

func roleOf(c dhcp.Client) role {
	switch {
	case !c.HasArch:
		return ordinaryOS
	case bytes.Contains(c.UserClass, []byte("Tinkerbell")):
		return tinkerbell
	case len(c.UserClass) > 0:
		return otherIPXE
	case strings.HasPrefix(c.VendorClass, httpClient):
		return firmwareHTTP
	}
	return firmwarePXE
}

const httpClient = "HTTPClient"

// verdict gathers what is wrong with one offer.
type verdict struct {
	site   dhcp.Site
	client dhcp.Client
	want   dhcp.Answer
	role   role
	offer  Offer
	faults []Fault
	notes  []string
}

func (v *verdict) wrong(code, format string, args ...any) {
	v.faults = append(v.faults, Fault{code, v.offer.Server, fmt.Sprintf(format, args...)})
}

// judge fills in what is wrong with each result.
func judge(site dhcp.Site, results []Result, giaddr netip.Addr) {
	for i := range results {
		r := &results[i]
		r.Faults = []Fault{}
		for _, text := range r.broken {
			r.Faults = append(r.Faults, Fault{Code: unreadable, Says: text + "; firmware drops such an answer, or worse"})
		}
		if len(r.Offers) == 0 && len(r.broken) == 0 && !r.Want.Silent {
			r.Faults = append(r.Faults, Fault{Code: noAnswer, Says: silence(site, r.asked, giaddr)})
		}
		for _, o := range r.Offers {
			v := &verdict{site: site, client: r.asked, want: r.Want, role: roleOf(r.asked), offer: o}
			v.judge()
			r.Faults = append(r.Faults, v.faults...)
			r.Notes = append(r.Notes, v.notes...)
		}
	}
	userClassForms(results)
	for i := range results {
		results[i].Right = len(results[i].Faults) == 0
	}
}

// silence says why there may be no answer.
func silence(site dhcp.Site, c dhcp.Client, giaddr netip.Addr) string {
	text := "no answer: a machine of this kind gets no address and does not boot"
	switch {
	case giaddr.IsValid():
		return text + fmt.Sprintf(". A server is silent where it has no subnet that %s (giaddr) is in, where it knows no way back to it,"+
			" or where UDP port 67 is closed between", giaddr)
	case site.KnownOnly && site.Machine(c.MAC) == nil:
		return text + fmt.Sprintf(". The server may be one for known machines only, and %s is none: ask with --hardware, or --mac of a machine", c.MAC)
	}
	return text + ". The server may be down, on another network without a relay, have no address left, answer known machines only (--mac)," +
		" or be on this very host, which hears nothing of its own broadcasts"
}

func (v *verdict) judge() {
	if v.want.Silent {
		v.wrong(unwanted, "a machine without a reservation is offered %s: what EKS Anywhere does not know gets onto the network, with an address"+
			" that may be in its hardware.csv", v.offer.Address)
		return
	}
	v.address()
	switch v.role {
	case ordinaryOS:
		if v.offer.BootFile != "" {
			v.wrong(bootFileToOS, "%q goes to a system that has long booted: the server does not go by architecture (option 93)."+
				" Most ignore it; some installers and network-root systems take it for their own", v.offer.BootFile)
		}
	case tinkerbell:
		v.script()
	case firmwareHTTP:
		v.http()
	case firmwarePXE, otherIPXE:
		v.binary()
	}
}

// address judges what every client needs.
func (v *verdict) address() {
	o, subnet := v.offer, v.site.Subnet
	if m := v.site.Machine(v.client.MAC); m != nil && o.Address != m.IP {
		v.wrong(notReservation, "%s is offered to %s, which has %s in hardware.csv: EKS Anywhere gives the installed system that address, and smee"+
			" knows the machine by it", addr(o.Address), m.Hostname, m.IP)
	}
	for _, m := range v.site.Machines {
		if v.site.Machine(v.client.MAC) == nil && m.IP == o.Address {
			v.wrong(takenAddress, "%s is offered to a machine that nobody knows, and belongs to %s in hardware.csv", o.Address, m.Hostname)
		}
	}
	if o.Address == v.site.Gateway && o.Address.IsValid() || o.Address == v.site.StackIP() && o.Address.IsValid() {
		v.wrong(takenAddress, "%s is offered to a machine, and belongs to the gateway or to Tinkerbell", o.Address)
	}
	if !subnet.IsValid() {
		return
	}
	if !subnet.Contains(o.Address) {
		v.wrong(outsideSubnet, "%s is offered, which is not in %s: the machine reaches neither gateway nor Tinkerbell from there", addr(o.Address), subnet)
	}
	mask := netip.Prefix{}
	if o.Netmask.IsValid() {
		mask = prefixOf(o.Netmask)
	}
	if mask.Bits() != subnet.Bits() {
		v.wrong(otherNetmask, "the netmask is %s, and the subnet is %s: the machine takes neighbours for strangers, or strangers for neighbours",
			addr(o.Netmask), subnet)
	}
	if v.site.Gateway.IsValid() && !slices.Contains(o.Routers, v.site.Gateway) {
		v.wrong(otherGateway, "the gateway is %s, and should be %s: what is not in %s cannot be reached", join(o.Routers), v.site.Gateway, subnet)
	}
}

// prefixOf is a netmask as a prefix, the zero Prefix where it is none.
func prefixOf(mask netip.Addr) netip.Prefix {
	bits, ones := mask.As4(), 0
	for _, b := range bits {
		for ; b&0x80 != 0; b <<= 1 {
			ones++
		}
		if b != 0 {
			return netip.Prefix{}
		}
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), ones)
}

// script judges what Tinkerbell's iPXE gets.
func (v *verdict) script() {
	got := v.offer.BootFile
	byAddress, byMAC := v.site, v.site
	byAddress.URLByMAC, byMAC.URLByMAC = false, true
	if got == v.want.File {
		return
	}
	if v.site.ScriptURL == "" && (got == byAddress.Script() || got == byMAC.Script()) {
		v.notes = append(v.notes, map[bool]string{
			true:  "the script's URL has no MAC address in it: smee finds the machine by its source address, which must be that of hardware.csv and not be translated",
			false: "the script's URL has the MAC address in it, by which smee finds the machine",
		}[got == byAddress.Script()])
		return
	}
	switch {
	case got == "":
		v.wrong(noBootFile, "Tinkerbell's iPXE gets no script: it says \"Nothing to boot\" and the machine goes on to its next way to boot")
	case v.isCut():
	case isBinary(got):
		v.wrong(loops, "Tinkerbell's iPXE gets %s again instead of its script: it loads itself, asks again, and so on for ever. The server does not"+
			" look at the user class Tinkerbell (option 77)", got)
	default:
		v.otherScript(got)
	}
}

// otherScript says whose URL it is.
func (v *verdict) otherScript(got string) {
	named := ""
	if !v.site.Generation.IsUpstream() {
		named = "EKS Anywhere "
	}
	asked := fmt.Sprintf("%s%s", named, v.site.Generation.Name)
	versions := dhcp.VersionsOfScript(got)
	here := dhcp.VersionsOfScript(v.want.File)
	host, wanted := hostOf(got), hostOf(v.want.File)
	switch {
	case len(versions) > 0 && !slices.Equal(versions, here):
		v.wrong(otherVersion, "%s is where the script is in version %s; in %s it is at %s. iPXE gets an error or no answer, and the machine does not boot",
			got, strings.Join(versions, " or "), asked, v.want.File)
	case slices.Equal(versions, here) && len(here) > 0 && v.isOtherPhase(host):
		v.wrong(otherPhase, "%s", v.phaseText(host))
	case slices.Equal(versions, here) && len(here) > 0:
		v.wrong(otherServer, "the script is to come from %s, and Tinkerbell is at %s: nothing answers there, or another Tinkerbell that does not know"+
			" the machine", host, wanted)
	default:
		v.wrong(otherFile, "%s is not where any version has its script; in %s it is at %s. iPXE gets an error or something else, and the machine does not boot",
			got, asked, v.want.File)
	}
}

// isOtherPhase says whether Tinkerbell is at the address in the other phase.
func (v *verdict) isOtherPhase(host string) bool {
	other := v.site
	other.Phase = map[dhcp.Phase]dhcp.Phase{dhcp.Bootstrap: dhcp.Cluster, dhcp.Cluster: dhcp.Bootstrap}[v.site.Phase]
	ip := other.StackIP()
	return ip.IsValid() && ip != v.site.StackIP() && ip.String() == host
}

func (v *verdict) phaseText(host string) string {
	if v.site.Phase == dhcp.Cluster {
		return fmt.Sprintf("%s is the admin machine, where Tinkerbell is during eksctl anywhere create cluster only; since then it is at %s, and at %s"+
			" nothing answers any more", host, v.site.StackIP(), host)
	}
	return fmt.Sprintf("%s is tinkerbellIP, where Tinkerbell is once the cluster stands; while it is being created, it is on the admin machine, at %s",
		host, v.site.StackIP())
}

// http judges what firmware gets that boots from a URL. Without --http-boot the right answer is as good as none.
func (v *verdict) http() {
	asked := v.site
	asked.HTTPBoot = true
	want, o := asked.Answer(v.client), v.offer
	echoed := strings.HasPrefix(o.VendorClass, httpClient)
	if !v.site.HTTPBoot && !echoed {
		v.notes = append(v.notes, "this server does not do HTTP boot: without "+httpClient+" in option 60 the firmware goes on to its next way to boot")
		return
	}
	v.want = want
	if !echoed {
		v.wrong(noOption60, "option 60 of the answer is %q and not %s: firmware that boots over HTTP does not look at such an answer", o.VendorClass, httpClient)
	}
	switch {
	case o.BootFile == want.File:
	case o.BootFile == "":
		v.wrong(noBootFile, "there is no URL: the firmware has nothing to load, and goes on to its next way to boot")
	case v.isCut():
	case !isURL(o.BootFile):
		v.wrong(noURL, "%q is no URL: firmware that boots over HTTP needs one, such as %s", o.BootFile, want.File)
	case isScript(o.BootFile):
		v.wrong(scriptTooSoon, "%s is iPXE's script, and the firmware starts EFI programs only: it must get Tinkerbell's iPXE first", o.BootFile)
	case v.wrongKind():
	default:
		v.wrong(otherFile, "%s is not where Tinkerbell has its iPXE for this machine, which is %s: the firmware gets an error", o.BootFile, want.File)
	}
}

// binary judges what firmware, or an iPXE that is not Tinkerbell's, is to load over TFTP.
func (v *verdict) binary() {
	o := v.offer
	switch {
	case o.BootFile == "" && v.role == otherIPXE:
		v.wrong(noBootFile, "there is no boot file: this iPXE says \"Nothing to boot\", and the machine goes on to its next way to boot")
		return
	case o.BootFile == "":
		v.wrong(noBootFile, "there is no boot file: the firmware goes on to its next way to boot (PXE-E53, or \"no filename or root path specified\")")
		return
	case isScript(o.BootFile) && v.role == otherIPXE:
		v.wrong(scriptTooSoon, "this iPXE gets the script at once: it need not have what the script uses, and EKS Anywhere's own server gives it Tinkerbell's iPXE first")
		return
	case isScript(o.BootFile):
		v.wrong(scriptTooSoon, "%s is iPXE's script, and the firmware loads programs only: it must get Tinkerbell's iPXE first", o.BootFile)
		return
	case isURL(o.BootFile) && v.role == firmwarePXE:
		v.wrong(urlForTFTP, "%s is a URL, and PXE loads over TFTP: it asks for a file of that name, which there is not", o.BootFile)
		return
	case v.wrongKind(), v.isCut():
	case !v.sameBinary():
		v.otherBinary()
	}
	v.nextServer()
}

// sameBinary compares base names: smee's TFTP server does not look at directories.
func (v *verdict) sameBinary() bool {
	got, want := path.Base(v.offer.BootFile), v.want.File
	// There is a second build for x64, which goes through the firmware's own driver.
	return got == want || want == "ipxe.efi" && got == "snp-x86_64.efi" && v.site.Generation.ARM64 == "snp-arm64.efi"
}

// wrongKind finds programs for other machines.
func (v *verdict) wrongKind() bool {
	name := strings.ToLower(path.Base(v.offer.BootFile))
	efi, bios := strings.HasSuffix(name, ".efi"), strings.HasSuffix(name, "pxe") && !isScript(name) || strings.HasSuffix(name, ".0")
	arm := strings.Contains(name, "arm64") || strings.Contains(name, "aa64") || name == "snp.efi"
	isBIOS, isARM := v.client.Arch == 0, strings.HasSuffix(v.want.File, v.site.Generation.ARM64)
	switch {
	case efi && isBIOS && v.role == otherIPXE:
		v.wrong(efiToBIOS, "%s is an EFI program, and this iPXE runs on a BIOS: it says \"Exec format error\" and stops", v.offer.BootFile)
	case efi && isBIOS:
		v.wrong(efiToBIOS, "%s is an EFI program, and a BIOS starts it as if it were its own: the machine hangs, or says that the boot failed", v.offer.BootFile)
	case bios && !isBIOS:
		v.wrong(biosToEFI, "%s is a program for a BIOS, and this machine starts EFI programs only: it refuses it and goes on to its next way to boot", v.offer.BootFile)
	case efi && !isBIOS && arm != isARM:
		v.wrong(otherArch, "%s is for %s, and this machine is %s: it refuses the program", v.offer.BootFile, cpu(arm), cpu(isARM))
	default:
		return false
	}
	return true
}

func cpu(arm bool) string {
	if arm {
		return "arm64"
	}
	return "x64"
}

// otherBinary says which version has the file, if any.
func (v *verdict) otherBinary() {
	var versions []string
	for _, g := range dhcp.Generations() {
		if path.Base(v.offer.BootFile) == g.ARM64 {
			versions = append(versions, g.Name)
		}
	}
	if len(versions) > 0 {
		v.wrong(otherVersion, "%s is what version %s calls it; here it is %s. TFTP says \"file not found\"", v.offer.BootFile, strings.Join(versions, " or "), v.want.File)
		return
	}
	v.wrong(otherFile, "Tinkerbell has no %s: it must be %s. TFTP says \"file not found\"", path.Base(v.offer.BootFile), v.want.File)
}

// nextServer judges where the boot file is to come from.
func (v *verdict) nextServer() {
	o := v.offer
	if isURL(o.BootFile) { // which names its server, and only iPXE gets here with one
		if hostOf(o.BootFile) != v.want.NextServer.String() {
			v.wrong(otherServer, "the boot file is to come from %s, and Tinkerbell is at %s", hostOf(o.BootFile), v.want.NextServer)
		}
		return
	}
	switch got := o.NextServer; {
	case o.NextServerIn == InOption66 && got == v.want.NextServer:
		v.wrong(noNextServer, "the next-server is in option 66 only: UEFI firmware and iPXE read the header's field siaddr, which is empty. UEFI then asks"+
			" %s, the DHCP server itself", o.Server)
	case o.NextServerIn == InOption54 && got != v.want.NextServer:
		v.wrong(noNextServer, "there is no next-server: UEFI firmware asks %s, the DHCP server itself, and BIOS and iPXE ask nobody. It must be %s", o.Server, v.want.NextServer)
	case got == v.want.NextServer:
	case v.isOtherPhase(got.String()):
		v.wrong(otherPhase, "%s", v.phaseText(got.String()))
	case got == o.Server:
		v.wrong(otherServer, "the next-server is %s, the DHCP server itself, and Tinkerbell is at %s: TFTP gets no answer, or another file", got, v.want.NextServer)
	default:
		v.wrong(otherServer, "the next-server is %s, and Tinkerbell is at %s: TFTP gets no answer", got, v.want.NextServer)
	}
}

// isCut finds a boot file that did not fit: the header's field has 128 bytes, with or without a NUL.
func (v *verdict) isCut() bool {
	got := v.offer.BootFile
	if len(got) < 64 || len(got) >= len(v.want.File) || !strings.HasPrefix(v.want.File, got) {
		return false
	}
	v.wrong(cutOff, "the boot file is cut off after %d bytes (%s…): the header's field has room for 128. Use a shorter URL, or a server that sends option 67", len(got), got[:40])
	return true
}

// userClassForms looks at the two forms of a user class together: a server that knows only one of them says the wrong
// thing to the other.
func userClassForms(results []Result) {
	byForm := map[bool]*Result{}
	for i := range results {
		if r := &results[i]; roleOf(r.asked) == tinkerbell && r.Client != unknownName {
			byForm[bytes.HasPrefix(r.asked.UserClass, []byte("Tinkerbell"))] = r
		}
	}
	raw, framed := byForm[true], byForm[false]
	if raw == nil || framed == nil || len(raw.Offers) == 0 || len(framed.Offers) == 0 {
		return
	}
	switch {
	case len(raw.Faults) == 0 && len(framed.Faults) > 0:
		framed.Faults = append(framed.Faults, Fault{rfc3004Missed, framed.Offers[0].Server, "the server knows the user class as bare text only, and not with its length before it, as RFC 3004 has it:" +
			" an iPXE that sends it so never gets its script"})
	case len(raw.Faults) > 0 && len(framed.Faults) == 0:
		raw.Faults = append(raw.Faults, Fault{rawFormMissed, raw.Offers[0].Server, "the server knows the user class only with its length before it, as RFC 3004 has it, and not as bare text:" +
			" that is how iPXE sends it"})
	}
}

// loads says whether the next-server matters.
func (o Offer) loads() bool { return o.BootFile != "" && !isURL(o.BootFile) }

func isURL(file string) bool {
	return strings.HasPrefix(file, "http://") || strings.HasPrefix(file, "https://") || strings.HasPrefix(file, "tftp://")
}

func isScript(file string) bool { return strings.HasSuffix(file, ".ipxe") }

func isBinary(file string) bool {
	return strings.HasSuffix(file, ".efi") || strings.HasSuffix(file, ".kpxe") || strings.HasSuffix(file, ".pxe")
}

// hostOf is the host of a URL without its port, "" where it is none.
func hostOf(file string) string {
	_, rest, _ := strings.Cut(file, "://")
	host, _, _ := strings.Cut(rest, "/")
	host, _, _ = strings.Cut(host, ":")
	return host
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return "none"
	}
	return a.String()
}

func join(list []netip.Addr) string {
	if len(list) == 0 {
		return "none"
	}
	var texts []string
	for _, a := range list {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}
