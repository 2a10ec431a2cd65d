package serve

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// helmJob does what the download job of Tinkerbell's Helm chart does
// (helm/tinkerbell/templates/osie/hookos/download-configmap.yaml there): of the archives that checksum.txt lists it takes
// those for the architecture that are not of the kernel latest-lts, downloads them, compares them, and unpacks them.
const helmJob = `set -eu
url=$1
curl -fsS -o checksum.txt "$url/checksum.txt"
grep -E '(x86_64|aarch64).*\.(tar\.gz|iso)$' checksum.txt | grep -v latest-lts | grep x86_64 > wanted
while read -r sum name; do curl -fsS -o "$name" "$url/$name"; done < wanted
sha512sum -c wanted
for archive in *.tar.gz; do tar -xzf "$archive"; done
`

func TestHelmDownloadJob(t *testing.T) {
	const size = 300_000
	store := newStore(t)
	mustPublish(t, store, "1", size)
	server := start(t, Options{Store: store})
	for _, path := range []string{"", "/hook"} {
		dir := t.TempDir()
		cmd := exec.Command("sh", "-c", helmJob, "sh", "http://"+server.addr+path)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "hook_x86_64.tar.gz: OK") {
			t.Fatalf("%q: %v\n%s", path, err, out)
		}
		for _, name := range []string{"vmlinuz-x86_64", "initramfs-x86_64"} {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || !bytes.Equal(got, content(name, "1", size)) {
				t.Errorf("%q: %s: got %d bytes, %v", path, name, len(got), err)
			}
		}
	}
}
