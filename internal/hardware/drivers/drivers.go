// Package drivers judges whether a kernel drives a device: the modules that claim the device, what is known of an image
// and what is known of the kernel's source go in, a verdict with its reasons comes out. What is not known is said to be
// not known.
package drivers

import (
	"path"
	"slices"
	"strings"

	"github.com/hookbuild/hookbuild/internal/hardware/kbuild"
	"github.com/hookbuild/hookbuild/internal/hardware/modinfo"
)

// Status is a verdict's summary.
type Status string

// The values of Status, best first.
const (
	Driven   Status = "driven"       // a driver is in the image, or will be
	LeftOut  Status = "left out"     // it is compiled as a module and not in the initramfs
	Off      Status = "switched off" // the kernel's source has a driver, and the configuration does not build it
	NotKnown Status = "not known"    // what would decide is not known; Verdict.Why says what
	TooNew   Status = "too new"      // a newer kernel has a driver, this one's source has not
	Unknown  Status = "unknown"      // no driver claims the device
)

func statuses() []Status { return []Status{Driven, LeftOut, Off, NotKnown, TooNew, Unknown} }

// Image is what is known of a kernel and an initramfs that are built.
type Image struct {
	Modules  *modinfo.Kernel `json:"modules"`  // of the initramfs, and what is compiled in
	Firmware []string        `json:"firmware"` // files below /lib/firmware, without .xz and .zst, sorted
	// Config is the kernel's configuration by symbol; nil where it is not in the kernel. A symbol without a line is n.
	Config map[string]string `json:"config"`
}

// Target is what a device is judged against.
type Target struct {
	Image *Image // nil where nothing is built
	// Config are the values of all symbols; nil: not known, or that of Image. Without Image it is what a build would have.
	Config map[string]string
	Tree   *kbuild.Tree // the source of the kernel; nil: not known
	// Finished are all modules of a kernel that is not compiled here; nil where it is, or where they are not known.
	Finished *modinfo.Kernel
	// Whole is the kernel that the claims of modules outside of Image come from, such as 6.12.57+deb13-amd64.
	Whole string
	// Chosen says whether the module with this path, below lib/modules/RELEASE, is to go into the initramfs; nil: not known.
	Chosen func(path string) bool
}

// Claim is a module that says of itself that it drives a device.
type Claim struct {
	Module  modinfo.Module
	InImage bool // the claim is that of a module of Image, not of the whole kernel's
	Perhaps bool // it depends on what is not known of the device: its class, or the ids of its subsystem
}

// Verdict is what is known about one device.
type Verdict struct {
	Status  Status   `json:"status"`
	Why     string   `json:"why,omitempty"` // a sentence, where Status alone may be misread
	Drivers []Driver `json:"drivers"`       // by Status, then by name
}

// Driver is one that claims the device.
type Driver struct {
	Module  string `json:"module"`
	Path    string `json:"path"` // below lib/modules/RELEASE, without suffix
	Status  Status `json:"status"`
	Why     string `json:"why,omitempty"`
	Builtin bool   `json:"builtin"` // compiled into the kernel
	Perhaps bool   `json:"perhaps"` // whether it claims the device depends on what is not known of it
	// Firmware are the files that it may load, of which it often needs one; nil where nothing is built.
	Firmware []Firmware `json:"firmware"`
	Symbols  []Symbol   `json:"symbols"` // each of them builds it
}

// Firmware is a file that a driver names.
type Firmware struct {
	Name    string `json:"name"`    // below /lib/firmware, maybe with wildcards
	Present bool   `json:"present"` // in the initramfs
}

// Symbol is one that builds a driver.
type Symbol struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"` // as .config writes it; "" where it is not known
	kbuild.Symbol
}

// Setting is what switches the symbol on: m where it may be one.
func (s Symbol) Setting() string {
	if s.Type == "bool" {
		return s.Name + "=y"
	}
	return s.Name + "=m"
}

// Judge says what becomes of a device with these claims.
func (t Target) Judge(claims []Claim) Verdict {
	v := Verdict{Status: Unknown, Drivers: []Driver{}}
	names := map[string]int{}
	claims = slices.Clone(claims)
	slices.SortStableFunc(claims, func(a, b Claim) int { return boolRank(b.InImage) - boolRank(a.InImage) })
	for _, c := range claims {
		name := c.Module.Name()
		if at, known := names[name]; known {
			old := &v.Drivers[at]
			old.Perhaps = old.Perhaps && c.Perhaps
			continue
		}
		names[name] = len(v.Drivers)
		v.Drivers = append(v.Drivers, t.driver(c))
	}
	slices.SortFunc(v.Drivers, func(a, b Driver) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a.Module, b.Module)
	})
	if len(v.Drivers) == 0 {
		return v
	}
	best := v.Drivers[0]
	v.Status, v.Why = best.Status, best.Why
	if best.Perhaps {
		v.Status = NotKnown
		v.Why = "no driver claims it for its id alone; some may for its class or its subsystem's ids, which are not known: " +
			"its modalias has them, and so has lspci -nnk"
	}
	return v
}

// And is the verdict on a device that takes the drivers of both verdicts.
func (v Verdict) And(other Verdict) Verdict {
	all := slices.Concat(v.Drivers, other.Drivers)
	if slices.Index(statuses(), other.Status) > slices.Index(statuses(), v.Status) {
		v = other
	}
	v.Drivers = all
	return v
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rank orders drivers: what is sure goes before what depends.
func rank(d Driver) int {
	n := slices.Index(statuses(), d.Status)
	if d.Perhaps {
		n += len(statuses())
	}
	return n
}

func (t Target) driver(c Claim) Driver {
	m := c.Module
	d := Driver{
		Module: m.Name(), Path: m.Path, Builtin: m.Builtin && c.InImage, Perhaps: c.Perhaps,
		Firmware: t.firmware(m), Symbols: t.symbols(m.Path),
	}
	switch own, ok := t.own(m.Name()); {
	case c.InImage:
		d.Status = Driven
	case ok:
		t.silent(&d, own)
	case t.Image != nil:
		t.missing(&d)
	default:
		t.planned(&d)
	}
	return d
}

// own is the image's module of that name.
func (t Target) own(name string) (modinfo.Module, bool) {
	if t.Image == nil {
		return modinfo.Module{}, false
	}
	return find(t.Image.Modules, name)
}

// silent is a driver that the image has, and that does not itself claim the device there. What is compiled in does not
// say what it claims, so that the same driver of the same series must do.
func (t Target) silent(d *Driver, own modinfo.Module) {
	d.Builtin, d.Path = own.Builtin, own.Path
	switch {
	case !own.Builtin:
		d.Status = TooNew
		d.Why = "the image has " + d.Module + ", which does not know this device; that of Linux " + t.Whole + " does"
	case series(t.Image.Modules.Release) == series(t.Whole):
		d.Status = Driven
	default:
		d.Status = NotKnown
		d.Why = d.Module + " is compiled into the kernel, where it does not say which devices it drives; that of Linux " + t.Whole + " drives this one"
	}
}

// series is 6.12 of 6.12.57+deb13-amd64.
func series(release string) string {
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return release
	}
	minor := strings.TrimRight(parts[1], "+-abcdefghijklmnopqrstuvwxyz")
	return parts[0] + "." + minor
}

// missing is a driver that a built image does not have as a module.
func (t Target) missing(d *Driver) {
	value := t.best(d.Symbols)
	finished, has := find(t.Finished, d.Module)
	switch {
	case has && finished.Builtin:
		d.Status, d.Builtin = Driven, true
	case has:
		d.Status, d.Why = LeftOut, "the kernel has it as a module, and the initramfs has not"
	case t.Finished != nil:
		d.Status, d.Why = TooNew, "the kernel, which is not compiled here, does not have it"
	case value == "y":
		d.Status, d.Builtin = Driven, true
	case value == "m":
		d.Status, d.Why = LeftOut, "the kernel has it as a module, and the initramfs has not"
	default:
		t.absent(d, value)
	}
}

// find is a kernel's module of that name.
func find(k *modinfo.Kernel, name string) (modinfo.Module, bool) {
	if k == nil {
		return modinfo.Module{}, false
	}
	i := slices.IndexFunc(k.Modules, func(m modinfo.Module) bool { return m.Name() == name })
	if i < 0 {
		return modinfo.Module{}, false
	}
	return k.Modules[i], true
}

// planned is a driver in a configuration that nothing is built of.
func (t Target) planned(d *Driver) {
	value := t.best(d.Symbols)
	finished, has := find(t.Finished, d.Module)
	switch {
	case has && finished.Builtin:
		d.Status, d.Builtin = Driven, true
	case has, value == "m":
		d.Status = Driven
		if t.Chosen == nil {
			d.Why = "as a module; whether the initramfs will have it is known when it is built"
		} else if !t.Chosen(d.Path) {
			d.Status, d.Why = LeftOut, "the kernel has it as a module, and kernel.modules of the flavor does not choose it"
		}
	case t.Finished != nil:
		d.Status, d.Why = TooNew, "the kernel, which is not compiled here, does not have it"
	case value == "y":
		d.Status, d.Builtin = Driven, true
	default:
		t.absent(d, value)
	}
}

// absent is a driver that the configuration does not build, as far as it is known.
func (t Target) absent(d *Driver, value string) {
	switch {
	case t.Tree == nil:
		d.Status, d.Why = NotKnown, "the image does not have "+d.Module+"; of the kernel's source nothing is known"
	case len(d.Symbols) == 0:
		d.Status, d.Why = TooNew, "Linux "+t.Tree.Version+" does not have "+d.Module+"; "+t.Whole+" has it"
	case value == "n":
		d.Status = Off
		if t.Tree.Version != "" && series(t.Tree.Version) != series(t.Whole) {
			d.Why = "whether " + d.Module + " of Linux " + t.Tree.Version + " knows this device is not known; that of " + t.Whole + " does"
		}
	default:
		d.Status, d.Why = NotKnown, "the image does not have "+d.Module+"; the kernel's configuration is not known"
	}
}

// best is the highest value of the symbols; "" where none is known.
func (t Target) best(symbols []Symbol) string {
	best := ""
	for _, s := range symbols {
		if slices.Index([]string{"", "n", "m", "y"}, s.Value) > slices.Index([]string{"", "n", "m", "y"}, best) {
			best = s.Value
		}
	}
	return best
}

func (t Target) symbols(file string) []Symbol {
	all := []Symbol{}
	if t.Tree == nil {
		return all
	}
	for _, name := range t.Tree.Of(kbuild.Key(file)) {
		all = append(all, Symbol{Name: name, Value: t.value(name), Symbol: t.Tree.Symbols[name]})
	}
	slices.SortStableFunc(all, func(a, b Symbol) int { return boolRank(a.Prompt == "") - boolRank(b.Prompt == "") })
	return all
}

// value is that of the configuration, "" where that is not known.
func (t Target) value(symbol string) string {
	config := t.Config
	if config == nil && t.Image != nil {
		config = t.Image.Config
	}
	if config == nil {
		return ""
	}
	if v, ok := config[symbol]; ok {
		return v
	}
	return "n"
}

// firmware looks for the files that the module names. Without an image there is nothing to look in.
func (t Target) firmware(m modinfo.Module) []Firmware {
	if t.Image == nil {
		return nil
	}
	all := []Firmware{}
	if own, ok := t.own(m.Name()); ok {
		m = own
	}
	for _, name := range m.Firmware {
		all = append(all, Firmware{name, t.Image.hasFirmware(name)})
	}
	return all
}

func (i *Image) hasFirmware(name string) bool {
	if _, found := slices.BinarySearch(i.Firmware, name); found {
		return true
	}
	if !strings.ContainsAny(name, "*?[") {
		return false
	}
	return slices.ContainsFunc(i.Firmware, func(file string) bool { return matches(name, file) })
}

// matches lets "*" cross directories, as drivers use it.
func matches(pattern, file string) bool {
	const slash = "\x00"
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", slash), strings.ReplaceAll(file, "/", slash))
	return ok && err == nil
}
