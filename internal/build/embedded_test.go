package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/debian"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/image"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// A bundle manifest with keys beside those that are read, as the real one has many.
const bundleYAML = `apiVersion: anywhere.eks.amazonaws.com/v1alpha1
kind: Bundles
spec:
  number: 99
  versionsBundles:
  - kubeVersion: "1.30"
    tinkerbell:
      tinkerbellStack:
        actions:
          cexec: {name: cexec, uri: "registry.example/actions/cexec:v1", arch: [amd64]}
          imageToDisk: {uri: "registry.example/actions/image2disk:v1"}
          kexec: {uri: "registry.example/actions/kexec:v1"}
          ociToDisk: {uri: "registry.example/actions/oci2disk:v1"}
          reboot: {uri: "registry.example/actions/reboot:v1"}
          writeFile: {uri: "registry.example/actions/writefile:v1"}
        tink: {%s}
  - kubeVersion: "1.31"
`

func embeddedNames(all []plan.Embedded) (lines []string) {
	for _, e := range all {
		lines = append(lines, e.Ref+" as "+strings.Join(e.Names, " "))
	}
	return lines
}

var bundleActions = []string{
	"registry.example/actions/cexec:v1 as 127.0.0.1/embedded/cexec:latest",
	"registry.example/actions/image2disk:v1 as 127.0.0.1/embedded/image2disk:latest",
	"registry.example/actions/kexec:v1 as 127.0.0.1/embedded/kexec:latest",
	"registry.example/actions/oci2disk:v1 as 127.0.0.1/embedded/oci2disk:latest",
	"registry.example/actions/reboot:v1 as 127.0.0.1/embedded/reboot:latest",
	"registry.example/actions/writefile:v1 as 127.0.0.1/embedded/writefile:latest",
}

func TestReadEmbedded(t *testing.T) {
	p := newProject(t)
	agent := "registry.example/tink-agent:v2 as 127.0.0.1/embedded/tink-worker:latest"
	old := p.file("old.yaml", fmt.Sprintf(bundleYAML, `tinkWorker: {uri: "registry.example/tink-agent:v2"}`))
	newer := p.file("new.yaml", fmt.Sprintf(bundleYAML, ""))
	list := p.file("images.txt", "# comment\nregistry.example/a/b:1\nregistry.example/a/b:1 b:2  # twice\n\nregistry.example/c d\n")
	for name, c := range map[string]struct {
		flavor config.Userland
		want   []string
	}{
		"nothing":                {},
		"bundle with an agent":   {config.Userland{EKSABundle: old}, append(slices.Clone(bundleActions), agent)},
		"bundle, agent by hand":  {config.Userland{EKSABundle: newer, AgentImage: "registry.example/tink-agent:v2"}, append(slices.Clone(bundleActions), agent)},
		"the user's goes before": {config.Userland{EKSABundle: old, AgentImage: "me/agent"}, append(slices.Clone(bundleActions), "me/agent as 127.0.0.1/embedded/tink-worker:latest")},
		"agent alone":            {config.Userland{AgentImage: "me/agent"}, []string{"me/agent as 127.0.0.1/embedded/tink-worker:latest"}},
		"upstream's list":        {config.Userland{ImagesFile: list}, []string{"registry.example/a/b:1 as registry.example/a/b:1 b:2", "registry.example/c as registry.example/c:latest d:latest"}},
		"a list, by name and by its own": {config.Userland{EmbeddedImages: []config.EmbeddedImage{
			{Source: "archive:x.tar", As: []string{"x", "y:1"}}, {Source: "busybox"}, {Source: "archive:x.tar", As: []string{"z"}},
		}}, []string{"archive:x.tar as x:latest y:1 z:latest", "busybox as busybox:latest"}},
	} {
		req := p.req
		req.Flavor.Userland = c.flavor
		got, pin, err := readEmbedded(t.Context(), req, p.pkg)
		if err != nil || pin != nil {
			t.Errorf("%s: %v, pin %+v", name, err, pin)
		}
		if diff := cmp.Diff(c.want, embeddedNames(got)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestReadEmbeddedFaults(t *testing.T) {
	p := newProject(t)
	one := func(source string, as ...string) []config.EmbeddedImage {
		return []config.EmbeddedImage{{Source: source, As: as}}
	}
	for want, u := range map[string]config.Userland{
		"lists no agent image":        {EKSABundle: p.file("new.yaml", fmt.Sprintf(bundleYAML, ""))},
		"no bundle manifest":          {EKSABundle: p.file("pod.yaml", "kind: Pod\n")},
		"lists no action images":      {EKSABundle: p.file("empty.yaml", "kind: Bundles\nspec: {versionsBundles: [{kubeVersion: x}]}\n")},
		"yaml":                        {EKSABundle: p.file("broken.yaml", "kind: [\n")},
		"no such file":                {EKSABundle: p.dir + "/none"},
		"bad.txt:2: want SOURCE":      {ImagesFile: p.file("bad.txt", "a\na b c\n")},
		"want an image of the engine": {EmbeddedImages: one("build:init")},
		"name UPPER":                  {EmbeddedImages: one("a", "UPPER")},
		"say which with as":           {EmbeddedImages: one("a@sha256:" + strings.Repeat("a", 64))},
		"both a and b are to be x":    {EmbeddedImages: append(one("a", "x"), one("b", "x:latest")...)},
	} {
		req := p.req
		req.Flavor.Userland = u
		if _, _, err := readEmbedded(t.Context(), req, p.pkg); !isA[*InputError](err) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an InputError with %q", err, want)
		}
	}
}

// A bundle of a web server is fetched once; what it says then holds until the lock is updated.
func TestBundleOfAWebServer(t *testing.T) {
	p := newProject(t)
	var asked atomic.Int32
	text := fmt.Sprintf(bundleYAML, `tinkWorker: {uri: "registry.example/tink-agent:v2"}`)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, text)
	}))
	t.Cleanup(srv.Close)
	p.pkg.Client = &debian.Client{CacheDir: p.pkg.Client.CacheDir, HTTP: srv.Client()}
	p.req.Flavor.Userland.EKSABundle = srv.URL + "/bundle.yaml"
	read := func() ([]plan.Embedded, *resolve.File, error) { return readEmbedded(t.Context(), p.req, p.pkg) }

	first, pin, err := read()
	if err != nil || pin == nil || pin.URL != p.req.Flavor.Userland.EKSABundle || pin.SHA256 != hexSum([]byte(text)) {
		t.Fatalf("got pin %+v, %v", pin, err)
	}
	lock, err := resolve.ReadLock(p.req.LockFile)
	if err != nil {
		t.Fatal(err)
	}
	e := lock.Flavors[p.req.Flavor.ID]
	e.Bundle = pin
	lock.Flavors[p.req.Flavor.ID] = e
	if err := lock.Write(p.req.LockFile); err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(text, ":v1", ":v9")
	again, _, err := read()
	if err != nil || asked.Load() != 1 || !cmp.Equal(first, again) {
		t.Errorf("by the lock: got %v, asked %d times", err, asked.Load())
	}
	p.req.Update = true
	updated, pin, err := read()
	if err != nil || pin.SHA256 != hexSum([]byte(text)) || cmp.Equal(first, updated) {
		t.Errorf("updated: got %+v, %v", pin, err)
	}
	p.req.Update = false
	p.pkg.Client = &debian.Client{CacheDir: t.TempDir(), HTTP: srv.Client()}
	if _, _, err := read(); !isA[*download.VerifyError](err) {
		t.Errorf("the server has another than the lock: got %v", err)
	}
	p.pkg.Client.Offline = true
	if _, _, err := read(); !isA[*download.OfflineError](err) {
		t.Errorf("offline, not in the cache: got %v", err)
	}
}

// What is embedded is what `docker save` would write, the layers that two images share once.
func TestEmbeddedInTheTree(t *testing.T) {
	p := newProject(t)
	p.lock()
	ref := p.archive("tool.tar", files{{"bin/", ""}, {"bin/tool", "elf"}})
	p.req.Flavor.Userland.EmbeddedImages = []config.EmbeddedImage{
		{Source: ref, As: []string{"127.0.0.1/embedded/tool", "tool:1"}}, {Source: p.archive("other.tar", files{{"file", "x"}}), As: []string{"other"}},
	}
	res, file, err := p.built("init: [\"" + ref + "\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	tree := unpacked(t, file)
	var documents []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal([]byte(tree["usr/lib/embedded-images/000/manifest.json"]), &documents); err != nil || len(documents) != 1 {
		t.Fatalf("manifest.json: %v, %+v", err, documents)
	}
	d := documents[0]
	if diff := cmp.Diff([]string{"127.0.0.1/embedded/tool:latest", "tool:1"}, d.RepoTags); diff != "" {
		t.Error(diff)
	}
	for _, name := range append(d.Layers, d.Config) {
		sum, _, _ := strings.Cut(name, ".")
		if hexSum([]byte(tree["usr/lib/embedded-images/000/"+name])) != sum {
			t.Errorf("%s: there is none, or with other content", name)
		}
	}
	if len(d.Layers) != 1 || tree["usr/lib/embedded-images/001/manifest.json"] == "" {
		t.Errorf("got layers %v", d.Layers)
	}
	m := res.Generation.Manifest
	if !m.EmbeddedImages || m.EKSA.OK || !strings.Contains(m.EKSA.Reason, "127.0.0.1/embedded/tink-worker") {
		t.Errorf("got embedded %v, EKS Anywhere %+v", m.EmbeddedImages, m.EKSA)
	}
	p.req.Flavor.Userland.EmbeddedImages = []config.EmbeddedImage{{Source: "archive:none.tar", As: []string{"x"}}}
	var missing *image.NotFoundError
	if _, _, err := p.built("init: [\"" + ref + "\"]\n"); !errors.As(err, &missing) || !strings.Contains(err.Error(), "none.tar") {
		t.Errorf("an image that is nowhere: got %v", err)
	}
}

func TestEKSA(t *testing.T) {
	var all []plan.Embedded
	for _, name := range append(actionNames(), agentName) {
		if got := eksa(all); got.OK || !strings.Contains(got.Reason, name) {
			t.Errorf("without %s: got %+v", name, got)
		}
		all = append(all, plan.Embedded{Names: []string{name + ":latest"}})
	}
	if got := eksa(all); got != (artifacts.EKSA{OK: true}) {
		t.Errorf("with all: got %+v", got)
	}
}
