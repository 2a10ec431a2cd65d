package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/artifacts/serve"
	"github.com/hookbuild/hookbuild/internal/plan"
)

func (p *program) serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "serve the published files over HTTP, for hookImagesURLPath",
		Description: "What hookbuild all or linuxkit publishes is served from the next request on. A machine that has taken a kernel gets the\n" +
			"initramfs that belongs to it, also where another one has been published in between. A browser gets a page that shows who fetches what.\n\n" +
			"Plain HTTP is what iPXE speaks without ado. iPXE as Tinkerbell builds it trusts public certificate authorities only, and takes\n" +
			"only certificates with RSA keys: one that is self-signed, or of your own authority, ends the boot. --tls-cert is for other clients.\n\n" +
			"Example:\n" +
			"  hookbuild serve --listen :8080\n" +
			"  hookbuild serve --check http://192.0.2.7:8080/hook\n" +
			"  hookbuild serve --extra /srv/os-images --hardware hardware.csv --admin-listen 127.0.0.1:8081 --log-format json",
		Flags: append(commonFlags(),
			&cli.StringFlag{Name: "listen", Value: ":8080", Usage: "`ADDRESS` to listen on"},
			&cli.BoolFlag{Name: "force-port", Usage: "listen also where EKS Anywhere needs the port"},
			&cli.StringFlag{Name: "extra", Usage: "`DIR` whose files are served at /extra/, such as OS images for osImageURL"},
			&cli.IntFlag{Name: "max-connections", Value: serve.DefaultConnections, Usage: "`NUMBER` of connections that may be open; further ones are told to come again (503)"},
			&cli.StringFlag{Name: "admin-listen", Usage: "`ADDRESS` for /metrics (Prometheus), /healthz and /readyz (default: none)"},
			&cli.StringFlag{Name: "tls-cert", Usage: "`FILE` with a certificate chain, for HTTPS instead of HTTP; read anew when it changes"},
			&cli.StringFlag{Name: "tls-key", Usage: "`FILE` with the key of --tls-cert"},
			&cli.StringFlag{Name: "hardware", Usage: "`FILE` with the machines (EKS Anywhere's hardware.csv), for their names on the page and in the log; read anew when it changes"},
			&cli.StringFlag{Name: "check", Usage: "serve nothing: ask the server at `URL` whether it will do for EKS Anywhere and for ISO boot"},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "form of the log: text or json"},
		),
		Action: p.serve,
	}
}

func (p *program) serve(c *cli.Context) error {
	if err := noMore(c, 0); err != nil {
		return err
	}
	s, err := p.settings(c)
	if err != nil {
		return err
	}
	if c.String("check") != "" {
		return p.checkServer(c, s)
	}
	for _, flag := range []string{"listen", "admin-listen"} {
		if err := checkPort(s, flag, c.String(flag), c.Bool("force-port")); err != nil {
			return err
		}
	}
	if n := c.Int("max-connections"); n < 1 {
		return &usageError{fmt.Sprintf("--max-connections %d: want 1 or more", n)}
	}
	if (c.String("tls-cert") == "") != (c.String("tls-key") == "") {
		return &usageError{"--tls-cert and --tls-key belong together"}
	}
	names, err := machineNames(s, c.String("hardware"))
	if err != nil {
		return err
	}
	store, err := artifacts.Open(s.out)
	if err != nil {
		return err
	}
	if err := p.warnAbout(s, store); err != nil {
		return err
	}
	var ready error
	scheme := "http"
	if c.String("tls-cert") != "" {
		scheme = "https"
		s.log.Warn("Tinkerbell's iPXE trusts public certificate authorities and RSA keys only; without such a certificate machines do not boot from here")
	}
	err = serve.Run(c.Context, serve.Options{
		Listen: c.String("listen"), Store: store, Log: s.log, Now: p.Now, Names: names, Extra: c.String("extra"), Connections: c.Int("max-connections"),
		TLSCert: c.String("tls-cert"), TLSKey: c.String("tls-key"), AdminListen: c.String("admin-listen"),
		AdminReady: func(addr net.Addr) { s.log.Info("metrics and health", "listen", addr.String()) },
		Ready:      func(addr net.Addr) { ready = p.announce(s, store, scheme, addr) },
	})
	if err == nil {
		err = ready
	}
	return err
}

// machineNames knows the machines of a hardware.csv; nil where there is none.
func machineNames(s settings, file string) (func(netip.Addr) string, error) {
	if file == "" {
		return nil, nil
	}
	return serve.HardwareNames(file, s.log)
}

// checkPort refuses what EKS Anywhere needs, and warns of what it may need. An empty address is none.
func checkPort(s settings, flag, listen string, force bool) error {
	if listen == "" && flag != "listen" {
		return nil
	}
	warn, refuse := serve.CheckPort(listen)
	if refuse != nil && !(isA[*serve.PortRefusedError](refuse) && force) {
		if !isA[*serve.PortRefusedError](refuse) {
			return &usageError{"--" + flag + ": " + refuse.Error()}
		}
		return refuse
	}
	if warn != "" {
		s.log.Warn(warn)
	}
	return nil
}

// warnAbout says what machines will miss in what is published now.
func (p *program) warnAbout(s settings, store *artifacts.Store) error {
	set, err := store.Current()
	if isNotFound(err) {
		s.log.Warn("nothing is published yet; hookbuild all does that, and the server then has it at once", "out", s.out)
		return nil
	}
	if err != nil {
		return err
	}
	for _, m := range set.Manifests {
		if text := serve.EmbeddedImagesWarning(m); text != "" {
			s.log.Warn(text)
		}
	}
	return nil
}

// isoURL is where the published ISO is, "" where there is none. Of two it is that of x86_64, the only architecture
// that EKS Anywhere provisions on bare metal.
func isoURL(store *artifacts.Store, base string) (string, error) {
	set, err := store.Current()
	if err != nil && !isNotFound(err) {
		return "", err
	}
	for _, arch := range []plan.Arch{plan.X8664, plan.AArch64} {
		if f, ok := set.File(artifacts.ISOName(arch)); ok {
			return base + "/" + f.Name, nil
		}
	}
	return "", nil
}

// announce prints where the server is and what to paste into the cluster's specification.
func (p *program) announce(s settings, store *artifacts.Store, scheme string, addr net.Addr) error {
	url, err := serve.BaseURL(addr)
	if err != nil { // a host without a route serves its own network all the same
		s.log.Warn("put the address that machines reach this host at in the place of <host>", "err", err)
		_, port, err := net.SplitHostPort(addr.String())
		if err != nil {
			return err
		}
		url = "http://<host>:" + port
	}
	url = scheme + strings.TrimPrefix(url, "http")
	iso, err := isoURL(store, url)
	if err != nil {
		return err
	}
	snippet := serve.Snippet(url, iso)
	if s.json {
		doc := map[string]string{"listen": addr.String(), "hookImagesURLPath": url + "/hook", "snippet": snippet}
		if iso != "" {
			doc["hookIsoURL"] = iso
		}
		return p.printJSON(doc)
	}
	_, err = fmt.Fprintf(p.Stdout, "serving %s at %s/hook\n\n%s", s.out, url, snippet)
	return err
}
