package hardware

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

const (
	maxFile    = 4 << 20 // bytes; some 20,000 machines
	maxColumns = 200     // each unknown one is compared with those that are missing
	maxFaults  = 1000
)

// column is one that EKS Anywhere reads.
type column struct {
	name     string
	required bool // in the header; the cells of required ones must not be empty, except for labels
}

func columns() []column {
	return []column{
		{"hostname", true}, {"mac", true}, {"ip_address", true}, {"netmask", true}, {"gateway", true}, {"nameservers", true},
		{"labels", true}, {"disk", true}, {"bmc_ip", false}, {"bmc_username", false}, {"bmc_password", false}, {"vlan_id", false},
	}
}

// ReadCSV reads the machines in the order of the file, whose name faults carry. What is wrong with the file is a
// strictyaml.Errors: each fault with line and column, in characters. No cell is quoted in it, since any of them may hold a
// password by mistake; of two machines that have the same host name, MAC or IP address it is named.
//
// As EKS Anywhere reads it: RFC 4180 without blanks around cells (https://pkg.go.dev/encoding/csv), every row as long as
// the header, empty lines skipped. Columns come in any order, and unknown ones are ignored, unless their name is close to
// that of one that is missing. Beyond that, a netmask must be one, two labels of a machine must not have the same key,
// no known column may stand twice, and there must be a machine. The file may have 4 MiB and 200 columns.
func ReadCSV(name string, r io.Reader) ([]Machine, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // spreadsheets write it, and EKS Anywhere takes it
	t := &table{
		faults: strictyaml.Reader{MaxFaults: maxFaults}, name: name,
		lines: bytes.Split(data, []byte("\n")), csv: csv.NewReader(bytes.NewReader(data)),
		at: map[string]int{}, seen: map[identity]int{},
	}
	switch {
	case len(data) > maxFile:
		t.faultf(1, 1, "the file has more than %d MiB", maxFile>>20)
	case t.header():
		t.rows()
	}
	if err := t.faults.Err(); err != nil {
		return nil, err
	}
	return t.machines, nil
}

// table is a file while it is read.
type table struct {
	faults   strictyaml.Reader
	name     string
	lines    [][]byte
	csv      *csv.Reader
	at       map[string]int // which of the cells belongs to a column
	seen     map[identity]int
	machines []Machine
}

// identity is what two machines must not share.
type identity struct{ column, text string }

// faultf adds a fault at a line and a column of it in bytes, both from 1, as csv.Reader counts them.
func (t *table) faultf(line, column int, format string, args ...any) {
	if line <= len(t.lines) {
		text := t.lines[line-1]
		column = 1 + utf8.RuneCount(text[:min(column-1, len(text))])
	}
	t.faults.Faultf(strictyaml.Pos{File: t.name, Line: line, Column: column}, format, args...)
}

// cellFaultf adds a fault at a cell of the row that was read last.
func (t *table) cellFaultf(cell int, format string, args ...any) {
	line, column := t.csv.FieldPos(cell)
	t.faultf(line, column, format, args...)
}

// read returns the next row, nil at the end. ok is false where the row cannot be used, which is a fault then.
func (t *table) read() (cells []string, ok bool) {
	cells, err := t.csv.Read()
	var bad *csv.ParseError
	switch {
	case err == nil:
		return cells, true
	case errors.Is(err, io.EOF):
		return nil, true
	case errors.Is(err, csv.ErrFieldCount):
		t.cellFaultf(0, "the row has %d cells and the header %d", len(cells), t.csv.FieldsPerRecord)
	case errors.As(err, &bad) && bad.StartLine < bad.Line: // the quote that has no end may be many lines above
		t.faultf(bad.Line, bad.Column, "%v, in the row that begins in line %d", bad.Err, bad.StartLine)
	case errors.As(err, &bad):
		t.faultf(bad.Line, bad.Column, "%v", bad.Err)
	default:
		t.faultf(1, 1, "%v", err)
	}
	return nil, false
}

// header reads the names of the columns, and says whether rows can be told by them.
func (t *table) header() bool {
	names, ok := t.read()
	switch {
	case !ok:
		return false
	case names == nil:
		t.faultf(1, 1, "the file is empty")
		return false
	case len(names) > maxColumns:
		t.cellFaultf(maxColumns, "there are more than %d columns", maxColumns)
		return false
	}
	var missing, missingRequired []string
	for _, c := range columns() {
		if t.find(names, c.name); t.has(c.name) {
			continue
		}
		missing = append(missing, c.name)
		if c.required {
			missingRequired = append(missingRequired, c.name)
		}
	}
	if len(t.at) == 0 {
		t.noHeader(names)
		return false
	}
	if len(missingRequired) > 0 {
		t.cellFaultf(0, "required columns are missing: %s", strings.Join(missingRequired, ", "))
	}
	for i, name := range names {
		name = strings.TrimSpace(name)
		if name == "id" || name == "vendor" || t.has(name) { // earlier versions of EKS Anywhere had the two
			continue
		}
		if meant := strictyaml.DidYouMean(name, missing); meant != "" {
			t.cellFaultf(i, "unknown column%s", meant)
		}
	}
	return true
}

// noHeader is the fault of a first row that names no column. It may be a machine, and so is not quoted.
func (t *table) noHeader(names []string) {
	if len(names) == 1 && strings.ContainsAny(names[0], ";\t") {
		t.cellFaultf(0, "the columns must be separated by commas")
		return
	}
	t.cellFaultf(0, "the first row must name the columns, in UTF-8: hostname, mac, ip_address …")
}

// find notes where a column stands. Blanks around its name do not count, as in EKS Anywhere.
func (t *table) find(names []string, column string) {
	for i, name := range names {
		switch {
		case strings.TrimSpace(name) != column:
		case t.has(column):
			t.cellFaultf(i, "a second column %s", column)
		default:
			t.at[column] = i
		}
	}
}

func (t *table) has(column string) bool {
	_, ok := t.at[column]
	return ok
}

// rows reads the machines.
func (t *table) rows() {
	any := false
	for !t.faults.Full() {
		cells, ok := t.read()
		if ok && cells == nil {
			break
		}
		any = true
		if ok {
			t.row(cells)
		}
	}
	if !any {
		t.faultf(1, 1, "there is no machine in the file")
	}
}

// row reads a machine.
func (t *table) row(cells []string) {
	if !slices.ContainsFunc(cells, func(cell string) bool { return cell != "" }) {
		t.cellFaultf(0, "every cell of the row is empty: remove the row")
		return
	}
	m := Machine{}
	m.Line, _ = t.csv.FieldPos(0)
	for _, c := range columns() {
		i, ok := t.at[c.name]
		switch {
		case !ok:
		case cells[i] != "":
			if err := m.set(c.name, cells[i]); err != nil {
				t.cellFaultf(i, "%s %v%s", c.name, err, blanks(cells[i]))
			}
		case c.required && c.name != "labels":
			t.cellFaultf(i, "%s is empty", c.name)
		}
	}
	t.bmc(cells)
	t.unique(m)
	t.machines = append(t.machines, m)
}

// blanks says that there are some around a cell, where they are easily overlooked.
func blanks(cell string) string {
	if strings.TrimSpace(cell) != cell {
		return "; there is a blank before it or behind it"
	}
	return ""
}

// bmc looks whether the address of a BMC is there, where something else of it is.
func (t *table) bmc(cells []string) {
	given := func(column string) bool { return t.has(column) && cells[t.at[column]] != "" }
	for _, column := range []string{"bmc_username", "bmc_password"} {
		if given(column) && !given("bmc_ip") {
			t.cellFaultf(t.at[column], "%s is given and bmc_ip is not", column)
			return
		}
	}
}

// unique looks whether no machine before has the same.
func (t *table) unique(m Machine) {
	is := []identity{{"hostname", m.Hostname}, {"mac", m.MAC.String()}}
	if m.IP.IsValid() {
		is = append(is, identity{"ip_address", m.IP.String()})
	}
	if m.BMC.IsValid() {
		is = append(is, identity{"bmc_ip", m.BMC.String()})
	}
	for _, i := range is {
		switch line := t.seen[i]; {
		case i.text == "":
		case line > 0:
			t.cellFaultf(t.at[i.column], "%s %s is that of line %d already", i.column, i.text, line)
		default:
			t.seen[i] = m.Line
		}
	}
}
