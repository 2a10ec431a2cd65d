package engine

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInspect(t *testing.T) {
	e, _ := newFake(t, map[string]http.HandlerFunc{
		"GET /images/hookbuild/debian:x/json": text(`{"Id":"sha256:aa","Architecture":"arm64","RootFS":{"Layers":["sha256:bb","sha256:cc"]},
			"Config":{"Entrypoint":["/init"],"Cmd":["a"],"Env":["PATH=/bin"],"WorkingDir":"/srv","Labels":{"k":"v"}}}`),
		"GET /images/bare:x/json":   text(`{"Id":"sha256:aa","Architecture":"amd64"}`),
		"GET /images/broken:x/json": code(http.StatusInternalServerError),
	})
	got, err := e.Inspect(t.Context(), "hookbuild/debian:x")
	if err != nil {
		t.Fatal(err)
	}
	want := Image{
		ID: "sha256:aa", Arch: "arm64", Layers: []string{"sha256:bb", "sha256:cc"}, Entrypoint: []string{"/init"},
		Cmd: []string{"a"}, Env: []string{"PATH=/bin"}, WorkingDir: "/srv", Labels: map[string]string{"k": "v"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := e.Inspect(t.Context(), "bare:x"); err != nil || got.ID != "sha256:aa" || got.Cmd != nil {
		t.Errorf("an image without config: got %+v, %v", got, err)
	}
	for ref, has := range map[string]bool{"hookbuild/debian:x": true, "missing:x": false} {
		if got, err := e.Has(t.Context(), ref); got != has || err != nil {
			t.Errorf("%s: got %v, %v; want %v", ref, got, err, has)
		}
	}
	if _, err := e.Inspect(t.Context(), "missing:x"); !errors.Is(err, ErrNoImage) || !strings.Contains(err.Error(), "missing:x") {
		t.Errorf("got %v, want ErrNoImage with the name", err)
	}
	if has, err := e.Has(t.Context(), "broken:x"); has || err == nil || errors.Is(err, ErrNoImage) {
		t.Errorf("an engine with a fault: got %v, %v", has, err)
	}
}

func TestSave(t *testing.T) {
	e, _ := newFake(t, map[string]http.HandlerFunc{"GET /images/get": func(w http.ResponseWriter, r *http.Request) {
		if names := r.URL.Query()["names"]; len(names) != 1 || names[0] != "a:b" {
			status404(w, r)
			return
		}
		io.WriteString(w, "the archive")
	}})
	r, err := e.Save(t.Context(), "a:b")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); string(got) != "the archive" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := e.Save(t.Context(), "c:d"); err == nil || !strings.Contains(err.Error(), "save image c:d") {
		t.Errorf("got %v", err)
	}
}

func TestImport(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   string // part of the error
	}{
		{"good", text(`{"status":"sha256:aa"}`), ""},
		{"refused", code(http.StatusInsufficientStorage), "engine says 507"},
		{"fails on the way", text(`{"status":"Importing"}{"errorDetail":{"message":"no space left on device"},"error":"no space left on device"}`), "no space left"},
		{"no JSON", text("{"), "unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got string
			e, _ := newFake(t, map[string]http.HandlerFunc{"POST /images/create": func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = r.URL.Query().Get("fromSrc") + " " + r.URL.Query().Get("repo") + " " + string(body)
				c.answer(w, r)
			}})
			err := e.Import(t.Context(), strings.NewReader("a tar"), "hookbuild/debian:x")
			if got != "- hookbuild/debian:x a tar" {
				t.Errorf("the engine got %q", got)
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   string // part of the error
	}{
		{"good", text(`{"stream":"Loaded image: a:b\n"}`), ""},
		{"refused", code(http.StatusInsufficientStorage), "engine says 507"},
		{"fails on the way", text(`{"stream":"x"}{"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"}`), "unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got string
			e, _ := newFake(t, map[string]http.HandlerFunc{"POST /images/load": func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = string(body)
				c.answer(w, r)
			}})
			err := e.Load(t.Context(), strings.NewReader("an archive"))
			if got != "an archive" {
				t.Errorf("the engine got %q", got)
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestTag(t *testing.T) {
	var asked string
	e, _ := newFake(t, map[string]http.HandlerFunc{
		"POST /images/a:b/tag": func(w http.ResponseWriter, r *http.Request) {
			asked = r.URL.Query().Get("repo") + " " + r.URL.Query().Get("tag")
			w.WriteHeader(http.StatusCreated)
		},
		"POST /images/busy/tag": code(http.StatusConflict),
	})
	if err := e.Tag(t.Context(), "a:b", "hookbuild/component:y"); err != nil || !strings.HasSuffix(asked, "hookbuild/component y") {
		t.Errorf("got %v, asked for %q", err, asked)
	}
	if err := e.Tag(t.Context(), "missing:x", "c:d"); !errors.Is(err, ErrNoImage) || !strings.Contains(err.Error(), "missing:x") {
		t.Errorf("got %v, want ErrNoImage with the name", err)
	}
	if err := e.Tag(t.Context(), "busy", "c:d"); err == nil || !strings.Contains(err.Error(), "tag image busy as c:d") {
		t.Errorf("got %v", err)
	}
}

func TestRemove(t *testing.T) {
	e, f := newFake(t, map[string]http.HandlerFunc{
		"DELETE /images/a:b":  text(`[{"Untagged":"a:b"}]`),
		"DELETE /images/busy": code(http.StatusConflict),
	})
	if err := e.Remove(t.Context(), "a:b"); err != nil || !f.called("DELETE /images/a:b") {
		t.Errorf("got %v", err)
	}
	if err := e.Remove(t.Context(), "missing:x"); err != nil {
		t.Errorf("a missing image: got %v", err)
	}
	if err := e.Remove(t.Context(), "busy"); err == nil || !strings.Contains(err.Error(), "409") {
		t.Errorf("a conflict: got %v", err)
	}
}
