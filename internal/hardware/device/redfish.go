package device

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ReadRedfish reads the PCIe functions of a Redfish inventory: the resource PCIeFunction of DMTF's DSP2046, and iLO's
// HpeServerPciDevice, alone, in collections whose members are expanded, or anywhere in larger documents, of which several
// may follow each other. Keys count in any case; numbers are hexadecimal text with or without 0x, or JSON numbers.
// Device.Line is the line where the document begins. Errors are as those of ReadLspci, and one where there are PCIe
// devices without their functions, which have the ids.
func ReadRedfish(name string, r io.Reader) ([]Device, error) {
	text, err := readAll(name, r)
	if err != nil {
		return nil, err
	}
	body := []byte(text)
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	w := redfish{name: name}
	for {
		start := decoder.InputOffset()
		var document any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, w.syntax(body, decoder.InputOffset(), err)
		}
		rest := body[start:]
		blank := len(rest) - len(bytes.TrimLeft(rest, " \t\r\n"))
		w.document = 1 + bytes.Count(body[:int(start)+blank], []byte("\n"))
		w.walk(document, "")
	}
	if len(w.all) == 0 && w.links {
		return nil, fmt.Errorf("%s: PCIe devices, but not their functions, which have the ids; get /redfish/v1/Systems/ID/PCIeDevices/ID/PCIeFunctions with $expand=. and give that", name)
	}
	if len(w.all) == 0 {
		return nil, fmt.Errorf("%s: no PCIe function; want objects with VendorId and DeviceId, as /redfish/v1/Systems/ID/PCIeDevices/ID/PCIeFunctions/ID is one", name)
	}
	return w.all, nil
}

// redfish is a reader's state.
type redfish struct {
	name     string
	document int // the line where it begins
	all      []Device
	links    bool // to functions, or devices without them
}

// syntax says where a document is not JSON.
func (w *redfish) syntax(body []byte, offset int64, err error) error {
	var at *json.SyntaxError
	if errors.As(err, &at) {
		offset = at.Offset
	}
	before := body[:min(max(offset-1, 0), int64(len(body)))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Errorf("%s:%d:%d: not JSON: %w", w.name, line, column, err)
}

func (w *redfish) walk(v any, machine string) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			w.walk(e, machine)
		}
	case map[string]any:
		lower := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			lower[strings.ToLower(key)] = v[key]
		}
		if host, ok := lower["hostname"].(string); ok && host != "" {
			machine = host
		}
		if machine == "" {
			machine = systemOf(lower)
		}
		if d, ok := w.function(lower); ok {
			d.Machine = machine
			w.all = append(w.all, d)
		}
		_, functions := lower["pciefunctions"]
		_, devices := lower["pciedevices"]
		w.links = w.links || functions || devices || strings.Contains(text(lower, "@odata.type"), "PCIeDevice")
		for _, key := range slices.Sorted(maps.Keys(v)) {
			w.walk(v[key], machine)
		}
	}
}

// systemOf is ID of /redfish/v1/Systems/ID or Chassis/ID, where the resource says that it is there (DSP0266, 8.2).
func systemOf(object map[string]any) string {
	parts := strings.Split(text(object, "@odata.id"), "/")
	for i, part := range parts {
		if (part == "Systems" || part == "Chassis") && i+2 < len(parts) {
			return parts[i+1]
		}
	}
	return ""
}

// function reads a PCIeFunction, and tells whether the object is one.
func (w *redfish) function(object map[string]any) (Device, bool) {
	d := Device{Bus: "pci", File: w.name, Line: w.document}
	vendor, ok1 := idOf(object, "vendorid")
	id, ok2 := idOf(object, "deviceid")
	if !ok1 || !ok2 || vendor == 0 || vendor == 0xffff { // 0000 and ffff are what empty slots read as
		return d, false
	}
	d.Known, d.Vendor, d.Device = KnownID, vendor, id
	subVendor, ok1 := idOf(object, "subsystemvendorid")
	subDevice, ok2 := idOf(object, "subsystemid", "subsystemdeviceid")
	if ok1 && ok2 {
		d.Known |= KnownSubsystem
		d.SubVendor, d.SubDevice = subVendor, subDevice
	}
	d.setClass(object)
	d.DeviceName = text(object, "name")
	d.Address = text(object, "@odata.id")
	d.setModalias()
	return d, true
}

// setClass reads ClassCode: base class, subclass and programming interface in one (0x020000), or of iLO the three as
// numbers of their own.
func (d *Device) setClass(object map[string]any) {
	d.ClassName = text(object, "deviceclass")
	if sub, ok := idOf(object, "subclasscode"); ok {
		if base, ok := idOf(object, "classcode"); ok && base <= 0xff && sub <= 0xff {
			d.Class = base<<8 | sub
			d.Known |= KnownClass
		}
		return
	}
	code := strings.TrimPrefix(strings.ToLower(text(object, "classcode")), "0x")
	n, err := strconv.ParseUint(code, 16, 24)
	switch {
	case err != nil || n == 0: // some services write 0 where they do not know it
	case len(code) == 4:
		d.Class = uint16(n)
		d.Known |= KnownClass
	case len(code) == 6:
		d.Class, d.ProgIf = uint16(n>>8), uint8(n)
		d.Known |= KnownClass | KnownProgIf
	}
}

func text(object map[string]any, key string) string {
	s, _ := object[key].(string)
	return strings.TrimSpace(s)
}

// idOf is the number of the first of these keys that has one.
func idOf(object map[string]any, keys ...string) (uint16, bool) {
	for _, key := range keys {
		base, digits := 16, ""
		switch v := object[key].(type) {
		case string:
			digits = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(v)), "0x")
		case json.Number:
			base, digits = 10, v.String()
		}
		if n, err := strconv.ParseUint(digits, base, 16); err == nil {
			return uint16(n), true
		}
	}
	return 0, false
}
