package boot

import (
	"archive/tar"
	_ "embed"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// Netboot makes the guest fetch its kernel and initramfs as a machine of a site does: the firmware asks DHCP
// and TFTP, iPXE takes over and gets /hook/vmlinuz-ARCH and /hook/initramfs-ARCH from hookbuild's server. All
// of it runs in the one container: DHCP and TFTP are QEMU's own.
type Netboot struct {
	// Binary is a hookbuild for Linux and the engine's architecture, a file of this host. The server is
	// started with: serve --out DIR --listen 127.0.0.1:8080 --progress plain
	Binary string
	// Files writes the output directory with the published set as DIR, a name in the tar.
	Files func(w *tar.Writer, dir string) error
}

//go:embed autoexec.ipxe
var ipxeScript string

//go:embed start.sh
var startScript string

// Where the files lie in the container; start.sh knows these names too.
const (
	netbootDir = "netboot"
	startFile  = netbootDir + "/start.sh"
	serverFile = netbootDir + "/hookbuild"
	outDir     = netbootDir + "/out"
	tftpDir    = netbootDir + "/tftp"
	scriptName = "autoexec.ipxe" // iPXE asks for this name by itself
)

// ipxeGaveUp is what the script prints after its last attempt.
const ipxeGaveUp = "hookbuild: iPXE gave up"

func (n *Netboot) validate() error {
	if n.Binary == "" || n.Files == nil {
		return errors.New("network boot without a hookbuild binary or without files to serve")
	}
	return nil
}

// checkIPXE refuses what iPXE would not hand to the kernel as it stands (https://ipxe.org/scripting).
func checkIPXE(cmdline string) error {
	if strings.Contains(cmdline, "${") {
		return fmt.Errorf("kernel command line %q: iPXE would expand ${", cmdline)
	}
	for _, word := range strings.Fields(cmdline) {
		switch word {
		case "||", "&&", ";":
			return fmt.Errorf("kernel command line %q: iPXE would end the command at %s", cmdline, word)
		}
	}
	return nil
}

// netbootArgs attach the network card. QEMU's BIOS ROM for it is an iPXE already and takes the script; UEFI
// brings its own PXE, which loads iPXE first.
func (o Options) netbootArgs() []string {
	bootfile := scriptName
	if o.Firmware == UEFI {
		bootfile = path.Base(machineFor(o.Arch).ipxe)
	}
	return []string{
		"-netdev", "user,id=n0,ipv6=off,tftp=/" + tftpDir + ",bootfile=" + bootfile,
		"-device", "virtio-net-pci,netdev=n0,bootindex=0",
	}
}

func (o Options) netbootFiles(w *tar.Writer) error {
	for _, dir := range []string{netbootDir, outDir, tftpDir} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	script := strings.NewReplacer("@ARCH@", string(o.Arch), "@CMDLINE@", o.CommandLine()).Replace(ipxeScript)
	if err := addText(w, tftpDir+"/"+scriptName, script); err != nil {
		return err
	}
	if err := addText(w, startFile, startScript); err != nil {
		return err
	}
	ipxe := machineFor(o.Arch).ipxe
	link := &tar.Header{Typeflag: tar.TypeSymlink, Name: tftpDir + "/" + path.Base(ipxe), Linkname: ipxe, Mode: 0o777}
	if err := w.WriteHeader(link); err != nil {
		return err
	}
	if err := engine.AddFile(w, serverFile, o.Netboot.Binary, 0o755); err != nil {
		return err
	}
	return o.Netboot.Files(w, outDir)
}

func addText(w *tar.Writer, name, content string) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := w.Write([]byte(content))
	return err
}
