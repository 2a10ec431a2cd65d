package build

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/hookbuild/hookbuild/internal/kconfig"
)

// fakeContainer is the containers of a fake engine, one at a time. All of them run Kconfig on /answers/in.
type fakeContainer struct {
	mu     sync.Mutex
	images []string // that were run
	in     string   // the last /answers/in
	code   int      // exit code
	says   string   // standard error
	out    map[string][]byte
	ended  chan struct{}
}

func (c *fakeContainer) serve(w http.ResponseWriter, r *http.Request, path string) {
	_, call, _ := strings.Cut(path, "/")
	switch {
	case path == "create":
		var config struct{ Image string }
		json.NewDecoder(r.Body).Decode(&config)
		c.mu.Lock()
		c.images, c.ended = append(c.images, config.Image), make(chan struct{})
		c.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"Id":"c1"}`)
	case call == "archive" && r.Method == http.MethodPut:
		c.copyIn(r.Body)
	case call == "archive":
		c.copyOut(w, r.URL.Query().Get("path"))
	case call == "attach":
		c.attach(w, r)
	case call == "wait":
		w.(http.Flusher).Flush()
		<-c.ended
		fmt.Fprintf(w, `{"StatusCode":%d}`, c.code)
	case call == "start":
		c.run()
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	case call == "json":
		io.WriteString(w, `{"Id":"c1"}`)
	default:
		notFound(w)
	}
}

func (c *fakeContainer) copyIn(body io.Reader) {
	for r := tar.NewReader(body); ; {
		h, err := r.Next()
		if err != nil {
			return
		}
		if data, err := io.ReadAll(r); err == nil && h.Name == "answers/in" {
			c.mu.Lock()
			c.in = string(data)
			c.mu.Unlock()
		}
	}
}

func (c *fakeContainer) copyOut(w http.ResponseWriter, path string) {
	c.mu.Lock()
	data, ok := c.out[path]
	c.mu.Unlock()
	if !ok {
		notFound(w)
		return
	}
	stat, _ := json.Marshal(map[string]any{"name": path, "size": len(data), "mode": 0o644})
	w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(stat))
	w.Header().Set("Content-Type", "application/x-tar")
	t := tar.NewWriter(w)
	t.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(data))})
	t.Write(data)
	t.Close()
}

// attach sends what the program says as the engine frames it: stream, length, text.
func (c *fakeContainer) attach(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	<-c.ended
	if c.says != "" {
		conn.Write([]byte{2, 0, 0, 0, 0, 0, 0, byte(len(c.says))})
		io.WriteString(conn, c.says)
	}
}

// run is the kernel's Kconfig: 64BIT and MODULES are always on, BE2NET needs PCI.
func (c *fakeContainer) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(c.ended)
	c.out = map[string][]byte{}
	if c.code != 0 {
		return
	}
	asked := map[string]string{}
	lines, _ := kconfig.Parse("in", []byte(c.in))
	for _, l := range lines {
		asked[l.Name] = l.Value
	}
	all := []kconfig.Info{
		{Name: "64BIT", Type: "bool", Value: "y"}, {Name: "BE2NET", Type: "tristate", Value: "n", Depends: "PCI"}, {Name: "BLK_DEV_INITRD", Type: "bool", Value: "y"},
		{Name: "CRC8", Type: "tristate", Value: "n"},
		{Name: "MODULES", Type: "bool", Value: "y"}, {Name: "MODULE_SIG", Type: "bool", Value: "n"}, {Name: "MODULE_SIG_FORCE", Type: "bool", Value: "n"},
		{Name: "PCI", Type: "bool", Value: "n"}, {Name: "RD_GZIP", Type: "bool", Value: "y"},
	}
	var symbols, config bytes.Buffer
	config.WriteString("#\n# Automatically generated file; DO NOT EDIT.\n#\n")
	for _, i := range all {
		i.Prompt, i.Visible, i.Written, i.File, i.Line = "the prompt of "+i.Name, "y", true, "Kconfig", 1
		if v := asked[i.Name]; v != "" && i.Name != "64BIT" && i.Name != "MODULES" {
			i.Value = v
		}
		if i.Name == "BE2NET" && asked["PCI"] != "y" {
			i.Value, i.Visible, i.Unmet = "n", "n", []string{"PCI [=n]"}
		}
		json.NewEncoder(&symbols).Encode(i)
		config.Write(kconfig.Format([]kconfig.Line{{Symbol: kconfig.Symbol{Name: i.Name, Value: i.Value}}}))
	}
	c.out["/answers/after.config"], c.out["/answers/after.defconfig"], c.out["/answers/after.symbols"] = config.Bytes(), []byte(c.in), symbols.Bytes()
}

// asked is what Kconfig was asked last, and how often it was asked.
func (c *fakeContainer) asked() (in string, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in, len(c.images)
}
