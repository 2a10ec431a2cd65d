package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/hookbuild/hookbuild/internal/heaptest"
	"github.com/hookbuild/hookbuild/internal/registry"
)

// The bounds that hold whatever an image is. CPU time is what a busy machine changes little, and the target is a
// tenth of it; nothing waits for anything here.
const (
	mostCPU    = 50 * time.Second
	mostTime   = 10 * time.Minute
	mostMemory = 256 << 20
	mostText   = 8 << 10 // bytes of an error's text
)

// bounded runs what reads something hostile, and fails where it takes too long or too much memory.
func bounded(t *testing.T, run func() error) error {
	t.Helper()
	grown := heaptest.Watch()
	start, cpu := time.Now(), cpuTime(t)
	err := run()
	took, worked := time.Since(start), cpuTime(t)-cpu
	taken := grown()
	if took > mostTime || worked > mostCPU || taken > mostMemory {
		t.Errorf("took %v, %v of CPU time and %d MiB", took, worked, taken>>20)
	} else if worked > time.Second || taken > 64<<20 {
		t.Logf("took %v of CPU time and %d MiB", worked, taken>>20)
	}
	if err != nil && len(err.Error()) > mostText {
		t.Errorf("an error of %d bytes: %.200s", len(err.Error()), err)
	}
	return err
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// tell resolves and reads.
func tell(t *testing.T, f Finder, ref string) error {
	t.Helper()
	return bounded(t, func() error {
		pin, err := f.Resolve(t.Context(), ref)
		if err == nil {
			_, err = f.Read(t.Context(), pin)
		}
		return err
	})
}

// million is a list of so many empty elements.
func million(n int) string { return "[" + strings.Repeat("{},", n-1) + "{}]" }

// zeros is n MiB of zeros, packed in pieces of 16 MiB.
func zeros(n int, pack func([]byte) []byte) []byte {
	return bytes.Repeat(pack(make([]byte, 16<<20)), n/16)
}

// faulty is a layout that cannot be read.
type faulty struct {
	name string
	make func() contents
	want string // of the error from a layout
	top  bool   // the fault is in what a registry does not have
}

// one is the layout of an image of one layer, which is packed in that way.
func one(l, packed []byte, mediaType string) contents {
	c := contents{}
	config := c.blob(configType, configOf("amd64", l))
	return c.index(c.blob(manifestType, manifestOf(config, c.blob(mediaType, packed))))
}

func faultyLayouts(t *testing.T) []faulty {
	l := tarOf(t, entry{name: "a", content: strings.Repeat("1", 5000)})
	gz, zst := gzipped(t, l), zstandard(t, l)
	good := func() contents { return one(l, l, layerType) }
	top := func(index string) func() contents {
		return func() contents { c := good(); c["index.json"] = index; return c }
	}
	// manifest is a layout with this one, or index.
	manifest := func(text string) func() contents {
		return func() contents { c := good(); return c.index(c.blob(manifestType, []byte(text))) }
	}
	config := func(text string) func() contents {
		return func() contents {
			c := contents{}
			return c.index(c.blob(manifestType, manifestOf(c.blob(configType, []byte(text)), c.blob(layerType, l))))
		}
	}
	layer := func(packed []byte) func() contents {
		return func() contents { return one(l, packed, layerType+"+gzip") }
	}
	spoil := func(what []byte, content string) func() contents {
		return func() contents {
			c := good()
			c["blobs/sha256/"+strings.TrimPrefix(digestOf(what), "sha256:")] = content
			if content == "" {
				delete(c, "blobs/sha256/"+strings.TrimPrefix(digestOf(what), "sha256:"))
			}
			return c
		}
	}
	scratch := contents{}
	cfg, lay := scratch.blob(configType, configOf("amd64", l)), scratch.blob(layerType, l)
	good0 := manifestOf(cfg, lay)
	swap := func(in, old, new string) string { return strings.Replace(in, old, new, 1) }
	whole := string(good0)
	ids := func(list string) string {
		return `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[` + list + `]}}`
	}
	id := `"` + digestOf(l) + `"`
	z := func(p []byte) []byte { return zstandard(t, p) }
	g := func(p []byte) []byte { return gzipped(t, p) }
	return []faulty{
		{"no index", func() contents { return contents{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`} }, "index.json", true},
		{"index is no JSON", top("{"), "index.json: read the manifest", true},
		{"index is empty", top(""), "index.json", true},
		{"index is a manifest", top(whole), "index.json: an image's manifest", true},
		{"index of schema 1", top(`{"schemaVersion":1}`), "schema 1", true},
		{"index and image at once", top(swap(whole, `"layers"`, `"manifests":[],"layers"`)), "an image and an index at once", true},
		{"index above 4 MiB", top(strings.Repeat(" ", 5<<20)), "index.json: 5242880 bytes, want at most", true},
		{"index of a million", top(`{"schemaVersion":2,"manifests":` + million(1_000_000) + `}`), "1000000 images in the index", true},
		{"index of a list of lists", top(`{"schemaVersion":2,"manifests":` + strings.Repeat("[", 1_000_000)), "index.json", true},
		{"index without images", top(indexOf()), "no image in it", true},
		{"index of another shape", top(`{"schemaVersion":2,"manifests":{"a":1}}`), "index.json: read the index", true},
		{"descriptor of nothing", top(indexOf(`{}`)), "without a digest of SHA-256", true},
		{"digest that is a path", top(indexOf(`{"digest":"sha256:../../../../etc/passwd","size":1}`)), "index.json: read the index", true},
		{"digest of MD5", top(indexOf(`{"digest":"md5:d41d8cd98f00b204e9800998ecf8427e","size":1}`)), "index.json: read the index", true},
		{"digest of SHA-512", top(indexOf(`{"digest":"sha512:` + strings.Repeat("0", 128) + `","size":1}`)), "without a digest of SHA-256", true},
		{"long name", top(indexOf(swap(scratch.blob(manifestType, good0), `}`, `,"annotations":{"org.opencontainers.image.ref.name":"`+strings.Repeat("n", 3<<20)+`"}}`), scratch.blob(manifestType, []byte("x")))), "it means 2 images", true},
		{"layout of another version", func() contents { c := good(); c["oci-layout"] = `{"imageLayoutVersion":"2.0.0"}`; return c }, "oci-layout: version 2.0.0", true},
		{"layout version is no JSON", func() contents { c := good(); c["oci-layout"] = `1`; return c }, "oci-layout: ", true},
		{"size of a manifest", top(indexOf(swap(scratch.blob(manifestType, good0), `"size":`, `"size":1`))), "bytes, want 1", true},
		{"negative size of a manifest", top(indexOf(swap(scratch.blob(manifestType, good0), `"size":`, `"size":-`))), "bytes, want -", true},

		{"manifest missing", spoil(good0, ""), "blobs/sha256/", false},
		{"manifest of other bytes", spoil(good0, swap(whole, "linux", "Linux")+" "), "bytes, want", false},
		{"manifest of other bytes, as many", spoil(good0, strings.Repeat(" ", len(good0))), "got sha256:", false},
		{"manifest above 4 MiB", manifest(whole + strings.Repeat(" ", 5<<20)), "bytes, want at most 4194304", false},
		{"manifest of a million layers", manifest(`{"schemaVersion":2,"config":` + cfg + `,"layers":` + million(1_000_000) + `}`), "1000000 layers", false},
		{"manifest of 501 layers", manifest(string(manifestOf(cfg, strings.Repeat(lay+",", 500)+lay))), "501 layers", false},
		{"manifest of no shape", manifest(`{"schemaVersion":2,"config":[],"layers":{}}`), "read the manifest", false},
		{"manifest of nothing", manifest(`{}`), "no image, but", false},
		{"manifest nested deeply", manifest(`{"config":` + strings.Repeat(`{"a":`, 500_000)), "read the manifest", false},
		{"media type of 3 MiB", manifest(`{"schemaVersion":2,"mediaType":"` + strings.Repeat("m", 3<<20) + `"}`), "no image, but", false},
		{"schema 1", manifest(`{"schemaVersion":1,"fsLayers":[]}`), "schema 1", false},
		{"image that says it is an index", manifest(swap(whole, manifestType, indexType)), "no image, but", false},
		{"index that says it is an image", manifest(`{"schemaVersion":2,"mediaType":"` + manifestType + `","manifests":[]}`), "no image, but", false},
		{"index that leads to itself", func() contents {
			c := good()
			name := strings.Repeat("a", 64)
			c["blobs/sha256/"+name] = indexOf(fmt.Sprintf(`{"digest":"sha256:%s","size":%d%s}`, name, 300, platformAMD64))
			c["blobs/sha256/"+name] += strings.Repeat(" ", 300-len(c["blobs/sha256/"+name]))
			return c.index(fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%s","size":300}`, indexType, name))
		}, "got sha256:", false},
		{"five indexes deep", func() contents {
			c := good()
			d := c.blob(manifestType, good0, platformAMD64)
			for range 5 {
				d = c.blob(indexType, []byte(indexOf(d)), platformAMD64)
			}
			return c.index(d)
		}, "more than 3 indexes within each other", false},
		{"index of other platforms", func() contents {
			c := good()
			return c.index(c.blob(indexType, []byte(indexOf(c.blob(manifestType, good0, platformARM64)))))
		}, "no image for linux/amd64 in the index; it has [linux/arm64]", false},
		{"artifact", manifest(swap(whole, configType, "application/vnd.cncf.helm.config.v1+json")), "an artifact of type", false},
		{"artifact type", manifest(swap(whole, `"config"`, `"artifactType":"application/x","config"`)), "an artifact of type", false},
		{"no configuration", manifest(swap(whole, cfg, `{"mediaType":"`+configType+`"}`)), "the configuration has no digest", false},
		{"large configuration", manifest(swap(whole, `"size":`, `"size":99999999`)), "bytes, want at most 8388608", false},
		{"negative configuration", manifest(swap(whole, `"size":`, `"size":-`)), "a configuration of -", false},
		{"layer of another type", manifest(swap(whole, layerType, "text/plain")), `has the type "text/plain"`, false},
		{"encrypted layer", manifest(swap(whole, layerType, layerType+"+gzip+encrypted")), "has the type", false},
		{"foreign layer", manifest(swap(whole, layerType, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")), "outside the registry", false},
		{"layer elsewhere", manifest(swap(whole, lay, swap(lay, `}`, `,"urls":["http://127.0.0.1:1/"]}`))), "outside the registry", false},
		{"negative layer", manifest(swap(whole, lay, swap(lay, `"size":`, `"size":-`))), "layer 0 of -", false},
		{"layer of an exabyte", manifest(swap(whole, lay, swap(lay, `"size":`, `"size":100000000000000`))), "layer 0 of 1", false},

		{"configuration missing", spoil(configOf("amd64", l), ""), "blobs/sha256/", false},
		{"configuration of other bytes", spoil(configOf("amd64", l), strings.Repeat(" ", len(configOf("amd64", l)))), "got sha256:", false},
		{"configuration is no JSON", config("{"), "read the configuration", false},
		{"configuration is a list", config("[]"), "read the configuration", false},
		{"configuration nested deeply", config(strings.Repeat("[", 1_000_000)), "read the configuration", false},
		{"a million layers in the configuration", config(ids(strings.Repeat(`"",`, 1_000_000) + `""`)), "1000001 layers in the configuration", false},
		{"no layers in the configuration", config(ids("")), "1 layers in the manifest, 0 in the configuration", false},
		{"layers too many in the configuration", config(ids(id + "," + id)), "1 layers in the manifest, 2 in the configuration", false},
		{"layer id that is a path", config(ids(`"sha256:../../../../etc/passwd"`)), "is no digest of SHA-256", false},
		{"layer id of SHA-512", config(ids(`"sha512:` + strings.Repeat("0", 128) + `"`)), "is no digest of SHA-256", false},
		{"configuration of another layer", config(ids(`"sha256:` + strings.Repeat("0", 64) + `"`)), "got " + digestOf(l) + " without compression, want sha256:000", false},
		{"configuration for another machine", config(swap(ids(id), "amd64", "riscv64")), "no image for linux/amd64; it is for linux/riscv64", false},

		{"layer missing", spoil(l, ""), digestOf(l), false},
		{"layer of other bytes", spoil(l, strings.Repeat("x", len(l))), "got sha256:", false},
		{"layer cut", spoil(l, string(l[:1000])), "got 1000 bytes, want", false},
		{"layer too long", spoil(l, string(l)+"x"), "bytes, want", false},
		{"layer is no tar", func() contents { p := bytes.Repeat([]byte("x"), 4096); return one(p, p, layerType) }, "tar: ", false},
		{"gzip cut", layer(gz[:len(gz)-9]), "unexpected EOF", false},
		{"gzip cut in its header", layer(gz[:5]), "unexpected EOF", false},
		{"gzip with garbage behind it", layer(append(bytes.Clone(gz), "twenty bytes of rubbish"...)), "gzip: invalid header", false},
		{"gzip with another one behind it", layer(append(bytes.Clone(gz), gz...)), "without compression, want", false},
		{"gzip with a wrong sum", layer(append(bytes.Clone(gz[:len(gz)-8]), "12345678"...)), "gzip: invalid checksum", false},
		{"gzip with a name without end", layer(append([]byte("\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x00"), bytes.Repeat([]byte("n"), 100_000)...)), "gzip: invalid header", false},
		{"gzip in gzip", layer(g(gz)), "without compression, want", false},
		{"zstd cut", layer(zst[:len(zst)-9]), "unexpected EOF", false},
		{"zstd with garbage behind it", layer(append(bytes.Clone(zst), "twenty bytes of rubbish"...)), "invalid input", false},
		{"zstd with a window of 512 MiB", layer([]byte("\x28\xb5\x2f\xfd\x00\x98\x01\x00\x00")), "window size exceeded", false},
		{"zstd with a window of 3.75 TiB", layer([]byte("\x28\xb5\x2f\xfd\x00\xff\x01\x00\x00")), "window size exceeded", false},
		{"zstd with a large window", layer(zstandard(t, make([]byte, 140<<20), zstd.WithWindowSize(maxWindow))), "without compression, want", false},
		{"zstd of 2^64-1 bytes", layer([]byte("\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00")), "", false},
		{"zstd with a dictionary", layer([]byte("\x28\xb5\x2f\xfd\x01\x58\x07\x01\x00\x00")), "dictionary", false},
		{"xz", layer([]byte("\xfd7zXZ\x00\x00\x04")), "compressed as xz", false},
		{"gzip bomb", layer(zeros(4096, g)), "want at most 200 times as many", false},
		{"zstd bomb", layer(zeros(4096, z)), "want at most 200 times as many", false},
	}
}

// rawRegistry answers with a layout's files as they are.
func rawRegistry(c contents) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		_, digest, _ := strings.Cut(r.URL.Path, "/sha256:")
		kind := "application/octet-stream"
		switch {
		case r.URL.Path == "/v2/":
			return true
		case strings.HasSuffix(r.URL.Path, "/manifests/1"):
			_, digest, _ = strings.Cut(c["index.json"], `"digest":"sha256:`)
			digest = digest[:64]
			fallthrough
		case strings.Contains(r.URL.Path, "/manifests/"):
			kind = manifestType
			if strings.Contains(c["blobs/sha256/"+digest], `"manifests":`) {
				kind = indexType
			}
		}
		content, ok := c["blobs/sha256/"+digest]
		if !ok {
			http.NotFound(w, r)
			return true
		}
		w.Header().Set("Content-Type", kind)
		w.Write([]byte(content))
		return true
	}
}

func TestHostileLayouts(t *testing.T) {
	s := newServer(t)
	for _, c := range faultyLayouts(t) {
		t.Run(c.name, func(t *testing.T) {
			made := c.make()
			refs := []string{"oci:" + made.dir(t), "archive:" + file(t, made.tar(t))}
			if bomb := strings.Contains(c.name, "bomb"); bomb { // once is enough
				refs, c.top = refs[:1], true
			}
			for _, ref := range refs {
				f := finder(t)
				err := tell(t, f, ref)
				broken, ok := errors.AsType[*FormatError](err)
				switch {
				case c.want == "it means 2 images":
					if !isA[*ReferenceError](err) {
						t.Errorf("got %T %v, want a *ReferenceError", err, err)
					}
				case c.want == "no image in it":
					if !isA[*NotFoundError](err) {
						t.Errorf("got %T %v, want a *NotFoundError", err, err)
					}
				case !ok || broken.Image != ref:
					t.Errorf("%s: got %T %v, want a *FormatError", ref, err, err)
				case broken.Layer == "" && broken.Entry == "" && c.name != "no index":
					t.Errorf("%v does not say what of it", err)
				}
				if c.name != "no index" {
					has(t, err, c.want)
				}
				if left := temporary(t, f); len(left) > 0 {
					t.Errorf("%q are left", left)
				}
			}
			if c.top {
				return
			}
			s.hook = rawRegistry(made)
			f := finder(t)
			f.Registry = &registry.Client{}
			err := tell(t, f, s.ref("x:1"))
			known := isA[*registry.Error](err) || isA[*registry.NotFoundError](err)
			if c.name == "layer is no tar" {
				known = isA[*FormatError](err)
			}
			if !known {
				t.Errorf("from a registry: got %T %v", err, err)
			}
			if left := temporary(t, f); len(left) > 0 {
				t.Errorf("%q are left", left)
			}
		})
	}
}

// What is odd, and no reason to refuse an image.
func TestOddLayouts(t *testing.T) {
	l := tarOf(t, entry{name: "a", content: "1"})
	config := strings.TrimSuffix(string(configOf("amd64", l)), "}")
	for name, text := range map[string]string{
		"two million steps of history": config + `,"history":` + million(2_000_000) + `}`,
		"a million labels":             strings.Replace(config, `"Labels":{`, `"Labels":{`+manyLabels(400_000), 1) + "}",
	} {
		t.Run(name, func(t *testing.T) {
			c := contents{}
			c.index(c.blob(manifestType, manifestOf(c.blob(configType, []byte(text)), c.blob(layerType, l))))
			must(t, tell(t, finder(t), "oci:"+c.dir(t)))
		})
	}
}

func manyLabels(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%d":"",`, i)
	}
	return b.String()
}

// A directory has more to offer than files.
func TestHostileDirectories(t *testing.T) {
	l := tarOf(t, entry{name: "a", content: "1"})
	hex := strings.TrimPrefix(digestOf(l), "sha256:")
	outside := file(t, l)
	for _, c := range []struct {
		name string
		lay  func(index, blob, blobs string) error
		want string
	}{
		{"layer is a symlink out", func(_, blob, _ string) error { return os.Symlink(outside, blob) }, "escapes"},
		{"layer is a symlink up", func(_, blob, _ string) error { return os.Symlink("../../../../../../etc/passwd", blob) }, "escapes"},
		{"layer is a symlink to itself", func(_, blob, _ string) error { return os.Symlink(hex, blob) }, "too many levels"},
		{"layer is a pipe", func(_, blob, _ string) error { return syscall.Mkfifo(blob, 0o600) }, "want a regular file"},
		{"layer is a directory", func(_, blob, _ string) error { return os.Mkdir(blob, 0o700) }, "want a regular file"},
		{"layer is a device", func(_, blob, _ string) error { return os.Symlink("/dev/zero", blob) }, "escapes"},
		{"blobs lead out", func(_, _, blobs string) error {
			return errors.Join(os.RemoveAll(blobs), os.Symlink("/tmp", blobs))
		}, "escapes"},
		{"index is a pipe", func(index, _, _ string) error {
			return errors.Join(os.Remove(index), syscall.Mkfifo(index, 0o600))
		}, "index.json: want a regular file"},
		{"index is a symlink out", func(index, _, _ string) error {
			return errors.Join(os.Remove(index), os.Symlink("/etc/passwd", index))
		}, "escapes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := one(l, l, layerType).dir(t)
			blob := filepath.Join(dir, "blobs/sha256", hex)
			must(t, os.Remove(blob), c.lay(filepath.Join(dir, "index.json"), blob, filepath.Join(dir, "blobs")))
			err := tell(t, finder(t), "oci:"+dir)
			if !isA[*FormatError](err) {
				t.Errorf("got %T %v", err, err)
			}
			has(t, err, c.want)
		})
	}
}

// rawHeader is a tar header of one's own making, its sum right.
func rawHeader(name, size string) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	copy(h[124:136], size)
	copy(h[136:], "00000000000\x00        0")
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

func TestHostileArchives(t *testing.T) {
	l := tarOf(t, entry{name: "a", content: "1"})
	config := string(configOf("amd64", l))
	saved := func(list string, more ...entry) []byte {
		return tarOf(t, append([]entry{{name: "c.json", content: config}, {name: "l.tar", content: string(l)}, {name: "manifest.json", content: list}}, more...)...)
	}
	const img = `{"Config":"c.json","RepoTags":["a:1"],"Layers":["l.tar"]}`
	good := saved("[" + img + "]")
	link := func(kind byte, target string) []byte {
		return tarOf(t, entry{name: "c.json", content: config}, entry{name: "l.tar", kind: kind, link: target}, entry{name: "manifest.json", content: "[" + img + "]"})
	}
	var many []entry
	for i := range maxMembers + 1 {
		many = append(many, entry{name: fmt.Sprint(i)})
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(pipe, 0o600))
	sparse := func() []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		must(t, w.WriteHeader(&tar.Header{Name: "manifest.json", Typeflag: 'D', Size: 0}), w.Close())
		return out.Bytes()
	}
	for _, c := range []struct {
		name, path string
		data       []byte
		want       string
	}{
		{"empty", "", nil, "neither index.json nor manifest.json"},
		{"no tar", "", bytes.Repeat([]byte("x"), 2000), "no tar"},
		{"a page", "", []byte("<html>"), "no tar"},
		{"a pipe", pipe, nil, "want a regular file"},
		{"a device", "/dev/zero", nil, "want a regular file"},
		{"another tar", "", tarOf(t, entry{name: "etc/passwd", content: "root"}), "neither index.json nor manifest.json"},
		{"cut", "", good[:2000], "no tar: unexpected EOF"},
		{"in gzip, cut", "", gzipped(t, good)[:100], "unexpected EOF"},
		{"in gzip, garbage behind it", "", append(gzipped(t, good), "twenty bytes of rubbish"...), "gzip: invalid header"},
		{"in zstd, cut", "", zstandard(t, good)[:100], "unexpected EOF"},
		{"in zstd, window of 512 MiB", "", []byte("\x28\xb5\x2f\xfd\x00\x98\x01\x00\x00"), "window size exceeded"},
		{"in xz", "", []byte("\xfd7zXZ\x00\x00\x04"), "compressed as xz"},
		{"in gzip twice", "", gzipped(t, gzipped(t, good)), "no tar"},
		{"bomb", "", zeros(4096, func(p []byte) []byte { return zstandard(t, p) }), "want at most 200 times"},
		{"too many members", "", tarOf(t, many...), "more than 20000 files"},
		{"member of negative size", "", append(rawHeader("a", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), make([]byte, 1024)...), "no tar"},
		{"member of 8 EiB", "", append(rawHeader("a", "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"), make([]byte, 1024)...), "no tar"},
		{"member beyond the end", "", append(rawHeader("a", "77777777777\x00"), make([]byte, 1024)...), "no tar"},
		{"list is a directory of its own kind", "", sparse(), "want a file"},
		{"list is no JSON", "", saved("["), "manifest.json: no JSON"},
		{"list is an object", "", saved("{}"), "manifest.json: want a list"},
		{"list of numbers", "", saved("[1]"), "manifest.json: "},
		{"list is empty", "", saved("[]"), "no image in it"},
		{"list of a million", "", saved(million(1_000_000)), "more than 1000 images"},
		{"list above 4 MiB", "", saved(strings.Repeat(" ", 5<<20)), "manifest.json: 5242880 bytes"},
		{"list nested deeply", "", saved(strings.Repeat("[", 1_000_000)), "no JSON"},
		{"list is a link to itself", "", tarOf(t, entry{name: "manifest.json", kind: tar.TypeSymlink, link: "manifest.json"}), "more than 8 links"},
		{"two images", "", saved("[" + img + "," + strings.Replace(img, "c.json", "d.json", 1) + "]"), "it means 2 images"},
		{"configuration outside", "", saved(strings.Replace("["+img+"]", "c.json", "../../etc/passwd", 1)), "leads out of the archive"},
		{"configuration of no name", "", saved(strings.Replace("["+img+"]", "c.json", "", 1)), "leads out of the archive"},
		{"configuration missing", "", saved(strings.Replace("["+img+"]", "c.json", "none.json", 1)), "none.json: file does not exist"},
		{"configuration of another digest", "", saved(strings.Replace("["+img+"]", "c.json", strings.Repeat("0", 64)+".json", 1), entry{name: strings.Repeat("0", 64) + ".json", content: config}), "want sha256:0000"},
		{"configuration above 8 MiB", "", saved("["+img+"]", entry{name: "c.json", content: strings.Repeat(" ", 9<<20)}), "c.json: 9437184 bytes"},
		{"layers too many", "", saved(strings.Replace("["+img+"]", `"l.tar"`, `"l.tar","l.tar"`, 1)), "2 layers in the manifest, 1 in"},
		{"501 layers", "", saved(strings.Replace("["+img+"]", `"l.tar"`, strings.Repeat(`"l.tar",`, 500)+`"l.tar"`, 1)), "501 layers"},
		{"layer outside", "", saved(strings.Replace("["+img+"]", "l.tar", "/../l.tar", 1)), "leads out of the archive"},
		{"layer missing", "", saved(strings.Replace("["+img+"]", "l.tar", "none.tar", 1)), "none.tar: file does not exist"},
		{"layer of a million letters", "", saved(strings.Replace("["+img+"]", "l.tar", strings.Repeat("l", 1_000_000), 1)), "file does not exist"},
		{"layer is a symlink out", "", link(tar.TypeSymlink, "../../../etc/passwd"), "a link out of the archive"},
		{"layer is an absolute symlink", "", link(tar.TypeSymlink, "/etc/passwd"), "a link out of the archive"},
		{"layer is a symlink to itself", "", link(tar.TypeSymlink, "l.tar"), "more than 8 links"},
		{"layer is a symlink to nothing", "", link(tar.TypeSymlink, "none"), "file does not exist"},
		{"layer is a hard link out", "", link(tar.TypeLink, "../l.tar"), "a link out of the archive"},
		{"layer is a hard link to nothing", "", link(tar.TypeLink, "none"), "file does not exist"},
		{"layer is a device", "", link(tar.TypeChar, ""), "want a file"},
		{"layer is a pipe", "", link(tar.TypeFifo, ""), "want a file"},
		{"the latter of two layers", "", saved("["+img+"]", entry{name: "./l.tar", content: "other"}), "without compression, want " + digestOf(l)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.path == "" {
				c.path = file(t, c.data)
			}
			f := finder(t)
			err := tell(t, f, "archive:"+c.path)
			known := isA[*FormatError](err)
			switch c.want {
			case "it means 2 images":
				known = isA[*ReferenceError](err)
			case "no image in it":
				known = isA[*NotFoundError](err)
			}
			if !known {
				t.Errorf("got %T %v", err, err)
			}
			has(t, err, "archive:"+c.path, c.want)
			if left := temporary(t, f); len(left) > 0 {
				t.Errorf("%q are left", left)
			}
		})
	}
	// The latter of two counts, as it does for tar, and names are made clean.
	for name, data := range map[string][]byte{
		"the latter is right":  tarOf(t, entry{name: "c.json", content: "{"}, entry{name: "l.tar", content: "other"}, entry{name: "./c.json", content: config}, entry{name: "/l.tar", content: string(l)}, entry{name: "manifest.json", content: "[" + img + "]"}),
		"a hard link":          tarOf(t, entry{name: "c.json", content: config}, entry{name: "x/l", content: string(l)}, entry{name: "l.tar", kind: tar.TypeLink, link: "x/l"}, entry{name: "manifest.json", content: "[" + img + "]"}),
		"garbage behind":       append(bytes.Clone(good), "twenty bytes of rubbish"...),
		"compressed layers":    tarOf(t, entry{name: "c.json", content: config}, entry{name: "l.tar", content: string(gzipped(t, l))}, entry{name: "manifest.json", content: "[" + img + "]"}),
		"the same image twice": saved("[" + img + "," + img + "]"),
	} {
		if err := tell(t, finder(t), "archive:"+file(t, data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
