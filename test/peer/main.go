// Command peer is what the provisioning tests need at the other end: beside QEMU a registry and a receiver of syslog
// messages, and inside HookOS a stand-in for the Tinkerbell agent.
//
//	peer serve DIR           serves the images of DIR (files as docker save writes them, NAME:TAG.tar), writes what comes
//	                         by syslog into DIR/syslog, and tells by NTP a time that is an hour ahead
//	peer ssh KEY COMMAND     runs a command by ssh on port 2222
//	peer agent               says what it was given, runs an action, waits
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/crypto/ssh"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		log.Fatal(serve(os.Args[2]))
	}
	if len(os.Args) == 4 && os.Args[1] == "ssh" {
		if err := shell(os.Args[2], os.Args[3]); err != nil {
			log.Fatal("ssh: ", err)
		}
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "agent" {
		if err := agent(); err != nil {
			log.Fatal("agent: ", err)
		}
		return
	}
	log.Fatal("usage: peer serve DIR | ssh KEY COMMAND | agent")
}

// The registry's only user.
const user, password = "machine", "pass'word=1"

// serve answers on 5000 without TLS and, where DIR has cert.pem and key.pem, on 5443 with it; both want a login.
func serve(dir string) error {
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="peer"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, r)
	})
	// All ports are open before the images are pushed, and before the machine is told.
	plain, err := net.Listen("tcp", "127.0.0.1:5000")
	if err != nil {
		return err
	}
	messages, err := net.ListenPacket("udp", "127.0.0.1:514")
	if err != nil {
		return err
	}
	hours, err := net.ListenPacket("udp", "127.0.0.1:123")
	if err != nil {
		return err
	}
	failed := make(chan error, 4)
	go func() { failed <- http.Serve(plain, guarded) }()
	if cert := filepath.Join(dir, "cert.pem"); exists(cert) {
		secure, err := net.Listen("tcp", "127.0.0.1:5443")
		if err != nil {
			return err
		}
		go func() { failed <- http.ServeTLS(secure, guarded, cert, filepath.Join(dir, "key.pem")) }()
	}
	go func() { failed <- syslog(messages, filepath.Join(dir, "syslog")) }()
	go func() { failed <- clock(hours, time.Hour) }()
	if err := fill(dir); err != nil {
		return err
	}
	fmt.Println("peer: ready")
	return <-failed
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// fill pushes the images.
func fill(dir string) error {
	archives, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err != nil {
		return err
	}
	for _, file := range archives {
		ref, err := name.ParseReference("127.0.0.1:5000/"+strings.TrimSuffix(filepath.Base(file), ".tar"), name.Insecure)
		if err != nil {
			return err
		}
		img, err := tarball.ImageFromPath(file, nil)
		if err != nil {
			return err
		}
		login := remote.WithAuth(&authn.Basic{Username: user, Password: password})
		if err := remote.Write(ref, img, login); err != nil {
			return err
		}
	}
	return nil
}

// syslog writes each message as a line.
func syslog(conn net.PacketConn, file string) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	buf := make([]byte, 64<<10)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s\n", strings.TrimRight(string(buf[:n]), "\n")); err != nil {
			return err
		}
	}
}

// clock answers as a server of stratum 1 does (RFC 5905, 7.3), ahead by so much.
func clock(conn net.PacketConn, ahead time.Duration) error {
	stamp := func(b []byte) {
		now := time.Now().Add(ahead)
		binary.BigEndian.PutUint32(b, uint32(now.Unix()+2208988800)) // seconds since 1900
		binary.BigEndian.PutUint32(b[4:], uint32(uint64(now.Nanosecond())<<32/1e9))
	}
	in := make([]byte, 1000)
	for {
		n, from, err := conn.ReadFrom(in)
		if err != nil {
			return err
		}
		if n < 48 {
			continue
		}
		out := make([]byte, 48)
		out[0], out[1], out[2], out[3] = 4<<3|4, 1, in[2], 0xec // version 4, server; precision of a microsecond
		copy(out[12:], "TEST")
		stamp(out[16:])
		copy(out[24:], in[40:48])
		stamp(out[32:])
		stamp(out[40:])
		if _, err := conn.WriteTo(out, from); err != nil {
			return err
		}
	}
}

// shell runs a command as root on what is behind port 2222.
func shell(keyFile, command string) error {
	data, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	key, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return err
	}
	c, err := ssh.Dial("tcp", "127.0.0.1:2222", &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, Timeout: time.Minute,
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // made when the machine came up
	})
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		return err
	}
	out, err := s.CombinedOutput(command)
	fmt.Print(string(out))
	return err
}

// action is what the agent runs, as a workflow would.
const action = "127.0.0.1/embedded/image2disk"

func agent() error {
	env := os.Environ()
	slices.Sort(env)
	for _, e := range env {
		if name, _, _ := strings.Cut(e, "="); name != "PATH" && name != "HOSTNAME" && name != "HOME" {
			fmt.Println("agent: env", e)
		}
	}
	for _, path := range []string{"/worker", "/var/run/docker.sock", "/dev/kmsg", "/run/hookos"} {
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := runAction(ctx); err != nil {
		return err
	}
	if os.Getenv("WORKER_ID") == "reboot" {
		time.Sleep(2 * time.Second) // so that the lines are read
		return os.WriteFile("/worker/reboot", nil, 0o644)
	}
	<-ctx.Done()
	return nil
}

func runAction(ctx context.Context) error {
	docker, err := client.NewClientWithOpts(client.WithHost("unix:///var/run/docker.sock"), client.WithAPIVersionNegotiation())
	if err != nil {
		return err
	}
	made, err := docker.ContainerCreate(ctx, &container.Config{Image: action}, nil, nil, nil, "")
	if err != nil {
		return err
	}
	if err := docker.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		return err
	}
	ended, failed := docker.ContainerWait(ctx, made.ID, container.WaitConditionNotRunning)
	select {
	case end := <-ended:
		logs, err := docker.ContainerLogs(ctx, made.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true})
		if err != nil {
			return err
		}
		defer logs.Close()
		if _, err := stdcopy.StdCopy(os.Stdout, os.Stdout, logs); err != nil {
			return err
		}
		fmt.Println("agent: the action ended with", end.StatusCode)
	case err := <-failed:
		return err
	}
	return docker.ContainerRemove(ctx, made.ID, container.RemoveOptions{})
}
