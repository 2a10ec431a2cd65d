package engine

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/client"
)

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// addContext writes what `docker context create` would; tls are the files of the engine's certificates.
func addContext(t *testing.T, configDir, name, endpoints string, tls map[string]string) {
	t.Helper()
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	meta := fmt.Sprintf(`{"Name":%q,"Metadata":{"Description":"for tests"},"Endpoints":%s}`, name, endpoints)
	write(t, filepath.Join(configDir, "contexts", "meta", id, "meta.json"), meta)
	for file, content := range tls {
		write(t, filepath.Join(configDir, "contexts", "tls", id, "docker", file), content)
	}
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// clientCert is a certificate that signs itself, and its key.
func clientCert(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", pkcs8)
}

// secureFake is an engine behind TLS that asks for a client certificate when auth says so.
func secureFake(t *testing.T, auth tls.ClientAuthType) (host, ca string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(&fake{})
	srv.TLS = &tls.Config{ClientAuth: auth}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of refused handshakes
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return "tcp://" + srv.Listener.Addr().String(), encode("CERTIFICATE", srv.Certificate().Raw)
}

func TestConnect(t *testing.T) {
	e, _ := newFake(t, nil)
	if e.Arch() != "amd64" || e.Version() != "20.10.24" || e.api != "1.41" {
		t.Errorf("got %s, %s, API %s", e.Arch(), e.Version(), e.api)
	}
}

func TestConnectOverTLS(t *testing.T) {
	cert, key := clientCert(t)
	mutual, ca := secureFake(t, tls.RequireAnyClientCert)
	plain, plainCA := secureFake(t, tls.NoClientCert)
	all := map[string]string{"ca.pem": ca, "cert.pem": cert, "key.pem": key}
	endpoint := func(host string, skip bool) string {
		return fmt.Sprintf(`{"docker":{"Host":%q,"SkipTLSVerify":%v}}`, host, skip)
	}

	dir := t.TempDir()
	for file, content := range all {
		write(t, filepath.Join(dir, "certs", file), content)
	}
	addContext(t, dir, "mutual", endpoint(mutual, false), all)
	addContext(t, dir, "ca-only", endpoint(plain, false), map[string]string{"ca.pem": plainCA})
	addContext(t, dir, "unverified", endpoint(mutual, true), map[string]string{"cert.pem": cert, "key.pem": key})
	addContext(t, dir, "unknown-ca", endpoint(mutual, false), map[string]string{"cert.pem": cert, "key.pem": key})
	addContext(t, dir, "no-key", endpoint(mutual, false), map[string]string{"ca.pem": ca, "cert.pem": cert})
	certs := filepath.Join(dir, "certs")
	for _, c := range []struct {
		name string
		o    Options
		want string // part of the error
	}{
		{"DOCKER_CERT_PATH", Options{Host: mutual, CertPath: certs, TLSVerify: true}, ""},
		{"… without verification", Options{Host: plain, CertPath: certs}, ""},
		{"… without files", Options{Host: plain, CertPath: filepath.Join(dir, "other"), TLSVerify: true}, "other/ca.pem"},
		{"without certificates", Options{Host: mutual}, "HTTPS server"},
		{"context", Options{Context: "mutual"}, ""},
		{"context with a CA only", Options{Context: "ca-only"}, ""},
		{"context without verification", Options{Context: "unverified"}, ""},
		{"context without the CA", Options{Context: "unknown-ca"}, "certificate"},
		{"context without a key", Options{Context: "no-key"}, "key.pem"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.ConfigDir = dir
			e, err := Connect(t.Context(), c.o)
			var un *UnavailableError
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v", err)
			case c.want != "" && (!errors.As(err, &un) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an *UnavailableError with %q", err, c.want)
			}
			if err == nil {
				e.Close()
			}
		})
	}
}

func TestClientOptions(t *testing.T) {
	dir := t.TempDir()
	addContext(t, dir, "desktop", `{"docker":{"Host":"unix:///run/user/docker.sock","SkipTLSVerify":false}}`, nil)
	addContext(t, dir, "far", `{"docker":{"Host":"ssh://builder@far.example"}}`, nil)
	addContext(t, dir, "far-path", `{"docker":{"Host":"ssh://far.example:22/var/run/docker.sock"}}`, nil)
	addContext(t, dir, "kubernetes", `{"kubernetes":{"Host":"https://k8s.example"}}`, nil)
	addContext(t, dir, "odd", `{"docker":{"Host":"nonsense"}}`, nil)
	write(t, filepath.Join(dir, "cert.pem"), "") // CertPath below; no complete set
	for _, c := range []struct {
		name string
		o    Options
		host string // of the client; empty where there is none
		says string // which host a failure names
		want string // part of the error
	}{
		{name: "nothing", host: client.DefaultDockerHost},
		{name: "the default context", o: Options{Context: "default"}, host: client.DefaultDockerHost},
		{name: "a socket", o: Options{Host: "unix:///tmp/d.sock"}, host: "unix:///tmp/d.sock", says: "unix:///tmp/d.sock"},
		{name: "DOCKER_HOST before the context", o: Options{Host: "tcp://h.example:2375", Context: "desktop"}, host: "tcp://h.example:2375", says: "tcp://h.example:2375"},
		{name: "a context", o: Options{Context: "desktop"}, host: "unix:///run/user/docker.sock", says: "unix:///run/user/docker.sock"},
		{name: "certificates, but the local socket", o: Options{CertPath: dir, TLSVerify: true}, host: client.DefaultDockerHost},
		{name: "certificates and ssh", o: Options{Host: "ssh://far.example", CertPath: dir}, host: "http://docker.example.com", says: "ssh://far.example"},
		{name: "ssh context", o: Options{Context: "far"}, host: "http://docker.example.com", says: "ssh://builder@far.example"},
		{name: "ssh context with a path", o: Options{Context: "far-path"}, host: "http://docker.example.com", says: "ssh://far.example:22/var/run/docker.sock"},
		{name: "ssh with a password", o: Options{Host: "ssh://me:secret@far.example"}, says: "ssh://me:secret@far.example", want: "password"},
		{name: "unknown context", o: Options{Context: "none"}, says: "context none", want: "not found"},
		{name: "a context for something else", o: Options{Context: "kubernetes"}, says: "context kubernetes", want: "names no Docker Engine"},
		{name: "no URL", o: Options{Context: "odd"}, says: "nonsense", want: "nonsense"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.ConfigDir = dir
			opts, says, err := clientOptions(c.o)
			var made *client.Client
			if err == nil {
				made, err = client.NewClientWithOpts(opts...)
			}
			if says != c.says {
				t.Errorf("names %q, want %q", says, c.says)
			}
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := made.DaemonHost(); got != c.host {
				t.Errorf("got host %s, want %s", got, c.host)
			}
		})
	}
}

func TestAPIVersionIsTakenAsGiven(t *testing.T) {
	opts, _, err := clientOptions(Options{APIVersion: "1.41"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.NewClientWithOpts(opts...)
	if err != nil || c.ClientVersion() != "1.41" {
		t.Errorf("got %s, %v", c.ClientVersion(), err)
	}
}

func TestConnectNamesWhatDidNotAnswer(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	host := "tcp://" + closed.Listener.Addr().String()
	closed.Close()
	for want, o := range map[string]Options{
		host:                    {Host: host},
		"unix:///nonexistent/s": {Host: "unix:///nonexistent/s"},
		"context none":          {Context: "none", ConfigDir: t.TempDir()},
		"at bogus: unable":      {Host: "bogus"},
		"/nonexistent/cert.pem": {Host: host, CertPath: "/nonexistent"},
	} {
		_, err := Connect(t.Context(), o)
		var un *UnavailableError
		if !errors.As(err, &un) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an *UnavailableError with %q", err, want)
		}
	}
}

func TestConnectCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Connect(ctx, Options{Host: "tcp://127.0.0.1:1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled in it", err)
	}
}

func TestCurrentContext(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json")
	for _, c := range []struct{ name, content, want, fault string }{
		{"chosen", `{"auths":{},"currentContext":"far"}`, "far", ""},
		{"none", `{"auths":{}}`, "", ""},
		{"broken", `{"auths"`, "", file},
	} {
		write(t, file, c.content)
		got, err := CurrentContext(dir)
		if got != c.want || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: got %q, %v", c.name, got, err)
		}
	}
	if got, err := CurrentContext(filepath.Join(dir, "none")); got != "" || err != nil {
		t.Errorf("no directory: got %q, %v", got, err)
	}
	if _, err := CurrentContext(file); err == nil {
		t.Error("a file in place of the directory is no error")
	}
}
