package kernelorg_test

import (
	"bytes"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/hookbuild/hookbuild/internal/kernelorg"
)

// gnupg runs gpg with a home of its own.
func gnupg(t *testing.T, home string, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("gpg", append([]string{
		"--homedir", home, "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "", "--faked-system-time", "20240301T120000!",
	}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("this test needs gpg, which says: %v\n%s", err, complaint.Bytes())
	}
	return out
}

// TestGnuPG has GnuPG make the keys and the signatures, as it does at kernel.org.
func TestGnuPG(t *testing.T) {
	w := newWorld(t)
	home := t.TempDir()
	t.Cleanup(func() {
		if err := exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run(); err != nil {
			t.Errorf("stopping gpg's agent: %v", err)
		}
	})
	var signers []kernelorg.Signer
	for _, mail := range []string{"autosigner@kernel.org", "gregkh@kernel.org"} {
		gnupg(t, home, nil, "--quick-generate-key", mail, "rsa3072", "sign", "never")
		var fingerprint string
		for line := range strings.Lines(string(gnupg(t, home, nil, "--with-colons", "--list-keys", mail))) {
			if f := strings.Split(line, ":"); f[0] == "fpr" && fingerprint == "" {
				fingerprint = f[9]
			}
		}
		signers = append(signers, kernelorg.Signer{Mail: mail, Fingerprint: fingerprint})
	}
	w.client.Trusted = kernelorg.Anchors{Autosigner: signers[0], Developers: signers[1:]}
	text, _, _ := bytes.Cut(w.served("v6.x/sha256sums.asc"), []byte("-----BEGIN PGP SIGNATURE"))
	_, text, _ = bytes.Cut(text, []byte("\n\n"))
	list := gnupg(t, home, text, "--local-user", signers[0].Mail, "--digest-algo", "SHA256", "--clearsign")
	sign := gnupg(t, home, w.tars["6.6.10"], "--local-user", signers[1].Mail, "--armor", "--detach-sign")
	w.Answer = func(rw http.ResponseWriter, r *http.Request) bool {
		local := r.URL.Query().Get("l")
		switch {
		case local != "":
			rw.Write(gnupg(t, home, nil, "--export", local+"@kernel.org"))
		case strings.HasSuffix(r.URL.Path, "sha256sums.asc"):
			rw.Write(list)
		case strings.HasSuffix(r.URL.Path, ".tar.sign"):
			rw.Write(sign)
		default:
			return false
		}
		return true
	}
	pin := w.resolve(kernelorg.Want{Series: "6.6"})
	if pin.Version != "6.6.10" || pin.SignedBy[0] != signers[0].Fingerprint || pin.SignedBy[1] != signers[1].Fingerprint {
		t.Errorf("got %v, want 6.6.10 signed by %v", pin, signers)
	}
}
