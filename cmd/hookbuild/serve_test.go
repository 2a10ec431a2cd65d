package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// server is a hookbuild serve that runs.
type server struct {
	cmd   *exec.Cmd
	url   string
	rest  *bufio.Reader
	begin string // what it has printed
}

// command is hookbuild in the script's environment and directory.
func (s *scene) command(ts *testscript.TestScript, args ...string) *exec.Cmd {
	path, err := exec.LookPath("hookbuild")
	ts.Check(err)
	cmd := exec.Command(path, args...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = s.env.Vars
	for _, name := range []string{testTrusted, "HOOKBUILD_DEBIAN_MIRROR", "HOOKBUILD_DEBIAN_SECURITY_MIRROR"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}

// content is what the files of a published set hold.
func content(name string) string { return "this is " + name + "\n" }

// publish FLAVOR [NAME]... puts a set with small files, and these besides, into the directory out.
func publish(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 1, "publish FLAVOR [NAME]...")
	ts.Check(publishSet(context.Background(), ts.MkAbs("out"), args[0], args[1:]...))
}

// generation sets $GENERATION to the plan id of a flavor that was published.
func generation(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "generation FLAVOR")
	store, err := artifacts.Open(ts.MkAbs("out"))
	ts.Check(err)
	gen, err := store.Newest(args[0], plan.X8664)
	ts.Check(err)
	ts.Setenv("GENERATION", gen.ID())
}

// spoil changes a byte of a file.
func spoil(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "spoil FILE")
	file := ts.MkAbs(args[0])
	data, err := os.ReadFile(file)
	ts.Check(err)
	data[0] ^= 1
	ts.Check(os.WriteFile(file, data, 0o644))
}

func publishSet(ctx context.Context, dir, flavor string, more ...string) (err error) {
	store, err := artifacts.Open(dir)
	if err != nil {
		return err
	}
	unlock, err := store.TryLock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	p := plan.Plan{Schema: plan.Schema, Flavor: flavor, Arch: plan.X8664, Epoch: 1_700_000_000}
	staging, err := store.Stage(p.ID())
	if err != nil {
		return err
	}
	defer staging.Abort()
	for _, name := range append([]string{artifacts.KernelName(plan.X8664), artifacts.InitramfsName(plan.X8664)}, more...) {
		if err := stageFile(staging, name); err != nil {
			return err
		}
	}
	report := artifacts.NewReport(artifacts.Archive{Compressed: 1})
	if err := staging.WriteReport(report); err != nil {
		return err
	}
	gen, err := staging.Commit(artifacts.Manifest{Version: release, KernelRelease: "6.12.0-test", Plan: p})
	if err != nil {
		return err
	}
	_, err = store.Publish(gen)
	return err
}

func stageFile(s *artifacts.Staging, name string) error {
	w, err := s.Create(name)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, content(name))
	return errors.Join(err, w.Close())
}

// listen takes a port of 127.0.0.1, which is then $TAKEN.
func listen(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "listen")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv("TAKEN", l.Addr().String())
}

// silent takes a port of 127.0.0.1, which is then $SILENT: connections are taken, and nothing is ever answered.
func silent(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "silent")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv("SILENT", l.Addr().String())
}

// announced is where the server says that it is.
var announced = regexp.MustCompile(`http://[0-9.:]+`)

// startServe is the command serve ARGUMENT...: it starts hookbuild serve and returns once that is ready, at $SERVER.
func startServe(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg, "serve ARGUMENT...")
	s := sceneOf(ts)
	cmd := s.command(ts, append([]string{"serve"}, args...)...)
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	log, err := os.Create(ts.MkAbs("serve.log"))
	ts.Check(err)
	defer log.Close()
	cmd.Stderr = log
	ts.Check(cmd.Start())
	ts.Defer(func() { cmd.Process.Kill() }) // fails where it has ended
	srv := &server{cmd: cmd, rest: bufio.NewReader(out)}
	for srv.url == "" {
		line, err := srv.rest.ReadString('\n')
		if err != nil {
			ts.Fatalf("hookbuild serve: %v\n%s", cmd.Wait(), ts.ReadFile("serve.log"))
		}
		srv.begin += line
		srv.url = announced.FindString(line)
	}
	s.server = srv
	ts.Setenv("SERVER", srv.url)
}

// get METHOD PATH [NAME:VALUE]... asks the server, with header fields, and prints the answer.
func get(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 2, "get METHOD PATH [NAME:VALUE]...")
	req, err := http.NewRequest(args[0], sceneOf(ts).server.url+args[1], nil)
	ts.Check(err)
	for _, field := range args[2:] {
		name, value, _ := strings.Cut(field, ":")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	ts.Check(err)
	defer resp.Body.Close()
	ts.Check(resp.Write(ts.Stdout()))
}

// stopServe is the command stop-serve: Ctrl-C for the server, which must end with 0. What it has printed can be
// looked at then, and its log is serve.log.
func stopServe(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "stop-serve")
	srv := sceneOf(ts).server
	ts.Check(srv.cmd.Process.Signal(syscall.SIGINT))
	rest, err := io.ReadAll(srv.rest)
	ts.Check(err)
	ts.Check(srv.cmd.Wait())
	_, err = io.WriteString(ts.Stdout(), srv.begin+string(rest))
	ts.Check(err)
}
