package serve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes a self-signed certificate and its key.
func certificate(t *testing.T, name string) (certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, certFile, keyFile, name)
	return certFile, keyFile
}

func writeCertificate(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	write(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
}

// insecure is a client that takes any certificate and keeps no connection.
func insecure() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}
}

func TestTLS(t *testing.T) {
	certFile, keyFile := certificate(t, "one")
	store := newStore(t)
	mustPublish(t, store, "0", 1000)
	log, text := textLog()
	server := start(t, Options{Store: store, TLSCert: certFile, TLSKey: keyFile, Now: time.Now, Log: log})
	addr := server.addr
	expect := func(what, name string) {
		t.Helper()
		resp, err := insecure().Get("https://" + addr + "/" + kernel)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer resp.Body.Close()
		if got := resp.TLS.PeerCertificates[0].Subject.CommonName; got != name || resp.StatusCode != 200 || resp.ProtoMajor != 1 {
			t.Errorf("%s: got %s, %s, certificate %q, want %q", what, resp.Status, resp.Proto, got, name)
		}
	}
	expect("first", "one")
	writeCertificate(t, certFile, keyFile, "second")
	expect("renewed", "second")
	write(t, keyFile, []byte("no key"))
	expect("a key that is none", "second")
	expect("still none", "second")
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	expect("no certificate", "second")
	expect("still no certificate", "second")
	writeCertificate(t, certFile, keyFile, "third one")
	expect("made good", "third one")
	write(t, keyFile, []byte("no key"))
	expect("no key again", "third one")
	server.stop()
	if err := server.wait(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(text.String(), "the one before stays"); got != 3 {
		t.Errorf("the log says %d times that the one before stays, want once for each fault:\n%s", got, text)
	}
}

func TestTLSRefused(t *testing.T) {
	certFile, keyFile := certificate(t, "one")
	for _, o := range []Options{
		{TLSCert: certFile}, {TLSKey: keyFile}, {TLSCert: keyFile, TLSKey: certFile}, {TLSCert: certFile, TLSKey: keyFile + "x"},
	} {
		o.Listen, o.Store = "127.0.0.1:0", newStore(t)
		var bad *OptionError
		if err := Run(t.Context(), o); !errors.As(err, &bad) {
			t.Errorf("%+v: got %v", o, err)
		}
	}
}

// TestGarbageUnderTLS sends what is no record while the answer is on its way: crypto/tls then writes an alert of its own
// accord, from another goroutine than the one that answers. The server must go on; go test -race looks at the rest.
func TestGarbageUnderTLS(t *testing.T) {
	certFile, keyFile := certificate(t, "one")
	store := newStore(t)
	mustPublish(t, store, "0", 100<<10)
	addr := start(t, Options{Store: store, TLSCert: certFile, TLSKey: keyFile, Now: time.Now}).addr
	for i := range 200 {
		raw, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
		if _, err := fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: hook\r\n\r\n", initramfs); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i%100) * 20 * time.Microsecond) // at another moment of the answer each time
		if _, err := raw.Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32))); err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, raw) // a reset is an end, too
		raw.Close()
	}
	resp, err := insecure().Get("https://" + addr + "/" + kernel)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || len(body) != 100<<10 {
		t.Errorf("got %d bytes, %v", len(body), err)
	}
}
