package main

import (
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/servecheck"
)

// checkTimeout bounds each wait for a server's header, not its downloads.
const checkTimeout = 30 * time.Second

// unfitError says that a server will not do; what is wrong has been shown.
type unfitError struct{ report servecheck.Report }

func (e *unfitError) Error() string {
	var failed []string
	for _, c := range e.report.Checks {
		if c.Result == servecheck.No {
			failed = append(failed, string(c.For)+": "+c.Name)
		}
	}
	return fmt.Sprintf("%s will not do (%s)", e.report.URL, strings.Join(failed, ", "))
}

// checkServer asks another server, or one of ours.
func (p *program) checkServer(c *cli.Context, s settings) error {
	if s.offline {
		return &usageError{"--check asks a server, and --offline forbids that"}
	}
	client := servecheck.NewClient(&http.Transport{ResponseHeaderTimeout: checkTimeout, TLSHandshakeTimeout: checkTimeout})
	defer client.CloseIdleConnections()
	report, err := servecheck.Run(c.Context, client, c.String("check"))
	if err != nil {
		return err
	}
	if s.json {
		err = p.printJSON(report)
	} else {
		err = p.showChecks(report)
	}
	if err != nil || report.OK() {
		return err
	}
	return &unfitError{report}
}

// showChecks prints a table and the verdicts.
func (p *program) showChecks(r servecheck.Report) error {
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	purposes := map[servecheck.Purpose]bool{}
	for _, c := range r.Checks {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.For, c.Name, c.Result, c.Detail)
		purposes[c.For] = true
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(p.Stdout)
	if purposes[servecheck.EKSA] {
		fmt.Fprintf(p.Stdout, "EKS Anywhere, booting over the network: %s\n", yesNo(r.EKSA))
	}
	_, err := fmt.Fprintf(p.Stdout, "ISO boot: %s\n", yesNo(r.ISO))
	return err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
