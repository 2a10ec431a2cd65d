package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/hardware/device"
	"github.com/hookbuild/hookbuild/internal/hardware/drivers"
)

// machineListFlags say what devices there are.
func machineListFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "pci", Usage: "a PCI device, `VVVV:DDDD` or VVVV:DDDD:SSSS:TTTT with the ids of its subsystem (repeatable)"},
		&cli.StringFlag{Name: "lspci", Usage: "`FILE` with what lspci -nn, -nnk, -n or -vmmn says; - is standard input"},
		&cli.StringFlag{Name: "modalias", Usage: "`FILE` with modaliases, as cat /sys/bus/*/devices/*/modalias prints them; - is standard input"},
		&cli.StringFlag{Name: "hardware", Usage: "`FILE` with a Redfish inventory in JSON; - is standard input"},
	}
}

// wantedDevice is a device that somebody asks about.
type wantedDevice struct {
	id       drivers.ID // of a PCI device; zero for another
	modalias string     // of another than a PCI device
}

// machineList reads what the flags name, each device once.
func (p *program) machineList(c *cli.Context) ([]wantedDevice, error) {
	var all []device.Device
	for _, text := range c.StringSlice("pci") {
		d, err := device.ParsePCI(text)
		if err != nil {
			return nil, &usageError{fmt.Sprintf("--pci %v", err)}
		}
		all = append(all, d)
	}
	stdin := ""
	for _, from := range []struct {
		flag string
		read func(name string, r io.Reader) ([]device.Device, error)
	}{{"lspci", device.ReadLspci}, {"modalias", device.ReadModalias}, {"hardware", device.ReadRedfish}} {
		file := c.String(from.flag)
		if file == "" {
			continue
		}
		if file == "-" && stdin != "" {
			return nil, &usageError{fmt.Sprintf("--%s and --%s cannot both read standard input", stdin, from.flag)}
		}
		if file == "-" {
			stdin = from.flag
		}
		found, err := p.readList(file, from.read)
		if err != nil {
			return nil, &usageError{fmt.Sprintf("--%s: %v", from.flag, err)}
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		return nil, &usageError{"drivers: want devices: --pci, --lspci, --modalias or --hardware"}
	}
	return once(all), nil
}

func (p *program) readList(file string, read func(name string, r io.Reader) ([]device.Device, error)) ([]device.Device, error) {
	if file == "-" {
		in := io.Reader(strings.NewReader(""))
		if p.Stdin != nil {
			in = p.Stdin
		}
		return read("standard input", in)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(file, f)
}

// once leaves out devices that would be answered alike.
func once(all []device.Device) []wantedDevice {
	seen := map[wantedDevice]bool{}
	var kept []wantedDevice
	for _, d := range all {
		w := wanted(d)
		if !seen[w] {
			seen[w] = true
			kept = append(kept, w)
		}
	}
	return kept
}

// wanted is a device by its numbers, or by its modalias. The usual programming interface of its class is taken, which most
// lists do not show.
func wanted(d device.Device) wantedDevice {
	if d.Bus != "pci" {
		return wantedDevice{modalias: d.Modalias}
	}
	d, _ = d.Usual()
	number := func(known device.Known, n int64) int64 {
		if !d.Known.Has(known) {
			return drivers.Any
		}
		return n
	}
	return wantedDevice{id: drivers.ID{
		Vendor: number(device.KnownID, int64(d.Vendor)), Device: number(device.KnownID, int64(d.Device)),
		SubVendor: number(device.KnownSubsystem, int64(d.SubVendor)), SubDevice: number(device.KnownSubsystem, int64(d.SubDevice)),
		Class: number(device.KnownClass, int64(d.Class)), Interface: number(device.KnownProgIf, int64(d.ProgIf)),
	}}
}
