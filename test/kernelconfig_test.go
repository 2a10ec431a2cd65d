package test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Waiting for a menu includes making its image, where the engine has not got it yet.
const (
	menuTime = 5 * time.Minute
	keyTime  = time.Minute
)

const tinyConfig = "kernel/configs/tiny-6.12.y-x86_64"

// tinyProject is a project with a flavor, tiny-amd64, whose configuration is small.
func tinyProject(t *testing.T, extra string) *project {
	t.Helper()
	tiny, err := os.ReadFile("testdata/tiny-6.12.y-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	p := newProject(t)
	p.write(tinyConfig, string(tiny)+extra)
	p.write("hookbuild.yaml", "flavors:\n  tiny-amd64:\n    extends: hook-default-amd64\n    kernel: {config: tiny, firmware: none}\n")
	return p
}

// menu opens the flavor's configuration on a screen.
func menu(t *testing.T, p *project, args ...string) *screen {
	t.Helper()
	cmd := p.command(t.Context(), append([]string{"kernel-config", "tiny-amd64"}, args...)...)
	cmd.Stderr = nil // the screen's
	return startOnScreen(t, cmd, 100, 30)
}

// toCRC7 goes to a symbol by the menu's own search.
func (s *screen) toCRC7() {
	s.t.Helper()
	s.expect("Kernel Configuration", menuTime)
	s.send("/")
	s.expect("CONFIG_", keyTime)
	s.send("CRC7", keyEnter)
	s.expect("Symbol: CRC7", keyTime)
	s.send("1")
	s.expect("CRC7 functions", keyTime)
}

// leave goes out of one menu after the other, until the last one asks its question.
func (s *screen) leave() {
	s.t.Helper()
	for range 10 {
		if strings.Contains(s.text(), "save your new configuration") {
			return
		}
		s.send(keyEsc, keyEsc)
		time.Sleep(time.Second) // an escape is a key only when nothing follows it
	}
	s.expect("save your new configuration", keyTime)
}

func TestMenuconfigSaves(t *testing.T) {
	p := tinyProject(t, "")
	s := menu(t, p)
	s.toCRC7()
	s.send("y")
	s.expect("<*> CRC7 functions", keyTime)
	s.leave()
	s.send(keyEnter)
	if code := s.wait(menuTime); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
	for _, want := range []string{"CRC7: m -> y (CRC7 functions)", "wrote " + tinyConfig, "next: hookbuild all tiny-amd64"} {
		if !strings.Contains(s.raw(), want) {
			t.Errorf("the screen never showed %q", want)
		}
	}
	if config := string(p.read(tinyConfig)); !strings.Contains(config, "CONFIG_CRC7=y\n") || strings.Contains(config, "CONFIG_CRC7=m") {
		t.Errorf("the file has not got CRC7=y:\n%s", config)
	}
	noContainers(t)
}

func TestNconfigSaves(t *testing.T) {
	p := tinyProject(t, "")
	s := menu(t, p, "--ui", "nconfig")
	s.expect("Kernel Configuration", menuTime)
	s.send("8") // as F8
	s.expect("Enter (sub)string", keyTime)
	s.send("CRC7", keyEnter)
	s.expect("Symbol: CRC7", keyTime)
	s.send("1")
	s.expect("CRC7 functions", keyTime)
	s.send("n")
	s.expect("< > CRC7 functions", keyTime)
	s.send("9")
	s.expect("save your new configuration", keyTime)
	s.send(keyEnter)
	s.expect("configuration written to", keyTime)
	for range 10 { // the search's results lie under the menu, and the menu's end under them
		s.send(keyEnter)
		time.Sleep(time.Second)
		if strings.Contains(s.raw(), "next: hookbuild") {
			break
		}
		s.send("9")
		time.Sleep(time.Second)
	}
	if code := s.wait(keyTime); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
	if strings.Contains(string(p.read(tinyConfig)), "CONFIG_CRC7") {
		t.Error("the file still has CRC7")
	}
}

func TestMenuconfigWithoutSaving(t *testing.T) {
	p := tinyProject(t, "")
	before := string(p.read(tinyConfig))
	s := menu(t, p)
	s.toCRC7()
	s.send("y")
	s.expect("<*> CRC7 functions", keyTime)
	s.resize(120, 40)
	s.send(keyUp)
	s.until("a frame as wide as the window", keyTime, func() bool {
		for _, line := range strings.Split(s.text(), "\n") {
			if len([]rune(line)) > 105 {
				return true
			}
		}
		return false
	})
	s.leave()
	s.send("n")
	if code := s.wait(menuTime); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
	if !strings.Contains(s.raw(), "nothing was saved") {
		t.Errorf("it does not say that nothing was saved:\n%s", s.text())
	}
	if after := string(p.read(tinyConfig)); after != before {
		t.Error("the file has changed")
	}
}

func TestMenuconfigKilled(t *testing.T) {
	p := tinyProject(t, "")
	before := string(p.read(tinyConfig))
	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		s := menu(t, p)
		s.toCRC7()
		s.send("y")
		s.expect("<*> CRC7 functions", keyTime)
		if err := s.cmd.Process.Signal(how); err != nil {
			t.Fatal(err)
		}
		s.wait(keyTime)
		if after := string(p.read(tinyConfig)); after != before {
			t.Errorf("%v: the file has changed", how)
		}
		for begin := time.Now(); containers(t) != "" && time.Since(begin) < keyTime; {
			time.Sleep(100 * time.Millisecond)
		}
		noContainers(t)
	}
}

func TestKernelConfigShell(t *testing.T) {
	p := tinyProject(t, "")
	s := menu(t, p, "--shell")
	s.expect("kernel-config#", menuTime)
	s.send("sed -i 's/^CONFIG_CRC7=m/CONFIG_CRC7=y/' $KCONFIG_CONFIG", keyEnter)
	s.send("exit", keyEnter)
	if code := s.wait(menuTime); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
	if !strings.Contains(string(p.read(tinyConfig)), "CONFIG_CRC7=y\n") {
		t.Error("the file has not got CRC7=y")
	}
}

func TestKernelConfigSymbols(t *testing.T) {
	p := tinyProject(t, "")
	before := string(p.read(tinyConfig))
	for _, c := range []struct {
		name string
		args []string
		code int
		want string // in what it prints
	}{
		{"no such symbol", []string{"--set", "CRC77=m"}, 2, "no symbol of this kernel"},
		{"a dependency is missing", []string{"--set", "VIRTIO_NET=m", "--set", "CRC7=y"}, 6, "depends on NETDEVICES"},
		{"a bool cannot be m", []string{"--set", "PRINTK=m"}, 6, "cannot be m"},
		{"search", []string{"--search", "virtio_net"}, 0, "Virtio network driver"},
		{"search for nothing", []string{"--search", "no such word"}, 6, "no symbol"},
		{"check", []string{"--check"}, 0, "come out as they are asked for"},
		{"diff with hookbuild's own", []string{"--diff", "hook-default-amd64"}, 0, "VIRTIO_NET"},
		{"nothing new", []string{"--set", "CRC7=m"}, 0, "nothing has changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := p.command(t.Context(), append([]string{"kernel-config", "tiny-amd64"}, c.args...)...)
			cmd.Stderr = nil
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.want) {
				t.Errorf("got %v and\n%s\nwant exit code %d and %q", err, out, c.code, c.want)
			}
			if string(p.read(tinyConfig)) != before {
				t.Error("the file has changed")
			}
		})
	}
	t.Run("set, unset and fragment at once", func(t *testing.T) {
		p.write("more.config", "CONFIG_CRC8=m\n# CONFIG_CRC_T10DIF is not set\n")
		var got struct {
			Written bool
			Changes []struct{ Name, Before, After, Prompt string }
		}
		p.runJSON(&got, "kernel-config", "tiny-amd64", "--set", "CRC7=y", "--unset", "LIBCRC32C", "--fragment", "more.config")
		after := map[string]string{}
		for _, c := range got.Changes {
			after[c.Name] = c.After
		}
		for name, want := range map[string]string{"CRC7": "y", "CRC8": "m", "LIBCRC32C": "n", "CRC_T10DIF": "n"} {
			if after[name] != want {
				t.Errorf("%s: got %q, want %q", name, after[name], want)
			}
		}
		config := string(p.read(tinyConfig))
		if !got.Written || !strings.Contains(config, "CONFIG_CRC8=m\n") || strings.Contains(config, "CRC_T10DIF") {
			t.Errorf("got file\n%s", config)
		}
	})
}
