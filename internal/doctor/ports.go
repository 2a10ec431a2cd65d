package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Port is one that EKS Anywhere needs on its admin machine.
type Port struct {
	Network string // tcp or udp
	Number  int
	Reason  string // what needs it
}

// Ports says which of the ports are in use on this host, by Linux's tables of sockets; proc is /proc, see
// proc_net_tcp(5). They matter only where EKS Anywhere is to run here.
func Ports(proc fs.FS, ports []Port) []Finding {
	const name = "eks-anywhere"
	open, err := sockets(proc)
	if err != nil {
		return []Finding{{name, Warning, fmt.Sprintf("which ports are in use cannot be seen here: %v", err),
			"on the admin machine they have to be free: " + list(ports)}}
	}
	taken := map[socket]bool{}
	for _, p := range ports {
		if s, ok := open[key{p.Network, p.Number}]; ok {
			taken[s] = true
		}
	}
	who := holders(proc, taken)
	var found []Finding
	for _, p := range ports {
		s, ok := open[key{p.Network, p.Number}]
		if !ok {
			continue
		}
		found = append(found, Finding{name, Warning, fmt.Sprintf("%s port %d is in use here%s: %s", p.Network, p.Number, by(who[s]), p.Reason),
			"stop it where EKS Anywhere is to run on this machine; unless that is EKS Anywhere itself"})
	}
	if len(found) == 0 {
		found = append(found, Finding{name, OK, "its ports are free on this machine: " + list(ports), ""})
	}
	return found
}

func list(ports []Port) string {
	names := map[string][]string{}
	for _, p := range ports {
		names[p.Network] = append(names[p.Network], strconv.Itoa(p.Number))
	}
	return "udp " + strings.Join(names["udp"], ", ") + "; tcp " + strings.Join(names["tcp"], ", ")
}

// key is a port of a protocol, socket the inode of a socket that has it.
type (
	key struct {
		network string
		port    int
	}
	socket string
)

// States of a socket in the tables: of TCP only those that listen count, of UDP those that are not connected.
const (
	tcpListen = "0A"
	udpOpen   = "07"
)

// sockets reads the tables of both address families; a host without IPv6 has no second one.
func sockets(proc fs.FS) (map[key]socket, error) {
	open := map[key]socket{}
	for _, t := range []struct{ file, network, state string }{
		{"tcp", "tcp", tcpListen}, {"tcp6", "tcp", tcpListen}, {"udp", "udp", udpOpen}, {"udp6", "udp", udpOpen},
	} {
		f, err := proc.Open("net/" + t.file)
		if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(t.file, "6") {
			continue
		}
		if err != nil {
			return nil, err
		}
		err = errors.Join(table(f, t.network, t.state, open), f.Close())
		if err != nil {
			return nil, fmt.Errorf("net/%s: %w", t.file, err)
		}
	}
	return open, nil
}

// table adds the sockets of a table that are in the state.
func table(r io.Reader, network, state string, open map[key]socket) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[3] != state {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		if err != nil {
			return fmt.Errorf("local address %q: %w", f[1], err)
		}
		open[key{network, int(port)}] = socket(f[9])
	}
	return lines.Err()
}

// holders names the processes that have the sockets, as far as they may be seen: only root sees those of others.
func holders(proc fs.FS, sockets map[socket]bool) map[socket]string {
	names := map[socket]string{}
	if len(sockets) == 0 {
		return names
	}
	fds, err := fs.Glob(proc, "[0-9]*/fd")
	if err != nil { // a malformed pattern only
		return names
	}
	for _, dir := range fds {
		entries, err := fs.ReadDir(proc, dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			to, err := fs.ReadLink(proc, path.Join(dir, e.Name()))
			s := socket(strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]"))
			if err == nil && sockets[s] && names[s] == "" {
				names[s] = process(proc, path.Dir(dir))
			}
		}
	}
	return names
}

// process is a process's name and id.
func process(proc fs.FS, pid string) string {
	name, err := fs.ReadFile(proc, path.Join(pid, "comm"))
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("%s, process %s", strings.TrimSpace(string(name)), pid)
}

func by(name string) string {
	if name == "" {
		return ""
	}
	return " (" + name + ")"
}

// Listen says whether `hookbuild serve` can listen at the address, "host:port". ours recognizes hookbuild's own
// server by what it answers to GET /.
func Listen(ctx context.Context, address string, proc fs.FS, ours func(page string) bool) []Finding {
	const name = "serve"
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return []Finding{{name, Error, err.Error(), "want HOST:PORT or :PORT"}}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err == nil {
		if err := l.Close(); err != nil {
			return []Finding{{name, Warning, err.Error(), ""}}
		}
		return []Finding{{name, OK, address + " is free for hookbuild serve", ""}}
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return []Finding{{name, Error, fmt.Sprintf("hookbuild serve cannot listen at %s: %v", address, err), "choose another address with --listen"}}
	}
	who := ""
	if open, terr := sockets(proc); terr == nil {
		if n, perr := strconv.Atoi(port); perr == nil {
			s := open[key{"tcp", n}]
			who = holders(proc, map[socket]bool{s: true})[s]
		}
	}
	if answersAs(ctx, address, ours) {
		return []Finding{{name, OK, fmt.Sprintf("hookbuild serve runs at %s%s", address, by(who)), ""}}
	}
	return []Finding{{name, Warning, fmt.Sprintf("%s is taken by another program%s", address, by(who)),
		"stop it, or start hookbuild serve with --listen and another port"}}
}

// maxPage bounds what is read of an answer, in bytes.
const maxPage = 64 << 10

func answersAs(ctx context.Context, address string, ours func(string) bool) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+reachable(address)+"/", nil)
	if err != nil {
		return false
	}
	req.Header.Set("Accept", "text/html")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is this machine
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	return err == nil && ours(string(page))
}

// reachable is where something that listens at the address is asked from here.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err == nil && slices.Contains([]string{"", "0.0.0.0", "::"}, host) {
		return net.JoinHostPort("localhost", port)
	}
	return address
}
