package serve

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// hardwareCSV are machines at 127.0.0.21, …22 and so on, by their host names.
func hardwareCSV(hosts ...string) []byte {
	text := "hostname,mac,ip_address,netmask,gateway,nameservers,labels,disk,bmc_ip,bmc_username,bmc_password\n"
	for i, host := range hosts {
		text += fmt.Sprintf("%s,00:00:5e:00:53:%02x,127.0.0.%d,255.0.0.0,127.0.0.1,127.0.0.1,,/dev/sda,,,\n", host, i, 21+i)
	}
	return []byte(text)
}

// TestMachinesHaveNames holds that they are on the page, while a machine fetches and later, and in the log.
func TestMachinesHaveNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hardware.csv")
	write(t, file, hardwareCSV("rack3-node01", "rack3-node02.example"))
	known, err := HardwareNames(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	store := newStore(t)
	mustPublish(t, store, "0", bigFile)
	log, text := textLog()
	server := start(t, Options{Store: store, Now: time.Now, Log: log, Names: func(addr netip.Addr) string {
		if addr == netip.MustParseAddr("127.0.0.23") { // which no file can hold
			return "<script>alert(1)</script>"
		}
		return known(addr)
	}})
	url := "http://" + server.addr
	page := func() []byte {
		_, body := get(t, server.addr, "/", fromBrowser)
		return body
	}

	slow := map[string]io.ReadCloser{}
	for _, at := range []string{"127.0.0.21", "127.0.0.23", "127.0.0.29"} {
		slow[at] = take(t, machineAt(t, at), url+"/hook/"+initramfs, "")
	}
	body := page()
	wantIn(t, body, "3 machines", `<b data-f="name">rack3-node01</b> <span class="mono" data-f="address">127.0.0.21</span>`,
		`<b data-f="name">&lt;script&gt;alert(1)&lt;/script&gt;</b> <span class="mono" data-f="address">127.0.0.23</span>`,
		`<b data-f="name"></b> <span class="mono" data-f="address">127.0.0.29</span>`)
	wantNotIn(t, body, "<script>alert", "node02")
	for _, body := range slow {
		readAll(t, body)
	}

	write(t, file, hardwareCSV("rack3-node01", "new.example")) // this one has asked for nothing yet
	if resp, err := machineAt(t, "127.0.0.22").Head(url + "/none"); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("got %v, %v", resp, err)
	}
	server.stop()
	if err := server.wait(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(text.String()) {
		if _, remote, ok := strings.Cut(line, " remote=127.0.0.2"); ok {
			_, machine, _ := strings.Cut(line, " machine=")
			machine, _, _ = strings.Cut(machine, " ")
			got = append(got, strings.TrimSpace("2"+remote[:1]+" "+machine))
		}
	}
	slices.Sort(got) // a line is written when the client has its answer already
	if want := []string{"21 rack3-node01", "22 new.example", `23 <script>alert(1)</script>`, "29"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestHardwareChanges follows a file through its changes, looking at it twice after each.
func TestHardwareChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hardware.csv")
	write(t, file, hardwareCSV("one"))
	log, text := textLog()
	name, err := HardwareNames(file, log)
	if err != nil {
		t.Fatal(err)
	}
	text.Reset()
	const kept = "level=WARN the names before stay: "
	for _, tt := range []struct {
		what         string
		content      []byte // nil to remove the file
		first, other string
		logged       []string
	}{
		{"the same, written anew", hardwareCSV("one"), "one", "", []string{"level=INFO machines=1"}},
		{"a machine more, another name", hardwareCSV("first", "second"), "first", "second", []string{"level=INFO machines=2"}},
		{"one fault", hardwareCSV("First", "the-second"), "first", "second", []string{kept + file + ":2:1: hostname"}},
		{"another one", hardwareCSV("First", "thesecond"), "first", "second", []string{kept + file + ":2:1: hostname"}},
		{"several", hardwareCSV("First", "Second", "Th_ird"), "first", "second", []string{kept + file + ":2:1: hostname … (and 2 more)"}},
		{"none", nil, "first", "second", []string{kept + "machines of a site: stat"}},
		{"empty", []byte{}, "first", "second", []string{kept + file + ":1:1: the file is empty"}},
		{"none again", nil, "first", "second", []string{kept + "machines of a site: stat"}},
		{"a good one", hardwareCSV("third"), "third", "", []string{"level=INFO machines=1"}},
	} {
		if tt.content != nil {
			write(t, file+".new", tt.content)
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			first, other := name(netip.MustParseAddr("127.0.0.21")), name(netip.MustParseAddr("127.0.0.22"))
			if first != tt.first || other != tt.other {
				t.Errorf("%s: got %q and %q", tt.what, first, other)
			}
		}
		if diff := cmp.Diff(tt.logged, told(text.String())); diff != "" {
			t.Errorf("%s: %s", tt.what, diff)
		}
		text.Reset()
	}
}

// told are the lines of a log in short.
func told(log string) []string {
	var short []string
	for line := range strings.Lines(log) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), " ") // the time
		level, rest, _ := strings.Cut(line, " ")
		_, fault, ok := strings.Cut(rest, `the names before stay" error="`)
		if !ok {
			_, machines, _ := strings.Cut(rest, " machines=")
			short = append(short, level+" machines="+machines)
			continue
		}
		fault, more, _ := strings.Cut(strings.TrimSuffix(fault, `"`), " (and ")
		if more != "" {
			more = " … (and " + more
		}
		if at := strings.Index(fault, " must be "); at > 0 {
			fault = fault[:at]
		}
		if at := strings.Index(fault, ": stat "); at > 0 {
			fault = fault[:at+len(": stat")]
		}
		short = append(short, level+" the names before stay: "+fault+more)
	}
	return short
}

func TestHardwareRefused(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{filepath.Join(dir, "none"), dir, os.DevNull} {
		var bad *OptionError
		if _, err := HardwareNames(file, nil); !errors.As(err, &bad) || bad.Option != "Hardware" || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v", file, err)
		}
	}
	file := filepath.Join(dir, "hardware.csv")
	write(t, file, hardwareCSV("One", "Two"))
	var faults strictyaml.Errors
	if _, err := HardwareNames(file, nil); !errors.As(err, &faults) || len(faults) != 2 {
		t.Errorf("got %v, want two faults", err)
	}
}
