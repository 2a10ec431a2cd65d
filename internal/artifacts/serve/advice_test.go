package serve

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/hookbuild/hookbuild/internal/artifacts"
)

func TestCheckPort(t *testing.T) {
	tests := []struct {
		listen string
		refuse string // part of the error
		warn   string // part of the warning
	}{
		{":8080", "", ""},
		{"127.0.0.1:8080", "", ""},
		{":0", "", ""},
		{":80", "iPXE script", ""},
		{":http", "iPXE script", ""},
		{"[::1]:80", "port 80", ""},
		{"10.0.0.1:42113", "gRPC", ""},
		{":7171", "iPXE binaries", ""},
		{":7172", "metadata", ""},
		{":7080", "newer Tinkerbell", ""},
		{":7443", "HTTPS", ""},
		{":2222", "", "SSH"},
		{":6443", "", "Kubernetes API"},
		{":50061", "", "metadata"},
		{"8080", "missing port", ""},
		{":nosuchservice", "nosuchservice", ""},
		{":70000", "70000", ""},
	}
	for _, tt := range tests {
		t.Run(tt.listen, func(t *testing.T) {
			warn, refuse := CheckPort(tt.listen)
			if (refuse != nil) != (tt.refuse != "") || refuse != nil && !strings.Contains(refuse.Error(), tt.refuse) {
				t.Errorf("refuse: got %v, want %q", refuse, tt.refuse)
			}
			if (warn != "") != (tt.warn != "") || !strings.Contains(warn, tt.warn) {
				t.Errorf("warn: got %q, want %q", warn, tt.warn)
			}
		})
	}
}

func TestPortRefusedIsTyped(t *testing.T) {
	_, err := CheckPort(":7171")
	var refused *PortRefusedError
	if !errors.As(err, &refused) || refused.Port != 7171 || !strings.Contains(refused.Hint(), "--force-port") {
		t.Errorf("got %v, want a PortRefusedError of 7171", err)
	}
	if _, err := CheckPort("8080"); errors.As(err, &refused) {
		t.Errorf("no address: got a PortRefusedError, which --force-port would override")
	}
}

func TestSnippet(t *testing.T) {
	const base = "http://192.0.2.7:8080"
	tests := []struct {
		name      string
		base, iso string
		want      map[string]any
	}{
		{"no ISO", base, "", map[string]any{"hookImagesURLPath": base + "/hook"}},
		{"trailing slash", base + "/", "", map[string]any{"hookImagesURLPath": base + "/hook"}},
		{"ISO", base, base + "/hook-x86_64-efi-initrd.iso", map[string]any{
			"hookImagesURLPath": base + "/hook", "isoBoot": true, "hookIsoURL": base + "/hook-x86_64-efi-initrd.iso",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got struct {
				APIVersion string         `yaml:"apiVersion"`
				Kind       string         `yaml:"kind"`
				Spec       map[string]any `yaml:"spec"`
			}
			if err := yaml.Unmarshal([]byte(Snippet(tt.base, tt.iso)), &got); err != nil {
				t.Fatal(err)
			}
			if got.APIVersion != "anywhere.eks.amazonaws.com/v1alpha1" || got.Kind != "TinkerbellDatacenterConfig" {
				t.Errorf("got %s %s", got.APIVersion, got.Kind)
			}
			for _, key := range []string{"tinkerbellIP", "osImageURL"} {
				if v, ok := got.Spec[key].(string); !ok || !strings.HasPrefix(v, "<") {
					t.Errorf("%s: got %v, want something to fill in", key, got.Spec[key])
				}
				delete(got.Spec, key)
			}
			if diff := cmp.Diff(tt.want, got.Spec); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEmbeddedImagesWarning(t *testing.T) {
	got := EmbeddedImagesWarning(artifacts.Manifest{EmbeddedImages: true, EKSA: artifacts.EKSA{Reason: "it lacks something"}})
	for _, want := range []string{"0.21", "0.22.x", "0.23.2", "127.0.0.1/embedded/tink-worker", ": it lacks something. ", "--agent-image", "userland.eksa_bundle"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	if got := EmbeddedImagesWarning(artifacts.Manifest{EKSA: artifacts.EKSA{OK: true}}); got != "" {
		t.Errorf("with images: got %q, want nothing", got)
	}
}

// TestRoutedAddress has one right answer on every machine: an address of its own, or, where no route leads
// out, an error.
func TestRoutedAddress(t *testing.T) {
	got, err := RoutedAddress()
	if err != nil {
		if !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("got %v, want an address or ENETUNREACH", err)
		}
		return
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == got {
			return
		}
	}
	t.Errorf("got %s, want one of %v", got, own)
}

// TestRoutedAddressWithoutRoute asks in a network namespace that has no interface up.
func TestRoutedAddressWithoutRoute(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperVar+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "no route to the outside") {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestBaseURL(t *testing.T) {
	tests := []struct{ bound, want string }{
		{"10.0.0.5:8080", "http://10.0.0.5:8080"},
		{"[::ffff:10.0.0.5]:80", "http://10.0.0.5:80"},
		{"[2001:db8::5]:8080", "http://[2001:db8::5]:8080"},
	}
	for _, tt := range tests {
		addr, err := net.ResolveTCPAddr("tcp", tt.bound)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := BaseURL(addr); got != tt.want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", tt.bound, got, err, tt.want)
		}
	}
	routed, errRouted := RoutedAddress()
	got, err := BaseURL(&net.TCPAddr{IP: net.IPv6unspecified, Port: 8080})
	if (err == nil) != (errRouted == nil) || err == nil && got != "http://"+netip.AddrPortFrom(routed, 8080).String() {
		t.Errorf("every address: got %q, %v, want the routed one, %s", got, err, routed)
	}
}
