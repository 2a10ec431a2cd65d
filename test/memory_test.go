//go:build bench || soak

package test

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const memoryYAML = `flavors:
  memory-amd64:
    extends: %s
    userland:
      embedded_images:
        - {source: "archive:0.tar", as: ["127.0.0.1/embedded/tink-worker"]}
        - {source: "archive:1.tar", as: ["127.0.0.1/embedded/image2disk"]}
        - {source: "archive:2.tar", as: ["127.0.0.1/embedded/writefile"]}
`

// testMemory boots a HookOS with three embedded images of 50 MB each, which nothing makes smaller, in less and less
// memory, and says how much is left at ready and after the images have been loaded.
func testMemory(t *testing.T, flavor string) {
	p := newProject(t)
	p.write("hookbuild.yaml", fmt.Sprintf(memoryYAML, flavor))
	for i := range 3 {
		content := make([]byte, 50_000_000)
		if _, err := rand.Read(content); err != nil {
			t.Fatal(err)
		}
		archiveOf(t, p.path(strconv.Itoa(i)+".tar"), "amd64", fmt.Sprintf("filler:%d", i), v1.Config{}, layerOf(t, regular("content", 0o644, content)))
	}
	p.run("all", "memory-amd64")
	p.run("boot", "memory-amd64", "--expect", "Linux version", "--timeout", "5m")
	least := 0
	for _, mib := range []int{4096, 2048, 1536, 1280, 1152, 1024, 896, 768} {
		ready, loaded, err := memoryAt(p, t, mib)
		if err != nil {
			t.Logf("with %d MiB it does not come up: %v", mib, err)
			if mib >= 2048 {
				t.Errorf("it has to come up with %d MiB", mib)
			}
			break
		}
		least = mib
		report(t, fmt.Sprintf("%s, three embedded images of 50 MB, MemAvailable with %d MiB: at ready, images loaded", flavor, mib), "", ready+", "+loaded)
	}
	report(t, flavor+", three embedded images of 50 MB: comes up with", "2048 MiB", fmt.Sprintf("%d MiB", least))
}

// memoryAt boots with so much memory.
func memoryAt(p *project, t *testing.T, mib int) (ready, loaded string, err error) {
	t.Helper()
	m := p.boots("memory-amd64", machineOptions{Memory: strconv.Itoa(mib) + "M", Append: "panic=-1"})
	limit := time.After(bootTimeout)
	for !strings.Contains(m.text(), "HookOS ready: ") {
		select {
		case <-m.ended:
			return "", "", fmt.Errorf("the machine has ended: %s", lastLine(m.text()))
		case <-limit:
			return "", "", fmt.Errorf("not ready in time: %s", lastLine(m.text()))
		case <-time.After(time.Second):
		}
	}
	m.ready()
	available := "awk '/MemAvailable/ { printf \"%d MiB\", $2 / 1024 }' /proc/meminfo"
	ready = m.sh(available)
	for range 120 {
		if out, code := m.try("ls /usr/lib/embedded-images; docker images -q | sort -u | wc -l"); code == 0 && out == "3" {
			return ready, m.sh(available), nil
		}
		time.Sleep(time.Second)
	}
	return "", "", fmt.Errorf("the images have not been loaded: %s", m.sh("tail -n 3 /var/log/hook-docker.log"))
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
