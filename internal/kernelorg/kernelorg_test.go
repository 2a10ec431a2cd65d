package kernelorg_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/kernelorg"
)

func TestResolve(t *testing.T) {
	tests := map[string]struct {
		want kernelorg.Want
		got  string
	}{
		"newest of a series":           {kernelorg.Want{Series: "6.6"}, "6.6.10"},
		"newest of an older series":    {kernelorg.Want{Series: "6.1"}, "6.1"},
		"exactly":                      {kernelorg.Want{Version: "6.6.2"}, "6.6.2"},
		"exactly, with the series":     {kernelorg.Want{Series: "6.6", Version: "6.6.9"}, "6.6.9"},
		"exactly the first":            {kernelorg.Want{Version: "6.6"}, "6.6"},
		"the lock's":                   {kernelorg.Want{Series: "6.6", NotBefore: []string{"6.6.10"}}, "6.6.10"},
		"newer than the lock's":        {kernelorg.Want{Series: "6.6", NotBefore: []string{"6.6.9"}}, "6.6.10"},
		"newer than the lock's first":  {kernelorg.Want{Series: "6.6", NotBefore: []string{"6.6"}}, "6.6.10"},
		"several in the lock":          {kernelorg.Want{Series: "6.6", NotBefore: []string{"6.6.2", "6.6.10", "6.12.1"}}, "6.6.10"},
		"older series than the lock's": {kernelorg.Want{Series: "6.6", NotBefore: []string{"6.12.1"}}, "6.6.10"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			got := w.resolve(test.want)
			tarXZ := pack(t, w.tars[test.got])
			want := kernelorg.Pin{
				Version: test.got, SHA256: sha(tarXZ),
				SignedBy: []string{w.Trusted.Autosigner.Fingerprint, w.Trusted.Developers[0].Fingerprint},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("pin (-want +got):\n%s", diff)
			}
			files := []string{"kernel.org/" + want.SHA256 + ".tar.xz", "keys/" + want.SignedBy[0] + ".gpg", "keys/" + want.SignedBy[1] + ".gpg"}
			slices.Sort(files)
			if diff := cmp.Diff(files, w.cached()); diff != "" {
				t.Errorf("cache (-want +got):\n%s", diff)
			}
			if kept, err := os.ReadFile(filepath.Join(w.client.CacheDir, files[0])); err != nil || !slices.Equal(kept, tarXZ) {
				t.Errorf("the file in the cache has %d bytes, %v", len(kept), err)
			}
		})
	}
}

// Another client verifies what is in the cache once more, the same one does not.
func TestResolveAgain(t *testing.T) {
	w := newWorld(t)
	want := w.resolve(kernelorg.Want{Series: "6.6"})
	another := w.newClient(w.client.CacheDir)
	for _, c := range []struct {
		client   *kernelorg.Client
		verifies bool
	}{{w.client, false}, {another, true}, {another, false}} {
		verified := false
		c.client.Progress = func(string, int64, int64) { verified = true }
		w.Asked()
		got, err := c.client.Resolve(t.Context(), kernelorg.Want{Series: "6.6", NotBefore: []string{want.Version}})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("again: %v (-want +got):\n%s", err, diff)
		}
		asked := strings.Join(w.Asked(), "\n")
		if strings.Contains(asked, ".tar.xz") || strings.Contains(asked, ".tar.sign") != c.verifies || verified != c.verifies {
			t.Errorf("requests: got %s, verified %v; want the signature, and not the source: %v", asked, verified, c.verifies)
		}
	}
}

// What a client has verified is no reason to believe what it has to fetch again.
func TestResolveVerifiesWhatIsNew(t *testing.T) {
	for name, change := range map[string]func(file string) error{
		"the file is gone":    os.Remove,
		"the file is spoiled": func(file string) error { return os.WriteFile(file, []byte("spoiled"), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			want := w.resolve(kernelorg.Want{Series: "6.6"})
			if err := change(filepath.Join(w.client.CacheDir, "kernel.org", want.SHA256+".tar.xz")); err != nil {
				t.Fatal(err)
			}
			w.Asked()
			if diff := cmp.Diff(want, w.resolve(kernelorg.Want{Series: "6.6"})); diff != "" {
				t.Error(diff)
			}
			if asked := strings.Join(w.Asked(), "\n"); !strings.Contains(asked, ".tar.xz") || !strings.Contains(asked, ".tar.sign") {
				t.Errorf("requests: got %s, want the source and its signature", asked)
			}
		})
	}
}

func TestPinCheck(t *testing.T) {
	good := kernelorg.Pin{Version: "6.6.9", SHA256: strings.Repeat("a", 64)}
	series := kernelorg.Want{Series: "6.6"}
	for _, c := range []struct {
		name, version, sha256 string
		want                  kernelorg.Want
		text                  string // "" for nothing
	}{
		{"of a series", good.Version, good.SHA256, series, ""},
		{"exactly", good.Version, good.SHA256, kernelorg.Want{Series: "6.6", Version: "6.6.9"}, ""},
		{"a command", "6.6.x; rm", good.SHA256, series, `"6.6.x; rm" is not the version of a Linux release`},
		{"a query", "6.6.10-rc1?", good.SHA256, series, `"6.6.10-rc1?" is not the version`},
		{"capitals", good.Version, strings.Repeat("A", 64), series, "of linux-6.6.9: want 64 hexadecimal digits, in lower case"},
		{"short", good.Version, good.SHA256[1:], series, "of linux-6.6.9: want 64 hexadecimal digits"},
		{"of another series", "6.12.9", good.SHA256, series, "linux-6.12.9: want a release of 6.6"},
		{"another one", "6.6.10", good.SHA256, kernelorg.Want{Series: "6.6", Version: "6.6.9"}, "linux-6.6.10: want 6.6.9"},
		{"for no series", good.Version, good.SHA256, kernelorg.Want{Series: "6.6/.."}, `"6.6/.." is not a series`},
	} {
		err := kernelorg.Pin{Version: c.version, SHA256: c.sha256}.Check(c.want)
		if c.text == "" && err != nil || c.text != "" && (err == nil || !strings.Contains(err.Error(), c.text)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.text)
		}
	}
}

func TestPinJSON(t *testing.T) {
	got, err := json.Marshal(kernelorg.Pin{Version: "6.6.2", SHA256: "ab", SignedBy: []string{"A", "B"}})
	if want := `{"version":"6.6.2","sha256":"ab","signed_by":["A","B"]}`; err != nil || string(got) != want {
		t.Errorf("got %s %v, want %s", got, err, want)
	}
}

func TestResolveUnknownReleases(t *testing.T) {
	tests := map[string]struct {
		want kernelorg.Want
		text string
	}{
		"no such version": {kernelorg.Want{Version: "6.6.99"}, "wrong version: got 6.6.10 as the newest of 6.6, want 6.6.99"},
		"no such series":  {kernelorg.Want{Series: "6.7"}, "wrong series: got none of it; the newest release there is 6.12.1, want 6.7"},
		"a version of no such series": {kernelorg.Want{Version: "6.7.1"},
			"wrong series: got none of it; the newest release there is 6.12.1, want 6.7"},
		"older than the lock's": {kernelorg.Want{Series: "6.6", NotBefore: []string{"6.6.11"}},
			"wrong version: got 6.6.10, want 6.6.11 as the lock has it, or later"},
		"older than one of the lock's": {kernelorg.Want{Series: "6.6", NotBefore: []string{"6.6.9", "6.6.11", "6.12", "6.6.10"}},
			"wrong version: got 6.6.10, want 6.6.11 as the lock has it, or later"},
		"exactly one older than the lock's": {kernelorg.Want{Version: "6.6.9", NotBefore: []string{"6.6.10"}},
			"wrong version: got 6.6.9, want 6.6.10 as the lock has it, or later"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, err := w.client.Resolve(t.Context(), test.want)
			var ve *download.VerifyError
			if !errors.As(err, &ve) || !strings.Contains(err.Error(), "/v6.x/sha256sums.asc: "+test.text) {
				t.Errorf("got %v, want a VerifyError with %q", err, test.text)
			}
			w.refused()
		})
	}
}

// refused wants that nothing is in the cache.
func (w *world) refused() {
	w.Helper()
	if files := w.cached(); len(files) > 0 {
		w.Errorf("kept in the cache: %v", files)
	}
}

func TestResolveMeaningless(t *testing.T) {
	tests := map[string]struct {
		want kernelorg.Want
		text string
	}{
		"nothing":                {kernelorg.Want{}, `"" is not a series`},
		"a release for a series": {kernelorg.Want{Series: "6.6.2"}, `"6.6.2" is not a series`},
		"a name":                 {kernelorg.Want{Series: "latest"}, `"latest" is not a series`},
		"a path":                 {kernelorg.Want{Version: "../6.6"}, `"../6.6" is not the version`},
		"a candidate":            {kernelorg.Want{Version: "6.6-rc1"}, `"6.6-rc1" is not the version`},
		"too old":                {kernelorg.Want{Version: "2.6.39"}, "want 3.0 or later"},
		"zero":                   {kernelorg.Want{Version: "6.6.0"}, `"6.6.0" is not the version`},
		"beyond all bounds":      {kernelorg.Want{Series: "6.9999999999999999999"}, "is not a series"},
		"of another series":      {kernelorg.Want{Series: "6.6", Version: "6.12.1"}, "release 6.12.1 is not of series 6.6"},
		"a lock that is broken":  {kernelorg.Want{Series: "6.6", NotBefore: []string{"x"}}, "the lock's kernel"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if _, err := w.client.Resolve(t.Context(), test.want); err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %q in it", err, test.text)
			}
			if asked := w.Asked(); len(asked) > 0 {
				t.Errorf("connections were opened: %v", asked)
			}
		})
	}
}

func TestFetch(t *testing.T) {
	w := newWorld(t)
	pin := w.resolve(kernelorg.Want{Series: "6.6"})
	w.Asked()

	for _, offline := range []bool{false, true} {
		w.client.Download.Offline = offline
		file, err := w.client.Fetch(t.Context(), pin)
		if got, rerr := os.ReadFile(file); err != nil || rerr != nil || sha(got) != pin.SHA256 {
			t.Errorf("offline %v: got %s: %v, %v", offline, file, err, rerr)
		}
	}
	if asked := w.Asked(); len(asked) > 0 {
		t.Errorf("from the cache: connections were opened: %v", asked)
	}

	w.client.Download.Offline = false
	if err := os.RemoveAll(w.client.CacheDir); err != nil {
		t.Fatal(err)
	}
	file, err := w.client.Fetch(t.Context(), pin)
	if got, rerr := os.ReadFile(file); err != nil || rerr != nil || sha(got) != pin.SHA256 {
		t.Errorf("from the mirror: got %s: %v, %v", file, err, rerr)
	}
	if asked := strings.Join(w.Asked(), "\n"); !strings.Contains(asked, "sha256sums.asc") || !strings.Contains(asked, ".tar.sign") {
		t.Errorf("from the mirror: requests: got %s, want both signatures among them", asked)
	}

	if err := os.WriteFile(file, []byte("spoiled"), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := w.client.Fetch(t.Context(), pin)
	if got, rerr := os.ReadFile(again); err != nil || rerr != nil || sha(got) != pin.SHA256 {
		t.Errorf("over a spoiled file: got %s: %v, %v", again, err, rerr)
	}
}

func TestFetchRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(w *world, p *kernelorg.Pin)
		text   string
	}{
		"another digest": {func(_ *world, p *kernelorg.Pin) { p.SHA256 = strings.Repeat("a", 64) }, "as the lock has it"},
		"not in the list": {func(_ *world, p *kernelorg.Pin) { p.Version = "6.6.99" },
			"wrong sha256 of linux 6.6.99: got none, want "},
		"another source": {func(w *world, _ *kernelorg.Pin) { w.Replace("6.6.10", pack(w.T, []byte("other")), nil) }, "wrong sha256"},
		"signature of another release": {func(w *world, _ *kernelorg.Pin) {
			w.Replace("6.6.10", nil, w.served("v6.x/linux-6.6.9.tar.sign"))
		}, "linux-6.6.10.tar: wrong signature"},
		"list altered": {func(w *world, _ *kernelorg.Pin) {
			w.instead("sha256sums.asc", append(w.served("v6.x/sha256sums.asc"), 'x'))
		}, "text after the signed block"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			pin := w.resolve(kernelorg.Want{Series: "6.6"})
			if err := os.RemoveAll(w.client.CacheDir); err != nil {
				t.Fatal(err)
			}
			test.change(w, &pin)
			file, err := w.client.Fetch(t.Context(), pin)
			var ve *download.VerifyError
			if !errors.As(err, &ve) || !strings.Contains(err.Error(), test.text) || file != "" {
				t.Errorf("got %q, %v, want a VerifyError with %q", file, err, test.text)
			}
			w.refused()
		})
	}
}

func TestFetchMalformedPins(t *testing.T) {
	good := kernelorg.Pin{Version: "6.6.2", SHA256: strings.Repeat("a", 64)}
	tests := map[string]func(p *kernelorg.Pin){
		"digest that climbs":  func(p *kernelorg.Pin) { p.SHA256 = "../../x" },
		"digest in capitals":  func(p *kernelorg.Pin) { p.SHA256 = strings.Repeat("A", 64) },
		"no digest":           func(p *kernelorg.Pin) { p.SHA256 = "" },
		"version that climbs": func(p *kernelorg.Pin) { p.Version = "6.6/../x" },
		"no version":          func(p *kernelorg.Pin) { p.Version = "" },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := good
			change(&p)
			if _, err := w.client.Fetch(t.Context(), p); err == nil || !strings.Contains(err.Error(), "is malformed") {
				t.Errorf("got %v", err)
			}
			if asked := w.Asked(); len(asked) > 0 {
				t.Errorf("connections were opened: %v", asked)
			}
		})
	}
}

func TestOffline(t *testing.T) {
	w := newWorld(t)
	w.client.Download.Offline = true
	_, err := w.client.Resolve(t.Context(), kernelorg.Want{Series: "6.6"})
	var oe *download.OfflineError
	if !errors.As(err, &oe) || oe.Name != "the list of kernel.org's 6.6 releases" {
		t.Errorf("Resolve: got %v, want an OfflineError", err)
	}
	_, err = w.client.Fetch(t.Context(), kernelorg.Pin{Version: "6.6.10", SHA256: sha(pack(t, w.tars["6.6.10"]))})
	if !errors.As(err, &oe) || oe.Name != "linux 6.6.10" {
		t.Errorf("Fetch: got %v, want an OfflineError", err)
	}
	if asked := w.Asked(); len(asked) > 0 {
		t.Errorf("connections were opened: %v", asked)
	}
	w.refused()
}

func TestProgress(t *testing.T) {
	w := newWorld(t)
	var names []string
	var last [2]int64
	w.client.Progress = func(name string, done, total int64) {
		if !slices.Contains(names, name) {
			names, last = append(names, name), [2]int64{}
		}
		if done < last[0] || done > total {
			t.Errorf("%s: %d of %d after %d", name, done, total, last[0])
		}
		last = [2]int64{done, total}
		if want := int64(len(pack(t, w.tars["6.6.10"]))); total != want {
			t.Errorf("%s: a total of %d, want %d", name, total, want)
		}
	}
	w.resolve(kernelorg.Want{Series: "6.6"})
	if diff := cmp.Diff([]string{"linux-6.6.10.tar.xz", "verifying linux-6.6.10.tar"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if last[0] != last[1] {
		t.Errorf("ended at %d of %d", last[0], last[1])
	}
}

func TestCancelled(t *testing.T) {
	for _, when := range []string{"linux-6.6.10.tar.xz", "verifying linux-6.6.10.tar"} {
		t.Run(when, func(t *testing.T) {
			w := newWorld(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w.client.Progress = func(name string, _, _ int64) {
				if name == when {
					cancel()
				}
			}
			if _, err := w.client.Resolve(ctx, kernelorg.Want{Series: "6.6"}); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled", err)
			}
			w.refused()
		})
	}
}

// roundTrip is a transport that reaches nothing.
type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestKernelOrg asks for the addresses that kernel.org has, and that are known from elsewhere: the keys' names are
// those of the package sec-keys/openpgp-keys-kernel in Gentoo.
func TestKernelOrg(t *testing.T) {
	w := newWorld(t)
	list := w.served("v6.x/sha256sums.asc")
	var asked []string
	c := kernelorg.Client{CacheDir: t.TempDir(), Now: w.client.Now, Download: &download.Client{}}
	c.Download.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if !slices.Contains(asked, r.URL.String()) {
			asked = append(asked, r.URL.String())
		}
		if strings.HasSuffix(r.URL.Path, "sha256sums.asc") {
			return &http.Response{StatusCode: 200, Body: body(list), ContentLength: int64(len(list)), Request: r}, nil
		}
		return nil, errors.New("cut off")
	})}
	_, err := c.Resolve(t.Context(), kernelorg.Want{Series: "6.6"})
	var fe *download.FetchError
	if !errors.As(err, &fe) {
		t.Errorf("got %v, want a FetchError", err)
	}
	want := []string{
		"https://cdn.kernel.org/pub/linux/kernel/v6.x/sha256sums.asc",
		"https://kernel.org/.well-known/openpgpkey/hu/ew8uiogxwri7d3fuioqgt7u1d5sngorx?l=autosigner",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got, want := fmt.Sprint(kernelorg.BuiltIn()), "[{gregkh@kernel.org 647F28654894E3BD457199BE38DBBDC86092693E}"; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s in it", got, want)
	}
}
