package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/hookbuild/hookbuild/internal/dhcp"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/hardware"
)

func (p *program) dhcpCommand() *cli.Command {
	return &cli.Command{
		Name: "dhcp", Usage: "write the configuration of an existing DHCP server, for EKS Anywhere or Tinkerbell",
		ArgsUsage: "[explain | probe]",
		Description: "The configuration goes to standard output, or to -o FILE, and is complete: dnsmasq, kea-dhcp4 and dhcpd take it as it is. The\n" +
			"stack moves once, from the admin machine into the cluster, and the configuration says what changes then. With --hardware\n" +
			"only machines of that file are answered, with their addresses. docs/dhcp.md has more.\n\n" +
			"  explain    say instead what each kind of client is answered, and why\n" +
			"  probe      ask the server that runs, as every kind of client, and say which answers are right and what wrong ones do to a machine;\n" +
			"             no lease is taken. The exit code is 6 where something is wrong. Needs root, or CAP_NET_RAW for --interface\n\n" +
			"Example:\n" +
			"  hookbuild dhcp --format kea --eksa-version 0.26 --phase bootstrap --bootstrap-ip 10.10.50.100 --tinkerbell-ip 10.10.50.101 --hardware hardware.csv\n" +
			"  hookbuild dhcp --format dnsmasq --eksa-version 0.26 --phase cluster --tinkerbell-ip 10.10.50.101 --snippet -o eks-anywhere.conf\n" +
			"  hookbuild dhcp explain --eksa-version tinkerbell --tinkerbell-ip 192.0.2.7 --http-boot\n" +
			"  hookbuild dhcp probe --interface eth0 --eksa-version 0.26 --phase cluster --tinkerbell-ip 10.10.50.101 --hardware hardware.csv\n" +
			"  hookbuild dhcp probe --relay 192.0.2.5 --giaddr 10.10.50.7 --eksa-version 0.26 --phase cluster --tinkerbell-ip 10.10.50.101",
		Flags:  slices.Concat(commonFlags(), dhcpFlags(), probeFlags()),
		Action: p.dhcp,
	}
}

// dhcpFlags describe the site.
func dhcpFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "format", Usage: "`SERVER` that is there: dnsmasq, kea, isc or microsoft"},
		&cli.StringFlag{Name: "eksa-version", Usage: "`VERSION` of EKS Anywhere, such as 0.26; or tinkerbell, for Tinkerbell without it"},
		&cli.StringFlag{Name: "phase", Usage: "bootstrap while eksctl anywhere creates the management cluster, cluster from then on (default for --eksa-version tinkerbell: cluster)"},
		&cli.StringFlag{Name: "bootstrap-ip", Usage: "`ADDRESS` of the admin machine, or what was given to eksctl anywhere as --tinkerbell-bootstrap-ip"},
		&cli.StringFlag{Name: "tinkerbell-ip", Usage: "`ADDRESS` that is tinkerbellIP in the cluster's specification"},
		&cli.StringFlag{Name: "subnet", Usage: "`NETWORK` of the machines, such as 10.10.50.0/23 (default: the one of all machines in --hardware)"},
		&cli.StringFlag{Name: "gateway", Usage: "`ADDRESS` that machines are told (default: the one of all machines in --hardware)"},
		&cli.StringSliceFlag{Name: "dns", Usage: "`ADDRESS` of a name server (repeatable; commas separate too) (default: those of all machines in --hardware)"},
		&cli.StringFlag{Name: "range", Usage: "`FIRST-LAST` of the addresses for any machine, without --hardware (default: the longest stretch of the subnet's upper half without an address given here)"},
		&cli.StringFlag{Name: "hardware", Usage: "`FILE` with the machines, hardware.csv of EKS Anywhere: a reservation for each, and no answer to others"},
		&cli.StringFlag{Name: "interface", Usage: "network interface `NAME` of the server (default: all); with probe, of this host, to ask from"},
		&cli.StringFlag{Name: "server-subnet", Usage: "`NETWORK` that the server is in, where a relay passes on what machines send; dhcpd needs it"},
		&cli.BoolFlag{Name: "http-boot", Usage: "answer UEFI HTTP boot too"},
		&cli.BoolFlag{Name: "url-by-mac", Value: true, Usage: "put the MAC address into the script's URL; without it smee finds a machine by its source address"},
		&cli.StringFlag{Name: "script-url", Usage: "`URL` of iPXE's script, taken as it is, instead of the version's"},
		&cli.StringFlag{Name: "binary-url", Usage: "`URL` of the directory with iPXE's binaries, for HTTP boot, instead of the version's"},
		&cli.BoolFlag{Name: "snippet", Usage: "write only the part about booting, to merge"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`, whole or not at all, instead of standard output"},
	}
}

func (p *program) dhcp(c *cli.Context) error {
	name := c.Args().First()
	if err := noMore(c, 1); err != nil {
		return err
	}
	s, err := p.settings(c)
	if err != nil {
		return err
	}
	actions := map[string]func(*cli.Context, settings, dhcp.Site) error{"": p.dhcpConfig, "explain": p.dhcpExplain, "probe": p.dhcpProbe}
	action, ok := actions[name]
	if !ok {
		return &usageError{fmt.Sprintf("dhcp: got %q, want explain, probe, or nothing for a configuration", name)}
	}
	if name != "" && c.String("output") != "" {
		return &usageError{"-o is for a configuration; what dhcp " + name + " finds goes to standard output"}
	}
	if name != "probe" {
		if err := onlyForProbe(c); err != nil {
			return err
		}
	}
	site, err := dhcpSite(c, name == "")
	if err != nil {
		return err
	}
	return action(c, s, site)
}

// flagFaults collects what is wrong with flags, so that all is said at once.
type flagFaults []string

func (f *flagFaults) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

func (f *flagFaults) addr(c *cli.Context, flag string) netip.Addr {
	return f.parseAddr(flag, c.String(flag))
}

// parseAddr reads an address; "" is none.
func (f *flagFaults) parseAddr(flag, text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" {
		f.add("--%s %q: want an IP address", flag, text)
	}
	return ip
}

func (f *flagFaults) prefix(c *cli.Context, flag string) netip.Prefix {
	text := c.String(flag)
	if text == "" {
		return netip.Prefix{}
	}
	n, err := netip.ParsePrefix(text)
	if err != nil {
		f.add("--%s %q: want a network such as 10.10.50.0/23", flag, text)
	}
	return n
}

// dhcpSite reads the site from the flags. Its addresses are checked by whoever uses them.
func dhcpSite(c *cli.Context, needFormat bool) (dhcp.Site, error) {
	var f flagFaults
	s := dhcp.Site{
		Phase: dhcp.Phase(c.String("phase")), BootstrapIP: f.addr(c, "bootstrap-ip"), TinkerbellIP: f.addr(c, "tinkerbell-ip"),
		Subnet: f.prefix(c, "subnet"), Gateway: f.addr(c, "gateway"), ServerSubnet: f.prefix(c, "server-subnet"),
		Interface: c.String("interface"), HTTPBoot: c.Bool("http-boot"), URLByMAC: c.Bool("url-by-mac"),
		ScriptURL: c.String("script-url"), BinaryURL: c.String("binary-url"),
	}
	for _, value := range c.StringSlice("dns") {
		for text := range strings.SplitSeq(value, ",") {
			s.DNS = append(s.DNS, f.parseAddr("dns", strings.TrimSpace(text)))
		}
	}
	if text := c.String("range"); text != "" {
		first, last, _ := strings.Cut(text, "-")
		a, errFirst := netip.ParseAddr(first)
		b, errLast := netip.ParseAddr(last)
		if errFirst != nil || errLast != nil {
			f.add("--range %q: want FIRST-LAST, two IP addresses", text)
		}
		s.First, s.Last = a, b
	}
	if format := dhcp.Format(c.String("format")); !slices.Contains(dhcp.Formats(), format) && (needFormat || format != "") {
		f.add("--format %q: want dnsmasq, kea, isc or microsoft", format)
	}
	f.version(c, &s)
	if len(f) > 0 {
		return s, &usageError{strings.Join(f, "\n")}
	}
	if file := c.String("hardware"); file != "" {
		machines, err := readHardware(file)
		if err != nil {
			return s, err
		}
		s.Machines, s.HardwareFile, s.KnownOnly = machines, file, true
	}
	return s.Completed(), nil
}

// version reads the version and the phase.
func (f *flagFaults) version(c *cli.Context, s *dhcp.Site) {
	var err error
	if text := c.String("eksa-version"); text == "" {
		f.add("--eksa-version is missing, such as 0.26; the URLs have changed from version to version")
	} else if s.Generation, err = dhcp.ParseVersion(text); err != nil {
		f.add("--eksa-version: %v;\n%s", err, dhcp.VersionHint)
	}
	switch {
	case s.Phase == dhcp.Bootstrap || s.Phase == dhcp.Cluster:
	case s.Phase != "":
		f.add("--phase %q: want bootstrap or cluster", s.Phase)
	case s.Generation.IsUpstream():
		s.Phase = dhcp.Cluster
	default:
		f.add("--phase is missing: bootstrap while eksctl anywhere creates the management cluster, cluster from then on")
	}
}

func readHardware(name string) ([]hardware.Machine, error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &usageError{fmt.Sprintf("--hardware %s: there is no such file", name)}
	} else if err != nil {
		return nil, err
	}
	defer file.Close()
	return hardware.ReadCSV(name, file)
}

// dhcpConfig writes the configuration.
func (p *program) dhcpConfig(c *cli.Context, s settings, site dhcp.Site) error {
	format, file := dhcp.Format(c.String("format")), c.String("output")
	config, err := dhcp.Config(site, format, c.Bool("snippet"))
	if err != nil {
		return err
	}
	if file != "" {
		if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
			return &usageError{fmt.Sprintf("-o %s: this is no regular file", file)}
		}
		if err := download.WriteFile(file, bytes.NewReader(config)); err != nil {
			return err
		}
	}
	switch format {
	case dhcp.ISC:
		s.log.Warn("ISC dhcpd is at its end of life; --format kea writes the same for Kea")
	case dhcp.Microsoft:
		s.log.Warn("this script has not been run on Windows: look at it first, and at what it did")
	}
	switch {
	case s.json && file != "":
		return p.printJSON(map[string]string{"format": string(format), "file": file})
	case s.json:
		return p.printJSON(map[string]string{"format": string(format), "config": string(config)})
	case file != "":
		_, err = fmt.Fprintln(p.Stdout, file)
	default:
		_, err = p.Stdout.Write(config)
	}
	return err
}

// explained is a kind of client, and what it is answered.
type explained struct {
	Client      string  `json:"client"`
	Arch        *uint16 `json:"arch,omitempty"`         // option 93
	VendorClass string  `json:"vendor_class,omitempty"` // option 60
	UserClass   string  `json:"user_class,omitempty"`   // option 77
	dhcp.Answer `json:"answer"`
}

// explanation is the document of explain.
type explanation struct {
	Version string      `json:"version"`
	Phase   dhcp.Phase  `json:"phase"`
	Stack   netip.Addr  `json:"stack"`
	Clients []explained `json:"clients"`
}

func (p *program) dhcpExplain(c *cli.Context, s settings, site dhcp.Site) error {
	if err := site.Validate(true); err != nil {
		return err
	}
	clients := dhcp.Clients()
	if site.KnownOnly {
		clients = append(clients, dhcp.Client{Name: "a machine that is not in " + site.HardwareFile, MAC: make(net.HardwareAddr, 6)})
	}
	doc := explanation{Version: site.Generation.Name, Phase: site.Phase, Stack: site.StackIP()}
	for _, client := range clients {
		e := explained{Client: client.Name, VendorClass: client.VendorClass, UserClass: string(client.UserClass), Answer: site.Answer(client)}
		if client.HasArch {
			e.Arch = &client.Arch
		}
		doc.Clients = append(doc.Clients, e)
	}
	if s.json {
		return p.printJSON(doc)
	}
	fmt.Fprintf(p.Stdout, "version %s, %s phase, stack at %s\n\n", doc.Version, doc.Phase, doc.Stack)
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLIENT\tGETS, AND WHY")
	for _, e := range doc.Clients {
		fmt.Fprintf(w, "%s\t%s\n\t  %s\n", e.Client, gets(e.Answer), e.Why)
	}
	return w.Flush()
}

// gets says an answer in a few words.
func gets(a dhcp.Answer) string {
	switch {
	case a.Silent:
		return "no answer"
	case a.File == "":
		return "an address, no boot file"
	case a.NextServer.IsValid():
		return fmt.Sprintf("next-server %s, %s", a.NextServer, a.File)
	case a.VendorClass != "":
		return fmt.Sprintf("%s, option 60 %s", a.File, a.VendorClass)
	}
	return a.File
}
