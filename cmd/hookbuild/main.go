// Tar names are judged by our own rules, which are stricter; the library's would hide an entry's real name.
//
//go:debug tarinsecurepath=0

// Command hookbuild builds HookOS, the in-memory system that Tinkerbell and EKS Anywhere network-boot, proves
// in QEMU that it boots, and serves it.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

func main() { os.Exit(runUntilSignal(host())) }

// runUntilSignal is run with a context that ends at Ctrl-C, SIGTERM, or when the terminal is closed.
func runUntilSignal(sys system) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return run(ctx, sys)
}

// host is the real surroundings of the program.
func host() system {
	dropEmptyVariables()
	keyrings, err := filepath.Glob("/usr/share/keyrings/debian-archive-*.gpg")
	if err != nil { // a malformed pattern only
		panic(err)
	}
	return system{
		Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now,
		Columns: columns, AptDir: "/etc/apt", Keyrings: keyrings,
	}
}

// dropEmptyVariables makes an empty HOOKBUILD_… count as not set; the CLI library would let it replace a
// flag's default.
func dropEmptyVariables() {
	for _, v := range os.Environ() {
		if name, ok := strings.CutSuffix(v, "="); ok && strings.HasPrefix(name, envPrefix) {
			os.Unsetenv(name) // fails for an impossible name only
		}
	}
}

// columns is the width of standard error's terminal, 0 where it is none.
func columns() int {
	w, _, err := term.GetSize(int(os.Stderr.Fd()))
	if err != nil {
		return 0
	}
	return w
}
