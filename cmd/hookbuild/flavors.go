package main

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/config"
)

func (p *program) flavorsCommand() *cli.Command {
	return &cli.Command{
		Name: "flavors", Usage: "list the flavors, built-in ones and those of hookbuild.yaml",
		Description: "Example:\n  hookbuild flavors",
		Flags:       commonFlags(),
		Action:      p.flavors,
	}
}

// listed is a flavor as flavors prints it.
type listed struct {
	ID      string `json:"id"`
	Arch    string `json:"arch"`
	Kernel  string `json:"kernel"`
	BuiltIn bool   `json:"built_in"`
}

func (p *program) flavors(c *cli.Context) error {
	if err := noMore(c, 0); err != nil {
		return err
	}
	s, err := p.settings(c)
	if err != nil {
		return err
	}
	cfg, err := s.config()
	if err != nil {
		return err
	}
	all := make([]listed, 0, len(cfg.Flavors()))
	for _, f := range cfg.Flavors() {
		all = append(all, listed{f.ID, string(f.Arch), kernelText(f.Kernel), f.BuiltIn})
	}
	if s.json {
		return p.printJSON(all)
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FLAVOR\tARCH\tKERNEL")
	for _, f := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.ID, f.Arch, f.Kernel)
	}
	return w.Flush()
}

// kernelText says what hookbuild.yaml says: how the kernel is made, where it comes from, and which it is. A
// place of the user's own is not repeated: there may be a password in a URL.
func kernelText(k config.Kernel) string {
	words := []string{k.Method}
	if k.Method == config.MethodSource {
		words = append(words, k.Source.Kind)
	}
	if which := cmp.Or(k.Version, k.Series); which != "" {
		words = append(words, which)
	}
	return strings.Join(words, " ")
}
