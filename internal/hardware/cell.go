package hardware

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// The rules of Kubernetes for names
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names) and labels
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set), and EKS Anywhere's for a disk.
var (
	subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	labelName = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)
	disk      = regexp.MustCompile(`^(/dev/[\w-]+)+$`)
)

const (
	maxSubdomain = 253 // characters
	maxLabel     = 63
	maxVLAN      = 4094 // IEEE 802.1Q; 0 and 4095 are reserved
)

// set reads a cell that is not empty. The error goes on where the column's name stands, and does not quote the cell. Where
// there is one the field keeps its zero value. What is kept is a copy: cells are parts of one string, the whole row.
func (m *Machine) set(column, cell string) (err error) {
	cell = strings.Clone(cell)
	switch column {
	case "hostname":
		if !isSubdomain(cell) {
			return errors.New("must be small letters, digits, dashes and dots, each part with a letter or a digit at both ends, 253 characters at most")
		}
		m.Hostname = cell
	case "mac":
		mac, err := net.ParseMAC(cell)
		if err != nil || len(mac) != 6 || !strings.ContainsAny(cell, ":-.") { // earlier versions of Go want separators, and EKS Anywhere may be built with one
			return errors.New("must be six bytes, such as 02:00:5e:10:ab:cd")
		}
		m.MAC = mac
	case "ip_address":
		m.IP, err = address(cell)
	case "netmask":
		m.Netmask, err = netmask(cell)
	case "gateway":
		m.Gateway, err = address(cell)
	case "bmc_ip":
		m.BMC, err = address(cell)
	case "nameservers":
		m.Nameservers, err = nameservers(cell)
	case "labels":
		m.Labels, err = labels(cell)
	case "disk":
		if !disk.MatchString(cell) {
			return errors.New("must be the path of a device, such as /dev/sda")
		}
		m.Disk = cell
	case "vlan_id":
		m.VLAN, err = vlan(cell)
	}
	return err
}

func isSubdomain(s string) bool { return len(s) <= maxSubdomain && subdomain.MatchString(s) }

// address takes what net.ParseIP does, which knows no zones.
func address(cell string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(cell)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, errors.New("must be an IP address")
	}
	return addr.Unmap(), nil
}

// netmask wants ones and then zeros.
func netmask(cell string) (netip.Addr, error) {
	addr, err := address(cell)
	if ones, _ := net.IPMask(addr.AsSlice()).Size(); err != nil || ones == 0 { // Size is 0 also for what is no mask
		return netip.Addr{}, errors.New("must be a netmask, such as 255.255.255.0")
	}
	return addr, nil
}

// nameservers are not looked at as addresses, and so must at least be nothing that would break a line of them.
func nameservers(cell string) ([]string, error) {
	all := strings.Split(cell, "|")
	for _, server := range all {
		if server == "" {
			return nil, errors.New("has an empty entry; entries are separated by |")
		}
		if strings.ContainsFunc(server, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
			return nil, errors.New("must be addresses separated by |, without blanks")
		}
	}
	return all, nil
}

// labels reads k=v|k=v. Blanks around keys and values do not count, as in EKS Anywhere.
func labels(cell string) (map[string]string, error) {
	all := map[string]string{}
	for pair := range strings.SplitSeq(cell, "|") {
		key, value, ok := strings.Cut(pair, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		_, twice := all[key]
		switch {
		case !ok || strings.Contains(value, "="):
			return nil, errors.New("must be key=value, or several such separated by |")
		case !isQualifiedName(key):
			return nil, errors.New("has a key that Kubernetes does not take")
		case value != "" && !isLabelName(value):
			return nil, errors.New("has a value that Kubernetes does not take: 63 letters, digits, dashes, dots and underscores at most, a letter or a digit at both ends")
		case twice:
			return nil, errors.New("has one key twice")
		}
		all[key] = value
	}
	return all, nil
}

// isQualifiedName is true of name and prefix/name.
func isQualifiedName(key string) bool {
	prefix, name, ok := strings.Cut(key, "/")
	if !ok {
		return isLabelName(key)
	}
	return isSubdomain(prefix) && isLabelName(name)
}

func isLabelName(s string) bool { return len(s) <= maxLabel && labelName.MatchString(s) }

func vlan(cell string) (int, error) {
	n, err := strconv.Atoi(cell)
	if err != nil || n < 1 || n > maxVLAN || strconv.Itoa(n) != cell {
		return 0, errors.New("must be a number from 1 to 4094")
	}
	return n, nil
}
