package main

import (
	"fmt"
	"net"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/artifacts/serve"
)

func (p *program) serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "serve the published files over HTTP, for hookImagesURLPath",
		Description: "Example:\n  hookbuild serve --listen :8080",
		Flags: append(commonFlags(),
			&cli.StringFlag{Name: "listen", Value: ":8080", Usage: "`ADDRESS` to listen on"},
			&cli.BoolFlag{Name: "force-port", Usage: "listen also where EKS Anywhere needs the port"},
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
	listen := c.String("listen")
	warn, refuse := serve.CheckPort(listen)
	if refuse != nil && !(isA[*serve.PortRefusedError](refuse) && c.Bool("force-port")) {
		if !isA[*serve.PortRefusedError](refuse) {
			return &usageError{"--listen: " + refuse.Error()}
		}
		return refuse
	}
	if warn != "" {
		s.log.Warn(warn)
	}
	store, err := artifacts.Open(s.out)
	if err != nil {
		return err
	}
	if err := p.warnAbout(s, store); err != nil {
		return err
	}
	var ready error
	err = serve.Run(c.Context, serve.Options{
		Listen: listen, Store: store, Log: s.log, Now: p.Now,
		Ready: func(addr net.Addr) { ready = p.announce(s, addr) },
	})
	if err == nil {
		err = ready
	}
	return err
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

// announce prints where the server is and what to paste into the cluster's specification.
func (p *program) announce(s settings, addr net.Addr) error {
	url, err := serve.BaseURL(addr)
	if err != nil { // a host without a route serves its own network all the same
		s.log.Warn("put the address that machines reach this host at in the place of <host>", "err", err)
		_, port, err := net.SplitHostPort(addr.String())
		if err != nil {
			return err
		}
		url = "http://<host>:" + port
	}
	snippet := serve.Snippet(url, "")
	if s.json {
		return p.printJSON(map[string]string{"listen": addr.String(), "hookImagesURLPath": url + "/hook", "snippet": snippet})
	}
	_, err = fmt.Fprintf(p.Stdout, "serving %s at %s/hook\n\n%s", s.out, url, snippet)
	return err
}
