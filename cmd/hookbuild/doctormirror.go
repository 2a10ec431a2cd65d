package main

import (
	"cmp"
	"context"

	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/doctor"
	"github.com/hookbuild/hookbuild/internal/download"
)

// mirrors looks at both archives, and compares the clock with what they say.
func (x *patient) mirrors(ctx context.Context) []doctor.Finding {
	clock := &clocks{}
	for _, suite := range []string{x.config.Debian.Suite, debian.SecuritySuite(x.config.Debian.Suite)} {
		if date := x.locked(suite); !date.IsZero() {
			clock.add(doctor.Mark{What: "the index of " + suite + " in hookbuild.lock", Time: date})
		}
	}
	if x.offline {
		return []doctor.Finding{{Check: "mirror", State: doctor.OK, Detail: "not asked: --offline"}, doctor.Clock(x.Now(), clock.marks)}
	}
	cache, err := x.program.cacheDir(x.settings, x.config)
	if err != nil {
		cache = ""
	}
	client := &debian.Client{CacheDir: cache, Keyrings: x.Keyrings, Trusted: x.Trusted, Now: x.Now, HTTP: &http.Client{Transport: dated{
		next: http.DefaultTransport, mark: func(host string, t time.Time) {
			clock.add(doctor.Mark{What: "the Date header of " + host, Time: t, Exact: true})
		}}}}
	archives := x.archives(ctx, client)
	var looking sync.WaitGroup
	for n := range archives {
		looking.Go(func() { x.look(ctx, client, &archives[n], clock) })
	}
	looking.Wait()
	var found []doctor.Finding
	for _, a := range archives {
		found = append(found, a.Finding(x.Now()))
	}
	return append(found, doctor.Clock(x.Now(), clock.marks))
}

// clocks are the times that this host's clock is compared with.
type clocks struct {
	mu    sync.Mutex
	marks []doctor.Mark
}

func (c *clocks) add(m doctor.Mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Exact { // what says most comes first
		c.marks = append([]doctor.Mark{m}, c.marks...)
		return
	}
	c.marks = append(c.marks, m)
}

// look asks one archive, unless it is known already why not.
func (x *patient) look(ctx context.Context, client *debian.Client, a *doctor.Archive, clock *clocks) {
	if a.Err != nil {
		return
	}
	base := a.URL
	a.URL = download.Redacted(base)
	a.Lock = x.locked(a.Suite)
	rel, signed, err := client.Look(ctx, base, a.Suite, time.Time{})
	if rel != nil {
		a.Date, a.Signed = rel.Date, signed
		clock.add(doctor.Mark{What: "the index of " + a.Suite, Time: rel.Date})
	}
	if err != nil {
		a.Err, a.Hint = err, cmp.Or(hint(err), "name another mirror with --debian-mirror and --debian-security-mirror; a full cache needs none (--offline)")
	}
}

// archives are the archive and the security archive, each from the first place that names it: a flag or its
// variable, hookbuild.yaml, the host's apt. Without a security archive there is one only.
func (x *patient) archives(ctx context.Context, client *debian.Client) []doctor.Archive {
	main := doctor.Archive{Check: "mirror", Suite: x.config.Debian.Suite}
	security := doctor.Archive{Check: "security-mirror", Suite: debian.SecuritySuite(main.Suite)}
	main.URL, main.Origin, main.Err = x.named("debian-mirror", "debian.mirror", x.config.Debian.Mirror)
	security.URL, security.Origin, security.Err = x.named("debian-security-mirror", "debian.security_mirror", x.config.Debian.SecurityMirror)
	if main.Err == nil && main.URL == "" || security.Err == nil && security.URL == "" {
		apt := os.DirFS(x.AptDir)
		host, err := client.FindMirror(ctx, apt)
		if main.URL == "" && main.Err == nil {
			main.URL, main.Origin = host.Archive, x.aptFile(host.Archive)
			if main.Err = err; err != nil {
				main.Hint = cmp.Or(hint(err), hint(debian.ErrNoMirror))
			}
		}
		if security.URL == "" && security.Err == nil {
			security.URL, security.Origin = host.Security, x.aptFile(host.Security)
		}
	}
	if security.URL == "" && security.Err == nil {
		return []doctor.Archive{main}
	}
	return []doctor.Archive{main, security}
}

// named is what a flag or hookbuild.yaml names, and which of them.
func (x *patient) named(flag, key, value string) (url, origin string, err error) {
	url, err = mirrorURL(x.c, flag, value)
	switch {
	case x.c.String(flag) != "":
		origin = "--" + flag + " or its variable"
	case value != "":
		origin = key + " of hookbuild.yaml"
	}
	return url, origin, err
}

// aptFile is the file of apt's that names the mirror.
func (x *patient) aptFile(url string) string {
	sources, err := debian.AptSources(os.DirFS(x.AptDir))
	if err != nil {
		return "apt"
	}
	for _, s := range sources {
		if s.URL == url {
			return filepath.Join(x.AptDir, filepath.FromSlash(s.File))
		}
	}
	return "apt"
}

// locked is the newest date of a suite's indexes in the lock, zero where there is none.
func (x *patient) locked(suite string) (newest time.Time) {
	for _, entry := range x.lock.Flavors {
		for _, index := range entry.Debian {
			date, err := time.Parse(time.RFC3339, index.Date)
			if err == nil && index.Suite == suite && date.After(newest) {
				newest = date
			}
		}
	}
	return newest
}

// dated is a transport that remembers what time the server says it is.
type dated struct {
	next http.RoundTripper
	mark func(host string, t time.Time)
}

func (d dated) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := d.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil && resp.Header.Get("Age") == "" { // not out of a cache
		d.mark(req.URL.Host, t)
	}
	return resp, nil
}
