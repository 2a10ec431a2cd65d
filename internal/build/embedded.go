package build

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"go.yaml.in/yaml/v4"

	"github.com/hookbuild/hookbuild/internal/artifacts"
	"github.com/hookbuild/hookbuild/internal/config"
	"github.com/hookbuild/hookbuild/internal/download"
	"github.com/hookbuild/hookbuild/internal/filetree"
	"github.com/hookbuild/hookbuild/internal/linuxkit"
	"github.com/hookbuild/hookbuild/internal/plan"
	"github.com/hookbuild/hookbuild/internal/resolve"
)

// embeddedPrefix is where EKS Anywhere expects the images that HookOS brings along. Nothing listens at that address:
// a name that begins so can only be one that Docker has already.
const embeddedPrefix = "127.0.0.1/embedded/"

// agentName is what EKS Anywhere starts as the agent, from 0.22.x and 0.23.2 on.
const agentName = embeddedPrefix + "tink-worker"

// actionNames are what EKS Anywhere's default templates run, from 0.21 on.
func actionNames() []string {
	return []string{embeddedPrefix + "image2disk", embeddedPrefix + "writefile", embeddedPrefix + "reboot"}
}

// readEmbedded lists the images that HookOS is to bring along: those that the flavor lists, those of the bundle, the
// agent. pin is the bundle's, nil where none comes from a web server.
func readEmbedded(ctx context.Context, req Request, m *Packages) (all []plan.Embedded, pin *resolve.File, err error) {
	u := req.Flavor.Userland
	images := slices.Clone(u.EmbeddedImages)
	if u.ImagesFile != "" {
		if images, err = readImagesFile(u.ImagesFile); err != nil {
			return nil, nil, err
		}
	}
	agent := u.AgentImage
	if u.EKSABundle != "" {
		var data []byte
		if data, pin, err = readBundle(ctx, req, m); err != nil {
			return nil, nil, err
		}
		actions, named, err := bundleImages(u.EKSABundle, data)
		if err != nil {
			return nil, nil, err
		}
		images = append(images, actions...)
		if agent == "" {
			agent = named
		}
	}
	if agent != "" {
		images = append(images, config.EmbeddedImage{Source: agent, As: []string{agentName}})
	}
	if all, err = embeddedOf(images); err != nil {
		return nil, nil, err
	}
	if u.EKSABundle != "" && !names(all, agentName) {
		return nil, nil, &InputError{What: fmt.Sprintf(
			"%s lists no agent image, as no bundle since EKS Anywhere 0.25 does: name the one of your Tinkerbell stack's version, with userland.agent_image or --agent-image",
			download.Redacted(u.EKSABundle))}
	}
	return all, pin, nil
}

// embeddedOf puts names into the form in which Docker keeps them, and together what is one image.
func embeddedOf(images []config.EmbeddedImage) ([]plan.Embedded, error) {
	var all []plan.Embedded
	owner := map[string]string{}
	for _, i := range images {
		if strings.HasPrefix(i.Source, componentScheme) {
			return nil, &InputError{What: fmt.Sprintf("embedded image %s: want an image of the engine, of a registry, oci: or archive:", i.Source)}
		}
		as := i.As
		if len(as) == 0 {
			as = []string{i.Source}
		}
		at := slices.IndexFunc(all, func(e plan.Embedded) bool { return e.Ref == i.Source })
		if at < 0 {
			at = len(all)
			all = append(all, plan.Embedded{Ref: i.Source})
		}
		for _, name := range as {
			tagged, err := dockerName(name)
			if err != nil {
				return nil, &InputError{What: fmt.Sprintf("embedded image %s: the name %s: %v", i.Source, name, err)}
			}
			if other, taken := owner[tagged]; taken && other != i.Source {
				return nil, &InputError{What: fmt.Sprintf("embedded images: both %s and %s are to be %s", other, i.Source, tagged)}
			}
			if owner[tagged] == "" {
				owner[tagged] = i.Source
				all[at].Names = append(all[at].Names, tagged)
			}
		}
	}
	return all, nil
}

// dockerName is a name with its tag, as Docker prints it.
func dockerName(name string) (string, error) {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", err
	}
	if _, digested := ref.(reference.Digested); digested {
		return "", errors.New("it has a digest, and no tag to be found by; say which with as:")
	}
	return reference.FamiliarString(reference.TagNameOnly(ref)), nil
}

func names(all []plan.Embedded, name string) bool {
	return slices.ContainsFunc(all, func(e plan.Embedded) bool {
		return slices.Contains(e.Names, name) || slices.Contains(e.Names, name+":latest")
	})
}

// readImagesFile reads upstream's images.txt: in each line a source, and after a blank the name that it has in HookOS
// besides its own. https://github.com/tinkerbell/hook/blob/main/images/hook-embedded/images.txt.example
func readImagesFile(file string) ([]config.EmbeddedImage, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, &InputError{What: fmt.Sprintf("embedded_images: %v", err)}
	}
	var images []config.EmbeddedImage
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		switch len(words) {
		case 0:
		case 1:
			images = append(images, config.EmbeddedImage{Source: words[0]})
		case 2:
			images = append(images, config.EmbeddedImage{Source: words[0], As: words})
		default:
			return nil, &InputError{What: fmt.Sprintf("%s:%d: want SOURCE or SOURCE NAME, got %d words", file, n, len(words))}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, &InputError{What: fmt.Sprintf("%s: %v", file, err)}
	}
	return images, nil
}

// maxBundle is ten times what a bundle manifest has.
const maxBundle = 32 << 20

// readBundle reads the bundle manifest. One of a web server is what the lock says, until that is updated.
func readBundle(ctx context.Context, req Request, m *Packages) ([]byte, *resolve.File, error) {
	where := req.Flavor.Userland.EKSABundle
	if !config.IsURL(where) {
		data, err := os.ReadFile(where)
		if err != nil {
			return nil, nil, &InputError{What: fmt.Sprintf("EKS Anywhere bundle: %v", err)}
		}
		return data, nil, nil
	}
	lock, err := resolve.ReadLock(req.LockFile)
	if err != nil {
		return nil, nil, err
	}
	known := lock.Flavors[req.Flavor.ID].Bundle
	if req.Update || known != nil && known.URL != download.Redacted(where) {
		known = nil
	}
	return m.bundle(ctx, where, known)
}

// bundle gets a bundle manifest: the one that is known, or whatever is there now.
func (p *Packages) bundle(ctx context.Context, url string, known *resolve.File) ([]byte, *resolve.File, error) {
	fetch := &download.Client{HTTP: p.Client.HTTP, Offline: p.Client.Offline}
	dest := func(sum string) string { return filepath.Join(p.Client.CacheDir, "bundles", sum+".yaml") }
	if known != nil {
		file := dest(known.SHA256)
		err := fetch.File(ctx, download.File{URL: url, Dest: file, SHA256: known.SHA256, Size: -1, Max: maxBundle})
		if err != nil {
			return nil, nil, err
		}
		data, err := os.ReadFile(file)
		return data, known, err
	}
	data, err := fetch.Bytes(ctx, url, maxBundle)
	if err != nil {
		return nil, nil, err
	}
	pin := &resolve.File{URL: download.Redacted(url), SHA256: hexSum(data)}
	if err := os.MkdirAll(filepath.Dir(dest(pin.SHA256)), 0o755); err != nil {
		return nil, nil, err
	}
	return data, pin, download.WriteFile(dest(pin.SHA256), bytes.NewReader(data))
}

// bundle is what is read of EKS Anywhere's release bundle manifest; types.go and others of
// https://github.com/aws/eks-anywhere/tree/main/release/api/v1alpha1 have all of it.
type bundle struct {
	Kind string `yaml:"kind"`
	Spec struct {
		VersionsBundles []struct {
			Tinkerbell struct {
				Stack struct {
					Actions map[string]bundleImage `yaml:"actions"`
					Tink    struct {
						Worker bundleImage `yaml:"tinkWorker"`
					} `yaml:"tink"`
				} `yaml:"tinkerbellStack"`
			} `yaml:"tinkerbell"`
		} `yaml:"versionsBundles"`
	} `yaml:"spec"`
}

type bundleImage struct {
	URI string `yaml:"uri"`
}

// bundleImages are the action images of the bundle's first version, and its agent, "" where it has none. The versions
// of one bundle, which are those of Kubernetes, share them.
func bundleImages(file string, data []byte) (actions []config.EmbeddedImage, agent string, err error) {
	var b bundle
	file = download.Redacted(file)
	if err := yaml.Unmarshal(data, &b); err != nil {
		return nil, "", &InputError{What: fmt.Sprintf("EKS Anywhere bundle %s: %v", file, err)}
	}
	if b.Kind != "Bundles" || len(b.Spec.VersionsBundles) == 0 {
		return nil, "", &InputError{What: fmt.Sprintf("%s is no bundle manifest of EKS Anywhere: want kind: Bundles and spec.versionsBundles", file)}
	}
	stack := b.Spec.VersionsBundles[0].Tinkerbell.Stack
	// Keys of the manifest and what the templates call them.
	for _, key := range []string{"cexec", "imageToDisk", "kexec", "ociToDisk", "reboot", "writeFile"} {
		if uri := stack.Actions[key].URI; uri != "" {
			name := embeddedPrefix + strings.ReplaceAll(strings.ToLower(key), "todisk", "2disk")
			actions = append(actions, config.EmbeddedImage{Source: uri, As: []string{name}})
		}
	}
	if len(actions) == 0 {
		return nil, "", &InputError{What: fmt.Sprintf("EKS Anywhere bundle %s lists no action images (spec.versionsBundles[0].tinkerbell.tinkerbellStack.actions)", file)}
	}
	return actions, stack.Tink.Worker.URI, nil
}

// dockerComponent is the component that loads embedded images, from embeddedDir.
const (
	dockerComponent = "docker"
	embeddedDir     = "usr/lib/embedded-images"
)

// runs says whether the YAML has a component.
func (j *Job) runs(name string) bool {
	return slices.ContainsFunc(j.Components, func(c Component) bool { return c.Name == name })
}

// addEmbedded puts each image into the tree as a directory of what `docker save` writes into its tar, so that the
// layers that images share are one file.
// https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md#combined-image-json--filesystem-changeset-format
func addEmbedded(ctx context.Context, j *Job, res *linuxkit.Result, src *imageSource) error {
	type document struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	for n, e := range j.Plan.Embedded {
		config, layers, err := src.blobs(ctx, e.Ref, platformOf(j.Flavor.Arch))
		if err != nil {
			return fmt.Errorf("embedded image: %w", err)
		}
		dir := path.Join(embeddedDir, fmt.Sprintf("%03d", n))
		origin := res.AddPart(linuxkit.Part{Kind: linuxkit.PartEmbedded, Name: e.Names[0], Image: e.Ref})
		w := layoutWriter{tree: res.Tree, origin: origin}
		d := document{Config: hexSum(config) + ".json", RepoTags: e.Names, Layers: []string{}}
		err = w.file(path.Join(dir, d.Config), filetree.Bytes(config))
		for _, l := range layers {
			sum := l.SHA256()
			name := fmt.Sprintf("%x.tar", sum)
			d.Layers = append(d.Layers, name)
			err = errors.Join(err, w.file(path.Join(dir, name), l))
		}
		if err = errors.Join(err, w.document(path.Join(dir, "manifest.json"), []document{d})); err != nil {
			return err
		}
	}
	return nil
}

// eksa says whether EKS Anywhere can provision with what is embedded.
func eksa(embedded []plan.Embedded) artifacts.EKSA {
	var lacks []string
	for _, name := range append(actionNames(), agentName) {
		if !names(embedded, name) {
			lacks = append(lacks, name)
		}
	}
	if len(lacks) == 0 {
		return artifacts.EKSA{OK: true}
	}
	return artifacts.EKSA{Reason: "it holds no embedded " + strings.Join(lacks, ", ")}
}
