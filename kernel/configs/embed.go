// Package configs holds the generic kernel configs in the form that the kernel's `make savedefconfig` writes, the
// list of symbols (symbols.txt) that a kernel built from them must have, and fragments to merge over them.
package configs

import (
	"bytes"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Files are the configs, each named <config>-<series>.y-<arch>, symbols.txt, and optional/<purpose>.config. A
// fragment that counts for one architecture only is called optional/<purpose>.<arch>.config. Fragments apply where
// a flavor names them, none by itself.
//
//go:embed generic-* symbols.txt optional
var Files embed.FS

// Mismatch is a symbol whose value in a .config is not the promised one. Symbol has no CONFIG_ prefix; Want is y,
// m or n; Got is whatever stands in the .config, and n if nothing does.
type Mismatch struct {
	Symbol, Want, Got string
}

func (m Mismatch) String() string {
	return fmt.Sprintf("CONFIG_%s: got %s, want %s", m.Symbol, m.Got, m.Want)
}

// Missing compares a kernel's final .config with symbols.txt and returns what differs, in the order of the list.
// The series is the kernel's, as 6.12; promises that begin with a later one do not count. The architecture is x86_64
// or aarch64, any other is an error. Give it no savedefconfig: that form leaves out what is at its default, and here
// what is left out is off.
func Missing(config []byte, series, arch string) ([]Mismatch, error) {
	of, err := parseSeries(series)
	if err != nil {
		return nil, err
	}
	list, err := Files.ReadFile("symbols.txt")
	if err != nil {
		return nil, err
	}
	promises, err := parsePromises(list)
	if err != nil {
		return nil, fmt.Errorf("symbols.txt: %w", err)
	}
	values := parseConfig(config)
	var differ []Mismatch
	for _, p := range promises {
		want, err := p.want(of, arch)
		if err != nil {
			return nil, err
		}
		got, ok := values[p.symbol]
		if !ok {
			got = "n"
		}
		if want != anyValue && got != want {
			differ = append(differ, Mismatch{Symbol: p.symbol, Want: want, Got: got})
		}
	}
	return differ, nil
}

// anyValue stands in symbols.txt where an architecture does not have the symbol.
const anyValue = "-"

// series is a kernel's major and minor number.
type series [2]int

func parseSeries(text string) (series, error) {
	major, minor, _ := strings.Cut(text, ".")
	a, aerr := strconv.ParseUint(major, 10, 16)
	b, berr := strconv.ParseUint(minor, 10, 16)
	if aerr != nil || berr != nil {
		return series{}, fmt.Errorf("got kernel series %q, want the form 6.12", text)
	}
	return series{int(a), int(b)}, nil
}

func (s series) before(other series) bool { return slices.Compare(s[:], other[:]) < 0 }

// promise is one line of symbols.txt. A zero since is a promise for every series.
type promise struct {
	symbol, x8664, aarch64 string
	since                  series
}

// want is the promised value, anyValue where nothing is promised.
func (p promise) want(of series, arch string) (string, error) {
	value := p.x8664
	switch arch {
	case "x86_64":
	case "aarch64":
		value = p.aarch64
	default:
		return "", fmt.Errorf("no promised symbols for architecture %q: want x86_64 or aarch64", arch)
	}
	if of.before(p.since) {
		value = anyValue
	}
	return value, nil
}

// parsePromises reads the form that the head of symbols.txt describes. A symbol that comes twice is an error,
// because one of its lines would be read by people and not hold.
func parsePromises(list []byte) ([]promise, error) {
	var promises []promise
	lines := map[string]int{}
	for i, line := range strings.Split(string(list), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		p, err := parsePromise(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if first, ok := lines[p.symbol]; ok {
			return nil, fmt.Errorf("line %d: %s is already on line %d", i+1, p.symbol, first)
		}
		lines[p.symbol] = i + 1
		promises = append(promises, p)
	}
	return promises, nil
}

func parsePromise(fields []string) (promise, error) {
	if len(fields) < 3 || len(fields) > 4 {
		return promise{}, fmt.Errorf("got %d fields, want 3 or 4: symbol, x86_64, aarch64, first series", len(fields))
	}
	if strings.HasPrefix(fields[0], "CONFIG_") {
		return promise{}, fmt.Errorf("%s: want the symbol without CONFIG_", fields[0])
	}
	for _, value := range fields[1:3] {
		if value != "y" && value != "m" && value != "n" && value != anyValue {
			return promise{}, fmt.Errorf("%s: got value %q, want y, m, n or -", fields[0], value)
		}
	}
	p := promise{symbol: fields[0], x8664: fields[1], aarch64: fields[2]}
	if len(fields) == 3 {
		return p, nil
	}
	var err error
	if p.since, err = parseSeries(fields[3]); err != nil {
		return promise{}, fmt.Errorf("%s: %w", p.symbol, err)
	}
	return p, nil
}

// parseConfig returns the values of a .config or a savedefconfig by symbol; "is not set" is n. As in Kconfig, the
// last line of a symbol counts.
func parseConfig(config []byte) map[string]string {
	values := map[string]string{}
	for line := range bytes.Lines(config) {
		text := strings.TrimRight(string(line), "\r\n")
		if rest, ok := strings.CutPrefix(text, "# CONFIG_"); ok {
			if symbol, ok := strings.CutSuffix(rest, " is not set"); ok {
				values[symbol] = "n"
			}
			continue
		}
		rest, ok := strings.CutPrefix(text, "CONFIG_")
		if !ok {
			continue
		}
		if symbol, value, ok := strings.Cut(rest, "="); ok {
			values[symbol] = value
		}
	}
	return values
}
