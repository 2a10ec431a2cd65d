package device

import (
	"fmt"
	"regexp"
	"strings"
)

const hostName = `[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?`

// How a paste says which machine follows.
var (
	// root@host1:~# lspci -nn · [root@host1 ~]# … · host1:~$ … · host1# …
	prompt = regexp.MustCompile(`^\W{0,8}(?:[A-Za-z0-9._-]+@)?(` + hostName + `)(?:[: ][^#$%]{0,100})?\]?\s?[#$%] .*\b(?:lspci|modalias)\b`)
	// ssh root@host1 lspci -nn
	remote = regexp.MustCompile(`\bssh\s(?:-\S+\s+)*(?:[A-Za-z0-9._-]+@)?(` + hostName + `)\s.*\b(?:lspci|modalias)\b`)
	// kubectl debug node/host1 -- lspci -nn
	node = regexp.MustCompile(`\bnode/(` + hostName + `)\s.*\b(?:lspci|modalias)\b`)
	// === host1 === · --- host1 --- · ==> host1 <== · ### host1 · *** host1 ***
	header = regexp.MustCompile(`^(?:={2,}>?|-{3,}|#{1,6}|\*{2,})\s*(?:(?i:host|node|machine|server)\s*:?\s+)?(` + hostName + `):?\s*(?:<?={2,}|-{3,}|#*|\*{2,})$`)
	// host1 | CHANGED | rc=0 >>
	ansible = regexp.MustCompile(`^(` + hostName + `) \| (?:CHANGED|SUCCESS)\b.*>>$`)
	// host1:
	label = regexp.MustCompile(`^(?:(?i:host|node|machine|server)\s*[:=]?\s+)?(` + hostName + `):$`)
	// host1: 3b:00.0 … · [host1] 3b:00.0 …, before each line
	prefixed = regexp.MustCompile(`^\s*(?:\[(` + hostName + `)\]|(` + hostName + `):)\s+`)
)

// headerOf is the machine that a line announces, "" for another line.
func headerOf(line string) string {
	if len(line) > 1024 {
		return ""
	}
	line = strings.TrimSpace(strings.TrimLeft(line, "> "))
	for _, form := range []*regexp.Regexp{remote, node, prompt, header, ansible, label} {
		if m := form.FindStringSubmatch(line); m != nil && !notHost(m[1]) {
			return m[1]
		}
	}
	return ""
}

// prefixOf is the machine that stands before a line of it, such as clush and pdsh put there.
func prefixOf(before string) string {
	m := prefixed.FindStringSubmatch(before + " ")
	if m == nil {
		return ""
	}
	if host := m[1] + m[2]; !notHost(host) {
		return host
	}
	return ""
}

// notHost tells words and times that stand where a host's name could.
func notHost(word string) bool {
	if !strings.ContainsAny(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
		return true
	}
	switch strings.ToLower(word) {
	case "info", "debug", "warn", "warning", "error", "notice", "stdout", "stderr", "output", "subsystem", "sudo", "lspci":
		return true
	}
	return isoTime.MatchString(word)
}

var isoTime = regexp.MustCompile(`^[0-9]{4}-?[0-9]{2}-?[0-9]{2}`)

// collection are the devices found so far.
type collection struct {
	all     []Device
	at      map[[2]string]int // by machine and address
	machine string            // whose lines are read
	count   int               // machines without a name, from the second on
}

// add puts a device to the others. The same address a second time is the same device, told in another form, or another
// machine's, told by its ids.
func (c *collection) add(d Device) int {
	if c.at == nil {
		c.at = map[[2]string]int{}
	}
	if d.Machine == "" {
		d.Machine = c.machine
	}
	key := [2]string{d.Machine, address(d.Address)}
	if i, seen := c.at[key]; seen && d.Address != "" {
		if c.all[i].Bus == d.Bus && c.all[i].Vendor == d.Vendor && c.all[i].Device == d.Device && c.all[i].agrees(d) {
			c.all[i].merge(d)
			return i
		}
		c.count++
		c.machine = fmt.Sprintf("machine %d", c.count+1)
		d.Machine = c.machine
		key[0] = d.Machine
	}
	if d.Address != "" {
		c.at[key] = len(c.all)
	}
	c.all = append(c.all, d)
	return len(c.all) - 1
}

// address is a form in which the same place has the same text: lspci leaves the domain out where it is 0000.
func address(text string) string {
	return strings.TrimPrefix(strings.ToLower(text), "0000:")
}

// agrees tells whether two devices may be one: what is known of both is the same.
func (d Device) agrees(e Device) bool {
	both := d.Known & e.Known
	return (!both.Has(KnownSubsystem) || d.SubVendor == e.SubVendor && d.SubDevice == e.SubDevice) &&
		(!both.Has(KnownClass) || d.Class == e.Class) && (!both.Has(KnownProgIf) || d.ProgIf == e.ProgIf)
}

// merge adds what e knows and d does not.
func (d *Device) merge(e Device) {
	if e.Known.Has(KnownSubsystem) {
		d.SubVendor, d.SubDevice = e.SubVendor, e.SubDevice
	}
	if e.Known.Has(KnownClass) {
		d.Class = e.Class
	}
	if e.Known.Has(KnownProgIf) {
		d.ProgIf = e.ProgIf
	}
	d.Known |= e.Known
	for _, text := range []struct {
		to   *string
		from string
	}{
		{&d.VendorName, e.VendorName}, {&d.DeviceName, e.DeviceName}, {&d.SubsystemName, e.SubsystemName},
		{&d.ClassName, e.ClassName}, {&d.Driver, e.Driver}, {&d.Modalias, e.Modalias},
	} {
		if *text.to == "" {
			*text.to = text.from
		}
	}
	if len(d.Modules) == 0 {
		d.Modules = e.Modules
	}
}
