package serve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
)

// keyPair is a certificate and its key in files. They are read anew when either has changed, so that a renewed
// certificate needs no restart; as long as the new ones cannot be used, the old ones stay.
type keyPair struct {
	certFile, keyFile string
	log               *slog.Logger

	mu       sync.Mutex
	cert, of os.FileInfo // what the pair was read from
	pair     *tls.Certificate
	said     string // what the log has about files that cannot be used
}

func newKeyPair(certFile, keyFile string, log *slog.Logger) (*keyPair, error) {
	k := &keyPair{certFile: certFile, keyFile: keyFile, log: log}
	if _, err := k.get(nil); err != nil {
		return nil, err
	}
	return k, nil
}

// get is tls.Config.GetCertificate.
func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	cert, errCert := os.Stat(k.certFile)
	key, errKey := os.Stat(k.keyFile)
	err := errors.Join(errCert, errKey)
	if err == nil && k.pair != nil && same(cert, k.cert) && same(key, k.of) {
		return k.pair, nil
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(k.certFile, k.keyFile)
	}
	if err != nil && k.pair == nil {
		return nil, fmt.Errorf("TLS certificate %s and key %s: %w", k.certFile, k.keyFile, err)
	}
	if err != nil {
		if text := err.Error(); text != k.said { // and not with every connection
			k.said = text
			k.log.Warn("the TLS certificate has changed and cannot be used; the one before stays", "error", err)
		}
		return k.pair, nil
	}
	k.pair, k.cert, k.of, k.said = &pair, cert, key, ""
	return k.pair, nil
}

// same says whether a file is still the one that it was.
func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
