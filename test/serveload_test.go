//go:build soak

package test

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestSoakServer gives the server the loads that it has to bear, of which CI tries a tenth: 5000 clients that stand still, 500
// boots, promotion during 200 downloads.
func TestSoakServer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "../internal/artifacts/serve", "-tags", "soak", "-run", "^TestLoad", "-v", "-count", "1", "-timeout", "50m")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
}
