package config

import (
	"errors"
	"fmt"

	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// source is kernel.source as it is written: a word or a mapping.
type source struct {
	word sourceWord
	sourceKeys
}

// firmware is kernel.firmware as it is written: a word or a list.
type firmware struct {
	word  firmwareWord
	globs []word
}

// readDocument reads a file twice, since what a value may be is settled by the type that it is read into: the
// first reading takes the words of source and firmware, the second the mapping and the list. All else that is
// wrong is found by both, and r drops what it is told twice.
func readDocument(r *strictyaml.Reader, file string, data []byte) document[source, firmware] {
	var words document[sourceWord, firmwareWord]
	r.Decode(file, data, &words)
	var parts document[sourceKeys, []word]
	var second strictyaml.Reader
	second.Decode(file, data, &parts)

	doc := document[source, firmware]{globals: words.globals}
	known := map[strictyaml.Error]bool{}
	for i := range min(len(words.Flavors), len(parts.Flavors)) {
		first, other := words.Flavors[i], parts.Flavors[i].Value.Kernel
		p := strictyaml.Pair[entry]{Key: first.Key, Value: entry{flavorKeys: first.Value.flavorKeys}}
		k := first.Value.Kernel
		p.Value.Kernel.kernelKeys = k.kernelKeys
		p.Value.Kernel.Source.Pos, p.Value.Kernel.Source.V = k.Source.Pos, source{k.Source.V, other.Source.V}
		p.Value.Kernel.Firmware.Pos, p.Value.Kernel.Firmware.V = k.Firmware.Pos, firmware{k.Firmware.V, other.Firmware.V}
		known[unlike("source", k.Source.Pos, strictyaml.Mapping, k.Source.V.kind)] = true
		known[unlike("firmware", k.Firmware.Pos, strictyaml.List, k.Firmware.V.kind)] = true
		doc.Flavors = append(doc.Flavors, p)
	}
	var faults strictyaml.Errors
	errors.As(second.Err(), &faults)
	for _, f := range faults {
		if !known[f] {
			r.Faultf(f.Pos, "%s", f.Message)
		}
	}
	return doc
}

// unlike is the fault that the second reading finds in a value that the first one has dealt with.
func unlike(key string, pos strictyaml.Pos, want, got strictyaml.Kind) strictyaml.Error {
	return strictyaml.Error{Pos: pos, Message: fmt.Sprintf("%q: want %s, got %s", key, want, got)}
}

// sourceWord is a source that is one word.
type sourceWord struct {
	kind strictyaml.Kind
	text string // empty where kind is Mapping
}

func (s *sourceWord) FromYAML(r strictyaml.Raw) error {
	s.kind = r.Kind
	switch r.Kind {
	case strictyaml.Mapping:
		return nil
	case strictyaml.String:
		return choice(&s.text, r, []string{SourceDebian, SourceKernelOrg}, nil)
	}
	return fmt.Errorf("want %s, %s or a mapping with url, dir or deb, got %s", SourceDebian, SourceKernelOrg, r.Kind)
}

// firmwareWord is a choice of firmware that is one word.
type firmwareWord struct {
	kind strictyaml.Kind
	text string // empty where kind is List
}

// The words that firmware may be.
const (
	firmwareAuto = "auto"
	firmwareNone = "none"
)

func (f *firmwareWord) FromYAML(r strictyaml.Raw) error {
	f.kind = r.Kind
	switch r.Kind {
	case strictyaml.List:
		return nil
	case strictyaml.String:
		return choice(&f.text, r, []string{firmwareAuto, firmwareNone}, nil)
	}
	return fmt.Errorf("want %s, %s or a list, got %s", firmwareAuto, firmwareNone, r.Kind)
}
