package doctor

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// Tolerances of the clock: a few minutes are what a host without NTP is off after a year; Debian's indexes and
// signatures are refused where the clock is a day behind them.
const (
	driftWarning = 5 * time.Minute
	driftError   = 24 * time.Hour
)

// Mark is a time that the clock is compared with.
type Mark struct {
	What  string // "the Date of mirror.example", "the index of trixie"
	Time  time.Time
	Exact bool // the time of the question; else a time that must have passed
}

// Clock compares this host's clock with the marks; without one nothing can be said.
func Clock(now time.Time, marks []Mark) Finding {
	const name, hint = "clock", "set this host's clock, for instance by NTP: signatures, certificates and indexes are judged by it"
	f := Finding{name, OK, now.UTC().Format(time.RFC3339) + "; there is nothing to compare it with", ""}
	for n, m := range marks {
		ahead := now.Sub(m.Time)
		if !m.Exact && ahead > 0 {
			ahead = 0
		}
		off, way := ahead.Abs().Round(time.Second), "ahead of"
		if ahead < 0 {
			way = "behind"
		}
		switch {
		case off >= driftError:
			return Finding{name, Error, fmt.Sprintf("%s, %s %s %s", now.UTC().Format(time.RFC3339), off, way, m.What), hint}
		case off >= driftWarning && f.State == OK:
			f = Finding{name, Warning, fmt.Sprintf("%s, %s %s %s", now.UTC().Format(time.RFC3339), off, way, m.What), hint}
		case n == 0:
			f.Detail = now.UTC().Format(time.RFC3339) + ", as it must be by " + m.What
		}
	}
	return f
}

// Archive is what a look at one archive of a Debian mirror has found.
type Archive struct {
	Check  string // mirror or security-mirror
	URL    string // without a password; "" where none was found
	Origin string // where the URL is from: a flag, hookbuild.yaml, a file of apt's
	Suite  string
	Date   time.Time // of its index
	Lock   time.Time // of the lock's index; zero where there is none
	Signed bool      // whether a key at hand has signed it
	Err    error     // why it cannot be used; nil where it can
	Hint   string    // for Err
}

// Finding judges an archive.
func (a Archive) Finding(now time.Time) Finding {
	where := ""
	if a.URL != "" {
		where = fmt.Sprintf("%s (from %s)", a.URL, a.Origin)
	}
	if a.Err != nil {
		return Finding{a.Check, Error, strings.TrimPrefix(where+": ", ": ") + a.Err.Error(), a.Hint}
	}
	detail := fmt.Sprintf("%s answers; index of %s, %s old", where, a.Suite, age(now.Sub(a.Date)))
	if !a.Signed {
		detail += ", its signature not looked at (no key for it on this host yet)"
	}
	f := Finding{a.Check, OK, detail, ""}
	switch newer := a.Date.Sub(a.Lock); {
	case a.Lock.IsZero():
	case newer < 0:
		f.State, f.Detail = Error, detail+", and "+age(-newer)+" older than hookbuild.lock's"
		f.Hint = "such an index is refused: wait until the mirror has caught up, or name another one with --debian-mirror"
	case newer == 0:
		f.Detail += ", the one of hookbuild.lock"
	default:
		f.Detail += ", " + age(newer) + " newer than hookbuild.lock's (hookbuild lock --update takes it)"
	}
	return f
}

// age is a duration for a person: days where it has two, else hours, else minutes.
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d minutes", max(0, int(d.Minutes())))
}

// Proxies are the proxy settings of this process or of the engine.
type Proxies struct {
	HTTP, HTTPS, No string
}

// none is true where there is no proxy.
func (p Proxies) none() bool { return p.HTTP == "" && p.HTTPS == "" }

func (p Proxies) config() *httpproxy.Config {
	return &httpproxy.Config{HTTPProxy: p.HTTP, HTTPSProxy: p.HTTPS, NoProxy: p.No}
}

// text shows no password.
func (p Proxies) text() string {
	var parts []string
	for _, v := range []struct{ name, value string }{
		{"HTTP_PROXY", redacted(p.HTTP)}, {"HTTPS_PROXY", redacted(p.HTTPS)}, {"NO_PROXY", p.No},
	} {
		if v.value != "" {
			parts = append(parts, v.name+"="+v.value)
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, " ")
}

func redacted(proxy string) string {
	u, err := url.Parse(proxy)
	if err != nil || u.Host == "" {
		return proxy[strings.LastIndex(proxy, "@")+1:]
	}
	return u.Redacted()
}

// OurProxies reads the variables as Go's HTTP client does: upper case first, then lower case. Where both are there and
// differ, a finding says so: curl and other programs prefer lower case.
func OurProxies(getenv func(string) string) (Proxies, []Finding) {
	var found []Finding
	read := func(name string) string {
		upper, lower := getenv(name), getenv(strings.ToLower(name))
		if upper != "" && lower != "" && upper != lower {
			found = append(found, Finding{"proxy", Warning, fmt.Sprintf("%s and %s differ; hookbuild goes by %s", name, strings.ToLower(name), name),
				"give both the same value, or unset one: other programs prefer the other"})
		}
		if upper != "" {
			return upper
		}
		return lower
	}
	return Proxies{HTTP: read("HTTP_PROXY"), HTTPS: read("HTTPS_PROXY"), No: read("NO_PROXY")}, found
}

// Findings judges our proxies. engine is the address of the engine where it is reached by TCP, else "".
func (p Proxies) Findings(engine string) []Finding {
	var found []Finding
	for _, v := range []struct{ name, value string }{{"HTTP_PROXY", p.HTTP}, {"HTTPS_PROXY", p.HTTPS}} {
		if v.value == "" {
			continue
		}
		if u, err := parseProxy(v.value); err != nil || u.Host == "" {
			found = append(found, Finding{"proxy", Error, fmt.Sprintf("%s is no URL of a proxy: %q", v.name, redacted(v.value)), "want http://HOST:PORT"})
		}
	}
	if (p.HTTP == "") != (p.HTTPS == "") {
		set, unset := "HTTP_PROXY", "HTTPS_PROXY"
		if p.HTTP == "" {
			set, unset = unset, set
		}
		found = append(found, Finding{"proxy", Warning, fmt.Sprintf("%s is set and %s is not: half of the connections bypass the proxy", set, unset),
			"set both; the proxy's own URL may begin with http:// in both"})
	}
	if engine != "" && p.through("http", engine) {
		found = append(found, Finding{"proxy", Warning, fmt.Sprintf("the engine at %s is asked through the proxy", engine), "add its host to NO_PROXY"})
	}
	return append(found, Finding{"proxy", OK, p.text(), ""})
}

// parseProxy is lenient as Go's client is: a proxy may lack its scheme.
func parseProxy(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	return url.Parse(text)
}

// through says whether a host is asked through the proxy.
func (p Proxies) through(scheme, host string) bool {
	u, err := p.config().ProxyFunc()(&url.URL{Scheme: scheme, Host: host})
	return err == nil && u != nil
}

// Against compares our proxies with the engine's. hosts, HOST[:PORT], are those of registries and of mirrors that
// both may ask.
func (p Proxies) Against(engine Proxies, hosts []string) []Finding {
	const name = "engine-proxy"
	switch {
	case p.none() && engine.none():
		return nil
	case engine.none():
		return []Finding{{name, OK, "the engine has no proxy, and needs none for hookbuild: everything is fetched from here", ""}}
	case p.none():
		return []Finding{{name, Warning, "the engine has a proxy and this shell has none: " + engine.text(),
			"hookbuild fetches by itself: where the network is behind that proxy, set HTTP_PROXY, HTTPS_PROXY and NO_PROXY here too"}}
	}
	var found []Finding
	if redacted(p.HTTP) != redacted(engine.HTTP) || redacted(p.HTTPS) != redacted(engine.HTTPS) {
		found = append(found, Finding{name, Warning, "the engine has another proxy than this shell: " + engine.text(), "one of them may be out of date"})
	}
	for _, h := range hosts {
		if ours, theirs := p.through("https", h), engine.through("https", h); ours != theirs {
			who := "this shell asks %s through its proxy and the engine does not"
			if theirs {
				who = "the engine asks %s through its proxy and this shell does not"
			}
			found = append(found, Finding{name, Warning, fmt.Sprintf(who, h), "compare both NO_PROXY"})
		}
	}
	if len(found) == 0 {
		found = append(found, Finding{name, OK, "as this shell's", ""})
	}
	return found
}
