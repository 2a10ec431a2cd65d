//go:build soak

package test

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestSoakFuzz gives every fuzz target of what reads hostile input ten minutes. What one finds is in its package's
// testdata/fuzz afterwards, and belongs into the corpus with the fix.
func TestSoakFuzz(t *testing.T) {
	const each = 10 * time.Minute
	for target, in := range map[string]string{
		"FuzzApplyTar":  "filetree",
		"FuzzReader":    "initramfs",
		"FuzzOpen":      "initramfs",
		"FuzzNewReader": "unpack",
		"FuzzParse":     "linuxkit",
		"FuzzLabel":     "linuxkit",
		"FuzzRoute":     "artifacts/serve",
		"FuzzRange":     "artifacts/serve",
		"FuzzReadCSV":   "hardware",
	} {
		t.Run(target, func(t *testing.T) {
			// A target that hangs ends here: go test has no limit of its own while it fuzzes.
			ctx, cancel := context.WithTimeout(t.Context(), 2*each)
			defer cancel()
			cmd := exec.CommandContext(ctx, "go", "test", "../internal/"+in, "-run", "^$", "-fuzz", "^"+target+"$",
				"-fuzztime", each.String(), "-fuzzminimizetime", "100x")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
			cmd.WaitDelay = time.Minute
			if err := cmd.Run(); err != nil {
				t.Fatalf("%s of internal/%s: %v", target, in, err)
			}
		})
	}
}
