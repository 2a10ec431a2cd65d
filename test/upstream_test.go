package test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// labels are what images of LinuxKit say of themselves, in the registry of TestUpstreamImages.
var labels = map[string]string{
	"linuxkit/rngd":   `{"capabilities": ["CAP_SYS_ADMIN"], "oomScoreAdj": -800, "readonly": true}`,
	"linuxkit/sysctl": `{"pid": "host", "ipc": "host", "capabilities": ["CAP_SYS_ADMIN"], "readonly": true}`,
	"linuxkit/dhcpcd": `{"binds": ["/run:/run", "/tmp:/etc"], "capabilities": ["CAP_NET_ADMIN"], "net": "host"}`,
	"linuxkit/getty":  `{"binds": ["/etc/getty:/hostroot/etc/getty"], "net": "host", "pid": "host", "capabilities": ["all"]}`,
}

// upstreamFiles are what of an image is looked for again.
func upstreamFiles(t *testing.T, repository string) []imageFile {
	t.Helper()
	switch repository {
	case "linuxkit/init":
		return []imageFile{directory("bin"), directory("etc"), directory("etc/init.d"), regular("init", 0o755, []byte("#!/bin/sh\n")),
			regular("bin/rc.init", 0o755, []byte("init")), regular("etc/init.d/010-onboot", 0o755, nil)}
	case "linuxkit/ca-certificates":
		return []imageFile{directory("etc"), directory("etc/ssl"), regular("etc/ssl/ca-certificates.crt", 0o644, []byte("certificates"))}
	}
	base := repository[strings.LastIndex(repository, "/")+1:]
	return []imageFile{directory("usr"), directory("usr/bin"), regular("usr/bin/"+base, 0o755, []byte(base))}
}

// TestUpstreamImages composes the example from a registry that has images under upstream's names.
func TestUpstreamImages(t *testing.T) {
	p := newProject(t)
	if err := os.CopyFS(p.dir, os.DirFS("../examples/hook-upstream")); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	vars := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^  (HOOK_[A-Z]+): (.*)$`).FindAllStringSubmatch(string(p.read("hookbuild.yaml")), -1) {
		vars[m[1]] = m[2]
	}
	pushed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?:linuxkit|\$\{HOOK_IMAGES\})/[^"\s]+`).FindAllString(string(p.read("hook.yaml")), -1) {
		ref := os.Expand(m, func(n string) string { return vars[n] })
		if !pushed[ref] {
			pushUpstream(t, host, ref)
		}
		pushed[ref] = true
	}
	if len(pushed) != 17 {
		t.Fatalf("the example names %d images: %v", len(pushed), pushed)
	}
	// A compiled kernel makes no difference here.
	yaml := strings.Replace(string(p.read("hookbuild.yaml")), "hook-default-amd64", "hook-debian-amd64", 1)
	p.write("hookbuild.yaml", fmt.Sprintf("%sregistries:\n  docker.io: {mirror: %s}\n  registry.example: {mirror: %s}\n", yaml, s.URL, s.URL))
	p.run("linuxkit", "upstream-amd64")

	list := p.run("inspect", p.path("out/hook/initramfs-x86_64"))
	for _, want := range []string{
		"init", "bin/rc.init", "usr/bin/hook-runc", "usr/bin/hook-containerd", "usr/bin/firmware", "etc/ssl/ca-certificates.crt", "etc/motd",
		"containers/onboot/000-rngd1/config.json", "containers/onboot/005-dhcpcd-once/runtime.json",
		"containers/services/hook-docker/lower/usr/bin/hook-docker", "containers/services/hook-docker/rootfs", "containers/services/hook-docker/tmp",
		"containers/onboot/000-rngd1/rootfs/usr/bin/rngd",
	} {
		if !regexp.MustCompile(`(?m)\s` + regexp.QuoteMeta(want) + `(\s|$)`).MatchString(list) {
			t.Errorf("the initramfs has no %s", want)
		}
	}
	checkUpstreamBundles(t, p)
}

// pushUpstream puts an image where the mirror of its registry has it.
func pushUpstream(t *testing.T, host, ref string) {
	t.Helper()
	repository, tag, _ := strings.Cut(strings.TrimPrefix(ref, "registry.example/"), ":")
	c := v1.Config{Cmd: []string{"/usr/bin/" + repository[strings.LastIndex(repository, "/")+1:]}, Env: []string{"PATH=/usr/bin"}}
	if label := labels[repository]; label != "" {
		c.Labels = map[string]string{"org.mobyproject.config": label}
	}
	to, err := name.NewTag(host+"/"+repository+":"+tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(to, imageOf(t, "amd64", c, layerOf(t, upstreamFiles(t, repository)...))); err != nil {
		t.Fatal(err)
	}
}

// checkUpstreamBundles looks at what LinuxKit 1.8 makes of the YAML and the labels together.
func checkUpstreamBundles(t *testing.T, p *project) {
	type mount struct {
		Destination, Type, Source string
		Options                   []string
	}
	type spec struct {
		Process struct {
			Args         []string
			OOMScoreAdj  int `json:"oomScoreAdj"`
			Capabilities struct{ Bounding []string }
		}
		Root   struct{ Readonly bool }
		Mounts []mount
		Linux  struct{ Namespaces []struct{ Type string } }
	}
	read := func(name string) (s spec) {
		t.Helper()
		text := p.run("inspect", p.path("out/hook/initramfs-x86_64"), "--cat", "containers/"+name+"/config.json")
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	rngd := read("onboot/000-rngd1")
	if diff := cmp.Diff([]string{"/sbin/rngd", "-1"}, rngd.Process.Args); diff != "" || rngd.Process.OOMScoreAdj != -800 || !rngd.Root.Readonly {
		t.Errorf("rngd1: %+v", rngd)
	}
	if diff := cmp.Diff([]string{"CAP_SYS_ADMIN"}, rngd.Process.Capabilities.Bounding); diff != "" {
		t.Error(diff)
	}
	docker := read("services/hook-docker")
	has := func(s spec, m mount) bool {
		return slices.ContainsFunc(s.Mounts, func(o mount) bool { return cmp.Equal(o, m) })
	}
	bind := []string{"rw", "rbind", "rshared"}
	for _, want := range []mount{
		{"/var/lib/docker", "bind", "/var/run/images", bind}, {"/worker", "bind", "/var/run/worker", bind}, {"/host_root", "bind", "/", bind},
		{"/sys/fs/cgroup", "cgroup2", "cgroup2", []string{"rw", "nosuid", "noexec", "nodev", "relatime"}},
	} {
		if !has(docker, want) {
			t.Errorf("hook-docker lacks the mount %+v: %+v", want, docker.Mounts)
		}
	}
	for _, n := range docker.Linux.Namespaces {
		if n.Type == "network" || n.Type == "pid" {
			t.Errorf("hook-docker has a %s namespace of its own", n.Type)
		}
	}
	if len(docker.Process.Capabilities.Bounding) < 38 || docker.Root.Readonly {
		t.Errorf("hook-docker: %+v", docker.Process.Capabilities)
	}
	// binds.add goes behind the label's, binds takes their place.
	getty := read("services/getty")
	if !has(getty, mount{"/hostroot/etc/getty", "bind", "/etc/getty", bind}) || !has(getty, mount{"/host_root", "bind", "/", bind}) {
		t.Errorf("getty: %+v", getty.Mounts)
	}
}
