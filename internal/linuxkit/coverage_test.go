package linuxkit

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// keysOf adds to found the path of every key that a type reads, as in container.runtime.mounts.type.
func keysOf(t reflect.Type, at string, found map[string]bool) {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[strictyaml.Unmarshaler]()) {
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		keysOf(t.Elem(), at, found)
	case reflect.Slice:
		if t != reflect.TypeFor[strictyaml.Map[string]]() {
			keysOf(t.Elem(), at, found)
		}
	case reflect.Struct:
		if v, ok := t.FieldByName("V"); ok { // a strictyaml.Value
			keysOf(v.Type, at, found)
			return
		}
		for i := range t.NumField() {
			f := t.Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			switch {
			case f.Anonymous:
				keysOf(f.Type, at, found)
			case key == "blockIO": // of labels only
			case key != "":
				found[join(at, key)] = true
				keysOf(f.Type, join(at, key), found)
			}
		}
	}
}

func join(at, key string) string {
	if slices.Contains([]string{"onboot", "onshutdown", "services"}, at) {
		at = "container"
	}
	return strings.TrimPrefix(at+"."+key, ".")
}

// keysIn adds the keys of a document.
func keysIn(v any, at string, found map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			found[join(at, key)] = true
			keysIn(value, join(at, key), found)
		}
	case []any:
		for _, item := range v {
			keysIn(item, at, found)
		}
	}
}

// TestGoldenCoversEveryKey: each key that can be read stands in one of the YAMLs with a golden tree.
func TestGoldenCoversEveryKey(t *testing.T) {
	known, used := map[string]bool{}, map[string]bool{}
	keysOf(reflect.TypeFor[document](), "", known)
	files, err := filepath.Glob(goldenDir + "/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := yaml.Unmarshal(data, &doc); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		keysIn(doc, "", used)
	}
	if len(known) < 100 {
		t.Fatalf("found %d keys; that cannot be all", len(known))
	}
	for _, key := range slices.Sorted(maps.Keys(known)) {
		if !used[key] {
			t.Errorf("no golden YAML has the key %s", key)
		}
	}
}

// specKeys are those of LinuxKit's own schema, 1.8 (src/cmd/linuxkit/moby/schema.go), below one container.
const specKeys = `name image command env cwd capabilities capabilities.add ambient binds binds.add mounts tmpfs devices net ipc uts pid
	userns hostname readonly uid gid additionalGids noNewPrivileges oomScoreAdj rootfsPropagation cgroupsPath maskedPaths
	readonlyPaths sysctl annotations rlimits resources uidMappings gidMappings runtime
	mounts.destination mounts.type mounts.source mounts.options mounts.uidmappings.hostID mounts.gidmappings.containerID
	devices.path devices.type devices.major devices.minor devices.mode
	uidMappings.hostID uidMappings.containerID uidMappings.size gidMappings.hostID
	runtime.cgroups runtime.mounts runtime.mkdir runtime.interfaces runtime.bindNS runtime.namespace
	runtime.interfaces.name runtime.interfaces.add runtime.interfaces.peer runtime.interfaces.createInRoot
	runtime.bindNS.cgroup runtime.bindNS.ipc runtime.bindNS.mnt runtime.bindNS.net runtime.bindNS.pid runtime.bindNS.user runtime.bindNS.uts
	resources.devices.allow resources.devices.type resources.devices.major resources.devices.minor resources.devices.access
	resources.memory.limit resources.memory.reservation resources.memory.swap resources.memory.kernel resources.memory.kernelTCP
	resources.memory.swappiness resources.memory.disableOOMKiller
	resources.cpu.shares resources.cpu.quota resources.cpu.period resources.cpu.realtimeRuntime resources.cpu.realtimePeriod
	resources.cpu.cpus resources.cpu.mems resources.pids.limit
	resources.blockio.weight resources.blockio.leafWeight resources.blockio.weightDevice.weight resources.blockio.weightDevice.leafWeight
	resources.blockio.throttleReadBpsDevice.rate resources.blockio.throttleWriteBpsDevice.rate
	resources.blockio.throttleReadIOPSDevice.rate resources.blockio.throttleWriteIOPSDevice.major
	resources.hugepageLimits.pageSize resources.hugepageLimits.limit
	resources.network.classID resources.network.priorities.name resources.network.priorities.priority`

// TestKeysOfLinuxKit: every key of LinuxKit's schema is read.
func TestKeysOfLinuxKit(t *testing.T) {
	known := map[string]bool{}
	keysOf(reflect.TypeFor[document](), "", known)
	want := strings.Fields("kernel.image kernel.cmdline kernel.binary kernel.tar kernel.ucode init onboot onshutdown services trust.image trust.org" +
		" volumes.name volumes.image volumes.readonly volumes.format volumes.platforms" +
		" files.path files.directory files.symlink files.contents files.source files.metadata files.optional files.mode files.uid files.gid")
	for _, key := range strings.Fields(specKeys) {
		want = append(want, "container."+key)
	}
	for _, key := range want {
		if !known[key] {
			t.Errorf("the key %s is not read", key)
		}
	}
}
