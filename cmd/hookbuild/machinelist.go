package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

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

// maxList is how long a list of devices may be, in bytes.
const maxList = 16 << 20

// machineList reads what the flags name, each device once.
func (p *program) machineList(c *cli.Context) ([]wantedDevice, error) {
	var all []wantedDevice
	for _, text := range c.StringSlice("pci") {
		id, ok := parsePCI(text)
		if !ok {
			return nil, &usageError{fmt.Sprintf("--pci %s: want VVVV:DDDD or VVVV:DDDD:SSSS:TTTT, each four hexadecimal digits, as lspci -nn shows them", text)}
		}
		all = append(all, wantedDevice{id: id})
	}
	stdin := ""
	for _, from := range []struct {
		flag string
		read func(text []byte) ([]wantedDevice, error)
		want string
	}{
		{"lspci", readLspci, "a line such as 04:00.0 Ethernet controller [0200]: … [14e4:16d7]; run lspci with -nn"},
		{"modalias", readModaliases, "a line such as pci:v000014E4d000016D7sv00001590sd00000211bc02sc00i00"},
		{"hardware", readRedfish, "an object with VendorId and DeviceId"},
	} {
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
		text, err := p.readList(file)
		if err != nil {
			return nil, &usageError{fmt.Sprintf("--%s: %v", from.flag, err)}
		}
		found, err := from.read(text)
		if err != nil {
			return nil, &usageError{fmt.Sprintf("--%s %s: %v", from.flag, file, err)}
		}
		if len(found) == 0 {
			return nil, &usageError{fmt.Sprintf("--%s %s: no device in it: want %s", from.flag, file, from.want)}
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		return nil, &usageError{"drivers: want devices: --pci, --lspci, --modalias or --hardware"}
	}
	return once(all), nil
}

func (p *program) readList(file string) ([]byte, error) {
	in := io.Reader(p.Stdin)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	} else if p.Stdin == nil {
		in = strings.NewReader("")
	}
	text, err := io.ReadAll(io.LimitReader(in, maxList+1))
	if err == nil && len(text) > maxList {
		err = fmt.Errorf("%s has more than %d bytes", file, maxList)
	}
	return text, err
}

func once(all []wantedDevice) []wantedDevice {
	seen := map[wantedDevice]bool{}
	var kept []wantedDevice
	for _, l := range all {
		if !seen[l] {
			seen[l] = true
			kept = append(kept, l)
		}
	}
	return kept
}

var (
	pciNumbers = regexp.MustCompile(`^[0-9A-Fa-f]{4}(:[0-9A-Fa-f]{4}){1}((:[0-9A-Fa-f]{4}){2})?$`)
	lspciLine  = regexp.MustCompile(`(?:^|\s)(?:[0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]\s.*?\[?([0-9A-Fa-f]{4})\]?: .*?\[?\b([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})\b\]?`)
	lspciOther = regexp.MustCompile(`Subsystem: .*?\[?\b([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})\b\]?`)
	busName    = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
	vmmLine    = regexp.MustCompile(`^\s*(Class|Vendor|Device|SVendor|SDevice|ProgIf):\s*(?:.*\[)?([0-9A-Fa-f]{2,4})\]?\s*$`)
)

func hexNumber(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimPrefix(strings.ToLower(strings.TrimSpace(text)), "0x"), 16, 64)
	if err != nil || n < 0 || n > 0xffff {
		return drivers.Any
	}
	return n
}

func unknownID() drivers.ID {
	return drivers.ID{Vendor: drivers.Any, Device: drivers.Any, SubVendor: drivers.Any, SubDevice: drivers.Any, Class: drivers.Any, Interface: drivers.Any}
}

// parsePCI reads the form of --pci.
func parsePCI(text string) (drivers.ID, bool) {
	if !pciNumbers.MatchString(text) {
		return drivers.ID{}, false
	}
	id, parts := unknownID(), strings.Split(text, ":")
	id.Vendor, id.Device = hexNumber(parts[0]), hexNumber(parts[1])
	if len(parts) == 4 {
		id.SubVendor, id.SubDevice = hexNumber(parts[2]), hexNumber(parts[3])
	}
	return id, true
}

// readLspci finds the devices in what lspci prints, whatever stands around them.
func readLspci(text []byte) ([]wantedDevice, error) {
	var all []wantedDevice
	var at *wantedDevice // the device whose further lines are read
	block := false       // of -vmm
	flush := func() {
		if at != nil && at.id.Vendor != drivers.Any && at.id.Device != drivers.Any {
			all = append(all, *at)
		}
		at, block = nil, false
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxList)
	for lines.Scan() {
		line := lines.Text()
		if found := lspciLine.FindStringSubmatch(line); found != nil {
			flush()
			at = &wantedDevice{id: unknownID()}
			at.id.Class = hexNumber(found[1])
			at.id.Interface = progIf(line, at.id.Class)
			at.id.Vendor, at.id.Device = hexNumber(found[2]), hexNumber(found[3])
			continue
		}
		if found := lspciOther.FindStringSubmatch(line); found != nil && at != nil && !block {
			at.id.SubVendor, at.id.SubDevice = hexNumber(found[1]), hexNumber(found[2])
			continue
		}
		if found := vmmLine.FindStringSubmatch(line); found != nil {
			if found[1] == "Class" {
				flush()
				at, block = &wantedDevice{id: unknownID()}, true
				at.id.Class = hexNumber(found[2])
				at.id.Interface = progIf("", at.id.Class)
			}
			if block {
				at.vmm(found[1], found[2])
			}
		}
	}
	flush()
	return all, lines.Err()
}

func (l *wantedDevice) vmm(name, value string) {
	n := hexNumber(value)
	switch name {
	case "Vendor":
		l.id.Vendor = n
	case "Device":
		l.id.Device = n
	case "SVendor":
		l.id.SubVendor = n
	case "SDevice":
		l.id.SubDevice = n
	case "ProgIf":
		l.id.Interface = n
	}
}

var progIfText = regexp.MustCompile(`\(prog-if ([0-9A-Fa-f]{2})`)

// progIf is the programming interface, which lspci shows with -v only. Of two classes it is the one that there is: AHCI of
// 0106, and NVM Express of 0108.
func progIf(line string, class int64) int64 {
	if found := progIfText.FindStringSubmatch(line); found != nil {
		return hexNumber(found[1])
	}
	switch class {
	case 0x0106:
		return 1
	case 0x0108:
		return 2
	}
	return drivers.Any
}

// readModaliases finds the words that are modaliases.
func readModaliases(text []byte) ([]wantedDevice, error) {
	var all []wantedDevice
	for _, word := range bytes.Fields(text) {
		s := string(word)
		if i := strings.LastIndex(s, "modalias:"); i >= 0 { // as grep -r prints it
			s = s[i+len("modalias:"):]
		}
		bus, rest, ok := strings.Cut(s, ":")
		switch {
		case !ok || rest == "" || !busName.MatchString(bus) || len(s) > 4096:
		case bus == "pci":
			if id, ok := drivers.ParseModalias(s); ok {
				all = append(all, wantedDevice{id: id})
			}
		default:
			all = append(all, wantedDevice{modalias: s})
		}
	}
	return all, nil
}

// readRedfish finds the objects with VendorId and DeviceId, as PCIeFunction has them
// (https://redfish.dmtf.org/schemas/v1/PCIeFunction.json).
func readRedfish(text []byte) ([]wantedDevice, error) {
	var root any
	if err := json.Unmarshal(text, &root); err != nil {
		return nil, err
	}
	var all []wantedDevice
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			number := func(key string) int64 {
				s, _ := v[key].(string)
				return hexNumber(s)
			}
			id := drivers.ID{Vendor: number("VendorId"), Device: number("DeviceId"), SubVendor: number("SubsystemVendorId"), SubDevice: number("SubsystemId"), Class: drivers.Any, Interface: drivers.Any}
			if code, ok := v["ClassCode"].(string); ok { // 0x020000
				if n, err := strconv.ParseInt(strings.TrimPrefix(strings.ToLower(code), "0x"), 16, 32); err == nil && len(code) >= 6 && n >= 0 {
					id.Class, id.Interface = n>>8, n&0xff
				}
			}
			if id.Vendor != drivers.Any && id.Device != drivers.Any {
				all = append(all, wantedDevice{id: id})
			}
			for _, key := range slices.Sorted(maps.Keys(v)) {
				walk(v[key])
			}
		}
	}
	walk(root)
	return all, nil
}
