package main

import (
	"testing"

	"github.com/hookbuild/hookbuild/internal/initramfs"
)

func TestEntryLine(t *testing.T) {
	for _, tc := range []struct {
		entry initramfs.Header
		want  string
	}{
		{initramfs.Header{Name: "f", Mode: 0o100644, Links: 1, Size: 12}, "-rw-r--r--   1       0:0         12  f"},
		{initramfs.Header{Name: "d", Mode: 0o41777, Links: 2}, "drwxrwxrwt   2       0:0          0  d"},
		{initramfs.Header{Name: "d", Mode: 0o41770, Links: 2}, "drwxrwx--T   2       0:0          0  d"},
		{initramfs.Header{Name: "su", Mode: 0o104755, Links: 1, UID: 1000, GID: 50}, "-rwsr-xr-x   1   1000:50          0  su"},
		{initramfs.Header{Name: "odd", Mode: 0o106600, Links: 1}, "-rwS--S---   1       0:0          0  odd"},
		{initramfs.Header{Name: "l", Mode: 0o120777, Links: 1, Target: "to"}, "lrwxrwxrwx   1       0:0          0  l -> to"},
		{initramfs.Header{Name: "null", Mode: 0o20666, Links: 1, RMajor: 1, RMinor: 3}, "crw-rw-rw-   1       0:0        1:3  null"},
		{initramfs.Header{Name: "sda", Mode: 0o60660, Links: 1, RMajor: 8}, "brw-rw----   1       0:0        8:0  sda"},
		{initramfs.Header{Name: "f", Mode: 0o10600, Links: 1}, "prw-------   1       0:0          0  f"},
		{initramfs.Header{Name: "s", Mode: 0o140600, Links: 1}, "srw-------   1       0:0          0  s"},
		{initramfs.Header{Name: "a\x1b[2Jb", Mode: 0o100644, Links: 1}, `-rw-r--r--   1       0:0          0  "a\x1b[2Jb"`},
	} {
		if got := entryLine(initramfs.Entry{Header: tc.entry}); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

func TestVisible(t *testing.T) {
	for name, want := range map[string]string{
		"usr/bin/x": "usr/bin/x", "with space": "with space", "ünï": "ünï", "": "",
		"a\nb": `"a\nb"`, "\xff": `"\xff"`, "\u202e": `"\u202e"`, "tab\t": `"tab\t"`,
	} {
		if got := visible(name); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}
}
