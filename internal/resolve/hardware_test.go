package resolve

import (
	"strings"
	"testing"

	"github.com/hookbuild/hookbuild/internal/plan"
)

func TestHardwareAsksForOtherPackagesThanFlavorsDo(t *testing.T) {
	w := newWorld(t)
	first := w.flavor("x", two(), w.o)
	_, err := Hardware(t.Context(), plan.X8664, "6.12", w.o, w)
	if err == nil || !strings.Contains(err.Error(), "packages for ids") || !strings.Contains(err.Error(), "pci.ids") {
		t.Errorf("got %v, want that the mirror has no pci.ids", err)
	}
	if again := w.flavor("x", two(), w.o); again.Written || len(again.Entry.Sets) != len(first.Entry.Sets) {
		t.Error("the flavor's part of the lock is another one")
	}
}
