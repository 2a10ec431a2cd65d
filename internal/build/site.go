package build

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/plan"
)

// site is what the flavor says of the place where HookOS runs, read from its files.
type site struct {
	certificates   []byte // PEM, nothing between them
	ntp            []string
	authorizedKeys []byte // nil: no ssh server
}

func readSite(u config.Userland) (s site, err error) {
	s.ntp = u.NTP
	for _, file := range u.CACertificates {
		certificates, err := readCertificates(file)
		if err != nil {
			return s, &InputError{What: fmt.Sprintf("ca_certificates: %v", err)}
		}
		s.certificates = append(s.certificates, certificates...)
	}
	if u.AuthorizedKeys != "" {
		if s.authorizedKeys, err = readAuthorizedKeys(u.AuthorizedKeys); err != nil {
			return s, &InputError{What: fmt.Sprintf("ssh.authorized_keys: %v", err)}
		}
	}
	return s, nil
}

// readCertificates returns the certificates of a file, and nothing else of it.
func readCertificates(file string) ([]byte, error) {
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all bytes.Buffer
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s: it holds a %s, want certificates only", file, strings.ToLower(block.Type))
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if err := pem.Encode(&all, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			return nil, err
		}
	}
	if all.Len() == 0 {
		return nil, fmt.Errorf("%s: it holds no certificate in PEM form", file)
	}
	return all.Bytes(), nil
}

// readAuthorizedKeys reads a file of public keys (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
func readAuthorizedKeys(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	keys := 0
	for n, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err != nil {
			return nil, fmt.Errorf("%s:%d: this is no public key", file, n+1)
		}
		keys++
	}
	if keys == 0 {
		return nil, fmt.Errorf("%s: it holds no key", file)
	}
	return data, nil
}

func (s site) planned() plan.Site {
	p := plan.Site{NTP: s.ntp}
	if s.certificates != nil {
		p.CACertificates = hexSum(s.certificates)
	}
	if s.authorizedKeys != nil {
		p.AuthorizedKeys = hexSum(s.authorizedKeys)
	}
	return p
}

// addTo writes what the scripts of HookOS read.
func (s site) addTo(t *filetree.Tree) error {
	add := func(name string, mode uint32, data []byte) error {
		return t.Add(name, &filetree.Inode{Kind: filetree.Regular, Perm: mode, Data: filetree.Bytes(data)}, "hookbuild.yaml")
	}
	if s.certificates != nil {
		if err := add("etc/hookos/ca-certificates.crt", 0o644, s.certificates); err != nil {
			return err
		}
	}
	if len(s.ntp) > 0 {
		if err := add("etc/hookos/ntp", 0o644, []byte(strings.Join(s.ntp, "\n")+"\n")); err != nil {
			return err
		}
	}
	if s.authorizedKeys == nil {
		return nil
	}
	dir := &filetree.Inode{Kind: filetree.Dir, Perm: 0o700}
	if err := t.Add("root/.ssh", dir, "hookbuild.yaml"); err != nil {
		return err
	}
	return add("root/.ssh/authorized_keys", 0o600, s.authorizedKeys)
}
