package resolve

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hookbuild/hookbuild/internal/plan"
)

func digestOf(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

func wantImages(refs ...string) []ImageRequest {
	var all []ImageRequest
	for _, ref := range refs {
		all = append(all, ImageRequest{Ref: ref, Platform: "linux/amd64"})
	}
	return all
}

func TestImagesArePinnedOnce(t *testing.T) {
	w := newWorld(t)
	w.images = map[string]Image{
		"ntp:1": {Config: digestOf("1"), Manifest: digestOf("a")}, "dhcp:1": {Config: digestOf("2")}, "ssh:1": {Config: digestOf("3")},
	}
	resolved := func(o Options, refs ...string) Result {
		t.Helper()
		res, err := Flavor(t.Context(), fromDebian("x"), two(), wantImages(refs...), o, w)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first := resolved(w.o, "ntp:1", "dhcp:1")
	want := []Image{
		{ImageRequest: wantImages("dhcp:1")[0], Config: digestOf("2")},
		{ImageRequest: wantImages("ntp:1")[0], Config: digestOf("1"), Manifest: digestOf("a")},
	}
	if diff := cmp.Diff(want, first.Entry.Images); diff != "" || !first.Written {
		t.Errorf("written %t, -want +got:\n%s", first.Written, diff)
	}
	if got := Changes(first); !hasChange(got, "images: + ntp:1 linux/amd64 "+digestOf("1")) {
		t.Errorf("got %v", got)
	}

	w.images["ntp:1"] = Image{Config: digestOf("9")}
	if again := resolved(w.o, "ntp:1"); again.Written || len(again.Entry.Images) != 1 || again.Entry.Images[0].Config != digestOf("1") {
		t.Errorf("what is pinned was resolved again, or what nobody asks for decides about the plan: %+v", again.Entry.Images)
	}
	if more := resolved(w.o, "ssh:1", "ntp:1"); !more.Written || len(more.Entry.Images) != 2 || more.Entry.Images[0].Config != digestOf("1") {
		t.Errorf("with one more: %+v", more.Entry.Images)
	}
	if !strings.Contains(w.lockText(), digestOf("2")) {
		t.Error("an image that was not asked for this time has left the lock")
	}
	update := w.o
	update.Update = true
	newer := resolved(update, "ntp:1")
	if got := Changes(newer); !hasChange(got, "images: ntp:1 linux/amd64 "+digestOf("1")+" -> "+digestOf("9")) {
		t.Errorf("got %v", got)
	}
	p, err := newer.Entry.Plan(Input{Flavor: fromDebian("x")})
	if diff := cmp.Diff([]plan.Image{{Ref: "ntp:1", Platform: "linux/amd64", Config: digestOf("9")}}, p.Images); err != nil || diff != "" {
		t.Errorf("the plan: %v, -want +got:\n%s", err, diff)
	}
}

func hasChange(all []Change, text string) bool {
	for _, c := range all {
		if c.String() == text {
			return true
		}
	}
	return false
}

func TestImageThatIsNowhere(t *testing.T) {
	w := newWorld(t)
	_, err := Flavor(t.Context(), fromDebian("x"), two(), wantImages("none:1"), w.o, w)
	if !errors.Is(err, os.ErrNotExist) || w.lockText() != "" {
		t.Errorf("got %v, and the lock %q", err, w.lockText())
	}
}

func TestImagePinOfAnotherForm(t *testing.T) {
	for _, bad := range []Image{{Config: "sha256:abc"}, {Config: strings.ToUpper(digestOf("a"))}, {Config: digestOf("a"), Manifest: "md5:1"}} {
		w := newWorld(t)
		w.images = map[string]Image{"ntp:1": bad}
		if _, err := Flavor(t.Context(), fromDebian("x"), two(), wantImages("ntp:1"), w.o, w); err != nil {
			t.Fatal(err)
		}
		_, err := ReadLock(w.o.LockFile)
		var fault *LockError
		if !errors.As(err, &fault) || !strings.Contains(fault.What, "flavor x: image ntp:1: want digests") {
			t.Errorf("%+v: got %v", bad, err)
		}
	}
}
