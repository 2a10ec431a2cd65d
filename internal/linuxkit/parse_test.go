package linuxkit

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

func parse(t *testing.T, text string) *Spec {
	t.Helper()
	s, err := Parse("hook.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkFaults compares an error with the lines of want, which leave out the name of the file.
func checkFaults(t *testing.T, err error, want string) {
	t.Helper()
	want = "hook.yaml:" + strings.ReplaceAll(want, "\n", "\nhook.yaml:")
	if got := fmt.Sprint(err); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	var errs strictyaml.Errors
	if !errors.As(err, &errs) {
		t.Errorf("error is a %T", err)
	}
}

// service wraps the keys of a container, which begin in line 5, column 5.
func service(keys string) string {
	return "kernel: {image: k}\nservices:\n  - name: a\n    image: i\n    " + keys + "\n"
}

type faultCase struct{ name, text, want string }

func checkCases(t *testing.T, cases []faultCase) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s, err := Parse("hook.yaml", []byte(tc.text), nil)
			checkFaults(t, err, tc.want)
			if s != nil {
				t.Error("a Spec beside the error")
			}
		})
	}
}

func TestDocumentFaults(t *testing.T) {
	checkCases(t, []faultCase{
		{"empty", "", "1:1: the document is empty"},
		{"second document", "init: []\n---\ninit: []\n", "2:1: a second document begins here: only one is allowed"},
		{"top level near", "service: []\n", `1:1: unknown key "service": did you mean "services"?`},
		{"top level far", "poweroff: true\n", `1:1: unknown key "poweroff"`},
		{"kernel paths", "kernel: {image: k, ucode: ../x, tar: /, binary: a/../..}\n",
			"1:27: \"ucode\": file name \"../x\" leads out of the root\n1:38: \"tar\": \"/\" is the root directory\n" +
				"1:49: \"binary\": file name \"a/../..\" leads out of the root"},
		{"volumes", "volumes: [{name: A}, {name: a, format: ocy}, {name: a, readonly: yes}, {name: b, format: oci}, {name: c, image: d, platforms: [linux/amd64]}," +
			" {name: e, image: f, format: oci, platforms: [amd64]}, {image: g}]\n",
			"1:18: \"name\": \"A\" is no name of a volume: want small letters, digits, _ and -, at most 76\n" +
				"1:40: \"format\": unknown format \"ocy\": want filesystem or oci: did you mean \"oci\"?\n" +
				"1:53: volume \"a\" exists already at hook.yaml:1:29\n1:66: \"readonly\": want true or false, got a string\n" +
				"1:90: format oci needs the key \"image\"\n1:127: \"platforms\" goes with format oci only\n" +
				"1:188: \"platforms[0]\": \"amd64\" is no platform: want OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT\n" +
				"1:197: \"volumes[6]\": key \"name\" is missing"},
		{"onshutdown", "onshutdown: [{name: a b, imag: c}]\n", "1:14: \"onshutdown[0]\": key \"image\" is missing\n" +
			"1:21: \"name\": \"a b\" is no valid id: want letters and digits, joined by single . _ or -, at most 76\n1:26: unknown key \"imag\": did you mean \"image\"?"},
		{"@pkg", "init: [\"@pkg:../init\"]\n", `1:8: "init[0]": @pkg: is not supported: write the image that it stands for, or build:NAME`},
		{"no name", "onboot: [{image: i}]\n", `1:10: "onboot[0]": key "name" is missing`},
		{"no image", "onboot: [{name: i}]\n", `1:10: "onboot[0]": key "image" is missing`},
		{"name climbs", "onboot: [{name: ../x, image: i}]\n",
			`1:17: "name": "../x" is no valid id: want letters and digits, joined by single . _ or -, at most 76`},
		{"long name", "onboot: [{name: " + strings.Repeat("x", 77) + ", image: i}]\n", `1:17: "name": "` + strings.Repeat("x", 77) +
			`" is no valid id: want letters and digits, joined by single . _ or -, at most 76`},
		{"service twice", "services:\n  - {name: a, image: i}\n  - {name: b, image: i}\n  - {name: a, image: j}\n",
			`4:12: service "a" exists already at hook.yaml:2:12`},
		{"empty reference", "init: [\"\"]\n", `1:8: "init[0]": "" is no image reference`},
		{"reference with a blank", "kernel: {image: a b}\n", `1:17: "image": "a b" is no image reference`},
		{"file mode", "files: [{path: a, contents: b, mode: 0644}, {path: b, contents: b, mode: \"0844\"}, {path: c, contents: b, mode: \"10000\"}]\n",
			"1:38: \"mode\": want a string, got a number: write \"0644\" with quotes\n" +
				"1:74: \"mode\": \"0844\" is no file mode: want octal digits up to 7777\n" +
				"1:112: \"mode\": \"10000\" is no file mode: want octal digits up to 7777"},
		{"file without content", "files: [{path: a}]\n", "1:9: want one of directory: true, symlink, contents, source and metadata, got none"},
		{"file of two contents", "files: [{path: a, source: b, contents: c}, {path: a, metadata: yaml, contents: c}, {path: a, source: b, metadata: json}]\n",
			"1:9: want one of directory: true, symlink, contents, source and metadata, got contents and source\n" +
				"1:44: want one of directory: true, symlink, contents, source and metadata, got contents and metadata\n" +
				"1:84: want one of directory: true, symlink, contents, source and metadata, got source and metadata"},
		{"directory with a content", "files: [{path: a, directory: true, contents: b}, {path: a, directory: true, source: b, metadata: yaml}]\n",
			"1:9: a directory has no contents\n1:50: a directory has no source, no metadata"},
		{"symlink with a source", "files: [{path: a, symlink: x, source: b}]\n", "1:9: a symlink has no source"},
		{"metadata", "files: [{path: a, metadata: xml}]\n", "1:29: \"metadata\": unknown form \"xml\": want yaml or json"},
		{"deep path", "files: [{path: " + strings.Repeat("a/", 100) + "a, contents: x}]\n", "1:16: \"" + strings.Repeat("a/", 20) + "\"… has more than 100 levels"},
		{"file path", "files: [{path: ../a, contents: b}, {path: /, directory: true}, {contents: x}]\n",
			"1:16: file name \"../a\" leads out of the root\n1:43: \"/\" is the root directory\n1:64: \"files[2]\": key \"path\" is missing"},
		{"symlink", "files: [{path: a, symlink: \"\"}]\n", "1:28: the symlink leads nowhere"},
		{"too many directories", "files: [" + strings.Repeat("{path: "+strings.Repeat("a/", 99)+"a, contents: x},", 1012) + "]\n",
			"1:223226: together, the files have more than 100000 directories above them"},
		{"source at home", "files: [{path: a, source: ~/b}, {path: a, source: ~you/b}, {path: a, source: \"\"}]\n",
			"1:27: source \"~/b\": it is not known here which directory ~ is\n" +
				"1:51: source \"~you/b\": want a path, absolute, relative to this file or below ~/\n" +
				"1:78: source \"\": want a path, absolute, relative to this file or below ~/"},
		{"too many containers", "onboot: [" + strings.Repeat("{name: a, image: i},", 1001) + "]\n", "1:20017: this is one container of more than 1000"},
		{"too many items", "init: [" + strings.Repeat("a,", 10001) + "]\n", "1:7: \"init\": want at most 10000 items, got 10001"},
		{"too many faults", strings.Repeat("a: b\n", 1) + numbered(300, "k%d: x\n"), "1:1: unknown key \"a\"\n" + func() string {
			var b strings.Builder
			for i := range 199 {
				fmt.Fprintf(&b, "%d:1: unknown key \"k%d\"\n", i+2, i)
			}
			return b.String()
		}() + "200:1: there may be more faults, which are not listed"},
		{"trust", "trust: {orgs: [x]}\n", `1:9: unknown key "orgs": did you mean "org"?`},
		{"variable", "init: [\"a:${TAG}\"]\nkernel: {image: \"k:${KTAG}\", cmdline: \"${HOOK_KERNEL}\"}\n",
			"1:8: \"init[0]\": variable ${TAG} is not declared\n2:17: \"image\": variable ${KTAG} is not declared\n" +
				"2:39: \"cmdline\": variable ${HOOK_KERNEL} is not declared"},
	})
}

func TestContainerFaults(t *testing.T) {
	checkCases(t, []faultCase{
		{"bind of what is no volume", service("binds: [\"Vol:/mnt\", \"./a:/b\"]"),
			"5:13: \"binds[0]\": bind \"Vol:/mnt\": \"Vol\" is neither an absolute path nor the name of a volume\n" +
				"5:25: \"binds[1]\": bind \"./a:/b\": \"./a\" is neither an absolute path nor the name of a volume"},
		{"resources", service("resources: {memory: {limits: 1, swappiness: -1, kernelTCP: \"1\"}, cpu: {cpus: 1}, pids: 5, network: {classID: 4294967296}}"),
			"5:26: unknown key \"limits\": did you mean \"limit\"?\n5:49: \"swappiness\": want 0 to 9223372036854775807, got -1\n" +
				"5:64: \"kernelTCP\": want a whole number, got a string\n5:82: \"cpus\": want a string, got a number: write \"1\" with quotes\n" +
				"5:92: \"pids\": want a mapping, got a number\n5:114: \"classID\": want 0 to 4294967295, got 4294967296"},
		{"resources: devices", service("resources: {devices: [{type: p}, {access: rx, major: x}]}"),
			"5:27: device rule: type \"p\" is none of a, b, c\n5:38: device rule: access \"rx\" is more than the letters r, w and m\n" +
				"5:58: \"major\": want a whole number, got a string"},
		{"resources: blockio", service("resources: {blockio: {weight: 65536}, blockIO: {}}"),
			"5:35: \"weight\": want 0 to 65535, got 65536\n5:52: \"blockIO\" is another spelling of \"blockio\", which stands beside it"},
		{"resources: pages", service("resources: {hugepageLimits: [{pageSize: 2MiB, limit: 1}, {pageSize: 1500}, {pageSize: 3072, limit: -1}]}"),
			"5:45: \"pageSize\": \"2MiB\" is no size of pages: want a number with KB, MB or GB, or a number of bytes\n" +
				"5:62: \"hugepageLimits[1]\": key \"limit\" is missing\n5:73: \"pageSize\": 1500 is no size of pages: want a power of two, 1024 or more\n" +
				"5:91: \"pageSize\": 3072 is no size of pages: want a power of two, 1024 or more\n5:104: \"limit\": want 0 to 9223372036854775807, got -1"},
		{"mappings", service("uidMappings: [{hostID: -1, size: 1}, {hostId: 1}]"),
			"5:28: \"hostID\": want 0 to 4294967295, got -1\n5:42: \"uidMappings[1]\": key \"size\" is missing\n5:43: unknown key \"hostId\": did you mean \"hostID\"?"},
		{"runtime", service("runtime: {bindNS: {nett: /x, pid: rel}, interfaces: [{add: veth}, {name: a, add: veth}], namespace: a b}"),
			"5:24: unknown key \"nett\": did you mean \"net\"?\n5:39: \"pid\": want an absolute path, got \"rel\"\n" +
				"5:58: \"interfaces[0]\": key \"name\" is missing\n5:71: interface a: a veth needs the key \"peer\"\n" +
				"5:105: \"namespace\": \"a b\" is no valid id: want letters and digits, joined by single . _ or -, at most 76"},
		{"unknown container key", service("comand: [x]"), `5:5: unknown key "comand": did you mean "command"?`},
		{"unknown dotted key", service("capabilities.ad: [x]"), `5:5: unknown key "capabilities.ad": did you mean "capabilities.add"?`},
		{"command is a string", service("command: sh"), `5:14: "command": want a list, got a string`},
		{"command with a number", service("command: [sleep, 10]"), `5:22: "command[1]": want a string, got a number: write "10" with quotes`},
		{"capability", service("capabilities: [CAP_NET_ADMN, cap_net_raw]"),
			"5:20: \"capabilities[0]\": unknown capability \"CAP_NET_ADMN\": did you mean \"CAP_NET_ADMIN\"?\n" +
				"5:34: \"capabilities[1]\": unknown capability \"cap_net_raw\": did you mean \"CAP_NET_RAW\"?"},
		{"all among others", service("capabilities: [all, CAP_BPF]"), "5:19: capabilities all and none stand alone in their list"},
		{"none among others", service("ambient: [CAP_BPF, NONE]"), "5:14: capabilities all and none stand alone in their list"},
		{"bind", service("binds: [/a, \"/a:/b:ro:x\", \"/a::ro\"]"),
			"5:13: \"binds[0]\": bind \"/a\": want SOURCE:DESTINATION or SOURCE:DESTINATION:OPTIONS\n" +
				"5:17: \"binds[1]\": bind \"/a:/b:ro:x\": want SOURCE:DESTINATION or SOURCE:DESTINATION:OPTIONS\n" +
				"5:31: \"binds[2]\": bind \"/a::ro\": want SOURCE:DESTINATION or SOURCE:DESTINATION:OPTIONS"},
		{"tmpfs", service("tmpfs: [\"/a:ro:x\", \"\"]"), "5:13: \"tmpfs[0]\": tmpfs \"/a:ro:x\": want DESTINATION or DESTINATION:OPTIONS\n" +
			"5:24: \"tmpfs[1]\": tmpfs \"\": want DESTINATION or DESTINATION:OPTIONS"},
		{"mount without type", service("mounts: [{destination: /a, source: b}]"), `5:14: a mount needs the key "type"`},
		{"mount without destination", service("mounts: [{type: cgroup2}]"), `5:14: a mount needs the key "destination"`},
		{"mount without type, twice wrong", service("mounts: [{sorce: b}]"), "5:14: a mount needs the key \"type\"\n5:15: unknown key \"sorce\": did you mean \"source\"?"},
		{"runtime mount", service("runtime: {mounts: [{type: tmpfs}]}"), `5:24: key "destination" is missing`},
		{"namespace", service("net: bridge\n    ipc: none\n    userns: none"), "5:10: \"net\": \"bridge\" is no namespace: want host, new or an absolute path\n" +
			"6:10: \"ipc\": only the network can be none: want host, new or an absolute path\n" +
			"7:13: \"userns\": only the network can be none: want host, new or an absolute path"},
		{"readonly", service("readonly: yes"), `5:15: "readonly": want true or false, got a string`},
		{"uid as a string", service("uid: \"100\"\n    gid: -1\n    additionalGids: [1.5]"),
			"5:10: \"uid\": a string names a container: write the number 100 without quotes\n6:10: \"gid\": id -1 is out of range\n" +
				"7:22: \"additionalGids[0]\": want a number or the name of a container: want a whole number in plain decimal notation, got \"1.5\""},
		{"oomScoreAdj", service("oomScoreAdj: -1001"), `5:18: "oomScoreAdj": want -1000 to 1000, got -1001`},
		{"sysctl number", service("sysctl: {net.ipv4.ip_forward: 1}"), `5:35: "net.ipv4.ip_forward": want a string, got a number: write "1" with quotes`},
		{"rlimits", service("rlimits: [\"nofile,1\", \"nofil,1,1\", \"core,1,x\", \"core,-1,1\"]"),
			"5:15: \"rlimits[0]\": rlimit \"nofile,1\": want NAME,SOFT,HARD\n" +
				"5:27: \"rlimits[1]\": unknown rlimit \"nofil\": did you mean \"NOFILE\"?\n" +
				"5:40: \"rlimits[2]\": rlimit \"core,1,x\": \"x\" is neither a number nor unlimited\n" +
				"5:52: \"rlimits[3]\": rlimit \"core,-1,1\": \"-1\" is neither a number nor unlimited"},
		{"devices", service("devices: [{path: /dev/x, type: z}, {path: x, type: c}, {path: /dev/x, type: c}, {path: all}, {path: /d, type: b, mode: 0600}]"),
			"5:15: device /dev/x: type \"z\" is none of b, c, u, p\n5:40: device x: want an absolute path or all\n" +
				"5:60: device /dev/x: key \"mode\" is missing\n5:85: \"devices[3]\": key \"type\" is missing\n" +
				"5:124: \"mode\": want a string, got a number: write \"0600\" with quotes"},
		{"negative device", service("devices: [{path: /dev/x, type: c, mode: \"0600\", minor: -1}]"), "5:15: device /dev/x: number 0:-1 is out of range"},
	})
}

func TestVariables(t *testing.T) {
	vars := map[string]string{"TAG": "1.2", "UID": "7", "RO": "true", "ME": "a", "A": "${TAG}", "DIR": "/srv"}
	text := `
kernel: {image: "k:${TAG}", cmdline: "a=$A b=$$TAG c=${1x} d=${A} e=${TAG:-x}"}
services:
  - name: a
    image: "i:${TAG}"
    uid: ${UID}
    gid: ${ME}
    readonly: ${RO}
    env: ["UID=${UID}", "${UID}"]
    binds: ["${DIR}:${DIR}"]
files:
  - {path: x, contents: "echo ${HOME} ${TAG}"}
`
	s, err := Parse("hook.yaml", []byte(text), vars)
	if err != nil {
		t.Fatal(err)
	}
	if want := "a=$A b=$$TAG c=${1x} d=${TAG} e=${TAG:-x}"; s.Cmdline() != want {
		t.Errorf("cmdline: got %q, want %q", s.Cmdline(), want)
	}
	if diff := cmp.Diff([]string{"k:1.2", "i:1.2"}, s.Images()); diff != "" {
		t.Errorf("images: -want +got:\n%s", diff)
	}
	c := s.services[0]
	if c.UID.V.number != 7 || c.GID.V.container != "a" || !c.Readonly.V || c.Env.V[1] != "7" || c.Binds.V[0].source != "/srv" {
		t.Errorf("got %+v", c)
	}
	if got := s.files[0].Contents.V; got != "echo ${HOME} ${TAG}" {
		t.Errorf("contents: got %q", got)
	}
	_, err = Parse("hook.yaml", []byte("init: [\"${TAGS}\"]\n"), vars)
	checkFaults(t, err, `1:8: "init[0]": variable ${TAGS} is not declared: did you mean "TAG"?`)
}

func TestMerge(t *testing.T) {
	a := parse(t, "kernel: {image: k1, cmdline: c1}\ninit: [i1]\nonboot: [{name: o, image: i2}]\nservices: [{name: s, image: i1}]\nfiles: [{path: a, source: f}]\ntrust: {org: [x]}\n")
	b := parse(t, "kernel: {cmdline: c2}\ninit: [i3]\nonboot: [{name: o, image: i4}]\nservices: [{name: s2, image: 'build:x'}]\nfiles: [{path: a, source: /abs}]\n")
	m := Merge(a, b)
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"k1", "i1", "i3", "i2", "i4", "build:x"}, m.Images()); diff != "" {
		t.Errorf("images: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"f", "/abs"}, m.Sources()); diff != "" {
		t.Errorf("sources: -want +got:\n%s", diff)
	}
	if m.Cmdline() != "c2" || len(m.warnings) != 1 || len(a.init) != 1 || a.Cmdline() != "c1" {
		t.Errorf("got cmdline %q, warnings %q; a became %+v", m.Cmdline(), m.warnings, a)
	}
	back := Merge(m, parse(t, "kernel: {image: \"${HOOK_KERNEL}\"}\n"))
	if got := back.Images()[0]; got != "i1" {
		t.Errorf("the flavor's kernel again: got %q first, want no kernel", got)
	}
}

func TestValidate(t *testing.T) {
	a := parse(t, "services:\n  - {name: s, image: i, uid: s, gid: other, additionalGids: [root, 3]}\n")
	b := parse(t, "services: [{name: s, image: i}]\nfiles: [{path: a, contents: b, uid: othr}]\n")
	checkFaults(t, a.Validate(), `2:38: no container is named "other"`)
	checkFaults(t, Merge(a, b).Validate(), `1:19: service "s" exists already at hook.yaml:2:12
2:37: no container is named "othr"
2:38: no container is named "other"`)
	c := parse(t, "onboot: [{name: other, image: i}]\n")
	if err := Merge(a, c).Validate(); err != nil {
		t.Error(err)
	}
}
