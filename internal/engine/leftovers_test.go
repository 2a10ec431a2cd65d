package engine

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// held is what an engine says it holds: two images of ours, one with a foreign name besides, foreign images, and caches.
const held = `{"Images": [
	{"Id": "sha256:1", "RepoTags": ["ours:a"], "Size": 100, "SharedSize": 40, "Created": 1000},
	{"Id": "sha256:2", "RepoTags": ["ours:b", "theirs:b"], "Size": 100, "SharedSize": -1, "Created": 1000},
	{"Id": "sha256:3", "RepoTags": ["ours:gone"], "Size": 1, "Created": 1000},
	{"Id": "sha256:4", "RepoTags": ["theirs:c"], "Size": 1, "Created": 1000},
	{"Id": "sha256:6", "RepoTags": ["ours:d"], "Size": 2, "Created": 1000},
	{"Id": "sha256:5", "RepoTags": null, "Size": 1, "Created": 1000}
], "BuildCache": [
	{"ID": "m1", "Type": "exec.cachemount", "Description": "cached mount /ccache from ours", "Size": 7, "CreatedAt": "2026-01-02T00:00:00Z", "LastUsedAt": "2026-02-03T00:00:00Z"},
	{"ID": "m2", "Type": "exec.cachemount", "Description": "cached mount /src from ours with id \"/x-1\"", "Size": 8, "CreatedAt": "2026-01-02T00:00:00Z", "InUse": true},
	{"ID": "m3", "Type": "exec.cachemount", "Description": "cached mount /src from theirs", "Size": 8},
	{"ID": "m4", "Type": "regular", "Description": "from ours", "Size": 8}
]}`

const containers = `[
	{"Id": "0123456789abcdef", "Image": "ours:b", "ImageID": "sha256:2", "State": "running", "Created": 2000, "SizeRw": 5, "Labels": {"io.hookbuild.container": "run"}},
	{"Id": "fedcba9876543210", "Image": "ours:a", "ImageID": "sha256:1", "State": "exited", "Created": 2000, "SizeRw": 6, "Labels": {"io.hookbuild.container": "run"}},
	{"Id": "aaaaaaaaaaaaaaaa", "Image": "theirs:c", "ImageID": "sha256:4", "State": "exited", "Created": 2000, "SizeRw": 6, "Labels": {"io.hookbuild": "x"}},
	{"Id": "bbbbbbbbbbbbbbbb", "Image": "ours:d", "ImageID": "sha256:6", "State": "created", "Created": 2000}
]`

func ours() Recognize {
	return Recognize{
		Image: func(name string) bool { return strings.HasPrefix(name, "ours:") },
		Mount: func(text string) bool { return strings.Contains(text, "ours") },
	}
}

func TestLeftovers(t *testing.T) {
	var asked url.Values
	e, _ := newFake(t, map[string]http.HandlerFunc{
		"GET /system/df":          text(held),
		"GET /images/ours:a/json": text(`{"Metadata": {"LastTagTime": "2026-03-04T00:00:00Z"}}`),
		"GET /images/ours:b/json": text(`{"Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"}}`),
		"GET /images/ours:d/json": text(`{}`),
		"GET /containers/json": func(w http.ResponseWriter, r *http.Request) {
			asked = r.URL.Query()
			text(containers)(w, r)
		},
	})
	got, err := e.Leftovers(t.Context(), ours())
	if err != nil {
		t.Fatal(err)
	}
	day := func(m time.Month, d int) time.Time { return time.Date(2026, m, d, 0, 0, 0, 0, time.UTC) }
	want := []Leftover{
		{ImageKind, "ours:a", "ours:a", 60, day(3, 4), ""},
		{ImageKind, "ours:b", "ours:b", 0, time.Unix(1000, 0), "a container uses it"},
		{ImageKind, "ours:d", "ours:d", 2, time.Unix(1000, 0), "a container uses it"},
		{ContainerKind, "0123456789abcdef", "0123456789ab of ours:b", 5, time.Unix(2000, 0), "it is running"},
		{ContainerKind, "fedcba9876543210", "fedcba987654 of ours:a", 6, time.Unix(2000, 0), ""},
		{BuildCacheKind, "m1", "/ccache", 7, day(2, 3), ""},
		{BuildCacheKind, "m2", "/src x-1", 8, day(1, 2), "a build uses it"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if asked.Get("all") != "1" {
		t.Errorf("containers were asked for with %v", asked)
	}
}

func TestLeftoversFail(t *testing.T) {
	for _, call := range []string{"GET /system/df", "GET /images/ours:a/json", "GET /containers/json"} {
		t.Run(call, func(t *testing.T) {
			reply := map[string]http.HandlerFunc{
				"GET /system/df": text(held), "GET /images/ours:a/json": text(`{}`), "GET /images/ours:b/json": text(`{}`), "GET /images/ours:d/json": text(`{}`), "GET /containers/json": text(containers),
			}
			reply[call] = code(500)
			e, _ := newFake(t, reply)
			if _, err := e.Leftovers(t.Context(), ours()); err == nil || !strings.Contains(err.Error(), "engine says 500") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDiscard(t *testing.T) {
	for _, tc := range []struct {
		name string
		what Leftover
		call string
		want map[string]string // of the query
	}{
		{"image", Leftover{Kind: ImageKind, ID: "ours:a"}, "DELETE /images/ours:a", nil},
		{"container", Leftover{Kind: ContainerKind, ID: "0123"}, "DELETE /containers/0123", map[string]string{"v": "1"}},
		{"build cache", Leftover{Kind: BuildCacheKind, ID: "m1"}, "POST /build/prune",
			map[string]string{"all": "1", "filters": `{"id":{"m1":true},"type":{"exec.cachemount":true}}`}},
	} {
		for answer, judge := range map[int]func(error) bool{
			200: func(err error) bool { return err == nil },
			404: func(err error) bool { return err == nil },
			409: func(err error) bool { var busy *BusyError; return errors.As(err, &busy) },
			500: func(err error) bool { return err != nil && strings.Contains(err.Error(), "engine says 500") },
		} {
			t.Run(tc.name+"/"+http.StatusText(answer), func(t *testing.T) {
				var query url.Values
				e, _ := newFake(t, map[string]http.HandlerFunc{tc.call: func(w http.ResponseWriter, r *http.Request) {
					query = r.URL.Query()
					if answer == 200 && tc.what.Kind == ImageKind {
						text("[]")(w, r)
					} else if answer == 200 {
						text("{}")(w, r)
					} else {
						code(answer)(w, r)
					}
				}})
				if err := e.Discard(t.Context(), tc.what); !judge(err) {
					t.Errorf("got %v", err)
				}
				if query == nil || query.Get("force") != "" {
					t.Errorf("asked with %v", query)
				}
				for name, want := range tc.want {
					if got := query.Get(name); got != want {
						t.Errorf("%s: got %s, want %s", name, got, want)
					}
				}
			})
		}
	}
	e, _ := newFake(t, nil)
	if err := e.Discard(t.Context(), Leftover{}); err == nil {
		t.Error("nothing: no error")
	}
}

func TestHasCountsAsUse(t *testing.T) {
	e, f := newFake(t, map[string]http.HandlerFunc{
		"GET /images/ours:old/json":   text(`{"Metadata": {"LastTagTime": "2026-03-03T00:00:00Z"}}`),
		"GET /images/ours:today/json": text(`{"Metadata": {"LastTagTime": "2026-03-04T11:00:00Z"}}`),
		"GET /images/ours:never/json": text(`{}`),
		"POST /images/ours:old/tag":   code(201), "POST /images/ours:never/tag": code(201),
	})
	e.now = func() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		ref         string
		has, marked bool
	}{{"ours:old", true, true}, {"ours:today", true, false}, {"ours:never", true, true}, {"ours:none", false, false}} {
		if has, err := e.Has(t.Context(), c.ref); has != c.has || err != nil || f.called("POST /images/"+c.ref+"/tag") != c.marked {
			t.Errorf("%s: got %t, %v, and the calls %v", c.ref, has, err, f.calls)
		}
	}
}
