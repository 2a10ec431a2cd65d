package serve

import (
	"strings"

	"github.com/hookbuild/hookbuild/internal/artifacts"
)

// Snippet returns the TinkerbellDatacenterConfig to paste into an EKS Anywhere cluster specification, YAML
// with what the user has to fill in between angle brackets. baseURL is that of the server (BaseURL); isoURL
// is that of the ISO, empty where there is none.
func Snippet(baseURL, isoURL string) string {
	baseURL = strings.TrimRight(baseURL, "/")
	iso := `  isoBoot: true
  hookIsoURL: "` + isoURL + `"
`
	if isoURL == "" {
		iso = ""
	}
	// EKS Anywhere joins directory and name with a slash of its own and drops a query.
	return `apiVersion: anywhere.eks.amazonaws.com/v1alpha1
kind: TinkerbellDatacenterConfig
metadata:
  name: <cluster>
spec:
  tinkerbellIP: "<free address on the machines' network; not the admin machine's>"
  osImageURL: "<URL of the OS image; its name must contain the Kubernetes version>"
  hookImagesURLPath: "` + baseURL + `/hook"
` + iso
}

// EmbeddedImagesWarning says, for a generation that lacks embedded images, what EKS Anywhere will not do with
// it, and what to set; it is empty for one that has all.
func EmbeddedImagesWarning(m artifacts.Manifest) string {
	if m.EKSA.OK {
		return ""
	}
	return `EKS Anywhere 0.21 and newer will not provision with this HookOS: ` + m.EKSA.Reason + `. ` +
		`Its templates run the actions from 127.0.0.1/embedded/ since 0.21, and it starts the agent as ` +
		`127.0.0.1/embedded/tink-worker since 0.22.x and 0.23.2; such images exist only inside the initramfs. ` +
		`Name the release's bundle manifest and the agent with --eksa-bundle and --agent-image, or set ` +
		`userland.eksa_bundle and userland.agent_image, or userland.embedded_images, in hookbuild.yaml.`
}
