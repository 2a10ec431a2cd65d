package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/artifacts/serve"
	"github.com/hookbuild/hookbuild/internal/boot"
	"github.com/hookbuild/hookbuild/internal/build"
	"github.com/hookbuild/hookbuild/internal/cachedir"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/dhcp"
	"github.com/hookbuild/hookbuild/internal/dhcp/probe"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/initramfs"
	"github.com/hookbuild/hookbuild/internal/inspect"
	"github.com/hookbuild/hookbuild/internal/iso"
	"github.com/hookbuild/hookbuild/internal/kconfig"
	"github.com/hookbuild/hookbuild/internal/kernel"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/registry"
	"github.com/hookbuild/hookbuild/internal/resolve"
	"github.com/hookbuild/hookbuild/internal/servecheck"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// The exit codes, a contract with scripts (docs/exit-codes.md).
const (
	exitInternal    = 1
	exitUsage       = 2 // wrong usage, or a wrong file of the user's
	exitEnvironment = 3 // no engine, no disk, port taken
	exitDownload    = 4 // a download or its verification
	exitBuild       = 5 // a build step
	exitCheck       = 6 // a check said no
	exitInterrupted = 130
)

// isA says whether an error of type T is in err's tree.
func isA[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// exitCode sorts an error. What fills the disk or interrupts the run may be wrapped in anything, so it is
// looked for first.
func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		return exitInterrupted
	case fullDisk(err), isA[*engine.UnavailableError](err), isA[*serve.PortTakenError](err),
		isA[*artifacts.LockedError](err), isA[*probe.AccessError](err), errors.Is(err, debian.ErrNoMirror),
		errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EROFS), cannotListen(err), isA[*unreadyError](err), isA[*cachedir.InUseError](err):
		return exitEnvironment
	case isA[*image.NotFoundError](err), isA[*download.FetchError](err), isA[*download.VerifyError](err), isA[*download.OfflineError](err):
		return exitDownload
	case isA[*registry.OfflineError](err), isA[*registry.AuthError](err), isA[*registry.NotFoundError](err), isA[*registry.Error](err):
		return exitDownload
	case isA[*boot.NotSeenError](err), isA[*symbolError](err) && !isUsage(err), isA[*notFoundError](err), isA[*differentError](err),
		isA[*build.BudgetError](err), isA[*checkError](err), isA[*unfitError](err), isA[*wrongDHCPError](err), isA[*driverlessError](err):
		return exitCheck
	case isA[*engine.BuildError](err), isA[*build.UnmetError](err), isA[*kernel.ConfigError](err), isA[*iso.FaultError](err):
		return exitBuild
	case isUsage(err):
		return exitUsage
	}
	return exitInternal
}

func isUsage(err error) bool {
	var symbols *symbolError
	return errors.As(err, &symbols) && symbols.unknown || isA[*usageError](err) || isA[strictyaml.Errors](err) || isA[*config.UsageError](err) ||
		isA[*build.InputError](err) || isA[*kconfig.SyntaxError](err) || isA[*resolve.LockError](err) || isA[*debian.ResolveError](err) ||
		isA[*artifacts.HookTakenError](err) || isA[*artifacts.MissingFileError](err) || isA[*serve.PortRefusedError](err) || isA[*serve.OptionError](err) || isA[*servecheck.URLError](err) ||
		isA[*filetree.ConflictError](err) || isA[*filetree.TarError](err) || isA[*image.ReferenceError](err) || isA[*image.FormatError](err) || isA[*image.ChangedError](err) || isA[*initramfs.UnsupportedError](err) || isA[*initramfs.ImageError](err) || isA[*initramfs.LimitError](err) || isA[*inspect.FileError](err) || isA[*dhcp.SiteError](err) ||
		errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) // --out, --cache-dir, hookbuild.yaml
}

// cannotListen is true where this host has not the address to listen on.
func cannotListen(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "listen"
}

// fullDisk also knows the engine's disk, of which only a text arrives here.
func fullDisk(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		strings.Contains(strings.ToLower(err.Error()), "no space left on device") // Go's spelling, and the compiler's
}

// hint is the next step for a person, "" where there is nothing to add.
func hint(err error) string {
	var own interface{ Hint() string }
	var lock *resolve.LockError
	var fetch *download.FetchError
	switch {
	case errors.As(err, &own):
		return own.Hint()
	case errors.As(err, &lock) && lock.Hint != "":
		return "run " + lock.Hint
	case fullDisk(err):
		return "free some space (a build takes about 20 GB), or name another place with --out and --cache-dir"
	case isA[*engine.UnavailableError](err):
		return engineHint
	case errors.Is(err, debian.ErrNoMirror):
		return "name one with --debian-mirror and --debian-security-mirror; https://www.debian.org/mirror/list has them"
	case errors.As(err, &fetch) && fetch.Name != "" && fetch.Status == 404:
		return "the mirror has a newer version: run hookbuild lock --update"
	case errors.As(err, &fetch) && isKernelOrg(fetch.URL):
		return "name a mirror of kernel.org with --kernel-mirror, and a file with its developers' keys with --keyring"
	case isA[*symbolError](err), isA[*build.UnmetError](err):
		return "hookbuild kernel-config FLAVOR --search WORD lists symbols, and what they depend on"
	case isA[*download.OfflineError](err):
		return "run once without --offline"
	}
	return ""
}

// engineHint is what to do where no engine answers.
const engineHint = "start Docker, or say with DOCKER_HOST where it is; with root on Debian, make engine installs it"

// isKernelOrg is true of what is fetched from kernel.org itself.
func isKernelOrg(address string) bool {
	return strings.HasPrefix(address, kernelorg.DefaultMirror) || strings.HasPrefix(address, kernelorg.DefaultWKD)
}

// finish says what went wrong, once, and turns it into the exit code.
func (p *program) finish(ctx context.Context, err error) int {
	code := exitCode(ctx, err)
	switch {
	case code == 0:
		return 0
	case code == exitInterrupted:
		fmt.Fprintln(p.Stderr, "hookbuild: interrupted; nothing that was there before has changed")
	default:
		fmt.Fprintf(p.Stderr, "hookbuild: %v\n", err)
		showTail(p.Stderr, err)
		if h := hint(err); h != "" {
			fmt.Fprintf(p.Stderr, "hint: %s\n", h)
		}
	}
	if p.wantsJSON() && !isA[*differentError](err) && !isA[*unfitError](err) && !isA[*wrongDHCPError](err) && !isA[*driverlessError](err) && !isA[*unreadyError](err) { // whose answer is the document
		p.failureJSON(code, err)
	}
	return code
}

// wantsJSON looks at the arguments themselves: of a command line with a fault in it there are no flags.
func (p *program) wantsJSON() bool {
	isTrue := func(s string) bool {
		yes, err := strconv.ParseBool(s)
		return yes && err == nil
	}
	wants := isTrue(p.Getenv(envPrefix + "JSON"))
	for _, arg := range p.Args {
		name, value, given := strings.Cut(arg, "=")
		switch name {
		case "--":
			return wants
		case "--json", "-json":
			wants = !given || isTrue(value)
		}
	}
	return wants
}

// showTail prints what went wrong first, or the last lines of what failed, and where all of it is.
func showTail(w io.Writer, err error) {
	var first *kernel.Error
	var failed *engine.BuildError
	if errors.As(err, &first) {
		for _, line := range first.First[1:] { // the first has been said
			fmt.Fprintf(w, "  %s\n", line)
		}
	} else if errors.As(err, &failed) && len(failed.Tail) > 0 {
		fmt.Fprintf(w, "the last lines of %q:\n", failed.Step)
		for _, line := range failed.Tail {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
	var unseen *boot.NotSeenError
	if errors.As(err, &unseen) && len(unseen.Tail) > 0 {
		fmt.Fprintln(w, "the last lines of the console:")
		for _, line := range unseen.Tail {
			fmt.Fprintf(w, "  %s\n", line)
		}
	}
	var stage *build.StageError
	if errors.As(err, &stage) && stage.Log != "" {
		fmt.Fprintf(w, "the whole log: %s\n", stage.Log)
	}
}

// failureJSON is the one document of a --json run that failed.
func (p *program) failureJSON(code int, err error) {
	type failure struct {
		Code    int       `json:"code"`
		Message string    `json:"message"`
		Hint    string    `json:"hint,omitempty"`
		Symbols []refused `json:"symbols,omitempty"`
	}
	if err := p.printJSON(map[string]failure{"error": {code, err.Error(), hint(err), refusedSymbols(err)}}); err != nil {
		fmt.Fprintf(p.Stderr, "hookbuild: standard output: %v\n", err)
	}
}

func (p *program) printJSON(v any) error {
	enc := json.NewEncoder(p.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func isNotFound(err error) bool { return errors.Is(err, artifacts.ErrNotFound) }
