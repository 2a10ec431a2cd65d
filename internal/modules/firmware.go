package modules

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// selectScript does the work in a Debian image.
//
//go:embed select.sh
var selectScript string

// Script is the shell program that makes what goes into the initramfs. It runs in a Debian image with kmod and
// xz-utils, without a network, as root, and needs:
//
//	/in     a kernel image: /in/kernel.tar and /in/config
//	/keep   the files that Inputs gives
//	/debs   the firmware packages, as *.deb under any name; may be missing
//	/out    an empty directory to write to
//	EPOCH   seconds since 1970, every time in the result
//
// It writes /out/kernel.tar (lib/modules/RELEASE with the modules that were chosen, described anew by depmod,
// and lib/firmware) and /out/firmware, which ReadReport reads. The same inputs give the same bytes.
func Script() string { return selectScript }

// Recipe is everything of this package that decides about a result besides Selection and Firmware.
func Recipe() string { return selectScript + defaultList }

// Firmware says which firmware files go into the initramfs: the word "auto" for those that the modules chosen
// and the drivers built in name; patterns of paths below /lib/firmware, in the form of Selection but always from
// the top ("bnx2/", "**/*.pkg"); both; or the word "none" alone. The zero value means auto.
type Firmware []string

// The words that Firmware knows.
const (
	wordAuto = "auto"
	wordNone = "none"
)

// None reports whether no firmware is wanted, and so no packages.
func (f Firmware) None() bool { return slices.Contains(f, wordNone) }

// Validate reports all faults of the patterns at once.
func (f Firmware) Validate() error {
	_, err := f.lines()
	return err
}

// lines is f as the script reads it: nothing, "auto", or a pattern and what it means.
func (f Firmware) lines() ([]byte, error) {
	if len(f) == 0 {
		return []byte(wordAuto + "\n"), nil
	}
	var b bytes.Buffer
	var faults []error
	for i, text := range f {
		switch text {
		case wordNone:
			if len(f) > 1 {
				faults = append(faults, fmt.Errorf("firmware[%d]: %q has to stand alone", i, text))
			}
		case wordAuto:
			fmt.Fprintln(&b, text)
		default:
			g, err := compileGlob(text)
			if err != nil {
				faults = append(faults, fmt.Errorf("firmware[%d]: %q: %w", i, text, err))
				continue
			}
			fmt.Fprintf(&b, "%s\t%s\n", text, g.expr)
		}
	}
	return b.Bytes(), errors.Join(faults...)
}

// Inputs gives the files for the script's /keep, by name. The error is that of f's Validate.
func Inputs(r Result, f Firmware) (map[string][]byte, error) {
	firmware, err := f.lines()
	if err != nil {
		return nil, err
	}
	var keep bytes.Buffer
	for _, p := range r.Keep {
		fmt.Fprintln(&keep, p)
	}
	return map[string][]byte{"modules": keep.Bytes(), "firmware": firmware}, nil
}

// Report is what the script did about firmware.
type Report struct {
	Files     []File    // by path
	Missing   []Missing // what modules name and no package has, by name
	Unmatched []string  // patterns that no file of the packages matches, sorted
}

// File is one firmware file that was taken. Links to it are not reported.
type File struct {
	Path    string // below /lib/firmware, as the package has it
	Place   string // … as the initramfs has it: with .xz behind it where it was compressed
	Size    int64  // in the package, in bytes
	Stored  int64  // in the initramfs
	Package string // Debian's name
	For     string // the module that names it, or the pattern
}

// Missing is firmware that no package has.
type Missing struct {
	Name   string // as the module names it, maybe with wildcards
	Module string // one that names it
}

// maxReport is how long a report may be, in bytes. All firmware there is makes about 500 kB.
const maxReport = 16 << 20

// ReadReport reads the script's /out/firmware.
func ReadReport(r io.Reader) (Report, error) {
	var rep Report
	text, err := io.ReadAll(io.LimitReader(r, maxReport+1))
	if err != nil {
		return rep, fmt.Errorf("read the firmware report: %w", err)
	}
	if len(text) > maxReport {
		return rep, fmt.Errorf("read the firmware report: more than %d bytes", maxReport)
	}
	err = lines(text, func(line string) error {
		fields := strings.Split(line, "\t")
		switch kind := fields[0]; {
		case kind == "file" && len(fields) == 7:
			return rep.file(fields[1:])
		case kind == "missing" && len(fields) == 3:
			rep.Missing = append(rep.Missing, Missing{fields[1], fields[2]})
		case kind == "unmatched" && len(fields) == 2:
			rep.Unmatched = append(rep.Unmatched, fields[1])
		case kind == "link" && len(fields) == 3:
		default:
			return fmt.Errorf("%.200q has no meaning", line)
		}
		return nil
	})
	if err != nil {
		return rep, fmt.Errorf("read the firmware report: %w", err)
	}
	return rep, nil
}

// file reads the fields of a taken file: path, place, stored, size, package, for.
func (r *Report) file(fields []string) error {
	stored, err := strconv.ParseInt(fields[2], 10, 64)
	size, err2 := strconv.ParseInt(fields[3], 10, 64)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	r.Files = append(r.Files, File{
		Path: fields[0], Place: fields[1], Size: size, Stored: stored, Package: fields[4], For: fields[5],
	})
	return nil
}

// FirmwarePackages names the Debian packages that hold what the default set asks for, sorted. They depend on
// nothing. firmware-linux-free is in main, the others are in non-free-firmware; 17 MB to fetch in all.
func FirmwarePackages() []string {
	return []string{
		"firmware-ast",          // displays of BMCs that hang on a DP501
		"firmware-bnx2",         // Broadcom 1 Gb/s (HP G6 and G7, Dell 11G), silent without it
		"firmware-bnx2x",        // Broadcom and QLogic 10 Gb/s, silent without it
		"firmware-cavium",       // LiquidIO
		"firmware-intel-misc",   // E800 (ice), which has one queue without it; e100, Omni-Path (hfi1)
		"firmware-linux-free",   // parameters for Intel C600 SAS (isci); a USB serial adapter
		"firmware-misc-nonfree", // Chelsio, tg3, 3Com, Advansys and others that have a file or two each
		"firmware-myricom",      // Myri-10G
		"firmware-netronome",    // Agilio; 144 MB unpacked, of which auto takes 26, compressed to 1
		"firmware-netxen",       // QLogic and HP 3000 series
		"firmware-qlogic",       // Fibre Channel (qla2xxx, bfa), FastLinQ (qede)
		"firmware-realtek",      // Ethernet on boards (r8169) and on USB (r8152)
	}
}
