package linuxkit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookbuild/hookbuild/internal/heaptest"
	"github.com/hookbuild/hookbuild/internal/strictyaml"
)

// numbered writes n lines of format, each with its number.
func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// hostileYAML is a set of documents, each about as large as a YAML may be, made to cost time or memory.
func hostileYAML() map[string]string {
	const most = maxYAML
	laughs := "onboot:\n  - {name: a, image: sh, env: &a [x, x, x, x, x, x, x, x, x]}\n"
	for c := 'b'; c < 'z'; c++ {
		laughs += fmt.Sprintf("  - {name: %c, image: sh, sysctl: {a: &%c [*%c, *%c, *%c, *%c]}}\n", c, c, c-1, c-1, c-1, c-1)
	}
	deepPath := strings.Repeat("a/", 2000) + "a"
	return map[string]string{
		"too large":               "init: [a]\n#" + strings.Repeat("x", most),
		"flow lists in lists":     "init: " + strings.Repeat("[", most-100),
		"flow maps in maps":       "kernel: " + strings.Repeat("{a: ", most/4-100),
		"block lists in lists":    "init:\n" + strings.Repeat("- ", most/2-100),
		"keys of keys":            strings.Repeat("? ", most/2-100),
		"closed lists in lists":   "init: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"a billion laughs":        laughs,
		"a long word":             "init: [" + strings.Repeat("a", most-100) + "]",
		"a long key":              strings.Repeat("k", most-100) + ": x",
		"a long variable":         "init: [\"${" + strings.Repeat("k", most-100) + "}\"]",
		"many variables":          "init: [\"" + strings.Repeat("${A}", most/4-100) + "\"]",
		"many unknown variables":  "init: [" + strings.Repeat("\"${B}\",", most/7-100) + "]",
		"variables behind alias":  "files:\n  - {path: a, source: &v \"" + strings.Repeat("${A}", most/16) + "\"}\n" + numbered(9000, "  - {path: a%d, source: *v}\n"),
		"a text behind aliases":   "files:\n  - {path: a, contents: &v \"" + strings.Repeat("x", most/4) + "\"}\n" + numbered(9000, "  - {path: a%d, contents: *v}\n"),
		"commands behind aliases": "onboot:\n  - {name: a, image: sh, command: &v [\"" + strings.Repeat("x", most/2) + "\"]}\n" + numbered(900, "  - {name: a%d, image: sh, command: *v}\n"),
		"many anchors":            "init: [" + numbered(40000, "&a%d x,") + "]",
		"many unknown keys":       numbered(40000, "k%d: x\n"),
		"many unknown options":    "onboot:\n  - {" + numbered(30000, "capab%d: x,") + "}",
		"many images":             "init: [" + numbered(9999, "i%d,") + "]",
		"many containers":         "services: [" + numbered(20000, "{name: a%d, image: i},") + "]",
		"many equal services":     "services: [" + strings.Repeat("{name: a, image: i},", 25000) + "]",
		"many unknown owners":     "onboot: [" + numbered(990, "{name: a%d, image: sh},") + "]\nfiles: [" + numbered(9900, "{path: a, contents: b, uid: b%d},") + "]",
		"many unknown volumes":    "volumes: [" + numbered(9900, "{name: a%d},") + "]\nonboot: [{name: a, image: sh, binds: [" + numbered(9900, "'b%d:/b',") + "]}]",
		"many merges":             "onboot:\n  - &a {name: a, image: sh}\n" + strings.Repeat("  - {<<: *a}\n", 30000),
		"a merge of itself":       "onboot: [&a {name: a, image: sh, <<: *a, <<: [*a, *a]}]",
		"deep paths":              "files: [" + numbered(120, "{path: b%d/"+deepPath+", contents: x},") + "]",
		"deep enough paths":       "files: [" + numbered(1080, "{path: b%d/"+strings.Repeat("a/", 90)+"x, contents: x},") + "]",
		"too many paths":          "files: [" + numbered(2400, "{path: b%d/"+strings.Repeat("a/", 90)+"x, contents: x},") + "]",
		"a path behind aliases":   "files:\n  - {path: &p " + strings.Repeat("a/", 90) + "a, contents: x}\n" + strings.Repeat("  - {path: *p, contents: y}\n", 9000),
		"many services":           "services: [" + strings.Repeat("{name: a, image: i},", 9999) + "]",
		"many items":              "init: [" + numbered(60000, "i%d,") + "]",
		"many keys":               "onboot: [{name: a, image: sh, sysctl: {" + numbered(40000, "k%d: x,") + "}}]",
		"many files":              "files: [" + numbered(9999, "{path: a%d, contents: x},") + "]",
		"many tags":               "init: [" + strings.Repeat("!!str x,", 9999) + "]",
		"not UTF-8":               "init: [\"\xff\xfe\"]",
		"NUL":                     "init: [\"a\x00b\"]",
	}
}

// readHostile parses and assembles; an error that is not strictyaml.Errors is one of the images.
func readHostile(ctx context.Context, text string, images images) error {
	s, err := Parse("hook.yaml", []byte(text), map[string]string{"A": strings.Repeat("v", 100)})
	if err != nil {
		return err
	}
	_, err = Assemble(ctx, s, images, Options{Kernel: "kernel", ReadFile: readTestFile})
	return err
}

// TestHostileYAML holds time and memory. What is wrong with a document must not take a book to say, either.
func TestHostileYAML(t *testing.T) {
	const seconds, mib = 50, 256 // ten times what it may take: the test may run on a busy host
	images := testImages(t)
	for name, text := range hostileYAML() {
		t.Run(name, func(t *testing.T) {
			taken := heaptest.Watch()
			start := time.Now()
			err := readHostile(t.Context(), text, images)
			took := time.Since(start)
			peak := taken() >> 20
			if peak > mib {
				t.Errorf("took %d MiB, want at most %d", peak, mib)
			}
			if took > seconds*time.Second {
				t.Errorf("took %s, want at most %d s", took, seconds)
			}
			var errs strictyaml.Errors
			if errors.As(err, &errs) && (len(errs) > maxFaults+1 || len(errs.Error()) > 3<<20) {
				t.Errorf("%d faults, %d bytes", len(errs), len(errs.Error()))
			}
			t.Logf("%s, %d MiB: %.100v", took.Round(time.Millisecond), peak, err)
		})
	}
}

// TestHostileLabels has the same texts, as far as they go, as what an image says about itself.
func TestHostileLabels(t *testing.T) {
	for name, text := range hostileYAML() {
		start := time.Now()
		r := newReader()
		parseLabel(r, "i", ImageConfig{Labels: map[string]string{label: text[:min(len(text), maxLabel)]}})
		if err := r.Err(); err == nil || time.Since(start) > 50*time.Second {
			t.Errorf("%s: took %s, error %v", name, time.Since(start), err)
		}
	}
}
