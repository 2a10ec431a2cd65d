package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"

	"github.com/hookbuild/hookbuild/internal/hardware"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// machineNames are the host names of a hardware.csv by their addresses. The file is read anew when it has changed, so that
// a machine that is added to it needs no restart; as long as it cannot be used, the names that were known before stay.
type machineNames struct {
	file string
	log  *slog.Logger

	mu    sync.Mutex
	seen  os.FileInfo // of what was read last, well or not; nil where there was no file to read
	said  string      // what the log has about the file that cannot be read
	names map[netip.Addr]string
}

// HardwareNames returns a function for Options.Names that knows the machines of file, an EKS Anywhere hardware.csv. It looks
// at the file each time it is called and logs once for each change. The error is a strictyaml.Errors where the content is
// wrong, else an *OptionError. A nil log is for none.
func HardwareNames(file string, log *slog.Logger) (func(netip.Addr) string, error) {
	n := &machineNames{file: file, log: orDiscard(log)}
	if err := n.read(); err != nil {
		return nil, err
	}
	n.log.Info("names of machines", "hardware", file, "machines", len(n.names))
	return n.name, nil
}

// name is Options.Names.
func (n *machineNames) name(addr netip.Addr) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if info, err := os.Stat(n.file); err != nil || n.seen == nil || !same(info, n.seen) {
		n.refresh()
	}
	return n.names[addr]
}

// refresh reads a file that has changed, or that could not be read before.
func (n *machineNames) refresh() {
	err := n.read()
	if err == nil {
		n.said = ""
		n.log.Info("names of machines have changed", "hardware", n.file, "machines", len(n.names))
		return
	}
	text := err.Error()
	if n.seen == nil && n.said == text { // the same as at the request before
		return
	}
	n.said = text
	var faults strictyaml.Errors
	if errors.As(err, &faults) && len(faults) > 1 {
		text = fmt.Sprintf("%v (and %d more)", faults[0], len(faults)-1)
	}
	n.log.Warn("the file of machines has changed and cannot be used; the names before stay", "error", text)
}

// read reads the file. What is known is left as it is where that fails.
func (n *machineNames) read() error {
	machines, info, err := readMachines(n.file)
	n.seen = info
	if err != nil {
		return err
	}
	n.names = make(map[netip.Addr]string, len(machines))
	for _, m := range machines {
		n.names[m.IP] = m.Hostname
	}
	return nil
}

// readMachines also says which file it was, where its content was read, well or not.
func readMachines(file string) ([]hardware.Machine, os.FileInfo, error) {
	fail := func(err error) ([]hardware.Machine, os.FileInfo, error) {
		return nil, nil, &OptionError{"Hardware", fmt.Errorf("machines of a site: %w", err)}
	}
	info, err := os.Stat(file)
	if err != nil {
		return fail(err)
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait
		return fail(fmt.Errorf("%s is not a regular file", file))
	}
	f, err := os.Open(file)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil { // of this file: another one may have been renamed to its name by now
		return fail(err)
	}
	machines, err := hardware.ReadCSV(file, f)
	if err != nil && !isFaulty(err) {
		return fail(err)
	}
	return machines, info, err
}

// isFaulty is true where the content is wrong.
func isFaulty(err error) bool {
	var faults strictyaml.Errors
	return errors.As(err, &faults)
}
