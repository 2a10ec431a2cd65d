package resolve

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
	"github.com/hookbuild/hookbuild/internal/kernelorg/kernelorgtest"
)

// fromKernelOrg is a flavor with a kernel of series 6.6; version may be empty.
func fromKernelOrg(id, version string) config.Flavor {
	return config.Flavor{ID: id, Kernel: config.Kernel{
		Method: config.MethodSource, Series: "6.6", Version: version, Source: config.Source{Kind: config.SourceKernelOrg},
	}}
}

// kernels is a world with a mirror in kernel.org's layout.
func kernels(t *testing.T, versions ...string) (*world, *kernelorgtest.Mirror) {
	t.Helper()
	w, m := newWorld(t), kernelorgtest.New(t)
	for _, v := range versions {
		m.Add(v, w.xz("the source of Linux "+v))
	}
	w.kernels = &kernelorg.Client{
		Download: &download.Client{}, Mirror: m.URL, WKD: m.WKD, Trusted: m.Trusted,
		CacheDir: filepath.Join(t.TempDir(), "cache"), Now: func() time.Time { return kernelorgtest.Born().AddDate(0, 1, 0) },
	}
	return w, m
}

// resolved is what Flavor makes of f, which must work.
func (w *world) resolved(f config.Flavor, o Options) Result {
	w.Helper()
	w.wanted = nil
	res, err := Flavor(w.Context(), f, two(), nil, o, w)
	if err != nil {
		w.Fatal(err)
	}
	return res
}

// inLock is what the lock says of a flavor's kernel: series, version if one was asked for, version.
func (w *world) inLock(id string) string {
	w.Helper()
	lock, err := ReadLock(w.o.LockFile)
	if err != nil {
		w.Fatal(err)
	}
	k := lock.Flavors[id].Kernel
	if k == nil {
		return ""
	}
	return strings.Join(strings.Fields(k.Series+" "+k.Exactly+" "+k.Version), " ")
}

func TestKernelPinIsWrittenAndReused(t *testing.T) {
	w, m := kernels(t, "6.6.9", "6.6.10", "6.12.1")
	res := w.resolved(fromKernelOrg("x", ""), w.o)
	pin := res.Entry.Kernel
	want := []string{m.Trusted.Autosigner.Fingerprint, m.Trusted.Developers[0].Fingerprint}
	if pin == nil || pin.Version != "6.6.10" || !isSHA256(pin.SHA256) || !slices.Equal(pin.SignedBy, want) || !res.Written {
		t.Fatalf("got %+v", pin)
	}
	if diff := cmp.Diff([]kernelorg.Want{{Series: "6.6"}}, w.wanted); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(versionOne, pinned(res.Entry)); diff != "" {
		t.Error(diff)
	}
	text := w.lockText()
	for _, part := range []string{`"series": "6.6"`, `"version": "6.6.10"`, pin.SHA256, want[0], want[1]} {
		if !strings.Contains(text, part) {
			t.Errorf("the lock lacks %s", part)
		}
	}
	m.Add("6.6.11", w.xz("newer"))
	m.Asked()
	again := w.resolved(fromKernelOrg("x", ""), w.o)
	if diff := cmp.Diff(res.Entry, again.Entry); diff != "" || again.Written || len(m.Asked()) != 0 || len(w.wanted) != 0 || w.lockText() != text {
		t.Errorf("from the lock: %s", diff)
	}
}

func TestKernelPinMovesWithAnUpdate(t *testing.T) {
	w, m := kernels(t, "6.6.9")
	w.resolved(fromKernelOrg("x", ""), w.o)
	m.Add("6.6.10", w.xz("newer"))

	// Other packages are no reason for another kernel.
	refresh := w.o
	refresh.Refresh = true
	changed := two()
	changed[1].Exclude = nil
	w.wanted = nil
	res, err := Flavor(t.Context(), fromKernelOrg("x", ""), changed, nil, refresh, w)
	if err != nil || res.Entry.Kernel.Version != "6.6.9" || len(w.wanted) != 0 || !res.Written {
		t.Fatalf("refresh: got %+v, %v, asked %v", res.Entry.Kernel, err, w.wanted)
	}

	update := w.o
	update.Update = true
	res = w.resolved(fromKernelOrg("x", ""), update)
	if diff := cmp.Diff([]kernelorg.Want{{Series: "6.6", NotBefore: []string{"6.6.9"}}}, w.wanted); diff != "" {
		t.Error(diff)
	}
	var lines []string
	for _, c := range Changes(res) {
		if c.Package == "linux" {
			lines = append(lines, c.String())
		}
	}
	if !slices.Equal(lines, []string{"kernel.org: linux 6.6.9 -> 6.6.10"}) || w.inLock("x") != "6.6 6.6.10" {
		t.Errorf("got changes %q, in the lock %s", lines, w.inLock("x"))
	}
}

// A mirror that offers older releases than the lock's is refused, and the lock stays.
func TestKernelReplay(t *testing.T) {
	w, m := kernels(t, "6.6.9", "6.6.10")
	w.resolved(fromKernelOrg("x", ""), w.o)
	text := w.lockText()
	old, _ := kernels(t, "6.6.9")
	w.kernels.Mirror, w.kernels.WKD, w.kernels.Trusted = old.kernels.Mirror, old.kernels.WKD, old.kernels.Trusted
	update := w.o
	update.Update = true
	_, err := Flavor(t.Context(), fromKernelOrg("x", ""), two(), nil, update, w)
	var ve *download.VerifyError
	if !errors.As(err, &ve) || ve.Got != "6.6.9" || w.lockText() != text {
		t.Errorf("got %v", err)
	}
	// Who wants the older one says so.
	w.kernels.Mirror, w.kernels.WKD, w.kernels.Trusted = m.URL, m.WKD, m.Trusted
	if res := w.resolved(fromKernelOrg("x", "6.6.9"), update); res.Entry.Kernel.Version != "6.6.9" || w.inLock("x") != "6.6 6.6.9 6.6.9" {
		t.Errorf("got %+v", res.Entry.Kernel)
	}
	if diff := cmp.Diff([]kernelorg.Want{{Series: "6.6", Version: "6.6.9"}}, w.wanted); diff != "" {
		t.Error(diff)
	}
}

// A list is as old as it is for every flavor of the lock.
func TestKernelReplayForAnotherFlavor(t *testing.T) {
	for _, c := range []struct {
		name      string
		had       []string // flavors with a pin of the older release
		notBefore []string
	}{
		{"a new flavor", nil, []string{"6.6.10"}},
		{"one that was at the older release", []string{"y"}, []string{"6.6.10", "6.6.9"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, m := kernels(t, "6.6.9", "6.12.1")
			for _, id := range c.had {
				w.resolved(fromKernelOrg(id, ""), w.o)
			}
			other := fromKernelOrg("z", "")
			other.Kernel.Series = "6.12"
			w.resolved(other, w.o)
			m.Add("6.6.10", w.xz("newer"))
			w.resolved(fromKernelOrg("x", ""), w.o)
			text := w.lockText()

			old, _ := kernels(t, "6.6.9")
			w.kernels = old.kernels
			update := w.o
			update.Update = true
			w.wanted = nil
			_, err := Flavor(t.Context(), fromKernelOrg("y", ""), two(), nil, update, w)
			var ve *download.VerifyError
			if !errors.As(err, &ve) || ve.Got != "6.6.9" || !strings.Contains(ve.Want, "6.6.10") || w.lockText() != text {
				t.Errorf("got %v, want 6.6.9 refused and the lock as it was", err)
			}
			if diff := cmp.Diff([]kernelorg.Want{{Series: "6.6", NotBefore: c.notBefore}}, w.wanted); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExactKernelVersion(t *testing.T) {
	w, m := kernels(t, "6.6.9", "6.6.10")
	if res := w.resolved(fromKernelOrg("x", "6.6.9"), w.o); res.Entry.Kernel.Version != "6.6.9" || res.Entry.Kernel.Exactly != "6.6.9" {
		t.Errorf("got %+v", res.Entry.Kernel)
	}
	m.Asked()
	if w.resolved(fromKernelOrg("x", "6.6.9"), w.o); len(m.Asked()) != 0 {
		t.Error("kernel.org was asked for what the lock has")
	}
	// The newest of the series must not be older.
	refresh := w.o
	refresh.Refresh = true
	if res := w.resolved(fromKernelOrg("x", ""), refresh); res.Entry.Kernel.Version != "6.6.10" || !slices.Equal(w.wanted[0].NotBefore, []string{"6.6.9"}) {
		t.Errorf("got %+v, asked %+v", res.Entry.Kernel, w.wanted)
	}
	_, err := Flavor(t.Context(), fromKernelOrg("y", "6.6.99"), two(), nil, w.o, w)
	var ve *download.VerifyError
	if !errors.As(err, &ve) || ve.What != "version" || w.inLock("y") != "" {
		t.Errorf("no such release: got %v", err)
	}
}

func TestKernelPinAgainstTheLock(t *testing.T) {
	other := fromKernelOrg("x", "")
	other.Kernel.Series = "6.12"
	fromURL := fromKernelOrg("x", "")
	fromURL.Kernel.Source.Kind = config.SourceURL
	for _, c := range []struct {
		name   string
		before config.Flavor
		now    config.Flavor
		want   string // in the error; "" for none
		pin    string // in the entry then
	}{
		{"the same", fromKernelOrg("x", ""), fromKernelOrg("x", ""), "", "6.6.10"},
		{"another series", fromKernelOrg("x", ""), other, "flavor x was made for kernel 6.6, not 6.12", ""},
		{"a version of the series", fromKernelOrg("x", ""), fromKernelOrg("x", "6.6.10"), "was made for kernel 6.6, not 6.6.10", ""},
		{"another version", fromKernelOrg("x", "6.6.9"), fromKernelOrg("x", "6.6.10"), "was made for kernel 6.6.9, not 6.6.10", ""},
		{"no version any more", fromKernelOrg("x", "6.6.9"), fromKernelOrg("x", ""), "was made for kernel 6.6.9, not 6.6", ""},
		{"from kernel.org for the first time", fromDebian("x"), fromKernelOrg("x", ""), "flavor x holds no kernel source", ""},
		{"not from there any more", fromKernelOrg("x", ""), fromDebian("x"), "", "6.6.10"},
		{"from a URL now", fromKernelOrg("x", ""), fromURL, "", "6.6.10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, m := kernels(t, "6.6.9", "6.6.10", "6.12.1")
			w.resolved(c.before, w.o)
			text := w.lockText()
			m.Asked()
			w.asked = nil
			res, err := Flavor(t.Context(), c.now, two(), nil, w.o, w)
			if len(w.asked)+len(m.Asked()) != 0 || w.lockText() != text {
				t.Error("a server was asked, or the lock written")
			}
			var bad *LockError
			if c.want != "" && (!errors.As(err, &bad) || bad.Hint != "hookbuild lock x" || !strings.Contains(err.Error(), c.want)) || c.want == "" && err != nil {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if c.want == "" && res.Entry.Kernel.Version != c.pin {
				t.Errorf("got %+v", res.Entry.Kernel)
			}
			if c.want == "" {
				return
			}
			o := w.o
			o.Refresh = true
			if res := w.resolved(c.now, o); !res.Written || w.resolved(c.now, w.o).Written {
				t.Errorf("resolved anew: got %+v", res.Entry.Kernel)
			}
		})
	}
}

// A pin that nobody asks for any more goes with the next resolution.
func TestKernelPinGoes(t *testing.T) {
	w, _ := kernels(t, "6.6.9")
	w.resolved(fromKernelOrg("x", ""), w.o)
	o := w.o
	o.Update = true
	res := w.resolved(fromDebian("x"), o)
	var lines []string
	for _, c := range Changes(res) {
		lines = append(lines, c.String())
	}
	if res.Entry.Kernel != nil || w.inLock("x") != "" || !slices.Equal(lines, []string{"kernel.org: - linux 6.6.9"}) {
		t.Errorf("got %+v, changes %q", res.Entry.Kernel, lines)
	}
	w2, _ := kernels(t, "6.6.9")
	if got := Changes(w2.resolved(fromKernelOrg("x", ""), w2.o)); len(got) == 0 || !slices.Contains(got, Change{Set: "kernel.org", Package: "linux", After: "6.6.9"}) {
		t.Errorf("a new flavor: got changes %v", got)
	}
}

func TestKernelFailuresLeaveTheLock(t *testing.T) {
	for name, spoil := range map[string]func(w *world, m *kernelorgtest.Mirror){
		"no kernel.org": func(w *world, _ *kernelorgtest.Mirror) { w.kernels = nil },
		"wrong key": func(w *world, m *kernelorgtest.Mirror) {
			m.Autosigner = kernelorgtest.NewKey(w, "autosigner@kernel.org", 0)
		},
		"other bytes": func(w *world, m *kernelorgtest.Mirror) { m.Replace("6.6.9", w.xz("another source"), nil) },
		"another signature": func(w *world, m *kernelorgtest.Mirror) {
			m.Replace("6.6.9", nil, kernelorgtest.Sign(w, m.Developer, bytes.NewReader([]byte("another source"))))
		},
		"no mirror":  func(w *world, _ *kernelorgtest.Mirror) { w.down = errors.New("no mirror") },
		"no release": func(w *world, m *kernelorgtest.Mirror) { m.List = func(string) string { return "" } },
		"offline":    func(w *world, _ *kernelorgtest.Mirror) { w.kernels.Download.Offline = true },
	} {
		t.Run(name, func(t *testing.T) {
			w, m := kernels(t, "6.6.9")
			spoil(w, m)
			if _, err := Flavor(t.Context(), fromKernelOrg("x", ""), two(), nil, w.o, w); err == nil || w.lockText() != "" {
				t.Errorf("got %v, lock %q", err, w.lockText())
			}
		})
	}
}

func TestPlanOfAKernelFromKernelOrg(t *testing.T) {
	pin := &Kernel{Series: "6.6", Pin: kernelorg.Pin{Version: "6.6.9", SHA256: strings.Repeat("a", 64), SignedBy: []string{"F1", "F2"}}}
	e := Entry{Debian: entry().Debian, Kernel: pin}
	got, err := e.Plan(Input{Flavor: fromKernelOrg("x", "")})
	if err != nil || got.Kernel.Version != "6.6.9" || !slices.Equal(got.Kernel.Source, []string{pin.SHA256}) || got.Kernel.Series != "6.6" {
		t.Errorf("got %+v, %v", got.Kernel, err)
	}
	// A pin that the flavor does not ask for decides about nothing.
	with, err := e.Plan(Input{Flavor: fromDebian("x")})
	if err != nil {
		t.Fatal(err)
	}
	e.Kernel = nil
	without, err := e.Plan(Input{Flavor: fromDebian("x")})
	if err != nil || with.ID() != without.ID() {
		t.Errorf("got %+v and %+v, %v", with.Kernel, without.Kernel, err)
	}
	// Who signed is the lock's business, what was signed the plan's.
	e.Kernel = pin
	pin.SignedBy = []string{"F3"}
	if again, err := e.Plan(Input{Flavor: fromKernelOrg("x", "")}); err != nil || again.ID() != got.ID() {
		t.Errorf("another signer makes another plan: %v", err)
	}
	pin.SHA256 = strings.Repeat("b", 64)
	if again, err := e.Plan(Input{Flavor: fromKernelOrg("x", "")}); err != nil || again.ID() == got.ID() {
		t.Errorf("another tarball makes the same plan: %v", err)
	}
}

// Where the mirror has no firmware, a flavor without firmware does not mind.
func TestFirmwareIsResolvedOnlyWhereItIsAskedFor(t *testing.T) {
	w := newWorld(t)
	f := fromDebian("x")
	f.Kernel.Method = config.MethodDir
	need := func(r Request) bool { return r.Name != FirmwareSet && r.Name != UserlandSet("x") }
	none := slices.DeleteFunc(Requests(f, "amd64", nil, nil), need)
	if len(none) != 0 {
		t.Errorf("got %v", none)
	}
	f.Kernel.Firmware.Auto = true
	auto := slices.DeleteFunc(Requests(f, "amd64", nil, nil), need)
	_, err := Flavor(t.Context(), f, auto, nil, w.o, w)
	if len(auto) != 1 || err == nil || !strings.Contains(err.Error(), "packages for firmware: firmware-ast") {
		t.Errorf("got %v, %v", auto, err)
	}
	if diff := cmp.Diff([]debian.IndexRequest{{
		Suite: "trixie", Archs: []string{"amd64"}, Components: []string{"main", "non-free-firmware"}, NotBefore: map[string]time.Time{},
	}}, w.asked); diff != "" {
		t.Error(diff)
	}
}
