package test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hookbuild/hookbuild/internal/engine"
)

// gate stands before the engine. It lets all questions through, and of what removes something only that of the test: the
// rest, on which other tests and builds depend, is written down and refused as if it were in use.
type gate struct {
	to *httputil.ReverseProxy

	mu    sync.Mutex
	mine  []string // parts of the paths that may be removed
	asked []string // METHOD path, of everything that changes something
}

var apiVersion = regexp.MustCompile(`^/v1\.[0-9]+`)

func newGate(t *testing.T) (*gate, string) {
	t.Helper()
	network, address := "unix", "/var/run/docker.sock"
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		u, err := url.Parse(host)
		if err != nil {
			t.Fatal(err)
		}
		if network, address = u.Scheme, u.Host; u.Scheme == "unix" {
			address = u.Path
		}
	}
	g := &gate{to: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "engine" },
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		}},
	}}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	return g, "tcp://" + server.Listener.Addr().String()
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		g.mu.Lock()
		what := r.Method + " " + apiVersion.ReplaceAllString(r.URL.Path, "") + " " + r.URL.Query().Get("filters")
		g.asked = append(g.asked, strings.TrimSpace(what))
		allowed := slices.ContainsFunc(g.mine, func(part string) bool { return strings.HasSuffix(r.URL.Path, part) })
		g.mu.Unlock()
		if !allowed {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, `{"message": "kept from the test"}`)
			return
		}
	}
	g.to.ServeHTTP(w, r)
}

// TestPruneTouchesOnlyItsOwn lets prune --all loose on the real engine, behind the gate.
func TestPruneTouchesOnlyItsOwn(t *testing.T) {
	e := connect(t)
	busybox := busyboxImage(t, e)
	tag := func(name string) string {
		if err := e.Tag(t.Context(), busybox, name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Remove(context.Background(), name) }) // which may be gone
		return name
	}
	const ours = "hookbuild/component:prune-amd64-00000000000000aa"
	if err := e.Import(t.Context(), bytes.NewReader(make([]byte, 1024)), ours); err != nil { // an empty tar
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Remove(context.Background(), ours) })
	foreign := []string{
		busybox, tag("hookbuild-test/component:prune-amd64-00000000000000aa"), tag("hookbuild/component:prune-of-a-user"), tag("hookbuild-test/debian:base"),
	}
	create := func(args ...string) string {
		id := strings.TrimSpace(docker(t, slices.Concat(args, []string{busybox, "/bin/busybox", "sleep", "600"})...))
		t.Cleanup(func() { exec.Command("docker", "rm", "-f", id).Run() }) // which may be gone
		return id
	}
	left, running := create("create", "--label", engine.Label+"=run"), create("run", "-d", "--network", "none", "--label", engine.Label+"=run")
	others := create("create")
	g, host := newGate(t)
	g.mine = []string{"/images/" + ours, "/containers/" + left}

	cmd := exec.Command(binary(t), "prune", "--all", "--cache-dir", t.TempDir(), "--project", t.TempDir())
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+host, "DOCKER_CONTEXT=", "NO_PROXY=127.0.0.1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := e.Inspect(t.Context(), ours); !errors.Is(err, engine.ErrNoImage) {
		t.Errorf("our image: got %v, want it gone\n%s", err, out)
	}
	for _, name := range foreign {
		if _, err := e.Inspect(t.Context(), name); err != nil {
			t.Errorf("an image of others: %v", err)
		}
	}
	containers := docker(t, "ps", "-aq", "--no-trunc")
	if strings.Contains(containers, left) || !strings.Contains(containers, running) || !strings.Contains(containers, others) {
		t.Errorf("want %s gone, and %s and %s still there:\n%s", left, running, others, containers)
	}
	g.onlyOurs(t, left, running, others)
}

// onlyOurs looks at everything that prune wanted to change.
func (g *gate) onlyOurs(t *testing.T, left, running, others string) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	image := regexp.MustCompile(`^DELETE /images/hookbuild/(debian|component|kernel|kconfig|modules):[a-z0-9.-]+-[0-9a-f]{16}(-unpacked)?$`)
	cache := regexp.MustCompile(`^POST /build/prune \{"id":\{"([a-z0-9]+)":true\},"type":\{"exec.cachemount":true\}\}$`)
	mounts := slices.Concat(cacheMounts(t, "/build/src"), cacheMounts(t, "/build/obj"), cacheMounts(t, "/ccache"))
	labelled := docker(t, "ps", "-aq", "--no-trunc", "--filter", "label="+engine.Label) + left
	for _, what := range g.asked {
		id, isContainer := strings.CutPrefix(what, "DELETE /containers/")
		m := cache.FindStringSubmatch(what)
		switch {
		case isContainer && strings.Contains(labelled, id) && id != running && id != others:
		case m != nil && slices.Contains(mounts, m[1]):
		case image.MatchString(what):
		default:
			t.Errorf("prune wanted to %s", what)
		}
	}
	if !slices.Contains(g.asked, "DELETE /containers/"+left) {
		t.Errorf("prune has not tried to remove the container: %q", g.asked)
	}
}
