package test

import (
	"strings"
	"testing"
)

// TestBase lays another kernel's modules and a file over a finished HookOS, with the other compression and in one
// segment, and boots it.
func TestBase(t *testing.T) {
	stock := newProject(t)
	stock.run("all", "hook-debian-amd64")
	p := newProject(t)
	p.copyFile(stock, "hookbuild.lock")
	p.write("site.yaml", `
kernel: {cmdline: "console=ttyS0,115200"}
files: [{path: etc/motd, mode: "0644", contents: "this file is ours\n"}]
`)
	p.run("linuxkit", "hook-debian-amd64", "--base", stock.path("out/hook/initramfs-x86_64"), "--file", "site.yaml",
		"--compression", "gzip", "--single-segment", "--max-ram", "1GiB")
	image := p.path("out/hook/initramfs-x86_64")
	if list := p.run("inspect", image); strings.Count(list, "\nsegment ") != 0 || !strings.HasPrefix(list, "segment 0\n") {
		t.Errorf("it has more than one segment")
	}
	if got := p.run("inspect", image, "--cat", "etc/motd"); got != "this file is ours\n" {
		t.Errorf("etc/motd: got %q", got)
	}
	p.run("boot", "hook-debian-amd64", "--expect", "this file is ours")
}
