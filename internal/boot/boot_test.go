package boot

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/engine"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// step is a wait and what the container puts out after it.
type step struct {
	wait time.Duration
	out  string
}

// fakeRunner plays a container. Unless it ends by itself it runs until it is cancelled.
type fakeRunner struct {
	copying time.Duration // before the files are in
	steps   []step
	ends    bool
	code    int
	err     error

	calls int
	got   engine.Container
	files map[string]string // name to content; symlinks to "-> target"
	cause error             // why it was cancelled
}

func (f *fakeRunner) Run(ctx context.Context, c engine.Container, out io.Writer) (int, error) {
	f.calls, f.got = f.calls+1, c
	if f.err != nil {
		return 0, f.err
	}
	time.Sleep(f.copying)
	if c.Files != nil {
		files, err := untar(c.Files)
		if err != nil {
			return 0, fmt.Errorf("copy files into the container: %w", err)
		}
		f.files = files
	}
	for _, s := range f.steps {
		select {
		case <-time.After(s.wait):
		case <-ctx.Done():
			f.cause = context.Cause(ctx)
			return 0, f.cause
		}
		if _, err := io.WriteString(out, s.out); err != nil {
			return 0, err
		}
	}
	if f.ends {
		return f.code, nil
	}
	<-ctx.Done()
	f.cause = context.Cause(ctx)
	return 0, f.cause
}

func untar(write func(*tar.Writer) error) (map[string]string, error) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	if err := write(tw); err != nil {
		return nil, err
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	got := map[string]string{}
	for tr := tar.NewReader(&buf); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			return nil, err
		}
		got[h.Name] = fmt.Sprintf("%#o %s", h.Mode, data)
		if h.Typeflag == tar.TypeSymlink {
			got[h.Name] = "-> " + h.Linkname
		}
	}
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func directOptions(t *testing.T) Options {
	return Options{
		Image: "qemu", Arch: plan.X8664, EngineArch: plan.X8664, Accel: TCG, Now: time.Now,
		Kernel: writeFile(t, "k", "KERNEL"), Initramfs: writeFile(t, "i", "INITRAMFS"),
	}
}

const ready = "HookOS ready 1.0 6.12 10.0.2.15 9s"

func TestRunSeesTheLine(t *testing.T) {
	cases := map[string]struct {
		expect  string
		steps   []step
		line    string
		elapsed time.Duration
	}{
		"one write":          {"", []step{{3 * time.Second, "boot\r\n" + ready + "\r\n"}}, ready, 3 * time.Second},
		"split inside":       {"", []step{{0, "a\nHook"}, {time.Second, "OS rea"}, {time.Second, "dy\r\n"}}, "HookOS ready", 2 * time.Second},
		"split inside ESC":   {"", []step{{0, "\x1b[3"}, {0, "2mHookOS\x1b"}, {0, "[0m ready\n"}}, "HookOS ready", 0},
		"inside a line":      {"", []step{{0, "[    9.1] init: " + ready + "\n"}}, "[    9.1] init: " + ready, 0},
		"rest of the line":   {"", []step{{0, "HookOS ready"}, {time.Millisecond, " 6.12\nmore\n"}}, "HookOS ready 6.12", 0},
		"prompt without end": {"login:", []step{{time.Second, "hook login: "}}, "hook login:", time.Second},
		"garbage before":     {"", []step{{0, "\x00\xff\x1b]x\n" + ready + "\n"}}, ready, 0},
		"after a long line":  {"", []step{{0, strings.Repeat("z", 3*maxLine) + "\n" + ready + "\n"}}, ready, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := directOptions(t)
			o.Expect = c.expect
			synctest.Test(t, func(t *testing.T) {
				r := &fakeRunner{steps: c.steps}
				got, err := Run(t.Context(), r, o)
				if err != nil {
					t.Fatal(err)
				}
				if !got.Ready || got.Line != c.line || got.Elapsed != c.elapsed {
					t.Errorf("got %+v, want line %q after %s", got, c.line, c.elapsed)
				}
				if !errors.Is(r.cause, errDecided) {
					t.Errorf("the container was ended by %v, want %v", r.cause, errDecided)
				}
			})
		})
	}
}

func TestRunSeesTheLineOfAMachineThatEnds(t *testing.T) {
	r := &fakeRunner{steps: []step{{0, ready}}, ends: true}
	got, err := Run(t.Context(), r, directOptions(t))
	if err != nil || !got.Ready || got.Line != ready {
		t.Errorf("got %+v, %v; want the line %q", got, err, ready)
	}
}

func TestRunNotSeen(t *testing.T) {
	cases := map[string]struct {
		runner  fakeRunner
		reason  string
		elapsed time.Duration
		last    string
	}{
		"time over": {
			fakeRunner{steps: []step{{time.Minute, "a\n"}}}, "not within 10m0s", 10 * time.Minute, "a",
		},
		"copying takes its time": {
			fakeRunner{copying: time.Hour, steps: []step{{0, "a\n"}}}, "not within 10m0s", 10 * time.Minute, "a",
		},
		"panic, its trace comes": {
			fakeRunner{steps: []step{{time.Second, "Kernel panic - not syncing: x\n"}, {time.Second, "end trace\n"}}},
			"the guest's kernel panicked", 3 * time.Second, "end trace",
		},
		"panic, then a reboot": {
			fakeRunner{steps: []step{{time.Second, "Kernel panic - not syncing: x\n"}}, ends: true},
			"the guest's kernel panicked", time.Second, "Kernel panic - not syncing: x",
		},
		"iPXE gives up": {
			fakeRunner{steps: []step{{0, "hookbuild: iPXE gave up\n"}}},
			"iPXE could not fetch and start the kernel", panicGrace, "hookbuild: iPXE gave up",
		},
		"nothing to boot, SeaBIOS": {
			fakeRunner{steps: []step{{0, "No bootable device.  Retrying in 60 seconds.\n"}}},
			"the firmware found nothing to boot", panicGrace, "No bootable device.  Retrying in 60 seconds.",
		},
		"switched off": {
			fakeRunner{steps: []step{{0, "reboot: Power down\n"}}, ends: true},
			"the machine switched off or wanted to reboot", 0, "reboot: Power down",
		},
		"QEMU fails": {
			fakeRunner{steps: []step{{0, "qemu: no\n"}}, ends: true, code: 1},
			"QEMU ended with exit code 1", 0, "qemu: no",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := directOptions(t)
			synctest.Test(t, func(t *testing.T) {
				got, err := Run(t.Context(), &c.runner, o)
				want := &NotSeenError{Expect: DefaultExpect, Reason: c.reason, Tail: got.ConsoleTail}
				var seen *NotSeenError
				if !errors.As(err, &seen) {
					t.Fatalf("got error %v, want %v", err, want)
				}
				if diff := cmp.Diff(want, seen); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
				if n := len(seen.Tail); n == 0 || seen.Tail[n-1] != c.last {
					t.Errorf("tail %q, want %q at its end", seen.Tail, c.last)
				}
				if got.Ready || got.Elapsed != c.elapsed || got.Accel != TCG {
					t.Errorf("got %+v, want not ready, tcg, after %s", got, c.elapsed)
				}
			})
		})
	}
}

func TestRunCancelled(t *testing.T) {
	o := directOptions(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		r := &fakeRunner{steps: []step{{0, "a\n"}}}
		_, err := Run(ctx, r, o)
		var seen *NotSeenError
		if !errors.Is(err, context.Canceled) || errors.As(err, &seen) {
			t.Errorf("got %v, want only %v", err, context.Canceled)
		}
		if !errors.Is(r.cause, context.Canceled) {
			t.Errorf("the container was ended by %v, want %v", r.cause, context.Canceled)
		}
	})
}

func TestRunEngineFails(t *testing.T) {
	gone := errors.New("no such image")
	_, err := Run(t.Context(), &fakeRunner{err: gone}, directOptions(t))
	var seen *NotSeenError
	if !errors.Is(err, gone) || errors.As(err, &seen) {
		t.Errorf("got %v, want an error that wraps %v and is no verdict", err, gone)
	}
}

func TestRunMissingKernel(t *testing.T) {
	o := directOptions(t)
	o.Kernel = filepath.Join(t.TempDir(), "vmlinuz")
	if _, err := Run(t.Context(), &fakeRunner{}, o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %v", err, os.ErrNotExist)
	}
}

func TestRunTailAndConsole(t *testing.T) {
	var out, live strings.Builder
	for i := range 100 {
		fmt.Fprintf(&out, "\x1b[1mline %d\r\n\r\n", i)
	}
	o := directOptions(t)
	o.Console = &live
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRunner{steps: []step{{1500 * time.Millisecond, out.String()}}, ends: true}
		got, err := Run(t.Context(), r, o)
		if err == nil {
			t.Fatal("got no error, want the line not seen")
		}
		want := make([]string, 0, tailLines)
		for i := 60; i < 100; i++ {
			want = append(want, fmt.Sprintf("line %d", i))
		}
		if diff := cmp.Diff(want, got.ConsoleTail); diff != "" {
			t.Errorf("tail (-want +got):\n%s", diff)
		}
	})
	if got, want := live.String(), "    1.5 line 0\n    1.5 line 1\n"; !strings.HasPrefix(got, want) {
		t.Errorf("the live console begins %q, want %q", got[:min(len(got), 60)], want)
	}
	if got := strings.Count(live.String(), "\n"); got != 100 {
		t.Errorf("the live console has %d lines, want 100", got)
	}
}

// closedWriter is a terminal that has gone away.
type closedWriter struct{}

func (closedWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestRunOutlivesItsConsole(t *testing.T) {
	o := directOptions(t)
	o.Console = closedWriter{}
	got, err := Run(t.Context(), &fakeRunner{steps: []step{{0, "a\n" + ready + "\n"}}}, o)
	if err != nil || !got.Ready {
		t.Errorf("got %+v, %v; want ready", got, err)
	}
}

func TestValidate(t *testing.T) {
	cases := map[string]struct {
		change func(*Options)
		want   []string
	}{
		"all right":     {func(*Options) {}, nil},
		"no image":      {func(o *Options) { o.Image = "" }, []string{"no image"}},
		"no clock":      {func(o *Options) { o.Now = nil }, []string{"no clock"}},
		"architecture":  {func(o *Options) { o.Arch = "riscv64" }, []string{`"riscv64"`}},
		"firmware":      {func(o *Options) { o.Firmware = "efi" }, []string{`"efi"`, "bios or uefi"}},
		"BIOS of ARM":   {func(o *Options) { o.Arch, o.Firmware = plan.AArch64, BIOS }, []string{"aarch64 has only uefi"}},
		"accelerator":   {func(o *Options) { o.Accel = "hvf" }, []string{`"hvf"`, "kvm or tcg"}},
		"little memory": {func(o *Options) { o.MemoryBytes = 1 << 20 }, []string{"1048576 bytes"}},
		"negative CPUs": {func(o *Options) { o.CPUs = -1 }, []string{"-1 guest CPUs"}},
		"negative time": {func(o *Options) { o.Timeout = -1 }, []string{"timeout -1ns"}},
		"broken line":   {func(o *Options) { o.Append = "a\nb" }, []string{"line break"}},
		"broken expect": {func(o *Options) { o.Expect = "a\n" }, []string{"expected text"}},
		"no kernel":     {func(o *Options) { o.Kernel = "" }, []string{"no kernel"}},
		"several":       {func(o *Options) { o.Image, o.CPUs = "", -1 }, []string{"no image", "CPUs"}},
		"empty netboot": {func(o *Options) { o.Netboot = &Netboot{} }, []string{"without a hookbuild binary"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := directOptions(t)
			c.change(&o)
			err := o.Validate()
			if (err != nil) != (len(c.want) > 0) {
				t.Fatalf("got %v, want it to say %q", err, c.want)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want it to say %q", err, want)
				}
			}
			r := &fakeRunner{ends: true}
			if _, err := Run(t.Context(), r, o); len(c.want) > 0 && (err == nil || r.calls > 0) {
				t.Errorf("Run gave %v after %d containers, want an error before the first", err, r.calls)
			}
		})
	}
}
