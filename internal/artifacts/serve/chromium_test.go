package serve

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// chromium is a page in a headless Chromium, and what it complained of and asked for.
type chromium struct {
	ctx context.Context

	mu       sync.Mutex
	faults   []string
	requests []string
}

// newChromium opens a page of that size. It ends with the test.
func newChromium(t *testing.T, width, height int64) *chromium {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // which root cannot have; what is opened is our own
		chromedp.WSURLReadTimeout(2*time.Minute))
	alloc, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	c := &chromium{}
	ctx, cancel := chromedp.NewContext(alloc, chromedp.WithListener(c.hear))
	t.Cleanup(cancel)
	c.ctx = ctx
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	c.do(t, chromedp.EmulateViewport(width, height))
	return c
}

// hear notes an event.
func (c *chromium) hear(event any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		c.requests = append(c.requests, e.Request.URL)
	case *log.EventEntryAdded:
		c.faults = append(c.faults, e.Entry.Text+" "+e.Entry.URL)
	case *runtime.EventExceptionThrown:
		c.faults = append(c.faults, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		c.faults = append(c.faults, fmt.Sprintf("console: %s", e.Type))
	}
}

// do gives up after two minutes.
func (c *chromium) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 2*time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// run evaluates JavaScript for what it does.
func (c *chromium) run(t *testing.T, script string) {
	t.Helper()
	c.do(t, chromedp.Evaluate[chromedp.Void](script))
}

// text evaluates a JavaScript expression as a string.
func (c *chromium) text(t *testing.T, expression string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 2*time.Minute)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(async () => String(await (`+expression+`)))()`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// until waits for an expression to be true.
func (c *chromium) until(t *testing.T, what, expression string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if c.text(t, expression) == "true" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s; the page says:\n%s", what, c.text(t, "document.body.innerText"))
		}
	}
}

// screenshot keeps a picture of the whole page; go test -artifacts says where.
func (c *chromium) screenshot(t *testing.T, name string) {
	t.Helper()
	c.until(t, "the picture to be drawn", `new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(true))))`)
	png, err := chromedp.Run(c.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(t.ArtifactDir(), name+".png"), png, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

// scheme chooses light or dark.
func (c *chromium) scheme(t *testing.T, name string) {
	t.Helper()
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}
	if _, err := chromedp.Call(c.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
		t.Fatal(err)
	}
}

// siteOf publishes two builds, one after the other.
func siteOf(t *testing.T) *artifacts.Store {
	t.Helper()
	store := newStore(t)
	report := hookOS(t)
	p := plan.Plan{
		Flavor: "hook-default-amd64", Arch: plan.X8664,
		Packages: []plan.Set{{Name: "base", Packages: []plan.Package{
			{Name: "libc6", Version: "2.41-12", SHA256: "a"}, {Name: "openssl", Version: "3.5.1-1", SHA256: "b"}, {Name: "tzdata", Version: "2025b-4", SHA256: "c"},
		}}},
		Vars: []plan.Var{{Name: "TIMEZONE", Value: "UTC"}},
	}
	m := artifacts.Manifest{Version: "0.1.0", KernelRelease: "6.12.48", Kernel: artifacts.Kernel{ConfigSHA256: "1"}}
	m.EKSA.OK = true
	publishHookOS(t, store, p, m, report, map[string]int{kernel: 11 << 20, initramfs: 30 << 20})
	p.Packages = []plan.Set{{Name: "base", Packages: []plan.Package{
		{Name: "libc6", Version: "2.41-12+deb13u1", SHA256: "d"}, {Name: "openssl", Version: "3.5.1-1+deb13u1", SHA256: "e"}, {Name: "ipmitool", Version: "1.8.19-8", SHA256: "f"},
	}}}
	p.Site.NTP = []string{"ntp.example"}
	m.KernelRelease, m.Kernel.ConfigSHA256 = "6.12.57", "2"
	publishHookOS(t, store, p, m, report, map[string]int{kernel: 12 << 20, initramfs: bigFile, artifacts.ISOName(plan.X8664): bigFile + 16<<20})
	return store
}

// TestPageInChromium follows a boot on the page, in the browser that people use it with.
func TestPageInChromium(t *testing.T) {
	store := siteOf(t)
	addr := start(t, Options{Store: store, Now: time.Now, Names: names}).addr
	base := "http://" + addr
	c := newChromium(t, 1280, 900)
	c.do(t, chromedp.Navigate(base+"/"))
	c.until(t, "the stream", `document.getElementById("live").textContent === "live"`)
	if got := c.text(t, `document.getElementById("summary").textContent`); got != "No machine is fetching now." {
		t.Errorf("before: got %q", got)
	}

	t.Run("progress", func(t *testing.T) {
		machine := machineAt(t, "127.0.0.21")
		readAll(t, take(t, machine, base+"/hook/"+kernel, ""))
		slow := take(t, machine, base+"/hook/"+initramfs, "")
		c.until(t, "the row of the machine", `document.querySelector("#fetches tbody tr [data-f=what]")?.textContent === "initramfs"`)
		c.run(t, `window.row = document.querySelector("#fetches tbody tr"); window.began = row.querySelector("progress").value`)
		if got := c.text(t, `row.textContent`); !strings.Contains(got, "rack3-node01") || !strings.Contains(got, "127.0.0.21") {
			t.Errorf("row: got %q", got)
		}
		if _, err := io.CopyN(io.Discard, slow, 20<<20); err != nil {
			t.Fatal(err)
		}
		c.until(t, "progress", `row.isConnected && row.querySelector("progress").value >= 50 && row.querySelector("progress").value < 100 && began < 50`)
		c.until(t, "a rate", `row.querySelector("[data-f=rate]").textContent.endsWith("/s")`)
		readAll(t, slow)
		c.until(t, "the result", `document.querySelector("#boots tbody tr [data-f=result]")?.textContent === "done" && document.getElementById("fetches").hidden`)
		if got := c.text(t, `document.querySelector("#boots tbody tr [data-f=what]").textContent`); got != "kernel, initramfs" {
			t.Errorf("files of the boot: got %q", got)
		}
	})

	t.Run("cut off", func(t *testing.T) {
		broken := take(t, machineAt(t, "127.0.0.23"), base+"/hook/"+initramfs, "")
		if _, err := io.CopyN(io.Discard, broken, 10<<20); err != nil {
			t.Fatal(err)
		}
		broken.Close()
		c.until(t, "the result", `/^initramfs cut off at \d+ %$/.test(document.querySelector("#boots tbody tr [data-f=result]").textContent)`)
		if got := c.text(t, `document.querySelector("#boots tbody tr b").textContent`); got != "<script>alert(1)</script>" {
			t.Errorf("a name that looks like markup: got %q", got)
		}
	})

	t.Run("treemap", func(t *testing.T) {
		c.run(t, `document.activeElement.blur()`)
		const focused = `document.activeElement.matches(".treemap.wide .cell")`
		for range 40 {
			if c.do(t, chromedp.KeyEvent(kb.Tab)); c.text(t, focused) == "true" {
				break
			}
		}
		if c.text(t, focused) != "true" {
			t.Fatal("Tab does not lead to the treemap")
		}
		if got := c.text(t, `document.activeElement.getAttribute("aria-label")`); !strings.Contains(got, "MiB, ") || !strings.HasSuffix(got, " %") {
			t.Errorf("label: got %q", got)
		}
		if c.text(t, `document.activeElement.getAttribute("aria-label") === document.querySelector(".map.wide .caption").textContent`) != "true" {
			t.Error("the caption does not say what has the focus")
		}
		if c.text(t, `document.querySelector(".treemap.wide").getBoundingClientRect().height > 200 && document.querySelectorAll(".treemap.wide .cell").length > 10`) != "true" {
			t.Error("there is no treemap to be seen")
		}
		c.run(t, `document.activeElement.blur()`)
	})

	t.Run("looks", func(t *testing.T) {
		slow := take(t, machineAt(t, "127.0.0.22"), base+"/hook/"+initramfs, "")
		if _, err := io.CopyN(io.Discard, slow, 12<<20); err != nil {
			t.Fatal(err)
		}
		readAll(t, take(t, machineAt(t, "127.0.0.24"), base+"/"+artifacts.ISOName(plan.X8664), "bytes=0-4000000"))
		c.until(t, "both rows", `document.querySelectorAll("#fetches tbody tr").length === 2`)
		for _, size := range []struct {
			name          string
			width, height int64
		}{{"wide", 1280, 900}, {"phone", 360, 740}} {
			for _, s := range []string{"light", "dark"} {
				c.do(t, chromedp.EmulateViewport(size.width, size.height))
				c.scheme(t, s)
				c.screenshot(t, size.name+"-"+s)
				if got := c.text(t, `document.documentElement.scrollWidth`); got != fmt.Sprint(size.width) {
					t.Errorf("%s: the page is %s wide, want %d", size.name, got, size.width)
				}
			}
		}
		slow.Close()
	})

	c.mu.Lock()
	defer c.mu.Unlock()
	for _, fault := range c.faults {
		t.Errorf("the browser says: %s", fault)
	}
	for _, request := range c.requests {
		if u, err := url.Parse(request); err != nil || u.Host != addr {
			t.Errorf("a request to another host: %s", request)
		}
	}
	if len(c.requests) < 4 {
		t.Errorf("got only %d requests; they are not seen", len(c.requests))
	}
}
