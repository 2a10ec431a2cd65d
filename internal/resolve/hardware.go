package resolve

import (
	"context"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// Names of the package sets of Hardware.
const (
	WholeKernelSet = KernelSet // Debian's kernel, which has nearly every driver
	SourceSet      = "source"  // what it is compiled from
	IDsSet         = "ids"     // names of devices
)

// hardwareID is what the lock calls an architecture's packages of Hardware. No flavor can have such an id.
func hardwareID(arch plan.Arch) string { return "drivers/" + arch.Debian() }

// HasHardware says whether Hardware has settled the packages of an architecture in this lock.
func (l *Lock) HasHardware(arch plan.Arch) bool {
	_, ok := l.Flavors[hardwareID(arch)]
	return ok
}

// Hardware settles which packages say what drives what: Debian's kernel of a series, its source and the lists of
// devices' names. They stand in the lock beside the flavors, and decide about no build. o.Refresh counts as given.
// Errors are those of Flavor.
func Hardware(ctx context.Context, arch plan.Arch, series string, o Options, from sources) (Result, error) {
	debian := arch.Debian()
	o.Refresh, o.Bundle = true, nil
	requests := []Request{
		{Name: IDsSet, Arch: debian, Seeds: []string{"pci.ids", "usb.ids"}},
		{Name: WholeKernelSet, Arch: debian, Seeds: []string{"linux-image-" + debian}, Exclude: kernelLeftOut[:]},
		{Name: SourceSet, Arch: debian, Seeds: []string{"linux-source-" + series}, Exclude: kernelLeftOut[:]},
	}
	return Flavor(ctx, config.Flavor{ID: hardwareID(arch), Arch: arch}, requests, nil, o, from)
}
