package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestClock(t *testing.T) {
	server := func(ahead time.Duration) Mark { return Mark{"the Date of x", noon.Add(-ahead), true} }
	index := func(old time.Duration) Mark { return Mark{"the index of trixie", noon.Add(-old), false} }
	for _, tc := range []struct {
		name  string
		marks []Mark
		want  string
		says  string
	}{
		{"nothing to compare with", nil, "ok clock", "nothing to compare"},
		{"right", []Mark{server(4 * time.Minute)}, "ok clock", "as it must be by the Date of x"},
		{"ahead of a server", []Mark{server(6 * time.Minute)}, "warning clock*", "6m0s ahead of the Date of x"},
		{"behind a server", []Mark{server(-6 * time.Minute)}, "warning clock*", "6m0s behind the Date of x"},
		{"a day ahead", []Mark{server(25 * time.Hour)}, "error clock*", "25h0m0s ahead of"},
		{"an old index is none", []Mark{index(1000 * time.Hour)}, "ok clock", "by the index"},
		{"behind an index", []Mark{index(-time.Hour)}, "warning clock*", "1h0m0s behind the index of trixie"},
		{"a day behind an index", []Mark{index(-24 * time.Hour)}, "error clock*", "24h0m0s behind"},
		{"the worst counts", []Mark{server(time.Minute), index(-time.Hour), server(48 * time.Hour)}, "error clock*", "48h0m0s ahead of"},
		{"the first of two warnings", []Mark{server(-time.Hour), index(-2 * time.Hour)}, "warning clock*", "1h0m0s behind the Date"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Clock(noon, tc.marks)
			if lines([]Finding{got}) != tc.want || !strings.Contains(got.Detail, tc.says) {
				t.Errorf("got %+v, want %s and %q", got, tc.want, tc.says)
			}
		})
	}
}

func TestArchive(t *testing.T) {
	good := Archive{Check: "mirror", URL: "http://mirror.example", Origin: "apt", Suite: "trixie", Date: noon.Add(-72 * time.Hour), Signed: true}
	for _, tc := range []struct {
		name   string
		change func(*Archive)
		want   string
		says   string
	}{
		{"no lock", func(*Archive) {}, "ok mirror", "http://mirror.example (from apt) answers; index of trixie, 3 days old"},
		{"no key", func(a *Archive) { a.Signed = false }, "ok mirror", "signature not looked at"},
		{"the lock's", func(a *Archive) { a.Lock = a.Date }, "ok mirror", "the one of hookbuild.lock"},
		{"newer", func(a *Archive) { a.Lock = a.Date.Add(-5 * time.Hour) }, "ok mirror", "5 hours newer than hookbuild.lock's"},
		{"older", func(a *Archive) { a.Lock = a.Date.Add(90 * time.Minute) }, "error mirror*", "90 minutes older than hookbuild.lock's"},
		{"fails", func(a *Archive) { a.Err, a.Hint = errors.New("refused"), "another" }, "error mirror*", "http://mirror.example (from apt): refused"},
		{"none", func(a *Archive) { a.URL, a.Err, a.Hint = "", errors.New("none found"), "name one" }, "error mirror*", "none found"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := good
			tc.change(&a)
			got := a.Finding(noon)
			if lines([]Finding{got}) != tc.want || !strings.Contains(got.Detail, tc.says) {
				t.Errorf("got %+v, want %s and %q", got, tc.want, tc.says)
			}
		})
	}
}

func TestProxies(t *testing.T) {
	const secret = "http://user:hunter2@proxy.example:3128"
	for _, tc := range []struct {
		name   string
		env    map[string]string
		engine string // its address
		want   string
		says   string
	}{
		{"none", nil, "engine.example:2376", "ok proxy", "none"},
		{"both", map[string]string{"HTTP_PROXY": secret, "https_proxy": secret, "NO_PROXY": "localhost"}, "", "ok proxy",
			"HTTP_PROXY=http://user:xxxxx@proxy.example:3128"},
		{"without a scheme", map[string]string{"HTTP_PROXY": "proxy.example:3128", "HTTPS_PROXY": "proxy.example:3128"}, "", "ok proxy", "proxy.example:3128"},
		{"one of two", map[string]string{"HTTP_PROXY": secret}, "", "warning proxy*, ok proxy", "HTTPS_PROXY is not"},
		{"the other", map[string]string{"https_proxy": secret}, "", "warning proxy*, ok proxy", "HTTP_PROXY is not"},
		{"upper and lower case", map[string]string{"HTTP_PROXY": "http://a", "HTTPS_PROXY": "http://a", "NO_PROXY": "x", "no_proxy": "y"}, "",
			"warning proxy*, ok proxy", "NO_PROXY and no_proxy differ"},
		{"no URL", map[string]string{"HTTP_PROXY": "http://u:hunter2@[", "HTTPS_PROXY": "http://a"}, "", "error proxy*, ok proxy", "is no URL"},
		{"the engine behind it", map[string]string{"HTTP_PROXY": "http://a", "HTTPS_PROXY": "http://a"}, "engine.example:2375",
			"warning proxy*, ok proxy", "engine.example:2375 is asked through the proxy"},
		{"the engine not behind it", map[string]string{"HTTP_PROXY": "http://a", "HTTPS_PROXY": "http://a", "NO_PROXY": ".example"}, "engine.example:2375",
			"ok proxy", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ours, found := OurProxies(func(name string) string { return tc.env[name] })
			found = append(found, ours.Findings(tc.engine)...)
			if got := lines(found); got != tc.want || !contains(found, tc.says) {
				t.Errorf("got %s (%v), want %s and %q", got, found, tc.want, tc.says)
			}
			if contains(found, "hunter2") {
				t.Errorf("a password is shown: %v", found)
			}
		})
	}
}

func TestProxiesAgainstTheEngine(t *testing.T) {
	a := Proxies{HTTP: "http://a:1", HTTPS: "http://a:1", No: "registry.example"}
	b := Proxies{HTTP: "http://b:1", HTTPS: "http://b:1", No: "registry.example"}
	open := Proxies{HTTP: "http://a:1", HTTPS: "http://a:1"}
	hosts := []string{"registry.example:5000"}
	for _, tc := range []struct {
		name         string
		ours, theirs Proxies
		want, says   string
	}{
		{"neither", Proxies{}, Proxies{}, "", ""},
		{"only ours", a, Proxies{}, "ok engine-proxy", "the engine has no proxy"},
		{"only the engine's", Proxies{}, a, "warning engine-proxy*", "this shell has none"},
		{"the same", a, a, "ok engine-proxy", ""},
		{"another", a, b, "warning engine-proxy*", "another proxy"},
		{"exception of ours", a, open, "warning engine-proxy*", "the engine asks registry.example:5000 through its proxy"},
		{"exception of the engine's", open, a, "warning engine-proxy*", "this shell asks registry.example:5000 through its proxy"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			found := tc.ours.Against(tc.theirs, hosts)
			if got := lines(found); got != tc.want || tc.want != "" && !contains(found, tc.says) {
				t.Errorf("got %s (%v), want %s and %q", got, found, tc.want, tc.says)
			}
		})
	}
}
