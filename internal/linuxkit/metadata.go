package linuxkit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// metadataForm is what `metadata:` of `files:` asks for: the merged YAML, as YAML or as JSON.
type metadataForm string

const (
	metadataYAML metadataForm = "yaml"
	metadataJSON metadataForm = "json"
)

func (m *metadataForm) FromYAML(r strictyaml.Raw) error {
	return set(m, r, func(s string) (metadataForm, error) {
		if form := metadataForm(s); form == metadataYAML || form == metadataJSON {
			return form, nil
		}
		return "", fmt.Errorf("unknown form %q: want yaml or json", s)
	})
}

// metadata writes the whole configuration as LinuxKit does: image references written out, variables put in,
// without trust. kernelRef is the image of the kernel.
func (s *Spec) metadata(form metadataForm, kernelRef string) ([]byte, error) {
	doc := document{
		Kernel: s.kernel, Init: s.init, Onboot: s.onboot, Onshutdown: s.onshutdown, Services: s.services,
		Files: s.files, Volumes: s.volumes,
	}
	doc.Kernel.Image = strictyaml.Value[string]{Pos: strictyaml.Pos{Line: 1}, V: expandRef(kernelRef)}
	config := describedKeys(reflect.ValueOf(doc), true)
	if form == metadataJSON {
		return marshal(config)
	}
	var b bytes.Buffer
	d, err := yaml.NewDumper(&b, yaml.WithIndent(2))
	if err != nil {
		return nil, err
	}
	if err := d.Dump(yamlNode(config)); err != nil {
		return nil, err
	}
	return b.Bytes(), d.Close()
}

// mapping is a JSON object or YAML mapping whose keys have an order.
type mapping []pair

type pair struct {
	key   string
	value any // mapping, []any, string, bool or json.Number
}

// MarshalJSON keeps the order of the keys.
func (m mapping) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range m {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := marshal(p.key)
		if err != nil {
			return nil, err
		}
		value, err := marshal(p.value)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func yamlNode(v any) *yaml.Node {
	switch v := v.(type) {
	case mapping:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, p := range v {
			n.Content = append(n.Content, yamlNode(p.key), yamlNode(p.value))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, item := range v {
			n.Content = append(n.Content, yamlNode(item))
		}
		if len(v) == 0 {
			n.Style = yaml.FlowStyle
		}
		return n
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: v.String()}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: fmt.Sprint(v)}
}

// described turns a value of the types in document.go into mapping, []any, string, bool or json.Number, nil
// where it was not given. It works by reflection so that a new key cannot be forgotten here.
func described(v reflect.Value) any {
	switch it := v.Interface().(type) {
	case interface{ plain() any }:
		v = reflect.ValueOf(it.plain())
	case strictyaml.Map[string]:
		m := mapping{}
		for _, p := range it {
			m = append(m, pair{p.Key.V, p.Value})
		}
		return m
	case interface{ Set() bool }:
		if !it.Set() {
			return nil
		}
		return described(v.FieldByName("V"))
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return described(v.Elem())
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = described(v.Index(i))
		}
		return list
	case reflect.Struct:
		return describedKeys(v, false)
	case reflect.Bool:
		return v.Bool()
	case reflect.String:
		return v.String()
	}
	return json.Number(fmt.Sprint(v.Interface()))
}

// describedKeys is for structs with keys. Values that cannot say whether they were given are left out where
// they are empty, unless all are wanted.
func describedKeys(v reflect.Value, all bool) mapping {
	m := mapping{}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		tag, tagged := field.Tag.Lookup("yaml")
		if !tagged {
			if field.Anonymous {
				m = append(m, describedKeys(v.Field(i), all)...)
			}
			continue
		}
		key, flags, _ := strings.Cut(tag, ",")
		_, keep := v.Field(i).Interface().(interface{ Set() bool })
		keep = keep || all || flags == "required"
		if value := described(v.Field(i)); value != nil && (keep || !isEmpty(v.Field(i), value)) {
			m = append(m, pair{key, value})
		}
	}
	return m
}

func isEmpty(v reflect.Value, described any) bool {
	if m, ok := described.(mapping); ok && v.Kind() != reflect.Pointer {
		return len(m) == 0
	}
	return v.IsZero()
}
